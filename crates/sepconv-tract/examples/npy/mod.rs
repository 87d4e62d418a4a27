//! Arrays of f32 in NumPy's files.

use std::fs;
use std::path::Path;

use tract_onnx::tract_core::internal::*;

const MAGIC: &[u8] = b"\x93NUMPY";
/// The header ends at a multiple of so many bytes.
const ALIGNMENT: usize = 64;

/// The array in `path`: little-endian f32, row by row.
pub fn read(path: &Path) -> TractResult<Tensor> {
    let bytes = fs::read(path).with_context(|| format!("{}: not to be read", path.display()))?;
    parse(&bytes).with_context(|| format!("{}: expected an .npy file of float32 in C order", path.display()))
}

fn parse(bytes: &[u8]) -> TractResult<Tensor> {
    let rest = bytes.strip_prefix(MAGIC).context("no .npy file")?;
    // Version, then the length of the header: two bytes in version 1, four since.
    let (version, rest) = rest.split_at_checked(2).context("a file cut short")?;
    let (length, rest) = rest.split_at_checked(if version[0] == 1 { 2 } else { 4 }).context("a file cut short")?;
    let length = length.iter().rev().fold(0, |length, &byte| length << 8 | usize::from(byte));
    let (header, data) = rest.split_at_checked(length).context("a header cut short")?;
    let header = str::from_utf8(header)?;
    let value = |key: &str| {
        let (_, value) = header.split_once(&format!("'{key}':")).with_context(|| format!("no {key} in the header"))?;
        TractResult::Ok(value.trim_start())
    };
    let kind = value("descr")?.split(',').next().unwrap_or_default();
    ensure!(kind == "'<f4'", "{kind}: elements of another type");
    ensure!(value("fortran_order")?.starts_with("False"), "the first axis is the fastest");
    let sizes = value("shape")?.strip_prefix('(').and_then(|rest| rest.split_once(')')).context("no shape")?.0;
    let sizes = sizes.split(',').map(str::trim).filter(|size| !size.is_empty());
    let sizes = sizes.map(|size| size.parse()).collect::<Result<Vec<usize>, _>>()?;
    let elements: Vec<f32> = data.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
    let expected = sizes.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
    if expected != Some(elements.len()) || data.len() % size_of::<f32>() != 0 {
        bail!("{} bytes of data for the shape {sizes:?}", data.len());
    }
    Tensor::from_shape(&sizes, &elements)
}

/// Writes an array of f32.
pub fn write(path: &Path, tensor: &Tensor) -> TractResult<()> {
    let sizes: String = tensor.shape().iter().map(|size| format!("{size},")).collect();
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({sizes}), }}");
    let before = MAGIC.len() + 2 + 2;
    let padding = (before + header.len() + 1).next_multiple_of(ALIGNMENT) - before - header.len() - 1;
    header.extend(std::iter::repeat_n(' ', padding));
    header.push('\n');
    let mut bytes = [MAGIC, &[1, 0], &u16::try_from(header.len())?.to_le_bytes(), header.as_bytes()].concat();
    bytes.extend(tensor.try_as_plain_ram()?.as_slice::<f32>()?.iter().flat_map(|element| element.to_le_bytes()));
    fs::write(path, bytes).with_context(|| format!("{}: not to be written", path.display()))
}
