//! A plan: a graph's operators, packed, and the steps that run them.

use alloc::format;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use super::compile::Compiler;
use super::lower::{Item, Lowered, Stage, lower};
use super::memory::lay_out;
use super::options::Options;
use super::schedule::{Schedules, cut_by_channels};
use super::step::Step;
use super::workspace::Workspace;
use crate::error::{Error, Result};
use crate::graph::{Graph, LARGEST_TENSOR, Node};
use crate::isa::Isa;
use crate::kernel::Kernels;
use crate::machine::Machine;
use crate::ops::{Packed, Packing, Site};
use crate::parallel::Parallel;
use crate::tensor::buffer::Arena;
use crate::tensor::stored::Saved;
use crate::weights::{Folded, Reader, Ready, Unfolded, Weights, read};

/// The most images a run, and the most threads.
pub(super) const LARGEST: usize = 1 << 16;

/// A graph with its weights packed for the kernels of one ISA. Many threads may run one plan at a time, each with a
/// workspace of its own. A run allocates nothing.
///
/// ```
/// use sepconv::models::{Architecture, Config, Network};
/// use sepconv::parallel::Serial;
/// use sepconv::weights::HashWeights;
/// use sepconv::{Isa, Options, Plan};
///
/// let network = Network::new(Architecture::Digits, &Config::of(Architecture::Digits))?;
/// let plan = Plan::new(network.graph(), &HashWeights, &Serial, Options::default())?;
/// assert_eq!((plan.batch(), plan.threads(), plan.isa()), (1, 1, Isa::selected()?));
/// assert_eq!((plan.input_len(), plan.output_len()), (28 * 28, 10));
/// assert_eq!(plan.graph().nodes().len(), network.graph().nodes().len());
/// assert_eq!(plan.workspace_bytes(), 4 * plan.workspace_len());
/// assert!(plan.peak_bytes() <= plan.workspace_bytes() + 4 * plan.input_len());
/// assert_eq!(plan.flushed_weights(), 0);
///
/// // Two images a run, with the same packed weights.
/// let two = plan.with_batch(2)?;
/// let (mut workspace, mut outputs) = (two.workspace()?, vec![0.0; two.output_len()]);
/// let images = HashWeights::image(2 * 28, 28, 1)?;
/// two.run(&Serial, &mut workspace, &images, &mut outputs)?;
/// // A workspace serves every plan that needs no more.
/// let mut output = [0.0; 10];
/// plan.run(&Serial, &mut workspace, &images[28 * 28..], &mut output[..])?;
/// assert_eq!(output, outputs[10..]);
/// # Ok::<(), sepconv::Error>(())
/// ```
pub struct Plan {
    pub(super) shared: Arc<Shared>,
    pub(super) steps: Vec<Step>,
    pub(super) batch: usize,
    /// Images that go through all the steps before the next ones do: a divisor of the batch.
    pub(super) together: usize,
    /// Elements of a workspace, and the most that live at one time with the inputs.
    pub(super) workspace: usize,
    peak: usize,
}

/// What plans for any batch have in common.
pub(super) struct Shared {
    pub(super) kernels: &'static Kernels,
    pub(super) graph: Graph,
    pub(super) lowered: Lowered,
    /// The operators of each item's stages.
    pub(super) packed: Vec<Operators>,
    pub(super) schedules: Schedules,
    pub(super) threads: usize,
    /// What the weights were packed for.
    pub(super) options: Options,
    pub(super) flushed: usize,
}

