//! Pointwise (1x1) convolution: a GEMM over pixels with packed weights. Fully connected layers are one of a single pixel.

use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;

use super::epilogue::Epilogue;
#[cfg(feature = "reference")]
use super::operator::Given;
use super::operator::{Operator, Packed, Site, Traits};
use super::pack::{self, Packing, Panels};
use super::part::{Call, Part, check_part};
use crate::blob::Writer;
use crate::error::{Error, Result};
use crate::kernel::{Kernels, PointwiseKernel, arguments, select};
use crate::machine::{Blocking, Machine};
#[cfg(feature = "reference")]
use crate::reference;
#[cfg(feature = "reference")]
use crate::tensor::Clamp;
use crate::tensor::buffer::Arena;
use crate::tensor::{Image, Shape, View, ViewMut, Window};

/// What a pointwise convolution computes.
///
/// ```
/// use sepconv::Isa;
/// use sepconv::ops::{Pointwise, PointwiseParams};
///
/// // Six outputs of four inputs, each of two of them: one weight for each pair.
/// let params = PointwiseParams { groups: 2, ..PointwiseParams::new(4, 6) };
/// let op = Pointwise::new(Isa::selected()?.kernels()?, params, 100, &[0.5; 6 * 2], &[0.0; 6])?;
/// // A part of the channels is some of the groups.
/// assert_eq!((op.params(), op.channel_step()), (params, 3));
/// # Ok::<(), sepconv::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PointwiseParams {
    /// Input channels.
    pub inputs: usize,
    /// Output channels.
    pub outputs: usize,
    /// Input rows and pixels from one that is read to the next, the first of which is read: 1, or 2 for the shortcuts of
    /// residual networks.
    pub stride: usize,
    /// Equal slices of the channels, each convolved by itself; a divisor of the inputs and of the outputs.
    pub groups: usize,
}

impl PointwiseParams {
    /// From `inputs` to `outputs` channels, every pixel.
    pub const fn new(inputs: usize, outputs: usize) -> Self {
        PointwiseParams { inputs, outputs, stride: 1, groups: 1 }
    }

    /// Inputs and outputs of a group; an error where the groups do not divide them.
    fn of_group(&self) -> Result<(usize, usize)> {
        let PointwiseParams { inputs, outputs, groups, .. } = *self;
        // Every number divides 0, and each group takes room.
        let divides = groups > 0 && inputs.is_multiple_of(groups) && outputs.is_multiple_of(groups);
        if !divides || groups > outputs.max(1) {
            let expected = format!("a divisor of {inputs} inputs and {outputs} outputs");
            return Err(Error::shape("pointwise groups", groups, expected));
        }
        Ok((inputs / groups, outputs / groups))
    }
}

/// A pointwise convolution with its weights packed for one kernel, which it carries.
///
/// ```
/// use sepconv::ops::{Epilogue, Part, Pointwise, PointwiseParams};
/// use sepconv::{Clamp, Isa, View, ViewMut};
///
/// let kernels = Isa::selected()?.kernels()?;
/// // Two output channels of three inputs, for images of about 4 pixels.
/// let weights = [1.0, 0.0, -1.0, 0.5, 0.5, 0.5];
/// let op = Pointwise::new(kernels, PointwiseParams::new(3, 2), 4, &weights, &[0.0, 1.0])?;
/// let (input, mut output) = ([1.0, 2.0, 3.0].repeat(4), [0.0; 4 * 2]);
/// op.run(View::tight(&input, 2, 2, 3)?, Epilogue::clamp(Clamp::RELU), ViewMut::tight(&mut output, 2, 2, 2)?)?;
/// assert_eq!(output[..2], [0.0, 4.0]);
///
/// // Of every other row and pixel, with a kernel of the caller's choice.
/// let params = PointwiseParams { stride: 2, ..op.params() };
/// let op = Pointwise::with_kernel(op.kernel(), params, &weights, &[0.0, 1.0])?;
/// let (input, mut output) = (View::tight(&input, 2, 2, 3)?, [0.0; 2]);
/// let part = Part::all(op.output(input.layout().shape())?);
/// // SAFETY: `part` is all of the output, which has one pixel of two channels.
/// unsafe { op.run_unchecked(&part, input, Epilogue::default(), ViewMut::tight(&mut output, 1, 1, 2)?) };
/// assert_eq!(output, [-2.0, 4.0]);
/// # Ok::<(), sepconv::Error>(())
/// ```
#[derive(Debug)]
pub struct Pointwise {
    kernel: &'static PointwiseKernel,
    params: PointwiseParams,
    /// Inputs and outputs of a group.
    group: (usize, usize),
    /// Of each group.
    panels: Vec<Panels>,
}

