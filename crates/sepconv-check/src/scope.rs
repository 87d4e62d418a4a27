//! Which cases a kernel claims.

use crate::{Case, Clamp, Gaps, Kind, Layout, Op, Padding};

/// What a kernel computes in one go: cases are ragged around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tile {
    /// Output rows.
    pub height: usize,
    /// Output pixels in a row; for a matrix product, its rows.
    pub width: usize,
    /// Output channels; for a matrix product, its columns.
    pub channels: usize,
    /// Channels of a vector.
    pub lanes: usize,
}

impl Default for Tile {
    /// 2 x 6 pixels of 16 channels in vectors of 8.
    fn default() -> Self {
        Tile { height: 2, width: 6, channels: 16, lanes: 8 }
    }
}

/// The cases that a kernel claims. Whatever a list or a flag leaves out is never asked of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Scope {
    /// Operators.
    pub ops: Vec<Op>,
    /// The one layout of all images.
    pub layout: Layout,
    /// What cases are ragged around.
    pub tile: Tile,
    /// Windows (rows, columns) of depthwise and dense convolutions; a pointwise one is always 1x1.
    pub windows: Vec<(usize, usize)>,
    /// Strides (rows, columns).
    pub strides: Vec<(usize, usize)>,
    /// Dilations (rows, columns).
    pub dilations: Vec<(usize, usize)>,
    /// Numbers of groups, for pointwise and dense convolutions.
    pub groups: Vec<usize>,
    /// The most padding on a side; less where the window is smaller.
    pub padding: usize,
    /// Whether it takes images with gaps.
    pub gaps: bool,
    /// Whether it adds a residual.
    pub residual: bool,
    /// Whether it clamps its outputs.
    pub clamp: bool,
    /// Whether it clamps its inputs from below.
    pub input_lo: bool,
    /// Whether NaN, infinities, −0 and subnormals may be among the numbers.
    pub specials: bool,
    /// Whether a pointwise convolution may have no pixel or no input channel.
    pub empty: bool,
}

impl Default for Scope {
    /// All operators, NHWC, windows up to 5x5, strides up to 2, dilation, groups, padding, clamps, special numbers; no gaps,
    /// no residual, no clamp of inputs, nothing empty.
    fn default() -> Self {
        Scope {
            ops: Op::ALL.to_vec(),
            layout: Layout::Nhwc,
            tile: Tile::default(),
            windows: vec![(3, 3), (1, 1), (2, 3), (5, 5)],
            strides: vec![(1, 1), (2, 2), (1, 2)],
            dilations: vec![(1, 1), (2, 2)],
            groups: vec![1, 2],
            padding: 2,
            gaps: false,
            residual: false,
            clamp: true,
            input_lo: false,
            specials: true,
            empty: false,
        }
    }
}

impl Scope {
    /// The default, for one operator.
    pub fn of(op: Op) -> Self {
        Scope { ops: vec![op], ..Scope::default() }
    }

    /// As [`of`](Self::of), without dilation and groups: stride and window as given.
    pub fn fixed(op: Op, window: (usize, usize), stride: (usize, usize)) -> Self {
        let (windows, strides) = (vec![window], vec![stride]);
        Scope { windows, strides, dilations: vec![(1, 1)], groups: vec![1], ..Scope::of(op) }
    }

    /// The case without what the flags leave out.
    pub fn fit(&self, case: Case) -> Case {
        let Padding { top, bottom, left, right } = case.padding;
        let [top, bottom, left, right] = [top, bottom, left, right].map(|side| side.min(self.padding));
        Case {
            padding: Padding { top, bottom, left, right },
            layout: self.layout,
            gaps: if self.gaps { case.gaps } else { Gaps::NONE },
            residual: case.residual && self.residual,
            clamp: if self.clamp { case.clamp } else { Clamp::NONE },
            input_lo: case.input_lo.filter(|_| self.input_lo),
            kind: if self.specials || case.kind != Kind::Specials { case.kind } else { Kind::Floats },
            ..case
        }
    }

    /// A case of each operator, window, stride, dilation and number of groups, its padding half its extent.
    pub fn bases(&self) -> Vec<Case> {
        let mut bases = Vec::new();
        for &op in &self.ops {
            let (pixel, one) = (vec![(1, 1)], vec![1]);
            let windows = if op == Op::Pointwise { &pixel } else { &self.windows };
            let groups = if op == Op::Depthwise { &one } else { &self.groups };
            for (&window, &stride) in pairs(windows, &self.strides) {
                let dilations = if window == (1, 1) { &pixel } else { &self.dilations };
                for (&dilation, &groups) in pairs(dilations, groups) {
                    let case = Case { op, window, stride, dilation, groups, ..Case::conv(1, 1, 1, 1) };
                    let (rows, columns) = ((case.extent().0 - 1) / 2, (case.extent().1 - 1) / 2);
                    let padding = Padding { top: rows, bottom: rows, left: columns, right: columns };
                    bases.push(self.fit(Case { padding, ..case }));
                }
            }
        }
        bases
    }
}

fn pairs<'a, A, B>(a: &'a [A], b: &'a [B]) -> impl Iterator<Item = (&'a A, &'a B)> {
    a.iter().flat_map(move |a| b.iter().map(move |b| (a, b)))
}
