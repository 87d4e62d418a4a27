//! Builds graphs, one call a node.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::layer::{Layer, Norm, Tensors};
use super::nodes::{Graph, Input, Node, Origin, Run, Tensor, Value};
use crate::error::{Error, Result};
use crate::ops::{Add, AveragePool, Channelwise, Clamping, Dense, GlobalAveragePool, MaxPool, Mixing, Operator};
use crate::tensor::{Clamp, Layout, Shape, Window};

/// Builds a [`Graph`]: each call appends a node and gives its output. Names are the caller's, each used once.
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
#[derive(Debug)]
pub struct Builder {
    id: usize,
    inputs: Vec<Input>,
    values: Vec<Value>,
    nodes: Vec<Node>,
    names: HashSet<String>,
}

impl Default for Builder {
    fn default() -> Self {
        Self::new()
    }
}

/// The most elements of a tensor: sums and products of a few stay far below any overflow.
const LARGEST: usize = isize::MAX as usize / 1024;
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
            names: HashSet::new(),
        }
    }

    /// An input of the graph: images of `shape`, which holds at least one element.
    pub fn input(&mut self, name: &str, shape: Shape) -> Result<Tensor> {
        self.check_name(name)?;
        check_shape(name, shape)?;
        self.names.insert(name.into());
        self.inputs.push(Input { name: name.into(), shape });
        Ok(self.value(Origin::Input(self.inputs.len() - 1), shape))
    }

    /// A dense convolution to `outputs` channels under a window of any size (the same stride both ways, no dilation).
    pub fn conv(&mut self, name: &str, input: Tensor, outputs: usize, window: Window, layer: Layer) -> Result<Tensor> {
        // One kernel does both; without padding a window of one pixel is a pointwise convolution.
        if window.is_pixel() && window.padding == Default::default() && window.stride.0 == window.stride.1 {
            let operator = Mixing { kind: "pointwise", outputs, stride: window.stride.0 };
            return self.weighted(name, operator, input, layer);
        }
        self.weighted(name, Dense { outputs, window }, input, layer)
    }

    /// A depthwise convolution: each channel under a window of its own.
    pub fn depthwise(&mut self, name: &str, input: Tensor, window: Window, layer: Layer) -> Result<Tensor> {
        self.weighted(name, Channelwise { window }, input, layer)
    }

    /// A pointwise (1x1) convolution to `outputs` channels.
    pub fn pointwise(&mut self, name: &str, input: Tensor, outputs: usize, layer: Layer) -> Result<Tensor> {
        self.weighted(name, Mixing { kind: "pointwise", outputs, stride: 1 }, input, layer)
    }

    /// A fully connected layer to `outputs` channels; its input has one pixel.
    pub fn fully_connected(&mut self, name: &str, input: Tensor, outputs: usize, layer: Layer) -> Result<Tensor> {
        let shape = self.shape_for(name, input)?;
        if (shape.height, shape.width) != (1, 1) {
            return Err(Error::node(name, "fully connected input", shape, "an image of one pixel: pool it first"));
        }
        self.weighted(name, Mixing { kind: "fully_connected", outputs, stride: 1 }, input, layer)
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

    /// The graph with these tensors as its outputs, at least one, each made by a node and named once. Every node stays,
    /// also one whose output nothing reads.
    pub fn build(self, outputs: &[Tensor]) -> Result<Graph> {
        let mut named: Vec<(String, usize)> = Vec::new();
        if outputs.is_empty() {
            return Err(Error::node("graph", "outputs", "none", "at least one tensor"));
        }
        for &tensor in outputs {
            self.shape(tensor)?;
            let value = &self.values[tensor.index];
            let name = match value.runs[..] {
                [Run { origin: Origin::Node(node), .. }] => self.nodes[node].name.clone(),
                [Run { origin: Origin::Input(input), .. }] => {
                    let name = &self.inputs[input].name;
                    return Err(Error::node(name, "output", "an input of the graph", "the output of a node"));
                }
                _ => return Err(Error::node("graph", "output", "several tensors", "the output of a node")),
            };
            if named.iter().any(|&(_, index)| index == tensor.index) {
                return Err(Error::node(&name, "output", "the tensor twice", "each output once"));
            }
            named.push((name, tensor.index));
        }
        Ok(Graph { inputs: self.inputs, values: self.values, nodes: self.nodes, outputs: named })
    }

    /// The shape of an input of the node `name`.
    fn shape_for(&self, name: &str, input: Tensor) -> Result<Shape> {
        self.shape(input).map_err(|error| error.of_node(name))
    }

    fn value(&mut self, origin: Origin, shape: Shape) -> Tensor {
        self.values.push(Value { shape, runs: vec![Run { origin, first: 0, channels: shape.channels }] });
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
        self.check_name(name)?;
        let shape = self.shape_for(name, input)?;
        let weights = operator.weights(shape).unwrap_or_default();
        if !(1..=MOST_OUTPUTS).contains(&weights[0]) {
            return Err(Error::node(name, "outputs", weights[0], format!("1 to {MOST_OUTPUTS}")));
        }
        let count = weights.iter().try_fold(1usize, |count, &size| count.checked_mul(size));
        let count = count
            .filter(|&count| count <= LARGEST)
            .ok_or_else(|| Error::node(name, "weights", format!("{weights:?}"), "fewer than fit the address space"))?;
        let check = |what: &str, tensors: &Tensors, expected: &[(&str, usize)]| match tensors {
            Tensors::Given(arrays) => {
                let mut pairs = arrays.iter().zip(expected);
                let wrong = pairs.find(|(array, (_, length))| array.len() != *length);
                wrong.map_or(Ok(()), |(array, (what, length))| {
                    Err(Error::node(name, *what, format!("{} elements", array.len()), length))
                })
            }
            Tensors::Named(tensor) if tensor.is_empty() => Err(Error::node(name, what, "an empty name", "a name")),
            Tensors::Named(_) => Ok(()),
        };
        check("weights", layer.parameters.weights(), &[("weights", count), ("bias", weights[0])])?;
        if let Some(Norm { tensors, epsilon }) = layer.parameters.norm() {
            let of_norm = ["scale", "shift", "mean", "variance"].map(|part| format!("normalisation {part}"));
            check("normalisation", tensors, &of_norm.each_ref().map(|part| (&**part, weights[0])))?;
            if !(0.0..1.0).contains(epsilon) {
                return Err(Error::node(name, "epsilon", epsilon, "0 or more, below 1"));
            }
        }
        self.node(name, Arc::new(operator), &[input], layer.clamp, Some(layer))
    }

    fn node(
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
        self.nodes.push(Node {
            name: name.into(),
            operator,
            inputs: inputs.iter().map(|input| input.index).collect(),
            input: shapes[0],
            output,
            clamp,
            parameters: layer.map(|layer| layer.parameters),
        });
        Ok(self.value(Origin::Node(self.nodes.len() - 1), output))
    }
}

/// The error for a tensor without elements, or with too many.
fn check_shape(name: &str, shape: Shape) -> Result<()> {
    let extent = Layout::spaced(shape.height, shape.width, shape.channels.min(LARGEST)).extent();
    match extent {
        Some(1..=LARGEST) if shape.channels <= LARGEST => Ok(()),
        _ => Err(Error::node(name, "shape", shape, "at least one element, and as many as fit the address space")),
    }
}
