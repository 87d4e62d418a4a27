//! Runs a plan: walks its steps, and resolves the addresses of their calls.

use alloc::vec::Vec;

use super::bytes::widen;
use super::images::{Bytes, Expected, Inputs, Outputs};
use super::memory::Region;
use super::packed::Plan;
use super::step::{Action, Address, External, Step};
use super::workspace::Workspace;
use crate::error::{Error, Result};
use crate::ops::Call;
use crate::parallel::Parallel;
use crate::tensor::buffer::collect;
use crate::tensor::form::{Form, copy};
use crate::tensor::{Batch, BatchMut, Image, Shape, View};

/// What looks on while a plan runs, and measures or reads what it computes.
///
/// ```
/// use std::time::{Duration, Instant};
///
/// use sepconv::models::{Architecture, Config, Network};
/// use sepconv::parallel::Serial;
/// use sepconv::weights::HashWeights;
/// use sepconv::{Observer, Options, View};
///
/// #[derive(Default)]
/// struct Watch {
///     steps: Vec<Duration>,
///     nodes: Vec<usize>,
/// }
///
/// impl Observer for Watch {
///     fn step(&mut self, _: usize, work: &mut dyn FnMut()) {
///         let begin = Instant::now();
///         work();
///         self.steps.push(begin.elapsed());
///     }
///
///     fn output(&mut self, node: usize, images: &[View<'_>]) {
///         assert!(images[0].pixel(0, 0).iter().all(|value| value.is_finite()));
///         self.nodes.push(node);
///     }
/// }
///
/// let network = Network::new(Architecture::Digits, &Config::of(Architecture::Digits))?;
/// let options = Options { observed: true, ..Options::default() };
/// let plan = network.plan(&HashWeights, &Serial, options)?;
/// let (mut workspace, mut watch) = (plan.workspace()?, Watch::default());
/// plan.run_observed(&Serial, &mut workspace, &vec![0.5; 28 * 28], &mut vec![0.0; 10], &mut watch)?;
/// assert_eq!(watch.steps.len(), plan.describe().len());
/// assert_eq!(watch.nodes, Vec::from_iter(0..network.graph().nodes().len()));
/// # Ok::<(), sepconv::Error>(())
/// ```
pub trait Observer: Send {
    /// Is called with the index of each step, in the order of [`Plan::describe`], and its work; for a plan of more images
    /// than [go through the network together](Plan::images_together), again for the next ones. A step whose work this does
    /// not call is run afterwards; none runs twice.
    fn step(&mut self, index: usize, work: &mut dyn FnMut()) {
        let _ = index;
        work();
    }

    /// Is called after each node of a plan that was built with [`Options::observed`](super::Options::observed), with its
    /// index in [`Graph::nodes`](crate::graph::Graph::nodes) and its output, one view an image. Other plans have no memory
    /// for all of them, and do not call it.
    fn output(&mut self, node: usize, images: &[View<'_>]) {
        let _ = (node, images);
    }
}

/// Looks at nothing.
impl Observer for () {}

/// The memory of some images of a run.
#[derive(Clone, Copy)]
struct Memory<'a> {
    inputs: Given<'a>,
    outputs: &'a [BatchMut<'a>],
    /// The first of the images in the caller's batches.
    first: usize,
    workspace: *mut f32,
}

/// The inputs of one run.
#[derive(Clone, Copy)]
enum Given<'a> {
    Batches(&'a [Batch<'a>]),
    Bytes(&'a [Bytes<'a>]),
}

// SAFETY: the tasks that share a `Memory` write to disjoint memory, which `Plan::run` borrows uniquely.
unsafe impl Sync for Memory<'_> {}
// SAFETY: as above.
unsafe impl Send for Memory<'_> {}

