//! The other uses of MobileNet V2 (Sandler et al. 2018, section 6): SSDLite on features at two strides, and Mobile
//! DeepLabv3 on the network made dense by dilation.
#![cfg(all(feature = "rayon", feature = "reference"))]

mod common;
#[path = "../examples/common/segmenter.rs"]
mod segmenter;

use common::{assert_same, every_isa, exact, values};
use segmenter::{deeplab_v3, mobilenet_v2};
use sepconv::graph::{Builder, Graph, Layer, Node, Tensor};
use sepconv::models::{Architecture, Config, Flavor, Network};
use sepconv::parallel::{Parallel, Rayon, Serial};
use sepconv::weights::HashWeights;
use sepconv::{Batch, BatchMut, Clamp, Fusion, Isa, Layout, Options, Plan, Result, Shape, View, ViewMut, Window};

/// Multiplier of the channels.
const WIDTH: f64 = 0.35;

/// An image in memory.
struct Image {
    layout: Layout,
    data: Vec<f32>,
}

impl Image {
    fn hashed(height: usize, width: usize) -> Image {
        Image { layout: Layout::tight(height, width, 3), data: HashWeights::image(height, width, 3).unwrap() }
    }

    /// Room for an image whose pixels lie apart, as in a plan's own memory.
    fn room(shape: Shape) -> Image {
        let layout = Layout::spaced(shape.height, shape.width, shape.channels);
        Image { layout, data: vec![f32::NAN; layout.extent().unwrap()] }
    }

    fn view(&self) -> View<'_> {
        View::new(&self.data, self.layout).unwrap()
    }
}

/// Every output of `plan`; the views of another plan's outputs are inputs as good as any.
fn run(plan: &Plan, parallel: &dyn Parallel, inputs: &[Image]) -> Vec<Image> {
    let given: Vec<Batch<'_>> = inputs.iter().map(|image| image.view().into()).collect();
    let mut images: Vec<Image> = plan.graph().outputs().map(|(_, shape)| Image::room(shape)).collect();
    let mut taken: Vec<BatchMut<'_>> =
        images.iter_mut().map(|image| ViewMut::new(&mut image.data, image.layout).unwrap().into()).collect();
    plan.run(parallel, &mut plan.workspace().unwrap(), &given[..], &mut taken[..]).unwrap();
    drop(taken);
    images
}

/// The outputs of `graph`, tight. They are numbers, and not all the same one.
fn computed(graph: &Graph, parallel: &dyn Parallel, options: Options, inputs: &[Image]) -> Vec<Vec<f32>> {
    let plan = Plan::new(graph, &HashWeights, parallel, options).unwrap();
    let outputs: Vec<Vec<f32>> = run(&plan, parallel, inputs).iter().map(|image| values(image.view())).collect();
    for output in &outputs {
        assert!(output.iter().all(|value| value.is_finite()) && output.iter().any(|value| *value != output[0]));
    }
    outputs
}

/// The ISAs that promise the reference's bits.
fn exact_isas() -> impl Iterator<Item = Isa> {
    every_isa().into_iter().map(|kernels| kernels.isa()).filter(|&isa| exact(isa))
}

/// Calls `check` with every ISA that promises the reference's bits, on one thread and on two.
fn on_each(mut check: impl FnMut(&dyn Parallel, Options, &str)) {
    let two = Rayon::new(rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap());
    for isa in exact_isas() {
        for parallel in [&Serial as &dyn Parallel, &two] {
            let options = Options { isa: Some(isa), ..Options::default() };
            check(parallel, options, &format!("{isa}, {} threads", parallel.threads()));
        }
    }
}

/// Anchors a pixel of each of SSDLite's maps.
const ANCHORS: [usize; 6] = [3, 6, 6, 6, 6, 6];
/// What an anchor predicts: a score a class, and a box.
const PREDICTIONS: usize = 21 + 4;

/// SSDLite on two features: four smaller maps after them, and on each map a separable prediction layer.
fn ssdlite(net: &mut Builder, features: [Tensor; 2]) -> Result<Vec<Tensor>> {
    let relu6 = |name: &str| Layer::named(name).norm(format!("{name}.bn"), 1e-3).clamp(Clamp::RELU6);
    let window = Window::square(3);
    let (mut maps, [_, mut x]) = (features.to_vec(), features);
    for (index, channels) in [512, 256, 256, 128].into_iter().enumerate() {
        let name = |part: &str| format!("extra{index}.{part}");
        x = net.pointwise(&name("squeeze"), x, channels / 2, relu6(&name("squeeze")))?;
        x = net.depthwise(&name("dw"), x, window.stride(2).symmetric(), relu6(&name("dw")))?;
        x = net.pointwise(&name("pw"), x, channels, relu6(&name("pw")))?;
        maps.push(x);
    }
    let predict = |(index, (map, anchors)): (usize, (Tensor, usize))| {
        let name = |part: &str| format!("predict{index}.{part}");
        let x = net.depthwise(&name("dw"), map, window.symmetric(), relu6(&name("dw")))?;
        net.pointwise(&name("pw"), x, anchors * PREDICTIONS, Layer::named(name("pw")).bias())
    };
    maps.into_iter().zip(ANCHORS).enumerate().map(predict).collect()
}

