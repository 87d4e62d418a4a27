//! Single layers, packed once and run by as many threads as the caller likes.

use std::borrow::Cow;
use std::ffi::{CString, c_char};

use super::handle::{self, Opaque};
use super::library::kernels;
use super::pointer::{array, optional, place, read};
use super::status::{Checked, Failure, guard, sepconv_status};
use super::types::{
    read_clamp, sepconv_clamp, sepconv_image, sepconv_image_mut, sepconv_shape, sepconv_window, view, view_mut,
};
use crate::error::{Error, Result};
use crate::ops::{Conv, ConvParams, Depthwise, DepthwiseParams, Epilogue, Part, Pointwise, PointwiseParams};
use crate::tensor::buffer::collect;
use crate::tensor::{Shape, View, ViewMut};

/// A convolution with its weights packed for one kernel. Any number of threads may run the same layer at the
/// same time, each to an output of its own.
pub struct sepconv_layer {
    _private: (),
}

impl Opaque for sepconv_layer {
    type Held = Held;
    const MAGIC: u64 = u64::from_le_bytes(*b"sclayer1");
    const NAME: &'static str = "layer";
}

/// What a layer holds.
pub(super) struct Held {
    layer: Layer,
    kernel: CString,
}

enum Layer {
    Pointwise(Pointwise),
    Depthwise(Depthwise),
    Conv(Conv),
}

/// In which order weights lie.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum sepconv_order {
    /// Outputs, inputs of a group, rows, columns, as PyTorch has them; depthwise: channels, 1, rows, columns.
    Oihw = 0,
    /// Rows, columns, inputs of a group, outputs, as TensorFlow has them; depthwise: rows, columns, channels, 1.
    Hwio = 1,
}

/// The weights of a layer. They are copied.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct sepconv_weights {
    /// One of `sepconv_order`.
    pub order: u32,
    /// Outputs x inputs of a group x rows x columns floats.
    pub weights: *const f32,
    /// How many there are.
    pub weights_length: usize,
    /// A float an output; null for zeros.
    pub bias: *const f32,
    /// How many there are; 0 where `bias` is null.
    pub bias_length: usize,
}

/// A pointwise (1x1) convolution, or a fully connected layer, which is one of a single pixel.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct sepconv_pointwise {
    /// Input channels.
    pub inputs: usize,
    /// Output channels.
    pub outputs: usize,
    /// Input rows and pixels from one that is read to the next: 1 to 32768.
    pub stride: usize,
    /// Equal slices of the channels, each convolved by itself; 1, or a divisor of inputs and outputs.
    pub groups: usize,
    /// About how many output pixels a run will have; any number can be run.
    pub pixels: usize,
}

/// Some rows and some channels of a layer's output.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct sepconv_part {
    /// First output row.
    pub row_begin: usize,
    /// One past the last.
    pub row_end: usize,
    /// First output channel: a multiple of `sepconv_layer_channel_step`.
    pub channel_begin: usize,
    /// One past the last: another multiple, or the number of channels.
    pub channel_end: usize,
}

/// The shape of a layer's weights.
struct Sizes {
    outputs: usize,
    /// Of a group.
    inputs: usize,
    taps: usize,
}

/// The caller's, or in another order.
type Floats<'a> = Cow<'a, [f32]>;

impl sepconv_weights {
    /// Weights in the order OIHW, and a bias. Lengths that do not fit are left to the operator, which says what does.
    ///
    /// # Safety
    /// By the contract of the interface.
    unsafe fn read<'a>(&self, sizes: &Sizes) -> Checked<(Floats<'a>, Floats<'a>)> {
        let Sizes { outputs, inputs, taps } = *sizes;
        // SAFETY: by this function's own contract.
        let (weights, bias) = unsafe {
            (array(self.weights, self.weights_length, "weights")?, array(self.bias, self.bias_length, "bias")?)
        };
        let count = outputs.checked_mul(inputs).and_then(|count| count.checked_mul(taps));
        let fits = count == Some(weights.len()) && !weights.is_empty();
        let weights = match self.order {
            0 => Cow::Borrowed(weights),
            1 if fits => {
                let at = |at: usize| {
                    let (output, input, tap) = (at / (inputs * taps), at / taps % inputs, at % taps);
                    weights[(tap * inputs + input) * outputs + output]
                };
                Cow::Owned(collect("weights", weights.len(), (0..weights.len()).map(at))?)
            }
            1 => Cow::Borrowed(weights),
            order => return Err(Failure::bad(format!("order: got {order}, expected one of sepconv_order"))),
        };
        // Where weights are missing, so many zeros might be more than there is room for.
        let bias = match self.bias.is_null() && fits {
            true => Cow::Owned(collect("bias", outputs, std::iter::repeat(0.0))?),
            false => Cow::Borrowed(bias),
        };
        Ok((weights, bias))
    }
}

