//! Where the numbers come from, with the folding of batch normalisation into them.
#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use crate::error::{Error, Result};
use crate::net::{Layer, Network, Parameters};

/// A source of tensors by name. Layouts are PyTorch's: convolutions O, I, kh, kw; linear layers out, in.
pub trait Weights {
    /// The tensor `name` of `shape`, row-major; or why there is none.
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Cow<'_, [f32]>, String>;

    /// The names of all tensors where the source is a closed list, so that those that the network has no use for can be
    /// named.
    fn names(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Weights made from their names, so that a network can be run and checked without a file. Each element comes from a
/// SplitMix64 sequence that starts at the FNV-1a hash of the tensor's name; scale and offset follow from the name's ending.
#[derive(Debug, Clone, Copy, Default)]
pub struct HashWeights;

/// The first `count` numbers, uniform in 0..1 in steps of 2^-24, of the sequence that `name` starts.
fn uniform(name: &str, count: usize) -> impl Iterator<Item = f64> {
    let hash = fnv1a(name.bytes());
    (1..=count as u64).map(move |i| {
        let mut z = hash.wrapping_add(i.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        (z >> 40) as f64 / (1u64 << 24) as f64
    })
}

/// FNV-1a, 64 bits.
fn fnv1a(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// A 64-bit hash (FNV-1a over the little-endian bytes) of values: equal bits, equal hash.
pub fn hash_of_bits(values: &[f32]) -> u64 {
    fnv1a(values.iter().flat_map(|value| value.to_bits().to_le_bytes()))
}

impl HashWeights {
    /// The image that goes with the weights: `height` x `width` x `channels`, NHWC, values in -1..1. The sequence runs in
    /// the order channel, row, column.
    pub fn image(height: usize, width: usize, channels: usize) -> Vec<f32> {
        let mut image = vec![0.0; height * width * channels];
        for (i, u) in uniform("input", image.len()).enumerate() {
            let (channel, pixel) = (i / (height * width), i % (height * width));
            image[pixel * channels + channel] = (2.0 * u - 1.0) as f32;
        }
        image
    }
}

impl Weights for HashWeights {
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Cow<'_, [f32]>, String> {
        let count: usize = shape.iter().product();
        // Kernels have more than one axis; the vectors are those of the normalisation and the biases.
        let bound = (6.0 / shape[1..].iter().product::<usize>() as f64).sqrt();
        let value = |u: f64| match name.rsplit('.').next() {
            Some("weight") if shape.len() > 1 => (2.0 * u - 1.0) * bound,
            Some("weight" | "running_var") => 0.75 + 0.5 * u,
            _ => 0.2 * (u - 0.5),
        };
        Ok(uniform(name, count).map(|u| value(u) as f32).collect())
    }
}

/// The tensors of a safetensors file: f32, f16 or bf16.
#[derive(Debug)]
pub struct SafetensorsWeights<'a> {
    tensors: BTreeMap<String, TensorView<'a>>,
    metadata: BTreeMap<String, String>,
}

impl<'a> SafetensorsWeights<'a> {
    /// Reads the header of `file`; the data stay where they are.
    pub fn new(file: &'a [u8]) -> Result<Self> {
        let error = |why: &dyn std::fmt::Display| Error::File { why: why.to_string() };
        let (_, metadata) = SafeTensors::read_metadata(file).map_err(|why| error(&why))?;
        let tensors = SafeTensors::deserialize(file).map_err(|why| error(&why))?;
        let metadata = metadata.metadata().iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect();
        Ok(SafetensorsWeights { tensors: tensors.tensors().into_iter().collect(), metadata })
    }

    /// The `__metadata__` entry `key`.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).map(String::as_str)
    }

    /// The shape of tensor `name`.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|tensor| tensor.shape())
    }
}

