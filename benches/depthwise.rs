//! Every depthwise kernel that runs here on every depthwise shape of the networks.
//!
//!     cargo bench --bench depthwise -- avx2

mod common;

use common::{every_isa, group, layers, numbers};
use criterion::{Criterion, criterion_group, criterion_main};
use sepconv::depthwise::PackedDepthwise;
use sepconv::net::Op;
use sepconv::reference::{self, Window};
use sepconv::{Clamp, Epilogue, View, ViewMut};

fn depthwise(criterion: &mut Criterion) {
    let mut seen = Vec::new();
    for (layer, shape) in layers() {
        let Op::Depthwise { stride, padding } = layer.op else { continue };
        if seen.contains(&(shape, stride)) {
            continue;
        }
        seen.push((shape, stride));
        let (height, width, channels) = (shape.height, shape.width, shape.channels);
        let (input, weights, bias) = (numbers(shape.len()), numbers(channels * 9), numbers(channels));
        let window = Window { size: (3, 3), stride, padding };
        let want = reference::depthwise(
            &input,
            (height, width, channels),
            window,
            None,
            (&weights, &bias),
            None,
            Clamp::RELU6,
        );
        let mut output = vec![0.0; layer.output.len()];
        let mut group =
            group(criterion, &format!("depthwise {height}x{width}x{channels} stride {stride}"), layer.macs());
        for kernel in every_isa().flat_map(|kernels| kernels.depthwise()).filter(|kernel| kernel.stride() == stride) {
            let packed = PackedDepthwise::new(kernel, channels, &weights, &bias).expect("the shape is sound");
            let mut run = || {
                let target = ViewMut::tight(&mut output, layer.output.height, layer.output.width, channels);
                let input = View::tight(&input, height, width, channels).expect("the input fits");
                let epilogue = Epilogue::clamp(Clamp::RELU6);
                packed.run(padding, None, input, epilogue, target.expect("the output fits")).expect("the shapes agree");
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
