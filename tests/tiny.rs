//! Every operation of the portable tier on shapes of a few elements, with gaps and borders: small enough for an
//! interpreter that sees what no test can see, such as a pointer past its array.
#![cfg(feature = "reference")]

mod common;

use common::{Kind, Numbers};
use sepconv::graph::{Builder, Flatten, Layer};
use sepconv::models::{Architecture, Config, Network};
use sepconv::ops::{
    Conv, ConvParams, Depthwise, DepthwiseParams, Epilogue, Pointwise, PointwiseParams, add, average_pool, clamp,
    global_average_pool, max_pool, softmax,
};
use sepconv::parallel::Serial;
use sepconv::weights::HashWeights;
use sepconv::{
    Batch, BatchMut, Clamp, Fusion, Isa, Kernels, Layout, Options, Padding, Plan, Shape, View, ViewMut, Window,
    reference,
};

fn kernels() -> &'static Kernels {
    Isa::Portable.kernels().unwrap()
}

/// Bits where the tier promises them, else nearly.
fn assert_same(got: &[f32], want: &[f32], context: &str) {
    if common::exact(Isa::Portable) {
        common::assert_same(got, want, None, context);
    } else {
        let near = |(got, want): (&f32, &f32)| (got - want).abs() <= 1e-5 * want.abs().max(1.0);
        assert!(got.len() == want.len() && got.iter().zip(want).all(near), "{context}: {got:?}, expected {want:?}");
    }
}

/// An image with `pixel` and `row` elements between its pixels and its rows, NaN in the gaps, and its values alone.
struct Image {
    layout: Layout,
    data: Vec<f32>,
    values: Vec<f32>,
}

impl Image {
    fn new(numbers: &mut Numbers, shape: impl Into<Shape>, pixel: usize, row: usize) -> Self {
        let Shape { height, width, channels } = shape.into();
        let pixel_stride = channels + pixel;
        let layout =
            Layout { pixel_stride, row_stride: width * pixel_stride + row, ..Layout::tight(height, width, channels) };
        let mut data = vec![f32::NAN; common::extent(&layout)];
        let values = numbers.take(height * width * channels, Kind::Floats);
        for (pixel, values) in values.chunks(channels.max(1)).enumerate() {
            let start = pixel / width * layout.row_stride + pixel % width * pixel_stride;
            data[start..start + channels].copy_from_slice(values);
        }
        Image { layout, data, values }
    }

    fn view(&self) -> View<'_> {
        View::new(&self.data, self.layout).unwrap()
    }

    fn view_mut(&mut self) -> ViewMut<'_> {
        ViewMut::new(&mut self.data, self.layout).unwrap()
    }

    fn read(&self) -> Vec<f32> {
        let view = self.view();
        let pixels = (0..self.layout.height).flat_map(|y| (0..self.layout.width).map(move |x| (y, x)));
        pixels.flat_map(|(y, x)| view.pixel(y, x).to_vec()).collect()
    }
}

#[test]
fn depthwise() {
    let mut numbers = Numbers(1);
    // The last pixels lie so far apart that they are copied first.
    let plain = [(1, (1, 1, 1), 3), (1, (3, 6, 17), 3), (2, (4, 5, 3), 3), (2, (2, 2, 16), 3), (1, (3, 3, 0), 3)];
    for (stride, shape, gap) in plain.into_iter().chain([(1, (3, 6, 17), 512 - 17)]) {
        for padding in [Padding::all(1), Padding { top: 2, bottom: 0, left: 2, right: 1 }] {
            let window = Window::square(3).stride(stride).padding(padding);
            let Some((height, width)) = window.output(shape.0, shape.1) else { continue };
            let (input, channels) = (Image::new(&mut numbers, shape, gap, 5), shape.2);
            let residual = Image::new(&mut numbers, (height, width, channels), 1, 2);
            let mut output = Image::new(&mut numbers, (height, width, channels), 2, 7);
            let (weights, bias) = (numbers.take(9 * channels, Kind::Floats), numbers.take(channels, Kind::Floats));
            let params = DepthwiseParams { input_lo: Some(0.0), ..DepthwiseParams::new(channels, window) };
            let packed = Depthwise::new(kernels(), params, &weights, &bias).unwrap();
            let epilogue = Epilogue { residual: Some(residual.view()), clamp: Clamp::RELU6 };
            packed.run(input.view(), epilogue, output.view_mut()).unwrap();
            let (parameters, residual) = ((&weights[..], &bias[..]), Some(&residual.values[..]));
            let want = reference::depthwise(
                &input.values,
                shape.into(),
                &window,
                Some(0.0),
                parameters,
                residual,
                Clamp::RELU6,
            );
            assert_same(&output.read(), &want, &format!("{shape:?}, stride {stride}, {padding:?}"));
        }
    }
}

