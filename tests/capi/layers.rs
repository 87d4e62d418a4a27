//! Layers: the bits of the Rust interface, whole and in parts, in both orders of the weights, with gaps between pixels.

use std::ffi::CStr;
use std::ptr;

use sepconv::capi::layers::{
    sepconv_conv_new, sepconv_depthwise_new, sepconv_layer, sepconv_layer_channel_step, sepconv_layer_kernel,
    sepconv_layer_output, sepconv_layer_run, sepconv_part, sepconv_pointwise, sepconv_pointwise_new,
};
use sepconv::capi::types::{
    sepconv_clamp, sepconv_image, sepconv_image_mut, sepconv_shape, sepconv_window_same, sepconv_window_symmetric,
};
use sepconv::ops::{Conv, ConvParams, Depthwise, DepthwiseParams, Epilogue, Pointwise, PointwiseParams};
use sepconv::{Clamp, Isa, Result, Shape, View, ViewMut, Window};

use crate::common::{Handle, allocations, bits, image, image_mut, numbers, ok, weights};

const HEIGHT: usize = 7;
const WIDTH: usize = 6;

/// Weights of outputs x inputs x taps as taps x inputs x outputs.
fn hwio(oihw: &[f32], outputs: usize, taps: usize) -> Vec<f32> {
    let inputs = oihw.len() / outputs / taps;
    let at = |at: usize| {
        let (tap, input, output) = (at / outputs / inputs, at / outputs % inputs, at % outputs);
        oihw[(output * inputs + input) * taps + tap]
    };
    (0..oihw.len()).map(at).collect()
}

