//! Graphs of the caller's: any number of inputs and outputs, read by any number of nodes, in any layout, against the
//! reference.

mod common;

use std::borrow::Cow;

use common::*;
use sepconv::graph::{Builder, Graph, Layer, Tensor, Tensors};
use sepconv::parallel::{Parallel, Serial};
use sepconv::weights::{HashWeights, Weights};
use sepconv::{
    Batch, BatchMut, Clamp, Fusion, Layout, Options, Padding, Plan, Result, Shape, View, ViewMut, Window, Workspace,
    reference,
};

/// So many threads whose tasks this one runs, the last first.
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

/// The parameters `name` with a normalisation and a clamp.
fn layer(name: &str, clamp: Clamp) -> Layer {
    Layer::named(name).norm(format!("{name}.bn"), 1e-5).clamp(clamp)
}

/// What nobody writes.
const CANARY: u32 = 0x7fc5_a5a5;

/// Images with gaps after pixels, rows and images: layout, and from one image to the next.
fn apart(shape: Shape, gaps: Option<usize>) -> (Layout, usize) {
    let Shape { height, width, channels } = shape;
    let Some(gap) = gaps else { return (Layout::tight(height, width, channels), shape.len()) };
    let pixel_stride = channels + gap;
    let row_stride = width * pixel_stride + gap + 2;
    (Layout { pixel_stride, row_stride, ..Layout::tight(height, width, channels) }, height * row_stride + gap + 4)
}

/// Where each element of `count` images lies.
fn places(shape: Shape, gaps: Option<usize>, count: usize) -> Vec<usize> {
    let (layout, stride) = apart(shape, gaps);
    let pixel = |i: usize| {
        let (image, y, x) = (i / shape.pixels(), i % shape.pixels() / shape.width, i % shape.width);
        let first = image * stride + y * layout.row_stride + x * layout.pixel_stride;
        first..first + shape.channels
    };
    (0..count * shape.pixels()).flat_map(pixel).collect()
}

/// Runs `plan` on images with gaps (of several sizes), or without; checks that only images are written. The outputs
/// without gaps.
fn run(plan: &Plan, parallel: &dyn Parallel, inputs: &[Vec<f32>], gaps: bool) -> Vec<Vec<f32>> {
    let (graph, count) = (plan.graph(), plan.batch());
    let gap = |index: usize, first: usize| gaps.then_some(first + 2 * index);
    let canaries = |shape, gap| vec![f32::from_bits(CANARY); apart(shape, gap).1 * count];
    let given: Vec<Vec<f32>> = (graph.inputs().zip(inputs).enumerate())
        .map(|(index, ((_, shape), values))| {
            let mut data = canaries(shape, gap(index, 3));
            places(shape, gap(index, 3), count).iter().zip(values).for_each(|(&at, &value)| data[at] = value);
            data
        })
        .collect();
    let shapes: Vec<Shape> = graph.outputs().map(|(_, shape)| shape).collect();
    let mut taken: Vec<Vec<f32>> =
        shapes.iter().enumerate().map(|(index, &shape)| canaries(shape, gap(index, 4))).collect();
    let batches: Vec<Batch<'_>> = (graph.inputs().zip(&given).enumerate())
        .map(|(index, ((_, shape), data))| {
            let (layout, stride) = apart(shape, gap(index, 3));
            Batch::new(data, layout, stride, count).unwrap()
        })
        .collect();
    let mut outputs: Vec<BatchMut<'_>> = (shapes.iter().zip(&mut taken).enumerate())
        .map(|(index, (&shape, data))| {
            let (layout, stride) = apart(shape, gap(index, 4));
            BatchMut::new(data, layout, stride, count).unwrap()
        })
        .collect();
    let mut memory = vec![f32::from_bits(CANARY); plan.workspace_len()];
    plan.run(parallel, &mut Workspace::over(&mut memory), &batches[..], &mut outputs[..]).unwrap();
    drop(outputs);
    let read = |(index, (&shape, data)): (usize, (&Shape, &mut Vec<f32>))| {
        let places = places(shape, gap(index, 4), count);
        let values: Vec<f32> = places.iter().map(|&at| data[at]).collect();
        places.iter().for_each(|&at| data[at] = f32::from_bits(CANARY));
        assert!(data.iter().all(|value| value.to_bits() == CANARY), "output {index}: wrote outside its images");
        values
    };
    shapes.iter().zip(&mut taken).enumerate().map(read).collect()
}

