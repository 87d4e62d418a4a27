//! What each source of weights calls the tensors of a network, with the axes of its kernels.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use super::config::{Architecture, Config};
use super::network::{Network, model};
use crate::graph::{Node, Tensors};
use crate::weights::Weights;

/// A source of weights: its names and its layouts.
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
    weights: String,
    /// The bias.
    bias: String,
    /// What files of older versions call the two.
    older: Option<[String; 2]>,
    /// Scale, shift, mean and variance of the batch normalisation.
    norm: [String; 4],
    axes: Axes,
}

/// The order of a kernel's axes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Axes {
    /// O, I, kh, kw; depthwise C, 1, kh, kw; linear O, I.
    Torch,
    /// kh, kw, I, O; depthwise kh, kw, C, 1; linear I, O.
    TensorFlow,
}

impl Axes {
    /// The shape on disk of a kernel that PyTorch has as `shape`.
    fn shape(self, shape: &[usize]) -> Vec<usize> {
        match (self, shape) {
            (Axes::TensorFlow, &[outputs, inputs]) => vec![inputs, outputs],
            // One input a group: the channels of a depthwise convolution.
            (Axes::TensorFlow, &[outputs, 1, height, width]) if height * width > 1 => vec![height, width, outputs, 1],
            (Axes::TensorFlow, &[outputs, inputs, height, width]) => vec![height, width, inputs, outputs],
            _ => shape.to_vec(),
        }
    }

    /// `values`, as they lie on disk, in PyTorch's order.
    fn ordered<'a>(self, shape: &[usize], values: Cow<'a, [f32]>) -> Cow<'a, [f32]> {
        let (outputs, inputs, taps) = match *shape {
            [outputs, inputs] => (outputs, inputs, 1),
            [outputs, inputs, height, width] => (outputs, inputs, height * width),
            _ => return values,
        };
        if self == Axes::Torch || values.len() != outputs * inputs * taps {
            return values;
        }
        // Depthwise kernels have one input: (tap, output) and (tap, input, output) are one order.
        let index = |i: usize| (i % taps * inputs + i / taps % inputs) * outputs + i / (taps * inputs);
        (0..values.len()).map(|i| values[index(i)]).collect()
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

/// The tensors of `node` in the source `names`; `None` where it has no weights, or the source no names for it.
fn names(architecture: Architecture, names: TensorNames, node: &Node) -> Option<Names> {
    let parameters = node.parameters()?;
    let named = |tensors: Option<&Tensors>| match tensors {
        Some(Tensors::Named(name)) => Some(name.clone()),
        _ => None,
    };
    match names {
        TensorNames::Torch => {
            let norm = named(parameters.norm().map(|norm| norm.tensors()));
            Some(Names::torch(&named(Some(parameters.weights()))?, &norm.unwrap_or_default()))
        }
        other => (model(architecture).names)(other, node),
    }
}

/// Where a tensor that a graph asks for lies in a source.
struct Entry {
    name: String,
    axes: Axes,
}

/// A source of weights under the names that the graph of a network asks for.
pub(super) struct Renamed<'a> {
    source: &'a dyn Weights,
    names: TensorNames,
    /// By the graph's name.
    entries: HashMap<String, Entry>,
    /// The graph's names of the source's tensors.
    known: HashMap<String, String>,
    /// Whether the source has a list of its tensors.
    listed: bool,
    /// Tensors of the head that a backbone leaves unread.
    unread: HashSet<String>,
}

impl<'a> Renamed<'a> {
    pub fn of(network: &Network, source: &'a dyn Weights) -> Self {
        let listed = source.names();
        let names = scheme(network, &listed);
        let present: HashSet<&str> = listed.iter().map(String::as_str).collect();
        let (mut entries, mut unread) = (HashMap::new(), HashSet::new());
        for (ours, theirs, node) in pairs(network, names) {
            if network.graph().node(node.name()).is_none() {
                unread.extend([ours.weights.clone(), ours.bias.clone()]);
            }
            let older = |at: usize| {
                let older = &theirs.older.as_ref()?[at];
                present.contains(&**older).then(|| older.clone())
            };
            let weights = Entry { name: older(0).unwrap_or(theirs.weights), axes: theirs.axes };
            let bias = Entry { name: older(1).unwrap_or(theirs.bias), axes: Axes::Torch };
            entries.extend([(ours.weights, weights), (ours.bias, bias)]);
            let norm = theirs.norm.into_iter().map(|name| Entry { name, axes: Axes::Torch });
            entries.extend(ours.norm.into_iter().zip(norm));
        }
        let known = entries.iter().map(|(ours, entry)| (entry.name.clone(), ours.clone())).collect();
        Renamed { source, names, entries, known, listed: !listed.is_empty(), unread }
    }
}

