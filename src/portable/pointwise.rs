//! The pointwise convolution.

use pulp::{Arch, Simd, WithSimd};

use super::gemm::{Column, PIXELS, with_pixels};
use super::vector::{BLOCK, at};
use crate::kernel::arguments::Pointwise;

impl WithSimd for &Pointwise {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let p = self;
        for first in (0..p.n).step_by(S::F32_LANES) {
            let panel = first / BLOCK;
            // SAFETY: the contract of the kernel (kernels/README.md): every pointer covers the sizes beside it.
            unsafe {
                for (row, done) in (0..p.rows).flat_map(|row| (0..p.width).step_by(PIXELS).map(move |done| (row, done)))
                {
                    let count = (p.width - done).min(PIXELS);
                    let column = Column {
                        weights: p.b.wrapping_add(panel * p.b_panel + p.b_skip * BLOCK + first % BLOCK),
                        stride: BLOCK,
                        bias: if p.bias.is_null() { p.bias } else { p.bias.wrapping_add(first) },
                        output: p.c.offset(row, done, first),
                        residual: p.residual.offset(row, done, first),
                        lo: p.lo,
                        hi: p.hi,
                        lanes: (p.n - first).min(S::F32_LANES),
                    };
                    with_pixels!(count, N => {
                        let pixels: [*const f32; N] =
                            core::array::from_fn(|i| at(&p.a, row as isize, (done + i) as isize).cast_const());
                        column.tile::<S, N>(simd, core::iter::once((0, pixels, p.k)));
                    });
                }
            }
        }
    }
}

/// The kernel.
///
/// # Safety
/// The contract of the kernels (kernels/README.md).
pub(crate) unsafe extern "C" fn pointwise(arguments: *const Pointwise) {
    // SAFETY: the contract of the kernel: the arguments are valid.
    Arch::new().dispatch(unsafe { &*arguments });
}
