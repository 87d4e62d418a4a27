//! Reads the nodes of a model as steps, one after the other, in an order in which they can run.
//!
//! A tensor that is read is a [`Value`]: images that a step makes, and how the tensor's axes lie on them. So reshapes and
//! transpositions are no steps. What cannot be read stays unknown; where a step needs an unknown tensor, it is an input.

mod elements;
mod layers;
mod pools;
mod product;
mod shapes;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use sepconv::{Clamp, Shape};
use tract_core::internal::*;
use tract_core::ops::downsample::Downsample;

use crate::axes::{Axes, Dimension};
use crate::step::{Operation, Step};

/// A tensor of the model that a step makes.
#[derive(Debug, Clone)]
pub struct Value {
    pub step: usize,
    pub axes: Axes,
    /// Whether nothing but the node that asks reads what the step makes.
    sole: bool,
}

/// A tensor that a node needs: by which axes, as how many images of which shape.
struct Wanted {
    outlet: OutletId,
    axes: Axes,
    count: usize,
    shape: Shape,
}

/// A model, as far as it was read.
pub struct Reader<'a> {
    model: &'a TypedModel,
    /// Nodes that stay tract's.
    refused: &'a HashSet<usize>,
    pub steps: Vec<Step>,
    /// What the tensors of nodes are that were read.
    pub values: HashMap<OutletId, Value>,
    /// The steps of inputs, with their levels.
    inputs: HashMap<(OutletId, Axes, usize), usize>,
    /// For each node that was not read, the lowest level of a step that needs it.
    depths: Vec<usize>,
}

/// Reads a node.
type Read<'a> = fn(&mut Reader<'a>, &TypedNode) -> Option<Value>;
/// Reads a node of one tensor, which is known, beside constants.
type ReadUnary<'a> = fn(&mut Reader<'a>, &TypedNode, &Value) -> Option<Value>;

