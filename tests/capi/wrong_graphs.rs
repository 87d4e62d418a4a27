//! Numbers, names and sizes of graphs and plans that are wrong: calls, each with its status and what its message says.

use std::ffi::{CStr, c_char, c_void};
use std::ptr;

use sepconv::AlignedBuffer;
use sepconv::capi::builder::*;
use sepconv::capi::graph::*;
use sepconv::capi::nodes::*;
use sepconv::capi::parameters::sepconv_parameters;
use sepconv::capi::plan::*;
use sepconv::capi::saved::*;
use sepconv::capi::status::sepconv_status::{
    self, BadArgument, Blob, Length, Misaligned, NullArgument, OtherBlob, Shape, UnsupportedIsa, Weights,
};
use sepconv::capi::types::*;

use crate::common::*;
use crate::graphs::{named, parameters};
use crate::wrong_numbers::{LATIN, refused, unsupported, window};
use crate::wrong_pointers::{Right, right};

const MAX: usize = usize::MAX;

#[test]
fn builders_refuse_wrong_numbers() {
    let Right { builder, tensor, floats, .. } = &right();
    let (other, b, image) = (right(), builder.0, *tensor);
    let (mut to, mut graph, nil) = (image, ptr::null_mut(), ptr::null());
    let (w, latin, name) = (named(c"w"), LATIN.as_ptr().cast::<c_char>(), c"x".as_ptr());
    let arrays = |count: usize, bias: usize| sepconv_parameters {
        weights: floats.as_ptr(),
        weights_length: count,
        bias: floats.as_ptr(),
        bias_length: bias,
        ..parameters()
    };
    let norm = sepconv_parameters { norm: c"bn".as_ptr(), epsilon: 1e-3, ..parameters() };
    let four = floats.as_ptr();
    let norm_arrays = sepconv_parameters { scale: four, shift: four, mean: four, variance: four, ..parameters() };
    // SAFETY: all that is pointed to is there, or must be refused.
    unsafe {
        for (height, width, channels) in [(0, 4, 4), (4, 0, 4), (4, 4, 0), (MAX, 1, 1), (MAX, MAX, MAX)] {
            let shape = sepconv_shape { height, width, channels };
            refused(sepconv_builder_input(b, name, shape, &mut to), Shape, "x: shape");
        }
        let mut shape = sepconv_shape { height: 4, width: 4, channels: 4 };
        refused(sepconv_builder_input(b, c"".as_ptr(), shape, &mut to), Shape, "an empty one");
        refused(sepconv_builder_input(b, c"image".as_ptr(), shape, &mut to), Shape, "another node");
        refused(sepconv_builder_input(b, latin, shape, &mut to), BadArgument, "expected UTF-8");

        let three = window(3, 1);
        let bounds = sepconv_clamp { lo: 0.0, hi: 1.0 };
        for tensor in [other.tensor, sepconv_tensor { index: 99, ..image }, sepconv_tensor { builder: 0, index: 0 }] {
            let wrong = |status, what: &str| {
                assert_eq!(status, Shape, "{what}: {}", message());
                let got = format!("{what}: got tensor {} of builder {}, expected", tensor.index, tensor.builder);
                assert!(message().starts_with(&got), "{}, expected {got}", message());
            };
            wrong(sepconv_builder_conv(b, name, tensor, 5, &three, &w, nil, &mut to), "input");
            wrong(sepconv_builder_depthwise(b, name, tensor, &three, &w, nil, &mut to), "input");
            wrong(sepconv_builder_pointwise(b, name, tensor, 5, 1, &w, nil, &mut to), "input");
            wrong(sepconv_builder_fully_connected(b, name, tensor, 5, &w, nil, &mut to), "input");
            wrong(sepconv_builder_flattened(b, name, tensor, 0, 5, &w, nil, &mut to), "input");
            wrong(sepconv_builder_leaky_norm(b, name, tensor, 0.1, &norm, nil, &mut to), "input");
            wrong(sepconv_builder_add(b, name, tensor, image, nil, &mut to), "a");
            wrong(sepconv_builder_add(b, name, image, tensor, nil, &mut to), "b");
            wrong(sepconv_builder_clamp(b, name, tensor, &bounds, &mut to), "input");
            wrong(sepconv_builder_max_pool(b, name, tensor, &three, &mut to), "input");
            wrong(sepconv_builder_average_pool(b, name, tensor, &three, 1, &mut to), "input");
            wrong(sepconv_builder_global_average_pool(b, name, tensor, &mut to), "input");
            wrong(sepconv_builder_slice(b, tensor, 0, 1, &mut to), "input");
            wrong(sepconv_builder_split(b, tensor, [4].as_ptr(), 1, &mut to), "input");
            wrong(sepconv_builder_concat(b, [image, tensor].as_ptr(), 2, &mut to), "inputs[1]");
            wrong(sepconv_builder_shuffle(b, tensor, 2, &mut to), "input");
            wrong(sepconv_builder_build(b, &tensor, 1, &mut graph), "outputs[0]");
            wrong(sepconv_builder_shape(b, tensor, &mut shape), "tensor");
        }

        let conv = |outputs, window: sepconv_window, parameters: &sepconv_parameters| {
            let mut to = image;
            sepconv_builder_conv(b, name, image, outputs, &window, parameters, nil, &mut to)
        };
        refused(conv(0, three, &w), Shape, "x: outputs");
        refused(conv(MAX, three, &w), Shape, "x: outputs");
        refused(conv(5, sepconv_window { pad_top: 4, ..three }, &w), Shape, "x: conv padding");
        refused(conv(5, sepconv_window { dilation_rows: 2, ..three }, &w), Shape, "no dilation");
        refused(conv(5, sepconv_window { stride_rows: 0, ..three }, &w), Shape, "x: conv window");
        refused(conv(5, sepconv_window { height: MAX, width: MAX, ..three }, &w), Shape, "x: ");
        refused(conv(5, window(9, 1), &parameters()), Shape, "x: weights");
        refused(conv(5, three, &arrays(179, 5)), Shape, "x: weights: got 179 elements");
        refused(conv(5, three, &arrays(180, 4)), Shape, "x: bias: got 4 elements");
        refused(conv(5, three, &arrays(MAX, 5)), BadArgument, "parameters.weights: ");
        refused(
            conv(5, three, &sepconv_parameters { bias: nil.cast(), ..arrays(180, 5) }),
            NullArgument,
            "parameters.bias",
        );
        refused(conv(5, three, &sepconv_parameters { name, ..arrays(180, 5) }), BadArgument, "a name and arrays");
        refused(conv(5, three, &sepconv_parameters { norm: name, ..norm_arrays }), BadArgument, "a name and arrays");
        // What would be ignored: alone, and beside a name.
        for own in [parameters(), w, norm] {
            let with_bias = sepconv_parameters { bias: four, bias_length: 5, ..own };
            refused(conv(5, three, &with_bias), BadArgument, "parameters.bias: got an array");
            let leaky = sepconv_builder_leaky_norm(b, name, image, 0.1, &with_bias, nil, &mut to);
            refused(leaky, BadArgument, "parameters.bias: got an array");
            for (wrong, part) in [
                (sepconv_parameters { bias_length: 5, ..own }, "parameters.bias: got NULL, expected 5 elements"),
                (
                    sepconv_parameters { weights_length: 180, ..own },
                    "parameters.weights: got NULL, expected 180 elements",
                ),
            ] {
                refused(conv(5, three, &wrong), NullArgument, part);
                let leaky = sepconv_builder_leaky_norm(b, name, image, 0.1, &wrong, nil, &mut to);
                refused(leaky, NullArgument, part);
            }
        }
        let length = sepconv_parameters { norm_length: 5, ..w };
        refused(conv(5, three, &length), NullArgument, "parameters.scale: got NULL, expected 5 elements");
        refused(conv(5, three, &sepconv_parameters { norm: name, ..length }), BadArgument, "norm_length");
        let biased = sepconv_parameters { has_bias: 1, ..norm };
        let leaky = sepconv_builder_leaky_norm(b, name, image, 0.1, &biased, nil, &mut to);
        refused(leaky, BadArgument, "parameters.has_bias: got a bias without weights");
        refused(conv(5, three, &sepconv_parameters { name: c"".as_ptr(), ..w }), Shape, "an empty name");
        refused(conv(5, three, &sepconv_parameters { name: latin, ..w }), BadArgument, "parameters.name");
        let short = sepconv_parameters { name, norm_length: 4, ..norm_arrays };
        refused(conv(5, three, &short), Shape, "x: normalisation scale: got 4 elements");
        for epsilon in [-1.0, 1.0, f64::NAN] {
            refused(conv(5, three, &sepconv_parameters { name, epsilon, ..norm }), Shape, "x: epsilon");
        }
        let crossed = sepconv_clamp { lo: 1.0, hi: 0.0 };
        refused(
            sepconv_builder_conv(b, name, image, 5, &three, &w, &crossed, &mut to),
            BadArgument,
            "clamp: got 1 to 0",
        );
        refused(sepconv_builder_clamp(b, name, image, &crossed, &mut to), BadArgument, "clamp: got 1 to 0");

        let far = sepconv_window { pad_left: 3, ..three };
        refused(sepconv_builder_depthwise(b, name, image, &far, &w, nil, &mut to), Shape, "x: depthwise padding");
        refused(sepconv_builder_max_pool(b, name, image, &far, &mut to), Shape, "x: ");
        refused(sepconv_builder_average_pool(b, name, image, &window(6, 0), 0, &mut to), Shape, "x: ");
        for groups in [0, 3, MAX] {
            refused(sepconv_builder_pointwise(b, name, image, 8, groups, &w, nil, &mut to), Shape, "x: ");
            refused(sepconv_builder_shuffle(b, image, groups, &mut to), Shape, "shuffle: groups");
        }
        refused(sepconv_builder_fully_connected(b, name, image, 5, &w, nil, &mut to), Shape, "an image of one pixel");
        refused(sepconv_builder_flattened(b, name, image, 2, 5, &w, nil, &mut to), BadArgument, "order: got 2");
        refused(sepconv_builder_leaky_norm(b, name, image, f32::NAN, &norm, nil, &mut to), Shape, "x: slope");
        refused(sepconv_builder_leaky_norm(b, name, image, 0.1, &w, nil, &mut to), Shape, "x: layer");
        for (first, count) in [(0, 0), (4, 1), (0, 5), (MAX, MAX), (1, MAX)] {
            refused(sepconv_builder_slice(b, image, first, count, &mut to), Shape, "slice: channels");
        }
        refused(sepconv_builder_concat(b, ptr::null(), 0, &mut to), Shape, "concat: inputs");
        refused(sepconv_builder_concat(b, &image, MAX, &mut to), BadArgument, "inputs: got");
        for channels in [[4, 0], [2, 3], [MAX, 5]] {
            let mut two = [image; 2];
            refused(sepconv_builder_split(b, image, channels.as_ptr(), 2, two.as_mut_ptr()), Shape, "split: channels");
        }
        refused(sepconv_builder_split(b, image, [4].as_ptr(), MAX, &mut to), BadArgument, "channels: got");
        refused(sepconv_builder_build(b, ptr::null(), 0, &mut graph), Shape, "graph: outputs");
        refused(sepconv_builder_build(b, [image; 2].as_ptr(), 2, &mut graph), Shape, "the tensor twice");
        refused(sepconv_builder_build(b, &image, MAX, &mut graph), BadArgument, "outputs: got");
        // Nothing of it is in the way of a node of this name.
        ok(sepconv_builder_max_pool(b, name, image, &three, &mut to));
        refused(sepconv_builder_add(b, c"y".as_ptr(), image, other.tensor, nil, &mut to), Shape, "b: got tensor");
    }
    assert!(graph.is_null(), "a call that was refused wrote");
}

