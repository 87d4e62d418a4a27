//! Which kernel a layer gets: one decision an operator, from its shape.
//!
//! ```
//! use sepconv::{Isa, select};
//!
//! let kernels = Isa::best().kernels()?;
//! let kernel = select::pointwise(kernels, 56 * 56, 24, 144)?;
//! assert!(kernel.mr() > 1 && !kernel.is_trial());
//! let kernel = select::depthwise(kernels, (3, 3), 2, 1)?;
//! assert_eq!((kernel.window(), kernel.stride(), kernel.dilation()), ((3, 3), 2, 1));
//! assert!(select::conv(kernels, (7, 7), 3)?.serves((7, 7), 3));
//! // There is none for every window: the error lists what there is.
//! let error = select::depthwise(kernels, (9, 9), 1, 1).unwrap_err();
//! assert!(error.to_string().contains("3x3 stride 2"));
//! # Ok::<(), sepconv::Error>(())
//! ```
#![forbid(unsafe_code)]

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::cost;
use super::record::{ConvKernel, DepthwiseKernel, Kernels, PointwiseKernel};
use crate::error::{Error, Result};
use crate::machine::Machine;

/// The kernel for `m` pixels, `k` input and `n` output channels: one pixel takes the matrix-vector kernel where there is
/// one; other shapes the kernel that should take the least time. An error where none is shipped.
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
    let machine = Machine::this();
    let cpu = (machine.double_pumped_avx512(), machine.l1d());
    fastest(kernels.pointwise(), cpu, (m, k, n), threads).ok_or_else(|| none("pointwise", kernels))
}

fn fastest(
    kernels: &'static [PointwiseKernel],
    cpu: (bool, usize),
    (m, k, n): (usize, usize, usize),
    threads: usize,
) -> Option<&'static PointwiseKernel> {
    let shipped = || kernels.iter().filter(|kernel| !kernel.is_trial());
    let time = |kernel: &PointwiseKernel| {
        let panels = n.div_ceil(kernel.nr()).div_ceil(threads.max(1));
        cost::pointwise(kernel, cpu, (m, k, n.min(panels.saturating_mul(kernel.nr()))))
    };
    shipped()
        .find(|kernel| m == 1 && kernel.mr() == 1)
        .or_else(|| shipped().filter(|kernel| kernel.mr() > 1).min_by(|a, b| time(a).total_cmp(&time(b))))
}

/// The depthwise kernel for a window of so many rows and columns, a stride and a dilation; an error that lists what there
/// is where none is shipped for them.
pub fn depthwise(
    kernels: &Kernels,
    window: (usize, usize),
    stride: usize,
    dilation: usize,
) -> Result<&'static DepthwiseKernel> {
    let shipped = || kernels.depthwise().iter().filter(|kernel| !kernel.is_trial());
    let shape = |(height, width): (usize, usize), stride: usize, dilation: usize| {
        let dilated = if dilation == 1 { String::new() } else { format!(" dilation {dilation}") };
        format!("{height}x{width} stride {stride}{dilated}")
    };
    shipped()
        .find(|kernel| (kernel.window(), kernel.stride(), kernel.dilation()) == (window, stride, dilation))
        .ok_or_else(|| {
            let known: Vec<_> = shipped().map(|of| shape(of.window(), of.stride(), of.dilation())).collect();
            Error::shape("depthwise window", shape(window, stride, dilation), format!("one of {}", known.join(", ")))
        })
}

/// The dense convolution kernel for a window of so many rows and columns over `inputs` channels: that for stems where it
/// serves, else that for any shape; of several the one with the widest vectors that the CPU computes whole. An error where
/// none is shipped.
pub fn conv(kernels: &Kernels, window: (usize, usize), inputs: usize) -> Result<&'static ConvKernel> {
    best_conv(kernels.conv(), Machine::this().double_pumped_avx512(), window, inputs)
        .ok_or_else(|| none("conv", kernels))
}