/// The head is a graph of its own, which reads what the plan of the features wrote; one graph of both has the same bits.
#[test]
fn ssdlite_reads_features_at_two_strides() {
    let config = Config { width: WIDTH, resolution: 160, ..Config::of(Architecture::MobilenetV2) };
    let network = Network::new(Architecture::MobilenetV2, &config).unwrap();
    let features = network.graph().features(["block13_expand", "conv_last"]).unwrap();
    let shapes: Vec<Shape> = features.outputs().map(|(_, shape)| shape).collect();
    assert_eq!(shapes, [Shape::new(10, 10, 6 * 32), Shape::new(5, 5, 1280)], "output strides of 16 and 32");

    let mut net = Builder::new();
    let inputs = [net.input("block13_expand", shapes[0]).unwrap(), net.input("conv_last", shapes[1]).unwrap()];
    let predictions = ssdlite(&mut net, inputs).unwrap();
    let head = net.build(&predictions).unwrap();
    let sizes = [10, 5, 3, 2, 1, 1];
    let expected: Vec<Shape> =
        sizes.iter().zip(ANCHORS).map(|(&size, anchors)| Shape::new(size, size, anchors * PREDICTIONS)).collect();
    assert_eq!(head.outputs().map(|(_, shape)| shape).collect::<Vec<_>>(), expected);

    let mut net = Builder::new();
    let image = net.input("image", Shape::new(160, 160, 3)).unwrap();
    let backbone = mobilenet_v2(&mut net, image, WIDTH, 32).unwrap();
    let layer = Layer::named("features.18.0").norm("features.18.1", 1e-5).clamp(Clamp::RELU6);
    let last = net.pointwise("conv_last", backbone.last, 1280, layer).unwrap();
    let predictions = ssdlite(&mut net, [backbone.expansions[13], last]).unwrap();
    let whole = net.build(&predictions).unwrap();

    let image = [Image::hashed(160, 160)];
    let wanted = features.reference(&HashWeights, &[&image[0].data]).unwrap().outputs;
    let wanted = head.reference(&HashWeights, &[&wanted[0], &wanted[1]]).unwrap().outputs;
    let same = |got: &[Vec<f32>], context: &str| {
        assert_eq!(got.len(), wanted.len());
        for (index, (got, want)) in got.iter().zip(&wanted).enumerate() {
            assert_same(got, want, None, &format!("map {index}, {context}"));
        }
    };
    same(&whole.reference(&HashWeights, &[&image[0].data]).unwrap().outputs, "one graph by the reference");
    on_each(|parallel, options, context| {
        let plan = Plan::new(&features, &HashWeights, parallel, options).unwrap();
        same(&computed(&head, parallel, options, &run(&plan, parallel, &image)), context);
        same(&computed(&whole, parallel, options, &image), &format!("one graph, {context}"));
    });
}

/// MobileNet V2's last block at an output stride.
fn backbone(height: usize, width: usize, output_stride: usize) -> Graph {
    let mut net = Builder::new();
    let image = net.input("image", Shape::new(height, width, 3)).unwrap();
    let features = mobilenet_v2(&mut net, image, WIDTH, output_stride).unwrap();
    net.build(&[features.last]).unwrap()
}

/// The only output of `graph`: its shape and elements.
fn features(graph: &Graph, isa: Isa, height: usize, width: usize) -> (Shape, Vec<f32>) {
    let options = Options { isa: Some(isa), ..Options::default() };
    let output = computed(graph, &Serial, options, &[Image::hashed(height, width)]).remove(0);
    (graph.outputs().next().unwrap().1, output)
}

/// Every `step`th row and column, from the first on.
fn sampled((shape, values): &(Shape, Vec<f32>), step: usize) -> Vec<f32> {
    let pixels = (0..shape.height).step_by(step).flat_map(|y| (0..shape.width).step_by(step).map(move |x| (y, x)));
    pixels.flat_map(|(y, x)| values[(y * shape.width + x) * shape.channels..][..shape.channels].to_vec()).collect()
}

#[test]
fn strides_beyond_the_output_stride_are_dilations() {
    let moves = |output_stride| -> Vec<(usize, usize)> {
        let graph = backbone(97, 161, output_stride);
        let windows = graph.nodes().iter().filter(|node| node.kind() == "depthwise").map(Node::window);
        windows.map(|window| (window.stride.0, window.dilation.0)).collect()
    };
    let (one, two) = ((1, 1), (2, 1));
    let first = [one, two, one, two, one, one];
    assert_eq!(moves(32), [&first[..], &[two], &[one; 6], &[two], &[one; 3]].concat());
    assert_eq!(moves(16), [&first[..], &[two], &[one; 6], &[one], &[(1, 2); 3]].concat());
    assert_eq!(moves(8), [&first[..], &[one], &[(1, 2); 6], &[(1, 2)], &[(1, 4); 3]].concat());
}

