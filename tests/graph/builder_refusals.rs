//! Calls of the builder that make no node, and of a graph that make no graph.

use sepconv::graph::{Builder, Flatten, Graph, Layer, Tensor};
use sepconv::{Clamp, Error, Padding, Result, Shape, Window};

use super::text;

pub const MAX: usize = usize::MAX;
pub const THREE: Window = Window::square(3);

/// A builder with an image of 8x6x3, what a convolution makes of it, and its mean; with a tensor of another builder.
pub struct Net {
    pub builder: Builder,
    pub image: Tensor,
    pub features: Tensor,
    pub pixel: Tensor,
    pub foreign: Tensor,
}

pub fn net() -> Net {
    let mut builder = Builder::new();
    let image = builder.input("image", Shape::new(8, 6, 3)).unwrap();
    let features = builder.conv("features", image, 4, THREE.symmetric(), Layer::named("features")).unwrap();
    let pixel = builder.global_average_pool("pixel", features).unwrap();
    let mut other = Builder::new();
    let foreign = other.input("image", Shape::new(8, 6, 4)).unwrap();
    Net { builder, image, features, pixel, foreign }
}

pub fn named() -> Layer {
    Layer::named("w")
}

pub fn arrays(weights: usize, bias: usize) -> Layer {
    Layer::arrays(vec![0.5; weights], vec![0.5; bias])
}

fn norm(lengths: [usize; 4]) -> Layer {
    let [scale, shift, mean, variance] = lengths.map(|length| vec![1.0; length]);
    named().norm_arrays(scale, shift, mean, variance, 1e-5)
}

pub fn all_sides(size: usize) -> Padding {
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
        |net| net.builder.input("a", Shape::new(1 << 20, 1 << 20, 1 << 18)),
        "a: shape: got 1048576x1048576x262144, {SHAPE}",
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
        |net| net.builder.conv("a", net.image, 4, THREE.strides(1, 0), named()),
        "a: conv window: got Window { size: (3, 3), stride: (1, 0), dilation: (1, 1), {NONE} }, {SIZES}",
    ),
    (
        |net| net.builder.conv("a", net.image, 4, THREE.dilation(2), named()),
        "a: conv window: got Window { size: (3, 3), stride: (1, 1), dilation: (2, 2), {NONE} }, expected no \
         dilation",
    ),
    (
        |net| net.builder.conv("a", net.image, 4, THREE.padding(all_sides(4)), named()),
        "a: conv padding: got Padding { top: 4, bottom: 4, left: 4, right: 4 }, expected at most the window on each side, \
         3x3",
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
        |net| net.builder.conv("a", net.image, 4, Window::square(1 << 27), named()),
        "a: weights: got [4, 3, 134217728, 134217728], expected fewer than fit the address space",
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
        |net| net.builder.conv("a", net.image, 4, Window::PIXEL.padding(all_sides(2)), named()),
        "a: conv padding: got Padding { top: 2, bottom: 2, left: 2, right: 2 }, expected at most the window on each side, \
         1x1",
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
    // Groups.
    (
        |net| net.builder.grouped_pointwise("a", net.image, 4, 0, named()),
        "a: pointwise groups: got 0, expected a divisor of 3 inputs and 4 outputs",
    ),
    (
        |net| net.builder.grouped_pointwise("a", net.image, 4, 3, named()),
        "a: pointwise groups: got 3, expected a divisor of 3 inputs and 4 outputs",
    ),
    (
        |net| net.builder.leaky_norm("a", net.image, f32::NAN, Layer::without_weights().norm("n", 0.0)),
        "a: slope: got NaN, expected a finite number",
    ),
    (
        |net| net.builder.leaky_norm("a", net.image, 0.3, named()),
        "a: layer: got one with weights or a bias, or without a norm, expected Layer::without_weights() with a norm",
    ),
    (
        |net| net.builder.leaky_norm("a", net.image, 0.3, Layer::without_weights()),
        "a: layer: got one with weights or a bias, or without a norm, expected Layer::without_weights() with a norm",
    ),
    (
        |net| net.builder.leaky_norm("a", net.image, 0.3, Layer::without_weights().bias().norm("n", 0.0)),
        "a: layer: got one with weights or a bias, or without a norm, expected Layer::without_weights() with a norm",
    ),
    (
        |net| net.builder.pointwise("a", net.image, 4, Layer::without_weights().norm("n", 0.0)),
        "a: weights: got none, expected some, by name or as arrays",
    ),
    (
        |net| net.builder.flattened("a", net.image, Flatten::ChannelsFirst, 4, Layer::arrays([0.0; 4], [0.0; 4])),
        "a: weights: got 4 elements, expected 576",
    ),
    // Channels of tensors.
    (|net| net.builder.slice(net.image, 2..4), "slice: channels: got 2..4, expected at least one of the 3 there are"),
    (|net| net.builder.slice(net.image, 2..2), "slice: channels: got 2..2, expected at least one of the 3 there are"),
    (
        |net| net.builder.split(net.image, &[1, 1]).map(|parts| parts[0]),
        "split: channels: got [1, 1], expected at least one a slice, 3 in sum",
    ),
    (
        |net| net.builder.split(net.image, &[3, 0]).map(|parts| parts[0]),
        "split: channels: got [3, 0], expected at least one a slice, 3 in sum",
    ),
    (|net| net.builder.concat(&[]), "concat: inputs: got none, expected at least one tensor"),
    (|net| net.builder.concat(&[net.image, net.pixel]), "concat: input: got 1x1x4, expected the first one's size, 8x6"),
    (|net| net.builder.shuffle(net.image, 2), "shuffle: groups: got 2, expected a divisor of the 3 channels"),
    (|net| net.builder.shuffle(net.image, 0), "shuffle: groups: got 0, expected a divisor of the 3 channels"),
];

/// `text` with what its names stand for.
pub fn expanded(text: &str) -> String {
    let names = [("NAME", NAME), ("FOREIGN", FOREIGN), ("SHAPE", SHAPE), ("SIZES", SIZES), ("NONE", NONE)];
    names.iter().fold(text.to_string(), |text, (name, meaning)| text.replace(&format!("{{{name}}}"), meaning))
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
    // An input may pass through.
    assert_eq!(build(|net| vec![net.pixel, net.image]), "no error");
    let twice = "image: output: got the tensor twice, expected each output once";
    assert_eq!(build(|net| vec![net.image, net.image]), twice);
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
pub fn graph() -> Graph {
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
