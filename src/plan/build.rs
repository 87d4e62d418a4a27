//! From items to steps: packs the weights, chooses the kernels, cuts the work into tasks.
#![forbid(unsafe_code)]

use std::ops::Range;
use std::sync::Arc;

use super::lower::{Item, Kind};
use super::memory::{Memory, Place};
use super::step::{Part, Step, Work, cut};
use crate::conv::{ConvShape, PackedConv};
use crate::depthwise::PackedDepthwise;
use crate::epilogue::Clamp;
use crate::error::{Error, Result};
use crate::kernel::Kernels;
use crate::net::{Activation, Layer, Network, Op, Shape};
use crate::pointwise::PackedPointwise;
use crate::select;
use crate::weights::Folded;

/// Below this many multiply-accumulates (about 20 microseconds of one thread) a task costs more to hand over than it saves.
const LEAST_MACS: u64 = 500_000;
/// A GEMM with fewer pixels is cut along its output channels, so that each thread reads its own share of the weights.
const FEW_PIXELS: usize = 128;
/// Slices of an inverted residual's expanded channels: the paper recommends 2 to 5.
const SLICES: usize = 4;

/// What an item's steps are made of.
pub(super) struct Builder<'a> {
    pub kernels: &'static Kernels,
    pub network: &'a Network,
    pub folded: &'a [Option<Folded>],
    pub batch: usize,
    pub threads: usize,
}

