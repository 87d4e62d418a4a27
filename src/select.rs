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

/// What a pixel costs, in multiply-adds: the panels of full width, and the last one with the vectors that remain, in
/// tiles of the height that the templates give it (8 pixels of wide vectors, about 10 of others).
fn cost(kernel: &PointwiseKernel, k: usize, n: usize) -> f64 {
    let (columns, lanes) = (kernel.columns(), kernel.lanes());
    let halves = if kernel.isa() == Isa::Avx512 && isa::halves_wide_vectors() { 2.0 } else { 1.0 };
    let panel = |rows: usize, vectors: usize| vectors as f64 * halves * cost_of_vector(rows, vectors, halves, k);
    let rest = (n % columns).div_ceil(lanes);
    let height = if lanes >= 16 { 8 } else { 10 };
    (n / columns) as f64 * panel(kernel.rows(), columns / lanes) + if rest > 0 { panel(height, rest) } else { 0.0 }
}

/// What `k` input channels cost a pixel and a vector in a tile of `rows` by `vectors`, in multiply-adds: one each, a
/// 28th for each load, and more to start and end a tile, the less each pixel's address is used; a single vector takes
/// 15 % more. A CPU that computes a vector in two `halves` takes two loads for one of weights. Fitted to times on Zen 4.
fn cost_of_vector(rows: usize, vectors: usize, halves: f64, k: usize) -> f64 {
    let (rows, vectors) = (rows as f64, vectors as f64);
    let loads = (rows + vectors * halves) / (rows * vectors * halves);
    let ends = rows / 14.0 + 7.0 / (vectors * vectors);
    (k as f64 * (1.0 + loads / 28.0) + ends) * if vectors == 1.0 { 1.15 } else { 1.0 }
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
