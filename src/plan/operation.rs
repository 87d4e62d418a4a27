//! One operation of a step: a layer with its packed weights, on some of its output rows.

use std::ops::Range;
use std::slice;
use std::sync::Arc;

use super::memory::Place;
use super::schedule::{CACHE, cut};
use super::step::Base;
use crate::conv::{ConvShape, PackedConv};
use crate::depthwise::{PackedDepthwise, Padding, Source, Strip, Target, WINDOW};
use crate::elementwise::{POOL_STRIDE, POOL_WINDOW, add_run, global_average_pool, max_pool_pixel};
use crate::epilogue::{Clamp, Residual};
use crate::pointwise::{PackedPointwise, Pixels, Run};
use crate::tensor::{Layout, View};

/// What an operation computes, with its weights.
#[derive(Debug)]
pub(super) enum Work {
    Conv { packed: PackedConv, padding: Padding },
    Depthwise { packed: Arc<PackedDepthwise>, padding: Padding, input_lo: Option<f32>, channels: Range<usize> },
    Pointwise { packed: Arc<PackedPointwise>, stride: usize, inputs: Range<usize>, outputs: Range<usize> },
    MaxPool(Padding),
    Add,
    GlobalAveragePool,
}

impl Work {
    /// The same for a slice of the output channels (of a depthwise convolution's channels).
    pub fn with_outputs(&self, slice: Range<usize>) -> Work {
        self.sliced(None, Some(slice))
    }

    /// The same for a slice of the input channels: continues from the slices before it.
    pub fn with_inputs(&self, slice: Range<usize>) -> Work {
        self.sliced(Some(slice), None)
    }

    fn sliced(&self, input_slice: Option<Range<usize>>, output_slice: Option<Range<usize>>) -> Work {
        match self {
            Work::Pointwise { packed, stride, inputs, outputs } => Work::Pointwise {
                packed: packed.clone(),
                stride: *stride,
                inputs: input_slice.unwrap_or(inputs.clone()),
                outputs: output_slice.unwrap_or(outputs.clone()),
            },
            Work::Depthwise { packed, padding, input_lo, channels } => Work::Depthwise {
                packed: packed.clone(),
                padding: *padding,
                input_lo: *input_lo,
                channels: output_slice.unwrap_or(channels.clone()),
            },
            _ => unreachable!("only the layers of an inverted residual are sliced"),
        }
    }

    /// The name of the kernel, or of the operation.
    pub fn kernel(&self) -> &'static str {
        match self {
            Work::Conv { packed, .. } => packed.kernel().name(),
            Work::Depthwise { packed, .. } => packed.kernel().name(),
            Work::Pointwise { packed, .. } => packed.kernel().name(),
            Work::MaxPool(_) => "max_pool",
            Work::Add => "add",
            Work::GlobalAveragePool => "global_average_pool",
        }
    }

    /// Weights, and a bias an output.
    pub fn weights(&self) -> usize {
        match self {
            Work::Conv { packed, .. } => {
                let ConvShape { window, inputs, outputs, .. } = packed.shape();
                (window.0 * window.1 * inputs + 1) * outputs
            }
            Work::Depthwise { channels, .. } => (WINDOW * WINDOW + 1) * channels.len(),
            Work::Pointwise { inputs, outputs, .. } => (inputs.len() + 1) * outputs.len(),
            Work::MaxPool(_) | Work::Add | Work::GlobalAveragePool => 0,
        }
    }

    /// The rows of the input at `input` that output `rows` need.
    pub fn input_rows(&self, rows: &Range<usize>, input: &Place) -> Range<usize> {
        self.strip(rows, input.full_height).map_or(rows.clone(), |strip| strip.first..strip.first + strip.height)
    }

    /// How the windows of output `rows` lie on an input of `height` rows; `None` without windows.
    fn strip(&self, rows: &Range<usize>, height: usize) -> Option<Strip> {
        let (window, stride, padding) = match self {
            Work::Conv { packed, padding } => (packed.shape().window.0, packed.shape().stride, padding),
            Work::Depthwise { packed, padding, .. } => (WINDOW, packed.kernel().stride(), padding),
            Work::MaxPool(padding) => (POOL_WINDOW, POOL_STRIDE, padding),
            _ => return None,
        };
        Some(Strip::new(rows, height, window, stride, padding.top))
    }
}

/// The rows of a tensor from `first` on: all of them, or those that a strip holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window<'a> {
    pub place: &'a Place,
    /// The image, or the task whose scratch it is.
    pub copy: usize,
    pub first: usize,
}

impl<'a> Window<'a> {
    /// All rows of `image`.
    pub fn whole(place: &'a Place, image: usize) -> Self {
        Window { place, copy: image, first: 0 }
    }

