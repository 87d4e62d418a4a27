//! Where a network's tensors come from.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use numpy::PyUntypedArrayMethods;
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::types::PyMapping;
use sepconv::graph::Graph;
use sepconv::models;
use sepconv::weights::{Folded, HashWeights, SafetensorsWeights, Weights, fold};

use crate::arrays::{FLOATS, as_floats, elements, kind};
use crate::error::{Result, refused};

/// What the argument `weights` says.
pub enum Source {
    /// Nothing: all layers have their arrays.
    None,
    /// Numbers made from the tensors' names.
    Hash,
    /// A safetensors file.
    File(PathBuf),
    /// Arrays by name.
    Arrays(Arrays),
}

impl Source {
    /// Reads the argument: `None`, "hash", a path, or a mapping from names to arrays.
    pub fn new(weights: Option<&Bound<'_, PyAny>>) -> Result<Self> {
        let Some(weights) = weights else { return Ok(Source::None) };
        if let Ok(mapping) = weights.cast::<PyMapping>() {
            return Ok(Source::Arrays(Arrays::new(mapping)?));
        }
        if weights.extract::<&str>().is_ok_and(|name| name == "hash") {
            return Ok(Source::Hash);
        }
        match weights.extract::<PathBuf>() {
            Ok(path) => Ok(Source::file(path)),
            Err(_) => Err(refused(
                "weights",
                kind(weights),
                "\"hash\", the path of a safetensors file, or a dict of numpy arrays",
            )
            .into()),
        }
    }

    /// The file at `path`, wherever the process will be when it is read again.
    pub fn file(path: PathBuf) -> Self {
        Source::File(std::path::absolute(&path).unwrap_or(path))
    }

    /// Calls `take` with the tensors.
    pub fn with<T>(&self, take: impl FnOnce(&dyn Weights) -> sepconv::Result<T>) -> Result<T> {
        match self {
            Source::None => Ok(take(&Arrays(BTreeMap::new()))?),
            Source::Hash => Ok(take(&HashWeights)?),
            Source::File(path) => {
                let file = read(path)?;
                Ok(take(&SafetensorsWeights::new(&file)?)?)
            }
            Source::Arrays(arrays) => Ok(take(arrays)?),
        }
    }
}

/// The bytes of a file; Python's own error where it cannot be read.
pub fn read(path: &Path) -> PyResult<Vec<u8>> {
    std::fs::read(path).map_err(|why| match why.raw_os_error() {
        // With the path, and of the class that the number asks for.
        Some(number) => {
            let (text, path) = (why.to_string(), path.to_string_lossy().into_owned());
            let text = text.split(" (os error").next().unwrap_or_default().to_string();
            PyOSError::new_err((number, text, path))
        }
        None => why.into(),
    })
}

/// Copies of numpy arrays, by name.
pub struct Arrays(BTreeMap<String, Array>);

/// Shape and elements, or why there are none.
type Array = std::result::Result<(Vec<usize>, Vec<f32>), String>;

impl Arrays {
    fn new(mapping: &Bound<'_, PyMapping>) -> Result<Self> {
        let mut arrays = BTreeMap::new();
        for item in mapping.items()?.iter() {
            let (name, value): (String, Bound<'_, PyAny>) = item.extract()?;
            // Arrays of other types may be there: counters that no network reads.
            let array = as_floats(&value).map(|array| (array.shape().to_vec(), elements(array)));
            arrays.insert(name, array.map_err(|got| format!("{got}, expected {FLOATS}")));
        }
        Ok(Arrays(arrays))
    }
}

impl Weights for Arrays {
    fn tensor(&self, name: &str, shape: &[usize]) -> std::result::Result<Cow<'_, [f32]>, String> {
        let missing = || match self.0.is_empty() {
            true => format!("missing, expected shape {shape:?}: there are no `weights`"),
            false => format!("missing, expected shape {shape:?}"),
        };
        let (own, elements) = self.0.get(name).ok_or_else(missing)?.as_ref().map_err(Clone::clone)?;
        if own != shape {
            return Err(format!("shape {own:?}, expected {shape:?}"));
        }
        match elements.iter().position(|value| !value.is_finite()) {
            Some(at) => Err(format!("element {at} is {}, expected a finite number", elements[at])),
            None => Ok(Cow::Borrowed(elements)),
        }
    }

    fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }
}

/// What weights are for: the whole of what was built, of which a network computes all or some.
pub enum Model {
    /// A network of the literature.
    Named(models::Network),
    /// A graph of the caller's.
    Graph(Graph),
}

impl Model {
    /// Its graph.
    pub fn graph(&self) -> &Graph {
        match self {
            Model::Named(network) => network.graph(),
            Model::Graph(graph) => graph,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Model::Named(network) => network.name(),
            Model::Graph(_) => "graph",
        }
    }

    /// The weights of the nodes of `graph`, which is the whole or a part of it.
    pub fn fold(&self, graph: &Graph, source: &Source) -> Result<Vec<Option<Folded>>> {
        let folded = source.with(|weights| match self {
            Model::Named(network) => network.fold(weights),
            Model::Graph(whole) => fold(whole, weights),
        })?;
        let mut by_name: BTreeMap<&str, Option<Folded>> =
            self.graph().nodes().iter().map(|node| node.name()).zip(folded).collect();
        Ok(graph.nodes().iter().map(|node| by_name.remove(node.name()).flatten()).collect())
    }
}
