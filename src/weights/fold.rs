//! Batch normalisation folded into the convolution before it.

use alloc::borrow::Cow;
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use super::source::Weights;
use crate::error::{Error, Result};
use crate::graph::{Graph, Node, Norm, Parameters, Tensors};
use crate::math::sqrt;
use crate::tensor::buffer::{collect, room};

/// The parameters of one node as the kernels take them: batch normalisation folded in, subnormal weights flushed, inputs and
/// outputs in the order in which the graph lays their channels. They fit the graph that they were folded for alone.
///
/// ```
/// use sepconv::weights::Folded;
///
/// // Two outputs of two weights, each with its factor and its summand.
/// let folded = Folded::new(&[1.0, 2.0, 3.0, 1e-38], &[(2.0, 0.5), (0.1, -1.0)])?;
/// assert_eq!((folded.weights, folded.bias), (vec![2.0, 4.0, 0.3, 0.0], vec![0.5, -1.0]));
/// assert_eq!(folded.flushed, 1);
/// # Ok::<(), sepconv::Error>(())
/// ```
#[derive(Clone, PartialEq)]
pub struct Folded {
    /// Outputs x inputs a group x rows x columns.
    pub weights: Vec<f32>,
    /// One an output.
    pub bias: Vec<f32>,
    /// Weights below 2^-126 that became +0: arithmetic with them is many times slower.
    pub flushed: usize,
}

impl core::fmt::Debug for Folded {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Folded({} weights, {} biases, {} flushed)", self.weights.len(), self.bias.len(), self.flushed)
    }
}

impl Folded {
    /// `weights` (outputs x inputs a group x rows x columns) times a factor an output, and a summand an output: the
    /// weights below 2^-126 are flushed to +0. An error where the lengths do not fit or there is no room.
    pub fn new(weights: &[f32], scale_shift: &[(f64, f64)]) -> Result<Folded> {
        if scale_shift.is_empty() || !weights.len().is_multiple_of(scale_shift.len()) {
            let expected = format!("a multiple of {} outputs, at least one", scale_shift.len());
            return Err(Error::shape("weights", format!("{} elements", weights.len()), expected));
        }
        let mut folded = room("folded weights", weights.len())?;
        let per_output = weights.len() / scale_shift.len();
        let mut flushed = 0;
        for (weights, &(scale, _)) in weights.chunks_exact(per_output.max(1)).zip(scale_shift) {
            flushed += extend_scaled(&mut folded, weights, scale);
        }
        let bias = scale_shift.iter().map(|&(_, shift)| shift as f32);
        let bias = collect("folded biases", scale_shift.len(), bias)?;
        Ok(Folded { weights: folded, bias, flushed })
    }
}

impl Folded {
    /// The same parameters for `node`, which takes its input channels in `order`: where each channel is by itself, all that
    /// belongs to a channel moves; else the inputs of each output do, inside their group.
    fn ordered(self, node: &Node, order: &[usize]) -> Result<Folded> {
        let Folded { weights, bias, flushed } = self;
        let [outputs, inputs, height, width] = node.operator.weights(node.input()).unwrap_or_default();
        let taps = height * width;
        if node.operator.traits().channelwise {
            let at = |at: usize| weights[order[at / taps] * taps + at % taps];
            let moved = collect("ordered weights", weights.len(), (0..weights.len()).map(at))?;
            let bias = collect("ordered biases", bias.len(), order.iter().map(|&channel| bias[channel]))?;
            return Ok(Folded { weights: moved, bias, flushed });
        }
        let outputs_a_group = outputs / node.operator.groups();
        let at = |at: usize| {
            let (output, place, tap) = (at / (inputs * taps), at / taps % inputs, at % taps);
            let first = output / outputs_a_group * inputs;
            weights[(output * inputs + order[first + place] - first) * taps + tap]
        };
        let moved = collect("ordered weights", weights.len(), (0..weights.len()).map(at))?;
        Ok(Folded { weights: moved, bias, flushed })
    }

    /// The same parameters with the outputs in `order`.
    fn with_outputs_in(self, order: &[usize]) -> Result<Folded> {
        let of_output = self.weights.len() / order.len().max(1);
        let at = |at: usize| self.weights[order[at / of_output] * of_output + at % of_output];
        let weights = collect("ordered weights", self.weights.len(), (0..self.weights.len()).map(at))?;
        let bias = collect("ordered biases", order.len(), order.iter().map(|&output| self.bias[output]))?;
        Ok(Folded { weights, bias, flushed: self.flushed })
    }
}

/// Adds `weights` times `scale` to `folded`, those below 2^-126 flushed to +0; how many those are.
fn extend_scaled(folded: &mut Vec<f32>, weights: &[f32], scale: f64) -> usize {
    let first = folded.len();
    folded.extend(weights.iter().map(|&weight| (f64::from(weight) * scale) as f32));
    // Few outputs have any, and a loop without a way out becomes one of vectors.
    let added = &mut folded[first..];
    if !added.iter().fold(false, |any, weight| any | weight.is_subnormal()) {
        return 0;
    }
    let subnormal = added.iter_mut().filter(|weight| weight.is_subnormal());
    subnormal.map(|weight| *weight = 0.0).count()
}

