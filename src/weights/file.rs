//! Weights from a safetensors file.

use std::borrow::Cow;
use std::collections::BTreeMap;

use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use super::{Weights, scheme};
use crate::buffer::collect;
use crate::error::{Error, Result};
use crate::net::{Activation, Config, Flavor, Name, Network, Scheme};

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

    /// Which network the file is for: what its metadata say (`sepconv.network`), or the one that most of its tensors
    /// have the names of. An error where it is none of them.
    pub fn network(&self) -> Result<Name> {
        if let Some(name) = self.metadata("sepconv.network") {
            return name.parse();
        }
        let names = self.names();
        let known = |name: &Name| {
            let network = Network::new(*name, &Config::of(*name)).ok()?;
            Some(network.tensors_among(scheme(&network, &names), &names)).filter(|&known| known > 0)
        };
        let best = Name::ALL.into_iter().filter_map(|name| Some((known(&name)?, name))).max_by_key(|&(known, _)| known);
        best.map(|(_, name)| name).ok_or_else(|| Error::Parameter {
            what: "network",
            got: "not named in the file".into(),
            expected: format!("tensors of {}; name the network", Name::ALL.map(Name::as_str).join(", ")),
        })
    }

    /// The configuration that the file asks for: what its metadata say (`sepconv.width`, `.resolution`, `.flavor`,
    /// `.activation`, `.bn_eps`, `.classes`), else the flavor by its tensors' names, as many classes as its classifier
    /// has, and the paper's width and resolution.
    pub fn config(&self, name: Name) -> Result<Config> {
        fn parse<T: std::str::FromStr>(key: &'static str, text: &str, expected: &str) -> Result<T> {
            let refuse = || Error::Parameter { what: key, got: text.into(), expected: expected.into() };
            text.parse().map_err(|_| refuse())
        }
        let mut config = Config::of(name);
        let scheme = self.scheme(name)?;
        config.flavor = match self.metadata("sepconv.flavor") {
            Some(flavor) => flavor.parse()?,
            None => match scheme {
                Scheme::Torch if matches!(name, Name::MobilenetV2 | Name::Digits) => Flavor::Torch,
                Scheme::Torch | Scheme::Timm => Flavor::Timm,
                Scheme::Keras => Flavor::Keras,
                Scheme::Slim => Flavor::Slim,
            },
        };
        if let Some(width) = self.metadata("sepconv.width") {
            config.width = parse("sepconv.width", width, "a number")?;
        }
        if let Some(resolution) = self.metadata("sepconv.resolution") {
            config.resolution = parse("sepconv.resolution", resolution, "a number of pixels")?;
        }
        if let Some(epsilon) = self.metadata("sepconv.bn_eps") {
            config.epsilon = Some(parse("sepconv.bn_eps", epsilon, "a number")?);
        }
        if let Some(activation) = self.metadata("sepconv.activation") {
            config.activation = Some(activation.parse::<Activation>()?);
        }
        config.classes = match self.metadata("sepconv.classes") {
            Some(classes) => Some(parse("sepconv.classes", classes, "a number of classes")?),
            None => Network::new(name, &config)?.classifier_bias(scheme).and_then(|bias| {
                let &[classes] = self.shape(&bias)? else { return None };
                Some(classes)
            }),
        };
        Ok(config)
    }

    /// Whose names the tensors have.
    pub fn scheme(&self, name: Name) -> Result<Scheme> {
        Ok(scheme(&Network::new(name, &Config::of(name))?, &self.names()))
    }

    /// The shape of tensor `name`.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|tensor| tensor.shape())
    }
}

impl Weights for SafetensorsWeights<'_> {
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Cow<'_, [f32]>, String> {
        let tensor = self.tensors.get(name).ok_or_else(|| format!("missing, expected shape {shape:?}"))?;
        if !same_shape(tensor.shape(), shape) {
            return Err(format!("shape {:?}, expected {shape:?}", tensor.shape()));
        }
        let data = tensor.data();
        let halves = || data.chunks_exact(2).map(|bytes| [bytes[0], bytes[1]]);
        let owned = |length: usize, values: &mut dyn Iterator<Item = f32>| match collect(name, length, values) {
            Ok(values) => Ok(Cow::Owned(values)),
            Err(why) => Err(why.to_string()),
        };
        let values: Cow<'_, [f32]> = match tensor.dtype() {
            Dtype::F32 => match bytemuck::try_cast_slice(data) {
                Ok(values) if cfg!(target_endian = "little") => Cow::Borrowed(values),
                // Not on a boundary of four bytes, or in the other order.
                _ => owned(
                    data.len() / 4,
                    &mut data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])),
                )?,
            },
            Dtype::F16 => owned(data.len() / 2, &mut halves().map(|bytes| f16::from_le_bytes(bytes).to_f32()))?,
            Dtype::BF16 => owned(data.len() / 2, &mut halves().map(|bytes| bf16::from_le_bytes(bytes).to_f32()))?,
            other => return Err(format!("type {other:?}, expected F32, F16 or BF16")),
        };
        match values.iter().position(|value| !value.is_finite()) {
            Some(at) => Err(format!("element {at} is {}, expected a finite number", values[at])),
            None => Ok(values),
        }
    }

    fn names(&self) -> Vec<String> {
        self.tensors.keys().cloned().collect()
    }
}

/// Whether a tensor of shape `got` can be read as `expected`: a classifier may be kept as a 1x1 convolution.
fn same_shape(got: &[usize], expected: &[usize]) -> bool {
    let convolution = match *expected {
        [outputs, inputs] => got == [outputs, inputs, 1, 1] || got == [1, 1, outputs, inputs],
        _ => false,
    };
    got == expected || convolution
}
