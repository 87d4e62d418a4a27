//! What a graph and its plans can be asked for.

use std::borrow::Cow;

use sepconv::graph::{Builder, Flatten, Layer, Node, Tensor, Tensors};
use sepconv::parallel::Serial;
use sepconv::weights::{HashWeights, Weights};
use sepconv::{
    Batch, BatchMut, Bytes, Clamp, Fusion, Inputs, Isa, Options, Plan, Result, Shape, View, ViewMut, Window, Workspace,
};

use super::common::*;
use super::{Backwards, CANARY, check, check_with, images, residual, run, two_inputs, wanted};

#[test]
fn features_are_the_outputs_of_their_nodes() {
    let graph = residual();
    check(&graph);
    let image = images(&graph, 0);
    let nodes = graph.reference(&HashWeights, &[&image[0]]).unwrap().nodes;
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
        let weights = |node: &Node| node.weight_shape().map_or(0, |shape| shape.iter().product());
        let outputs = |node: &Node| node.parameters().map_or(0, |_| 2 * node.output().channels);
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

/// Images that are too many for the caches go through the network some at a time: with the bits of each by itself, in every form
/// that inputs and outputs have.
#[test]
fn a_large_batch_goes_in_parts() {
    let shape = Shape::new(256, 256, 8);
    let mut net = Builder::new();
    let image = net.input("image", shape).unwrap();
    let narrow = net.pointwise("narrow", image, 4, Layer::named("narrow")).unwrap();
    let means = net.global_average_pool("means", narrow).unwrap();
    let logits = net.pointwise("logits", means, 5, Layer::named("logits")).unwrap();
    let graph = net.build(&[narrow, logits]).unwrap();
    let bytes: Vec<u8> = (0..6 * shape.len()).map(|at| (at * at % 251) as u8).collect();
    let (scale, offset) = ([0.5; 8], [-1.0; 8]);
    let images: Vec<f32> = bytes.iter().map(|&byte| f32::from(byte) * 0.5 - 1.0).collect();
    let (narrow, logits) = (Shape { channels: 4, ..shape }, Shape::new(1, 1, 5));
    let built = |batch, staged| {
        let options = Options { batch, staged, ..Options::default() };
        Plan::new(&graph, &HashWeights, &Backwards(2), options).unwrap()
    };
    let run = |plan: &Plan, inputs: Inputs<'_>, planes: bool| {
        let batch = plan.batch();
        let (mut features, mut classes) = (vec![f32::NAN; batch * narrow.len()], vec![f32::NAN; batch * logits.len()]);
        let form = if planes { BatchMut::planes } else { BatchMut::tight };
        let outputs = &mut [form(&mut features, batch, narrow).unwrap(), form(&mut classes, batch, logits).unwrap()];
        plan.run(&Backwards(2), &mut plan.workspace().unwrap(), inputs, &mut *outputs).unwrap();
        (features, classes)
    };
    let alone = built(1, false);
    let each: Vec<_> = images.chunks(shape.len()).map(|image| run(&alone, image.into(), false)).collect();
    for (batch, together) in [(6, 2), (5, 1), (3, 1), (2, 2)] {
        let plan = built(batch, false);
        assert_eq!((plan.batch(), plan.images_together()), (batch, together));
        assert_eq!(plan.workspace_len(), built(together, false).workspace_len());
        let input = &images[..batch * shape.len()];
        let (features, classes) = run(&plan, input.into(), false);
        let (of_features, of_classes) = (features.chunks(narrow.len()), classes.chunks(logits.len()));
        for ((features, classes), each) in of_features.zip(of_classes).zip(&each) {
            assert_eq!((features, classes), (&each.0[..], &each.1[..]), "{batch} images");
        }
        let staged = built(batch, true);
        assert_eq!(staged.images_together(), together);
        assert_eq!(run(&staged, input.into(), false), (features.clone(), classes.clone()));
        let of_bytes = Bytes { data: &bytes[..input.len()], scale: &scale, offset: &offset };
        assert_eq!(run(&staged, Inputs::Bytes(&[of_bytes]), false), (features.clone(), classes.clone()));
        let transposed = |images: &[f32], (rows, columns): (usize, usize)| -> Vec<f32> {
            let image = |image: &[f32]| -> Vec<f32> {
                (0..rows * columns).map(|at| image[at % rows * columns + at / rows]).collect()
            };
            images.chunks(rows * columns).flat_map(image).collect()
        };
        let planes = transposed(input, (shape.pixels(), shape.channels));
        let planes = Batch::planes(&planes, batch, shape).unwrap();
        let features = transposed(&features, (narrow.pixels(), narrow.channels));
        assert_eq!(run(&staged, Inputs::Batches(&[planes]), true), (features, classes));
    }
    // Images with gaps after pixels, rows and images.
    let got = super::run(&built(6, false), &Backwards(2), &[images], true);
    let [features, classes] = &got[..] else { panic!("two outputs") };
    for (at, each) in each.iter().enumerate() {
        assert_eq!(features[at * narrow.len()..][..narrow.len()], each.0);
        assert_eq!(classes[at * logits.len()..][..logits.len()], each.1);
    }
    // Who looks on sees all images of a node at once.
    let options = Options { batch: 6, observed: true, ..Options::default() };
    assert_eq!(Plan::new(&graph, &HashWeights, &Serial, options).unwrap().images_together(), 6);
}

