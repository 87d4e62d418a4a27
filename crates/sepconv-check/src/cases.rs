//! Cases around a tile.

use std::collections::VecDeque;
use std::fmt;

use crate::{Case, Clamp, Gaps, Guard, Kind, Numbers, Op, Padding, Scope};

/// A question to a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Group {
    /// Small integers, whose sums are exact in any order.
    Exact,
    /// Long sums of floats, whose order shows.
    Ordered,
    /// Every number of channels, pixels and rows around the tile.
    Ragged,
    /// Each side's padding alone and together, on images from 1x1.
    Borders,
    /// Either end at a guard, at every alignment.
    Guards,
    /// NaN, infinities, −0, subnormals through every clamp.
    Specials,
    /// Gaps of different sizes between the elements of each image.
    Strided,
    /// Anything.
    AnyShape,
}

impl Group {
    /// Each group.
    pub const ALL: [Group; 8] = [
        Group::Exact,
        Group::Ordered,
        Group::Ragged,
        Group::Borders,
        Group::Guards,
        Group::Specials,
        Group::Strided,
        Group::AnyShape,
    ];

    /// The cases of the group that fit `scope`, the same for the same seed. None where the scope leaves out what the group
    /// asks for: gaps, special numbers.
    pub fn cases(self, scope: &Scope, seed: u64) -> Vec<Case> {
        let (tile, bases) = (scope.tile, scope.bases());
        let mut cases = Vec::new();
        let mut add = |case: Case| cases.push(case);
        for base in bases {
            let depths: &[usize] = if base.op == Op::Pointwise { &[1, 3, 4, 5, 16, 33] } else { &[1, 3] };
            match self {
                Group::Exact => {
                    for &depth in depths {
                        for channels in [1, tile.lanes, tile.channels + 3] {
                            let case = Case { kind: Kind::Integers, ..base.channels(depth, channels) };
                            add(sized(case, tile.height + 1, tile.width + 1));
                        }
                    }
                }
                Group::Ordered => {
                    let depths: &[usize] = if base.op == Op::Pointwise { &[7, 64, 257] } else { &[7, 19] };
                    for (i, &depth) in depths.iter().enumerate() {
                        for residual in [false, true] {
                            let input_lo = (i % 2 == 1).then_some(0.0);
                            let case = base.channels(depth, tile.channels + 1);
                            let case = Case { residual, input_lo, clamp: Clamp::RELU6, ..case };
                            add(sized(case, tile.height + 1, 2 * tile.width + 1));
                        }
                    }
                }
                Group::Ragged => {
                    for channels in 1..=2 * tile.channels + 1 {
                        let case = Case { residual: channels % 2 == 0, ..base.channels(5, channels) };
                        add(sized(Case { gaps: Gaps::EVERYWHERE, ..case }, 1, 1 + channels % (tile.width + 2)));
                    }
                    let wide = base.channels(3, tile.lanes + 1);
                    for width in 1..=2 * tile.width + 13 {
                        let input_lo = (width % 2 == 0).then_some(-0.25);
                        add(sized(Case { gaps: Gaps::RUNS, input_lo, ..wide }, 1 + width % 3, width));
                    }
                    for height in 1..=2 * tile.height + 3 {
                        add(sized(Case { clamp: Clamp::RELU, ..wide }, height, tile.width - tile.width / 2));
                    }
                    if scope.empty && base.op == Op::Pointwise {
                        add(Case { height: 2, width: 3, ..base.channels(0, tile.channels + 1) });
                        add(Case { height: 1, width: 0, ..base.channels(3, tile.channels + 1) });
                    }
                }
                Group::Borders => borders(base, tile.lanes, &mut add),
                Group::Guards => {
                    for shift in 0..16 {
                        for (guard, gaps) in [(Guard::Before, Gaps::RUNS), (Guard::After, Gaps::EVERYWHERE)] {
                            let case = base.channels(4 + shift % 3, tile.lanes + shift);
                            let (height, width) = (1 + shift % 3, 1 + shift % 7);
                            add(sized(Case { guard, shift, residual: true, gaps, ..case }, height, width));
                            let (case, gaps) = (base.channels(1 + shift, 1 + shift), Gaps::NONE);
                            add(sized(Case { guard, shift, gaps, ..case }, 1, tile.width));
                        }
                    }
                }
                Group::Specials => {
                    for seed in 0..3 {
                        for clamp in [Clamp::NONE, Clamp::RELU, Clamp::RELU6, Clamp { lo: -0.5, hi: 0.25 }] {
                            let input_lo = (seed == 1).then_some(0.0);
                            let case = Case {
                                clamp,
                                residual: seed % 2 == 0,
                                input_lo,
                                ..base.channels(2, tile.channels + 5)
                            };
                            add(sized(Case { kind: Kind::Specials, ..case }, 2, tile.width + 3));
                            add(sized(Case { kind: Kind::Specials, ..base.channels(1, tile.channels) }, 1, tile.width));
                        }
                    }
                }
                Group::Strided => {
                    for gaps in [Gaps::RUNS, Gaps::RESIDUAL_ROWS, Gaps::EVERYWHERE] {
                        for (height, width) in [(1, 1), (2, 2), (3, 5), (2, tile.width + 1)] {
                            for residual in [false, true] {
                                add(sized(Case { gaps, residual, ..base.channels(9, tile.lanes + 3) }, height, width));
                            }
                        }
                    }
                }
                Group::AnyShape => {}
            }
        }
        let mut numbers = Numbers(seed ^ 0x5eed);
        if self == Group::AnyShape {
            cases.extend((0..256).filter_map(|_| draw(scope, &mut |bound| numbers.below(bound))));
        }
        for case in &mut cases {
            *case = Case { seed: numbers.bits() >> 32, ..scope.fit(*case) };
        }
        cases.retain(|case| match self {
            Group::Specials => case.kind == Kind::Specials,
            Group::Strided => case.gaps != Gaps::NONE,
            _ => true,
        });
        cases.retain(Case::is_possible);
        cases
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Group::Exact => "exact",
            Group::Ordered => "ordered",
            Group::Ragged => "ragged",
            Group::Borders => "borders",
            Group::Guards => "guards",
            Group::Specials => "specials",
            Group::Strided => "strided",
            Group::AnyShape => "any shape",
        })
    }
}