#[test]
fn networks_refuse_wrong_numbers() {
    let mut graph = ptr::null_mut();
    let digits = network(c"mobilenet_v1");
    let flavor = |flavor: &CStr| sepconv_network { flavor: flavor.as_ptr(), ..digits };
    // SAFETY: all that is pointed to is there.
    unsafe {
        for (network, part) in [
            (network(c"lenet"), "network lenet: expected one of digits"),
            (network(c""), "network : expected"),
            (flavor(c"onnx"), "flavor onnx: expected one of torch"),
            (flavor(c"caffe"), "flavor caffe: expected one of torch"),
            (sepconv_network { width: -1.0, ..digits }, "width -1"),
            (sepconv_network { width: 17.0, ..digits }, "width 17"),
            (sepconv_network { width: f64::NAN, ..digits }, "width NaN"),
            (sepconv_network { resolution: 8193, ..digits }, "resolution 8193"),
            (sepconv_network { resolution: MAX, ..digits }, "1 to 8192 pixels"),
            (sepconv_network { classes: (1 << 20) + 1, ..digits }, "classes 1048577"),
            (sepconv_network { groups: 3, ..digits }, "groups 3: expected none"),
            (sepconv_network { name: LATIN.as_ptr().cast(), ..digits }, "network.name: "),
        ] {
            refused(sepconv_graph_network(&network, &mut graph), BadArgument, part);
        }
        let load = |bytes: &[u8]| {
            let mut graph = ptr::null_mut();
            sepconv_graph_load(bytes.as_ptr(), bytes.len(), &mut graph)
        };
        refused(load(b""), Weights, "not a readable safetensors file");
        refused(load(b"\xff\xff\xff\xff\xff\xff\xff\xff{}"), Weights, "not a readable safetensors file");
        refused(load(b"\x02\0\0\0\0\0\0\0{}"), BadArgument, "not named in the file");
        refused(sepconv_graph_load(b"".as_ptr(), MAX, &mut graph), BadArgument, "safetensors: got");
    }
    assert!(graph.is_null(), "a call that was refused wrote");
}

