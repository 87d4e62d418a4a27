//! One step of a plan: a layer with its packed weights, cut into tasks.

use std::ops::Range;
use std::slice;

use super::memory::{Place, Region};
use crate::conv::{ConvShape, PackedConv};
use crate::depthwise::{PackedDepthwise, Padding, Source, Strip, Target, WINDOW};
use crate::elementwise::{add_run, global_average_pool, max_pool_pixel};
use crate::epilogue::{Clamp, Residual};
use crate::error::{Error, Result};
use crate::kernel::Kernels;
use crate::net::{Activation, Network, Op};
use crate::pointwise::{PackedPointwise, Pixels, Run};
use crate::select;
use crate::tensor::{Layout, View};
use crate::weights::Folded;

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

#[derive(Debug)]
enum Work {
    Conv { packed: PackedConv, padding: Padding, stride: usize },
    Depthwise { packed: PackedDepthwise, padding: Padding, stride: usize, input_lo: Option<f32> },
    Pointwise { packed: PackedPointwise, stride: usize },
    MaxPool(Padding),
    Add,
    GlobalAveragePool,
}

/// What one task computes.
#[derive(Debug, Clone)]
enum Part {
    /// Output rows, those of the second image after those of the first.
    Rows(Range<usize>),
    /// Output channels of all pixels.
    Channels(Range<usize>),
}

#[derive(Debug)]
pub(super) struct Step {
    work: Work,
    kernel: &'static str,
    input: Place,
    residual: Option<Place>,
    output: Place,
    batch: usize,
    clamp: Clamp,
    parts: Vec<Part>,
}

/// Cuts 0..`count` into at most `parts` ranges of nearly equal length whose bounds are multiples of `unit`.
fn cut(count: usize, unit: usize, parts: usize) -> impl Iterator<Item = Range<usize>> {
    let units = count.div_ceil(unit);
    let parts = parts.min(units).max(1);
    (0..parts).map(move |part| units * part / parts * unit..(units * (part + 1) / parts * unit).min(count))
}

/// Below this many multiply-accumulates (about 20 microseconds of one thread) a task costs more to hand over than it saves.
const LEAST_MACS: u64 = 500_000;
/// A GEMM with fewer pixels is cut along its output channels, so that each thread reads its own share of the weights.
const FEW_PIXELS: usize = 128;
/// Elements of the input that a GEMM walks for each panel: half of a second-level cache of 512 KB.
const BLOCK: usize = 64 * 1024;
/// A block of pixels is a multiple of this: of every tile's height but one.
const BLOCK_PIXELS: usize = 24;

impl Step {
    pub fn new(
        kernels: &Kernels,
        network: &Network,
        index: usize,
        folded: Option<&Folded>,
        places: &[Place],
        batch: usize,
        threads: usize,
    ) -> Result<Step> {
        let layer = &network.layers()[index];
        let (input, output) = (network.shape(layer.input), layer.output);
        let pixels = batch * output.height * output.width;
        let folded =
            || folded.ok_or_else(|| Error::shape(format!("weights of {}", layer.name), "none", "folded weights"));
        let (work, kernel) = match layer.op {
            Op::Conv { window, stride, padding } => {
                let (shape, Folded { weights, bias, .. }) = (
                    ConvShape { window: (window, window), stride, inputs: input.channels, outputs: output.channels },
                    folded()?,
                );
                let packed = PackedConv::new(select::conv(kernels)?, shape, weights, bias)?;
                let kernel = packed.kernel().name();
                (Work::Conv { packed, padding, stride }, kernel)
            }
            Op::Depthwise { stride, padding } => {
                let Folded { weights, bias, .. } = folded()?;
                let packed = PackedDepthwise::new(select::depthwise(kernels, stride)?, input.channels, weights, bias)?;
                let kernel = packed.kernel().name();
                let input_lo = layer.pre_relu.then_some(0.0);
                (Work::Depthwise { packed, padding, stride, input_lo }, kernel)
            }
            Op::Pointwise { .. } | Op::FullyConnected => {
                let Folded { weights, bias, .. } = folded()?;
                let kernel = select::pointwise(kernels, pixels, output.channels)?;
                let packed = PackedPointwise::new(kernel, input.channels, output.channels, weights, bias)?;
                let stride = if let Op::Pointwise { stride } = layer.op { stride } else { 1 };
                (Work::Pointwise { packed, stride }, kernel.name())
            }
            Op::MaxPool { padding } => (Work::MaxPool(padding), "max_pool"),
            Op::Add => (Work::Add, "add"),
            Op::GlobalAveragePool => (Work::GlobalAveragePool, "global_average_pool"),
        };
        let tasks = match layer.op {
            Op::Add | Op::MaxPool { .. } => threads,
            _ => threads.min((layer.macs() * batch as u64 / LEAST_MACS) as usize + 1),
        };
        let parts = match &work {
            Work::Pointwise { packed, .. } if pixels < FEW_PIXELS => {
                cut(output.channels, packed.panel_columns(), tasks).map(Part::Channels).collect()
            }
            Work::GlobalAveragePool => cut(batch, 1, tasks).map(Part::Rows).collect(),
            _ => cut(batch * output.height, 1, tasks).map(Part::Rows).collect(),
        };
        let clamp = match layer.activation {
            Activation::Linear => Clamp::NONE,
            Activation::Relu => Clamp::RELU,
            Activation::Relu6 => Clamp::RELU6,
        };
        Ok(Step {
            work,
            kernel,
            input: places[layer.input],
            residual: layer.residual.map(|tensor| places[tensor]),
            output: places[index + 1],
            batch,
            clamp,
            parts,
        })
    }

