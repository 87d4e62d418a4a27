//! A network as a list of layers: shapes, parameters, counts.

use super::{Activation, Config, Flavor, Name};
use crate::depthwise::Padding;
use crate::error::{Error, Result};

/// Height, width and channels of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Rows.
    pub height: usize,
    /// Pixels in a row.
    pub width: usize,
    /// Channels.
    pub channels: usize,
}

impl Shape {
    /// Elements.
    pub const fn len(&self) -> usize {
        self.height * self.width * self.channels
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A tensor of the network: 0 is the image, `i + 1` the output of layer `i`.
pub type TensorId = usize;

/// What a layer computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// Dense convolution.
    Conv {
        /// Rows and columns of the window.
        window: usize,
        /// Input pixels from one window to the next.
        stride: usize,
        /// Missing pixels around the image.
        padding: Padding,
    },
    /// Depthwise 3x3 convolution.
    Depthwise {
        /// Input pixels from one window to the next.
        stride: usize,
        /// Missing pixels around the image.
        padding: Padding,
    },
    /// 1x1 convolution.
    Pointwise {
        /// Input pixels from one that is read to the next.
        stride: usize,
    },
    /// Max pooling with a 3x3 window and stride 2.
    MaxPool {
        /// Missing pixels around the image.
        padding: Padding,
    },
    /// Sum of two tensors: the input and the residual.
    Add,
    /// The mean of each channel.
    GlobalAveragePool,
    /// Fully connected.
    FullyConnected,
}

/// The batch normalisation that follows a convolution.
#[derive(Debug, Clone, PartialEq)]
pub struct Norm {
    /// Names its tensors: `NAME.weight`, `NAME.bias`, `NAME.running_mean`, `NAME.running_var`.
    pub name: String,
    /// Added to the variance.
    pub epsilon: f64,
}

/// The trained parameters of a layer, by name.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameters {
    /// Names the weights: `NAME.weight` and, with a bias, `NAME.bias`.
    pub name: String,
    /// Whether there is a bias.
    pub bias: bool,
    /// The batch normalisation that is folded into the weights.
    pub norm: Option<Norm>,
    /// Outputs, inputs a group, rows and columns of the weights; 1x1 layers have rows and columns too.
    pub shape: [usize; 4],
}

/// One layer.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// The name that the source of the architecture gives it.
    pub name: String,
    /// What it computes.
    pub op: Op,
    /// The tensor that it reads.
    pub input: TensorId,
    /// The tensor that is added before the activation.
    pub residual: Option<TensorId>,
    /// Whether the input goes through ReLU first (Xception).
    pub pre_relu: bool,
    /// What its output goes through.
    pub activation: Activation,
    /// Its trained parameters.
    pub parameters: Option<Parameters>,
    /// The shape of its output.
    pub output: Shape,
}

/// A network: what it computes, without weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    architecture: Name,
    name: String,
    input: Shape,
    layers: Vec<Layer>,
    /// The layers that a backbone lacks.
    head: Vec<Layer>,
}

impl Network {
    /// Which network it is.
    pub fn architecture(&self) -> Name {
        self.architecture
    }

    /// The name with its configuration, such as `mobilenet_v1_0.5_160_tf`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The shape of the image.
    pub fn input(&self) -> Shape {
        self.input
    }

    /// The layers in the order in which they run.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// The shape of the last layer's output: 1 x 1 x classes, or that of the features of a backbone.
    pub fn output(&self) -> Shape {
        self.shape_of(self.layers.len())
    }

    /// Outputs: the classes.
    pub fn classes(&self) -> usize {
        self.output().channels
    }

    /// The network without its head (pooling and classifier): its output is the last feature map. Weights may hold the
    /// head's tensors, which are then not read.
    pub fn backbone(mut self) -> Network {
        let head = self.layers.iter().position(|layer| layer.op == Op::GlobalAveragePool);
        self.head.extend(self.layers.drain(head.unwrap_or(self.layers.len())..));
        self
    }

    /// The layers that a backbone lacks.
    pub(crate) fn head(&self) -> &[Layer] {
        &self.head
    }

    /// The shape of a tensor; `None` where the network has no such tensor.
    pub fn shape(&self, tensor: TensorId) -> Option<Shape> {
        tensor.checked_sub(1).map_or(Some(self.input), |layer| Some(self.layers.get(layer)?.output))
    }

