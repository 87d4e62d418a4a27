//! Networks that nobody would draw, against the reference: whatever a plan fuses, folds and lets share memory.

use std::ops::Range;

use proptest::prelude::*;

use super::build::Builder as Steps;
use super::lower::lower;
use super::memory::{Place, Region, lay_out};
use super::schedule::Schedules;
use super::{Fusion, Options, Plan};
use crate::epilogue::Clamp;
use crate::isa::Isa;
use crate::net::graph::{Builder, Named, Place as Placement};
use crate::net::{Activation, Config, Name, Network, Op, TensorId};
use crate::parallel::{Parallel, Serial};
use crate::reference::{self, Window};
use crate::weights::{Folded, HashWeights, fold};

/// One layer: what it is, which earlier tensor it reads (and adds), its channels, its activation.
type Draft = (usize, usize, usize, usize, usize);

const ACTIVATIONS: [Activation; 3] = [Activation::Linear, Activation::Relu, Activation::Relu6];

/// The network of the drafts that make sense where they stand; reads any tensor, so that some are read by nobody and some
/// by many.
fn network(resolution: usize, drafts: &[Draft]) -> Network {
    let config = Config { resolution, width: 1.0, ..Config::of(Name::Digits) };
    let mut net = Builder::new(Name::Digits, "random".into(), &config, 3, Placement::Symmetric);
    let mut tensors: Vec<TensorId> = vec![0];
    for (index, &(kind, from, other, channels, activation)) in drafts.iter().enumerate() {
        // Mostly the last tensor, so that chains grow long enough to be fused.
        let pick = |choice: usize| {
            tensors[if choice.is_multiple_of(4) { choice / 4 % tensors.len() } else { tensors.len() - 1 }]
        };
        let (x, y) = (pick(from), pick(other));
        let (layer, norm) = (format!("l{index}"), format!("n{index}"));
        let named = Named::new(&layer, &layer, &norm, ACTIVATIONS[activation % 3]);
        let stride = 1 + channels % 2;
        let made = match kind % 8 {
            0 => net.conv(named, x, 3, stride, channels),
            1 | 2 => net.depthwise(named, x, stride),
            3 => net.depthwise_after_relu(named, x, 1),
            4 => Ok(net.pointwise(named, x, channels)),
            5 => net.conv_placed(Placement::Valid, named, x, 1, 2, channels),
            6 => net.max_pool(&layer, x),
            _ if net.shape(x) == net.shape(y) => Ok(net.add(&layer, x, y)),
            _ => Ok(net.pointwise(named, x, net.channels(y))),
        };
        tensors.extend(made);
    }
    let last = tensors[tensors.len() - 1];
    net.head(["pool", "fc", "fc"], last, 5)
}

/// Every tensor by the reference alone.
fn by_reference(network: &Network, folded: &[Option<Folded>], input: &[f32]) -> Vec<Vec<f32>> {
    let mut tensors = vec![input.to_vec()];
    for (layer, folded) in network.layers().iter().zip(folded) {
        let (x, shape) = (&tensors[layer.input], network.shape_of(layer.input));
        let (image, outputs) = ((shape.height, shape.width, shape.channels), layer.output.channels);
        let clamp = [Clamp::NONE, Clamp::RELU, Clamp::RELU6][layer.activation as usize];
        let weights = || folded.as_ref().map(|folded| (&folded.weights[..], &folded.bias[..])).unwrap();
        let window = |size, stride, padding| Window { size: (size, size), stride, padding };
        let lo = layer.pre_relu.then_some(0.0);
        tensors.push(match layer.op {
            Op::Conv { window: size, stride, padding } => {
                reference::conv(x, image, window(size, stride, padding), outputs, weights(), None, clamp)
            }
            Op::Pointwise { stride } => {
                reference::conv(x, image, window(1, stride, Default::default()), outputs, weights(), None, clamp)
            }
            Op::Depthwise { stride, padding } => {
                reference::depthwise(x, image, window(3, stride, padding), lo, weights(), None, clamp)
            }
            Op::FullyConnected => {
                let (weights, bias) = weights();
                reference::pointwise(x, (1, shape.channels, outputs), weights, bias, None, clamp)
            }
            Op::MaxPool { padding } => reference::max_pool(x, image, window(3, 2, padding)),
            Op::Add => reference::add(x, &tensors[layer.residual.unwrap()], clamp),
            Op::GlobalAveragePool => reference::global_average_pool(x, shape.channels),
        });
    }
    tensors
}

