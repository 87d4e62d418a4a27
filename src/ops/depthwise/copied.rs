//! Depthwise convolution of an image whose pixels alias in the first-level cache: tile by tile from copies on the stack.
//!
//! Pixels 2 KB apart share two sets of eight lines of a cache of 32 KB. The lines under one tile of the output drive each other
//! out before their second half is read, so that each is fetched twice or more: on Zen 3, 7x7x1024 made 14 GFLOP/s so, makes 48
//! from copies, and 74 where plans lay the pixels out with gaps.

use core::mem::MaybeUninit;
use core::ops::Range;
use core::ptr;

use super::Depthwise;
use crate::kernel::DepthwiseKernel;
use crate::machine::Machine;
use crate::ops::part::Call;
use crate::tensor::{Image, Layout, Padding, Window};

/// Pixel strides that alias, in elements: the multiples of this. At half of it, copies cost what they save.
const ALIASING_STRIDE: isize = 512;

/// Channels that are copied at a time: enough for the kernel's loop over them, a multiple of every kernel's lanes.
const CHANNELS: usize = 64;

/// Input pixels that are copied at a time: 32 KB with their channels.
const PIXELS: usize = 128;

/// What is copied, on cache lines.
#[repr(align(64))]
struct Copied([MaybeUninit<f32>; CHANNELS * PIXELS]);

/// Rows and columns of the output to compute from one copy of what they need of an image of `input` rows and columns; none
/// where the kernel better reads the image where it lies. `output` are those of the whole output, `l1d` the bytes of the
/// first-level cache.
fn copied_tile(
    kernel: &DepthwiseKernel,
    window: &Window,
    pixel_stride: isize,
    (input, output): ((usize, usize), (usize, usize)),
    l1d: usize,
) -> Option<(usize, usize)> {
    // An image without elements has no stride. A line that is read whole is read once, and a system without a name has no
    // such cache, nor a stack to speak of.
    let aliases = pixel_stride != 0 && pixel_stride % ALIASING_STRIDE == 0;
    if !aliases || kernel.reads_whole_lines() || cfg!(target_os = "none") {
        return None;
    }
    let across = window.transposed();
    // Lines that a tile touches; the cache has room for as many at such a distance as it is times the distance.
    let lines = window.rows_held(kernel.rows).min(input.0) * across.rows_held(kernel.columns).min(input.1);
    let distance = size_of::<f32>() << pixel_stride.trailing_zeros().min(10);
    if (lines + kernel.rows * kernel.columns) * distance <= l1d {
        return None;
    }
    // Whole rows of the output where a tile's fit, else some of their columns; then as many rows as fit.
    let columns = across.outputs_held(PIXELS / window.rows_held(kernel.rows)).min(output.1);
    let columns_held = across.rows_held(columns);
    let rows = window.outputs_held(PIXELS / columns_held.min(input.1).max(1));
    let rows = (rows - rows % kernel.rows).min(output.0);
    let rows_held = window.rows_held(rows);
    // Dilated windows hold many rows for few outputs.
    let worth = rows_held * columns_held <= 4 * rows * columns * window.stride.0 * window.stride.1;
    let fits = rows > 0 && columns > 0 && rows_held * columns_held.min(input.1) <= PIXELS;
    (worth && fits).then_some((rows, columns))
}

/// 0..`count` in ranges of `size`, the last of what is left.
fn pieces(count: usize, size: usize) -> impl Iterator<Item = Range<usize>> {
    (0..count).step_by(size).map(move |start| start..count.min(start + size))
}

impl Depthwise {
    /// The tile of the output to compute `call` by, each from a copy of its input, where that is faster.
    pub(super) fn copied_tile(&self, call: &Call) -> Option<(usize, usize)> {
        let sizes = (call.input_size, call.output_size);
        copied_tile(self.kernel, &self.params.window, call.input.pixel_stride, sizes, Machine::this().l1d())
    }

