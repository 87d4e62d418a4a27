//! Any calls of the C interface, with any arguments that a caller may pass: null and misaligned pointers, handles of
//! another kind, any numbers. Whatever they are, a status that is no panic, a message with each refusal, and nothing
//! written beside the places of results.
//!
//! Not passed: what the header forbids, since nothing can find it. Memory is as large as the argument beside it says, and
//! handles live.
#![no_main]

use std::ffi::{CStr, c_char, c_void};
use std::ptr;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use sepconv::AlignedBuffer;
use sepconv::capi::builder::*;
use sepconv::capi::graph::*;
use sepconv::capi::layers::*;
use sepconv::capi::library::*;
use sepconv::capi::nodes::*;
use sepconv::capi::parameters::sepconv_parameters;
use sepconv::capi::plan::*;
use sepconv::capi::status::{sepconv_last_message, sepconv_status, sepconv_status_name};
use sepconv::capi::threads::{sepconv_task, sepconv_threads};
use sepconv::capi::types::*;

/// A number: mostly small, or one of those at which arithmetic ends.
#[derive(Debug, Clone, Copy, Arbitrary)]
struct Number(u8);

impl Number {
    fn get(self) -> usize {
        const EDGES: [usize; 12] = [
            usize::MAX,
            usize::MAX / 2,
            usize::MAX / 2 + 1,
            usize::MAX / 4,
            1 << 32,
            1 << 31,
            1 << 24,
            (1 << 24) + 1,
            1 << 20,
            65537,
            32768,
            32769,
        ];
        match self.0 {
            244.. => EDGES[usize::from(self.0) - 244],
            240..244 => 0,
            128..240 => 1 + usize::from(self.0 % 4),
            small => usize::from(small).max(1),
        }
    }
}

/// A pointer to what the caller has: mostly right, else null or misaligned.
#[derive(Debug, Clone, Copy, Arbitrary)]
struct Place(u8);

const RIGHT: Place = Place(0);

impl Place {
    fn at<T>(self, pointer: *mut T) -> *mut T {
        match self.0 {
            255 => ptr::null_mut(),
            254 => pointer.wrapping_byte_add(1),
            _ => pointer,
        }
    }

    fn is_right(self) -> bool {
        self.0 < 254
    }

    fn of<T>(self, value: &T) -> *const T {
        self.at(ptr::from_ref(value).cast_mut())
    }
}

/// Which handle: mostly one that an earlier call wrote.
#[derive(Debug, Clone, Copy, Arbitrary)]
struct Handle {
    kind: u8,
    at: u8,
}

#[derive(Debug, Clone, Copy, Arbitrary)]
struct Text(u8);

impl Text {
    fn pointer(self) -> *const c_char {
        const TEXTS: [&CStr; 16] = [
            c"a",
            c"b",
            c"c",
            c"d",
            c"e",
            c"f",
            c"g",
            c"",
            c"digits",
            c"mobilenet_v2",
            c"effnet",
            c"keras",
            c"torch",
            c"portable",
            c"avx2",
            c"\xe9",
        ];
        match usize::from(self.0) % 17 {
            16 => ptr::null(),
            at => TEXTS[at].as_ptr(),
        }
    }
}

/// An array of floats: where it begins in the caller's memory, and its length, which is no larger than that memory unless
/// the pointer is null or misaligned, or no memory is as large.
#[derive(Debug, Clone, Copy, Arbitrary)]
struct Floats {
    place: Place,
    from: u8,
    length: Number,
}

#[derive(Debug, Clone, Copy, Arbitrary)]
struct AnyWindow([Number; 6], [Number; 4]);

#[derive(Debug, Clone, Copy, Arbitrary)]
struct Parameters {
    name: Text,
    has_bias: bool,
    arrays: [Option<Floats>; 2],
    norm: Text,
    norm_arrays: [Option<u8>; 4],
    norm_length: Number,
    epsilon: f64,
}

#[derive(Debug, Clone, Copy, Arbitrary)]
struct Image {
    floats: Floats,
    shape: [Number; 3],
    strides: [Number; 2],
}

