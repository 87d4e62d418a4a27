//! Cases with their numbers and outputs, for other languages.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use sepconv_check::oracle::{Rounding, chain};
use sepconv_check::{Case, hash};
use serde_json::{Value, json};

use crate::describe;

/// The most elements of a case: larger ones are left out.
const LARGEST: usize = 4096;

fn is_small(case: &Case) -> bool {
    case.input().len() + case.outputs * case.depth() + case.output().len() <= LARGEST
}

/// An array as bits of f32, with its hash.
fn array(values: &[f32]) -> Value {
    let bits: Vec<u32> = values.iter().map(|value| value.to_bits()).collect();
    json!({ "hash": format!("{:016x}", hash(values)), "bits": bits })
}

/// Writes `{version, hash, vectors}` with at most so many vectors, one a line, and counts them. Arrays are tight: images NHWC, weights O, I, kh,
/// kw; the output is the chain of fused multiply-adds.
pub fn write(path: &Path, cases: impl Iterator<Item = Case>, most: usize) -> Result<usize, String> {
    let mut count = 0;
    let all = || -> std::io::Result<()> {
        let mut file = BufWriter::new(File::create(path)?);
        write!(
            file,
            r#"{{"version":1,"hash":"FNV-1a 64 of the f32 bits in little-endian order, NaN as 0x7fc00000","vectors":["#
        )?;
        for case in cases.filter(is_small).take(most) {
            let operands = case.operands();
            let vector = json!({
                "case": describe::case(&case),
                "input": array(&operands.input),
                "weights": array(&operands.weights),
                "bias": array(&operands.bias),
                "residual": operands.residual.as_deref().map(array),
                "output_size": [case.output().height, case.output().width, case.outputs],
                "output": array(&chain(&case, &operands, Rounding::Fused)),
            });
            write!(file, "{}\n{vector}", if count == 0 { "" } else { "," })?;
            count += 1;
        }
        writeln!(file, "\n]}}")?;
        file.flush()
    };
    all().map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(count)
}
