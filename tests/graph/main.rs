//! Graphs of the caller's: any number of inputs and outputs, read by any number of nodes, in any layout, against the
//! reference; and calls that make no sense.
#![cfg(feature = "reference")]

#[path = "../common/mod.rs"]
mod common;

mod builder_refusals;
mod op_refusals;
mod plan_refusals;
mod plans;
mod shapes;
mod wild;

use common::*;
use sepconv::graph::{Builder, Graph, Layer};
use sepconv::parallel::Parallel;
use sepconv::weights::{HashWeights, Weights};
use sepconv::{Batch, BatchMut, Clamp, Fusion, Layout, Options, Plan, Result, Shape, Window, Workspace};

/// So many threads whose tasks this one runs, the last first.
struct Backwards(usize);

// SAFETY: one task after the other.
unsafe impl Parallel for Backwards {
    fn threads(&self) -> usize {
        self.0
    }

    fn enter(&self, _: usize, work: &mut (dyn FnMut() + Send)) {
        work();
    }

    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        (0..tasks).rev().for_each(task);
    }
}

/// The parameters `name` with a normalisation and a clamp.
fn layer(name: &str, clamp: Clamp) -> Layer {
    Layer::named(name).norm(format!("{name}.bn"), 1e-5).clamp(clamp)
}

/// What nobody writes.
const CANARY: u32 = 0x7fc5_a5a5;

/// Images with gaps after pixels, rows and images: layout, and from one image to the next.
fn apart(shape: Shape, gaps: Option<usize>) -> (Layout, usize) {
    let Shape { height, width, channels } = shape;
    let Some(gap) = gaps else { return (Layout::tight(height, width, channels), shape.len()) };
    let pixel_stride = channels + gap;
    let row_stride = width * pixel_stride + gap + 2;
    (Layout { pixel_stride, row_stride, ..Layout::tight(height, width, channels) }, height * row_stride + gap + 4)
}

/// Where each element of `count` images lies.
fn places(shape: Shape, gaps: Option<usize>, count: usize) -> Vec<usize> {
    let (layout, stride) = apart(shape, gaps);
    let pixel = |i: usize| {
        let (image, y, x) = (i / shape.pixels(), i % shape.pixels() / shape.width, i % shape.width);
        let first = image * stride + y * layout.row_stride + x * layout.pixel_stride;
        first..first + shape.channels
    };
    (0..count * shape.pixels()).flat_map(pixel).collect()
}

/// Runs `plan` on images with gaps (of several sizes), or without; checks that only images are written. The outputs
/// without gaps.
fn run(plan: &Plan, parallel: &dyn Parallel, inputs: &[Vec<f32>], gaps: bool) -> Vec<Vec<f32>> {
    let (graph, count) = (plan.graph(), plan.batch());
    let gap = |index: usize, first: usize| gaps.then_some(first + 2 * index);
    let canaries = |shape, gap| vec![f32::from_bits(CANARY); apart(shape, gap).1 * count];
    let given: Vec<Vec<f32>> = (graph.inputs().zip(inputs).enumerate())
        .map(|(index, ((_, shape), values))| {
            let mut data = canaries(shape, gap(index, 3));
            places(shape, gap(index, 3), count).iter().zip(values).for_each(|(&at, &value)| data[at] = value);
            data
        })
        .collect();
    let shapes: Vec<Shape> = graph.outputs().map(|(_, shape)| shape).collect();
    let mut taken: Vec<Vec<f32>> =
        shapes.iter().enumerate().map(|(index, &shape)| canaries(shape, gap(index, 4))).collect();
    let batches: Vec<Batch<'_>> = (graph.inputs().zip(&given).enumerate())
        .map(|(index, ((_, shape), data))| {
            let (layout, stride) = apart(shape, gap(index, 3));
            Batch::new(data, layout, stride, count).unwrap()
        })
        .collect();
    let mut outputs: Vec<BatchMut<'_>> = (shapes.iter().zip(&mut taken).enumerate())
        .map(|(index, (&shape, data))| {
            let (layout, stride) = apart(shape, gap(index, 4));
            BatchMut::new(data, layout, stride, count).unwrap()
        })
        .collect();
    let mut memory = vec![f32::from_bits(CANARY); plan.workspace_len()];
    plan.run(parallel, &mut Workspace::over(&mut memory), &batches[..], &mut outputs[..]).unwrap();
    drop(outputs);
    let read = |(index, (&shape, data)): (usize, (&Shape, &mut Vec<f32>))| {
        let places = places(shape, gap(index, 4), count);
        let values: Vec<f32> = places.iter().map(|&at| data[at]).collect();
        places.iter().for_each(|&at| data[at] = f32::from_bits(CANARY));
        assert!(data.iter().all(|value| value.to_bits() == CANARY), "output {index}: wrote outside its images");
        values
    };
    shapes.iter().zip(&mut taken).enumerate().map(read).collect()
}

