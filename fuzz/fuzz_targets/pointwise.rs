//! Any shape and any data: every pointwise kernel against the reference.
#![no_main]

mod common;

use arbitrary::Arbitrary;
use common::{Output, every_isa, layout, numbers, spread};
use libfuzzer_sys::fuzz_target;
use sepconv::ops::{Part, Pointwise, PointwiseParams};
use sepconv::{Clamp, Epilogue, View, ViewMut, reference};

#[derive(Debug, Arbitrary)]
struct Case<'a> {
    width: u8,
    k: u8,
    n: u8,
    cut: u8,
    gaps: (u8, u8),
    residual: bool,
    clamp: bool,
    data: &'a [u8],
}

fuzz_target!(|case: Case<'_>| {
    let (m, k, n) = (usize::from(case.width % 40) + 1, usize::from(case.k % 80), usize::from(case.n % 90) + 1);
    let (input, weights) = (numbers(case.data, m * k, 0), numbers(case.data, n * k, 1));
    let (bias, residual) = (numbers(case.data, n, 2), case.residual.then(|| numbers(case.data, m * n, 3)));
    let clamp = if case.clamp { Clamp::RELU6 } else { Clamp::NONE };
    let target = layout(1, m, n, case.gaps);
    let want = reference::pointwise(&input, (m, k, n), (&weights, &bias), residual.as_deref(), clamp);
    // K in one part, or in two.
    let cut = Some(usize::from(case.cut)).filter(|cut| (1..k).contains(cut)).unwrap_or(k);
    let parts = [Some(0..cut), (cut < k).then_some(cut..k)];
    for kernel in every_isa().flat_map(|kernels| kernels.pointwise()) {
        let params = PointwiseParams::new(k, n);
        let op = Pointwise::with_kernel(kernel, params, &weights, &bias).expect("the lengths agree");
        let residual = residual.as_ref().map(|residual| spread(residual, &target));
        let mut output = Output::new(target);
        for channels in parts.clone().into_iter().flatten() {
            let last = channels.end == k;
            let source = layout(1, m, channels.len(), case.gaps);
            let part: Vec<f32> =
                input.chunks_exact(k.max(1)).flat_map(|pixel| pixel[channels.clone()].to_vec()).collect();
            let part = spread(&part, &source);
            let residual = residual.as_ref().map(|buffer| View::new(buffer, target).expect("the residual fits"));
            let epilogue = if last { Epilogue { residual, clamp } } else { Epilogue::clamp(Clamp::NONE) };
            let output = ViewMut::new(output.slice(), target).expect("the output fits");
            let input = View::new(&part, source).expect("the input fits");
            op.run_inputs(channels, &Part::all(target.shape()), input, epilogue, output).expect("the shapes agree");
        }
        output.check(&want, kernel.name());
    }
});
