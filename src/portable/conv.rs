//! The dense convolution.

use pulp::{Arch, Simd, WithSimd};

use super::gemm::{Column, PIXELS, with_pixels};
use super::vector::{BLOCK, at};
use crate::kernel::arguments::Conv;

impl WithSimd for &Conv {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let p = self;
        // The part of a window from `start` that lies in 0..extent.
        let inside = |start: isize, size: usize, extent: usize| {
            let first = (-start).clamp(0, size as isize);
            first..(extent as isize - start).clamp(first, size as isize)
        };
        for y in 0..p.output_height {
            let top = (y * p.stride_rows) as isize - p.pad_top as isize;
            let rows = inside(top, p.kernel_height, p.height);
            let left = |x: usize| (x * p.stride_columns) as isize - p.pad_left as isize;
            let columns = |x: usize| inside(left(x), p.kernel_width, p.width);
            let mut x = 0;
            while x < p.output_width {
                // Neighbours whose windows lose the same columns share a tile.
                let taps = columns(x);
                let count = (x..p.output_width.min(x + PIXELS)).take_while(|&x| columns(x) == taps).count();
                for first in (0..p.n).step_by(S::F32_LANES) {
                    // SAFETY: the contract of the kernel (kernels/README.md): every pointer covers the sizes beside it,
                    // and only taps inside the image are read.
                    unsafe {
                        let column = Column {
                            weights: p.b.wrapping_add(first / BLOCK * p.b_panel + first % BLOCK),
                            stride: BLOCK,
                            bias: p.bias.wrapping_add(first),
                            output: p.output.offset(y, x, first),
                            residual: p.residual.offset(y, x, first),
                            lo: p.lo,
                            hi: p.hi,
                            lanes: (p.n - first).min(S::F32_LANES),
                        };
                        with_pixels!(count, N => {
                            let runs = rows.clone().flat_map(|ky| taps.clone().map(move |kx| (ky, kx))).map(|(ky, kx)| {
                                let row = (ky as usize * p.kernel_width + kx as usize) * p.channels;
                                let pixels: [*const f32; N] = core::array::from_fn(|i| {
                                    at(&p.input, top + ky, left(x + i) + kx).cast_const()
                                });
                                (row, pixels, p.channels)
                            });
                            column.tile::<S, N>(simd, runs);
                        });
                    }
                }
                x += count;
            }
        }
    }
}

/// The kernel.
///
/// # Safety
/// The contract of the kernels (kernels/README.md).
pub(crate) unsafe extern "C" fn conv(arguments: *const Conv) {
    // SAFETY: the contract of the kernel: the arguments are valid.
    Arch::new().dispatch(unsafe { &*arguments });
}