/// Image `image` of every input.
fn images(graph: &Graph, image: u64) -> Vec<Vec<f32>> {
    let of = |(index, (_, shape)): (usize, (&str, Shape))| {
        Numbers(100 * image + index as u64).take(shape.len(), Kind::Floats)
    };
    graph.inputs().enumerate().map(of).collect()
}

/// The outputs of the graph for image `image`, by the reference.
fn wanted(graph: &Graph, weights: &dyn Weights, image: u64) -> Vec<Vec<f32>> {
    let inputs = images(graph, image);
    let inputs: Vec<&[f32]> = inputs.iter().map(|input| &input[..]).collect();
    let nodes = graph.reference(weights, &inputs).unwrap();
    let index = |name: &str| graph.nodes().iter().position(|node| node.name() == name).unwrap();
    graph.outputs().map(|(name, _)| nodes[index(name)].clone()).collect()
}

/// Every option, ISA, batch and layout has the reference's bits.
fn check(graph: &Graph) {
    check_with(graph, &HashWeights);
}

fn check_with(graph: &Graph, weights: &dyn Weights) {
    const BATCH: usize = 3;
    let inputs: Vec<Vec<Vec<f32>>> = (0..BATCH as u64).map(|image| images(graph, image)).collect();
    let wanted: Vec<Vec<Vec<f32>>> = (0..BATCH as u64).map(|image| wanted(graph, weights, image)).collect();
    let joined = |of: &[Vec<Vec<f32>>], batch: usize| -> Vec<Vec<f32>> {
        (0..of[0].len()).map(|at| of[..batch].iter().flat_map(|image| image[at].clone()).collect()).collect()
    };
    let fusions = [Fusion::Auto, Fusion::Off, Fusion::Strips(1), Fusion::Strips(3)];
    for isa in every_isa().iter().map(|kernels| kernels.isa()).filter(|&isa| exact(isa)) {
        for (variant, fusion) in (0..8).flat_map(|variant| fusions.map(|fusion| (variant, fusion))) {
            let (batch, low_memory) = ([1, BATCH][variant % 2], variant / 2 % 2 == 1);
            let parallel = Backwards([1, 3][variant / 4]);
            let options = Options { isa: Some(isa), batch, fusion, low_memory, ..Options::default() };
            let plan = Plan::new(graph, weights, &parallel, options).unwrap();
            for gaps in [false, true] {
                let context = format!("{isa}, {options:?}, gaps {gaps}\n{graph}");
                let got = run(&plan, &parallel, &joined(&inputs, batch), gaps);
                assert_eq!(got.len(), graph.outputs().len());
                for ((got, want), (name, _)) in got.iter().zip(&joined(&wanted, batch)).zip(graph.outputs()) {
                    assert_same(got, want, None, &format!("{name}, {context}"));
                }
            }
        }
    }
}

/// Two images of 7x12, joined by an addition, with three outputs.
fn two_inputs() -> Graph {
    let mut net = Builder::new();
    let a = net.input("a", Shape::new(7, 12, 5)).unwrap();
    let b = net.input("b", Shape::new(7, 12, 8)).unwrap();
    let x = net.conv("x", a, 8, Window::square(3).symmetric(), layer("x", Clamp::NONE)).unwrap();
    let y = net.depthwise("y", b, Window::square(3).symmetric(), layer("y", Clamp::RELU6)).unwrap();
    let sum = net.add("sum", x, y, Clamp::RELU).unwrap();
    let z = net.pointwise("z", sum, 21, layer("z", Clamp::NONE)).unwrap();
    let pooled = net.global_average_pool("pooled", z).unwrap();
    net.build(&[pooled, sum, y]).unwrap()
}

