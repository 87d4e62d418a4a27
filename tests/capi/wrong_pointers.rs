//! Null, misaligned and foreign pointers: each argument of each function, with its status and message.

use std::collections::BTreeSet;
use std::ffi::c_void;
use std::ptr;

use sepconv::capi::builder::*;
use sepconv::capi::graph::*;
use sepconv::capi::layers::*;
use sepconv::capi::library::sepconv_isa_chosen;
use sepconv::capi::nodes::*;
use sepconv::capi::plan::*;
use sepconv::capi::saved::*;
use sepconv::capi::status::sepconv_status::{self, Misaligned, NotAHandle, NullArgument, Ok};
use sepconv::capi::threads::sepconv_threads;
use sepconv::capi::types::*;

use crate::common::*;
use crate::graphs::{named, parameters};

/// A call with one of its pointers given, all else being right.
type Call<'a> = Box<dyn Fn(*mut c_void) -> sepconv_status + 'a>;

/// What is right for each type of argument; the calls are given the addresses.
pub struct Right {
    pub layer: Handle<sepconv_layer>,
    pub builder: Handle<sepconv_builder>,
    pub graph: Handle<sepconv_graph>,
    pub plan: Handle<sepconv_plan>,
    pub tensor: sepconv_tensor,
    pub floats: Vec<f32>,
}

/// A builder with the input `image` of 4x4x4, its graph with one layer `pw` of five outputs, its plan, and that layer.
pub fn right() -> Right {
    let (floats, builder) = (numbers(4096, 1), builder());
    let mut tensor = sepconv_tensor { builder: 0, index: 0 };
    let mut output = tensor;
    let shape = sepconv_shape { height: 4, width: 4, channels: 4 };
    let what = sepconv_pointwise { inputs: 4, outputs: 5, stride: 1, groups: 1, pixels: 16 };
    let name = c"pw".as_ptr();
    // SAFETY: the handles and all that is pointed to live.
    unsafe {
        ok(sepconv_builder_input(builder.0, c"image".as_ptr(), shape, &mut tensor));
        ok(sepconv_builder_pointwise(builder.0, name, tensor, 5, 1, &named(c"pw"), ptr::null(), &mut output));
        let graph: Handle<sepconv_graph> = Handle::new(|place| sepconv_builder_build(builder.0, &output, 1, place));
        let plan = Handle::new(|place| sepconv_plan_from_names(graph.0, ptr::null(), ptr::null(), place));
        let w = weights(0, &floats[..20], &floats[..5]);
        let layer = Handle::new(|place| sepconv_pointwise_new(ptr::null(), &what, &w, place));
        Right { layer, builder, graph, plan, tensor, floats }
    }
}

/// The addresses of places and structs that are right.
struct Places {
    tensor: sepconv_tensor,
    shape: sepconv_shape,
    port: sepconv_port,
    text: *const std::ffi::c_char,
    size: usize,
    handle: *mut c_void,
}

