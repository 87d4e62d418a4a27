//! Dense convolution with a window of any size: every output channel is a sum over the window and all input channels.

use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::epilogue::Epilogue;
#[cfg(feature = "reference")]
use super::operator::Given;
use super::operator::{Operator, Packed, Site, Traits};
use super::pack::{self, Packing, Panels};
use super::part::{Call, Part, check_part};
use crate::blob::Writer;
use crate::error::{Error, Result};
use crate::kernel::{ConvKernel, Kernels, arguments, select};
#[cfg(feature = "reference")]
use crate::reference;
#[cfg(feature = "reference")]
use crate::tensor::Clamp;
use crate::tensor::buffer::Arena;
use crate::tensor::{Shape, View, ViewMut, Window};

/// What a dense convolution computes; [`Conv`] has an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvParams {
    /// Input channels.
    pub inputs: usize,
    /// Output channels.
    pub outputs: usize,
    /// The window: any size and strides, no dilation; its padding is no larger than the window on each side.
    pub window: Window,
}

impl ConvParams {
    /// From `inputs` to `outputs` channels under `window`.
    pub const fn new(inputs: usize, outputs: usize, window: Window) -> Self {
        ConvParams { inputs, outputs, window }
    }
}

/// A dense convolution with its weights packed for one kernel, which it carries.
///
/// ```
/// use sepconv::ops::{Conv, ConvParams, Epilogue, Part};
/// use sepconv::{Clamp, Isa, View, ViewMut, Window};
///
/// let kernels = Isa::selected()?.kernels()?;
/// let params = ConvParams::new(3, 8, Window::square(3).stride(2).symmetric());
/// let op = Conv::new(kernels, params, &[0.1; 8 * 3 * 9], &[0.0; 8])?;
/// let (input, mut output) = ([1.0; 5 * 5 * 3], [0.0; 3 * 3 * 8]);
/// op.run(View::tight(&input, 5, 5, 3)?, Epilogue::clamp(Clamp::RELU), ViewMut::tight(&mut output, 3, 3, 8)?)?;
/// assert!((output[0] - 1.2).abs() < 1e-6);
///
/// // The last two of three rows alone, to the same bits.
/// let input = View::tight(&input, 5, 5, 3)?;
/// let (part, mut rows) = (Part::rows(1..3, op.output(input.layout().shape())?), [0.0; 2 * 3 * 8]);
/// op.run_part(&part, input, Epilogue::clamp(Clamp::RELU), ViewMut::tight(&mut rows, 2, 3, 8)?)?;
/// assert_eq!(rows, output[3 * 8..]);
/// // SAFETY: `run_part` took the same part, input and size.
/// unsafe { op.run_unchecked(&part, input, Epilogue::default(), ViewMut::tight(&mut rows, 2, 3, 8)?) };
///
/// // Other weights for the same kernel, which takes channels in multiples of its panels' width.
/// let other = Conv::with_kernel(op.kernel(), op.params(), &[0.2; 8 * 3 * 9], &[0.0; 8])?;
/// assert_eq!(other.channel_step(), op.kernel().nr());
/// # Ok::<(), sepconv::Error>(())
/// ```
#[derive(Debug)]
pub struct Conv {
    kernel: &'static ConvKernel,
    params: ConvParams,
    panels: Panels,
}

impl Conv {
    /// Packs `weights` (the layout O, I, kh, kw) and `bias` (one an output) for the kernel that is best for them. An error
    /// where a length is not that of `params`, or no kernel has the window.
    pub fn new(kernels: &'static Kernels, params: ConvParams, weights: &[f32], bias: &[f32]) -> Result<Self> {
        Self::with_kernel(select::conv(kernels, params.window.size, params.inputs)?, params, weights, bias)
    }

    /// As [`new`](Self::new), for a kernel of the caller's choice; an error where it cannot compute this convolution.
    pub fn with_kernel(kernel: &'static ConvKernel, params: ConvParams, weights: &[f32], bias: &[f32]) -> Result<Self> {
        Self::packed(kernel, params, &mut Packing::Fresh { arena: &mut Arena::new(0)?, weights, bias })
    }

