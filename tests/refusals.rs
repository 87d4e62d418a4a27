//! Calls that make no sense: each is an error that names the node or the argument, what it got and what was expected.

use std::borrow::Cow;

use sepconv::graph::{Builder, Graph, Layer, Tensor};
use sepconv::ops::{Conv, ConvParams, Depthwise, DepthwiseParams, Epilogue, Part, Pointwise, PointwiseParams};
use sepconv::parallel::Serial;
use sepconv::weights::{Folded, HashWeights, Weights, fold};
use sepconv::{
    Batch, BatchMut, Clamp, Error, Isa, Layout, Options, Padding, Plan, Result, Shape, View, ViewMut, Window, Workspace,
};

const MAX: usize = usize::MAX;
const THREE: Window = Window::square(3);

/// A builder with an image of 8x6x3, what a convolution makes of it, and its mean; with a tensor of another builder.
struct Net {
    builder: Builder,
    image: Tensor,
    features: Tensor,
    pixel: Tensor,
    foreign: Tensor,
}

fn net() -> Net {
    let mut builder = Builder::new();
    let image = builder.input("image", Shape::new(8, 6, 3)).unwrap();
    let features = builder.conv("features", image, 4, THREE.symmetric(), Layer::named("features")).unwrap();
    let pixel = builder.global_average_pool("pixel", features).unwrap();
    let mut other = Builder::new();
    let foreign = other.input("image", Shape::new(8, 6, 4)).unwrap();
    Net { builder, image, features, pixel, foreign }
}

fn named() -> Layer {
    Layer::named("w")
}

fn arrays(weights: usize, bias: usize) -> Layer {
    Layer::arrays(vec![0.5; weights], vec![0.5; bias])
}

fn norm(lengths: [usize; 4]) -> Layer {
    let [scale, shift, mean, variance] = lengths.map(|length| vec![1.0; length]);
    named().norm_arrays(scale, shift, mean, variance, 1e-5)
}

fn all_sides(size: usize) -> Padding {
    Padding::all(size)
}

type Call = fn(&mut Net) -> Result<Tensor>;

const NAME: &str = "expected a name of its own";
const FOREIGN: &str = "tensor: got one of another builder, expected one that this builder gave";
const SHAPE: &str = "expected at least one element, and as many as fit the address space";
const SIZES: &str = "expected sizes, strides and dilations of 1 to 32768";
const NONE: &str = "padding: Padding { top: 0, bottom: 0, left: 0, right: 0 }";

