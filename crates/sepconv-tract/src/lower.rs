//! A region as a graph of sepconv.

use std::collections::{HashMap, HashSet};

use sepconv::graph::{Builder, Layer, Tensor};
use sepconv::{Clamp, Error, Isa, select};
use tract_core::internal::{OutletId, TVec, TypedModel};

use crate::read::Reader;
use crate::regions::Region;
use crate::step::{Affine, Kind, Operation, Step, Weighted};
use crate::subgraph::{Border, Subgraph};

/// A region that runs as one operator.
pub struct Lowered {
    pub name: String,
    pub subgraph: Subgraph,
    pub inputs: Vec<OutletId>,
    pub outputs: Vec<OutletId>,
}

/// Nodes of the model that have to stay tract's.
pub struct Refused(pub Vec<usize>);

/// The operator of a region, or the nodes that it cannot have.
pub fn lower(model: &TypedModel, reader: &Reader<'_>, region: &Region) -> Result<Lowered, Refused> {
    let steps = || region.steps.iter().map(|&step| (step, &reader.steps[step]));
    let all = || Refused(region.nodes.clone());
    if !steps().any(|(_, step)| step.computes()) {
        return Err(all());
    }
    let mut lowering = Lowering { builder: Builder::new(), tensors: HashMap::new(), names: HashMap::new() };
    let (mut inputs, mut read, mut refused) = (Vec::new(), Vec::new(), Vec::new());
    // What reads a step that is refused waits for the next round.
    let possible =
        |lowering: &Lowering, step: &Step| step.inputs.iter().all(|input| lowering.tensors.contains_key(input));
    for (index, step) in steps() {
        if !possible(&lowering, step) {
            continue;
        }
        let name = lowering.name(&model.node(step.node).name, step.node);
        if let Operation::Input(outlet, axes) = &step.operation {
            inputs.push(*outlet);
            let form = axes.form().ok_or_else(all)?;
            read.push(Border { tensor: axes.sizes().into(), form, image: step.shape });
        }
        match lowering.step(&name, step) {
            Ok(tensor) => _ = lowering.tensors.insert(index, tensor),
            Err(_) => refused.push(step.node),
        }
    }
    if !refused.is_empty() {
        return Err(Refused(refused));
    }
    let (mut outputs, mut written, mut tensors) = (Vec::new(), Vec::new(), Vec::new());
    let mut seen = HashSet::new();
    for (outlet, value) in &region.outputs {
        let tensor = lowering.tensors[&value.step];
        // A second form of the same images, and what lies neither way, are tract's to make of the rest.
        let form = value.axes.form().filter(|_| seen.insert(tensor)).ok_or(Refused(vec![outlet.node]))?;
        outputs.push(*outlet);
        written.push(Border { tensor: value.axes.sizes().into(), form, image: reader.steps[value.step].shape });
        tensors.push(tensor);
    }
    let count = steps().next().map_or(1, |(_, step)| step.count);
    let Lowering { builder, names, .. } = lowering;
    let subgraph =
        builder.build(&tensors).and_then(|graph| Subgraph::new(graph, read, written, count, region.nodes.len()));
    let subgraph = subgraph.map_err(|error| match &error {
        Error::Node { node, .. } => names.get(node).map_or_else(all, |&node| Refused(vec![node])),
        _ => all(),
    })?;
    let last = outputs.last().map_or("", |outlet| &model.node(outlet.node).name);
    Ok(Lowered { name: format!("{last}.sepconv"), subgraph, inputs, outputs })
}

struct Lowering {
    builder: Builder,
    /// Of each step.
    tensors: HashMap<usize, Tensor>,
    /// The node of the model of each name in the graph.
    names: HashMap<String, usize>,
}

impl Lowering {
    /// A name for a step of a node: the node's own, where no other step has it.
    fn name(&mut self, name: &str, node: usize) -> String {
        let more = (2..).map(|number| format!("{name}.{number}"));
        let free = std::iter::once(name.to_owned()).chain(more).find(|name| !self.names.contains_key(name));
        let free = free.unwrap_or_default();
        self.names.insert(free.clone(), node);
        free
    }

    fn step(&mut self, name: &str, step: &Step) -> sepconv::Result<Tensor> {
        let inputs: TVec<Tensor> = step.inputs.iter().map(|input| self.tensors[input]).collect();
        let (net, clamp) = (&mut self.builder, step.clamp);
        match &step.operation {
            Operation::Input(..) => net.input(name, step.shape),
            Operation::Weighted(weighted) => {
                let layer = folded(weighted).clamp(clamp);
                let (input, outputs) = (inputs[0], step.shape.channels);
                match weighted.kind {
                    Kind::Conv(window) => net.conv(name, input, outputs, window, layer),
                    Kind::Depthwise(window) => {
                        // A plan would ask for its kernel.
                        select::depthwise(
                            Isa::selected()?.kernels()?,
                            window.size,
                            window.stride.0,
                            window.dilation.0,
                        )?;
                        net.depthwise(name, input, window, layer)
                    }
                    Kind::GroupedPointwise { groups } => net.grouped_pointwise(name, input, outputs, groups, layer),
                    Kind::FullyConnected => net.fully_connected(name, input, outputs, layer),
                    Kind::Flattened(order) => net.flattened(name, input, order, outputs, layer),
                }
            }
            // All that is left of a sum and its factor.
            Operation::Leaky(slope, affine) if *slope == 1.0 && affine.is_identity() => match clamp == Clamp::NONE {
                true => Ok(inputs[0]),
                false => net.clamp(name, inputs[0], clamp),
            },
            Operation::Leaky(slope, affine) => {
                net.leaky_norm(name, inputs[0], *slope, normalisation(affine).clamp(clamp))
            }
            Operation::Add => net.add(name, inputs[0], inputs[1], clamp),
            Operation::Clamp => net.clamp(name, inputs[0], clamp),
            Operation::MaxPool(window) => net.max_pool(name, inputs[0], *window),
            Operation::AveragePool { window, count_padding } => {
                net.average_pool(name, inputs[0], *window, *count_padding)
            }
            Operation::GlobalAveragePool => net.global_average_pool(name, inputs[0]),
            Operation::Slice(ranges) => {
                let parts =
                    ranges.iter().map(|range| net.slice(inputs[0], range.clone())).collect::<Result<Vec<_>, _>>();
                net.concat(&parts?)
            }
            Operation::Concat => net.concat(&inputs),
            Operation::Shuffle { groups } => net.shuffle(inputs[0], *groups),
        }
    }
}

/// The weights with the affine in them, each rounded once.
fn folded(weighted: &Weighted) -> Layer {
    let Weighted { weights, affine: Affine(pairs), .. } = weighted;
    let of_output = (weights.len() / pairs.len().max(1)).max(1);
    let scaled = weights.chunks(of_output).zip(pairs);
    let scaled =
        scaled.flat_map(|(weights, &(scale, _))| weights.iter().map(move |&weight| (f64::from(weight) * scale) as f32));
    let bias = pairs.iter().map(|&(_, shift)| shift as f32);
    Layer::arrays(Vec::from_iter(scaled), Vec::from_iter(bias))
}

/// A layer that is an affine alone.
fn normalisation(Affine(pairs): &Affine) -> Layer {
    let scale = Vec::from_iter(pairs.iter().map(|&(scale, _)| scale as f32));
    let shift = Vec::from_iter(pairs.iter().map(|&(_, shift)| shift as f32));
    let (zeros, ones) = (vec![0.0; pairs.len()], vec![1.0; pairs.len()]);
    Layer::without_weights().norm_arrays(scale, shift, zeros, ones, 0.0)
}
