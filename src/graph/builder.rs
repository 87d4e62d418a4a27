//! Builds graphs, one call a node.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;
use core::sync::atomic::{AtomicUsize, Ordering};

use super::arrange::{MOST_ORDERED, arrange};
use super::layer::{Layer, Norm, Tensors};
use super::nodes::{Graph, Input, Node, Tensor};
use super::value::{Origin, Value};
use crate::error::{Error, Result};
use crate::ops::{
    Add, AveragePool, Channelwise, Clamping, Dense, Flattened, GlobalAveragePool, LeakyNorm, MaxPool, Mixing, Operator,
};
use crate::tensor::{Clamp, Layout, Shape, Window};

/// Builds a [`Graph`]: each call appends a node and gives its output. Names are the caller's, each used once.
///
/// A call is refused, by an error with the node's name and no change to the graph, where the name is used, a tensor is
/// another builder's, the shapes do not fit, or an array has another length than the layer's.
///
/// ```
/// use sepconv::graph::{Builder, Layer};
/// use sepconv::parallel::Serial;
/// use sepconv::weights::HashWeights;
/// use sepconv::{Clamp, Options, Plan, Shape, Window};
///
/// let mut net = Builder::new();
/// let image = net.input("image", Shape::new(48, 64, 3))?;
/// let stem = Layer::named("stem").norm("stem.bn", 1e-5).clamp(Clamp::RELU6);
/// let x = net.conv("stem", image, 16, Window::square(3).stride(2).symmetric(), stem)?;
/// let y = net.depthwise("dw", x, Window::square(3).symmetric(), Layer::named("dw").clamp(Clamp::RELU6))?;
/// let y = net.pointwise("pw", y, 16, Layer::named("pw"))?;
/// let y = net.add("sum", x, y, Clamp::NONE)?;
/// let graph = net.build(&[y])?;
///
/// let plan = Plan::new(&graph, &HashWeights, &Serial, Options::default())?;
/// let (mut workspace, mut output) = (plan.workspace()?, vec![0.0; plan.output_len()]);
/// plan.run(&Serial, &mut workspace, &HashWeights::image(48, 64, 3)?, &mut output)?;
/// assert_eq!(output.len(), 24 * 32 * 16);
/// # Ok::<(), sepconv::Error>(())
/// ```
///
/// Calls beside convolutions; a tensor that they give can be read by any number of others:
///
/// ```
/// use sepconv::graph::{Builder, Flatten, Layer};
/// use sepconv::{Clamp, Shape, Window};
///
/// let mut net = Builder::new();
/// let image = net.input("image", Shape::new(16, 16, 4))?;
/// let pooled = net.max_pool("max", image, Window::square(3).stride(2).symmetric())?;
/// let halves = net.split(pooled, &[2, 2])?;
/// let swapped = net.concat(&[halves[1], halves[0]])?;
/// let x = net.grouped_pointwise("grouped", swapped, 8, 2, Layer::named("grouped"))?;
/// let x = net.shuffle(x, 2)?;
/// let x = net.clamp("relu", x, Clamp::RELU)?;
/// let x = net.average_pool("average", x, Window::square(2).stride(2), false)?;
/// assert_eq!(net.shape(x)?, Shape::new(4, 4, 8));
/// let six = net.slice(x, 0..6)?;
/// let mean = net.global_average_pool("mean", six)?;
/// let classes = net.fully_connected("classes", mean, 10, Layer::named("classes").bias())?;
/// let x = net.leaky_norm("leaky", x, 0.1, Layer::without_weights().norm("bn", 1e-3))?;
/// let others = net.flattened("others", x, Flatten::ChannelsLast, 10, Layer::named("others"))?;
/// let graph = net.build(&[classes, others])?;
/// assert_eq!(graph.nodes().len(), 8);
/// assert_eq!(graph.node("others").unwrap().weight_shape(), Some(vec![10, 4 * 4 * 8]));
///
/// // Errors name the node.
/// let mut net = Builder::new();
/// let image = net.input("image", Shape::new(16, 16, 4))?;
/// let error = net.fully_connected("classes", image, 10, Layer::named("classes")).unwrap_err();
/// assert!(error.to_string().starts_with("classes: "));
/// # Ok::<(), sepconv::Error>(())
/// ```
#[derive(Debug)]
pub struct Builder {
    id: usize,
    pub(super) inputs: Vec<Input>,
    pub(super) values: Vec<Value>,
    pub(super) nodes: Vec<Node>,
    names: BTreeSet<String>,
}

