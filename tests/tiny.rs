//! Every operation of the portable tier on shapes of a few elements, with gaps and borders: small enough for an
//! interpreter that sees what no test can see, such as a pointer past its array.

mod common;

use common::{Kind, Numbers};
use sepconv::conv::{ConvShape, PackedConv};
use sepconv::depthwise::{PackedDepthwise, Padding};
use sepconv::elementwise::{add, global_average_pool, max_pool, softmax};
use sepconv::net::{Config, Name, Network};
use sepconv::pointwise::PackedPointwise;
use sepconv::reference::{self, Window};
use sepconv::weights::HashWeights;
use sepconv::{Clamp, Epilogue, Fusion, Isa, Kernels, Layout, Options, Plan, View, ViewMut, select};

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
    fn new(numbers: &mut Numbers, (height, width, channels): (usize, usize, usize), pixel: usize, row: usize) -> Self {
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
    for (stride, shape) in [(1, (1, 1, 1)), (1, (3, 6, 17)), (2, (4, 5, 3)), (2, (2, 2, 16)), (1, (3, 3, 0))] {
        for padding in [Padding::all(1), Padding { top: 2, bottom: 0, left: 2, right: 1 }] {
            let Some((height, width)) = padding.output((shape.0, shape.1), (3, 3), stride) else { continue };
            let (input, channels) = (Image::new(&mut numbers, shape, 3, 5), shape.2);
            let residual = Image::new(&mut numbers, (height, width, channels), 1, 2);
            let mut output = Image::new(&mut numbers, (height, width, channels), 2, 7);
            let (weights, bias) = (numbers.take(9 * channels, Kind::Floats), numbers.take(channels, Kind::Floats));
            let packed =
                PackedDepthwise::new(select::depthwise(kernels(), stride).unwrap(), channels, &weights, &bias).unwrap();
            let epilogue = Epilogue { residual: Some(residual.view()), clamp: Clamp::RELU6 };
            packed.run(padding, Some(0.0), input.view(), epilogue, output.view_mut()).unwrap();
            let window = Window { size: (3, 3), stride, padding };
            let (parameters, residual) = ((&weights[..], &bias[..]), Some(&residual.values[..]));
            let want =
                reference::depthwise(&input.values, shape, window, Some(0.0), parameters, residual, Clamp::RELU6);
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
        let kernel = select::pointwise(kernels(), height * width, k, n).unwrap();
        let packed = PackedPointwise::new(kernel, k, n, &weights, &bias).unwrap();
        let epilogue = Epilogue { residual: Some(residual.view()), clamp: Clamp::RELU };
        packed.run(1, input.view(), epilogue, output.view_mut()).unwrap();
        let shape = (height * width, k, n);
        let want = reference::pointwise(&input.values, shape, &weights, &bias, Some(&residual.values), Clamp::RELU);
        assert_same(&output.read(), &want, &format!("{height}x{width}x{k} to {n}"));
    }
}

#[test]
fn conv() {
    let mut numbers = Numbers(3);
    for (shape, n, size, stride) in [((1, 1, 1), 1, (1, 1), 1), ((5, 4, 3), 17, (3, 2), 2), ((3, 3, 2), 16, (3, 3), 1)]
    {
        for padding in [Padding::default(), Padding::all(size.1 - 1)] {
            let (height, width) = padding.output((shape.0, shape.1), size, stride).unwrap();
            let input = Image::new(&mut numbers, shape, 3, 5);
            let residual = Image::new(&mut numbers, (height, width, n), 1, 2);
            let mut output = Image::new(&mut numbers, (height, width, n), 2, 7);
            let weights = numbers.take(n * shape.2 * size.0 * size.1, Kind::Floats);
            let bias = numbers.take(n, Kind::Floats);
            let conv = ConvShape { window: size, stride, inputs: shape.2, outputs: n };
            let packed = PackedConv::new(select::conv(kernels()).unwrap(), conv, &weights, &bias).unwrap();
            let epilogue = Epilogue { residual: Some(residual.view()), clamp: Clamp::NONE };
            packed.run(padding, input.view(), epilogue, output.view_mut()).unwrap();
            let window = Window { size, stride, padding };
            let (parameters, residual) = ((&weights[..], &bias[..]), Some(&residual.values[..]));
            let want = reference::conv(&input.values, shape, window, n, parameters, residual, Clamp::NONE);
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
    max_pool(Padding::all(1), a.view(), pooled.view_mut()).unwrap();
    let window = Window { size: (3, 3), stride: 2, padding: Padding::all(1) };
    assert_same(&pooled.read(), &reference::max_pool(&a.values, (3, 5, 7), window), "max_pool");
    let mut mean = [0.0; 7];
    global_average_pool(a.view(), &mut mean).unwrap();
    assert_same(&mean, &reference::global_average_pool(&a.values, 7), "global_average_pool");
    softmax(&mut mean);
    assert!((mean.iter().sum::<f32>() - 1.0).abs() < 1e-6);
}

#[test]
fn a_network() {
    let config = Config { width: 0.01, resolution: 5, classes: Some(3), ..Config::of(Name::Digits) };
    let network = Network::new(Name::Digits, &config).unwrap();
    let image = HashWeights::image(5, 5, 1).unwrap();
    let mut all = Vec::new();
    for (fusion, low_memory) in [(Fusion::Off, false), (Fusion::Strips(1), false), (Fusion::Auto, true)] {
        let options = Options { isa: Some(Isa::Portable), fusion, low_memory, ..Options::default() };
        let plan = Plan::new(network.clone(), &HashWeights, options).unwrap();
        let mut output = vec![f32::NAN; plan.output_len()];
        plan.run(&mut plan.workspace().unwrap(), &image, &mut output).unwrap();
        assert!(output.iter().all(|logit| logit.is_finite()));
        all.push(output);
    }
    common::assert_same(&all[1], &all[0], None, "strips");
    common::assert_same(&all[2], &all[0], None, "low_memory");
}
