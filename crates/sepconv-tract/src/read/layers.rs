//! Convolutions and fully connected layers: `Conv`, and the `EinSum` that tract makes of a convolution without a window.

use sepconv::graph::Flatten;
use sepconv::{Padding, Shape, Window};
use tract_core::internal::*;
use tract_core::ops::cnn::{Conv, PoolSpec};
use tract_core::ops::einsum::EinSum;

use super::{Reader, Value, Wanted, elements};
use crate::axes::Dimension::{self, Batch, Channel, Height, Width};
use crate::axes::{Axes, Factor};
use crate::step::{Affine, Kind, Operation, Weighted};

impl Reader<'_> {
    pub(super) fn conv(&mut self, node: &TypedNode) -> Option<Value> {
        let op = node.op_as::<Conv>().filter(|op| op.q_params.is_none())?;
        let (input, spec) = (node.inputs[0], &op.pool_spec);
        let (kernel, bias) = (self.constant(node.inputs[1])?, self.constant(node.inputs[2])?);
        let wanted = self.images(input, spec)?;
        let Shape { channels, .. } = wanted.shape;
        let (outputs, groups) = (spec.output_channels, op.group);
        let (window, (height, width)) = window(spec, wanted.shape)?;
        let pixel = window.taps() == 1 && window.padding == Padding::NONE;
        let depthwise = groups == channels && groups == outputs;
        let kind = match groups {
            1 => Kind::Conv(window),
            _ if pixel => Kind::GroupedPointwise { groups },
            _ if depthwise => Kind::Depthwise(window),
            _ => return None,
        };
        // To groups, outputs of a group, inputs of a group, rows, columns.
        let mut weights = kernel.as_ref().clone();
        let ops = op.kernel_fmt.kernel_as_group_o_i_h_w_ops(kernel.shape(), groups);
        ops.iter().try_for_each(|op| op.change_tensor(&mut weights, false)).ok()?;
        let weights = elements(&weights)?;
        let shifts = match elements(&bias)? {
            one if one.len() == 1 => vec![one[0]; outputs],
            shifts if shifts.len() == outputs => shifts,
            _ => return None,
        };
        let shape = Shape::new(height, width, outputs);
        let axes = Axes::of(spec.data_format, wanted.count, shape, spec.rank());
        let mut x = self.take_one(wanted)?;
        if let Kind::GroupedPointwise { .. } = kind {
            x = self.every(node, x, window.stride);
        }
        if depthwise && pixel {
            let factors = weights.iter().zip(&shifts).map(|(&scale, &shift)| (scale.into(), shift.into()));
            let value = self.affine(node, &x, Affine(factors.collect()));
            return Some(Value { axes, ..value });
        }
        let weighted = Weighted { kind, weights: weights.into(), affine: Affine::shifts(&shifts) };
        Some(self.made(node, Operation::Weighted(weighted), &[&x], shape, axes))
    }

    /// The images that a node with windows reads.
    pub(super) fn images(&self, outlet: OutletId, spec: &PoolSpec) -> Option<Wanted> {
        let sizes = self.sizes(outlet)?;
        let tensor = spec.data_format.shape(sizes).ok()?;
        let (height, width) = match *tensor.hw_dims() {
            [width] => (1, width),
            [height, width] => (height, width),
            _ => return None,
        };
        let (count, shape) = (tensor.n().copied().unwrap_or(1), Shape::new(height, width, *tensor.c()));
        Some(Wanted { outlet, axes: Axes::of(spec.data_format, count, shape, spec.rank()), count, shape })
    }

    /// A product with a constant matrix, over the channels of each pixel or over all elements of an image.
    pub(super) fn einsum(&mut self, node: &TypedNode) -> Option<Value> {
        let op = node.op_as::<EinSum>().filter(|op| op.q_params.is_none() && node.inputs.len() == 2)?;
        let data = self.data(node)?;
        let slot = node.inputs.iter().position(|&input| input == data)?;
        let constant = self.constant(node.inputs[1 - slot])?;
        let sizes = self.sizes(data)?;
        let product = Product::new(&op.axes, slot, &sizes, constant.shape())?;
        let known = self.known(data).filter(|x| product.layer(&x.axes, self.shape(x)).is_some());
        let x = known.or_else(|| self.take_one(product.images(data, &sizes)?))?;
        let (mut kind, shape, axes) = product.layer(&x.axes, self.shape(&x))?;
        let mut input = x;
        if let Kind::Conv(window) = &mut kind {
            // Pixels that a stride leaves out need no copy of the others.
            (input, window.stride) = self.strided_from(input);
        }
        let weights = constant.as_ref().clone().permute_axes(&product.order).ok()?;
        let affine = Affine::constant(shape.channels, 1.0, 0.0);
        let weighted = Weighted { kind, weights: elements(&weights)?.into(), affine };
        Some(self.made(node, Operation::Weighted(weighted), &[&input], shape, axes))
    }
}

