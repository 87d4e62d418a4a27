//! What moves no number, or leaves some out: reshapes, transpositions, slices, concatenations, strides.

use sepconv::{Padding, Shape, Window};
use tract_core::internal::*;
use tract_core::ops::array::{Slice, TypedConcat};
use tract_core::ops::downsample::Downsample;

use super::{Reader, Value, Wanted};
use crate::axes::Dimension::{Channel, Height, Width};
use crate::step::{Operation, Step};

impl Reader<'_> {
    pub(super) fn axis_op(&mut self, node: &TypedNode, x: &Value) -> Option<Value> {
        let changed = x.axes.changed(node.op_as::<AxisOp>()?)?;
        let Some(groups) = changed.shuffle else { return Some(Value { axes: changed.axes, ..x.clone() }) };
        Some(self.made(node, Operation::Shuffle { groups }, &[x], self.shape(x), changed.axes))
    }

    pub(super) fn slice(&mut self, node: &TypedNode, x: &Value) -> Option<Value> {
        let Slice { axis, start, end } = node.op_as::<Slice>()?;
        let (start, end) = (start.to_usize().ok()?, end.to_usize().ok()?);
        let (times, steps, step) = x.axes.channels_along(*axis).filter(|_| start < end)?;
        let range = |time: usize| (time * steps + start) * step..(time * steps + end) * step;
        let (axes, shape) = (x.axes.clone().with(*axis, Channel, end - start), self.shape(x));
        let channels = times * (end - start) * step;
        let operation = Operation::Slice((0..times).map(range).collect());
        Some(self.made(node, operation, &[x], Shape { channels, ..shape }, axes))
    }

    pub(super) fn concat(&mut self, node: &TypedNode) -> Option<Value> {
        let axis = node.op_as::<TypedConcat>()?.axis;
        let known = node.inputs.iter().filter_map(|&input| self.known(input));
        let value = known.max_by_key(|value| self.steps[value.step].level)?;
        let Step { count, shape, .. } = self.steps[value.step];
        let (_, _, step) = value.axes.channels_along(axis).filter(|&(times, ..)| times == 1)?;
        let mut wanted = Vec::with_capacity(node.inputs.len());
        for &outlet in &node.inputs {
            let size = self.sizes(outlet)?[axis];
            let (axes, shape) =
                (value.axes.clone().with(axis, Channel, size), Shape { channels: size * step, ..shape });
            wanted.push(Wanted { outlet, axes, count, shape });
        }
        let channels = wanted.iter().map(|wanted| wanted.shape.channels).sum();
        let parts = self.take(wanted)?;
        let parts: Vec<&Value> = parts.iter().collect();
        let axes = value.axes.with(axis, Channel, channels / step);
        Some(self.made(node, Operation::Concat, &parts, Shape { channels, ..shape }, axes))
    }

    /// Every so many rows or columns, from the first on.
    pub(super) fn downsample(&mut self, node: &TypedNode, x: &Value) -> Option<Value> {
        let op = node.op_as::<Downsample>().filter(|op| op.modulo == 0)?;
        let stride = usize::try_from(op.stride).ok().filter(|&stride| stride > 0)?;
        let dimension = x.axes.whole(op.axis)?;
        let strides = match dimension {
            Height => (stride, 1),
            Width => (1, stride),
            _ => return None,
        };
        let value = self.every(node, x.clone(), strides);
        let size = x.axes.sizes()[op.axis].div_ceil(stride);
        Some(Value { axes: value.axes.with(op.axis, dimension, size), ..value })
    }

    /// Every so many rows and columns, with the axes as they were: of a convolution that nothing else reads, by its stride.
    pub(super) fn every(&mut self, node: &TypedNode, x: Value, (rows, columns): (usize, usize)) -> Value {
        if (rows, columns) == (1, 1) {
            return x;
        }
        let fewer = |shape: Shape, (rows, columns)| {
            Shape::new(shape.height.div_ceil(rows), shape.width.div_ceil(columns), shape.channels)
        };
        let mut step = self.steps[x.step].clone();
        step.shape = fewer(step.shape, (rows, columns));
        if let Some(window) = step.conv_window_mut().filter(|_| x.sole) {
            window.stride = (window.stride.0 * rows, window.stride.1 * columns);
            return Value { step: self.step(Step { node: node.id, ..step }), ..x };
        }
        let (x, (before, beside)) = self.strided_from(x);
        let strides = (rows * before, columns * beside);
        let (shape, axes) = (fewer(self.shape(&x), strides), x.axes.clone());
        self.made(node, Operation::MaxPool(Window::PIXEL.strides(strides.0, strides.1)), &[&x], shape, axes)
    }

    /// What a value leaves rows and columns out of, and the strides that do; itself where it is no such value.
    pub(super) fn strided_from(&self, x: Value) -> (Value, (usize, usize)) {
        let step = &self.steps[x.step];
        match step.operation {
            Operation::MaxPool(window) if window.taps() == 1 && window.padding == Padding::NONE => {
                (Value { step: step.inputs[0], sole: false, axes: x.axes }, window.stride)
            }
            _ => (x, (1, 1)),
        }
    }
}