#[test]
fn pointers_that_are_none_are_refused() {
    let right = right();
    let Right { tensor, floats, .. } = &right;
    let (layer, builder, graph, plan) = (right.layer.0, right.builder.0, right.graph.0, right.plan.0);
    let tensor = *tensor;
    let shape = sepconv_shape { height: 4, width: 4, channels: 4 };
    let port = sepconv_port { name: ptr::null(), shape };
    let mut places = Places { tensor, shape, port, text: ptr::null(), size: 0, handle: ptr::null_mut() };
    let Places { tensor: to, shape: shape_to, port: port_to, text, size, handle } = &mut places;
    let (to, shape_to, port_to) = (&raw mut *to, &raw mut *shape_to, &raw mut *port_to);
    let (text, size, handle) = (&raw mut *text, &raw mut *size, &raw mut *handle);
    let window = sepconv_window_symmetric(3, 1);
    let w = weights(0, &floats[..20], &floats[..5]);
    let of_dw = weights(0, &floats[..36], &floats[..4]);
    let of_conv = weights(0, &floats[..180], &floats[..5]);
    let what = sepconv_pointwise { inputs: 4, outputs: 5, stride: 1, groups: 1, pixels: 16 };
    let own = named(c"own");
    let bounds = sepconv_clamp { lo: 0.0, hi: 6.0 };
    let input = image(&floats[..64], (4, 4, 4));
    let mut written = [0.0; 80];
    let output = image_mut(&mut written, (4, 4, 5));
    let (from, into) = (
        sepconv_batch { first: input, count: 1, image_stride: 0 },
        sepconv_batch_mut { first: output, count: 1, image_stride: 0 },
    );
    let mut memory = workspace(&right.plan);
    let (start, bytes) = (memory.as_mut_ptr().cast::<c_void>(), memory.len() * 4);
    let network = network(c"digits");
    let array = sepconv_named_array { name: c"pw.weight".as_ptr(), data: floats.as_ptr(), length: 20 };
    let options = sepconv_plan_options { isa: ptr::null(), batch: 1, fusion: 0, low_memory: 0 };
    let load = &sepconv_load_options { isa: ptr::null(), verify: 1 };
    let pair = [tensor; 2];
    let (nil, name) = (ptr::null::<sepconv_clamp>(), c"name".as_ptr());

    // Kind of handle, function, call with the address of the handle.
    let mut handles: Vec<(&str, &str, Call<'_>)> = Vec::new();
    // Function, argument, whether null is refused, whether its type has an alignment, call with its address.
    let mut pointers: Vec<(&str, &str, bool, bool, Call<'_>)> = Vec::new();
    macro_rules! handle {
        ($($kind:literal $function:ident |$at:ident| ($($argument:expr),*);)*) => {
            $(handles.push(($kind, stringify!($function), Box::new(move |$at| $function($($argument),*))));)*
        };
    }
    macro_rules! pointer {
        ($($function:ident $argument:literal $null:ident $aligned:ident |$at:ident| ($($given:expr),*);)*) => {
            $(pointers.push((
                stringify!($function), $argument, stringify!($null) == "required", stringify!($aligned) == "aligned",
                Box::new(move |$at| $function($($given),*)),
            ));)*
        };
    }
    let (window, own, bounds, w, of_dw, of_conv, what) = (&window, &own, &bounds, &w, &of_dw, &of_conv, &what);
    let (input, output, from, into) = (&input, &output, &from, &into);
    let (network, array, options, tensors) = (&network, &array, &options, &pair);
    let (no_threads, file) = (ptr::null::<sepconv_threads>(), floats.as_ptr().cast::<u8>());
    // SAFETY: all pointers are right but the one that is tested, which the library must not follow.
    unsafe {
        handle! {
            "layer" sepconv_layer_free |at| (at.cast());
            "layer" sepconv_layer_output |at| (at.cast(), 4, 4, shape_to);
            "layer" sepconv_layer_channel_step |at| (at.cast(), size);
            "layer" sepconv_layer_kernel |at| (at.cast(), text);
            "layer" sepconv_layer_run |at| (at.cast(), ptr::null(), input, ptr::null(), nil, output);
            "builder" sepconv_builder_free |at| (at.cast());
            "builder" sepconv_builder_build |at| (at.cast(), tensors.as_ptr(), 1, handle.cast());
            "builder" sepconv_builder_shape |at| (at.cast(), tensor, shape_to);
            "builder" sepconv_builder_input |at| (at.cast(), name, shape, to);
            "builder" sepconv_builder_conv |at| (at.cast(), name, tensor, 5, window, own, nil, to);
            "builder" sepconv_builder_depthwise |at| (at.cast(), name, tensor, window, own, nil, to);
            "builder" sepconv_builder_pointwise |at| (at.cast(), name, tensor, 5, 1, own, nil, to);
            "builder" sepconv_builder_fully_connected |at| (at.cast(), name, tensor, 5, own, nil, to);
            "builder" sepconv_builder_flattened |at| (at.cast(), name, tensor, 0, 5, own, nil, to);
            "builder" sepconv_builder_leaky_norm |at| (at.cast(), name, tensor, 0.1, own, nil, to);
            "builder" sepconv_builder_add |at| (at.cast(), name, tensor, tensor, nil, to);
            "builder" sepconv_builder_clamp |at| (at.cast(), name, tensor, bounds, to);
            "builder" sepconv_builder_max_pool |at| (at.cast(), name, tensor, window, to);
            "builder" sepconv_builder_average_pool |at| (at.cast(), name, tensor, window, 0, to);
            "builder" sepconv_builder_global_average_pool |at| (at.cast(), name, tensor, to);
            "builder" sepconv_builder_slice |at| (at.cast(), tensor, 0, 1, to);
            "builder" sepconv_builder_split |at| (at.cast(), tensor, [4].as_ptr(), 1, to);
            "builder" sepconv_builder_concat |at| (at.cast(), tensors.as_ptr(), 2, to);
            "builder" sepconv_builder_shuffle |at| (at.cast(), tensor, 2, to);
            "graph" sepconv_graph_free |at| (at.cast());
            "graph" sepconv_graph_size |at| (at.cast(), ptr::null_mut(), ptr::null_mut());
            "graph" sepconv_plan_new |at| (at.cast(), file, 64, no_threads, options, handle.cast());
            "graph" sepconv_plan_from_arrays |at| (at.cast(), array, 1, no_threads, options, handle.cast());
            "graph" sepconv_plan_from_names |at| (at.cast(), no_threads, options, handle.cast());
            "plan" sepconv_plan_free |at| (at.cast());
            "plan" sepconv_plan_with_batch |at| (at.cast(), 2, handle.cast());
            "plan" sepconv_plan_counts |at| (at.cast(), size, size);
            "plan" sepconv_plan_input |at| (at.cast(), 0, port_to);
            "plan" sepconv_plan_output |at| (at.cast(), 0, port_to);
            "plan" sepconv_plan_isa |at| (at.cast(), text);
            "plan" sepconv_plan_workspace_bytes |at| (at.cast(), size);
            "plan" sepconv_plan_save |at| (at.cast(), ptr::null_mut(), 0, size);
            "plan" sepconv_plan_run |at| (at.cast(), no_threads, start, bytes, from, 1, into, 1);
        }
        pointer! {
            sepconv_isa_chosen "chosen" required aligned |at| (ptr::null(), at.cast());
            sepconv_pointwise_new "what" required aligned |at| (ptr::null(), at.cast(), w, handle.cast());
            sepconv_pointwise_new "weights" required aligned |at| (ptr::null(), what, at.cast(), handle.cast());
            sepconv_pointwise_new "layer" required aligned |at| (ptr::null(), what, w, at.cast());
            sepconv_depthwise_new "window" required aligned |at| (ptr::null(), 4, at.cast(), ptr::null(), of_dw, handle.cast());
            sepconv_depthwise_new "input_lo" optional aligned |at| (ptr::null(), 4, window, at.cast(), of_dw, handle.cast());
            sepconv_depthwise_new "weights" required aligned |at| (ptr::null(), 4, window, ptr::null(), at.cast(), handle.cast());
            sepconv_depthwise_new "layer" required aligned |at| (ptr::null(), 4, window, ptr::null(), of_dw, at.cast());
            sepconv_conv_new "window" required aligned |at| (ptr::null(), 4, 5, at.cast(), of_conv, handle.cast());
            sepconv_conv_new "weights" required aligned |at| (ptr::null(), 4, 5, window, at.cast(), handle.cast());
            sepconv_conv_new "layer" required aligned |at| (ptr::null(), 4, 5, window, of_conv, at.cast());
            sepconv_layer_output "shape" required aligned |at| (layer, 4, 4, at.cast());
            sepconv_layer_channel_step "step" required aligned |at| (layer, at.cast());
            sepconv_layer_kernel "name" required aligned |at| (layer, at.cast());
            sepconv_layer_run "part" optional aligned |at| (layer, at.cast(), input, ptr::null(), nil, output);
            sepconv_layer_run "input" required aligned |at| (layer, ptr::null(), at.cast(), ptr::null(), nil, output);
            sepconv_layer_run "residual" optional aligned |at| (layer, ptr::null(), input, at.cast(), nil, output);
            sepconv_layer_run "clamp" optional aligned |at| (layer, ptr::null(), input, ptr::null(), at.cast(), output);
            sepconv_layer_run "output" required aligned |at| (layer, ptr::null(), input, ptr::null(), nil, at.cast());
            sepconv_builder_new "builder" required aligned |at| (at.cast());
            sepconv_builder_build "outputs" required aligned |at| (builder, at.cast(), 1, handle.cast());
            sepconv_builder_build "graph" required aligned |at| (builder, tensors.as_ptr(), 1, at.cast());
            sepconv_builder_shape "shape" required aligned |at| (builder, tensor, at.cast());
            sepconv_builder_input "name" required bytes |at| (builder, at.cast(), shape, to);
            sepconv_builder_input "output" required aligned |at| (builder, name, shape, at.cast());
            sepconv_builder_conv "name" required bytes |at| (builder, at.cast(), tensor, 5, window, own, nil, to);
            sepconv_builder_conv "window" required aligned |at| (builder, name, tensor, 5, at.cast(), own, nil, to);
            sepconv_builder_conv "parameters" required aligned |at| (builder, name, tensor, 5, window, at.cast(), nil, to);
            sepconv_builder_conv "output" required aligned |at| (builder, name, tensor, 5, window, own, nil, at.cast());
            sepconv_builder_depthwise "name" required bytes |at| (builder, at.cast(), tensor, window, own, nil, to);
            sepconv_builder_depthwise "window" required aligned |at| (builder, name, tensor, at.cast(), own, nil, to);
            sepconv_builder_depthwise "parameters" required aligned |at| (builder, name, tensor, window, at.cast(), nil, to);
            sepconv_builder_depthwise "output" required aligned |at| (builder, name, tensor, window, own, nil, at.cast());
            sepconv_builder_pointwise "name" required bytes |at| (builder, at.cast(), tensor, 5, 1, own, nil, to);
            sepconv_builder_pointwise "parameters" required aligned |at| (builder, name, tensor, 5, 1, at.cast(), nil, to);
            sepconv_builder_pointwise "output" required aligned |at| (builder, name, tensor, 5, 1, own, nil, at.cast());
            sepconv_builder_fully_connected "name" required bytes |at| (builder, at.cast(), tensor, 5, own, nil, to);
            sepconv_builder_fully_connected "parameters" required aligned |at| (builder, name, tensor, 5, at.cast(), nil, to);
            sepconv_builder_fully_connected "output" required aligned |at| (builder, name, tensor, 5, own, nil, at.cast());
            sepconv_builder_flattened "name" required bytes |at| (builder, at.cast(), tensor, 0, 5, own, nil, to);
            sepconv_builder_flattened "parameters" required aligned |at| (builder, name, tensor, 0, 5, at.cast(), nil, to);
            sepconv_builder_flattened "output" required aligned |at| (builder, name, tensor, 0, 5, own, nil, at.cast());
            sepconv_builder_leaky_norm "name" required bytes |at| (builder, at.cast(), tensor, 0.1, own, nil, to);
            sepconv_builder_leaky_norm "parameters" required aligned |at| (builder, name, tensor, 0.1, at.cast(), nil, to);
            sepconv_builder_leaky_norm "output" required aligned |at| (builder, name, tensor, 0.1, own, nil, at.cast());
            sepconv_builder_add "name" required bytes |at| (builder, at.cast(), tensor, tensor, nil, to);
            sepconv_builder_add "output" required aligned |at| (builder, name, tensor, tensor, nil, at.cast());
            sepconv_builder_clamp "name" required bytes |at| (builder, at.cast(), tensor, bounds, to);
            sepconv_builder_clamp "clamp" required aligned |at| (builder, name, tensor, at.cast(), to);
            sepconv_builder_clamp "output" required aligned |at| (builder, name, tensor, bounds, at.cast());
            sepconv_builder_max_pool "name" required bytes |at| (builder, at.cast(), tensor, window, to);
            sepconv_builder_max_pool "window" required aligned |at| (builder, name, tensor, at.cast(), to);
            sepconv_builder_max_pool "output" required aligned |at| (builder, name, tensor, window, at.cast());
            sepconv_builder_average_pool "name" required bytes |at| (builder, at.cast(), tensor, window, 0, to);
            sepconv_builder_average_pool "window" required aligned |at| (builder, name, tensor, at.cast(), 0, to);
            sepconv_builder_average_pool "output" required aligned |at| (builder, name, tensor, window, 0, at.cast());
            sepconv_builder_global_average_pool "name" required bytes |at| (builder, at.cast(), tensor, to);
            sepconv_builder_global_average_pool "output" required aligned |at| (builder, name, tensor, at.cast());
            sepconv_builder_slice "output" required aligned |at| (builder, tensor, 0, 1, at.cast());
            sepconv_builder_split "channels" required aligned |at| (builder, tensor, at.cast(), 1, to);
            sepconv_builder_split "outputs" required aligned |at| (builder, tensor, [4].as_ptr(), 1, at.cast());
            sepconv_builder_concat "inputs" required aligned |at| (builder, at.cast(), 2, to);
            sepconv_builder_concat "output" required aligned |at| (builder, tensors.as_ptr(), 2, at.cast());
            sepconv_builder_shuffle "output" required aligned |at| (builder, tensor, 2, at.cast());
            sepconv_graph_network "network" required aligned |at| (at.cast(), handle.cast());
            sepconv_graph_network "graph" required aligned |at| (network, at.cast());
            sepconv_graph_load "safetensors" required bytes |at| (at.cast(), 64, handle.cast());
            sepconv_graph_load "graph" required aligned |at| (file, 64, at.cast());
            sepconv_graph_size "macs" optional aligned |at| (graph, at.cast(), ptr::null_mut());
            sepconv_graph_size "parameters" optional aligned |at| (graph, ptr::null_mut(), at.cast());
            sepconv_plan_new "safetensors" required bytes |at| (graph, at.cast(), 64, no_threads, options, handle.cast());
            sepconv_plan_new "threads" optional aligned |at| (graph, file, 64, at.cast(), options, handle.cast());
            sepconv_plan_new "plan" required aligned |at| (graph, file, 64, no_threads, options, at.cast());
            sepconv_plan_from_arrays "arrays" required aligned |at| (graph, at.cast(), 1, no_threads, options, handle.cast());
            sepconv_plan_from_arrays "options" optional aligned |at| (graph, array, 1, no_threads, at.cast(), handle.cast());
            sepconv_plan_from_arrays "plan" required aligned |at| (graph, array, 1, no_threads, options, at.cast());
            sepconv_plan_from_names "threads" optional aligned |at| (graph, at.cast(), options, handle.cast());
            sepconv_plan_from_names "options" optional aligned |at| (graph, no_threads, at.cast(), handle.cast());
            sepconv_plan_from_names "plan" required aligned |at| (graph, no_threads, options, at.cast());
            sepconv_plan_with_batch "other" required aligned |at| (plan, 2, at.cast());
            sepconv_plan_counts "inputs" optional aligned |at| (plan, at.cast(), ptr::null_mut());
            sepconv_plan_counts "outputs" optional aligned |at| (plan, ptr::null_mut(), at.cast());
            sepconv_plan_input "input" required aligned |at| (plan, 0, at.cast());
            sepconv_plan_output "output" required aligned |at| (plan, 0, at.cast());
            sepconv_plan_isa "isa" required aligned |at| (plan, at.cast());
            sepconv_plan_workspace_bytes "bytes" required aligned |at| (plan, at.cast());
            sepconv_plan_save "blob" required bytes |at| (plan, at, 64, size);
            sepconv_plan_save "length" required aligned |at| (plan, ptr::null_mut(), 0, at.cast());
            sepconv_plan_load "blob" required bytes |at| (at, 64, load, handle.cast());
            sepconv_plan_load "options" optional aligned |at| (file.cast(), 64, at.cast(), handle.cast());
            sepconv_plan_load "plan" required aligned |at| (file.cast(), 64, load, at.cast());
            sepconv_plan_run "threads" optional aligned |at| (plan, at.cast(), start, bytes, from, 1, into, 1);
            sepconv_plan_run "inputs" required aligned |at| (plan, no_threads, start, bytes, at.cast(), 1, into, 1);
            sepconv_plan_run "outputs" required aligned |at| (plan, no_threads, start, bytes, from, 1, at.cast(), 1);
        }
    }

    // What is at the address of a handle that was freed, if nothing else is yet; and memory of something else.
    let (freed, foreign) = ([0u64; 8], [0x1234_5678_9abc_def0u64; 8]);
    let odd = ptr::without_provenance_mut::<c_void>(0x10_0001);
    let live = [
        ("layer", layer.cast::<c_void>()),
        ("builder", builder.cast()),
        ("graph", graph.cast()),
        ("plan", plan.cast()),
    ];
    for (kind, function, call) in &handles {
        let expect = |what: &str, at: *mut c_void, status: sepconv_status| {
            assert_eq!(call(at), status, "{function} with {what}");
            assert!(message().starts_with(&format!("{kind}: got ")), "{function} with {what}: {}", message());
        };
        match function.ends_with("_free") {
            true => assert_eq!(call(ptr::null_mut()), Ok),
            false => expect("null", ptr::null_mut(), NullArgument),
        }
        expect("an odd address", odd, Misaligned);
        expect("a freed one's memory", freed.as_ptr().cast_mut().cast(), NotAHandle);
        expect("foreign memory", foreign.as_ptr().cast_mut().cast(), NotAHandle);
        for (other, at) in live.iter().filter(|(other, _)| other != kind) {
            expect(&format!("a {other}"), *at, NotAHandle);
        }
    }
    for (function, argument, required, aligned, call) in &pointers {
        if *required {
            assert_eq!(call(ptr::null_mut()), NullArgument, "{function}: {argument}");
            let expected = format!("{argument}: got NULL, expected ");
            assert!(message().starts_with(&expected), "{function}: {}", message());
        }
        if *aligned {
            assert_eq!(call(odd), Misaligned, "{function}: {argument}");
            assert!(
                message().starts_with(&format!("{argument}: got the address 0x100001")),
                "{function}: {}",
                message()
            );
        }
    }
    assert!(written.iter().all(|&value| value == 0.0), "a run that was refused wrote");

    let tested: BTreeSet<&str> = handles.iter().map(|row| row.1).chain(pointers.iter().map(|row| row.0)).collect();
    let header = include_str!("../../include/sepconv.h");
    let functions = header.lines().filter_map(|line| line.strip_prefix("sepconv_status sepconv_"));
    let functions: Vec<String> = functions.map(|line| format!("sepconv_{}", line.split('(').next().unwrap())).collect();
    let missing: Vec<_> = functions.iter().filter(|function| !tested.contains(&function[..])).collect();
    assert!(functions.len() > 40 && missing.is_empty(), "not tested: {missing:?}");

    // Two places, one of them wrong: nothing is written.
    let (mut count, mut big) = (99usize, 99u64);
    // SAFETY: the other address must be refused.
    unsafe {
        for (inputs, outputs, what) in [(&raw mut count, odd.cast(), "outputs"), (odd.cast(), &raw mut count, "inputs")]
        {
            assert_eq!(sepconv_plan_counts(plan, inputs, outputs), Misaligned);
            assert!(message().starts_with(&format!("{what}: got the address")), "{}", message());
        }
        assert_eq!(sepconv_graph_size(graph, &mut big, odd.cast()), Misaligned);
        assert_eq!(sepconv_graph_size(graph, odd.cast(), &mut big), Misaligned);
        assert_eq!((count, big), (99, 99));
        // Both at one place, and a result where an argument lies.
        let same = &raw mut big;
        ok(sepconv_graph_size(graph, same, same));
        let mut both = [tensor; 2];
        let at = both.as_mut_ptr();
        ok(sepconv_builder_concat(builder, at, 2, at));
        assert_ne!(both[0], tensor);
    }

    // Pointers inside structs.
    let none = sepconv_network { name: ptr::null(), ..*network };
    // SAFETY: all pointers are right but the one that is tested, which the library must not follow.
    unsafe {
        assert_eq!(sepconv_graph_network(&none, handle.cast()), NullArgument);
        assert_eq!(message(), "network.name: got NULL, expected text that ends in NUL");
        let scale = sepconv_parameters_of(floats.as_ptr());
        let status = sepconv_builder_pointwise(builder, name, tensor, 5, 1, &scale, nil, to);
        assert_eq!((status, &*message()), (NullArgument, "parameters.shift: got NULL, expected 5 elements"));
        for (threads, what) in [
            (sepconv_threads { count: None, ..three_threads() }, "threads.count: got NULL, expected a function"),
            (
                sepconv_threads { parallel_for: None, ..three_threads() },
                "threads.parallel_for: got NULL, expected a function",
            ),
        ] {
            assert_eq!(sepconv_plan_run(plan, &threads, start, bytes, from, 1, into, 1), NullArgument);
            assert_eq!(message(), what);
        }
    }
}

/// Named weights with the scale of a normalisation alone.
fn sepconv_parameters_of(scale: *const f32) -> sepconv::capi::parameters::sepconv_parameters {
    sepconv::capi::parameters::sepconv_parameters { scale, norm_length: 5, name: c"own".as_ptr(), ..parameters() }
}
