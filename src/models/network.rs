//! One of the networks: its graph, and how its weights are read.

use super::config::{Activation, Architecture, Config, Flavor, LARGEST};
use super::names::{self, Renamed, TensorNames};
use super::{digits, mobilenet_v1, mobilenet_v2, xception};
use crate::error::{Error, Result};
use crate::graph::{Builder, Graph, Layer, Node, Tensor};
use crate::parallel::Parallel;
use crate::plan::{Options, Plan};
use crate::tensor::{Clamp, Padding, Shape, Window};
use crate::weights::{Folded, Weights, fold};

/// What the file of a network holds.
pub(super) struct Model {
    /// Builds the graph; the last two nodes are the head: global average pooling and the classifier.
    pub build: fn(&Config) -> Result<Built>,
    /// What other sources than the one of [`Parameters`](crate::graph::Parameters)' names call the tensors of a node.
    pub names: fn(TensorNames, &Node) -> Option<names::Names>,
}

/// A graph with the name of its configuration.
pub(super) struct Built {
    pub name: String,
    pub graph: Graph,
}

/// The file of `architecture`.
pub(super) fn model(architecture: Architecture) -> &'static Model {
    match architecture {
        Architecture::Digits => &digits::MODEL,
        Architecture::MobilenetV1 => &mobilenet_v1::MODEL,
        Architecture::MobilenetV2 => &mobilenet_v2::MODEL,
        Architecture::Xception => &xception::MODEL,
    }
}

/// A network of the literature: its graph, and the names of its tensors in every source.
///
/// ```
/// use sepconv::models::{Architecture, Config, Network};
///
/// let network = Network::new(Architecture::MobilenetV2, &Config::of(Architecture::MobilenetV2))?;
/// assert_eq!((network.graph().params(), network.graph().macs()), (3_504_872, 300_774_272));
/// # Ok::<(), sepconv::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Network {
    architecture: Architecture,
    name: String,
    graph: Graph,
    /// The whole network, of which a backbone leaves the last nodes out.
    whole: Graph,
}

impl Network {
    /// Builds the network; an error where `config` makes none, which says what does.
    pub fn new(architecture: Architecture, config: &Config) -> Result<Network> {
        config.check()?;
        let build = |config: &Config| (model(architecture).build)(config);
        let Built { name, graph } = build(config).map_err(|_| {
            // The image is too small for a window; say which one is not.
            let smallest = (config.resolution..=LARGEST.1)
                .find(|&resolution| build(&Config { resolution, ..*config }).is_ok())
                .unwrap_or(LARGEST.1);
            Error::Parameter {
                what: "resolution",
                got: config.resolution.to_string(),
                expected: format!("at least {smallest} pixels for {architecture}"),
            }
        })?;
        Ok(Network { architecture, name, whole: graph.clone(), graph })
    }

    /// The network without its head (pooling and classifier): its output is the last feature map. Weights may hold the
    /// head's tensors, which are then not read.
    pub fn backbone(mut self) -> Result<Network> {
        let nodes = self.whole.nodes();
        let head = nodes.iter().position(|node| node.kind() == "global_average_pool").unwrap_or(nodes.len());
        let last = head.checked_sub(1).and_then(|last| nodes.get(last));
        self.graph = self.whole.features(last.map(Node::name))?;
        Ok(self)
    }

    /// Which network it is.
    pub fn architecture(&self) -> Architecture {
        self.architecture
    }

    /// The name with its configuration, such as `mobilenet_v1_0.5_160_tf`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it computes.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The whole network, also of a backbone.
    pub(super) fn whole(&self) -> &Graph {
        &self.whole
    }

    /// The shape of the image.
    pub fn input(&self) -> Shape {
        self.graph.inputs().next().map_or(Shape::default(), |(_, shape)| shape)
    }

    /// The shape of the output: 1 x 1 x classes, or that of the features of a backbone.
    pub fn output(&self) -> Shape {
        self.graph.outputs().next().map_or(Shape::default(), |(_, shape)| shape)
    }

    /// Outputs: the classes.
    pub fn classes(&self) -> usize {
        self.output().channels
    }

    /// The weights of every node from `source`, whatever it calls them. All that is wrong with the source is in one error,
    /// or, where its names are another network's, which one that is.
    pub fn fold(&self, source: &dyn Weights) -> Result<Vec<Option<Folded>>> {
        fold(&self.graph, &Renamed::of(self, source)).map_err(|error| match error {
            Error::Weights { problems, .. } => match names::another(self, source) {
                Some(other) => Error::OtherNetwork { network: self.name.clone(), looks_like: other.as_str() },
                None => Error::Weights { network: self.name.clone(), problems },
            },
            error => error,
        })
    }

    /// The plan of the network with the weights of `source`, to be run on `parallel`.
    pub fn plan(&self, source: &dyn Weights, parallel: &dyn Parallel, options: Options) -> Result<Plan> {
        Plan::from_folded(&self.graph, &self.fold(source)?, parallel, options)
    }
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
            Flavor::Torch | Flavor::Timm => Placement::Symmetric,
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

    /// Channels of a tensor.
    pub fn channels(&self, tensor: Tensor) -> Result<usize> {
        Ok(self.builder.shape(tensor)?.channels)
    }

    /// Global average pooling and the classifier with its bias; ends the network.
    pub fn head(mut self, [pool, classifier, weights]: [&str; 3], x: Tensor, classes: usize) -> Result<Graph> {
        let x = self.builder.global_average_pool(pool, x)?;
        let layer = Layer::named(weights).bias().clamp(Clamp::NONE);
        let logits = self.builder.fully_connected(classifier, x, classes, layer)?;
        self.builder.build(&[logits])
    }
}

/// The nearest multiple of 8 that is at least 8 and not below nine tenths of `channels`.
pub(super) fn divisible_by_8(channels: f64) -> usize {
    let rounded = ((channels + 4.0) as usize / 8 * 8).max(8);
    if (rounded as f64) < 0.9 * channels { rounded + 8 } else { rounded }
}
