//! The rows of `kernels/kernels.toml`, each checked: the first bad one is an error that names the file and the line.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;

use super::isa::{self, Isa};
use super::table::{RECORDS, Record};
use super::tile::{Fact, Facts, Kind, Sizes};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    op: BTreeMap<String, Op>,
    kernel: Vec<Spanned<Row>>,
}

/// What an op makes of its rows.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Op {
    name: String,
    tile: Kind,
    record: String,
    #[serde(default)]
    fields: BTreeMap<String, bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    op: String,
    window: Option<Vec<usize>>,
    stride: Option<usize>,
    dilation: Option<usize>,
    tile: Vec<usize>,
    isa: String,
    #[serde(default)]
    also: Vec<String>,
    status: String,
    reason: Option<String>,
}

/// A row that was checked.
pub struct Kernel<'a> {
    pub name: String,
    /// The template is `<op>.c.jinja`.
    pub op: String,
    pub record: &'static Record,
    pub facts: Facts,
    pub isa: &'a Isa,
    /// Other ISAs that get the kernel too.
    pub also: Vec<&'a Isa>,
    pub trial: bool,
    pub reason: String,
}

impl Kernel<'_> {
    /// The name of the function.
    pub fn symbol(&self) -> String {
        format!("{}{}", super::symbol_prefix(), self.name)
    }
}

/// Reads and checks the whole file.
pub fn read<'a>(path: &Path, isas: &'a [Isa]) -> Result<Vec<Kernel<'a>>, String> {
    parse(&path.display().to_string(), &super::read(path)?, isas)
}

/// The same for its `text`; `path` is for messages.
pub fn parse<'a>(path: &str, text: &str, isas: &'a [Isa]) -> Result<Vec<Kernel<'a>>, String> {
    let line = |offset: usize| 1 + text[..offset].matches('\n').count();
    let file: File = toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(1, |span| line(span.start));
        format!("{path}:{at}: {}", error.message())
    })?;
    let mut kernels: Vec<Kernel<'_>> = Vec::new();
    for row in &file.kernel {
        let at = |message| format!("{path}:{}: {message}", line(row.span().start));
        let kernel = check(row.get_ref(), &file.op, isas).map_err(at)?;
        if kernels.iter().any(|other| other.name == kernel.name) {
            return Err(at(format!("duplicate kernel {}, expected each row once", kernel.name)));
        }
        kernels.push(kernel);
    }
    Ok(kernels)
}

