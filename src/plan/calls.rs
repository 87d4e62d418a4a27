//! What a task does, call by call, with the address of each call in the plan's memory.
#![forbid(unsafe_code)]

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;

use super::memory::{Place, Region};
use super::schedule::MAX_FUSED;
use super::step::{Action, Address, External};
use crate::error::{Error, Result};
use crate::ops::{Call, Packed, cut};
use crate::tensor::{Clamp, Image, Window};

/// The most calls that one operation is cut into: no image that is so large runs faster in more.
const MAX_BLOCKS: usize = 1 << 14;

/// A node, or a slice of its channels, in a step.
pub(super) struct Operation {
    pub node: usize,
    pub packed: Arc<dyn Packed>,
    pub window: Window,
    pub residual: Option<Source>,
    pub clamp: Clamp,
    pub output: Place,
    pub inputs: Range<usize>,
    pub outputs: Range<usize>,
}

/// The rows of a tensor from `first` on: all of them, or those that a task's scratch holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source {
    pub place: Place,
    /// The task whose scratch it is; `None` for a tensor with memory for every image.
    pub task: Option<usize>,
    pub first: usize,
}

impl Source {
    pub fn whole(place: Place) -> Self {
        Source { place, task: None, first: 0 }
    }

    /// The address of `row`, `pixels` and `channels` further on.
    pub fn address(&self, row: usize, pixels: usize, channels: usize, images_as_rows: bool) -> Address {
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

    pub fn in_workspace(&self) -> bool {
        matches!(self.place.region, Region::Workspace(_))
    }
}

/// The operations of a task, strip by strip.
pub(super) struct Strips<'a> {
    pub operations: &'a [Operation],
    pub input: Source,
    pub task: usize,
    /// Output rows of a strip.
    pub strip: usize,
    pub images_as_rows: bool,
}

impl Strips<'_> {
    /// Appends what computes output `rows` of an image strip by strip, the operations in turn; of a single operation maybe
    /// only `channels`. What the windows of two strips share is kept: the rows between two operations move to the front of
    /// their scratch.
    pub fn actions(&self, rows: Range<usize>, channels: Option<Range<usize>>, actions: &mut Vec<Action>) -> Result<()> {
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
        let width = if operation.window == Window::PIXEL { pixels.len() } else { source.place.layout.width };
        Action::Run {
            operator: self.at,
            input: source.address(strip.first, pixels.start, 0, self.images_as_rows),
            output: target.address(rows.start, pixels.start, skipped, self.images_as_rows),
            residual: (operation.residual)
                .map(|residual| residual.address(rows.start, pixels.start, skipped, self.images_as_rows)),
            call: Call {
                input: Image::NONE,
                input_size: (strip.length, width),
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
