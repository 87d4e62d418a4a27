//! Layers with weights: `Conv`, and the `EinSum` that tract makes of a convolution without a window.

use sepconv::{Padding, Shape, Window};
use tract_core::internal::*;
use tract_core::ops::cnn::{Conv, PoolSpec};
use tract_core::ops::einsum::EinSum;

use super::product::Product;
use super::{Reader, Value, Wanted, elements};
use crate::axes::Axes;
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
        let images = || {
            let (axes, count, shape) = product.images(&sizes)?;
            Some(Wanted { outlet: data, axes, count, shape })
        };
        let mut x = known.or_else(|| self.take_one(images()?))?;
        let (mut kind, shape, axes) = product.layer(&x.axes, self.shape(&x))?;
        if let Kind::Conv(window) = &mut kind {
            // The stride of the layer before is its own: what that leaves out needs no copy of the rest.
            (x, window.stride) = self.strided_from(x);
        }
        let weights = constant.as_ref().clone().permute_axes(&product.order).ok()?;
        let affine = Affine::constant(shape.channels, 1.0, 0.0);
        let weighted = Weighted { kind, weights: elements(&weights)?.into(), affine };
        Some(self.made(node, Operation::Weighted(weighted), &[&x], shape, axes))
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