fn best_conv(
    kernels: &'static [ConvKernel],
    double_pumped: bool,
    window: (usize, usize),
    inputs: usize,
) -> Option<&'static ConvKernel> {
    let serves = |kernel: &&ConvKernel| !kernel.is_trial() && kernel.serves(window, inputs);
    let whole = |kernel: &ConvKernel| !cost::is_double_pumped(kernel.isa(), double_pumped);
    kernels.iter().filter(serves).max_by_key(|kernel| (kernel.stem(), if whole(kernel) { kernel.lanes() } else { 0 }))
}

fn none(op: &str, kernels: &Kernels) -> Error {
    Error::shape(op, format!("no shipped kernel for {}", kernels.isa()), "at least one")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Isa;
    use crate::kernel::registry;

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

    /// In the same order: any shape, and stems.
    const CONV: [[&str; 2]; 5] = [
        ["conv_f32_6x16_avx2", "stem_f32_6x16_avx2"],
        ["conv_f32_8x8_neon", "stem_f32_8x8_neon"],
        ["conv_f32_8x16_portable", "conv_f32_8x16_portable"],
        ["conv_f32_14x32_avx512", "stem_f32_14x32_avx512"],
        ["conv_f32_6x16_avx2", "stem_f32_6x16_avx2"],
    ];

    /// In the same order: a 3x3 window with stride 1 and 2.
    const DEPTHWISE: [[&str; 2]; 5] = [
        ["dw3x3s1_f32_2x4x8_avx2", "dw3x3s2_f32_2x4x8_avx2"],
        ["dw3x3s1_f32_4x4x4_neon", "dw3x3s2_f32_2x4x4_neon"],
        ["dw3x3s1_f32_1x4x16_portable", "dw3x3s2_f32_1x4x16_portable"],
        ["dw3x3s1_f32_4x4x16_avx512", "dw3x3s2_f32_2x4x16_avx512"],
        ["dw3x3s1_f32_4x4x16_avx512", "dw3x3s2_f32_2x4x16_avx512"],
    ];

    /// The first-level data cache of Zen.
    const L1D: usize = 32 << 10;

    /// On every machine, for all ISAs of the build: the choice needs no CPU that has them.
    #[test]
    fn shapes_get_their_kernels() {
        let columns =
            [(Isa::Avx2, false), (Isa::Neon, false), (Isa::Portable, false), (Isa::Avx512, false), (Isa::Avx512, true)];
        for (column, (isa, double_pumped)) in columns.into_iter().enumerate() {
            let Some(kernels) = registry::of(isa) else { continue };
            for (m, k, n, expected) in POINTWISE {
                let name = fastest(kernels.pointwise(), (double_pumped, L1D), (m, k, n), 1).map(PointwiseKernel::name);
                assert_eq!(name, Some(expected[column]), "{isa}, double-pumped {double_pumped}: {m}x{k}x{n}");
            }
            // 160 channels are 5 panels of 32, of which one thread would get 3, or 10 of 16.
            let shared =
                fastest(kernels.pointwise(), (double_pumped, L1D), (49, 960, 160), 2).map(PointwiseKernel::name);
            assert_eq!(
                shared,
                Some([AVX2[0], NEON[0], PORTABLE, AVX512[1], AVX2[0]][column]),
                "{isa}, double-pumped {double_pumped}"
            );
            for (window, inputs, expected) in [
                ((3, 3), 32, CONV[column][0]),
                ((3, 5), 3, CONV[column][0]),
                ((1, 1), 3, CONV[column][0]),
                ((3, 3), 3, CONV[column][1]),
            ] {
                let name = best_conv(kernels.conv(), double_pumped, window, inputs).map(ConvKernel::name);
                assert_eq!(name, Some(expected), "{isa}, double-pumped {double_pumped}: {window:?} over {inputs}");
            }
            for (stride, expected) in [1, 2].into_iter().zip(DEPTHWISE[column]) {
                assert_eq!(depthwise(kernels, (3, 3), stride, 1).map(DepthwiseKernel::name), Ok(expected));
            }
            let refused =
                depthwise(kernels, (3, 4), 1, 2).map(DepthwiseKernel::name).map_err(|error| error.to_string());
            let error = refused.expect_err("there is no such window");
            assert!(error.contains("3x4 stride 1 dilation 2") && error.contains("3x3 stride 2"), "{error}");
        }
    }
}
