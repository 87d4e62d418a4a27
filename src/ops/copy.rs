//! Channels copied from one image to another: what a concatenation or a shuffle leaves to do.

use alloc::vec::Vec;
use core::ops::Range;

use pulp::{Arch, Simd, WithSimd};

use super::operator::Packed;
use super::part::Call;
use crate::tensor::{Image, Transposition, transpose_block};

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
    shuffle: Option<Shuffle>,
}

/// Blocks of four rows, transposed: the first channels of those of four columns, and of those of the last, fewer ones.
#[derive(Debug)]
struct Shuffle {
    of: Transposition,
    whole: Pieces,
    last: Pieces,
}

impl Shuffle {
    /// What these runs are, where that is a transposition.
    fn of(runs: &[CopyRun]) -> Option<Shuffle> {
        let CopyRun { from, to, .. } = *runs.first()?;
        let single = |(at, run): (usize, &CopyRun)| run.channels == 1 && run.to == to + at;
        let of = Transposition::of(runs.iter().map(|run| run.from))?;
        let Transposition { rows, columns } = of;
        let blocks = |range: Range<usize>| {
            // The last one ends at the last row, and copies some again.
            let rows_of = |column| (0..rows).step_by(4).map(move |row| (row.min(rows - 4), column));
            let place = |(row, column)| (from + row * columns + column, to + column * rows + row);
            range.step_by(4).flat_map(rows_of).map(place).collect()
        };
        let whole = columns - columns % 4;
        let shuffle = Shuffle { of, whole: blocks(0..whole), last: blocks(whole..columns) };
        runs.iter().enumerate().all(single).then_some(shuffle)
    }
}

/// The first channels of pieces, of the input and of the output.
type Pieces = Vec<(usize, usize)>;

/// Pixels that are copied together, one piece after the other.
const AT_ONCE: usize = 32;

impl Copy {
    /// `runs` of tensor `tensor`, of so many `channels`, in the order of their outputs. Each channel of the output is copied from
    /// the tensor that `sources` says, or from others than any copy knows; tensors are copied in the order of their numbers.
    pub fn new(runs: &[CopyRun], tensor: usize, channels: usize, sources: &[usize]) -> Self {
        let shuffle = Shuffle::of(runs);
        let mut copy = Copy { eights: Vec::new(), fours: Vec::new(), twos: Vec::new(), ones: Vec::new(), shuffle };
        if copy.shuffle.is_some() {
            return copy;
        }
        let input = channels;
        let longest = runs.iter().map(|run| run.channels).max().unwrap_or(0);
        for &CopyRun { from, to, channels } in runs.iter().filter(|run| run.channels > 0) {
            // One piece, if what it writes behind its channels is written again: by another tensor, or by this one, of which no
            // larger piece was written before.
            let rounded = channels.next_power_of_two();
            let first = if rounded == longest.next_power_of_two() { tensor } else { tensor + 1 };
            let again = |behind: &[usize]| behind.iter().all(|&source| source >= first);
            let fits = rounded <= 8 && from + rounded <= input;
            if fits && sources.get(to + channels..to + rounded).is_some_and(again) {
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
                        let at = (&from, &to, pixels);
                        each(&copy.eights, at, |from, to| from.copy_to_nonoverlapping(to, 8));
                        each(&copy.fours, at, |from, to| from.copy_to_nonoverlapping(to, 4));
                        each(&copy.twos, at, |from, to| from.copy_to_nonoverlapping(to, 2));
                        each(&copy.ones, at, |from, to| from.copy_to_nonoverlapping(to, 1));
                        if let Some(Shuffle { of: Transposition { rows, columns }, whole, last }) = &copy.shuffle {
                            let (columns, rows) = (*columns, *rows);
                            each(whole, at, |from, to| transpose_block::<4>((from, columns), (to, rows)));
                            match columns % 4 {
                                1 => each(last, at, |from, to| transpose_block::<1>((from, columns), (to, rows))),
                                2 => each(last, at, |from, to| transpose_block::<2>((from, columns), (to, rows))),
                                _ => each(last, at, |from, to| transpose_block::<3>((from, columns), (to, rows))),
                            }
                        }
                    }
                }
            }
        }
        Arch::new().dispatch(Rows(self, call));
    }
}