#[derive(Debug, Clone, Copy, Arbitrary)]
enum Node {
    Conv(Number, AnyWindow, Place),
    Depthwise(AnyWindow, Place),
    Pointwise(Number, Number),
    FullyConnected(Number),
    Flattened(u8, Number),
    LeakyNorm(f32),
    Add(u8),
    Clamp,
    MaxPool(AnyWindow, Place),
    AveragePool(AnyWindow, i32),
    GlobalAveragePool,
    Slice(Number, Number),
    Split(Number, Number),
    Concat(u8, Number),
    Shuffle(Number),
    Input([Number; 3]),
}

#[derive(Debug, Arbitrary)]
enum Call {
    BuilderNew(Place),
    Node {
        builder: Handle,
        name: Text,
        input: u8,
        node: Node,
        parameters: Parameters,
        place: Place,
        clamp: Option<(f32, f32)>,
        to: Place,
    },
    Shape(Handle, u8, Place),
    Build {
        builder: Handle,
        outputs: Vec<u8>,
        to: Place,
    },
    Network {
        name: Text,
        flavor: Text,
        width: f64,
        numbers: [Number; 3],
        backbone: i32,
        to: Place,
    },
    Load {
        bytes: Vec<u8>,
        to: Place,
    },
    Size(Handle, Place, Place),
    PointwiseLayer {
        isa: Text,
        numbers: [Number; 5],
        what: Place,
        weights: [Floats; 2],
        order: u8,
        to: Place,
    },
    DepthwiseLayer {
        isa: Text,
        channels: Number,
        window: AnyWindow,
        lo: Option<f32>,
        weights: [Floats; 2],
        order: u8,
        to: Place,
    },
    ConvLayer {
        isa: Text,
        channels: [Number; 2],
        window: AnyWindow,
        weights: [Floats; 2],
        order: u8,
        to: Place,
    },
    LayerOutput(Handle, [Number; 2], Place),
    LayerStep(Handle, Place),
    LayerKernel(Handle, Place),
    LayerRun {
        layer: Handle,
        part: Option<[Number; 4]>,
        input: Image,
        residual: Option<Image>,
        clamp: Option<(f32, f32)>,
        output: Image,
    },
    PlanNames {
        graph: Handle,
        threads: bool,
        isa: Text,
        batch: Number,
        fusion: u8,
        low_memory: i32,
        to: Place,
    },
    PlanBytes {
        graph: Handle,
        bytes: Vec<u8>,
        to: Place,
    },
    PlanArrays {
        graph: Handle,
        arrays: Vec<(Text, Floats)>,
        to: Place,
    },
    WithBatch(Handle, Number, Place),
    Counts(Handle, Place, Place),
    Port {
        plan: Handle,
        output: bool,
        index: Number,
        to: Place,
    },
    PlanIsa(Handle, Place),
    Run {
        plan: Handle,
        threads: bool,
        short: bool,
        shifted: bool,
        images: [Option<Image>; 2],
        counts: [Number; 2],
    },
    Isa(Text, Number, Place),
    Free(Handle, u8),
    Status(i32),
    Windows([Number; 4]),
}

/// The caller's floats, of which arguments name the first half alone.
const FLOATS: usize = 4096;
/// What outputs hold before a run.
const MARK: f32 = 77.0;
/// Of a plan that is made, and run.
const MOST_PARAMETERS: u64 = 200_000;
const MOST_MACS: u64 = 2_000_000;
const MOST_WORKSPACE: usize = 1 << 22;

/// What the caller has.
struct Caller {
    builders: Vec<*mut sepconv_builder>,
    graphs: Vec<*mut sepconv_graph>,
    layers: Vec<*mut sepconv_layer>,
    plans: Vec<*mut sepconv_plan>,
    tensors: Vec<sepconv_tensor>,
    /// To be read.
    floats: Vec<f32>,
    /// To be written.
    outputs: Vec<f32>,
    /// Where a handle would begin, if it were one.
    nothing: [u64; 4],
    threads: sepconv_threads,
}

