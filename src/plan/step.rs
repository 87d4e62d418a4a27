//! One step of a plan: a layer with its packed weights, cut into tasks.

use std::ops::Range;
use std::slice;
use std::sync::Arc;

use super::memory::{Place, Region};
use crate::conv::{ConvShape, PackedConv};
use crate::depthwise::{PackedDepthwise, Padding, Source, Strip, Target, WINDOW};
use crate::elementwise::{add_run, global_average_pool, max_pool_pixel};
use crate::epilogue::{Clamp, Residual};
use crate::pointwise::{PackedPointwise, Pixels, Run};
use crate::tensor::{Layout, View};

/// The memory of one run. Its lifetime is that of the borrows it was made from: it does not leave `Plan`'s methods.
pub(super) struct Base {
    pub input: *const f32,
    pub output: *mut f32,
    pub workspace: *mut f32,
}

// SAFETY: the tasks that share a `Base` write to disjoint memory; `Plan` upholds that.
unsafe impl Sync for Base {}

impl Base {
    fn read(&self, place: &Place) -> *const f32 {
        match place.region {
            Region::Input => self.input,
            _ => self.write(place),
        }
    }

    fn write(&self, place: &Place) -> *mut f32 {
        match place.region {
            Region::Input => unreachable!("no layer writes the image"),
            Region::Output => self.output,
            Region::Workspace(offset) => self.workspace.wrapping_add(offset),
        }
    }

    /// The elements of image `image` of `place`.
    ///
    /// # Safety
    /// The memory must live and nothing write to it as long as the slice is used.
    pub unsafe fn image(&self, place: &Place, image: usize) -> &[f32] {
        let length = place.image_stride();
        // SAFETY: `memory::lay_out` gave the place room for the whole batch.
        unsafe { slice::from_raw_parts(self.read(place).wrapping_add(image * length), length) }
    }
}

/// What a step computes, with its weights.
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
}

/// What one task computes.
#[derive(Debug, Clone)]
pub(super) enum Part {
    /// Output rows, those of the second image after those of the first.
    Rows(Range<usize>),
    /// Output channels of all pixels.
    Channels(Range<usize>),
}

#[derive(Debug)]
pub(super) struct Step {
    /// The layer whose weights it has.
    pub layer: usize,
    pub work: Work,
    pub input: Place,
    pub residual: Option<Place>,
    pub output: Place,
    pub batch: usize,
    pub clamp: Clamp,
    /// Multiply-accumulates of the whole batch.
    pub macs: u64,
    pub parts: Vec<Part>,
}

/// Cuts 0..`count` into at most `parts` ranges of nearly equal length whose bounds are multiples of `unit`.
pub(super) fn cut(count: usize, unit: usize, parts: usize) -> impl Iterator<Item = Range<usize>> {
    let units = count.div_ceil(unit);
    let parts = parts.min(units).max(1);
    (0..parts).map(move |part| units * part / parts * unit..(units * (part + 1) / parts * unit).min(count))
}

/// Elements of the input that a GEMM walks for each panel: half of a second-level cache of 512 KB.
const BLOCK: usize = 64 * 1024;
/// A block of pixels is a multiple of this: of every tile's height but one.
const BLOCK_PIXELS: usize = 24;