impl Pointwise {
    /// Packs `weights` (`outputs` rows of the inputs of a group, the layout O, I of a 1x1 convolution and of a linear layer) and `bias`
    /// (one an output) for the kernel that is best for `pixels` output pixels. Any number of pixels can be run. An error where
    /// a length is not that of `params`, or the groups do not divide the channels.
    pub fn new(
        kernels: &'static Kernels,
        params: PointwiseParams,
        pixels: usize,
        weights: &[f32],
        bias: &[f32],
    ) -> Result<Self> {
        let (inputs, outputs) = params.of_group()?;
        let kernel = select::pointwise(kernels, pixels, inputs, outputs)?;
        Self::with_kernel(kernel, params, weights, bias)
    }

    /// As [`new`](Self::new), for a kernel of the caller's choice.
    pub fn with_kernel(
        kernel: &'static PointwiseKernel,
        params: PointwiseParams,
        weights: &[f32],
        bias: &[f32],
    ) -> Result<Self> {
        Self::packed(kernel, params, &mut Packing::Fresh { arena: &mut Arena::new(0)?, weights, bias })
    }

    fn packed(kernel: &'static PointwiseKernel, params: PointwiseParams, packing: &mut Packing<'_>) -> Result<Self> {
        window(params.stride).check("pointwise")?;
        let group @ (inputs, outputs) = params.of_group()?;
        let weights = ("pointwise weights (outputs x inputs a group)", &[params.outputs, inputs][..]);
        packing.expect(weights, ("pointwise bias (outputs)", params.outputs))?;
        let rows = (if outputs == 0 { 0 } else { inputs }, 1);
        let tile = (kernel.nr(), kernel.lanes());
        let groups = (0..params.groups).map(|group| group * outputs..(group + 1) * outputs);
        let mut pack = |outputs| pack::panels(packing, tile, rows, outputs);
        let panels = groups.map(&mut pack).collect::<Result<Vec<_>>>()?;
        Ok(Pointwise { kernel, params, group, panels })
    }

