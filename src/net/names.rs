//! What each source of weights calls the tensors of a layer, with the axes of its kernels.

use std::collections::BTreeSet;

use super::{Layer, Name, Network, Op, Parameters};

/// A source of weights: its names and its layouts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Scheme {
    /// PyTorch state dicts under the names of [`Parameters`]: torchvision for MobileNet V2, timm for the others.
    Torch,
    /// timm's state dict of MobileNet V2.
    Timm,
    /// Keras applications.
    Keras,
    /// TF-slim checkpoints.
    Slim,
}

impl Scheme {
    /// Every scheme, in the order in which they are tried.
    pub const ALL: [Scheme; 4] = [Scheme::Torch, Scheme::Timm, Scheme::Keras, Scheme::Slim];
}

/// The tensors of one layer in one scheme.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Keys {
    /// The kernel.
    pub weights: String,
    /// The bias.
    pub bias: String,
    /// Scale, shift, mean and variance of the batch normalisation.
    pub norm: Option<[String; 4]>,
    /// The order of the kernel's axes.
    pub axes: Axes,
}

/// The order of a kernel's axes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Axes {
    /// O, I, kh, kw; depthwise C, 1, kh, kw; linear O, I.
    Torch,
    /// kh, kw, I, O; depthwise kh, kw, C, 1; linear I, O.
    TensorFlow,
}

impl Axes {
    /// The shape of a kernel of `parameters` on disk.
    pub fn shape(self, op: Op, parameters: &Parameters) -> Vec<usize> {
        let [outputs, inputs, height, width] = parameters.shape;
        match (self, op) {
            (Axes::Torch, Op::FullyConnected) => vec![outputs, inputs],
            (Axes::Torch, _) => parameters.shape.to_vec(),
            (Axes::TensorFlow, Op::FullyConnected) => vec![inputs, outputs],
            (Axes::TensorFlow, Op::Depthwise { .. }) => vec![height, width, outputs, 1],
            (Axes::TensorFlow, _) => vec![height, width, inputs, outputs],
        }
    }

    /// Where element `i` in PyTorch's order lies in a kernel of `parameters`.
    pub fn index(self, i: usize, parameters: &Parameters) -> usize {
        let [outputs, inputs, height, width] = parameters.shape;
        let taps = height * width;
        match self {
            Axes::Torch => i,
            // Depthwise kernels have one input: (tap, output) and (tap, input, output) are one order.
            Axes::TensorFlow => (i % taps * inputs + i / taps % inputs) * outputs + i / (taps * inputs),
        }
    }
}

/// The tensors of `layer` of network `name` in `scheme`; `None` where the scheme has no names for it.
pub(crate) fn keys(name: Name, scheme: Scheme, layer: &Layer) -> Option<Keys> {
    let parameters = layer.parameters.as_ref()?;
    let torch = |weights: String, norm: Option<String>| Keys {
        norm: norm.map(|norm| ["weight", "bias", "running_mean", "running_var"].map(|field| format!("{norm}.{field}"))),
        bias: format!("{weights}.bias"),
        weights: format!("{weights}.weight"),
        axes: Axes::Torch,
    };
    match scheme {
        Scheme::Torch => Some(torch(parameters.name.clone(), parameters.norm.as_ref().map(|norm| norm.name.clone()))),
        Scheme::Timm => {
            let (weights, norm) = timm(name, layer)?;
            Some(torch(weights, parameters.norm.is_some().then_some(norm)))
        }
        Scheme::Keras => {
            let (weights, kernel, norm) = keras(name, layer)?;
            let fields = ["gamma", "beta", "moving_mean", "moving_variance"];
            Some(Keys {
                bias: format!("{weights}/bias"),
                weights: format!("{weights}/{kernel}"),
                norm: parameters.norm.is_some().then(|| fields.map(|field| format!("{norm}/{field}"))),
                axes: Axes::TensorFlow,
            })
        }
        Scheme::Slim => {
            let scope = slim(name, layer)?;
            let kernel = if matches!(layer.op, Op::Depthwise { .. }) { "depthwise_weights" } else { "weights" };
            let fields = ["gamma", "beta", "moving_mean", "moving_variance"];
            Some(Keys {
                bias: format!("{scope}/biases"),
                weights: format!("{scope}/{kernel}"),
                norm: parameters.norm.is_some().then(|| fields.map(|field| format!("{scope}/BatchNorm/{field}"))),
                axes: Axes::TensorFlow,
            })
        }
    }
}

impl Network {
    /// How many of the network's kernels are among `names` under what `scheme` calls them.
    pub(crate) fn tensors_among(&self, scheme: Scheme, names: &[String]) -> usize {
        let names: BTreeSet<&str> = names.iter().map(String::as_str).collect();
        let keys = self.layers().iter().filter_map(|layer| keys(self.architecture(), scheme, layer));
        keys.filter(|keys| names.contains(keys.weights.as_str())).count()
    }

