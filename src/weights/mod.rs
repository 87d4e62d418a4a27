//! Where the numbers come from, with the folding of batch normalisation into them.
#![forbid(unsafe_code)]

mod file;
mod fold;
mod hash;
mod source;

pub use file::SafetensorsWeights;
pub use fold::{Folded, fold};
pub(crate) use fold::{Reader, Ready, Unfolded, read};
pub use hash::{HashWeights, hash_of_bits};
pub use source::Weights;
