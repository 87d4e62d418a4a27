//! Graphs that nobody would draw, against the reference: whatever a plan fuses, folds and lets share memory.

use std::ops::Range;

use proptest::prelude::*;

use super::compile::Compiler;
use super::memory::{Place, Region, lay_out};
use super::packed::Shared;
use super::step::{Action, Address};
use super::{Fusion, LoadOptions, Observer, Options, Plan};
use crate::graph::{Builder, Flatten, Graph, Layer, Tensor};
use crate::isa::Isa;
use crate::parallel::Parallel;
use crate::tensor::{Batch, BatchMut, Clamp, Layout, Padding, Shape, View, Window};
use crate::weights::{HashWeights, fold};

/// One node: what it is, which earlier tensor it reads (and adds), its channels, its clamp.
type Draft = (usize, usize, usize, usize, usize);

const CLAMPS: [Clamp; 4] = [Clamp::NONE, Clamp::RELU, Clamp::RELU6, Clamp::new(-0.5, 0.75)];

/// The graph of the drafts that make sense where they stand: one or two inputs, any tensor read by nobody, one or many,
/// one to three outputs.
fn graph(size: (usize, usize), two_inputs: bool, drafts: &[Draft]) -> Graph {
    let mut net = Builder::new();
    let mut tensors: Vec<Tensor> = vec![net.input("image", Shape::new(size.0, size.1, 3)).unwrap()];
    if two_inputs {
        tensors.push(net.input("other", Shape::new(size.0, size.1, 3)).unwrap());
    }
    let mut made = Vec::new();
    for (index, &(kind, from, other, channels, clamp)) in drafts.iter().enumerate() {
        // Mostly the last tensor, so that chains grow long enough to be fused.
        let pick = |choice: usize| {
            tensors[if choice.is_multiple_of(4) { choice / 4 % tensors.len() } else { tensors.len() - 1 }]
        };
        let (x, y, name) = (pick(from), pick(other), format!("n{index}"));
        let (clamp, stride) = (CLAMPS[clamp % 4], 1 + channels % 2);
        let layer = Layer::named(&name).norm(format!("{name}.bn"), 1e-5).clamp(clamp);
        let window = Window::square(3).stride(stride);
        let same = net.shape(x).unwrap() == net.shape(y).unwrap();
        let shape = net.shape(x).unwrap();
        let tensor = match kind % 20 {
            0 => net.conv(&name, x, channels, window.symmetric(), layer),
            1 | 2 => net.depthwise(&name, x, window.symmetric(), layer),
            3 => {
                let window = match channels % 7 {
                    0 | 1 => Window::square(5).stride(stride),
                    2 => Window::square(3).dilation(2),
                    3 => Window::square(3).dilation(4),
                    4 => Window::new(1, 3),
                    5 => Window::new(3, 1),
                    _ => window,
                };
                net.depthwise(&name, x, window.same(shape), layer)
            }
            4 | 5 => net.pointwise(&name, x, channels, layer),
            6 => net.conv(&name, x, channels, Window::PIXEL.stride(2), layer),
            7 => net.max_pool(&name, x, Window::square(3).stride(2).symmetric()),
            8 => net.clamp(&name, x, clamp),
            9 => net.average_pool(&name, x, Window::square(3).stride(stride).symmetric(), channels % 3 == 0),
            10 => {
                let (down, over) = (Window::new(2, 1), Window::new(1, 2));
                let window = match channels % 3 {
                    0 => down.padding(Padding { top: 1, ..Padding::NONE }),
                    1 => down.strides(1, 2).padding(Padding { bottom: 1, ..Padding::NONE }),
                    _ => over.strides(1, 2).padding(Padding { right: 1, ..Padding::NONE }),
                };
                net.conv(&name, x, channels, window, layer)
            }
            12 | 13 => net.concat(&[x, y]),
            14 => net.slice(x, channels % shape.channels..shape.channels),
            15 => net.slice(x, 0..1 + channels % shape.channels),
            16 => net.shuffle(x, (2..9).rev().find(|groups| shape.channels.is_multiple_of(*groups)).unwrap_or(1)),
            17 => net.split(x, &[shape.channels.div_ceil(2), shape.channels / 2]).map(|halves| halves[channels % 2]),
            18 => {
                let groups = (2..9).find(|groups| shape.channels.is_multiple_of(*groups)).unwrap_or(1);
                net.grouped_pointwise(&name, x, channels * groups, groups, layer)
            }
            19 => net.leaky_norm(&name, x, 0.3, Layer::without_weights().norm(&name, 1e-5).clamp(clamp)),
            _ if same => net.add(&name, x, y, clamp),
            _ => net.pointwise(&name, x, net.shape(y).unwrap().channels, layer),
        };
        made.extend(tensor.clone());
        tensors.extend(tensor);
    }
    let last = *tensors.last().unwrap();
    let classifier = Layer::named("fc").bias();
    let logits = match drafts.len() % 3 {
        0 => net.flattened("fc", last, Flatten::ChannelsFirst, 5, classifier).unwrap(),
        1 => net.flattened("fc", last, Flatten::ChannelsLast, 5, classifier).unwrap(),
        _ => {
            let pooled = net.global_average_pool("pool", last).unwrap();
            net.fully_connected("fc", pooled, 5, classifier).unwrap()
        }
    };
    // Some tensors between are outputs as well.
    let mut outputs = vec![logits];
    for (at, &tensor) in made.iter().enumerate() {
        if drafts.len() % 3 == at % 5 && outputs.len() < 3 {
            outputs.push(tensor);
        }
    }
    net.build(&outputs).unwrap()
}