/// What `copies` of a place take of the workspace.
fn taken(place: &Place, copies: usize) -> Option<Range<usize>> {
    match place.region {
        Region::Workspace(offset) => Some(offset..offset + copies * place.image_stride()),
        _ => None,
    }
}

/// No two of the ranges share memory, and all lie inside the workspace.
fn apart(mut ranges: Vec<Range<usize>>, workspace: usize, context: &str) -> Result<(), TestCaseError> {
    ranges.sort_by_key(|range| (range.start, range.end));
    for pair in ranges.windows(2) {
        prop_assert!(pair[0].end <= pair[1].start, "{context}: {pair:?}");
    }
    prop_assert!(ranges.last().is_none_or(|last| last.end <= workspace), "{context}: {ranges:?} of {workspace}");
    Ok(())
}

/// No two tensors that live through an item share memory, nor does its scratch with any of them: a tensor lives from the
/// item that writes it to the last one that reads it, and through the former in any case.
fn live_places_are_disjoint(plan: &Plan, folded: &[Option<Folded>], options: Options) -> Result<(), TestCaseError> {
    let (network, schedules) = (&plan.network, Schedules::new(&options));
    let items = lower(network, options.observed, &schedules);
    let steps = Steps { kernels: plan.kernels, network, folded, batch: plan.batch, schedules };
    let scratch: Vec<_> = items.iter().map(|item| steps.scratch(item).unwrap()).collect();
    let memory = lay_out(network, &items, &scratch, plan.batch, options.observed).unwrap();
    prop_assert_eq!(memory.workspace, plan.workspace);
    for at in 0..items.len() {
        let lives = |&from: &usize| {
            let read = |output| items[at..].iter().any(|item| item.reads().any(|read| read == output));
            from == at || from < at && (options.observed || read(items[from].output))
        };
        let tensors = (0..items.len()).filter(lives).map(|from| items[from].output);
        let mut ranges: Vec<_> =
            tensors.filter_map(|tensor| taken(memory.places[tensor].as_ref()?, plan.batch)).collect();
        let parts = memory.scratch[at].iter().zip(&scratch[at]);
        ranges.extend(parts.filter_map(|(place, part)| taken(place, part.copies)));
        apart(ranges, memory.workspace, &format!("item {at}, {options:?}"))?;
    }
    Ok(())
}

/// No two places that a step reads or writes share memory.
fn places_of_steps_are_disjoint(plan: &Plan) -> Result<(), TestCaseError> {
    for step in &plan.steps {
        let mut used: Vec<_> = taken(&step.input, plan.batch).into_iter().collect();
        let last = step.operations.len() - 1;
        for (at, operation) in step.operations.iter().enumerate() {
            let copies = if at == last { plan.batch } else { step.tasks() };
            used.extend(taken(&operation.output, copies));
            let residual = operation.residual.as_ref().and_then(|place| taken(place, plan.batch));
            // It may be the input itself.
            used.extend(residual.filter(|residual| used.first() != Some(residual)));
        }
        apart(used, plan.workspace, &format!("step of layer {}", step.operations[0].layer))?;
    }
    Ok(())
}

/// Tasks in reverse order: whether they are independent does not depend on luck.
struct Backwards;

// SAFETY: one task after the other.
unsafe impl Parallel for Backwards {
    fn enter(&self, _: usize, work: &mut (dyn FnMut() + Send)) {
        work();
    }

    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        (0..tasks).rev().for_each(task);
    }
}

