//! What a plan can be asked for.

use crate::isa::Isa;

/// How to build a plan.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// The ISA; `None` takes [`Isa::selected`].
    pub isa: Option<Isa>,
    /// Images a run; 0 is taken as 1.
    pub batch: usize,
    /// Gives every node a tensor of its own, so that an [`Observer`](super::Observer) sees them all. Without it, additions
    /// and clamps are part of the convolutions beside them. The bits are the same.
    pub observed: bool,
    /// Copies inputs into the workspace before the first node, and outputs out of it after the last: then a run also takes
    /// and gives images plane by plane (NCHW), and takes bytes ([`Inputs`](super::Inputs)). The bits are the same.
    pub staged: bool,
    /// Which layers are computed together. The bits are the same.
    pub fusion: Fusion,
    /// Computes, strip by strip of its rows, every chain of layers that takes less memory so, and inverted residuals
    /// by blocks of their expanded channels where that takes less still (MobileNet V2, section 5.1). Goes before
    /// `Fusion::Auto` and `Fusion::Off`. The bits are the same.
    pub low_memory: bool,
}

/// Which layers are computed together, strip by strip of their output rows, so that the tensors between them stay in a
/// cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fusion {
    /// Those where it pays.
    #[default]
    Auto,
    /// None, but for what `low_memory` asks.
    Off,
    /// Every chain that allows it, in strips of this many output rows (0 is taken as 1), `low_memory` or not. For
    /// measurements.
    Strips(usize),
}