/// Every call of the builder, and what it says; `{NONE}` stands for no padding, and so on.
const CALLS: &[(Call, &str)] = &[
    // Inputs.
    (|net| net.builder.input("", Shape::new(1, 1, 1)), "graph: name: got an empty one, expected a name"),
    (|net| net.builder.input("image", Shape::new(1, 1, 1)), "image: name: got one that another node has, {NAME}"),
    (|net| net.builder.input("pixel", Shape::new(1, 1, 1)), "pixel: name: got one that another node has, {NAME}"),
    (|net| net.builder.input("a", Shape::new(0, 6, 3)), "a: shape: got 0x6x3, {SHAPE}"),
    (|net| net.builder.input("a", Shape::new(8, 0, 3)), "a: shape: got 8x0x3, {SHAPE}"),
    (|net| net.builder.input("a", Shape::new(8, 6, 0)), "a: shape: got 8x6x0, {SHAPE}"),
    (
        |net| net.builder.input("a", Shape::new(1 << 20, 1 << 20, 1 << 14)),
        "a: shape: got 1048576x1048576x16384, {SHAPE}",
    ),
    (
        |net| net.builder.input("a", Shape::new(MAX, 2, MAX)),
        "a: shape: got 18446744073709551615x2x18446744073709551615, {SHAPE}",
    ),
    // Dense convolutions.
    (|net| net.builder.conv("", net.image, 4, THREE, named()), "graph: name: got an empty one, expected a name"),
    (
        |net| net.builder.conv("features", net.image, 4, THREE, named()),
        "features: name: got one that another node has, {NAME}",
    ),
    (|net| net.builder.conv("a", net.foreign, 4, THREE, named()), "a: {FOREIGN}"),
    (|net| net.builder.conv("a", net.image, 0, THREE, named()), "a: outputs: got 0, expected 1 to 16777216"),
    (
        |net| net.builder.conv("a", net.image, 16777217, THREE, named()),
        "a: outputs: got 16777217, expected 1 to 16777216",
    ),
    (
        |net| net.builder.conv("a", net.image, 4, Window::new(0, 3), named()),
        "a: conv window: got Window { size: (0, 3), stride: (1, 1), dilation: (1, 1), {NONE} }, {SIZES}",
    ),
    (
        |net| net.builder.conv("a", net.image, 4, THREE.stride(0), named()),
        "a: conv window: got Window { size: (3, 3), stride: (0, 0), dilation: (1, 1), {NONE} }, {SIZES}",
    ),
    (
        |net| net.builder.conv("a", net.image, 4, Window::new(32769, 1), named()),
        "a: conv window: got Window { size: (32769, 1), stride: (1, 1), dilation: (1, 1), {NONE} }, {SIZES}",
    ),
    (
        |net| net.builder.conv("a", net.image, 4, THREE.strides(1, 2), named()),
        "a: conv window: got Window { size: (3, 3), stride: (1, 2), dilation: (1, 1), {NONE} }, expected the same \
         stride both ways, and no dilation",
    ),
    (
        |net| net.builder.conv("a", net.image, 4, THREE.dilation(2), named()),
        "a: conv window: got Window { size: (3, 3), stride: (1, 1), dilation: (2, 2), {NONE} }, expected the same \
         stride both ways, and no dilation",
    ),
    (
        |net| net.builder.conv("a", net.image, 4, THREE.padding(all_sides(3)), named()),
        "a: conv padding: got Padding { top: 3, bottom: 3, left: 3, right: 3 }, expected less on each side than the \
         window, 3x3",
    ),
    (
        |net| net.builder.conv("a", net.image, 4, THREE.padding(all_sides(MAX)), named()),
        "a: conv window: got Window { size: (3, 3), stride: (1, 1), dilation: (1, 1), padding: Padding { top: \
         18446744073709551615, bottom: 18446744073709551615, left: 18446744073709551615, right: 18446744073709551615 \
         } }, {SIZES}",
    ),
    (
        |net| net.builder.conv("a", net.image, 4, Window::new(9, 1), named()),
        "a: conv input: got 8x6 with Padding { top: 0, bottom: 0, left: 0, right: 0 }, expected at least 9x1 with its \
         padding",
    ),
    (
        |net| net.builder.conv("a", net.image, 4, Window::square(MAX), named()),
        "a: weights: got [4, 3, 18446744073709551615, 18446744073709551615], expected fewer than fit the address space",
    ),
    (
        |net| net.builder.conv("a", net.image, 1 << 24, Window::square(32768), named()),
        "a: weights: got [16777216, 3, 32768, 32768], expected fewer than fit the address space",
    ),
    (|net| net.builder.conv("a", net.image, 4, THREE, arrays(107, 4)), "a: weights: got 107 elements, expected 108"),
    (|net| net.builder.conv("a", net.image, 4, THREE, arrays(108, 3)), "a: bias: got 3 elements, expected 4"),
    (
        |net| net.builder.conv("a", net.image, 4, THREE, Layer::named("")),
        "a: weights: got an empty name, expected a name",
    ),
    (
        |net| net.builder.conv("a", net.image, 4, THREE, named().norm("", 1e-5)),
        "a: normalisation: got an empty name, expected a name",
    ),
    (
        |net| net.builder.conv("a", net.image, 4, THREE, norm([5, 4, 4, 4])),
        "a: normalisation scale: got 5 elements, expected 4",
    ),
    (
        |net| net.builder.conv("a", net.image, 4, THREE, norm([4, 0, 4, 4])),
        "a: normalisation shift: got 0 elements, expected 4",
    ),
    (
        |net| net.builder.conv("a", net.image, 4, THREE, norm([4, 4, 3, 4])),
        "a: normalisation mean: got 3 elements, expected 4",
    ),
    (
        |net| net.builder.conv("a", net.image, 4, THREE, norm([4, 4, 4, 1])),
        "a: normalisation variance: got 1 elements, expected 4",
    ),
    (
        |net| net.builder.conv("a", net.image, 4, THREE, named().norm("n", -0.5)),
        "a: epsilon: got -0.5, expected 0 or more, below 1",
    ),
    (
        |net| net.builder.conv("a", net.image, 4, THREE, named().norm("n", 1.0)),
        "a: epsilon: got 1, expected 0 or more, below 1",
    ),
    (
        |net| net.builder.conv("a", net.image, 4, THREE, named().norm("n", f64::NAN)),
        "a: epsilon: got NaN, expected 0 or more, below 1",
    ),
    (
        |net| net.builder.conv("a", net.image, 4, THREE, named().clamp(Clamp::new(f32::NAN, 1.0))),
        "a: clamp: got NaN to 1, expected a lower bound, then a higher",
    ),
    (
        |net| net.builder.conv("a", net.image, 4, THREE, named().clamp(Clamp::new(6.0, 0.0))),
        "a: clamp: got 6 to 0, expected a lower bound, then a higher",
    ),
    // Those of one pixel are pointwise.
    (
        |net| net.builder.conv("a", net.image, 4, Window::PIXEL.stride(0), named()),
        "a: pointwise window: got Window { size: (1, 1), stride: (0, 0), dilation: (1, 1), {NONE} }, {SIZES}",
    ),
    (
        |net| net.builder.conv("a", net.image, 4, Window::PIXEL.padding(all_sides(1)), named()),
        "a: conv padding: got Padding { top: 1, bottom: 1, left: 1, right: 1 }, expected less on each side than the \
         window, 1x1",
    ),
    // Depthwise convolutions.
    (|net| net.builder.depthwise("a", net.foreign, THREE, named()), "a: {FOREIGN}"),
    (
        |net| net.builder.depthwise("image", net.image, THREE, named()),
        "image: name: got one that another node has, {NAME}",
    ),
    (
        |net| net.builder.depthwise("a", net.image, THREE.dilation(0), named()),
        "a: depthwise window: got Window { size: (3, 3), stride: (1, 1), dilation: (0, 0), {NONE} }, {SIZES}",
    ),
    (
        |net| net.builder.depthwise("a", net.image, THREE.padding(all_sides(3)), named()),
        "a: depthwise padding: got Padding { top: 3, bottom: 3, left: 3, right: 3 }, expected less on each side than \
         the window, 3x3",
    ),
    (
        |net| net.builder.depthwise("a", net.pixel, THREE, named()),
        "a: depthwise input: got 1x1 with Padding { top: 0, bottom: 0, left: 0, right: 0 }, expected at least 3x3 with \
         its padding",
    ),
    (|net| net.builder.depthwise("a", net.image, THREE, arrays(28, 3)), "a: weights: got 28 elements, expected 27"),
    // Pointwise convolutions and fully connected layers.
    (|net| net.builder.pointwise("a", net.foreign, 4, named()), "a: {FOREIGN}"),
    (|net| net.builder.pointwise("a", net.image, 0, named()), "a: outputs: got 0, expected 1 to 16777216"),
    (|net| net.builder.pointwise("a", net.image, 4, arrays(12, 5)), "a: bias: got 5 elements, expected 4"),
    (
        |net| {
            let large = net.builder.input("large", Shape::new(1 << 20, 1 << 20, 1))?;
            net.builder.pointwise("a", large, 1 << 24, named())
        },
        "a: shape: got 1048576x1048576x16777216, {SHAPE}",
    ),
    (|net| net.builder.fully_connected("a", net.foreign, 4, named()), "a: {FOREIGN}"),
    (
        |net| net.builder.fully_connected("a", net.image, 4, named()),
        "a: fully connected input: got 8x6x3, expected an image of one pixel: pool it first",
    ),
    (|net| net.builder.fully_connected("a", net.pixel, 0, named()), "a: outputs: got 0, expected 1 to 16777216"),
    (|net| net.builder.fully_connected("a", net.pixel, 5, arrays(19, 5)), "a: weights: got 19 elements, expected 20"),
    // Without weights.
    (
        |net| net.builder.add("a", net.image, net.features, Clamp::NONE),
        "a: second summand: got 8x6x4, expected the first one's shape, 8x6x3",
    ),
    (|net| net.builder.add("a", net.foreign, net.features, Clamp::NONE), "a: {FOREIGN}"),
    (|net| net.builder.add("a", net.features, net.foreign, Clamp::NONE), "a: {FOREIGN}"),
    (
        |net| net.builder.add("a", net.image, net.image, Clamp::new(0.0, f32::NAN)),
        "a: clamp: got 0 to NaN, expected a lower bound, then a higher",
    ),
    (
        |net| net.builder.add("pixel", net.image, net.image, Clamp::NONE),
        "pixel: name: got one that another node has, {NAME}",
    ),
    (|net| net.builder.clamp("a", net.foreign, Clamp::RELU), "a: {FOREIGN}"),
    (
        |net| net.builder.clamp("a", net.image, Clamp::new(1.0, -1.0)),
        "a: clamp: got 1 to -1, expected a lower bound, then a higher",
    ),
    (|net| net.builder.max_pool("a", net.foreign, THREE), "a: {FOREIGN}"),
    (
        |net| net.builder.max_pool("a", net.image, THREE.strides(2, 0)),
        "a: max pool window: got Window { size: (3, 3), stride: (2, 0), dilation: (1, 1), {NONE} }, {SIZES}",
    ),
    (
        |net| net.builder.max_pool("a", net.image, THREE.padding(all_sides(3))),
        "a: max pool padding: got Padding { top: 3, bottom: 3, left: 3, right: 3 }, expected less on each side than \
         the window, 3x3",
    ),
    (
        |net| net.builder.max_pool("a", net.pixel, THREE),
        "a: max pool input: got 1x1 with Padding { top: 0, bottom: 0, left: 0, right: 0 }, expected at least 3x3 with \
         its padding",
    ),
    (
        |net| net.builder.max_pool("a", net.pixel, Window::square(2).dilation(3).padding(all_sides(2))),
        "a: max pool input: got 1x1 with Padding { top: 2, bottom: 2, left: 2, right: 2 }, expected a pixel under \
         every window",
    ),
    (|net| net.builder.average_pool("a", net.foreign, THREE, true), "a: {FOREIGN}"),
    (
        |net| net.builder.average_pool("a", net.pixel, THREE, true),
        "a: average pool input: got 1x1 with Padding { top: 0, bottom: 0, left: 0, right: 0 }, expected at least 3x3 \
         with its padding",
    ),
    (
        |net| net.builder.average_pool("a", net.image, Window::new(1, 0), false),
        "a: average pool window: got Window { size: (1, 0), stride: (1, 1), dilation: (1, 1), {NONE} }, {SIZES}",
    ),
    (|net| net.builder.global_average_pool("a", net.foreign), "a: {FOREIGN}"),
    (
        |net| net.builder.global_average_pool("features", net.image),
        "features: name: got one that another node has, {NAME}",
    ),
];