    /// The shape of a tensor that the network has, such as one that a layer reads.
    pub(crate) fn shape_of(&self, tensor: TensorId) -> Shape {
        tensor.checked_sub(1).map_or(self.input, |layer| self.layers[layer].output)
    }

    /// Trainable parameters: weights, biases, and scale and shift of each batch normalisation.
    pub fn params(&self) -> u64 {
        let of = |parameters: &Parameters| {
            let norm = if parameters.norm.is_some() { 2 } else { 0 };
            let per_output = usize::from(parameters.bias) + norm;
            parameters.shape.iter().map(|&size| size as u64).product::<u64>()
                + (per_output * parameters.shape[0]) as u64
        };
        self.layers.iter().filter_map(|layer| layer.parameters.as_ref()).map(of).sum()
    }

    /// Multiply-accumulates of the convolutions and the fully connected layers, those with padding among them.
    pub fn macs(&self) -> u64 {
        self.layers.iter().map(Layer::macs).sum()
    }
}

impl Layer {
    /// Multiply-accumulates, those with padding among them; 0 where the layer has no weights.
    pub fn macs(&self) -> u64 {
        let weights = self.parameters.as_ref().map_or(0, |parameters| parameters.shape.iter().product());
        (self.output.height * self.output.width) as u64 * weights as u64
    }
}

/// How windows are placed on an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// The same padding on each side: half the window.
    Symmetric,
    /// TensorFlow's SAME: as many outputs as strides fit, the odd pixel after.
    Same,
    /// As SAME, but (0, 1) before every stride of 2, whatever the size.
    Before2,
    /// No padding.
    Valid,
}

impl Place {
    /// How `flavor` pads; `keras` is what Keras does where it differs from SAME.
    pub(super) fn of(flavor: Flavor, keras: Place) -> Self {
        match flavor {
            Flavor::Torch | Flavor::Timm => Place::Symmetric,
            Flavor::Tf | Flavor::Slim => Place::Same,
            Flavor::Keras => keras,
        }
    }

    fn padding(self, image: Shape, window: usize, stride: usize) -> Padding {
        let same = |extent: usize| {
            let total = ((extent.div_ceil(stride) - 1) * stride + window).saturating_sub(extent);
            (total / 2, total - total / 2)
        };
        let ((top, bottom), (left, right)) = match self {
            Place::Symmetric => return Padding::all((window - 1) / 2),
            Place::Valid => return Padding::default(),
            Place::Before2 if stride == 2 && window == 3 => ((0, 1), (0, 1)),
            Place::Same | Place::Before2 => (same(image.height), same(image.width)),
        };
        Padding { top, bottom, left, right }
    }
}

/// Builds a network layer by layer; each call appends one and returns its output.
pub(crate) struct Builder {
    network: Network,
    place: Place,
    epsilon: f64,
}

/// What every convolution has: its name, the names of its parameters, its activation.
#[derive(Clone, Copy)]
pub(crate) struct Named<'a> {
    layer: &'a str,
    weights: &'a str,
    /// Empty where there is no batch normalisation.
    norm: &'a str,
    activation: Activation,
}

impl<'a> Named<'a> {
    pub fn new(layer: &'a str, weights: &'a str, norm: &'a str, activation: Activation) -> Self {
        Named { layer, weights, norm, activation }
    }
}

impl Builder {
    pub fn new(architecture: Name, name: String, config: &Config, channels: usize, place: Place) -> Self {
        let input = Shape { height: config.resolution, width: config.resolution, channels };
        let network = Network { architecture, name, input, layers: Vec::new(), head: Vec::new() };
        Builder { network, place, epsilon: config.epsilon.unwrap_or(config.flavor.epsilon()) }
    }

    fn windowed(&self, input: TensorId, window: usize, stride: usize, place: Place) -> Result<(Padding, usize, usize)> {
        let image = self.network.shape_of(input);
        let padding = place.padding(image, window, stride);
        let (height, width) =
            padding.output((image.height, image.width), (window, window), stride).ok_or_else(|| {
                Error::shape("image", format!("{image:?}"), format!("at least {window} pixels with its padding"))
            })?;
        Ok((padding, height, width))
    }

    fn push(&mut self, layer: Layer) -> TensorId {
        self.network.layers.push(layer);
        self.network.layers.len()
    }

    fn weighted(&mut self, named: Named<'_>, op: Op, input: TensorId, shape: [usize; 4], output: Shape) -> TensorId {
        let norm = (!named.norm.is_empty()).then(|| Norm { name: named.norm.into(), epsilon: self.epsilon });
        self.push(Layer {
            name: named.layer.into(),
            op,
            input,
            residual: None,
            pre_relu: false,
            activation: named.activation,
            parameters: Some(Parameters { name: named.weights.into(), bias: false, norm, shape }),
            output,
        })
    }