/// The case on the smallest image that gives so many output rows and columns.
fn sized(case: Case, height: usize, width: usize) -> Case {
    let Padding { top, bottom, left, right } = case.padding;
    let size = |outputs: usize, stride: usize, window: usize, around: usize| {
        ((outputs.max(1) - 1) * stride + window).saturating_sub(around).max(1)
    };
    let (rows, columns) = case.extent();
    Case {
        height: size(height, case.stride.0, rows, top + bottom),
        width: size(width, case.stride.1, columns, left + right),
        ..case
    }
}

fn borders(base: Case, lanes: usize, add: &mut impl FnMut(Case)) {
    let (rows, columns) = base.extent();
    // None, one row or column, half the window, all of it but one.
    let sides = |extent: usize| {
        let mut sides = vec![0, 1.min(extent - 1), extent / 2, extent - 1];
        sides.dedup();
        sides
    };
    let (vertical, horizontal) = (sides(rows), sides(columns));
    for (&top, &bottom) in vertical.iter().flat_map(|top| vertical.iter().map(move |bottom| (top, bottom))) {
        for (&left, &right) in horizontal.iter().flat_map(|left| horizontal.iter().map(move |right| (left, right))) {
            let padding = Padding { top, bottom, left, right };
            for (height, width) in [(1, 1), (1, 5), (2, 2), (4, 3), (5, 9)] {
                let case = Case {
                    height,
                    width,
                    padding,
                    residual: height == 2,
                    ..base.channels(2, 1 + width % lanes.max(1))
                };
                let gaps = if height % 2 == 0 { Gaps::EVERYWHERE } else { Gaps::NONE };
                add(Case { gaps, ..case });
            }
        }
    }
}

