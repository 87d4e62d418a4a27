use alloc::vec::Vec;

use super::over_windows;
use crate::tensor::{Shape, Window};

/// Max pooling: the first tap inside the image, then each later one that is greater, or NaN.
pub fn max_pool(input: &[f32], shape: Shape, window: &Window) -> Vec<f32> {
    over_windows(shape, window, shape.channels, |c, taps| {
        let mut values = taps.iter().map(|&(_, pixel)| input[pixel * shape.channels + c]);
        let first = values.next().expect("a window that holds a pixel");
        values.fold(first, |m, x| if x > m || x.is_nan() { x } else { m })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Padding;

    #[test]
    fn the_greatest_inside() {
        let shape = Shape::new(2, 3, 1);
        let input = [-1.0, -5.0, -3.0, -4.0, -2.0, -6.0];
        assert_eq!(max_pool(&input, shape, &Window::square(2)), [-1.0, -2.0]);
        let padded = Window::square(2).stride(2).padding(Padding::all(1));
        assert_eq!(max_pool(&input, shape, &padded), [-1.0, -3.0, -4.0, -2.0]);
    }

    #[test]
    fn nan_stays_and_the_first_zero_wins() {
        let (shape, window) = (Shape::new(1, 3, 1), Window::new(1, 3));
        assert!(max_pool(&[1.0, f32::NAN, 2.0], shape, &window)[0].is_nan());
        assert!(max_pool(&[f32::NAN, 1.0, 2.0], shape, &window)[0].is_nan());
        assert_eq!(max_pool(&[-0.0, 0.0, -0.0], shape, &window)[0].to_bits(), (-0.0f32).to_bits());
    }
}
