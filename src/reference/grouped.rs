//! Dense convolution in groups: each slice of the input channels by itself.

use alloc::vec::Vec;

use super::conv;
use crate::tensor::{Clamp, Shape, Window};

/// Dense convolution of each of `groups` equal slices of the input channels, to as many slices of the `outputs`, with
/// weights in the layout O, I a group, kh, kw.
pub fn grouped(
    input: &[f32],
    shape: Shape,
    window: &Window,
    (outputs, groups): (usize, usize),
    (weights, bias): (&[f32], &[f32]),
    clamp: Clamp,
) -> Vec<f32> {
    let (inputs_a_group, outputs_a_group) = (shape.channels / groups, outputs / groups);
    let slice = Shape { channels: inputs_a_group, ..shape };
    let weights_a_group = weights.len() / groups;
    let parts: Vec<Vec<f32>> = (0..groups)
        .map(|group| {
            let channels = group * inputs_a_group..(group + 1) * inputs_a_group;
            let own: Vec<f32> =
                input.chunks_exact(shape.channels).flat_map(|pixel| pixel[channels.clone()].to_vec()).collect();
            let weights = &weights[group * weights_a_group..][..weights_a_group];
            let bias = &bias[group * outputs_a_group..][..outputs_a_group];
            conv(&own, slice, window, outputs_a_group, (weights, bias), None, clamp)
        })
        .collect();
    let pixels = parts[0].len() / outputs_a_group;
    let of_pixel = |pixel: usize| {
        parts.iter().flat_map(move |part| part[pixel * outputs_a_group..][..outputs_a_group].iter().copied())
    };
    (0..pixels).flat_map(of_pixel).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two groups of one channel each are two scalings.
    #[test]
    fn each_group_sees_its_own_channels() {
        let input = [1.0, 10.0, 2.0, 20.0];
        let got = grouped(
            &input,
            Shape::new(1, 2, 2),
            &Window::PIXEL,
            (4, 2),
            (&[1.0, 2.0, 3.0, 4.0], &[0.0, 0.5, 0.0, 0.0]),
            Clamp::NONE,
        );
        assert_eq!(got, [1.0, 2.5, 30.0, 40.0, 2.0, 4.5, 60.0, 80.0]);
    }
}
