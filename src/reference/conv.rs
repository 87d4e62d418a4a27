use alloc::vec::Vec;

use super::{finish, over_windows};
use crate::math::fma;
use crate::tensor::Clamp;
use crate::tensor::{Shape, Window};

/// Dense convolution to `outputs` channels, with weights in the layout O, I, kh, kw.
pub fn conv(
    input: &[f32],
    shape: Shape,
    window: &Window,
    outputs: usize,
    (weights, bias): (&[f32], &[f32]),
    residual: Option<&[f32]>,
    clamp: Clamp,
) -> Vec<f32> {
    let (channels, count) = (shape.channels, window.taps());
    let mut index = 0;
    over_windows(shape, window, outputs, |j, taps| {
        let mut sum = bias[j];
        for &(tap, pixel) in taps {
            for c in 0..channels {
                sum = fma(input[pixel * channels + c], weights[(j * channels + c) * count + tap], sum);
            }
        }
        index += 1;
        finish(sum, residual, index - 1, clamp)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Padding;

    #[test]
    fn two_channels_to_two_over_three_columns() {
        // Two pixels of two channels; a window of 1x2 with one missing pixel to the left.
        let (shape, input) = (Shape::new(1, 2, 2), [1.0, 2.0, 3.0, 4.0]);
        let window = Window::new(1, 2).padding(Padding { left: 1, ..Padding::NONE });
        // Output, input, column.
        let weights = [1.0, 10.0, 100.0, 1000.0, 0.0, 1.0, 1.0, 0.0];
        let parameters = (&weights[..], &[0.5, -1.0][..]);
        let got = conv(&input, shape, &window, 2, parameters, None, Clamp::NONE);
        assert_eq!(got, [2010.5, 0.0, 4231.5, 4.0]);
        let got = conv(&input, shape, &window, 2, parameters, Some(&[-2000.0, -5.0, 0.0, 3.0]), Clamp::RELU);
        assert_eq!(got, [10.5, 0.0, 4231.5, 7.0]);
    }

    #[test]
    fn rows_and_columns_have_strides_of_their_own() {
        let (shape, window) = (Shape::new(3, 4, 1), Window::square(1).strides(2, 3));
        let input: Vec<f32> = (0u8..12).map(f32::from).collect();
        assert_eq!(conv(&input, shape, &window, 1, (&[1.0], &[0.0]), None, Clamp::NONE), [0.0, 3.0, 8.0, 11.0]);
    }
}
