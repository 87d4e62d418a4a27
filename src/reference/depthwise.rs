use alloc::vec::Vec;

use super::{finish, over_windows};
use crate::math::fma;
use crate::tensor::Clamp;
use crate::tensor::{Shape, Window};

/// Depthwise convolution with `channels` x taps weights; `input_lo` clamps each input from below first.
pub fn depthwise(
    input: &[f32],
    shape: Shape,
    window: &Window,
    input_lo: Option<f32>,
    (weights, bias): (&[f32], &[f32]),
    residual: Option<&[f32]>,
    clamp: Clamp,
) -> Vec<f32> {
    let (channels, count) = (shape.channels, window.taps());
    let clamp_input = |x: f32| input_lo.map_or(x, |lo| if x < lo { lo } else { x });
    let mut index = 0;
    over_windows(shape, window, channels, |c, taps| {
        let sum = taps.iter().fold(bias[c], |sum, &(tap, pixel)| {
            fma(clamp_input(input[pixel * channels + c]), weights[c * count + tap], sum)
        });
        index += 1;
        finish(sum, residual, index - 1, clamp)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Padding;

    #[test]
    fn borders_are_skipped() {
        let shape = Shape::new(2, 2, 1);
        let window = Window::square(3).padding(Padding::all(1));
        let weights = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0];
        let input = [1.0, 10.0, 100.0, 1000.0];
        let got = depthwise(&input, shape, &window, None, (&weights, &[0.5]), None, Clamp::NONE);
        assert_eq!(got, [9865.5, 8754.5, 6532.5, 5421.5]);
        // Skipped, never multiplied by zero.
        let weights = weights.map(|weight| if weight == 1.0 { f32::INFINITY } else { weight });
        let got = depthwise(&input, shape, &window, None, (&weights, &[0.5]), None, Clamp::NONE);
        assert_eq!(got, [9865.5, 8754.5, 6532.5, f32::INFINITY]);
    }

    #[test]
    fn each_channel_has_weights_of_its_own() {
        let (shape, window) = (Shape::new(1, 3, 2), Window::new(1, 2).strides(1, 1));
        let input = [1.0, -1.0, 2.0, -2.0, 3.0, -3.0];
        let parameters = (&[1.0, 10.0, 2.0, 20.0][..], &[0.0, 100.0][..]);
        let got = depthwise(&input, shape, &window, None, parameters, None, Clamp::NONE);
        assert_eq!(got, [21.0, 58.0, 32.0, 36.0]);
        let got = depthwise(&input, shape, &window, Some(-2.0), parameters, None, Clamp::NONE);
        assert_eq!(got, [21.0, 58.0, 32.0, 56.0]);
        let residual = [0.0, 1.0, 2.0, 3.0];
        let got =
            depthwise(&input, shape, &window, Some(-2.0), parameters, Some(&residual), Clamp { lo: 22.0, hi: 58.5 });
        assert_eq!(got, [22.0, 58.5, 34.0, 58.5]);
    }

    #[test]
    fn taps_lie_apart_and_windows_too() {
        let shape = Shape::new(1, 7, 1);
        let input = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0];
        let window = Window::new(1, 3).dilation(2).strides(1, 2);
        let got = depthwise(&input, shape, &window, None, (&[100.0, 10.0, 1.0], &[0.0]), None, Clamp::NONE);
        assert_eq!(got, [135.0, 357.0]);
    }
}