/// What `copies` of a place take of the workspace.
fn taken(place: &Place, copies: usize) -> Option<Range<usize>> {
    match place.region {
        Region::Workspace(offset) => Some(offset..offset + copies * place.image_stride()),
        _ => None,
    }
}

/// No two tensors that live through an item share memory, nor does its scratch with any of them: a tensor lives from the
/// item that writes it to the last one that reads it, and through the former in any case.
fn live_places_are_disjoint(plan: &Plan) -> Result<(), TestCaseError> {
    let Shared { graph, lowered, packed, schedules, options: Options { observed, staged, .. }, .. } = &*plan.shared;
    let items = &lowered.items;
    let compiler = Compiler { graph, lowered, schedules: *schedules, batch: plan.batch };
    let scratch: Vec<_> = items.iter().zip(packed).map(|(item, packed)| compiler.scratch(item, packed)).collect();
    let memory = lay_out(graph, lowered, &scratch, plan.batch, (*observed, *staged)).unwrap();
    prop_assert_eq!(memory.workspace, plan.workspace);
    let outputs = &lowered.outputs;
    for at in 0..items.len() {
        let read = |tensor: usize| items[at..].iter().any(|item| item.reads().any(|read| read.tensor == tensor));
        // A tensor may be written piece by piece, by several items.
        let lives = |&tensor: &usize| {
            let Some(first) = items.iter().position(|item| item.output.tensor == tensor) else {
                return *staged && read(tensor);
            };
            let written = items[at..].iter().any(|item| item.output.tensor == tensor);
            first <= at && (written || *observed || read(tensor) || *staged && outputs.contains(&tensor))
        };
        let tensors = (0..lowered.shapes.len()).filter(lives);
        let mut ranges: Vec<_> =
            tensors.filter_map(|tensor| taken(memory.places[tensor].as_ref()?, plan.batch)).collect();
        let parts = memory.scratch[at].iter().zip(&scratch[at]);
        ranges.extend(parts.filter_map(|(place, part)| taken(place, part.copies)));
        ranges.sort_by_key(|range| (range.start, range.end));
        for pair in ranges.windows(2) {
            prop_assert!(pair[0].end <= pair[1].start, "item {at}: {pair:?}");
        }
        prop_assert!(ranges.last().is_none_or(|last| last.end <= plan.workspace), "item {at}: {ranges:?}");
    }
    Ok(())
}

