//! EffNet: blocks of spatially separable depthwise convolutions, each axis halved by itself, for 32x32 images.
//!
//! Freeman et al., "EffNet: An efficient structure for convolutional neural networks", 2018, arXiv:1801.06434. The paper
//! leaves open how the last convolution of a block takes its two pixels: PyTorch's reimplementation joins neighbours in a
//! row, Keras' those in a column and leaves every other column out. Each convolution is followed by a leaky ReLU, then by
//! the batch normalisation. Parameters are named and laid out as in the PyTorch reimplementation, in both.

use alloc::format;
use alloc::string::String;

use super::config::{Config, Flavor};
use super::net::{Built, Model, Net, Placement};
use crate::error::Result;
use crate::graph::{Flatten, Layer, Tensor};
use crate::tensor::{Padding, Window};

pub(super) const MODEL: Model = Model { build, names: |_, _| None };

/// Input and output channels of the blocks.
const BLOCKS: [(usize, usize); 3] = [(32, 64), (64, 128), (128, 256)];
/// What negative numbers are multiplied by.
const SLOPE: f32 = 0.3;

fn build(config: &Config) -> Result<Built> {
    let scaled = |channels: usize| ((channels as f64 * config.width) as usize).max(1);
    let width = if config.width == 1.0 { String::new() } else { format!("_{:?}", config.width) };
    let size = if config.resolution == 32 { String::new() } else { format!("_{}", config.resolution) };
    let name = format!("effnet{width}{size}_{}", config.flavor);
    let (mut net, mut x) = Net::new(config, 3, Placement::Symmetric)?;
    let pair = match config.flavor {
        Flavor::Keras => Window::new(2, 1).strides(1, 2).padding(Padding { bottom: 1, ..Padding::NONE }),
        _ => Window::new(1, 2).strides(1, 2),
    };
    let sides = |rows, columns| Padding { top: rows, bottom: rows, left: columns, right: columns };
    for (at, &(inputs, outputs)) in BLOCKS.iter().enumerate() {
        let block = format!("block{}", at + 1);
        let weights = |index: usize| Layer::named(format!("{block}.{index}"));
        x = net.builder.pointwise(&format!("{block}_pw_conv"), x, scaled(inputs), weights(0))?;
        x = post(&mut net, &format!("{block}_pw"), &format!("{block}.1.1"), x)?;
        let window = Window::new(1, 3).padding(sides(0, 1));
        x = net.builder.depthwise(&format!("{block}_dw1x3_conv"), x, window, weights(2))?;
        x = post(&mut net, &format!("{block}_dw1x3"), &format!("{block}.3.1"), x)?;
        x = net.builder.max_pool(&format!("{block}_pool2x1"), x, Window::new(2, 1).strides(2, 1))?;
        let window = Window::new(3, 1).padding(sides(1, 0));
        x = net.builder.depthwise(&format!("{block}_dw3x1_conv"), x, window, weights(5))?;
        x = post(&mut net, &format!("{block}_dw3x1"), &format!("{block}.6.1"), x)?;
        let last = format!("{block}_conv{}x{}", pair.size.0, pair.size.1);
        x = net.builder.conv(&format!("{last}_conv"), x, scaled(outputs), pair, weights(7))?;
        x = post(&mut net, &last, &format!("{block}.8.1"), x)?;
    }
    let classifier = Layer::named("linear").bias();
    x = net.builder.flattened("linear", x, Flatten::ChannelsFirst, config.classes.unwrap_or(10), classifier)?;
    Ok(Built { name, graph: net.builder.build(&[x])? })
}

/// Leaky ReLU and batch normalisation.
fn post(net: &mut Net, name: &str, norm: &str, x: Tensor) -> Result<Tensor> {
    let layer = net.norm(norm);
    net.builder.leaky_norm(name, x, SLOPE, layer)
}
