//! The portable tier: the kernels over `pulp`, written apart from the C templates.
//!
//! Addresses are computed with wrapping arithmetic: those past a row's last weight or of an image without channels are
//! computed too, and never read.

pub(crate) mod conv;
pub(crate) mod depthwise;
mod gemm;
pub(crate) mod pointwise;
pub(crate) mod vector;

pub(crate) use gemm::PIXELS;
pub(crate) use vector::BLOCK;