/// The reference of the graph is the reference of each of its operators.
#[test]
fn several_inputs_and_outputs() {
    let graph = two_inputs();
    check(&graph);
    let names: Vec<_> = graph.inputs().collect();
    assert_eq!(names, [("a", Shape::new(7, 12, 5)), ("b", Shape::new(7, 12, 8))]);
    let names: Vec<_> = graph.outputs().collect();
    let sizes = [("pooled", Shape::new(1, 1, 21)), ("sum", Shape::new(7, 12, 8)), ("y", Shape::new(7, 12, 8))];
    assert_eq!(names, sizes);

    let [a, b] = &images(&graph, 0)[..] else { panic!("two images") };
    let folded = sepconv::weights::fold(&graph, &HashWeights).unwrap();
    let weights = |index: usize| {
        let folded = folded[index].as_ref().unwrap();
        (&folded.weights[..], &folded.bias[..])
    };
    let window = Window::square(3).symmetric();
    let x = reference::conv(a, Shape::new(7, 12, 5), &window, 8, weights(0), None, Clamp::NONE);
    let y = reference::depthwise(b, Shape::new(7, 12, 8), &window, None, weights(1), None, Clamp::RELU6);
    let sum = reference::add(&x, &y, Clamp::RELU);
    let z = reference::pointwise(&sum, (7 * 12, 8, 21), weights(3), None, Clamp::NONE);
    let pooled = reference::global_average_pool(&z, 21);
    let want = [x, y.clone(), sum.clone(), z, pooled.clone()];
    let got = graph.reference(&HashWeights, &[a, b]).unwrap();
    assert_eq!(got.len(), want.len());
    for (index, (got, want)) in got.iter().zip(&want).enumerate() {
        assert_same(got, want, None, graph.nodes()[index].name());
    }
    let got = wanted(&graph, &HashWeights, 0);
    assert_eq!(got, [pooled, sum, y]);
}

/// As the data of several convolutions, of poolings, of an addition on either side, and of a clamp.
#[test]
fn an_input_feeds_several_nodes() {
    let mut net = Builder::new();
    let image = net.input("image", Shape::new(9, 11, 6)).unwrap();
    let window = Window::square(3).symmetric();
    let left = net.depthwise("left", image, window, layer("left", Clamp::NONE)).unwrap();
    let right = net.pointwise("right", image, 6, layer("right", Clamp::NONE)).unwrap();
    let first = net.add("first", image, left, Clamp::RELU).unwrap();
    let second = net.add("second", right, image, Clamp::NONE).unwrap();
    let clamped = net.clamp("clamped", image, Clamp::RELU).unwrap();
    let filtered = net.depthwise("filtered", clamped, window, layer("filtered", Clamp::NONE)).unwrap();
    let most = net.max_pool("most", image, window).unwrap();
    let mean = net.average_pool("mean", image, window, true).unwrap();
    let mut sum = net.add("sum", first, second, Clamp::NONE).unwrap();
    for (at, &x) in [filtered, most, mean, image].iter().enumerate() {
        sum = net.add(&format!("sum{at}"), sum, x, Clamp::new(-4.0, 4.0)).unwrap();
    }
    check(&net.build(&[sum]).unwrap());
}

/// An output is the caller's memory, from which later nodes read: as data, as a residual, through a clamp.
#[test]
fn outputs_are_read_by_later_nodes() {
    let mut net = Builder::new();
    let image = net.input("image", Shape::new(10, 9, 3)).unwrap();
    let window = Window::square(3);
    let stem = net.conv("stem", image, 16, window.stride(2).symmetric(), layer("stem", Clamp::RELU6)).unwrap();
    let expand = net.pointwise("expand", stem, 40, layer("expand", Clamp::RELU6)).unwrap();
    let filter = net.depthwise("filter", expand, window.symmetric(), layer("filter", Clamp::NONE)).unwrap();
    let project = net.pointwise("project", filter, 16, layer("project", Clamp::NONE)).unwrap();
    let sum = net.add("sum", stem, project, Clamp::NONE).unwrap();
    let active = net.clamp("active", sum, Clamp::RELU).unwrap();
    let last = net.depthwise("last", active, window.stride(2).symmetric(), layer("last", Clamp::NONE)).unwrap();
    let pooled = net.max_pool("pooled", active, window.stride(2).symmetric()).unwrap();
    let all = [stem, expand, filter, project, sum, active, last, pooled];
    // Every tensor alone, every pair, all.
    let graph = net.build(&all).unwrap();
    check(&graph);
    let names: Vec<String> = graph.outputs().map(|(name, _)| name.to_string()).collect();
    for first in 0..names.len() {
        check(&graph.features([&*names[first]]).unwrap());
        check(&graph.features([&*names[first], &names[(first + 3) % names.len()]]).unwrap());
    }
}

