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

/// Copies channels: runs of them, or a transposition.
#[derive(Debug)]
pub(crate) enum Copy {
    Runs(Runs),
    Shuffle(Shuffle),
}

/// Runs of channels that are longer than pieces, and pieces of 1, 2, 4 and 8 channels. Long ones are copied first, then the
/// largest pieces.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    /// How many there are, in pieces or not.
    count: usize,
    long: Vec<CopyRun>,
    pieces: [Pieces; 4],
}

/// A transposition in blocks of four rows: those of four columns, and those of the last, fewer ones.
#[derive(Debug)]
pub(crate) struct Shuffle {
    of: Transposition,
    whole: Pieces,
    last: Pieces,
}

/// The first channels of pieces, of the input and of the output.
type Pieces = Vec<(usize, usize)>;

/// Pixels that are copied together, one piece after the other: so few that they stay in the first-level cache, or more where
/// one run is all that is read of each.
const AT_ONCE: [usize; 2] = [32, 128];
/// The most channels of a run that is copied in pieces: to copy more by a call costs no more.
const IN_PIECES: usize = 64;

impl Copy {
    /// `runs`, in the order of their outputs, of tensor number `tensor`, which has so many channels. Each channel of the output
    /// comes from the tensor that `sources` says, runs of them with their ends; tensors are copied in the order of their
    /// numbers.
    pub fn new(runs: &[CopyRun], (tensor, input): (usize, usize), sources: &[(usize, usize)]) -> Self {
        if let Some(shuffle) = Shuffle::of(runs) {
            return Copy::Shuffle(shuffle);
        }
        let source = |channel: usize| sources.get(sources.partition_point(|&(end, _)| end <= channel));
        let longest = runs.iter().map(|run| run.channels).max().unwrap_or(0);
        let mut all = Runs { count: runs.len(), ..Runs::default() };
        for &run in runs.iter().filter(|run| run.channels > 0) {
            let CopyRun { from, to, channels } = run;
            if channels > IN_PIECES {
                all.long.push(run);
                continue;
            }
            // One piece, if what it writes behind its channels is written again: by another tensor, or by this one, of which no
            // larger piece was written before.
            let rounded = channels.next_power_of_two();
            let first = if rounded == longest.next_power_of_two() { tensor } else { tensor + 1 };
            let again = |channel| source(channel).is_some_and(|&(_, source)| source >= first);
            if rounded <= 8 && from + rounded <= input && (to + channels..to + rounded).all(again) {
                all.pieces[rounded.ilog2() as usize].push((from, to));
                continue;
            }
            // As many channels at once as there are; the last piece ends at the last channel, and copies some again.
            let width = 1 << channels.ilog2().min(3);
            let starts = (0..channels).step_by(width).map(|start| start.min(channels - width));
            all.pieces[width.ilog2() as usize].extend(starts.map(|start| (from + start, to + start)));
        }
        Copy::Runs(all)
    }
}

impl Shuffle {
    /// What these runs are, where that is a transposition.
    fn of(runs: &[CopyRun]) -> Option<Shuffle> {
        let CopyRun { from, to, .. } = *runs.first()?;
        let single = |(at, run): (usize, &CopyRun)| run.channels == 1 && run.to == to + at;
        let of = Transposition::of(runs.iter().map(|run| run.from)).filter(|_| runs.iter().enumerate().all(single))?;
        let Transposition { rows, columns } = of;
        let blocks = |range: Range<usize>| {
            // The last one ends at the last row, and copies some again.
            let rows_of = |column| (0..rows).step_by(4).map(move |row| (row.min(rows - 4), column));
            let place = |(row, column)| (from + row * columns + column, to + column * rows + row);
            range.step_by(4).flat_map(rows_of).map(place).collect()
        };
        let whole = columns - columns % 4;
        Some(Shuffle { of, whole: blocks(0..whole), last: blocks(whole..columns) })
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
                let at_once = AT_ONCE[usize::from(matches!(copy, Copy::Runs(runs) if runs.count == 1))];
                for (y, x) in (0..height).flat_map(|y| (0..width).step_by(at_once).map(move |x| (y, x))) {
                    let [from, to] = [&call.input, &call.output].map(|image| image.offset(y, x, 0));
                    let at = (from, to, at_once.min(width - x));
                    // SAFETY: by the contract of the function around both images hold the pixels, all channels of the tensor and
                    // of the output, within which `Copy::new` keeps every piece; and they share no memory.
                    unsafe {
                        match copy {
                            Copy::Runs(runs) => runs.pixels(at),
                            Copy::Shuffle(shuffle) => shuffle.pixels(at),
                        }
                    }
                }
            }
        }
        Arch::new().dispatch(Rows(self, call));
    }
}

/// The first pixels, of the input and of the output, of so many.
type Pixels = (Image, Image, usize);