impl Memory<'_> {
    /// The memory of the images from `first` on.
    fn from(self, first: usize) -> Self {
        Memory { first, ..self }
    }

    /// The image at `address` for image `image` of those that go together.
    fn resolve(&self, address: &Address, image: usize) -> Image {
        match *address {
            Address::Workspace { offset, pixel_stride, row_stride, image_stride } => Image {
                pointer: self.workspace.wrapping_add(offset + image * image_stride),
                pixel_stride: pixel_stride as isize,
                row_stride: row_stride as isize,
            },
            Address::Input(external) => match self.inputs {
                Given::Batches(batches) => {
                    let batch = &batches[external.index];
                    self.of_caller(batch.image(), batch.stride(), external, image)
                }
                // A plan that takes bytes has them staged, and no such address.
                Given::Bytes(_) => Image::NONE,
            },
            Address::Output(external) => {
                let batch = &self.outputs[external.index];
                self.of_caller(batch.image(), batch.stride(), external, image)
            }
        }
    }

    /// The image at `external` for image `image` of those that go together, in a batch whose images are `stride` apart, the
    /// first at `batch`.
    fn of_caller(&self, batch: Image, stride: usize, external: External, image: usize) -> Image {
        let External { row, channel, images_as_rows, .. } = external;
        let first = Image { pointer: batch.pointer.wrapping_add(self.first * stride), ..batch };
        if images_as_rows {
            // Of one pixel each: a row, or a pixel, further on is an image further on.
            let stride = stride as isize;
            return Image { pixel_stride: stride, row_stride: stride, ..first }.offset(row, 0, channel);
        }
        Image { pointer: first.pointer.wrapping_add(image * stride), ..first }.offset(row, 0, channel)
    }

    /// Does what task `task` of `step` does.
    ///
    /// # Safety
    /// The memory must cover every address of the step; no other task may write what this one reads or touch what it
    /// writes.
    unsafe fn run(&self, step: &Step, task: usize) {
        for segment in &step.tasks[task] {
            for image in segment.images.clone() {
                for action in &step.actions[segment.actions.clone()] {
                    // SAFETY: by this function's own contract.
                    unsafe { self.act(step, action, image) };
                }
            }
        }
    }

    /// # Safety
    /// As for [`run`](Self::run).
    unsafe fn act(&self, step: &Step, action: &Action, image: usize) {
        match action {
            Action::Run { operator, input, output, residual, call } => {
                let call = Call {
                    input: self.resolve(input, image),
                    output: self.resolve(output, image),
                    residual: residual.as_ref().map_or(Image::NONE, |address| self.resolve(address, image)),
                    ..call.clone()
                };
                // SAFETY: by this function's own contract; `compile` cut the call to fit its operator.
                unsafe { step.operators[*operator].run(&call) };
            }
            Action::Move { from, to, length } => {
                let (from, to) = (self.workspace.wrapping_add(*from), self.workspace.wrapping_add(*to));
                // SAFETY: both lie in the task's own scratch; they may overlap.
                unsafe { core::ptr::copy(from, to, *length) };
            }
            Action::Stage { input, rows, to } => {
                let (to, layout) = (self.resolve(to, image), step.output.layout);
                // SAFETY: by this function's own contract; the input has the shape of the step's place (`Expected`).
                unsafe {
                    match self.inputs {
                        Given::Batches(batches) => {
                            let from = batches[*input].form(self.first + image, rows.start);
                            copy(from, Form::pixels(to), rows, &layout);
                        }
                        Given::Bytes(bytes) => widen(&bytes[*input], self.first + image, rows, to, &layout),
                    }
                }
            }
            Action::Deliver { output, rows, from } => {
                let (from, layout) = (self.resolve(from, image), step.input.layout);
                let to = self.outputs[*output].form(self.first + image, rows.start);
                // SAFETY: by this function's own contract; the output has the shape of the step's place (`Expected`).
                unsafe { copy(Form::pixels(from), to, rows, &layout) };
            }
        }
    }
}

impl Plan {
    /// Runs on the threads of `parallel`; the bits do not depend on them. `inputs` and `outputs` are a slice each where
    /// the graph has one (NHWC without gaps), or one [`Batch`] an input and [`BatchMut`] an output, in any layout. An error,
    /// before anything is computed, where they are not those of the graph or the workspace is too small.
    pub fn run<'a, 'b, 'c: 'b>(
        &self,
        parallel: &dyn Parallel,
        workspace: &mut Workspace<'_>,
        inputs: impl Into<Inputs<'a>>,
        outputs: impl Into<Outputs<'b, 'c>>,
    ) -> Result<()> {
        self.run_observed(parallel, workspace, inputs, outputs, &mut ())
    }

