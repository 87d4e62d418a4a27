//! From nodes to items of work: which nodes one step, or one series of steps, computes together.
#![forbid(unsafe_code)]

use alloc::vec;
use alloc::vec::Vec;

use super::schedule::{MAX_FUSED, Schedule, Schedules};
use crate::graph::{Graph, Node, Origin, Run};
use crate::ops::Traits;
use crate::tensor::{Clamp, Shape};

/// A tensor that has memory of its own: the inputs of the graph, then the outputs of its nodes.
pub(super) type TensorId = usize;

/// The tensor that `origin` writes.
pub(super) fn tensor_of(graph: &Graph, origin: Origin) -> TensorId {
    match origin {
        Origin::Input(input) => input,
        Origin::Node(node) => graph.inputs().len() + node,
    }
}

/// Some channels of a tensor that an item reads or writes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Operand {
    pub tensor: TensorId,
    pub first: usize,
    pub channels: usize,
}

/// Nodes that are computed together, without whole tensors between them; or channels that are brought together.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Item {
    /// The nodes, each reading the one before; none where channels are copied.
    pub stages: Vec<Stage>,
    /// How they share the work where there are several.
    pub schedule: Schedule,
    /// What the first node reads; what is copied, side by side.
    pub inputs: Vec<Operand>,
    /// What is added before the last node's clamp.
    pub residual: Option<Operand>,
    /// What the last node writes.
    pub output: Operand,
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
        self.residual.into_iter().chain(self.inputs.iter().copied())
    }

    /// The node of an item that has one.
    fn alone(&self) -> Option<Stage> {
        if let [stage] = self.stages[..] { Some(stage) } else { None }
    }
}

/// The items of a graph, and the tensors that they read and write.
#[derive(Debug)]
pub(super) struct Lowered {
    pub items: Vec<Item>,
    /// By [`TensorId`]: the inputs, the outputs of the nodes, then those that hold channels of several.
    pub shapes: Vec<Shape>,
    /// The tensors that are outputs of the graph.
    pub outputs: Vec<TensorId>,
}

impl Lowered {
    /// The most elements of one image that an item reads and writes.
    pub fn most_elements(&self) -> usize {
        let elements = |of: Operand| self.shapes[of.tensor].pixels().saturating_mul(of.channels);
        let of_item = |item: &Item| item.reads().chain([item.output]).map(elements).fold(0, usize::saturating_add);
        self.items.iter().map(of_item).max().unwrap_or(0)
    }
}

/// The items of a graph while nodes are joined.
struct Lowering<'a> {
    graph: &'a Graph,
    items: Vec<Item>,
    shapes: Vec<Shape>,
    outputs: Vec<TensorId>,
}

/// The items of `graph` in order, as the options that `schedules` holds ask for; `observed` keeps every node's own
/// tensor.
pub(super) fn lower(graph: &Graph, observed: bool, schedules: &Schedules) -> Lowered {
    let inputs = graph.inputs().map(|(_, shape)| shape);
    let shapes = inputs.chain(graph.nodes().iter().map(Node::output)).collect();
    let mut lowering = Lowering { graph, items: Vec::new(), shapes, outputs: Vec::new() };
    lowering.items();
    if !observed {
        lowering.fold_additions();
        lowering.fold_clamps();
        lowering.place_side_by_side();
        lowering.fuse(schedules);
    }
    let Lowering { items, shapes, outputs, .. } = lowering;
    Lowered { items, shapes, outputs }
}

