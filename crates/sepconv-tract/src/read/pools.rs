//! Pools, and sums over whole images.

use sepconv::{Padding, Shape, Window};
use tract_core::internal::*;
use tract_core::ops::cnn::{MaxPool, PaddingSpec, SumPool};
use tract_core::ops::nn::{Reduce, Reducer};

use super::layers::window;
use super::{Reader, Value};
use crate::axes::Axes;
use crate::axes::Dimension::{Height, Width};
use crate::step::{Affine, Operation};

impl Reader<'_> {
    pub(super) fn max_pool(&mut self, node: &TypedNode) -> Option<Value> {
        let op = node.op_as::<MaxPool>().filter(|op| op.with_index_outputs.is_none())?;
        let wanted = self.images(node.inputs[0], &op.pool_spec)?;
        let (window, (height, width)) = window(&op.pool_spec, wanted.shape)?;
        let shape = Shape { height, width, ..wanted.shape };
        let axes = Axes::of(op.pool_spec.data_format, wanted.count, shape, op.pool_spec.rank());
        let x = self.take_one(wanted)?;
        Some(self.made(node, Operation::MaxPool(window), &[&x], shape, axes))
    }

    pub(super) fn sum_pool(&mut self, node: &TypedNode) -> Option<Value> {
        let op = node.op_as::<SumPool>()?;
        let wanted = self.images(node.inputs[0], &op.pool_spec)?;
        let (window, (height, width)) = window(&op.pool_spec, wanted.shape)?;
        // tract counts, in ceil mode, the padding that the node asks for, and none beyond it.
        let asked = match &op.pool_spec.padding {
            PaddingSpec::ExplicitOnnxPool(before, after, true) => before.iter().chain(after).any(|&side| side > 0),
            _ => window.padding != Padding::NONE,
        };
        let beyond = matches!(op.pool_spec.padding, PaddingSpec::ExplicitOnnxPool(_, _, true));
        if op.count_include_pad && asked && beyond {
            return None;
        }
        let count_padding = (op.count_include_pad && asked) || !op.normalize;
        let shape = Shape { height, width, ..wanted.shape };
        let axes = Axes::of(op.pool_spec.data_format, wanted.count, shape, op.pool_spec.rank());
        let x = self.take_one(wanted)?;
        let mean = self.made(node, Operation::AveragePool { window, count_padding }, &[&x], shape, axes);
        Some(if op.normalize { mean } else { self.times(node, mean, window.taps()) })
    }

    /// The sum, or the maximum, of all pixels.
    pub(super) fn reduce(&mut self, node: &TypedNode, x: &Value) -> Option<Value> {
        let op = node.op_as::<Reduce>()?;
        let image = self.shape(x);
        let pixels = image.height * image.width;
        if pixels == 1 || !x.axes.are_all_of(&op.axes, &[Height, Width]) {
            return None;
        }
        let (axes, shape) = (x.axes.clone().without(Height).without(Width), Shape { height: 1, width: 1, ..image });
        match op.reducer {
            Reducer::Sum => {
                let mean = self.made(node, Operation::GlobalAveragePool, &[x], shape, axes);
                Some(self.times(node, mean, pixels))
            }
            Reducer::Max => {
                let window = Window::new(image.height, image.width);
                Some(self.made(node, Operation::MaxPool(window), &[x], shape, axes))
            }
            _ => None,
        }
    }

    /// A mean of so many numbers as their sum: a factor that divides it again leaves the mean.
    fn times(&mut self, node: &TypedNode, mean: Value, numbers: usize) -> Value {
        let shape = self.shape(&mean);
        let affine = Affine::constant(shape.channels, numbers as f64, 0.0);
        self.made(node, Operation::Leaky(1.0, affine), &[&mean], shape, mean.axes.clone())
    }
}