/// Weights that are outputs x rows x columns x inputs, as outputs x inputs x rows x columns.
fn inputs_first(weights: &[f32], [_, inputs, height, width]: [usize; 4]) -> Result<Vec<f32>> {
    let taps = height * width;
    let at = |at: usize| weights[at / (inputs * taps) * inputs * taps + at % taps * inputs + at / taps % inputs];
    collect("weights", weights.len(), (0..weights.len()).map(at))
}

/// Names that a network never reads: training's step counters.
const IGNORED: &str = "num_batches_tracked";

/// Folds the parameters of every node; `None` for nodes without weights. All that is wrong with the source is in one
/// error.
///
/// ```
/// use sepconv::graph::{Builder, Layer};
/// use sepconv::parallel::Serial;
/// use sepconv::weights::{HashWeights, fold};
/// use sepconv::{Options, Plan, Shape};
///
/// let mut net = Builder::new();
/// let image = net.input("image", Shape::new(4, 4, 3))?;
/// let x = net.pointwise("pw", image, 2, Layer::arrays([1.0; 2 * 3], [0.0; 2]))?;
/// let x = net.global_average_pool("mean", x)?;
/// let graph = net.build(&[x])?;
/// let mut folded = fold(&graph, &HashWeights)?;
/// assert!(folded[0].is_some() && folded[1].is_none());
/// // Weights changed before they are packed.
/// folded[0].as_mut().unwrap().bias.fill(0.25);
/// let plan = Plan::from_folded(&graph, &folded, &Serial, Options::default())?;
/// let (mut workspace, mut output) = (plan.workspace()?, [0.0; 2]);
/// plan.run(&Serial, &mut workspace, &[0.0; 4 * 4 * 3][..], &mut output[..])?;
/// assert_eq!(output, [0.25; 2]);
/// # Ok::<(), sepconv::Error>(())
/// ```
pub fn fold(graph: &Graph, source: &dyn Weights) -> Result<Vec<Option<Folded>>> {
    let folded = |node: Option<Unfolded<'_>>| node.map(|node| node.folded()).transpose();
    read(graph, source)?.into_iter().map(folded).collect()
}

/// The parameters of one node as the source has them.
pub(crate) struct Unfolded<'a> {
    node: &'a Node,
    weights: Cow<'a, [f32]>,
    /// A factor and a summand an output.
    scale_shift: Vec<(f64, f64)>,
}

impl Unfolded<'_> {
    /// Weights and biases.
    pub fn elements(&self) -> usize {
        self.weights.len() + self.scale_shift.len()
    }

    pub fn folded(&self) -> Result<Folded> {
        let node = self.node;
        let mut folded = Folded::new(&self.weights, &self.scale_shift).map_err(|error| error.of_node(node.name()))?;
        if let (true, Some(all)) = (node.operator.inputs_are_last(), node.operator.weights(node.input())) {
            folded.weights = inputs_first(&folded.weights, all)?;
        }
        if let Some(order) = &node.order {
            folded = folded.ordered(node, order)?;
        }
        if let Some(order) = &node.output_order {
            folded = folded.with_outputs_in(order)?;
        }
        Ok(folded)
    }
}

/// The parameters of every node; `None` for nodes without weights. All that is wrong with the source is in one error.
pub(crate) fn read<'a>(graph: &'a Graph, source: &'a dyn Weights) -> Result<Vec<Option<Unfolded<'a>>>> {
    let names = source.names().into_iter().collect();
    let mut reader = Reader { source, names, used: BTreeSet::new(), problems: Vec::new() };
    let nodes = graph.nodes().iter().map(|node| reader.node(node)).collect::<Result<_>>()?;
    let mut unread: Vec<&String> = reader.names.difference(&reader.used).collect();
    unread.retain(|name| !name.ends_with(IGNORED) && !source.may_stay_unread(name));
    unread.sort();
    let unread = unread.into_iter().map(|name| format!("{}: unexpected, no node reads it", source.label(name)));
    reader.problems.extend(unread);
    match reader.problems.is_empty() {
        true => Ok(nodes),
        false => Err(Error::Weights { network: "the graph".into(), problems: reader.problems }),
    }
}

struct Reader<'a> {
    source: &'a dyn Weights,
    names: BTreeSet<String>,
    used: BTreeSet<String>,
    problems: Vec<String>,
}

/// The endings of a weighted node's tensors, and of its normalisation's.
const OF_NODE: [&str; 2] = ["weight", "bias"];
const OF_NORM: [&str; 4] = ["weight", "bias", "running_mean", "running_var"];