fn check(resolution: usize, drafts: &[Draft]) -> Result<(), TestCaseError> {
    let network = network(resolution, drafts);
    let folded = fold(&network, &HashWeights).unwrap();
    let shape = network.input();
    let image = HashWeights::image(shape.height, shape.width, shape.channels).unwrap();
    let tensors = by_reference(&network, &folded, &image);
    // The second image of a batch is the first one backwards.
    let other: Vec<f32> = image.iter().rev().copied().collect();
    let others = by_reference(&network, &folded, &other);
    let logits = [&tensors[tensors.len() - 1][..], &others[others.len() - 1]].concat();
    let (images, classes) = ([image, other].concat(), 5);
    #[cfg(feature = "rayon")]
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    let parallels: &[&dyn Parallel] = &[
        &Serial,
        &Backwards,
        #[cfg(feature = "rayon")]
        &crate::parallel::Rayon::new(&pool),
    ];
    for isa in Isa::supported() {
        // Where there is no FMA, the portable tier rounds twice.
        #[cfg(target_arch = "x86_64")]
        if isa == Isa::Portable && !is_x86_feature_detected!("fma") {
            continue;
        }
        for variant in 0..24 {
            let options = Options {
                isa: Some(isa),
                batch: 1 + variant % 2,
                threads: [1, 3][variant / 2 % 2],
                fusion: [Fusion::Auto, Fusion::Off, Fusion::Strips(1 + resolution % 5)][variant / 4 % 3],
                low_memory: variant / 12 % 2 == 1,
                observed: false,
            };
            let plan = Plan::from_folded(network.clone(), &folded, options).unwrap();
            live_places_are_disjoint(&plan, &folded, options)?;
            places_of_steps_are_disjoint(&plan)?;
            let mut output = vec![f32::NAN; plan.output_len()];
            let parallel = parallels[(variant / 2 + variant / 4) % parallels.len()];
            let mut workspace = plan.workspace().unwrap();
            workspace.buffer.fill(f32::NAN);
            plan.run_on(parallel, &mut workspace, &images[..plan.input_len()], &mut output).unwrap();
            let want = &logits[..options.batch * classes];
            let same = output.iter().zip(want).all(|(got, want)| got.to_bits() == want.to_bits());
            prop_assert!(same, "{options:?}: {output:?}, expected {want:?}");
        }
        let options = Options { isa: Some(isa), batch: 2, threads: 3, observed: true, ..Options::default() };
        let plan = Plan::from_folded(network.clone(), &folded, options).unwrap();
        live_places_are_disjoint(&plan, &folded, options)?;
        let (mut output, mut seen, mut wrong) = (vec![f32::NAN; plan.output_len()], 0, None);
        let observe = &mut |layer: usize, views: &[crate::View<'_>]| {
            for (view, tensors) in views.iter().zip([&tensors, &others]) {
                let layout = view.layout();
                let pixels = (0..layout.height).flat_map(|y| (0..layout.width).map(move |x| (y, x)));
                let got = pixels.flat_map(|(y, x)| view.pixel(y, x));
                let same = got.zip(&tensors[layer + 1]).all(|(got, want)| got.to_bits() == want.to_bits());
                seen += 1;
                if !same {
                    wrong.get_or_insert(layer);
                }
            }
        };
        plan.run_observed(&mut plan.workspace().unwrap(), &images, &mut output, observe).unwrap();
        prop_assert_eq!((seen, wrong), (2 * network.layers().len(), None), "observed on {}", isa);
        prop_assert!(output.iter().zip(&logits).all(|(got, want)| got.to_bits() == want.to_bits()));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(debug_assertions) { 12 } else { 300 }, ..ProptestConfig::default() })]

    #[test]
    fn every_plan_has_the_references_bits(
        resolution in 5usize..24,
        drafts in prop::collection::vec((0usize..8, 0usize..64, 0usize..64, 1usize..40, 0usize..3), 1..9),
    ) {
        check(resolution, &drafts)?;
    }
}

/// A fused chain that nobody reads: its output shared memory with the rows between its layers.
#[test]
fn what_nobody_reads_keeps_its_memory_while_it_is_written() {
    check(5, &[(1, 0, 0, 1, 0), (1, 0, 0, 1, 0), (4, 1, 0, 1, 0), (0, 0, 0, 2, 0)]).unwrap();
}
