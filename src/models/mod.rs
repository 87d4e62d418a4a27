//! The networks: each a thin table of layers, and what each source of weights calls its tensors.
#![forbid(unsafe_code)]

mod config;
mod digits;
mod effnet;
mod file;
mod mobilenet_v1;
mod mobilenet_v2;
mod names;
mod net;
mod network;
mod renamed;
mod shufflenet_v1;
mod shufflenet_v2;
mod squeezenet;
mod xception;

pub use config::{Activation, Architecture, Config, Flavor};
pub use file::{WeightFile, load};
pub use names::TensorNames;
pub use network::Network;
