//! Weights from a safetensors file.

use std::borrow::Cow;
use std::collections::BTreeMap;

use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use super::Weights;
use crate::error::{Error, Result};

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
        if !same_shape(tensor.shape(), shape) {
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

/// Whether a tensor of shape `got` can be read as `expected`: a classifier may be kept as a 1x1 convolution.
fn same_shape(got: &[usize], expected: &[usize]) -> bool {
    let convolution = match *expected {
        [outputs, inputs] => got == [outputs, inputs, 1, 1] || got == [1, 1, outputs, inputs],
        _ => false,
    };
    got == expected || convolution
}
