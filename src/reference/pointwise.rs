use alloc::vec::Vec;

use super::finish;
use crate::math::fma;
use crate::tensor::Clamp;

/// Pointwise convolution of `m` pixels of `k` channels with `n` x `k` weights and `n` biases: `m` x `n` values.
pub fn pointwise(
    input: &[f32],
    (m, k, n): (usize, usize, usize),
    (weights, bias): (&[f32], &[f32]),
    residual: Option<&[f32]>,
    clamp: Clamp,
) -> Vec<f32> {
    let output = |i: usize, j: usize| {
        let sum = (0..k).fold(bias[j], |sum, c| fma(input[i * k + c], weights[j * k + c], sum));
        finish(sum, residual, i * n + j, clamp)
    };
    (0..m * n).map(|index| output(index / n, index % n)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_pixels_of_two_channels_times_three_columns() {
        let (input, weights) = ([1.0, 2.0, 3.0, 4.0], [1.0, 0.0, 0.0, 1.0, -1.0, 2.0]);
        let bias = [10.0, 20.0, 30.0];
        let none = pointwise(&input, (2, 2, 3), (&weights, &bias), None, Clamp::NONE);
        assert_eq!(none, [11.0, 22.0, 33.0, 13.0, 24.0, 35.0]);
        let residual = [-11.0, -23.0, 0.0, 1.0, 2.0, 3.0];
        let both = pointwise(&input, (2, 2, 3), (&weights, &bias), Some(&residual), Clamp::RELU6);
        assert_eq!(both, [0.0, 0.0, 6.0, 6.0, 6.0, 6.0]);
    }

    #[test]
    fn nothing_to_sum_leaves_the_bias() {
        assert_eq!(pointwise(&[], (2, 0, 2), (&[], &[1.0, -0.0]), None, Clamp::NONE), [1.0, -0.0, 1.0, -0.0]);
        assert!(pointwise(&[], (0, 2, 1), (&[1.0, 1.0], &[1.0]), None, Clamp::NONE).is_empty());
    }

    /// The product is not rounded before it is added.
    #[test]
    fn products_are_fused() {
        let x = 1.0 + f32::EPSILON;
        let got = pointwise(&[x], (1, 1, 1), (&[x], &[-1.0 - 2.0 * f32::EPSILON]), None, Clamp::NONE);
        assert_eq!(got, [f32::EPSILON * f32::EPSILON]);
    }
}