    /// As [`run`](Self::run), while `observer` looks on.
    pub fn run_observed<'a, 'b, 'c: 'b>(
        &self,
        parallel: &dyn Parallel,
        workspace: &mut Workspace<'_>,
        inputs: impl Into<Inputs<'a>>,
        outputs: impl Into<Outputs<'b, 'c>>,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        let (inputs, outputs, batch) = (inputs.into(), outputs.into(), self.batch);
        let expected = Expected { graph: self.graph(), batch, staged: self.shared.options.staged };
        expected.inputs(&inputs)?;
        expected.outputs(&outputs)?;
        let shape = |(_, shape): (&str, Shape)| shape;
        let (one_input, one_output);
        let inputs = match inputs {
            Inputs::Batches(batches) => Given::Batches(batches),
            Inputs::Bytes(bytes) => Given::Bytes(bytes),
            Inputs::Slice(data) => {
                one_input = [Batch::tight(data, batch, self.graph().inputs().next().map(shape).unwrap_or_default())?];
                Given::Batches(&one_input)
            }
        };
        let outputs: &[BatchMut<'_>] = match outputs {
            Outputs::Batches(batches) => batches,
            Outputs::Slice(data) => {
                let shape = self.graph().outputs().next().map(shape).unwrap_or_default();
                one_output = [BatchMut::tight(data, batch, shape)?];
                &one_output
            }
        };
        let workspace = workspace.elements(self.workspace)?.as_mut_ptr();
        self.walk(parallel, Memory { inputs, outputs, first: 0, workspace }, observer)
    }

    fn walk(&self, parallel: &dyn Parallel, memory: Memory<'_>, observer: &mut dyn Observer) -> Result<()> {
        let mut result = Ok(());
        parallel.enter(self.threads(), &mut || {
            for first in (0..self.batch).step_by(self.together) {
                let memory = &memory.from(first);
                for (index, step) in self.steps.iter().enumerate() {
                    let mut ran = false;
                    let mut work = || {
                        if !core::mem::replace(&mut ran, true) {
                            // SAFETY: `memory` covers every address of the plan, the tasks of a step write to disjoint memory
                            // and read nothing that any of them writes, and one step ends before the next begins.
                            parallel.run(step.tasks.len(), &|task| unsafe { memory.run(step, task) });
                        }
                    };
                    observer.step(index, &mut work);
                    work();
                    if self.shared.options.observed {
                        // SAFETY: the step is over.
                        result = result.clone().and(unsafe { self.show(memory, step, observer) });
                    }
                }
            }
        });
        result
    }

    /// Shows the output of `step` to `observer`.
    ///
    /// # Safety
    /// The step must have run, and nothing may write to its output meanwhile.
    unsafe fn show(&self, memory: &Memory<'_>, step: &Step, observer: &mut dyn Observer) -> Result<()> {
        let view = |image: usize| {
            let (pointer, layout) = match step.output.region {
                Region::Workspace(start) => {
                    let offset = start + image * step.output.image_stride() + step.output.channel;
                    (memory.workspace.wrapping_add(offset), step.output.layout)
                }
                Region::Output(index) => {
                    let batch = &memory.outputs[index];
                    (batch.image().pointer.wrapping_add(image * batch.stride()), batch.layout())
                }
                Region::Input(_) => return Err(Error::shape("step", "one that writes an input", "one that does not")),
            };
            // SAFETY: by this function's own contract.
            unsafe { View::from_raw(pointer, layout) }
        };
        let Some(&node) = step.nodes.last() else { return Ok(()) };
        // Plans that show what they compute take all images together.
        debug_assert_eq!(self.together, self.batch);
        let views = (0..self.batch).map(view).collect::<Result<Vec<_>>>()?;
        // The node may have its channels in another order than the network.
        let value = self.graph().value(self.graph().output_of(node));
        let Shape { height, width, channels } = value.shape;
        let ordered = |view: &View<'_>| {
            let mut image = collect("observed image", value.shape.len(), core::iter::repeat(0.0))?;
            for (at, pixel) in image.chunks_exact_mut(channels).enumerate() {
                let own = view.pixel(at / width, at % width);
                value.channels().zip(pixel).for_each(|((_, channel), element)| *element = own[channel]);
            }
            Ok(image)
        };
        if value.runs.len() == 1 {
            observer.output(node, &views);
            return Ok(());
        }
        let images = views.iter().map(ordered).collect::<Result<Vec<Vec<f32>>>>()?;
        let views = images.iter().map(|image| View::tight(image, height, width, channels));
        observer.output(node, &views.collect::<Result<Vec<_>>>()?);
        Ok(())
    }
}