/// Channels that are copied one by one, of rows of any length, with gaps after them and without.
#[test]
fn copies_have_every_pixel() {
    for width in [1, 31, 32, 33, 65] {
        let shape = Shape::new(3, width, 12);
        let mut net = Builder::new();
        let image = net.input("image", shape).unwrap();
        let shuffled = net.shuffle(image, 4).unwrap();
        let graph = net.build(&[shuffled]).unwrap();
        let plan = Plan::new(&graph, &HashWeights, &Serial, Options { batch: 2, ..Options::default() }).unwrap();
        assert_eq!(plan.images_together(), 2);
        let image: Vec<f32> = (0..2 * shape.len()).map(|value| value as f32).collect();
        let source = |at: usize| image[at / 12 * 12 + at % 12 % 4 * 3 + at % 12 / 4];
        let want: Vec<f32> = (0..image.len()).map(source).collect();
        for gaps in [false, true] {
            let got = run(&plan, &Serial, std::slice::from_ref(&image), gaps).remove(0);
            assert_eq!(got, want, "width {width}, gaps {gaps}");
        }
    }
    // Of two images in turn: what is written of the one does not end in the other.
    let mut net = Builder::new();
    let [a, b] = [("a", 9), ("b", 4)].map(|(name, channels)| net.input(name, Shape::new(2, 5, channels)).unwrap());
    let parts = [(b, 0..1), (a, 0..3), (b, 1..4), (a, 6..9), (a, 3..6)];
    let parts = parts.map(|(image, range)| net.slice(image, range).unwrap());
    let mixed = net.concat(&parts).unwrap();
    let plan = Plan::new(&net.build(&[mixed]).unwrap(), &HashWeights, &Serial, Options::default()).unwrap();
    let [a, b] =
        [(9, 1.0), (4, -1.0)].map(|(channels, sign)| (0..10 * channels).map(|at| sign * at as f32).collect::<Vec<_>>());
    let pixel = |at: usize| {
        let (a, b) = (&a[9 * at..9 * at + 9], &b[4 * at..4 * at + 4]);
        [&b[..1], &a[..3], &b[1..], &a[6..], &a[3..6]].concat()
    };
    let want: Vec<f32> = (0..10).flat_map(pixel).collect();
    assert_eq!(run(&plan, &Serial, &[a.clone(), b.clone()], false).remove(0), want);
    // A tensor counts once, however many runs of it are copied.
    let mut net = Builder::new();
    let image = net.input("image", Shape::new(32, 32, 64)).unwrap();
    let shuffled = net.shuffle(image, 2).unwrap();
    let graph = net.build(&[shuffled]).unwrap();
    let plan = Plan::new(&graph, &HashWeights, &Serial, Options { batch: 16, ..Options::default() }).unwrap();
    assert_eq!(plan.images_together(), 16);
}

/// What is written beside another tensor is also read by itself, from its middle on.
#[test]
fn parts_of_what_lies_side_by_side_are_read() {
    let mut net = Builder::new();
    let image = net.input("image", Shape::new(3, 4, 8)).unwrap();
    let parts =
        ["x", "y"].map(|name| net.depthwise(name, image, Window::square(3).symmetric(), Layer::named(name)).unwrap());
    let both = net.concat(&parts).unwrap();
    let middle = net.slice(parts[1], 3..6).unwrap();
    let outputs = [("both", both), ("middle", middle)];
    let outputs = outputs.map(|(name, x)| net.pointwise(name, x, 5, Layer::named(name)).unwrap());
    check(&net.build(&outputs).unwrap());
}

