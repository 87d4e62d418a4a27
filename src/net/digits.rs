//! The digits network: MobileNet V1's blocks on a 28x28 grey image, with a 1x1 stem and ReLU.
//!
//! After the TensorFlow implementations of MobileNet for MNIST, whose scopes it keeps: every layer takes
//! `round(channels * width)`, the stem reads every other pixel, only one block halves the image.

use super::graph::{Builder, Named, Network, Place};
use super::{Activation, Config};
use crate::error::Result;

/// Output channels at width 1 and stride of the depthwise layer of `ds_conv_2` to `ds_conv_14`.
const BLOCKS: [(usize, usize); 13] = [
    (64, 1),
    (128, 1),
    (128, 1),
    (256, 1),
    (256, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (1024, 2),
    (1024, 1),
];

/// Epsilon of its batch normalisation, whatever the flavor.
const EPSILON: f64 = 1e-5;

pub(super) fn build(config: &Config) -> Result<Network> {
    let scaled = |channels: usize| ((channels as f64 * config.width).round_ties_even() as usize).max(1);
    let activation = config.activation.unwrap_or(Activation::Relu);
    let config = &Config { epsilon: Some(config.epsilon.unwrap_or(EPSILON)), ..*config };
    let name = format!("digits_{:?}_{}", config.width, config.resolution);
    let mut net = Builder::new(super::Name::Digits, name, config, 1, Place::Same);
    let stem = Named::new("conv_1", "conv_1", "conv_1.bn", activation);
    let mut x = net.conv(stem, 0, 1, 2, scaled(32))?;
    for (index, &(channels, stride)) in BLOCKS.iter().enumerate() {
        let scope = format!("ds_conv_{}", index + 2);
        let (weights, norm) = (format!("{scope}.dw_conv"), format!("{scope}.dw_bn"));
        x = net.depthwise(Named::new(&format!("{scope}_dw"), &weights, &norm, activation), x, stride)?;
        let (weights, norm) = (format!("{scope}.pw_conv"), format!("{scope}.pw_bn"));
        x = net.pointwise(Named::new(&format!("{scope}_pw"), &weights, &norm, activation), x, scaled(channels));
    }
    Ok(net.head(["avg_pool_15", "fc_16", "fc_16"], x, config.classes.unwrap_or(10)))
}
