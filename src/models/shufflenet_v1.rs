//! ShuffleNet V1: units of grouped pointwise convolutions around a channel shuffle and a depthwise one.
//!
//! Zhang et al., "ShuffleNet: An Extremely Efficient Convolutional Neural Network for Mobile Devices", 2017,
//! arXiv:1707.01083, Table 1. Layers are named by stage and unit, parameters as in Megvii's release, whose shuffle is the
//! inverse permutation and stands behind the depthwise convolution.

use alloc::format;
use alloc::string::{String, ToString};

use super::config::{Activation, Config, Flavor};
use super::net::{Built, Model, Net, Placement};
use crate::error::{Error, Result};
use crate::graph::{Layer, Tensor};
use crate::tensor::{Clamp, Padding, Window};

pub(super) const MODEL: Model = Model { build, names: |_, _| None };

/// Table 1: groups, output channels of stage 2 at width 1.
const STAGE2: [(usize, usize); 5] = [(1, 144), (2, 200), (3, 240), (4, 272), (8, 384)];
/// A width, channels of the stem, of stage 2.
type Widths = (f64, usize, usize);
/// Megvii's for 3 and 8 groups.
const MEGVII: [(usize, [Widths; 4]); 2] = [
    (3, [(0.5, 12, 120), (1.0, 24, 240), (1.5, 24, 360), (2.0, 48, 480)]),
    (8, [(0.5, 16, 192), (1.0, 24, 384), (1.5, 24, 576), (2.0, 48, 768)]),
];
/// Channels of the stem by width.
const STEMS: [(f64, usize); 5] = [(0.25, 6), (0.5, 12), (1.0, 24), (1.5, 24), (2.0, 48)];
/// Units of stages 2 to 4.
const UNITS: [usize; 3] = [4, 8, 4];

/// Channels of the stem and of stage 2: Megvii's where they have some; else the nearest that the groups divide.
fn widths(groups: usize, width: f64) -> Result<(usize, usize)> {
    let refuse = |what, got: String, expected: &str| Error::Parameter { what, got, expected: expected.into() };
    let of_paper = STAGE2.iter().find(|(known, _)| *known == groups);
    let &(_, channels) = of_paper.ok_or_else(|| refuse("groups", groups.to_string(), "1, 2, 3, 4 or 8"))?;
    let published = MEGVII.iter().filter(|(known, _)| *known == groups).flat_map(|(_, rows)| rows);
    if let Some(&(_, stem, stage2)) = published.into_iter().find(|(known, ..)| *known == width) {
        return Ok((stem, stage2));
    }
    let unit = 4 * groups;
    let stage2 = unit * (((width * channels as f64) / unit as f64 + 0.5) as usize).max(1);
    // Between the published widths, the stem of the next.
    let stem = STEMS.iter().find(|(known, _)| *known >= width).map_or(48, |&(_, stem)| stem);
    let fits = |stem: &usize| *stem < stage2 && (stage2 - stem).is_multiple_of(groups);
    let stem = (stem..stage2).find(fits).ok_or_else(|| refuse("width", width.to_string(), "one of 0.25 and more"))?;
    Ok((stem, stage2))
}

/// A unit's place and its sizes.
struct Unit {
    name: String,
    key: String,
    groups: usize,
    /// Groups of its first convolution.
    first_groups: usize,
    stride: usize,
    channels: usize,
}

fn unit(net: &mut Net, unit: &Unit, x: Tensor, megvii: bool) -> Result<Tensor> {
    let Unit { name, key, groups, first_groups, stride, channels } = unit;
    let (inputs, middle) = (net.channels(x)?, channels / 4);
    let (relu, linear) = (Activation::Relu, Activation::Linear);
    let layer = net.layer(&format!("{key}.branch_main_1.0"), &format!("{key}.branch_main_1.1"), relu);
    let mut y = net.builder.grouped_pointwise(&format!("{name}_gconv1"), x, middle, *first_groups, layer)?;
    if *groups > 1 && !megvii {
        y = net.builder.shuffle(y, *groups)?;
    }
    let layer = net.layer(&format!("{key}.branch_main_1.3"), &format!("{key}.branch_main_1.4"), linear);
    let window = net.window(y, 3, *stride)?;
    y = net.builder.depthwise(&format!("{name}_dw"), y, window, layer)?;
    if *groups > 1 && megvii {
        y = net.builder.shuffle(y, middle / groups)?;
    }
    let (weights, norm) = (format!("{key}.branch_main_2.0"), format!("{key}.branch_main_2.1"));
    let gconv2 = format!("{name}_gconv2");
    if *stride == 1 {
        let layer = net.layer(&weights, &norm, linear);
        y = net.builder.grouped_pointwise(&gconv2, y, *channels, *groups, layer)?;
        return net.builder.add(&format!("{name}_add"), x, y, Clamp::RELU);
    }
    let layer = net.layer(&weights, &norm, relu);
    y = net.builder.grouped_pointwise(&gconv2, y, channels - inputs, *groups, layer)?;
    let window = Window::square(3).stride(2).padding(Padding::all(1));
    let shortcut = net.builder.average_pool(&format!("{name}_avgpool"), x, window, true)?;
    net.builder.concat(&[shortcut, y])
}

fn build(config: &Config) -> Result<Built> {
    let (groups, megvii) = (config.groups.unwrap_or(3), config.flavor == Flavor::Megvii);
    let (stem, stage2) = widths(groups, config.width)?;
    let size = if config.resolution == 224 { String::new() } else { format!("_{}", config.resolution) };
    let name = format!("shufflenet_v1_g{groups}_{:?}x_{}{size}", config.width, config.flavor);
    let (mut net, image) = Net::new(config, 3, Placement::Symmetric)?;
    let (window, layer) = (net.window(image, 3, 2)?, net.layer("first_conv.0", "first_conv.1", Activation::Relu));
    let mut x = net.builder.conv("conv1", image, stem, window, layer)?;
    let window = net.window(x, 3, 2)?;
    x = net.builder.max_pool("maxpool", x, window)?;
    let mut index = 0;
    for (stage, &units) in UNITS.iter().enumerate() {
        for at in 0..units {
            let first = index == 0;
            let of = Unit {
                name: format!("stage{}_{at}", stage + 2),
                key: format!("features.{index}"),
                groups,
                first_groups: if first { 1 } else { groups },
                stride: if at == 0 { 2 } else { 1 },
                channels: stage2 << stage,
            };
            x = unit(&mut net, &of, x, megvii)?;
            index += 1;
        }
    }
    let classes = config.classes.unwrap_or(config.flavor.classes());
    let graph = net.head_of(["global_avg_pool", "fc"], x, classes, Layer::named("classifier.0"))?;
    Ok(Built { name, graph })
}