    pub fn kernel(&self) -> &'static str {
        self.kernel
    }

    pub fn output(&self) -> &Place {
        &self.output
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
                (Work::Pointwise { packed, stride }, part) => self.pointwise(base, packed, *stride, part),
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
    unsafe fn pointwise(&self, base: &Base, packed: &PackedPointwise, stride: usize, part: &Part) {
        let (input, output) = (&self.input.layout, &self.output.layout);
        let (rows, channels) = match part {
            Part::Rows(rows) => (rows.clone(), 0..packed.outputs()),
            Part::Channels(channels) => (0..self.batch * output.height, channels.clone()),
        };
        // Without a stride the images of a batch are one taller image.
        let image_rows = if stride == 1 { self.batch * output.height } else { output.height };
        let width = output.width;
        let most = (BLOCK / packed.inputs().max(1)).next_multiple_of(BLOCK_PIXELS);
        for (image, rows) in by_image(rows, image_rows) {
            let pixels = rows.len() * width;
            // With a stride the kernel walks rows from their first pixel: one block.
            let blocks = if stride == 1 { pixels.div_ceil(most) } else { 1 };
            for block in cut(pixels, BLOCK_PIXELS, blocks) {
                let first = rows.start * width + block.start;
                let pixel = input.pixel_stride * stride;
                let source = base.read(&self.input).wrapping_add(image * self.input.image_stride());
                let pixels = if stride == 1 {
                    Pixels { pointer: source.wrapping_add(first * pixel), pixel, row: 0, width: usize::MAX }
                } else {
                    let row = input.row_stride * stride;
                    Pixels { pointer: source.wrapping_add(rows.start * row), pixel, row, width }
                };
                let target = base.write(&self.output).wrapping_add(image * self.output.image_stride());
                let run = Run {
                    pointer: target.wrapping_add(first * output.pixel_stride + channels.start),
                    pixel: output.pixel_stride,
                };
                let residual = self.residual(base, image, 0).offset(0, first, channels.start);
                // SAFETY: by this function's own contract; the block lies inside both tensors.
                unsafe {
                    packed.run_raw(
                        0..packed.inputs(),
                        channels.clone(),
                        pixels,
                        block.len(),
                        residual,
                        self.clamp,
                        run,
                    );
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
                    Work::Conv { packed, padding, stride } => {
                        let strip = Strip::new(&rows, input.height, packed.shape().window.0, *stride, padding.top);
                        let padding = Padding { top: strip.pad_top, ..*padding };
                        packed.run_raw(padding, source(strip), residual, self.clamp, target);
                    }
                    Work::Depthwise { packed, padding, stride, input_lo } => {
                        let strip = Strip::new(&rows, input.height, WINDOW, *stride, padding.top);
                        let padding = Padding { top: strip.pad_top, ..*padding };
                        packed.run_raw(padding, *input_lo, source(strip), residual, self.clamp, target);
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
