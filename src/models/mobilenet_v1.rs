//! MobileNet V1: a stem, thirteen depthwise-separable blocks, a classifier.
//!
//! Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications", 2017,
//! arXiv:1704.04861, Table 1. The paper writes ReLU; every published checkpoint uses ReLU6. Layers are named as in
//! TF-slim, parameters as in timm.

use alloc::format;

use super::config::{Activation, Config, Flavor};
use super::names::{Names, TensorNames};
use super::net::{Built, Model, Net, Placement, divisible_by_8};
use crate::error::Result;
use crate::graph::Node;

pub(super) const MODEL: Model = Model { build, names };

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
        _ => divisible_by_8(exact),
    }
}

fn build(config: &Config) -> Result<Built> {
    let activation = config.activation.unwrap_or(Activation::Relu6);
    let name = format!("mobilenet_v1_{:?}_{}_{}", config.width, config.resolution, config.flavor);
    let (mut net, image) = Net::new(config, 3, Placement::of(config.flavor, Placement::Before2))?;
    let (window, stem) = (net.window(image, 3, 2)?, net.layer("conv_stem", "bn1", activation));
    let mut x = net.builder.conv("Conv2d_0", image, scaled(32, config), window, stem)?;
    for (index, &(channels, stride, (stage, block))) in BLOCKS.iter().enumerate() {
        let (scope, key) = (format!("Conv2d_{}", index + 1), format!("blocks.{stage}.{block}"));
        let layer = net.layer(&format!("{key}.conv_dw"), &format!("{key}.bn1"), activation);
        let window = net.window(x, 3, stride)?;
        x = net.builder.depthwise(&format!("{scope}_depthwise"), x, window, layer)?;
        let layer = net.layer(&format!("{key}.conv_pw"), &format!("{key}.bn2"), activation);
        x = net.builder.pointwise(&format!("{scope}_pointwise"), x, scaled(channels, config), layer)?;
    }
    let classes = config.classes.unwrap_or(config.flavor.classes());
    let graph = net.head(["global_avg_pool", "Logits", "classifier"], x, classes)?;
    Ok(Built { name, graph })
}

fn names(source: TensorNames, node: &Node) -> Option<Names> {
    let depthwise = node.kind() == "depthwise";
    match source {
        TensorNames::Keras => {
            let layer = match node.name() {
                "Conv2d_0" => "conv1".into(),
                "Logits" => "conv_preds".into(),
                separable => {
                    let (block, _) = separable.strip_prefix("Conv2d_")?.split_once('_')?;
                    format!("conv_{}_{block}", if depthwise { "dw" } else { "pw" })
                }
            };
            let kernel = if depthwise { "depthwise_kernel" } else { "kernel" };
            Some(Names::keras(&layer, kernel, &format!("{layer}_bn")))
        }
        TensorNames::Slim => Some(match node.name() {
            "Logits" => Names::slim("MobilenetV1/Logits/Conv2d_1c_1x1", false),
            scope => Names::slim(&format!("MobilenetV1/{scope}"), depthwise),
        }),
        _ => None,
    }
}