/// Where the weights of a plan come from.
pub(super) enum Source<'a> {
    /// Tensors by name, to be folded and packed node by node.
    Read(&'a dyn Weights),
    /// One entry a node, to be packed.
    Folded(&'a [Option<Folded>]),
    /// The arrays of a saved plan, and how many weights were flushed.
    Saved(Saved, usize),
}

impl Plan {
    /// Builds the plan of `graph` with the tensors of `weights`, to be run on `parallel`: its work is cut for as many
    /// threads. It then runs on any other, too, to the same bits. An error where the weights do not fit, the ISA cannot run
    /// here, a layer has no kernel, or there is no room.
    pub fn new(graph: &Graph, weights: &dyn Weights, parallel: &dyn Parallel, options: Options) -> Result<Plan> {
        Self::fresh(graph, Source::Read(weights), parallel, options)
    }

    /// Builds the plan from weights that are folded already: one entry a node, as [`fold`](crate::weights::fold), which has
    /// an example, gives them. Errors as for [`new`](Self::new).
    pub fn from_folded(
        graph: &Graph,
        folded: &[Option<Folded>],
        parallel: &dyn Parallel,
        options: Options,
    ) -> Result<Plan> {
        if folded.len() != graph.nodes().len() {
            let expected = format!("one a node, {}", graph.nodes().len());
            return Err(Error::shape("folded weights", format!("{} entries", folded.len()), expected));
        }
        Self::fresh(graph, Source::Folded(folded), parallel, options)
    }

    fn fresh(graph: &Graph, source: Source<'_>, parallel: &dyn Parallel, options: Options) -> Result<Plan> {
        let kernels = options.isa.map_or_else(Isa::selected, Ok)?.kernels()?;
        let shared = Self::shared(graph.clone(), source, kernels, parallel.threads(), options)?;
        let batch = shared.options.batch;
        Self::compiled(shared, batch)
    }

    /// What the plans of `graph` for any batch share, with the weights of `source`.
    pub(super) fn shared(
        graph: Graph,
        source: Source<'_>,
        kernels: &'static Kernels,
        threads: usize,
        options: Options,
    ) -> Result<Arc<Shared>> {
        let (options, threads) = (Options { batch: options.batch.max(1), ..options }, threads.clamp(1, LARGEST));
        check_batch(options.batch)?;
        let schedules = Schedules::new(&options, threads, Machine::this().blocking());
        let lowered = lower(&graph, options.observed, &schedules);
        let together = images_together(&graph, &lowered, &schedules, &options, options.batch);
        let sites = Sites { graph: &graph, kernels, schedules: &schedules, batch: together };
        let (packed, flushed) = sites.pack(&lowered.items, source)?;
        Ok(Arc::new(Shared { kernels, graph, lowered, packed, schedules, threads, options, flushed }))
    }

    /// The same plan for another number of images a run (0 is taken as 1, more than 65536 an error). It shares the packed
    /// weights.
    pub fn with_batch(&self, batch: usize) -> Result<Plan> {
        check_batch(batch)?;
        Self::compiled(self.shared.clone(), batch.max(1))
    }

    pub(super) fn compiled(shared: Arc<Shared>, batch: usize) -> Result<Plan> {
        let Shared { graph, lowered, packed, schedules, options, .. } = &*shared;
        let Options { observed, staged, .. } = *options;
        let shapes = lowered.shapes.iter().map(|shape| batch.checked_mul(shape.len()));
        if shapes.into_iter().any(|length| length.is_none_or(|length| length > LARGEST_TENSOR)) {
            return Err(Error::shape("batch", batch, "one whose tensors fit the address space"));
        }
        let together = images_together(graph, lowered, schedules, options, batch);
        let compiler = Compiler { graph, lowered, schedules: *schedules, batch: together };
        let items = &lowered.items;
        let scratch: Vec<_> = items.iter().zip(packed).map(|(item, packed)| compiler.scratch(item, packed)).collect();
        let memory = lay_out(graph, lowered, &scratch, together, (observed, staged))?;
        let mut steps = if staged { compiler.stage(&memory) } else { Vec::new() };
        for (index, (item, packed)) in items.iter().zip(packed).enumerate() {
            steps.extend(compiler.steps(item, index, packed, &memory)?);
        }
        if staged {
            steps.extend(compiler.deliver(&memory));
        }
        // The inputs of the images behind the first ones live too.
        let inputs = graph.inputs().map(|(_, shape)| shape.len()).fold(0, usize::saturating_add);
        let (workspace, peak) =
            (memory.workspace, memory.peak.saturating_add((batch - together).saturating_mul(inputs)));
        Ok(Plan { shared, steps, batch, together, workspace, peak })
    }

    /// The graph.
    pub fn graph(&self) -> &Graph {
        &self.shared.graph
    }

    /// The ISA whose kernels run.
    pub fn isa(&self) -> Isa {
        self.shared.kernels.isa()
    }

    /// Images a run.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Images that go through the network together, before the next ones do: a divisor of the batch, chosen by what the caches
    /// have room for; all of them where the plan was built with [`Options::observed`].
    pub fn images_together(&self) -> usize {
        self.together
    }

    /// Threads that the work is cut for: no step has more tasks.
    pub fn threads(&self) -> usize {
        self.shared.threads
    }

    /// Subnormal weights that were flushed to zero when the plan was built.
    pub fn flushed_weights(&self) -> usize {
        self.shared.flushed
    }

    /// Elements of a workspace: the tensors between the nodes as far as they live at the same time, of the
    /// [images that go together](Self::images_together). Inputs and outputs are the caller's.
    pub fn workspace_len(&self) -> usize {
        self.workspace
    }

    /// Bytes of a workspace.
    pub fn workspace_bytes(&self) -> usize {
        self.workspace * size_of::<f32>()
    }

    /// The most bytes of activations that live at one time: the inputs until they were read for the last time, and the
    /// tensors and scratch of the workspace.
    pub fn peak_bytes(&self) -> usize {
        self.peak.saturating_mul(size_of::<f32>())
    }

    /// Elements of the first input: batch x height x width x channels, NHWC without gaps.
    pub fn input_len(&self) -> usize {
        self.batch * self.graph().inputs().next().map_or(0, |(_, shape)| shape.len())
    }

    /// Elements of the first output: batch x height x width x channels, NHWC without gaps.
    pub fn output_len(&self) -> usize {
        self.batch * self.graph().outputs().next().map_or(0, |(_, shape)| shape.len())
    }

    /// A new workspace for this plan; an error where there is no room for it.
    pub fn workspace(&self) -> Result<Workspace<'static>> {
        Workspace::zeroed(self.workspace)
    }
}

