//! Networks that are ready to run.

use std::sync::Arc;

use numpy::{PyArrayDyn, PyArrayMethods};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};
use sepconv::graph::Graph;
use sepconv::models::{self, Activation, Architecture, Config, Flavor};
use sepconv::{Isa, Options, Plan, Shape};

use crate::arrays::{Images, Order, unwritten};
use crate::error::{Result, refused};
use crate::run::{Runner, Target};
use crate::threads::Threads;
use crate::values::{Size, axes};
use crate::weights::{Model, Source, read};

/// How a network is made ready.
pub struct Choices {
    threads: Arc<Threads>,
    options: Options,
}

impl Choices {
    /// By the arguments that all ways to a network have.
    pub fn new(threads: usize, isa: Option<&str>, low_memory: bool) -> sepconv::Result<Self> {
        let isa = isa.map(str::parse::<Isa>).transpose()?;
        let options = Options { isa, low_memory, ..Options::default() };
        Ok(Choices { threads: Arc::new(Threads::new(threads)?), options })
    }
}

/// A network with its weights packed, ready to run: `net(x)`.
///
/// `Network(name)` is one of the literature: digits, mobilenet_v1, mobilenet_v2, xception, shufflenet_v1, shufflenet_v2,
/// squeezenet_1_0, squeezenet_1_1 or effnet. What is not given is as in the paper. `weights` is "hash" (numbers made from the
/// tensors' names), the path of a safetensors file, or a dict of arrays with the tensor names of torchvision, timm, Keras or
/// TF-slim. `load` finds all of it in a file.
///
/// Any number of Python's threads may call one network at a time; each call computes on `threads` threads. The results
/// have the same bits for any number of them, any batch, and on any CPU.
#[pyclass(frozen, module = "sepconv")]
pub struct Network {
    /// What the weights are for, and where they are.
    whole: Arc<(Model, Source)>,
    runner: Runner,
    choices: Choices,
    /// For each output its shape, and whether its arrays have two axes.
    outputs: Vec<(Shape, bool)>,
}

impl Network {
    /// The whole of `model`.
    pub fn of(py: Python<'_>, model: Model, source: Source, choices: Choices) -> Result<Self> {
        let graph = model.graph().clone();
        Self::part(py, graph, Arc::new((model, source)), choices)
    }

    /// The part of `whole` that `graph` is.
    fn part(py: Python<'_>, graph: Graph, whole: Arc<(Model, Source)>, choices: Choices) -> Result<Self> {
        // Without the interpreter: packing takes a while.
        py.detach(|| {
            let folded = whole.0.fold(&graph, &whole.1)?;
            let plan = Plan::from_folded(&graph, &folded, choices.threads.parallel()?, choices.options)?;
            let outputs = graph.outputs().map(|(name, shape)| (shape, is_vector(&graph, name))).collect();
            Ok(Network { whole, runner: Runner::new(plan), choices, outputs })
        })
    }

    fn graph(&self) -> &Graph {
        self.runner.one().graph()
    }
}

/// Whether what node `name` makes has no rows and columns any more.
fn is_vector(graph: &Graph, name: &str) -> bool {
    graph.node(name).is_some_and(|node| ["fully_connected", "global_average_pool"].contains(&node.kind()))
}

/// The network that a safetensors file holds: architecture, width, classes and conventions by its metadata or its tensors.
///
/// It may have the tensor names of torchvision, timm, Keras or TF-slim. A file without a classifier is the backbone, whose
/// output is the last feature map.
#[pyfunction]
#[pyo3(signature = (path, *, threads=Size(1), isa=None, low_memory=false),
       text_signature = "(path, *, threads=1, isa=None, low_memory=False)")]
pub fn load(
    py: Python<'_>,
    path: std::path::PathBuf,
    threads: Size,
    isa: Option<&str>,
    low_memory: bool,
) -> Result<Network> {
    let choices = Choices::new(threads.0, isa, low_memory)?;
    let network = py.detach(|| Ok::<_, crate::error::Failure>(models::load(&read(&path)?)?.0))?;
    Network::of(py, Model::Named(network), Source::file(path), choices)
}

