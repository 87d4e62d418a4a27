//! Graphs of operators over tensors: what a network computes, without an ISA.
//!
//! A [`Builder`] makes a [`Graph`] call by call; a [`Plan`](crate::Plan) makes a graph ready to run. Each call checks its
//! shapes, and its error names the node.

mod arrange;
mod builder;
mod layer;
mod nodes;
mod saved;
mod value;

pub(crate) use builder::LARGEST_TENSOR;
pub use builder::{Builder, Flatten};
pub use layer::{Layer, Norm, Parameters, Tensors};
pub use nodes::{Graph, Node, Tensor};
pub(crate) use value::{Origin, Run};
