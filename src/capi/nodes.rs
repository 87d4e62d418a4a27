//! The calls of a builder that make a node.

use std::ffi::{c_char, c_int};

use super::builder::{Held, call, sepconv_builder, sepconv_tensor};
use super::parameters::sepconv_parameters;
use super::pointer::{read, text};
use super::status::{Checked, Failure, sepconv_status};
use super::types::{read_clamp, sepconv_clamp, sepconv_window};
use crate::error::Result;
use crate::graph::{Flatten, Tensor};

/// Does what every call that makes a node of one input does: `make` has the builder, the name and the input.
///
/// # Safety
/// By the contract of the interface.
unsafe fn node(
    builder: *mut sepconv_builder,
    name: *const c_char,
    input: sepconv_tensor,
    output: *mut sepconv_tensor,
    make: impl FnOnce(&mut Held, &str, Tensor) -> Checked<Result<Tensor>>,
) -> sepconv_status {
    // SAFETY: by this function's own contract.
    unsafe {
        call(builder, output, |held| {
            let (name, input) = (text(name, "name")?, held.tensor(input, "input")?);
            make(held, name, input)
        })
    }
}

/// How a fully connected layer takes the elements of an image, one after the other.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum sepconv_flatten {
    /// Channel by channel, row by row: as PyTorch flattens.
    ChannelsFirst = 0,
    /// Row by row, pixel by pixel, all channels of each: as Keras flattens.
    ChannelsLast = 1,
}

/// A dense convolution to `outputs` channels under a window of any size, without dilation. Weights O, I, kh, kw.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sepconv_builder_conv(
    builder: *mut sepconv_builder,
    name: *const c_char,
    input: sepconv_tensor,
    outputs: usize,
    window: *const sepconv_window,
    parameters: *const sepconv_parameters,
    clamp: *const sepconv_clamp,
    output: *mut sepconv_tensor,
) -> sepconv_status {
    // SAFETY: by the contract of the interface.
    unsafe {
        node(builder, name, input, output, |held, name, input| {
            let window = read(window, "window")?.window();
            let layer = read(parameters, "parameters")?.layer(outputs, clamp)?;
            Ok(held.builder.conv(name, input, outputs, window, layer))
        })
    }
}

/// A depthwise convolution: each channel under a window of its own, one of those that `sepconv_depthwise_new` has kernels
/// for (a plan refuses others). Weights C, 1, kh, kw.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sepconv_builder_depthwise(
    builder: *mut sepconv_builder,
    name: *const c_char,
    input: sepconv_tensor,
    window: *const sepconv_window,
    parameters: *const sepconv_parameters,
    clamp: *const sepconv_clamp,
    output: *mut sepconv_tensor,
) -> sepconv_status {
    // SAFETY: by the contract of the interface.
    unsafe {
        node(builder, name, input, output, |held, name, input| {
            let window = read(window, "window")?.window();
            let channels = held.builder.shape(input)?.channels;
            let layer = read(parameters, "parameters")?.layer(channels, clamp)?;
            Ok(held.builder.depthwise(name, input, window, layer))
        })
    }
}

/// A pointwise (1x1) convolution to `outputs` channels in `groups` (1, or a divisor of inputs and outputs): equal slices of
/// the input channels, each to an equal slice of the outputs. Weights O, I of a group, 1, 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sepconv_builder_pointwise(
    builder: *mut sepconv_builder,
    name: *const c_char,
    input: sepconv_tensor,
    outputs: usize,
    groups: usize,
    parameters: *const sepconv_parameters,
    clamp: *const sepconv_clamp,
    output: *mut sepconv_tensor,
) -> sepconv_status {
    // SAFETY: by the contract of the interface.
    unsafe {
        node(builder, name, input, output, |held, name, input| {
            let layer = read(parameters, "parameters")?.layer(outputs, clamp)?;
            Ok(held.builder.grouped_pointwise(name, input, outputs, groups, layer))
        })
    }
}

/// A fully connected layer to `outputs` channels; its input has one pixel. Weights O, I.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sepconv_builder_fully_connected(
    builder: *mut sepconv_builder,
    name: *const c_char,
    input: sepconv_tensor,
    outputs: usize,
    parameters: *const sepconv_parameters,
    clamp: *const sepconv_clamp,
    output: *mut sepconv_tensor,
) -> sepconv_status {
    // SAFETY: by the contract of the interface.
    unsafe {
        node(builder, name, input, output, |held, name, input| {
            let layer = read(parameters, "parameters")?.layer(outputs, clamp)?;
            Ok(held.builder.fully_connected(name, input, outputs, layer))
        })
    }
}