/// The status must be no panic, and a refusal have a message and leave `result` as it was.
fn checked(status: sepconv_status, untouched: bool) -> bool {
    assert_ne!(status, sepconv_status::Panicked);
    if status == sepconv_status::Ok {
        return true;
    }
    // SAFETY: the message ends in NUL, and no call fails meanwhile.
    let message = unsafe { CStr::from_ptr(sepconv_last_message()) };
    assert!(!message.is_empty() && message.to_str().is_ok(), "{status:?}: {message:?}");
    assert!(untouched, "{status:?} wrote a result");
    false
}

/// The handle that `call` writes to the place it is given, where it writes one.
fn made<T>(to: Place, call: impl FnOnce(*mut *mut T) -> sepconv_status) -> Option<*mut T> {
    let mut room = [ptr::dangling_mut::<T>(); 2];
    let before = room;
    let status = call(to.at(room.as_mut_ptr()));
    checked(status, room == before).then(|| {
        assert!(to.is_right() && room[1] == before[1]);
        room[0]
    })
}

/// Calls what writes a number or text.
fn written<T: Copy + PartialEq>(to: Place, marked: T, call: impl FnOnce(*mut T) -> sepconv_status) -> Option<T> {
    let mut room = [marked; 2];
    let status = call(to.at(room.as_mut_ptr()));
    (checked(status, room == [marked; 2]) && to.is_right()).then_some(room[0])
}

impl Caller {
    fn handle<T>(handle: Handle, of: &[*mut T], other: &[*mut c_void], nothing: &mut [u64; 4]) -> *mut T {
        let pick = |of: &[*mut c_void]| {
            let at = usize::from(handle.at) % of.len().max(1);
            // The latest first.
            of.iter().rev().nth(at).copied().unwrap_or(ptr::null_mut())
        };
        let own: Vec<*mut c_void> = of.iter().map(|handle| handle.cast()).collect();
        match handle.kind {
            255 => ptr::null_mut(),
            // One of another kind; memory that is none; none at all.
            254 => pick(other).cast(),
            253 => nothing.as_mut_ptr().cast(),
            252 => pick(&own).wrapping_byte_add(1).cast(),
            _ => pick(&own).cast(),
        }
    }

    fn builder(&mut self, handle: Handle) -> *mut sepconv_builder {
        let other: Vec<_> = self.graphs.iter().map(|graph| graph.cast()).collect();
        Self::handle(handle, &self.builders, &other, &mut self.nothing)
    }

    fn graph(&mut self, handle: Handle) -> *mut sepconv_graph {
        let other: Vec<_> = self.builders.iter().map(|builder| builder.cast()).collect();
        Self::handle(handle, &self.graphs, &other, &mut self.nothing)
    }

    fn layer(&mut self, handle: Handle) -> *mut sepconv_layer {
        let other: Vec<_> = self.plans.iter().map(|plan| plan.cast()).collect();
        Self::handle(handle, &self.layers, &other, &mut self.nothing)
    }

    fn plan(&mut self, handle: Handle) -> *mut sepconv_plan {
        let other: Vec<_> = self.layers.iter().map(|layer| layer.cast()).collect();
        Self::handle(handle, &self.plans, &other, &mut self.nothing)
    }

    fn tensor(&self, at: u8) -> sepconv_tensor {
        let none = sepconv_tensor { builder: usize::from(at), index: usize::from(at) };
        if at > 200 {
            none
        } else {
            self.tensors.get(usize::from(at) % self.tensors.len().max(1)).copied().unwrap_or(none)
        }
    }

    /// The array `floats` among those to be read.
    fn array(&self, floats: Floats) -> (*const f32, usize) {
        let (pointer, length) = floats.among(self.floats.as_ptr().cast_mut());
        (pointer, length)
    }

