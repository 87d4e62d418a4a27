//! A network made ready to run: weights packed, kernels chosen, memory laid out.

mod build;
mod lower;
mod memory;
mod operation;
#[cfg(test)]
mod random_graphs;
mod schedule;
mod step;

use crate::buffer::{AlignedBuffer, Arena};
use crate::error::{Error, Result};
use crate::isa::Isa;
use crate::kernel::Kernels;
use crate::net::{Network, Shape};
use crate::parallel::{Parallel, Serial};
use crate::tensor::View;
use crate::weights::{Folded, Weights, fold};
use build::Builder;
use memory::Place;
use operation::Operation;
use schedule::Schedules;
use step::{Base, Step};

/// How to build a plan.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// The ISA; `None` takes [`Isa::selected`].
    pub isa: Option<Isa>,
    /// Images a run; 0 is taken as 1.
    pub batch: usize,
    /// Tasks that a step is cut into at most; 0 is taken as 1. Give the threads that will run the plan.
    pub threads: usize,
    /// Gives every layer a tensor of its own, as [`Plan::run_observed`] needs. Without it, additions and ReLUs are
    /// part of the convolution before them. The bits are the same.
    pub observed: bool,
    /// Which layers are computed together. The bits are the same.
    pub fusion: Fusion,
    /// Computes, strip by strip of its rows, every chain of layers that takes less memory so, and inverted residuals
    /// by blocks of their expanded channels where that takes less still (MobileNet V2, section 5.1). Goes before
    /// `Fusion::Auto` and `Fusion::Off`. The bits are the same.
    pub low_memory: bool,
}

/// Which layers are computed together, strip by strip of their output rows, so that the tensors between them stay in a
/// cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Fusion {
    /// Those where it pays.
    #[default]
    Auto,
    /// None, but for what `low_memory` asks.
    Off,
    /// Every chain that allows it, in strips of this many output rows (0 is taken as 1), `low_memory` or not. For
    /// measurements.
    Strips(usize),
}

/// A network with its weights packed for the kernels of one ISA. Many threads may run one plan at a time, each with a
/// workspace of its own. A run allocates nothing.
#[derive(Debug)]
pub struct Plan {
    kernels: &'static Kernels,
    network: Network,
    steps: Vec<Step>,
    batch: usize,
    threads: usize,
    observed: bool,
    /// Elements of a workspace, and the most that live at one time with the image.
    workspace: usize,
    peak: usize,
    flushed: usize,
}

/// The memory that one run of a plan works in.
#[derive(Debug)]
pub struct Workspace {
    buffer: AlignedBuffer,
}

impl Plan {
    /// Builds the plan of `network` with `weights`.
    pub fn new(network: Network, weights: &dyn Weights, options: Options) -> Result<Plan> {
        let folded = fold(&network, weights)?;
        Self::from_folded(network, &folded, options)
    }