#[test]
fn plans_refuse_wrong_numbers() {
    let Right { graph, plan, floats, builder, tensor, .. } = &right();
    let (mut to, nil) = (ptr::null_mut(), ptr::null());
    let (none, defaults) = (unsupported(), ptr::null());
    let zeros = sepconv_plan_options { isa: ptr::null(), batch: 0, fusion: 0, low_memory: 0 };
    let array =
        |name: &'static CStr, length| sepconv_named_array { name: name.as_ptr(), data: floats.as_ptr(), length };
    // SAFETY: all that is pointed to is there, or must be refused.
    unsafe {
        for (options, status, part) in [
            (sepconv_plan_options { isa: c"mmx".as_ptr(), ..zeros }, BadArgument, "unknown ISA"),
            (sepconv_plan_options { isa: none.as_ptr(), ..zeros }, UnsupportedIsa, "cannot run here"),
            (sepconv_plan_options { isa: LATIN.as_ptr().cast(), ..zeros }, BadArgument, "options.isa"),
            (sepconv_plan_options { fusion: 2, ..zeros }, BadArgument, "options.fusion: got 2"),
            (sepconv_plan_options { batch: 65537, ..zeros }, Shape, "batch"),
            (sepconv_plan_options { batch: MAX, ..zeros }, Shape, "batch"),
        ] {
            refused(sepconv_plan_from_names(graph.0, nil, &options, &mut to), status, part);
        }
        let file = b"\x02\0\0\0\0\0\0\0{}";
        refused(sepconv_plan_new(graph.0, file.as_ptr(), 10, nil, defaults, &mut to), Weights, "pw.weight");
        refused(sepconv_plan_new(graph.0, file.as_ptr(), 9, nil, defaults, &mut to), Weights, "not a readable");
        let arrays = |arrays: &[sepconv_named_array], status, part| {
            let mut to = ptr::null_mut();
            let made = sepconv_plan_from_arrays(graph.0, arrays.as_ptr(), arrays.len(), nil, defaults, &mut to);
            refused(made, status, part);
        };
        let own = array(c"pw.weight", 20);
        arrays(&[], Weights, "pw.weight");
        arrays(&[array(c"pw.weight", 19)], Weights, "19 elements");
        arrays(&[own, array(c"other.bias", 5)], Weights, "other.bias");
        arrays(&[own, own], BadArgument, "arrays[1].name: got pw.weight again");
        arrays(&[array(c"pw.weight", MAX)], BadArgument, "arrays[0].data: got");
        let without_data = sepconv_named_array { data: nil.cast(), ..own };
        arrays(&[own, without_data], NullArgument, "arrays[1].data: got NULL, expected 20 elements");
        let without_name = sepconv_named_array { name: nil.cast(), ..own };
        arrays(&[own, without_name], NullArgument, "arrays[1].name: got NULL, expected text");
        arrays(&[sepconv_named_array { data: [f32::NAN; 20].as_ptr(), ..own }], Weights, "NaN");
        let made = sepconv_plan_from_arrays(graph.0, &own, MAX, nil, defaults, &mut to);
        refused(made, BadArgument, "arrays: got");
        refused(sepconv_plan_with_batch(plan.0, 65537, &mut to), Shape, "batch");

        // A layer without a kernel, and more inputs than a run takes.
        let (mut x, mut odd) = (*tensor, ptr::null_mut());
        ok(sepconv_builder_depthwise(builder.0, c"dw".as_ptr(), x, &window(7, 1), &named(c"dw"), ptr::null(), &mut x));
        ok(sepconv_builder_build(builder.0, &x, 1, &mut odd));
        let odd = Handle(odd);
        refused(sepconv_plan_from_names(odd.0, nil, defaults, &mut to), Shape, "dw: depthwise window");
        let many = crate::common::builder();
        let mut inputs = vec![*tensor; 65];
        for (index, input) in inputs.iter_mut().enumerate() {
            let name = std::ffi::CString::new(index.to_string()).unwrap();
            let shape = sepconv_shape { height: 1, width: 1, channels: 1 };
            ok(sepconv_builder_input(many.0, name.as_ptr(), shape, input));
        }
        let mut all = *tensor;
        ok(sepconv_builder_concat(many.0, inputs.as_ptr(), 65, &mut all));
        let many: Handle<sepconv_graph> = Handle::new(|place| sepconv_builder_build(many.0, &all, 1, place));
        refused(sepconv_plan_from_names(many.0, nil, defaults, &mut to), BadArgument, "got 65 inputs");

        let empty = sepconv_shape { height: 0, width: 0, channels: 0 };
        let mut port = sepconv_port { name: ptr::null(), shape: empty };
        refused(sepconv_plan_input(plan.0, 1, &mut port), BadArgument, "input 1, expected one of 1");
        refused(sepconv_plan_output(plan.0, MAX, &mut port), BadArgument, "expected one of 1");
        assert!(port.name.is_null() && to.is_null(), "a call that was refused wrote");
    }
}

