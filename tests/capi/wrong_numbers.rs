//! Numbers, names and sizes of layers that are wrong: calls, each with its status and what its message says.

use std::ffi::{CString, c_char};
use std::ptr;

use sepconv::Isa;
use sepconv::capi::layers::*;
use sepconv::capi::library::sepconv_isa_chosen;
use sepconv::capi::status::sepconv_status::{
    self, BadArgument, Length, Misaligned, NullArgument, Shape, UnsupportedIsa,
};
use sepconv::capi::types::*;

use crate::common::*;
use crate::wrong_pointers::{Right, right};

const MAX: usize = usize::MAX;

/// A name that is not UTF-8.
pub const LATIN: &[u8] = b"caf\xe9\0";

/// Checks what became of a call.
#[track_caller]
pub fn refused(status: sepconv_status, expected: sepconv_status, part: &str) {
    assert_eq!(status, expected, "{}", message());
    assert!(message().contains(part), "{:?}, expected {part:?}", message());
}

/// An ISA that cannot run here.
pub fn unsupported() -> CString {
    let isa = Isa::ALL.into_iter().find(|isa| !Isa::supported().contains(isa)).unwrap();
    CString::new(isa.as_str()).unwrap()
}

pub fn window(size: usize, stride: usize) -> sepconv_window {
    sepconv_window_symmetric(size, stride)
}

