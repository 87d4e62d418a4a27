//! Graphs: what a builder made, or a network of the literature.

use std::ffi::{c_char, c_int};

use super::handle::{self, Opaque};
use super::pointer::{array, check, optional_place, optional_text, place, read, text};
use super::status::{Checked, guard, sepconv_status};
use crate::error::Result;
use crate::graph::Graph;
use crate::models::{Architecture, Config, Network, load};
use crate::parallel::Parallel;
use crate::plan::{Options, Plan};
use crate::weights::Weights;

/// What a network computes, without weights (but for arrays that its builder was given). Any number of threads may use
/// the same graph at the same time.
pub struct sepconv_graph {
    _private: (),
}

impl Opaque for sepconv_graph {
    type Held = Held;
    const MAGIC: u64 = u64::from_le_bytes(*b"scgraph1");
    const NAME: &'static str = "graph";
}

/// What a graph holds.
pub(super) enum Held {
    Built(Graph),
    /// Whose tensors have other names in every source.
    Network(Box<Network>),
}

impl Held {
    /// The plan with the tensors of `source`.
    pub fn plan(&self, source: &dyn Weights, parallel: &dyn Parallel, options: Options) -> Result<Plan> {
        match self {
            Held::Built(graph) => Plan::new(graph, source, parallel, options),
            Held::Network(network) => network.plan(source, parallel, options),
        }
    }

    pub fn graph(&self) -> &Graph {
        match self {
            Held::Built(graph) => graph,
            Held::Network(network) => network.graph(),
        }
    }
}

/// Which network of the literature. A number that is 0, and a name that is null, take the default of the network and its
/// flavor.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct sepconv_network {
    /// `digits`, `mobilenet_v1`, `mobilenet_v2`, `xception`, `shufflenet_v1`, `shufflenet_v2`, `squeezenet_1_0`,
    /// `squeezenet_1_1` or `effnet`; never null.
    pub name: *const c_char,
    /// Whose conventions: `torch`, `timm`, `tf`, `keras`, `slim`, `paper`, `megvii` or `caffe`.
    pub flavor: *const c_char,
    /// Multiplier of the channels: more than 0, at most 16.
    pub width: f64,
    /// Rows and columns of the input: 1 to 8192 pixels, and as many as the network's windows need.
    pub resolution: usize,
    /// Outputs of the classifier: 1 to 1048576.
    pub classes: usize,
    /// Groups of ShuffleNet V1: 1, 2, 3, 4 or 8.
    pub groups: usize,
    /// Not 0: without its head (pooling and classifier), so that its output is the last feature map.
    pub backbone: c_int,
}

/// Writes a handle of the graph of `network`; an error where a name is unknown, or the numbers make no network.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sepconv_graph_network(
    network: *const sepconv_network,
    graph: *mut *mut sepconv_graph,
) -> sepconv_status {
    // SAFETY: by the contract of the interface.
    guard(|| unsafe {
        let (graph, what) = (place(graph, "graph")?, read(network, "network")?);
        let architecture: Architecture = text(what.name, "network.name")?.parse()?;
        let mut config = match optional_text(what.flavor, "network.flavor")? {
            Some(flavor) => Config::in_flavor(architecture, flavor.parse()?),
            None => Config::of(architecture),
        };
        if what.width != 0.0 {
            config.width = what.width;
        }
        if what.resolution != 0 {
            config.resolution = what.resolution;
        }
        config.classes = Some(what.classes).filter(|&classes| classes != 0);
        config.groups = Some(what.groups).filter(|&groups| groups != 0);
        let network = Network::new(architecture, &config)?;
        let network = if what.backbone != 0 { network.backbone()? } else { network };
        graph.write(handle::new(Held::Network(Box::new(network))));
        Ok(())
    })
}

/// Writes a handle of the graph that a safetensors file of `length` bytes is for: architecture, width, classes and whether
/// there is a classifier, by its metadata or by the names and shapes of its tensors. The bytes are not kept;
/// `sepconv_plan_new` takes them again.
///
/// An error where the bytes are no safetensors file, or its tensors are those of no network.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sepconv_graph_load(
    safetensors: *const u8,
    length: usize,
    graph: *mut *mut sepconv_graph,
) -> sepconv_status {
    // SAFETY: by the contract of the interface.
    guard(|| unsafe {
        let graph = place(graph, "graph")?;
        let (network, _) = load(bytes(safetensors, length)?)?;
        graph.write(handle::new(Held::Network(Box::new(network))));
        Ok(())
    })
}

/// Frees a graph. Plans of it live on. Null is nothing to free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sepconv_graph_free(graph: *mut sepconv_graph) -> sepconv_status {
    // SAFETY: by the contract of the interface.
    guard(|| unsafe { handle::free(graph) })
}

/// Writes the multiply-accumulates of one image, and the trainable parameters; a null pointer is not written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sepconv_graph_size(
    graph: *const sepconv_graph,
    macs: *mut u64,
    parameters: *mut u64,
) -> sepconv_status {
    // SAFETY: by the contract of the interface.
    guard(|| unsafe {
        let graph = handle::get(graph)?.graph();
        let (macs, parameters) = (optional_place(macs, "macs")?, optional_place(parameters, "parameters")?);
        if let Some(macs) = macs {
            macs.write(graph.macs());
        }
        if let Some(parameters) = parameters {
            parameters.write(graph.params());
        }
        Ok(())
    })
}

/// The bytes of a file, which must be some.
///
/// # Safety
/// By the contract of the interface.
pub(super) unsafe fn bytes<'a>(safetensors: *const u8, length: usize) -> Checked<&'a [u8]> {
    check(safetensors, "safetensors", "the bytes of a file")?;
    // SAFETY: by this function's own contract.
    unsafe { array(safetensors, length, "safetensors") }
}