    /// What `scheme` calls the classifier's weights and its bias.
    pub(crate) fn classifier(&self, scheme: Scheme) -> Option<[String; 2]> {
        keys(self.architecture(), scheme, self.layers().last()?).map(|keys| [keys.weights, keys.bias])
    }
}

/// What files of older Keras call the tensor `name` of MobileNet V2's classifier.
pub(crate) fn older(name: &str) -> Option<String> {
    name.strip_prefix("predictions/").map(|tensor| format!("Logits/{tensor}"))
}

/// The block of MobileNet V2 and the part of it that a layer is.
fn block(layer: &str) -> Option<(usize, &str)> {
    let (block, part) = layer.strip_prefix("block")?.split_once('_')?;
    Some((block.parse().ok()?, part))
}

/// First block of each of MobileNet V2's stages.
const STAGES: [usize; 8] = [0, 1, 3, 6, 10, 13, 16, 17];

fn timm(name: Name, layer: &Layer) -> Option<(String, String)> {
    if name != Name::MobilenetV2 {
        return None;
    }
    let plain = |weights: &str, norm: &str| Some((weights.to_string(), norm.to_string()));
    match layer.name.as_str() {
        "conv1" => return plain("conv_stem", "bn1"),
        "conv_last" => return plain("conv_head", "bn2"),
        "classifier" => return plain("classifier", ""),
        _ => {}
    }
    let (block, part) = block(&layer.name)?;
    let stage = STAGES.iter().rposition(|&first| first <= block)?;
    let (weights, norm) = match (block, part) {
        (0, "dw") => ("conv_dw", "bn1"),
        (0, "project") => ("conv_pw", "bn2"),
        (_, "expand") => ("conv_pw", "bn1"),
        (_, "dw") => ("conv_dw", "bn2"),
        _ => ("conv_pwl", "bn3"),
    };
    let prefix = format!("blocks.{stage}.{}", block - STAGES[stage]);
    Some((format!("{prefix}.{weights}"), format!("{prefix}.{norm}")))
}

/// Layer, kernel and batch normalisation in Keras.
fn keras(name: Name, layer: &Layer) -> Option<(String, &'static str, String)> {
    let kernel = if matches!(layer.op, Op::Depthwise { .. }) { "depthwise_kernel" } else { "kernel" };
    let scope = match name {
        Name::MobilenetV1 => match layer.name.as_str() {
            "Conv2d_0" => "conv1".into(),
            "Logits" => "conv_preds".into(),
            separable => {
                let (block, part) = separable.strip_prefix("Conv2d_")?.split_once('_')?;
                format!("conv_{}_{block}", if part == "depthwise" { "dw" } else { "pw" })
            }
        },
        Name::MobilenetV2 => match layer.name.as_str() {
            "conv1" => return Some(("Conv1".into(), kernel, "bn_Conv1".into())),
            "conv_last" => "Conv_1".into(),
            "classifier" => "predictions".into(),
            inverted => {
                let (block, part) = block(inverted)?;
                let part = if part == "dw" { "depthwise" } else { part };
                let scope = if block == 0 { format!("expanded_conv_{part}") } else { format!("block_{block}_{part}") };
                return Some((scope.clone(), kernel, format!("{scope}_BN")));
            }
        },
        Name::Xception => {
            if let Some(separable) = layer.name.strip_suffix("_dw") {
                return Some((separable.into(), "depthwise_kernel", String::new()));
            }
            if let Some(separable) = layer.name.strip_suffix("_pw") {
                return Some((separable.into(), "pointwise_kernel", format!("{separable}_bn")));
            }
            if let Some(shortcut) = layer.name.strip_suffix("_res") {
                let nth = ["block2", "block3", "block4", "block13"].iter().position(|block| *block == shortcut)?;
                let suffix = if nth == 0 { String::new() } else { format!("_{nth}") };
                return Some((format!("conv2d{suffix}"), kernel, format!("batch_normalization{suffix}")));
            }
            layer.name.clone()
        }
        Name::Digits => return None,
    };
    let norm = format!("{scope}_bn");
    Some((scope, kernel, norm))
}

fn slim(name: Name, layer: &Layer) -> Option<String> {
    match name {
        Name::MobilenetV1 => Some(match layer.name.as_str() {
            "Logits" => "MobilenetV1/Logits/Conv2d_1c_1x1".into(),
            scope => format!("MobilenetV1/{scope}"),
        }),
        Name::MobilenetV2 => Some(match layer.name.as_str() {
            "conv1" => "MobilenetV2/Conv".into(),
            "conv_last" => "MobilenetV2/Conv_1".into(),
            "classifier" => "MobilenetV2/Logits/Conv2d_1c_1x1".into(),
            inverted => {
                let (block, part) = block(inverted)?;
                let part = if part == "dw" { "depthwise" } else { part };
                let suffix = if block == 0 { String::new() } else { format!("_{block}") };
                format!("MobilenetV2/expanded_conv{suffix}/{part}")
            }
        }),
        Name::Digits | Name::Xception => None,
    }
}
