//! A graph: nodes over tensors.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use super::layer::{Parameters, Tensors};
use super::value::{Origin, Value};
use crate::error::{Error, Result};
use crate::ops::Operator;
use crate::tensor::{Clamp, Shape, Window};

/// A tensor of a graph, as the calls of its [`Builder`](super::Builder), which has examples, give and take it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tensor {
    /// The builder that made it.
    pub(super) graph: usize,
    pub(super) index: usize,
}

/// An input of a graph.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Input {
    pub name: String,
    pub shape: Shape,
}

/// One operator of a graph with what it reads.
///
/// ```
/// use sepconv::graph::{Builder, Layer};
/// use sepconv::{Clamp, Shape, Window};
///
/// let mut net = Builder::new();
/// let image = net.input("image", Shape::new(8, 8, 4))?;
/// let window = Window::square(3).stride(2).symmetric();
/// let x = net.depthwise("dw", image, window, Layer::named("dw").bias().clamp(Clamp::RELU))?;
/// let graph = net.build(&[x])?;
///
/// let node = graph.node("dw").unwrap();
/// assert_eq!((node.name(), node.kind()), ("dw", "depthwise"));
/// assert_eq!((node.input(), node.output()), (Shape::new(8, 8, 4), Shape::new(4, 4, 4)));
/// assert_eq!((node.window(), node.clamp()), (window, Clamp::RELU));
/// assert_eq!(node.weight_shape(), Some(vec![4, 1, 3, 3]));
/// assert_eq!(node.macs(), 4 * 4 * 4 * 9);
/// assert!(node.parameters().unwrap().has_bias());
/// # Ok::<(), sepconv::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Node {
    pub(crate) name: String,
    pub(crate) operator: Arc<dyn Operator>,
    /// The values that it reads.
    pub(crate) inputs: Vec<usize>,
    /// In which order it takes the channels of its input, and has its parameters: see [`Value::reading_order`]. What it
    /// sums, it sums in this order; where each channel is by itself, its output has this order too.
    pub(crate) order: Option<Arc<[usize]>>,
    /// In which order it writes its output channels, where that is not the network's.
    pub(crate) output_order: Option<Arc<[usize]>>,
    pub(crate) input: Shape,
    pub(crate) output: Shape,
    pub(crate) clamp: Clamp,
    pub(crate) parameters: Option<Parameters>,
    /// The value that it makes, its channels in the order of the network.
    pub(crate) result: usize,
}

impl Node {
    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The operator: `conv`, `depthwise`, `pointwise`, `fully_connected`, `leaky_norm`, `add`, `clamp`, `max_pool`,
    /// `average_pool` or `global_average_pool`.
    pub fn kind(&self) -> &'static str {
        self.operator.kind()
    }

    /// The shape of the first input.
    pub fn input(&self) -> Shape {
        self.input
    }

    /// The shape of the output.
    pub fn output(&self) -> Shape {
        self.output
    }

    /// How its windows lie on the first input.
    pub fn window(&self) -> Window {
        self.operator.window(self.input)
    }

    /// The clamp of its output.
    pub fn clamp(&self) -> Clamp {
        self.clamp
    }

    /// Its parameters, where it has any.
    pub fn parameters(&self) -> Option<&Parameters> {
        self.parameters.as_ref()
    }

    /// The shape of its weights in PyTorch's layout (O, I, kh, kw; depthwise C, 1, kh, kw; fully connected O, I); `None`
    /// where it has none.
    pub fn weight_shape(&self) -> Option<Vec<usize>> {
        if matches!(self.parameters.as_ref()?.weights(), Tensors::Ones) {
            return None;
        }
        let shape = self.operator.weights(self.input)?;
        let [outputs, inputs @ ..] = shape;
        Some(if self.operator.weights_are_flat() { vec![outputs, inputs.iter().product()] } else { shape.to_vec() })
    }

    /// Multiply-accumulates, those with padding among them; 0 where it has no weights, `u64::MAX` where there are more than
    /// fit.
    pub fn macs(&self) -> u64 {
        let weights = self.operator.weights(self.input).filter(|_| self.operator.traits().weighted);
        let weights: usize = weights.map_or(0, |shape| shape.iter().product());
        (self.output.pixels() as u64).saturating_mul(weights as u64)
    }
}