#[test]
fn layers_refuse_wrong_numbers() {
    let floats = numbers(4096, 1);
    let w = |count: usize, bias: usize| weights(0, &floats[..count], &floats[..bias]);
    let mut layer = ptr::null_mut::<sepconv_layer>();
    let (latin, none) = (LATIN.as_ptr().cast::<c_char>(), unsupported());
    let right = sepconv_pointwise { inputs: 4, outputs: 6, stride: 1, groups: 1, pixels: 16 };
    // SAFETY: all that is pointed to is there, or must be refused.
    unsafe {
        let mut isa = ptr::null();
        refused(sepconv_isa_chosen(c"mmx".as_ptr(), &mut isa), BadArgument, "unknown ISA \"mmx\"");
        refused(sepconv_isa_chosen(none.as_ptr(), &mut isa), UnsupportedIsa, "cannot run here");
        refused(sepconv_isa_chosen(latin, &mut isa), BadArgument, "expected UTF-8");
        assert!(isa.is_null());

        let mut pointwise = |isa: *const c_char, what, w: &sepconv_weights, status, part| {
            refused(sepconv_pointwise_new(isa, &what, w, &mut layer), status, part);
        };
        let best = ptr::null();
        pointwise(c"mmx".as_ptr(), right, &w(24, 6), BadArgument, "unknown ISA");
        pointwise(none.as_ptr(), right, &w(24, 6), UnsupportedIsa, "cannot run here");
        pointwise(latin, right, &w(24, 6), BadArgument, "isa: ");
        for (groups, stride, part) in [(0, 1, "groups"), (4, 1, "groups"), (MAX, 1, "groups"), (1, 0, "1 to 32768")] {
            let what = sepconv_pointwise { groups, stride, ..right };
            pointwise(best, what, &w(24, 6), Shape, part);
        }
        pointwise(best, sepconv_pointwise { stride: MAX, ..right }, &w(24, 6), Shape, "1 to 32768");
        pointwise(best, right, &w(23, 6), Length, "got 23 elements, expected 6 x 4");
        pointwise(best, right, &w(0, 6), Length, "got 0 elements");
        pointwise(best, right, &w(24, 5), Length, "bias (outputs): got 5");
        for (inputs, outputs) in [(MAX, 6), (4, MAX), (MAX, MAX), (0, MAX)] {
            let what = sepconv_pointwise { inputs, outputs, ..right };
            pointwise(best, what, &w(24, 6), Length, "pointwise");
            pointwise(best, what, &sepconv_weights { order: 1, ..w(24, 0) }, Length, "pointwise");
        }
        pointwise(best, right, &sepconv_weights { order: 2, ..w(24, 6) }, BadArgument, "order: got 2");
        pointwise(
            best,
            right,
            &sepconv_weights { weights: ptr::null(), ..w(24, 6) },
            NullArgument,
            "weights: got NULL",
        );
        pointwise(best, right, &sepconv_weights { bias: ptr::null(), ..w(24, 6) }, NullArgument, "bias: got NULL");
        let odd = floats.as_ptr().wrapping_byte_add(2);
        pointwise(best, right, &sepconv_weights { weights: odd, ..w(24, 6) }, Misaligned, "multiple of 4 bytes");
        pointwise(best, right, &sepconv_weights { bias: odd, ..w(24, 6) }, Misaligned, "bias: ");
        for length in [MAX, MAX / 4, isize::MAX as usize / 4 + 1] {
            let long = sepconv_weights { weights_length: length, ..w(24, 6) };
            pointwise(best, right, &long, BadArgument, "fit the address space");
        }

        let mut depthwise = |window: sepconv_window, w: &sepconv_weights, status, part| {
            refused(sepconv_depthwise_new(ptr::null(), 4, &window, ptr::null(), w, &mut layer), status, part);
        };
        let three = window(3, 1);
        depthwise(window(7, 1), &w(196, 4), Shape, "depthwise window");
        depthwise(window(3, 3), &w(36, 4), Shape, "depthwise window");
        depthwise(sepconv_window { stride_rows: 2, ..three }, &w(36, 4), Shape, "both ways");
        depthwise(sepconv_window { height: 0, ..three }, &w(36, 4), Shape, "depthwise window");
        depthwise(sepconv_window { width: MAX, height: MAX, ..three }, &w(36, 4), Shape, "depthwise window");
        depthwise(sepconv_window { pad_top: MAX, ..three }, &w(36, 4), Shape, "depthwise window");
        depthwise(three, &w(35, 4), Length, "depthwise weights");
        depthwise(three, &w(36, 3), Length, "depthwise bias");
        let status = sepconv_depthwise_new(ptr::null(), 4, &three, &f32::NAN, &w(36, 4), &mut layer);
        refused(status, BadArgument, "input_lo: got NaN");
        let status = sepconv_depthwise_new(ptr::null(), MAX, &three, ptr::null(), &w(36, 4), &mut layer);
        refused(status, Length, "depthwise weights");

        let mut conv = |inputs, outputs, window: sepconv_window, status, part| {
            refused(sepconv_conv_new(ptr::null(), inputs, outputs, &window, &w(108, 3), &mut layer), status, part);
        };
        conv(4, 3, sepconv_window { dilation_rows: 2, ..three }, Shape, "no dilation");
        conv(4, 3, sepconv_window { width: 0, ..three }, Shape, "conv window");
        conv(4, 3, sepconv_window { stride_columns: 0, ..three }, Shape, "conv window");
        conv(4, 3, sepconv_window { height: MAX, width: MAX, ..three }, Shape, "conv window");
        conv(5, 3, three, Length, "conv weights");
        conv(MAX, MAX, three, Length, "conv weights");
        conv(4, 2, three, Length, "conv weights");
    }
    assert!(layer.is_null(), "a call that was refused wrote");
}