/// How a fully connected layer takes the elements of an image, one after the other. [`Builder`] has an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Flatten {
    /// Channel by channel, row by row: as PyTorch flattens.
    ChannelsFirst,
    /// Row by row, pixel by pixel, all channels of each: as Keras flattens.
    ChannelsLast,
}

impl Default for Builder {
    fn default() -> Self {
        Self::new()
    }
}

/// The most elements of a tensor, that of all images of a batch included: sums of many and products of a few small numbers stay
/// below any overflow.
pub(crate) const LARGEST_TENSOR: usize = isize::MAX as usize / 64;
/// The most outputs of a layer.
const MOST_OUTPUTS: usize = 1 << 24;

impl Builder {
    /// A graph of nothing.
    pub fn new() -> Self {
        static BUILDERS: AtomicUsize = AtomicUsize::new(0);
        Builder {
            id: BUILDERS.fetch_add(1, Ordering::Relaxed),
            inputs: Vec::new(),
            values: Vec::new(),
            nodes: Vec::new(),
            names: BTreeSet::new(),
        }
    }

    /// An input of the graph: images of `shape`, which holds at least one element.
    pub fn input(&mut self, name: &str, shape: Shape) -> Result<Tensor> {
        self.check_name(name)?;
        check_shape(name, shape)?;
        self.names.insert(name.into());
        self.inputs.push(Input { name: name.into(), shape });
        Ok(self.value(Value::whole(Origin::Input(self.inputs.len() - 1), shape)))
    }

    /// Channels `range` of a tensor, at least one; no node, and no copy. An error where the tensor has fewer.
    pub fn slice(&mut self, input: Tensor, range: Range<usize>) -> Result<Tensor> {
        let shape = self.shape(input)?;
        if range.start >= range.end || range.end > shape.channels {
            let expected = format!("at least one of the {} there are", shape.channels);
            return Err(Error::node("slice", "channels", format!("{range:?}"), expected));
        }
        Ok(self.value(self.values[input.index].slice(range)))
    }

    /// A tensor in slices of so many channels, which are all of it; no node, and no copy. An error where they are not.
    pub fn split(&mut self, input: Tensor, channels: &[usize]) -> Result<Vec<Tensor>> {
        let shape = self.shape(input)?;
        let sum = channels.iter().try_fold(0usize, |sum, &channels| sum.checked_add(channels));
        if sum != Some(shape.channels) || channels.contains(&0) {
            let expected = format!("at least one a slice, {} in sum", shape.channels);
            return Err(Error::node("split", "channels", format!("{channels:?}"), expected));
        }
        let starts = channels.iter().scan(0, |start, &channels| Some(core::mem::replace(start, *start + channels)));
        let ranges: Vec<Range<usize>> = starts.zip(channels).map(|(start, channels)| start..start + channels).collect();
        ranges.into_iter().map(|range| self.slice(input, range)).collect()
    }

    /// The channels of several tensors of one height and width, those of the first in front; no node. A plan has them
    /// written side by side where it can. An error without tensors, and where their sizes differ.
    pub fn concat(&mut self, inputs: &[Tensor]) -> Result<Tensor> {
        let shapes = inputs.iter().map(|&input| self.shape(input)).collect::<Result<Vec<_>>>()?;
        let Some(&Shape { height, width, .. }) = shapes.first() else {
            return Err(Error::node("concat", "inputs", "none", "at least one tensor"));
        };
        if let Some(other) = shapes.iter().find(|shape| (shape.height, shape.width) != (height, width)) {
            return Err(Error::node("concat", "input", other, format!("the first one's size, {height}x{width}")));
        }
        let channels = shapes.iter().map(|shape| shape.channels).fold(0, usize::saturating_add);
        check_count("concat", channels)?;
        let runs = inputs.iter().flat_map(|input| self.values[input.index].runs.iter().copied());
        let value = Value::of_runs(height, width, runs.collect::<Vec<_>>());
        check_shape("concat", value.shape)?;
        Ok(self.value(value))
    }

