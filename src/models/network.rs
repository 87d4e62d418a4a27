//! One of the networks: its graph, and how its weights are read.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use once_cell::race::OnceBox;

use super::config::{Architecture, Config, Flavor, LARGEST};
use super::names::TensorNames;
use super::net::{Built, Model};
use super::renamed::{Catalog, Renamed, classifier};
use super::{digits, effnet, mobilenet_v1, mobilenet_v2, shufflenet_v1, shufflenet_v2, squeezenet, xception};
use crate::error::{Error, Result};
use crate::graph::{Graph, Node};
use crate::parallel::Parallel;
use crate::plan::{Options, Plan};
use crate::tensor::Shape;
use crate::weights::{Folded, Weights, fold};

/// The file of `architecture`.
fn model(architecture: Architecture) -> &'static Model {
    match architecture {
        Architecture::Digits => &digits::MODEL,
        Architecture::MobilenetV1 => &mobilenet_v1::MODEL,
        Architecture::MobilenetV2 => &mobilenet_v2::MODEL,
        Architecture::Xception => &xception::MODEL,
        Architecture::ShufflenetV1 => &shufflenet_v1::MODEL,
        Architecture::ShufflenetV2 => &shufflenet_v2::MODEL,
        Architecture::Squeezenet1_0 => &squeezenet::MODEL_1_0,
        Architecture::Squeezenet1_1 => &squeezenet::MODEL_1_1,
        Architecture::Effnet => &effnet::MODEL,
    }
}

/// A network of the literature: its graph, and the names of its tensors in every source.
///
/// ```
/// use sepconv::models::{Architecture, Config, Network};
/// use sepconv::parallel::Serial;
/// use sepconv::weights::HashWeights;
/// use sepconv::{Options, Shape};
///
/// let network = Network::new(Architecture::MobilenetV2, &Config::of(Architecture::MobilenetV2))?;
/// assert_eq!((network.graph().params(), network.graph().macs()), (3_504_872, 300_774_272));
/// assert_eq!((network.architecture(), network.name()), (Architecture::MobilenetV2, "mobilenet_v2_1.0_224_torch"));
/// assert_eq!((network.input(), network.output()), (Shape::new(224, 224, 3), Shape::new(1, 1, 1000)));
/// let features = network.backbone()?;
/// assert_eq!((features.output(), features.classes()), (Shape::new(7, 7, 1280), 1280));
///
/// // `HashWeights` has tensors of any name; files have those of their makers.
/// let network = Network::new(Architecture::Digits, &Config::of(Architecture::Digits))?;
/// let folded = network.fold(&HashWeights)?;
/// assert_eq!(folded.len(), network.graph().nodes().len());
/// let plan = network.plan(&HashWeights, &Serial, Options::default())?;
/// assert_eq!(plan.output_len(), network.classes());
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
        config.check(architecture)?;
        let build = |config: &Config| (model(architecture).build)(config);
        let Built { name, graph } = build(config).map_err(|error| {
            if matches!(error, Error::Parameter { .. }) {
                return error;
            }
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
        let is_head = |node: &Node| {
            node.kind() == "global_average_pool" || Some(node.name()) == classifier(&self.whole).map(Node::name)
        };
        let head = self.whole.nodes().iter().position(is_head);
        let head = head.ok_or_else(|| Error::node(&self.name, "backbone", "no head", "a pooling or a classifier"))?;
        self.graph = self.whole.before(head);
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

    /// What sources call its tensors.
    pub(super) fn catalog(&self) -> Catalog<'_> {
        Catalog { names: model(self.architecture).names, whole: &self.whole, graph: &self.graph }
    }

    /// The shape of the image.
    pub fn input(&self) -> Shape {
        self.graph.inputs().next().map_or(Shape::default(), |(_, shape)| shape)
    }

    /// The shape of the output: 1 x 1 x classes, or that of the features of a backbone.
    pub fn output(&self) -> Shape {
        self.graph.outputs().next().map_or(Shape::default(), |(_, shape)| shape)
    }

    /// Outputs: the classes, or the channels of a backbone's features.
    pub fn classes(&self) -> usize {
        self.output().channels
    }

    /// The weights of every node from `source`, whatever it calls them. All that is wrong with the source is in one error,
    /// or, where its names are another network's, which one that is.
    pub fn fold(&self, source: &dyn Weights) -> Result<Vec<Option<Folded>>> {
        fold(&self.graph, &Renamed::of(&self.catalog(), source)).map_err(|error| self.said(error, source))
    }

    /// The plan of the network with the weights of `source`, to be run on `parallel`. Errors as for [`fold`](Self::fold) and
    /// [`Plan::new`].
    pub fn plan(&self, source: &dyn Weights, parallel: &dyn Parallel, options: Options) -> Result<Plan> {
        let renamed = Renamed::of(&self.catalog(), source);
        Plan::new(&self.graph, &renamed, parallel, options).map_err(|error| self.said(error, source))
    }

    /// What is wrong with `source`, of this network.
    fn said(&self, error: Error, source: &dyn Weights) -> Error {
        match error {
            Error::Weights { problems, .. } => match self.another(&source.names()) {
                Some(other) => Error::OtherNetwork { network: self.name.clone(), looks_like: other.as_str() },
                None => Error::Weights { network: self.name.clone(), problems },
            },
            error => error,
        }
    }

    /// The other network whose tensors `listed` rather are; none where no list says.
    fn another(&self, listed: &[String]) -> Option<Architecture> {
        if listed.is_empty() {
            return None;
        }
        let (_, known) = self.catalog().scheme(listed);
        let other = network_of(listed).filter(|&(other, most)| other != self.architecture && most > known);
        other.map(|(other, _)| other)
    }
}

