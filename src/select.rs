//! Which kernel a layer gets: one decision an operation, from its shape.
#![forbid(unsafe_code)]

use crate::error::{Error, Result};
use crate::kernel::{ConvKernel, DepthwiseKernel, Kernels, PointwiseKernel};

/// The kernel for `m` pixels and `n` output channels: one pixel takes the matrix-vector kernel where there is one; other
/// shapes the tile that leaves the fewest output channels to a narrower last panel.
pub fn pointwise(kernels: &Kernels, m: usize, n: usize) -> Result<&'static PointwiseKernel> {
    let shipped = || kernels.pointwise().iter().filter(|kernel| !kernel.is_trial());
    shipped()
        .find(|kernel| m == 1 && kernel.rows() == 1)
        .or_else(|| shipped().filter(|kernel| kernel.rows() > 1).min_by_key(|kernel| n % kernel.columns()))
        .ok_or_else(|| none("pointwise", kernels))
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
