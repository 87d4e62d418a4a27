//! What a graph and a plan ask of an operator.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::Debug;

use super::pack::Packing;
use super::part::Call;
use crate::blob::Writer;
use crate::error::Result;
use crate::kernel::Kernels;
#[cfg(feature = "reference")]
use crate::tensor::Clamp;
use crate::tensor::{Shape, Window};

/// What a node of a graph computes: the one interface that a plan asks. Each operator's file has its own.
pub(crate) trait Operator: Debug + Send + Sync {
    /// The operator's name.
    fn kind(&self) -> &'static str;

    /// How it can be combined with others.
    fn traits(&self) -> Traits;

    /// The shape of the output for inputs of these shapes, as many as [`Traits::inputs`]; or what is wrong with them.
    fn output(&self, inputs: &[Shape]) -> Result<Shape>;

    /// How its windows lie on an input of this shape.
    fn window(&self, input: Shape) -> Window;

    /// Outputs, inputs a group, rows and columns of the weights for an input of this shape; `None` without weights.
    fn weights(&self, _input: Shape) -> Option<[usize; 4]> {
        None
    }

    /// Equal slices of the input channels that its weights take apart from each other.
    fn groups(&self) -> usize {
        1
    }

    /// Whether sources keep its weights as a matrix of outputs x all else.
    fn weights_are_flat(&self) -> bool {
        false
    }

    /// Whether sources keep the inputs of each output after the taps: outputs x rows x columns x inputs.
    fn inputs_are_last(&self) -> bool {
        false
    }

    /// The operator ready to run at `site`, with the weights of `packing`.
    fn pack(&self, site: &Site, packing: &mut Packing<'_>) -> Result<Arc<dyn Packed>>;

    /// Writes what [`read`](super::saved::read) makes the same operator of.
    fn write(&self, to: &mut Writer);

    /// The output by plain loops: tight images in, a tight image out.
    #[cfg(feature = "reference")]
    fn reference(&self, given: &Given<'_>, inputs: &[&[f32]], clamp: Clamp) -> Vec<f32>;
}

/// How an operator can be combined with others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Traits {
    /// Tensors that it reads.
    pub inputs: usize,
    /// Whether each output channel depends on the input channel of its number alone.
    pub channelwise: bool,
    /// Whether it sums products with weights.
    pub weighted: bool,
    /// Whether its output is the sum of its two inputs.
    pub sums: bool,
    /// Whether it does nothing but clamp its input.
    pub only_clamps: bool,
    /// Whether it can add a residual before its clamp.
    pub adds: bool,
    /// Whether it can clamp its output.
    pub clamps: bool,
    /// Whether it can clamp its input from below.
    pub clamps_input: bool,
    /// Whether its sum over some input channels can be continued with others.
    pub continues: bool,
}

impl Traits {
    /// One input, channel by channel, and nothing else.
    pub const PLAIN: Traits = Traits {
        inputs: 1,
        channelwise: true,
        weighted: false,
        sums: false,
        only_clamps: false,
        adds: false,
        clamps: false,
        clamps_input: false,
        continues: false,
    };
}

/// Where an operator will run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Site {
    pub kernels: &'static Kernels,
    pub input: Shape,
    pub output: Shape,
    /// Images that go together.
    pub batch: usize,
    /// Threads that share its output channels.
    pub sharing: usize,
    /// What clamps its input from below.
    pub input_lo: Option<f32>,
}

/// What the reference of an operator is given besides its inputs.
#[cfg(feature = "reference")]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Given<'a> {
    pub input: Shape,
    /// Weights and biases as in [`Packing`].
    pub weights: (&'a [f32], &'a [f32]),
}

/// An operator with its weights packed.
pub(crate) trait Packed: Debug + Send + Sync {
    /// The name of the kernel, or of the operator.
    fn kernel(&self) -> &'static str;

    /// Weights and biases that `inputs` input and `outputs` output channels need.
    fn weights(&self, _inputs: usize, _outputs: usize) -> usize {
        0
    }

    /// The arrays that it was packed into, in the order in which it took them of its [`Packing`].
    fn arrays(&self) -> Vec<&[f32]> {
        Vec::new()
    }

    /// Output channels that those of a part begin and end at a multiple of, or at the last one; `None` where they cannot
    /// be cut.
    fn channel_step(&self) -> Option<usize> {
        None
    }

    /// How a run of `pixels` is best cut: into so many blocks of whole multiples of so many pixels.
    fn blocks(&self, _pixels: usize, _inputs: usize, _outputs: usize) -> (usize, usize) {
        (1, 1)
    }

    /// Computes what `call` says.
    ///
    /// # Safety
    /// The images of `call` must hold the sizes that stand beside them, for reading (`input`, `residual`) or writing
    /// (`output`, which is initialised where the sum goes on); nothing else may write to them or use the output
    /// meanwhile. The channels must lie inside those of the weights, cut at channel steps; the windows of the
    /// output must fit the input, but for `missing` rows above and what the window's padding says elsewhere.
    unsafe fn run(&self, call: &Call);
}
