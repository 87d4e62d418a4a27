//! Which kernel a layer gets: one decision an operation, from its shape.
#![forbid(unsafe_code)]

use crate::error::{Error, Result};
use crate::isa::{self, Isa};
use crate::kernel::{ConvKernel, DepthwiseKernel, Kernels, PointwiseKernel};

/// The kernel for `m` pixels, `k` input and `n` output channels: one pixel takes the matrix-vector kernel where there is
/// one; other shapes the kernel that should take the least time.
pub fn pointwise(kernels: &Kernels, m: usize, k: usize, n: usize) -> Result<&'static PointwiseKernel> {
    shared_pointwise(kernels, m, k, n, 1)
}

/// As [`pointwise`], where `threads` threads share the panels of output channels: the time of the thread with the most
/// panels counts.
pub(crate) fn shared_pointwise(
    kernels: &Kernels,
    m: usize,
    k: usize,
    n: usize,
    threads: usize,
) -> Result<&'static PointwiseKernel> {
    let halved = isa::halves_wide_vectors();
    fastest(kernels.pointwise(), halved, (m, k, n), threads).ok_or_else(|| none("pointwise", kernels))
}

fn fastest(
    kernels: &'static [PointwiseKernel],
    halved: bool,
    (m, k, n): (usize, usize, usize),
    threads: usize,
) -> Option<&'static PointwiseKernel> {
    let shipped = || kernels.iter().filter(|kernel| !kernel.is_trial());
    let time = |kernel: &PointwiseKernel| {
        let panels = n.div_ceil(kernel.columns()).div_ceil(threads.max(1));
        time(kernel, halved, (m, k, n.min(panels.saturating_mul(kernel.columns()))))
    };
    shipped()
        .find(|kernel| m == 1 && kernel.rows() == 1)
        .or_else(|| shipped().filter(|kernel| kernel.rows() > 1).min_by(|a, b| time(a).total_cmp(&time(b))))
}

/// Bytes of a panel that stay in the first-level cache beside the pixels that stream past it.
const NEAR: f64 = (24 << 10) as f64;

/// The time of a pixel, where the multiply-add of a vector takes 1 (2 where the CPU computes it as two halves). Fitted to
/// times on Zen 4, hot, within 2 % for full panels.
fn time(kernel: &PointwiseKernel, halved: bool, (m, k, n): (usize, usize, usize)) -> f64 {
    let (columns, lanes) = (kernel.columns(), kernel.lanes());
    let (full, rest) = (columns / lanes, (n % columns).div_ceil(lanes));
    let vector = if is_halved(kernel.isa(), halved) { 2.0 } else { 1.0 };
    let panel = |vectors: usize| {
        let height = kernel.heights()[vectors - 1];
        // Tiles are balanced.
        let rows = m.max(1) as f64 / m.max(1).div_ceil(height) as f64;
        let width = vectors as f64 * vector;
        // Loads beside multiply-adds, and the weights where each tile reads them from the second-level cache.
        let loads = (rows + width) / (rows * width) / 50.0;
        let bytes = k as f64 * (vectors * lanes * size_of::<f32>()) as f64;
        let far = if bytes > NEAR { 1.0 / (40.0 * rows) } else { 0.0 };
        // With a single vector each multiply-add has a pixel of its own to load.
        let single = if vectors == 1 { 1.25 } else { 1.0 };
        // Between tiles: pixel addresses, whose cost the vectors share, and the accumulators; and one multiply-add
        // more for the branches of the general epilogue.
        let ends = 2.0 / (vectors * vectors) as f64 + height as f64 / 7.0 + if vectors < full { 1.0 } else { 0.0 };
        width * single * (k as f64 * (1.0 + loads + far) + ends)
    };
    (n / columns) as f64 * panel(full) + if rest > 0 { panel(rest) } else { 0.0 }
}

/// The depthwise kernel for `stride`.
pub fn depthwise(kernels: &Kernels, stride: usize) -> Result<&'static DepthwiseKernel> {
    let mut shipped = kernels.depthwise().iter().filter(|kernel| !kernel.is_trial());
    shipped.find(|kernel| kernel.stride() == stride).ok_or_else(|| Error::shape("depthwise stride", stride, "1 or 2"))
}

/// The dense convolution kernel: the one with the widest vectors that the CPU computes whole.
pub fn conv(kernels: &Kernels) -> Result<&'static ConvKernel> {
    widest(kernels.conv(), isa::halves_wide_vectors()).ok_or_else(|| none("conv", kernels))
}