impl Lowering<'_> {
    /// An item a node, and before it one that brings its input together where that lies apart.
    fn items(&mut self) {
        for (index, node) in self.graph.nodes().iter().enumerate() {
            let operands: Vec<Operand> =
                node.inputs.iter().map(|&value| self.operand(value, node.order.as_deref())).collect();
            self.items.push(Item {
                stages: vec![Stage { node: index, input_lo: None, clamp: node.clamp() }],
                schedule: Schedule::Whole,
                inputs: operands[..1].to_vec(),
                residual: operands.get(1).copied(),
                output: self.whole(tensor_of(self.graph, Origin::Node(index))),
            });
        }
        for value in self.graph.output_values().collect::<Vec<_>>() {
            let operand = self.operand(value, None);
            // The caller's memory holds all of a tensor, and no input of the graph.
            let whole = operand == self.whole(operand.tensor) && operand.tensor >= self.graph.inputs().len();
            let own =
                if whole && !self.outputs.contains(&operand.tensor) { operand } else { self.fresh(vec![operand]) };
            self.outputs.push(own.tensor);
        }
    }

    /// All of a tensor.
    fn whole(&self, tensor: TensorId) -> Operand {
        Operand { tensor, first: 0, channels: self.shapes[tensor].channels }
    }

    /// The channels of `value` in `order`: where they lie, or a copy of them.
    fn operand(&mut self, value: usize, order: Option<&[usize]>) -> Operand {
        let runs = self.graph.value(value).runs_in(order).into_iter().map(|run| {
            let Run { origin, first, channels } = run;
            Operand { tensor: tensor_of(self.graph, origin), first, channels }
        });
        let runs: Vec<Operand> = runs.collect();
        match runs[..] {
            [run] => run,
            _ => self.copy(runs),
        }
    }

    /// A tensor that holds `parts` side by side, from here on.
    fn copy(&mut self, parts: Vec<Operand>) -> Operand {
        if let Some(item) = self.items.iter().find(|item| item.stages.is_empty() && item.inputs == parts) {
            return item.output;
        }
        self.fresh(parts)
    }

    /// The same, in a tensor that nothing else has.
    fn fresh(&mut self, parts: Vec<Operand>) -> Operand {
        let channels = parts.iter().map(|part| part.channels).sum();
        self.shapes.push(Shape { channels, ..self.shapes[parts[0].tensor] });
        let output = self.whole(self.shapes.len() - 1);
        let (stages, schedule) = (Vec::new(), Schedule::Whole);
        self.items.push(Item { stages, schedule, inputs: parts, residual: None, output });
        output
    }

    /// Of tensors that are copied side by side, those at the end are written there instead: whole ones, and before all others
    /// the last one of which the first channels are copied, whose further channels then lie behind them.
    fn place_side_by_side(&mut self) {
        let mut at = 0;
        while at < self.items.len() {
            let (parts, home) = (self.items[at].inputs.clone(), self.items[at].output.tensor);
            let grows = !self.outputs.contains(&home);
            let fits = |part: &Operand, last: bool| {
                let whole = self.whole(part.tensor);
                let made = self.items[..at].iter().any(|item| item.output == whole && !item.stages.is_empty());
                let once = parts.iter().filter(|other| other.tensor == part.tensor).count() == 1;
                let first = last && grows && part.first == 0;
                made && once && !self.outputs.contains(&part.tensor) && (*part == whole || first)
            };
            let copies = self.items[at].stages.is_empty() && parts.len() > 1;
            let placed =
                parts.iter().rev().enumerate().take_while(|&(back, part)| copies && fits(part, back == 0)).count();
            let (copied, placed) = parts.split_at(parts.len() - placed);
            let width = |parts: &[Operand]| parts.iter().map(|part| part.channels).sum::<usize>();
            let mut first = width(copied);
            for part in placed {
                for item in &mut self.items {
                    let (inputs, residual, output) = (&mut item.inputs, &mut item.residual, &mut item.output);
                    for operand in inputs.iter_mut().chain(residual).chain([output]) {
                        if operand.tensor == part.tensor {
                            (operand.tensor, operand.first) = (home, operand.first + first);
                        }
                    }
                }
                let behind = self.shapes[part.tensor].channels - part.channels;
                self.shapes[home].channels += behind;
                first += part.channels;
            }
            if placed.is_empty() {
                at += 1;
            } else if copied.is_empty() {
                self.items.remove(at);
            } else {
                self.items[at].inputs.truncate(copied.len());
                self.items[at].output.channels = width(copied);
                at += 1;
            }
        }
    }

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
        operand == self.whole(operand.tensor)
    }

    /// An addition whose one operand nothing else reads becomes the epilogue of the operator that makes it. That takes the
    /// addition's place, where the other operand is there already.
    fn fold_additions(&mut self) {
        while let Some((at, from, other)) = self.items.iter().enumerate().find_map(|(at, addition)| {
            let stage = addition.alone()?;
            if !self.traits(stage).sums {
                return None;
            }
            let operands = [(addition.inputs[0], addition.residual?), (addition.residual?, addition.inputs[0])];
            let foldable = |&(operand, other): &(Operand, Operand)| {
                let from = self.items.iter().position(|item| item.output.tensor == operand.tensor)?;
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
        let (input, output) = (self.items[at].inputs[0], self.items[at].output);
        let clamp = self.items[at].stages[0].clamp;
        let open = |item: &Item| {
            item.output == input
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
        let (input, output) = (self.items[at].inputs[0], self.items[at].output.tensor);
        let Clamp { lo, hi } = self.items[at].stages[0].clamp;
        let takes = |item: &Item| {
            let whole = item.inputs == [self.whole(output)];
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
            self.items[reader].inputs = vec![input];
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
                    pair[1].inputs == [pair[0].output]
                        && self.is_whole(pair[0].output)
                        && self.readers(pair[0].output.tensor) == 1
                        && pair[0].residual.is_none()
                });
                let stages = chain.iter().map(Item::alone).collect::<Option<Vec<_>>>().filter(|_| linked)?;
                let nodes: Vec<usize> = stages.iter().map(|stage| stage.node).collect();
                let schedule = schedules.of(self.graph, &nodes)?;
                let last = chain.last()?;
                let (residual, output) = (last.residual, last.output);
                let inputs = chain[0].inputs.clone();
                Some((length, Item { stages, schedule, inputs, residual, output }))
            });
            if let Some((length, item)) = fused {
                self.items.splice(at..at + length, [item]);
            }
            at += 1;
        }
    }
}
