use alloc::vec::Vec;

use super::clamp;
use crate::math::fma;
use crate::tensor::Clamp;

/// A leaky ReLU, then a factor and a summand a channel, then the clamp: `x < 0 ? x * slope : x`, rounded, then one fused
/// multiply-add.
pub fn leaky_norm(input: &[f32], slope: f32, (scale, shift): (&[f32], &[f32]), bounds: Clamp) -> Vec<f32> {
    assert_eq!(scale.len(), shift.len(), "one of each a channel");
    let leaky = |x: f32| if x < 0.0 { x * slope } else { x };
    let channels = scale.iter().zip(shift).cycle();
    input.iter().zip(channels).map(|(&x, (scale, &shift))| clamp(fma(leaky(x), *scale, shift), bounds)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slope_comes_before_the_scale() {
        let (scale, shift) = ([2.0, -1.0], [0.5, 0.0]);
        let output = leaky_norm(&[1.0, 1.0, -4.0, -4.0], 0.25, (&scale, &shift), Clamp::NONE);
        assert_eq!(output, [2.5, -1.0, -1.5, 1.0]);
        assert_eq!(leaky_norm(&[-4.0], 0.25, (&[2.0], &[0.5]), Clamp::RELU), [0.0]);
        assert!(leaky_norm(&[f32::NAN], 0.25, (&[2.0], &[0.5]), Clamp::RELU)[0].is_nan());
    }
}
