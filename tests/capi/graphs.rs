//! Graphs: every call of the builder, against the same calls in Rust.

use std::ffi::CStr;
use std::ptr;

use sepconv::capi::builder::*;
use sepconv::capi::graph::{sepconv_graph, sepconv_graph_load, sepconv_graph_size, sepconv_network};
use sepconv::capi::nodes::*;
use sepconv::capi::parameters::sepconv_parameters;
use sepconv::capi::plan::{
    sepconv_plan, sepconv_plan_counts, sepconv_plan_from_names, sepconv_plan_output, sepconv_plan_run, sepconv_port,
};
use sepconv::capi::types::{sepconv_clamp, sepconv_shape, sepconv_window_symmetric};
use sepconv::graph::{Builder, Flatten, Layer};
use sepconv::models::{Architecture, Config, Flavor, Network};
use sepconv::parallel::Serial;
use sepconv::weights::HashWeights;
use sepconv::{BatchMut, Clamp, Graph, Options, Plan, Result, Shape, Window};

use crate::common::{Handle, batch, batch_mut, bits, builder, graph_of, network, numbers, ok, workspace};

const NONE: sepconv_tensor = sepconv_tensor { builder: 0, index: 0 };

pub fn parameters() -> sepconv_parameters {
    let null = ptr::null();
    sepconv_parameters {
        name: ptr::null(),
        has_bias: 0,
        weights: null,
        weights_length: 0,
        bias: null,
        bias_length: 0,
        norm: ptr::null(),
        scale: null,
        shift: null,
        mean: null,
        variance: null,
        norm_length: 0,
        epsilon: 0.0,
    }
}

pub fn named(name: &CStr) -> sepconv_parameters {
    sepconv_parameters { name: name.as_ptr(), ..parameters() }
}

/// Calls of both interfaces, one after the other.
fn rust() -> Result<Graph> {
    let mut net = Builder::new();
    let image = net.input("image", Shape::new(16, 12, 3))?;
    let bias = numbers(8, 1);
    let (scale, variance) = (numbers(8, 2), numbers(8, 3).iter().map(|x| x + 2.0).collect::<Vec<_>>());
    let stem = Layer::arrays(numbers(8 * 27, 4), bias.clone());
    let stem = stem.norm_arrays(scale.clone(), bias.clone(), bias, variance, 1e-5).clamp(Clamp::RELU6);
    let x = net.conv("stem", image, 8, Window::square(3).stride(2).symmetric(), stem)?;
    let y = net.depthwise("dw", x, Window::square(3).symmetric(), Layer::named("dw").norm("bn", 1e-3))?;
    let y = net.pointwise("pw", y, 8, Layer::named("pw").bias())?;
    let x = net.add("sum", x, y, Clamp::RELU)?;
    let halves = net.split(x, &[4, 4])?;
    let x = net.concat(&[halves[1], halves[0]])?;
    let x = net.shuffle(x, 2)?;
    let x = net.grouped_pointwise("grouped", x, 12, 2, Layer::named("grouped"))?;
    let leaky = net.leaky_norm("leaky", x, 0.1, Layer::without_weights().norm("bn2", 1e-3))?;
    let x = net.slice(leaky, 2..8)?;
    let x = net.max_pool("max", x, Window::square(2).stride(2))?;
    let x = net.average_pool("average", x, Window::square(3).symmetric(), false)?;
    let x = net.clamp("clamp", x, Clamp::new(-0.25, 0.25))?;
    let flat = net.flattened("flat", x, Flatten::ChannelsLast, 5, Layer::named("flat").bias())?;
    let mean = net.global_average_pool("mean", leaky)?;
    let classes = net.fully_connected("classes", mean, 10, Layer::named("classes").bias())?;
    net.build(&[classes, flat])
}