#[test]
fn the_same_tensor_twice() {
    let mut net = Builder::new();
    let image = net.input("image", Shape::new(5, 4, 7)).unwrap();
    let doubled = net.add("doubled", image, image, Clamp::NONE).unwrap();
    let x = net.pointwise("x", doubled, 7, layer("x", Clamp::NONE)).unwrap();
    let twice = net.add("twice", x, x, Clamp::RELU).unwrap();
    let fourfold = net.add("fourfold", twice, twice, Clamp::NONE).unwrap();
    check(&net.build(&[fourfold]).unwrap());
}

/// Nodes that nothing reads run, and cost nobody his memory.
#[test]
fn nodes_that_nothing_reads() {
    let mut net = Builder::new();
    let image = net.input("image", Shape::new(6, 5, 4)).unwrap();
    let window = Window::square(3).symmetric();
    net.depthwise("unread", image, window, layer("unread", Clamp::NONE)).unwrap();
    let x = net.pointwise("x", image, 9, layer("x", Clamp::RELU)).unwrap();
    let filtered = net.depthwise("filtered", x, window, layer("filtered", Clamp::RELU)).unwrap();
    net.pointwise("unread too", filtered, 30, layer("unread too", Clamp::RELU)).unwrap();
    net.input("ignored", Shape::new(2, 2, 2)).unwrap();
    let y = net.pointwise("y", filtered, 5, layer("y", Clamp::RELU)).unwrap();
    let graph = net.build(&[y]).unwrap();
    assert_eq!(graph.nodes().len(), 5);
    check(&graph);
    let read = graph.features(["y"]).unwrap();
    assert_eq!(read.nodes().iter().map(|node| node.name()).collect::<Vec<_>>(), ["x", "filtered", "y"]);
    assert_eq!(read.inputs().len(), 2, "inputs stay");
    check(&read);
    assert_eq!(wanted(&read, &HashWeights, 0), wanted(&graph, &HashWeights, 0));
}

/// Windows, strides and paddings that differ along the axes.
#[test]
fn images_are_not_square() {
    for (height, width) in [(5, 31), (31, 5), (3, 3), (1, 17), (17, 1)] {
        let mut net = Builder::new();
        let image = net.input("image", Shape::new(height, width, 3)).unwrap();
        let tall = Window::new(3, 1).symmetric();
        let wide = Window::new(1, 4).padding(Padding { left: 3, right: 1, ..Padding::NONE });
        let x = net.conv("tall", image, 8, tall, layer("tall", Clamp::RELU6)).unwrap();
        let x = net.conv("wide", x, 12, wide, layer("wide", Clamp::NONE)).unwrap();
        let same = Window::square(3).stride(2).same(net.shape(x).unwrap());
        let x = net.depthwise("filter", x, same, layer("filter", Clamp::NONE)).unwrap();
        let x = net.pointwise("mix", x, 20, layer("mix", Clamp::RELU)).unwrap();
        let halves = net.conv("halves", x, 9, Window::PIXEL.stride(2), layer("halves", Clamp::NONE)).unwrap();
        let most = net.max_pool("most", x, Window::new(2, 3).strides(1, 2).symmetric()).unwrap();
        let uneven = Padding { top: 1, right: 2, ..Padding::NONE };
        let mean = Window::square(3).strides(3, 1).padding(Padding { bottom: 1, left: 1, ..uneven });
        let mean = net.average_pool("mean", x, mean, false).unwrap();
        let graph = net.build(&[halves, most, mean]).unwrap();
        check(&graph);
    }
}