    fn parameters(&self, of: Parameters) -> sepconv_parameters {
        let array = |floats: Option<Floats>| floats.map_or((ptr::null(), 0), |floats| self.array(floats));
        let ((weights, weights_length), (bias, bias_length)) = (array(of.arrays[0]), array(of.arrays[1]));
        // One length for four arrays.
        let norm_length = of.norm_length.get() % 128;
        let [scale, shift, mean, variance] =
            of.norm_arrays.map(|from| from.map_or(ptr::null(), |from| self.floats[usize::from(from)..].as_ptr()));
        sepconv_parameters {
            name: of.name.pointer(),
            has_bias: of.has_bias.into(),
            weights,
            weights_length,
            bias,
            bias_length,
            norm: of.norm.pointer(),
            scale,
            shift,
            mean,
            variance,
            norm_length,
            epsilon: of.epsilon,
        }
    }

    fn weights(&self, [weights, bias]: [Floats; 2], order: u8) -> sepconv_weights {
        let ((weights, weights_length), (bias, bias_length)) = (self.array(weights), self.array(bias));
        sepconv_weights { order: u32::from(order % 3), weights, weights_length, bias, bias_length }
    }

    fn image(&self, image: Image) -> sepconv_image {
        let (data, length) = self.array(image.floats);
        let [height, width, channels] = image.shape.map(Number::get);
        let [pixel_stride, row_stride] = image.strides.map(Number::get);
        sepconv_image { data, length, height, width, channels, pixel_stride, row_stride }
    }

    fn image_mut(&mut self, image: Image) -> sepconv_image_mut {
        let (data, length) = image.floats.among(self.outputs.as_mut_ptr());
        let [height, width, channels] = image.shape.map(Number::get);
        let [pixel_stride, row_stride] = image.strides.map(Number::get);
        sepconv_image_mut { data, length, height, width, channels, pixel_stride, row_stride }
    }

    /// Whether the graph is one that is planned in a moment.
    fn is_small(&self, graph: *mut sepconv_graph) -> bool {
        let (mut macs, mut parameters) = (0, 0);
        // SAFETY: it is a handle of the library's, or must be refused.
        let status = unsafe { sepconv_graph_size(graph, &mut macs, &mut parameters) };
        !checked(status, macs == 0 && parameters == 0) || (macs <= MOST_MACS && parameters <= MOST_PARAMETERS)
    }

