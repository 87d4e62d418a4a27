//! ShuffleNet V2: units that split the channels, convolve one half and shuffle both.
//!
//! Ma et al., "ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design", 2018, arXiv:1807.11164, Table 5.
//! In torchvision's form the unit ends with the shuffle; in Megvii's, the paper's, it begins with it, and the projection of
//! stage 2 keeps its channels. Layers are named by stage and unit, parameters as in the flavor's own release.

use alloc::format;
use alloc::string::{String, ToString};

use super::config::{Activation, Config, Flavor};
use super::net::{Built, Model, Net, Placement};
use crate::error::{Error, Result};
use crate::graph::{Layer, Tensor};

pub(super) const MODEL: Model = Model { build, names: |_, _| None };

/// Table 5: width, channels of stages 2 to 4, of the last convolution.
const WIDTHS: [(f64, [usize; 3], usize); 4] = [
    (0.5, [48, 96, 192], 1024),
    (1.0, [116, 232, 464], 1024),
    (1.5, [176, 352, 704], 1024),
    (2.0, [244, 488, 976], 2048),
];
const STEM: usize = 24;
/// Units of stages 2 to 4.
const UNITS: [usize; 3] = [4, 8, 4];

/// A pointwise, a depthwise and a pointwise convolution under their keys in `branch`, which are counted from 0.
fn branch(
    net: &mut Net,
    (name, branch): (&str, &str),
    x: Tensor,
    (middle, outputs): (usize, usize),
    stride: usize,
) -> Result<Tensor> {
    let keys = |at: usize| (format!("{branch}.{at}"), format!("{branch}.{}", at + 1));
    let layer = |net: &Net, at: usize, activation| {
        let (weights, norm) = keys(at);
        net.layer(&weights, &norm, activation)
    };
    let first = layer(net, 0, Activation::Relu);
    let x = net.builder.pointwise(&format!("{name}_pw1"), x, middle, first)?;
    let (window, second) = (net.window(x, 3, stride)?, layer(net, 3, Activation::Linear));
    let x = net.builder.depthwise(&format!("{name}_dw"), x, window, second)?;
    let third = layer(net, 5, Activation::Relu);
    net.builder.pointwise(&format!("{name}_pw2"), x, outputs, third)
}

fn build(config: &Config) -> Result<Built> {
    let megvii = config.flavor == Flavor::Megvii;
    let row = WIDTHS.iter().find(|(width, ..)| *width == config.width);
    let &(_, stages, last) = row.ok_or_else(|| Error::Parameter {
        what: "width",
        got: config.width.to_string(),
        expected: "0.5, 1, 1.5 or 2 for shufflenet_v2".into(),
    })?;
    let size = if config.resolution == 224 { String::new() } else { format!("_{}", config.resolution) };
    let name = format!("shufflenet_v2_{:?}x_{}{size}", config.width, config.flavor);
    let (mut net, image) = Net::new(config, 3, Placement::Symmetric)?;
    let stem = if megvii { ("first_conv.0", "first_conv.1") } else { ("conv1.0", "conv1.1") };
    let (window, layer) = (net.window(image, 3, 2)?, net.layer(stem.0, stem.1, Activation::Relu));
    let mut x = net.builder.conv("conv1", image, STEM, window, layer)?;
    let window = net.window(x, 3, 2)?;
    x = net.builder.max_pool("maxpool", x, window)?;
    let mut index = 0;
    for (stage, (&units, &channels)) in UNITS.iter().zip(&stages).enumerate() {
        let half = channels / 2;
        for at in 0..units {
            let name = format!("stage{}_{at}", stage + 2);
            let (projection, main) = match megvii {
                true => (format!("features.{index}.branch_proj"), format!("features.{index}.branch_main")),
                false => (format!("stage{}.{at}.branch1", stage + 2), format!("stage{}.{at}.branch2", stage + 2)),
            };
            let (projection_name, main_name) = match megvii {
                true => (format!("{name}_proj"), format!("{name}_main")),
                false => (format!("{name}_b1"), format!("{name}_b2")),
            };
            let joined = if at == 0 {
                let inputs = net.channels(x)?;
                // Both halves of the output, or all that the projection leaves.
                let (projected, rest) = if megvii { (inputs, channels - inputs) } else { (half, half) };
                let layer = net.layer(&format!("{projection}.0"), &format!("{projection}.1"), Activation::Linear);
                let window = net.window(x, 3, 2)?;
                let y = net.builder.depthwise(&format!("{projection_name}_dw"), x, window, layer)?;
                let layer = net.layer(&format!("{projection}.2"), &format!("{projection}.3"), Activation::Relu);
                let y = net.builder.pointwise(&format!("{projection_name}_pw"), y, projected, layer)?;
                let z = branch(&mut net, (&main_name, &main), x, (half, rest), 2)?;
                [y, z]
            } else {
                // Megvii's halves are the even and the odd channels.
                let halves = if megvii { net.builder.shuffle(x, half)? } else { x };
                let halves = net.builder.split(halves, &[half, half])?;
                let z = branch(&mut net, (&main_name, &main), halves[1], (half, half), 1)?;
                [halves[0], z]
            };
            x = net.builder.concat(&joined)?;
            if !megvii {
                x = net.builder.shuffle(x, 2)?;
            }
            index += 1;
        }
    }
    let keys = if megvii { ("conv_last.0", "conv_last.1") } else { ("conv5.0", "conv5.1") };
    let layer = net.layer(keys.0, keys.1, Activation::Relu);
    x = net.builder.pointwise("conv5", x, last, layer)?;
    let classes = config.classes.unwrap_or(config.flavor.classes());
    let classifier = if megvii { Layer::named("classifier.0") } else { Layer::named("fc").bias() };
    let graph = net.head_of(["global_avg_pool", "fc"], x, classes, classifier)?;
    Ok(Built { name, graph })
}
