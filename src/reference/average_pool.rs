use alloc::vec::Vec;

use super::over_windows;
use crate::tensor::{Shape, Window};

/// Average pooling: the sum of the taps inside the image, row-major from +0, times 1/n, where n is the taps of the window
/// if the padding counts, else those inside.
pub fn average_pool(input: &[f32], shape: Shape, window: &Window, count_padding: bool) -> Vec<f32> {
    over_windows(shape, window, shape.channels, |c, taps| {
        let sum = taps.iter().fold(0.0, |sum: f32, &(_, pixel)| sum + input[pixel * shape.channels + c]);
        sum * (1.0 / if count_padding { window.taps() } else { taps.len() } as f32)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Padding;

    #[test]
    fn padding_counts_or_does_not() {
        let shape = Shape::new(2, 2, 2);
        let input = [1.0, -1.0, 2.0, -2.0, 3.0, -3.0, 6.0, -6.0];
        let inside = Window::square(2);
        assert_eq!(average_pool(&input, shape, &inside, true), [3.0, -3.0]);
        assert_eq!(average_pool(&input, shape, &inside, false), [3.0, -3.0]);
        let padded = inside.stride(2).padding(Padding::all(1));
        assert_eq!(average_pool(&input, shape, &padded, true), [0.25, -0.25, 0.5, -0.5, 0.75, -0.75, 1.5, -1.5]);
        assert_eq!(average_pool(&input, shape, &padded, false), input);
    }

    /// Times the rounded 1/n, not divided by n.
    #[test]
    fn multiplied_by_the_reciprocal() {
        let (shape, window) = (Shape::new(1, 3, 1), Window::new(1, 3));
        let third = 1.0 / 3.0f32;
        assert_eq!(average_pool(&[1.0, 2.0, 2.0], shape, &window, false), [5.0 * third]);
        assert_ne!(5.0 * (1.0 / 49.0f32), 5.0 / 49.0f32);
        let mut input = [0.0; 49];
        input[48] = 5.0;
        assert_eq!(average_pool(&input, Shape::new(7, 7, 1), &Window::square(7), true), [5.0 * (1.0 / 49.0f32)]);
    }
}
