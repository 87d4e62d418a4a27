//! The operators, a file each: parameters, packing, safe and raw runs, and what a plan asks of them.

mod add;
mod average_pool;
mod clamp;
mod conv;
mod depthwise;
mod epilogue;
mod max_pool;
mod pack;
mod pointwise;
mod simd;
mod softmax;

use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

pub(crate) use add::Add;
pub use add::add;
pub(crate) use average_pool::{AveragePool, GlobalAveragePool};
pub use average_pool::{average_pool, global_average_pool};
pub(crate) use clamp::Clamping;
pub use clamp::clamp;
pub(crate) use conv::Dense;
pub use conv::{Conv, ConvParams};
pub(crate) use depthwise::Channelwise;
pub use depthwise::{Depthwise, DepthwiseParams};
pub use epilogue::Epilogue;
pub(crate) use max_pool::MaxPool;
pub use max_pool::max_pool;
pub(crate) use pointwise::Mixing;
pub use pointwise::{Pointwise, PointwiseParams};
pub use softmax::softmax;

use crate::error::{Error, Result};
use crate::kernel::Kernels;
use crate::tensor::buffer::Arena;
use crate::tensor::{Clamp, Image, Shape, View, ViewMut, Window};

/// Elements that a second-level cache holds, 512 KB: the smallest of the CPUs that the plans are made for.
pub(crate) const CACHE: usize = 128 * 1024;

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

    /// Whether sources keep its weights as a matrix of outputs x inputs.
    fn weights_are_flat(&self) -> bool {
        false
    }

    /// The operator ready to run at `site`, its weights packed into `arena`.
    fn pack(&self, site: &Site<'_>, arena: &mut Arena) -> Result<Arc<dyn Packed>>;

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
    /// Whether it has weights.
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
pub(crate) struct Site<'a> {
    pub kernels: &'static Kernels,
    pub input: Shape,
    pub output: Shape,
    /// Images a run.
    pub batch: usize,
    /// Threads that share its output channels.
    pub sharing: usize,
    /// What clamps its input from below.
    pub input_lo: Option<f32>,
    /// Weights (outputs x inputs a group x rows x columns) and a bias an output; empty without weights.
    pub weights: (&'a [f32], &'a [f32]),
}

/// What the reference of an operator is given besides its inputs.
#[cfg(feature = "reference")]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Given<'a> {
    pub input: Shape,
    /// Weights and biases as in [`Site`].
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

/// Some rows and channels of an operator's output.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// At the first channel of `inputs` of the first row that is there.
    pub input: Image,
    /// Rows and columns of it.
    pub input_size: (usize, usize),
    /// Rows of the first window that are missing above.
    pub missing: usize,
    /// At the first channel of `outputs` of the first row to compute.
    pub output: Image,
    /// Rows and columns of it.
    pub output_size: (usize, usize),
    /// What is added before the clamp, where there is one; of the output's size.
    pub residual: Image,
    /// Input channels to read: all of them, unless the operator continues sums.
    pub inputs: Range<usize>,
    /// Output channels to compute.
    pub outputs: Range<usize>,
    pub clamp: Clamp,
}

/// Some rows and some channels of an operator's output, for callers that share one operator among threads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Output rows.
    pub rows: Range<usize>,
    /// Output channels: from a multiple of the operator's `channel_step` to another, or to the last channel.
    pub channels: Range<usize>,
}

impl Part {
    /// All of an output of `shape`.
    pub fn all(shape: Shape) -> Self {
        Part { rows: 0..shape.height, channels: 0..shape.channels }
    }

    /// Some `rows` of an output of `shape`, with all channels.
    pub fn rows(rows: Range<usize>, shape: Shape) -> Self {
        Part { rows, ..Part::all(shape) }
    }

    /// Some `channels` of an output of `shape`, with all rows.
    pub fn channels(channels: Range<usize>, shape: Shape) -> Self {
        Part { channels, ..Part::all(shape) }
    }
}

impl Call {
    /// The call that computes `part` from the whole `input`, which holds `inputs` and is at the first of them; `output`,
    /// and the residual, have the size of the part.
    fn of(
        window: &Window,
        part: &Part,
        (input, inputs): (View<'_>, Range<usize>),
        epilogue: &Epilogue<'_>,
        output: &mut ViewMut<'_>,
    ) -> Call {
        let (source, target) = (input.layout(), output.layout());
        let strip = window.strip(&part.rows, source.height);
        Call {
            input: input.image().offset(strip.first, 0, 0),
            input_size: (strip.height, source.width),
            missing: strip.missing,
            output: output.image(),
            output_size: (target.height, target.width),
            residual: epilogue.residual.map_or(Image::NONE, |residual| residual.image()),
            inputs,
            outputs: part.channels.clone(),
            clamp: epilogue.clamp,
        }
    }
}

/// Whether `part` of an output of shape `whole` holds any element, with channels cut at multiples of `step`; an error
/// where it is no part, or `output` or the residual have another size.
fn check_part(
    what: &str,
    step: usize,
    whole: Shape,
    part: &Part,
    epilogue: &Epilogue<'_>,
    output: &ViewMut<'_>,
) -> Result<bool> {
    let Part { rows, channels } = part;
    let cut = |channel: usize| channel == whole.channels || channel.is_multiple_of(step);
    let rows_inside = rows.start <= rows.end && rows.end <= whole.height;
    let channels_inside = channels.start <= channels.end && channels.end <= whole.channels;
    if !rows_inside || !channels_inside || !cut(channels.start) || !cut(channels.end) {
        let expected = format!("rows and channels of {whole}, the channels cut at multiples of {step}");
        return Err(Error::shape(format!("{what} part"), format!("{part:?}"), expected));
    }
    let shape = Shape { height: rows.len(), width: whole.width, channels: channels.len() };
    output.layout().expect(&format!("{what} output"), shape)?;
    if let Some(residual) = epilogue.residual {
        residual.layout().expect(&format!("{what} residual"), shape)?;
    }
    Ok(!shape.is_empty())
}

/// The error for an array whose length is not the product of `shape`, if it is not.
fn expect_length(what: &str, got: usize, shape: &[usize]) -> Result<()> {
    let expected = shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
    if expected == Some(got) {
        return Ok(());
    }
    let product = shape.iter().map(usize::to_string).collect::<Vec<_>>().join(" x ");
    Err(Error::Length { what: what.into(), got, expected: product })
}

/// Cuts 0..`count` into at most `parts` ranges of nearly equal length whose bounds are multiples of `unit`.
pub(crate) fn cut(count: usize, unit: usize, parts: usize) -> impl Iterator<Item = Range<usize>> {
    let units = count.div_ceil(unit);
    let parts = parts.min(units).max(1);
    (0..parts).map(move |part| units * part / parts * unit..(units * (part + 1) / parts * unit).min(count))
}
