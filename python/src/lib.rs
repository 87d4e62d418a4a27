//! The Python module `sepconv`: networks and graphs of the crate over numpy arrays. `sepconv/_native.pyi` has its types.

mod arrays;
mod error;
mod graph;
mod network;
mod run;
mod threads;
mod values;
mod weights;

use pyo3::prelude::*;

/// The names of the instruction sets that this CPU can run, the slowest first; the last is taken, or what the environment
/// names in `SEPCONV_ISA`.
#[pyfunction]
fn isas() -> Vec<&'static str> {
    sepconv::Isa::supported().into_iter().map(sepconv::Isa::as_str).collect()
}

/// The part of the module that is written in Rust.
#[pymodule]
mod _native {
    #[pymodule_export]
    use super::error::Error;
    #[pymodule_export]
    use super::graph::{Graph, Tensor};
    #[pymodule_export]
    use super::isas;
    #[pymodule_export]
    use super::network::{Network, Step, load};
    #[pymodule_export]
    use super::values::{Clamp, Flatten, Layer, Padding, Window};
}
