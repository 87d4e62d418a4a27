//! What this machine makes at the moment, the roofs that networks are held against: fused multiply-adds in registers, and a
//! GEMM whose operands lie in the second-level cache. A machine that others share slows the one and not the other.

use std::hint::black_box;

use pulp::{Arch, Simd, WithSimd};
use sepconv::Isa;

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

/// The loop over vectors of 512 bits, which `pulp` does not choose.
#[cfg(target_arch = "x86_64")]
fn wide_loop(turns: usize) {
    // SAFETY: the caller asked for AVX-512, which `Isa::supported` has found; the loop touches registers alone.
    unsafe {
        std::arch::asm!(
            // Zero throughout: subnormal numbers would be slow.
            "vzeroall",
            "vpxord zmm12, zmm12, zmm12",
            "2:",
            "vfmadd231ps zmm0, zmm12, zmm12",
            "vfmadd231ps zmm1, zmm12, zmm12",
            "vfmadd231ps zmm2, zmm12, zmm12",
            "vfmadd231ps zmm3, zmm12, zmm12",
            "vfmadd231ps zmm4, zmm12, zmm12",
            "vfmadd231ps zmm5, zmm12, zmm12",
            "vfmadd231ps zmm6, zmm12, zmm12",
            "vfmadd231ps zmm7, zmm12, zmm12",
            "vfmadd231ps zmm8, zmm12, zmm12",
            "vfmadd231ps zmm9, zmm12, zmm12",
            "vfmadd231ps zmm10, zmm12, zmm12",
            "vfmadd231ps zmm11, zmm12, zmm12",
            "dec {turns}",
            "jnz 2b",
            "vzeroupper",
            turns = inout(reg) turns => _,
            out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _, out("xmm5") _, out("xmm6") _,
            out("xmm7") _, out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _, out("xmm12") _,
            out("xmm13") _, out("xmm14") _, out("xmm15") _,
            options(nomem, nostack),
        );
    }
}

/// Runs the loop, at least one turn, in the registers of `isa`, which this CPU must have.
pub fn fma_loop(isa: Isa, turns: usize) {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 if Isa::supported().contains(&isa) => wide_loop(turns.max(1)),
        _ => {
            Arch::new().dispatch(Loop(turns));
        }
    }
}

/// Floating-point operations of `turns` turns of the loop.
pub fn flops(isa: Isa, turns: usize) -> f64 {
    let lanes = if isa == Isa::Avx512 { 16 } else { Arch::new().dispatch(Loop(0)) };
    (2 * CHAINS * lanes * turns) as f64
}