/// No step writes where it reads, and no address lies outside the workspace.
fn addresses_are_inside(plan: &Plan) -> Result<(), TestCaseError> {
    for step in &plan.steps {
        for segment in step.tasks.iter().flatten() {
            for action in &step.actions[segment.actions.clone()] {
                let addresses = match action {
                    Action::Run { input, output, residual, .. } => [Some(*input), Some(*output), *residual],
                    Action::Move { from, to, length } => {
                        prop_assert!(to < from && from + length <= plan.workspace);
                        [None; 3]
                    }
                    Action::Stage { to: address, .. } | Action::Deliver { from: address, .. } => {
                        [Some(*address), None, None]
                    }
                };
                for address in addresses.into_iter().flatten() {
                    if let Address::Workspace { offset, image_stride, .. } = address {
                        prop_assert!(offset + (segment.images.end - 1) * image_stride < plan.workspace);
                    }
                }
            }
        }
        if let (Some(input), Some(output), false) =
            (taken(&step.input, plan.batch), taken(&step.output, plan.batch), step.operators.is_empty())
        {
            // Two tensors may lie side by side in one.
            let channels = |place: &Place| place.channel..place.channel + place.layout.channels;
            let (read, written) = (channels(&step.input), channels(&step.output));
            let beside = input == output && (read.end <= written.start || written.end <= read.start);
            let apart = input.end <= output.start || output.end <= input.start;
            prop_assert!(apart || beside || step.nodes.is_empty(), "nodes {:?}", step.nodes);
        }
    }
    Ok(())
}

/// So many threads whose tasks run in reverse order on this one: whether they are independent does not depend on luck.
struct Backwards(usize);

// SAFETY: one task after the other.
unsafe impl Parallel for Backwards {
    fn threads(&self) -> usize {
        self.0
    }

    fn enter(&self, _: usize, work: &mut (dyn FnMut() + Send)) {
        work();
    }

    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        (0..tasks).rev().for_each(task);
    }
}

/// Every node's output as it is shown.
#[derive(Default)]
struct Seen(Vec<(usize, Vec<Vec<f32>>)>);

impl Observer for Seen {
    fn output(&mut self, node: usize, images: &[View<'_>]) {
        let tight = |image: &View<'_>| {
            let layout = image.layout();
            let pixels = (0..layout.height).flat_map(|y| (0..layout.width).map(move |x| (y, x)));
            pixels.flat_map(|(y, x)| image.pixel(y, x).to_vec()).collect()
        };
        self.0.push((node, images.iter().map(tight).collect()));
    }
}

fn same(got: &[f32], want: &[f32]) -> bool {
    got.len() == want.len() && got.iter().zip(want).all(|(got, want)| got.to_bits() == want.to_bits())
}

/// Images with gaps between their pixels, rows and each other, as a caller may have them: layout, and from one to the next.
fn gapped(shape: Shape) -> (Layout, usize) {
    let pixel_stride = shape.channels + 3;
    let row_stride = shape.width * pixel_stride + 5;
    let layout = Layout { pixel_stride, row_stride, ..Layout::tight(shape.height, shape.width, shape.channels) };
    (layout, shape.height * row_stride + 7)
}

/// The elements of `count` images in `data`, laid out as `gapped` says.
fn at(shape: Shape, count: usize) -> impl Iterator<Item = usize> {
    let (layout, stride) = gapped(shape);
    let pixels = (0..count * shape.pixels()).map(move |i| (i / shape.pixels(), i % shape.pixels()));
    pixels.flat_map(move |(image, pixel)| {
        let (y, x) = (pixel / shape.width, pixel % shape.width);
        let first = image * stride + y * layout.row_stride + x * layout.pixel_stride;
        first..first + shape.channels
    })
}

/// Runs `plan` on images with gaps; the outputs without them.
fn run(plan: &Plan, parallel: &dyn Parallel, inputs: &[Vec<f32>], observer: &mut dyn Observer) -> Vec<Vec<f32>> {
    let batch = plan.batch();
    let room = |shape: Shape| gapped(shape).1 * batch;
    let given: Vec<Vec<f32>> = plan
        .graph()
        .inputs()
        .zip(inputs)
        .map(|((_, shape), tight)| {
            let mut data = vec![f32::NAN; room(shape)];
            at(shape, batch).zip(tight).for_each(|(at, &value)| data[at] = value);
            data
        })
        .collect();
    let shapes: Vec<Shape> = plan.graph().outputs().map(|(_, shape)| shape).collect();
    let mut taken: Vec<Vec<f32>> = shapes.iter().map(|&shape| vec![f32::NAN; room(shape)]).collect();
    let batches: Vec<Batch<'_>> = plan
        .graph()
        .inputs()
        .zip(&given)
        .map(|((_, shape), data)| {
            let (layout, stride) = gapped(shape);
            Batch::new(data, layout, stride, batch).unwrap()
        })
        .collect();
    let mut outputs: Vec<BatchMut<'_>> = shapes
        .iter()
        .zip(&mut taken)
        .map(|(&shape, data)| {
            let (layout, stride) = gapped(shape);
            BatchMut::new(data, layout, stride, batch).unwrap()
        })
        .collect();
    let mut memory = vec![f32::NAN; plan.workspace_len()];
    let mut workspace = super::Workspace::over(&mut memory);
    plan.run_observed(parallel, &mut workspace, &batches[..], &mut outputs[..], observer).unwrap();
    drop(outputs);
    shapes.iter().zip(&taken).map(|(&shape, data)| at(shape, batch).map(|at| data[at]).collect()).collect()
}