/// The images of a batch are the rows of one, in whatever distance they lie.
#[test]
fn images_of_one_pixel() {
    let mut net = Builder::new();
    let a = net.input("a", Shape::new(1, 1, 70)).unwrap();
    let b = net.input("b", Shape::new(1, 1, 33)).unwrap();
    let bias = |name: &str, clamp| Layer::named(name).bias().clamp(clamp);
    let x = net.fully_connected("x", a, 33, bias("x", Clamp::RELU)).unwrap();
    let y = net.pointwise("y", b, 33, bias("y", Clamp::NONE)).unwrap();
    let sum = net.add("sum", y, x, Clamp::RELU6).unwrap();
    let clamped = net.clamp("clamped", b, Clamp::new(-0.5, 0.5)).unwrap();
    let other = net.add("other", clamped, sum, Clamp::NONE).unwrap();
    let logits = net.fully_connected("logits", other, 130, bias("logits", Clamp::NONE)).unwrap();
    check(&net.build(&[logits, sum]).unwrap());
}

/// Long enough for every kind of chain to be fused, large enough to be cut.
fn residual() -> Graph {
    let mut net = Builder::new();
    let image = net.input("image", Shape::new(40, 56, 3)).unwrap();
    let window = Window::square(3);
    let mut x = net.conv("stem", image, 16, window.stride(2).symmetric(), layer("stem", Clamp::RELU6)).unwrap();
    for block in 0..3 {
        let name = |part: &str| format!("block{block}.{part}");
        let stride = 1 + usize::from(block == 1);
        let channels = [16, 24, 24][block];
        let relu = |part: &str| layer(&name(part), Clamp::RELU6);
        let expand = net.pointwise(&name("expand"), x, 96, relu("expand")).unwrap();
        let window = window.stride(stride).symmetric();
        let filter = net.depthwise(&name("filter"), expand, window, relu("filter")).unwrap();
        let parameters = layer(&name("project"), Clamp::NONE);
        let project = net.pointwise(&name("project"), filter, channels, parameters).unwrap();
        x = if block == 1 { project } else { net.add(&name("sum"), x, project, Clamp::NONE).unwrap() };
    }
    let pooled = net.global_average_pool("pool", x).unwrap();
    let logits = net.fully_connected("logits", pooled, 10, Layer::named("logits").bias()).unwrap();
    net.build(&[logits]).unwrap()
}

#[test]
fn features_are_the_outputs_of_their_nodes() {
    let graph = residual();
    check(&graph);
    let image = images(&graph, 0);
    let nodes = graph.reference(&HashWeights, &[&image[0]]).unwrap();
    let index = |name: &str| graph.nodes().iter().position(|node| node.name() == name).unwrap();
    for names in [
        &["stem"][..],
        &["block0.sum", "stem"],
        &["block1.filter", "logits", "block0.expand"],
        &["block2.project", "block2.sum"],
    ] {
        let features = graph.features(names.iter().copied()).unwrap();
        let shapes: Vec<_> = features.outputs().collect();
        let expected: Vec<_> = names.iter().map(|name| (*name, graph.node(name).unwrap().output())).collect();
        assert_eq!(shapes, expected);
        let last = names.iter().map(|name| index(name)).max().unwrap();
        assert_eq!(features.nodes().len(), last + 1, "{names:?}");
        check(&features);
        for fusion in [Fusion::Auto, Fusion::Strips(2)] {
            let plan = Plan::new(&features, &HashWeights, &Serial, Options { fusion, ..Options::default() }).unwrap();
            for (got, name) in run(&plan, &Serial, &image, true).iter().zip(names) {
                if exact(plan.isa()) {
                    assert_same(got, &nodes[index(name)], None, name);
                }
            }
        }
    }
    // Features of features.
    let once = graph.features(["block2.filter", "block1.project"]).unwrap();
    let twice = once.features(["block1.project"]).unwrap();
    assert_eq!(twice.to_string(), graph.features(["block1.project"]).unwrap().to_string());
    assert_eq!((twice.macs(), twice.params()), {
        let nodes = &graph.nodes()[..=index("block1.project")];
        let macs = nodes.iter().map(|node| node.macs()).sum();
        let weights = |node: &sepconv::graph::Node| node.weight_shape().map_or(0, |shape| shape.iter().product());
        let outputs = |node: &sepconv::graph::Node| node.parameters().map_or(0, |_| 2 * node.output().channels);
        (macs, nodes.iter().map(|node| (weights(node) + outputs(node)) as u64).sum())
    });
}