#[test]
fn pointwise() {
    let mut numbers = Numbers(2);
    for (height, width, k, n) in [(1, 1, 1, 1), (2, 5, 3, 17), (1, 9, 5, 16), (2, 2, 0, 3), (1, 1, 4, 33)] {
        let input = Image::new(&mut numbers, (height, width, k), 3, 5);
        let residual = Image::new(&mut numbers, (height, width, n), 1, 2);
        let mut output = Image::new(&mut numbers, (height, width, n), 2, 7);
        let (weights, bias) = (numbers.take(n * k, Kind::Floats), numbers.take(n, Kind::Floats));
        let packed = Pointwise::new(kernels(), PointwiseParams::new(k, n), height * width, &weights, &bias).unwrap();
        let epilogue = Epilogue { residual: Some(residual.view()), clamp: Clamp::RELU };
        packed.run(input.view(), epilogue, output.view_mut()).unwrap();
        let shape = (height * width, k, n);
        let want = reference::pointwise(&input.values, shape, (&weights, &bias), Some(&residual.values), Clamp::RELU);
        assert_same(&output.read(), &want, &format!("{height}x{width}x{k} to {n}"));
    }
}

#[test]
fn conv() {
    let mut numbers = Numbers(3);
    for (shape, n, size, stride) in [((1, 1, 1), 1, (1, 1), 1), ((5, 4, 3), 17, (3, 2), 2), ((3, 3, 2), 16, (3, 3), 1)]
    {
        for padding in [Padding::default(), Padding::all(size.1 - 1)] {
            let window = Window::new(size.0, size.1).stride(stride).padding(padding);
            let (height, width) = window.output(shape.0, shape.1).unwrap();
            let input = Image::new(&mut numbers, shape, 3, 5);
            let residual = Image::new(&mut numbers, (height, width, n), 1, 2);
            let mut output = Image::new(&mut numbers, (height, width, n), 2, 7);
            let weights = numbers.take(n * shape.2 * size.0 * size.1, Kind::Floats);
            let bias = numbers.take(n, Kind::Floats);
            let packed = Conv::new(kernels(), ConvParams::new(shape.2, n, window), &weights, &bias).unwrap();
            let epilogue = Epilogue { residual: Some(residual.view()), clamp: Clamp::NONE };
            packed.run(input.view(), epilogue, output.view_mut()).unwrap();
            let (parameters, residual) = ((&weights[..], &bias[..]), Some(&residual.values[..]));
            let want = reference::conv(&input.values, shape.into(), &window, n, parameters, residual, Clamp::NONE);
            assert_same(&output.read(), &want, &format!("{shape:?} to {n}, window {size:?}, {padding:?}"));
        }
    }
}

#[test]
fn elementwise() {
    let mut numbers = Numbers(4);
    let (a, b) = (Image::new(&mut numbers, (3, 5, 7), 3, 5), Image::new(&mut numbers, (3, 5, 7), 0, 1));
    let mut sum = Image::new(&mut numbers, (3, 5, 7), 1, 0);
    add(a.view(), b.view(), Clamp::RELU, sum.view_mut()).unwrap();
    assert_same(&sum.read(), &reference::add(&a.values, &b.values, Clamp::RELU), "add");
    let mut pooled = Image::new(&mut numbers, (2, 3, 7), 1, 0);
    let (window, shape) = (Window::square(3).stride(2).symmetric(), Shape::new(3, 5, 7));
    max_pool(window, a.view(), pooled.view_mut()).unwrap();
    assert_same(&pooled.read(), &reference::max_pool(&a.values, shape, &window), "max_pool");
    for count_padding in [false, true] {
        average_pool(window, count_padding, a.view(), pooled.view_mut()).unwrap();
        let want = reference::average_pool(&a.values, shape, &window, count_padding);
        assert_same(&pooled.read(), &want, "average_pool");
    }
    clamp(a.view(), Clamp::RELU, sum.view_mut()).unwrap();
    let want: Vec<f32> = a.values.iter().map(|&x| reference::clamp(x, Clamp::RELU)).collect();
    assert_same(&sum.read(), &want, "clamp");
    let mut mean = [0.0; 7];
    global_average_pool(a.view(), &mut mean).unwrap();
    assert_same(&mean, &reference::global_average_pool(&a.values, 7), "global_average_pool");
    softmax(&mut mean);
    assert!((mean.iter().sum::<f32>() - 1.0).abs() < 1e-6);
}

