//! Which kernel a layer gets: one decision an operation, from its shape.
#![forbid(unsafe_code)]

use crate::error::{Error, Result};
use crate::isa::{self, Isa};
use crate::kernel::{ConvKernel, DepthwiseKernel, Kernels, PointwiseKernel};

/// The kernel for `m` pixels, `k` input and `n` output channels: one pixel takes the matrix-vector kernel where there is
/// one; other shapes the kernel that costs least.
pub fn pointwise(kernels: &Kernels, m: usize, k: usize, n: usize) -> Result<&'static PointwiseKernel> {
    let shipped = || kernels.pointwise().iter().filter(|kernel| !kernel.is_trial());
    shipped()
        .find(|kernel| m == 1 && kernel.rows() == 1)
        .or_else(|| {
            let tiles = shipped().filter(|kernel| kernel.rows() > 1);
            tiles.min_by(|a, b| cost(a, k, n).total_cmp(&cost(b, k, n)))
        })
        .ok_or_else(|| none("pointwise", kernels))
}

/// What a pixel costs, in multiply-adds. Each vector of output channels takes `k` of them, with a 28th of one for each
/// load, and the more to start and end a tile the more rows it has; the vectors of a last panel that has fewer than the
/// tile take 15 % more. A CPU that computes wide vectors as two halves takes two multiply-adds for each vector, and two
/// loads for one of weights. The figures were fitted to times on Zen 4.
fn cost(kernel: &PointwiseKernel, k: usize, n: usize) -> f64 {
    let halves = if kernel.isa() == Isa::Avx512 && isa::halves_wide_vectors() { 2.0 } else { 1.0 };
    let (rows, columns, lanes) = (kernel.rows() as f64, kernel.columns(), kernel.lanes());
    let full = (n / columns * columns / lanes) as f64;
    let rest = (n % columns).div_ceil(lanes) as f64 * 1.15;
    let vectors = (columns / lanes) as f64 * halves;
    let loads = (rows + vectors) / (rows * vectors);
    (full + rest) * halves * (k as f64 * (1.0 + loads / 28.0) + 1.0 + rows / 4.0)
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
