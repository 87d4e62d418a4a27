//! Every pointwise kernel that runs here, and the `gemm` crate, on every pointwise shape of the networks.
//!
//!     cargo bench --bench pointwise -- 6x16

mod common;

use common::{every_isa, group, nodes, numbers};
use criterion::{Criterion, criterion_group, criterion_main};
use gemm::{Parallelism, gemm};
use sepconv::ops::{Pointwise, PointwiseParams};
use sepconv::{Clamp, Epilogue, Kernels, PointwiseKernel, View, ViewMut, reference};

/// Pixels, input channels, output channels.
fn shapes() -> Vec<(usize, usize, usize)> {
    let mut shapes: Vec<_> = nodes(&["pointwise", "fully_connected"])
        .iter()
        .filter(|node| node.window().stride == (1, 1))
        .map(|node| (node.output().pixels(), node.input().channels, node.output().channels))
        .collect();
    shapes.sort_unstable();
    shapes.dedup();
    shapes
}

/// The kernels written for the ISA itself: a later one may list those of an earlier one too.
fn own_pointwise(kernels: &Kernels) -> impl Iterator<Item = &PointwiseKernel> {
    kernels.pointwise().iter().filter(|kernel| kernel.isa() == kernels.isa())
}

fn pointwise(criterion: &mut Criterion) {
    for (m, k, n) in shapes() {
        let (input, weights, bias) = (numbers(m * k), numbers(n * k), numbers(n));
        // The reference is slow: a part of the pixels shows that the kernel computes what it should.
        let checked = m.min(13);
        let want = reference::pointwise(&input[..checked * k], (checked, k, n), (&weights, &bias), None, Clamp::RELU6);
        let mut output = vec![0.0; m * n];
        let mut group = group(criterion, &format!("pointwise {m}x{k}x{n}"), (m * k * n) as u64);
        for kernel in every_isa().flat_map(own_pointwise) {
            let params = PointwiseParams::new(k, n);
            let op = Pointwise::with_kernel(kernel, params, &weights, &bias).expect("the shape is sound");
            let mut run = || {
                let output = ViewMut::tight(&mut output, 1, m, n).expect("the output fits");
                let input = View::tight(&input, 1, m, k).expect("the input fits");
                op.run(input, Epilogue::clamp(Clamp::RELU6), output).expect("the shapes agree");
            };
            run();
            group.bench_function(kernel.name(), |bencher| bencher.iter(&mut run));
            assert_eq!(output[..checked * n], want, "{}", kernel.name());
        }
        group.bench_function("gemm", |bencher| {
            bencher.iter(|| {
                // SAFETY: the strides are those of row-major matrices of these sizes; the weights are n x k, read
                // across.
                unsafe {
                    let (c, a, b) = (output.as_mut_ptr(), input.as_ptr(), weights.as_ptr());
                    let (n_stride, k_stride) = (n as isize, k as isize);
                    gemm(
                        m,
                        n,
                        k,
                        c,
                        1,
                        n_stride,
                        false,
                        a,
                        1,
                        k_stride,
                        b,
                        k_stride,
                        1,
                        0.0,
                        1.0,
                        false,
                        false,
                        false,
                        Parallelism::None,
                    );
                }
            });
        });
        group.finish();
    }
}

criterion_group!(benches, pointwise);
criterion_main!(benches);
