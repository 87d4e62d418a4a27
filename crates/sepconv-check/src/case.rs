//! One call of a kernel: sizes, geometry, memory, numbers.

use std::fmt;
use std::str::FromStr;

use crate::{Gaps, Guard, Image, Kind, Layout, Numbers};

/// What a kernel computes. All three are one grouped convolution; they differ in what their cases look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    /// One tap: a matrix product over the channels of each pixel (1x1 convolution), perhaps in groups.
    Pointwise,
    /// A group a channel.
    Depthwise,
    /// A window over all channels, perhaps in groups.
    Conv,
}

impl Op {
    /// Each operator.
    pub const ALL: [Op; 3] = [Op::Pointwise, Op::Depthwise, Op::Conv];
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Op::Pointwise => "pointwise",
            Op::Depthwise => "depthwise",
            Op::Conv => "conv",
        })
    }
}

impl FromStr for Op {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Op::ALL.into_iter().find(|op| op.to_string() == name);
        found.ok_or_else(|| format!("unknown operator {name:?}: expected pointwise, depthwise or conv"))
    }
}

/// Missing rows and pixels around an image. A tap that falls on one is skipped, never multiplied by zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Padding {
    /// Rows above.
    pub top: usize,
    /// Rows below.
    pub bottom: usize,
    /// Pixels to the left.
    pub left: usize,
    /// Pixels to the right.
    pub right: usize,
}

impl Padding {
    /// None on any side.
    pub const NONE: Padding = Padding::all(0);

    /// The same on all four sides.
    pub const fn all(size: usize) -> Self {
        Padding { top: size, bottom: size, left: size, right: size }
    }

    /// `size` on each side alone.
    pub const fn one_sided(size: usize) -> [Padding; 4] {
        let none = Padding::NONE;
        [
            Padding { top: size, ..none },
            Padding { bottom: size, ..none },
            Padding { left: size, ..none },
            Padding { right: size, ..none },
        ]
    }
}

/// Bounds of each output: NaN stays NaN and −0 stays −0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Clamp {
    /// Lower bound.
    pub lo: f32,
    /// Upper bound; at least `lo`.
    pub hi: f32,
}

impl Clamp {
    /// No activation.
    pub const NONE: Clamp = Clamp { lo: f32::NEG_INFINITY, hi: f32::INFINITY };
    /// max(x, 0).
    pub const RELU: Clamp = Clamp { lo: 0.0, hi: f32::INFINITY };
    /// min(max(x, 0), 6).
    pub const RELU6: Clamp = Clamp { lo: 0.0, hi: 6.0 };

    /// `x` within the bounds, by compare and select: `x < lo ? lo : x`, then `x > hi ? hi : x`.
    pub fn apply(self, x: f32) -> f32 {
        let raised = if x < self.lo { self.lo } else { x };
        if raised > self.hi { self.hi } else { raised }
    }
}

/// One call: the operator and its geometry, the images in memory, the numbers. Pairs are (rows, columns).
///
/// Output channel `j` belongs to group `j / (outputs / groups)`. Weights have the layout O, I, kh, kw, where I is
/// `inputs / groups`: `outputs` x `inputs` for pointwise without groups, `channels` x taps for depthwise.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Case {
    /// What is computed.
    pub op: Op,
    /// Input rows.
    pub height: usize,
    /// Input pixels in a row.
    pub width: usize,
    /// Input channels.
    pub inputs: usize,
    /// Output channels.
    pub outputs: usize,
    /// Groups of channels; divides both.
    pub groups: usize,
    /// Taps.
    pub window: (usize, usize),
    /// Input pixels from one window to the next.
    pub stride: (usize, usize),
    /// Input pixels from one tap to the next.
    pub dilation: (usize, usize),
    /// Missing pixels around the image.
    pub padding: Padding,
    /// Whether a residual is added before the clamp.
    pub residual: bool,
    /// A lower bound of each input, applied as it is read.
    pub input_lo: Option<f32>,
    /// Bounds of each output.
    pub clamp: Clamp,
    /// Which index of the images runs fastest.
    pub layout: Layout,
    /// Elements between those of the images.
    pub gaps: Gaps,
    /// Which end of each buffer touches a guard.
    pub guard: Guard,
    /// Elements (0..16) that move each buffer off its alignment where the guard is before.
    pub shift: usize,
    /// What the numbers look like.
    pub kind: Kind,
    /// Where they come from.
    pub seed: u64,
}

/// The numbers of a case, tight; images NHWC.
#[derive(Debug, Clone)]
pub struct Operands {
    /// `height` x `width` x `inputs`.
    pub input: Vec<f32>,
    /// `outputs` x `inputs / groups` x taps.
    pub weights: Vec<f32>,
    /// `outputs`.
    pub bias: Vec<f32>,
    /// As the output.
    pub residual: Option<Vec<f32>>,
}

