//! The fused multiply-adds that this machine makes in a second at the moment: the roof that kernels are held against.

use std::hint::black_box;

use pulp::{Arch, Simd, WithSimd};

/// Chains in flight: enough to hide the latency of every core in use, few enough for sixteen registers.
const CHAINS: usize = 12;

struct Loop(usize);

impl WithSimd for Loop {
    type Output = usize;

    /// Returns the lanes of a vector.
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> usize {
        let (factor, summand) = (simd.splat_f32s(black_box(0.999)), simd.splat_f32s(black_box(0.001)));
        let mut chains = [simd.splat_f32s(black_box(1.0)); CHAINS];
        for _ in 0..self.0 {
            for chain in &mut chains {
                *chain = simd.mul_add_f32s(*chain, factor, summand);
            }
        }
        black_box(chains);
        S::F32_LANES
    }
}

/// Runs the loop.
pub fn fma_loop(turns: usize) {
    Arch::new().dispatch(Loop(turns));
}

/// Floating-point operations of `turns` turns of the loop.
pub fn flops(turns: usize) -> f64 {
    (2 * CHAINS * Arch::new().dispatch(Loop(0)) * turns) as f64
}
