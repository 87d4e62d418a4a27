//! Pointwise (1x1) convolution: a GEMM over pixels with packed weights.

use std::ops::Range;

use crate::buffer::Arena;
use crate::epilogue::{Clamp, Epilogue, Residual};
use crate::error::{Error, Result};
use crate::kernel::{PointwiseKernel, arguments};
use crate::pack::{self, Panels};
use crate::tensor::{View, ViewMut};

/// The weights of a pointwise convolution, packed for one kernel, which they carry.
#[derive(Debug)]
pub struct PackedPointwise {
    kernel: &'static PointwiseKernel,
    inputs: usize,
    outputs: usize,
    panels: Panels,
}

/// Input pixels as the kernel walks them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pixels {
    pub pointer: *const f32,
    pub pixel: usize,
    pub row: usize,
    pub width: usize,
}

/// Output pixels in one run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    pub pointer: *mut f32,
    pub pixel: usize,
}

impl PackedPointwise {
    /// Packs `weights` (`outputs` rows of `inputs`, the layout O, I of a 1x1 convolution and of a linear layer) and
    /// `bias` (one an output) for `kernel`.
    pub fn new(
        kernel: &'static PointwiseKernel,
        inputs: usize,
        outputs: usize,
        weights: &[f32],
        bias: &[f32],
    ) -> Result<Self> {
        Self::new_in(&mut Arena::new(0)?, kernel, inputs, outputs, weights, bias)
    }

    /// As [`new`](Self::new), with the packed weights in `arena`.
    pub(crate) fn new_in(
        arena: &mut Arena,
        kernel: &'static PointwiseKernel,
        inputs: usize,
        outputs: usize,
        weights: &[f32],
        bias: &[f32],
    ) -> Result<Self> {
        expect_length("pointwise weights (outputs x inputs)", weights.len(), &[outputs, inputs])?;
        expect_length("pointwise bias (outputs)", bias.len(), &[outputs])?;
        let depth = if outputs == 0 { 0 } else { inputs };
        let panels = pack::panels(arena, kernel.columns, kernel.lanes, depth, outputs, bias, |input, output| {
            weights[output * inputs + input]
        })?;
        Ok(PackedPointwise { kernel, inputs, outputs, panels })
    }

