//! From layers to items of work: which layers one step, or one series of steps, computes together.
#![forbid(unsafe_code)]

use crate::net::{Activation, Layer, Network, Op, TensorId};

/// Layers that are computed together, without the tensors between them.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Item {
    pub kind: Kind,
    /// The tensor that it reads.
    pub input: TensorId,
    /// The tensor that is added before the activation.
    pub residual: Option<TensorId>,
    /// What its output goes through.
    pub activation: Activation,
    /// Whether its input goes through ReLU first.
    pub pre_relu: bool,
    /// The tensor that it writes.
    pub output: TensorId,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Kind {
    /// One layer, by index; with an addition after it where `output` is not its own.
    Layer(usize),
    /// An inverted residual whose expanded tensor never exists whole: expansion, depthwise, projection.
    Sliced { expand: usize, depthwise: usize, project: usize },
}

impl Item {
    /// Every tensor that it reads.
    pub fn reads(&self) -> impl Iterator<Item = TensorId> {
        self.residual.into_iter().chain([self.input])
    }
}

/// The items of `network` in order. `observed` keeps every layer's own tensor; `low_memory` slices inverted residuals.
pub(super) fn lower(network: &Network, observed: bool, low_memory: bool) -> Vec<Item> {
    let layers = network.layers();
    let item = |(index, layer): (usize, &Layer)| Item {
        kind: Kind::Layer(index),
        input: layer.input,
        residual: layer.residual,
        activation: layer.activation,
        pre_relu: layer.pre_relu,
        output: index + 1,
    };
    let mut items: Vec<Item> = layers.iter().enumerate().map(item).collect();
    if observed {
        return items;
    }
    fold_additions(network, &mut items);
    move_relus(network, &mut items);
    if low_memory {
        slice_blocks(network, &mut items);
    }
    items
}

/// How many items read `tensor`.
fn readers(items: &[Item], tensor: TensorId) -> usize {
    items.iter().flat_map(Item::reads).filter(|&read| read == tensor).count()
}

/// The layer of an item that is one linear pointwise convolution, whose sum may go on.
fn open_pointwise(network: &Network, item: &Item) -> Option<usize> {
    let Kind::Layer(index) = item.kind else { return None };
    let pointwise = matches!(network.layers()[index].op, Op::Pointwise { .. });
    (pointwise && item.activation == Activation::Linear).then_some(index)
}

/// An addition whose one operand nothing else reads becomes the epilogue of the pointwise convolution that makes it. The
/// convolution takes the addition's place, where the other operand is there already.
fn fold_additions(network: &Network, items: &mut Vec<Item>) {
    while let Some((at, from, other)) = items.iter().enumerate().find_map(|(at, addition)| {
        let Kind::Layer(index) = addition.kind else { return None };
        if network.layers()[index].op != Op::Add {
            return None;
        }
        let operands = [(addition.input, addition.residual?), (addition.residual?, addition.input)];
        let foldable = |&(operand, other): &(TensorId, TensorId)| {
            let from = items.iter().position(|item| item.output == operand)?;
            let open = open_pointwise(network, &items[from]).is_some() && items[from].residual.is_none();
            (open && operand != other && readers(items, operand) == 1).then_some((at, from, other))
        };
        operands.iter().filter_map(foldable).max_by_key(|&(_, from, _)| from)
    }) {
        let addition = items[at].clone();
        let convolution = items[from].clone();
        items[at] =
            Item { residual: Some(other), activation: addition.activation, output: addition.output, ..convolution };
        items.remove(from);
    }
}

/// A ReLU in front of a depthwise convolution that alone reads a pointwise one's output becomes the latter's clamp.
fn move_relus(network: &Network, items: &mut [Item]) {
    for at in 0..items.len() {
        let input = items[at].input;
        if !items[at].pre_relu || readers(items, input) != 1 {
            continue;
        }
        let from = items.iter().position(|item| item.output == input && open_pointwise(network, item).is_some());
        if let Some(from) = from {
            items[from].activation = Activation::Relu;
            items[at].pre_relu = false;
        }
    }
}

/// Expansion, depthwise and projection to fewer channels that follow each other, with nothing else reading between them, become one item.
fn slice_blocks(network: &Network, items: &mut Vec<Item>) {
    let layer = |item: &Item| match item.kind {
        Kind::Layer(index) => Some((index, network.layers()[index].op)),
        Kind::Sliced { .. } => None,
    };
    let mut at = 0;
    while at + 3 <= items.len() {
        let [first, second, third] = [&items[at], &items[at + 1], &items[at + 2]];
        let block = match (layer(first), layer(second), layer(third)) {
            (
                Some((expand, Op::Pointwise { stride: 1 })),
                Some((depthwise, Op::Depthwise { .. })),
                Some((project, Op::Pointwise { stride: 1 })),
            ) => {
                let chained = second.input == first.output && third.input == second.output;
                let alone = readers(items, first.output) == 1 && readers(items, second.output) == 1;
                let [input, expanded, output] =
                    [first.input, first.output, third.output].map(|tensor| network.shape(tensor).channels);
                let expands = expanded > input && expanded > output;
                (chained && alone && expands && first.residual.is_none()).then_some((expand, depthwise, project))
            }
            _ => None,
        };
        if let Some((expand, depthwise, project)) = block {
            let kind = Kind::Sliced { expand, depthwise, project };
            let sliced = Item { kind, input: first.input, pre_relu: first.pre_relu, ..third.clone() };
            items.splice(at..at + 3, [sliced]);
        }
        at += 1;
    }
}
