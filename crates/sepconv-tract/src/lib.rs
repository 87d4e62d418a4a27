#![doc = include_str!("../README.md")]

mod axes;
mod lower;
mod read;
mod regions;
mod step;
mod subgraph;
mod threads;

use std::collections::{HashMap, HashSet};

use tract_core::internal::*;
use tract_core::transform::ModelTransform;

use lower::{Lowered, Refused, lower};
use read::Reader;
use regions::regions;
pub use subgraph::Subgraph;

/// The transform `sepconv`: every part of a model that sepconv can compute becomes one [`Subgraph`].
///
/// Tensors whose shapes are not concrete, other types than f32, and nodes that sepconv has no operator for stay tract's.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sepconv;

register_simple_model_transform!("sepconv", Sepconv);

impl ModelTransform for Sepconv {
    fn name(&self) -> StaticName {
        "sepconv".into()
    }

    fn transform(&self, model: &mut TypedModel) -> TractResult<()> {
        model.declutter()?;
        // What is computed from constants alone, such as a bias behind a cast.
        model.prop_consts()?;
        let mut patch = TypedModelPatch::new("sepconv");
        let mut made: HashMap<OutletId, OutletId> = HashMap::new();
        for Lowered { name, subgraph, inputs, outputs } in subgraphs(model)? {
            let mut wires = TVec::new();
            for outlet in inputs {
                wires.push(match made.get(&outlet) {
                    Some(&wire) => wire,
                    None => patch.tap_model(model, outlet)?,
                });
            }
            let wires = patch.wire_node(name, subgraph, &wires)?;
            for (outlet, wire) in outputs.into_iter().zip(wires) {
                patch.shunt_outside(model, outlet, wire)?;
                made.insert(outlet, wire);
            }
        }
        patch.apply(model)?;
        model.compact()
    }
}

/// The operators of a model's regions, in an order in which they can run. What turns out to be impossible is left to tract,
/// and the model is read again.
fn subgraphs(model: &TypedModel) -> TractResult<Vec<Lowered>> {
    let mut refused = HashSet::new();
    let mut kept: HashMap<_, Lowered> = HashMap::new();
    loop {
        let reader = Reader::read(model, &refused)?;
        let (mut subgraphs, mut more) = (Vec::new(), Vec::new());
        for region in regions(model, &reader) {
            // Most are what they were in the last round.
            let lowered = kept.remove(&region.key()).map_or_else(|| lower(model, &reader, &region), Ok);
            match lowered {
                Ok(lowered) => subgraphs.push((region.key(), lowered)),
                Err(Refused(nodes)) => more.extend(nodes),
            }
        }
        let before = refused.len();
        refused.extend(more);
        if refused.len() == before {
            return Ok(subgraphs.into_iter().map(|(_, lowered)| lowered).collect());
        }
        kept = subgraphs.into_iter().collect();
    }
}
