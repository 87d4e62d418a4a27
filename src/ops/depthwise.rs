//! Depthwise convolution: each channel by itself, with a window of its own.

use alloc::format;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use super::epilogue::Epilogue;
#[cfg(feature = "reference")]
use super::operator::Given;
use super::operator::{Operator, Packed, Site, Traits};
use super::pack::{self, Packing};
use super::part::{Call, Part, check_part};
use crate::blob::Writer;
use crate::error::{Error, Result};
use crate::kernel::{DepthwiseKernel, Kernels, arguments, select};
#[cfg(feature = "reference")]
use crate::reference;
#[cfg(feature = "reference")]
use crate::tensor::Clamp;
use crate::tensor::buffer::Arena;
use crate::tensor::stored::Stored;
use crate::tensor::{Shape, View, ViewMut, Window};

mod copied;

/// What a depthwise convolution computes; [`Depthwise`] has an example.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DepthwiseParams {
    /// Channels, of the input and the output.
    pub channels: usize,
    /// The window: 3x3 or 5x5, with a stride of 1 or 2 both ways, 3x3 with a dilation of 2 or 4, 1x3 or 3x1; its padding is
    /// smaller than the window on each side.
    pub window: Window,
    /// Clamps every input from below before it is used (Xception's pre-activation: `Some(0.0)`).
    pub input_lo: Option<f32>,
}

impl DepthwiseParams {
    /// `channels` channels under `window`.
    pub const fn new(channels: usize, window: Window) -> Self {
        DepthwiseParams { channels, window, input_lo: None }
    }
}

/// A depthwise convolution with its weights packed for one kernel, which it carries.
///
/// ```
/// use sepconv::ops::{Depthwise, DepthwiseParams, Epilogue, Part};
/// use sepconv::{Clamp, Isa, View, ViewMut, Window};
///
/// let kernels = Isa::selected()?.kernels()?;
/// let params = DepthwiseParams::new(2, Window::square(3).symmetric());
/// let op = Depthwise::new(kernels, params, &[0.1; 2 * 9], &[0.0; 2])?;
/// let (input, mut output) = ([1.0; 5 * 5 * 2], [0.0; 5 * 5 * 2]);
/// op.run(View::tight(&input, 5, 5, 2)?, Epilogue::clamp(Clamp::RELU6), ViewMut::tight(&mut output, 5, 5, 2)?)?;
/// assert!((output[0] - 0.4).abs() < 1e-6);
///
/// // The middle row alone, to the same bits.
/// let input = View::tight(&input, 5, 5, 2)?;
/// let (part, mut row) = (Part::rows(2..3, op.output(input.layout().shape())?), [0.0; 5 * 2]);
/// op.run_part(&part, input, Epilogue::clamp(Clamp::RELU6), ViewMut::tight(&mut row, 1, 5, 2)?)?;
/// assert_eq!(row, output[2 * 10..3 * 10]);
///
/// // Other weights for the same kernel, with inputs that are clamped from below first.
/// let params = DepthwiseParams { input_lo: Some(2.0), ..op.params() };
/// let other = Depthwise::with_kernel(op.kernel(), params, &[1.0; 2 * 9], &[0.0; 2])?;
/// assert_eq!(other.channel_step(), op.kernel().lanes());
/// // SAFETY: `run_part` took the same part, input and size.
/// unsafe { other.run_unchecked(&part, input, Epilogue::default(), ViewMut::tight(&mut row, 1, 5, 2)?) };
/// assert_eq!(row[..4], [12.0, 12.0, 18.0, 18.0]);
/// # Ok::<(), sepconv::Error>(())
/// ```
#[derive(Debug)]
pub struct Depthwise {
    kernel: &'static DepthwiseKernel,
    params: DepthwiseParams,
    blocks: Stored,
}

