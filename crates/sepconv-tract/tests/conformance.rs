//! tract's own convolutions under the testing kit for kernels: what the transform replaces is right to begin with.

use sepconv_check::{Case, Fault, Group, Layout, Op, Padding, Rule, Scope, Subject, check, conformance};
use tract_core::internal::*;
use tract_core::ops::cnn::{Conv, KernelFormat, PaddingSpec, PoolSpec};
use tract_core::ops::nn::DataFormat;

/// A model of one `Conv`, as tract rewrites it for the CPU that it runs on; numbers that are not special.
struct Tract(Op, Layout);

impl Tract {
    fn compute(&self, case: &Case, input: &[f32], weights: &[f32], bias: &[f32]) -> TractResult<TValue> {
        let (data_format, image) = match self.1 {
            Layout::Nhwc => (DataFormat::NHWC, [1, case.height, case.width, case.inputs]),
            Layout::Nchw => (DataFormat::NCHW, [1, case.inputs, case.height, case.width]),
        };
        let Padding { top, bottom, left, right } = case.padding;
        let conv = Conv {
            pool_spec: PoolSpec {
                data_format,
                kernel_shape: tvec![case.window.0, case.window.1],
                padding: PaddingSpec::Explicit(tvec![top, left], tvec![bottom, right]),
                dilations: Some(tvec![case.dilation.0, case.dilation.1]),
                strides: Some(tvec![case.stride.0, case.stride.1]),
                input_channels: case.inputs,
                output_channels: case.outputs,
            },
            kernel_fmt: KernelFormat::OIHW,
            group: case.groups,
            q_params: None,
        };
        let kernel = [case.outputs, case.inputs_per_group(), case.window.0, case.window.1];
        let mut model = TypedModel::default();
        let operands = [
            model.add_source("image", f32::fact(image))?,
            model.add_const("weights", Tensor::from_shape(&kernel, weights)?)?,
            model.add_const("bias", tensor1(bias))?,
        ];
        let output = model.wire_node("conv", conv, &operands)?;
        model.select_output_outlets(&output)?;
        let model = model.into_optimized()?.into_runnable()?;
        Ok(model.run(tvec![Tensor::from_shape(&image, input)?.into_tvalue()])?.remove(0))
    }
}

impl Subject for Tract {
    fn run(&self, case: &Case, input: &[f32], weights: &[f32], bias: &[f32], output: &mut [f32]) {
        let computed = self.compute(case, input, weights, bias).unwrap();
        // Images have no gaps here: as many elements, in the same order.
        output.copy_from_slice(computed.view().as_slice().unwrap());
    }

    fn scope(&self) -> Scope {
        Scope { layout: self.1, clamp: false, specials: false, ..Scope::of(self.0) }
    }
}

conformance!(pointwise_nhwc, Tract(Op::Pointwise, Layout::Nhwc), Rule::Bound);
conformance!(pointwise_nchw, Tract(Op::Pointwise, Layout::Nchw), Rule::Bound);
conformance!(depthwise_nhwc, Tract(Op::Depthwise, Layout::Nhwc), Rule::Bound);
conformance!(depthwise_nchw, Tract(Op::Depthwise, Layout::Nchw), Rule::Bound);
conformance!(dense_nhwc, Tract(Op::Conv, Layout::Nhwc), Rule::Bound);
conformance!(dense_nchw, Tract(Op::Conv, Layout::Nchw), Rule::Bound);

/// It multiplies what is outside the image by zero, infinite weights too, and its matrix products on x86-64 take subnormals
/// for zeros. Special numbers show nothing else.
#[test]
fn what_special_numbers_show() {
    let mut outside = 0;
    for (op, layout) in Op::ALL.into_iter().flat_map(|op| [(op, Layout::Nhwc), (op, Layout::Nchw)]) {
        let subject = Tract(op, layout);
        let scope = Scope { specials: true, ..subject.scope() };
        for case in Group::Specials.cases(&scope, 1) {
            let Err(failure) = check(&subject, &case, Rule::Bound) else { continue };
            let Fault::Wrong(wrong) = failure.fault else { panic!("{failure}") };
            let steps = (case.depth() + 2) as f32;
            match wrong.got.is_nan() {
                true if case.padding != Padding::NONE => outside += 1,
                false if (wrong.got - wrong.expected).abs() <= steps * f32::MIN_POSITIVE => {}
                _ => panic!("{failure}"),
            }
        }
    }
    assert!(outside > 0);
}