    /// A channel shuffle (ShuffleNet): the channels as `groups` rows, read column by column, so that channel
    /// `i * groups + j` is channel `j * n + i` of the input, with `n` channels a group; no node. It moves into the weights
    /// of its neighbours where it can. An error where `groups` does not divide the channels.
    pub fn shuffle(&mut self, input: Tensor, groups: usize) -> Result<Tensor> {
        let shape = self.shape(input)?;
        if groups == 0 || !shape.channels.is_multiple_of(groups) {
            let expected = format!("a divisor of the {} channels", shape.channels);
            return Err(Error::node("shuffle", "groups", groups, expected));
        }
        check_count("shuffle", shape.channels)?;
        Ok(self.value(self.values[input.index].shuffle(groups)))
    }

    /// A dense convolution to `outputs` channels under a window of any size, without dilation; weights O, I, kh, kw.
    pub fn conv(&mut self, name: &str, input: Tensor, outputs: usize, window: Window, layer: Layer) -> Result<Tensor> {
        // One kernel does both; without padding a window of one pixel is a pointwise convolution.
        if window.is_pixel() && window.padding == Default::default() && window.stride.0 == window.stride.1 {
            let operator = Mixing { kind: "pointwise", outputs, stride: window.stride.0, groups: 1 };
            return self.weighted(name, operator, input, layer);
        }
        self.weighted(name, Dense { outputs, window }, input, layer)
    }

    /// A depthwise convolution: each channel under a window of its own; weights C, 1, kh, kw. The windows are those of
    /// [`DepthwiseParams`](crate::ops::DepthwiseParams): a plan has no kernel for others.
    pub fn depthwise(&mut self, name: &str, input: Tensor, window: Window, layer: Layer) -> Result<Tensor> {
        self.weighted(name, Channelwise { window }, input, layer)
    }

    /// A pointwise (1x1) convolution to `outputs` channels; weights O, I, 1, 1.
    pub fn pointwise(&mut self, name: &str, input: Tensor, outputs: usize, layer: Layer) -> Result<Tensor> {
        self.weighted(name, Mixing { kind: "pointwise", outputs, stride: 1, groups: 1 }, input, layer)
    }

    /// A pointwise (1x1) convolution in `groups`: equal slices of the input channels, each to an equal slice of the
    /// `outputs`; weights O, I a group, 1, 1.
    pub fn grouped_pointwise(
        &mut self,
        name: &str,
        input: Tensor,
        outputs: usize,
        groups: usize,
        layer: Layer,
    ) -> Result<Tensor> {
        self.weighted(name, Mixing { kind: "pointwise", outputs, stride: 1, groups }, input, layer)
    }

    /// A fully connected layer to `outputs` channels; its input has one pixel. Weights O, I.
    pub fn fully_connected(&mut self, name: &str, input: Tensor, outputs: usize, layer: Layer) -> Result<Tensor> {
        self.weighted(name, Mixing { kind: "fully_connected", outputs, stride: 1, groups: 1 }, input, layer)
    }

    /// A fully connected layer to `outputs` channels from all elements of an image, which `order` lays out in one row; its
    /// weights are outputs x elements. The image has at most 32768 rows and columns.
    pub fn flattened(
        &mut self,
        name: &str,
        input: Tensor,
        order: Flatten,
        outputs: usize,
        layer: Layer,
    ) -> Result<Tensor> {
        self.weighted(name, Flattened { outputs, channels_last: order == Flatten::ChannelsLast }, input, layer)
    }

    /// A leaky ReLU, `x < 0 ? x * slope : x`, then the batch normalisation of `layer`, which has no weights
    /// ([`Layer::without_weights`]), then its clamp: a normalisation after an activation cannot be folded into the
    /// convolution before it (EffNet).
    pub fn leaky_norm(&mut self, name: &str, input: Tensor, slope: f32, layer: Layer) -> Result<Tensor> {
        self.weighted(name, LeakyNorm { slope }, input, layer)
    }

    /// The sum of two tensors of one shape, clamped.
    pub fn add(&mut self, name: &str, a: Tensor, b: Tensor, clamp: Clamp) -> Result<Tensor> {
        self.node(name, Arc::new(Add), &[a, b], clamp, None)
    }

