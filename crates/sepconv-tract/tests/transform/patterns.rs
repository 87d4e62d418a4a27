//! What the transform takes of small ONNX models, each held to tract's results.

use sepconv_tract::{Sepconv, Subgraph};
use tract_onnx::tract_core::transform::ModelTransform;

use crate::model::{Float, Int, Ints, Net};

#[test]
fn convolutions_of_every_kind() {
    let mut net = Net::new();
    let x = net.input(&[1, 3, 17, 19]);
    let x = net.conv(&x, [8, 3, 3, 3], 2, 1, 1);
    let x = net.conv(&x, [8, 1, 3, 3], 1, 1, 8);
    let x = net.conv(&x, [12, 8, 1, 1], 1, 0, 1);
    let x = net.conv(&x, [6, 4, 1, 1], 1, 0, 3);
    let x = net.conv(&x, [4, 6, 1, 1], 2, 0, 1);
    let x = net.conv(&x, [6, 2, 1, 1], 2, 0, 2);
    let x = net.conv_with(&x, [8, 6, 2, 3], &[("kernel_shape", Ints(&[2, 3])), ("pads", Ints(&[0, 1, 1, 1]))]);
    // tract strides no later than it must, so the convolution before does.
    net.transformed(&[&x]).assert_one(&[
        "conv",
        "depthwise",
        "pointwise",
        "pointwise",
        "pointwise",
        "pointwise",
        "conv",
    ]);
}

#[test]
fn convolutions_in_groups_of_every_second_pixel() {
    let mut net = Net::new();
    let x = net.input(&[1, 6, 17, 19]);
    let x = net.conv(&x, [4, 3, 1, 1], 2, 0, 2);
    net.transformed(&[&x]).assert_one(&["max_pool", "pointwise"]);
}

#[test]
fn a_depthwise_convolution_of_single_pixels_is_a_factor() {
    let mut net = Net::new();
    let x = net.input(&[1, 3, 9, 9]);
    let x = net.conv(&x, [8, 3, 3, 3], 1, 1, 1);
    let y = net.conv(&x, [8, 1, 3, 3], 2, 1, 8);
    let x = net.conv(&x, [8, 1, 1, 1], 2, 0, 8);
    let x = net.node("Add", &[&x, &y], &[]);
    net.transformed(&[&x]).assert_one(&["conv", "max_pool", "leaky_norm", "depthwise", "add"]);
}

#[test]
fn batches() {
    let mut net = Net::new();
    let x = net.input(&[3, 4, 8, 8]);
    let x = net.conv(&x, [8, 4, 1, 1], 1, 0, 1);
    let x = net.conv(&x, [8, 1, 3, 3], 1, 1, 8);
    let x = net.node("GlobalAveragePool", &[&x], &[]);
    let x = net.node("Flatten", &[&x], &[]);
    let (weights, bias) = (net.random(&[5, 8]), net.random(&[5]));
    let x = net.node("Gemm", &[&x, &weights, &bias], &[("transB", Int(1))]);
    net.transformed(&[&x]).assert_one(&["pointwise", "depthwise", "global_average_pool", "fully_connected"]);
}

#[test]
fn clamps_become_part_of_what_they_clamp() {
    let mut net = Net::new();
    let x = net.input(&[1, 3, 9, 9]);
    let x = net.conv(&x, [8, 3, 3, 3], 1, 1, 1);
    let x = net.node("Relu", &[&x], &[]);
    let x = net.conv(&x, [8, 1, 3, 3], 1, 1, 8);
    let x = net.clip(&x, -0.5, 0.7);
    let x = net.conv(&x, [4, 8, 1, 1], 1, 0, 1);
    let most = net.constant(&[], &[0.6]);
    // The constant first.
    let x = net.node("Min", &[&most, &x], &[]);
    let y = net.conv(&x, [4, 4, 1, 1], 1, 0, 1);
    let x = net.node("Add", &[&x, &y], &[]);
    let x = net.node("Relu", &[&x], &[]);
    net.transformed(&[&x]).assert_one(&["conv", "depthwise", "pointwise", "pointwise", "add"]);
}

