//! SqueezeNet 1.0 and 1.1: fire modules of a squeeze and two expansions side by side, and no fully connected layer.
//!
//! Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and <0.5MB model size", 2016,
//! arXiv:1602.07360; version 1.1 is of the authors' repository. Parameters are named as in torchvision. Caffe's 1.0 pads the
//! last convolution.

use alloc::format;
use alloc::string::String;

use super::config::{Activation, Architecture, Config, Flavor};
use super::names::{Names, TensorNames};
use super::net::{Built, Model, Net, Placement};
use crate::error::Result;
use crate::graph::{Layer, Node, Tensor};
use crate::tensor::{Padding, Window};

pub(super) const MODEL_1_0: Model = Model { build: |config| build(config, Architecture::Squeezenet1_0), names };
pub(super) const MODEL_1_1: Model = Model { build: |config| build(config, Architecture::Squeezenet1_1), names };

/// Squeeze and expand channels of modules 2 to 9.
const FIRES: [(usize, usize); 8] =
    [(16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256)];

/// A layer with a bias.
fn layer(weights: &str, activation: Activation) -> Layer {
    Layer::named(weights).bias().clamp(activation.clamp())
}

/// Max pooling in ceil mode: the last window may stick out of the image.
fn pool(net: &mut Net, name: &str, x: Tensor) -> Result<Tensor> {
    let shape = net.builder.shape(x)?;
    let missing = |size: usize| if size > 3 { (size - 3).next_multiple_of(2) + 3 - size } else { 0 };
    let padding = Padding { bottom: missing(shape.height), right: missing(shape.width), ..Padding::NONE };
    net.builder.max_pool(name, x, Window::square(3).stride(2).padding(padding))
}

fn build(config: &Config, architecture: Architecture) -> Result<Built> {
    let first = architecture == Architecture::Squeezenet1_0;
    let relu = Activation::Relu;
    let scaled = |channels: usize| ((channels as f64 * config.width) as usize).max(1);
    let width = if config.width == 1.0 { String::new() } else { format!("_{:?}", config.width) };
    let name = format!("{architecture}{width}_{}_{}", config.resolution, config.flavor);
    let (mut net, image) = Net::new(config, 3, Placement::Symmetric)?;
    // Version 1.1 has a smaller stem and pools earlier: before which modules, and where torchvision counts modules from.
    let (stem, size, pools, keys): (usize, usize, [usize; 3], [usize; 8]) = match first {
        true => (96, 7, [2, 5, 9], [3, 4, 5, 7, 8, 9, 10, 12]),
        false => (64, 3, [2, 4, 6], [3, 4, 6, 7, 9, 10, 11, 12]),
    };
    let window = Window::square(size).stride(2);
    let mut x = net.builder.conv("conv1", image, scaled(stem), window, layer("features.0", relu))?;
    for (at, &(squeeze, expand)) in FIRES.iter().enumerate() {
        let (module, key) = (at + 2, format!("features.{}", keys[at]));
        if pools.contains(&module) {
            x = pool(&mut net, &format!("pool{}", module - 1), x)?;
        }
        let of = |part: &str| layer(&format!("{key}.{part}"), relu);
        x = net.builder.pointwise(&format!("fire{module}_squeeze1x1"), x, scaled(squeeze), of("squeeze"))?;
        let narrow = net.builder.pointwise(&format!("fire{module}_expand1x1"), x, scaled(expand), of("expand1x1"))?;
        let window = Window::square(3).symmetric();
        let wide = net.builder.conv(&format!("fire{module}_expand3x3"), x, scaled(expand), window, of("expand3x3"))?;
        x = net.builder.concat(&[narrow, wide])?;
    }
    // Caffe's 1.0 has a border of biases around its classes.
    let padding = if first && config.flavor == Flavor::Caffe { Padding::all(1) } else { Padding::NONE };
    let last = layer("classifier.1", config.activation.unwrap_or(relu));
    let classes = config.classes.unwrap_or(config.flavor.classes());
    x = net.builder.conv("conv10", x, classes, Window::PIXEL.padding(padding), last)?;
    x = net.builder.global_average_pool("pool10", x)?;
    Ok(Built { name, graph: net.builder.build(&[x])? })
}

/// Keras ports name the convolutions as Caffe does.
fn names(source: TensorNames, node: &Node) -> Option<Names> {
    match source {
        TensorNames::Keras => Some(Names::keras(&node.name().replace('_', "/"), "kernel", "")),
        _ => None,
    }
}