impl<'a> Reader<'a> {
    /// Of nodes of several tensors, or that say how the one that they read lies on images: the first that can, does.
    const READERS: [Read<'a>; 6] = [Self::conv, Self::einsum, Self::max_pool, Self::sum_pool, Self::sum, Self::concat];
    /// Of the others.
    const UNARY: [ReadUnary<'a>; 6] =
        [Self::axis_op, Self::with_constant, Self::leaky_relu, Self::reduce, Self::slice, Self::downsample];

    /// Reads all of `model` but the nodes that are `refused`.
    pub fn read(model: &'a TypedModel, refused: &'a HashSet<usize>) -> TractResult<Self> {
        let mut reader = Reader {
            model,
            refused,
            steps: Vec::new(),
            values: HashMap::new(),
            inputs: HashMap::new(),
            depths: vec![0; model.nodes.len()],
        };
        for id in model.eval_order()? {
            reader.node(model.node(id));
        }
        Ok(reader)
    }

    fn node(&mut self, node: &TypedNode) {
        let readable = node.outputs.len() == 1 && is_plain(&node.outputs[0].fact) && !self.refused.contains(&node.id);
        if readable && let Some(value) = self.node_value(node) {
            self.keep(node, value);
        }
        let depths = node.inputs.iter().map(|&outlet| self.level_after(outlet));
        self.depths[node.id] = depths.max().unwrap_or(0);
    }

    fn node_value(&mut self, node: &TypedNode) -> Option<Value> {
        let value = Self::READERS.iter().find_map(|reader| reader(self, node));
        value.or_else(|| {
            let data = self.known(self.data(node)?)?;
            Self::UNARY.iter().find_map(|reader| reader(self, node, &data))
        })
    }

    /// The one tensor that a node reads beside constants.
    fn data(&self, node: &TypedNode) -> Option<OutletId> {
        let mut data = node.inputs.iter().filter(|&&input| self.constant(input).is_none());
        data.next().filter(|_| data.next().is_none()).copied()
    }

    /// Keeps what a node makes, if it has the shape that the model says.
    fn keep(&mut self, node: &TypedNode, value: Value) -> Option<Value> {
        let sizes = value.axes.sizes();
        let good = node.outputs[0].fact.shape.as_concrete() == Some(&sizes[..]);
        good.then(|| {
            self.values.insert(node.id.into(), value.clone());
            value
        })
    }

    /// The lowest level of a step that takes a tensor as an input of its subgraph.
    fn level_after(&self, outlet: OutletId) -> usize {
        let level = |value: &Value| self.steps[value.step].level + 1;
        self.values.get(&outlet).map_or(self.depths[outlet.node], level)
    }

    /// The constant that a tensor is.
    fn constant(&self, outlet: OutletId) -> Option<Arc<Tensor>> {
        let fact = self.model.outlet_fact(outlet).ok().filter(|fact| is_plain(fact))?;
        fact.konst.clone()
    }

    /// The shape of a tensor of f32 that has no axis of size 0.
    fn sizes(&self, outlet: OutletId) -> Option<TVec<usize>> {
        let fact = self.model.outlet_fact(outlet).ok().filter(|fact| is_plain(fact))?;
        fact.shape.as_concrete().filter(|sizes| !sizes.contains(&0)).map(Into::into)
    }

    /// What a tensor is, for a node that reads it.
    fn known(&self, outlet: OutletId) -> Option<Value> {
        let value = self.values.get(&outlet)?.clone();
        let sole = value.sole && self.is_read_once(outlet);
        Some(Value { sole, ..value })
    }

    fn is_read_once(&self, outlet: OutletId) -> bool {
        self.model.outlet_successors(outlet).len() == 1 && !self.model.outputs.contains(&outlet)
    }

    /// The tensors that a node needs, all on one level: as they are, or as inputs of the subgraph.
    fn take(&mut self, wanted: Vec<Wanted>) -> Option<Vec<Value>> {
        let is = |value: &Value, wanted: &Wanted| value.axes == wanted.axes;
        let own = |reader: &Self, wanted: &Wanted| reader.known(wanted.outlet).filter(|value| is(value, wanted));
        let levels = wanted.iter().map(|wanted| match own(self, wanted) {
            Some(value) => self.steps[value.step].level,
            None => self.level_after(wanted.outlet),
        });
        let level = levels.max()?;
        let value = |wanted: Wanted| match own(self, &wanted) {
            Some(value) if self.steps[value.step].level == level => Some(value),
            _ => self.input(wanted, level),
        };
        wanted.into_iter().map(value).collect()
    }

    /// As [`take`](Self::take), of one tensor.
    fn take_one(&mut self, wanted: Wanted) -> Option<Value> {
        self.take(vec![wanted])?.pop()
    }

    /// A tensor as an input of the subgraph, or made from one.
    fn input(&mut self, wanted: Wanted, level: usize) -> Option<Value> {
        if self.sizes(wanted.outlet)?[..] != wanted.axes.sizes()[..] {
            return None;
        }
        if let Some(value) = self.before(&wanted, level) {
            return Some(value);
        }
        let Wanted { outlet, axes, count, shape } = wanted;
        // Elements that lie neither way are tract's to move.
        axes.form()?;
        let key = (outlet, axes, level);
        let step = match self.inputs.get(&key) {
            Some(&step) => step,
            None => {
                let (operation, clamp) = (Operation::Input(outlet, key.1.clone()), Clamp::NONE);
                let inputs = Vec::new();
                let step = self.step(Step { node: outlet.node, level, operation, inputs, count, shape, clamp });
                self.inputs.insert(key.clone(), step);
                step
            }
        };
        Some(Value { step, axes: key.1, sole: false })
    }

    /// What a tensor is that was not read, where the node that makes it could be read if only its own tensor had a
    /// layout, and nothing else needs it.
    fn before(&mut self, wanted: &Wanted, level: usize) -> Option<Value> {
        let node = self.model.node(wanted.outlet.node);
        let free = !self.values.contains_key(&wanted.outlet) && !self.refused.contains(&node.id);
        let data = self.data(node).filter(|data| free && !self.values.contains_key(data))?;
        let (mut axes, mut shape) = (wanted.axes.clone(), wanted.shape);
        if let Some(op) = node.op_as::<AxisOp>() {
            axes = axes.changed(&op.recip()).filter(|changed| changed.shuffle.is_none())?.axes;
        }
        if let Some(op) = node.op_as::<Downsample>() {
            let (dimension, size) = (axes.whole(op.axis)?, self.sizes(data)?[op.axis]);
            match dimension {
                Dimension::Height => shape.height = size,
                Dimension::Width => shape.width = size,
                Dimension::Batch | Dimension::Channel => return None,
            }
            axes = axes.with(op.axis, dimension, size);
        }
        if !self.is_read_once(wanted.outlet) {
            return None;
        }
        let steps = self.steps.len();
        let data = self.input(Wanted { outlet: data, axes, count: wanted.count, shape }, level)?;
        let read = Self::UNARY.iter().find_map(|reader| reader(self, node, &data));
        let kept = read.filter(|value| value.axes == wanted.axes).and_then(|value| self.keep(node, value));
        if kept.is_none() {
            // As if it had not been tried.
            self.steps.truncate(steps);
            self.inputs.retain(|_, step| *step < steps);
            self.values.retain(|_, value| value.step < steps);
        }
        kept
    }

    fn step(&mut self, step: Step) -> usize {
        self.steps.push(step);
        self.steps.len() - 1
    }

    /// The value of a new step of `node` that reads `inputs`, images of `shape`.
    fn made(&mut self, node: &TypedNode, operation: Operation, inputs: &[&Value], shape: Shape, axes: Axes) -> Value {
        let Step { level, count, .. } = self.steps[inputs[0].step];
        let inputs = inputs.iter().map(|value| value.step).collect();
        let step = self.step(Step { node: node.id, level, operation, inputs, count, shape, clamp: Clamp::NONE });
        Value { step, axes, sole: true }
    }

    fn shape(&self, value: &Value) -> Shape {
        self.steps[value.step].shape
    }
}

/// Whether a tensor holds f32, and nothing but its elements.
fn is_plain(fact: &TypedFact) -> bool {
    fact.datum_type == f32::datum_type() && fact.is_plain() && fact.shape.is_concrete()
}

/// The elements of a constant.
fn elements(tensor: &Tensor) -> Option<Vec<f32>> {
    Some(tensor.try_as_plain_ram().ok()?.as_slice::<f32>().ok()?.to_vec())
}
