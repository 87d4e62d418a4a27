//! What the calls of a graph's builder take: sizes, windows, clamps, layers.

use numpy::PyUntypedArrayMethods;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use sepconv::graph;

use crate::arrays::{elements, floats, kind};
use crate::error::{Failure, Result, refused};

/// A number of pixels, channels or the like: 0 or more.
#[derive(Clone, Copy)]
pub struct Size(pub usize);

impl<'py> FromPyObject<'_, 'py> for Size {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        // What is no number at all is Python's error.
        let number = object.call_method0("__index__").map_err(|_| {
            PyTypeError::new_err(format!("{:?} object cannot be interpreted as an integer", kind(&object)))
        })?;
        let refuse = |_| Failure::from(refused("number", &number, "one from 0 on that fits the address space"));
        Ok(Size(number.extract().map_err(refuse)?))
    }
}

/// Height, width and channels.
pub fn shape((height, width, channels): (Size, Size, Size)) -> sepconv::Shape {
    sepconv::Shape::new(height.0, width.0, channels.0)
}

/// The same as Python has it.
pub fn axes(shape: sepconv::Shape) -> (usize, usize, usize) {
    (shape.height, shape.width, shape.channels)
}

/// Missing rows and pixels around an image. A tap that falls on one is skipped.
#[pyclass(frozen, eq, hash, from_py_object, module = "sepconv")]
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Padding(sepconv::Padding);

#[pymethods]
impl Padding {
    /// None on any side.
    #[classattr]
    const NONE: Padding = Padding(sepconv::Padding::NONE);

    #[new]
    #[pyo3(signature = (top=Size(0), bottom=Size(0), left=Size(0), right=Size(0)), text_signature = "(top=0, bottom=0, left=0, right=0)")]
    fn new(top: Size, bottom: Size, left: Size, right: Size) -> Self {
        Padding(sepconv::Padding { top: top.0, bottom: bottom.0, left: left.0, right: right.0 })
    }

    /// The same on all four sides.
    #[staticmethod]
    fn all(size: Size) -> Self {
        Padding(sepconv::Padding::all(size.0))
    }

    /// Rows above.
    #[getter]
    fn top(&self) -> usize {
        self.0.top
    }

    /// Rows below.
    #[getter]
    fn bottom(&self) -> usize {
        self.0.bottom
    }

    /// Pixels to the left.
    #[getter]
    fn left(&self) -> usize {
        self.0.left
    }

    /// Pixels to the right.
    #[getter]
    fn right(&self) -> usize {
        self.0.right
    }

    fn __repr__(&self) -> String {
        let sepconv::Padding { top, bottom, left, right } = self.0;
        format!("Padding(top={top}, bottom={bottom}, left={left}, right={right})")
    }
}

/// A window that moves over an image: `Window(3, 3)` has 3x3 neighbouring taps and moves by one pixel, without padding;
/// its methods give other windows.
#[pyclass(frozen, eq, hash, from_py_object, module = "sepconv")]
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Window(pub sepconv::Window);

#[pymethods]
impl Window {
    /// One pixel after the other.
    #[classattr]
    const PIXEL: Window = Window(sepconv::Window::PIXEL);

    #[new]
    fn new(height: Size, width: Size) -> Self {
        Window(sepconv::Window::new(height.0, width.0))
    }

    /// A window of `size` x `size`, without padding.
    #[staticmethod]
    fn square(size: Size) -> Self {
        Window(sepconv::Window::square(size.0))
    }

    /// The same window, moved by `stride` rows and pixels.
    fn stride(&self, stride: Size) -> Self {
        Window(self.0.stride(stride.0))
    }

    /// The same window, moved by `rows` downwards and `columns` to the right.
    fn strides(&self, rows: Size, columns: Size) -> Self {
        Window(self.0.strides(rows.0, columns.0))
    }

    /// The same window with its taps `dilation` pixels apart.
    fn dilation(&self, dilation: Size) -> Self {
        Window(self.0.dilation(dilation.0))
    }

    /// The same window on an image with `padding`.
    fn padding(&self, padding: Padding) -> Self {
        Window(self.0.padding(padding.0))
    }

    /// The same window with half its extent as padding on each side, as PyTorch's models have it.
    fn symmetric(&self) -> Self {
        Window(self.0.symmetric())
    }

    /// The same window with TensorFlow's SAME padding for an image of this shape (height, width, channels).
    fn same(&self, image: (Size, Size, Size)) -> Self {
        Window(self.0.same(shape(image)))
    }

    /// Rows and columns of the output for an image of `height` x `width`; `None` where there are none.
    fn output(&self, height: Size, width: Size) -> Option<(usize, usize)> {
        self.0.output(height.0, width.0)
    }

    fn __repr__(&self) -> String {
        let sepconv::Window { size, stride, dilation, padding, .. } = self.0;
        let dilation = if dilation == (1, 1) { String::new() } else { format!(".dilation({})", dilation.0) };
        let padding = Padding(padding).__repr__();
        format!("Window{size:?}.strides{stride:?}{dilation}.padding({padding})")
    }
}

/// Bounds of an output: NaN stays NaN.
#[pyclass(frozen, eq, from_py_object, module = "sepconv")]
#[derive(Clone, Copy, PartialEq)]
pub struct Clamp(pub sepconv::Clamp);

