use alloc::vec::Vec;

use super::clamp;
use crate::tensor::Clamp;

/// Element-wise sum, clamped.
pub fn add(a: &[f32], b: &[f32], bounds: Clamp) -> Vec<f32> {
    assert_eq!(a.len(), b.len(), "both sides of a sum");
    a.iter().zip(b).map(|(a, b)| clamp(a + b, bounds)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_clamped() {
        assert_eq!(add(&[1.0, -4.0, 5.0], &[2.0, 1.0, 5.0], Clamp::NONE), [3.0, -3.0, 10.0]);
        assert_eq!(add(&[1.0, -4.0, 5.0], &[2.0, 1.0, 5.0], Clamp::RELU6), [3.0, 0.0, 6.0]);
        assert!(add(&[f32::INFINITY], &[f32::NEG_INFINITY], Clamp::RELU6)[0].is_nan());
    }
}
