//! Weights from a safetensors file.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::str::FromStr;

use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use super::fold::network_of;
use super::{Weights, scheme};
use crate::buffer::collect;
use crate::error::{Error, Result};
use crate::net::{Config, Flavor, Name, Network, Scheme, older};

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
        let said = self.said("sepconv.network")?;
        said.or_else(|| Some(network_of(&self.names())?.0)).ok_or_else(|| Error::Parameter {
            what: "network",
            got: "not named in the file".into(),
            expected: format!("tensors of {}; name the network", Name::ALL.map(Name::as_str).join(", ")),
        })
    }

    /// The configuration that the file asks for: what its metadata say (`sepconv.width`, `.resolution`, `.flavor`,
    /// `.activation`, `.bn_eps`, `.classes`), else the flavor by its tensors' names, as many classes as its classifier
    /// has, and the paper's width and resolution. An error where the metadata make no network.
    pub fn config(&self, name: Name) -> Result<Config> {
        let mut config = Config::of(name);
        let scheme = self.scheme(name)?;
        config.flavor = self.said("sepconv.flavor")?.unwrap_or(match scheme {
            Scheme::Torch if matches!(name, Name::MobilenetV2 | Name::Digits) => Flavor::Torch,
            Scheme::Torch | Scheme::Timm => Flavor::Timm,
            Scheme::Keras => Flavor::Keras,
            Scheme::Slim => Flavor::Slim,
        });
        config.width = self.said_as("sepconv.width", "a number")?.unwrap_or(config.width);
        config.resolution = self.said_as("sepconv.resolution", "a number of pixels")?.unwrap_or(config.resolution);
        config.epsilon = self.said_as("sepconv.bn_eps", "a number")?;
        config.activation = self.said("sepconv.activation")?;
        config.classes = self.said_as("sepconv.classes", "a number of classes")?;
        let network = Network::new(name, &config).map_err(|error| self.of_key(error))?;
        if config.classes.is_none() {
            let bias = network.classifier(scheme).map(|[_, bias]| bias);
            config.classes = bias.and_then(|bias| match self.shape(self.own(&bias)?) {
                Some(&[classes]) => Some(classes),
                _ => None,
            });
        }
        Ok(config)
    }

    /// Whether class 0 is the background, where the metadata say so (`sepconv.background`: true, 1, false or 0).
    pub fn background(&self) -> Result<Option<bool>> {
        let key = "sepconv.background";
        let read = |text: &str| match text {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err(refuse(key, text, "true, 1, false or 0".into())),
        };
        self.metadata(key).map(read).transpose()
    }

    /// Whether the file has tensors of network `name`, but not its classifier: such weights are those of
    /// [`Network::backbone`].
    pub fn is_backbone(&self, name: Name) -> Result<bool> {
        let network = Network::new(name, &Config::of(name))?;
        let (names, scheme) = (self.names(), self.scheme(name)?);
        let classifier = network.classifier(scheme).into_iter().flatten().any(|tensor| self.own(&tensor).is_some());
        Ok(!classifier && network.tensors_among(scheme, &names) > 0)
    }

    /// The name that the file has for tensor `name`.
    fn own(&self, name: &str) -> Option<&str> {
        let find = |name: &str| self.tensors.get_key_value(name).map(|(name, _)| name.as_str());
        find(name).or_else(|| find(&older(name)?))
    }

    /// What the metadata say under `key`, one of the names that `T` has.
    fn said<T: FromStr<Err = Error>>(&self, key: &'static str) -> Result<Option<T>> {
        let read = |text: &str| {
            text.parse().map_err(|error| match error {
                Error::Parameter { expected, .. } => refuse(key, text, expected),
                error => error,
            })
        };
        self.metadata(key).map(read).transpose()
    }

    /// What the metadata say under `key`, where they should say what is `expected`.
    fn said_as<T: FromStr>(&self, key: &'static str, expected: &str) -> Result<Option<T>> {
        let read = |text: &str| text.parse().map_err(|_| refuse(key, text, expected.into()));
        self.metadata(key).map(read).transpose()
    }

    /// `error` of a network, under the key whose value it refuses.
    fn of_key(&self, error: Error) -> Error {
        let key = match &error {
            Error::Parameter { what: "width", .. } => "sepconv.width",
            Error::Parameter { what: "resolution", .. } => "sepconv.resolution",
            Error::Parameter { what: "classes", .. } => "sepconv.classes",
            Error::Parameter { what: "epsilon", .. } => "sepconv.bn_eps",
            _ => return error,
        };
        match (error, self.metadata(key)) {
            (Error::Parameter { expected, .. }, Some(text)) => refuse(key, text, expected),
            (error, _) => error,
        }
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

/// What is wrong with the metadata's `text` under `key`.
fn refuse(key: &'static str, text: &str, expected: String) -> Error {
    Error::Parameter { what: key, got: format!("{text:?}"), expected }
}

/// Whether a tensor of shape `got` can be read as `expected`: a classifier may be kept as a 1x1 convolution.
fn same_shape(got: &[usize], expected: &[usize]) -> bool {
    let convolution = match *expected {
        [outputs, inputs] => got == [outputs, inputs, 1, 1] || got == [1, 1, outputs, inputs],
        _ => false,
    };
    got == expected || convolution
}