    /// The kernel that the weights are packed for.
    pub fn kernel(&self) -> &'static PointwiseKernel {
        self.kernel
    }

    /// What it computes.
    pub fn params(&self) -> PointwiseParams {
        self.params
    }

    /// The shape of the output for an input of `shape`; an error where the channels are not those of the weights.
    pub fn output(&self, shape: Shape) -> Result<Shape> {
        self.expect(shape, self.params.inputs)
    }

    fn expect(&self, shape: Shape, inputs: usize) -> Result<Shape> {
        if shape.channels != inputs {
            return Err(Error::shape("pointwise input", shape, format!("{inputs} channels")));
        }
        let stride = self.params.stride;
        let (height, width) = (shape.height.div_ceil(stride), shape.width.div_ceil(stride));
        Ok(Shape { height, width, channels: self.params.outputs })
    }

    /// Output channels that those of a [`Part`] begin and end at a multiple of, or at the last one.
    pub fn channel_step(&self) -> usize {
        match self.params.groups {
            1 => self.kernel.nr(),
            // Whole groups.
            _ => self.group.1.max(1),
        }
    }

    /// Computes the whole output; an error where a view has another shape than the operator says.
    pub fn run(&self, input: View<'_>, epilogue: Epilogue<'_>, output: ViewMut<'_>) -> Result<()> {
        let part = Part::all(self.output(input.layout().shape())?);
        self.run_part(&part, input, epilogue, output)
    }

    /// Computes `part` of the output from the whole `input`. `output`, and the residual, have the size of the part, so
    /// that several threads can share the work; the bits are those of one run. An error where a size is another, or the part
    /// is none of this output ([`channel_step`](Self::channel_step)).
    pub fn run_part(&self, part: &Part, input: View<'_>, epilogue: Epilogue<'_>, output: ViewMut<'_>) -> Result<()> {
        self.run_inputs(0..self.params.inputs, part, input, epilogue, output)
    }

    /// As [`run_part`](Self::run_part), but sums over some `inputs` only, which are all that `input` holds. A range that
    /// starts at 0 starts from the bias; any other continues from what `output` holds, so that consecutive ranges, the
    /// last of them with the epilogue and those before with [`Clamp::NONE`](crate::Clamp::NONE) and no residual, give the
    /// same bits as one run. An error where a size is another, and for some inputs only where there are groups.
    ///
    /// ```
    /// use sepconv::ops::{Epilogue, Part, Pointwise, PointwiseParams};
    /// use sepconv::{Isa, Shape, View, ViewMut};
    ///
    /// let params = PointwiseParams::new(3, 1);
    /// let op = Pointwise::new(Isa::selected()?.kernels()?, params, 1, &[1.0, 10.0, 100.0], &[0.5])?;
    /// let (pixel, mut sum) = ([1.0, 2.0, 3.0], [0.0]);
    /// let part = Part::all(op.output(Shape::new(1, 1, 3))?);
    /// for inputs in [0..2, 2..3] {
    ///     let input = View::tight(&pixel[inputs.clone()], 1, 1, inputs.len())?;
    ///     op.run_inputs(inputs, &part, input, Epilogue::default(), ViewMut::tight(&mut sum, 1, 1, 1)?)?;
    /// }
    /// assert_eq!(sum, [321.5]);
    /// # Ok::<(), sepconv::Error>(())
    /// ```
    pub fn run_inputs(
        &self,
        inputs: Range<usize>,
        part: &Part,
        input: View<'_>,
        epilogue: Epilogue<'_>,
        mut output: ViewMut<'_>,
    ) -> Result<()> {
        let PointwiseParams { inputs: all, groups, .. } = self.params;
        if inputs.start > inputs.end || inputs.end > all || (groups > 1 && inputs != (0..all)) {
            let expected = format!("a part of 0..{all}, all of it where there are groups");
            return Err(Error::shape("pointwise input channels", format!("{inputs:?}"), expected));
        }
        let whole = self.expect(input.layout().shape(), inputs.len())?;
        if check_part("pointwise", self.channel_step(), whole, part, &epilogue, &output)? {
            let call = Call::of(&window(self.params.stride), part, (input, inputs), &epilogue, &mut output);
            // SAFETY: the views are as large as was checked, and `output` is borrowed uniquely.
            unsafe { Packed::run(self, &call) };
        }
        Ok(())
    }

    /// As [`run_part`](Self::run_part), without a check.
    ///
    /// # Safety
    /// `input` must have the channels of the weights; `output`, and the residual, the size of `part`, which must hold an
    /// element and lie inside the output that [`output`](Self::output) gives, its channels cut at multiples of
    /// [`channel_step`](Self::channel_step).
    pub unsafe fn run_unchecked(&self, part: &Part, input: View<'_>, epilogue: Epilogue<'_>, mut output: ViewMut<'_>) {
        let inputs = 0..self.params.inputs;
        let call = Call::of(&window(self.params.stride), part, (input, inputs), &epilogue, &mut output);
        // SAFETY: by this function's own contract.
        unsafe { Packed::run(self, &call) };
    }
}

impl Packed for Pointwise {
    fn kernel(&self) -> &'static str {
        self.kernel.name()
    }

    fn arrays(&self) -> Vec<&[f32]> {
        self.panels.iter().flat_map(Panels::arrays).collect()
    }

    fn weights(&self, inputs: usize, outputs: usize) -> usize {
        (inputs / self.params.groups + 1) * outputs
    }

    fn channel_step(&self) -> Option<usize> {
        Some(Pointwise::channel_step(self))
    }

    fn blocks(&self, pixels: usize, inputs: usize, outputs: usize) -> (usize, usize) {
        let Blocking { gemm, few_weights, .. } = *Machine::this().blocking();
        let walked = inputs + if inputs * outputs <= few_weights { outputs } else { 0 };
        let block = (gemm / walked.max(1)).max(1).next_multiple_of(self.kernel.mr());
        // Rounded, not up: more blocks read the weights more often, and in one of few tiles the next panel cannot come in
        // time (10x10x1536 to 2048 channels: 6.1 ms in three blocks, 5.5 in two, Zen 4).
        ((pixels + block / 2) / block, self.kernel.mr())
    }

    unsafe fn run(&self, call: &Call) {
        let Call { input, output, residual, inputs, outputs, .. } = call;
        let (k, n) = self.group;
        if self.params.groups == 1 {
            let panel = outputs.start / self.kernel.nr();
            debug_assert!(outputs.start.is_multiple_of(self.kernel.nr()) && outputs.end <= n);
            // SAFETY: by this function's own contract.
            return unsafe { self.run_group(call, &self.panels[0], panel) };
        }
        for group in outputs.start / n..outputs.end / n {
            let skipped = group * n - outputs.start;
            let call = Call {
                input: input.offset(0, 0, group * k - inputs.start),
                output: output.offset(0, 0, skipped),
                residual: residual.offset(0, 0, skipped),
                inputs: 0..k,
                outputs: 0..n,
                ..call.clone()
            };
            // SAFETY: by this function's own contract: the group's channels lie inside those of the call.
            unsafe { self.run_group(&call, &self.panels[group], 0) };
        }
    }
}

