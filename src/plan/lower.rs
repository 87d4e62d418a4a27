//! From nodes to items of work: which nodes one step, or one series of steps, computes together.
#![forbid(unsafe_code)]

use super::schedule::{MAX_FUSED, Schedule, Schedules};
use crate::graph::{Graph, Origin, Run};
use crate::ops::Traits;
use crate::tensor::Clamp;

/// A tensor that has memory of its own: the inputs of the graph, then the outputs of its nodes.
pub(super) type TensorId = usize;

/// The tensor that `origin` writes.
pub(super) fn tensor_of(graph: &Graph, origin: Origin) -> TensorId {
    match origin {
        Origin::Input(input) => input,
        Origin::Node(node) => graph.inputs().len() + node,
    }
}

/// Some channels of a tensor that an item reads.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Operand {
    pub tensor: TensorId,
    pub first: usize,
    pub channels: usize,
}

/// Nodes that are computed together, without whole tensors between them.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Item {
    /// The nodes, each reading the one before.
    pub stages: Vec<Stage>,
    /// How they share the work where there are several.
    pub schedule: Schedule,
    /// What the first node reads.
    pub input: Operand,
    /// What is added before the last node's clamp.
    pub residual: Option<Operand>,
    /// The tensor that the last node writes.
    pub output: TensorId,
}

/// One node of an item.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Stage {
    /// Its index.
    pub node: usize,
    /// What its input is clamped with from below first.
    pub input_lo: Option<f32>,
    /// What its output goes through.
    pub clamp: Clamp,
}

impl Item {
    /// Everything that it reads.
    pub fn reads(&self) -> impl Iterator<Item = Operand> {
        self.residual.into_iter().chain([self.input])
    }

    /// The node of an item that has one.
    fn alone(&self) -> Option<Stage> {
        if let [stage] = self.stages[..] { Some(stage) } else { None }
    }
}

/// The items of a graph while nodes are joined.
struct Lowering<'a> {
    graph: &'a Graph,
    items: Vec<Item>,
    /// The tensors that are outputs of the graph.
    outputs: Vec<TensorId>,
}

/// The items of `graph` in order, as the options that `schedules` holds ask for; `observed` keeps every node's own
/// tensor.
pub(super) fn lower(graph: &Graph, observed: bool, schedules: &Schedules) -> Vec<Item> {
    let operand = |&value: &usize| {
        // Every call of the builder makes tensors of one run.
        let Run { origin, first, channels } = graph.value(value).runs[0];
        Operand { tensor: tensor_of(graph, origin), first, channels }
    };
    let items = graph.nodes().iter().enumerate().map(|(index, node)| Item {
        stages: vec![Stage { node: index, input_lo: None, clamp: node.clamp() }],
        schedule: Schedule::Whole,
        input: operand(&node.inputs[0]),
        residual: node.inputs.get(1).map(operand),
        output: tensor_of(graph, Origin::Node(index)),
    });
    let outputs = graph.output_values().map(|value| operand(&value).tensor).collect();
    let mut lowering = Lowering { graph, items: items.collect(), outputs };
    if !observed {
        lowering.fold_additions();
        lowering.fold_clamps();
        lowering.fuse(schedules);
    }
    lowering.items
}

