//! Where each tensor lies: one arena, in which tensors that do not live at the same time share memory.
#![forbid(unsafe_code)]

use alloc::vec;
use alloc::vec::Vec;

use super::lower::{Lowered, TensorId};
use crate::error::{Error, Result};
use crate::graph::{Graph, LARGEST_TENSOR};
use crate::tensor::buffer::LINE;
use crate::tensor::{Layout, Shape};

/// The memory that a place is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Region {
    /// An input of the caller's.
    Input(usize),
    /// An output of the caller's.
    Output(usize),
    /// The workspace, from this element on.
    Workspace(usize),
}

/// Where the images of a tensor lie, or the copies of a scratch tensor.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub region: Region,
    /// Of one image or copy; the next one begins `height` rows further on.
    pub layout: Layout,
    /// Rows of the whole tensor, of which a scratch tensor holds only `layout.height` at a time.
    pub full_height: usize,
    /// The first of its channels, where the pixels hold more.
    pub channel: usize,
}

impl Place {
    /// Some of its channels.
    pub fn slice(mut self, first: usize, channels: usize) -> Place {
        (self.channel, self.layout.channels) = (self.channel + first, channels);
        self
    }

    /// From one image to the next.
    pub fn image_stride(&self) -> usize {
        self.layout.height * self.layout.row_stride
    }
}

/// A run of memory, from the item that writes it to the last one that reads it.
struct Live {
    offset: usize,
    length: usize,
    until: usize,
}

/// Memory that exists only while an item runs: so many copies of a tensor of this shape, one an image or one a task.
pub(super) struct Scratch {
    pub shape: Shape,
    /// Rows of the whole tensor.
    pub full_height: usize,
    pub copies: usize,
}

/// The memory of a plan.
pub(super) struct Memory {
    /// The place of every tensor that has one.
    pub places: Vec<Option<Place>>,
    /// For each item, the places of what exists only while it runs.
    pub scratch: Vec<Vec<Place>>,
    /// Elements of the workspace.
    pub workspace: usize,
    /// The most elements that live at one time: each input until it was read for the last time, and what the workspace
    /// holds.
    pub peak: usize,
}

/// Lays out the tensors that `items` write, and for each item the tensors of `scratch`. With `keep`, every tensor lives
/// to the end; where `staged`, inputs and outputs have places in the workspace too.
pub(super) fn lay_out(
    graph: &Graph,
    lowered: &Lowered,
    scratch: &[Vec<Scratch>],
    batch: usize,
    (keep, staged): (bool, bool),
) -> Result<Memory> {
    let Lowered { items, shapes, outputs } = lowered;
    let count = shapes.len();
    let external = |region: Region, shape: Shape| Place {
        region,
        layout: Layout::tight(shape.height, shape.width, shape.channels),
        full_height: shape.height,
        channel: 0,
    };
    let mut last_read = vec![None; count];
    for (index, item) in items.iter().enumerate() {
        // What nothing reads still has to keep its memory to itself while it is written.
        last_read[item.output.tensor] = Some(index);
        for read in item.reads() {
            last_read[read.tensor] = Some(index);
        }
    }
    let mut memory = Memory { places: vec![None; count], scratch: Vec::new(), workspace: 0, peak: 0 };
    let refuse = || Error::shape("batch", batch, "one whose tensors fit the address space");
    let mut live: Vec<Live> = Vec::new();
    let mut workspace = 0;
    let mut reserve = |live: &mut Vec<Live>, copies: usize, shape: Shape, index: usize, until: usize| {
        let layout = Layout::spaced(shape.height, shape.width, shape.channels);
        let length = copies
            .checked_mul(layout.row_stride)
            .and_then(|row| row.checked_mul(layout.height))
            .and_then(|length| length.checked_next_multiple_of(LINE))
            .filter(|&length| length <= LARGEST_TENSOR)
            .ok_or_else(refuse)?;
        live.retain(|other| other.until >= index);
        let offset = first_gap(live, length);
        if offset > isize::MAX as usize / 8 {
            return Err(refuse());
        }
        live.push(Live { offset, length, until });
        workspace = workspace.max(offset + length);
        Ok(Place { region: Region::Workspace(offset), layout, full_height: shape.height, channel: 0 })
    };
    for (input, (_, shape)) in graph.inputs().enumerate() {
        let until = last_read[input].unwrap_or(0);
        memory.places[input] = Some(match staged {
            true => reserve(&mut live, batch, shape, 0, if keep { items.len() } else { until })?,
            false => external(Region::Input(input), shape),
        });
    }
    for (output, &tensor) in outputs.iter().enumerate() {
        match staged {
            // Until it is delivered.
            true => last_read[tensor] = Some(items.len()),
            false => memory.places[tensor] = Some(external(Region::Output(output), shapes[tensor])),
        }
    }
    for (index, item) in items.iter().enumerate() {
        let tensor: TensorId = item.output.tensor;
        if memory.places[tensor].is_none() {
            let until = if keep { items.len() } else { last_read[tensor].unwrap_or(index) };
            memory.places[tensor] = Some(reserve(&mut live, batch, shapes[tensor], index, until)?);
        }
        let scratch = scratch[index].iter().map(|part| {
            let place = reserve(&mut live, part.copies, part.shape, index, index)?;
            Ok(Place { full_height: part.full_height, ..place })
        });
        memory.scratch.push(scratch.collect::<Result<_>>()?);
        let lives = |&(input, _): &(usize, (&str, Shape))| last_read[input].is_some_and(|last| index <= last);
        let images = graph.inputs().enumerate().filter(lives).map(|(_, (_, shape))| batch * shape.len());
        let held = live.iter().filter(|other| other.until >= index).map(|other| other.length);
        memory.peak = memory.peak.max(images.chain(held).fold(0, usize::saturating_add));
    }
    Ok(Memory { workspace, ..memory })
}

/// The lowest offset at which `length` elements overlap no tensor that lives.
fn first_gap(live: &mut [Live], length: usize) -> usize {
    // They are apart, so that their ends stand in the same order.
    live.sort_by_key(|other| other.offset);
    let mut offset = 0;
    for other in live {
        if offset + length <= other.offset {
            break;
        }
        offset = other.offset + other.length;
    }
    offset
}