impl Step {
    /// The name of the kernel, or of the operation.
    pub fn kernel(&self) -> &'static str {
        match &self.work {
            Work::Conv { packed, .. } => packed.kernel().name(),
            Work::Depthwise { packed, .. } => packed.kernel().name(),
            Work::Pointwise { packed, .. } => packed.kernel().name(),
            Work::MaxPool(_) => "max_pool",
            Work::Add => "add",
            Work::GlobalAveragePool => "global_average_pool",
        }
    }

    /// Bytes of input, output, residual and weights, each once.
    pub fn bytes(&self) -> u64 {
        let tensor = |place: &Place| self.batch * place.layout.pixels() * place.layout.channels;
        let tensors = tensor(&self.input) + tensor(&self.output) + self.residual.as_ref().map_or(0, tensor);
        // Of each output: its weights and a bias.
        let weights = match &self.work {
            Work::Conv { packed, .. } => {
                let ConvShape { window, inputs, outputs, .. } = packed.shape();
                (window.0 * window.1 * inputs + 1) * outputs
            }
            Work::Depthwise { channels, .. } => (WINDOW * WINDOW + 1) * channels.len(),
            Work::Pointwise { inputs, outputs, .. } => (inputs.len() + 1) * outputs.len(),
            Work::MaxPool(_) | Work::Add | Work::GlobalAveragePool => 0,
        };
        ((tensors + weights) * size_of::<f32>()) as u64
    }

    pub fn tasks(&self) -> usize {
        self.parts.len()
    }

    /// # Safety
    /// `base` must cover every place of the plan; no other task may write what this one reads or touch what it writes.
    pub unsafe fn run(&self, base: &Base, task: usize) {
        // SAFETY: by this function's own contract; `Plan` checked the sizes when it laid out the memory.
        unsafe {
            match (&self.work, &self.parts[task]) {
                (Work::Pointwise { packed, stride, inputs, outputs }, part) => {
                    self.pointwise(base, packed, *stride, (inputs, outputs), part);
                }
                (_, Part::Rows(rows)) => self.spatial(base, rows.clone()),
                (_, Part::Channels(_)) => {}
            }
        }
    }

    /// The residual from output row `row` of image `image` on.
    fn residual(&self, base: &Base, image: usize, row: usize) -> Residual {
        self.residual.as_ref().map_or(Residual::NONE, |place| Residual {
            pointer: base.read(place).wrapping_add(image * place.image_stride() + row * place.layout.row_stride),
            pixel: place.layout.pixel_stride,
            row: place.layout.row_stride,
        })
    }

    /// # Safety
    /// As for [`run`](Self::run).
    unsafe fn pointwise(
        &self,
        base: &Base,
        packed: &PackedPointwise,
        stride: usize,
        (inputs, outputs): (&Range<usize>, &Range<usize>),
        part: &Part,
    ) {
        let (input, output) = (&self.input.layout, &self.output.layout);
        let (rows, channels) = match part {
            Part::Rows(rows) => (rows.clone(), outputs.clone()),
            Part::Channels(channels) => (0..self.batch * output.height, channels.clone()),
        };
        // Without a stride the images of a batch are one taller image.
        let image_rows = if stride == 1 { self.batch * output.height } else { output.height };
        let width = output.width;
        let most = (BLOCK / inputs.len().max(1)).next_multiple_of(BLOCK_PIXELS);
        for (image, rows) in by_image(rows, image_rows) {
            let pixels = rows.len() * width;
            // With a stride the kernel walks rows from their first pixel: a block is whole rows.
            let unit = if stride == 1 { BLOCK_PIXELS } else { width };
            for block in cut(pixels, unit, pixels.div_ceil(most)) {
                let first = rows.start * width + block.start;
                let pixel = input.pixel_stride * stride;
                let source = base.read(&self.input).wrapping_add(image * self.input.image_stride());
                let pixels = if stride == 1 {
                    Pixels { pointer: source.wrapping_add(first * pixel), pixel, row: 0, width: usize::MAX }
                } else {
                    let row = input.row_stride * stride;
                    Pixels { pointer: source.wrapping_add(first / width * row), pixel, row, width }
                };
                let target = base.write(&self.output).wrapping_add(image * self.output.image_stride());
                let run = Run {
                    pointer: target.wrapping_add(first * output.pixel_stride + channels.start - outputs.start),
                    pixel: output.pixel_stride,
                };
                let residual = self.residual(base, image, 0).offset(0, first, channels.start - outputs.start);
                // SAFETY: by this function's own contract; the block lies inside both tensors.
                unsafe {
                    packed.run_raw(inputs.clone(), channels.clone(), pixels, block.len(), residual, self.clamp, run);
                }
            }
        }
    }

    /// # Safety
    /// As for [`run`](Self::run).
    unsafe fn spatial(&self, base: &Base, rows: Range<usize>) {
        let (input, output) = (&self.input.layout, &self.output.layout);
        if let Work::GlobalAveragePool = self.work {
            for image in rows {
                // SAFETY: by this function's own contract.
                unsafe {
                    let target = base.write(&self.output).wrapping_add(image * self.output.image_stride());
                    let target = slice::from_raw_parts_mut(target, output.channels);
                    if let Ok(view) = View::new(base.image(&self.input, image), *input) {
                        let _ = global_average_pool(view, target);
                    }
                }
            }
            return;
        }
        for (image, rows) in by_image(rows, output.height) {
            let residual = self.residual(base, image, rows.start);
            let target = Target {
                pointer: base
                    .write(&self.output)
                    .wrapping_add(image * self.output.image_stride() + rows.start * output.row_stride),
                layout: Layout { height: rows.len(), ..*output },
            };
            let source = |strip: Strip| Source {
                pointer: base
                    .read(&self.input)
                    .wrapping_add(image * self.input.image_stride() + strip.first * input.row_stride),
                layout: Layout { height: strip.height, ..*input },
            };
            // SAFETY: by this function's own contract; a strip and its rows lie inside the tensors.
            unsafe {
                match &self.work {
                    Work::Conv { packed, padding } => {
                        let ConvShape { window, stride, .. } = packed.shape();
                        let strip = Strip::new(&rows, input.height, window.0, stride, padding.top);
                        let padding = Padding { top: strip.pad_top, ..*padding };
                        packed.run_raw(padding, source(strip), residual, self.clamp, target);
                    }
                    Work::Depthwise { packed, padding, input_lo, channels } => {
                        let stride = packed.kernel().stride();
                        let strip = Strip::new(&rows, input.height, WINDOW, stride, padding.top);
                        let padding = Padding { top: strip.pad_top, ..*padding };
                        packed.run_raw(
                            channels.clone(),
                            padding,
                            *input_lo,
                            source(strip),
                            residual,
                            self.clamp,
                            target,
                        );
                    }
                    _ => self.without_weights(base, image, rows, target),
                }
            }
        }
    }

    /// # Safety
    /// As for [`run`](Self::run).
    unsafe fn without_weights(&self, base: &Base, image: usize, rows: Range<usize>, target: Target) {
        // SAFETY: by this function's own contract: nothing else touches these rows.
        let pixels = |y: usize| unsafe {
            let row = target.pointer.wrapping_add((y - rows.start) * target.layout.row_stride);
            slice::from_raw_parts_mut(row, target.layout.row_stride).chunks_exact_mut(target.layout.pixel_stride)
        };
        // SAFETY: as above: nothing writes to a step's inputs while it runs.
        let view = |place: &Place| View::new(unsafe { base.image(place, image) }, place.layout);
        for y in rows.clone() {
            for (x, output) in pixels(y).enumerate() {
                let output = &mut output[..target.layout.channels];
                let Ok(input) = view(&self.input) else { return };
                match (&self.work, self.residual.as_ref().map(view)) {
                    (Work::MaxPool(padding), _) => drop(max_pool_pixel(*padding, input, (y, x), output)),
                    (Work::Add, Some(Ok(other))) => add_run(input.pixel(y, x), other.pixel(y, x), self.clamp, output),
                    _ => {}
                }
            }
        }
    }
}

/// Cuts rows of a batch at the images' ends: (image, rows of it).
fn by_image(rows: Range<usize>, height: usize) -> impl Iterator<Item = (usize, Range<usize>)> {
    let images = if rows.is_empty() { 0..0 } else { rows.start / height..rows.end.div_ceil(height) };
    images.map(move |image| {
        let first = image * height;
        (image, rows.start.max(first) - first..rows.end.min(first + height) - first)
    })
}