/// Between the windows of a pooling there may be rows that none reads.
#[test]
fn strips_leave_out_what_no_window_reads() {
    let mut net = Builder::new();
    let image = net.input("image", Shape::new(17, 5, 8)).unwrap();
    let x = net.depthwise("dw", image, Window::square(3).symmetric(), Layer::named("dw")).unwrap();
    let x = net.pointwise("pw", x, 8, Layer::named("pw")).unwrap();
    let x = net.max_pool("pool", x, Window::square(2).stride(3)).unwrap();
    let graph = net.build(&[x]).unwrap();
    let image = HashWeights::image(17, 5, 8).unwrap();
    let of = |fusion: Fusion| {
        let plan = Plan::new(&graph, &HashWeights, &Serial, Options { fusion, ..Options::default() }).unwrap();
        (plan.describe().len(), run(&plan, &Serial, std::slice::from_ref(&image), false))
    };
    let (steps, want) = of(Fusion::Off);
    assert_eq!(steps, 3);
    for rows in 1..=6 {
        assert_eq!(of(Fusion::Strips(rows)), (1, want.clone()), "strips of {rows}");
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

/// Bytes are the numbers that their scale and offset make of them, rounded once.
#[test]
fn bytes_are_scaled() {
    let graph = two_inputs();
    let mut numbers = Numbers(5);
    for batch in [1, 2] {
        let shapes: Vec<Shape> = graph.inputs().map(|(_, shape)| shape).collect();
        let data: Vec<Vec<u8>> =
            shapes.iter().map(|shape| (0..batch * shape.len()).map(|_| numbers.bits() as u8).collect()).collect();
        let factors: Vec<Vec<f32>> = shapes.iter().map(|shape| numbers.take(shape.channels, Kind::Floats)).collect();
        let offsets: Vec<Vec<f32>> = shapes.iter().map(|shape| numbers.take(shape.channels, Kind::Floats)).collect();
        let value = |input: usize, (at, &byte): (usize, &u8)| {
            let channel = at % shapes[input].channels;
            f32::from(byte).mul_add(factors[input][channel], offsets[input][channel])
        };
        let floats: Vec<Vec<f32>> =
            (0..2).map(|input| data[input].iter().enumerate().map(|byte| value(input, byte)).collect()).collect();
        for threads in [1, 3] {
            let (parallel, options) = (Backwards(threads), Options { batch, staged: true, ..Options::default() });
            let plan = Plan::new(&graph, &HashWeights, &parallel, options).unwrap();
            let want = run(&plan, &parallel, &floats, false);
            let mut got: Vec<Vec<f32>> = want.iter().map(|output| vec![f32::NAN; output.len()]).collect();
            let bytes: Vec<Bytes<'_>> = (0..2)
                .map(|input| Bytes { data: &data[input], scale: &factors[input], offset: &offsets[input] })
                .collect();
            let pairs = graph.outputs().zip(&mut got);
            let mut outputs: Vec<_> =
                pairs.map(|((_, shape), output)| BatchMut::tight(output, batch, shape).unwrap()).collect();
            plan.run(&parallel, &mut plan.workspace().unwrap(), &bytes[..], &mut outputs[..]).unwrap();
            drop(outputs);
            for (got, want) in got.iter().zip(&want) {
                assert_same(got, want, None, &format!("batch {batch}, {threads} threads"));
            }
        }
    }
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

/// Weights of a flattened image, channel by channel or pixel by pixel: the same layer.
#[test]
fn flattened_images_in_both_orders() {
    let shape = Shape::new(2, 3, 5);
    let given =
        |output: usize, y: usize, x: usize, channel: usize| (output * 31 + y * 17 + x * 7 + channel * 3) as f32 / 64.0;
    let graph = |order: Flatten| {
        let mut weights = Vec::new();
        for output in 0..4 {
            let places = (0..30).map(|at| match order {
                Flatten::ChannelsFirst => (at / 3 % 2, at % 3, at / 6),
                _ => (at / 15, at / 5 % 3, at % 5),
            });
            weights.extend(places.map(|(y, x, channel)| given(output, y, x, channel)));
        }
        let mut net = Builder::new();
        let image = net.input("image", shape).unwrap();
        // Also where the channels lie in another order than the network has them.
        let parts = net.split(image, &[3, 2]).unwrap();
        let image = net.concat(&[parts[1], parts[0]]).unwrap();
        let x = net.flattened("linear", image, order, 4, Layer::arrays(weights, vec![1.0, 2.0, 3.0, 4.0])).unwrap();
        net.build(&[x]).unwrap()
    };
    let (first, last) = (graph(Flatten::ChannelsFirst), graph(Flatten::ChannelsLast));
    assert_eq!(first.nodes()[0].weight_shape(), Some(vec![4, 30]));
    assert_eq!(wanted(&first, &Nothing, 0), wanted(&last, &Nothing, 0));
    check_with(&first, &Nothing);
    check_with(&last, &Nothing);
    // By hand, in whole numbers of sixty-fourths.
    let image: Vec<f32> = (0..30).map(|at| (at % 11) as f32).collect();
    let computed = first.reference(&Nothing, &[&image]).unwrap();
    for (output, &got) in computed.outputs[0].iter().enumerate() {
        let mut want = output as f32 + 1.0;
        for (y, x, channel) in (0..30).map(|at| (at / 15, at / 5 % 3, at % 5)) {
            want += given(output, y, x, channel) * image[(y * 3 + x) * 5 + (channel + 3) % 5];
        }
        assert_eq!(got, want, "output {output}");
    }
}

/// Groups that each take their channels in an order of their own: every channel has its weight.
#[test]
fn each_group_has_an_order() {
    let mut net = Builder::new();
    let image = net.input("image", Shape::new(1, 1, 8)).unwrap();
    let [third, first, second] = [2..4, 0..2, 4..8].map(|range| net.slice(image, range).unwrap());
    let mixed = net.concat(&[third, first, second]).unwrap();
    let weights = [1.0, 10.0, 100.0, 1000.0, 1.0, 10.0, 100.0, 1000.0];
    let x = net.grouped_pointwise("pw", mixed, 2, 2, Layer::arrays(weights, [0.0; 2])).unwrap();
    let plan = Plan::new(&net.build(&[x]).unwrap(), &(), &Serial, Options::default()).unwrap();
    let (mut workspace, mut output) = (plan.workspace().unwrap(), [0.0; 2]);
    let image = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0];
    plan.run(&Serial, &mut workspace, &image[..], &mut output[..]).unwrap();
    assert_eq!(output, [2143.0, 8765.0]);
}

/// Concatenations, slices and shuffles in front of every operator with weights: against sums of whole numbers in the order
/// that the channels have on paper, which know nothing of runs, permuted weights or folding.
#[test]
fn channels_in_another_order_by_hand() {
    let (size, shape) = (4, Shape::new(4, 4, 12));
    let number = |seed: usize, at: usize| ((at * 7 + seed * 13 + at / 5) % 7) as f32 - 3.0;
    let numbers = |seed: usize, count: usize| (0..count).map(|at| number(seed, at)).collect::<Vec<f32>>();
    let layer =
        |seed: usize, weights: usize, outputs: usize| Layer::arrays(numbers(seed, weights), numbers(seed + 1, outputs));
    let three = Window::square(3).symmetric();
    let mut net = Builder::new();
    let image = net.input("image", shape).unwrap();
    let first = net.pointwise("first", image, 6, layer(1, 6 * 12, 6)).unwrap();
    let parts = net.split(image, &[5, 7]).unwrap();
    let mixed = net.concat(&[parts[1], first, parts[0]]).unwrap();
    let mixed = net.shuffle(mixed, 3).unwrap();
    let filtered = net.depthwise("filter", mixed, three, layer(3, 18 * 9, 18)).unwrap();
    let filtered = net.shuffle(filtered, 2).unwrap();
    let grouped = net.grouped_pointwise("grouped", filtered, 9, 3, layer(5, 9 * 6, 9)).unwrap();
    let shuffled = net.shuffle(grouped, 3).unwrap();
    let halves = net.split(shuffled, &[4, 5]).unwrap();
    let swapped = net.concat(&[halves[1], halves[0]]).unwrap();
    let dense = net.conv("dense", swapped, 5, three, layer(7, 5 * 9 * 9, 5)).unwrap();
    let output = net.concat(&[dense, swapped]).unwrap();
    let graph = net.build(&[output]).unwrap();

    // Images as channels x pixels.
    type Planes = Vec<Vec<f32>>;
    let input = numbers(9, shape.len());
    let plane = |channel: usize| (0..size * size).map(|at| input[at * shape.channels + channel]).collect::<Vec<f32>>();
    let image: Planes = (0..shape.channels).map(plane).collect();
    let shuffle = |planes: &Planes, groups: usize| -> Planes {
        let rows = planes.len() / groups;
        (0..planes.len()).map(|at| planes[at % groups * rows + at / groups].clone()).collect()
    };
    // Each output from `inputs` planes, the first of them `from(output)`.
    let convolved = |planes: &Planes,
                     seed: usize,
                     outputs: usize,
                     inputs: usize,
                     reach: isize,
                     from: &dyn Fn(usize) -> usize|
     -> Planes {
        let taps = (2 * reach + 1) * (2 * reach + 1);
        let sum = |output: usize, pixel: usize| {
            let mut sum = number(seed + 1, output);
            for (tap, channel) in (0..taps).flat_map(|tap| (0..inputs).map(move |channel| (tap, channel))) {
                let y = (pixel / size) as isize + tap / (2 * reach + 1) - reach;
                let x = (pixel % size) as isize + tap % (2 * reach + 1) - reach;
                if (0..size as isize).contains(&y) && (0..size as isize).contains(&x) {
                    let weight = number(seed, (output * inputs + channel) * taps as usize + tap as usize);
                    sum += weight * planes[from(output) + channel][y as usize * size + x as usize];
                }
            }
            sum
        };
        (0..outputs).map(|output| (0..size * size).map(|pixel| sum(output, pixel)).collect()).collect()
    };
    let first = convolved(&image, 1, 6, 12, 0, &|_| 0);
    let mixed = shuffle(&[&image[5..], &first[..], &image[..5]].concat(), 3);
    let filtered = shuffle(&convolved(&mixed, 3, 18, 1, 1, &|output| output), 2);
    let grouped = convolved(&filtered, 5, 9, 6, 0, &|output| output / 3 * 6);
    let shuffled = shuffle(&grouped, 3);
    let swapped = [&shuffled[4..], &shuffled[..4]].concat();
    let wanted_planes = [&convolved(&swapped, 7, 5, 9, 1, &|_| 0)[..], &swapped].concat();
    let by_hand: Vec<f32> =
        (0..size * size).flat_map(|pixel| wanted_planes.iter().map(move |plane| plane[pixel])).collect();
    assert!(by_hand.iter().all(|value| value.abs() < 1e7), "sums of whole numbers that f32 holds");

    assert_eq!(graph.reference(&Nothing, &[&input]).unwrap().outputs[0], by_hand);
    let plan = Plan::new(&graph, &Nothing, &Serial, Options::default()).unwrap();
    let mut got = vec![f32::NAN; plan.output_len()];
    plan.run(&Serial, &mut plan.workspace().unwrap(), &input, &mut got).unwrap();
    assert_eq!(got, by_hand);
    check_with(&graph, &Nothing);
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
fn every_layer_has_its_kind_and_kernel() {
    let mut net = Builder::new();
    let x = net.input("image", Shape::new(8, 8, 3)).unwrap();
    let window = Window::square(3).symmetric();
    let x = net.conv("conv", x, 8, window, Layer::named("conv")).unwrap();
    let x = net.conv("conv of one pixel", x, 8, Window::PIXEL, Layer::named("pixel")).unwrap();
    let x = net.depthwise("depthwise", x, window, Layer::named("dw")).unwrap();
    let x = net.leaky_norm("leaky_norm", x, 0.1, Layer::without_weights().norm("norm", 1e-5)).unwrap();
    let x = net.max_pool("max_pool", x, window).unwrap();
    let x = net.average_pool("average_pool", x, window, true).unwrap();
    let x = net.clamp("clamp", x, Clamp::RELU6).unwrap();
    let flat = net.flattened("flattened", x, Flatten::ChannelsFirst, 5, Layer::named("flat")).unwrap();
    let mean = net.global_average_pool("global_average_pool", x).unwrap();
    let dense = net.fully_connected("fully_connected", mean, 5, Layer::named("fc")).unwrap();
    let sum = net.add("add", flat, dense, Clamp::NONE).unwrap();
    let options = Options { observed: true, ..Options::default() };
    let plan = Plan::new(&net.build(&[sum]).unwrap(), &HashWeights, &Serial, options).unwrap();
    let kernels = Isa::selected().unwrap().kernels().unwrap();
    for step in plan.describe() {
        let ([node], [kernel]) = (&step.nodes[..], &step.kernels[..]) else { panic!("one node is one step") };
        let (kind, named) = match node.name() {
            "conv" => ("conv", kernels.conv().iter().any(|conv| conv.name() == *kernel)),
            "conv of one pixel" => ("pointwise", kernels.pointwise().iter().any(|mix| mix.name() == *kernel)),
            "depthwise" => ("depthwise", kernels.depthwise().iter().any(|filter| filter.name() == *kernel)),
            "flattened" | "fully_connected" => {
                ("fully_connected", kernel.starts_with("pw") || kernel.starts_with("conv"))
            }
            name => (name, *kernel == name),
        };
        assert_eq!(node.kind(), kind, "{}", node.name());
        assert!(named, "{kind}: {kernel}");
    }
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