    fn call(&mut self, call: &Call) {
        // SAFETY: handles live; pointers are null, misaligned, or point to memory of the caller's that is as large as the
        // argument beside them says; outputs are memory of their own.
        unsafe {
            match *call {
                Call::BuilderNew(to) => self.builders.extend(made(to, |to| sepconv_builder_new(to))),
                Call::Node { builder, name, input, node, parameters, place, clamp, to } => {
                    self.node((builder, name, input), node, (parameters, place), clamp, to);
                }
                Call::Shape(builder, tensor, to) => {
                    let (builder, tensor) = (self.builder(builder), self.tensor(tensor));
                    let marked = sepconv_shape { height: 77, width: 77, channels: 77 };
                    written(to, marked, |to| sepconv_builder_shape(builder, tensor, to));
                }
                Call::Build { builder, ref outputs, to } => {
                    let builder = self.builder(builder);
                    let outputs: Vec<_> = outputs.iter().map(|&output| self.tensor(output)).collect();
                    let graph = made(to, |to| sepconv_builder_build(builder, outputs.as_ptr(), outputs.len(), to));
                    self.graphs.extend(graph);
                }
                Call::Network { name, flavor, width, numbers: [resolution, classes, groups], backbone, to } => {
                    let network = sepconv_network {
                        name: name.pointer(),
                        flavor: flavor.pointer(),
                        width,
                        resolution: resolution.get(),
                        classes: classes.get(),
                        groups: groups.get(),
                        backbone,
                    };
                    self.graphs.extend(made(to, |to| sepconv_graph_network(&network, to)));
                }
                Call::Load { ref bytes, to } => {
                    self.graphs.extend(made(to, |to| sepconv_graph_load(bytes.as_ptr(), bytes.len(), to)));
                }
                Call::Size(graph, macs, parameters) => {
                    let (graph, mut of) = (self.graph(graph), [77u64; 2]);
                    let [first, second] = &mut of;
                    let status = sepconv_graph_size(graph, macs.at(first), parameters.at(second));
                    checked(status, of == [77; 2]);
                }
                Call::PointwiseLayer { isa, numbers, what, weights, order, to } => {
                    let [inputs, outputs, stride, groups, pixels] = numbers.map(Number::get);
                    let (of, weights) =
                        (sepconv_pointwise { inputs, outputs, stride, groups, pixels }, self.weights(weights, order));
                    self.layers.extend(made(to, |to| sepconv_pointwise_new(isa.pointer(), what.of(&of), &weights, to)));
                }
                Call::DepthwiseLayer { isa, channels, window, lo, weights, order, to } => {
                    let (weights, window) = (self.weights(weights, order), window.window());
                    let lo = lo.as_ref().map_or(ptr::null(), ptr::from_ref);
                    self.layers.extend(made(to, |to| {
                        sepconv_depthwise_new(isa.pointer(), channels.get(), &window, lo, &weights, to)
                    }));
                }
                Call::ConvLayer { isa, channels: [inputs, outputs], window, weights, order, to } => {
                    let (weights, window) = (self.weights(weights, order), window.window());
                    self.layers.extend(made(to, |to| {
                        sepconv_conv_new(isa.pointer(), inputs.get(), outputs.get(), &window, &weights, to)
                    }));
                }
                Call::LayerOutput(layer, [height, width], to) => {
                    let (layer, marked) = (self.layer(layer), sepconv_shape { height: 77, width: 77, channels: 77 });
                    written(to, marked, |to| sepconv_layer_output(layer, height.get(), width.get(), to));
                }
                Call::LayerStep(layer, to) => {
                    let layer = self.layer(layer);
                    written(to, 77, |to| sepconv_layer_channel_step(layer, to));
                }
                Call::LayerKernel(layer, to) => {
                    let layer = self.layer(layer);
                    if let Some(name) = written(to, ptr::null(), |to| sepconv_layer_kernel(layer, to)) {
                        assert!(!CStr::from_ptr(name).is_empty());
                    }
                }
                Call::LayerRun { layer, part, input, residual, clamp, output } => {
                    let layer = self.layer(layer);
                    let (input, residual) = (self.image(input), residual.map(|image| self.image(image)));
                    let output = self.image_mut(output);
                    let part = part.map(|numbers| {
                        let [row_begin, row_end, channel_begin, channel_end] = numbers.map(Number::get);
                        sepconv_part { row_begin, row_end, channel_begin, channel_end }
                    });
                    let clamp = clamp.map(|(lo, hi)| sepconv_clamp { lo, hi });
                    let (part, residual) = (optional(&part), optional(&residual));
                    checked(sepconv_layer_run(layer, part, &input, residual, optional(&clamp), &output), true);
                }
                Call::PlanNames { graph, threads, isa, batch, fusion, low_memory, to } => {
                    let graph = self.graph(graph);
                    let options = sepconv_plan_options {
                        isa: isa.pointer(),
                        batch: batch.get(),
                        fusion: u32::from(fusion % 3),
                        low_memory,
                    };
                    let threads = if threads { ptr::from_ref(&self.threads) } else { ptr::null() };
                    if self.is_small(graph) {
                        self.plans.extend(made(to, |to| sepconv_plan_from_names(graph, threads, &options, to)));
                    }
                }
                Call::PlanBytes { graph, ref bytes, to } => {
                    let graph = self.graph(graph);
                    let (threads, options) = (ptr::null(), ptr::null());
                    self.plans.extend(made(to, |to| {
                        sepconv_plan_new(graph, bytes.as_ptr(), bytes.len(), threads, options, to)
                    }));
                }
                Call::PlanArrays { graph, ref arrays, to } => {
                    let graph = self.graph(graph);
                    let array = |&(name, floats): &(Text, Floats)| {
                        let (data, length) = self.array(floats);
                        sepconv_named_array { name: name.pointer(), data, length }
                    };
                    let arrays: Vec<_> = arrays.iter().map(array).collect();
                    let (threads, options) = (ptr::null(), ptr::null());
                    if self.is_small(graph) {
                        self.plans.extend(made(to, |to| {
                            sepconv_plan_from_arrays(graph, arrays.as_ptr(), arrays.len(), threads, options, to)
                        }));
                    }
                }
                Call::WithBatch(plan, batch, to) => {
                    let plan = self.plan(plan);
                    self.plans.extend(made(to, |to| sepconv_plan_with_batch(plan, batch.get(), to)));
                }
                Call::Counts(plan, inputs, outputs) => {
                    let (plan, mut of) = (self.plan(plan), [77usize; 2]);
                    let [first, second] = &mut of;
                    let status = sepconv_plan_counts(plan, inputs.at(first), outputs.at(second));
                    checked(status, of == [77; 2]);
                }
                Call::Port { plan, output, index, to } => {
                    let (plan, mut room) = (self.plan(plan), std::mem::MaybeUninit::<sepconv_port>::uninit());
                    let call = if output { sepconv_plan_output } else { sepconv_plan_input };
                    if checked(call(plan, index.get(), to.at(room.as_mut_ptr())), true) {
                        assert!(CStr::from_ptr(room.assume_init().name).to_str().is_ok());
                    }
                }
                Call::PlanIsa(plan, to) => {
                    let plan = self.plan(plan);
                    written(to, ptr::null(), |to| sepconv_plan_isa(plan, to));
                }
                Call::Run { plan, threads, short, shifted, images, counts } => {
                    self.run(plan, threads, (short, shifted), images, counts);
                }
                Call::Isa(name, index, to) => {
                    written(to, ptr::null(), |to| sepconv_isa_chosen(name.pointer(), to));
                    let _ = sepconv_isa_supported(index.get());
                }
                Call::Free(handle, kind) => self.free(handle, kind),
                Call::Status(number) => assert!(!CStr::from_ptr(sepconv_status_name(number)).is_empty()),
                Call::Windows(numbers) => {
                    let [size, stride, height, width] = numbers.map(Number::get);
                    let _ = (sepconv_window_symmetric(size, stride), sepconv_window_same(size, stride, height, width));
                }
            }
        }
        assert!(self.outputs[FLOATS / 2..].iter().all(|&value| value == MARK), "written behind the outputs");
    }