/// `text` with what its names stand for.
fn expanded(text: &str) -> String {
    let names = [("NAME", NAME), ("FOREIGN", FOREIGN), ("SHAPE", SHAPE), ("SIZES", SIZES), ("NONE", NONE)];
    names.iter().fold(text.to_string(), |text, (name, meaning)| text.replace(&format!("{{{name}}}"), meaning))
}

fn text<T>(result: Result<T>) -> String {
    match result {
        Ok(_) => "no error".into(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn the_builder_says_what_is_wrong_with_a_call() {
    assert!(CALLS.len() >= 40);
    for (index, (call, expected)) in CALLS.iter().enumerate() {
        let mut net = net();
        let error = call(&mut net);
        assert!(matches!(error, Err(Error::Node { .. })), "call {index}: {error:?}");
        assert_eq!(text(error), expanded(expected), "call {index}");
        // The call made nothing: the graph is what it was, and the name still free.
        let after = net.builder.pointwise("a", net.pixel, 4, named()).unwrap();
        let graph = net.builder.build(&[after]).unwrap();
        let names: Vec<&str> = graph.nodes().iter().map(|node| node.name()).collect();
        assert_eq!(names, ["features", "pixel", "a"], "call {index}");
    }
}

#[test]
fn the_outputs_are_outputs_of_nodes() {
    let build = |outputs: fn(&Net) -> Vec<Tensor>| {
        let net = net();
        let outputs = outputs(&net);
        text(net.builder.build(&outputs))
    };
    assert_eq!(build(|_| vec![]), "graph: outputs: got none, expected at least one tensor");
    let input = "image: output: got an input of the graph, expected the output of a node";
    assert_eq!(build(|net| vec![net.image]), input);
    assert_eq!(build(|net| vec![net.pixel, net.image]), input);
    assert_eq!(build(|net| vec![net.foreign]), format!("graph: {FOREIGN}"));
    let twice = "features: output: got the tensor twice, expected each output once";
    assert_eq!(build(|net| vec![net.features, net.pixel, net.features]), twice);
    assert_eq!(build(|net| vec![net.features, net.pixel]), "no error");

    let mut builder = Builder::new();
    let net = net();
    assert_eq!(text(builder.shape(net.image)), format!("graph: {FOREIGN}"));
    assert_eq!(text(builder.add("a", net.image, net.image, Clamp::NONE)), format!("a: {FOREIGN}"));
}

/// 8x6x3 to 8x6x4, and its mean.
fn graph() -> Graph {
    let net = net();
    net.builder.build(&[net.pixel]).unwrap()
}

#[test]
fn features_are_nodes() {
    let features = |names: &[&str]| text(graph().features(names.iter().copied()));
    assert_eq!(features(&[]), "graph: features: got no name, expected at least one");
    for unknown in ["", "image", "Pixel", "features "] {
        let expected = format!("{unknown}: feature: got no node of this name, expected one of features, pixel");
        assert_eq!(features(&["pixel", unknown]), expected);
    }
    let twice = "pixel: feature: got the name twice, expected each feature once";
    assert_eq!(features(&["pixel", "features", "pixel"]), twice);
    assert_eq!(features(&["pixel", "features"]), "no error");
}

/// A source of one answer, and of a list of names.
struct Source(fn(&[usize]) -> Result<Vec<f32>, String>, &'static [&'static str]);

impl Weights for Source {
    fn tensor(&self, _: &str, shape: &[usize]) -> Result<Cow<'_, [f32]>, String> {
        (self.0)(shape).map(Cow::Owned)
    }

    fn names(&self) -> Vec<String> {
        self.1.iter().map(|name| name.to_string()).collect()
    }
}

fn zeros(shape: &[usize]) -> Result<Vec<f32>, String> {
    Ok(vec![0.0; shape.iter().product()])
}

#[test]
fn a_plan_says_what_is_wrong_with_its_weights() {
    let plan = |graph: &Graph, weights: &dyn Weights| text(Plan::new(graph, weights, &Serial, Options::default()));
    let listed = |problem: &str| format!("the weights do not fit the graph:\n  {problem}");
    assert_eq!(plan(&graph(), &Source(zeros, &[])), "no error");
    let missing = Source(|_| Err("missing".into()), &[]);
    assert_eq!(plan(&graph(), &missing), listed("features.weight: missing"));
    let short = Source(|_| Ok(vec![0.0; 5]), &[]);
    let problem = "features.weight: 5 elements, expected 108 (shape [4, 3, 3, 3])";
    assert_eq!(plan(&graph(), &short), listed(problem));
    let more = Source(zeros, &["features.weight", "bn.num_batches_tracked", "extra.weight"]);
    assert_eq!(plan(&graph(), &more), listed("extra.weight: unexpected, no node reads it"));

    // Normalisations that divide by nothing, named and given.
    let normalised = |layer: Layer| {
        let mut net = net();
        let x = net.builder.pointwise("a", net.pixel, 2, layer).unwrap();
        net.builder.build(&[x]).unwrap()
    };
    let named = normalised(named().norm("n", 0.0));
    let problem = "n.running_var: element 0 is 0, expected one above 0";
    assert_eq!(plan(&named, &Source(zeros, &[])), listed(problem));
    for (variance, problem) in [
        ([1.0, -1.0], "a: variance: element 1 is -1, expected one above 0"),
        ([f32::NAN, 1.0], "a: variance: element 0 is NaN, expected one above 0"),
    ] {
        let ones = [1.0; 2];
        let layer = arrays(8, 2).norm_arrays(ones, ones, ones, variance, 1e-5);
        assert_eq!(plan(&normalised(layer), &HashWeights), listed(problem));
    }

    // All that is wrong is in one error.
    let two = normalised(Layer::named("a").bias());
    let problems = "features.weight: missing\n  a.weight: missing\n  a.bias: missing";
    assert_eq!(plan(&two, &missing), listed(problems));

    // More weights than any memory holds.
    let mut net = net();
    let large = net.builder.input("large", Shape::new(1, 1, 1 << 28)).unwrap();
    let x = net.builder.fully_connected("a", large, 1 << 24, Layer::named("a")).unwrap();
    let large = net.builder.build(&[x]).unwrap().features(["a"]).unwrap();
    let problem = format!("a.weight: {} bytes of memory are not to be had", 1u64 << 54);
    assert_eq!(plan(&large, &HashWeights), listed(&problem));
}

#[test]
fn a_plan_says_what_is_wrong_with_its_options() {
    let plan = |graph: &Graph, options: Options| text(Plan::new(graph, &HashWeights, &Serial, options));
    let of_batch = |batch| Options { batch, ..Options::default() };
    assert_eq!(plan(&graph(), of_batch(65537)), "batch: got 65537, expected at most 65536");
    assert_eq!(plan(&graph(), of_batch(MAX)), format!("batch: got {MAX}, expected at most 65536"));
    let one = Plan::new(&graph(), &HashWeights, &Serial, Options::default()).unwrap();
    assert_eq!(text(one.with_batch(65537)), "batch: got 65537, expected at most 65536");
    let supported = Isa::supported();
    for isa in Isa::ALL.into_iter().filter(|isa| !supported.contains(isa)) {
        let names = supported.iter().map(|isa| isa.name()).collect::<Vec<_>>().join(", ");
        let text = format!("ISA {isa} cannot run here: this CPU and build support {names}; choose one of these");
        assert_eq!(plan(&graph(), Options { isa: Some(isa), ..Options::default() }), text);
    }

    // Windows that no kernel has.
    let filtered = |window: Window| {
        let mut net = net();
        let x = net.builder.depthwise("a", net.image, window, named()).unwrap();
        net.builder.build(&[x]).unwrap()
    };
    for (window, got) in [
        (Window::new(3, 2), "3x2 stride 1"),
        (THREE.stride(3), "3x3 stride 3"),
        (THREE.dilation(2), "3x3 stride 1 dilation 2"),
    ] {
        let error = plan(&filtered(window), Options::default());
        assert!(error.starts_with(&format!("a: depthwise window: got {got}, expected one of 3x3 stride 1")), "{error}");
    }
    let uneven = "a: depthwise window: got Window { size: (3, 3), stride: (2, 1), dilation: (1, 1), {NONE} }, expected \
                  the same stride and dilation both ways";
    assert_eq!(plan(&filtered(THREE.strides(2, 1)), Options::default()), expanded(uneven));

    // Images that one batch has room for, but not many.
    for kind in 0..4 {
        let mut builder = Builder::new();
        let image = builder.input("image", Shape::new(1 << 22, 1 << 22, 16)).unwrap();
        let x = match kind {
            0 => builder.global_average_pool("a", image).unwrap(),
            1 => builder.clamp("a", image, Clamp::RELU).unwrap(),
            2 => builder.max_pool("a", image, Window::square(32768).padding(all_sides(32767))).unwrap(),
            _ => {
                let x = builder.max_pool("b", image, THREE.symmetric()).unwrap();
                builder.max_pool("a", x, THREE.symmetric()).unwrap()
            }
        };
        let large = builder.build(&[x]).unwrap();
        assert_eq!(plan(&large, Options::default()), "no error");
        let room = "batch: got 65536, expected one whose tensors fit the address space";
        assert_eq!(plan(&large, of_batch(65536)), room);
        let one = Plan::new(&large, &HashWeights, &Serial, Options::default()).unwrap();
        assert_eq!(text(one.with_batch(65536)), room);
        if kind == 3 {
            let bytes = one.workspace_bytes();
            let memory = format!("workspace: {bytes} bytes of memory are not to be had; ask for less or free some");
            assert_eq!(text(one.workspace()), memory);
        }
    }
}

#[test]
fn a_plan_says_what_is_wrong_with_folded_weights() {
    let folded = fold(&graph(), &HashWeights).unwrap();
    let plan = |folded: &[Option<Folded>]| text(Plan::from_folded(&graph(), folded, &Serial, Options::default()));
    assert_eq!(plan(&folded), "no error");
    let none = "features: folded weights: got none, expected those of `weights::fold`";
    assert_eq!(plan(&[None, None]), none);
    let count = |got| format!("folded weights: got {got} entries, expected one a node, 2");
    assert_eq!(plan(&[]), count(0));
    assert_eq!(plan(&folded[..1]), count(1));
    assert_eq!(plan(&[&folded[..], &[None]].concat()), count(3));
    let mut short = folded.clone();
    short[0].as_mut().unwrap().weights.pop();
    let text = "features: conv weights (outputs x inputs x kh x kw): got 107 elements, expected 4 x 3 x 3 x 3";
    assert_eq!(plan(&short), text);
    let mut short = folded;
    short[0].as_mut().unwrap().bias.push(0.0);
    assert_eq!(plan(&short), "features: conv bias (outputs): got 5 elements, expected 4");

    let folded = |weights: usize, outputs: usize| Folded::new(&vec![1.0; weights], &vec![(1.0, 0.0); outputs]);
    let error = folded(5, 2).unwrap_err().to_string();
    assert_eq!(error, "weights: got 5 elements, expected a multiple of 2 outputs, at least one");
    assert!(folded(0, 0).is_err() && folded(0, 3).is_ok());
}

/// Two images of 4x5x2 and 4x5x3; their depthwise convolutions are the outputs.
fn pair() -> Graph {
    let mut net = Builder::new();
    let a = net.input("a", Shape::new(4, 5, 2)).unwrap();
    let b = net.input("b", Shape::new(4, 5, 3)).unwrap();
    let x = net.depthwise("x", a, THREE.symmetric(), named()).unwrap();
    let y = net.depthwise("y", b, THREE.symmetric(), Layer::named("v")).unwrap();
    net.build(&[x, y]).unwrap()
}

#[test]
fn a_run_says_what_is_wrong_with_its_images() {
    let plan = |graph: &Graph, batch| {
        Plan::new(graph, &HashWeights, &Serial, Options { batch, ..Options::default() }).unwrap()
    };
    let data = vec![0.5; 1000];
    // One input and one output, as slices.
    for (batch, size) in [(1, "1 x 8 x 6 x 3, NHWC"), (2, "2 x 8 x 6 x 3, NHWC")] {
        let plan = plan(&graph(), batch);
        let run = |input: usize, output: usize| {
            let (mut workspace, mut given) = (plan.workspace().unwrap(), vec![7.0; output]);
            let result = plan.run(&Serial, &mut workspace, &data[..input], &mut given);
            assert!(result.is_ok() || given.iter().all(|&value| value == 7.0), "nothing is written");
            text(result)
        };
        let (inputs, outputs) = (144 * batch, 4 * batch);
        for wrong in [0, inputs - 1, inputs + 1] {
            let expected = format!("input: got {wrong} elements, expected {inputs} ({size})");
            assert_eq!(run(wrong, outputs), expected);
        }
        for wrong in [0, outputs - 1, outputs + 1] {
            let expected = format!("output: got {wrong} elements, expected {outputs} ({batch} x 4)");
            assert_eq!(run(inputs, wrong), expected);
        }
        assert_eq!(run(inputs, outputs), "no error");
    }
    // Two of each, as batches.
    let plan = plan(&pair(), 2);
    let (mut first, mut second) = (vec![7.0; 80], vec![7.0; 120]);
    let run = |workspace: &mut Workspace<'_>, inputs: &[Batch<'_>], outputs: &mut [BatchMut<'_>]| {
        text(plan.run(&Serial, workspace, inputs, outputs))
    };
    let (a, b) = (Shape::new(4, 5, 2), Shape::new(4, 5, 3));
    let batch = |count, shape| Batch::tight(&data[..count * shape_len(shape)], count, shape).unwrap();
    let good = [batch(2, a), batch(2, b)];
    let workspace = &mut plan.workspace().unwrap();
    let mut outputs = [BatchMut::tight(&mut first, 2, a).unwrap(), BatchMut::tight(&mut second, 2, b).unwrap()];
    let counts = |got: &str| format!("run: got {got}, expected 2 inputs and 2 outputs");
    assert_eq!(run(workspace, &good[..1], &mut outputs), counts("1 and 2"));
    assert_eq!(run(workspace, &[], &mut outputs), counts("0 and 2"));
    assert_eq!(run(workspace, &good, &mut outputs[1..]), counts("2 and 1"));
    assert_eq!(run(workspace, &[good[0], good[1], good[1]], &mut outputs), counts("3 and 2"));
    for (wrong, got) in
        [(batch(1, b), "1 images of 4x5x3"), (batch(3, b), "3 images of 4x5x3"), (batch(2, a), "2 images of 4x5x2")]
    {
        let expected = format!("input \"b\": got {got}, expected 2 images of 4x5x3");
        assert_eq!(run(workspace, &[good[0], wrong], &mut outputs), expected);
    }
    let turned = batch(2, Shape::new(5, 4, 2));
    let expected = "input \"a\": got 2 images of 5x4x2, expected 2 images of 4x5x2";
    assert_eq!(run(workspace, &[turned, good[1]], &mut outputs), expected);
    outputs.swap(0, 1);
    let expected = "output \"x\": got 2 images of 4x5x3, expected 2 images of 4x5x2";
    assert_eq!(run(workspace, &good, &mut outputs), expected);
    outputs.swap(0, 1);
    // A slice is one.
    let slice = |what: &str| format!("{what}: got one slice, expected 2 {what}s, given as `");
    assert_eq!(text(plan.run(&Serial, workspace, &data, &mut outputs)), slice("input") + "Batch`");
    let mut output = vec![7.0; 200];
    assert_eq!(text(plan.run(&Serial, workspace, &good, &mut output)), slice("output") + "BatchMut`");
    assert_eq!(run(workspace, &good, &mut outputs), "no error");
    assert!(output.iter().all(|&value| value == 7.0));
}