impl Depthwise {
    /// Packs `weights` (a row of taps a channel, row-major, the layout C, 1, kh, kw) and `bias` (one a channel) for the
    /// kernel of the window. An error where a length is not that of `params`, or no kernel has the window.
    pub fn new(kernels: &'static Kernels, params: DepthwiseParams, weights: &[f32], bias: &[f32]) -> Result<Self> {
        Self::with_kernel(kernel(kernels, &params.window)?, params, weights, bias)
    }

    /// As [`new`](Self::new), for a kernel of the caller's choice; an error where it is not for this window.
    pub fn with_kernel(
        kernel: &'static DepthwiseKernel,
        params: DepthwiseParams,
        weights: &[f32],
        bias: &[f32],
    ) -> Result<Self> {
        Self::packed(kernel, params, &mut Packing::Fresh { arena: &mut Arena::new(0)?, weights, bias })
    }

    fn packed(kernel: &'static DepthwiseKernel, params: DepthwiseParams, packing: &mut Packing<'_>) -> Result<Self> {
        let DepthwiseParams { channels, window, .. } = params;
        window.check("depthwise")?;
        let (size, stride, dilation) = (kernel.window(), kernel.stride(), kernel.dilation());
        if (size, (stride, stride), (dilation, dilation)) != (window.size, window.stride, window.dilation) {
            let expected = format!("size {size:?}, stride {stride} and dilation {dilation} of {}", kernel.name());
            return Err(Error::shape("depthwise window", format!("{window:?}"), expected));
        }
        let (height, width) = window.size;
        let weights = ("depthwise weights (channels x kh x kw)", &[channels, height, width][..]);
        packing.expect(weights, ("depthwise bias (channels)", channels))?;
        let blocks = pack::blocks(packing, (kernel.lanes(), window.taps()), channels)?;
        Ok(Depthwise { kernel, params, blocks })
    }

    /// The kernel that the weights are packed for.
    pub fn kernel(&self) -> &'static DepthwiseKernel {
        self.kernel
    }

    /// What it computes.
    pub fn params(&self) -> DepthwiseParams {
        self.params
    }

    /// The shape of the output for an input of `shape`; an error where the window does not fit, or the channels are not
    /// those of the weights.
    pub fn output(&self, shape: Shape) -> Result<Shape> {
        let DepthwiseParams { channels, window, .. } = self.params;
        if shape.channels != channels {
            return Err(Error::shape("depthwise input", shape, format!("{channels} channels")));
        }
        let (height, width) = window.expect_output("depthwise", shape)?;
        Ok(Shape { height, width, channels })
    }

    /// Channels that those of a [`Part`] begin and end at a multiple of, or at the last one.
    pub fn channel_step(&self) -> usize {
        self.kernel.lanes()
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
        if check_part("depthwise", self.channel_step(), whole, part, &epilogue, &output)? {
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
        let inputs = part.channels.clone();
        let mut call = Call::of(&self.params.window, part, (input, inputs), &epilogue, &mut output);
        call.input = call.input.offset(0, 0, part.channels.start);
        // SAFETY: by this function's own contract.
        unsafe { Packed::run(self, &call) };
    }
}

impl Packed for Depthwise {
    fn kernel(&self) -> &'static str {
        self.kernel.name()
    }

    fn arrays(&self) -> Vec<&[f32]> {
        vec![&self.blocks]
    }

    fn weights(&self, _inputs: usize, outputs: usize) -> usize {
        (self.params.window.taps() + 1) * outputs
    }

    fn channel_step(&self) -> Option<usize> {
        Some(self.kernel.lanes())
    }

    unsafe fn run(&self, call: &Call) {
        let Window { padding, .. } = self.params.window;
        // SAFETY: the caller's promises.
        unsafe {
            match self.copied_tile(call) {
                Some(tile) => self.run_copied(call, tile),
                None => self.run_kernel(call, padding.left),
            }
        }
    }
}

