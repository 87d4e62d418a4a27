//! Batch normalisation folded into the convolution before it.

use alloc::borrow::Cow;
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use pulp::{Arch, Simd, WithSimd};

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
        let flushed = Arch::new().dispatch(Scale { weights, scale_shift, folded: &mut folded });
        Ok(Folded { weights: folded, bias: biases(scale_shift)?, flushed })
    }

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

/// Adds `weights` times a factor an output to `folded`, which has room for them, those below 2^-126 flushed to +0; how many
/// those are.
struct Scale<'a> {
    weights: &'a [f32],
    scale_shift: &'a [(f64, f64)],
    folded: &'a mut Vec<f32>,
}

impl WithSimd for Scale<'_> {
    type Output = usize;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> usize {
        let Scale { weights, scale_shift, folded } = self;
        let per_output = (weights.len() / scale_shift.len()).max(1);
        let (mut flushed, mut products) = (0, [0.0; 512]);
        for (weights, &(scale, _)) in weights.chunks_exact(per_output).zip(scale_shift) {
            for weights in weights.chunks(products.len()) {
                let products = &mut products[..weights.len()];
                // Few outputs have any to flush, and a loop without a way out becomes one of vectors.
                let mut any = false;
                for (product, &weight) in products.iter_mut().zip(weights) {
                    *product = (f64::from(weight) * scale) as f32;
                    any |= is_subnormal(*product);
                }
                if any {
                    let subnormal = products.iter_mut().filter(|product| product.is_subnormal());
                    flushed += subnormal.map(|product| *product = 0.0).count();
                }
                folded.extend_from_slice(products);
            }
        }
        flushed
    }
}

/// The summand of each output.
fn biases(scale_shift: &[(f64, f64)]) -> Result<Vec<f32>> {
    collect("folded biases", scale_shift.len(), scale_shift.iter().map(|&(_, shift)| shift as f32))
}

/// As `f32::is_subnormal`, in operations that vectors have.
#[inline(always)]
fn is_subnormal(x: f32) -> bool {
    (x.abs() < f32::MIN_POSITIVE) & (x != 0.0)
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

/// The parameters of one node as they are packed.
pub(crate) struct Ready<'a> {
    pub weights: Cow<'a, [f32]>,
    pub bias: Cow<'a, [f32]>,
    pub flushed: usize,
}

impl<'a> From<&'a Folded> for Ready<'a> {
    fn from(folded: &'a Folded) -> Self {
        let Folded { weights, bias, flushed } = folded;
        Ready { weights: Cow::Borrowed(weights), bias: Cow::Borrowed(bias), flushed: *flushed }
    }
}

/// The parameters of one node as the source has them.
pub(crate) struct Unfolded<'a> {
    node: &'a Node,
    weights: Cow<'a, [f32]>,
    /// A factor and a summand an output.
    scale_shift: Vec<(f64, f64)>,
}

impl<'a> Unfolded<'a> {
    /// The parameters to be packed: the source's own weights where nothing is done to them.
    pub fn ready(self) -> Result<Ready<'a>> {
        let node = self.node;
        let moved = node.operator.inputs_are_last() || node.order.is_some() || node.output_order.is_some();
        let scaled = self.scale_shift.iter().any(|&(scale, _)| scale != 1.0);
        let subnormal = || self.weights.iter().fold(false, |any, weight| any | is_subnormal(*weight));
        if moved || scaled || Arch::new().dispatch(subnormal) {
            let Folded { weights, bias, flushed } = self.folded()?;
            return Ok(Ready { weights: Cow::Owned(weights), bias: Cow::Owned(bias), flushed });
        }
        Ok(Ready { weights: self.weights, bias: Cow::Owned(biases(&self.scale_shift)?), flushed: 0 })
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
    let mut reader = Reader::new(source);
    let nodes = graph.nodes().iter().map(|node| reader.node(node)).collect::<Result<_>>()?;
    reader.end().map(|()| nodes)
}

/// Reads the parameters of one node after the other.
pub(crate) struct Reader<'a> {
    source: &'a dyn Weights,
    names: BTreeSet<String>,
    used: BTreeSet<String>,
    problems: Vec<String>,
}

/// The endings of a weighted node's tensors, and of its normalisation's.
const OF_NODE: [&str; 2] = ["weight", "bias"];
const OF_NORM: [&str; 4] = ["weight", "bias", "running_mean", "running_var"];

impl<'a> Reader<'a> {
    pub fn new(source: &'a dyn Weights) -> Self {
        let names = source.names().into_iter().collect();
        Reader { source, names, used: BTreeSet::new(), problems: Vec::new() }
    }

    /// The error of all that was wrong up to now.
    pub fn check(&self) -> Result<()> {
        match self.problems.is_empty() {
            true => Ok(()),
            false => Err(Error::Weights { network: "the graph".into(), problems: self.problems.clone() }),
        }
    }

    /// The error of all that was wrong, tensors that no node has read included.
    pub fn end(mut self) -> Result<()> {
        let mut unread: Vec<&String> = self.names.difference(&self.used).collect();
        unread.retain(|name| !name.ends_with(IGNORED) && !self.source.may_stay_unread(name));
        unread.sort();
        let source = self.source;
        let unread = unread.into_iter().map(|name| format!("{}: unexpected, no node reads it", source.label(name)));
        self.problems.extend(unread);
        self.check()
    }

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
    pub fn node(&mut self, node: &'a Node) -> Result<Option<Unfolded<'a>>> {
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