/// A plan for another batch shares the weights, and has the bits of one that was built for it.
#[test]
fn with_batch_is_a_plan_for_that_batch() {
    for graph in [residual(), two_inputs()] {
        let all: Vec<Vec<Vec<f32>>> = (0..4).map(|image| images(&graph, image)).collect();
        let joined = |batch: usize| -> Vec<Vec<f32>> {
            (0..all[0].len()).map(|at| all[..batch].iter().flat_map(|image| image[at].clone()).collect()).collect()
        };
        for (fusion, low_memory) in [(Fusion::Auto, false), (Fusion::Off, false), (Fusion::Auto, true)] {
            let parallel = Backwards(2);
            let built = |batch| {
                let options = Options { batch, fusion, low_memory, ..Options::default() };
                Plan::new(&graph, &HashWeights, &parallel, options).unwrap()
            };
            let first = built(2);
            let before = run(&first, &parallel, &joined(2), false);
            for batch in [1, 2, 4] {
                let (plan, other) = (built(batch), first.with_batch(batch).unwrap());
                assert_eq!((other.batch(), other.threads(), other.isa()), (batch, 2, first.isa()));
                assert_eq!(other.workspace_len(), plan.workspace_len(), "batch {batch}");
                assert_eq!(other.peak_bytes(), plan.peak_bytes(), "batch {batch}");
                assert_eq!((other.input_len(), other.output_len()), (plan.input_len(), plan.output_len()));
                assert_eq!(other.graph().to_string(), graph.to_string());
                let macs: u64 = other.describe().map(|step| step.macs).sum();
                assert_eq!(macs, batch as u64 * graph.macs());
                for gaps in [false, true] {
                    let (got, want) =
                        (run(&other, &parallel, &joined(batch), gaps), run(&plan, &Serial, &joined(batch), gaps));
                    assert_eq!(got, want, "batch {batch}");
                }
                // And back again.
                let back = other.with_batch(2).unwrap();
                drop(other);
                assert_eq!(run(&back, &parallel, &joined(2), true), before);
            }
            assert_eq!(run(&first, &parallel, &joined(2), true), before, "the plan stays as it was");
        }
    }
}

/// At any address, with any contents, of at least the length that the plan says.
#[test]
fn a_workspace_may_be_the_callers() {
    let graph = residual();
    let image = images(&graph, 0).remove(0);
    for (fusion, low_memory) in [(Fusion::Auto, false), (Fusion::Strips(2), false), (Fusion::Off, true)] {
        let options = Options { fusion, low_memory, ..Options::default() };
        let plan = Plan::new(&graph, &HashWeights, &Serial, options).unwrap();
        let mut want = vec![0.0; plan.output_len()];
        plan.run(&Serial, &mut plan.workspace().unwrap(), &image, &mut want).unwrap();
        let length = plan.workspace_len();
        assert_eq!(plan.workspace_bytes(), 4 * length);
        for (shift, more) in [(0, 0), (1, 0), (7, 3), (16, 100)] {
            let mut memory = vec![f32::from_bits(CANARY); shift + length + more];
            let mut got = vec![f32::NAN; want.len()];
            let mut workspace = Workspace::over(&mut memory[shift..]);
            for _ in 0..2 {
                got.fill(f32::NAN);
                plan.run(&Serial, &mut workspace, &image, &mut got).unwrap();
                assert_eq!(got, want, "{shift}, {more}");
            }
            let outside = memory[..shift].iter().chain(&memory[shift + length..]);
            assert!(outside.into_iter().all(|value| value.to_bits() == CANARY), "{shift}, {more}");
        }
        let mut memory = vec![0.0; length - 1];
        let error = plan.run(&Serial, &mut Workspace::over(&mut memory), &image, &mut want).unwrap_err().to_string();
        let text =
            format!("workspace: got {} elements, expected {length} (make it with `Plan::workspace`)", length - 1);
        assert_eq!(error, text);
    }
    // One node needs none.
    let one = graph.features(["stem"]).unwrap();
    let plan = Plan::new(&one, &HashWeights, &Serial, Options::default()).unwrap();
    assert_eq!(plan.workspace_len(), 0);
    let mut output = vec![f32::NAN; plan.output_len()];
    plan.run(&Serial, &mut Workspace::over(&mut []), &image, &mut output).unwrap();
    assert!(output.iter().all(|value| value.is_finite()));
}