impl Weights for SafetensorsWeights<'_> {
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Cow<'_, [f32]>, String> {
        let tensor = self.tensors.get(name).ok_or_else(|| format!("missing, expected shape {shape:?}"))?;
        if tensor.shape() != shape {
            return Err(format!("shape {:?}, expected {shape:?}", tensor.shape()));
        }
        let data = tensor.data();
        let halves = || data.chunks_exact(2).map(|bytes| [bytes[0], bytes[1]]);
        let values: Vec<f32> = match tensor.dtype() {
            Dtype::F32 => {
                data.chunks_exact(4).map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])).collect()
            }
            Dtype::F16 => halves().map(|bytes| f16::from_le_bytes(bytes).to_f32()).collect(),
            Dtype::BF16 => halves().map(|bytes| bf16::from_le_bytes(bytes).to_f32()).collect(),
            other => return Err(format!("type {other:?}, expected F32, F16 or BF16")),
        };
        match values.iter().position(|value| !value.is_finite()) {
            Some(at) => Err(format!("element {at} is {}, expected a finite number", values[at])),
            None => Ok(values.into()),
        }
    }

    fn names(&self) -> Vec<String> {
        self.tensors.keys().cloned().collect()
    }
}

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

/// Folds every layer's parameters; all that is wrong with the source is in one error.
pub fn fold(network: &Network, source: &dyn Weights) -> Result<Vec<Option<Folded>>> {
    let mut reader = Reader { source, used: BTreeSet::new(), problems: Vec::new() };
    let folded = network.layers().iter().map(|layer| reader.layer(layer)).collect();
    for name in source.names() {
        if !reader.used.contains(&name) && !name.ends_with(IGNORED) {
            reader.problems.push(format!("{name}: unexpected, {} has no such tensor", network.name()));
        }
    }
    match reader.problems.is_empty() {
        true => Ok(folded),
        false => Err(Error::Weights { network: network.name().into(), problems: reader.problems }),
    }
}

struct Reader<'a> {
    source: &'a dyn Weights,
    used: BTreeSet<String>,
    problems: Vec<String>,
}

impl<'a> Reader<'a> {
    fn tensor(&mut self, name: String, shape: &[usize]) -> Option<Cow<'a, [f32]>> {
        let tensor = self.source.tensor(&name, shape).map_err(|why| self.problems.push(format!("{name}: {why}")));
        self.used.insert(name);
        tensor.ok()
    }

    fn layer(&mut self, layer: &Layer) -> Option<Folded> {
        let parameters = layer.parameters.as_ref()?;
        let Parameters { name, bias, norm, shape } = parameters;
        let linear = matches!(layer.op, crate::net::Op::FullyConnected);
        let weights = self.tensor(format!("{name}.weight"), if linear { &shape[..2] } else { shape });
        let outputs = [shape[0]];
        let bias = if *bias { self.tensor(format!("{name}.bias"), &outputs)? } else { vec![0.0; shape[0]].into() };
        let mut scale_shift: Vec<(f64, f64)> = bias.iter().map(|&bias| (1.0, f64::from(bias))).collect();
        if let Some(norm) = norm {
            let fields = ["weight", "bias", "running_mean", "running_var"];
            let tensors = fields.map(|field| self.tensor(format!("{}.{field}", norm.name), &outputs));
            let [Some(gamma), Some(beta), Some(mean), Some(variance)] = tensors else { return None };
            for (i, (scale, shift)) in scale_shift.iter_mut().enumerate() {
                let variance = f64::from(variance[i]) + norm.epsilon;
                if variance <= 0.0 {
                    let problem =
                        format!("{}.running_var: element {i} is {}, expected none below 0", norm.name, variance);
                    self.problems.push(problem);
                    return None;
                }
                *scale = f64::from(gamma[i]) / variance.sqrt();
                *shift = f64::from(beta[i]) + (*shift - f64::from(mean[i])) * *scale;
            }
        }
        let weights = weights?;
        let per_output = weights.len() / shape[0];
        let mut flushed = 0;
        let fold = |(i, &weight): (usize, &f32)| {
            let folded = (f64::from(weight) * scale_shift[i / per_output].0) as f32;
            if folded.is_subnormal() {
                flushed += 1;
                return 0.0;
            }
            folded
        };
        Some(Folded {
            weights: weights.iter().enumerate().map(fold).collect(),
            bias: scale_shift.iter().map(|&(_, shift)| shift as f32).collect(),
            flushed,
        })
    }
}
