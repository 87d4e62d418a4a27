//! Depthwise 3x3 convolution with stride 1 or 2.

use std::ops::Range;

use crate::buffer::{AlignedBuffer, Arena};
use crate::epilogue::{Clamp, Epilogue, Residual};
use crate::error::{Error, Result};
use crate::kernel::{DepthwiseKernel, arguments};
use crate::pack;
use crate::pointwise::expect_length;
use crate::tensor::{Layout, View, ViewMut};

/// Rows and columns of the window.
pub(crate) const WINDOW: usize = 3;

/// Missing rows and pixels around an image. A tap that falls on one is skipped, never multiplied by zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Padding {
    /// Rows above.
    pub top: usize,
    /// Rows below.
    pub bottom: usize,
    /// Pixels to the left.
    pub left: usize,
    /// Pixels to the right.
    pub right: usize,
}

impl Padding {
    /// The same on all four sides.
    pub const fn all(size: usize) -> Self {
        Padding { top: size, bottom: size, left: size, right: size }
    }

    /// Output size of a window of `height` x `width` moved by `stride`; `None` where the padded image is smaller than
    /// it, and for a `stride` of 0.
    pub fn output(&self, image: (usize, usize), window: (usize, usize), stride: usize) -> Option<(usize, usize)> {
        let size = |extent: usize, before: usize, after: usize, window: usize| {
            let padded = extent.checked_add(before)?.checked_add(after)?;
            padded.checked_sub(window)?.checked_div(stride)?.checked_add(1)
        };
        Some((size(image.0, self.top, self.bottom, window.0)?, size(image.1, self.left, self.right, window.1)?))
    }
}

/// The weights of a depthwise convolution, packed for one kernel, which they carry.
#[derive(Debug)]
pub struct PackedDepthwise {
    kernel: &'static DepthwiseKernel,
    channels: usize,
    blocks: AlignedBuffer,
}

/// Some rows of a convolution's output as one image of its own: where its input rows begin, how many there are, and how
/// many are missing above.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Strip {
    /// First input row that a window of the strip holds.
    pub first: usize,
    /// Input rows from there on.
    pub height: usize,
    /// Window rows that stick out above the image.
    pub pad_top: usize,
}

impl Strip {
    /// The strip for output `rows` of a convolution over `height` input rows.
    pub fn new(rows: &Range<usize>, height: usize, window: usize, stride: usize, pad_top: usize) -> Self {
        let start = rows.start * stride;
        let first = start.saturating_sub(pad_top).min(height);
        let end = ((rows.end.max(1) - 1) * stride + window).saturating_sub(pad_top).clamp(first, height);
        Strip { first, height: end - first, pad_top: pad_top.saturating_sub(start) }
    }
}

/// An image to read, as a kernel takes it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source {
    pub pointer: *const f32,
    pub layout: Layout,
}

/// An image to write, as a kernel takes it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    pub pointer: *mut f32,
    pub layout: Layout,
}

impl Source {
    pub fn of(view: View<'_>) -> Self {
        Source { pointer: view.as_ptr(), layout: view.layout().without_unused_strides() }
    }
}

impl Target {
    pub fn of(view: &mut ViewMut<'_>) -> Self {
        Target { pointer: view.as_mut_ptr(), layout: view.layout().without_unused_strides() }
    }
}

impl PackedDepthwise {
    /// Packs `weights` (`channels` rows of nine taps, row-major, the layout C, 1, 3, 3) and `bias` (one a channel).
    pub fn new(kernel: &'static DepthwiseKernel, channels: usize, weights: &[f32], bias: &[f32]) -> Result<Self> {
        Self::new_in(&mut Arena::new(0)?, kernel, channels, weights, bias)
    }

    /// As [`new`](Self::new), with the packed weights in `arena`.
    pub(crate) fn new_in(
        arena: &mut Arena,
        kernel: &'static DepthwiseKernel,
        channels: usize,
        weights: &[f32],
        bias: &[f32],
    ) -> Result<Self> {
        expect_length("depthwise weights (channels x 3 x 3)", weights.len(), &[channels, WINDOW, WINDOW])?;
        expect_length("depthwise bias (channels)", bias.len(), &[channels])?;
        Ok(PackedDepthwise { kernel, channels, blocks: pack::blocks(arena, kernel.lanes, channels, weights, bias)? })
    }

    /// The kernel that the weights are packed for.
    pub fn kernel(&self) -> &'static DepthwiseKernel {
        self.kernel
    }

    /// Channels.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Computes the whole output. `padding` is 0..=2 on each side; `input_lo` clamps every input from below before it
    /// is used (Xception's pre-activation: `Some(0.0)`).
    pub fn run(
        &self,
        padding: Padding,
        input_lo: Option<f32>,
        input: View<'_>,
        epilogue: Epilogue<'_>,
        mut output: ViewMut<'_>,
    ) -> Result<()> {
        let (source, target) = (input.layout(), output.layout());
        source.expect("depthwise input", source.height, source.width, self.channels)?;
        let sides = [padding.top, padding.bottom, padding.left, padding.right];
        if sides.iter().any(|&side| side >= WINDOW) {
            return Err(Error::shape("depthwise padding", format!("{padding:?}"), "0, 1 or 2 on each side"));
        }
        let (height, width) =
            padding.output((source.height, source.width), (WINDOW, WINDOW), self.kernel.stride).ok_or_else(|| {
                Error::shape(
                    "depthwise input",
                    format!("{}x{}", source.height, source.width),
                    "at least 3x3 with its padding",
                )
            })?;
        target.expect("depthwise output", height, width, self.channels)?;
        epilogue.check(&target)?;
        if target.is_empty() {
            return Ok(());
        }
        // SAFETY: the views are as large as checked above, and `output` is borrowed uniquely.
        unsafe {
            self.run_raw(
                0..self.channels,
                padding,
                input_lo,
                Source::of(input),
                Residual::of(&epilogue),
                epilogue.clamp,
                Target::of(&mut output),
            );
        }
        Ok(())
    }

    /// Computes `channels`, which are those that input and output hold. Of `padding`, only the top and the left are
    /// read: the output's size stands in `output`.
    ///
    /// # Safety
    /// `channels` must start at a block of the weights and, unless they are all, hold at least one. `input` must be
    /// readable and `output` (and `residual`, if any) of the size that `padding` gives; nothing else may
    /// touch the output meanwhile.
    #[allow(clippy::too_many_arguments)]
    pub(crate) unsafe fn run_raw(
        &self,
        channels: Range<usize>,
        padding: Padding,
        input_lo: Option<f32>,
        input: Source,
        residual: Residual,
        clamp: Clamp,
        output: Target,
    ) {
        if channels.is_empty() {
            return;
        }
        debug_assert!(channels.start.is_multiple_of(self.kernel.lanes) && channels.end <= self.channels);
        let block = channels.start / self.kernel.lanes * (pack::TAPS + 1) * self.kernel.lanes;
        let arguments = arguments::Depthwise {
            input: input.pointer,
            input_pixel: input.layout.pixel_stride as isize,
            input_row: input.layout.row_stride as isize,
            height: input.layout.height,
            width: input.layout.width,
            channels: channels.len(),
            pad_top: padding.top,
            pad_left: padding.left,
            output: output.pointer,
            output_pixel: output.layout.pixel_stride as isize,
            output_row: output.layout.row_stride as isize,
            output_height: output.layout.height,
            output_width: output.layout.width,
            weights: self.blocks.as_ptr().wrapping_add(block),
            residual: residual.pointer,
            residual_pixel: residual.pixel as isize,
            residual_row: residual.row as isize,
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
