//! MobileNet V2: a stem, seventeen inverted residuals, a 1x1 convolution, a classifier.
//!
//! Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", 2018, arXiv:1801.04381, Table 2. Layers
//! are named by block, parameters as in torchvision.

use super::graph::{Builder, Named, Network, Place, divisible_by_8};
use super::{Activation, Config, Flavor};
use crate::error::Result;

/// Table 2: expansion t, output channels c, blocks n, stride s of the first.
const GROUPS: [(usize, usize, usize, usize); 7] =
    [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)];

/// Channels of the stem, and of the last convolution, which a width below 1 does not thin.
const STEM: usize = 32;
const LAST: usize = 1280;

pub(super) fn build(config: &Config) -> Result<Network> {
    let activation = config.activation.unwrap_or(Activation::Relu6);
    let scaled = |channels: usize| {
        let exact = channels as f64 * config.width;
        // Keras cuts the fraction off first.
        divisible_by_8(if config.flavor == Flavor::Keras { exact.trunc() } else { exact })
    };
    let name = format!("mobilenet_v2_{:?}_{}_{}", config.width, config.resolution, config.flavor);
    let mut net = Builder::new(super::Name::MobilenetV2, name, config, 3, Place::of(config.flavor, Place::Same));

    let stem = Named::new("conv1", "features.0.0", "features.0.1", activation);
    let mut x = net.conv(stem, 0, 3, 2, divisible_by_8(STEM as f64 * config.width))?;
    let groups = GROUPS.iter().flat_map(|&(t, c, n, s)| (0..n).map(move |i| (t, c, if i == 0 { s } else { 1 })));
    for (block, (expansion, channels, stride)) in groups.enumerate() {
        let (layer, features) = (format!("block{block}"), format!("features.{}.conv", block + 1));
        let (input, width, channels) = (x, net.channels(x), scaled(channels));
        // Without an expansion its two modules are missing, and the others move up.
        let module = if expansion == 1 { 0 } else { 1 };
        if expansion > 1 {
            let (weights, norm) = (format!("{features}.0.0"), format!("{features}.0.1"));
            x = net.pointwise(
                Named::new(&format!("{layer}_expand"), &weights, &norm, activation),
                x,
                expansion * width,
            );
        }
        let (weights, norm) = (format!("{features}.{module}.0"), format!("{features}.{module}.1"));
        x = net.depthwise(Named::new(&format!("{layer}_dw"), &weights, &norm, activation), x, stride)?;
        let (weights, norm) = (format!("{features}.{}", module + 1), format!("{features}.{}", module + 2));
        x = net.pointwise(Named::new(&format!("{layer}_project"), &weights, &norm, Activation::Linear), x, channels);
        if stride == 1 && width == channels {
            x = net.add(&format!("{layer}_add"), x, input);
        }
    }
    let last = if config.width > 1.0 { divisible_by_8(LAST as f64 * config.width) } else { LAST };
    x = net.pointwise(Named::new("conv_last", "features.18.0", "features.18.1", activation), x, last);
    let classes = config.classes.unwrap_or(config.flavor.classes());
    Ok(net.head(["global_avg_pool", "classifier", "classifier.1"], x, classes))
}