impl Case {
    /// `m` pixels of `k` channels to `n`: one row, floats, tight, no residual, no clamp.
    pub const fn pointwise(m: usize, k: usize, n: usize) -> Self {
        Case {
            op: Op::Pointwise,
            height: 1,
            width: m,
            inputs: k,
            outputs: n,
            groups: 1,
            window: (1, 1),
            stride: (1, 1),
            dilation: (1, 1),
            padding: Padding::NONE,
            residual: false,
            input_lo: None,
            clamp: Clamp::NONE,
            layout: Layout::Nhwc,
            gaps: Gaps::NONE,
            guard: Guard::After,
            shift: 0,
            kind: Kind::Floats,
            seed: 1,
        }
    }

    /// A window of 3x3 a channel, padding 1 on all sides, stride 1; the rest as [`pointwise`](Self::pointwise).
    pub const fn depthwise(height: usize, width: usize, channels: usize) -> Self {
        let case = Case::conv(height, width, channels, channels);
        Case { op: Op::Depthwise, groups: channels, ..case }
    }

    /// A window of 3x3 over all channels, padding 1 on all sides, stride 1; the rest as [`pointwise`](Self::pointwise).
    pub const fn conv(height: usize, width: usize, inputs: usize, outputs: usize) -> Self {
        let case = Case::pointwise(0, inputs, outputs);
        Case { op: Op::Conv, height, width, window: (3, 3), padding: Padding::all(1), ..case }
    }

    /// The same case with so many channels a group: for depthwise, `outputs` groups of one.
    pub const fn channels(self, inputs: usize, outputs: usize) -> Self {
        match self.op {
            Op::Depthwise => Case { inputs: outputs, outputs, groups: outputs, ..self },
            _ => Case { inputs: inputs * self.groups, outputs: outputs * self.groups, ..self },
        }
    }

    /// Taps of the window.
    pub const fn taps(&self) -> usize {
        self.window.0 * self.window.1
    }

    /// Input channels of a group.
    pub const fn inputs_per_group(&self) -> usize {
        self.inputs / at_least_one(self.groups)
    }

    /// Output channels of a group.
    pub const fn outputs_per_group(&self) -> usize {
        self.outputs / at_least_one(self.groups)
    }

    /// Products of the longest sum.
    pub const fn depth(&self) -> usize {
        self.taps() * self.inputs_per_group()
    }

    /// Rows and columns of the image from the first tap to the last.
    pub const fn extent(&self) -> (usize, usize) {
        ((self.window.0 - 1) * self.dilation.0 + 1, (self.window.1 - 1) * self.dilation.1 + 1)
    }

    /// Rows and columns of the output; none for an image without any, `None` where the window does not fit.
    pub fn output_size(&self) -> Option<(usize, usize)> {
        let size = |image: usize, around: usize, window: usize, stride: usize| match image + around {
            0 => Some(0),
            padded => padded.checked_sub(window)?.checked_div(stride)?.checked_add(1),
        };
        let Padding { top, bottom, left, right } = self.padding;
        let extent = self.extent();
        Some((
            size(self.height, top + bottom, extent.0, self.stride.0)?,
            size(self.width, left + right, extent.1, self.stride.1)?,
        ))
    }

    /// Whether the numbers make a convolution: the window fits, each side's padding is smaller than it, the groups divide
    /// the channels, a depthwise group has one input, a pointwise window one tap.
    pub fn is_possible(&self) -> bool {
        let Case { op, window, stride, dilation, padding: Padding { top, bottom, left, right }, .. } = *self;
        let positive = [window.0, window.1, stride.0, stride.1, dilation.0, dilation.1].iter().all(|&size| size > 0);
        let divides = |channels: usize| match self.groups {
            0 => channels == 0,
            groups => channels.is_multiple_of(groups),
        };
        positive
            && divides(self.inputs)
            && divides(self.outputs)
            && (op != Op::Pointwise || self.taps() == 1)
            && (op != Op::Depthwise || self.groups == self.inputs)
            && top.max(bottom) < self.extent().0
            && left.max(right) < self.extent().1
            && self.output_size().is_some()
    }

    /// The taps of output pixel (`y`, `x`) that are inside the image, row-major: (index of the tap, row, column).
    pub fn taps_inside(&self, (y, x): (usize, usize)) -> impl Iterator<Item = (usize, usize, usize)> + use<> {
        let case = *self;
        (0..case.taps()).filter_map(move |tap| {
            let (row, column) = (tap / case.window.1 * case.dilation.0, tap % case.window.1 * case.dilation.1);
            let row = (y * case.stride.0 + row).checked_sub(case.padding.top)?;
            let column = (x * case.stride.1 + column).checked_sub(case.padding.left)?;
            (row < case.height && column < case.width).then_some((tap, row, column))
        })
    }