    /// An activation by itself: a plan makes it part of its neighbours where it can.
    pub fn clamp(&mut self, name: &str, input: Tensor, clamp: Clamp) -> Result<Tensor> {
        self.node(name, Arc::new(Clamping), &[input], clamp, None)
    }

    /// Max pooling. Padding never counts.
    pub fn max_pool(&mut self, name: &str, input: Tensor, window: Window) -> Result<Tensor> {
        self.node(name, Arc::new(MaxPool { window }), &[input], Clamp::NONE, None)
    }

    /// Average pooling, over all taps where `count_padding`, else over those inside the image.
    pub fn average_pool(&mut self, name: &str, input: Tensor, window: Window, count_padding: bool) -> Result<Tensor> {
        self.node(name, Arc::new(AveragePool { window, count_padding }), &[input], Clamp::NONE, None)
    }

    /// The mean of each channel: an image of one pixel.
    pub fn global_average_pool(&mut self, name: &str, input: Tensor) -> Result<Tensor> {
        self.node(name, Arc::new(GlobalAveragePool), &[input], Clamp::NONE, None)
    }

    /// The shape of a tensor; an error where another builder made it.
    pub fn shape(&self, tensor: Tensor) -> Result<Shape> {
        let known = self.values.get(tensor.index).filter(|_| tensor.graph == self.id);
        known
            .map(|value| value.shape)
            .ok_or_else(|| Error::node("graph", "tensor", "one of another builder", "one that this builder gave"))
    }

    /// The same calls once more: a graph is built of them, and the builder stays.
    #[cfg(feature = "capi")]
    pub(crate) fn copy(&self) -> Self {
        let Builder { id, inputs, values, nodes, names } = self;
        Builder { id: *id, inputs: inputs.clone(), values: values.clone(), nodes: nodes.clone(), names: names.clone() }
    }

    /// The graph with these tensors as its outputs: at least one, each once; else an error. Every node stays, also one
    /// whose output nothing reads.
    pub fn build(self, outputs: &[Tensor]) -> Result<Graph> {
        let mut named: Vec<(String, usize)> = Vec::new();
        if outputs.is_empty() {
            return Err(Error::node("graph", "outputs", "none", "at least one tensor"));
        }
        for &tensor in outputs {
            self.shape(tensor)?;
            // What no single node makes has the name of the last that makes a part of it.
            let last = self.values[tensor.index].runs.iter().map(|run| run.origin).max();
            let name = match last {
                Some(Origin::Node(node)) => self.nodes[node].name.clone(),
                Some(Origin::Input(input)) => self.inputs[input].name.clone(),
                None => String::new(),
            };
            if named.iter().any(|&(_, index)| index == tensor.index) {
                return Err(Error::node(&name, "output", "the tensor twice", "each output once"));
            }
            named.push((name, tensor.index));
        }
        let mut graph = Graph { inputs: self.inputs, values: self.values, nodes: self.nodes, outputs: named };
        arrange(&mut graph);
        Ok(graph)
    }

    /// The shape of an input of the node `name`.
    fn shape_for(&self, name: &str, input: Tensor) -> Result<Shape> {
        self.shape(input).map_err(|error| error.of_node(name))
    }

    /// A tensor that is made of others.
    pub(super) fn value(&mut self, value: Value) -> Tensor {
        self.values.push(value);
        Tensor { graph: self.id, index: self.values.len() - 1 }
    }

    fn check_name(&self, name: &str) -> Result<()> {
        match self.names.contains(name) {
            true => Err(Error::node(name, "name", "one that another node has", "a name of its own")),
            false if name.is_empty() => Err(Error::node("graph", "name", "an empty one", "a name")),
            false => Ok(()),
        }
    }

    fn weighted(
        &mut self,
        name: &str,
        operator: impl Operator + 'static,
        input: Tensor,
        layer: Layer,
    ) -> Result<Tensor> {
        self.layer(name, Arc::new(operator), input, layer)
    }

