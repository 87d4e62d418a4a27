//! Where the numbers come from, with the folding of batch normalisation into them.
#![forbid(unsafe_code)]

mod file;
mod fold;
mod hash;

use std::borrow::Cow;

pub use file::SafetensorsWeights;
pub use fold::{Folded, fold, scheme};
pub use hash::{HashWeights, hash_of_bits};

use crate::error::Result;

/// A source of tensors by name.
pub trait Weights {
    /// The tensor `name` of `shape`, row-major; or why there is none.
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Cow<'_, [f32]>, String>;

    /// The names of all tensors where the source is a closed list: they decide whose names the source has, and those
    /// that the network has no use for can be named. A source without a list has tensors of any name of
    /// [`Scheme::Torch`](crate::net::Scheme).
    fn names(&self) -> Vec<String> {
        Vec::new()
    }
}