/// A fully connected layer to `outputs` channels from all elements of an image, which `order` (one of `sepconv_flatten`)
/// lays out in one row. Weights outputs x elements.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sepconv_builder_flattened(
    builder: *mut sepconv_builder,
    name: *const c_char,
    input: sepconv_tensor,
    order: u32,
    outputs: usize,
    parameters: *const sepconv_parameters,
    clamp: *const sepconv_clamp,
    output: *mut sepconv_tensor,
) -> sepconv_status {
    // SAFETY: by the contract of the interface.
    unsafe {
        node(builder, name, input, output, |held, name, input| {
            let order = match order {
                0 => Flatten::ChannelsFirst,
                1 => Flatten::ChannelsLast,
                _ => return Err(Failure::bad(format!("order: got {order}, expected one of sepconv_flatten"))),
            };
            let layer = read(parameters, "parameters")?.layer(outputs, clamp)?;
            Ok(held.builder.flattened(name, input, order, outputs, layer))
        })
    }
}

/// A leaky ReLU, `x < 0 ? x * slope : x`, then the batch normalisation of `parameters`, which have no weights, then the
/// clamp.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sepconv_builder_leaky_norm(
    builder: *mut sepconv_builder,
    name: *const c_char,
    input: sepconv_tensor,
    slope: f32,
    parameters: *const sepconv_parameters,
    clamp: *const sepconv_clamp,
    output: *mut sepconv_tensor,
) -> sepconv_status {
    // SAFETY: by the contract of the interface.
    unsafe {
        node(builder, name, input, output, |held, name, input| {
            let layer = read(parameters, "parameters")?.layer(0, clamp)?;
            Ok(held.builder.leaky_norm(name, input, slope, layer))
        })
    }
}

/// The sum of two tensors of one shape, clamped.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sepconv_builder_add(
    builder: *mut sepconv_builder,
    name: *const c_char,
    a: sepconv_tensor,
    b: sepconv_tensor,
    clamp: *const sepconv_clamp,
    output: *mut sepconv_tensor,
) -> sepconv_status {
    // SAFETY: by the contract of the interface.
    unsafe {
        call(builder, output, |held| {
            let (name, a, b) = (text(name, "name")?, held.tensor(a, "a")?, held.tensor(b, "b")?);
            Ok(held.builder.add(name, a, b, read_clamp(clamp)?))
        })
    }
}

/// A clamp by itself: a plan makes it part of its neighbours where it can.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sepconv_builder_clamp(
    builder: *mut sepconv_builder,
    name: *const c_char,
    input: sepconv_tensor,
    clamp: *const sepconv_clamp,
    output: *mut sepconv_tensor,
) -> sepconv_status {
    // SAFETY: by the contract of the interface.
    unsafe {
        node(builder, name, input, output, |held, name, input| {
            read(clamp, "clamp")?;
            Ok(held.builder.clamp(name, input, read_clamp(clamp)?))
        })
    }
}

/// Max pooling. Padding never counts.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sepconv_builder_max_pool(
    builder: *mut sepconv_builder,
    name: *const c_char,
    input: sepconv_tensor,
    window: *const sepconv_window,
    output: *mut sepconv_tensor,
) -> sepconv_status {
    // SAFETY: by the contract of the interface.
    unsafe {
        node(builder, name, input, output, |held, name, input| {
            Ok(held.builder.max_pool(name, input, read(window, "window")?.window()))
        })
    }
}

/// Average pooling, over all taps where `count_padding` is not 0, else over those inside the image.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sepconv_builder_average_pool(
    builder: *mut sepconv_builder,
    name: *const c_char,
    input: sepconv_tensor,
    window: *const sepconv_window,
    count_padding: c_int,
    output: *mut sepconv_tensor,
) -> sepconv_status {
    // SAFETY: by the contract of the interface.
    unsafe {
        node(builder, name, input, output, |held, name, input| {
            let window = read(window, "window")?.window();
            Ok(held.builder.average_pool(name, input, window, count_padding != 0))
        })
    }
}

/// The mean of each channel: an image of one pixel.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sepconv_builder_global_average_pool(
    builder: *mut sepconv_builder,
    name: *const c_char,
    input: sepconv_tensor,
    output: *mut sepconv_tensor,
) -> sepconv_status {
    // SAFETY: by the contract of the interface.
    unsafe { node(builder, name, input, output, |held, name, input| Ok(held.builder.global_average_pool(name, input))) }
}
