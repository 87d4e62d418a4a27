#![doc = include_str!("../README.md")]
#![cfg_attr(not(sepconv_kernels), allow(dead_code))]
#![cfg_attr(not(any(feature = "std", test)), no_std)]

extern crate alloc;

mod blob;
#[cfg(feature = "capi")]
pub mod capi;
mod error;
pub mod graph;
mod isa;
mod kernel;
mod machine;
mod math;
pub mod models;
pub mod ops;
pub mod parallel;
mod plan;
mod portable;
#[cfg(feature = "reference")]
pub mod reference;
mod tensor;
pub mod weights;

pub use error::{Error, Result};
pub use graph::Graph;
pub use isa::Isa;
pub use kernel::{ConvKernel, DepthwiseKernel, Kernels, PointwiseKernel, select};
pub use ops::Epilogue;
#[cfg(feature = "reference")]
pub use plan::Computed;
pub use plan::{Bytes, Description, Fusion, Inputs, LoadOptions, Observer, Options, Outputs, Plan, Workspace};
pub use tensor::{AlignedBuffer, Batch, BatchMut, Clamp, Layout, Padding, Shape, View, ViewMut, Window};
