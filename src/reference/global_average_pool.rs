use alloc::vec::Vec;

/// Global average pooling: the sum over the pixels in row-major order, times 1/pixels.
pub fn global_average_pool(input: &[f32], channels: usize) -> Vec<f32> {
    let scale = 1.0 / (input.len() / channels) as f32;
    (0..channels).map(|c| input.iter().skip(c).step_by(channels).fold(0.0, |sum: f32, x| sum + x) * scale).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_channel_alone() {
        assert_eq!(global_average_pool(&[1.0, -1.0, 2.0, -2.0, 3.0, -3.0, 4.0, -6.0], 2), [2.5, -3.0]);
        // 2^24 + 1 rounds to 2^24: the order shows.
        assert_eq!(global_average_pool(&[16_777_216.0, 1.0, 1.0, -16_777_216.0], 1), [0.0]);
    }
}
