//! What the networks' files are built of.

use alloc::string::String;

use super::config::{Activation, Config, Flavor};
use super::names::{Names, TensorNames};
use crate::error::Result;
use crate::graph::{Builder, Graph, Layer, Node, Tensor};
use crate::tensor::{Padding, Shape, Window};

/// What the file of a network holds.
pub(super) struct Model {
    /// Builds the graph; its last two nodes are the head: global average pooling and the classifier.
    pub build: fn(&Config) -> Result<Built>,
    /// What other sources than the one of [`Parameters`](crate::graph::Parameters)' names call the tensors of a node.
    pub names: fn(TensorNames, &Node) -> Option<Names>,
}

/// A graph with the name of its configuration.
pub(super) struct Built {
    pub name: String,
    pub graph: Graph,
}

/// How windows are placed on an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Placement {
    /// The same padding on each side: half the window.
    Symmetric,
    /// TensorFlow's SAME: as many outputs as strides fit, the odd pixel after.
    Same,
    /// As SAME, but (0, 1) before every stride of 2, whatever the size.
    Before2,
}

impl Placement {
    /// How `flavor` pads; `keras` is what Keras does where it differs from SAME.
    pub fn of(flavor: Flavor, keras: Placement) -> Self {
        match flavor {
            Flavor::Torch | Flavor::Timm | Flavor::Paper | Flavor::Megvii | Flavor::Caffe => Placement::Symmetric,
            Flavor::Tf | Flavor::Slim => Placement::Same,
            Flavor::Keras => keras,
        }
    }
}

/// A graph's builder with the conventions of a flavor.
pub(super) struct Net {
    pub builder: Builder,
    placement: Placement,
    epsilon: f64,
}

impl Net {
    /// The builder, and the image of `channels` channels.
    pub fn new(config: &Config, channels: usize, placement: Placement) -> Result<(Net, Tensor)> {
        let mut builder = Builder::new();
        let image = builder.input("image", Shape::new(config.resolution, config.resolution, channels))?;
        Ok((Net { builder, placement, epsilon: config.epsilon.unwrap_or(config.flavor.epsilon()) }, image))
    }

    /// A window of `size` x `size` moved by `stride` over `input`.
    pub fn window(&self, input: Tensor, size: usize, stride: usize) -> Result<Window> {
        let window = Window::square(size).stride(stride);
        Ok(match self.placement {
            Placement::Symmetric => window.symmetric(),
            Placement::Before2 if stride == 2 && size == 3 => {
                window.padding(Padding { bottom: 1, right: 1, ..Padding::NONE })
            }
            Placement::Same | Placement::Before2 => window.same(self.builder.shape(input)?),
        })
    }

    /// The parameters `weights` with the batch normalisation `norm` and `activation`.
    pub fn layer(&self, weights: &str, norm: &str, activation: Activation) -> Layer {
        Layer::named(weights).norm(norm, self.epsilon).clamp(activation.clamp())
    }

    /// The batch normalisation `norm` alone.
    pub fn norm(&self, norm: &str) -> Layer {
        Layer::without_weights().norm(norm, self.epsilon)
    }

    /// Channels of a tensor.
    pub fn channels(&self, tensor: Tensor) -> Result<usize> {
        Ok(self.builder.shape(tensor)?.channels)
    }

    /// Global average pooling and the classifier with its bias; ends the network.
    pub fn head(self, [pool, classifier, weights]: [&str; 3], x: Tensor, classes: usize) -> Result<Graph> {
        self.head_of([pool, classifier], x, classes, Layer::named(weights).bias())
    }

    /// The same, with a classifier of these parameters.
    pub fn head_of(mut self, [pool, classifier]: [&str; 2], x: Tensor, classes: usize, layer: Layer) -> Result<Graph> {
        let x = self.builder.global_average_pool(pool, x)?;
        let logits = self.builder.fully_connected(classifier, x, classes, layer)?;
        self.builder.build(&[logits])
    }
}

/// The nearest multiple of 8 that is at least 8 and not below nine tenths of `channels`.
pub(super) fn divisible_by_8(channels: f64) -> usize {
    let rounded = ((channels + 4.0) as usize / 8 * 8).max(8);
    if (rounded as f64) < 0.9 * channels { rounded + 8 } else { rounded }
}