    /// # Safety
    /// As for [`call`](Self::call).
    unsafe fn node(
        &mut self,
        (builder, name, input): (Handle, Text, u8),
        node: Node,
        (parameters, place): (Parameters, Place),
        clamp: Option<(f32, f32)>,
        to: Place,
    ) {
        let (b, name, x) = (self.builder(builder), name.pointer(), self.tensor(input));
        let (of, clamp) = (self.parameters(parameters), clamp.map(|(lo, hi)| sepconv_clamp { lo, hi }));
        let (of, clamp) = (place.of(&of), optional(&clamp));
        let marked = sepconv_tensor { builder: 77, index: 77 };
        // SAFETY: by this function's own contract.
        let tensor = written(to, marked, |to| unsafe {
            match node {
                Node::Conv(outputs, window, place) => {
                    sepconv_builder_conv(b, name, x, outputs.get(), place.of(&window.window()), of, clamp, to)
                }
                Node::Depthwise(window, place) => {
                    sepconv_builder_depthwise(b, name, x, place.of(&window.window()), of, clamp, to)
                }
                Node::Pointwise(outputs, groups) => {
                    sepconv_builder_pointwise(b, name, x, outputs.get(), groups.get(), of, clamp, to)
                }
                Node::FullyConnected(outputs) => {
                    sepconv_builder_fully_connected(b, name, x, outputs.get(), of, clamp, to)
                }
                Node::Flattened(order, outputs) => {
                    sepconv_builder_flattened(b, name, x, u32::from(order % 3), outputs.get(), of, clamp, to)
                }
                Node::LeakyNorm(slope) => sepconv_builder_leaky_norm(b, name, x, slope, of, clamp, to),
                Node::Add(other) => sepconv_builder_add(b, name, x, self.tensor(other), clamp, to),
                Node::Clamp => sepconv_builder_clamp(b, name, x, clamp, to),
                Node::MaxPool(window, place) => sepconv_builder_max_pool(b, name, x, place.of(&window.window()), to),
                Node::AveragePool(window, count) => {
                    sepconv_builder_average_pool(b, name, x, &window.window(), count, to)
                }
                Node::GlobalAveragePool => sepconv_builder_global_average_pool(b, name, x, to),
                Node::Slice(first, count) => sepconv_builder_slice(b, x, first.get(), count.get(), to),
                Node::Split(first, second) => {
                    // Room for two.
                    let (channels, mut pair) = ([first.get(), second.get()], [marked; 2]);
                    let status = sepconv_builder_split(b, x, channels.as_ptr(), 2, pair.as_mut_ptr());
                    if status == sepconv_status::Ok && !to.is_null() && to.is_aligned() {
                        to.write(pair[0]);
                    }
                    status
                }
                Node::Concat(other, count) => {
                    let tensors = [x, self.tensor(other), x];
                    sepconv_builder_concat(b, tensors.as_ptr(), count.get() % 4, to)
                }
                Node::Shuffle(groups) => sepconv_builder_shuffle(b, x, groups.get(), to),
                Node::Input(shape) => {
                    let [height, width, channels] = shape.map(Number::get);
                    sepconv_builder_input(b, name, sepconv_shape { height, width, channels }, to)
                }
            }
        });
        self.tensors.extend(tensor);
    }