    /// The kernel that the weights are packed for.
    pub fn kernel(&self) -> &'static PointwiseKernel {
        self.kernel
    }

    /// Input channels.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Output channels.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Computes every output pixel from the input pixel at the same place; with a `stride` of 2, from every other pixel
    /// of every other row, starting at the first (the shortcut of Xception).
    pub fn run(&self, stride: usize, input: View<'_>, epilogue: Epilogue<'_>, output: ViewMut<'_>) -> Result<()> {
        self.run_channels(0..self.inputs, stride, input, epilogue, output)
    }

    /// As [`run`](Self::run), but sums over `channels` of the inputs only, which are all that `input` holds. A range
    /// that starts at 0 starts from the bias; any other continues from what `output` holds, so that consecutive
    /// ranges, the last of them with the epilogue and those before with [`Clamp::NONE`] and no residual, give the
    /// same bits as one run.
    pub fn run_channels(
        &self,
        channels: Range<usize>,
        stride: usize,
        input: View<'_>,
        epilogue: Epilogue<'_>,
        mut output: ViewMut<'_>,
    ) -> Result<()> {
        let (source, target) = (input.layout(), output.layout());
        if channels.start > channels.end || channels.end > self.inputs {
            return Err(Error::shape(
                "pointwise channels",
                format!("{channels:?}"),
                format!("a part of 0..{}", self.inputs),
            ));
        }
        if stride == 0 {
            return Err(Error::shape("pointwise stride", stride, "at least 1"));
        }
        source.expect("pointwise input", source.height, source.width, channels.len())?;
        target.expect(
            "pointwise output",
            source.height.div_ceil(stride),
            source.width.div_ceil(stride),
            self.outputs,
        )?;
        epilogue.check(&target)?;
        let residual = Residual::of(&epilogue);
        if target.is_empty() {
            return Ok(());
        }
        let (source, target) = (source.without_unused_strides(), target.without_unused_strides());
        // Output rows without gaps between them are one run of pixels; others go row by row.
        let in_one_run = |row: usize, pixel: usize| row == target.width * pixel;
        let joined = in_one_run(target.row_stride, target.pixel_stride)
            && (residual.pointer.is_null() || in_one_run(residual.row, residual.pixel));
        let rows_at_once = if joined { target.height } else { 1 };
        for y in (0..target.height).step_by(rows_at_once) {
            let pixels = Pixels {
                pointer: input.as_ptr().wrapping_add(y.wrapping_mul(stride).wrapping_mul(source.row_stride)),
                pixel: stride.wrapping_mul(source.pixel_stride),
                row: stride.wrapping_mul(source.row_stride),
                width: target.width,
            };
            let run =
                Run { pointer: output.as_mut_ptr().wrapping_add(y * target.row_stride), pixel: target.pixel_stride };
            // SAFETY: the views are as large as checked above, and `output` is borrowed uniquely.
            unsafe {
                self.run_raw(
                    channels.clone(),
                    0..self.outputs,
                    pixels,
                    rows_at_once * target.width,
                    residual.offset(y, 0, 0),
                    epilogue.clamp,
                    run,
                );
            }
        }
        Ok(())
    }

    /// The columns of one panel: a range of outputs given to [`run_raw`](Self::run_raw) starts at a multiple of it.
    pub(crate) fn panel_columns(&self) -> usize {
        self.kernel.columns
    }

    /// # Safety
    /// `pixels` must hold `m` pixels of `channels.len()` readable elements; `output` (and `residual`, if any) `m`
    /// pixels of `outputs.len()` elements that nothing else touches meanwhile. `channels` and `outputs` must lie
    /// inside those of the weights, and `outputs.start` on a panel. The pointers are those of the first channel of
    /// the range.
    #[allow(clippy::too_many_arguments)]
    pub(crate) unsafe fn run_raw(
        &self,
        channels: Range<usize>,
        outputs: Range<usize>,
        pixels: Pixels,
        m: usize,
        residual: Residual,
        clamp: Clamp,
        output: Run,
    ) {
        debug_assert!(outputs.start.is_multiple_of(self.kernel.columns) && outputs.end <= self.outputs);
        let panel = outputs.start / self.kernel.columns;
        let arguments = arguments::Pointwise {
            a: pixels.pointer,
            a_pixel: pixels.pixel as isize,
            a_row: pixels.row as isize,
            width: pixels.width,
            m,
            k: channels.len(),
            n: outputs.len(),
            b: self.panels.data.as_ptr().wrapping_add(panel * self.panels.stride),
            b_panel: self.panels.stride,
            b_skip: channels.start,
            bias: if channels.start == 0 {
                self.panels.bias.as_ptr().wrapping_add(outputs.start)
            } else {
                std::ptr::null()
            },
            c: output.pointer,
            c_pixel: output.pixel as isize,
            residual: residual.pointer,
            residual_pixel: residual.pixel as isize,
            lo: clamp.lo,
            hi: clamp.hi,
        };
        // SAFETY: the caller's promises are the kernel's contract (kernels/README.md, clauses 1 to 3); the panels were
        // packed for this kernel; a `&'static PointwiseKernel` comes from `Kernels`, the proof of its ISA.
        unsafe { (self.kernel.run)(&arguments) }
    }
}

/// The error for an array whose length is not the product of `shape`, if it is not.
pub(crate) fn expect_length(what: &str, got: usize, shape: &[usize]) -> Result<()> {
    let expected = shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
    if expected == Some(got) {
        return Ok(());
    }
    let product = shape.iter().map(usize::to_string).collect::<Vec<_>>().join(" x ");
    Err(Error::Length { what: what.into(), got, expected: product })
}