impl Builder<'_> {
    /// The expanded channels of an inverted residual, slice by slice: each begins at a panel of the expansion's weights and
    /// at a block of the depthwise convolution's, and holds at least one of both.
    fn slices(&self, expand: usize, depthwise: usize) -> Result<Vec<Range<usize>>> {
        let layers = self.network.layers();
        let Shape { height, width, channels } = layers[expand].output;
        let stride = if let Op::Depthwise { stride, .. } = layers[depthwise].op { stride } else { 1 };
        let panel = select::pointwise(self.kernels, self.batch * height * width, channels)?.columns();
        let block = select::depthwise(self.kernels, stride)?.lanes();
        // The least common multiple.
        let unit =
            (1..=block).map(|times| times * panel).find(|unit| unit.is_multiple_of(block)).unwrap_or(panel * block);
        let mut slices: Vec<_> = cut(channels, unit, SLICES).collect();
        if let [.., before, last] = &mut slices[..]
            && last.len() < unit
        {
            before.end = last.end;
            slices.pop();
        }
        Ok(slices)
    }

    /// The tensors that exist only while `item` runs: one slice of the expanded tensor and of the depthwise one.
    pub fn scratch(&self, item: &Item) -> Result<Vec<Shape>> {
        let Kind::Sliced { expand, depthwise, .. } = item.kind else { return Ok(Vec::new()) };
        let slices = self.slices(expand, depthwise)?;
        let channels = slices.iter().map(ExactSizeIterator::len).max().unwrap_or(0);
        Ok([expand, depthwise].map(|layer| Shape { channels, ..self.network.layers()[layer].output }).to_vec())
    }

    /// The steps of item `index`.
    pub fn steps(&self, item: &Item, index: usize, memory: &Memory) -> Result<Vec<Step>> {
        let place = |tensor: usize| {
            memory.places[tensor].ok_or_else(|| Error::shape("plan", format!("tensor {tensor}"), "one that has memory"))
        };
        let (input, output) = (place(item.input)?, place(item.output)?);
        let residual = item.residual.map(place).transpose()?;
        match item.kind {
            Kind::Layer(layer) => {
                let work = self.work(layer, item.pre_relu)?;
                Ok(vec![self.step(layer, work, input, residual, clamp(item.activation), output)])
            }
            Kind::Sliced { expand, depthwise, project } => {
                let (mut expanded, mut filtered) = (memory.scratch[index][0], memory.scratch[index][1]);
                let [first, second, third] = [(expand, item.pre_relu), (depthwise, false), (project, false)]
                    .map(|(layer, pre_relu)| self.work(layer, pre_relu));
                let (first, second, third) = (first?, second?, third?);
                let layers = self.network.layers();
                let (act1, act2) = (clamp(layers[expand].activation), clamp(layers[depthwise].activation));
                let slices = self.slices(expand, depthwise)?;
                let mut steps = Vec::new();
                for slice in &slices {
                    expanded.layout.channels = slice.len();
                    filtered.layout.channels = slice.len();
                    let outputs = first.with_outputs(slice.clone());
                    steps.push(self.step(expand, outputs, input, None, act1, expanded));
                    let channels = second.with_outputs(slice.clone());
                    steps.push(self.step(depthwise, channels, expanded, None, act2, filtered));
                    let last = slice.end == layers[expand].output.channels;
                    let (residual, clamp) = if last { (residual, clamp(item.activation)) } else { (None, Clamp::NONE) };
                    let inputs = third.with_inputs(slice.clone());
                    steps.push(self.step(project, inputs, filtered, residual, clamp, output));
                }
                Ok(steps)
            }
        }
    }

    /// The work of one whole layer, its weights packed.
    fn work(&self, index: usize, pre_relu: bool) -> Result<Work> {
        let layer = &self.network.layers()[index];
        let (input, output) = (self.network.shape(layer.input), layer.output);
        let folded = || {
            let folded = self.folded.get(index).and_then(Option::as_ref);
            folded.ok_or_else(|| Error::shape(format!("weights of {}", layer.name), "none", "folded weights"))
        };
        Ok(match layer.op {
            Op::Conv { window, stride, padding } => {
                let Folded { weights, bias, .. } = folded()?;
                let (inputs, outputs) = (input.channels, output.channels);
                let shape = ConvShape { window: (window, window), stride, inputs, outputs };
                Work::Conv { packed: PackedConv::new(select::conv(self.kernels)?, shape, weights, bias)?, padding }
            }
            Op::Depthwise { stride, padding } => {
                let Folded { weights, bias, .. } = folded()?;
                let kernel = select::depthwise(self.kernels, stride)?;
                let packed = PackedDepthwise::new(kernel, input.channels, weights, bias)?;
                let input_lo = pre_relu.then_some(0.0);
                Work::Depthwise { packed: Arc::new(packed), padding, input_lo, channels: 0..input.channels }
            }
            Op::Pointwise { .. } | Op::FullyConnected => {
                let Folded { weights, bias, .. } = folded()?;
                let pixels = self.batch * output.height * output.width;
                let kernel = select::pointwise(self.kernels, pixels, output.channels)?;
                let packed = Arc::new(PackedPointwise::new(kernel, input.channels, output.channels, weights, bias)?);
                let stride = if let Op::Pointwise { stride } = layer.op { stride } else { 1 };
                Work::Pointwise { packed, stride, inputs: 0..input.channels, outputs: 0..output.channels }
            }
            Op::MaxPool { padding } => Work::MaxPool(padding),
            Op::Add => Work::Add,
            Op::GlobalAveragePool => Work::GlobalAveragePool,
        })
    }

    fn step(
        &self,
        layer: usize,
        work: Work,
        input: Place,
        residual: Option<Place>,
        clamp: Clamp,
        output: Place,
    ) -> Step {
        let of_layer = &self.network.layers()[layer];
        let macs = macs(&work, of_layer) * self.batch as u64;
        let tasks = match work {
            Work::Add | Work::MaxPool(_) => self.threads,
            _ => self.threads.min((macs / LEAST_MACS) as usize + 1),
        };
        let (height, width) = (output.layout.height, output.layout.width);
        let parts = match &work {
            Work::Pointwise { packed, outputs, .. } if self.batch * height * width < FEW_PIXELS => {
                let of_slice =
                    |part: Range<usize>| Part::Channels(part.start + outputs.start..part.end + outputs.start);
                cut(outputs.len(), packed.panel_columns(), tasks).map(of_slice).collect()
            }
            Work::GlobalAveragePool => cut(self.batch, 1, tasks).map(Part::Rows).collect(),
            _ => cut(self.batch * height, 1, tasks).map(Part::Rows).collect(),
        };
        Step { layer, work, input, residual, output, batch: self.batch, clamp, macs, parts }
    }
}

/// Multiply-accumulates of `work` on one image, which may be a slice of `layer`.
fn macs(work: &Work, layer: &Layer) -> u64 {
    let pixels = (layer.output.height * layer.output.width) as u64;
    match work {
        Work::Pointwise { inputs, outputs, .. } => pixels * (inputs.len() * outputs.len()) as u64,
        Work::Depthwise { channels, .. } => pixels * 9 * channels.len() as u64,
        _ => layer.macs(),
    }
}

fn clamp(activation: Activation) -> Clamp {
    match activation {
        Activation::Linear => Clamp::NONE,
        Activation::Relu => Clamp::RELU,
        Activation::Relu6 => Clamp::RELU6,
    }
}