impl core::fmt::Debug for Plan {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Plan")
            .field("isa", &self.isa())
            .field("batch", &self.batch)
            .field("threads", &self.threads())
            .field("steps", &self.steps.len())
            .field("workspace_bytes", &self.workspace_bytes())
            .finish_non_exhaustive()
    }
}

pub(super) fn check_batch(batch: usize) -> Result<()> {
    match batch > LARGEST {
        true => Err(Error::shape("batch", batch, format!("at most {LARGEST}"))),
        false => Ok(()),
    }
}

/// The operators of one item's stages.
type Operators = Vec<Arc<dyn Packed>>;

/// What `pack` makes of each stage of `items`.
fn each_stage(items: &[Item], mut pack: impl FnMut(&Stage) -> Result<Arc<dyn Packed>>) -> Result<Vec<Operators>> {
    items.iter().map(|item| item.stages.iter().map(&mut pack).collect()).collect()
}

/// How many of `batch` images go through the items together: all where each node's output is shown.
fn images_together(graph: &Graph, lowered: &Lowered, schedules: &Schedules, options: &Options, batch: usize) -> usize {
    let weights = graph.nodes().iter().filter_map(|node| node.weight_shape());
    let weights = weights.map(|shape| shape.iter().product()).fold(0, usize::saturating_add);
    if options.observed { batch } else { schedules.images_together(batch, lowered.most_elements(), weights) }
}