fn held(layer: Layer) -> *mut sepconv_layer {
    let kernel = match &layer {
        Layer::Pointwise(layer) => layer.kernel().name(),
        Layer::Depthwise(layer) => layer.kernel().name(),
        Layer::Conv(layer) => layer.kernel().name(),
    };
    handle::new(Held { layer, kernel: CString::new(kernel).unwrap_or_default() })
}

/// Packs a pointwise convolution for the kernels of `isa` (null: see `sepconv_isa_chosen`), and writes its handle.
///
/// An error where a length is not that of `what`, or the groups do not divide the channels.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sepconv_pointwise_new(
    isa: *const c_char,
    what: *const sepconv_pointwise,
    weights: *const sepconv_weights,
    layer: *mut *mut sepconv_layer,
) -> sepconv_status {
    // SAFETY: by the contract of the interface.
    guard(|| unsafe {
        let layer = place(layer, "layer")?;
        let &sepconv_pointwise { inputs, outputs, stride, groups, pixels } = read(what, "what")?;
        let params = PointwiseParams { stride, groups, ..PointwiseParams::new(inputs, outputs) };
        let sizes = Sizes { outputs, inputs: inputs.checked_div(groups).unwrap_or(0), taps: 1 };
        let (weights, bias) = read(weights, "weights")?.read(&sizes)?;
        let packed = Pointwise::new(kernels(isa)?, params, pixels, &weights, &bias)?;
        layer.write(held(Layer::Pointwise(packed)));
        Ok(())
    })
}

/// Packs a depthwise convolution of `channels` channels, each under `window` by itself: 3x3 or 5x5 with a stride of 1 or
/// 2 both ways, 3x3 with a dilation of 2 or 4, 1x3 or 3x1. `input_lo`, where it is not null, is a number that inputs are
/// clamped to from below before they are used.
///
/// An error where a length is not that of the window and the channels, or there is no kernel for the window.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sepconv_depthwise_new(
    isa: *const c_char,
    channels: usize,
    window: *const sepconv_window,
    input_lo: *const f32,
    weights: *const sepconv_weights,
    layer: *mut *mut sepconv_layer,
) -> sepconv_status {
    // SAFETY: by the contract of the interface.
    guard(|| unsafe {
        let layer = place(layer, "layer")?;
        let window = read(window, "window")?.window();
        let input_lo = optional(input_lo, "input_lo")?.copied();
        if input_lo.is_some_and(f32::is_nan) {
            return Err(Failure::bad("input_lo: got NaN, expected a number"));
        }
        let params = DepthwiseParams { input_lo, ..DepthwiseParams::new(channels, window) };
        let sizes = Sizes { outputs: channels, inputs: 1, taps: window.taps() };
        let (weights, bias) = read(weights, "weights")?.read(&sizes)?;
        let packed = Depthwise::new(kernels(isa)?, params, &weights, &bias)?;
        layer.write(held(Layer::Depthwise(packed)));
        Ok(())
    })
}

/// Packs a dense convolution of `inputs` to `outputs` channels under `window`, of any size and strides, without dilation,
/// its padding no larger than the window.
///
/// An error where a length is not that of the window and the channels, or the window is none of these.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sepconv_conv_new(
    isa: *const c_char,
    inputs: usize,
    outputs: usize,
    window: *const sepconv_window,
    weights: *const sepconv_weights,
    layer: *mut *mut sepconv_layer,
) -> sepconv_status {
    // SAFETY: by the contract of the interface.
    guard(|| unsafe {
        let layer = place(layer, "layer")?;
        let window = read(window, "window")?.window();
        let sizes = Sizes { outputs, inputs, taps: window.taps() };
        let (weights, bias) = read(weights, "weights")?.read(&sizes)?;
        let packed = Conv::new(kernels(isa)?, ConvParams::new(inputs, outputs, window), &weights, &bias)?;
        layer.write(held(Layer::Conv(packed)));
        Ok(())
    })
}

