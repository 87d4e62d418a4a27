//! The oracle: every operator as plain loops, one output at a time, each a single chain of `f32::mul_add`.
//!
//! Inputs and outputs are slices without gaps, NHWC with one image. What these functions compute is the definition of
//! what every kernel must compute, to the bit: start at the bias; fused multiply-adds with taps row-major, then input
//! channels ascending; then the residual; then the clamp. Taps outside the image are skipped. Sizes that do not fit
//! each other panic: an oracle has no use for a second answer.
//!
//! ```
//! use sepconv::{Clamp, Shape, Window, reference};
//!
//! let (input, shape) = ([1.0, -2.0, 3.0, -4.0], Shape::new(1, 2, 2));
//! assert_eq!(reference::clamp(7.0, Clamp::RELU6), 6.0);
//! assert_eq!(reference::add(&input, &input, Clamp::RELU), [2.0, 0.0, 6.0, 0.0]);
//! // Sizes are pixels, inputs and outputs; weights and biases come in pairs.
//! let sums = reference::pointwise(&input, (2, 2, 1), (&[10.0, 1.0], &[0.5]), None, Clamp::NONE);
//! assert_eq!(sums, [8.5, 26.5]);
//! // Windows of two pixels in a row, of a weight each.
//! let (pair, weights) = (Window::new(1, 2), (&[1.0, 1.0, 2.0, 2.0][..], &[0.0, 0.0][..]));
//! assert_eq!(reference::depthwise(&input, shape, &pair, None, weights, None, Clamp::NONE), [4.0, -12.0]);
//! assert_eq!(reference::conv(&input, shape, &pair, 1, (weights.0, &[0.0]), None, Clamp::NONE), [-8.0]);
//! assert_eq!(reference::grouped(&input, shape, &pair, (2, 2), weights, Clamp::NONE), [4.0, -12.0]);
//! assert_eq!(reference::max_pool(&input, shape, &pair), [3.0, -2.0]);
//! assert_eq!(reference::average_pool(&input, shape, &pair, true), [2.0, -3.0]);
//! assert_eq!(reference::global_average_pool(&input, 2), [2.0, -3.0]);
//! let affine = (&[1.0, 10.0][..], &[0.5, 0.0][..]);
//! assert_eq!(reference::leaky_norm(&input, 0.5, affine, Clamp::NONE), [1.5, -10.0, 3.5, -20.0]);
//! ```
#![forbid(unsafe_code)]

mod add;
mod average_pool;
mod conv;
mod depthwise;
mod global_average_pool;
mod grouped;
mod leaky_norm;
mod max_pool;
mod pointwise;

use alloc::vec::Vec;

pub use add::add;
pub use average_pool::average_pool;
pub use conv::conv;
pub use depthwise::depthwise;
pub use global_average_pool::global_average_pool;
pub use grouped::grouped;
pub use leaky_norm::leaky_norm;
pub use max_pool::max_pool;
pub use pointwise::pointwise;

use crate::tensor::Clamp;
use crate::tensor::{Shape, Window};

/// `x` within the bounds by compare and select: NaN stays NaN and −0 stays −0.
pub fn clamp(x: f32, bounds: Clamp) -> f32 {
    let raised = if x < bounds.lo { bounds.lo } else { x };
    if raised > bounds.hi { bounds.hi } else { raised }
}

/// `clamp(sum + residual)` for output element `index`.
fn finish(sum: f32, residual: Option<&[f32]>, index: usize, bounds: Clamp) -> f32 {
    clamp(residual.map_or(sum, |residual| sum + residual[index]), bounds)
}

/// The outputs of a window that moves over an image, NHWC: `output` computes channel `c` of `channels` from the taps
/// that are inside, row-major, each an index of a tap and an index of an input pixel.
fn over_windows(
    shape: Shape,
    window: &Window,
    channels: usize,
    mut output: impl FnMut(usize, &[(usize, usize)]) -> f32,
) -> Vec<f32> {
    let (height, width) = window.output(shape.height, shape.width).expect("an image that holds the window");
    let mut values = Vec::with_capacity(height * width * channels);
    for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
        let taps = window.taps_inside((shape.height, shape.width), (y, x));
        let taps: Vec<_> = taps.map(|(tap, row, column)| (tap, row * shape.width + column)).collect();
        values.extend((0..channels).map(|c| output(c, &taps)));
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clamp_is_that_of_f32() {
        let specials = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0, 0.0, -1.0, 1.0, 6.0, 7.0, 1e-40, -1e-40];
        for bounds in [Clamp::NONE, Clamp::RELU, Clamp::RELU6] {
            for x in specials {
                let (got, want) = (clamp(x, bounds), x.clamp(bounds.lo, bounds.hi));
                assert!(got.to_bits() == want.to_bits() || (got.is_nan() && want.is_nan()), "{x}: {got}, not {want}");
            }
        }
    }
}
