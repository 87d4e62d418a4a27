//! The depthwise convolution.

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
    /// `lanes` channels, from `channel` on, of the `COLUMNS` pixels (fewer at the end of the row) from (y, x).
    ///
    /// # Safety
    /// The contract of the kernel; `weights` is the bias of the first channel.
    #[inline(always)]
    unsafe fn tile<S: Simd>(&self, simd: S, (y, x): (usize, usize), channel: usize, lanes: usize, weights: *const f32) {
        let p = self.0;
        let top = (y * STRIDE) as isize - p.pad_top as isize;
        let left = (x * STRIDE) as isize - p.pad_left as isize;
        let count = (p.output_width - x).min(COLUMNS);
        let (output, residual) = (p.output.offset(y, x, channel), p.residual.offset(y, x, channel));
        // SAFETY: taps outside the image are skipped; everything else the kernel's contract covers.
        unsafe {
            let mut acc = [load(simd, weights, S::F32_LANES); COLUMNS];
            for ky in 0..H {
                let row = top + (ky * DILATION) as isize;
                if !(0..p.height as isize).contains(&row) {
                    continue;
                }
                for kx in 0..W {
                    let weight = load(simd, weights.wrapping_add((1 + ky * W + kx) * BLOCK), S::F32_LANES);
                    for (q, acc) in acc.iter_mut().enumerate().take(count) {
                        let column = left + (q * STRIDE + kx * DILATION) as isize;
                        if (0..p.width as isize).contains(&column) {
                            let mut input = load(simd, at(&p.input, row, column).wrapping_add(channel), lanes);
                            if p.clamp_input != 0 {
                                input = clamp_lo(simd, input, simd.splat_f32s(p.input_lo));
                            }
                            *acc = fma(simd, *acc, input, weight);
                        }
                    }
                }
            }
            for (q, &sum) in acc.iter().enumerate().take(count) {
                let v = add_residual(simd, sum, &residual, q as isize, lanes);
                let v = clamp_hi(simd, clamp_lo(simd, v, simd.splat_f32s(p.lo)), simd.splat_f32s(p.hi));
                store(simd, at(&output, 0, q as isize), lanes, v);
            }
        }
    }
}

impl<const H: usize, const W: usize, const STRIDE: usize, const DILATION: usize> WithSimd
    for Windowed<'_, H, W, STRIDE, DILATION>
{
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let p = self.0;
        for y in 0..p.output_height {
            for block in 0..p.channels.div_ceil(BLOCK) {
                // The last block ends at the last channel, as it was packed.
                let first = (block * BLOCK).min(p.channels.saturating_sub(BLOCK));
                for x in (0..p.output_width).step_by(COLUMNS) {
                    for lane in (0..BLOCK.min(p.channels)).step_by(S::F32_LANES) {
                        let lanes = (p.channels - first - lane).min(S::F32_LANES);
                        // SAFETY: the contract of the kernel (kernels/README.md).
                        unsafe {
                            let weights = p.weights.wrapping_add(block * (1 + H * W) * BLOCK + lane);
                            self.tile(simd, (y, x), first + lane, lanes, weights);
                        }
                    }
                }
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