impl Lowering<'_> {
    /// How many items read `tensor`; the caller is one more where it is an output.
    fn readers(&self, tensor: TensorId) -> usize {
        let reads = self.items.iter().flat_map(Item::reads).filter(|read| read.tensor == tensor).count();
        reads + usize::from(self.outputs.contains(&tensor))
    }

    fn traits(&self, stage: Stage) -> Traits {
        self.graph.nodes()[stage.node].operator.traits()
    }

    /// Whether `operand` is all of a tensor.
    fn is_whole(&self, operand: Operand) -> bool {
        let inputs = self.graph.inputs().len();
        let origin = match operand.tensor.checked_sub(inputs) {
            Some(node) => Origin::Node(node),
            None => Origin::Input(operand.tensor),
        };
        operand.channels == self.graph.shape_of(origin).channels
    }

    /// An addition whose one operand nothing else reads becomes the epilogue of the operator that makes it. That takes the
    /// addition's place, where the other operand is there already.
    fn fold_additions(&mut self) {
        while let Some((at, from, other)) = self.items.iter().enumerate().find_map(|(at, addition)| {
            let stage = addition.alone()?;
            if !self.traits(stage).sums {
                return None;
            }
            let operands = [(addition.input, addition.residual?), (addition.residual?, addition.input)];
            let foldable = |&(operand, other): &(Operand, Operand)| {
                let from = self.items.iter().position(|item| item.output == operand.tensor)?;
                let item = &self.items[from];
                let open = item.alone().is_some_and(|stage| {
                    self.traits(stage).adds && stage.clamp == Clamp::NONE && item.residual.is_none()
                });
                let alone =
                    operand.tensor != other.tensor && self.is_whole(operand) && self.readers(operand.tensor) == 1;
                (open && alone).then_some((at, from, other))
            };
            operands.iter().filter_map(foldable).max_by_key(|&(_, from, _)| from)
        }) {
            let (addition, made) = (self.items[at].clone(), self.items[from].clone());
            let stages = vec![Stage { clamp: addition.stages[0].clamp, ..made.stages[0] }];
            self.items[at] = Item { stages, residual: Some(other), output: addition.output, ..made };
            self.items.remove(from);
        }
    }

    /// A clamp by itself becomes that of the operator before it, or of the inputs of those that read it.
    fn fold_clamps(&mut self) {
        let mut at = 0;
        while at < self.items.len() {
            let folded = self.items[at].alone().is_some_and(|stage| self.traits(stage).only_clamps)
                && (self.fold_clamp_back(at) || self.fold_clamp_forward(at));
            if folded {
                self.items.remove(at);
            } else {
                at += 1;
            }
        }
    }

    /// Gives the clamp of item `at` to the item that makes its input, if nothing else reads that.
    fn fold_clamp_back(&mut self, at: usize) -> bool {
        let (input, output, clamp) = (self.items[at].input, self.items[at].output, self.items[at].stages[0].clamp);
        let open = |item: &Item| {
            item.output == input.tensor
                && item.alone().is_some_and(|stage| self.traits(stage).clamps && stage.clamp == Clamp::NONE)
        };
        let Some(from) = self.items.iter().position(open) else { return false };
        if !self.is_whole(input) || self.readers(input.tensor) != 1 {
            return false;
        }
        self.items[from].stages[0].clamp = clamp;
        self.items[from].output = output;
        true
    }

    /// Gives the clamp of item `at` to all that read its output, if each can clamp its input.
    fn fold_clamp_forward(&mut self, at: usize) -> bool {
        let Item { input, output, .. } = self.items[at];
        let Clamp { lo, hi } = self.items[at].stages[0].clamp;
        let takes = |item: &Item| {
            let whole = item.input.tensor == output && self.is_whole(item.input);
            let twice = item.residual.is_some_and(|residual| residual.tensor == output);
            whole
                && !twice
                && item.alone().is_some_and(|stage| self.traits(stage).clamps_input && stage.input_lo.is_none())
        };
        let reads = |item: &Item| item.reads().any(|read| read.tensor == output);
        let readers: Vec<usize> = (0..self.items.len()).filter(|&item| reads(&self.items[item])).collect();
        let all = readers.iter().all(|&reader| takes(&self.items[reader]));
        if hi != f32::INFINITY || readers.is_empty() || !all || self.outputs.contains(&output) {
            return false;
        }
        for reader in readers {
            self.items[reader].input = input;
            self.items[reader].stages[0].input_lo = Some(lo);
        }
        true
    }

    /// Nodes that follow each other become one item where a schedule wants them: the longest chain first.
    fn fuse(&mut self, schedules: &Schedules) {
        let mut at = 0;
        while at < self.items.len() {
            let fused = (2..=MAX_FUSED).rev().find_map(|length| {
                let chain = self.items.get(at..at + length)?;
                let linked = chain.windows(2).all(|pair| {
                    pair[1].input.tensor == pair[0].output
                        && self.is_whole(pair[1].input)
                        && self.readers(pair[0].output) == 1
                        && pair[0].residual.is_none()
                });
                let stages = chain.iter().map(Item::alone).collect::<Option<Vec<_>>>().filter(|_| linked)?;
                let nodes: Vec<usize> = stages.iter().map(|stage| stage.node).collect();
                let schedule = schedules.of(self.graph, &nodes)?;
                let last = chain.last()?;
                let (residual, output) = (last.residual, last.output);
                Some((length, Item { stages, schedule, input: chain[0].input, residual, output }))
            });
            if let Some((length, item)) = fused {
                self.items.splice(at..at + length, [item]);
            }
            at += 1;
        }
    }
}