/// Does `copy` with where `all` pieces lie in so many pixels that begin at `from`, and in those that begin at `to`.
#[inline(always)]
fn each(all: &Pieces, (from, to, pixels): (&Image, &Image, usize), copy: impl Fn(*const f32, *mut f32)) {
    for &(first, target) in all {
        let (mut source, mut place) = (from.pointer.wrapping_add(first), to.pointer.wrapping_add(target));
        for _ in 0..pixels {
            copy(source, place);
            source = source.wrapping_offset(from.pixel_stride);
            place = place.wrapping_offset(to.pixel_stride);
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::tensor::Clamp;

    /// A channel of a tensor.
    type Source = (usize, usize);

    /// The copies that bring these channels side by side, of tensors that have so many channels each.
    fn copies(sources: &[Source], channels: &[usize]) -> Vec<Copy> {
        let tensors: Vec<usize> = sources.iter().map(|source| source.0).collect();
        let copy = |(tensor, &channels): (usize, &usize)| {
            let mut runs: Vec<CopyRun> = Vec::new();
            for (to, &(_, from)) in sources.iter().enumerate().filter(|(_, source)| source.0 == tensor) {
                match runs.last_mut() {
                    Some(run) if (run.from + run.channels, run.to + run.channels) == (from, to) => run.channels += 1,
                    _ => runs.push(CopyRun { from, to, channels: 1 }),
                }
            }
            Copy::new(&runs, tensor, channels, &tensors)
        };
        channels.iter().enumerate().map(copy).collect()
    }

    /// Brings these channels side by side, of images of `size` whose pixels have `gap` more elements: nothing else may be read or
    /// written.
    fn check(sources: &[Source], channels: &[usize], size: (usize, usize), gap: usize) {
        let (pixels, number) =
            (size.0 * size.1, |pixel: usize, (tensor, channel)| (1000 * pixel + 100 * tensor + channel) as f32);
        let image = |elements: &mut Vec<f32>, channels: usize| Image {
            pointer: elements.as_mut_ptr(),
            pixel_stride: (channels + gap) as isize,
            row_stride: (size.1 * (channels + gap) + gap) as isize,
        };
        let lies = |pixel: usize, channels: usize| pixel * (channels + gap) + pixel / size.1 * gap;
        let mut output = vec![-1.0; lies(pixels - 1, sources.len()) + sources.len()];
        for (tensor, (copy, &channels)) in copies(sources, channels).iter().zip(channels).enumerate() {
            let mut input = vec![f32::NAN; lies(pixels - 1, channels) + channels];
            for (pixel, channel) in (0..pixels).flat_map(|pixel| (0..channels).map(move |channel| (pixel, channel))) {
                input[lies(pixel, channels) + channel] = number(pixel, (tensor, channel));
            }
            let call = Call {
                input: image(&mut input, channels),
                input_size: size,
                missing: 0,
                output: image(&mut output, sources.len()),
                output_size: size,
                residual: Image::NONE,
                inputs: 0..sources.len(),
                outputs: 0..sources.len(),
                clamp: Clamp::NONE,
            };
            // SAFETY: both hold as many pixels, and the channels of each.
            unsafe { copy.run(&call) };
        }
        let mut expected = vec![-1.0; output.len()];
        for (pixel, to) in (0..pixels).flat_map(|pixel| (0..sources.len()).map(move |to| (pixel, to))) {
            expected[lies(pixel, sources.len()) + to] = number(pixel, sources[to]);
        }
        assert_eq!(output, expected, "{sources:?} of {channels:?} channels, {size:?} pixels, gap {gap}");
    }

    /// Runs of these tensors and lengths, each of the next channels of its tensor.
    fn runs(of: &[(usize, usize)]) -> (Vec<Source>, Vec<usize>) {
        let tensors = of.iter().map(|run| run.0 + 1).max().unwrap_or(0);
        let (mut sources, mut channels) = (Vec::new(), vec![0; tensors]);
        // From the back to the front, with a channel between two runs that nothing takes.
        for &(tensor, length) in of.iter().rev() {
            let first = channels[tensor];
            sources.splice(0..0, (first..first + length).map(|channel| (tensor, channel)));
            channels[tensor] += length + 1;
        }
        (sources, channels)
    }

    #[test]
    fn channels_come_side_by_side() {
        let lengths = [1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 17];
        let mut state = 1_usize;
        let mut draw = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        for case in 0..400 {
            let (count, tensors) = (1 + draw(8), 1 + draw(3));
            let of: Vec<_> = (0..count).map(|_| (draw(tensors), lengths[draw(lengths.len())])).collect();
            let (sources, channels) = runs(&of);
            check(&sources, &channels, (1 + draw(2), [1, 5, 33, 70][draw(4)]), case % 3);
        }
    }

    #[test]
    fn shuffles_are_transposed() {
        for (rows, columns) in (1..13).flat_map(|rows| (1..11).map(move |columns| (rows, columns))) {
            // Of a tensor that has more channels on both sides.
            let sources: Vec<Source> = (0..rows * columns).map(|at| (0, 3 + at % rows * columns + at / rows)).collect();
            check(&sources, &[rows * columns + 5], (2, 35), columns % 2);
            let transposed = copies(&sources, &[rows * columns + 5])[0].shuffle.is_some();
            assert_eq!(transposed, rows >= 4 && columns > 1, "{rows} x {columns}");
            // Another order is none.
            let mut other = sources;
            other.swap(0, rows * columns - 1);
            check(&other, &[rows * columns + 5], (1, 3), 0);
        }
    }

    #[test]
    fn a_run_is_one_piece_where_the_next_writes_over_its_end() {
        let count = |copy: &Copy| [&copy.eights, &copy.fours, &copy.twos, &copy.ones].map(Vec::len);
        let (sources, channels) = runs(&[(0, 3); 8]);
        assert_eq!(count(&copies(&sources, &channels)[0]), [0, 7, 2, 0], "the last one would write past the end");
        let (sources, channels) = runs(&[(0, 3), (1, 3), (0, 3), (1, 6)]);
        let pieces: Vec<_> = copies(&sources, &channels).iter().map(count).collect();
        assert_eq!(pieces, [[0, 2, 0, 0], [0, 2, 2, 0]], "tensor 1 may not write over tensor 0, nor past the end");
    }
}
