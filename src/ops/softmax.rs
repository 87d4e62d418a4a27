//! Softmax, for output only.

/// Turns logits into probabilities, in place: `exp(x - max) / sum`. For output only: exempt from the promise of equal
/// bits, and within 1e-6 of the exact value.
pub fn softmax(logits: &mut [f32]) {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0f64;
    for x in logits.iter_mut() {
        *x = (*x - max).exp();
        sum += f64::from(*x);
    }
    logits.iter_mut().for_each(|x| *x = (f64::from(*x) / sum) as f32);
}
