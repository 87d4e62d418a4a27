//! What each source of weights calls the tensors of a network, with the axes of its kernels.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use crate::error::Result;
use crate::tensor::buffer::collect;

/// A source of weights: its names and its layouts. [`WeightFile`](super::WeightFile) has an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TensorNames {
    /// PyTorch state dicts under the names of the graph's parameters: torchvision for MobileNet V2, timm for the others.
    Torch,
    /// timm's state dict of MobileNet V2.
    Timm,
    /// Keras applications.
    Keras,
    /// TF-slim checkpoints.
    Slim,
}

impl TensorNames {
    /// Every source, in the order in which they are tried.
    pub const ALL: [TensorNames; 4] = [TensorNames::Torch, TensorNames::Timm, TensorNames::Keras, TensorNames::Slim];
}

/// The tensors of one node in one source.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Names {
    /// The kernel.
    pub weights: String,
    /// The bias.
    pub bias: String,
    /// What files of older versions call the two.
    pub older: Option<[String; 2]>,
    /// Scale, shift, mean and variance of the batch normalisation.
    pub norm: [String; 4],
    pub axes: Axes,
}

/// The order of a kernel's axes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Axes {
    /// O, I, kh, kw; depthwise C, 1, kh, kw; linear O, I.
    Torch,
    /// kh, kw, I, O; depthwise kh, kw, C, 1; linear I, O.
    TensorFlow,
}

impl Axes {
    /// The shape on disk of a kernel that PyTorch has as `shape`.
    pub fn shape(self, shape: &[usize]) -> Vec<usize> {
        match (self, shape) {
            (Axes::TensorFlow, &[outputs, inputs]) => vec![inputs, outputs],
            // One input a group: the channels of a depthwise convolution.
            (Axes::TensorFlow, &[outputs, 1, height, width]) if height * width > 1 => vec![height, width, outputs, 1],
            (Axes::TensorFlow, &[outputs, inputs, height, width]) => vec![height, width, inputs, outputs],
            _ => shape.to_vec(),
        }
    }

    /// `values`, as they lie on disk, in PyTorch's order; an error where there is no room.
    pub fn ordered<'a>(self, shape: &[usize], values: Cow<'a, [f32]>) -> Result<Cow<'a, [f32]>> {
        let (outputs, inputs, taps) = match *shape {
            [outputs, inputs] => (outputs, inputs, 1),
            [outputs, inputs, height, width] => (outputs, inputs, height * width),
            _ => return Ok(values),
        };
        if self == Axes::Torch || values.len() != outputs * inputs * taps {
            return Ok(values);
        }
        // Depthwise kernels have one input: (tap, output) and (tap, input, output) are one order.
        let index = |i: usize| (i % taps * inputs + i / taps % inputs) * outputs + i / (taps * inputs);
        collect("weights", values.len(), (0..values.len()).map(|i| values[index(i)])).map(Cow::Owned)
    }
}

impl Names {
    /// PyTorch's: `weights`.weight and .bias, `norm`.weight, .bias, .running_mean and .running_var.
    pub fn torch(weights: &str, norm: &str) -> Self {
        Names {
            weights: format!("{weights}.weight"),
            bias: format!("{weights}.bias"),
            older: None,
            norm: ["weight", "bias", "running_mean", "running_var"].map(|field| format!("{norm}.{field}")),
            axes: Axes::Torch,
        }
    }

    /// Keras': a layer with its `kernel`, and the layer of its normalisation.
    pub fn keras(layer: &str, kernel: &str, norm: &str) -> Self {
        Names {
            weights: format!("{layer}/{kernel}"),
            bias: format!("{layer}/bias"),
            older: None,
            norm: ["gamma", "beta", "moving_mean", "moving_variance"].map(|field| format!("{norm}/{field}")),
            axes: Axes::TensorFlow,
        }
    }

    /// TF-slim's: all of a layer under one `scope`.
    pub fn slim(scope: &str, depthwise: bool) -> Self {
        let kernel = if depthwise { "depthwise_weights" } else { "weights" };
        let norm = format!("{scope}/BatchNorm");
        Names { bias: format!("{scope}/biases"), ..Names::keras(scope, kernel, &norm) }
    }

    /// With what files of older versions call the `layer`.
    pub fn or_older(mut self, layer: &str) -> Self {
        self.older = Some([format!("{layer}/kernel"), format!("{layer}/bias")]);
        self
    }
}
