//! What a run reads and writes of the caller's.

use crate::error::{Error, Result};
use crate::tensor::{Batch, BatchMut, Shape};

/// What a run reads: a slice for a graph of one input (its images without gaps, one after the other), or a batch an
/// input, in any layout.
#[derive(Debug, Clone, Copy)]
pub enum Inputs<'a> {
    /// The one input.
    Slice(&'a [f32]),
    /// One batch an input, in the graph's order.
    Batches(&'a [Batch<'a>]),
}

/// What a run writes: a slice for a graph of one output, or a batch an output, in any layout.
#[derive(Debug)]
pub enum Outputs<'a, 'b> {
    /// The one output.
    Slice(&'a mut [f32]),
    /// One batch an output, in the graph's order.
    Batches(&'a mut [BatchMut<'b>]),
}

impl<'a> From<&'a [f32]> for Inputs<'a> {
    fn from(slice: &'a [f32]) -> Self {
        Inputs::Slice(slice)
    }
}

impl<'a> From<&'a Vec<f32>> for Inputs<'a> {
    fn from(vector: &'a Vec<f32>) -> Self {
        Inputs::Slice(vector)
    }
}

impl<'a> From<&'a [Batch<'a>]> for Inputs<'a> {
    fn from(batches: &'a [Batch<'a>]) -> Self {
        Inputs::Batches(batches)
    }
}

impl<'a, const N: usize> From<&'a [Batch<'a>; N]> for Inputs<'a> {
    fn from(batches: &'a [Batch<'a>; N]) -> Self {
        Inputs::Batches(batches)
    }
}

impl<'a> From<&'a mut [f32]> for Outputs<'a, 'a> {
    fn from(slice: &'a mut [f32]) -> Self {
        Outputs::Slice(slice)
    }
}

impl<'a> From<&'a mut Vec<f32>> for Outputs<'a, 'a> {
    fn from(vector: &'a mut Vec<f32>) -> Self {
        Outputs::Slice(vector)
    }
}

impl<'a, 'b> From<&'a mut [BatchMut<'b>]> for Outputs<'a, 'b> {
    fn from(batches: &'a mut [BatchMut<'b>]) -> Self {
        Outputs::Batches(batches)
    }
}

impl<'a, 'b, const N: usize> From<&'a mut [BatchMut<'b>; N]> for Outputs<'a, 'b> {
    fn from(batches: &'a mut [BatchMut<'b>; N]) -> Self {
        Outputs::Batches(batches)
    }
}

/// The error for images that are not `count` images of `shape` of the input or output `name`, if they are not.
pub(super) fn expect(what: &str, name: &str, got: (usize, Shape), expected: (usize, Shape)) -> Result<()> {
    if got == expected {
        return Ok(());
    }
    let images = |(count, shape): (usize, Shape)| format!("{count} images of {shape}");
    Err(Error::shape(format!("{what} {name:?}"), images(got), images(expected)))
}

/// The error for a slice that does not hold `count` tight images of `shape`, if it does not.
pub(super) fn expect_slice(what: &str, got: usize, count: usize, shape: Shape) -> Result<()> {
    if got == count * shape.len() {
        return Ok(());
    }
    let Shape { height, width, channels } = shape;
    let size = match (height, width) {
        (1, 1) => format!("{count} x {channels}"),
        _ => format!("{count} x {height} x {width} x {channels}, NHWC"),
    };
    Err(Error::Length { what: what.into(), got, expected: format!("{} ({size})", count * shape.len()) })
}

/// The error for a slice where the graph has several inputs or outputs.
pub(super) fn expect_one(what: &str, count: usize, batches: &str) -> Result<()> {
    match count {
        1 => Ok(()),
        _ => Err(Error::shape(what, "one slice", format!("{count} {what}s, given as `{batches}`"))),
    }
}