    /// Elements from the place's beginning to `row`.
    fn offset(&self, row: usize) -> usize {
        self.copy * self.place.image_stride() + (row - self.first) * self.place.layout.row_stride
    }

    fn read(&self, base: &Base, row: usize) -> *const f32 {
        base.read(self.place).wrapping_add(self.offset(row))
    }

    fn write(&self, base: &Base, row: usize) -> *mut f32 {
        base.write(self.place).wrapping_add(self.offset(row))
    }

    /// Moves the rows that the window shares with `held`, the rows that its memory holds now, to where it wants them.
    ///
    /// # Safety
    /// The memory must be valid for both and nothing else use it.
    pub unsafe fn keep(&self, base: &Base, held: &Range<usize>) {
        let skip = self.first.saturating_sub(held.start);
        if skip > 0 && held.end > self.first {
            let to = self.write(base, self.first);
            let stride = self.place.layout.row_stride;
            // SAFETY: by this function's own contract; source and target may overlap.
            unsafe { std::ptr::copy(to.wrapping_add(skip * stride), to, (held.end - self.first) * stride) };
        }
    }
}

/// A layer, or a slice of its channels, ready to run.
#[derive(Debug)]
pub(super) struct Operation {
    /// The layer whose weights it has.
    pub layer: usize,
    pub work: Work,
    pub residual: Option<Place>,
    pub clamp: Clamp,
    pub output: Place,
}

/// Elements of the input that a GEMM walks for each panel, up to one and a half times as many: the weights and the output
/// need the rest.
const BLOCK: usize = CACHE / 2;
/// Where all the weights are fewer elements, reading them again is cheap: the output counts too.
const FEW_WEIGHTS: usize = CACHE / 8;

impl Operation {
    /// Computes output `rows` of `image`, of `channels` where only some are wanted of a pointwise convolution.
    ///
    /// # Safety
    /// The windows must hold the rows that are written and those that they need; `base` must cover them; no other task
    /// may write what is read or touch what is written.
    pub unsafe fn run(
        &self,
        base: &Base,
        image: usize,
        rows: Range<usize>,
        source: Window<'_>,
        target: Window<'_>,
        channels: Option<&Range<usize>>,
    ) {
        if rows.is_empty() {
            return;
        }
        // SAFETY: by this function's own contract.
        unsafe {
            match &self.work {
                Work::Pointwise { packed, stride, inputs, outputs } => {
                    let wanted = channels.unwrap_or(outputs).clone();
                    let skipped = wanted.start - outputs.start;
                    let channels = (inputs.clone(), wanted, skipped);
                    self.pointwise(base, packed, *stride, channels, image, rows, source, target);
                }
                Work::Conv { .. } | Work::Depthwise { .. } => self.convolution(base, image, rows, source, target),
                Work::MaxPool(padding) => self.max_pool(base, *padding, rows, source, target),
                Work::Add => self.add(base, image, rows, source, target),
                Work::GlobalAveragePool => {
                    let output = slice::from_raw_parts_mut(target.write(base, 0), target.place.layout.channels);
                    if let Ok(view) = View::new(base.image(source.place, image), source.place.layout) {
                        let _ = global_average_pool(view, output);
                    }
                }
            }
        }
    }

    /// The residual from output row `row` of image `image` on.
    fn residual(&self, base: &Base, image: usize, row: usize) -> Residual {
        self.residual.as_ref().map_or(Residual::NONE, |place| Residual {
            pointer: Window::whole(place, image).read(base, row),
            pixel: place.layout.pixel_stride,
            row: place.layout.row_stride,
        })
    }

    /// # Safety
    /// As for [`run`](Self::run).
    #[allow(clippy::too_many_arguments)]
    unsafe fn pointwise(
        &self,
        base: &Base,
        packed: &PackedPointwise,
        stride: usize,
        (inputs, outputs, skipped): (Range<usize>, Range<usize>, usize),
        image: usize,
        rows: Range<usize>,
        source: Window<'_>,
        target: Window<'_>,
    ) {
        let (input, output) = (&source.place.layout, &target.place.layout);
        let width = output.width;
        let pixels = rows.len() * width;
        let few_weights = inputs.len() * outputs.len() <= FEW_WEIGHTS;
        let walked = inputs.len() + if few_weights { outputs.len() } else { 0 };
        let tile = packed.kernel().rows();
        let block = (BLOCK / walked.max(1)).max(1).next_multiple_of(tile);
        // Rounded, not up: more blocks read the weights more often, and in one of few tiles the next panel cannot come in
        // time (10x10x1536 to 2048 channels: 6.1 ms in three blocks, 5.5 in two).
        let blocks = (pixels + block / 2) / block;
        // With a stride the kernel walks rows from their first pixel: a block is whole rows.
        let unit = if stride == 1 { tile } else { width };
        let from = source.read(base, rows.start * stride);
        let to = target.write(base, rows.start);
        let residual = self.residual(base, image, rows.start);
        for block in cut(pixels, unit, blocks) {
            let pixel = input.pixel_stride * stride;
            let pixels = if stride == 1 {
                Pixels { pointer: from.wrapping_add(block.start * pixel), pixel, row: 0, width: usize::MAX }
            } else {
                let row = input.row_stride * stride;
                Pixels { pointer: from.wrapping_add(block.start / width * row), pixel, row, width }
            };
            let run = Run {
                pointer: to.wrapping_add(block.start * output.pixel_stride + skipped),
                pixel: output.pixel_stride,
            };
            let residual = residual.offset(0, block.start, skipped);
            // SAFETY: by this function's own contract; the block lies inside the rows.
            unsafe {
                packed.run_raw(inputs.clone(), outputs.clone(), pixels, block.len(), residual, self.clamp, run);
            }
        }
    }

