//! Which kernel a layer gets: one decision an operation, from its shape.
#![forbid(unsafe_code)]

use crate::error::{Error, Result};
use crate::isa::{self, Isa};
use crate::kernel::{ConvKernel, DepthwiseKernel, Kernels, PointwiseKernel};

/// The kernel for `m` pixels and `n` output channels: one pixel takes the matrix-vector kernel where there is one;
/// other shapes the kernel that costs least. A CPU that computes wide vectors as two halves keeps the narrow ones'
/// tile: on Zen 4, 4x24 of AVX2 made Xception 2.5 % faster than 8x48 of AVX-512, MobileNet V1 1 %.
pub fn pointwise(kernels: &Kernels, m: usize, n: usize) -> Result<&'static PointwiseKernel> {
    let shipped = || kernels.pointwise().iter().filter(|kernel| !kernel.is_trial());
    let halved = kernels.isa() == Isa::Avx512 && isa::halves_wide_vectors();
    let cost = |kernel: &PointwiseKernel| {
        let wide = kernel.isa() == Isa::Avx512;
        cost(kernel, n) * if halved && wide { 1.1 } else { 1.0 }
    };
    shipped()
        .find(|kernel| m == 1 && kernel.rows() == 1)
        .or_else(|| shipped().filter(|kernel| kernel.rows() > 1).min_by(|a, b| cost(a).total_cmp(&cost(b))))
        .ok_or_else(|| none("pointwise", kernels))
}

/// What a pixel costs, in multiply-adds of whole vectors: 15 % more in a last panel of fewer of them than the tile's;
/// an eighth for each load; and half a lane of each vector for the work that a wide vector spreads over more channels.
/// The weights were fitted to times on Zen 4.
fn cost(kernel: &PointwiseKernel, n: usize) -> f64 {
    let (rows, columns, lanes) = (kernel.rows() as f64, kernel.columns(), kernel.lanes());
    let (whole, rest) = (n / columns * columns, (n % columns).next_multiple_of(lanes));
    let rest = rest as f64 * if rest == columns { 1.0 } else { 1.15 };
    let vectors = (columns / lanes) as f64;
    let loads = (rows + vectors) / (rows * vectors);
    (whole as f64 + rest) * (1.0 + loads / 8.0) * (1.0 + 0.5 / lanes as f64)
}

/// The depthwise kernel for `stride`.
pub fn depthwise(kernels: &Kernels, stride: usize) -> Result<&'static DepthwiseKernel> {
    let mut shipped = kernels.depthwise().iter().filter(|kernel| !kernel.is_trial());
    shipped.find(|kernel| kernel.stride() == stride).ok_or_else(|| Error::shape("depthwise stride", stride, "1 or 2"))
}

/// The dense convolution kernel.
pub fn conv(kernels: &Kernels) -> Result<&'static ConvKernel> {
    kernels.conv().iter().find(|kernel| !kernel.is_trial()).ok_or_else(|| none("conv", kernels))
}

fn none(op: &str, kernels: &Kernels) -> Error {
    Error::shape(op, format!("no shipped kernel for {}", kernels.isa()), "at least one")
}
