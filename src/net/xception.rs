//! Xception: entry flow, eight middle blocks, exit flow, all of depthwise-separable convolutions without an activation
//! between depthwise and pointwise.
//!
//! Chollet, "Xception: Deep Learning with Depthwise Separable Convolutions", 2017, arXiv:1610.02357, Figure 5. Layers
//! are named as in Keras, parameters as in timm's `legacy_xception`, whose blocks count one less.

use super::graph::{Builder, Named, Network, Place, TensorId, divisible_by_8};
use super::{Activation, Config};
use crate::error::Result;

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

/// A depthwise layer without normalisation or activation, then a pointwise one with both; `pre_relu` clamps the input.
fn separable(
    net: &mut Builder,
    layer: &str,
    (weights, norm): (&str, &str),
    x: TensorId,
    channels: usize,
    pre_relu: bool,
    activation: Activation,
) -> Result<TensorId> {
    let (depthwise, pointwise) = (format!("{layer}_dw"), format!("{layer}_pw"));
    let (conv1, second) = (format!("{weights}.conv1"), format!("{weights}.pointwise"));
    let plain = Named::new(&depthwise, &conv1, "", Activation::Linear);
    let x = if pre_relu { net.depthwise_after_relu(plain, x, 1)? } else { net.depthwise(plain, x, 1)? };
    Ok(net.pointwise(Named::new(&pointwise, &second, norm, activation), x, channels))
}

pub(super) fn build(config: &Config) -> Result<Network> {
    let (relu, linear) = (config.activation.unwrap_or(Activation::Relu), Activation::Linear);
    let scaled = |channels: usize| divisible_by_8(channels as f64 * config.width);
    let width = if config.width == 1.0 { String::new() } else { format!("_{:?}", config.width) };
    let name = format!("xception{width}_{}_{}", config.flavor, config.resolution);
    let mut net = Builder::new(super::Name::Xception, name, config, 3, Place::of(config.flavor, Place::Same));

    let first = Named::new("block1_conv1", "conv1", "bn1", relu);
    let second = Named::new("block1_conv2", "conv2", "bn2", relu);
    let mut x = net.conv_placed(Place::Valid, first, 0, 3, 2, scaled(32))?;
    x = net.conv_placed(Place::Valid, second, x, 3, 1, scaled(64))?;

    for (index, &channels) in BLOCKS.iter().enumerate() {
        let (block, key) = (format!("block{}", index + 2), format!("block{}", index + 1));
        let (input, last) = (x, scaled(*channels.last().unwrap_or(&0)));
        let down = channels.len() == 2;
        let shortcut = if down {
            let (weights, norm) = (format!("{key}.skip"), format!("{key}.skipbn"));
            let layer = format!("{block}_res");
            net.conv_placed(Place::Valid, Named::new(&layer, &weights, &norm, linear), input, 1, 2, last)?
        } else {
            input
        };
        for (i, &channels) in channels.iter().enumerate() {
            // timm counts the ReLU in front, which only the first block's first convolution lacks.
            let relu_before = index > 0 || i > 0;
            let module = 3 * i + usize::from(index > 0);
            let names = (&*format!("{key}.rep.{module}"), &*format!("{key}.rep.{}", module + 1));
            let layer = format!("{block}_sepconv{}", i + 1);
            x = separable(&mut net, &layer, names, x, scaled(channels), relu_before, linear)?;
        }
        if down {
            x = net.max_pool(&format!("{block}_pool"), x)?;
        }
        x = net.add(&format!("{block}_add"), shortcut, x);
    }
    for (i, &(channels, weights, norm)) in EXIT.iter().enumerate() {
        let layer = format!("block14_sepconv{}", i + 1);
        x = separable(&mut net, &layer, (weights, norm), x, scaled(channels), false, relu)?;
    }
    let classes = config.classes.unwrap_or(config.flavor.classes());
    Ok(net.head(["avg_pool", "predictions", "fc"], x, classes))
}
