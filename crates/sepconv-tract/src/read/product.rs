//! A product of a tensor and a constant, as the layer that it is.

use sepconv::graph::Flatten;
use sepconv::{Shape, Window};
use tract_core::internal::*;
use tract_core::ops::nn::DataFormat;

use crate::axes::Dimension::{self, Channel, Height, Width};
use crate::axes::{Axes, Factor};
use crate::step::Kind;

/// The roles of the axes of a product of a tensor and a constant.
pub struct Product {
    /// Axes of the tensor that are summed over, in the tensor's order.
    summed: Vec<usize>,
    /// The axis of the tensor that says which part of the constant to take.
    group: Option<usize>,
    /// Where each axis of the result comes from: one of the tensor's, or so many outputs.
    result: Vec<Result<usize, usize>>,
    /// Outputs of a group.
    outputs: usize,
    groups: usize,
    /// The axes of the constant: the group's, outputs, then those that are summed over.
    pub order: Vec<usize>,
}

impl Product {
    /// `None` where an axis has a part that no layer has.
    pub fn new(axes: &AxesMapping, slot: usize, data: &[usize], constant: &[usize]) -> Option<Product> {
        let mut product =
            Product { summed: Vec::new(), group: None, result: Vec::new(), outputs: 1, groups: 1, order: Vec::new() };
        let place = |places: &[usize]| (places.len() < 2).then(|| places.first().copied());
        let (mut of_group, mut of_outputs, mut of_sum, mut single) = (vec![], vec![], vec![], vec![]);
        product.result = vec![Err(1); axes.rank(InOut::Out(0))];
        for axis in axes.iter_all_axes() {
            let [x, w] = [slot, 1 - slot].map(|input| place(&axis.inputs[input]));
            match (x?, w?, place(&axis.outputs[0])?) {
                (Some(x), None, Some(out)) => product.result[out] = Ok(x),
                (Some(x), Some(w), None) if data[x] == constant[w] => of_sum.push((x, w)),
                (None, Some(w), Some(out)) if constant[w] > 1 => {
                    product.outputs = constant[w];
                    product.result[out] = Err(constant[w]);
                    of_outputs.push(w);
                }
                (Some(x), Some(w), Some(out)) if data[x] == constant[w] && data[x] > 1 => {
                    (product.group, product.groups) = (Some(x), data[x]);
                    product.result[out] = Ok(x);
                    of_group.push(w);
                }
                (x, w, out) => {
                    let sizes = x.map(|x| data[x]).into_iter().chain(w.map(|w| constant[w]));
                    if sizes.into_iter().any(|size| size != 1) {
                        return None;
                    }
                    if let (Some(x), Some(out)) = (x, out) {
                        product.result[out] = Ok(x);
                    }
                    single.extend(w);
                }
            }
        }
        of_sum.sort();
        product.summed = of_sum.iter().map(|&(x, _)| x).collect();
        let last = of_sum.into_iter().map(|(_, w)| w).chain(single);
        let one = of_group.len() < 2 && of_outputs.len() < 2;
        product.order = of_group.into_iter().chain(of_outputs).chain(last).collect();
        one.then_some(product)
    }

    /// The layer that it is of images of `shape` in a tensor with `axes`: its kind, and shape and axes of the result.
    pub fn layer(&self, axes: &Axes, shape: Shape) -> Option<(Kind, Shape, Axes)> {
        let outputs = |size| (size != 1).then_some(Factor { dimension: Channel, size });
        let result = self.result.iter().map(|axis| axis.map_err(outputs));
        let pixels = shape.height * shape.width;
        if let Some(group) = self.group {
            // The channels of each group stand together, and so do its outputs.
            let place = |wanted: &dyn Fn(&Result<usize, usize>) -> bool| self.result.iter().position(wanted);
            let outputs_apart = place(&|axis| matches!(axis, Err(2..))) < place(&|axis| *axis == Ok(group));
            let good = axes.channels_along(group).is_some_and(|(times, size, _)| times == 1 && size == self.groups)
                && axes.are_all_of(&[&self.summed[..], &[group]].concat(), &[Channel])
                && (self.outputs == 1 || !outputs_apart);
            let axes = axes.select(result).filter(|_| good)?;
            let shape = Shape { channels: self.groups * self.outputs, ..shape };
            return Some((Kind::GroupedPointwise { groups: self.groups }, shape, axes));
        }
        if axes.are_all_of(&self.summed, &[Channel]) {
            let kind = if pixels == 1 { Kind::FullyConnected } else { Kind::Conv(Window::PIXEL) };
            let shape = Shape { channels: self.outputs, ..shape };
            return Some((kind, shape, axes.select(result)?));
        }
        if !axes.are_all_of(&self.summed, &[Height, Width, Channel]) {
            return None;
        }
        let order: Vec<Dimension> = axes.factors(&self.summed).iter().map(|factor| factor.dimension).collect();
        let is = |all: [Dimension; 3]| {
            all.into_iter().filter(|dimension| order.contains(dimension)).eq(order.iter().copied())
        };
        let order = match (is([Channel, Height, Width]), is([Height, Width, Channel])) {
            (true, _) => Flatten::ChannelsFirst,
            (_, true) => Flatten::ChannelsLast,
            _ => return None,
        };
        Some((Kind::Flattened(order), Shape::new(1, 1, self.outputs), axes.select(result)?))
    }

    /// The images that a tensor without a layout is, with its axes, their count and their shape, where the product looks like
    /// a convolution: channels are one axis, beside two of pixels and maybe one of images.
    pub fn images(&self, sizes: &[usize]) -> Option<(Axes, usize, Shape)> {
        let format = match (sizes.len(), &self.summed[..]) {
            (4, [1]) => DataFormat::NCHW,
            (4, [3]) => DataFormat::NHWC,
            (3, [0]) => DataFormat::CHW,
            _ => return None,
        };
        let images = format.shape(sizes).ok()?;
        let &[height, width] = images.hw_dims() else { return None };
        let (count, shape) = (images.n().copied().unwrap_or(1), Shape::new(height, width, *images.c()));
        Some((Axes::of(format, count, shape, 2), count, shape))
    }
}
