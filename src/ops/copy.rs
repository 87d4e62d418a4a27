//! Channels copied from one image to another: what a concatenation or a shuffle leaves to do.

use alloc::vec::Vec;

use pulp::{Arch, Simd, WithSimd};

use super::operator::Packed;
use super::part::Call;
use crate::tensor::Image;

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

/// Copies runs of channels: in pieces of 8, 4, 2 and 1 channels, each of some pixels before the next.
#[derive(Debug)]
pub(crate) struct Copy {
    eights: Pieces,
    fours: Pieces,
    twos: Pieces,
    ones: Pieces,
}

/// The first channels of pieces, of the input and of the output.
type Pieces = Vec<(usize, usize)>;

/// Pixels that are copied together, one piece after the other.
const AT_ONCE: usize = 32;

impl Copy {
    /// `runs` in the order of their outputs. Where `whole`, they are all channels of the output.
    pub fn new(runs: &[CopyRun], whole: bool) -> Self {
        let input = runs.iter().map(|run| run.from + run.channels).max().unwrap_or(0);
        let output = if whole { runs.iter().map(|run| run.channels).sum() } else { 0 };
        let longest = runs.iter().map(|run| run.channels).max().unwrap_or(0);
        let mut copy = Copy { eights: Vec::new(), fours: Vec::new(), twos: Vec::new(), ones: Vec::new() };
        for &CopyRun { from, to, channels } in runs.iter().filter(|run| run.channels > 0) {
            // One piece, if the pieces after it write again what it writes behind its channels: none is larger.
            let rounded = channels.next_power_of_two();
            let fits = rounded <= 8 && from + rounded <= input && to + rounded <= output;
            if fits && rounded == longest.next_power_of_two() {
                copy.pieces(rounded).push((from, to));
                continue;
            }
            // As many channels at once as there are; the last piece ends at the last channel, and copies some again.
            let width = 1 << channels.ilog2().min(3);
            let starts = (0..channels).step_by(width).map(|start| start.min(channels - width));
            copy.pieces(width).extend(starts.map(|start| (from + start, to + start)));
        }
        copy
    }

    /// Those of so many channels, or of the most if there are none such.
    fn pieces(&mut self, width: usize) -> &mut Pieces {
        match width {
            1 => &mut self.ones,
            2 => &mut self.twos,
            4 => &mut self.fours,
            _ => &mut self.eights,
        }
    }
}

impl Packed for Copy {
    fn kernel(&self) -> &'static str {
        "copy"
    }

    unsafe fn run(&self, call: &Call) {
        struct Rows<'a>(&'a Copy, &'a Call);
        impl WithSimd for Rows<'_> {
            type Output = ();

            #[inline(always)]
            fn with_simd<S: Simd>(self, _: S) {
                let Rows(copy, call) = self;
                let (height, width) = call.output_size;
                let tight = |image: &Image| image.row_stride == image.pixel_stride * width as isize;
                // Rows without gaps are one row.
                let (height, width) =
                    if tight(&call.input) && tight(&call.output) { (1, height * width) } else { (height, width) };
                for (y, x) in (0..height).flat_map(|y| (0..width).step_by(AT_ONCE).map(move |x| (y, x))) {
                    let pixels = AT_ONCE.min(width - x);
                    let [from, to] = [&call.input, &call.output].map(|image| image.offset(y, x, 0));
                    // SAFETY: by the contract of the function around both images hold the pixels and the runs, and share no
                    // memory.
                    unsafe {
                        pieces::<8>(&copy.eights, &from, &to, pixels);
                        pieces::<4>(&copy.fours, &from, &to, pixels);
                        pieces::<2>(&copy.twos, &from, &to, pixels);
                        pieces::<1>(&copy.ones, &from, &to, pixels);
                    }
                }
            }
        }
        Arch::new().dispatch(Rows(self, call));
    }
}

/// Copies `all` pieces of `CHANNELS` of so many pixels that begin at `from`, each to the same pixel after `to`.
///
/// # Safety
/// They must be readable and writable, and the images share no memory.
#[inline(always)]
unsafe fn pieces<const CHANNELS: usize>(all: &Pieces, from: &Image, to: &Image, pixels: usize) {
    for &(first, target) in all {
        let (mut source, mut place) = (from.pointer.wrapping_add(first), to.pointer.wrapping_add(target));
        for _ in 0..pixels {
            // SAFETY: by this function's own contract.
            unsafe { source.copy_to_nonoverlapping(place, CHANNELS) };
            source = source.wrapping_offset(from.pixel_stride);
            place = place.wrapping_offset(to.pixel_stride);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(lengths: &[usize], whole: bool) -> Copy {
        let mut to = 0;
        let total: usize = lengths.iter().sum();
        let run = |&channels: &usize| {
            to += channels;
            // From the back to the front.
            CopyRun { from: total - to, to: to - channels, channels }
        };
        Copy::new(&lengths.iter().map(run).collect::<Vec<_>>(), whole)
    }

    /// What a pixel of the output holds where the input's channels are 1, 2, 3, …, the output's all zero before.
    fn copied(copy: &Copy, channels: usize) -> Vec<f32> {
        let input: Vec<f32> = (1..=channels).map(|channel| channel as f32).collect();
        let mut output = vec![0.0; channels];
        for (width, pieces) in [(8, &copy.eights), (4, &copy.fours), (2, &copy.twos), (1, &copy.ones)] {
            for &(from, to) in pieces {
                output[to..to + width].copy_from_slice(&input[from..from + width]);
            }
        }
        output
    }

    #[test]
    fn pieces_hold_all_channels() {
        for lengths in [&[3, 3, 3][..], &[1, 2, 1, 2], &[58, 3, 3], &[12, 6, 3, 3], &[7, 1, 8, 5], &[24], &[5, 5], &[1]]
        {
            let total: usize = lengths.iter().sum();
            let mut want = Vec::new();
            for &length in lengths {
                let first = total - want.len() - length;
                want.extend((first..first + length).map(|channel| (channel + 1) as f32));
            }
            for whole in [false, true] {
                assert_eq!(copied(&copy(lengths, whole), total), want, "{lengths:?}, whole {whole}");
            }
        }
    }

    #[test]
    fn a_run_is_one_piece_where_the_next_writes_over_its_end() {
        let count = |copy: &Copy| [&copy.eights, &copy.fours, &copy.twos, &copy.ones].map(Vec::len);
        assert_eq!(count(&copy(&[3; 8], true)), [0, 6, 4, 0], "the first would read, the last write past the end");
        assert_eq!(count(&copy(&[3; 8], false)), [0, 0, 16, 0]);
    }
}
