//! Weights and an image from nothing but names.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::source::Weights;
use crate::error::{Error, Result};
use crate::math::sqrt;
use crate::tensor::buffer::collect;

/// Weights made from their names, so that a network can be run and checked without a file. Each element comes from a
/// SplitMix64 sequence that starts at the FNV-1a hash of the tensor's name; scale and offset follow from the name's
/// ending.
///
/// ```
/// use sepconv::weights::{HashWeights, Weights, hash_of_bits};
///
/// let (weights, again) = (HashWeights.tensor("pw.weight", &[8, 3]), HashWeights.tensor("pw.weight", &[8, 3]));
/// assert_eq!((weights.as_ref().map(|weights| weights.len()), &weights), (Ok(24), &again));
/// let image = HashWeights::image(3, 2, 1)?;
/// assert!(image.iter().all(|value| (-1.0..1.0).contains(value)));
/// assert_eq!(hash_of_bits(&image), hash_of_bits(&HashWeights::image(3, 2, 1)?));
/// // As bits: the zeros have two.
/// assert_ne!(hash_of_bits(&[0.0]), hash_of_bits(&[-0.0]));
/// # Ok::<(), sepconv::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct HashWeights;

/// The first `count` numbers, uniform in 0..1 in steps of 2^-24, of the sequence that `name` starts.
fn uniform(name: &str, count: usize) -> impl Iterator<Item = f64> {
    let hash = fnv1a(name.bytes());
    (1..=count as u64).map(move |i| {
        let mut z = hash.wrapping_add(i.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        (z >> 40) as f64 / (1u64 << 24) as f64
    })
}

/// FNV-1a, 64 bits.
fn fnv1a(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// A 64-bit hash (FNV-1a over the little-endian bytes) of values: equal bits, equal hash. [`HashWeights`] has an example.
pub fn hash_of_bits(values: &[f32]) -> u64 {
    fnv1a(values.iter().flat_map(|value| value.to_bits().to_le_bytes()))
}

impl HashWeights {
    /// The image that goes with the weights: `height` x `width` x `channels`, NHWC, values in -1..1. The sequence runs
    /// in the order channel, row, column. An error where there is no room for it.
    pub fn image(height: usize, width: usize, channels: usize) -> Result<Vec<f32>> {
        let length = [height, width, channels].into_iter().try_fold(1, usize::checked_mul);
        let length = length.ok_or_else(|| Error::memory("image", usize::MAX))?;
        let mut image = collect("image", length, core::iter::repeat(0.0))?;
        for (i, u) in uniform("input", length).enumerate() {
            let (channel, pixel) = (i / (height * width), i % (height * width));
            image[pixel * channels + channel] = (2.0 * u - 1.0) as f32;
        }
        Ok(image)
    }
}

impl Weights for HashWeights {
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Cow<'_, [f32]>, String> {
        let count = shape.iter().try_fold(1, |product: usize, &size| product.checked_mul(size));
        let count = count.ok_or_else(|| format!("shape {shape:?}, expected one that fits the address space"))?;
        // Kernels have more than one axis; the vectors are those of the normalisation and the biases.
        let bound = sqrt(6.0 / shape.iter().skip(1).map(|&size| size as f64).product::<f64>());
        // What is subtracted from the number, the factor, and what is added.
        let (centre, factor, offset) = match name.rsplit('.').next() {
            Some("weight") if shape.len() > 1 => (0.5, 2.0 * bound, 0.0),
            Some("weight" | "running_var") => (0.0, 0.5, 0.75),
            _ => (0.5, 0.2, 0.0),
        };
        let values = collect(name, count, uniform(name, count).map(|u| ((u - centre) * factor + offset) as f32));
        values.map(Cow::Owned).map_err(|_| format!("{} bytes of memory are not to be had", 4 * count as u128))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed by another program from SplitMix64's and FNV-1a's definitions.
    #[test]
    fn every_name_has_its_numbers() {
        let image = [-0.804_363_37, 0.304_720_76, -0.592_751_5, -0.451_110_72, 0.582_195_04, 0.516_632_44];
        // Channel by channel.
        assert_eq!(HashWeights::image(1, 3, 2).unwrap(), [0, 3, 1, 4, 2, 5].map(|at| image[at]));
        let tensor = |name, shape: &[usize]| HashWeights.tensor(name, shape).unwrap().into_owned();
        assert_eq!(tensor("a.weight", &[1, 3, 1, 1]), [0.482_336_8, -0.766_024_53, 1.140_800_4]);
        assert_eq!(tensor("a.running_var", &[2]), [0.965_491, 0.999_566_44]);
        assert_eq!(tensor("a.bias", &[2]), [0.051_077_127, 0.052_638_47]);
        assert_eq!(hash_of_bits(&[1.0, -2.0]), 0x0979_e9ee_2da2_2858);
    }
}