/// A layer of the Rust interface, run.
type Run<'a> = &'a dyn Fn(View<'_>, Epilogue<'_>, ViewMut<'_>) -> Result<()>;

/// Runs both, with a residual and gaps, whole and in parts.
fn compare(name: &str, layer: &Handle<sepconv_layer>, kernel: &str, inputs: usize, whole: Shape, rust: Run<'_>) {
    let clamp = sepconv_clamp { lo: -0.5, hi: 1.5 };
    let (input, residual) = (numbers(HEIGHT * WIDTH * inputs, 1), numbers(whole.len(), 2));
    let mut expected = vec![0.0; whole.len()];
    let Shape { height, width, channels } = whole;
    let epilogue = Epilogue::add(View::tight(&residual, height, width, channels).unwrap(), Clamp::new(-0.5, 1.5));
    let view = View::tight(&input, HEIGHT, WIDTH, inputs).unwrap();
    rust(view, epilogue, ViewMut::tight(&mut expected, height, width, channels).unwrap()).unwrap();

    // Three floats between a pixel and the next, five more between rows.
    let (input_pixel, output_pixel) = (inputs + 3, channels + 3);
    let (input_row, output_row) = (WIDTH * input_pixel + 5, width * output_pixel + 5);
    let mut spaced = vec![f32::NAN; HEIGHT * input_row];
    for (at, pixel) in input.chunks_exact(inputs).enumerate() {
        spaced[at / WIDTH * input_row + at % WIDTH * input_pixel..][..inputs].copy_from_slice(pixel);
    }
    let from =
        sepconv_image { pixel_stride: input_pixel, row_stride: input_row, ..image(&spaced, (HEIGHT, WIDTH, inputs)) };
    let (mut step, mut shape) = (0, sepconv_shape { height: 0, width: 0, channels: 0 });
    let mut named = ptr::null();
    // SAFETY: the handle lives, and the places are local ones.
    unsafe {
        ok(sepconv_layer_channel_step(layer.0, &mut step));
        ok(sepconv_layer_output(layer.0, HEIGHT, WIDTH, &mut shape));
        ok(sepconv_layer_kernel(layer.0, &mut named));
        assert_eq!(CStr::from_ptr(named).to_str(), Ok(kernel));
    }
    assert_eq!(Shape::from(shape), whole, "{name}");
    let cut = step.min(channels);
    let parts = [
        vec![(0..height, 0..channels)],
        vec![(0..1, 0..channels), (1..height - 1, 0..channels), (height - 1..height, 0..channels)],
        vec![(0..height, 0..cut), (0..height, cut..channels)],
    ];
    for parts in parts {
        let mut output = vec![7.0; height * output_row];
        for (rows, part_channels) in parts.iter().filter(|(_, channels)| !channels.is_empty()).cloned() {
            let part = sepconv_part {
                row_begin: rows.start,
                row_end: rows.end,
                channel_begin: part_channels.start,
                channel_end: part_channels.end,
            };
            let of_part = (rows.len(), width, part_channels.len());
            let residual_from = (rows.start * width * channels) + part_channels.start;
            let residual = sepconv_image { pixel_stride: channels, ..image(&residual[residual_from..], of_part) };
            let residual = sepconv_image { row_stride: width * channels, ..residual };
            let to = &mut output[rows.start * output_row + part_channels.start..];
            let to = sepconv_image_mut { pixel_stride: output_pixel, row_stride: output_row, ..image_mut(to, of_part) };
            let all = rows == (0..height) && part_channels == (0..channels);
            let part = if all { ptr::null() } else { &part };
            let before = allocations();
            // SAFETY: all of these are local, and large enough.
            ok(unsafe { sepconv_layer_run(layer.0, part, &from, &residual, &clamp, &to) });
            assert_eq!(allocations(), before, "{name}: a run allocates");
        }
        for (at, pixel) in expected.chunks_exact(channels).enumerate() {
            let own = &output[at / width * output_row + at % width * output_pixel..];
            assert_eq!(bits(&own[..channels]), bits(pixel), "{name}, {parts:?}: pixel {at}");
            assert!(own[channels..].iter().take(3).all(|&gap| gap == 7.0), "{name}: wrote between pixels");
        }
    }
}

#[test]
fn pointwise_layers_have_the_bits_of_rust() {
    for isa in Isa::supported() {
        for (inputs, outputs, stride, groups) in [(19, 70, 1, 1), (24, 66, 2, 1), (24, 72, 1, 3)] {
            let (w, bias) = (numbers(outputs * inputs / groups, 3), numbers(outputs, 4));
            let params = PointwiseParams { stride, groups, ..PointwiseParams::new(inputs, outputs) };
            let rust = Pointwise::new(isa.kernels().unwrap(), params, 42, &w, &bias).unwrap();
            let whole = rust.output(Shape::new(HEIGHT, WIDTH, inputs)).unwrap();
            let what = sepconv_pointwise { inputs, outputs, stride, groups, pixels: 42 };
            let name = std::ffi::CString::new(isa.as_str()).unwrap();
            for (order, w) in [(0, w.clone()), (1, hwio(&w, outputs, 1))] {
                // SAFETY: all of these are local.
                let layer = Handle::new(|place| unsafe {
                    sepconv_pointwise_new(name.as_ptr(), &what, &weights(order, &w, &bias), place)
                });
                let run =
                    |view: View<'_>, epilogue: Epilogue<'_>, output: ViewMut<'_>| rust.run(view, epilogue, output);
                compare(&format!("{params:?} on {isa}"), &layer, rust.kernel().name(), inputs, whole, &run);
            }
        }
    }
}

#[test]
fn depthwise_layers_have_the_bits_of_rust() {
    let kernels = Isa::selected().unwrap().kernels().unwrap();
    for (size, stride, input_lo) in [(3, 1, None), (3, 2, Some(0.0)), (5, 1, Some(-0.25))] {
        let (channels, window) = (37, Window::square(size).stride(stride).symmetric());
        let (w, bias) = (numbers(channels * size * size, 3), numbers(channels, 4));
        let params = DepthwiseParams { input_lo, ..DepthwiseParams::new(channels, window) };
        let rust = Depthwise::new(kernels, params, &w, &bias).unwrap();
        let whole = rust.output(Shape::new(HEIGHT, WIDTH, channels)).unwrap();
        let window = sepconv_window_symmetric(size, stride);
        for (order, w) in [(0, w.clone()), (1, hwio(&w, channels, size * size))] {
            let lo = input_lo.as_ref().map_or(ptr::null(), ptr::from_ref);
            // SAFETY: all of these are local.
            let layer = Handle::new(|place| unsafe {
                sepconv_depthwise_new(ptr::null(), channels, &window, lo, &weights(order, &w, &bias), place)
            });
            let run = |view: View<'_>, epilogue: Epilogue<'_>, output: ViewMut<'_>| rust.run(view, epilogue, output);
            compare(&format!("{params:?}"), &layer, rust.kernel().name(), channels, whole, &run);
        }
    }
}

#[test]
fn dense_layers_have_the_bits_of_rust() {
    let kernels = Isa::selected().unwrap().kernels().unwrap();
    for (inputs, outputs, stride) in [(3, 40, 2), (5, 33, 1)] {
        let window = Window::square(3).stride(stride).same(Shape::new(HEIGHT, WIDTH, inputs));
        let (w, bias) = (numbers(outputs * inputs * 9, 3), vec![0.0; outputs]);
        let rust = Conv::new(kernels, ConvParams::new(inputs, outputs, window), &w, &bias).unwrap();
        let whole = rust.output(Shape::new(HEIGHT, WIDTH, inputs)).unwrap();
        let window = sepconv_window_same(3, stride, HEIGHT, WIDTH);
        for (order, w) in [(0, w.clone()), (1, hwio(&w, outputs, 9))] {
            // Without a bias: zeros. SAFETY: all of these are local.
            let layer = Handle::new(|place| unsafe {
                sepconv_conv_new(ptr::null(), inputs, outputs, &window, &weights(order, &w, &[]), place)
            });
            let run = |view: View<'_>, epilogue: Epilogue<'_>, output: ViewMut<'_>| rust.run(view, epilogue, output);
            compare(&format!("{window:?}"), &layer, rust.kernel().name(), inputs, whole, &run);
        }
    }
}

#[test]
fn images_without_elements_need_no_memory() {
    let (w, bias) = (numbers(5 * 4, 3), numbers(5, 4));
    let what = sepconv_pointwise { inputs: 4, outputs: 5, stride: 1, groups: 1, pixels: 1 };
    let none = sepconv_image { data: ptr::null(), ..image(&[], (0, 9, 4)) };
    let to = sepconv_image_mut { data: ptr::null_mut(), ..image_mut(&mut [], (0, 9, 5)) };
    // SAFETY: all of these are local.
    unsafe {
        let layer = Handle::new(|place| sepconv_pointwise_new(ptr::null(), &what, &weights(0, &w, &bias), place));
        ok(sepconv_layer_run(layer.0, ptr::null(), &none, ptr::null(), ptr::null(), &to));
    }
}