/// Slices, vectors, arrays of batches, views: the same images.
#[test]
fn images_come_in_many_forms() {
    let graph = residual();
    let image = images(&graph, 0).remove(0);
    let plan = Plan::new(&graph, &HashWeights, &Serial, Options::default()).unwrap();
    let mut want = vec![f32::NAN; 10];
    let mut workspace = plan.workspace().unwrap();
    plan.run(&Serial, &mut workspace, &image, &mut want).unwrap();
    let mut outputs = vec![vec![f32::NAN; 10]; 4];
    let [first, second, third, fourth] = &mut outputs[..] else { panic!("four") };
    plan.run(&Serial, &mut workspace, &image[..], &mut first[..]).unwrap();
    let view = View::tight(&image, 40, 56, 3).unwrap();
    let mut batches = [ViewMut::tight(second, 1, 1, 10).unwrap().into()];
    plan.run(&Serial, &mut workspace, &[view.into()], &mut batches).unwrap();
    let batch = Batch::tight(&image, 1, Shape::new(40, 56, 3)).unwrap();
    plan.run(&Serial, &mut workspace, &[batch], &mut third[..]).unwrap();
    let batches = &mut [BatchMut::tight(fourth, 1, Shape::new(1, 1, 10)).unwrap()];
    plan.run(&Serial, &mut workspace, &image[..], &mut batches[..]).unwrap();
    assert_eq!(outputs, vec![want; 4]);
}

/// Parameters given as arrays are those of a source with the same numbers.
#[test]
fn arrays_and_names_are_the_same_parameters() {
    let shape = Shape::new(6, 7, 5);
    let tensor = |name: &str, shape: &[usize]| HashWeights.tensor(name, shape).unwrap().into_owned();
    let graph = |arrays: bool| {
        let mut net = Builder::new();
        let layer = |name: &str, shape: &[usize], clamp: Clamp| {
            let outputs = &shape[..1];
            if !arrays {
                return Layer::named(name).bias().norm(format!("{name}.bn"), 1e-3).clamp(clamp);
            }
            let norm = ["weight", "bias", "running_mean", "running_var"]
                .map(|end| tensor(&format!("{name}.bn.{end}"), outputs));
            let [scale, shift, mean, variance] = norm;
            let (weights, bias) = (tensor(&format!("{name}.weight"), shape), tensor(&format!("{name}.bias"), outputs));
            Layer::arrays(weights, bias).norm_arrays(scale, shift, mean, variance, 1e-3).clamp(clamp)
        };
        let image = net.input("image", shape).unwrap();
        let window = Window::square(3).symmetric();
        let x = net.conv("conv", image, 8, window, layer("conv", &[8, 5, 3, 3], Clamp::RELU)).unwrap();
        let x = net.depthwise("filter", x, window, layer("filter", &[8, 1, 3, 3], Clamp::NONE)).unwrap();
        let x = net.pointwise("mix", x, 6, layer("mix", &[6, 8, 1, 1], Clamp::NONE)).unwrap();
        let x = net.global_average_pool("pool", x).unwrap();
        let x = net.fully_connected("logits", x, 4, layer("logits", &[4, 6], Clamp::NONE)).unwrap();
        net.build(&[x]).unwrap()
    };
    let (named, given) = (graph(false), graph(true));
    assert_eq!(wanted(&named, &HashWeights, 0), wanted(&given, &Nothing, 0));
    assert_eq!((named.params(), named.macs()), (given.params(), given.macs()));
    check(&named);
    check_with(&given, &Nothing);
    assert!(given.nodes().iter().filter_map(|node| node.parameters()).all(|parameters| {
        parameters.has_bias()
            && matches!(parameters.weights(), Tensors::Given(_))
            && matches!(parameters.norm().map(|norm| (norm.tensors(), norm.epsilon())), Some((Tensors::Given(_), 1e-3)))
    }));
}

/// A source without tensors.
struct Nothing;

impl Weights for Nothing {
    fn tensor(&self, _: &str, shape: &[usize]) -> Result<Cow<'_, [f32]>, String> {
        Err(format!("missing, expected shape {shape:?}"))
    }
}

