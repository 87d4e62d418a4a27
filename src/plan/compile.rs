//! From items to steps: cuts the work into tasks.
#![forbid(unsafe_code)]

use alloc::format;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;

use super::calls::{Operation, Source, Strips};
use super::lower::{Item, Lowered, Operand};
use super::memory::{Memory, Place, Scratch};
use super::schedule::{Schedule, Schedules, cut_by_channels, rows_between};
use super::step::{Action, Segment, Step};
use crate::error::{Error, Result};
use crate::graph::{Graph, Node};
use crate::ops::{Call, Copy, CopyRun, Packed, cut};
use crate::tensor::{Clamp, Image, Shape, Window};

/// What items are compiled with.
pub(super) struct Compiler<'a> {
    pub graph: &'a Graph,
    pub lowered: &'a Lowered,
    pub schedules: Schedules,
    pub batch: usize,
}

/// What one task computes of a step's output.
#[derive(Debug, Clone)]
enum Part {
    /// Rows, those of the second image after those of the first.
    Rows(Range<usize>),
    /// Channels of all pixels.
    Channels(Range<usize>),
}

impl Compiler<'_> {
    fn nodes(&self, item: &Item) -> Vec<&Node> {
        item.stages.iter().map(|stage| &self.graph.nodes()[stage.node]).collect()
    }

    /// The expanded channels of an inverted residual, block by block: each begins where the expansion and the depthwise
    /// convolution can be cut.
    fn channel_blocks(&self, item: &Item, packed: &[Arc<dyn Packed>]) -> Vec<Range<usize>> {
        let steps: Vec<usize> = packed[..2].iter().map(|packed| packed.channel_step().unwrap_or(1)).collect();
        // The least common multiple.
        let unit = (1..=steps[1]).map(|times| times * steps[0]).find(|unit| unit.is_multiple_of(steps[1]));
        self.schedules.channel_blocks(self.nodes(item)[0].output().channels, unit.unwrap_or(steps[0] * steps[1]))
    }

    /// The memory that exists only while `item` runs.
    pub fn scratch(&self, item: &Item, packed: &[Arc<dyn Packed>]) -> Vec<Scratch> {
        let nodes = self.nodes(item);
        let between = nodes[..nodes.len().saturating_sub(1)].iter().map(|node| node.output());
        match item.schedule {
            Schedule::Whole => Vec::new(),
            Schedule::Strips(rows) => {
                let copies = self.row_parts(item).len();
                let of = |(whole, height): (Shape, usize)| Scratch {
                    shape: Shape { height, ..whole },
                    full_height: whole.height,
                    copies,
                };
                between.zip(rows_between(&nodes, rows)).map(of).collect()
            }
            Schedule::ChannelBlocks => {
                let blocks = self.channel_blocks(item, packed);
                let channels = blocks.iter().map(ExactSizeIterator::len).max().unwrap_or(0);
                let of = |whole: Shape| Scratch {
                    shape: Shape { channels, ..whole },
                    full_height: whole.height,
                    copies: self.batch,
                };
                between.map(of).collect()
            }
        }
    }

    /// The tasks of an item that is cut along its output rows.
    fn row_parts(&self, item: &Item) -> Vec<Part> {
        let nodes = self.nodes(item);
        let macs = nodes.iter().map(|node| node.macs()).fold(0, u64::saturating_add);
        let rows = nodes.last().map_or(0, |node| self.batch * node.output().height);
        cut(rows, 1, self.schedules.tasks(macs.saturating_mul(self.batch as u64))).map(Part::Rows).collect()
    }

    /// The steps of item `index`, whose operators are `packed`.
    pub fn steps(&self, item: &Item, index: usize, packed: &[Arc<dyn Packed>], memory: &Memory) -> Result<Vec<Step>> {
        let place = |tensor: usize| {
            memory.places[tensor].ok_or_else(|| Error::shape("plan", format!("tensor {tensor}"), "one that has memory"))
        };
        let sliced = |operand: Operand| Ok(place(operand.tensor)?.slice(operand.first, operand.channels));
        let source = |operand: Operand| sliced(operand).map(Source::whole);
        let output = sliced(item.output)?;
        if item.stages.is_empty() {
            let part = |part: &Operand| Ok((place(part.tensor)?, part.first..part.first + part.channels));
            let parts = item.inputs.iter().map(part).collect::<Result<Vec<_>>>()?;
            return Ok(vec![self.gather(&parts, output)]);
        }
        let input = source(item.inputs[0])?;
        let residual = item.residual.map(source).transpose()?;
        let scratch = &memory.scratch[index];
        let (count, nodes) = (item.stages.len(), self.nodes(item));
        let operation = |at: usize, output: Place| Operation {
            node: item.stages[at].node,
            packed: packed[at].clone(),
            window: nodes[at].window(),
            residual: residual.filter(|_| at + 1 == count),
            clamp: item.stages[at].clamp,
            output,
            inputs: 0..nodes[at].input().channels,
            outputs: 0..nodes[at].output().channels,
        };
        if item.schedule != Schedule::ChannelBlocks {
            let outputs = scratch.iter().copied().chain([output]);
            let operations: Vec<_> = outputs.enumerate().map(|(at, output)| operation(at, output)).collect();
            let strip = if let Schedule::Strips(rows) = item.schedule { rows } else { usize::MAX };
            return Ok(vec![self.step(item, operations, input, strip)?]);
        }
        let (mut steps, expanded) = (Vec::new(), nodes[0].output().channels);
        for slice in self.channel_blocks(item, packed) {
            let [between, filtered] = [0, 1].map(|at| scratch[at].slice(0, slice.len()));
            let expand = Operation { outputs: slice.clone(), ..operation(0, between) };
            let filter = Operation { inputs: slice.clone(), outputs: slice.clone(), ..operation(1, filtered) };
            let mut project = Operation { inputs: slice.clone(), ..operation(2, output) };
            if slice.end != expanded {
                (project.residual, project.clamp) = (None, Clamp::NONE);
            }
            let sources = [input, Source::whole(between), Source::whole(filtered)];
            for (operation, input) in [expand, filter, project].into_iter().zip(sources) {
                steps.push(self.step(item, vec![operation], input, usize::MAX)?);
            }
        }
        Ok(steps)
    }

    /// The step that computes `operations` from `input` in strips of so many rows.
    fn step(&self, item: &Item, operations: Vec<Operation>, input: Source, strip: usize) -> Result<Step> {
        let macs = operations.iter().map(|operation| self.macs(operation)).fold(0, u64::saturating_add);
        let last = &operations[operations.len() - 1];
        let output = last.output;
        let (height, pixels) = (output.layout.height, output.layout.pixels());
        let images_as_rows = images_as_rows(&operations, &input, self.batch);
        let parts: Vec<Part> = match &operations[..] {
            [only] => {
                let mixes = !self.graph.nodes()[only.node].operator.traits().channelwise;
                let tasks = self.schedules.tasks(self.work(only));
                match only.packed.channel_step() {
                    Some(step) if mixes && cut_by_channels(self.batch * pixels) => {
                        let start = only.outputs.start;
                        let of = |part: Range<usize>| Part::Channels(part.start + start..part.end + start);
                        cut(only.outputs.len(), step, tasks).map(of).collect()
                    }
                    _ => cut(self.batch * height, 1, tasks).map(Part::Rows).collect(),
                }
            }
            _ => self.row_parts(item),
        };
        let weights = operations.iter().map(|operation| self.weight_bytes(operation)).sum::<u64>();
        let shared_bytes = match parts.first() {
            Some(Part::Channels(_)) => self.tensor_bytes(&input.place),
            _ => weights,
        };
        let (mut actions, mut tasks) = (Vec::new(), Vec::new());
        for (task, part) in parts.into_iter().enumerate() {
            let (rows, channels) = match part {
                Part::Rows(rows) => (rows, None),
                Part::Channels(channels) => (0..self.batch * height, Some(channels)),
            };
            let images = if images_as_rows { vec![(0..1, rows)] } else { by_image(rows, height) };
            let segments = images.into_iter().map(|(images, rows)| {
                let first = actions.len();
                let strips = Strips { operations: &operations, input, task, strip, images_as_rows };
                strips.actions(rows, channels.clone(), &mut actions)?;
                Ok(Segment { images, actions: first..actions.len() })
            });
            tasks.push(segments.collect::<Result<_>>()?);
        }
        let residuals = operations.iter().filter_map(|operation| operation.residual.as_ref());
        let residuals: u64 = residuals.map(|source| self.tensor_bytes(&source.place)).sum();
        let bytes = self.tensor_bytes(&input.place) + self.tensor_bytes(&output) + residuals + weights;
        let nodes = operations.iter().map(|operation| operation.node).collect();
        let operators: Vec<_> = operations.into_iter().map(|operation| operation.packed).collect();
        let kernels = operators.iter().map(|operator| operator.kernel()).collect();
        Ok(Step { operators, kernels, actions, tasks, nodes, input: input.place, output, macs, bytes, shared_bytes })
    }

    /// The step that copies `parts`, channels of tensors, side by side to `output`: one call for all that lies in one tensor.
    fn gather(&self, parts: &[(Place, Range<usize>)], output: Place) -> Step {
        let mut tensors: Vec<(Place, Vec<CopyRun>)> = Vec::new();
        // Ends of runs of channels, and the tensor that each comes from.
        let (mut sources, mut to) = (Vec::new(), 0);
        for (tensor, channels) in parts {
            let run = CopyRun { from: channels.start, to, channels: channels.len() };
            let known = tensors.iter().position(|(known, _)| known.region == tensor.region);
            let index = known.unwrap_or_else(|| {
                tensors.push((*tensor, Vec::new()));
                tensors.len() - 1
            });
            tensors[index].1.push(run);
            to += channels.len();
            sources.push((to, index));
        }
        let copy = |(index, (tensor, runs)): (usize, (Place, Vec<CopyRun>))| {
            (tensor, Arc::new(Copy::new(&runs, (index, tensor.layout.channels), &sources)) as _)
        };
        let tensors: Vec<(Place, Arc<dyn Packed>)> = tensors.into_iter().enumerate().map(copy).collect();
        let operators = tensors.iter().map(|(_, copy)| copy.clone()).collect();
        self.copy(operators, "copy", output, |rows, actions| {
            let size = (rows.len(), output.layout.width);
            actions.extend(tensors.iter().enumerate().map(|(operator, (tensor, _))| Action::Run {
                operator,
                input: Source::whole(*tensor).address(rows.start, 0, 0, false),
                output: Source::whole(output).address(rows.start, 0, 0, false),
                residual: None,
                call: Call {
                    input: Image::NONE,
                    input_size: size,
                    missing: 0,
                    output: Image::NONE,
                    output_size: size,
                    residual: Image::NONE,
                    inputs: 0..tensor.layout.channels,
                    outputs: 0..output.layout.channels,
                    clamp: Clamp::NONE,
                },
            }));
        })
    }

    /// The steps that copy every input into the workspace.
    pub fn stage(&self, memory: &Memory) -> Vec<Step> {
        let inputs = (0..self.graph.inputs().len()).filter_map(|input| Some((input, memory.places[input]?)));
        let stage = |(input, place): (usize, Place)| {
            self.copy(Vec::new(), "stage_input", place, |rows, actions| {
                let to = Source::whole(place).address(rows.start, 0, 0, false);
                actions.push(Action::Stage { input, rows, to });
            })
        };
        inputs.map(stage).collect()
    }

    /// The steps that copy every output out of the workspace.
    pub fn deliver(&self, memory: &Memory) -> Vec<Step> {
        let outputs = self.lowered.outputs.iter().enumerate();
        let outputs = outputs.filter_map(|(output, &tensor)| Some((output, memory.places[tensor]?)));
        let deliver = |(output, place): (usize, Place)| {
            self.copy(Vec::new(), "deliver_output", place, |rows, actions| {
                let from = Source::whole(place).address(rows.start, 0, 0, false);
                actions.push(Action::Deliver { output, rows, from });
            })
        };
        outputs.map(deliver).collect()
    }

    /// The step that copies to or from all of `place`, some rows a task: `act` appends what copies such rows of an image.
    fn copy(
        &self,
        operators: Vec<Arc<dyn Packed>>,
        kernel: &'static str,
        place: Place,
        act: impl Fn(Range<usize>, &mut Vec<Action>),
    ) -> Step {
        let (mut actions, mut tasks) = (Vec::new(), Vec::new());
        let (height, elements) = (place.layout.height, (self.batch * place.layout.shape().len()) as u64);
        for rows in cut(self.batch * height, 1, self.schedules.tasks(elements)) {
            let segments = by_image(rows, height).into_iter().map(|(images, rows)| {
                let start = actions.len();
                act(rows, &mut actions);
                Segment { images, actions: start..actions.len() }
            });
            tasks.push(segments.collect());
        }
        let (kernels, nodes) = (vec![kernel], Vec::new());
        let bytes = 2 * elements * size_of::<f32>() as u64;
        Step { operators, kernels, actions, tasks, nodes, input: place, output: place, macs: 0, bytes, shared_bytes: 0 }
    }

    /// Multiply-accumulates of an operation, which may be a slice of its node.
    fn macs(&self, operation: &Operation) -> u64 {
        let node = &self.graph.nodes()[operation.node];
        let pairs = |inputs: usize, outputs: usize| inputs as u128 * outputs as u128;
        let all = pairs(node.input().channels, node.output().channels);
        let inputs = if node.operator.traits().channelwise { node.input().channels } else { operation.inputs.len() };
        let share = u128::from(node.macs()).saturating_mul(pairs(inputs, operation.outputs.len())) / all.max(1);
        u64::try_from(share).unwrap_or(u64::MAX).saturating_mul(self.batch as u64)
    }

    /// The same, with the taps of an operator that has no weights, and for each byte of weights at least one: where pixels are
    /// few, reading them takes the time.
    fn work(&self, operation: &Operation) -> u64 {
        let node = &self.graph.nodes()[operation.node];
        match node.operator.traits().weighted {
            true => self.macs(operation).max(self.weight_bytes(operation)),
            false => (self.batch * node.output().len()).saturating_mul(node.window().taps()) as u64,
        }
    }

    /// Bytes of the tensor at `place`, of all images.
    fn tensor_bytes(&self, place: &Place) -> u64 {
        (self.batch * place.layout.pixels() * place.layout.channels * size_of::<f32>()) as u64
    }

    fn weight_bytes(&self, operation: &Operation) -> u64 {
        (operation.packed.weights(operation.inputs.len(), operation.outputs.len()) * size_of::<f32>()) as u64
    }
}

/// Whether the images of a batch can be taken as one taller image: without windows, where they follow each other in
/// memory, or are of one pixel.
fn images_as_rows(operations: &[Operation], input: &Source, batch: usize) -> bool {
    let [Operation { window, output, residual, .. }] = operations else { return false };
    let joins = |source: &Source| source.in_workspace() || source.place.layout.pixels() == 1;
    let output = Source::whole(*output);
    batch > 1 && *window == Window::PIXEL && joins(input) && joins(&output) && residual.as_ref().is_none_or(joins)
}

/// Cuts rows of a batch at the images' ends; images that are whole stand together.
fn by_image(rows: Range<usize>, height: usize) -> Vec<(Range<usize>, Range<usize>)> {
    let mut images: Vec<(Range<usize>, Range<usize>)> = Vec::new();
    let all = if rows.is_empty() { 0..0 } else { rows.start / height..rows.end.div_ceil(height) };
    for image in all {
        let first = image * height;
        let own = rows.start.max(first) - first..rows.end.min(first + height) - first;
        match images.last_mut() {
            Some((images, rows)) if *rows == own => images.end += 1,
            _ => images.push((image..image + 1, own)),
        }
    }
    images
}