impl Depthwise {
    /// Runs the kernel on the whole `call`, whose first windows stick out by `pad_left` pixels.
    ///
    /// # Safety
    /// As of [`Packed::run`].
    unsafe fn run_kernel(&self, call: &Call, pad_left: usize) {
        let Call { outputs, clamp, .. } = call;
        let (lanes, taps) = (self.kernel.lanes(), self.params.window.taps());
        debug_assert!(outputs.start.is_multiple_of(lanes) && outputs.end <= self.params.channels);
        debug_assert!(outputs.end == self.params.channels || outputs.end.is_multiple_of(lanes));
        // The last block of the weights ends at the last channel, and the kernel takes it so, unless it is given fewer
        // channels than fill a block: then it wants them alone.
        let alone = outputs.start > 0 && outputs.len() < lanes;
        let block = outputs.start / lanes + usize::from(alone);
        let input_lo = self.params.input_lo;
        let arguments = arguments::Depthwise {
            input: call.input,
            height: call.input_size.0,
            width: call.input_size.1,
            channels: outputs.len(),
            pad_top: call.missing,
            pad_left,
            output: call.output,
            output_height: call.output_size.0,
            output_width: call.output_size.1,
            weights: self.blocks.as_ptr().wrapping_add(block * pack::block_len(lanes, taps)),
            residual: call.residual,
            clamp_input: usize::from(input_lo.is_some()),
            input_lo: input_lo.unwrap_or(0.0),
            lo: clamp.lo,
            hi: clamp.hi,
        };
        // SAFETY: the caller's promises are the kernel's contract (kernels/README.md, clauses 1 to 3); the blocks were
        // packed for this kernel; a `&'static DepthwiseKernel` comes from `Kernels`, the proof of its ISA.
        unsafe { (self.kernel.run)(&arguments) }
    }
}

/// The kernel for `window`.
fn kernel(kernels: &'static Kernels, window: &Window) -> Result<&'static DepthwiseKernel> {
    let Window { size, stride, dilation, .. } = *window;
    if stride.0 != stride.1 || dilation.0 != dilation.1 {
        let expected = "the same stride and dilation both ways";
        return Err(Error::shape("depthwise window", format!("{window:?}"), expected));
    }
    select::depthwise(kernels, size, stride.0, dilation.0)
}

/// The operator of a graph.
#[derive(Debug)]
pub(crate) struct Channelwise {
    pub window: Window,
}

impl Operator for Channelwise {
    fn kind(&self) -> &'static str {
        "depthwise"
    }

    fn traits(&self) -> Traits {
        Traits { weighted: true, adds: true, clamps: true, clamps_input: true, ..Traits::PLAIN }
    }

    fn output(&self, inputs: &[Shape]) -> Result<Shape> {
        self.window.check("depthwise")?;
        let (height, width) = self.window.expect_output("depthwise", inputs[0])?;
        Ok(Shape { height, width, channels: inputs[0].channels })
    }

    fn window(&self, _input: Shape) -> Window {
        self.window
    }

    fn weights(&self, input: Shape) -> Option<[usize; 4]> {
        Some([input.channels, 1, self.window.size.0, self.window.size.1])
    }

    fn pack(&self, site: &Site, packing: &mut Packing<'_>) -> Result<Arc<dyn Packed>> {
        let params = DepthwiseParams { channels: site.input.channels, window: self.window, input_lo: site.input_lo };
        let kernel = kernel(site.kernels, &self.window)?;
        Ok(Arc::new(Depthwise::packed(kernel, params, packing)?))
    }

    fn write(&self, to: &mut Writer) {
        to.text("depthwise");
        to.window(&self.window);
    }

    #[cfg(feature = "reference")]
    fn reference(&self, given: &Given<'_>, inputs: &[&[f32]], clamp: Clamp) -> Vec<f32> {
        reference::depthwise(inputs[0], given.input, &self.window, None, given.weights, None, clamp)
    }
}