impl Pointwise {
    /// Computes one group from panel `panel` of its weights on.
    ///
    /// # Safety
    /// As for [`Packed::run`].
    unsafe fn run_group(&self, call: &Call, panels: &Panels, panel: usize) {
        let Call { input, residual, inputs, outputs, clamp, .. } = call;
        let (height, width) = call.output_size;
        let a = input.every((self.params.stride, self.params.stride));
        // Rows without a gap between them are one.
        let in_one_run = |image: &Image| image.is_none() || image.row_stride == width as isize * image.pixel_stride;
        let joined = in_one_run(&a) && in_one_run(&call.output) && in_one_run(residual);
        let arguments = arguments::Pointwise {
            a,
            rows: if joined { 1 } else { height },
            width: if joined { height * width } else { width },
            k: inputs.len(),
            n: outputs.len(),
            b: panels.data.as_ptr().wrapping_add(panel * panels.stride),
            b_panel: panels.stride,
            b_skip: inputs.start,
            bias: if inputs.start == 0 {
                panels.bias.as_ptr().wrapping_add(panel * self.kernel.nr())
            } else {
                core::ptr::null()
            },
            c: call.output,
            residual: *residual,
            lo: clamp.lo,
            hi: clamp.hi,
        };
        // SAFETY: the caller's promises are the kernel's contract (kernels/README.md, clauses 1 to 3); the panels were
        // packed for this kernel; a `&'static PointwiseKernel` comes from `Kernels`, the proof of its ISA.
        unsafe { (self.kernel.run)(&arguments) }
    }
}

fn window(stride: usize) -> Window {
    Window::PIXEL.stride(stride)
}

/// The operator of a graph: every output channel is a sum over all input channels of one pixel.
#[derive(Debug)]
pub(crate) struct Mixing {
    /// "pointwise", or "fully_connected".
    pub kind: &'static str,
    pub outputs: usize,
    pub stride: usize,
    pub groups: usize,
}

impl Operator for Mixing {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn traits(&self) -> Traits {
        let continues = self.groups == 1;
        Traits { channelwise: false, weighted: true, adds: true, clamps: true, continues, ..Traits::PLAIN }
    }

    fn output(&self, inputs: &[Shape]) -> Result<Shape> {
        if self.weights_are_flat() && inputs[0].pixels() != 1 {
            return Err(Error::shape("fully connected input", inputs[0], "an image of one pixel: pool it first"));
        }
        self.params(inputs[0]).of_group()?;
        let window = self.window(inputs[0]);
        window.check(self.kind)?;
        let (height, width) = window.expect_output(self.kind, inputs[0])?;
        Ok(Shape { height, width, channels: self.outputs })
    }

    fn window(&self, _input: Shape) -> Window {
        window(self.stride)
    }

    fn weights(&self, input: Shape) -> Option<[usize; 4]> {
        Some([self.outputs, input.channels / self.groups.max(1), 1, 1])
    }

    fn groups(&self) -> usize {
        self.groups
    }

    fn weights_are_flat(&self) -> bool {
        self.kind == "fully_connected"
    }

    fn pack(&self, site: &Site, packing: &mut Packing<'_>) -> Result<Arc<dyn Packed>> {
        let params = self.params(site.input);
        let (inputs, outputs) = params.of_group()?;
        let pixels = site.batch.saturating_mul(site.output.pixels());
        let sharing = if self.groups == 1 { site.sharing } else { 1 };
        let kernel = select::shared_pointwise(site.kernels, pixels, inputs, outputs, sharing)?;
        Ok(Arc::new(Pointwise::packed(kernel, params, packing)?))
    }

    fn write(&self, to: &mut Writer) {
        to.text(self.kind);
        to.numbers([self.outputs, self.stride, self.groups]);
    }

    #[cfg(feature = "reference")]
    fn reference(&self, given: &Given<'_>, inputs: &[&[f32]], clamp: Clamp) -> Vec<f32> {
        let window = window(self.stride);
        reference::grouped(inputs[0], given.input, &window, (self.outputs, self.groups), given.weights, clamp)
    }
}

impl Mixing {
    fn params(&self, input: Shape) -> PointwiseParams {
        let Mixing { outputs, stride, groups, .. } = *self;
        PointwiseParams { inputs: input.channels, outputs, stride, groups }
    }
}
