//! A tile of a GEMM, for pointwise and for dense convolutions.

use pulp::Simd;

use super::vector::{add_residual, at, clamp_hi, clamp_lo, fma, load, store};
use crate::tensor::Image;

/// Pixels of a tile.
pub(crate) const PIXELS: usize = 8;

/// One column of vectors of a tile: where it reads its weights and where its outputs go.
#[derive(Clone, Copy)]
pub(super) struct Column {
    /// First weight; the next input's is `stride` further on.
    pub weights: *const f32,
    pub stride: usize,
    /// Null continues from the output.
    pub bias: *const f32,
    /// The first pixel of each, at the first channel of the column.
    pub output: Image,
    pub residual: Image,
    pub lo: f32,
    pub hi: f32,
    /// Real lanes.
    pub lanes: usize,
}

impl Column {
    /// Computes `N` pixels: `runs` gives each run of input channels, as (weight row, first input of each pixel, inputs).
    ///
    /// # Safety
    /// Every pointer must hold what the runs and lanes say.
    #[inline(always)]
    pub unsafe fn tile<S: Simd, const N: usize>(
        &self,
        simd: S,
        runs: impl Iterator<Item = (usize, [*const f32; N], usize)>,
    ) {
        // SAFETY: by this function's own contract, for each access below.
        unsafe {
            let mut acc = [simd.splat_f32s(0.0); N];
            for (i, acc) in acc.iter_mut().enumerate() {
                *acc = if self.bias.is_null() {
                    load(simd, at(&self.output, 0, i as isize), self.lanes)
                } else {
                    load(simd, self.bias, S::F32_LANES)
                };
            }
            for (row, pixels, inputs) in runs {
                let mut weights = self.weights.wrapping_add(row * self.stride);
                for k in 0..inputs {
                    let weight = load(simd, weights, S::F32_LANES);
                    for i in 0..N {
                        acc[i] = fma(simd, acc[i], simd.splat_f32s(*pixels[i].wrapping_add(k)), weight);
                    }
                    weights = weights.wrapping_add(self.stride);
                }
            }
            for (i, &sum) in acc.iter().enumerate() {
                let v = add_residual(simd, sum, &self.residual, i as isize, self.lanes);
                let v = clamp_hi(simd, clamp_lo(simd, v, simd.splat_f32s(self.lo)), simd.splat_f32s(self.hi));
                store(simd, at(&self.output, 0, i as isize), self.lanes, v);
            }
        }
    }
}

/// Calls `tile` with a constant N for 1..=8 pixels.
macro_rules! with_pixels {
    ($count:expr, $n:ident => $tile:expr) => {
        match $count {
            1 => {
                const $n: usize = 1;
                $tile
            }
            2 => {
                const $n: usize = 2;
                $tile
            }
            3 => {
                const $n: usize = 3;
                $tile
            }
            4 => {
                const $n: usize = 4;
                $tile
            }
            5 => {
                const $n: usize = 5;
                $tile
            }
            6 => {
                const $n: usize = 6;
                $tile
            }
            7 => {
                const $n: usize = 7;
                $tile
            }
            _ => {
                const $n: usize = 8;
                $tile
            }
        }
    };
}
pub(super) use with_pixels;