    /// The input in memory.
    pub fn input(&self) -> Image {
        Image::new((self.height, self.width, self.inputs), self.layout, self.gaps.input)
    }

    /// The output in memory; empty where the window does not fit.
    pub fn output(&self) -> Image {
        self.beside_output(self.gaps.output)
    }

    /// The residual in memory, whether the case has one or not.
    pub fn residual(&self) -> Image {
        self.beside_output(self.gaps.residual)
    }

    fn beside_output(&self, gap: crate::Gap) -> Image {
        let (height, width) = self.output_size().unwrap_or_default();
        Image::new((height, width, self.outputs), self.layout, gap)
    }

    /// The numbers: input, weights, bias, residual, in this order from the seed.
    pub fn operands(&self) -> Operands {
        let mut numbers = Numbers(self.seed);
        let mut take = |count: usize| numbers.take(count, self.kind);
        Operands {
            input: take(self.input().len()),
            weights: take(self.outputs * self.depth()),
            bias: take(self.outputs),
            residual: self.residual.then(|| take(self.output().len())),
        }
    }
}

/// An image without channels has no group, and none of anything in it.
const fn at_least_one(groups: usize) -> usize {
    if groups == 0 { 1 } else { groups }
}

/// In a person's words, every parameter that is not the ordinary one.
impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Case { op, height, width, inputs, outputs, groups, window, stride, dilation, padding, .. } = *self;
        write!(f, "{op} {}x{} on {height}x{width}x{inputs}", window.0, window.1)?;
        if op != Op::Depthwise || outputs != inputs {
            write!(f, " to {outputs} channels")?;
        }
        if groups != 1 && op != Op::Depthwise {
            write!(f, " in {groups} groups")?;
        }
        let pairs = [("stride", stride), ("dilation", dilation)];
        for (name, (rows, columns)) in pairs.into_iter().filter(|(_, pair)| *pair != (1, 1)) {
            write!(f, ", {name} {rows}x{columns}")?;
        }
        if padding != Padding::NONE {
            let Padding { top, bottom, left, right } = padding;
            write!(f, ", padding {top} above {bottom} below {left} left {right} right")?;
        }
        if self.residual {
            write!(f, ", residual")?;
        }
        if let Some(lo) = self.input_lo {
            write!(f, ", input from {lo}")?;
        }
        if self.clamp != Clamp::NONE {
            write!(f, ", clamp {}..{}", self.clamp.lo, self.clamp.hi)?;
        }
        write!(f, ", {}", self.layout)?;
        if self.gaps != Gaps::NONE {
            let Gaps { input, output, residual } = self.gaps;
            write!(f, ", gaps")?;
            for (name, gap) in [("input", input), ("output", output), ("residual", residual)] {
                write!(f, " {name} {}+{}", gap.inner, gap.outer)?;
            }
        }
        let guard = if self.guard == Guard::Before { "before" } else { "after" };
        write!(f, ", guard {guard}")?;
        if self.shift != 0 {
            write!(f, ", shift {}", self.shift)?;
        }
        write!(f, ", {} of seed {}", self.kind.name(), self.seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn geometry() {
        let case = Case { stride: (2, 2), ..Case::depthwise(7, 8, 3) };
        assert_eq!((case.output_size(), case.depth()), (Some((4, 4)), 9));
        assert_eq!(case.operands().weights.len(), 27);
        assert_eq!(case.taps_inside((0, 0)).collect::<Vec<_>>(), [(4, 0, 0), (5, 0, 1), (7, 1, 0), (8, 1, 1)]);
        let grouped =
            Case { groups: 2, window: (1, 2), dilation: (1, 3), padding: Padding::NONE, ..Case::conv(2, 5, 4, 6) };
        assert_eq!((grouped.output_size(), grouped.depth()), (Some((2, 2)), 4));
        assert!(grouped.is_possible() && !Case { groups: 3, ..grouped }.is_possible());
        assert!(!Case { width: 3, ..grouped }.is_possible());
        assert_eq!(Case::pointwise(0, 3, 2).output_size(), Some((1, 0)));
    }

    #[test]
    fn described_by_what_is_not_ordinary() {
        assert_eq!(
            Case::pointwise(3, 4, 5).to_string(),
            "pointwise 1x1 on 1x3x4 to 5 channels, nhwc, guard after, floats of seed 1"
        );
        let case = Case {
            stride: (2, 1),
            residual: true,
            clamp: Clamp::RELU6,
            shift: 3,
            gaps: Gaps::RUNS,
            ..Case::depthwise(3, 4, 5)
        };
        let text = "depthwise 3x3 on 3x4x5, stride 2x1, padding 1 above 1 below 1 left 1 right, residual, clamp 0..6, nhwc, \
                    gaps input 0+0 output 3+0 residual 2+0, guard after, shift 3, floats of seed 1";
        assert_eq!(case.to_string(), text);
    }
}
