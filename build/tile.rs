//! The kinds of tile: what a row must say of each, and what follows from it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::isa::Isa;

/// A kind of tile.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// `[mr, nr]`: pixels and output channels.
    Gemm,
    /// `[rows, columns, channels]` of the output, for a window with a stride and a dilation.
    Window,
}

/// What a row says of its tile.
#[derive(Debug, Clone, Copy)]
pub struct Sizes<'a> {
    pub tile: &'a [usize],
    pub window: Option<&'a [usize]>,
    pub stride: Option<usize>,
    pub dilation: Option<usize>,
}

impl Sizes<'_> {
    fn numbers(&self) -> impl Iterator<Item = usize> {
        self.tile.iter().chain(self.window.unwrap_or_default()).copied().chain(self.stride).chain(self.dilation)
    }
}

/// What is known of a tile: fields of the record, and what only the template asks.
pub type Facts = BTreeMap<String, Fact>;

/// One of them.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Fact {
    Flag(bool),
    Number(usize),
    Pair([usize; 2]),
    List(Vec<usize>),
}

impl Fact {
    /// The literal in Rust.
    pub fn rust(&self) -> String {
        match self {
            Fact::Flag(flag) => flag.to_string(),
            Fact::Number(number) => number.to_string(),
            Fact::Pair([first, second]) => format!("({first}, {second})"),
            Fact::List(list) => format!("&{list:?}"),
        }
    }
}

/// A tile that fits its ISA.
#[derive(Debug)]
pub struct Tile {
    /// What follows the op's name in the kernel's name.
    pub suffix: String,
    pub facts: Facts,
}

/// The largest number of a row: beyond what any machine has registers for.
const LARGEST: usize = 256;

impl Kind {
    /// Checks `sizes`; the message says what was expected.
    pub fn check(self, op: &str, sizes: Sizes<'_>, isa: &Isa) -> Result<Tile, String> {
        if let Some(number) = sizes.numbers().find(|&number| number > LARGEST) {
            let tile = sizes.tile;
            return Err(format!(
                "tile {tile:?}, window, stride and dilation: got {number}, expected at most {LARGEST}"
            ));
        }
        let (tile, registers) = match self {
            Kind::Gemm => gemm(op, sizes, isa)?,
            Kind::Window => window(op, sizes, isa)?,
        };
        if registers > isa.registers {
            return Err(format!(
                "tile {:?} needs {registers} registers, expected at most the {} that {} has",
                sizes.tile, isa.registers, isa.name
            ));
        }
        Ok(tile)
    }
}

/// The tile of a GEMM, and the most registers that its inner loop holds at once.
fn gemm(op: &str, sizes: Sizes<'_>, isa: &Isa) -> Result<(Tile, usize), String> {
    let Sizes { tile: &[mr, nr], window: None, stride: None, dilation: None } = sizes else {
        return Err(format!(
            "op {op:?} takes tile = [pixels, output channels] and no window, stride or dilation, got {:?}",
            sizes.tile
        ));
    };
    if mr == 0 || nr == 0 || nr % isa.lanes != 0 {
        return Err(format!(
            "tile {:?}, expected at least one pixel and a multiple of {} output channels",
            sizes.tile, isa.lanes
        ));
    }
    let vectors = nr / isa.lanes;
    // A weight vector that only one pixel uses is an operand, not a register held.
    let (pixels, weights) = (if isa.fma_lane { mr } else { 1 }, if mr == 1 { 1 } else { vectors });
    let registers = mr * vectors + weights + pixels;
    let narrow = |narrow| if mr == 1 { 1 } else { isa.mr(narrow) };
    let mr_by_vectors =
        if registers > isa.registers { Vec::new() } else { (1..vectors).map(narrow).chain([mr]).collect() };
    let facts = [
        ("mr", Fact::Number(mr)),
        ("nr", Fact::Number(nr)),
        ("lanes", Fact::Number(isa.lanes)),
        ("vectors", Fact::Number(vectors)),
        ("mr_by_vectors", Fact::List(mr_by_vectors)),
    ];
    Ok((Tile { suffix: String::new(), facts: named(facts) }, registers))
}