#[test]
fn batch_normalisation_is_folded() {
    let mut net = Net::new();
    let x = net.input(&[1, 3, 9, 9]);
    let x = net.conv(&x, [8, 3, 3, 3], 1, 1, 1);
    let x = net.norm(&x, 8);
    let x = net.node("Relu", &[&x], &[]);
    let x = net.conv(&x, [8, 1, 3, 3], 1, 1, 8);
    let x = net.norm(&x, 8);
    let x = net.conv(&x, [6, 8, 1, 1], 1, 0, 1);
    let x = net.norm(&x, 6);
    net.transformed(&[&x]).assert_one(&["conv", "depthwise", "pointwise"]);
}

#[test]
fn batch_normalisation_of_what_others_read_too_is_an_operator() {
    let mut net = Net::new();
    let x = net.input(&[1, 3, 9, 9]);
    let x = net.conv(&x, [8, 3, 3, 3], 1, 1, 1);
    let y = net.norm(&x, 8);
    let y = net.node("LeakyRelu", &[&y], &[("alpha", Float(0.1))]);
    let y = net.conv(&y, [8, 1, 3, 3], 1, 1, 8);
    let x = net.node("Add", &[&x, &y], &[]);
    net.transformed(&[&x]).assert_one(&["conv", "leaky_norm", "leaky_norm", "depthwise", "add"]);
}

#[test]
fn pools() {
    let mut net = Net::new();
    let x = net.input(&[1, 3, 30, 31]);
    let x = net.conv(&x, [6, 3, 3, 3], 1, 1, 1);
    let three = ("kernel_shape", Ints(&[3, 3]));
    let two = ("strides", Ints(&[2, 2]));
    let x = net.node("MaxPool", &[&x], &[three.clone(), two.clone(), ("ceil_mode", Int(1))]);
    let x = net.node("MaxPool", &[&x], &[three.clone(), ("pads", Ints(&[1, 1, 1, 1]))]);
    let x = net.node("AveragePool", &[&x], &[three.clone(), ("pads", Ints(&[1, 1, 1, 1]))]);
    let padded = [three.clone(), two.clone(), ("pads", Ints(&[1, 1, 1, 1])), ("count_include_pad", Int(1))];
    let x = net.node("AveragePool", &[&x], &padded);
    let x = net.node("AveragePool", &[&x], &[three, two, ("ceil_mode", Int(1))]);
    let x = net.node("GlobalMaxPool", &[&x], &[]);
    let kinds = ["conv", "max_pool", "max_pool", "average_pool", "average_pool", "average_pool", "max_pool"];
    net.transformed(&[&x]).assert_one(&kinds);
}

#[test]
fn concatenations_slices_splits_and_shuffles_are_no_operators() {
    let mut net = Net::new();
    let x = net.input(&[1, 3, 8, 8]);
    let x = net.conv(&x, [12, 3, 3, 3], 1, 1, 1);
    let [a, b] = [(0, 6), (6, 12)].map(|(start, end)| net.slice(&x, 1, start, end));
    let b = net.conv(&b, [6, 6, 1, 1], 1, 0, 1);
    let x = net.node("Concat", &[&a, &b], &[("axis", Int(1))]);
    let x = net.shuffle(&x, [1, 12, 8, 8], 3);
    let parts = net.integers(&[4, 8]);
    let parts = net.node_of("Split", &[&x, &parts], &[("axis", Int(1))], 2);
    let a = net.conv(&parts[0], [2, 4, 1, 1], 1, 0, 1);
    let b = net.conv(&parts[1], [2, 8, 1, 1], 1, 0, 1);
    let x = net.node("Concat", &[&a, &b], &[("axis", Int(1))]);
    let x = net.conv(&x, [4, 4, 3, 3], 1, 1, 1);
    net.transformed(&[&x]).assert_one(&["conv", "pointwise", "pointwise", "pointwise", "conv"]);
}

