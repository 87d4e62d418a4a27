//! The depthwise convolution.

use core::array;

use pulp::{Arch, Simd, WithSimd};

use super::vector::{BLOCK, add_residual, at, clamp_hi, clamp_lo, fma, load, store};
use crate::kernel::arguments::Depthwise;

/// Output columns of a tile.
pub(crate) const COLUMNS: usize = 4;

/// The list of what `$record` makes of each window, stride and dilation that the tier has: those that the C kernels have.
macro_rules! for_each_window {
    ($record:ident) => {
        &[
            $record!(3 x 3, stride 1, dilation 1),
            $record!(3 x 3, stride 2, dilation 1),
            $record!(5 x 5, stride 1, dilation 1),
            $record!(5 x 5, stride 2, dilation 1),
            $record!(3 x 3, stride 1, dilation 2),
            $record!(3 x 3, stride 1, dilation 4),
            $record!(1 x 3, stride 1, dilation 1),
            $record!(3 x 1, stride 1, dilation 1),
        ]
    };
}
pub(crate) use for_each_window;

/// The arguments with a window of `H` rows and `W` columns, a stride and a dilation.
struct Windowed<'a, const H: usize, const W: usize, const STRIDE: usize, const DILATION: usize>(&'a Depthwise);

impl<const H: usize, const W: usize, const STRIDE: usize, const DILATION: usize> Windowed<'_, H, W, STRIDE, DILATION> {
    /// Input columns of a whole tile, from its first tap to its last.
    const SPAN: usize = (COLUMNS - 1) * STRIDE + (W - 1) * DILATION + 1;

    /// `lanes` channels, from `channel` on, of `count` pixels from (y, x), at most `COLUMNS`. `INSIDE`: of as many, whose
    /// windows lose no column; `CLAMP`: inputs are clamped.
    ///
    /// # Safety
    /// The contract of the kernel; `weights` is the bias of the first channel.
    #[inline(always)]
    unsafe fn tile<S: Simd, const INSIDE: bool, const CLAMP: bool>(
        &self,
        simd: S,
        (y, x, count): (usize, usize, usize),
        channel: usize,
        lanes: usize,
        weights: *const f32,
    ) {
        let p = self.0;
        let (top, left) = self.window(y, x);
        let count = if INSIDE { COLUMNS } else { count };
        let (output, residual) = (p.output.offset(y, x, channel), p.residual.offset(y, x, channel));
        // SAFETY: taps outside the image are skipped; everything else the kernel's contract covers.
        unsafe {
            let mut acc = [load(simd, weights, S::F32_LANES); COLUMNS];
            for ky in 0..H {
                let row = top + (ky * DILATION) as isize;
                if !(0..p.height as isize).contains(&row) {
                    continue;
                }
                let weights = weights.wrapping_add((1 + ky * W) * BLOCK);
                let weights: [_; W] = array::from_fn(|kx| load(simd, weights.wrapping_add(kx * BLOCK), S::F32_LANES));
                let mut pixel = at(&p.input, row, left).wrapping_add(channel);
                for column in 0..Self::SPAN {
                    if INSIDE || (0..p.width as isize).contains(&(left + column as isize)) {
                        let mut input = load(simd, pixel, lanes);
                        if CLAMP {
                            input = clamp_lo(simd, input, simd.splat_f32s(p.input_lo));
                        }
                        for (q, acc) in acc.iter_mut().enumerate().take(count) {
                            let distance = column.wrapping_sub(q * STRIDE);
                            if distance % DILATION == 0 && distance / DILATION < W {
                                *acc = fma(simd, *acc, input, weights[distance / DILATION]);
                            }
                        }
                    }
                    pixel = pixel.wrapping_offset(p.input.pixel_stride);
                }
            }
            for (q, &sum) in acc.iter().enumerate().take(count) {
                let v = add_residual(simd, sum, &residual, q as isize, lanes);
                let v = clamp_hi(simd, clamp_lo(simd, v, simd.splat_f32s(p.lo)), simd.splat_f32s(p.hi));
                store(simd, at(&output, 0, q as isize), lanes, v);
            }
        }
    }

    /// All channels of a tile.
    #[inline(always)]
    fn channels<S: Simd, const INSIDE: bool, const CLAMP: bool>(&self, simd: S, pixels: (usize, usize, usize)) {
        let channels = self.0.channels;
        for block in 0..channels.div_ceil(BLOCK) {
            // The last block ends at the last channel, as it was packed.
            let first = (block * BLOCK).min(channels.saturating_sub(BLOCK));
            for lane in (0..BLOCK.min(channels)).step_by(S::F32_LANES) {
                let lanes = (channels - first - lane).min(S::F32_LANES);
                let weights = self.0.weights.wrapping_add(block * (1 + H * W) * BLOCK + lane);
                // SAFETY: the contract of the kernel (kernels/README.md).
                unsafe { self.tile::<S, INSIDE, CLAMP>(simd, pixels, first + lane, lanes, weights) };
            }
        }
    }

    /// The input row and column of the first tap of output pixel (y, x).
    #[inline(always)]
    fn window(&self, y: usize, x: usize) -> (isize, isize) {
        let Depthwise { pad_top, pad_left, .. } = *self.0;
        ((y * STRIDE) as isize - pad_top as isize, (x * STRIDE) as isize - pad_left as isize)
    }
}

impl<const H: usize, const W: usize, const STRIDE: usize, const DILATION: usize> WithSimd
    for Windowed<'_, H, W, STRIDE, DILATION>
{
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let p = self.0;
        let inside = |x: usize, columns: usize| {
            let (_, left) = self.window(0, x);
            left >= 0 && left + columns as isize <= p.width as isize
        };
        for y in 0..p.output_height {
            let mut x = 0;
            while x < p.output_width {
                let left = p.output_width - x;
                let whole = left >= COLUMNS && inside(x, Self::SPAN);
                // A pixel whose window loses a column goes alone, so that most tiles are whole.
                let count = if whole || inside(x, (W - 1) * DILATION + 1) { left.min(COLUMNS) } else { 1 };
                let pixels = (y, x, count);
                match (whole, p.clamp_input != 0) {
                    (true, false) => self.channels::<S, true, false>(simd, pixels),
                    (true, true) => self.channels::<S, true, true>(simd, pixels),
                    (false, false) => self.channels::<S, false, false>(simd, pixels),
                    (false, true) => self.channels::<S, false, true>(simd, pixels),
                }
                x += count;
            }
        }
    }
}

/// The kernel of a window of `H` rows and `W` columns.
///
/// # Safety
/// The contract of the kernels (kernels/README.md).
pub(crate) unsafe extern "C" fn depthwise<
    const H: usize,
    const W: usize,
    const STRIDE: usize,
    const DILATION: usize,
>(
    arguments: *const Depthwise,
) {
    // SAFETY: the contract of the kernel: the arguments are valid.
    Arch::new().dispatch(Windowed::<H, W, STRIDE, DILATION>(unsafe { &*arguments }));
}
