//! candle's convolutions under the testing kit for kernels.

use sepconv_check::{Case, Group, Kind, Layout, Op, Padding, Rule, Scope, Subject, conformance, run_group};

/// `Tensor::conv2d` of a version on the CPU, and the bias added.
macro_rules! candle {
    ($subject:ident, $candle:ident) => {
        struct $subject(Op);

        impl $subject {
            fn compute(&self, case: &Case, input: &[f32], weights: &[f32], bias: &[f32]) -> $candle::Result<Vec<f32>> {
                use $candle::{Device::Cpu, Tensor};
                let (inputs, (rows, columns)) = (case.inputs_per_group(), case.window);
                let mut image = Tensor::from_slice(input, (1, case.inputs, case.height, case.width), &Cpu)?;
                let kernel = Tensor::from_slice(weights, (case.outputs, inputs, rows, columns), &Cpu)?;
                let bias = Tensor::from_slice(bias, (1, case.outputs, 1, 1), &Cpu)?;
                let mut padding = case.padding.top;
                if case.padding != Padding::all(padding) {
                    // It knows one number for all sides.
                    let Padding { top, bottom, left, right } = case.padding;
                    image = image.pad_with_zeros(2, top, bottom)?.pad_with_zeros(3, left, right)?;
                    padding = 0;
                }
                let sums = image.conv2d(&kernel, padding, case.stride.0, case.dilation.0, case.groups)?;
                sums.broadcast_add(&bias)?.flatten_all()?.to_vec1()
            }
        }

        impl Subject for $subject {
            fn run(&self, case: &Case, input: &[f32], weights: &[f32], bias: &[f32], output: &mut [f32]) {
                output.copy_from_slice(&self.compute(case, input, weights, bias).unwrap());
            }

            fn scope(&self) -> Scope {
                // One number for rows and columns.
                let strides = vec![(1, 1), (2, 2)];
                Scope { layout: Layout::Nchw, strides, clamp: false, ..Scope::of(self.0) }
            }

            /// It multiplies what is outside the image by zero, infinite weights too.
            fn supports(&self, case: &Case) -> bool {
                case.kind != Kind::Specials || case.padding == Padding::NONE
            }
        }
    };
}

candle!(Candle, candle_core);
candle!(Earlier, candle_core_0_9);

conformance!(pointwise, Candle(Op::Pointwise), Rule::Bound);
conformance!(depthwise, Candle(Op::Depthwise), Rule::Bound);
conformance!(dense, Candle(Op::Conv), Rule::Bound);

/// 0.9.2 took a dense image of as many rows and columns as channels for one with the channels innermost.
#[test]
fn a_fault_of_an_earlier_version_is_found() {
    let failure = run_group(&Earlier(Op::Conv), Rule::Bound, Group::Borders).unwrap_err();
    let case = failure.case;
    assert!((case.height, case.width, case.inputs_per_group()) == (2, 2, 2), "{failure}");
    for op in [Op::Pointwise, Op::Depthwise] {
        assert!(run_group(&Earlier(op), Rule::Bound, Group::Borders).is_ok());
    }
}