#[test]
fn shuffles_of_a_batch() {
    let mut net = Net::new();
    let x = net.input(&[2, 3, 8, 8]);
    let x = net.conv(&x, [12, 3, 3, 3], 1, 1, 1);
    let x = net.shuffle(&x, [2, 12, 8, 8], 4);
    let x = net.conv(&x, [12, 1, 3, 3], 1, 1, 12);
    net.transformed(&[&x]).assert_one(&["conv", "depthwise"]);
}

#[test]
fn halves_by_a_reshape_of_the_channels() {
    // Every second channel goes another way.
    let mut net = Net::new();
    let x = net.input(&[1, 3, 6, 6]);
    let x = net.conv(&x, [8, 3, 3, 3], 1, 1, 1);
    let x = net.reshape(&x, &[4, 2, 36]);
    let x = net.node("Transpose", &[&x], &[("perm", Ints(&[1, 0, 2]))]);
    let x = net.reshape(&x, &[2, 1, 4, 6, 6]);
    let [a, b] = [0, 1].map(|half| {
        let half = net.slice(&x, 0, half, half + 1);
        net.reshape(&half, &[1, 4, 6, 6])
    });
    let a = net.conv(&a, [4, 4, 3, 3], 1, 1, 1);
    let x = net.node("Concat", &[&a, &b], &[("axis", Int(1))]);
    let x = net.conv(&x, [4, 8, 1, 1], 1, 0, 1);
    net.transformed(&[&x]).assert_one(&["conv", "conv", "pointwise"]);
}

#[test]
fn classifiers() {
    let mut net = Net::new();
    let x = net.input(&[1, 3, 8, 8]);
    let x = net.conv(&x, [6, 3, 3, 3], 2, 1, 1);
    let x = net.node("Flatten", &[&x], &[]);
    let (weights, bias) = (net.random(&[6 * 16, 5]), net.random(&[5]));
    let x = net.node("MatMul", &[&x, &weights], &[]);
    let x = net.node("Add", &[&x, &bias], &[]);
    let x = net.node("Relu", &[&x], &[]);
    let weights = net.random(&[5, 4]);
    let x = net.node("MatMul", &[&x, &weights], &[]);
    net.transformed(&[&x]).assert_one(&["conv", "fully_connected", "fully_connected"]);
}

#[test]
fn means_over_pixels() {
    let mut net = Net::new();
    let x = net.input(&[2, 3, 8, 8]);
    let x = net.conv(&x, [6, 3, 3, 3], 2, 1, 1);
    let x = net.node("ReduceMean", &[&x], &[("axes", Ints(&[2, 3])), ("keepdims", Int(0))]);
    net.transformed(&[&x]).assert_one(&["conv", "global_average_pool"]);
}

#[test]
fn images_that_come_and_go_pixel_by_pixel() {
    let mut net = Net::new();
    let x = net.input(&[1, 8, 9, 3]);
    let x = net.node("Transpose", &[&x], &[("perm", Ints(&[0, 3, 1, 2]))]);
    let x = net.conv(&x, [6, 3, 3, 3], 1, 1, 1);
    let x = net.node("Transpose", &[&x], &[("perm", Ints(&[0, 2, 3, 1]))]);
    net.transformed(&[&x]).assert_one(&["conv"]);
}

#[test]
fn what_comes_before_the_first_convolution() {
    let mut net = Net::new();
    let x = net.input(&[1, 3, 8, 8]);
    let (mean, deviation) = (net.random(&[1, 3, 1, 1]), net.constant(&[1, 3, 1, 1], &[0.25, 0.5, 2.0]));
    let x = net.node("Sub", &[&x, &mean], &[]);
    let x = net.node("Div", &[&x, &deviation], &[]);
    let x = net.node("Relu", &[&x], &[]);
    let x = net.conv(&x, [6, 3, 3, 3], 1, 1, 1);
    net.transformed(&[&x]).assert_one(&["leaky_norm", "conv"]);
}

