//! MobileNet V2: a stem, seventeen inverted residuals, a 1x1 convolution, a classifier.
//!
//! Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", 2018, arXiv:1801.04381, Table 2. Layers
//! are named by block, parameters as in torchvision.

use alloc::format;

use super::config::{Activation, Config, Flavor};
use super::names::{Names, TensorNames};
use super::net::{Built, Model, Net, Placement, divisible_by_8};
use crate::error::Result;
use crate::graph::Node;
use crate::tensor::Clamp;

pub(super) const MODEL: Model = Model { build, names };

/// Table 2: expansion t, output channels c, blocks n, stride s of the first.
const GROUPS: [(usize, usize, usize, usize); 7] =
    [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)];

/// Channels of the stem, and of the last convolution, which a width below 1 does not thin.
const STEM: usize = 32;
const LAST: usize = 1280;

fn build(config: &Config) -> Result<Built> {
    let activation = config.activation.unwrap_or(Activation::Relu6);
    let scaled = |channels: usize| {
        let exact = channels as f64 * config.width;
        // Keras cuts the fraction off first.
        divisible_by_8(if config.flavor == Flavor::Keras { f64::from(exact as u32) } else { exact })
    };
    let name = format!("mobilenet_v2_{:?}_{}_{}", config.width, config.resolution, config.flavor);
    let (mut net, image) = Net::new(config, 3, Placement::of(config.flavor, Placement::Same))?;

    let (window, stem) = (net.window(image, 3, 2)?, net.layer("features.0.0", "features.0.1", activation));
    let mut x = net.builder.conv("conv1", image, divisible_by_8(STEM as f64 * config.width), window, stem)?;
    let groups = GROUPS.iter().flat_map(|&(t, c, n, s)| (0..n).map(move |i| (t, c, if i == 0 { s } else { 1 })));
    for (block, (expansion, channels, stride)) in groups.enumerate() {
        let (scope, features) = (format!("block{block}"), format!("features.{}.conv", block + 1));
        let (input, width, channels) = (x, net.channels(x)?, scaled(channels));
        // Without an expansion its two modules are missing, and the others move up.
        let module = if expansion == 1 { 0 } else { 1 };
        if expansion > 1 {
            let layer = net.layer(&format!("{features}.0.0"), &format!("{features}.0.1"), activation);
            x = net.builder.pointwise(&format!("{scope}_expand"), x, expansion * width, layer)?;
        }
        let layer = net.layer(&format!("{features}.{module}.0"), &format!("{features}.{module}.1"), activation);
        let window = net.window(x, 3, stride)?;
        x = net.builder.depthwise(&format!("{scope}_dw"), x, window, layer)?;
        let (weights, norm) = (format!("{features}.{}", module + 1), format!("{features}.{}", module + 2));
        let layer = net.layer(&weights, &norm, Activation::Linear);
        x = net.builder.pointwise(&format!("{scope}_project"), x, channels, layer)?;
        if stride == 1 && width == channels {
            x = net.builder.add(&format!("{scope}_add"), x, input, Clamp::NONE)?;
        }
    }
    let last = if config.width > 1.0 { divisible_by_8(LAST as f64 * config.width) } else { LAST };
    let layer = net.layer("features.18.0", "features.18.1", activation);
    x = net.builder.pointwise("conv_last", x, last, layer)?;
    let classes = config.classes.unwrap_or(config.flavor.classes());
    let graph = net.head(["global_avg_pool", "classifier", "classifier.1"], x, classes)?;
    Ok(Built { name, graph })
}

fn names(source: TensorNames, node: &Node) -> Option<Names> {
    let depthwise = node.kind() == "depthwise";
    match source {
        TensorNames::Timm => timm(node.name()),
        TensorNames::Keras => {
            let kernel = if depthwise { "depthwise_kernel" } else { "kernel" };
            let layer = match node.name() {
                "conv1" => return Some(Names::keras("Conv1", kernel, "bn_Conv1")),
                "conv_last" => return Some(Names::keras("Conv_1", kernel, "Conv_1_bn")),
                "classifier" => return Some(Names::keras("predictions", kernel, "").or_older("Logits")),
                inverted => match block(inverted)? {
                    (0, part) => format!("expanded_conv_{part}"),
                    (block, part) => format!("block_{block}_{part}"),
                },
            };
            Some(Names::keras(&layer, kernel, &format!("{layer}_BN")))
        }
        TensorNames::Slim => Some(match node.name() {
            "conv1" => Names::slim("MobilenetV2/Conv", false),
            "conv_last" => Names::slim("MobilenetV2/Conv_1", false),
            "classifier" => Names::slim("MobilenetV2/Logits/Conv2d_1c_1x1", false),
            inverted => match block(inverted)? {
                (0, part) => Names::slim(&format!("MobilenetV2/expanded_conv/{part}"), depthwise),
                (block, part) => Names::slim(&format!("MobilenetV2/expanded_conv_{block}/{part}"), depthwise),
            },
        }),
        _ => None,
    }
}

/// The block and the part of it that a node is, as TensorFlow calls it.
fn block(node: &str) -> Option<(usize, &str)> {
    let (block, part) = node.strip_prefix("block")?.split_once('_')?;
    Some((block.parse().ok()?, if part == "dw" { "depthwise" } else { part }))
}

/// First block of each of timm's stages.
const STAGES: [usize; 8] = [0, 1, 3, 6, 10, 13, 16, 17];

fn timm(node: &str) -> Option<Names> {
    match node {
        "conv1" => return Some(Names::torch("conv_stem", "bn1")),
        "conv_last" => return Some(Names::torch("conv_head", "bn2")),
        "classifier" => return Some(Names::torch("classifier", "")),
        _ => {}
    }
    let (block, part) = block(node)?;
    let stage = STAGES.iter().rposition(|&first| first <= block)?;
    let (weights, norm) = match (block, part) {
        (0, "depthwise") => ("conv_dw", "bn1"),
        (0, "project") => ("conv_pw", "bn2"),
        (_, "expand") => ("conv_pw", "bn1"),
        (_, "depthwise") => ("conv_dw", "bn2"),
        _ => ("conv_pwl", "bn3"),
    };
    let prefix = format!("blocks.{stage}.{}", block - STAGES[stage]);
    Some(Names::torch(&format!("{prefix}.{weights}"), &format!("{prefix}.{norm}")))
}
