//! The largest parts of a model whose steps can run as one.
//!
//! Steps that read each other are one region, and so are steps that read the same input; those of another level are never of
//! it. So no tensor leaves a region and comes back.

use std::collections::{BTreeSet, HashMap, HashSet};

use tract_core::internal::*;

use crate::read::{Reader, Value};
use crate::step::Operation;

/// A part of a model.
#[derive(Debug, Default)]
pub struct Region {
    /// The steps that it needs, each after those that it reads.
    pub steps: BTreeSet<usize>,
    /// The nodes of the model that it stands for.
    pub nodes: Vec<usize>,
    /// What the rest of the model reads of it.
    pub outputs: Vec<(OutletId, Value)>,
}

impl Region {
    /// What another reading of the model has in common with this one where the region is the same.
    pub fn key(&self) -> (Vec<usize>, Vec<OutletId>) {
        (self.nodes.clone(), self.outputs.iter().map(|(outlet, _)| *outlet).collect())
    }
}

/// The regions of a model that was read, in an order in which they can run.
pub fn regions(model: &TypedModel, reader: &Reader<'_>) -> Vec<Region> {
    let (needed, outputs) = needed(model, reader);
    let mut joined = Joined((0..reader.steps.len()).collect());
    for (step, inputs) in reader.steps.iter().map(|step| &step.inputs).enumerate() {
        inputs.iter().for_each(|&input| joined.join(step, input));
    }
    // By level, then by the region's first step.
    let mut regions: HashMap<usize, Region> = HashMap::new();
    for &step in &needed {
        regions.entry(joined.first(step)).or_default().steps.insert(step);
    }
    for (outlet, value) in &reader.values {
        if let Some(region) = regions.get_mut(&joined.first(value.step)) {
            region.nodes.push(outlet.node);
        }
    }
    for (outlet, value) in outputs {
        if let Some(region) = regions.get_mut(&joined.first(value.step)) {
            region.outputs.push((outlet, value));
        }
    }
    regions.values_mut().for_each(|region| region.nodes.sort());
    let mut regions: Vec<(usize, Region)> = regions.into_iter().collect();
    regions.sort_by_key(|(first, _)| (reader.steps[*first].level, *first));
    regions.into_iter().map(|(_, region)| region).collect()
}

/// The steps that the model needs, and the tensors that it needs of them beyond steps.
fn needed(model: &TypedModel, reader: &Reader<'_>) -> (BTreeSet<usize>, Vec<(OutletId, Value)>) {
    let (mut steps, mut seen) = (BTreeSet::new(), HashSet::new());
    let is_read = |node: usize| reader.values.contains_key(&OutletId::new(node, 0));
    let mut outlets: Vec<OutletId> = reader.values.keys().copied().collect();
    outlets.retain(|outlet| {
        let beyond = |inlet: &InletId| !is_read(inlet.node);
        model.outputs.contains(outlet) || model.outlet_successors(*outlet).iter().any(beyond)
    });
    outlets.sort();
    let mut outputs = Vec::new();
    while let Some(outlet) = outlets.pop() {
        let Some(value) = reader.values.get(&outlet).filter(|_| seen.insert(outlet)) else { continue };
        outputs.push((outlet, value.clone()));
        let mut unseen = vec![value.step];
        while let Some(step) = unseen.pop() {
            if !steps.insert(step) {
                continue;
            }
            unseen.extend(&reader.steps[step].inputs);
            if let Operation::Input(outlet, _) = &reader.steps[step].operation {
                outlets.push(*outlet);
            }
        }
    }
    outputs.sort_by_key(|(outlet, _)| *outlet);
    (steps, outputs)
}

/// Sets of steps: each names one of its own set, down to the first, which names itself.
struct Joined(Vec<usize>);

impl Joined {
    fn first(&self, mut step: usize) -> usize {
        while self.0[step] != step {
            step = self.0[step];
        }
        step
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.first(a), self.first(b));
        self.0[a.max(b)] = a.min(b);
    }
}
