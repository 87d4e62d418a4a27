//! Softmax, for output only.

use crate::math;

/// Turns logits into probabilities, in place: `exp(x - max) / sum`. For output only: exempt from the promise of equal
/// bits, and within 1e-6 of the exact value.
///
/// ```
/// let mut logits = [0.0, 0.0, 3f32.ln()];
/// sepconv::ops::softmax(&mut logits);
/// assert!(logits.iter().zip([0.2, 0.2, 0.6]).all(|(got, want)| (got - want).abs() < 1e-6));
/// ```
pub fn softmax(logits: &mut [f32]) {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0f64;
    for x in logits.iter_mut() {
        *x = math::exp(*x - max);
        sum += f64::from(*x);
    }
    logits.iter_mut().for_each(|x| *x = (f64::from(*x) / sum) as f32);
}