    fn packed(kernel: &'static ConvKernel, params: ConvParams, packing: &mut Packing<'_>) -> Result<Self> {
        let ConvParams { inputs, outputs, window } = params;
        check(&window)?;
        let (height, width) = window.size;
        if !kernel.serves(window.size, inputs) {
            let got = format!("{height}x{width} with {inputs} input channels");
            return Err(Error::shape("conv window", got, format!("one that {} computes", kernel.name())));
        }
        let weights = ("conv weights (outputs x inputs x kh x kw)", &[outputs, inputs, height, width][..]);
        packing.expect(weights, ("conv bias (outputs)", outputs))?;
        // As many weights were given, unless there is no channel on one side: then nothing is packed.
        let rows = if outputs == 0 { (0, 0) } else { (inputs, window.taps()) };
        let panels = pack::panels(packing, (kernel.nr(), kernel.lanes()), rows, 0..outputs)?;
        Ok(Conv { kernel, params, panels })
    }

    /// The kernel that the weights are packed for.
    pub fn kernel(&self) -> &'static ConvKernel {
        self.kernel
    }

    /// What it computes.
    pub fn params(&self) -> ConvParams {
        self.params
    }

    /// The shape of the output for an input of `shape`; an error where the window does not fit, or the channels are not
    /// those of the weights.
    pub fn output(&self, shape: Shape) -> Result<Shape> {
        let ConvParams { inputs, outputs, window } = self.params;
        if shape.channels != inputs {
            return Err(Error::shape("conv input", shape, format!("{inputs} channels")));
        }
        let (height, width) = window.expect_padded_output("conv", shape)?;
        Ok(Shape { height, width, channels: outputs })
    }

    /// Output channels that those of a [`Part`] begin and end at a multiple of, or at the last one.
    pub fn channel_step(&self) -> usize {
        self.kernel.nr()
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
        let whole = self.output(input.layout().shape())?;
        if check_part("conv", self.channel_step(), whole, part, &epilogue, &output)? {
            // SAFETY: the views are as large as was checked, and `output` is borrowed uniquely.
            unsafe { self.run_unchecked(part, input, epilogue, output) };
        }
        Ok(())
    }

    /// As [`run_part`](Self::run_part), without a check.
    ///
    /// # Safety
    /// `input` must be one that [`output`](Self::output) takes; `output`, and the residual, must have the size of `part`,
    /// which must hold an element and lie inside the output that it gives, its channels cut at multiples of
    /// [`channel_step`](Self::channel_step).
    pub unsafe fn run_unchecked(&self, part: &Part, input: View<'_>, epilogue: Epilogue<'_>, mut output: ViewMut<'_>) {
        let ConvParams { inputs, window, .. } = self.params;
        let call = Call::of(&window, part, (input, 0..inputs), &epilogue, &mut output);
        // SAFETY: by this function's own contract.
        unsafe { Packed::run(self, &call) };
    }
}

/// The error for a window that the kernels do not have.
fn check(window: &Window) -> Result<()> {
    window.check("conv")?;
    if window.dilation != (1, 1) {
        return Err(Error::shape("conv window", format!("{window:?}"), "no dilation"));
    }
    Ok(())
}

impl Packed for Conv {
    fn kernel(&self) -> &'static str {
        self.kernel.name()
    }

    fn arrays(&self) -> Vec<&[f32]> {
        self.panels.arrays().into()
    }

    fn weights(&self, _inputs: usize, outputs: usize) -> usize {
        (self.params.window.taps() * self.params.inputs + 1) * outputs
    }

    fn channel_step(&self) -> Option<usize> {
        Some(self.kernel.nr())
    }

    unsafe fn run(&self, call: &Call) {
        let Call { outputs, clamp, .. } = call;
        let ConvParams { inputs, window, .. } = self.params;
        debug_assert!(outputs.start.is_multiple_of(self.kernel.nr()) && outputs.end <= self.params.outputs);
        let panel = outputs.start / self.kernel.nr();
        let arguments = arguments::Conv {
            input: call.input,
            height: call.input_size.0,
            width: call.input_size.1,
            channels: inputs,
            kernel_height: window.size.0,
            kernel_width: window.size.1,
            stride_rows: window.stride.0,
            stride_columns: window.stride.1,
            pad_top: call.missing,
            pad_left: window.padding.left,
            output: call.output,
            output_height: call.output_size.0,
            output_width: call.output_size.1,
            n: outputs.len(),
            b: self.panels.data.as_ptr().wrapping_add(panel * self.panels.stride),
            b_panel: self.panels.stride,
            bias: self.panels.bias.as_ptr().wrapping_add(outputs.start),
            residual: call.residual,
            lo: clamp.lo,
            hi: clamp.hi,
        };
        // SAFETY: the caller's promises are the kernel's contract (kernels/README.md, clauses 1 to 3); the panels were
        // packed for this kernel; a `&'static ConvKernel` comes from `Kernels`, the proof of its ISA.
        unsafe { (self.kernel.run)(&arguments) }
    }
}

