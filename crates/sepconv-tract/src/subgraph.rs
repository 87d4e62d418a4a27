//! The operator that stands for a subgraph: one plan, which reads and writes tract's tensors.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use sepconv::parallel::Parallel;
use sepconv::{Batch, BatchMut, Graph, Options, Plan, Shape, Workspace};
use tract_core::internal::*;

use crate::axes::Form;
use crate::threads::Threads;

/// An input or an output of a subgraph: tract's tensor, and the images that it is.
#[derive(Debug, Clone)]
pub struct Border {
    pub tensor: TVec<usize>,
    pub form: Form,
    pub image: Shape,
}

/// A part of a model that runs as one plan of sepconv.
///
/// Copies share the plan, as do the sessions of a model. Its threads are those of tract's executor: for each number of
/// them there is a plan, built when it is first needed.
#[derive(Clone)]
pub struct Subgraph(Arc<Shared>);

struct Shared {
    graph: Graph,
    inputs: Vec<Border>,
    outputs: Vec<Border>,
    options: Options,
    nodes: usize,
    plans: Mutex<Vec<Arc<Prepared>>>,
}

/// A plan, and the workspaces of sessions that have ended.
struct Prepared {
    plan: Plan,
    idle: Mutex<Vec<Workspace<'static>>>,
}

impl Subgraph {
    /// `graph` in the place of `nodes` nodes of a model, on `batch` images a run; an error where sepconv has no plan for it.
    pub(crate) fn new(
        graph: Graph,
        inputs: Vec<Border>,
        outputs: Vec<Border>,
        batch: usize,
        nodes: usize,
    ) -> sepconv::Result<Self> {
        let planes = |border: &Border| border.form == Form::Planes;
        let staged = inputs.iter().chain(&outputs).any(planes);
        let options = Options { batch, staged, ..Options::default() };
        let subgraph = Subgraph(Arc::new(Shared { graph, inputs, outputs, options, nodes, plans: Mutex::default() }));
        subgraph.prepared(Threads::default().current())?;
        Ok(subgraph)
    }

    /// The nodes of the model that it stands for.
    pub fn nodes(&self) -> usize {
        self.0.nodes
    }

    /// What runs.
    pub fn graph(&self) -> &Graph {
        &self.0.graph
    }

    /// The plan for the threads of `parallel`.
    fn prepared(&self, parallel: &dyn Parallel) -> sepconv::Result<Arc<Prepared>> {
        let Shared { graph, options, plans, .. } = &*self.0;
        let mut plans = plans.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = plans.iter().find(|known| known.plan.threads() == parallel.threads()) {
            return Ok(known.clone());
        }
        let plan = Plan::new(graph, &(), parallel, *options)?;
        let prepared = Arc::new(Prepared { plan, idle: Mutex::default() });
        plans.push(prepared.clone());
        Ok(prepared)
    }
}

impl fmt::Debug for Subgraph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Subgraph({} nodes as {} of sepconv)", self.nodes(), self.graph().nodes().len())
    }
}

impl PartialEq for Subgraph {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Subgraph {}

impl Op for Subgraph {
    fn name(&self) -> StaticName {
        "Sepconv".into()
    }

    fn info(&self) -> TractResult<Vec<String>> {
        Ok(self.graph().to_string().lines().map(str::to_owned).collect())
    }

    fn validation(&self) -> Validation {
        Validation::Rounding
    }

    op_as_typed_op!();
}

impl EvalOp for Subgraph {
    fn eval(&self, ctx: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        Session::default().eval(ctx, self, inputs)
    }

    fn state(&self, _: &EvalContext) -> TractResult<Option<Box<dyn OpState>>> {
        Ok(Some(Box::new(Session::default())))
    }

    op_out_of_plan!();
}

impl TypedOp for Subgraph {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let expected = &self.0.inputs;
        ensure!(inputs.len() == expected.len(), "{self:?}: got {} inputs, expected {}", inputs.len(), expected.len());
        for (fact, border) in inputs.iter().zip(expected) {
            let good = fact.datum_type == f32::datum_type() && fact.shape.as_concrete() == Some(&border.tensor[..]);
            ensure!(good, "{self:?}: got an input {fact:?}, expected f32 of shape {:?}", border.tensor);
        }
        Ok(self.0.outputs.iter().map(|border| f32::fact(&border.tensor)).collect())
    }

    as_op!();
}

/// What a session keeps of a subgraph between two runs.
#[derive(Default)]
struct Session {
    threads: Threads,
    working: Option<(Arc<Prepared>, Workspace<'static>)>,
}

impl Session {
    /// Plan, workspace and threads of a run.
    fn ready(&mut self, subgraph: &Subgraph) -> TractResult<(&Plan, &mut Workspace<'static>, &dyn Parallel)> {
        let threads = self.threads.current();
        if self.working.as_ref().is_none_or(|(prepared, _)| prepared.plan.threads() != threads.threads()) {
            let prepared = subgraph.prepared(threads)?;
            let idle = prepared.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let workspace = idle.map_or_else(|| prepared.plan.workspace(), Ok)?;
            give_back(self.working.replace((prepared, workspace)));
        }
        let (prepared, workspace) = self.working.as_mut().context("a session without a plan")?;
        Ok((&prepared.plan, workspace, threads))
    }
}

/// Keeps a workspace for the next session.
fn give_back(working: Option<(Arc<Prepared>, Workspace<'static>)>) {
    if let Some((prepared, workspace)) = working {
        prepared.idle.lock().unwrap_or_else(PoisonError::into_inner).push(workspace);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        give_back(self.working.take());
    }
}

/// A copy is a session of its own.
impl Clone for Session {
    fn clone(&self) -> Self {
        Session::default()
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("threads", &self.threads).finish_non_exhaustive()
    }
}

impl OpState for Session {
    fn eval(&mut self, _: &EvalContext, op: &dyn Op, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let subgraph = op.downcast_ref::<Subgraph>().context("a session of another operator")?;
        let Shared { inputs: read, outputs: written, .. } = &*subgraph.0;
        let (plan, workspace, threads) = self.ready(subgraph)?;
        let count = plan.batch();
        let mut images = Vec::with_capacity(read.len());
        for (tensor, Border { form, image, .. }) in inputs.iter().zip(read) {
            let elements = tensor.try_as_plain_ram()?.as_slice::<f32>()?;
            images.push(match form {
                Form::Pixels => Batch::tight(elements, count, *image)?,
                Form::Planes => Batch::planes(elements, count, *image)?,
            });
        }
        let zeros = |border: &Border| Tensor::zero::<f32>(&border.tensor);
        let mut tensors = written.iter().map(zeros).collect::<TractResult<Vec<_>>>()?;
        let mut results = Vec::with_capacity(written.len());
        let mut views = tensors.iter_mut().map(Tensor::try_as_plain_ram_mut).collect::<TractResult<Vec<_>>>()?;
        for (view, Border { form, image, .. }) in views.iter_mut().zip(written) {
            let elements = view.as_slice_mut::<f32>()?;
            results.push(match form {
                Form::Pixels => BatchMut::tight(elements, count, *image)?,
                Form::Planes => BatchMut::planes(elements, count, *image)?,
            });
        }
        plan.run(threads, workspace, &images[..], &mut results[..])?;
        drop(results);
        drop(views);
        Ok(tensors.into_iter().map(Tensor::into_tvalue).collect())
    }

    fn reset_lanes(&mut self, _: &[LaneId]) -> TractResult<()> {
        Ok(())
    }
}
