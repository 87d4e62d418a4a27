//! Batch normalisation folded into the convolution before it.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::Weights;
use crate::buffer::{collect, room};
use crate::error::{Error, Result};
use crate::net::{Axes, Config, Keys, Layer, Name, Network, Norm, Parameters, Scheme, keys, older};

/// The weights of one layer as the kernels take them: batch normalisation folded in, subnormal weights flushed.
#[derive(Debug, Clone, PartialEq)]
pub struct Folded {
    /// Outputs x inputs a group x rows x columns.
    pub weights: Vec<f32>,
    /// One an output.
    pub bias: Vec<f32>,
    /// Weights below 2^-126 that became +0: arithmetic with them is many times slower.
    pub flushed: usize,
}

/// Names that a network never reads: training's step counters.
const IGNORED: &str = "num_batches_tracked";

/// Whose names the tensors `names` have: the scheme with the most of the network's tensors among them.
pub fn scheme(network: &Network, names: &[String]) -> Scheme {
    // The first of equals.
    Scheme::ALL.into_iter().rev().max_by_key(|&scheme| network.tensors_among(scheme, names)).unwrap_or(Scheme::Torch)
}

/// The network that most of `names` are tensors of, with how many kernels of it there are; `None` where it is none.
pub(super) fn network_of(names: &[String]) -> Option<(Name, usize)> {
    let known = |name: Name| {
        let network = Network::new(name, &Config::of(name)).ok()?;
        let known = network.tensors_among(scheme(&network, names), names);
        (known > 0).then_some((name, known))
    };
    Name::ALL.into_iter().filter_map(known).max_by_key(|&(_, known)| known)
}

/// Folds every layer's parameters; all that is wrong with the source is in one error, or, where its names are another
/// network's, which one that is.
pub fn fold(network: &Network, source: &dyn Weights) -> Result<Vec<Option<Folded>>> {
    let names = source.names();
    let scheme = scheme(network, &names);
    let known = network.tensors_among(scheme, &names);
    let other = || network_of(&names).filter(|&(name, most)| name != network.architecture() && most > known);
    let names: BTreeSet<String> = names.iter().cloned().collect();
    let mut reader = Reader { network, source, scheme, names, used: BTreeSet::new(), problems: Vec::new() };
    let folded = network.layers().iter().map(|layer| reader.layer(layer)).collect::<Result<_>>()?;
    for keys in network.head().iter().filter_map(|layer| keys(network.architecture(), scheme, layer)) {
        let unread = [keys.weights, keys.bias].map(|name| reader.name(name));
        reader.used.extend(unread);
    }
    let unexpected = reader.names.difference(&reader.used).filter(|name| !name.ends_with(IGNORED));
    let unexpected: Vec<_> =
        unexpected.map(|name| format!("{name}: unexpected, {} has no such tensor", network.name())).collect();
    reader.problems.extend(unexpected);
    if reader.problems.is_empty() {
        return Ok(folded);
    }
    let name = network.name().into();
    Err(match other() {
        Some((other, _)) => Error::OtherNetwork { network: name, looks_like: other.as_str() },
        None => Error::Weights { network: name, problems: reader.problems },
    })
}

/// What is read for one layer.
struct Tensors<'a> {
    weights: Cow<'a, [f32]>,
    axes: Axes,
    bias: Option<Cow<'a, [f32]>>,
    norm: Option<Normalisation<'a>>,
}

/// What is read for the batch normalisation of one layer.
struct Normalisation<'a> {
    gamma: Cow<'a, [f32]>,
    beta: Cow<'a, [f32]>,
    mean: Cow<'a, [f32]>,
    variance: Cow<'a, [f32]>,
    /// The name of `variance`.
    name: String,
    epsilon: f64,
}

struct Reader<'a> {
    network: &'a Network,
    source: &'a dyn Weights,
    scheme: Scheme,
    names: BTreeSet<String>,
    used: BTreeSet<String>,
    problems: Vec<String>,
}