/// Images of `shape` from pixels to planes, or back.
fn transposed(images: &[f32], shape: Shape, to_planes: bool) -> Vec<f32> {
    let (pixels, channels) = (shape.pixels(), shape.channels);
    let mut moved = images.to_vec();
    for (image, moved) in images.chunks_exact(shape.len()).zip(moved.chunks_exact_mut(shape.len())) {
        for (pixel, channel) in (0..pixels).flat_map(|pixel| (0..channels).map(move |channel| (pixel, channel))) {
            let (in_pixels, in_planes) = (pixel * channels + channel, channel * pixels + pixel);
            match to_planes {
                true => moved[in_planes] = image[in_pixels],
                false => moved[in_pixels] = image[in_planes],
            }
        }
    }
    moved
}

/// Runs a staged `plan` on planes; the outputs as pixels.
fn run_planes(plan: &Plan, parallel: &dyn Parallel, inputs: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let batch = plan.batch();
    let shapes: Vec<Shape> = plan.graph().inputs().map(|(_, shape)| shape).collect();
    let planes: Vec<Vec<f32>> =
        inputs.iter().zip(&shapes).map(|(input, &shape)| transposed(input, shape, true)).collect();
    let batches: Vec<Batch<'_>> =
        planes.iter().zip(&shapes).map(|(planes, &shape)| Batch::planes(planes, batch, shape).unwrap()).collect();
    let shapes: Vec<Shape> = plan.graph().outputs().map(|(_, shape)| shape).collect();
    let mut taken: Vec<Vec<f32>> = shapes.iter().map(|shape| vec![f32::NAN; batch * shape.len()]).collect();
    let mut outputs: Vec<BatchMut<'_>> =
        taken.iter_mut().zip(&shapes).map(|(planes, &shape)| BatchMut::planes(planes, batch, shape).unwrap()).collect();
    plan.run(parallel, &mut plan.workspace().unwrap(), &batches[..], &mut outputs[..]).unwrap();
    drop(outputs);
    taken.iter().zip(&shapes).map(|(planes, &shape)| transposed(planes, shape, false)).collect()
}

/// The plan once more, from its blob.
fn saved_and_loaded(plan: &Plan) -> Plan {
    let blob = plan.save().unwrap();
    let loaded = Plan::load(blob.clone(), LoadOptions { isa: Some(plan.isa()), verify: true }).unwrap();
    assert!(loaded.save().unwrap() == blob, "{}", plan.graph());
    loaded
}

