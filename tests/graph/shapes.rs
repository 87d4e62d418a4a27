//! What reads what.

use sepconv::graph::{Builder, Layer};
use sepconv::weights::HashWeights;
use sepconv::{Clamp, Padding, Shape, Window, reference};

use super::common::*;
use super::{check, images, layer, two_inputs, wanted};

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
    let got = graph.reference(&HashWeights, &[a, b]).unwrap().nodes;
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
        let above = Padding { top: 1, left: 1, right: 1, bottom: 0 };
        let most = net.max_pool("most", x, Window::new(2, 3).strides(1, 2).padding(above)).unwrap();
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