fn shape_len(shape: Shape) -> usize {
    shape.height * shape.width * shape.channels
}

/// Two rows of three pixels of four channels, with gaps.
const GAPPED: Layout = Layout { height: 2, width: 3, channels: 4, pixel_stride: 5, row_stride: 17 };

#[test]
fn views_say_what_is_wrong_with_their_layout() {
    let mut data = [0.0; 80];
    let strides = "expected a pixel stride of at least the channels, a row stride that holds the row, and sizes that fit \
                   the address space";
    for layout in [
        Layout { pixel_stride: 3, ..GAPPED },
        Layout { row_stride: 13, ..GAPPED },
        Layout { height: MAX, ..GAPPED },
        Layout::tight(MAX, MAX, 1),
    ] {
        let expected = |what: &str| format!("{what}: got {layout:?}, {strides}");
        assert_eq!(text(View::new(&data, layout)), expected("view"));
        assert_eq!(text(ViewMut::new(&mut data, layout)), expected("view"));
        // SAFETY: nothing is read or written.
        assert_eq!(text(unsafe { View::from_raw(data.as_ptr(), layout) }), expected("view"));
        // SAFETY: as above.
        assert_eq!(text(unsafe { ViewMut::from_raw(data.as_mut_ptr(), layout) }), expected("view"));
        assert_eq!(text(Batch::new(&data, layout, 40, 2)), expected("image"));
        assert_eq!(text(BatchMut::new(&mut data, layout, 40, 2)), expected("image"));
    }
    let short = |what: &str, got, expected| format!("{what}: got {got} elements, expected at least {expected}");
    assert_eq!(text(View::new(&data[..30], GAPPED)), short("view", 30, 31));
    assert_eq!(text(View::tight(&data[..23], 2, 3, 4)), short("view", 23, 24));
    assert_eq!(text(ViewMut::tight(&mut data[..23], 2, 3, 4)), short("view", 23, 24));
    assert_eq!(text(Batch::new(&data[..70], GAPPED, 40, 2)), short("batch", 70, 71));
    assert_eq!(text(Batch::tight(&data[..71], 3, Shape::new(2, 3, 4))), short("batch", 71, 72));
    assert_eq!(text(BatchMut::tight(&mut data[..71], 3, Shape::new(2, 3, 4))), short("batch", 71, 72));
    for (stride, count) in [(30, 2), (0, 2), (MAX, 2), (40, MAX), (MAX, MAX)] {
        let expected = format!(
            "batch: got {count} images, {stride} elements apart, of {GAPPED:?}, expected at least 31 elements from one \
             image to the next, and all addressable"
        );
        assert_eq!(text(Batch::new(&data, GAPPED, stride, count)), expected);
        assert_eq!(text(BatchMut::new(&mut data, GAPPED, stride, count)), expected);
    }
}

