//! Every depthwise kernel that runs here on every depthwise shape of the networks; where the layouts of plans have gaps between
//! the pixels, with them (`spaced`) and without.
//!
//!     cargo bench --bench depthwise -- avx2

mod common;

use common::{every_isa, group, nodes, numbers};
use criterion::{Criterion, criterion_group, criterion_main};
use sepconv::ops::{Depthwise, DepthwiseParams};
use sepconv::{Batch, BatchMut, Clamp, DepthwiseKernel, Epilogue, Layout, Shape, View, ViewMut, Window, reference};

/// Whether `kernel` computes convolutions under `window`.
fn serves(kernel: &DepthwiseKernel, window: &Window) -> bool {
    let (stride, dilation) = (kernel.stride(), kernel.dilation());
    (kernel.window(), (stride, stride), (dilation, dilation)) == (window.size, window.stride, window.dilation)
}

/// The tight pixels of `image` in `layout`, zeros between them.
fn laid_out(image: &[f32], layout: Layout) -> Vec<f32> {
    let mut out = vec![0.0; layout.extent().expect("the layout is sound")];
    let mut to = BatchMut::new(&mut out, layout, 0, 1).expect("the output fits");
    Batch::tight(image, 1, layout.shape()).and_then(|image| image.copy_to(&mut to)).expect("the shapes agree");
    out
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
        let mut group = group(criterion, &format!("depthwise {shape} stride {stride}"), node.macs());
        // As plans lay images out, and without gaps, as other engines do, where the two differ.
        let tight = |shape: Shape| Layout::tight(shape.height, shape.width, shape.channels);
        let spaced = |shape: Shape| Layout::spaced(shape.height, shape.width, shape.channels);
        let gaps = spaced(shape) != tight(shape);
        for (kernel, gap) in
            every_isa().flat_map(|kernels| kernels.depthwise()).flat_map(|of| [(of, false), (of, true)])
        {
            if !serves(kernel, &window) || gap && !gaps {
                continue;
            }
            let params = DepthwiseParams::new(channels, window);
            let op = Depthwise::with_kernel(kernel, params, &weights, &bias).expect("the shape is sound");
            let [from, to] = [shape, target].map(|shape| if gap { spaced(shape) } else { tight(shape) });
            let (input, mut output) = (laid_out(&input, from), vec![0.0; to.extent().expect("the layout is sound")]);
            let mut run = || {
                let input = View::new(&input, from).expect("the input fits");
                let target = ViewMut::new(&mut output, to).expect("the output fits");
                op.run(input, Epilogue::clamp(Clamp::RELU6), target).expect("the shapes agree");
            };
            run();
            let name = if gap { format!("{} spaced", kernel.name()) } else { kernel.name().into() };
            group.bench_function(&name, |bencher| bencher.iter(&mut run));
            assert_eq!(output, laid_out(&want, to), "{name}");
        }
        group.finish();
    }
}

criterion_group!(benches, depthwise);
criterion_main!(benches);
