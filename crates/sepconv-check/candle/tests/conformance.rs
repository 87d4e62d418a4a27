//! candle's convolutions under the testing kit for kernels.

use candle_core::{Device, Result, Tensor};
use sepconv_check::{Case, Kind, Layout, Op, Padding, Rule, Scope, Subject, conformance};

/// `Tensor::conv2d` on the CPU, and the bias added.
struct Candle(Op);

impl Candle {
    fn compute(&self, case: &Case, input: &[f32], weights: &[f32], bias: &[f32]) -> Result<Vec<f32>> {
        let (cpu, (rows, columns)) = (&Device::Cpu, case.window);
        let mut image = Tensor::from_slice(input, (1, case.inputs, case.height, case.width), cpu)?;
        let kernel = Tensor::from_slice(weights, (case.outputs, case.inputs_per_group(), rows, columns), cpu)?;
        let bias = Tensor::from_slice(bias, (1, case.outputs, 1, 1), cpu)?;
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

impl Subject for Candle {
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

conformance!(pointwise, Candle(Op::Pointwise), Rule::Bound);
conformance!(depthwise, Candle(Op::Depthwise), Rule::Bound);
conformance!(dense, Candle(Op::Conv), Rule::Bound);
