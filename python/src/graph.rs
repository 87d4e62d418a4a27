//! The builder of graphs.

use pyo3::prelude::*;
use sepconv::Shape;
use sepconv::graph::{self, Builder};

use crate::error::{Result, refused};
use crate::network::{Choices, Network};
use crate::values::{Clamp, Flatten, Layer, Size, Window, axes, shape as shape_of};
use crate::weights::{Model, Source};

/// A tensor of a graph: what its calls give and take. Any number of nodes may read one.
#[pyclass(frozen, eq, hash, from_py_object, module = "sepconv")]
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tensor(graph::Tensor);

/// Builds a network of one's own: each call appends a node and gives its output, `build` ends it.
///
/// Names are the caller's, each used once. A call is refused by an error with the node's name, and changes nothing, where
/// the name is used, a tensor is another graph's, the shapes do not fit, or an array has another shape than the layer's.
#[pyclass(module = "sepconv")]
pub struct Graph(Option<Builder>);

impl Graph {
    fn builder(&mut self) -> Result<&mut Builder> {
        let refuse = || refused("graph", "a call after build", "none: make another Graph");
        Ok(self.0.as_mut().ok_or_else(refuse)?)
    }

    /// Calls `make` for a node with weights, whose shape `weights` says, given that of its input.
    fn weighted(
        &mut self,
        name: &str,
        input: Tensor,
        layer: &Layer,
        weights: impl FnOnce(Shape) -> Vec<Vec<usize>>,
        make: impl FnOnce(&mut Builder, graph::Layer) -> sepconv::Result<graph::Tensor>,
    ) -> Result<Tensor> {
        let builder = self.builder()?;
        let layer = layer.checked(name, &weights(builder.shape(input.0)?))?;
        Ok(Tensor(make(builder, layer)?))
    }
}

/// The shapes that weights of a pointwise convolution may have.
fn pointwise(outputs: usize, inputs: usize) -> Vec<Vec<usize>> {
    vec![vec![outputs, inputs, 1, 1], vec![outputs, inputs]]
}

#[pymethods]
impl Graph {
    #[new]
    fn new() -> Self {
        Graph(Some(Builder::new()))
    }

    /// An input of the graph: images of `shape` (height, width, channels).
    #[pyo3(name = "input")]
    fn input_(&mut self, name: &str, shape: (Size, Size, Size)) -> Result<Tensor> {
        Ok(Tensor(self.builder()?.input(name, shape_of(shape))?))
    }

    /// Channels `start` to `stop` of a tensor, without the last; no node, and no copy.
    fn slice(&mut self, input: Tensor, start: Size, stop: Size) -> Result<Tensor> {
        Ok(Tensor(self.builder()?.slice(input.0, start.0..stop.0)?))
    }

    /// A tensor in slices of so many channels, which are all of it.
    fn split(&mut self, input: Tensor, channels: Vec<Size>) -> Result<Vec<Tensor>> {
        let channels: Vec<usize> = channels.into_iter().map(|size| size.0).collect();
        Ok(self.builder()?.split(input.0, &channels)?.into_iter().map(Tensor).collect())
    }

    /// The channels of several tensors of one height and width, those of the first in front.
    fn concat(&mut self, inputs: Vec<Tensor>) -> Result<Tensor> {
        let inputs: Vec<graph::Tensor> = inputs.into_iter().map(|tensor| tensor.0).collect();
        Ok(Tensor(self.builder()?.concat(&inputs)?))
    }

    /// A channel shuffle (ShuffleNet): the channels as `groups` rows, read column by column.
    fn shuffle(&mut self, input: Tensor, groups: Size) -> Result<Tensor> {
        Ok(Tensor(self.builder()?.shuffle(input.0, groups.0)?))
    }

    /// A dense convolution to `outputs` channels; weights O, I, kh, kw.
    fn conv(&mut self, name: &str, input: Tensor, outputs: Size, window: Window, layer: &Layer) -> Result<Tensor> {
        let (height, width) = window.0.size;
        let weights = |image: Shape| vec![vec![outputs.0, image.channels, height, width]];
        self.weighted(name, input, layer, weights, |builder, layer| {
            builder.conv(name, input.0, outputs.0, window.0, layer)
        })
    }

    /// A depthwise convolution: each channel under a window of its own; weights C, 1, kh, kw. There are kernels for 3x3
    /// and 5x5 with a stride of 1 or 2, 3x3 with a dilation of 2 or 4, 1x3 and 3x1.
    fn depthwise(&mut self, name: &str, input: Tensor, window: Window, layer: &Layer) -> Result<Tensor> {
        let (height, width) = window.0.size;
        let weights = |image: Shape| vec![vec![image.channels, 1, height, width]];
        self.weighted(name, input, layer, weights, |builder, layer| builder.depthwise(name, input.0, window.0, layer))
    }

