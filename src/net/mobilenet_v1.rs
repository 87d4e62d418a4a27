//! MobileNet V1: a stem, thirteen depthwise-separable blocks, a classifier.
//!
//! Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications", 2017,
//! arXiv:1704.04861, Table 1. The paper writes ReLU; every published checkpoint uses ReLU6. Layers are named as in
//! TF-slim, parameters as in timm.

use super::graph::{Builder, Named, Network, Place, divisible_by_8};
use super::{Activation, Config, Flavor};
use crate::error::Result;

/// Table 1: output channels at width 1, stride of the depthwise layer, timm's stage and block.
const BLOCKS: [(usize, usize, (usize, usize)); 13] = [
    (64, 1, (0, 0)),
    (128, 2, (1, 0)),
    (128, 1, (1, 1)),
    (256, 2, (2, 0)),
    (256, 1, (2, 1)),
    (512, 2, (3, 0)),
    (512, 1, (3, 1)),
    (512, 1, (3, 2)),
    (512, 1, (3, 3)),
    (512, 1, (3, 4)),
    (512, 1, (3, 5)),
    (1024, 2, (4, 0)),
    (1024, 1, (4, 1)),
];

/// `channels` times the width, rounded as the flavor does; equal at the four published widths.
fn scaled(channels: usize, config: &Config) -> usize {
    let exact = channels as f64 * config.width;
    match config.flavor {
        Flavor::Tf | Flavor::Slim => (exact as usize).max(8),
        Flavor::Keras => (exact as usize).max(1),
        Flavor::Torch | Flavor::Timm => divisible_by_8(exact),
    }
}

pub(super) fn build(config: &Config) -> Result<Network> {
    let activation = config.activation.unwrap_or(Activation::Relu6);
    let name = format!("mobilenet_v1_{:?}_{}_{}", config.width, config.resolution, config.flavor);
    let mut net = Builder::new(super::Name::MobilenetV1, name, config, 3, Place::of(config.flavor, Place::Before2));
    let stem = Named::new("Conv2d_0", "conv_stem", "bn1", activation);
    let mut x = net.conv(stem, 0, 3, 2, scaled(32, config))?;
    for (index, &(channels, stride, (stage, block))) in BLOCKS.iter().enumerate() {
        let (layer, key) = (format!("Conv2d_{}", index + 1), format!("blocks.{stage}.{block}"));
        let (weights, norm) = (format!("{key}.conv_dw"), format!("{key}.bn1"));
        x = net.depthwise(Named::new(&format!("{layer}_depthwise"), &weights, &norm, activation), x, stride)?;
        let (weights, norm) = (format!("{key}.conv_pw"), format!("{key}.bn2"));
        let pointwise = format!("{layer}_pointwise");
        x = net.pointwise(Named::new(&pointwise, &weights, &norm, activation), x, scaled(channels, config));
    }
    let classes = config.classes.unwrap_or(config.flavor.classes());
    Ok(net.head(["global_avg_pool", "Logits", "classifier"], x, classes))
}