impl<'a> Reader<'a> {
    fn tensor(&mut self, name: String, shape: &[usize]) -> Option<Cow<'a, [f32]>> {
        let expected = shape.iter().product::<usize>();
        let tensor = match self.source.tensor(&name, shape) {
            Ok(tensor) if tensor.len() == expected => Ok(tensor),
            Ok(tensor) => Err(format!("{} elements, expected {expected} (shape {shape:?})", tensor.len())),
            Err(why) => Err(why),
        };
        let tensor = tensor.map_err(|why| self.problems.push(format!("{}: {why}", self.source.label(&name))));
        self.used.insert(name);
        tensor.ok()
    }

    /// Tensor `index` of `tensors`, of `shape`; its name ends as `endings` say.
    fn of(&mut self, tensors: &'a Tensors, endings: &[&str], index: usize, shape: &[usize]) -> Option<Cow<'a, [f32]>> {
        match tensors {
            Tensors::Named(name) => self.tensor(format!("{name}.{}", endings[index]), shape),
            // The builder checked their lengths.
            Tensors::Given(arrays) => arrays.get(index).map(|array| Cow::Borrowed(&array[..])),
            Tensors::Ones => (index == 0).then(|| Cow::Owned(vec![1.0; shape[0]])),
            Tensors::Packed => None,
        }
    }

    /// The node's parameters, or `None` where it has none or something is wrong with them; an error where there is no room.
    fn node(&mut self, node: &'a Node) -> Result<Option<Unfolded<'a>>> {
        let (Some(all), Some(parameters)) = (node.operator.weights(node.input()), node.parameters()) else {
            return Ok(None);
        };
        let of_norm = parameters.norm().map(Norm::tensors);
        if [Some(parameters.weights()), of_norm].contains(&Some(&Tensors::Packed)) {
            self.problems
                .push(format!("{}: its arrays are packed in a loaded plan; build the graph anew", node.name()));
            return Ok(None);
        }
        let shape = node.weight_shape().unwrap_or_else(|| vec![all[0]]);
        let Some((weights, affine)) = self.tensors(parameters, &shape) else { return Ok(None) };
        let mut scale_shift = room(node.name(), shape[0])?;
        for output in 0..shape[0] {
            match affine.of(output, node.name(), self.source) {
                Ok(pair) => scale_shift.push(pair),
                Err(problem) => {
                    self.problems.push(problem);
                    return Ok(None);
                }
            }
        }
        Ok(Some(Unfolded { node, weights, scale_shift }))
    }

    /// The tensors of `parameters`, whose weights have this shape; `None` where something is wrong with them. Every tensor
    /// is asked for before any is missed, so that the error names all that is wrong.
    fn tensors(&mut self, parameters: &'a Parameters, shape: &[usize]) -> Option<(Cow<'a, [f32]>, Affine<'a>)> {
        let outputs = shape[0];
        let weights = self.of(parameters.weights(), &OF_NODE, 0, shape);
        // Some sources keep a bias besides the normalisation.
        let kept = match parameters.weights() {
            Tensors::Named(name) => self.names.contains(&format!("{name}.bias")),
            Tensors::Given(_) | Tensors::Ones | Tensors::Packed => false,
        };
        let has_bias = parameters.has_bias() || kept;
        let bias = has_bias.then(|| self.of(parameters.weights(), &OF_NODE, 1, &[outputs]));
        let norm = parameters.norm().map(|norm| {
            let [gamma, beta, mean, variance] =
                [0, 1, 2, 3].map(|index| self.of(norm.tensors(), &OF_NORM, index, &[outputs]));
            Some(([gamma?, beta?, mean?, variance?], norm))
        });
        let affine = Affine {
            bias: bias.map_or(Some(None), |bias| bias.map(Some))?,
            norm: norm.map_or(Some(None), |norm| norm.map(Some))?,
        };
        Some((weights?, affine))
    }
}

/// What is done to each output of a node after its products are summed.
struct Affine<'a> {
    bias: Option<Cow<'a, [f32]>>,
    /// Scale, shift, mean and variance.
    norm: Option<([Cow<'a, [f32]>; 4], &'a Norm)>,
}

impl Affine<'_> {
    /// Factor and summand of `output`; else what is wrong with its variance.
    fn of(&self, output: usize, node: &str, source: &dyn Weights) -> Result<(f64, f64), String> {
        let bias = self.bias.as_ref().map_or(0.0, |bias| f64::from(bias[output]));
        let Some((arrays, norm)) = &self.norm else { return Ok((1.0, bias)) };
        let [gamma, beta, mean, variance] = arrays.each_ref().map(|array| f64::from(array[output]));
        let root = sqrt(variance + norm.epsilon());
        if root.is_nan() || root == 0.0 {
            let name = match norm.tensors() {
                Tensors::Named(name) => source.label(&format!("{name}.{}", OF_NORM[3])),
                Tensors::Given(_) | Tensors::Ones | Tensors::Packed => format!("{node}: variance"),
            };
            return Err(format!("{name}: element {output} is {}, expected one above 0", arrays[3][output]));
        }
        let scale = gamma / root;
        Ok((scale, beta + (bias - mean) * scale))
    }
}