#[test]
fn runs_of_layers_refuse_wrong_numbers() {
    let Right { layer, floats, .. } = &right();
    let mut written = [0.0; 80];
    let (input, output) = (image(&floats[..64], (4, 4, 4)), image_mut(&mut written, (4, 4, 5)));
    let residual = image(&floats[..80], (4, 4, 5));
    // SAFETY: all that is pointed to is there, or must be refused.
    unsafe {
        let mut shape = sepconv_shape { height: 1, width: 1, channels: 1 };
        refused(sepconv_layer_output(layer.0, MAX, MAX, &mut shape), Shape, "address space");
        let three = window(3, 1);
        let three = sepconv_window { pad_top: 0, pad_bottom: 0, ..three };
        let w = weights(0, &floats[..36], &floats[..4]);
        let dw = Handle::new(|place| sepconv_depthwise_new(ptr::null(), 4, &three, ptr::null(), &w, place));
        refused(sepconv_layer_output(dw.0, 2, 9, &mut shape), Shape, "at least 3x3");
        assert_eq!(shape.height, 1);

        let run =
            |part: Option<[usize; 4]>, input, residual: Option<sepconv_image>, clamp: Option<(f32, f32)>, output| {
                let part = part.map(|[row_begin, row_end, channel_begin, channel_end]| sepconv_part {
                    row_begin,
                    row_end,
                    channel_begin,
                    channel_end,
                });
                let clamp = clamp.map(|(lo, hi)| sepconv_clamp { lo, hi });
                let (part, residual) = (part.as_ref(), residual.as_ref());
                let (part, clamp) =
                    (part.map_or(ptr::null(), ptr::from_ref), clamp.as_ref().map_or(ptr::null(), ptr::from_ref));
                sepconv_layer_run(layer.0, part, &input, residual.map_or(ptr::null(), ptr::from_ref), clamp, &output)
            };
        let odd = |data: *const f32| data.wrapping_byte_add(1);
        for (input, status, part) in [
            (sepconv_image { channels: 3, ..input }, Shape, "4 channels"),
            (sepconv_image { channels: 0, ..input }, Shape, "4 channels"),
            (sepconv_image { height: 3, ..input }, Shape, "pointwise output"),
            (sepconv_image { length: 63, ..input }, Length, "input: got 63 elements, expected at least 64"),
            (sepconv_image { length: 0, ..input }, Length, "input: got 0 elements"),
            (sepconv_image { data: ptr::null(), ..input }, NullArgument, "input: got NULL"),
            (sepconv_image { data: odd(input.data), ..input }, Misaligned, "input: got the address"),
            (sepconv_image { pixel_stride: 3, ..input }, Shape, "pixel stride of at least the channels"),
            (sepconv_image { row_stride: 15, ..input }, Shape, "a row stride that holds the row"),
            (sepconv_image { row_stride: 17, ..input }, Length, "expected at least 67"),
            (sepconv_image { height: MAX, ..input }, Shape, "fit the address space"),
            (sepconv_image { width: MAX, ..input }, Shape, "fit the address space"),
            (sepconv_image { channels: MAX, ..input }, Shape, "fit the address space"),
            (sepconv_image { row_stride: MAX, ..input }, Shape, "fit the address space"),
            (sepconv_image { length: MAX, ..input }, BadArgument, "fit the address space"),
        ] {
            refused(run(None, input, None, None, output), status, part);
        }
        for (residual, status, part) in [
            (sepconv_image { channels: 4, ..residual }, Shape, "pointwise residual"),
            (sepconv_image { length: 79, ..residual }, Length, "residual: got 79 elements"),
            (sepconv_image { data: ptr::null(), ..residual }, NullArgument, "residual: got NULL"),
            (sepconv_image { data: odd(residual.data), ..residual }, Misaligned, "residual: "),
        ] {
            refused(run(None, input, Some(residual), None, output), status, part);
        }
        for (output, status, part) in [
            (sepconv_image_mut { width: 3, ..output }, Shape, "pointwise output"),
            (sepconv_image_mut { length: 79, ..output }, Length, "output: got 79 elements"),
            (sepconv_image_mut { data: ptr::null_mut(), ..output }, NullArgument, "output: got NULL"),
            (sepconv_image_mut { data: odd(output.data).cast_mut(), ..output }, Misaligned, "output: "),
        ] {
            refused(run(None, input, None, None, output), status, part);
        }
        for part in
            [[0, 5, 0, 5], [3, 2, 0, 5], [0, 4, 0, 6], [0, 4, 5, 0], [0, 4, 1, 5], [0, 4, 0, 4], [MAX, MAX, 0, 5]]
        {
            refused(run(Some(part), input, None, None, output), Shape, "pointwise part");
        }
        refused(run(Some([0, 3, 0, 5]), input, None, None, output), Shape, "pointwise output");
        for clamp in [(f32::NAN, 1.0), (0.0, f32::NAN), (1.0, 0.0)] {
            refused(run(None, input, None, Some(clamp), output), BadArgument, "clamp: got");
        }
        assert!(written.iter().all(|&value| value == 0.0), "a run that was refused wrote");
    }
}