/// The tile of a window that moves over the image channel by channel, and the most registers that its inner loop holds.
fn window(op: &str, sizes: Sizes<'_>, isa: &Isa) -> Result<(Tile, usize), String> {
    let (Some(&[height, width]), Some(stride), &[rows, columns, channels]) = (sizes.window, sizes.stride, sizes.tile)
    else {
        return Err(format!(
            "op {op:?} takes window = [rows, columns], stride and tile = [rows, columns, channels], got {:?}",
            sizes.tile
        ));
    };
    let dilation = sizes.dilation.unwrap_or(1);
    if [height, width, stride, dilation].contains(&0) {
        return Err(format!(
            "window {height}x{width}, stride {stride} and dilation {dilation}, expected each to be at least 1"
        ));
    }
    if rows == 0 || columns == 0 || channels != isa.lanes {
        return Err(format!("tile {:?}, expected at least one row and column, and {} channels", sizes.tile, isa.lanes));
    }
    // Output rows of the tile whose windows hold input row `row`: a row of weights each.
    let holds = |row: usize, output: usize| {
        let distance = row.checked_sub(output * stride).filter(|distance| distance % dilation == 0);
        distance.is_some_and(|distance| distance / dilation < height)
    };
    let input_rows = (rows - 1) * stride + (height - 1) * dilation + 1;
    let met = (0..input_rows).map(|row| (0..rows).filter(|&output| holds(row, output)).count()).max().unwrap_or(0);
    // Beside the weights: the accumulators, an input and the bound of the input clamp.
    let (taps, accumulators) = (height * width, rows * columns);
    let resident = accumulators + 2 + taps <= isa.registers;
    let registers = accumulators + 1 + if resident { taps } else { met * width };
    let facts = [
        ("window", Fact::Pair([height, width])),
        ("stride", Fact::Number(stride)),
        ("dilation", Fact::Number(dilation)),
        ("rows", Fact::Number(rows)),
        ("columns", Fact::Number(columns)),
        ("lanes", Fact::Number(isa.lanes)),
        // Whether all weights stay in registers while a tile is computed.
        ("resident", Fact::Flag(resident)),
    ];
    let dilated = if dilation > 1 { format!("d{dilation}") } else { String::new() };
    Ok((Tile { suffix: format!("{height}x{width}s{stride}{dilated}"), facts: named(facts) }, registers))
}

fn named<const N: usize>(facts: [(&str, Fact); N]) -> Facts {
    facts.into_iter().map(|(name, fact)| (name.to_string(), fact)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{isa, kernels};
    use super::*;

    fn facts(kind: Kind, name: &str, sizes: Sizes<'_>) -> Result<(String, Facts), String> {
        let isas = isa::read_all(&kernels().join("isa")).unwrap();
        kind.check("op", sizes, isa::find(&isas, name).unwrap()).map(|tile| (tile.suffix, tile.facts))
    }

    #[test]
    fn a_gemm_knows_its_narrower_panels() {
        let sizes = Sizes { tile: &[4, 24], window: None, stride: None, dilation: None };
        let (suffix, facts) = facts(Kind::Gemm, "avx2", sizes).unwrap();
        assert_eq!(suffix, "");
        assert_eq!(facts["mr_by_vectors"].rust(), "&[10, 6, 4]");
        assert_eq!(facts["vectors"], Fact::Number(3));
    }

    #[test]
    fn a_window_keeps_the_weights_that_fit() {
        let of = |isa, tile: &[usize], window: &[usize], stride, dilation| {
            let sizes = Sizes { tile, window: Some(window), stride: Some(stride), dilation };
            facts(Kind::Window, isa, sizes).map(|(suffix, facts)| (suffix, facts["resident"].rust()))
        };
        let expected = |suffix: &str, resident: bool| Ok((suffix.to_string(), resident.to_string()));
        assert_eq!(of("avx2", &[2, 4, 8], &[3, 3], 1, None), expected("3x3s1", false));
        assert_eq!(of("neon", &[4, 4, 4], &[3, 3], 2, Some(1)), expected("3x3s2", true));
        assert_eq!(of("avx2", &[1, 8, 8], &[5, 5], 1, None), expected("5x5s1", false));
        // With a dilation of 2 the windows of neighbouring rows share no input row.
        assert_eq!(of("avx2", &[2, 4, 8], &[3, 3], 1, Some(2)), expected("3x3s1d2", false));
        let refused = of("avx2", &[2, 4, 8], &[5, 5], 1, None).unwrap_err();
        assert_eq!(refused, "tile [2, 4, 8] needs 19 registers, expected at most the 16 that avx2 has");
    }
}