    /// A node with parameters.
    pub(super) fn layer(
        &mut self,
        name: &str,
        operator: Arc<dyn Operator>,
        input: Tensor,
        layer: Layer,
    ) -> Result<Tensor> {
        self.check_name(name)?;
        let shape = self.shape_for(name, input)?;
        let weights = operator.weights(shape).unwrap_or_default();
        if !(1..=MOST_OUTPUTS).contains(&weights[0]) {
            return Err(Error::node(name, "outputs", weights[0], format!("1 to {MOST_OUTPUTS}")));
        }
        let count = weights.iter().try_fold(1usize, |count, &size| count.checked_mul(size));
        let count = count
            .filter(|&count| count <= LARGEST_TENSOR)
            .ok_or_else(|| Error::node(name, "weights", format!("{weights:?}"), "fewer than fit the address space"))?;
        let parameters = &layer.parameters;
        let alone = matches!(parameters.weights(), Tensors::Ones) && !parameters.has_bias();
        let normalises = alone && parameters.norm().is_some();
        if !operator.traits().weighted && !normalises {
            let expected = "Layer::without_weights() with a norm";
            return Err(Error::node(name, "layer", "one with weights or a bias, or without a norm", expected));
        }
        let check = |what: &str, tensors: &Tensors, expected: &[(&str, usize)]| match tensors {
            Tensors::Given(arrays) => {
                let mut pairs = arrays.iter().zip(expected);
                let wrong = pairs.find(|(array, (_, length))| array.len() != *length);
                wrong.map_or(Ok(()), |(array, (what, length))| {
                    Err(Error::node(name, *what, format!("{} elements", array.len()), length))
                })
            }
            Tensors::Named(tensor) if tensor.is_empty() => Err(Error::node(name, what, "an empty name", "a name")),
            Tensors::Ones if operator.traits().weighted => {
                Err(Error::node(name, what, "none", "some, by name or as arrays"))
            }
            Tensors::Named(_) | Tensors::Ones | Tensors::Packed => Ok(()),
        };
        check("weights", parameters.weights(), &[("weights", count), ("bias", weights[0])])?;
        if let Some(Norm { tensors, epsilon }) = parameters.norm() {
            let of_norm = ["scale", "shift", "mean", "variance"].map(|part| format!("normalisation {part}"));
            check("normalisation", tensors, &of_norm.each_ref().map(|part| (&**part, weights[0])))?;
            if !(0.0..1.0).contains(epsilon) {
                return Err(Error::node(name, "epsilon", epsilon, "0 or more, below 1"));
            }
        }
        self.node(name, operator, &[input], layer.clamp, Some(layer))
    }

    /// A node; `layer` has its parameters.
    pub(super) fn node(
        &mut self,
        name: &str,
        operator: Arc<dyn Operator>,
        inputs: &[Tensor],
        clamp: Clamp,
        layer: Option<Layer>,
    ) -> Result<Tensor> {
        self.check_name(name)?;
        if clamp.lo.is_nan() || clamp.hi.is_nan() || clamp.lo > clamp.hi {
            return Err(Error::node(
                name,
                "clamp",
                format!("{} to {}", clamp.lo, clamp.hi),
                "a lower bound, then a higher",
            ));
        }
        let shapes = inputs.iter().map(|&input| self.shape_for(name, input)).collect::<Result<Vec<_>>>()?;
        let output = operator.output(&shapes).map_err(|error| error.of_node(name))?;
        check_shape(name, output)?;
        self.names.insert(name.into());
        let origin = Origin::Node(self.nodes.len());
        let result = self.value(Value::whole(origin, output));
        self.nodes.push(Node {
            name: name.into(),
            operator,
            inputs: inputs.iter().map(|input| input.index).collect(),
            order: None,
            output_order: None,
            input: shapes[0],
            output,
            clamp,
            parameters: layer.map(|layer| layer.parameters),
            result: result.index,
        });
        Ok(result)
    }
}

/// The error for more channels than can be kept account of one by one.
fn check_count(what: &str, channels: usize) -> Result<()> {
    match channels > MOST_ORDERED {
        true => Err(Error::node(what, "channels", channels, format!("at most {MOST_ORDERED}"))),
        false => Ok(()),
    }
}

/// The error for a tensor without elements, or with too many.
pub(super) fn check_shape(name: &str, shape: Shape) -> Result<()> {
    let extent = Layout::spaced(shape.height, shape.width, shape.channels.min(LARGEST_TENSOR)).extent();
    match extent {
        Some(1..=LARGEST_TENSOR) if shape.channels <= LARGEST_TENSOR => Ok(()),
        _ => Err(Error::node(name, "shape", shape, "at least one element, and as many as fit the address space")),
    }
}