#[test]
fn an_operator_that_sepconv_lacks_in_the_middle() {
    let mut net = Net::new();
    let x = net.input(&[1, 3, 16, 16]);
    let x = net.conv(&x, [8, 3, 3, 3], 2, 1, 1);
    let x = net.node("Relu", &[&x], &[]);
    let x = net.node("HardSwish", &[&x], &[]);
    let x = net.conv(&x, [16, 8, 1, 1], 1, 0, 1);
    let x = net.conv(&x, [16, 1, 3, 3], 1, 1, 16);
    let transformed = net.transformed(&[&x]);
    assert_eq!(transformed.subgraphs().len(), 2, "{}", transformed.model);
    assert_eq!(transformed.left(), ["HardSwish"]);
}

#[test]
fn a_branch_that_leaves_and_comes_back() {
    // What is read on both sides of the foreign operator is no circle.
    let mut net = Net::new();
    let x = net.input(&[1, 3, 16, 16]);
    let x = net.conv(&x, [8, 3, 3, 3], 2, 1, 1);
    let y = net.node("Sigmoid", &[&x], &[]);
    let y = net.conv(&y, [8, 8, 1, 1], 1, 0, 1);
    let x = net.conv(&x, [8, 1, 3, 3], 1, 1, 8);
    let sum = net.node("Add", &[&x, &y], &[]);
    let transformed = net.transformed(&[&sum, &x]);
    assert_eq!((transformed.subgraphs().len(), &transformed.left()[..]), (2, &["Sigmoid".to_owned()][..]));
}

#[test]
fn squeeze_and_excitation_stays_partly() {
    let mut net = Net::new();
    let x = net.input(&[1, 3, 16, 16]);
    let x = net.conv(&x, [8, 3, 3, 3], 2, 1, 1);
    let y = net.node("GlobalAveragePool", &[&x], &[]);
    let y = net.conv(&y, [4, 8, 1, 1], 1, 0, 1);
    let y = net.node("Relu", &[&y], &[]);
    let y = net.conv(&y, [8, 4, 1, 1], 1, 0, 1);
    let y = net.node("Sigmoid", &[&y], &[]);
    let x = net.node("Mul", &[&x, &y], &[]);
    let x = net.conv(&x, [8, 8, 1, 1], 1, 0, 1);
    let transformed = net.transformed(&[&x]);
    assert_eq!(transformed.subgraphs().len(), 2, "{}", transformed.model);
}

#[test]
fn convolutions_that_sepconv_lacks_stay() {
    let mut net = Net::new();
    let x = net.input(&[1, 4, 16, 16]);
    let x = net.conv(&x, [8, 4, 3, 3], 1, 1, 1);
    // Dense and dilated, in groups, depthwise with a large window.
    let dilated = [("kernel_shape", Ints(&[3, 3])), ("dilations", Ints(&[2, 2]))];
    let x = net.conv_with(&x, [8, 8, 3, 3], &dilated);
    let x = net.conv(&x, [8, 4, 3, 3], 1, 1, 2);
    let x = net.conv(&x, [8, 1, 9, 9], 1, 4, 8);
    let x = net.conv(&x, [8, 1, 3, 3], 1, 1, 8);
    let transformed = net.transformed(&[&x]);
    assert_eq!(
        (transformed.subgraphs().len(), &transformed.left()[..]),
        (2, &["Conv", "Conv", "Conv"].map(str::to_owned)[..])
    );
}

#[test]
fn shapes_that_are_not_known_stay() {
    let mut net = Net::new();
    let x = net.input(&[-1, 3, 16, 16]);
    let x = net.conv(&x, [8, 3, 3, 3], 2, 1, 1);
    let mut model = net.model(&[&x]);
    Sepconv.transform(&mut model).unwrap();
    assert!(model.nodes.iter().all(|node| !node.op_is::<Subgraph>()));
}

#[test]
fn nothing_is_taken_of_a_model_without_images() {
    let mut net = Net::new();
    let x = net.input(&[4, 8]);
    let weights = net.random(&[8, 5]);
    let x = net.node("MatMul", &[&x, &weights], &[]);
    let x = net.node("Relu", &[&x], &[]);
    let transformed = net.transformed(&[&x]);
    assert_eq!(transformed.subgraphs().len(), 0);
}
