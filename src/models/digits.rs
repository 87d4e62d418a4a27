//! The digits network: MobileNet V1's blocks on a 28x28 grey image, with a 1x1 stem and ReLU.
//!
//! After the TensorFlow implementations of MobileNet for MNIST, whose scopes it keeps: every layer takes
//! `round(channels * width)`, the stem reads every other pixel, only one block halves the image.

use alloc::format;

use super::config::{Activation, Config};
use super::net::{Built, Model, Net, Placement};
use crate::error::Result;
use crate::math::round_ties_even;

pub(super) const MODEL: Model = Model { build, names: |_, _| None };

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

fn build(config: &Config) -> Result<Built> {
    let scaled = |channels: usize| (round_ties_even(channels as f64 * config.width) as usize).max(1);
    let activation = config.activation.unwrap_or(Activation::Relu);
    let config = &Config { epsilon: Some(config.epsilon.unwrap_or(EPSILON)), ..*config };
    let name = format!("digits_{:?}_{}", config.width, config.resolution);
    let (mut net, image) = Net::new(config, 1, Placement::Same)?;
    let window = net.window(image, 1, 2)?;
    let stem = net.layer("conv_1", "conv_1.bn", activation);
    let mut x = net.builder.conv("conv_1", image, scaled(32), window, stem)?;
    for (index, &(channels, stride)) in BLOCKS.iter().enumerate() {
        let scope = format!("ds_conv_{}", index + 2);
        let layer = net.layer(&format!("{scope}.dw_conv"), &format!("{scope}.dw_bn"), activation);
        let window = net.window(x, 3, stride)?;
        x = net.builder.depthwise(&format!("{scope}_dw"), x, window, layer)?;
        let layer = net.layer(&format!("{scope}.pw_conv"), &format!("{scope}.pw_bn"), activation);
        x = net.builder.pointwise(&format!("{scope}_pw"), x, scaled(channels), layer)?;
    }
    let graph = net.head(["avg_pool_15", "fc_16", "fc_16"], x, config.classes.unwrap_or(10))?;
    Ok(Built { name, graph })
}
