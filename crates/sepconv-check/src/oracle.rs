//! What a case's outputs are: as one chain of roundings, or exactly with a bound.

use crate::{Case, Operands};

/// How a step of the chain rounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rounding {
    /// Once: a fused multiply-add.
    Fused,
    /// Twice: the product, then the sum.
    Twice,
}

/// The outputs, tight NHWC, each one chain: start at the bias; taps row-major, then input channels ascending; then the
/// residual; then the clamp by compare and select. Taps outside the image are skipped.
pub fn chain(case: &Case, operands: &Operands, rounding: Rounding) -> Vec<f32> {
    let sums = each_output(case, operands, |bias, products| match rounding {
        Rounding::Fused => products.fold(bias, |sum, (x, w)| x.mul_add(w, sum)),
        Rounding::Twice => products.fold(bias, |sum, (x, w)| sum + x * w),
    });
    let sums = sums.into_iter().enumerate();
    sums.map(|(i, sum)| case.clamp.apply(operands.residual.as_ref().map_or(sum, |residual| sum + residual[i])))
        .collect()
}

/// An output in f64, with what bounds the error of an f32 sum in any order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exact {
    /// The clamped value.
    pub value: f64,
    /// The sum of the magnitudes of the bias, the products and the residual.
    pub magnitude: f64,
    /// Products that were summed.
    pub products: usize,
}

impl Exact {
    /// (k+2)·ε·Σ|ab|, and a smallest subnormal a step, since products round in absolute terms down there. Not finite
    /// where the magnitude is not: then it bounds nothing.
    pub fn bound(&self) -> f64 {
        let steps = (self.products + 2) as f64;
        steps * (f64::from(f32::EPSILON) * self.magnitude + f64::from(f32::from_bits(1)))
    }
}

/// The outputs in f64, tight NHWC.
pub fn exact(case: &Case, operands: &Operands) -> Vec<Exact> {
    let sums = each_output(case, operands, |bias, products| {
        let start = Exact { value: bias.into(), magnitude: f64::from(bias).abs(), products: 0 };
        products.fold(start, |sum, (x, w)| {
            let product = f64::from(x) * f64::from(w);
            Exact { value: sum.value + product, magnitude: sum.magnitude + product.abs(), products: sum.products + 1 }
        })
    });
    let (lo, hi) = (f64::from(case.clamp.lo), f64::from(case.clamp.hi));
    let finish = |(i, mut sum): (usize, Exact)| {
        let residual = operands.residual.as_ref().map_or(0.0, |residual| f64::from(residual[i]));
        sum.value += residual;
        sum.magnitude += residual.abs();
        let raised = if sum.value < lo { lo } else { sum.value };
        Exact { value: if raised > hi { hi } else { raised }, ..sum }
    };
    sums.into_iter().enumerate().map(finish).collect()
}

/// Applies `sum` to the bias and the products (input, weight) of each output, tight NHWC.
fn each_output<T>(
    case: &Case,
    operands: &Operands,
    sum: impl Fn(f32, &mut dyn Iterator<Item = (f32, f32)>) -> T,
) -> Vec<T> {
    let (taps, inputs, outputs) = (case.taps(), case.inputs_per_group(), case.outputs_per_group());
    let read = |x: f32| case.input_lo.map_or(x, |lo| if x < lo { lo } else { x });
    let target = case.output();
    let mut results = Vec::with_capacity(target.len());
    for (y, x) in (0..target.height).flat_map(|y| (0..target.width).map(move |x| (y, x))) {
        let inside: Vec<_> = case.taps_inside((y, x)).map(|(tap, y, x)| (tap, y * case.width + x)).collect();
        for j in 0..case.outputs {
            let first = j / outputs * inputs;
            let places = inside.iter().flat_map(|&(tap, pixel)| {
                (0..inputs).map(move |c| (pixel * case.inputs + first + c, (j * inputs + c) * taps + tap))
            });
            let mut products = places.map(|(input, weight)| (read(operands.input[input]), operands.weights[weight]));
            results.push(sum(operands.bias[j], &mut products));
        }
    }
    results
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Clamp, Padding};

    fn operands(input: &[f32], weights: &[f32], bias: &[f32]) -> Operands {
        Operands { input: input.to_vec(), weights: weights.to_vec(), bias: bias.to_vec(), residual: None }
    }

    #[test]
    fn a_window_by_hand() {
        let case = Case::depthwise(2, 2, 1);
        let weights = [f32::INFINITY, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0];
        let operands = operands(&[1.0, 10.0, 100.0, 1000.0], &weights, &[0.5]);
        let want = [9865.5, 8754.5, 6532.5, f32::INFINITY];
        assert_eq!(chain(&case, &operands, Rounding::Fused), want);
        assert_eq!(chain(&case, &operands, Rounding::Twice), want);
        assert!(exact(&case, &operands).iter().map(|exact| exact.value as f32).eq(want));
    }

    #[test]
    fn groups_by_hand() {
        let case = Case { groups: 2, ..Case::pointwise(1, 4, 4) };
        let weights = [1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, -1.0];
        let mut operands = operands(&[1.0, 2.0, 3.0, 4.0], &weights, &[0.0, 10.0, 20.0, 30.0]);
        assert_eq!(chain(&case, &operands, Rounding::Fused), [1.0, 12.0, 27.0, 29.0]);
        operands.residual = Some(vec![-5.0, 1.0, 0.0, -29.5]);
        let clamped = Case { clamp: Clamp { lo: 0.0, hi: 20.0 }, input_lo: Some(1.5), ..case };
        assert_eq!(chain(&clamped, &operands, Rounding::Fused), [0.0, 13.0, 20.0, 0.0]);
        let exact = exact(&clamped, &operands);
        assert_eq!((exact[0].value, exact[0].magnitude, exact[0].products), (0.0, 6.5, 2));
    }

    #[test]
    fn a_dense_window_by_hand() {
        let case = Case { window: (1, 2), padding: Padding { left: 1, ..Padding::NONE }, ..Case::conv(1, 2, 2, 2) };
        let weights = [1.0, 10.0, 100.0, 1000.0, 0.0, 1.0, 1.0, 0.0];
        let operands = operands(&[1.0, 2.0, 3.0, 4.0], &weights, &[0.5, -1.0]);
        assert_eq!(chain(&case, &operands, Rounding::Fused), [2010.5, 0.0, 4231.5, 4.0]);
    }

    #[test]
    fn roundings_differ() {
        let x = 1.0 + f32::EPSILON;
        let operands = operands(&[x], &[x], &[-1.0 - 2.0 * f32::EPSILON]);
        let case = Case::pointwise(1, 1, 1);
        assert_eq!(chain(&case, &operands, Rounding::Fused), [f32::EPSILON * f32::EPSILON]);
        assert_eq!(chain(&case, &operands, Rounding::Twice), [0.0]);
        let exact = exact(&case, &operands)[0];
        assert_eq!(exact.value, f64::from(f32::EPSILON * f32::EPSILON));
        assert!(exact.bound() > 0.0 && exact.bound() < 1e-6);
    }
}