#[test]
fn a_network() {
    let config = Config { width: 0.01, resolution: 5, classes: Some(3), ..Config::of(Architecture::Digits) };
    let network = Network::new(Architecture::Digits, &config).unwrap();
    let image = HashWeights::image(5, 5, 1).unwrap();
    let mut all = Vec::new();
    for (fusion, low_memory) in [(Fusion::Off, false), (Fusion::Strips(1), false), (Fusion::Auto, true)] {
        let options = Options { isa: Some(Isa::Portable), fusion, low_memory, ..Options::default() };
        let plan = network.plan(&HashWeights, &Serial, options).unwrap();
        let mut output = vec![f32::NAN; plan.output_len()];
        plan.run(&Serial, &mut plan.workspace().unwrap(), &image, &mut output).unwrap();
        assert!(output.iter().all(|logit| logit.is_finite()));
        all.push(output);
    }
    common::assert_same(&all[1], &all[0], None, "strips");
    common::assert_same(&all[2], &all[0], None, "low_memory");
}

/// Every kind of copy: runs of 1 to 20 channels out of one tensor and out of several, into whole pixels and parts of them.
#[test]
fn channels_in_pieces() {
    for (channels, groups) in [(6, 2), (24, 8), (20, 2)] {
        let mut net = Builder::new();
        let image = net.input("image", Shape::new(2, 3, channels)).unwrap();
        let first = net.pointwise("first", image, channels, Layer::named("first").clamp(Clamp::RELU)).unwrap();
        let norm = Layer::without_weights().norm("norm", 1e-5);
        let leaky = net.leaky_norm("leaky", first, 0.3, norm).unwrap();
        let both = net.concat(&[image, leaky]).unwrap();
        let shuffled = net.shuffle(both, groups).unwrap();
        let halves = net.split(shuffled, &[channels, channels]).unwrap();
        // Those of one tensor, in five groups of five or more.
        let several = net.pointwise("several", leaky, 5 * channels, Layer::named("several")).unwrap();
        let transposed = net.shuffle(several, 5).unwrap();
        let pooled = net.max_pool("pooled", halves[0], Window::square(2)).unwrap();
        let mixed = net.grouped_pointwise("mixed", halves[1], groups, groups, Layer::named("mixed")).unwrap();
        let logits = net.flattened("logits", mixed, Flatten::ChannelsLast, 3, Layer::named("logits")).unwrap();
        let graph = net.build(&[logits, pooled, shuffled, transposed]).unwrap();
        let input = HashWeights::image(2, 3, channels).unwrap();
        let want = graph.reference(&HashWeights, &[&input]).unwrap();
        let options = Options { isa: Some(Isa::Portable), batch: 2, ..Options::default() };
        let plan = Plan::new(&graph, &HashWeights, &Serial, options).unwrap();
        let shapes: Vec<Shape> = graph.outputs().map(|(_, shape)| shape).collect();
        let mut outputs: Vec<Vec<f32>> = shapes.iter().map(|shape| vec![f32::NAN; 2 * shape.len()]).collect();
        let inputs = [input.clone(), input].concat();
        let batches = [Batch::tight(&inputs, 2, Shape::new(2, 3, channels)).unwrap()];
        let views = outputs.iter_mut().zip(&shapes);
        let mut views: Vec<_> = views.map(|(output, &shape)| BatchMut::tight(output, 2, shape).unwrap()).collect();
        plan.run(&Serial, &mut plan.workspace().unwrap(), &batches, &mut views[..]).unwrap();
        for (output, want) in outputs.iter().zip(&want.outputs) {
            for image in output.chunks(want.len()) {
                assert_same(image, want, &format!("{channels} channels in {groups} groups"));
            }
        }
    }
}

/// More taps than are taken at once, and a last tap by itself.
#[test]
fn large_windows() {
    let mut numbers = Numbers(7);
    let a = Image::new(&mut numbers, (6, 5, 11), 3, 5);
    let three = Window::square(3);
    for window in [Window::square(4), Window::new(5, 2), Window::new(1, 1), Window::new(6, 5), three, three.dilation(2)]
    {
        let (height, width) = window.output(6, 5).unwrap();
        let mut pooled = Image::new(&mut numbers, (height, width, 11), 1, 0);
        max_pool(window, a.view(), pooled.view_mut()).unwrap();
        assert_same(&pooled.read(), &reference::max_pool(&a.values, Shape::new(6, 5, 11), &window), "max_pool");
        average_pool(window, true, a.view(), pooled.view_mut()).unwrap();
        let want = reference::average_pool(&a.values, Shape::new(6, 5, 11), &window, true);
        assert_same(&pooled.read(), &want, "average_pool");
    }
}