/// How dense convolutions combine with others.
const TRAITS: Traits = Traits { channelwise: false, weighted: true, adds: true, clamps: true, ..Traits::PLAIN };

/// The operator of a graph.
#[derive(Debug)]
pub(crate) struct Dense {
    pub outputs: usize,
    pub window: Window,
}

impl Operator for Dense {
    fn kind(&self) -> &'static str {
        "conv"
    }

    fn traits(&self) -> Traits {
        TRAITS
    }

    fn output(&self, inputs: &[Shape]) -> Result<Shape> {
        check(&self.window)?;
        let (height, width) = self.window.expect_padded_output("conv", inputs[0])?;
        Ok(Shape { height, width, channels: self.outputs })
    }

    fn window(&self, _input: Shape) -> Window {
        self.window
    }

    fn weights(&self, input: Shape) -> Option<[usize; 4]> {
        Some([self.outputs, input.channels, self.window.size.0, self.window.size.1])
    }

    fn pack(&self, site: &Site, packing: &mut Packing<'_>) -> Result<Arc<dyn Packed>> {
        let params = ConvParams { inputs: site.input.channels, outputs: self.outputs, window: self.window };
        let kernel = select::conv(site.kernels, self.window.size, params.inputs)?;
        Ok(Arc::new(Conv::packed(kernel, params, packing)?))
    }

    fn write(&self, to: &mut Writer) {
        to.text("conv");
        to.number(self.outputs);
        to.window(&self.window);
    }

    #[cfg(feature = "reference")]
    fn reference(&self, given: &Given<'_>, inputs: &[&[f32]], clamp: Clamp) -> Vec<f32> {
        reference::conv(inputs[0], given.input, &self.window, self.outputs, given.weights, None, clamp)
    }
}

/// A fully connected layer over all elements of an image: a convolution whose window is the image.
#[derive(Debug)]
pub(crate) struct Flattened {
    pub outputs: usize,
    /// Whether the weights of an output follow the image pixel by pixel, not channel by channel.
    pub channels_last: bool,
}

impl Flattened {
    /// The convolution for an input of this shape.
    fn dense(&self, input: Shape) -> Dense {
        Dense { outputs: self.outputs, window: Window::new(input.height, input.width) }
    }
}

impl Operator for Flattened {
    fn kind(&self) -> &'static str {
        "fully_connected"
    }

    fn traits(&self) -> Traits {
        TRAITS
    }

    fn output(&self, inputs: &[Shape]) -> Result<Shape> {
        self.dense(inputs[0]).output(inputs)
    }

    fn window(&self, input: Shape) -> Window {
        Window::new(input.height, input.width)
    }

    fn weights(&self, input: Shape) -> Option<[usize; 4]> {
        self.dense(input).weights(input)
    }

    fn weights_are_flat(&self) -> bool {
        true
    }

    fn inputs_are_last(&self) -> bool {
        self.channels_last
    }

    fn pack(&self, site: &Site, packing: &mut Packing<'_>) -> Result<Arc<dyn Packed>> {
        self.dense(site.input).pack(site, packing)
    }

    fn write(&self, to: &mut Writer) {
        to.text("flattened");
        to.number(self.outputs);
        to.flag(self.channels_last);
    }

    #[cfg(feature = "reference")]
    fn reference(&self, given: &Given<'_>, inputs: &[&[f32]], clamp: Clamp) -> Vec<f32> {
        self.dense(given.input).reference(given, inputs, clamp)
    }
}
