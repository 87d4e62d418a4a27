//! From items to steps: packs the weights, chooses the kernels, cuts the work into tasks.
#![forbid(unsafe_code)]

use std::ops::Range;
use std::sync::Arc;

use super::lower::{Item, Stage};
use super::memory::{Memory, Place, Scratch};
use super::operation::{Operation, Work};
use super::schedule::{Schedule, Schedules, cut, cut_by_channels, rows_between};
use super::step::{Part, Step};
use crate::buffer::Arena;
use crate::conv::{ConvShape, PackedConv};
use crate::depthwise::PackedDepthwise;
use crate::epilogue::Clamp;
use crate::error::{Error, Result};
use crate::kernel::{Kernels, PointwiseKernel};
use crate::net::{Activation, Layer, Network, Op, Shape};
use crate::pointwise::PackedPointwise;
use crate::select;
use crate::tensor::Layout;
use crate::weights::Folded;

/// What an item's steps are made of.
pub(super) struct Builder<'a> {
    pub kernels: &'static Kernels,
    pub network: &'a Network,
    pub folded: &'a [Option<Folded>],
    pub batch: usize,
    pub schedules: Schedules,
}

impl Builder<'_> {
    fn layers(&self, item: &Item) -> Vec<usize> {
        item.stages.iter().map(|stage| stage.layer).collect()
    }

    /// The expanded channels of an inverted residual, block by block: each begins at a panel of the expansion's weights
    /// and at a block of the depthwise convolution's.
    fn channel_blocks(&self, layers: &[usize]) -> Result<Vec<Range<usize>>> {
        let all = self.network.layers();
        let stride = if let Op::Depthwise { stride, .. } = all[layers[1]].op { stride } else { 1 };
        let panel = self.pointwise_kernel(&all[layers[0]])?.columns();
        let block = select::depthwise(self.kernels, stride)?.lanes();
        // The least common multiple.
        let unit =
            (1..=block).map(|times| times * panel).find(|unit| unit.is_multiple_of(block)).unwrap_or(panel * block);
        Ok(self.schedules.channel_blocks(all[layers[0]].output.channels, unit))
    }

    /// The kernel of a pointwise layer.
    fn pointwise_kernel(&self, layer: &Layer) -> Result<&'static PointwiseKernel> {
        let (input, output) = (self.network.shape_of(layer.input), layer.output);
        let pixels = self.batch * output.height * output.width;
        let threads = if cut_by_channels(pixels) { self.schedules.tasks(layer.macs() * self.batch as u64) } else { 1 };
        select::shared_pointwise(self.kernels, pixels, input.channels, output.channels, threads)
    }

    /// The memory that exists only while `item` runs.
    pub fn scratch(&self, item: &Item) -> Result<Vec<Scratch>> {
        let layers = self.layers(item);
        let output = |&layer: &usize| self.network.layers()[layer].output;
        let between = layers[..layers.len() - 1].iter().map(output);
        Ok(match item.schedule {
            Schedule::Whole => Vec::new(),
            Schedule::Strips(rows) => {
                let copies = self.row_parts(item).len();
                let held = rows_between(self.network, &layers, rows);
                between
                    .zip(held)
                    .map(|(whole, height)| Scratch {
                        shape: Shape { height, ..whole },
                        full_height: whole.height,
                        copies,
                    })
                    .collect()
            }
            Schedule::ChannelBlocks => {
                let channels = self.channel_blocks(&layers)?.iter().map(ExactSizeIterator::len).max().unwrap_or(0);
                between
                    .map(|whole| Scratch {
                        shape: Shape { channels, ..whole },
                        full_height: whole.height,
                        copies: self.batch,
                    })
                    .collect()
            }
        })
    }

    /// The tasks of an item that is cut along its output rows.
    fn row_parts(&self, item: &Item) -> Vec<Part> {
        let layers = self.network.layers();
        let macs = item.stages.iter().map(|stage| layers[stage.layer].macs()).sum::<u64>() * self.batch as u64;
        let rows = self.batch * self.network.shape_of(item.output).height;
        cut(rows, 1, self.schedules.tasks(macs)).map(Part::Rows).collect()
    }

    /// The steps of item `index`.
    pub fn steps(&self, item: &Item, index: usize, memory: &Memory, arena: &mut Arena) -> Result<Vec<Step>> {
        let place = |tensor: usize| {
            memory.places[tensor].ok_or_else(|| Error::shape("plan", format!("tensor {tensor}"), "one that has memory"))
        };
        let (input, output) = (place(item.input)?, place(item.output)?);
        let residual = item.residual.map(place).transpose()?;
        let scratch = &memory.scratch[index];
        let count = item.stages.len();
        let works = item.stages.iter().map(|stage| self.work(stage, arena)).collect::<Result<Vec<_>>>()?;
        let operation = |at: usize, work: Work, output: Place| Operation {
            layer: item.stages[at].layer,
            work,
            residual: residual.filter(|_| at + 1 == count),
            clamp: clamp(item.stages[at].activation),
            output,
        };
        let outputs = scratch.iter().copied().chain([output]);
        if item.schedule != Schedule::ChannelBlocks {
            let operations: Vec<_> =
                works.into_iter().zip(outputs).enumerate().map(|(at, (w, out))| operation(at, w, out)).collect();
            let strip = if let Schedule::Strips(rows) = item.schedule { rows } else { usize::MAX };
            return Ok(vec![self.step(item, operations, input, strip)]);
        }
        let (layers, mut steps) = (self.layers(item), Vec::new());
        for slice in self.channel_blocks(&layers)? {
            let sliced = |mut place: Place| {
                place.layout.channels = slice.len();
                place
            };
            let (expanded, filtered) = (sliced(scratch[0]), sliced(scratch[1]));
            let first = operation(0, works[0].with_outputs(slice.clone()), expanded);
            let second = operation(1, works[1].with_outputs(slice.clone()), filtered);
            let mut third = operation(2, works[2].with_inputs(slice.clone()), output);
            if slice.end != self.network.layers()[layers[0]].output.channels {
                (third.residual, third.clamp) = (None, Clamp::NONE);
            }
            for (operation, input) in [(first, input), (second, expanded), (third, filtered)] {
                steps.push(self.step(item, vec![operation], input, usize::MAX));
            }
        }
        Ok(steps)
    }

    /// The work of one whole layer, its weights packed into `arena`.
    fn work(&self, stage: &Stage, arena: &mut Arena) -> Result<Work> {
        let (index, pre_relu) = (stage.layer, stage.pre_relu);
        let layer = &self.network.layers()[index];
        let (input, output) = (self.network.shape_of(layer.input), layer.output);
        let folded = || {
            let folded = self.folded.get(index).and_then(Option::as_ref);
            folded.ok_or_else(|| Error::shape(format!("weights of {}", layer.name), "none", "folded weights"))
        };
        Ok(match layer.op {
            Op::Conv { window, stride, padding } => {
                let Folded { weights, bias, .. } = folded()?;
                let (inputs, outputs) = (input.channels, output.channels);
                let shape = ConvShape { window: (window, window), stride, inputs, outputs };
                Work::Conv {
                    packed: PackedConv::new_in(arena, select::conv(self.kernels)?, shape, weights, bias)?,
                    padding,
                }
            }
            Op::Depthwise { stride, padding } => {
                let Folded { weights, bias, .. } = folded()?;
                let kernel = select::depthwise(self.kernels, stride)?;
                let packed = PackedDepthwise::new_in(arena, kernel, input.channels, weights, bias)?;
                let input_lo = pre_relu.then_some(0.0);
                Work::Depthwise { packed: Arc::new(packed), padding, input_lo, channels: 0..input.channels }
            }
            Op::Pointwise { .. } | Op::FullyConnected => {
                let Folded { weights, bias, .. } = folded()?;
                let (kernel, inputs, outputs) = (self.pointwise_kernel(layer)?, input.channels, output.channels);
                let packed = Arc::new(PackedPointwise::new_in(arena, kernel, inputs, outputs, weights, bias)?);
                let stride = if let Op::Pointwise { stride } = layer.op { stride } else { 1 };
                Work::Pointwise { packed, stride, inputs: 0..inputs, outputs: 0..outputs }
            }
            Op::MaxPool { padding } => Work::MaxPool(padding),
            Op::Add => Work::Add,
            Op::GlobalAveragePool => Work::GlobalAveragePool,
        })
    }

    fn step(&self, item: &Item, operations: Vec<Operation>, input: Place, strip: usize) -> Step {
        let layers = self.network.layers();
        let macs_of = |operation: &Operation| macs(&operation.work, &layers[operation.layer]) * self.batch as u64;
        let macs = operations.iter().map(macs_of).sum();
        let tasks = self.schedules.tasks(macs);
        let Layout { height, width, .. } = operations[operations.len() - 1].output.layout;
        let parts = match (&operations[0].work, &operations[..]) {
            (Work::Pointwise { packed, outputs, .. }, [_]) if cut_by_channels(self.batch * height * width) => {
                let of_slice =
                    |part: Range<usize>| Part::Channels(part.start + outputs.start..part.end + outputs.start);
                cut(outputs.len(), packed.panel_columns(), tasks).map(of_slice).collect()
            }
            (Work::GlobalAveragePool, _) => cut(self.batch, 1, tasks).map(Part::Rows).collect(),
            (Work::Add | Work::MaxPool(_), _) => {
                cut(self.batch * height, 1, self.schedules.threads()).map(Part::Rows).collect()
            }
            (_, [_]) => cut(self.batch * height, 1, tasks).map(Part::Rows).collect(),
            _ => self.row_parts(item),
        };
        Step { operations, input, batch: self.batch, macs, parts, strip }
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
