//! What a run reads and writes of the caller's.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::tensor::{Batch, BatchMut, Shape};

/// What a run reads: a slice for a graph of one input (its images without gaps, one after the other), or a batch an
/// input, in any layout. Batches of planes, and bytes, are for plans that were built with
/// [`Options::staged`](super::Options::staged).
///
/// ```
/// use sepconv::graph::Builder;
/// use sepconv::parallel::Serial;
/// use sepconv::weights::HashWeights;
/// use sepconv::{Batch, Bytes, Inputs, Options, Plan, Shape};
///
/// let mut net = Builder::new();
/// let image = net.input("image", Shape::new(1, 2, 2))?;
/// let means = net.global_average_pool("means", image)?;
/// let options = Options { staged: true, ..Options::default() };
/// let plan = Plan::new(&net.build(&[means])?, &HashWeights, &Serial, options)?;
/// let run = |inputs: Inputs<'_>| -> sepconv::Result<[f32; 2]> {
///     let mut means = [0.0; 2];
///     plan.run(&Serial, &mut plan.workspace()?, inputs, &mut means[..])?;
///     Ok(means)
/// };
/// // Two pixels of two channels: as they are, plane by plane, and as bytes.
/// let (pixels, planes, bytes) = ([1.0, 10.0, 3.0, 30.0], [1.0, 3.0, 10.0, 30.0], [1, 10, 3, 30]);
/// assert_eq!(run(pixels[..].into())?, [2.0, 20.0]);
/// let planes = Batch::planes(&planes, 1, Shape::new(1, 2, 2))?;
/// assert_eq!(run(Inputs::Batches(&[planes]))?, [2.0, 20.0]);
/// let scaled = Bytes { data: &bytes, scale: &[0.5, 0.1], offset: &[-1.0, 0.0] };
/// assert_eq!(run(Inputs::Bytes(&[scaled]))?, [0.0, 2.0]);
/// # Ok::<(), sepconv::Error>(())
/// ```
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum Inputs<'a> {
    /// The one input, NHWC.
    Slice(&'a [f32]),
    /// One batch an input, in the graph's order.
    Batches(&'a [Batch<'a>]),
    /// One for each input, in the graph's order.
    Bytes(&'a [Bytes<'a>]),
}

/// Images of bytes, NHWC without gaps, with what makes numbers of them: channel `c` of value `v` is
/// `v * scale[c] + offset[c]`, rounded once. [`Inputs`] has an example.
#[derive(Clone, Copy)]
pub struct Bytes<'a> {
    /// The images, one after the other.
    pub data: &'a [u8],
    /// A factor a channel.
    pub scale: &'a [f32],
    /// A summand a channel.
    pub offset: &'a [f32],
}

/// What a run writes: a slice for a graph of one output, or a batch an output, in any layout. Batches of planes are for
/// plans that were built with [`Options::staged`](super::Options::staged).
///
/// ```
/// use sepconv::graph::Builder;
/// use sepconv::parallel::Serial;
/// use sepconv::weights::HashWeights;
/// use sepconv::{BatchMut, Clamp, Layout, Options, Outputs, Plan, Shape};
///
/// let mut net = Builder::new();
/// let image = net.input("image", Shape::new(1, 2, 2))?;
/// let sums = net.add("sums", image, image, Clamp::NONE)?;
/// let means = net.global_average_pool("means", sums)?;
/// let plan = Plan::new(&net.build(&[sums, means])?, &HashWeights, &Serial, Options::default())?;
/// // One output with an element between its pixels, one without gaps.
/// let (mut sums, mut means) = ([0.0; 5], [0.0; 2]);
/// let layout = Layout { pixel_stride: 3, row_stride: 6, ..Layout::tight(1, 2, 2) };
/// let mut outputs = [BatchMut::new(&mut sums, layout, 0, 1)?, BatchMut::tight(&mut means, 1, Shape::new(1, 1, 2))?];
/// let outputs = Outputs::Batches(&mut outputs);
/// plan.run(&Serial, &mut plan.workspace()?, &[1.0, 10.0, 3.0, 30.0][..], outputs)?;
/// assert_eq!((sums, means), ([2.0, 20.0, 0.0, 6.0, 60.0], [4.0, 40.0]));
/// # Ok::<(), sepconv::Error>(())
/// ```
#[non_exhaustive]
pub enum Outputs<'a, 'b> {
    /// The one output, NHWC.
    Slice(&'a mut [f32]),
    /// One batch an output, in the graph's order.
    Batches(&'a mut [BatchMut<'b>]),
}

impl fmt::Debug for Bytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bytes({} bytes, {} channels)", self.data.len(), self.scale.len())
    }
}

impl fmt::Debug for Inputs<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Inputs::Slice(data) => write!(f, "Slice({} elements)", data.len()),
            Inputs::Batches(batches) => f.debug_tuple("Batches").field(batches).finish(),
            Inputs::Bytes(bytes) => f.debug_tuple("Bytes").field(bytes).finish(),
        }
    }
}