impl Runs {
    /// Copies the channels of some pixels.
    ///
    /// # Safety
    /// Both images must hold them, and share no memory.
    #[inline(always)]
    unsafe fn pixels(&self, at: Pixels) {
        let [ones, twos, fours, eights] = &self.pieces;
        // SAFETY: by this function's own contract.
        unsafe {
            for run in &self.long {
                each(&[(run.from, run.to)], at, |from, to| from.copy_to_nonoverlapping(to, run.channels));
            }
            each(eights, at, |from, to| from.copy_to_nonoverlapping(to, 8));
            each(fours, at, |from, to| from.copy_to_nonoverlapping(to, 4));
            each(twos, at, |from, to| from.copy_to_nonoverlapping(to, 2));
            each(ones, at, |from, to| from.copy_to_nonoverlapping(to, 1));
        }
    }
}

impl Shuffle {
    /// Copies the channels of some pixels.
    ///
    /// # Safety
    /// Both images must hold them, and share no memory.
    #[inline(always)]
    unsafe fn pixels(&self, at: Pixels) {
        let Transposition { rows, columns } = self.of;
        // SAFETY: by this function's own contract.
        unsafe {
            each(&self.whole, at, |from, to| transpose_block::<4>((from, columns), (to, rows)));
            match columns % 4 {
                1 => each(&self.last, at, |from, to| transpose_block::<1>((from, columns), (to, rows))),
                2 => each(&self.last, at, |from, to| transpose_block::<2>((from, columns), (to, rows))),
                _ => each(&self.last, at, |from, to| transpose_block::<3>((from, columns), (to, rows))),
            }
        }
    }
}

/// Calls `copy` with the two addresses of each piece, pixel by pixel.
#[inline(always)]
fn each(pieces: &[(usize, usize)], (from, to, pixels): Pixels, copy: impl Fn(*const f32, *mut f32)) {
    for &(first, target) in pieces {
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
        let ends: Vec<(usize, usize)> = sources.iter().enumerate().map(|(at, source)| (at + 1, source.0)).collect();
        let copy = |(tensor, &channels): (usize, &usize)| {
            let mut runs: Vec<CopyRun> = Vec::new();
            for (to, &(_, from)) in sources.iter().enumerate().filter(|(_, source)| source.0 == tensor) {
                match runs.last_mut() {
                    Some(run) if (run.from + run.channels, run.to + run.channels) == (from, to) => run.channels += 1,
                    _ => runs.push(CopyRun { from, to, channels: 1 }),
                }
            }
            Copy::new(&runs, (tensor, channels), &ends)
        };
        channels.iter().enumerate().map(copy).collect()
    }

    /// The pieces of a copy, each with its channels.
    fn pieces(copy: &Copy) -> Vec<(usize, usize, usize)> {
        let Copy::Runs(Runs { long, pieces, .. }) = copy else { return Vec::new() };
        let sized = pieces.iter().zip([1, 2, 4, 8]);
        let sized = sized.flat_map(|(pieces, width)| pieces.iter().map(move |&(from, to)| (from, to, width)));
        sized.chain(long.iter().map(|run| (run.from, run.to, run.channels))).collect()
    }

    /// Brings these channels side by side, of images of `size` whose pixels have `gap` more elements: nothing beside the channels
    /// may be read or written.
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
            let inside = |&(from, to, width): &_| from + width <= channels && to + width <= sources.len();
            assert!(pieces(copy).iter().all(inside), "{copy:?} of {channels} channels to {}", sources.len());
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
        let lengths = [1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 17, 64, 65];
        let mut state = 1_u64;
        let mut draw = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        for case in 0..400 {
            let (count, tensors) = (1 + draw(8), 1 + draw(3));
            let of: Vec<_> = (0..count).map(|_| (draw(tensors), lengths[draw(lengths.len())])).collect();
            let (sources, channels) = runs(&of);
            check(&sources, &channels, (1 + draw(2), [1, 5, 33, 130][draw(4)]), case % 3);
        }
    }

    #[test]
    fn shuffles_are_transposed() {
        for (rows, columns) in (1..13).flat_map(|rows| (1..11).map(move |columns| (rows, columns))) {
            // Of a tensor that has more channels on both sides.
            let sources: Vec<Source> = (0..rows * columns).map(|at| (0, 3 + at % rows * columns + at / rows)).collect();
            check(&sources, &[rows * columns + 5], (2, 35), columns % 2);
            let transposed = matches!(copies(&sources, &[rows * columns + 5])[0], Copy::Shuffle(_));
            assert_eq!(transposed, rows >= 4 && columns > 1, "{rows} x {columns}");
            // Another order is none.
            let mut other = sources;
            other.swap(0, rows * columns - 1);
            check(&other, &[rows * columns + 5], (1, 3), 0);
        }
    }

    #[test]
    fn a_run_is_one_piece_where_the_next_writes_over_its_end() {
        let count =
            |copy: &Copy| [1, 2, 4, 8].map(|width| pieces(copy).iter().filter(|piece| piece.2 == width).count());
        let (sources, channels) = runs(&[(0, 3); 8]);
        assert_eq!(count(&copies(&sources, &channels)[0]), [0, 2, 7, 0], "the last one would write past the end");
        let (sources, channels) = runs(&[(0, 3), (1, 3), (0, 3), (1, 6)]);
        let counts: Vec<_> = copies(&sources, &channels).iter().map(count).collect();
        assert_eq!(counts, [[0, 0, 2, 0], [0, 2, 2, 0]], "tensor 1 may not write over tensor 0, nor past the end");
    }
}
