//! A network made ready to run: weights packed, kernels chosen, memory laid out.

mod memory;
mod step;

use crate::error::{Error, Result};
use crate::isa::Isa;
use crate::kernel::Kernels;
use crate::net::{Network, Shape};
use crate::parallel::{Parallel, Serial};
use crate::tensor::{AlignedBuffer, View};
use crate::weights::{Folded, Weights, fold};
use memory::Place;
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
    /// Keeps every layer's tensor until the end of the run, as [`Plan::run_observed`] needs.
    pub observed: bool,
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
    /// Elements of a workspace.
    workspace: usize,
    flushed: usize,
}

/// The memory that one run of a plan works in.
#[derive(Debug, Clone)]
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
        let (places, workspace) = memory::lay_out(&network, batch, options.observed)?;
        let mut steps = Vec::with_capacity(network.layers().len());
        for index in 0..network.layers().len() {
            let weights = folded.get(index).and_then(Option::as_ref);
            steps.push(Step::new(kernels, &network, index, weights, &places, batch, threads)?);
        }
        let flushed = folded.iter().flatten().map(|folded| folded.flushed).sum();
        Ok(Plan { kernels, network, steps, batch, threads, observed: options.observed, workspace, flushed })
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

    /// Elements of the input: batch x height x width x channels, NHWC without gaps.
    pub fn input_len(&self) -> usize {
        self.batch * self.network.input().len()
    }

    /// Elements of the output: batch x classes.
    pub fn output_len(&self) -> usize {
        self.batch * self.network.classes()
    }

    /// A new workspace for this plan.
    pub fn workspace(&self) -> Workspace {
        Workspace { buffer: AlignedBuffer::zeroed(self.workspace) }
    }

    /// One line a layer: its name, what it computes, its shapes and the kernel that does it.
    pub fn describe(&self) -> impl Iterator<Item = Description<'_>> {
        self.network.layers().iter().zip(&self.steps).map(|(layer, step)| Description {
            layer: &layer.name,
            kernel: step.kernel(),
            input: self.network.shape(layer.input),
            output: layer.output,
            macs: layer.macs() * self.batch as u64,
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
        parallel.enter(&mut || {
            for step in &self.steps {
                // SAFETY: `base` covers every place of the plan, the tasks of a step write to disjoint parts of its
                // output and read nothing that any of them writes, and one step ends before the next begins.
                parallel.run(step.tasks(), &|task| unsafe { step.run(&base, task) });
            }
        });
        Ok(())
    }

    /// As [`run`](Self::run), and calls `observe` with each layer's index and its output, one view an image. The plan must
    /// have been built with [`Options::observed`].
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
        self.run_steps(workspace, input, output, &mut |index, views| observe(index, views), &mut |step, base| {
            for task in 0..step.tasks() {
                // SAFETY: as in `run_on`; the tasks run one after the other.
                unsafe { step.run(base, task) };
            }
        })
    }

    /// As [`run`](Self::run), and calls `time` with each layer's index around its work, for profiles: `time` must call
    /// the closure that it gets at least once and may call it again, since a layer reads nothing that it writes.
    pub fn run_timed(
        &self,
        parallel: &dyn Parallel,
        workspace: &mut Workspace,
        input: &[f32],
        output: &mut [f32],
        time: &mut (dyn FnMut(usize, &mut dyn FnMut()) + Send),
    ) -> Result<()> {
        let base = self.base(workspace, input, output)?;
        parallel.enter(&mut || {
            for (index, step) in self.steps.iter().enumerate() {
                time(index, &mut || {
                    // SAFETY: as in `run_on`.
                    parallel.run(step.tasks(), &|task| unsafe { step.run(&base, task) });
                });
            }
        });
        Ok(())
    }

    fn run_steps(
        &self,
        workspace: &mut Workspace,
        input: &[f32],
        output: &mut [f32],
        observe: &mut dyn FnMut(usize, &[View<'_>]),
        run: &mut dyn FnMut(&Step, &Base),
    ) -> Result<()> {
        let base = self.base(workspace, input, output)?;
        for (index, step) in self.steps.iter().enumerate() {
            run(step, &base);
            let &Place { layout, .. } = step.output();
            let images = (0..self.batch).map(|image| {
                // SAFETY: the place lies inside the workspace or the output, which `base` borrows, and nothing writes to
                // it while the view lives.
                let data = unsafe { base.image(step.output(), image) };
                View::new(data, layout)
            });
            observe(index, &images.collect::<Result<Vec<_>>>()?);
        }
        Ok(())
    }

    fn base(&self, workspace: &mut Workspace, input: &[f32], output: &mut [f32]) -> Result<Base> {
        let Shape { height, width, channels } = self.network.input();
        let batch = self.batch;
        expect("input", input.len(), self.input_len(), || format!("{batch} x {height} x {width} x {channels}, NHWC"))?;
        expect("output", output.len(), self.output_len(), || format!("{batch} x {}", self.network.classes()))?;
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

/// What a plan does for one layer.
#[derive(Debug, Clone, Copy)]
pub struct Description<'a> {
    /// The layer's name.
    pub layer: &'a str,
    /// The kernel's name, or that of the element-wise operation.
    pub kernel: &'static str,
    /// The shape of the input.
    pub input: Shape,
    /// The shape of the output.
    pub output: Shape,
    /// Multiply-accumulates of the whole batch.
    pub macs: u64,
}

impl std::fmt::Display for Description<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shape = |Shape { height, width, channels }: Shape| format!("{height}x{width}x{channels}");
        write!(f, "{:<24} {:>12} -> {:<12} {}", self.layer, shape(self.input), shape(self.output), self.kernel)
    }
}