#[test]
fn blobs_refuse_wrong_numbers() {
    let Right { plan, graph, .. } = &right();
    let (mut length, mut to, nil) = (99usize, ptr::null_mut(), ptr::null());
    // SAFETY: all that is pointed to is there, or must be refused.
    unsafe {
        let mut bytes = 0;
        ok(sepconv_plan_save(plan.0, ptr::null_mut(), 0, &mut bytes));
        let mut blob = AlignedBuffer::zeroed(bytes / 4).unwrap();
        let at = blob.as_mut_ptr().cast::<c_void>();
        for short in [0, 1, bytes - 1] {
            let status = sepconv_plan_save(plan.0, at, short, &mut length);
            refused(status, Length, &format!("blob: got {short} bytes, expected at least {bytes}"));
        }
        refused(sepconv_plan_save(plan.0, ptr::null_mut(), bytes, &mut length), NullArgument, "blob: got NULL");
        assert!(length == 99 && blob.iter().all(|&element| element == 0.0), "a call that was refused wrote");
        ok(sepconv_plan_save(plan.0, at, bytes, &mut length));
        assert_eq!(length, bytes);

        let zeros = sepconv_load_options { isa: nil, verify: 0 };
        let none = unsupported();
        for (options, status, part) in [
            (sepconv_load_options { isa: c"mmx".as_ptr(), ..zeros }, BadArgument, "unknown ISA"),
            (sepconv_load_options { isa: none.as_ptr(), ..zeros }, UnsupportedIsa, "cannot run here"),
            (sepconv_load_options { isa: LATIN.as_ptr().cast(), ..zeros }, BadArgument, "options.isa"),
        ] {
            refused(sepconv_plan_load(at, bytes, &options, &mut to), status, part);
        }
        refused(sepconv_plan_load(ptr::null(), 0, &zeros, &mut to), NullArgument, "blob: got NULL");
        refused(sepconv_plan_load(at, MAX, &zeros, &mut to), BadArgument, "blob: got");
        for short in [0, 7, 8, 63, 64, bytes - 64, bytes - 1] {
            refused(sepconv_plan_load(at, short, &zeros, &mut to), Blob, "not a readable saved plan");
        }
        let mut damaged = blob.to_vec();
        *damaged.last_mut().unwrap() = 1.0;
        let verified = sepconv_load_options { verify: 1, ..zeros };
        refused(sepconv_plan_load(damaged.as_ptr().cast(), bytes, &verified, &mut to), Blob, "weights are damaged");
        damaged[4] = 1.0;
        refused(sepconv_plan_load(damaged.as_ptr().cast(), bytes, &zeros, &mut to), Blob, "its head");
        damaged[2] = 1.0;
        refused(sepconv_plan_load(damaged.as_ptr().cast(), bytes, &zeros, &mut to), OtherBlob, "saved for format");
        assert!(to.is_null(), "a call that was refused wrote");
        // For an ISA that is not the chosen one.
        let portable = c"portable".as_ptr();
        let options = sepconv_plan_options { isa: portable, batch: 0, fusion: 0, low_memory: 0 };
        let plan: Handle<sepconv_plan> =
            Handle::new(|place| sepconv_plan_from_names(graph.0, ptr::null(), &options, place));
        ok(sepconv_plan_save(plan.0, ptr::null_mut(), 0, &mut bytes));
        let mut blob = AlignedBuffer::zeroed(bytes / 4).unwrap();
        let at = blob.as_mut_ptr().cast::<c_void>();
        ok(sepconv_plan_save(plan.0, at, bytes, &mut length));
        if sepconv::Isa::selected().unwrap() != sepconv::Isa::Portable {
            refused(sepconv_plan_load(at, bytes, ptr::null(), &mut to), OtherBlob, "saved for ISA portable");
        }
        let load = sepconv_load_options { isa: portable, verify: 1 };
        drop(Handle::<sepconv_plan>::new(|place| sepconv_plan_load(at, bytes, &load, place)));
    }
}

