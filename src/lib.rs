#![doc = include_str!("../README.md")]
#![cfg_attr(not(sepconv_kernels), allow(dead_code))]

mod buffer;
pub mod conv;
pub mod depthwise;
pub mod elementwise;
mod epilogue;
mod error;
mod isa;
mod kernel;
pub mod net;
mod pack;
pub mod parallel;
mod plan;
pub mod pointwise;
mod portable;
pub mod reference;
pub mod select;
mod tensor;
pub mod weights;

pub use buffer::AlignedBuffer;
pub use epilogue::{Clamp, Epilogue};
pub use error::{Error, Result};
pub use isa::Isa;
pub use kernel::{ConvKernel, DepthwiseKernel, Kernels, PointwiseKernel};
pub use plan::{Description, Fusion, Options, Plan, Workspace};
pub use tensor::{Layout, View, ViewMut};
