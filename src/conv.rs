//! Dense convolution with a window of any size: the stems of the networks.

use crate::buffer::Arena;
use crate::depthwise::{Padding, Source, Target};
use crate::epilogue::{Clamp, Epilogue, Residual};
use crate::error::{Error, Result};
use crate::kernel::{ConvKernel, arguments};
use crate::pack::{self, Panels};
use crate::pointwise::expect_length;
use crate::tensor::{View, ViewMut};

/// The largest window and stride.
const LARGEST: usize = 1 << 15;

/// The shape of a dense convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvShape {
    /// Rows and columns of the window, each 1 to 32,768.
    pub window: (usize, usize),
    /// Input pixels from one window to the next, both ways; 1 to 32,768.
    pub stride: usize,
    /// Input channels.
    pub inputs: usize,
    /// Output channels.
    pub outputs: usize,
}

/// The weights of a dense convolution, packed for one kernel, which they carry.
#[derive(Debug)]
pub struct PackedConv {
    kernel: &'static ConvKernel,
    shape: ConvShape,
    panels: Panels,
}

impl PackedConv {
    /// Packs `weights` (the layout O, I, kh, kw) and `bias` (one an output).
    pub fn new(kernel: &'static ConvKernel, shape: ConvShape, weights: &[f32], bias: &[f32]) -> Result<Self> {
        Self::new_in(&mut Arena::new(0)?, kernel, shape, weights, bias)
    }

    /// As [`new`](Self::new), with the packed weights in `arena`.
    pub(crate) fn new_in(
        arena: &mut Arena,
        kernel: &'static ConvKernel,
        shape: ConvShape,
        weights: &[f32],
        bias: &[f32],
    ) -> Result<Self> {
        let ConvShape { window: (height, width), stride, inputs, outputs } = shape;
        if [height, width, stride].iter().any(|size| !(1..=LARGEST).contains(size)) {
            let expected = format!("a window and a stride of 1 to {LARGEST}");
            return Err(Error::shape("conv shape", format!("{shape:?}"), expected));
        }
        expect_length("conv weights (outputs x inputs x kh x kw)", weights.len(), &[outputs, inputs, height, width])?;
        expect_length("conv bias (outputs)", bias.len(), &[outputs])?;
        // As many weights were given, unless there is no channel on one side: then nothing is packed.
        let taps = height * width;
        let depth = if outputs == 0 { 0 } else { taps * inputs };
        let panels = pack::panels(arena, kernel.columns, kernel.lanes, depth, outputs, bias, |row, output| {
            let (tap, input) = (row / inputs, row % inputs);
            weights[(output * inputs + input) * taps + tap]
        })?;
        Ok(PackedConv { kernel, shape, panels })
    }

    /// The kernel that the weights are packed for.
    pub fn kernel(&self) -> &'static ConvKernel {
        self.kernel
    }

    /// The shape.
    pub fn shape(&self) -> ConvShape {
        self.shape
    }

    /// Computes the whole output. `padding` is smaller than the window on each side.
    pub fn run(
        &self,
        padding: Padding,
        input: View<'_>,
        epilogue: Epilogue<'_>,
        mut output: ViewMut<'_>,
    ) -> Result<()> {
        let (source, target, window) = (input.layout(), output.layout(), self.shape.window);
        source.expect("conv input", source.height, source.width, self.shape.inputs)?;
        if padding.top.max(padding.bottom) >= window.0 || padding.left.max(padding.right) >= window.1 {
            return Err(Error::shape(
                "conv padding",
                format!("{padding:?}"),
                format!("less than the window, {window:?}"),
            ));
        }
        let (height, width) =
            padding.output((source.height, source.width), window, self.shape.stride).ok_or_else(|| {
                Error::shape(
                    "conv input",
                    format!("{}x{}", source.height, source.width),
                    format!("at least {window:?} with its padding"),
                )
            })?;
        target.expect("conv output", height, width, self.shape.outputs)?;
        epilogue.check(&target)?;
        if target.is_empty() {
            return Ok(());
        }
        // SAFETY: the views are as large as checked above, and `output` is borrowed uniquely.
        unsafe {
            self.run_raw(padding, Source::of(input), Residual::of(&epilogue), epilogue.clamp, Target::of(&mut output));
        }
        Ok(())
    }

    /// Of `padding`, only the top and the left are read: the output's size stands in `output`.
    ///
    /// # Safety
    /// As for the depthwise convolution.
    pub(crate) unsafe fn run_raw(
        &self,
        padding: Padding,
        input: Source,
        residual: Residual,
        clamp: Clamp,
        output: Target,
    ) {
        let arguments = arguments::Conv {
            input: input.pointer,
            input_pixel: input.layout.pixel_stride as isize,
            input_row: input.layout.row_stride as isize,
            height: input.layout.height,
            width: input.layout.width,
            channels: self.shape.inputs,
            kernel_height: self.shape.window.0,
            kernel_width: self.shape.window.1,
            stride: self.shape.stride,
            pad_top: padding.top,
            pad_left: padding.left,
            output: output.pointer,
            output_pixel: output.layout.pixel_stride as isize,
            output_row: output.layout.row_stride as isize,
            output_height: output.layout.height,
            output_width: output.layout.width,
            n: self.shape.outputs,
            b: self.panels.data.as_ptr(),
            b_panel: self.panels.stride,
            bias: self.panels.bias.as_ptr(),
            residual: residual.pointer,
            residual_pixel: residual.pixel as isize,
            residual_row: residual.row as isize,
            lo: clamp.lo,
            hi: clamp.hi,
        };
        // SAFETY: the caller's promises are the kernel's contract (kernels/README.md, clauses 1 to 3); the panels were
        // packed for this kernel; a `&'static ConvKernel` comes from `Kernels`, the proof of its ISA.
        unsafe { (self.kernel.run)(&arguments) }
    }
}
