//! From items to steps: cuts the work into tasks, and each task into calls with their addresses.
#![forbid(unsafe_code)]

use std::ops::Range;
use std::sync::Arc;

use super::lower::{Item, Lowered, Operand};
use super::memory::{Memory, Place, Region, Scratch};
use super::schedule::{MAX_FUSED, Schedule, Schedules, cut_by_channels, rows_between};
use super::step::{Action, Address, External, Segment, Step};
use crate::error::{Error, Result};
use crate::graph::{Graph, Node};
use crate::ops::{Call, Copy, Packed, cut};
use crate::tensor::{Clamp, Image, Shape, Window};

/// The most calls that one operation is cut into: no image that is so large runs faster in more.
const MAX_BLOCKS: usize = 1 << 14;

/// What items are compiled with.
pub(super) struct Compiler<'a> {
    pub graph: &'a Graph,
    pub lowered: &'a Lowered,
    pub schedules: Schedules,
    pub batch: usize,
}

/// A node, or a slice of its channels, in a step.
struct Operation {
    node: usize,
    packed: Arc<dyn Packed>,
    window: Window,
    residual: Option<Source>,
    clamp: Clamp,
    output: Place,
    inputs: Range<usize>,
    outputs: Range<usize>,
}

/// The rows of a tensor from `first` on: all of them, or those that a task's scratch holds.
#[derive(Debug, Clone, Copy)]
struct Source {
    place: Place,
    /// The task whose scratch it is; `None` for a tensor with memory for every image.
    task: Option<usize>,
    first: usize,
}

impl Source {
    fn whole(place: Place) -> Self {
        Source { place, task: None, first: 0 }
    }

    /// The address of `row`, `pixels` and `channels` further on.
    fn address(&self, row: usize, pixels: usize, channels: usize, images_as_rows: bool) -> Address {
        let Source { place, task, first } = *self;
        let (row, channel) = (row - first, place.channel + channels);
        let external = |index| External { index, row, channel, images_as_rows };
        match place.region {
            Region::Input(index) => Address::Input(external(index)),
            Region::Output(index) => Address::Output(external(index)),
            Region::Workspace(start) => {
                let (pixel_stride, row_stride) = (place.layout.pixel_stride, place.layout.row_stride);
                let copy = task.unwrap_or(0) * place.image_stride();
                Address::Workspace {
                    offset: start + copy + row * row_stride + pixels * pixel_stride + channel,
                    pixel_stride,
                    row_stride,
                    image_stride: if task.is_some() { 0 } else { place.image_stride() },
                }
            }
        }
    }