/// With symmetric padding windows have their centres at the pixels that the stride keeps, and what is missing around the
/// image is the same: all pixels are equal, of an image of any size.
#[test]
fn dilation_is_the_strided_network_made_dense() {
    for isa in exact_isas() {
        for (height, width) in [(97, 161), (64, 96), (50, 71), (1, 40)] {
            let strided = features(&backbone(height, width, 32), isa, height, width);
            assert_eq!((strided.0.height, strided.0.width), (height.div_ceil(32), width.div_ceil(32)));
            for output_stride in [8, 16] {
                let dense = features(&backbone(height, width, output_stride), isa, height, width);
                let size = (height.div_ceil(output_stride), width.div_ceil(output_stride));
                assert_eq!((dense.0.height, dense.0.width), size);
                let context = format!("{isa}, {height}x{width} at {output_stride}");
                assert_same(&sampled(&dense, 32 / output_stride), &strided.1, None, &context);
            }
        }
    }
}

/// The network of the crate is the one that is made dense: with symmetric padding at any size, with TensorFlow's SAME
/// padding at one pixel more than a multiple of 32, where each stride finds an odd size and pads as symmetric padding does.
#[test]
fn same_padding_is_symmetric_at_one_pixel_more_than_a_multiple_of_32() {
    const NAME: Architecture = Architecture::MobilenetV2;
    let of = |flavor, resolution| {
        let config = Config { width: WIDTH, resolution, flavor, epsilon: Some(1e-5), ..Config::of(NAME) };
        Network::new(NAME, &config).unwrap().graph().features(["block16_project"]).unwrap()
    };
    for resolution in 33..=97 {
        let windows = |flavor| of(flavor, resolution).nodes().iter().map(Node::window).collect::<Vec<_>>();
        assert_eq!(windows(Flavor::Tf) == windows(Flavor::Torch), resolution % 32 == 1, "{resolution}");
    }
    let cases = [(Flavor::Torch, 96, true), (Flavor::Torch, 97, true), (Flavor::Tf, 97, true), (Flavor::Tf, 96, false)];
    for (isa, (flavor, resolution, equal)) in exact_isas().flat_map(|isa| cases.map(|case| (isa, case))) {
        let network = features(&of(flavor, resolution), isa, resolution, resolution);
        let dense = features(&backbone(resolution, resolution, 8), isa, resolution, resolution);
        let context = format!("{isa}, {flavor} at {resolution}");
        match equal {
            true => assert_same(&sampled(&dense, 4), &network.1, None, &context),
            false => assert_ne!(sampled(&dense, 4), network.1, "{context}"),
        }
    }
}

#[test]
fn deeplab_v3_has_the_references_bits() {
    let image = [Image::hashed(97, 161)];
    for (output_stride, (height, width)) in [(8, (13, 21)), (16, (7, 11))] {
        let graph = deeplab_v3(Shape::new(97, 161, 3), WIDTH, output_stride, 21).unwrap();
        assert_eq!(graph.outputs().map(|(_, shape)| shape).collect::<Vec<_>>(), [Shape::new(height, width, 21)]);
        let want = graph.reference(&HashWeights, &[&image[0].data]).unwrap();
        on_each(|parallel, options, context| {
            for (fusion, low_memory) in [(Fusion::Auto, false), (Fusion::Strips(2), false), (Fusion::Off, true)] {
                let options = Options { fusion, low_memory, ..options };
                let got = computed(&graph, parallel, options, &image).remove(0);
                let context = format!("{output_stride}, {context}, {fusion:?}, {low_memory}");
                assert_same(&got, &want.outputs[0], None, &context);
            }
        });

        // The mean is the same at every pixel, and that of global pooling but for the order of its sum.
        let node = |name: &str| &want.nodes[graph.nodes().iter().position(|node| node.name() == name).unwrap()];
        let (last, mean) = (node("block16_project"), node("mean"));
        let channels = last.len() / (height * width);
        for pixel in mean.chunks_exact(channels) {
            assert_same(pixel, &mean[..channels], None, "the mean at every pixel");
        }
        for (channel, &got) in mean[..channels].iter().enumerate() {
            let all = || last.iter().skip(channel).step_by(channels).copied().map(f64::from);
            let pixels = (height * width) as f64;
            let (exact, size) = (all().sum::<f64>() / pixels, all().map(f64::abs).sum::<f64>() / pixels);
            let bound = (height + width + 2) as f64 * f64::from(f32::EPSILON) * size;
            assert!((f64::from(got) - exact).abs() <= bound, "channel {channel}: {got}, expected {exact}");
        }
    }
}