/// Frees a layer, which no thread may be running. Null is nothing to free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sepconv_layer_free(layer: *mut sepconv_layer) -> sepconv_status {
    // SAFETY: by the contract of the interface.
    guard(|| unsafe { handle::free(layer) })
}

impl Layer {
    fn inputs(&self) -> usize {
        match self {
            Layer::Pointwise(layer) => layer.params().inputs,
            Layer::Depthwise(layer) => layer.params().channels,
            Layer::Conv(layer) => layer.params().inputs,
        }
    }

    fn output(&self, input: Shape) -> Result<Shape> {
        match self {
            Layer::Pointwise(layer) => layer.output(input),
            Layer::Depthwise(layer) => layer.output(input),
            Layer::Conv(layer) => layer.output(input),
        }
    }

    fn channel_step(&self) -> usize {
        match self {
            Layer::Pointwise(layer) => layer.channel_step(),
            Layer::Depthwise(layer) => layer.channel_step(),
            Layer::Conv(layer) => layer.channel_step(),
        }
    }

    fn run_part(&self, part: &Part, input: View<'_>, epilogue: Epilogue<'_>, output: ViewMut<'_>) -> Result<()> {
        match self {
            Layer::Pointwise(layer) => layer.run_part(part, input, epilogue, output),
            Layer::Depthwise(layer) => layer.run_part(part, input, epilogue, output),
            Layer::Conv(layer) => layer.run_part(part, input, epilogue, output),
        }
    }
}

/// Writes the shape of the whole output for an input of `height` x `width` pixels; an error where the window does not fit.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sepconv_layer_output(
    layer: *const sepconv_layer,
    height: usize,
    width: usize,
    shape: *mut sepconv_shape,
) -> sepconv_status {
    // SAFETY: by the contract of the interface.
    guard(|| unsafe {
        let (layer, shape) = (&handle::get(layer)?.layer, place(shape, "shape")?);
        let input = Shape::new(height, width, layer.inputs());
        if input.pixels() > isize::MAX as usize {
            return Err(Error::shape("input", input, "as many pixels as fit the address space").into());
        }
        shape.write(layer.output(input)?.into());
        Ok(())
    })
}

/// Writes the number of output channels that those of a part begin and end at a multiple of, or at the last one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sepconv_layer_channel_step(layer: *const sepconv_layer, step: *mut usize) -> sepconv_status {
    // SAFETY: by the contract of the interface.
    guard(|| unsafe {
        let (layer, step) = (&handle::get(layer)?.layer, place(step, "step")?);
        step.write(layer.channel_step());
        Ok(())
    })
}

/// Writes the name of the kernel that the weights are packed for, such as `pw_f32_6x16_avx2`. It lives as long as the layer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sepconv_layer_kernel(layer: *const sepconv_layer, name: *mut *const c_char) -> sepconv_status {
    // SAFETY: by the contract of the interface.
    guard(|| unsafe {
        let (held, name) = (handle::get(layer)?, place(name, "name")?);
        name.write(held.kernel.as_ptr());
        Ok(())
    })
}

/// Computes a part of the output (null: all of it) from the whole `input`: `clamp(bias + sum + residual)`. `output`, and
/// `residual` where it is not null, have the size of the part, and begin with its first row and channel: threads that run
/// one layer, each a part of its own, give the bits of one run. `output` must not overlap `input` or `residual`; slices of
/// the channels of one array do not. Allocates nothing, unless it fails.
///
/// An error where a size is another, or the part is none of this output.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sepconv_layer_run(
    layer: *const sepconv_layer,
    part: *const sepconv_part,
    input: *const sepconv_image,
    residual: *const sepconv_image,
    clamp: *const sepconv_clamp,
    output: *const sepconv_image_mut,
) -> sepconv_status {
    // SAFETY: by the contract of the interface.
    guard(|| unsafe {
        let layer = &handle::get(layer)?.layer;
        let (part, input) = (optional(part, "part")?, view(input, "input")?);
        let residual = if residual.is_null() { None } else { Some(view(residual, "residual")?) };
        let epilogue = Epilogue { residual, clamp: read_clamp(clamp)? };
        let whole = layer.output(input.layout().shape())?;
        let part = part.map_or_else(
            || Part::all(whole),
            |part| Part { rows: part.row_begin..part.row_end, channels: part.channel_begin..part.channel_end },
        );
        Ok(layer.run_part(&part, input, epilogue, view_mut(output, "output")?)?)
    })
}