    fn in_workspace(&self) -> bool {
        matches!(self.place.region, Region::Workspace(_))
    }
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
            let parts = item.inputs.iter().map(|&part| sliced(part)).collect::<Result<Vec<_>>>()?;
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
        let bytes = self.bytes(&operations, &input.place);
        let nodes = operations.iter().map(|operation| operation.node).collect();
        let operators: Vec<_> = operations.into_iter().map(|operation| operation.packed).collect();
        let kernels = operators.iter().map(|operator| operator.kernel()).collect();
        Ok(Step { operators, kernels, actions, tasks, nodes, input: input.place, output, macs, bytes })
    }

    /// The step that copies `parts` side by side to `output`.
    fn gather(&self, parts: &[Place], output: Place) -> Step {
        let width = output.layout.width;
        self.copy(vec![Arc::new(Copy)], Copy.kernel(), output, |rows, actions| {
            let mut first = 0;
            for part in parts {
                let channels = part.layout.channels;
                let target = Source::whole(output.slice(first, channels));
                actions.push(Action::Run {
                    operator: 0,
                    input: Source::whole(*part).address(rows.start, 0, 0, false),
                    output: target.address(rows.start, 0, 0, false),
                    residual: None,
                    call: Call {
                        input: Image::NONE,
                        input_size: (rows.len(), width),
                        missing: 0,
                        output: Image::NONE,
                        output_size: (rows.len(), width),
                        residual: Image::NONE,
                        inputs: 0..channels,
                        outputs: 0..channels,
                        clamp: Clamp::NONE,
                    },
                });
                first += channels;
            }
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
        Step { operators, kernels, actions, tasks, nodes, input: place, output: place, macs: 0, bytes }
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

    /// The same, with the taps of an operator that has no weights.
    fn work(&self, operation: &Operation) -> u64 {
        let node = &self.graph.nodes()[operation.node];
        match node.operator.traits().weighted {
            true => self.macs(operation),
            false => (self.batch * node.output().len()).saturating_mul(node.window().taps()) as u64,
        }
    }

    fn bytes(&self, operations: &[Operation], input: &Place) -> u64 {
        let tensor = |place: &Place| self.batch * place.layout.pixels() * place.layout.channels;
        let of = |operation: &Operation| {
            let residual = operation.residual.as_ref().map_or(0, |source| tensor(&source.place));
            residual + operation.packed.weights(operation.inputs.len(), operation.outputs.len())
        };
        let ends = tensor(input) + operations.last().map_or(0, |operation| tensor(&operation.output));
        ((ends + operations.iter().map(of).sum::<usize>()) * size_of::<f32>()) as u64
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

/// The operations of a task, strip by strip.
struct Strips<'a> {
    operations: &'a [Operation],
    input: Source,
    task: usize,
    /// Output rows of a strip.
    strip: usize,
    images_as_rows: bool,
}

impl Strips<'_> {
    /// Appends what computes output `rows` of an image strip by strip, the operations in turn; of a single operation maybe
    /// only `channels`. What the windows of two strips share is kept: the rows between two operations move to the front of
    /// their scratch.
    fn actions(&self, rows: Range<usize>, channels: Option<Range<usize>>, actions: &mut Vec<Action>) -> Result<()> {
        let last = self.operations.len() - 1;
        let mut held: [Option<Range<usize>>; MAX_FUSED] = [const { None }; MAX_FUSED];
        // The depthwise kernels compute two rows or four at a time: strips stay even where they may be.
        let unit = if self.strip.is_multiple_of(2) { 2 } else { 1 };
        for strip in cut(rows.len(), unit, rows.len().div_ceil(self.strip)) {
            let mut needed = [const { 0..0 }; MAX_FUSED];
            needed[last] = rows.start + strip.start..rows.start + strip.end;
            for at in (0..last).rev() {
                let height = self.operations[at].output.full_height;
                needed[at] = self.operations[at + 1].window.strip(&needed[at + 1], height).rows();
            }
            let mut source = self.input;
            for (at, operation) in self.operations.iter().enumerate() {
                let rows = needed[at].clone();
                let (target, missing) = if at == last {
                    (Source::whole(operation.output), rows)
                } else {
                    let target = Source { place: operation.output, task: Some(self.task), first: rows.start };
                    let held = held[at].replace(rows.clone()).unwrap_or(rows.start..rows.start);
                    make_room(actions, 1)?;
                    actions.extend(self.keep(&target, &held));
                    (target, held.end.max(rows.start)..rows.end)
                };
                self.run(at, missing, source, target, channels.clone(), actions)?;
                source = target;
            }
        }
        Ok(())
    }

    /// Moves the rows that `target` shares with `held`, the rows that its memory holds now, to where it wants them.
    fn keep(&self, target: &Source, held: &Range<usize>) -> Option<Action> {
        let skip = target.first.saturating_sub(held.start);
        let Address::Workspace { offset, row_stride, .. } = target.address(target.first, 0, 0, false) else {
            return None;
        };
        (skip > 0 && held.end > target.first).then(|| Action::Move {
            from: offset + skip * row_stride,
            to: offset,
            length: (held.end - target.first) * row_stride,
        })
    }

    /// Appends the calls that compute output `rows` of operation `at`.
    fn run(
        &self,
        at: usize,
        rows: Range<usize>,
        source: Source,
        target: Source,
        channels: Option<Range<usize>>,
        actions: &mut Vec<Action>,
    ) -> Result<()> {
        let operation = &self.operations[at];
        let width = operation.output.layout.width;
        let outputs = channels.unwrap_or(operation.outputs.clone());
        if rows.is_empty() || outputs.is_empty() {
            return Ok(());
        }
        let pixels = rows.len() * width;
        let (blocks, unit) = operation.packed.blocks(pixels, operation.inputs.len(), outputs.len());
        let blocks = blocks.min(MAX_BLOCKS);
        make_room(actions, blocks.min(pixels))?;
        let residual_joins = operation.residual.is_none_or(|residual| residual.in_workspace());
        // The rows of the workspace's images follow each other without a gap.
        let one_run =
            operation.window == Window::PIXEL && source.in_workspace() && target.in_workspace() && residual_joins;
        let call = CallOf { at, operation, source, target, outputs, images_as_rows: self.images_as_rows };
        if one_run {
            let block = |block: Range<usize>| call.action(rows.start..rows.start + 1, block);
            actions.extend(cut(pixels, unit, blocks).map(block));
        } else {
            let block = |block: Range<usize>| call.action(rows.start + block.start..rows.start + block.end, 0..width);
            actions.extend(cut(rows.len(), 1, blocks).map(block));
        }
        Ok(())
    }
}

/// Room for so many more actions; an error where there is none.
fn make_room(actions: &mut Vec<Action>, more: usize) -> Result<()> {
    let bytes = more.saturating_mul(size_of::<Action>());
    actions.try_reserve(more).map_err(|_| Error::Memory { what: "the calls of a plan".into(), bytes })
}

/// What the calls of one operation have in common.
struct CallOf<'a> {
    at: usize,
    operation: &'a Operation,
    source: Source,
    target: Source,
    outputs: Range<usize>,
    images_as_rows: bool,
}

impl CallOf<'_> {
    /// The call that computes `pixels` of output `rows`: all of each row, or of one row as many as are in the run that
    /// begins there.
    fn action(&self, rows: Range<usize>, pixels: Range<usize>) -> Action {
        let CallOf { operation, source, target, outputs, .. } = self;
        let skipped = outputs.start - operation.outputs.start;
        // The rows of a taller image are those of all its images.
        let height = if self.images_as_rows { usize::MAX } else { source.place.full_height };
        let strip = operation.window.strip(&rows, height);
        let from = strip.first.max(source.first);
        let width = if operation.window == Window::PIXEL { pixels.len() } else { source.place.layout.width };
        Action::Run {
            operator: self.at,
            input: source.address(from, pixels.start, 0, self.images_as_rows),
            output: target.address(rows.start, pixels.start, skipped, self.images_as_rows),
            residual: (operation.residual)
                .map(|residual| residual.address(rows.start, pixels.start, skipped, self.images_as_rows)),
            call: Call {
                input: Image::NONE,
                input_size: (strip.height, width),
                missing: strip.missing,
                output: Image::NONE,
                output_size: (rows.len(), pixels.len()),
                residual: Image::NONE,
                inputs: operation.inputs.clone(),
                outputs: outputs.clone(),
                clamp: operation.clamp,
            },
        }
    }
}
