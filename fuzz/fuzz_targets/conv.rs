//! Any shape, any window and any data: every kernel of dense convolutions against the reference, whole and cut by rows.
#![no_main]

mod common;

use arbitrary::Arbitrary;
use common::{Output, every_isa, layout, numbers, spread};
use libfuzzer_sys::fuzz_target;
use sepconv::ops::{Conv, ConvParams, Part};
use sepconv::{Clamp, Epilogue, Layout, Padding, Shape, View, ViewMut, Window, reference};

#[derive(Debug, Arbitrary)]
struct Case<'a> {
    size: (u8, u8),
    inputs: u8,
    outputs: u8,
    window: (u8, u8),
    strides: (u8, u8),
    padding: [u8; 4],
    cut: u8,
    gaps: (u8, u8),
    residual: bool,
    clamp: bool,
    data: &'a [u8],
}

fuzz_target!(|case: Case<'_>| {
    let number = |byte: u8, most: usize| usize::from(byte) % most + 1;
    let (height, width) = (number(case.size.0, 14), number(case.size.1, 24));
    let (inputs, outputs) = (number(case.inputs, 9), number(case.outputs, 40));
    let (rows, columns) = (number(case.window.0, 5), number(case.window.1, 5));
    let [top, bottom, left, right] = case.padding.map(usize::from);
    let padding = Padding { top: top % rows, bottom: bottom % rows, left: left % columns, right: right % columns };
    let strides = (number(case.strides.0, 3), number(case.strides.1, 3));
    let window = Window::new(rows, columns).strides(strides.0, strides.1).padding(padding);
    let Some((out_height, out_width)) = window.output(height, width) else { return };
    let shape = Shape::new(height, width, inputs);
    let (input, bias) = (numbers(case.data, shape.len(), 0), numbers(case.data, outputs, 2));
    let weights = numbers(case.data, outputs * inputs * window.taps(), 1);
    let residual = case.residual.then(|| numbers(case.data, out_height * out_width * outputs, 3));
    let clamp = if case.clamp { Clamp::RELU6 } else { Clamp::NONE };
    let parameters = (&weights[..], &bias[..]);
    let want = reference::conv(&input, shape, &window, outputs, parameters, residual.as_deref(), clamp);
    let source = layout(height, width, inputs, case.gaps);
    let target = layout(out_height, out_width, outputs, case.gaps);
    let (buffer, residual) = (spread(&input, &source), residual.map(|residual| spread(&residual, &target)));
    let cut = usize::from(case.cut) % (out_height + 1);
    for kernel in every_isa().flat_map(|kernels| kernels.conv()).filter(|kernel| kernel.serves(window.size, inputs)) {
        let params = ConvParams::new(inputs, outputs, window);
        let op = Conv::with_kernel(kernel, params, &weights, &bias).expect("the lengths agree");
        let mut output = Output::new(target);
        for part in [0..cut, cut..out_height].into_iter().filter(|part| !part.is_empty()) {
            let (layout, first) = (Layout { height: part.len(), ..target }, part.start * target.row_stride);
            let residual = residual.as_ref().map(|buffer| View::new(&buffer[first..], layout).expect("it fits"));
            let view = ViewMut::new(&mut output.slice()[first..], layout).expect("the output fits");
            let input = View::new(&buffer, source).expect("the input fits");
            let part = Part::rows(part, target.shape());
            op.run_part(&part, input, Epilogue { residual, clamp }, view).expect("the shapes agree");
        }
        output.check(&want, kernel.name());
    }
});