/// An operator from 4x5x20 to 4x5x20, by `run_part`, which cuts channels at multiples of 16.
type RunPart<'a> = &'a dyn Fn(&Part, View<'_>, Epilogue<'_>, ViewMut<'_>) -> Result<()>;

/// What `run` of `name` says of parts that are none, and of images of another size; it writes nothing.
fn parts_are_checked(name: &str, run: RunPart<'_>) {
    const WHOLE: Shape = Shape::new(4, 5, 20);
    let call = |part: Part, input: Shape, residual: Option<Shape>, output: Shape| {
        let data = vec![0.5; 1000];
        let tight = |shape: Shape| View::tight(&data, shape.height, shape.width, shape.channels).unwrap();
        let mut given = vec![7.0; 1000];
        let view = ViewMut::tight(&mut given, output.height, output.width, output.channels).unwrap();
        let epilogue = Epilogue { residual: residual.map(tight), clamp: Clamp::NONE };
        let result = run(&part, tight(input), epilogue, view);
        let written = given.iter().filter(|&&value| value != 7.0).count();
        assert_eq!(written, if result.is_ok() { shape_len(output) } else { 0 }, "{part:?}: {result:?}");
        text(result)
    };
    let part = |rows: (usize, usize), channels: (usize, usize)| Part {
        rows: std::ops::Range { start: rows.0, end: rows.1 },
        channels: std::ops::Range { start: channels.0, end: channels.1 },
    };
    for (rows, channels) in [
        ((0, 5), (0, 20)),
        ((4, 5), (0, 20)),
        ((3, 2), (0, 20)),
        ((MAX, MAX), (0, 20)),
        ((0, MAX), (0, 20)),
        ((0, 4), (0, 21)),
        ((0, 4), (0, 32)),
        ((0, 4), (5, 20)),
        ((0, 4), (0, 19)),
        ((0, 4), (16, 17)),
        ((0, 4), (20, 16)),
        ((0, 4), (MAX, MAX)),
        ((1, 1), (1, 1)),
    ] {
        let part = part(rows, channels);
        let got = format!("Part {{ rows: {}..{}, channels: {}..{} }}", rows.0, rows.1, channels.0, channels.1);
        let expected = "expected rows and channels of 4x5x20, the channels cut at multiples of 16";
        assert_eq!(call(part, WHOLE, None, WHOLE), format!("{name} part: got {got}, {expected}"));
    }
    let size = |what: &str, got: Shape, expected: Shape| {
        format!("{name} {what}: got {got} (height, width, channels), expected {expected}")
    };
    for (rows, channels) in [((0, 4), (0, 20)), ((1, 3), (0, 20)), ((0, 4), (16, 20)), ((2, 3), (0, 16))] {
        let right = Shape::new(rows.1 - rows.0, 5, channels.1 - channels.0);
        let Shape { height, width, channels: count } = right;
        let part = || part(rows, channels);
        for wrong in [
            Shape::new(height + 1, width, count),
            Shape::new(height - 1, width, count),
            Shape::new(height, width + 1, count),
            Shape::new(height, width, count + 1),
            Shape::new(height, width, count - 1),
        ] {
            assert_eq!(call(part(), WHOLE, None, wrong), size("output", wrong, right));
            assert_eq!(call(part(), WHOLE, Some(wrong), right), size("residual", wrong, right));
        }
        for channels in [19, 21, 0] {
            let input = Shape { channels, ..WHOLE };
            let expected = format!("{name} input: got {input}, expected 20 channels");
            assert_eq!(call(part(), input, None, right), expected);
        }
        assert_eq!(call(part(), WHOLE, Some(right), right), "no error");
    }
    // Nothing to do is done.
    assert_eq!(call(part((2, 2), (0, 20)), WHOLE, None, Shape::new(0, 5, 20)), "no error");
    assert_eq!(call(part((0, 4), (16, 16)), WHOLE, None, Shape::new(4, 5, 0)), "no error");
}

#[test]
fn operators_say_what_is_wrong_with_a_part() {
    let kernels = Isa::Portable.kernels().unwrap();
    let (weights, bias) = (vec![0.5; 20 * 20 * 9], vec![0.5; 20]);
    let params = PointwiseParams::new(20, 20);
    let pointwise = Pointwise::new(kernels, params, 20, &weights[..400], &bias).unwrap();
    parts_are_checked("pointwise", &|part, input, epilogue, output| pointwise.run_part(part, input, epilogue, output));
    let params = DepthwiseParams::new(20, THREE.symmetric());
    let depthwise = Depthwise::new(kernels, params, &weights[..180], &bias).unwrap();
    parts_are_checked("depthwise", &|part, input, epilogue, output| depthwise.run_part(part, input, epilogue, output));
    let params = ConvParams::new(20, 20, THREE.symmetric());
    let conv = Conv::new(kernels, params, &weights, &bias).unwrap();
    parts_are_checked("conv", &|part, input, epilogue, output| conv.run_part(part, input, epilogue, output));
    // The whole run is a part, too.
    let (data, mut given) = (vec![0.5; 400], vec![7.0; 400]);
    let input = View::tight(&data, 4, 5, 20).unwrap();
    for (name, run) in [
        ("pointwise", &(|output: ViewMut<'_>| pointwise.run(input, Epilogue::default(), output)) as &dyn Fn(_) -> _),
        ("depthwise", &|output: ViewMut<'_>| depthwise.run(input, Epilogue::default(), output)),
        ("conv", &|output: ViewMut<'_>| conv.run(input, Epilogue::default(), output)),
    ] {
        let output = ViewMut::tight(&mut given, 4, 4, 20).unwrap();
        let expected = format!("{name} output: got 4x4x20 (height, width, channels), expected 4x5x20");
        assert_eq!(text(run(output)), expected);
    }
    // Sums over no part of the inputs.
    let whole = Shape::new(4, 5, 20);
    let mut run = |inputs: std::ops::Range<usize>, channels: usize| {
        let input = View::tight(&data, 4, 5, channels).unwrap();
        let output = ViewMut::tight(&mut given, 4, 5, 20).unwrap();
        text(pointwise.run_inputs(inputs, &Part::all(whole), input, Epilogue::default(), output))
    };
    for (start, end) in [(0, 21), (21, 21), (MAX, MAX), (5, 4)] {
        let expected = format!("pointwise input channels: got {start}..{end}, expected a part of 0..20");
        assert_eq!(run(std::ops::Range { start, end }, 20), expected);
    }
    assert_eq!(run(0..20, 19), "pointwise input: got 4x5x19, expected 20 channels");
    assert_eq!(run(3..10, 20), "pointwise input: got 4x5x20, expected 7 channels");
    assert_eq!(run(3..10, 7), "no error");
}

#[test]
fn operators_say_what_is_wrong_with_their_parameters() {
    let kernels = Isa::Portable.kernels().unwrap();
    let zeros = vec![0.0; 200];
    let pointwise = |params, weights, bias| text(Pointwise::new(kernels, params, 4, &zeros[..weights], &zeros[..bias]));
    let params = PointwiseParams::new(3, 2);
    assert_eq!(pointwise(params, 6, 2), "no error");
    let weights = "pointwise weights (outputs x inputs): got 7 elements, expected 2 x 3";
    assert_eq!(pointwise(params, 7, 2), weights);
    assert_eq!(pointwise(params, 6, 1), "pointwise bias (outputs): got 1 elements, expected 2");
    let stride = "pointwise window: got Window { size: (1, 1), stride: (0, 0), dilation: (1, 1), {NONE} }, {SIZES}";
    assert_eq!(pointwise(PointwiseParams { stride: 0, ..params }, 6, 2), expanded(stride));

    let depthwise = |window, weights, bias| {
        text(Depthwise::new(kernels, DepthwiseParams::new(2, window), &zeros[..weights], &zeros[..bias]))
    };
    assert_eq!(depthwise(THREE, 18, 2), "no error");
    let weights = "depthwise weights (channels x kh x kw): got 17 elements, expected 2 x 3 x 3";
    assert_eq!(depthwise(THREE, 17, 2), weights);
    assert_eq!(depthwise(THREE, 18, 3), "depthwise bias (channels): got 3 elements, expected 2");
    let error = depthwise(Window::new(3, 2), 12, 2);
    assert!(
        error.starts_with("depthwise window: got 3x2 stride 1, expected one of 3x3 stride 1, 3x3 stride 2"),
        "{error}"
    );
    let padded = THREE.padding(Padding { left: MAX, ..Padding::NONE });
    assert!(depthwise(padded, 18, 2).starts_with("depthwise window: got Window"));
    let image = View::tight(&zeros[..8], 2, 2, 2).unwrap();
    let op = Depthwise::new(kernels, DepthwiseParams::new(2, THREE), &zeros[..18], &zeros[..2]).unwrap();
    let small = "depthwise input: got 2x2 with Padding { top: 0, bottom: 0, left: 0, right: 0 }, expected at least 3x3 with \
                 its padding";
    assert_eq!(text(op.output(image.layout().shape())), small);
    assert_eq!(text(op.run(image, Epilogue::default(), ViewMut::tight(&mut [0.0; 8], 2, 2, 2).unwrap())), small);

    let conv = |window, weights, bias| {
        text(Conv::new(kernels, ConvParams::new(3, 2, window), &zeros[..weights], &zeros[..bias]))
    };
    assert_eq!(conv(THREE, 54, 2), "no error");
    let weights = "conv weights (outputs x inputs x kh x kw): got 55 elements, expected 2 x 3 x 3 x 3";
    assert_eq!(conv(THREE, 55, 2), weights);
    assert_eq!(conv(THREE, 54, 1), "conv bias (outputs): got 1 elements, expected 2");
    let uneven = "conv window: got Window { size: (3, 3), stride: (1, 2), dilation: (1, 1), {NONE} }, expected the same \
                  stride both ways, and no dilation";
    assert_eq!(conv(THREE.strides(1, 2), 54, 2), expanded(uneven));
    for stem in
        Isa::supported().into_iter().flat_map(|isa| isa.kernels().unwrap().conv()).filter(|kernel| kernel.stem())
    {
        let params = ConvParams::new(4, 2, THREE);
        let error = Conv::with_kernel(stem, params, &zeros[..72], &zeros[..2]);
        let name = stem.name();
        assert_eq!(
            text(error),
            format!("conv window: got 3x3 with 4 input channels, expected one that {name} computes")
        );
    }
}