impl fmt::Debug for Outputs<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outputs::Slice(data) => write!(f, "Slice({} elements)", data.len()),
            Outputs::Batches(batches) => f.debug_tuple("Batches").field(batches).finish(),
        }
    }
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

impl<'a> From<&'a [Bytes<'a>]> for Inputs<'a> {
    fn from(bytes: &'a [Bytes<'a>]) -> Self {
        Inputs::Bytes(bytes)
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

/// The inputs and outputs of one run in their final form, and whether they are what the graph asks for.
pub(super) struct Expected<'a> {
    pub graph: &'a Graph,
    pub batch: usize,
    pub staged: bool,
}

impl Expected<'_> {
    /// The error for inputs that are not those of the graph, if they are not.
    pub fn inputs(&self, inputs: &Inputs<'_>) -> Result<()> {
        let shapes = || self.graph.inputs();
        match inputs {
            Inputs::Slice(data) => {
                expect_one("input", shapes().len(), "Batch")?;
                shapes().try_for_each(|(_, shape)| expect_slice(|| "input".into(), data.len(), self.batch, shape))
            }
            Inputs::Batches(batches) => {
                self.count("inputs", batches.len(), shapes().len())?;
                let mut pairs = batches.iter().zip(shapes());
                pairs.try_for_each(|(got, (name, shape))| {
                    self.layout("input", name, got.is_planes())?;
                    expect_batch("input", name, (got.count(), got.layout().shape()), (self.batch, shape))
                })
            }
            Inputs::Bytes(bytes) => {
                self.count("inputs", bytes.len(), shapes().len())?;
                self.can("inputs", "bytes")?;
                let mut pairs = bytes.iter().zip(shapes());
                pairs.try_for_each(|(got, (name, shape))| {
                    expect_slice(|| format!("input {name:?}"), got.data.len(), self.batch, shape)?;
                    let lengths = (got.scale.len(), got.offset.len());
                    match lengths == (shape.channels, shape.channels) {
                        true => Ok(()),
                        false => Err(Error::shape(
                            format!("scale and offset of input {name:?}"),
                            format!("{} and {} numbers", lengths.0, lengths.1),
                            format!("{} of each, one a channel", shape.channels),
                        )),
                    }
                })
            }
        }
    }

    /// The error for outputs that are not those of the graph, if they are not.
    pub fn outputs(&self, outputs: &Outputs<'_, '_>) -> Result<()> {
        let shapes = || self.graph.outputs();
        match outputs {
            Outputs::Slice(data) => {
                expect_one("output", shapes().len(), "BatchMut")?;
                shapes().try_for_each(|(_, shape)| expect_slice(|| "output".into(), data.len(), self.batch, shape))
            }
            Outputs::Batches(batches) => {
                self.count("outputs", batches.len(), shapes().len())?;
                let mut pairs = batches.iter().zip(shapes());
                pairs.try_for_each(|(got, (name, shape))| {
                    self.layout("output", name, got.is_planes())?;
                    expect_batch("output", name, (got.count(), got.layout().shape()), (self.batch, shape))
                })
            }
        }
    }

    fn count(&self, what: &str, got: usize, expected: usize) -> Result<()> {
        match got == expected {
            true => Ok(()),
            false => Err(Error::shape(what, got, expected)),
        }
    }

    fn layout(&self, what: &str, name: &str, planes: bool) -> Result<()> {
        if planes && !self.staged { self.can(&format!("{what} {name:?}"), "planes") } else { Ok(()) }
    }

    fn can(&self, what: &str, form: &str) -> Result<()> {
        match self.staged {
            true => Ok(()),
            false => Err(Error::shape(
                what,
                form,
                "pixels of f32: the plan was not built with `Options { staged: true, .. }`",
            )),
        }
    }
}

/// The error for images that are not so many of a shape, of the input or output `name`, if they are not.
fn expect_batch(what: &str, name: &str, got: (usize, Shape), expected: (usize, Shape)) -> Result<()> {
    if got == expected {
        return Ok(());
    }
    let images = |(count, shape): (usize, Shape)| format!("{count} images of {shape}");
    Err(Error::shape(format!("{what} {name:?}"), images(got), images(expected)))
}

/// The error for a slice that does not hold `count` tight images of `shape`, if it does not; `what` names it then.
fn expect_slice(what: impl FnOnce() -> String, got: usize, count: usize, shape: Shape) -> Result<()> {
    if got == count * shape.len() {
        return Ok(());
    }
    let Shape { height, width, channels } = shape;
    let size = match (height, width) {
        (1, 1) => format!("{count} x {channels}"),
        _ => format!("{count} x {height} x {width} x {channels}, NHWC"),
    };
    Err(Error::Length { what: what(), got, expected: format!("{} ({size})", count * shape.len()) })
}

/// The error for a slice where the graph has several inputs or outputs.
fn expect_one(what: &str, count: usize, batches: &str) -> Result<()> {
    match count {
        1 => Ok(()),
        _ => Err(Error::shape(what, "one slice", format!("{count} {what}s, given as `{batches}`"))),
    }
}