fn c() -> Handle<sepconv_graph> {
    let net = builder();
    let (relu, relu6) = (sepconv_clamp { lo: 0.0, hi: f32::INFINITY }, sepconv_clamp { lo: 0.0, hi: 6.0 });
    let bounds = sepconv_clamp { lo: -0.25, hi: 0.25 };
    let (scale, bias) = (numbers(8, 2), numbers(8, 1));
    let variance: Vec<f32> = numbers(8, 3).iter().map(|x| x + 2.0).collect();
    let (none, kernel) = (ptr::null(), numbers(8 * 27, 4));
    let stem = sepconv_parameters {
        weights: kernel.as_ptr(),
        weights_length: kernel.len(),
        bias: bias.as_ptr(),
        bias_length: 8,
        scale: scale.as_ptr(),
        shift: bias.as_ptr(),
        mean: bias.as_ptr(),
        variance: variance.as_ptr(),
        norm_length: 8,
        epsilon: 1e-5,
        ..parameters()
    };
    let biased = |name| sepconv_parameters { has_bias: 1, ..named(name) };
    let (three, two) = (sepconv_window_symmetric(3, 1), sepconv_window_symmetric(2, 2));
    let (mut image, mut x, mut y, mut leaky, mut flat, mut classes) = (NONE, NONE, NONE, NONE, NONE, NONE);
    let mut halves = [NONE; 2];
    let mut shape = sepconv_shape { height: 16, width: 12, channels: 3 };
    let b = net.0;
    // SAFETY: the handle and all that is pointed to live.
    unsafe {
        ok(sepconv_builder_input(b, c"image".as_ptr(), shape, &mut image));
        let window = sepconv_window_symmetric(3, 2);
        ok(sepconv_builder_conv(b, c"stem".as_ptr(), image, 8, &window, &stem, &relu6, &mut x));
        let dw = sepconv_parameters { norm: c"bn".as_ptr(), epsilon: 1e-3, ..named(c"dw") };
        ok(sepconv_builder_depthwise(b, c"dw".as_ptr(), x, &three, &dw, none, &mut y));
        ok(sepconv_builder_pointwise(b, c"pw".as_ptr(), y, 8, 1, &biased(c"pw"), none, &mut y));
        ok(sepconv_builder_add(b, c"sum".as_ptr(), x, y, &relu, &mut x));
        ok(sepconv_builder_split(b, x, [4, 4].as_ptr(), 2, halves.as_mut_ptr()));
        ok(sepconv_builder_concat(b, [halves[1], halves[0]].as_ptr(), 2, &mut x));
        ok(sepconv_builder_shuffle(b, x, 2, &mut x));
        ok(sepconv_builder_pointwise(b, c"grouped".as_ptr(), x, 12, 2, &named(c"grouped"), none, &mut x));
        let norm = sepconv_parameters { norm: c"bn2".as_ptr(), epsilon: 1e-3, ..parameters() };
        ok(sepconv_builder_leaky_norm(b, c"leaky".as_ptr(), x, 0.1, &norm, none, &mut leaky));
        ok(sepconv_builder_slice(b, leaky, 2, 6, &mut x));
        ok(sepconv_builder_max_pool(b, c"max".as_ptr(), x, &two, &mut x));
        ok(sepconv_builder_average_pool(b, c"average".as_ptr(), x, &three, 0, &mut x));
        ok(sepconv_builder_clamp(b, c"clamp".as_ptr(), x, &bounds, &mut x));
        ok(sepconv_builder_shape(b, x, &mut shape));
        assert_eq!((shape.height, shape.width, shape.channels), (4, 3, 6));
        ok(sepconv_builder_flattened(b, c"flat".as_ptr(), x, 1, 5, &biased(c"flat"), none, &mut flat));
        ok(sepconv_builder_global_average_pool(b, c"mean".as_ptr(), leaky, &mut x));
        ok(sepconv_builder_fully_connected(b, c"classes".as_ptr(), x, 10, &biased(c"classes"), none, &mut classes));
        // What another graph of the same calls would be.
        drop(Handle::new(|place| sepconv_builder_build(b, &classes, 1, place)));
        Handle::new(|place| sepconv_builder_build(b, [classes, flat].as_ptr(), 2, place))
    }
}