/// How many weights and biases `node` has; `usize::MAX` where there are more than fit.
fn parameter_count(node: &Node) -> usize {
    let Some([outputs, ..]) = node.operator.weights(node.input()) else { return 0 };
    let weights = node.weight_shape().unwrap_or_else(|| vec![outputs]).into_iter().fold(1, usize::saturating_mul);
    weights.saturating_add(outputs)
}

/// Where the operators of a plan will run.
struct Sites<'a> {
    graph: &'a Graph,
    kernels: &'static Kernels,
    schedules: &'a Schedules,
    batch: usize,
}

impl Sites<'_> {
    /// The operators of every item's stages, their weights side by side in the order in which they will be read, and how
    /// many weights were flushed.
    fn pack(&self, items: &[Item], source: Source<'_>) -> Result<(Vec<Operators>, usize)> {
        match source {
            Source::Read(weights) => {
                let nodes = self.graph.nodes();
                let elements = nodes.iter().map(parameter_count).fold(0, usize::saturating_add);
                // Node by node, so that the caches hold what was read of one while it is folded and packed.
                let mut reader = Reader::new(weights);
                let packed = self.pack_fresh(items, elements, |node| {
                    let unfolded = reader.node(&nodes[node])?;
                    reader.check()?;
                    unfolded.map(Unfolded::ready).transpose()
                });
                match packed {
                    Ok(packed) => reader.end().map(|()| packed),
                    // An error of the weights is to name all that is wrong with them.
                    Err(error) => read(self.graph, weights).and(Err(error)),
                }
            }
            Source::Folded(nodes) => {
                let elements = nodes.iter().flatten().map(|node| node.weights.len() + node.bias.len()).sum();
                let missing = |node: usize| {
                    let name = self.graph.nodes()[node].name();
                    Error::node(name, "folded weights", "none", "those of `weights::fold`")
                };
                self.pack_fresh(items, elements, |node| match (self.graph.nodes()[node].parameters(), &nodes[node]) {
                    (Some(_), None) => Err(missing(node)),
                    (_, folded) => Ok(folded.as_ref().map(Ready::from)),
                })
            }
            Source::Saved(mut saved, flushed) => {
                let packed = each_stage(items, |stage| self.operator(stage, Packing::Saved(&mut saved)))?;
                saved.end()?;
                Ok((packed, flushed))
            }
        }
    }

    /// As [`pack`](Self::pack), with the parameters that `ready` gives for the index of a node, `elements` in all.
    fn pack_fresh<'b>(
        &self,
        items: &[Item],
        elements: usize,
        mut ready: impl FnMut(usize) -> Result<Option<Ready<'b>>>,
    ) -> Result<(Vec<Operators>, usize)> {
        // The packed weights are padded to whole vectors.
        let mut arena = Arena::new(elements.saturating_add(elements / 16))
            .map_err(|_| Error::memory("packed weights", elements))?;
        let mut flushed = 0;
        let packed = each_stage(items, |stage| {
            let ready = ready(stage.node)?;
            flushed += ready.as_ref().map_or(0, |ready| ready.flushed);
            let (weights, bias) = ready.as_ref().map_or((&[][..], &[][..]), |ready| (&*ready.weights, &*ready.bias));
            self.operator(stage, Packing::Fresh { arena: &mut arena, weights, bias })
        })?;
        Ok((packed, flushed))
    }

    /// The operator of a stage.
    fn operator(&self, stage: &Stage, mut packing: Packing<'_>) -> Result<Arc<dyn Packed>> {
        let Sites { graph, kernels, schedules, batch } = *self;
        let node = &graph.nodes()[stage.node];
        let (input, output) = (node.input(), node.output());
        let pixels = batch.saturating_mul(output.pixels());
        let sharing =
            if cut_by_channels(pixels) { schedules.tasks(node.macs().saturating_mul(batch as u64)) } else { 1 };
        let site = Site { kernels, input, output, batch, sharing, input_lo: stage.input_lo };
        node.operator.pack(&site, &mut packing).map_err(|error| error.of_node(node.name()))
    }
}