    /// The shape of a tensor.
    #[cfg(test)]
    pub fn shape(&self, tensor: TensorId) -> Shape {
        self.network.shape_of(tensor)
    }

    /// Channels of a tensor.
    pub fn channels(&self, tensor: TensorId) -> usize {
        self.network.shape_of(tensor).channels
    }

    pub fn conv(
        &mut self,
        named: Named<'_>,
        input: TensorId,
        window: usize,
        stride: usize,
        channels: usize,
    ) -> Result<TensorId> {
        self.conv_placed(self.place, named, input, window, stride, channels)
    }

    /// A convolution whose windows are placed in a way of its own.
    pub fn conv_placed(
        &mut self,
        place: Place,
        named: Named<'_>,
        input: TensorId,
        window: usize,
        stride: usize,
        channels: usize,
    ) -> Result<TensorId> {
        let (padding, height, width) = self.windowed(input, window, stride, place)?;
        let shape = [channels, self.channels(input), window, window];
        let op = if window == 1 { Op::Pointwise { stride } } else { Op::Conv { window, stride, padding } };
        Ok(self.weighted(named, op, input, shape, Shape { height, width, channels }))
    }

    pub fn depthwise(&mut self, named: Named<'_>, input: TensorId, stride: usize) -> Result<TensorId> {
        let (padding, height, width) = self.windowed(input, 3, stride, self.place)?;
        let channels = self.channels(input);
        let op = Op::Depthwise { stride, padding };
        Ok(self.weighted(named, op, input, [channels, 1, 3, 3], Shape { height, width, channels }))
    }

    /// A depthwise convolution of the rectified input.
    pub fn depthwise_after_relu(&mut self, named: Named<'_>, input: TensorId, stride: usize) -> Result<TensorId> {
        let output = self.depthwise(named, input, stride)?;
        self.network.layers[output - 1].pre_relu = true;
        Ok(output)
    }

    /// Max pooling, 3x3 with stride 2.
    pub fn max_pool(&mut self, name: &str, input: TensorId) -> Result<TensorId> {
        let (padding, height, width) = self.windowed(input, 3, 2, self.place)?;
        let output = Shape { height, width, channels: self.channels(input) };
        Ok(self.plain(name, Op::MaxPool { padding }, input, None, output))
    }

    /// The sum of two tensors.
    pub fn add(&mut self, name: &str, a: TensorId, b: TensorId) -> TensorId {
        self.plain(name, Op::Add, a, Some(b), self.network.shape_of(a))
    }

    /// A layer without parameters or activation.
    fn plain(&mut self, name: &str, op: Op, input: TensorId, residual: Option<TensorId>, output: Shape) -> TensorId {
        self.push(Layer {
            name: name.into(),
            op,
            input,
            residual,
            pre_relu: false,
            activation: Activation::Linear,
            parameters: None,
            output,
        })
    }

    pub fn pointwise(&mut self, named: Named<'_>, input: TensorId, channels: usize) -> TensorId {
        let image = self.network.shape_of(input);
        let shape = [channels, image.channels, 1, 1];
        self.weighted(named, Op::Pointwise { stride: 1 }, input, shape, Shape { channels, ..image })
    }

    /// Global average pooling and the classifier with its bias; ends the network.
    pub fn head(mut self, names: [&str; 3], input: TensorId, classes: usize) -> Network {
        let [pool, classifier, weights] = names;
        let channels = self.network.shape_of(input).channels;
        let pooled = Shape { height: 1, width: 1, channels };
        let pooled = self.plain(pool, Op::GlobalAveragePool, input, None, pooled);
        let output = Shape { height: 1, width: 1, channels: classes };
        let logits = self.plain(classifier, Op::FullyConnected, pooled, None, output);
        let shape = [classes, channels, 1, 1];
        self.network.layers[logits - 1].parameters =
            Some(Parameters { name: weights.into(), bias: true, norm: None, shape });
        self.network
    }
}

/// The nearest multiple of 8 that is at least 8 and not below nine tenths of `channels`.
pub(super) fn divisible_by_8(channels: f64) -> usize {
    let rounded = ((channels + 4.0) as usize / 8 * 8).max(8);
    if (rounded as f64) < 0.9 * channels { rounded + 8 } else { rounded }
}
