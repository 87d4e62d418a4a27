//! Which kernel a layer gets: one decision an operation, from its shape.
#![forbid(unsafe_code)]

use crate::error::{Error, Result};
use crate::kernel::{ConvKernel, DepthwiseKernel, Kernels, PointwiseKernel};

/// The kernel for `m` pixels and `n` output channels: one pixel takes the matrix-vector kernel where there is one; other
/// shapes the kernel that costs least.
pub fn pointwise(kernels: &Kernels, m: usize, n: usize) -> Result<&'static PointwiseKernel> {
    let shipped = || kernels.pointwise().iter().filter(|kernel| !kernel.is_trial());
    shipped()
        .find(|kernel| m == 1 && kernel.rows() == 1)
        .or_else(|| shipped().filter(|kernel| kernel.rows() > 1).min_by_key(|kernel| cost(kernel, n)))
        .ok_or_else(|| none("pointwise", kernels))
}

/// What a pixel costs, in thousandths of a channel at the full speed of the machine: whole vectors; 15 % more in a last
/// panel of fewer of them, whose tile loads more per multiply-add; and of each vector half a lane for the work that wide
/// vectors share. The weights were fitted to measured times.
fn cost(kernel: &PointwiseKernel, n: usize) -> usize {
    let whole = n / kernel.columns() * kernel.columns();
    let rest = (n - whole).next_multiple_of(kernel.lanes());
    let rest = if rest == kernel.columns() { 1000 * rest } else { 1150 * rest };
    (1000 * whole + rest) * (2 * kernel.lanes() + 1) / (2 * kernel.lanes())
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
