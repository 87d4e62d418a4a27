//! A kernel as plain loops, to be right and to be spoilt.
#![allow(dead_code)] // Each test file uses a part.

use sepconv_check::{Case, Scope, Subject};

/// How one output's chain goes on: from the sum so far, the input and the weight.
pub type Step = fn(f32, f32, f32) -> f32;

/// Loops with a step of their own, residuals and clamps of inputs.
#[derive(Clone)]
pub struct Naive {
    pub step: Step,
    pub scope: Scope,
}

/// Every case that there is.
pub fn everything() -> Scope {
    Scope { gaps: true, residual: true, input_lo: true, empty: true, ..Scope::default() }
}

pub fn fused() -> Naive {
    Naive { step: |sum, x, w| x.mul_add(w, sum), scope: everything() }
}

pub fn rounding_twice() -> Naive {
    Naive { step: |sum, x, w| sum + x * w, scope: everything() }
}

impl Naive {
    /// One output's chain.
    fn sum(&self, case: &Case, input: &[f32], weights: &[f32], bias: &[f32], (y, x, j): (usize, usize, usize)) -> f32 {
        let (source, inputs) = (case.input(), case.inputs_per_group());
        let first = j / case.outputs_per_group() * inputs;
        let mut sum = bias[j];
        for (tap, row, column) in case.taps_inside((y, x)) {
            for c in 0..inputs {
                let value = input[source.at((row, column, first + c))];
                let value = case.input_lo.map_or(value, |lo| if value < lo { lo } else { value });
                sum = (self.step)(sum, value, weights[(j * inputs + c) * case.taps() + tap]);
            }
        }
        sum
    }
}

impl Subject for Naive {
    fn run(&self, case: &Case, input: &[f32], weights: &[f32], bias: &[f32], output: &mut [f32]) {
        self.run_with(case, input, weights, bias, None, output);
    }

    fn run_with(
        &self,
        case: &Case,
        input: &[f32],
        weights: &[f32],
        bias: &[f32],
        residual: Option<&[f32]>,
        output: &mut [f32],
    ) {
        for (index, to) in case.output().places().enumerate() {
            let at = case.output().position(index);
            let sum = self.sum(case, input, weights, bias, at);
            output[to] = case.clamp.apply(residual.map_or(sum, |residual| sum + residual[case.residual().at(at)]));
        }
    }

    fn scope(&self) -> Scope {
        self.scope.clone()
    }
}