/// What a network computes: operators over tensors, with named or given parameters. Made by a [`Builder`](super::Builder).
///
/// ```
/// use sepconv::Shape;
/// use sepconv::models::{Architecture, Config, Network};
///
/// let network = Network::new(Architecture::MobilenetV1, &Config::of(Architecture::MobilenetV1))?;
/// let graph = network.graph();
/// assert_eq!((graph.params(), graph.macs()), (4_231_976, 568_740_352));
/// let (name, shape) = graph.inputs().next().unwrap();
/// assert_eq!((name, shape), ("image", Shape::new(224, 224, 3)));
/// assert_eq!(graph.nodes()[0].name(), "Conv2d_0");
/// assert_eq!(graph.outputs().next().unwrap().1, Shape::new(1, 1, 1000));
/// assert_eq!(graph.to_string().lines().count(), graph.nodes().len());
/// # Ok::<(), sepconv::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Graph {
    pub(super) inputs: Vec<Input>,
    pub(super) values: Vec<Value>,
    pub(super) nodes: Vec<Node>,
    /// Names and values of the outputs.
    pub(super) outputs: Vec<(String, usize)>,
}

impl Graph {
    /// The nodes in the order in which they run.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The node `name`.
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == name)
    }

    /// Names and shapes of the inputs.
    pub fn inputs(&self) -> impl ExactSizeIterator<Item = (&str, Shape)> {
        self.inputs.iter().map(|input| (&*input.name, input.shape))
    }

    /// Names and shapes of the outputs; each has the name of the node, or of the input, that makes it.
    pub fn outputs(&self) -> impl ExactSizeIterator<Item = (&str, Shape)> {
        self.outputs.iter().map(|(name, value)| (&**name, self.values[*value].shape))
    }

    /// The same graph with the outputs of the nodes `names` as its outputs, and without the nodes that these do not need.
    /// An error where a name is no node's, or stands twice.
    ///
    /// A head on features is a graph of its own, which has them as its inputs: its plan reads what the plan of the features
    /// has written.
    ///
    /// ```
    /// use sepconv::graph::{Builder, Layer};
    /// use sepconv::models::{Architecture, Config, Network};
    /// use sepconv::parallel::Serial;
    /// use sepconv::weights::HashWeights;
    /// use sepconv::{Batch, BatchMut, Options, Plan};
    ///
    /// let config = Config { width: 0.35, resolution: 96, ..Config::of(Architecture::MobilenetV2) };
    /// let network = Network::new(Architecture::MobilenetV2, &config)?;
    /// // Every 16th and every 32nd pixel.
    /// let features = network.graph().features(["block13_expand", "conv_last"])?;
    /// let shapes: Vec<_> = features.outputs().map(|(_, shape)| shape).collect();
    ///
    /// let mut head = Builder::new();
    /// let inputs = [head.input("fine", shapes[0])?, head.input("coarse", shapes[1])?];
    /// let fine = head.pointwise("boxes0", inputs[0], 3 * 4, Layer::named("boxes0").bias())?;
    /// let coarse = head.pointwise("boxes1", inputs[1], 6 * 4, Layer::named("boxes1").bias())?;
    /// let head = head.build(&[fine, coarse])?;
    ///
    /// let (backbone, head) = (
    ///     Plan::new(&features, &HashWeights, &Serial, Options::default())?,
    ///     Plan::new(&head, &HashWeights, &Serial, Options::default())?,
    /// );
    /// let [mut fine, mut coarse] = [0, 1].map(|i| vec![0.0; shapes[i].len()]);
    /// let mut outputs = [BatchMut::tight(&mut fine, 1, shapes[0])?, BatchMut::tight(&mut coarse, 1, shapes[1])?];
    /// backbone.run(&Serial, &mut backbone.workspace()?, &HashWeights::image(96, 96, 3)?, &mut outputs)?;
    ///
    /// let inputs = [Batch::tight(&fine, 1, shapes[0])?, Batch::tight(&coarse, 1, shapes[1])?];
    /// let boxes: Vec<_> = head.graph().outputs().map(|(_, shape)| shape).collect();
    /// let [mut small, mut large] = [0, 1].map(|i| vec![0.0; boxes[i].len()]);
    /// let mut outputs = [BatchMut::tight(&mut small, 1, boxes[0])?, BatchMut::tight(&mut large, 1, boxes[1])?];
    /// head.run(&Serial, &mut head.workspace()?, &inputs, &mut outputs)?;
    /// assert_eq!((small.len(), large.len()), (6 * 6 * 3 * 4, 3 * 3 * 6 * 4));
    /// # Ok::<(), sepconv::Error>(())
    /// ```
    pub fn features<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Result<Graph> {
        let mut outputs: Vec<(String, usize)> = Vec::new();
        for name in names {
            let index = self.nodes.iter().position(|node| node.name == name).ok_or_else(|| {
                let known: Vec<&str> = self.nodes.iter().map(|node| &*node.name).collect();
                Error::node(name, "feature", "no node of this name", format!("one of {}", known.join(", ")))
            })?;
            let value = self.output_of(index);
            if outputs.iter().any(|(other, _)| other == name) {
                return Err(Error::node(name, "feature", "the name twice", "each feature once"));
            }
            outputs.push((name.into(), value));
        }
        if outputs.is_empty() {
            return Err(Error::node("graph", "features", "no name", "at least one"));
        }
        Ok(Graph { outputs, ..self.clone() }.without_unread())
    }

    /// The same graph up to what node `index` reads first, which is its output.
    pub(crate) fn before(&self, index: usize) -> Graph {
        let value = self.nodes[index].inputs[0];
        let last = self.values[value].runs.iter().map(|run| run.origin).max();
        let name = last.map_or_else(String::new, |origin| self.name_of(origin).into());
        Graph { outputs: vec![(name, value)], ..self.clone() }.without_unread()
    }

    /// The graph without the nodes whose outputs nothing needs.
    fn without_unread(self) -> Graph {
        let mut needed = vec![false; self.nodes.len()];
        let mut values: Vec<usize> = self.outputs.iter().map(|&(_, value)| value).collect();
        while let Some(value) = values.pop() {
            for run in &self.values[value].runs {
                if let Origin::Node(node) = run.origin
                    && !core::mem::replace(&mut needed[node], true)
                {
                    values.extend(&self.nodes[node].inputs);
                }
            }
        }
        // Where each node that stays will be.
        let places: Vec<usize> = (0..needed.len()).map(|node| needed[..node].iter().filter(|&&n| n).count()).collect();
        let mut values = self.values;
        for run in values.iter_mut().flat_map(|value| &mut value.runs) {
            if let Origin::Node(node) = &mut run.origin {
                // A node that an earlier call left out has no place either.
                *node = if needed.get(*node) == Some(&true) { places[*node] } else { usize::MAX };
            }
        }
        let nodes = self.nodes.into_iter().zip(&needed).filter_map(|(node, &needed)| needed.then_some(node)).collect();
        Graph { nodes, values, ..self }
    }

    /// Trainable parameters: weights, biases, and scale and shift of each batch normalisation.
    pub fn params(&self) -> u64 {
        let of = |node: &Node| {
            let (shape, parameters) = (node.operator.weights(node.input)?, node.parameters.as_ref()?);
            let weights = node.weight_shape().map_or(0, |shape| shape.iter().map(|&size| size as u64).product::<u64>());
            let per_output = u64::from(parameters.has_bias()) + 2 * u64::from(parameters.norm().is_some());
            Some(weights + per_output * shape[0] as u64)
        };
        self.nodes.iter().filter_map(of).fold(0, u64::saturating_add)
    }

    /// Multiply-accumulates of one image: of the convolutions and the fully connected layers, those with padding among
    /// them.
    pub fn macs(&self) -> u64 {
        self.nodes.iter().map(Node::macs).fold(0, u64::saturating_add)
    }

    pub(crate) fn value(&self, value: usize) -> &Value {
        &self.values[value]
    }

    pub(crate) fn output_values(&self) -> impl Iterator<Item = usize> {
        self.outputs.iter().map(|&(_, value)| value)
    }

    fn name_of(&self, origin: Origin) -> &str {
        match origin {
            Origin::Input(input) => &self.inputs[input].name,
            Origin::Node(node) => &self.nodes[node].name,
        }
    }

    #[cfg(feature = "reference")]
    pub(crate) fn shape_of(&self, origin: Origin) -> Shape {
        match origin {
            Origin::Input(input) => self.inputs[input].shape,
            Origin::Node(node) => self.nodes[node].output,
        }
    }

    /// The value that the call which made node `index` gave.
    pub(crate) fn output_of(&self, index: usize) -> usize {
        self.nodes[index].result
    }
}

/// One line a node.
impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for node in &self.nodes {
            writeln!(f, "{:<24} {:<20} {:>12} -> {}", node.name, node.kind(), node.input, node.output)?;
        }
        Ok(())
    }
}
