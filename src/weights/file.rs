//! Weights from a safetensors file.

use alloc::borrow::Cow;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use half::{bf16, f16};
use safetensors::tensor::Metadata;
use safetensors::{Dtype, SafeTensorError, SafeTensors};

use super::source::Weights;
use crate::error::{Error, Result};
use crate::tensor::buffer::collect;

/// The tensors of a safetensors file: f32, f16 or bf16.
///
/// ```
/// use sepconv::weights::{SafetensorsWeights, Weights};
///
/// let header = r#"{"__metadata__":{"by":"me"},"pw.weight":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}}"#;
/// let (length, data) = (header.len() as u64, [0.5f32, -0.5]);
/// let mut file = [&length.to_le_bytes(), header.as_bytes()].concat();
/// file.extend(data.iter().flat_map(|value| value.to_le_bytes()));
///
/// let weights = SafetensorsWeights::new(&file)?;
/// assert_eq!((weights.tensor_names(), weights.shape("pw.weight")), (vec!["pw.weight".into()], Some(&[1, 2][..])));
/// assert_eq!(weights.metadata("by"), Some("me"));
/// assert_eq!(weights.tensor("pw.weight", &[1, 2]).as_deref(), Ok(&data[..]));
/// assert!(weights.tensor("pw.weight", &[2, 1]).is_err());
/// assert!(SafetensorsWeights::new(&file[1..]).is_err());
/// # Ok::<(), sepconv::Error>(())
/// ```
pub struct SafetensorsWeights<'a> {
    header: Metadata,
    data: &'a [u8],
}

impl core::fmt::Debug for SafetensorsWeights<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let metadata: BTreeMap<_, _> = self.header.metadata().iter().flatten().collect();
        write!(f, "SafetensorsWeights({} tensors, metadata {metadata:?})", self.header.offset_keys().len())
    }
}

impl<'a> SafetensorsWeights<'a> {
    /// Reads the header of `file`; the data stay where they are. An error where it is no safetensors file.
    pub fn new(file: &'a [u8]) -> Result<Self> {
        let error = |why: SafeTensorError| Error::File { why: why.to_string() };
        // Every tensor's offsets and size are checked with it.
        let (length, header) = SafeTensors::read_metadata(file).map_err(error)?;
        // Behind the header's length, eight bytes, and the header.
        Ok(SafetensorsWeights { header, data: &file[8 + length..] })
    }

    /// The `__metadata__` entry `key`.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.header.metadata().as_ref()?.get(key).map(String::as_str)
    }

    /// The names of the tensors, sorted.
    pub fn tensor_names(&self) -> Vec<String> {
        let mut names = self.header.offset_keys();
        names.sort();
        names
    }

    /// The shape of tensor `name`.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.header.info(name).map(|tensor| &tensor.shape[..])
    }
}

impl Weights for SafetensorsWeights<'_> {
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Cow<'_, [f32]>, String> {
        let tensor = self.header.info(name).ok_or_else(|| format!("missing, expected shape {shape:?}"))?;
        if !same_shape(&tensor.shape, shape) {
            return Err(format!("shape {:?}, expected {shape:?}", tensor.shape));
        }
        let data = &self.data[tensor.data_offsets.0..tensor.data_offsets.1];
        let halves = || data.chunks_exact(2).map(|bytes| [bytes[0], bytes[1]]);
        let owned = |length: usize, values: &mut dyn Iterator<Item = f32>| match collect(name, length, values) {
            Ok(values) => Ok(Cow::Owned(values)),
            Err(why) => Err(why.to_string()),
        };
        let values: Cow<'_, [f32]> = match tensor.dtype {
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
        match not_finite(&values) {
            Some(at) => Err(format!("element {at} is {}, expected a finite number", values[at])),
            None => Ok(values),
        }
    }

    fn names(&self) -> Vec<String> {
        self.tensor_names()
    }
}

/// The first of `values` that is infinite or no number.
fn not_finite(values: &[f32]) -> Option<usize> {
    // Some at a time without a way out, which compilers make vectors of.
    const SOME: usize = 1024;
    let all_finite = |some: &[f32]| some.iter().fold(true, |all, value| all & value.is_finite());
    let chunk = pulp::Arch::new().dispatch(|| values.chunks(SOME).position(|some| !all_finite(some)))? * SOME;
    values[chunk..].iter().position(|value| !value.is_finite()).map(|at| chunk + at)
}

/// Whether a tensor of shape `got` can be read as `expected`: a classifier may be kept as a 1x1 convolution.
fn same_shape(got: &[usize], expected: &[usize]) -> bool {
    let convolution = match *expected {
        [outputs, inputs] => got == [outputs, inputs, 1, 1] || got == [1, 1, outputs, inputs],
        _ => false,
    };
    got == expected || convolution
}