#[pymethods]
impl Network {
    #[new]
    #[pyo3(signature = (name, *, weights, width=None, resolution=None, flavor=None, groups=None, classes=None,
                        activation=None, epsilon=None, threads=Size(1), isa=None, low_memory=false),
           text_signature = "(name, *, weights, width=None, resolution=None, flavor=None, groups=None, classes=None, \
                             activation=None, epsilon=None, threads=1, isa=None, low_memory=False)")]
    #[allow(clippy::too_many_arguments)]
    fn new(
        py: Python<'_>,
        name: &str,
        weights: &Bound<'_, PyAny>,
        width: Option<f64>,
        resolution: Option<Size>,
        flavor: Option<&str>,
        groups: Option<Size>,
        classes: Option<Size>,
        activation: Option<&str>,
        epsilon: Option<f64>,
        threads: Size,
        isa: Option<&str>,
        low_memory: bool,
    ) -> Result<Self> {
        let architecture: Architecture = name.parse()?;
        let flavor = flavor.map(str::parse::<Flavor>).transpose()?;
        let mut config = flavor.map_or(Config::of(architecture), |flavor| Config::in_flavor(architecture, flavor));
        config.width = width.unwrap_or(config.width);
        config.resolution = resolution.map_or(config.resolution, |size| size.0);
        config.groups = groups.map(|size| size.0);
        config.classes = classes.map(|size| size.0);
        config.activation = activation.map(str::parse::<Activation>).transpose()?;
        config.epsilon = epsilon;
        let choices = Choices::new(threads.0, isa, low_memory)?;
        let model = Model::Named(models::Network::new(architecture, &config)?);
        Self::of(py, model, Source::new(Some(weights))?, choices)
    }

    /// Runs the network: one array of float32 for each input, with any number of images, as many in each. They have the axes
    /// images x height x width x channels, or images x channels x height x width with `layout="nchw"`. An array of another
    /// type or shape is refused.
    ///
    /// Gives an array for each output, a tuple where there are several: images x channels of what pools or connects the whole
    /// image, else with the axes of `layout`. What lies in memory pixel by pixel is read where it is (in either layout, with
    /// gaps between pixels, rows and images), all else is copied first; outputs lie in memory pixel by pixel in both
    /// layouts. The interpreter's lock is not held meanwhile: nothing may write to the inputs until the call has returned.
    #[pyo3(signature = (*inputs, layout="nhwc"))]
    fn __call__<'py>(&self, py: Python<'py>, inputs: &Bound<'py, PyTuple>, layout: &str) -> Result<Bound<'py, PyAny>> {
        let order = Order::named(layout)?;
        let shapes = self.graph().inputs();
        if inputs.len() != shapes.len() {
            return Err(refused("inputs", format!("{} arrays", inputs.len()), shapes.len()).into());
        }
        let images = inputs.iter().zip(shapes).map(|(array, (name, shape))| Images::of(&array, name, shape, order));
        let images = images.collect::<Result<Vec<_>>>()?;
        let count = images.first().map_or(0, |images| images.count);
        if let Some(other) = images.iter().find(|images| images.count != count) {
            let got = format!("{count} images in one and {} in another", other.count);
            return Err(refused("inputs", got, "as many in each").into());
        }
        let array = |&(Shape { height, width, channels }, vector)| match vector {
            true => unwritten(py, &[count, channels]),
            false => unwritten(py, &[count, height, width, channels]),
        };
        let arrays = self.outputs.iter().map(array).collect::<Result<Vec<Bound<'py, PyArrayDyn<f32>>>>>()?;
        let outputs = arrays.iter().zip(&self.outputs);
        let targets: Vec<Target> = outputs.map(|(array, &(shape, _))| Target { first: array.data(), shape }).collect();
        // SAFETY: the arrays are held, and have room for as many images; the outputs are known to nobody else. That nobody
        // writes to the inputs the caller promises.
        py.detach(|| unsafe { self.runner.run(&self.choices.threads, &images, &targets, count) })?;
        let ordered = |(array, (_, vector)): (Bound<'py, PyArrayDyn<f32>>, &(Shape, bool))| match order {
            Order::Nchw if !vector => array.permute(Some([0, 3, 1, 2].to_vec())),
            _ => Ok(array),
        };
        let mut arrays = arrays.into_iter().zip(&self.outputs).map(ordered).collect::<PyResult<Vec<_>>>()?;
        match arrays.len() {
            1 => Ok(arrays.remove(0).into_any()),
            _ => Ok(PyTuple::new(py, arrays)?.into_any()),
        }
    }

    /// The same network with the outputs of these nodes as its outputs, and without the nodes that they do not need. It reads
    /// its weights once more, and shares the threads of this one.
    fn features(&self, py: Python<'_>, names: Vec<String>) -> Result<Network> {
        let graph = self.graph().features(names.iter().map(String::as_str))?;
        let choices = Choices { threads: self.choices.threads.clone(), options: self.choices.options };
        Self::part(py, graph, self.whole.clone(), choices)
    }

    /// What the network does for one image, step by step.
    fn describe(&self) -> Vec<Step> {
        let step = |step: sepconv::Description<'_>| Step {
            text: step.to_string().trim_end().into(),
            nodes: step.nodes.iter().map(|node| node.name().into()).collect(),
            kernels: step.kernels.iter().map(|kernel| kernel.to_string()).collect(),
            input: axes(step.input),
            output: axes(step.output),
            macs: step.macs,
            bytes: step.bytes,
            tasks: step.tasks,
        };
        self.runner.one().describe().map(step).collect()
    }

    /// Its name with its configuration, such as "mobilenet_v1_0.5_160_tf"; "graph" for one of a `Graph`.
    #[getter]
    fn name(&self) -> &str {
        self.whole.0.name()
    }

    /// Names and shapes (height, width, channels) of the inputs.
    #[getter]
    fn inputs(&self) -> Vec<(&str, (usize, usize, usize))> {
        self.graph().inputs().map(|(name, shape)| (name, axes(shape))).collect()
    }

    /// Names and shapes (height, width, channels) of the outputs; each has the name of the node that makes it.
    #[getter]
    fn outputs(&self) -> Vec<(&str, (usize, usize, usize))> {
        self.graph().outputs().map(|(name, shape)| (name, axes(shape))).collect()
    }

    /// Names of the nodes, in the order in which they run.
    #[getter]
    fn nodes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        PyList::new(py, self.graph().nodes().iter().map(|node| node.name()))
    }

    /// Trainable parameters.
    #[getter]
    fn params(&self) -> u64 {
        self.graph().params()
    }

    /// Multiply-accumulates of one image.
    #[getter]
    fn macs(&self) -> u64 {
        self.graph().macs()
    }

    /// The instruction set whose kernels run.
    #[getter]
    fn isa(&self) -> &'static str {
        self.runner.one().isa().as_str()
    }

    /// Threads of a call.
    #[getter]
    fn threads(&self) -> usize {
        self.runner.one().threads()
    }

    fn __repr__(&self) -> String {
        let (name, isa, threads) = (self.name(), self.isa(), self.threads());
        format!("<sepconv.Network {name}, {isa}, threads={threads}>")
    }
}

/// What a network does in one step.
#[pyclass(frozen, module = "sepconv")]
pub struct Step {
    /// Names of the nodes that it computes, one after the other.
    #[pyo3(get)]
    nodes: Vec<String>,
    /// The name of each one's kernel, or of the operator.
    #[pyo3(get)]
    kernels: Vec<String>,
    /// Height, width and channels of the input.
    #[pyo3(get)]
    input: (usize, usize, usize),
    /// Height, width and channels of the output.
    #[pyo3(get)]
    output: (usize, usize, usize),
    /// Multiply-accumulates.
    #[pyo3(get)]
    macs: u64,
    /// Bytes of input, output, residual and weights, each once.
    #[pyo3(get)]
    bytes: u64,
    /// Tasks that threads can share.
    #[pyo3(get)]
    tasks: usize,
    text: String,
}

#[pymethods]
impl Step {
    fn __str__(&self) -> &str {
        &self.text
    }

    fn __repr__(&self) -> String {
        format!("<sepconv.Step {}>", self.text)
    }
}
