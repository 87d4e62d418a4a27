//! Cases with their numbers and outputs, for other languages.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use sepconv_check::oracle::{Exact, Rounding, chain, exact};
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

/// The outputs in f64 and what the rule `bound` allows each to differ; null where it allows anything.
fn within(exact: &[Exact]) -> Value {
    let bounded = |of: fn(&Exact) -> f64| -> Vec<Option<f64>> {
        exact.iter().map(|exact| exact.magnitude.is_finite().then(|| of(exact))).collect()
    };
    json!({ "value": bounded(|exact| exact.value), "bound": bounded(Exact::bound) })
}

/// Writes `{version, hash, vectors}` with at most so many vectors, one a line, and counts them. Arrays are tight: images NHWC,
/// weights O, I, kh, kw; the output is the chain of fused multiply-adds, and beside it stands the exact one with its bound.
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
                "exact": within(&exact(&case, &operands)),
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