    /// A pointwise (1x1) convolution to `outputs` channels; weights O, I, 1, 1 or O, I.
    fn pointwise(&mut self, name: &str, input: Tensor, outputs: Size, layer: &Layer) -> Result<Tensor> {
        let weights = |image: Shape| pointwise(outputs.0, image.channels);
        self.weighted(name, input, layer, weights, |builder, layer| builder.pointwise(name, input.0, outputs.0, layer))
    }

    /// A pointwise convolution in `groups`: equal slices of the input channels, each to an equal slice of the `outputs`.
    fn grouped_pointwise(
        &mut self,
        name: &str,
        input: Tensor,
        outputs: Size,
        groups: Size,
        layer: &Layer,
    ) -> Result<Tensor> {
        let weights = |image: Shape| pointwise(outputs.0, image.channels.checked_div(groups.0).unwrap_or(0));
        self.weighted(name, input, layer, weights, |builder, layer| {
            builder.grouped_pointwise(name, input.0, outputs.0, groups.0, layer)
        })
    }

    /// A fully connected layer to `outputs` channels; its input has one pixel. Weights O, I.
    fn fully_connected(&mut self, name: &str, input: Tensor, outputs: Size, layer: &Layer) -> Result<Tensor> {
        let weights = |image: Shape| vec![vec![outputs.0, image.channels]];
        self.weighted(name, input, layer, weights, |builder, layer| {
            builder.fully_connected(name, input.0, outputs.0, layer)
        })
    }

    /// A fully connected layer to `outputs` channels from all elements of an image, which `order` lays out in one row.
    fn flattened(&mut self, name: &str, input: Tensor, order: Flatten, outputs: Size, layer: &Layer) -> Result<Tensor> {
        let weights = |image: Shape| vec![vec![outputs.0, image.len()]];
        self.weighted(name, input, layer, weights, |builder, layer| {
            builder.flattened(name, input.0, order.into(), outputs.0, layer)
        })
    }

    /// A leaky ReLU, then the batch normalisation of `layer` (`Layer.without_weights()`), then its clamp.
    fn leaky_norm(&mut self, name: &str, input: Tensor, slope: f32, layer: &Layer) -> Result<Tensor> {
        self.weighted(
            name,
            input,
            layer,
            |_| Vec::new(),
            |builder, layer| builder.leaky_norm(name, input.0, slope, layer),
        )
    }

    /// The sum of two tensors of one shape, clamped.
    #[pyo3(signature = (name, a, b, clamp=Clamp(sepconv::Clamp::NONE)), text_signature = "($self, name, a, b, clamp=...)")]
    fn add(&mut self, name: &str, a: Tensor, b: Tensor, clamp: Clamp) -> Result<Tensor> {
        Ok(Tensor(self.builder()?.add(name, a.0, b.0, clamp.0)?))
    }

    /// An activation by itself: part of its neighbours where it can be.
    fn clamp(&mut self, name: &str, input: Tensor, clamp: Clamp) -> Result<Tensor> {
        Ok(Tensor(self.builder()?.clamp(name, input.0, clamp.0)?))
    }

    /// Max pooling. Padding never counts.
    fn max_pool(&mut self, name: &str, input: Tensor, window: Window) -> Result<Tensor> {
        Ok(Tensor(self.builder()?.max_pool(name, input.0, window.0)?))
    }

    /// Average pooling, over all taps where `count_padding`, else over those inside the image.
    fn average_pool(&mut self, name: &str, input: Tensor, window: Window, count_padding: bool) -> Result<Tensor> {
        Ok(Tensor(self.builder()?.average_pool(name, input.0, window.0, count_padding)?))
    }

    /// The mean of each channel: an image of one pixel.
    fn global_average_pool(&mut self, name: &str, input: Tensor) -> Result<Tensor> {
        Ok(Tensor(self.builder()?.global_average_pool(name, input.0)?))
    }

    /// The shape of a tensor: height, width, channels.
    fn shape(&mut self, tensor: Tensor) -> Result<(usize, usize, usize)> {
        Ok(axes(self.builder()?.shape(tensor.0)?))
    }

    /// The network with these tensors as its outputs: at least one, each once. The graph is then used up.
    ///
    /// `weights` has the tensors of layers that are not given as arrays: "hash" (made from the names), the path of a
    /// safetensors file, or a dict of arrays.
    #[pyo3(signature = (outputs, *, weights=None, threads=Size(1), isa=None, low_memory=false),
           text_signature = "($self, outputs, *, weights=None, threads=1, isa=None, low_memory=False)")]
    fn build(
        &mut self,
        py: Python<'_>,
        outputs: Vec<Tensor>,
        weights: Option<&Bound<'_, PyAny>>,
        threads: Size,
        isa: Option<&str>,
        low_memory: bool,
    ) -> Result<Network> {
        let (source, choices) = (Source::new(weights)?, Choices::new(threads.0, isa, low_memory)?);
        let outputs: Vec<graph::Tensor> = outputs.into_iter().map(|tensor| tensor.0).collect();
        self.builder()?;
        let builder = self.0.take().unwrap_or_default();
        let graph = builder.build(&outputs)?;
        Network::of(py, Model::Graph(graph), source, choices)
    }
}