    /// # Safety
    /// As for [`run`](Self::run).
    unsafe fn convolution(
        &self,
        base: &Base,
        image: usize,
        rows: Range<usize>,
        source: Window<'_>,
        target: Window<'_>,
    ) {
        let Some(strip) = self.work.strip(&rows, source.place.full_height) else { return };
        debug_assert!(strip.height == 0 || strip.first >= source.first, "the window begins after its rows");
        let input = Source {
            pointer: source.read(base, strip.first.max(source.first)),
            layout: Layout { height: strip.height, ..source.place.layout },
        };
        let output = Target {
            pointer: target.write(base, rows.start),
            layout: Layout { height: rows.len(), ..target.place.layout },
        };
        let residual = self.residual(base, image, rows.start);
        // SAFETY: by this function's own contract.
        unsafe {
            match &self.work {
                Work::Conv { packed, padding } => {
                    let padding = Padding { top: strip.pad_top, ..*padding };
                    packed.run_raw(padding, input, residual, self.clamp, output);
                }
                Work::Depthwise { packed, padding, input_lo, channels } => {
                    let padding = Padding { top: strip.pad_top, ..*padding };
                    packed.run_raw(channels.clone(), padding, *input_lo, input, residual, self.clamp, output);
                }
                _ => {}
            }
        }
    }

    /// # Safety
    /// As for [`run`](Self::run).
    unsafe fn max_pool(
        &self,
        base: &Base,
        padding: Padding,
        rows: Range<usize>,
        source: Window<'_>,
        target: Window<'_>,
    ) {
        let Some(strip) = self.work.strip(&rows, source.place.full_height) else { return };
        let layout = Layout { height: strip.height, ..source.place.layout };
        let from = source.read(base, strip.first);
        // SAFETY: by this function's own contract: nothing writes to the rows that the strip names.
        let input = unsafe { slice::from_raw_parts(from, layout.height * layout.row_stride) };
        let Ok(input) = View::new(input, layout) else { return };
        let padding = Padding { top: strip.pad_top, ..padding };
        // SAFETY: by this function's own contract.
        let pixels = unsafe { self.pixels(base, &rows, target) };
        pixels.for_each(|(y, x, output)| {
            let pooled = max_pool_pixel(padding, input, (y - rows.start, x), output);
            debug_assert!(pooled.is_ok(), "a window holds no pixel");
        });
    }

    /// # Safety
    /// As for [`run`](Self::run).
    unsafe fn add(&self, base: &Base, image: usize, rows: Range<usize>, source: Window<'_>, target: Window<'_>) {
        // SAFETY: by this function's own contract: nothing writes to what is read.
        let view = |place: &Place| View::new(unsafe { base.image(place, image) }, place.layout);
        let (Ok(input), Some(Ok(other))) = (view(source.place), self.residual.as_ref().map(view)) else { return };
        // SAFETY: by this function's own contract.
        let pixels = unsafe { self.pixels(base, &rows, target) };
        pixels.for_each(|(y, x, output)| add_run(input.pixel(y, x), other.pixel(y, x), self.clamp, output));
    }

    /// The pixels of `rows` of `target` to write, each with its row and column.
    ///
    /// # Safety
    /// As for [`run`](Self::run).
    unsafe fn pixels<'b>(
        &self,
        base: &'b Base,
        rows: &Range<usize>,
        target: Window<'b>,
    ) -> impl Iterator<Item = (usize, usize, &'b mut [f32])> {
        let layout = target.place.layout;
        rows.clone().flat_map(move |y| {
            // SAFETY: by this function's own contract: nothing else touches the row.
            let row = unsafe { slice::from_raw_parts_mut(target.write(base, y), layout.row_stride) };
            let pixels = row.chunks_exact_mut(layout.pixel_stride).enumerate();
            pixels.map(move |(x, pixel)| (y, x, &mut pixel[..layout.channels]))
        })
    }
}