impl<'a> Reader<'a> {
    fn tensor(&mut self, name: String, shape: &[usize]) -> Option<Cow<'a, [f32]>> {
        let expected = shape.iter().product::<usize>();
        let tensor = match self.source.tensor(&name, shape) {
            Ok(tensor) if tensor.len() == expected => Ok(tensor),
            Ok(tensor) => Err(format!("{} elements, expected {expected} (shape {shape:?})", tensor.len())),
            Err(why) => Err(why),
        };
        let tensor = tensor.map_err(|why| self.problems.push(format!("{name}: {why}")));
        self.used.insert(name);
        tensor.ok()
    }

    /// `name`, or the one that older files have for it, if the source has that.
    fn name(&self, name: String) -> String {
        older(&name).filter(|older| self.names.contains(older)).unwrap_or(name)
    }

    /// The layer's weights, or `None` where it has none or something is wrong with them; an error where there is no room.
    fn layer(&mut self, layer: &Layer) -> Result<Option<Folded>> {
        let Some((tensors, parameters)) =
            layer.parameters.as_ref().and_then(|all| Some((self.tensors(layer, all)?, all)))
        else {
            return Ok(None);
        };
        let Tensors { weights, axes, bias, norm } = tensors;
        // Factor and summand of each output.
        let mut scale_shift = room(&layer.name, parameters.shape[0])?;
        for output in 0..parameters.shape[0] {
            let bias = bias.as_ref().map_or(0.0, |bias| f64::from(bias[output]));
            scale_shift.push(match &norm {
                Some(norm) => match norm.scale_shift(output, bias) {
                    Ok(pair) => pair,
                    Err(problem) => {
                        self.problems.push(problem);
                        return Ok(None);
                    }
                },
                None => (1.0, bias),
            });
        }
        let mut folded = room(&layer.name, weights.len())?;
        let mut flushed = 0;
        let per_output = weights.len() / scale_shift.len().max(1);
        for (output, &(scale, _)) in scale_shift.iter().enumerate() {
            folded.extend((output * per_output..(output + 1) * per_output).map(|i| {
                let folded = (f64::from(weights[axes.index(i, parameters)]) * scale) as f32;
                let subnormal = folded.is_subnormal();
                flushed += usize::from(subnormal);
                if subnormal { 0.0 } else { folded }
            }));
        }
        let bias = collect(&layer.name, scale_shift.len(), scale_shift.iter().map(|&(_, shift)| shift as f32))?;
        Ok(Some(Folded { weights: folded, bias, flushed }))
    }

    /// The tensors of a layer with `parameters`; `None` where something is wrong with them.
    fn tensors(&mut self, layer: &Layer, parameters: &Parameters) -> Option<Tensors<'a>> {
        let Some(Keys { weights, bias, norm, axes }) = keys(self.network.architecture(), self.scheme, layer) else {
            self.problems.push(format!("{}: {:?} has no names for this layer", layer.name, self.scheme));
            return None;
        };
        let outputs = parameters.shape[0];
        // Every tensor is asked for before any is missed, so that the error names all that is wrong.
        let weights = self.tensor(self.name(weights), &axes.shape(layer.op, parameters));
        let bias = self.name(bias);
        // Some sources keep a bias besides the normalisation.
        let has_bias = parameters.bias || self.names.contains(&bias);
        let bias = has_bias.then(|| self.tensor(bias, &[outputs]));
        let norm = norm.zip(parameters.norm.as_ref()).map(|(names, Norm { epsilon, .. })| {
            let name = names[3].clone();
            let [gamma, beta, mean, variance] = names.map(|name| self.tensor(name, &[outputs]));
            let (gamma, beta, mean, variance) = (gamma?, beta?, mean?, variance?);
            Some(Normalisation { gamma, beta, mean, variance, name, epsilon: *epsilon })
        });
        Some(Tensors {
            weights: weights?,
            axes,
            bias: bias.map_or(Some(None), |bias| bias.map(Some))?,
            norm: norm.map_or(Some(None), |norm| norm.map(Some))?,
        })
    }
}

impl Normalisation<'_> {
    /// Factor and summand of `output`, whose bias goes in before; else what is wrong with its variance.
    fn scale_shift(&self, output: usize, bias: f64) -> Result<(f64, f64), String> {
        let [gamma, beta, mean, variance] =
            [&self.gamma, &self.beta, &self.mean, &self.variance].map(|tensor| f64::from(tensor[output]));
        let root = (variance + self.epsilon).sqrt();
        if root.is_nan() || root == 0.0 {
            return Err(format!("{}: element {output} is {}, expected one above 0", self.name, self.variance[output]));
        }
        let scale = gamma / root;
        Ok((scale, beta + (bias - mean) * scale))
    }
}