/// The images of `values`, from pixels to planes or back.
fn transposed(values: &[f32], shape: Shape, to_planes: bool) -> Vec<f32> {
    let (pixels, channels) = (shape.pixels(), shape.channels);
    let image = |image: &[f32]| -> Vec<f32> {
        match to_planes {
            true => (0..shape.len()).map(|at| image[at % pixels * channels + at / pixels]).collect(),
            false => (0..shape.len()).map(|at| image[at % channels * pixels + at / channels]).collect(),
        }
    };
    values.chunks(shape.len()).flat_map(image).collect()
}

/// As [`run`], on images plane by plane.
fn run_planes(plan: &Plan, parallel: &dyn Parallel, inputs: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let (graph, count) = (plan.graph(), plan.batch());
    let pairs = graph.inputs().zip(inputs);
    let given: Vec<Vec<f32>> = pairs.map(|((_, shape), values)| transposed(values, shape, true)).collect();
    let shapes: Vec<Shape> = graph.outputs().map(|(_, shape)| shape).collect();
    let mut taken: Vec<Vec<f32>> = shapes.iter().map(|shape| vec![f32::NAN; count * shape.len()]).collect();
    let pairs = graph.inputs().zip(&given);
    let batches: Vec<_> = pairs.map(|((_, shape), data)| Batch::planes(data, count, shape).unwrap()).collect();
    let pairs = shapes.iter().zip(&mut taken);
    let mut outputs: Vec<_> = pairs.map(|(&shape, data)| BatchMut::planes(data, count, shape).unwrap()).collect();
    plan.run(parallel, &mut plan.workspace().unwrap(), &batches[..], &mut outputs[..]).unwrap();
    drop(outputs);
    shapes.iter().zip(&taken).map(|(&shape, values)| transposed(values, shape, false)).collect()
}

/// Image `image` of every input.
fn images(graph: &Graph, image: u64) -> Vec<Vec<f32>> {
    let of = |(index, (_, shape)): (usize, (&str, Shape))| {
        Numbers(100 * image + index as u64).take(shape.len(), Kind::Floats)
    };
    graph.inputs().enumerate().map(of).collect()
}

/// The outputs of the graph for image `image`, by the reference.
fn wanted(graph: &Graph, weights: &dyn Weights, image: u64) -> Vec<Vec<f32>> {
    let inputs = images(graph, image);
    let inputs: Vec<&[f32]> = inputs.iter().map(|input| &input[..]).collect();
    graph.reference(weights, &inputs).unwrap().outputs
}

/// Every option, ISA, batch and layout has the reference's bits.
fn check(graph: &Graph) {
    check_with(graph, &HashWeights);
}