/// Counts that no u32 holds; nothing is allocated for them.
#[test]
fn counts_are_exact() {
    let mut net = Builder::new();
    let image = net.input("image", Shape::new(1 << 10, 1 << 11, 1 << 6)).unwrap();
    let window = Window::square(3).symmetric();
    let wide = net.conv("wide", image, 1 << 12, window, Layer::named("wide").norm("bn", 0.0)).unwrap();
    let filter = net.depthwise("filter", wide, window, Layer::named("filter").bias().norm("bn2", 0.0)).unwrap();
    let half = net.conv("half", filter, 1 << 20, Window::PIXEL.stride(2), Layer::named("half")).unwrap();
    let sum = net.add("sum", half, half, Clamp::RELU).unwrap();
    let pool = net.global_average_pool("pool", sum).unwrap();
    let logits = net.fully_connected("logits", pool, 10, Layer::named("logits").bias()).unwrap();
    let graph = net.build(&[logits]).unwrap();
    let counts = |name: &str| {
        let alone = graph.node(name).unwrap();
        (alone.macs(), alone.weight_shape())
    };
    let pixels = 1u64 << 21;
    assert_eq!(counts("wide"), (pixels * (9 << 18), Some(vec![1 << 12, 1 << 6, 3, 3])));
    assert_eq!(counts("filter"), (pixels * (9 << 12), Some(vec![1 << 12, 1, 3, 3])));
    assert_eq!(counts("half"), ((pixels / 4) << 32, Some(vec![1 << 20, 1 << 12, 1, 1])));
    assert_eq!(counts("sum"), (0, None));
    assert_eq!(counts("pool"), (0, None));
    assert_eq!(counts("logits"), (10 << 20, Some(vec![10, 1 << 20])));
    assert_eq!(graph.macs(), pixels * (9 << 18) + pixels * (9 << 12) + ((pixels / 4) << 32) + (10 << 20));
    // Weights; biases; scale and shift of each normalisation.
    let params = ((9 << 18) + (2 << 12)) + ((9 << 12) + (3 << 12)) + (1 << 32) + ((10 << 20) + 10);
    assert_eq!(graph.params(), params);
    assert!(graph.macs() > u64::from(u32::MAX) && graph.params() > u64::from(u32::MAX));
}

/// Threads share a plan, each with a workspace of its own.
#[test]
fn threads_share_a_plan() {
    let graph = residual();
    let plan = Plan::new(&graph, &HashWeights, &Serial, Options::default()).unwrap();
    let run = |image: u64| {
        let (mut workspace, mut output) = (plan.workspace().unwrap(), vec![f32::NAN; plan.output_len()]);
        plan.run(&Serial, &mut workspace, &images(&graph, image).remove(0), &mut output).unwrap();
        output
    };
    let want: Vec<Vec<f32>> = (0..4).map(run).collect();
    let got: Vec<Vec<f32>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|image| scope.spawn(move || run(image))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(got, want);
}

#[test]
fn nodes_say_what_they_are() {
    let graph = two_inputs();
    let kinds: Vec<_> = graph.nodes().iter().map(|node| (node.name(), node.kind())).collect();
    let expected =
        [("x", "conv"), ("y", "depthwise"), ("sum", "add"), ("z", "pointwise"), ("pooled", "global_average_pool")];
    assert_eq!(kinds, expected);
    let x = graph.node("x").unwrap();
    assert_eq!((x.input(), x.output()), (Shape::new(7, 12, 5), Shape::new(7, 12, 8)));
    assert_eq!((x.window(), x.clamp()), (Window::square(3).symmetric(), Clamp::NONE));
    assert!(matches!(x.parameters().unwrap().weights(), Tensors::Named(name) if name == "x"));
    assert_eq!(graph.node("pooled").unwrap().window(), Window::new(7, 12));
    assert_eq!(graph.node("sum").unwrap().clamp(), Clamp::RELU);
    assert!(graph.node("sum").unwrap().parameters().is_none());
    let lines: Vec<String> =
        graph.to_string().lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(lines[3], "z pointwise 7x12x8 -> 7x12x21");
    assert_eq!(lines.len(), 5);
    fn shared<T: Send + Sync>(_: &T) {}
    shared(&graph);
    shared(&Plan::new(&graph, &HashWeights, &Serial, Options::default()).unwrap());
    fn small<T: Copy + Send + Sync>(_: Option<T>) {}
    small::<Tensor>(None);
}
