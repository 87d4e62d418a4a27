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
    /// First channels, of the input and of the output, of runs that take a whole vector each, in the order of their outputs:
    /// what they write behind their own channels is written again by the runs after them.
    short: Vec<(usize, usize)>,
    /// The other runs; they come last.
    long: Vec<CopyRun>,
}

/// Elements of the vectors of short runs.
const LANES: usize = 8;

impl Copy {
    /// `runs` in the order of their outputs. Where `whole`, they are all channels of the output.
    pub fn new(runs: Vec<CopyRun>, whole: bool) -> Self {
        let input = runs.iter().map(|run| run.from + run.channels).max().unwrap_or(0);
        let output = if whole { runs.iter().map(|run| run.channels).sum() } else { 0 };
        let is_short = |run: &CopyRun| run.channels <= LANES && run.from + LANES <= input && run.to + LANES <= output;
        let (short, long): (Vec<_>, Vec<_>) = runs.into_iter().partition(is_short);
        Copy { short: short.into_iter().map(|run| (run.from, run.to)).collect(), long }
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
                    let (mut from, mut to) = (call.input.offset(y, 0, 0).pointer, call.output.offset(y, 0, 0).pointer);
                    for _ in 0..width {
                        // SAFETY: by the contract of the function around both images hold the pixel, so that a vector of a
                        // short run lies inside it (`new`), and the channels of a long one do.
                        unsafe {
                            for &(first, target) in &copy.short {
                                vector::<S>(from.add(first), to.add(target));
                            }
                            for run in &copy.long {
                                copy_run::<S>(from.add(run.from), to.add(run.to), run.channels);
                            }
                        }
                        from = from.wrapping_offset(call.input.pixel_stride);
                        to = to.wrapping_offset(call.output.pixel_stride);
                    }
                }
            }
        }
        Arch::new().dispatch(Pixels(self, call));
    }
}

/// Copies so many channels: mostly fewer than a call of `memcpy` is worth. The last vector ends at the last channel, and copies
/// some a second time.
///
/// # Safety
/// They must be readable and writable.
#[inline(always)]
unsafe fn copy_run<S: Simd>(from: *const f32, to: *mut f32, channels: usize) {
    // SAFETY: by this function's own contract: every vector lies inside the run.
    unsafe {
        if channels >= LANES {
            let last = channels - LANES;
            let mut at = 0;
            while at < last {
                vector::<S>(from.add(at), to.add(at));
                at += LANES;
            }
            vector::<S>(from.add(last), to.add(last));
        } else if channels >= 4 {
            copy::<[f32; 4]>(from, to);
            copy::<[f32; 4]>(from.add(channels - 4), to.add(channels - 4));
        } else {
            (0..channels).for_each(|at| *to.add(at) = *from.add(at));
        }
    }
}

/// Copies [`LANES`] elements.
///
/// # Safety
/// They must be readable and writable.
#[inline(always)]
unsafe fn vector<S: Simd>(from: *const f32, to: *mut f32) {
    // SAFETY: by this function's own contract.
    unsafe {
        match S::F32_LANES {
            LANES => copy::<S::f32s>(from, to),
            _ => copy::<[f32; LANES]>(from, to),
        }
    }
}

/// Copies a `V`.
///
/// # Safety
/// It must be readable and writable.
#[inline(always)]
unsafe fn copy<V>(from: *const f32, to: *mut f32) {
    // SAFETY: by this function's own contract.
    unsafe { to.cast::<V>().write_unaligned(from.cast::<V>().read_unaligned()) };
}
