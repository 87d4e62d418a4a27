//! One step of a plan: operations that follow each other, cut into tasks.

use std::ops::Range;
use std::slice;

use super::memory::{Place, Region};
use super::operation::{Operation, Window, Work};
use super::schedule::cut;

/// The memory of one run. Its lifetime is that of the borrows it was made from: it does not leave `Plan`'s methods.
pub(super) struct Base {
    pub input: *const f32,
    pub output: *mut f32,
    pub workspace: *mut f32,
}

// SAFETY: the tasks that share a `Base` write to disjoint memory; `Plan` upholds that.
unsafe impl Sync for Base {}

impl Base {
    /// Where `place` begins, to read.
    pub fn read(&self, place: &Place) -> *const f32 {
        match place.region {
            Region::Input => self.input,
            _ => self.write(place),
        }
    }

    /// Where `place` begins, to write; never the image.
    pub fn write(&self, place: &Place) -> *mut f32 {
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

/// What one task computes.
#[derive(Debug, Clone)]
pub(super) enum Part {
    /// Output rows, those of the second image after those of the first.
    Rows(Range<usize>),
    /// Output channels of all pixels.
    Channels(Range<usize>),
}

/// The most operations of a step.
pub(super) const MOST: usize = 5;

/// Operations that follow each other, without whole tensors between them.
#[derive(Debug)]
pub(super) struct Step {
    pub operations: Vec<Operation>,
    pub input: Place,
    pub batch: usize,
    /// Multiply-accumulates of the whole batch.
    pub macs: u64,
    pub parts: Vec<Part>,
    /// Output rows of a strip.
    pub strip: usize,
}

impl Step {
    /// The place of the last operation's output.
    pub fn output(&self) -> &Place {
        self.operations.last().map_or(&self.input, |operation| &operation.output)
    }

    /// Bytes of input, output, residual and weights, each once.
    pub fn bytes(&self) -> u64 {
        let tensor = |place: &Place| self.batch * place.layout.pixels() * place.layout.channels;
        let of = |operation: &Operation| operation.residual.as_ref().map_or(0, tensor) + operation.work.weights();
        let tensors = tensor(&self.input) + tensor(self.output());
        ((tensors + self.operations.iter().map(of).sum::<usize>()) * size_of::<f32>()) as u64
    }

    pub fn tasks(&self) -> usize {
        self.parts.len()
    }

    /// # Safety
    /// `base` must cover every place of the plan; no other task may write what this one reads or touch what it writes.
    pub unsafe fn run(&self, base: &Base, task: usize) {
        // Without a stride the images of a batch are one taller image to a pointwise convolution.
        let tall = matches!(&self.operations[..], [Operation { work: Work::Pointwise { stride: 1, .. }, .. }]);
        let height = self.output().layout.height * if tall { self.batch } else { 1 };
        let (rows, channels) = match &self.parts[task] {
            Part::Rows(rows) => (rows.clone(), None),
            Part::Channels(channels) => (0..self.batch * self.output().layout.height, Some(channels)),
        };
        for (image, rows) in by_image(rows, height) {
            // SAFETY: by this function's own contract.
            unsafe { self.strips(base, task, image, rows, channels) };
        }
    }

    /// Computes output `rows` of `image` strip by strip, the operations in turn; of a single pointwise convolution
    /// maybe only `channels`. What the windows of two strips share is kept: the rows between two operations move to the
    /// front of their scratch.
    ///
    /// # Safety
    /// As for [`run`](Self::run).
    unsafe fn strips(
        &self,
        base: &Base,
        task: usize,
        image: usize,
        rows: Range<usize>,
        channels: Option<&Range<usize>>,
    ) {
        let last = self.operations.len() - 1;
        let mut held: [Option<Range<usize>>; MOST] = [const { None }; MOST];
        // The depthwise kernels compute two rows or four at a time: strips stay even where they may be.
        let unit = if self.strip.is_multiple_of(2) { 2 } else { 1 };
        for strip in cut(rows.len(), unit, rows.len().div_ceil(self.strip)) {
            let mut needed = [const { 0..0 }; MOST];
            needed[last] = rows.start + strip.start..rows.start + strip.end;
            for at in (0..last).rev() {
                needed[at] = self.operations[at + 1].work.input_rows(&needed[at + 1], &self.operations[at].output);
            }
            let mut source = Window::whole(&self.input, image);
            for (at, operation) in self.operations.iter().enumerate() {
                let rows = needed[at].clone();
                let (target, missing) = if at == last {
                    (Window::whole(&operation.output, image), rows)
                } else {
                    assert!(rows.len() <= operation.output.layout.height, "a strip needs more rows than it has");
                    let window = Window { place: &operation.output, copy: task, first: rows.start };
                    let held = held[at].replace(rows.clone()).unwrap_or(rows.start..rows.start);
                    // SAFETY: by this function's own contract: the scratch is the task's own, and holds as many rows as
                    // a strip needs.
                    unsafe { window.keep(base, &held) };
                    (window, held.end.max(rows.start)..rows.end)
                };
                // SAFETY: by this function's own contract; the rows that the operation reads were computed.
                unsafe { operation.run(base, image, missing, source, target, channels) };
                source = target;
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