    /// Runs a plan on images of its own shapes, or on any.
    ///
    /// # Safety
    /// As for [`call`](Self::call).
    unsafe fn run(
        &mut self,
        plan: Handle,
        threads: bool,
        (short, shifted): (bool, bool),
        [input, output]: [Option<Image>; 2],
        counts: [Number; 2],
    ) {
        let plan = self.plan(plan);
        let threads = if threads { ptr::from_ref(&self.threads) } else { ptr::null() };
        let right = |of: unsafe extern "C" fn(*const sepconv_plan, usize, *mut sepconv_port) -> sepconv_status| {
            let marked = sepconv_port { name: ptr::null(), shape: sepconv_shape { height: 0, width: 0, channels: 0 } };
            let mut port = marked;
            // SAFETY: by this function's own contract.
            checked(unsafe { of(plan, 0, &mut port) }, port.name.is_null());
            port.shape
        };
        let (read, write) = (right(sepconv_plan_input), right(sepconv_plan_output));
        let (data, length) = (self.floats.as_ptr(), FLOATS);
        let sepconv_shape { height, width, channels } = read;
        let own = sepconv_image { data, length, height, width, channels, pixel_stride: 0, row_stride: 0 };
        let first = input.map_or(own, |image| self.image(image));
        let (data, length) = (self.outputs.as_mut_ptr(), FLOATS / 2);
        let sepconv_shape { height, width, channels } = write;
        let own = sepconv_image_mut { data, length, height, width, channels, pixel_stride: 0, row_stride: 0 };
        let target = output.map_or(own, |image| self.image_mut(image));
        let [inputs, outputs] = counts.map(Number::get);
        let (inputs, outputs) = (
            sepconv_batch { first, count: inputs, image_stride: 0 },
            sepconv_batch_mut { first: target, count: outputs, image_stride: 0 },
        );
        // SAFETY: by this function's own contract.
        unsafe {
            let Some(bytes) = written(RIGHT, 77, |to| sepconv_plan_workspace_bytes(plan, to)) else { return };
            if bytes > MOST_WORKSPACE {
                return;
            }
            let mut memory = AlignedBuffer::zeroed(bytes / 4 + 1).expect("a small workspace");
            let start = memory.as_mut_ptr().wrapping_add(shifted.into());
            let bytes = if short { bytes / 2 } else { bytes };
            checked(sepconv_plan_run(plan, threads, start.cast(), bytes, &inputs, 1, &outputs, 1), true);
        }
    }

