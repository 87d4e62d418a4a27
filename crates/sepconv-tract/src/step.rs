//! What is read out of a model: calls of sepconv's builder that are still to be made.

use std::ops::Range;
use std::sync::Arc;

use sepconv::graph::Flatten;
use sepconv::{Clamp, Shape, Window};
use tract_core::internal::OutletId;

use crate::axes::Axes;

/// One call of the builder, or an input of the subgraph.
#[derive(Debug, Clone)]
pub struct Step {
    /// The node of the model that made it: the last one, where it is several in one.
    pub node: usize,
    /// Steps of one level may be one subgraph: what lies between two steps and is no step raises the level.
    pub level: usize,
    pub operation: Operation,
    /// The steps that it reads.
    pub inputs: Vec<usize>,
    /// Images.
    pub count: usize,
    /// The shape of each image of the result.
    pub shape: Shape,
    /// The clamp of the result.
    pub clamp: Clamp,
}

#[derive(Debug, Clone)]
pub enum Operation {
    /// A tensor of the model, as images by these axes.
    Input(OutletId, Axes),
    Weighted(Weighted),
    /// A leaky ReLU of this slope, then the affine.
    Leaky(f32, Affine),
    Add,
    /// The clamp of the step alone.
    Clamp,
    MaxPool(Window),
    AveragePool {
        window: Window,
        count_padding: bool,
    },
    GlobalAveragePool,
    /// These channels, in order.
    Slice(Vec<Range<usize>>),
    Concat,
    Shuffle {
        groups: usize,
    },
}

/// A layer with weights: outputs x inputs a group x rows x columns.
#[derive(Debug, Clone)]
pub struct Weighted {
    pub kind: Kind,
    pub weights: Arc<[f32]>,
    pub affine: Affine,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    Conv(Window),
    Depthwise(Window),
    GroupedPointwise { groups: usize },
    FullyConnected,
    Flattened(Flatten),
}

/// What each channel is multiplied by, and what is then added.
#[derive(Debug, Clone)]
pub struct Affine(pub Vec<(f64, f64)>);

impl Affine {
    /// The same of every channel.
    pub fn constant(channels: usize, scale: f64, shift: f64) -> Affine {
        Affine(vec![(scale, shift); channels])
    }

    /// A summand a channel.
    pub fn shifts(shifts: &[f32]) -> Affine {
        Affine(shifts.iter().map(|&shift| (1.0, f64::from(shift))).collect())
    }

    /// This one, then `next`.
    pub fn then(&self, next: &Affine) -> Affine {
        let pairs = self.0.iter().zip(&next.0);
        Affine(pairs.map(|(&(scale, shift), &(then, plus))| (scale * then, shift * then + plus)).collect())
    }

    /// Whether it changes nothing, as far as f32 can tell: a mean is a sum and a factor, whose product rounds.
    pub fn is_identity(&self) -> bool {
        self.0.iter().all(|&(scale, shift)| (scale - 1.0).abs() <= f64::from(f32::EPSILON) && shift == 0.0)
    }
}

impl Operation {
    /// Whether its result can be clamped as part of it.
    pub fn takes_clamp(&self) -> bool {
        matches!(self, Operation::Weighted(_) | Operation::Leaky(..) | Operation::Add | Operation::Clamp)
    }
}

impl Step {
    /// The affine that is the last thing done to the result, so that another can become part of it.
    pub fn affine_mut(&mut self) -> Option<&mut Affine> {
        match &mut self.operation {
            _ if self.clamp != Clamp::NONE => None,
            Operation::Weighted(weighted) => Some(&mut weighted.affine),
            Operation::Leaky(_, affine) => Some(affine),
            _ => None,
        }
    }

    /// The window of a dense convolution.
    pub fn conv_window_mut(&mut self) -> Option<&mut Window> {
        match &mut self.operation {
            Operation::Weighted(Weighted { kind: Kind::Conv(window), .. }) => Some(window),
            _ => None,
        }
    }

    /// Whether a subgraph with this step does more than move numbers.
    pub fn computes(&self) -> bool {
        matches!(
            self.operation,
            Operation::Weighted(_)
                | Operation::MaxPool(_)
                | Operation::AveragePool { .. }
                | Operation::GlobalAveragePool
        )
    }
}
