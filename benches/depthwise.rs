//! Every depthwise kernel that runs here on every depthwise shape of the networks.
//!
//!     cargo bench --bench depthwise -- avx2

mod common;

use common::{every_isa, group, nodes, numbers};
use criterion::{Criterion, criterion_group, criterion_main};
use sepconv::ops::{Depthwise, DepthwiseParams};
use sepconv::{Clamp, DepthwiseKernel, Epilogue, View, ViewMut, Window, reference};

/// Whether `kernel` computes convolutions under `window`.
fn serves(kernel: &DepthwiseKernel, window: &Window) -> bool {
    let (stride, dilation) = (kernel.stride(), kernel.dilation());
    (kernel.window(), (stride, stride), (dilation, dilation)) == (window.size, window.stride, window.dilation)
}

fn depthwise(criterion: &mut Criterion) {
    let mut seen = Vec::new();
    for node in nodes(&["depthwise"]) {
        let (shape, window, target) = (node.input(), node.window(), node.output());
        let (stride, channels) = (window.stride.0, shape.channels);
        if seen.contains(&(shape, stride)) {
            continue;
        }
        seen.push((shape, stride));
        let (input, weights, bias) = (numbers(shape.len()), numbers(channels * window.taps()), numbers(channels));
        let want = reference::depthwise(&input, shape, &window, None, (&weights, &bias), None, Clamp::RELU6);
        let mut output = vec![0.0; target.len()];
        let mut group = group(criterion, &format!("depthwise {shape} stride {stride}"), node.macs());
        let kernels = every_isa().flat_map(|kernels| kernels.depthwise()).filter(|kernel| serves(kernel, &window));
        for kernel in kernels {
            let params = DepthwiseParams::new(channels, window);
            let op = Depthwise::with_kernel(kernel, params, &weights, &bias).expect("the shape is sound");
            let mut run = || {
                let input = View::tight(&input, shape.height, shape.width, channels).expect("the input fits");
                let target = ViewMut::tight(&mut output, target.height, target.width, channels);
                let epilogue = Epilogue::clamp(Clamp::RELU6);
                op.run(input, epilogue, target.expect("the output fits")).expect("the shapes agree");
            };
            run();
            group.bench_function(kernel.name(), |bencher| bencher.iter(&mut run));
            assert_eq!(output, want, "{}", kernel.name());
        }
        group.finish();
    }
}

criterion_group!(benches, depthwise);
criterion_main!(benches);