    fn free(&mut self, handle: Handle, kind: u8) {
        let (builder, graph, layer, plan) =
            (self.builder(handle), self.graph(handle), self.layer(handle), self.plan(handle));
        // SAFETY: the handles live, or must be refused; what is freed is forgotten.
        let freed = unsafe {
            match kind % 4 {
                0 => checked(sepconv_builder_free(builder), true),
                1 => checked(sepconv_graph_free(graph), true),
                2 => checked(sepconv_layer_free(layer), true),
                _ => checked(sepconv_plan_free(plan), true),
            }
        };
        if freed {
            match kind % 4 {
                0 => self.builders.retain(|&other| other != builder),
                1 => self.graphs.retain(|&other| other != graph),
                2 => self.layers.retain(|&other| other != layer),
                _ => self.plans.retain(|&other| other != plan),
            }
        }
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        // SAFETY: each handle lives, and is freed once.
        unsafe {
            self.plans.drain(..).for_each(|plan| assert_eq!(sepconv_plan_free(plan), sepconv_status::Ok));
            self.layers.drain(..).for_each(|layer| assert_eq!(sepconv_layer_free(layer), sepconv_status::Ok));
            self.graphs.drain(..).for_each(|graph| assert_eq!(sepconv_graph_free(graph), sepconv_status::Ok));
            self.builders.drain(..).for_each(|builder| assert_eq!(sepconv_builder_free(builder), sepconv_status::Ok));
        }
    }
}

impl Floats {
    /// Its pointer and length among the caller's floats, of which the first half is anybody's.
    fn among(self, start: *mut f32) -> (*mut f32, usize) {
        let (from, length) = (usize::from(self.from), self.length.get());
        let pointer = self.place.at(start.wrapping_add(from));
        // No memory is as large as the largest numbers say: they must be refused.
        let beyond = length > isize::MAX as usize / size_of::<f32>();
        let read = self.place.is_right() && !beyond;
        (pointer, if read { length.min(FLOATS / 2 - from) } else { length })
    }
}

impl AnyWindow {
    fn window(self) -> sepconv_window {
        let [height, width, stride_rows, stride_columns, dilation_rows, dilation_columns] = self.0.map(Number::get);
        let [pad_top, pad_bottom, pad_left, pad_right] = self.1.map(Number::get);
        sepconv_window {
            height,
            width,
            stride_rows,
            stride_columns,
            dilation_rows,
            dilation_columns,
            pad_top,
            pad_bottom,
            pad_left,
            pad_right,
        }
    }
}

fn optional<T>(value: &Option<T>) -> *const T {
    value.as_ref().map_or(ptr::null(), ptr::from_ref)
}

unsafe extern "C" fn three(_: *mut c_void) -> usize {
    3
}

/// Calls every task on the calling thread, the last first.
unsafe extern "C" fn backwards(_: *mut c_void, tasks: usize, task: sepconv_task, argument: *mut c_void) {
    for index in (0..tasks).rev() {
        // SAFETY: as the library asks.
        unsafe { task.expect("a function")(argument, index) };
    }
}

fuzz_target!(|calls: Vec<Call>| {
    let mut caller = Caller {
        builders: Vec::new(),
        graphs: Vec::new(),
        layers: Vec::new(),
        plans: Vec::new(),
        tensors: Vec::new(),
        floats: (0..FLOATS).map(|i| (i % 13) as f32 / 8.0 - 0.5).collect(),
        outputs: vec![MARK; FLOATS],
        nothing: [0x7363_6e6f_7468_696e; 4],
        threads: sepconv_threads { context: ptr::null_mut(), count: Some(three), parallel_for: Some(backwards) },
    };
    calls.iter().take(40).for_each(|call| caller.call(call));
});