/// A case of `scope` (none where it has no operator), possible by construction: each choice is a number below a bound that `below` gives, and smaller
/// numbers make simpler cases.
pub(crate) fn draw(scope: &Scope, below: &mut dyn FnMut(usize) -> usize) -> Option<Case> {
    let tile = scope.tile;
    let bases = scope.bases();
    let base = *bases.get(below(bases.len()))?;
    let outputs = 1 + below(2 * tile.channels + 8);
    let least = usize::from(!(scope.empty && base.op == Op::Pointwise));
    let inputs = least + below(if base.op == Op::Pointwise { 70 } else { 9 });
    let case = base.channels(inputs, outputs);
    let (rows, columns) = case.extent();
    let mut side = |extent: usize| below(extent.min(scope.padding + 1));
    let padding = Padding { top: side(rows), bottom: side(rows), left: side(columns), right: side(columns) };
    let height = (1 + below(2 * tile.height + 8)).max(rows.saturating_sub(padding.top + padding.bottom));
    let width = (1 + below(2 * tile.width + 8)).max(columns.saturating_sub(padding.left + padding.right));
    let lo = below(24) as f32 / 16.0 - 1.0;
    let clamps = [Clamp::NONE, Clamp::RELU, Clamp::RELU6, Clamp { lo, hi: lo + below(96) as f32 / 16.0 }];
    Some(scope.fit(Case {
        height,
        width,
        padding,
        kind: [Kind::Integers, Kind::Floats, Kind::Floats, Kind::Specials][below(4)],
        residual: below(2) == 1,
        input_lo: (below(2) == 1).then_some(-0.25),
        clamp: clamps[below(4)],
        gaps: [Gaps::NONE, Gaps::RUNS, Gaps::RESIDUAL_ROWS, Gaps::EVERYWHERE][below(4)],
        guard: [Guard::After, Guard::Before][below(2)],
        shift: below(16),
        seed: below(1 << 16) as u64,
        ..case
    }))
}

/// Cases without end: one of each group in turn, each group in an order of the seed's; where a group has no more, one of
/// any shape.
#[derive(Debug, Clone)]
pub struct Cases {
    scope: Scope,
    numbers: Numbers,
    groups: VecDeque<Vec<Case>>,
}

impl Cases {
    /// The cases of a seed, for a kernel of `scope`.
    pub fn new(scope: &Scope, seed: u64) -> Self {
        let mut numbers = Numbers(seed);
        let groups = Group::ALL.into_iter().map(|group| {
            let mut cases = group.cases(scope, numbers.bits());
            numbers.shuffle(&mut cases);
            cases
        });
        let groups = groups.collect();
        Cases { scope: scope.clone(), numbers, groups }
    }
}

impl Iterator for Cases {
    type Item = Case;

    fn next(&mut self) -> Option<Case> {
        let mut group = self.groups.pop_front()?;
        let case = group.pop();
        self.groups.push_back(group);
        case.or_else(|| draw(&self.scope, &mut |bound| self.numbers.below(bound)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Layout;

    #[test]
    fn every_case_is_possible_and_fits() {
        let narrow = Scope { padding: 1, specials: false, clamp: false, layout: Layout::Nchw, ..Scope::of(Op::Conv) };
        let wide = Scope { gaps: true, residual: true, input_lo: true, empty: true, ..Scope::default() };
        for scope in [Scope::default(), narrow, wide] {
            let all: Vec<Case> = Cases::new(&scope, 3).take(3000).collect();
            for case in &all {
                assert!(case.is_possible(), "{case:?}");
                assert_eq!(scope.fit(*case), *case);
            }
            assert!(all.iter().eq(&Cases::new(&scope, 3).take(3000).collect::<Vec<_>>()));
            assert!(!all.iter().eq(&Cases::new(&scope, 4).take(3000).collect::<Vec<_>>()));
        }
        assert_eq!(Cases::new(&Scope { ops: vec![], ..Scope::default() }, 1).next(), None);
    }

    #[test]
    fn ragged_goes_past_two_tiles() {
        let scope = Scope::fixed(Op::Pointwise, (1, 1), (1, 1));
        let cases = Group::Ragged.cases(&scope, 1);
        assert!((1..=33).all(|outputs| cases.iter().any(|case| case.outputs == outputs)));
        assert!((1..=25).all(|width| cases.iter().any(|case| case.output_size().unwrap().1 == width)));
    }

    #[test]
    fn borders_have_each_side_alone_and_all_together() {
        let cases = Group::Borders.cases(&Scope::fixed(Op::Depthwise, (3, 3), (2, 2)), 1);
        let sides = Padding::one_sided(1).into_iter().chain(Padding::one_sided(2));
        for padding in sides.chain([Padding::NONE, Padding::all(1), Padding::all(2)]) {
            assert!(cases.iter().any(|case| case.padding == padding), "{padding:?}");
        }
    }
}
