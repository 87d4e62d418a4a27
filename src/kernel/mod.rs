//! Kernels: functions together with their tile, their packing and their ISA, and the choice among them.

pub(crate) mod arguments;
mod cost;
mod portable;
mod record;
mod registry;
pub mod select;

pub use record::{ConvKernel, DepthwiseKernel, Kernels, PointwiseKernel};