fn widest(kernels: &'static [ConvKernel], halved: bool) -> Option<&'static ConvKernel> {
    let shipped = kernels.iter().filter(|kernel| !kernel.is_trial());
    shipped.max_by_key(|kernel| if is_halved(kernel.isa(), halved) { 0 } else { kernel.lanes() })
}

/// Whether a CPU that has wide vectors `halved` computes those of `isa` so.
fn is_halved(isa: Isa, halved: bool) -> bool {
    halved && isa == Isa::Avx512
}

fn none(op: &str, kernels: &Kernels) -> Error {
    Error::shape(op, format!("no shipped kernel for {}", kernels.isa()), "at least one")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel;

    const AVX2: [&str; 3] = ["pw_f32_6x16_avx2", "pw_f32_4x24_avx2", "pw_f32_1x64_avx2"];
    const AVX512: [&str; 3] = ["pw_f32_14x32_avx512", "pw_f32_8x48_avx512", "pw_f32_1x128_avx512"];
    const NEON: [&str; 2] = ["pw_f32_8x8_neon", "pw_f32_1x32_neon"];
    const PORTABLE: &str = "pw_f32_8x16_portable";

    /// Pixels, input and output channels, and the kernel on AVX2, NEON and the portable tier; on AVX-512 with vectors
    /// computed whole, and as two halves.
    const POINTWISE: [(usize, usize, usize, [&str; 5]); 10] = [
        (1, 1024, 1000, [AVX2[2], NEON[1], PORTABLE, AVX512[2], AVX512[2]]),
        (2, 1024, 1000, [AVX2[1], NEON[0], PORTABLE, AVX512[1], AVX2[1]]),
        (12544, 32, 16, [AVX2[0], NEON[0], PORTABLE, AVX512[0], AVX2[0]]),
        (12544, 16, 96, [AVX2[1], NEON[0], PORTABLE, AVX512[1], AVX2[1]]),
        (3136, 144, 24, [AVX2[1], NEON[0], PORTABLE, AVX512[0], AVX2[1]]),
        (784, 192, 32, [AVX2[0], NEON[0], PORTABLE, AVX512[0], AVX512[0]]),
        (196, 64, 384, [AVX2[1], NEON[0], PORTABLE, AVX512[1], AVX2[1]]),
        (196, 512, 512, [AVX2[0], NEON[0], PORTABLE, AVX512[1], AVX512[1]]),
        (361, 728, 728, [AVX2[1], NEON[0], PORTABLE, AVX512[0], AVX2[1]]),
        (49, 1024, 1024, [AVX2[1], NEON[0], PORTABLE, AVX512[0], AVX512[0]]),
    ];

    /// In the same order.
    const CONV: [&str; 5] = [
        "conv_f32_6x16_avx2",
        "conv_f32_8x8_neon",
        "conv_f32_8x16_portable",
        "conv_f32_14x32_avx512",
        "conv_f32_6x16_avx2",
    ];

    /// On every machine, for all ISAs of the build: the choice needs no CPU that has them.
    #[test]
    fn shapes_get_their_kernels() {
        let columns =
            [(Isa::Avx2, false), (Isa::Neon, false), (Isa::Portable, false), (Isa::Avx512, false), (Isa::Avx512, true)];
        for (column, (isa, halved)) in columns.into_iter().enumerate() {
            let Some(kernels) = kernel::of(isa) else { continue };
            for (m, k, n, expected) in POINTWISE {
                let name = fastest(kernels.pointwise(), halved, (m, k, n), 1).map(PointwiseKernel::name);
                assert_eq!(name, Some(expected[column]), "{isa}, halved {halved}: {m}x{k}x{n}");
            }
            // 160 channels are 5 panels of 32, of which one thread would get 3, or 10 of 16.
            let shared = fastest(kernels.pointwise(), halved, (49, 960, 160), 2).map(PointwiseKernel::name);
            assert_eq!(
                shared,
                Some([AVX2[0], NEON[0], PORTABLE, AVX512[1], AVX2[0]][column]),
                "{isa}, halved {halved}"
            );
            let conv = widest(kernels.conv(), halved).map(ConvKernel::name);
            assert_eq!(conv, Some(CONV[column]), "{isa}, halved {halved}");
        }
    }
}