    /// As [`run_kernel`](Self::run_kernel), by tiles of so many rows and columns, each from a copy of its input.
    ///
    /// # Safety
    /// As of [`Packed::run`](crate::ops::Packed::run); `tile` must be the one that [`copied_tile`](Self::copied_tile) gives.
    #[inline(never)]
    pub(super) unsafe fn run_copied(&self, call: &Call, tile: (usize, usize)) {
        let padding = Padding { top: call.missing, ..self.params.window.padding };
        let down = self.params.window.padding(padding);
        let across = down.transposed();
        let mut copied = Copied([const { MaybeUninit::uninit() }; _]);
        for channels in pieces(call.outputs.len(), CHANNELS) {
            for (rows, columns) in pieces(call.output_size.0, tile.0)
                .flat_map(|rows| pieces(call.output_size.1, tile.1).map(move |columns| (rows.clone(), columns)))
            {
                let (held, wide) = (down.strip(&rows, call.input_size.0), across.strip(&columns, call.input_size.1));
                let from = call.input.offset(held.first, wide.first, channels.start);
                let layout = Layout::tight(held.length, wide.length, channels.len());
                let input = Image::of(copied.0.as_mut_ptr().cast(), &layout);
                for (y, x) in (0..held.length).flat_map(|y| (0..wide.length).map(move |x| (y, x))) {
                    let [from, to] = [from, input].map(|image| image.offset(y, x, 0).pointer);
                    // SAFETY: the pixel is one of the input, and `copied` has room for all that a tile holds.
                    unsafe { ptr::copy_nonoverlapping(from, to, channels.len()) };
                }
                let at = |image: Image| image.offset(rows.start, columns.start, channels.start);
                let first = call.outputs.start;
                let part = Call {
                    input,
                    input_size: (held.length, wide.length),
                    missing: held.missing,
                    output: at(call.output),
                    output_size: (rows.len(), columns.len()),
                    residual: at(call.residual),
                    inputs: channels.clone(),
                    outputs: first + channels.start..first + channels.end,
                    clamp: call.clamp,
                };
                // SAFETY: a part of what the caller promises, its input in the copy.
                unsafe { self.run_kernel(&part, wide.missing) };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Isa;

    /// The tile of the portable kernel, 1x4, for an image of so many rows and columns, with an output of its size.
    fn tile(window: Window, pixel_stride: isize, image: (usize, usize), l1d: usize) -> Option<(usize, usize)> {
        let kernels = Isa::Portable.kernels().unwrap().depthwise();
        let serves = |kernel: &&DepthwiseKernel| {
            (kernel.window, kernel.stride, kernel.dilation) == (window.size, window.stride.0, window.dilation.0)
        };
        let kernel = kernels.iter().find(serves).unwrap();
        assert_eq!((kernel.rows, kernel.columns), (1, 4));
        copied_tile(kernel, &window.symmetric(), pixel_stride, (image, image), l1d)
    }

    #[test]
    fn images_are_copied_where_their_pixels_alias() {
        let window = Window::square(3);
        let copied = |pixel_stride, image| tile(window, pixel_stride, image, 32 << 10);
        // A small image whole, some rows of a larger one, some columns of a row of a wide one.
        assert_eq!(copied(1024, (7, 7)), Some((7, 7)));
        assert_eq!(copied(512, (20, 9)), Some((12, 9)));
        assert_eq!(copied(1536, (6, 60)), Some((1, 40)));
        // Nearer ones, those of no image, those whose tiles have few lines.
        assert_eq!([0, 256, 528].map(|stride| copied(stride, (7, 7))), [None; 3]);
        assert_eq!([(1, 1), (1, 40), (40, 1)].map(|image| copied(512, image)), [None; 3]);
        // 18 lines of the input and 4 of the output: 22 times 2 KB.
        assert_eq!([44, 45].map(|kilobytes| tile(window, 512, (7, 7), kilobytes << 10).is_some()), [false; 2]);
        assert!(tile(window, 512, (7, 7), 43 << 10).is_some());
        // Nine rows for one.
        assert_eq!(tile(window.dilation(4), 512, (20, 14), 32 << 10), None);
    }
}
