//! Xception: entry flow, eight middle blocks, exit flow, all of depthwise-separable convolutions without an activation
//! between depthwise and pointwise.
//!
//! Chollet, "Xception: Deep Learning with Depthwise Separable Convolutions", 2017, arXiv:1610.02357, Figure 5. Layers
//! are named as in Keras, parameters as in timm's `legacy_xception`, whose blocks count one less.

use alloc::format;
use alloc::string::String;

use super::config::{Activation, Config};
use super::names::{Names, TensorNames};
use super::net::{Built, Model, Net, Placement, divisible_by_8};
use crate::error::Result;
use crate::graph::{Layer, Node, Tensor};
use crate::tensor::{Clamp, Window};

pub(super) const MODEL: Model = Model { build, names };

/// Figure 5, blocks 2 to 13: the output channels of their separable convolutions. A block of two pools after them and
/// has a convolution on its shortcut; a block of three adds its input.
const BLOCKS: [&[usize]; 12] = [
    &[128, 128],
    &[256, 256],
    &[728, 728],
    &[728, 728, 728],
    &[728, 728, 728],
    &[728, 728, 728],
    &[728, 728, 728],
    &[728, 728, 728],
    &[728, 728, 728],
    &[728, 728, 728],
    &[728, 728, 728],
    &[728, 1024],
];

/// Block 14: channels, parameters, normalisation.
const EXIT: [(usize, &str, &str); 2] = [(1536, "conv3", "bn3"), (2048, "conv4", "bn4")];

/// A depthwise layer without normalisation or activation, then a pointwise one with both; `relu` before them.
fn separable(
    net: &mut Net,
    scope: &str,
    (weights, norm): (&str, &str),
    x: Tensor,
    channels: usize,
    relu: bool,
    activation: Activation,
) -> Result<Tensor> {
    let x = if relu { net.builder.clamp(&format!("{scope}_act"), x, Clamp::RELU)? } else { x };
    let (window, depthwise) = (net.window(x, 3, 1)?, Layer::named(format!("{weights}.conv1")));
    let x = net.builder.depthwise(&format!("{scope}_dw"), x, window, depthwise)?;
    let pointwise = net.layer(&format!("{weights}.pointwise"), norm, activation);
    net.builder.pointwise(&format!("{scope}_pw"), x, channels, pointwise)
}

fn build(config: &Config) -> Result<Built> {
    let (relu, linear) = (config.activation.unwrap_or(Activation::Relu), Activation::Linear);
    let scaled = |channels: usize| divisible_by_8(channels as f64 * config.width);
    let width = if config.width == 1.0 { String::new() } else { format!("_{:?}", config.width) };
    let name = format!("xception{width}_{}_{}", config.flavor, config.resolution);
    let (mut net, image) = Net::new(config, 3, Placement::of(config.flavor, Placement::Same))?;

    let (first, second) = (net.layer("conv1", "bn1", relu), net.layer("conv2", "bn2", relu));
    let mut x = net.builder.conv("block1_conv1", image, scaled(32), Window::square(3).stride(2), first)?;
    x = net.builder.conv("block1_conv2", x, scaled(64), Window::square(3), second)?;

    for (index, &channels) in BLOCKS.iter().enumerate() {
        let (block, key) = (format!("block{}", index + 2), format!("block{}", index + 1));
        let (input, last) = (x, scaled(*channels.last().unwrap_or(&0)));
        let down = channels.len() == 2;
        let shortcut = if down {
            let layer = net.layer(&format!("{key}.skip"), &format!("{key}.skipbn"), linear);
            net.builder.conv(&format!("{block}_res"), input, last, Window::PIXEL.stride(2), layer)?
        } else {
            input
        };
        for (i, &channels) in channels.iter().enumerate() {
            // timm counts the ReLU in front, which only the first block's first convolution lacks.
            let relu_before = index > 0 || i > 0;
            let module = 3 * i + usize::from(index > 0);
            let names = (&*format!("{key}.rep.{module}"), &*format!("{key}.rep.{}", module + 1));
            let scope = format!("{block}_sepconv{}", i + 1);
            x = separable(&mut net, &scope, names, x, scaled(channels), relu_before, linear)?;
        }
        if down {
            let window = net.window(x, 3, 2)?;
            x = net.builder.max_pool(&format!("{block}_pool"), x, window)?;
        }
        x = net.builder.add(&format!("{block}_add"), shortcut, x, Clamp::NONE)?;
    }
    for (i, &(channels, weights, norm)) in EXIT.iter().enumerate() {
        let scope = format!("block14_sepconv{}", i + 1);
        x = separable(&mut net, &scope, (weights, norm), x, scaled(channels), false, relu)?;
    }
    let classes = config.classes.unwrap_or(config.flavor.classes());
    let graph = net.head(["avg_pool", "predictions", "fc"], x, classes)?;
    Ok(Built { name, graph })
}

fn names(source: TensorNames, node: &Node) -> Option<Names> {
    if source != TensorNames::Keras {
        return None;
    }
    if let Some(separable) = node.name().strip_suffix("_dw") {
        return Some(Names::keras(separable, "depthwise_kernel", ""));
    }
    if let Some(separable) = node.name().strip_suffix("_pw") {
        return Some(Names::keras(separable, "pointwise_kernel", &format!("{separable}_bn")));
    }
    if let Some(shortcut) = node.name().strip_suffix("_res") {
        let nth = ["block2", "block3", "block4", "block13"].iter().position(|block| *block == shortcut)?;
        let suffix = if nth == 0 { String::new() } else { format!("_{nth}") };
        return Some(Names::keras(&format!("conv2d{suffix}"), "kernel", &format!("batch_normalization{suffix}")));
    }
    Some(Names::keras(node.name(), "kernel", &format!("{}_bn", node.name())))
}
