//! Sources of weights under the names that a graph asks for.

use alloc::borrow::Cow;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::names::{Axes, Names, TensorNames};
use crate::graph::{Graph, Node, Tensors};
use crate::weights::Weights;

/// The node that gives the classes: the last with parameters.
pub(super) fn classifier(graph: &Graph) -> Option<&Node> {
    graph.nodes().iter().rev().find(|node| node.parameters().is_some())
}

/// What sources call the tensors of a network.
#[derive(Clone, Copy)]
pub(super) struct Catalog<'a> {
    /// The names of a node in other sources than the one of the graph's own.
    pub names: fn(TensorNames, &Node) -> Option<Names>,
    /// The whole network, and what is left of it in a backbone.
    pub whole: &'a Graph,
    pub graph: &'a Graph,
}

impl<'a> Catalog<'a> {
    /// The tensors of `node` in `source`; `None` where it has no weights, or the source no names for it.
    fn of(&self, source: TensorNames, node: &Node) -> Option<Names> {
        let parameters = node.parameters()?;
        let named = |tensors: Option<&Tensors>| match tensors {
            Some(Tensors::Named(name)) => Some(name.clone()),
            // There are none to be read.
            Some(Tensors::Ones) => Some(String::new()),
            _ => None,
        };
        match source {
            TensorNames::Torch => {
                let norm = named(parameters.norm().map(|norm| norm.tensors()));
                Some(Names::torch(&named(Some(parameters.weights()))?, &norm.unwrap_or_default()))
            }
            other => (self.names)(other, node),
        }
    }

    /// The names of each weighted node of the whole network, in the graph and in `source`.
    fn pairs(&self, source: TensorNames) -> impl Iterator<Item = (Names, Names, &'a Node)> {
        let nodes = self.whole.nodes().iter();
        nodes.filter_map(move |node| Some((self.of(TensorNames::Torch, node)?, self.of(source, node)?, node)))
    }

    /// Whose names the tensors `listed` have, the source with the most of the graph's kernels among them, and how many those
    /// are.
    pub fn scheme(&self, listed: &[String]) -> (TensorNames, usize) {
        let listed: BTreeSet<&str> = listed.iter().map(String::as_str).collect();
        let nodes = || self.graph.nodes().iter().filter(|node| node.weight_shape().is_some());
        let mut best = (TensorNames::Torch, 0);
        for source in TensorNames::ALL {
            let kernels = nodes().filter_map(|node| self.of(source, node));
            let known = kernels.filter(|names| listed.contains(&*names.weights)).count();
            // The first of equals.
            if known > best.1 {
                best = (source, known);
            }
            if known == nodes().count() {
                break;
            }
        }
        best
    }

    /// What `source` calls the classifier's weights and its bias, in files of any version.
    pub fn classifier(&self, source: TensorNames) -> Option<[Vec<String>; 2]> {
        let names = self.of(source, classifier(self.whole)?)?;
        let [older_weights, older_bias] = names.older.map_or([None, None], |older| older.map(Some));
        let all = |name: String, older: Option<String>| [name].into_iter().chain(older).collect();
        Some([all(names.weights, older_weights), all(names.bias, older_bias)])
    }

    /// The shapes of the graph's kernels under what `source` calls them.
    pub fn kernel_shapes(&self, source: TensorNames) -> Vec<(String, Vec<usize>)> {
        let kernels = self.graph.nodes().iter().filter_map(|node| {
            let names = self.of(source, node)?;
            Some((names.weights, names.axes.shape(&node.weight_shape()?)))
        });
        kernels.collect()
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
    entries: BTreeMap<String, Entry>,
    /// The graph's names of the source's tensors.
    known: BTreeMap<String, String>,
    /// Whether the source has a list of its tensors.
    listed: bool,
    /// Tensors of the head that a backbone leaves unread.
    unread: BTreeSet<String>,
}

impl<'a> Renamed<'a> {
    pub fn of(catalog: &Catalog<'_>, source: &'a dyn Weights) -> Self {
        let listed = source.names();
        let (names, _) = catalog.scheme(&listed);
        let present: BTreeSet<&str> = listed.iter().map(String::as_str).collect();
        let (mut entries, mut unread) = (BTreeMap::new(), BTreeSet::new());
        for (ours, theirs, node) in catalog.pairs(names) {
            if catalog.graph.node(node.name()).is_none() {
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
            Some(Entry { name, axes }) => {
                axes.ordered(shape, self.source.tensor(name, &axes.shape(shape))?).map_err(|error| error.to_string())
            }
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
