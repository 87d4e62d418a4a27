//! Every dense convolution kernel that runs here on the dense shapes of the networks, and on those of Fire modules, beside
//! a pointwise convolution of as many pixels, sums and outputs: what a window costs beyond the GEMM that it is.
//!
//!     cargo bench --bench conv -- 55x55x16

mod common;

use common::{every_isa, group, nodes, numbers};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main};
use sepconv::ops::{Conv, ConvParams, Pointwise, PointwiseParams};
use sepconv::{
    Clamp, ConvKernel, Epilogue, Kernels, Padding, PointwiseKernel, Shape, View, ViewMut, Window, reference, select,
};

/// A dense convolution of an image.
#[derive(Clone, Copy, PartialEq)]
struct Case {
    input: Shape,
    window: Window,
    output: Shape,
}

/// The 3x3 of Fire modules (Iandola et al. 2016, arXiv:1602.07360): pixels a side, input channels, output channels.
const FIRE: [(usize, usize, usize); 3] = [(55, 16, 64), (27, 32, 128), (13, 48, 192)];

fn cases() -> Vec<Case> {
    let of_networks = nodes(&["conv"]).into_iter().map(|node| (node.input(), node.window(), node.output()));
    let fire = FIRE.map(|(size, inputs, outputs)| {
        (Shape::new(size, size, inputs), Window::square(3).symmetric(), Shape::new(size, size, outputs))
    });
    let mut cases = Vec::new();
    for (input, window, output) in of_networks.chain(fire) {
        let case = Case { input, window, output };
        if !cases.contains(&case) {
            cases.push(case);
        }
    }
    cases
}

/// The kernels written for the ISA itself: a later one may list those of an earlier one too.
fn own_conv(kernels: &Kernels) -> impl Iterator<Item = &'static ConvKernel> {
    kernels.conv().iter().filter(|kernel| kernel.isa() == kernels.isa())
}

/// The kernel of each ISA for a GEMM of `m` x `k` x `n`; where two ISAs have the same, once.
fn gemms((m, k, n): (usize, usize, usize)) -> Vec<&'static PointwiseKernel> {
    let mut gemms: Vec<_> = every_isa().filter_map(|kernels| select::pointwise(kernels, m, k, n).ok()).collect();
    gemms.dedup_by_key(|kernel| kernel.name());
    gemms
}

fn convolutions(group: &mut BenchmarkGroup<'_, WallTime>, Case { input: shape, window, output: target }: Case) {
    let (inputs, outputs) = (shape.channels, target.channels);
    let input = numbers(shape.len());
    let (weights, bias) = (numbers(outputs * inputs * window.taps()), numbers(outputs));
    // The reference is slow: the first rows of the image show that the kernel computes what it should.
    let rows = Shape { height: window.size.0.min(shape.height), ..shape };
    let first = window.padding(Padding { bottom: 0, ..window.padding });
    let want = reference::conv(&input[..rows.len()], rows, &first, outputs, (&weights, &bias), None, Clamp::RELU6);
    let mut output = vec![0.0; target.len()];
    for kernel in every_isa().flat_map(own_conv).filter(|kernel| kernel.serves(window.size, inputs)) {
        let params = ConvParams::new(inputs, outputs, window);
        let op = Conv::with_kernel(kernel, params, &weights, &bias).expect("the shape is sound");
        let mut run = || {
            let input = View::tight(&input, shape.height, shape.width, inputs).expect("the input fits");
            let target = ViewMut::tight(&mut output, target.height, target.width, outputs);
            let epilogue = Epilogue::clamp(Clamp::RELU6);
            op.run(input, epilogue, target.expect("the output fits")).expect("the shapes agree");
        };
        run();
        group.bench_function(kernel.name(), |bencher| bencher.iter(&mut run));
        assert_eq!(output[..want.len()], want, "{}", kernel.name());
    }
}

/// The pointwise convolution of `m` pixels of `k` channels to `n`.
fn pointwise(group: &mut BenchmarkGroup<'_, WallTime>, (m, k, n): (usize, usize, usize)) {
    let (input, weights, bias) = (numbers(m * k), numbers(n * k), numbers(n));
    let checked = m.min(13);
    let want = reference::pointwise(&input[..checked * k], (checked, k, n), (&weights, &bias), None, Clamp::RELU6);
    let mut output = vec![0.0; m * n];
    for kernel in gemms((m, k, n)) {
        let op = Pointwise::with_kernel(kernel, PointwiseParams::new(k, n), &weights, &bias);
        let op = op.expect("the shape is sound");
        let mut run = || {
            let input = View::tight(&input, 1, m, k).expect("the input fits");
            let output = ViewMut::tight(&mut output, 1, m, n).expect("the output fits");
            op.run(input, Epilogue::clamp(Clamp::RELU6), output).expect("the shapes agree");
        };
        run();
        group.bench_function(kernel.name(), |bencher| bencher.iter(&mut run));
        assert_eq!(output[..want.len()], want, "{}", kernel.name());
    }
}

fn conv(criterion: &mut Criterion) {
    for case in cases() {
        let Case { input, window, output } = case;
        let gemm = (output.pixels(), window.taps() * input.channels, output.channels);
        let ((height, width), stride) = (window.size, window.stride.0);
        let name = format!("conv {height}x{width} {input} -> {output} stride {stride}");
        let mut group = group(criterion, &name, (gemm.0 * gemm.1 * gemm.2) as u64);
        convolutions(&mut group, case);
        pointwise(&mut group, gemm);
        group.finish();
    }
}

criterion_group!(benches, conv);
criterion_main!(benches);