fn check_with(graph: &Graph, weights: &dyn Weights) {
    const BATCH: usize = 3;
    let inputs: Vec<Vec<Vec<f32>>> = (0..BATCH as u64).map(|image| images(graph, image)).collect();
    let wanted: Vec<Vec<Vec<f32>>> = (0..BATCH as u64).map(|image| wanted(graph, weights, image)).collect();
    let joined = |of: &[Vec<Vec<f32>>], batch: usize| -> Vec<Vec<f32>> {
        (0..of[0].len()).map(|at| of[..batch].iter().flat_map(|image| image[at].clone()).collect()).collect()
    };
    let fusions = [Fusion::Auto, Fusion::Off, Fusion::Strips(1), Fusion::Strips(3)];
    for isa in every_isa().iter().map(|kernels| kernels.isa()).filter(|&isa| exact(isa)) {
        for (variant, fusion) in (0..16).flat_map(|variant| fusions.map(|fusion| (variant, fusion))) {
            let (batch, low_memory) = ([1, BATCH][variant % 2], variant / 2 % 2 == 1);
            let (parallel, staged) = (Backwards([1, 3][variant / 4 % 2]), variant / 8 == 1);
            let options = Options { isa: Some(isa), batch, fusion, low_memory, staged, observed: false };
            let plan = Plan::new(graph, weights, &parallel, options).unwrap();
            for form in ["runs", "gaps", "planes"].into_iter().take(2 + usize::from(staged)) {
                let context = format!("{isa}, {options:?}, {form}\n{graph}");
                let got = match form {
                    "planes" => run_planes(&plan, &parallel, &joined(&inputs, batch)),
                    _ => run(&plan, &parallel, &joined(&inputs, batch), form == "gaps"),
                };
                assert_eq!(got.len(), graph.outputs().len());
                for ((got, want), (name, _)) in got.iter().zip(&joined(&wanted, batch)).zip(graph.outputs()) {
                    assert_same(got, want, None, &format!("{name}, {context}"));
                }
            }
        }
    }
}

/// Two images of 7x12, joined by an addition, with three outputs.
fn two_inputs() -> Graph {
    let mut net = Builder::new();
    let a = net.input("a", Shape::new(7, 12, 5)).unwrap();
    let b = net.input("b", Shape::new(7, 12, 8)).unwrap();
    let x = net.conv("x", a, 8, Window::square(3).symmetric(), layer("x", Clamp::NONE)).unwrap();
    let y = net.depthwise("y", b, Window::square(3).symmetric(), layer("y", Clamp::RELU6)).unwrap();
    let sum = net.add("sum", x, y, Clamp::RELU).unwrap();
    let z = net.pointwise("z", sum, 21, layer("z", Clamp::NONE)).unwrap();
    let pooled = net.global_average_pool("pooled", z).unwrap();
    net.build(&[pooled, sum, y]).unwrap()
}

/// Long enough for every kind of chain to be fused, large enough to be cut.
fn residual() -> Graph {
    let mut net = Builder::new();
    let image = net.input("image", Shape::new(40, 56, 3)).unwrap();
    let window = Window::square(3);
    let mut x = net.conv("stem", image, 16, window.stride(2).symmetric(), layer("stem", Clamp::RELU6)).unwrap();
    for block in 0..3 {
        let name = |part: &str| format!("block{block}.{part}");
        let stride = 1 + usize::from(block == 1);
        let channels = [16, 24, 24][block];
        let relu = |part: &str| layer(&name(part), Clamp::RELU6);
        let expand = net.pointwise(&name("expand"), x, 96, relu("expand")).unwrap();
        let window = window.stride(stride).symmetric();
        let filter = net.depthwise(&name("filter"), expand, window, relu("filter")).unwrap();
        let parameters = layer(&name("project"), Clamp::NONE);
        let project = net.pointwise(&name("project"), filter, channels, parameters).unwrap();
        x = if block == 1 { project } else { net.add(&name("sum"), x, project, Clamp::NONE).unwrap() };
    }
    let pooled = net.global_average_pool("pool", x).unwrap();
    let logits = net.fully_connected("logits", pooled, 10, Layer::named("logits").bias()).unwrap();
    net.build(&[logits]).unwrap()
}

/// What a call says.
fn text<T>(result: Result<T>) -> String {
    match result {
        Ok(_) => "no error".into(),
        Err(error) => error.to_string(),
    }
}
