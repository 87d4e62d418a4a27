//! A graph made ready to run: weights packed, kernels chosen, memory laid out, work cut. What is constant is computed
//! when the plan is built; a run only walks it.

mod bytes;
mod calls;
mod compile;
mod describe;
mod images;
mod lower;
mod memory;
mod options;
mod packed;
#[cfg(all(test, feature = "reference"))]
mod random_graphs;
#[cfg(feature = "reference")]
mod reference;
mod run;
mod saved;
mod schedule;
mod step;
mod workspace;

pub use describe::Description;
pub use images::{Bytes, Inputs, Outputs};
pub use options::{Fusion, Options};
pub use packed::Plan;
#[cfg(feature = "reference")]
pub use reference::Computed;
pub use run::Observer;
pub use saved::LoadOptions;
pub use workspace::Workspace;
