//! From layers to items of work: which layers one step, or one series of steps, computes together.
#![forbid(unsafe_code)]

use super::schedule::{Schedule, Schedules};
use super::step::MOST;
use crate::net::{Activation, Layer, Network, Op, TensorId};

/// Layers that are computed together, without whole tensors between them.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Item {
    /// The layers, each reading the one before.
    pub stages: Vec<Stage>,
    /// How they share the work where there are several.
    pub schedule: Schedule,
    /// The tensor that the first layer reads.
    pub input: TensorId,
    /// The tensor that is added before the last layer's activation.
    pub residual: Option<TensorId>,
    /// The tensor that the last layer writes.
    pub output: TensorId,
}

/// One layer of an item.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Stage {
    /// Its index.
    pub layer: usize,
    /// Whether its input goes through ReLU first.
    pub pre_relu: bool,
    /// What its output goes through.
    pub activation: Activation,
}

impl Item {
    /// Every tensor that it reads.
    pub fn reads(&self) -> impl Iterator<Item = TensorId> {
        self.residual.into_iter().chain([self.input])
    }

    /// The layer of an item that has one.
    fn alone(&self) -> Option<Stage> {
        if let [stage] = self.stages[..] { Some(stage) } else { None }
    }
}

/// The items of `network` in order, as the options that `schedules` holds ask for; `observed` keeps every layer's own
/// tensor.
pub(super) fn lower(network: &Network, observed: bool, schedules: &Schedules) -> Vec<Item> {
    let item = |(index, layer): (usize, &Layer)| Item {
        stages: vec![Stage { layer: index, pre_relu: layer.pre_relu, activation: layer.activation }],
        schedule: Schedule::Whole,
        input: layer.input,
        residual: layer.residual,
        output: index + 1,
    };
    let mut items: Vec<Item> = network.layers().iter().enumerate().map(item).collect();
    if !observed {
        fold_additions(network, &mut items);
        move_relus(network, &mut items);
        fuse(network, &mut items, schedules);
    }
    items
}

/// How many items read `tensor`.
fn readers(items: &[Item], tensor: TensorId) -> usize {
    items.iter().flat_map(Item::reads).filter(|&read| read == tensor).count()
}

/// Whether an item is one linear pointwise convolution, whose sum may go on.
fn open_pointwise(network: &Network, item: &Item) -> bool {
    item.alone().is_some_and(|stage| {
        matches!(network.layers()[stage.layer].op, Op::Pointwise { .. }) && stage.activation == Activation::Linear
    })
}

/// An addition whose one operand nothing else reads becomes the epilogue of the pointwise convolution that makes it.
/// The convolution takes the addition's place, where the other operand is there already.
fn fold_additions(network: &Network, items: &mut Vec<Item>) {
    while let Some((at, from, other)) = items.iter().enumerate().find_map(|(at, addition)| {
        if network.layers()[addition.alone()?.layer].op != Op::Add {
            return None;
        }
        let operands = [(addition.input, addition.residual?), (addition.residual?, addition.input)];
        let foldable = |&(operand, other): &(TensorId, TensorId)| {
            let from = items.iter().position(|item| item.output == operand)?;
            let open = open_pointwise(network, &items[from]) && items[from].residual.is_none();
            (open && operand != other && readers(items, operand) == 1).then_some((at, from, other))
        };
        operands.iter().filter_map(foldable).max_by_key(|&(_, from, _)| from)
    }) {
        let (addition, convolution) = (items[at].clone(), items[from].clone());
        let stages = vec![Stage { activation: addition.stages[0].activation, ..convolution.stages[0] }];
        items[at] = Item { stages, residual: Some(other), output: addition.output, ..convolution };
        items.remove(from);
    }
}

/// A ReLU in front of a depthwise convolution that alone reads a pointwise one's output becomes the latter's clamp.
fn move_relus(network: &Network, items: &mut [Item]) {
    for at in 0..items.len() {
        let input = items[at].input;
        if !items[at].stages[0].pre_relu || readers(items, input) != 1 {
            continue;
        }
        let from = items.iter().position(|item| item.output == input && open_pointwise(network, item));
        if let Some(from) = from {
            items[from].stages[0].activation = Activation::Relu;
            items[at].stages[0].pre_relu = false;
        }
    }
}

/// Convolutions that follow each other become one item where a schedule wants them: the longest chain first.
fn fuse(network: &Network, items: &mut Vec<Item>, schedules: &Schedules) {
    let mut at = 0;
    while at < items.len() {
        let fused = (2..=MOST).rev().find_map(|length| {
            let chain = items.get(at..at + length)?;
            let linked = chain.windows(2).all(|pair| {
                pair[1].input == pair[0].output && readers(items, pair[0].output) == 1 && pair[0].residual.is_none()
            });
            let stages = chain.iter().map(Item::alone).collect::<Option<Vec<_>>>().filter(|_| linked)?;
            let layers: Vec<usize> = stages.iter().map(|stage| stage.layer).collect();
            let schedule = schedules.of(network, &layers)?;
            let last = chain.last()?;
            let (residual, output) = (last.residual, last.output);
            Some((length, Item { stages, schedule, input: chain[0].input, residual, output }))
        });
        if let Some((length, item)) = fused {
            items.splice(at..at + length, [item]);
        }
        at += 1;
    }
}
