//! Any shape and any data: every depthwise kernel against the reference.
#![no_main]

mod common;

use arbitrary::Arbitrary;
use common::{Output, every_isa, layout, numbers, spread};
use libfuzzer_sys::fuzz_target;
use sepconv::ops::{Depthwise, DepthwiseParams};
use sepconv::{Clamp, Epilogue, Padding, Shape, View, ViewMut, Window, reference};

#[derive(Debug, Arbitrary)]
struct Case<'a> {
    height: u8,
    width: u8,
    channels: u8,
    padding: [u8; 4],
    gaps: (u8, u8),
    residual: bool,
    clamp: bool,
    input_lo: Option<f32>,
    data: &'a [u8],
}

fuzz_target!(|case: Case<'_>| {
    let (height, width) = (usize::from(case.height % 20) + 1, usize::from(case.width % 24) + 1);
    let channels = usize::from(case.channels % 40) + 1;
    let sides = case.padding.map(|side| usize::from(side % 3));
    let shape = Shape::new(height, width, channels);
    let (input, bias) = (numbers(case.data, shape.len(), 0), numbers(case.data, channels, 2));
    let clamp = if case.clamp { Clamp::RELU6 } else { Clamp::NONE };
    let input_lo = case.input_lo.filter(|lo| !lo.is_nan());
    let source = layout(height, width, channels, case.gaps);
    let buffer = spread(&input, &source);
    for kernel in every_isa().flat_map(|kernels| kernels.depthwise()) {
        let (rows, columns) = kernel.window();
        let window = Window::new(rows, columns).stride(kernel.stride()).dilation(kernel.dilation());
        // Less than the window on each side.
        let (high, wide) = window.extent();
        let [top, bottom, left, right] = sides;
        let padding = Padding {
            top: top.min(high - 1),
            bottom: bottom.min(high - 1),
            left: left.min(wide - 1),
            right: right.min(wide - 1),
        };
        let window = window.padding(padding);
        let Some((out_height, out_width)) = window.output(height, width) else { continue };
        let target = layout(out_height, out_width, channels, case.gaps);
        let weights = numbers(case.data, channels * window.taps(), 1);
        let residual = case.residual.then(|| numbers(case.data, out_height * out_width * channels, 3));
        let parameters = (&weights[..], &bias[..]);
        let want = reference::depthwise(&input, shape, &window, input_lo, parameters, residual.as_deref(), clamp);
        let params = DepthwiseParams { input_lo, ..DepthwiseParams::new(channels, window) };
        let op = Depthwise::with_kernel(kernel, params, &weights, &bias).expect("the lengths agree");
        let residual = residual.as_ref().map(|residual| spread(residual, &target));
        let residual = residual.as_ref().map(|buffer| View::new(buffer, target).expect("the residual fits"));
        let mut output = Output::new(target);
        let view = ViewMut::new(output.slice(), target).expect("the output fits");
        let input = View::new(&buffer, source).expect("the input fits");
        op.run(input, Epilogue { residual, clamp }, view).expect("the shapes agree");
        output.check(&want, kernel.name());
    }
});
