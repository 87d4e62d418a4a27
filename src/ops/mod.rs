//! The operators, a file each: parameters, packing, safe and raw runs, and what a plan asks of them.

mod add;
mod average_pool;
mod clamp;
mod conv;
mod copy;
mod depthwise;
mod epilogue;
mod leaky_norm;
mod max_pool;
mod operator;
mod pack;
mod part;
mod pointwise;
mod pool;
pub(crate) mod saved;
mod simd;
mod softmax;

pub(crate) use add::Add;
pub use add::add;
pub(crate) use average_pool::{AveragePool, GlobalAveragePool};
pub use average_pool::{average_pool, global_average_pool};
pub(crate) use clamp::Clamping;
pub use clamp::clamp;
pub use conv::{Conv, ConvParams};
pub(crate) use conv::{Dense, Flattened};
pub(crate) use copy::{Copy, CopyRun};
pub(crate) use depthwise::Channelwise;
pub use depthwise::{Depthwise, DepthwiseParams};
pub use epilogue::Epilogue;
pub(crate) use leaky_norm::LeakyNorm;
pub use leaky_norm::leaky_norm;
pub(crate) use max_pool::MaxPool;
pub use max_pool::max_pool;
#[cfg(feature = "reference")]
pub(crate) use operator::Given;
pub(crate) use operator::{Operator, Packed, Site, Traits};
pub(crate) use pack::Packing;
pub use part::Part;
pub(crate) use part::{Call, cut};
pub(crate) use pointwise::Mixing;
pub use pointwise::{Pointwise, PointwiseParams};
pub use softmax::softmax;