    /// Builds the plan from weights that are folded already.
    pub fn from_folded(network: Network, folded: &[Option<Folded>], options: Options) -> Result<Plan> {
        let kernels = options.isa.map_or_else(Isa::selected, Ok)?.kernels()?;
        let (batch, threads) = (options.batch.max(1), options.threads.max(1));
        let largest = 1 << 16;
        if batch > largest || threads > largest {
            return Err(Error::shape("batch and threads", format!("{batch}, {threads}"), format!("at most {largest}")));
        }
        let schedules = Schedules::new(&options);
        let items = lower::lower(&network, options.observed, &schedules);
        // The packed weights are padded to whole vectors.
        let weights: usize = folded.iter().flatten().map(|folded| folded.weights.len() + folded.bias.len()).sum();
        let mut arena = Arena::new(weights / 16 * 17).map_err(|_| Error::memory("packed weights", weights))?;
        let builder = Builder { kernels, network: &network, folded, batch, schedules };
        let scratch = items.iter().map(|item| builder.scratch(item)).collect::<Result<Vec<_>>>()?;
        let memory = memory::lay_out(&network, &items, &scratch, batch, options.observed)?;
        let mut steps = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            steps.extend(builder.steps(item, index, &memory, &mut arena)?);
        }
        let (workspace, peak) = (memory.workspace, memory.peak);
        let flushed = folded.iter().flatten().map(|folded| folded.flushed).sum();
        Ok(Plan { kernels, network, steps, batch, threads, observed: options.observed, workspace, peak, flushed })
    }

    /// The network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The ISA whose kernels run.
    pub fn isa(&self) -> Isa {
        self.kernels.isa()
    }

    /// Images a run.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Tasks that a step is cut into at most.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Subnormal weights that were flushed to zero when the plan was built.
    pub fn flushed_weights(&self) -> usize {
        self.flushed
    }

    /// Bytes of a workspace: the layers' tensors as far as they live at the same time. The image and the logits are the
    /// caller's.
    pub fn workspace_bytes(&self) -> usize {
        self.workspace * size_of::<f32>()
    }

    /// The most bytes of activations that live at one time: the images until they were read for the last time, and the
    /// tensors and scratch of the workspace.
    pub fn peak_bytes(&self) -> usize {
        self.peak * size_of::<f32>()
    }

    /// Elements of the input: batch x height x width x channels, NHWC without gaps.
    pub fn input_len(&self) -> usize {
        self.batch * self.network.input().len()
    }

    /// Elements of the output: batch x classes, or batch x height x width x channels of a backbone.
    pub fn output_len(&self) -> usize {
        self.batch * self.network.output().len()
    }

    /// A new workspace for this plan; an error where there is no room for it.
    pub fn workspace(&self) -> Result<Workspace> {
        let buffer = AlignedBuffer::zeroed(self.workspace);
        Ok(Workspace { buffer: buffer.map_err(|_| Error::memory("workspace", self.workspace))? })
    }

    /// One line a step: its layer, its shapes and the kernel that does it.
    pub fn describe(&self) -> impl Iterator<Item = Description<'_>> {
        self.steps.iter().map(|step| {
            let shape = |place: &Place| Shape {
                height: place.layout.height,
                width: place.layout.width,
                channels: place.layout.channels,
            };
            let layer = |operation: &Operation| &self.network.layers()[operation.layer].name[..];
            Description {
                layers: step.operations.iter().map(layer).collect(),
                kernels: step.operations.iter().map(|operation| operation.work.kernel()).collect(),
                input: shape(&step.input),
                output: shape(step.output()),
                macs: step.macs,
                bytes: step.bytes(),
            }
        })
    }

    /// Runs on the calling thread. `input` holds [`input_len`](Self::input_len) elements, `output` gets
    /// [`output_len`](Self::output_len) logits.
    pub fn run(&self, workspace: &mut Workspace, input: &[f32], output: &mut [f32]) -> Result<()> {
        self.run_on(&Serial, workspace, input, output)
    }

    /// As [`run`](Self::run), on the threads of `parallel`. The bits do not depend on them.
    pub fn run_on(
        &self,
        parallel: &dyn Parallel,
        workspace: &mut Workspace,
        input: &[f32],
        output: &mut [f32],
    ) -> Result<()> {
        let base = self.base(workspace, input, output)?;
        parallel.enter(self.threads, &mut || {
            for step in &self.steps {
                // SAFETY: `base` covers every place of the plan, the tasks of a step write to disjoint parts of its
                // output and read nothing that any of them writes, and one step ends before the next begins.
                parallel.run(step.tasks(), &|task| unsafe { step.run(&base, task) });
            }
        });
        Ok(())
    }

    /// As [`run`](Self::run), and calls `observe` with each layer's index and its output, one view an image. The plan
    /// must have been built with [`Options::observed`].
    pub fn run_observed(
        &self,
        workspace: &mut Workspace,
        input: &[f32],
        output: &mut [f32],
        observe: &mut dyn FnMut(usize, &[View<'_>]),
    ) -> Result<()> {
        if !self.observed {
            return Err(Error::shape(
                "plan",
                "one built without `observed`",
                "one built with `Options { observed: true, .. }`",
            ));
        }
        let base = self.base(workspace, input, output)?;
        for (index, step) in self.steps.iter().enumerate() {
            for task in 0..step.tasks() {
                // SAFETY: as in `run_on`; the tasks run one after the other.
                unsafe { step.run(&base, task) };
            }
            let images = (0..self.batch).map(|image| {
                // SAFETY: the place lies inside the workspace or the output, which `base` borrows, and nothing writes
                // to it while the view lives.
                let data = unsafe { base.image(step.output(), image) };
                View::new(data, step.output().layout)
            });
            observe(index, &images.collect::<Result<Vec<_>>>()?);
        }
        Ok(())
    }

    /// As [`run`](Self::run), and calls `time` with the index of each step ([`describe`](Self::describe)) around its
    /// work, for profiles: `time` must call its closure exactly once.
    pub fn run_timed(
        &self,
        parallel: &dyn Parallel,
        workspace: &mut Workspace,
        input: &[f32],
        output: &mut [f32],
        time: &mut (dyn FnMut(usize, &mut dyn FnMut()) + Send),
    ) -> Result<()> {
        let base = self.base(workspace, input, output)?;
        parallel.enter(self.threads, &mut || {
            for (index, step) in self.steps.iter().enumerate() {
                time(index, &mut || {
                    // SAFETY: as in `run_on`.
                    parallel.run(step.tasks(), &|task| unsafe { step.run(&base, task) });
                });
            }
        });
        Ok(())
    }

    fn base(&self, workspace: &mut Workspace, input: &[f32], output: &mut [f32]) -> Result<Base> {
        let Shape { height, width, channels } = self.network.input();
        let batch = self.batch;
        expect("input", input.len(), self.input_len(), || format!("{batch} x {height} x {width} x {channels}, NHWC"))?;
        expect("output", output.len(), self.output_len(), || {
            let Shape { height, width, channels } = self.network.output();
            match (height, width) {
                (1, 1) => format!("{batch} x {channels}"),
                _ => format!("{batch} x {height} x {width} x {channels}, NHWC"),
            }
        })?;
        expect("workspace", workspace.buffer.len(), self.workspace, || "make it with `Plan::workspace`".into())?;
        Ok(Base { input: input.as_ptr(), output: output.as_mut_ptr(), workspace: workspace.buffer.as_mut_ptr() })
    }
}

/// The error for a slice of the wrong length, if it is; `shape` explains the length and is only called for the error.
fn expect(what: &str, got: usize, expected: usize, shape: impl FnOnce() -> String) -> Result<()> {
    match got == expected {
        true => Ok(()),
        false => Err(Error::Length { what: what.into(), got, expected: format!("{expected} ({})", shape()) }),
    }
}

/// What a plan does in one step.
#[derive(Debug, Clone)]
pub struct Description<'a> {
    /// The names of the layers that it computes, one after the other.
    pub layers: Vec<&'a str>,
    /// The name of each one's kernel, or of the element-wise operation.
    pub kernels: Vec<&'static str>,
    /// The shape of the input.
    pub input: Shape,
    /// The shape of the output.
    pub output: Shape,
    /// Multiply-accumulates of the whole batch.
    pub macs: u64,
    /// Bytes of input, output, residual and weights, each once.
    pub bytes: u64,
}

impl std::fmt::Display for Description<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shape = |Shape { height, width, channels }: Shape| format!("{height}x{width}x{channels}");
        let (layers, kernels) = (self.layers.join(" + "), self.kernels.join(" + "));
        write!(f, "{layers:<24} {:>12} -> {:<12} {kernels}", shape(self.input), shape(self.output))
    }
}
