//! What a compiled plan is made of: steps, cut into tasks, which are lists of calls.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;

use super::memory::Place;
use crate::ops::{Call, Packed};

/// Where a call reads or writes, in whichever memory a run is given.
#[derive(Debug, Clone, Copy)]
pub(super) enum Address {
    /// In the workspace, so many elements from its beginning; the next image `image_stride` further on.
    Workspace { offset: usize, pixel_stride: usize, row_stride: usize, image_stride: usize },
    /// In an image of the caller's.
    Input(External),
    /// In an output of the caller's.
    Output(External),
}

/// A place in images of the caller's, which come with strides of their own.
#[derive(Debug, Clone, Copy)]
pub(super) struct External {
    /// Which input or output.
    pub index: usize,
    pub row: usize,
    pub channel: usize,
    /// Whether the images, of one pixel each, are taken as the rows of one.
    pub images_as_rows: bool,
}

/// One thing that a task does. Nearly all are runs: a box for each would cost more than the room that the others waste.
#[allow(clippy::large_enum_variant)]
#[derive(Debug)]
pub(super) enum Action {
    /// Runs an operator of the step; the images of `call` come from the addresses.
    Run { operator: usize, input: Address, output: Address, residual: Option<Address>, call: Call },
    /// Moves elements of the workspace forward: rows that the windows of two strips share.
    Move { from: usize, to: usize, length: usize },
    /// Copies rows of an input into the workspace, whatever form the caller has it in.
    Stage { input: usize, rows: Range<usize>, to: Address },
    /// Copies rows of the workspace to an output, in whatever form the caller wants it.
    Deliver { output: usize, rows: Range<usize>, from: Address },
}

/// Some actions, for each of some images.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Segment {
    pub images: Range<usize>,
    pub actions: Range<usize>,
}

/// Operators that follow each other, without whole tensors between them, on all images.
#[derive(Debug)]
pub(super) struct Step {
    pub operators: Vec<Arc<dyn Packed>>,
    /// The names of their kernels, or what else the step does.
    pub kernels: Vec<&'static str>,
    pub actions: Vec<Action>,
    /// What each task does. The tasks of a step write to disjoint memory, and none reads what another writes.
    pub tasks: Vec<Vec<Segment>>,
    /// The nodes that it computes.
    pub nodes: Vec<usize>,
    pub input: Place,
    pub output: Place,
    /// Multiply-accumulates of the images that go together.
    pub macs: u64,
    /// Bytes of input, output, residual and weights, each once.
    pub bytes: u64,
    /// Of these, the bytes that every task reads.
    pub shared_bytes: u64,
}