/// Checks one row; the message says what was expected.
fn check<'a>(row: &Row, ops: &BTreeMap<String, Op>, isas: &'a [Isa]) -> Result<Kernel<'a>, String> {
    let op = ops.get(&row.op).ok_or_else(|| {
        let known: Vec<_> = ops.keys().collect();
        format!("unknown op {:?}, expected one of {known:?}", row.op)
    })?;
    let record = RECORDS.iter().find(|record| record.name == op.record).ok_or_else(|| {
        let known: Vec<_> = RECORDS.iter().map(|record| record.name).collect();
        format!("unknown record {:?} of op {:?}, expected one of {known:?}", op.record, row.op)
    })?;
    let isa = isa::find(isas, &row.isa)?;
    let also = row.also.iter().map(|name| isa::find(isas, name)).collect::<Result<Vec<_>, _>>()?;
    if let Some(other) = also.iter().find(|other| !other.includes.contains(&isa.name)) {
        return Err(format!("also {:?}, expected ISAs whose CPUs run {} as well", other.name, isa.name));
    }
    let trial = match row.status.as_str() {
        "ship" => false,
        "trial" => true,
        other => return Err(format!("unknown status {other:?}, expected \"ship\" or \"trial\"")),
    };
    let reason = row.reason.as_deref().unwrap_or("").trim();
    if reason.is_empty() {
        return Err("no reason, expected a sentence that says why this tile".into());
    }
    let sizes = Sizes { tile: &row.tile, window: row.window.as_deref(), stride: row.stride, dilation: row.dilation };
    let tile = op.tile.check(&row.op, sizes, isa)?;
    let mut facts = tile.facts;
    facts.extend(op.fields.iter().map(|(name, &flag)| (name.clone(), Fact::Flag(flag))));
    let sizes: Vec<_> = row.tile.iter().map(usize::to_string).collect();
    Ok(Kernel {
        name: format!("{}{}_f32_{}_{}", op.name, tile.suffix, sizes.join("x"), isa.name),
        op: row.op.clone(),
        record,
        facts,
        isa,
        also,
        trial,
        reason: reason.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::kernels;
    use super::*;

    /// What the file of the package says with `row` after its last line, and the line of its `[[kernel]]`.
    fn with(row: &str) -> (Result<Vec<String>, String>, usize) {
        let isas = isa::read_all(&kernels().join("isa")).unwrap();
        let text = super::super::read(&kernels().join("kernels.toml")).unwrap();
        let line = text.lines().count() + 2;
        let parsed = parse("kernels.toml", &format!("{text}\n[[kernel]]\n{row}\n"), &isas);
        (parsed.map(|kernels| kernels.into_iter().map(|kernel| kernel.name).collect()), line)
    }

    const REASON: &str = "status = \"trial\"\nreason = \"a test\"";

    #[test]
    fn a_good_row_gets_its_derived_name() {
        for (row, name) in [
            ("op = \"pointwise\"\ntile = [4, 8]\nisa = \"avx2\"", "pw_f32_4x8_avx2"),
            ("op = \"conv\"\ntile = [4, 8]\nisa = \"neon\"", "conv_f32_4x8_neon"),
            ("op = \"stem\"\ntile = [4, 32]\nisa = \"avx512\"", "stem_f32_4x32_avx512"),
            (
                "op = \"depthwise\"\nwindow = [7, 5]\nstride = 2\ntile = [1, 8, 8]\nisa = \"avx2\"",
                "dw7x5s2_f32_1x8x8_avx2",
            ),
            (
                "op = \"depthwise\"\nwindow = [3, 3]\nstride = 1\ndilation = 3\ntile = [2, 4, 8]\nisa = \"avx2\"",
                "dw3x3s1d3_f32_2x4x8_avx2",
            ),
        ] {
            let (names, _) = with(&format!("{row}\n{REASON}"));
            assert_eq!(names.unwrap().last().map(String::as_str), Some(name));
        }
    }

    #[test]
    fn a_bad_row_is_an_error_with_its_line() {
        let gemm = |tile: &str, isa: &str| format!("op = \"pointwise\"\ntile = {tile}\nisa = \"{isa}\"\n{REASON}");
        let window = |rest: &str| format!("op = \"depthwise\"\nisa = \"avx2\"\n{rest}\n{REASON}");
        for (row, message) in [
            (gemm("[4, 8]", "sse9"), "unknown isa \"sse9\", expected one of [\"avx2\", \"avx512\", \"neon\"]"),
            (
                gemm("[4, 8]", "avx2").replace("pointwise", "pointless"),
                "unknown op \"pointless\", expected one of [\"conv\", \"depthwise\", \"pointwise\", \"stem\"]",
            ),
            (gemm("[8, 16]", "avx2"), "tile [8, 16] needs 19 registers, expected at most the 16 that avx2 has"),
            (
                gemm("[99, 999999]", "avx2"),
                "tile [99, 999999], window, stride and dilation: got 999999, expected at most 256",
            ),
            (gemm("[0, 8]", "avx2"), "tile [0, 8], expected at least one pixel and a multiple of 8 output channels"),
            (gemm("[2, 248]", "avx2"), "tile [2, 248] needs 94 registers, expected at most the 16 that avx2 has"),
            (
                gemm("[4]", "avx2"),
                "op \"pointwise\" takes tile = [pixels, output channels] and no window, stride or dilation, got [4]",
            ),
            (
                gemm("[4, 8]", "avx2") + "\nstride = 1",
                "op \"pointwise\" takes tile = [pixels, output channels] and no window, stride or dilation, got [4, 8]",
            ),
            (gemm("[4, 8]", "avx2").replace("a test", " "), "no reason, expected a sentence that says why this tile"),
            (
                "op = \"pointwise\"\ntile = [4, 8]\nisa = \"avx2\"\nstatus = \"trial\"".into(),
                "no reason, expected a sentence that says why this tile",
            ),
            (
                gemm("[4, 8]", "avx2").replace("trial", "trail"),
                "unknown status \"trail\", expected \"ship\" or \"trial\"",
            ),
            (
                gemm("[4, 16]", "avx512") + "\nalso = [\"avx2\"]",
                "also \"avx2\", expected ISAs whose CPUs run avx512 as well",
            ),
            (
                gemm("[4, 8]", "avx2") + "\nalso = [\"sse9\"]",
                "unknown isa \"sse9\", expected one of [\"avx2\", \"avx512\", \"neon\"]",
            ),
            (gemm("[6, 16]", "avx2"), "duplicate kernel pw_f32_6x16_avx2, expected each row once"),
            (
                window("window = [3, 3]\nstride = 1\ntile = [4, 4, 8]"),
                "tile [4, 4, 8] needs 26 registers, expected at most the 16 that avx2 has",
            ),
            (
                window("window = [3, 3]\nstride = 1\ntile = [2, 4, 4]"),
                "tile [2, 4, 4], expected at least one row and column, and 8 channels",
            ),
            (
                window("stride = 1\ntile = [2, 4, 8]"),
                "op \"depthwise\" takes window = [rows, columns], stride and tile = [rows, columns, channels], got [2, 4, 8]",
            ),
            (
                window("window = [9223372036854775807, 3]\nstride = 1\ntile = [2, 4, 8]"),
                "tile [2, 4, 8], window, stride and dilation: got 9223372036854775807, expected at most 256",
            ),
            (
                window("window = [3, 3]\nstride = 0\ntile = [2, 4, 8]"),
                "window 3x3, stride 0 and dilation 1, expected each to be at least 1",
            ),
            (
                window("window = [3, 3]\nstride = 1\ndilation = 1\ntile = [2, 4, 8]"),
                "duplicate kernel dw3x3s1_f32_2x4x8_avx2, expected each row once",
            ),
        ] {
            let (parsed, line) = with(&row);
            assert_eq!(parsed.unwrap_err(), format!("kernels.toml:{line}: {message}"), "{row}");
        }
    }

    #[test]
    fn a_field_that_no_row_has_is_an_error_with_its_line() {
        let (parsed, line) = with(&format!("op = \"pointwise\"\ntiles = [4, 8]\nisa = \"avx2\"\n{REASON}"));
        let error = parsed.unwrap_err();
        assert!(error.starts_with(&format!("kernels.toml:{}: unknown field `tiles`", line + 2)), "{error}");
    }

    #[test]
    fn an_op_of_an_unknown_record_is_an_error() {
        let isas = isa::read_all(&kernels().join("isa")).unwrap();
        let text = "[op.x]\nname = \"x\"\ntile = \"gemm\"\nrecord = \"Y\"\n[[kernel]]\nop = \"x\"\ntile = [4, 8]\n\
                    isa = \"avx2\"\nstatus = \"ship\"\nreason = \"none\"\n";
        let error = parse("kernels.toml", text, &isas).err().unwrap();
        assert!(error.starts_with("kernels.toml:5: unknown record \"Y\" of op \"x\""), "{error}");
    }
}
