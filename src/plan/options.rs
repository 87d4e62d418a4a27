//! What a plan can be asked for.

use crate::isa::Isa;

/// How to build a plan.
///
/// ```
/// use sepconv::models::{Architecture, Config, Network};
/// use sepconv::parallel::Serial;
/// use sepconv::weights::HashWeights;
/// use sepconv::{Fusion, Isa, Options};
///
/// let config = Config { resolution: 64, ..Config::of(Architecture::MobilenetV2) };
/// let network = Network::new(Architecture::MobilenetV2, &config)?;
/// let plan = |options| network.plan(&HashWeights, &Serial, options);
/// let alone = plan(Options { fusion: Fusion::Off, isa: Some(Isa::Portable), batch: 2, ..Options::default() })?;
/// assert_eq!((alone.isa(), alone.batch()), (Isa::Portable, 2));
/// // Chains of layers are one step each, and need less memory.
/// let fused = plan(Options { fusion: Fusion::Strips(2), ..Options::default() })?;
/// assert!(fused.describe().len() < alone.describe().len());
/// let small = plan(Options { low_memory: true, ..Options::default() })?;
/// assert!(small.peak_bytes() < alone.with_batch(1)?.peak_bytes());
/// // A step a node.
/// let observed = plan(Options { observed: true, ..Options::default() })?;
/// assert_eq!(observed.describe().len(), network.graph().nodes().len());
/// # Ok::<(), sepconv::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// The ISA; `None` takes [`Isa::selected`].
    pub isa: Option<Isa>,
    /// Images a run; 0 is taken as 1, more than 65536 are an error.
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
/// cache. [`Options`] has an example.
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