#[test]
fn every_call_of_the_builder_makes_the_node_of_rust() {
    let (rust, c) = (rust().unwrap(), c());
    let (mut macs, mut params) = (0, 0);
    // SAFETY: the handle lives, and the places are local ones.
    ok(unsafe { sepconv_graph_size(c.0, &mut macs, &mut params) });
    assert_eq!((macs, params), (rust.macs(), rust.params()));

    let input = numbers(16 * 12 * 3, 9);
    let plan = Plan::new(&rust, &HashWeights, &Serial, Options::default()).unwrap();
    let (mut classes, mut flat) = ([0.0; 10], [0.0; 5]);
    let mut outputs = [
        BatchMut::tight(&mut classes, 1, Shape::new(1, 1, 10)).unwrap(),
        BatchMut::tight(&mut flat, 1, Shape::new(1, 1, 5)).unwrap(),
    ];
    plan.run(&Serial, &mut plan.workspace().unwrap(), &input, &mut outputs).unwrap();

    // SAFETY: the handles and all that is pointed to live.
    unsafe {
        let plan: Handle<sepconv_plan> =
            Handle::new(|place| sepconv_plan_from_names(c.0, ptr::null(), ptr::null(), place));
        let (mut inputs, mut count) = (0, 0);
        ok(sepconv_plan_counts(plan.0, &mut inputs, &mut count));
        assert_eq!((inputs, count), (1, 2));
        let empty = sepconv_shape { height: 0, width: 0, channels: 0 };
        let mut port = sepconv_port { name: ptr::null(), shape: empty };
        ok(sepconv_plan_output(plan.0, 1, &mut port));
        assert_eq!((CStr::from_ptr(port.name), Shape::from(port.shape)), (c"flat", Shape::new(1, 1, 5)));
        let (mut own_classes, mut own_flat) = ([0.0; 10], [0.0; 5]);
        let outputs = [batch_mut(&mut own_classes, 1, (1, 1, 10)), batch_mut(&mut own_flat, 1, (1, 1, 5))];
        let mut memory = workspace(&plan);
        let (start, bytes) = (memory.as_mut_ptr().cast(), memory.len() * 4);
        let image = batch(&input, 1, (16, 12, 3));
        ok(sepconv_plan_run(plan.0, ptr::null(), start, bytes, &image, 1, outputs.as_ptr(), 2));
        assert_eq!((bits(&own_classes), bits(&own_flat)), (bits(&classes), bits(&flat)));
    }
}

#[test]
fn networks_by_name_are_those_of_rust() {
    let of = |config: &Config, architecture| Network::new(architecture, config).unwrap();
    let v1 = Config {
        width: 0.5,
        resolution: 160,
        classes: Some(7),
        ..Config::in_flavor(Architecture::MobilenetV1, Flavor::Tf)
    };
    let shuffle = Config { groups: Some(8), ..Config::of(Architecture::ShufflenetV1) };
    let cases = [
        (network(c"digits"), of(&Config::of(Architecture::Digits), Architecture::Digits)),
        (
            sepconv_network {
                flavor: c"tf".as_ptr(),
                width: 0.5,
                resolution: 160,
                classes: 7,
                ..network(c"mobilenet_v1")
            },
            of(&v1, Architecture::MobilenetV1),
        ),
        (sepconv_network { groups: 8, ..network(c"shufflenet_v1") }, of(&shuffle, Architecture::ShufflenetV1)),
        (
            sepconv_network { backbone: 1, ..network(c"squeezenet_1_1") },
            of(&Config::of(Architecture::Squeezenet1_1), Architecture::Squeezenet1_1).backbone().unwrap(),
        ),
    ];
    for (c, rust) in cases {
        let (graph, mut macs, mut params) = (graph_of(&c), 0, 0);
        // SAFETY: the handle lives, and the places are local ones.
        ok(unsafe { sepconv_graph_size(graph.0, &mut macs, &mut params) });
        assert_eq!((macs, params), (rust.graph().macs(), rust.graph().params()), "{}", rust.name());
    }
    let header = br#"{"__metadata__":{"sepconv.network":"squeezenet_1_1","sepconv.classes":"10"}}"#;
    let file = [&(header.len() as u64).to_le_bytes()[..], header].concat();
    // SAFETY: the handle and the bytes live.
    unsafe {
        let graph: Handle<sepconv_graph> = Handle::new(|place| sepconv_graph_load(file.as_ptr(), file.len(), place));
        let mut macs = 0;
        ok(sepconv_graph_size(graph.0, &mut macs, ptr::null_mut()));
        assert!(macs > 100_000_000);
    }
}