#[pymethods]
impl Clamp {
    /// No activation.
    #[classattr]
    const NONE: Clamp = Clamp(sepconv::Clamp::NONE);
    /// max(x, 0).
    #[classattr]
    const RELU: Clamp = Clamp(sepconv::Clamp::RELU);
    /// min(max(x, 0), 6).
    #[classattr]
    const RELU6: Clamp = Clamp(sepconv::Clamp::RELU6);

    #[new]
    fn new(lo: f32, hi: f32) -> Self {
        Clamp(sepconv::Clamp::new(lo, hi))
    }

    /// Lower bound.
    #[getter]
    fn lo(&self) -> f32 {
        self.0.lo
    }

    /// Upper bound.
    #[getter]
    fn hi(&self) -> f32 {
        self.0.hi
    }

    fn __repr__(&self) -> String {
        format!("Clamp({}, {})", self.0.lo, self.0.hi)
    }
}

/// How a fully connected layer takes the elements of an image.
#[pyclass(frozen, eq, eq_int, hash, from_py_object, rename_all = "SCREAMING_SNAKE_CASE", module = "sepconv")]
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum Flatten {
    /// Channel by channel, row by row: as PyTorch flattens.
    ChannelsFirst,
    /// Row by row, pixel by pixel, all channels of each: as Keras flattens.
    ChannelsLast,
}

impl From<Flatten> for graph::Flatten {
    fn from(order: Flatten) -> Self {
        match order {
            Flatten::ChannelsFirst => graph::Flatten::ChannelsFirst,
            Flatten::ChannelsLast => graph::Flatten::ChannelsLast,
        }
    }
}

/// What a convolution or a fully connected layer has besides its shape: parameters, by name or as arrays of float32, and a
/// clamp. Its methods give other layers.
#[pyclass(frozen, module = "sepconv")]
pub struct Layer {
    layer: graph::Layer,
    /// The shape of the weights, where they are an array.
    weights: Option<Vec<usize>>,
}

/// The elements of an array of one axis.
fn vector(array: &Bound<'_, PyAny>, what: &str) -> Result<Vec<f32>> {
    let array = floats(array, what)?;
    match array.ndim() {
        1 => Ok(elements(array)),
        axes => Err(refused(what, format!("an array of {axes} axes"), "one of one axis").into()),
    }
}

impl Layer {
    fn with(&self, change: impl FnOnce(graph::Layer) -> graph::Layer) -> Self {
        Layer { layer: change(self.layer.clone()), weights: self.weights.clone() }
    }

    /// The layer for node `name`, whose weights have one of these shapes; an error where its array has another.
    pub fn checked(&self, name: &str, shapes: &[Vec<usize>]) -> Result<graph::Layer> {
        match &self.weights {
            Some(own) if !shapes.contains(own) => {
                let expected: Vec<String> = shapes.iter().map(|shape| format!("{shape:?}")).collect();
                Err(refused(format!("{name}: weights"), format!("shape {own:?}"), expected.join(" or ")).into())
            }
            _ => Ok(self.layer.clone()),
        }
    }
}

#[pymethods]
impl Layer {
    /// Weights called `name`.weight in the source of weights.
    #[staticmethod]
    fn named(name: String) -> Self {
        Layer { layer: graph::Layer::named(name), weights: None }
    }

    /// These weights (outputs x inputs a group x rows x columns; of a fully connected layer outputs x inputs) and this
    /// bias (one an output).
    #[staticmethod]
    fn arrays(weights: &Bound<'_, PyAny>, bias: &Bound<'_, PyAny>) -> Result<Self> {
        let weights = floats(weights, "weights")?;
        let layer = graph::Layer::arrays(elements(weights), vector(bias, "bias")?);
        Ok(Layer { layer, weights: Some(weights.shape().to_vec()) })
    }

    /// No weights: a batch normalisation alone (`Graph.leaky_norm`).
    #[staticmethod]
    fn without_weights() -> Self {
        Layer { layer: graph::Layer::without_weights(), weights: None }
    }

    /// With the bias `name`.bias besides the weights.
    fn bias(&self) -> Self {
        self.with(graph::Layer::bias)
    }

    /// With the batch normalisation `name`.weight, `name`.bias, `name`.running_mean, `name`.running_var after it;
    /// `epsilon` is added to the variance.
    fn norm(&self, name: &str, epsilon: f64) -> Self {
        self.with(|layer| layer.norm(name, epsilon))
    }

    /// With the batch normalisation of these scales, shifts, means and variances (one an output each) after it.
    fn norm_arrays(
        &self,
        scale: &Bound<'_, PyAny>,
        shift: &Bound<'_, PyAny>,
        mean: &Bound<'_, PyAny>,
        variance: &Bound<'_, PyAny>,
        epsilon: f64,
    ) -> Result<Self> {
        let (scale, shift) = (vector(scale, "scale")?, vector(shift, "shift")?);
        let (mean, variance) = (vector(mean, "mean")?, vector(variance, "variance")?);
        Ok(self.with(|layer| layer.norm_arrays(scale, shift, mean, variance, epsilon)))
    }

    /// With this clamp of its output.
    fn clamp(&self, clamp: Clamp) -> Self {
        self.with(|layer| layer.clamp(clamp.0))
    }

    fn __repr__(&self) -> String {
        format!("{:?}", self.layer)
    }
}