/// The network that most of `listed` are tensors of, with how many kernels of it there are; `None` where it is none.
pub(super) fn network_of(listed: &[String]) -> Option<(Architecture, usize)> {
    let known = |architecture: Architecture| {
        let Named { known, .. } = named(architecture, listed).ok()?;
        (known > 0).then_some((architecture, known))
    };
    Architecture::ALL.into_iter().filter_map(known).max_by_key(|&(_, known)| known)
}

/// A network in the flavor whose names some tensors have.
pub(super) struct Named {
    pub flavor: Flavor,
    pub network: &'static Network,
    /// Whose names those are.
    pub source: TensorNames,
    /// How many of its kernels are among them.
    pub known: usize,
}

/// Every network in the paper's configuration, in each flavor that has names of its own: built once, to be compared with
/// weight files.
fn published() -> Result<&'static [(Flavor, Network)]> {
    static PUBLISHED: OnceBox<Result<Vec<(Flavor, Network)>>> = OnceBox::new();
    let build = || {
        let of = |architecture: Architecture| {
            // In the others the flavors have the same names.
            let differ = architecture == Architecture::ShufflenetV2;
            let flavors = architecture.flavors().iter().take(if differ { usize::MAX } else { 1 });
            flavors
                .map(move |&flavor| Ok((flavor, Network::new(architecture, &Config::in_flavor(architecture, flavor))?)))
        };
        Architecture::ALL.into_iter().flat_map(of).collect()
    };
    PUBLISHED.get_or_init(|| Box::new(build())).as_deref().map_err(Clone::clone)
}

/// `architecture` in the first of its flavors under whose names the most kernels are among `listed`.
pub(super) fn named(architecture: Architecture, listed: &[String]) -> Result<Named> {
    let count = |(flavor, network): &'static (Flavor, Network)| {
        let (source, known) = network.catalog().scheme(listed);
        Named { flavor: *flavor, network, source, known }
    };
    let flavors = published()?.iter().filter(|(_, network)| network.architecture == architecture);
    // The first of equals.
    let best = flavors.rev().map(count).max_by_key(|named| named.known);
    best.ok_or_else(|| Error::node(architecture.as_str(), "flavors", "none", "at least one"))
}