/// A plan with a workspace: a pointwise layer whose output is not the last.
#[test]
fn runs_of_plans_refuse_wrong_numbers() {
    let graph = graph_of(&sepconv_network { classes: 5, ..network(c"digits") });
    // SAFETY: all that is pointed to is there, or must be refused.
    unsafe {
        let options = sepconv_plan_options { isa: ptr::null(), batch: 2, fusion: 0, low_memory: 0 };
        let plan: Handle<sepconv_plan> =
            Handle::new(|place| sepconv_plan_from_names(graph.0, ptr::null(), &options, place));
        let (images, mut memory) = (numbers(2 * 784, 1), workspace(&plan));
        let (start, bytes) = (memory.as_mut_ptr().cast::<c_void>(), memory.len() * 4);
        let mut logits = [0.0; 10];
        let (input, output) = (batch(&images, 2, (28, 28, 1)), batch_mut(&mut logits, 2, (1, 1, 5)));
        let run =
            |start: *mut c_void, bytes, inputs: &[sepconv_batch], outputs: &[sepconv_batch_mut]| -> sepconv_status {
                let (inputs, outputs) = ((inputs.as_ptr(), inputs.len()), (outputs.as_ptr(), outputs.len()));
                sepconv_plan_run(plan.0, ptr::null(), start, bytes, inputs.0, inputs.1, outputs.0, outputs.1)
            };
        refused(run(start, bytes - 1, &[input], &[output]), Length, "workspace: got");
        refused(run(start, 0, &[input], &[output]), Length, "workspace: got 0 bytes");
        refused(run(ptr::null_mut(), bytes, &[input], &[output]), NullArgument, "workspace: got NULL");
        refused(run(ptr::null_mut(), MAX, &[input], &[output]), NullArgument, "workspace: got NULL");
        for odd in [1, 4, 32] {
            refused(
                run(start.wrapping_byte_add(odd), bytes, &[input], &[output]),
                Misaligned,
                "workspace: got the address",
            );
        }
        let second = sepconv_batch { first: sepconv_image { length: 1, ..input.first }, ..input };
        refused(run(start, bytes, &[input, second], &[output]), Length, "inputs[1]: got 1 elements");
        refused(run(start, bytes, &[], &[output]), Shape, "inputs: got 0, expected 1");
        refused(run(start, bytes, &[input; 2], &[output]), Shape, "inputs: got 2, expected 1");
        refused(run(start, bytes, &[input], &[]), Shape, "outputs: got 0, expected 1");
        refused(run(start, bytes, &[input; 65], &[output]), Shape, "inputs: got 65, expected at most 64");
        refused(run(start, bytes, &[input], &[output; 65]), Shape, "outputs: got 65, expected at most 64");
        let many = sepconv_plan_run(plan.0, ptr::null(), start, bytes, &input, MAX, &output, 1);
        refused(many, BadArgument, "inputs: got");

        let first = input.first;
        let of = |first| sepconv_batch { first, ..input };
        for (input, status, part) in [
            (sepconv_batch { count: 1, ..input }, Shape, "1 images of 28x28x1"),
            (sepconv_batch { count: 0, ..input }, Shape, "0 images"),
            (sepconv_batch { count: 3, ..input }, Length, "inputs[0]: got 1568 elements, expected at least 2352"),
            (sepconv_batch { count: MAX, ..input }, Shape, "all addressable"),
            (sepconv_batch { image_stride: 783, ..input }, Shape, "at least 784 from one to the next"),
            (sepconv_batch { image_stride: 785, ..input }, Length, "expected at least 1569"),
            (sepconv_batch { image_stride: MAX, ..input }, Shape, "all addressable"),
            (of(sepconv_image { height: 27, ..first }), Shape, "input \"image\""),
            (of(sepconv_image { channels: 0, ..first }), Shape, "input \"image\""),
            (of(sepconv_image { width: MAX, ..first }), Shape, "fit the address space"),
            (of(sepconv_image { length: 1567, ..first }), Length, "inputs[0]: got 1567 elements"),
            (of(sepconv_image { length: MAX, ..first }), BadArgument, "fit the address space"),
            (
                of(sepconv_image { data: ptr::null(), ..first }),
                NullArgument,
                "inputs[0]: got NULL, expected 1568 floats",
            ),
            (
                of(sepconv_image { data: first.data.wrapping_byte_add(2), ..first }),
                Misaligned,
                "inputs[0]: got the address",
            ),
            (
                of(sepconv_image { data: start.cast(), ..first }),
                BadArgument,
                "inputs[0]: lies in the workspace; give memory apart",
            ),
        ] {
            refused(run(start, bytes, &[input], &[output]), status, part);
        }
        let first = output.first;
        let of = |first| sepconv_batch_mut { first, ..output };
        for (output, status, part) in [
            (sepconv_batch_mut { count: 1, ..output }, Shape, "1 images of 1x1x5"),
            (sepconv_batch_mut { image_stride: 4, ..output }, Shape, "at least 5 from one to the next"),
            (of(sepconv_image_mut { channels: 4, ..first }), Shape, "output \"fc_16\""),
            (of(sepconv_image_mut { length: 9, ..first }), Length, "outputs[0]: got 9 elements"),
            (of(sepconv_image_mut { data: ptr::null_mut(), ..first }), NullArgument, "outputs[0]: got NULL"),
            (of(sepconv_image_mut { data: start.cast(), ..first }), BadArgument, "outputs[0]: lies in the workspace"),
        ] {
            refused(run(start, bytes, &[input], &[output]), status, part);
        }
        assert_eq!(logits, [0.0; 10], "a run that was refused wrote");
        ok(run(start, bytes, &[input], &[output]));
    }
}
