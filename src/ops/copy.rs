//! Channels copied from one image to another: what a concatenation or a shuffle leaves to do.

use pulp::{Arch, Simd, WithSimd};

use super::operator::Packed;
use super::part::Call;

/// Some channels that lie side by side in the input, and in the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CopyRun {
    /// The first channel of the input.
    pub from: usize,
    /// The first channel of the output.
    pub to: usize,
    /// How many.
    pub channels: usize,
}

/// Copies runs of channels, pixel by pixel.
#[derive(Debug)]
pub(crate) struct Copy {
    runs: Vec<CopyRun>,
    /// Channels of the input that may be read, and of the output that may be written before the runs that follow write
    /// theirs.
    bounds: (usize, usize),
}

impl Copy {
    /// `runs` in the order of their outputs. Where `whole`, they are all channels of the output.
    pub fn new(runs: Vec<CopyRun>, whole: bool) -> Self {
        let input = runs.iter().map(|run| run.from + run.channels).max().unwrap_or(0);
        let output = if whole { runs.iter().map(|run| run.channels).sum() } else { 0 };
        Copy { runs, bounds: (input, output) }
    }
}

impl Packed for Copy {
    fn kernel(&self) -> &'static str {
        "copy"
    }

    unsafe fn run(&self, call: &Call) {
        struct Pixels<'a>(&'a Copy, &'a Call);
        impl WithSimd for Pixels<'_> {
            type Output = ();

            #[inline(always)]
            fn with_simd<S: Simd>(self, _: S) {
                let Pixels(copy, call) = self;
                let (height, width) = call.output_size;
                for y in 0..height {
                    let (mut from, mut to) = (call.input.offset(y, 0, 0), call.output.offset(y, 0, 0));
                    for _ in 0..width {
                        for run in &copy.runs {
                            // SAFETY: by the contract of the function around: both images hold the pixel.
                            unsafe { copy.copy::<S>(run, from.pointer, to.pointer) };
                        }
                        (from, to) = (from.offset(0, 1, 0), to.offset(0, 1, 0));
                    }
                }
            }
        }
        Arch::new().dispatch(Pixels(self, call));
    }
}

impl Copy {
    /// Copies one run of one pixel. Most runs are shorter than a call of `memcpy` is worth: a short one takes a whole vector
    /// where what lies behind it may be read, and is still to be written; else the last vector ends at the last channel, and
    /// copies some a second time.
    ///
    /// # Safety
    /// Both pixels must hold the channels of all runs.
    #[inline(always)]
    unsafe fn copy<S: Simd>(&self, run: &CopyRun, from: *const f32, to: *mut f32) {
        let &CopyRun { from: first, to: target, channels } = run;
        let lanes = S::F32_LANES;
        // SAFETY: both lie inside the pixels.
        let (from, to) = unsafe { (from.add(first), to.add(target)) };
        if channels <= lanes && first + lanes <= self.bounds.0 && target + lanes <= self.bounds.1 {
            // SAFETY: as was asked.
            unsafe { vector::<S::f32s>(from, to, 0) };
        } else if channels >= lanes {
            let last = channels - lanes;
            let mut at = 0;
            while at < last {
                // SAFETY: `at` and a vector lie inside the run.
                unsafe { vector::<S::f32s>(from, to, at) };
                at += lanes;
            }
            // SAFETY: as above.
            unsafe { vector::<S::f32s>(from, to, last) };
        } else if channels >= 4 {
            // SAFETY: four channels lie inside the run from either place on.
            unsafe {
                vector::<[f32; 4]>(from, to, 0);
                vector::<[f32; 4]>(from, to, channels - 4);
            }
        } else {
            // SAFETY: the channels lie inside the run.
            (0..channels).for_each(|at| unsafe { *to.add(at) = *from.add(at) });
        }
    }
}

/// Copies a `V` at element `at`.
///
/// # Safety
/// It must be readable and writable there.
#[inline(always)]
unsafe fn vector<V>(from: *const f32, to: *mut f32, at: usize) {
    // SAFETY: by this function's own contract.
    unsafe { to.add(at).cast::<V>().write_unaligned(from.add(at).cast::<V>().read_unaligned()) };
}