/// The roles of the axes of a product of a tensor and a constant.
struct Product {
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
    order: Vec<usize>,
}

impl Product {
    /// `None` where an axis has a part that no layer has.
    fn new(axes: &AxesMapping, slot: usize, data: &[usize], constant: &[usize]) -> Option<Product> {
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
    fn layer(&self, axes: &Axes, shape: Shape) -> Option<(Kind, Shape, Axes)> {
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

    /// The images that a tensor without a layout is, where the product looks like a convolution: of channels that are one
    /// axis, beside two of pixels and maybe one of images.
    fn images(&self, outlet: OutletId, sizes: &[usize]) -> Option<Wanted> {
        let &[channel] = &self.summed[..] else { return None };
        let dimensions = match (sizes.len(), channel) {
            (4, 1) => [Batch, Channel, Height, Width].to_vec(),
            (4, 3) => [Batch, Height, Width, Channel].to_vec(),
            (3, 0) => [Channel, Height, Width].to_vec(),
            _ => return None,
        };
        let axes: Vec<_> = dimensions.into_iter().zip(sizes.iter().copied()).collect();
        let size = |dimension| axes.iter().find(|axis| axis.0 == dimension).map_or(1, |axis| axis.1);
        let (count, shape) = (size(Batch), Shape::new(size(Height), size(Width), size(Channel)));
        Some(Wanted { outlet, axes: Axes::of_whole(&axes), count, shape })
    }
}

/// The window of a layer on `image`, and rows and columns of the result. Windows that begin inside the padded image and end
/// outside (ONNX's ceil mode) get as much padding as they need.
pub(super) fn window(spec: &PoolSpec, image: Shape) -> Option<(Window, (usize, usize))> {
    let sizes = [image.height, image.width];
    let sizes = &sizes[2 - spec.rank()..];
    let padding = spec.computed_padding(sizes);
    let mut window = Window::PIXEL;
    let mut result = (1, 1);
    let axis = |axis: usize| {
        let (size, stride, dilation) = (spec.kernel_shape[axis], spec.stride(axis), spec.dilation(axis));
        let computed = &padding[axis];
        let extent = size.checked_sub(1)? * dilation + 1;
        let needed = computed.convoluted.checked_sub(1)? * stride + extent;
        let after = computed.pad_after.max(needed.saturating_sub(sizes[axis] + computed.pad_before));
        // What a single tap's dilation would be says nothing.
        let dilation = if size == 1 { 1 } else { dilation };
        Some((size, stride, dilation, (computed.pad_before, after), computed.convoluted))
    };
    let (size, stride, dilation, (left, right), columns) = axis(sizes.len() - 1)?;
    (window.size.1, window.stride.1, window.dilation.1, result.1) = (size, stride, dilation, columns);
    window.padding = Padding { left, right, ..Padding::NONE };
    if sizes.len() == 2 {
        let (size, stride, dilation, (top, bottom), rows) = axis(0)?;
        (window.size.0, window.stride.0, window.dilation.0, result.0) = (size, stride, dilation, rows);
        window.padding = Padding { top, bottom, ..window.padding };
    }
    (window.output(image.height, image.width) == Some(result)).then_some((window, result))
}
