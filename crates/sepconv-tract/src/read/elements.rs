//! What is done to each element: sums, factors and summands a channel (batch normalisation among them), clamps.

use sepconv::{Clamp, Shape};
use tract_core::internal::*;
use tract_core::ops::binary::TypedBinOp;
use tract_core::ops::element_wise::ElementWiseOp;
use tract_core::ops::math::{Add, Div, Max, Min, Mul, Sub, SubF};
use tract_core::ops::nn::LeakyRelu;

use super::{Reader, Value, Wanted, elements};
use crate::axes::Axes;
use crate::step::{Affine, Kind, Operation, Step, Weighted};

impl Reader<'_> {
    /// The sum of two tensors: at least one of them known, so that its layout is that of both.
    pub(super) fn sum(&mut self, node: &TypedNode) -> Option<Value> {
        node.op_as::<TypedBinOp>().filter(|op| op.0.is::<Add>())?;
        if node.inputs.iter().any(|&input| self.constant(input).is_some()) {
            return None;
        }
        let known = node.inputs.iter().filter_map(|&input| self.known(input));
        let value = known.max_by_key(|value| self.steps[value.step].level)?;
        let Step { count, shape, .. } = self.steps[value.step];
        let wanted = |&outlet: &OutletId| Wanted { outlet, axes: value.axes.clone(), count, shape };
        let terms = self.take(node.inputs.iter().map(wanted).collect())?;
        let whole = self.whole(node, &terms[0], &terms[1]);
        Some(whole.unwrap_or_else(|| self.made(node, Operation::Add, &[&terms[0], &terms[1]], shape, value.axes)))
    }

    /// The layer of a concatenation, of which tract made one a part, without biases, and their sum.
    fn whole(&mut self, node: &TypedNode, a: &Value, b: &Value) -> Option<Value> {
        let (first, second) = (&self.steps[a.step], &self.steps[b.step]);
        let part = |value: &Value, step: &Step| match &step.operation {
            Operation::Weighted(weighted) if value.sole && step.clamp == Clamp::NONE => Some(weighted.clone()),
            _ => None,
        };
        let (one, other) = (part(a, first)?, part(b, second)?);
        let joins = matches!(one.kind, Kind::Conv(_) | Kind::FullyConnected) && one.kind == other.kind;
        if !joins || !one.affine.is_identity() || !other.affine.is_identity() {
            return None;
        }
        let of_output = |weighted: &Weighted| weighted.weights.len() / weighted.affine.0.len();
        let rows = one.weights.chunks(of_output(&one)).zip(other.weights.chunks(of_output(&other)));
        let weights = rows.flat_map(|(one, other)| one.iter().chain(other)).copied().collect();
        let shape = first.shape;
        let inputs = [first, second].map(|step| Value { step: step.inputs[0], ..a.clone() });
        let images = inputs.each_ref().map(|input| self.shape(input));
        let joined = Shape { channels: images[0].channels + images[1].channels, ..images[0] };
        let joined = self.made(node, Operation::Concat, &inputs.each_ref(), joined, a.axes.clone());
        let weighted = Weighted { weights, ..one };
        Some(self.made(node, Operation::Weighted(weighted), &[&joined], shape, a.axes.clone()))
    }

    /// A tensor and a constant: a number, or one a channel.
    pub(super) fn with_constant(&mut self, node: &TypedNode, x: &Value) -> Option<Value> {
        let op = &node.op_as::<TypedBinOp>()?.0;
        let slot = node.inputs.iter().position(|&input| self.constant(input).is_some())?;
        let constant = self.constant(node.inputs[slot])?;
        let numbers = by_channel(&x.axes, &constant, self.shape(x).channels)?;
        let constant_first = slot == 0;
        if op.is::<Max>() || op.is::<Min>() {
            let bound = numbers[0];
            if bound.is_nan() || numbers.iter().any(|&number| number != bound) {
                return None;
            }
            let clamp = match op.is::<Max>() {
                true => Clamp::new(bound, f32::INFINITY),
                false => Clamp::new(f32::NEG_INFINITY, bound),
            };
            return Some(self.clamped(node, x, clamp));
        }
        let affine = |number: f32| {
            let number = f64::from(number);
            match constant_first {
                _ if op.is::<Mul>() => Some((number, 0.0)),
                _ if op.is::<Add>() => Some((1.0, number)),
                false if op.is::<Div>() => Some((1.0 / number, 0.0)),
                false if op.is::<Sub>() => Some((1.0, -number)),
                true if op.is::<Sub>() => Some((-1.0, number)),
                // The second minus the first.
                false if op.is::<SubF>() => Some((-1.0, number)),
                true if op.is::<SubF>() => Some((1.0, -number)),
                _ => None,
            }
        };
        let affine = numbers.into_iter().map(affine).collect::<Option<Vec<_>>>()?;
        let finite = affine.iter().all(|(scale, shift)| (scale * shift).is_finite());
        finite.then(|| self.affine(node, x, Affine(affine)))
    }

    pub(super) fn leaky_relu(&mut self, node: &TypedNode, x: &Value) -> Option<Value> {
        let op = node.op_as::<ElementWiseOp>()?.0.downcast_ref::<LeakyRelu>()?;
        let shape = self.shape(x);
        let affine = Affine::constant(shape.channels, 1.0, 0.0);
        Some(self.made(node, Operation::Leaky(op.alpha, affine), &[x], shape, x.axes.clone()))
    }

    /// With a factor and a summand a channel: in the step itself where nothing else reads that.
    pub(super) fn affine(&mut self, node: &TypedNode, x: &Value, affine: Affine) -> Value {
        let mut step = self.steps[x.step].clone();
        match step.affine_mut().filter(|_| x.sole) {
            Some(own) => {
                *own = own.then(&affine);
                Value { step: self.step(Step { node: node.id, ..step }), ..x.clone() }
            }
            None => self.made(node, Operation::Leaky(1.0, affine), &[x], step.shape, x.axes.clone()),
        }
    }

    /// Clamped, in the step itself where nothing else reads that.
    fn clamped(&mut self, node: &TypedNode, x: &Value, clamp: Clamp) -> Value {
        let step = &self.steps[x.step];
        if x.sole && step.operation.takes_clamp() {
            let bound = |number: f32| number.clamp(clamp.lo, clamp.hi);
            let clamp = Clamp::new(bound(step.clamp.lo), bound(step.clamp.hi));
            let step = Step { node: node.id, clamp, ..step.clone() };
            return Value { step: self.step(step), ..x.clone() };
        }
        let shape = step.shape;
        let value = self.made(node, Operation::Clamp, &[x], shape, x.axes.clone());
        self.steps[value.step].clamp = clamp;
        value
    }
}

/// A constant that is broadcast to a tensor with `axes`, as a number a channel; `None` where its numbers differ among the
/// pixels of a channel.
fn by_channel(axes: &Axes, constant: &Tensor, channels: usize) -> Option<Vec<f32>> {
    let (numbers, sizes) = (elements(constant)?, constant.shape());
    if numbers.len() == 1 {
        return Some(vec![numbers[0]; channels]);
    }
    if sizes.len() != axes.sizes().len() {
        return None;
    }
    // Of each axis along which they differ: its steps, the channels of a step, and how far apart its numbers stand.
    let (mut parts, mut stride) = (Vec::new(), 1);
    for axis in (0..sizes.len()).rev().filter(|&axis| sizes[axis] > 1) {
        let (_, size, step) = axes.channels_along(axis).filter(|&(_, size, _)| size == sizes[axis])?;
        parts.push((size, step, stride));
        stride *= size;
    }
    let at = |channel: usize| parts.iter().map(|&(size, step, stride)| channel / step % size * stride).sum::<usize>();
    Some((0..channels).map(|channel| numbers[at(channel)]).collect())
}