fn check(size: (usize, usize), two_inputs: bool, drafts: &[Draft]) -> Result<(), TestCaseError> {
    let graph = graph(size, two_inputs, drafts);
    let folded = fold(&graph, &HashWeights).unwrap();
    let image = HashWeights::image(size.0, size.1, 3).unwrap();
    // The second input is the first one negated; the second image of a batch is the first one backwards.
    let second: Vec<f32> = image.iter().map(|x| -x).collect();
    let images: Vec<Vec<f32>> = [image, second].into_iter().take(1 + usize::from(two_inputs)).collect();
    let backwards: Vec<Vec<f32>> = images.iter().map(|image| image.iter().rev().copied().collect()).collect();
    let by_reference = |images: &[Vec<f32>]| {
        let images: Vec<&[f32]> = images.iter().map(|image| &image[..]).collect();
        graph.reference(&HashWeights, &images).unwrap()
    };
    let (first, other) = (by_reference(&images), by_reference(&backwards));
    #[cfg(feature = "rayon")]
    let threads = crate::parallel::Rayon::new(rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap());
    for isa in Isa::supported() {
        // Where there is no FMA, the portable tier rounds twice.
        #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
        let fma = is_x86_feature_detected!("fma");
        #[cfg(not(any(target_arch = "x86", target_arch = "x86_64")))]
        let fma = cfg!(target_arch = "aarch64");
        if isa == Isa::Portable && !fma {
            continue;
        }
        for variant in 0..24 {
            let options = Options {
                isa: Some(isa),
                batch: 1 + variant % 2,
                fusion: [Fusion::Auto, Fusion::Off, Fusion::Strips(1 + size.0 % 5)][variant / 4 % 3],
                low_memory: variant / 12 % 2 == 1,
                staged: variant % 7 == 3,
                observed: false,
            };
            let backwards_on = Backwards([1, 3][variant / 2 % 2]);
            let mut plan = Plan::from_folded(&graph, &folded, &backwards_on, options).unwrap();
            #[cfg(feature = "rayon")]
            let parallel: &dyn Parallel = if variant % 3 == 0 { &threads } else { &backwards_on };
            #[cfg(not(feature = "rayon"))]
            let parallel: &dyn Parallel = &backwards_on;
            if variant % 5 == 0 {
                // One that shares the weights of another batch.
                plan = plan.with_batch(3 - options.batch).unwrap().with_batch(options.batch).unwrap();
            }
            if variant % 4 == 1 {
                plan = saved_and_loaded(&plan);
            }
            live_places_are_disjoint(&plan)?;
            addresses_are_inside(&plan)?;
            let inputs: Vec<Vec<f32>> =
                images.iter().zip(&backwards).map(|(image, back)| [&image[..], back].concat()).collect();
            let inputs: Vec<Vec<f32>> =
                inputs.iter().map(|input| input[..input.len() / 2 * options.batch].to_vec()).collect();
            if options.staged {
                for (at, got) in run_planes(&plan, parallel, &inputs).iter().enumerate() {
                    let want = [&first.outputs[at][..], &other.outputs[at]].concat();
                    let want = &want[..want.len() / 2 * options.batch];
                    prop_assert!(same(got, want), "planes, {options:?}, output {at}: {graph}");
                }
            }
            for (at, got) in run(&plan, parallel, &inputs, &mut ()).iter().enumerate() {
                let want = [&first.outputs[at][..], &other.outputs[at]].concat();
                let want = &want[..want.len() / 2 * options.batch];
                prop_assert!(same(got, want), "{options:?}, output {at}: {graph}");
            }
        }
        let options = Options { isa: Some(isa), batch: 2, observed: true, ..Options::default() };
        let plan = saved_and_loaded(&Plan::from_folded(&graph, &folded, &Backwards(3), options).unwrap());
        live_places_are_disjoint(&plan)?;
        let inputs: Vec<Vec<f32>> =
            images.iter().zip(&backwards).map(|(image, back)| [&image[..], back].concat()).collect();
        let mut seen = Seen::default();
        run(&plan, &Backwards(3), &inputs, &mut seen);
        prop_assert_eq!(seen.0.len(), graph.nodes().len());
        for (node, got) in seen.0 {
            let wanted = [&first.nodes[node], &other.nodes[node]];
            let right = got.len() == 2 && got.iter().zip(wanted).all(|(got, want)| same(got, want));
            prop_assert!(right, "observed on {}: {}", isa, graph.nodes()[node].name());
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(debug_assertions) { 12 } else { 200 }, ..ProptestConfig::default() })]

    #[test]
    fn every_plan_has_the_references_bits(
        size in (5usize..24, 5usize..24),
        two_inputs in any::<bool>(),
        drafts in prop::collection::vec((0usize..20, 0usize..64, 0usize..64, 1usize..40, 0usize..4), 1..10),
    ) {
        check(size, two_inputs, &drafts)?;
    }
}

/// A fused chain that nobody reads: its output shared memory with the rows between its nodes.
#[test]
fn what_nobody_reads_keeps_its_memory_while_it_is_written() {
    check((5, 5), false, &[(1, 0, 0, 1, 0), (1, 0, 0, 1, 0), (4, 1, 0, 1, 0), (0, 0, 0, 2, 0)]).unwrap();
}