impl Weights for Renamed<'_> {
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Cow<'_, [f32]>, String> {
        match self.entries.get(name) {
            Some(Entry { name, axes }) => Ok(axes.ordered(shape, self.source.tensor(name, &axes.shape(shape))?)),
            // A source of any name has the graph's.
            None if !self.listed => self.source.tensor(name, shape),
            None => Err(format!("{:?} has no names for this layer", self.names)),
        }
    }

    fn names(&self) -> Vec<String> {
        let ours = |name: String| self.known.get(&name).cloned().unwrap_or(name);
        self.source.names().into_iter().map(ours).collect()
    }

    fn label(&self, name: &str) -> String {
        self.entries.get(name).map_or_else(|| name.into(), |entry| entry.name.clone())
    }

    fn may_stay_unread(&self, name: &str) -> bool {
        self.unread.contains(name)
    }
}

/// The names of each weighted node of the whole network, in the graph and in the source `names`.
fn pairs(network: &Network, source: TensorNames) -> impl Iterator<Item = (Names, Names, &Node)> {
    let architecture = network.architecture();
    network.whole().nodes().iter().filter_map(move |node| {
        Some((names(architecture, TensorNames::Torch, node)?, names(architecture, source, node)?, node))
    })
}

/// How many of the network's kernels are among `listed` under what the source `names` calls them.
pub(super) fn kernels_among(network: &Network, source: TensorNames, listed: &[String]) -> usize {
    let listed: HashSet<&str> = listed.iter().map(String::as_str).collect();
    let nodes = network.graph().nodes().iter();
    let kernels = nodes.filter_map(|node| names(network.architecture(), source, node));
    kernels.filter(|names| listed.contains(&*names.weights)).count()
}

/// Whose names the tensors `listed` have: the source with the most of the network's tensors among them.
pub(super) fn scheme(network: &Network, listed: &[String]) -> TensorNames {
    // The first of equals.
    let best = TensorNames::ALL.into_iter().rev().max_by_key(|&names| kernels_among(network, names, listed));
    best.unwrap_or(TensorNames::Torch)
}

/// The network that most of `listed` are tensors of, with how many kernels of it there are; `None` where it is none.
pub(super) fn network_of(listed: &[String]) -> Option<(Architecture, usize)> {
    let known = |architecture: Architecture| {
        let network = Network::new(architecture, &Config::of(architecture)).ok()?;
        let known = kernels_among(&network, scheme(&network, listed), listed);
        (known > 0).then_some((architecture, known))
    };
    Architecture::ALL.into_iter().filter_map(known).max_by_key(|&(_, known)| known)
}

/// The other network whose tensors `source` rather has.
pub(super) fn another(network: &Network, source: &dyn Weights) -> Option<Architecture> {
    let listed = source.names();
    let known = kernels_among(network, scheme(network, &listed), &listed);
    let other = network_of(&listed).filter(|&(other, most)| other != network.architecture() && most > known);
    other.map(|(other, _)| other)
}

/// What the source calls the classifier's weights and its bias, in files of any version.
pub(super) fn classifier(network: &Network, source: TensorNames) -> Option<[Vec<String>; 2]> {
    let names = names(network.architecture(), source, network.whole().nodes().last()?)?;
    let [older_weights, older_bias] = names.older.map_or([None, None], |older| older.map(Some));
    let all = |name: String, older: Option<String>| [name].into_iter().chain(older).collect();
    Some([all(names.weights, older_weights), all(names.bias, older_bias)])
}

/// The shapes of the network's kernels under what the source `names` calls them.
pub(super) fn kernel_shapes(network: &Network, source: TensorNames) -> Vec<(String, Vec<usize>)> {
    let kernels = network.graph().nodes().iter().filter_map(|node| {
        let names = names(network.architecture(), source, node)?;
        Some((names.weights, names.axes.shape(&node.weight_shape()?)))
    });
    kernels.collect()
}
