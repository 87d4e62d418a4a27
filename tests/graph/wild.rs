//! Any numbers at all: each call is an error, or the graph has the reference's bits.

use proptest::prelude::*;
use proptest::sample::{Index, select};
use sepconv::graph::{Builder, Graph, Layer, Tensor};
use sepconv::weights::HashWeights;
use sepconv::{Clamp, Fusion, Options, Padding, Plan, Shape, Window};

use super::common::*;
use super::{Backwards, images, run, wanted};

/// Mostly small, some at the limits.
fn size() -> impl Strategy<Value = usize> {
    let limits = vec![255, 256, 32767, 32768, 32769, 65536, 1 << 20, 1 << 24, 1 << 40, usize::MAX / 2, usize::MAX];
    prop_oneof![30 => 1usize..9, 2 => 0usize..20, 1 => select(limits)]
}

fn padding() -> impl Strategy<Value = Padding> {
    let side = || prop_oneof![20 => 0usize..3, 1 => size()];
    (side(), side(), side(), side()).prop_map(|(top, bottom, left, right)| Padding { top, bottom, left, right })
}

fn window() -> impl Strategy<Value = Window> {
    let pair = || prop_oneof![20 => (1usize..4).prop_map(|size| (size, size)), 2 => (size(), size())];
    let dilation = prop_oneof![8 => Just(1), 1 => size()];
    let any = (pair(), pair(), dilation, padding()).prop_map(|(size, stride, dilation, padding)| {
        Window::new(size.0, size.1).strides(stride.0, stride.1).dilation(dilation).padding(padding)
    });
    let common = (1usize..3).prop_map(|stride| Window::square(3).stride(stride).symmetric());
    prop_oneof![any, common]
}

fn clamp() -> impl Strategy<Value = Clamp> {
    let bound = || prop_oneof![8 => -2.0f32..2.0, 1 => select(vec![f32::NAN, f32::INFINITY, -0.0, f32::MAX])];
    let any = (bound(), bound()).prop_map(|(lo, hi)| Clamp::new(lo, hi));
    prop_oneof![4 => select(vec![Clamp::NONE, Clamp::RELU, Clamp::RELU6]), 1 => any]
}

/// One call of the builder: which, on what, with what numbers.
type Draft = (usize, (Index, Index), usize, Window, Clamp, usize);

fn draft() -> impl Strategy<Value = Draft> {
    let tensors = (any::<Index>(), any::<Index>());
    (0usize..12, tensors, size(), window(), clamp(), prop_oneof![9 => Just(0usize), 1 => size()])
}

/// The graph of the calls that were no error.
fn graph(shapes: &[(usize, usize, usize)], drafts: &[Draft]) -> Option<Graph> {
    let mut net = Builder::new();
    let inputs = shapes.iter().enumerate().map(|(at, &shape)| net.input(&format!("image{at}"), shape.into()));
    let mut tensors: Vec<Tensor> = inputs.filter_map(Result::ok).collect();
    let mut made = Vec::new();
    for (at, &(kind, (from, other), outputs, window, clamp, arrays)) in drafts.iter().enumerate() {
        if tensors.is_empty() {
            return None;
        }
        let (x, y, name) = (*from.get(&tensors), *other.get(&tensors), format!("n{at}"));
        let layer = match arrays {
            0 => Layer::named(&name).norm(format!("{name}.bn"), 1e-5),
            // The right lengths are rare.
            length => Layer::arrays(vec![0.5; length.min(100)], vec![0.5; outputs.min(100)]),
        };
        let layer = layer.clamp(clamp);
        let tensor = match kind {
            0 | 1 => net.conv(&name, x, outputs, window, layer),
            2 | 3 => net.depthwise(&name, x, window, layer),
            4 | 5 => net.pointwise(&name, x, outputs, layer),
            6 => net.max_pool(&name, x, window),
            7 => net.average_pool(&name, x, window, outputs % 2 == 0),
            8 => net.global_average_pool(&name, x),
            9 => net.fully_connected(&name, x, outputs, layer),
            10 => net.clamp(&name, x, clamp),
            _ => net.add(&name, x, y, clamp),
        };
        if let Ok(tensor) = tensor {
            assert!(net.shape(tensor).is_ok_and(|shape| !shape.is_empty()));
            tensors.push(tensor);
            made.push(tensor);
        }
    }
    let outputs: Vec<Tensor> = made.iter().rev().step_by(2).copied().collect();
    net.build(&outputs).ok()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6 * ProptestConfig::default().cases, ..ProptestConfig::default() })]

    #[test]
    fn any_call_is_an_error_or_right(
        shapes in prop::collection::vec((size(), size(), size()), 1..3),
        drafts in prop::collection::vec(draft(), 1..8),
        (batch, threads) in (prop_oneof![9 => 0usize..4, 1 => size()], prop_oneof![9 => 0usize..4, 1 => size()]),
        fusion in prop_oneof![2 => Just(Fusion::Auto), 1 => size().prop_map(Fusion::Strips)],
        (low_memory, staged) in any::<(bool, bool)>(),
    ) {
        let Some(graph) = graph(&shapes, &drafts) else { return Ok(()) };
        let (params, macs) = (graph.params(), graph.macs());
        let features = graph.nodes().iter().map(|node| graph.features([node.name()]).unwrap());
        prop_assert!(features.into_iter().all(|part| part.params() <= params && part.macs() <= macs));
        let sizes = graph.inputs().map(|(_, shape)| shape).chain(graph.nodes().iter().map(|node| node.output()));
        let largest = sizes.map(|shape| shape.len()).max().unwrap_or(0);
        // The weights of a source without end are computed.
        if params > 1 << 18 {
            return Ok(());
        }
        let options = Options { batch, fusion, low_memory, staged, ..Options::default() };
        let parallel = Backwards(threads);
        let Ok(plan) = Plan::new(&graph, &HashWeights, &parallel, options) else { return Ok(()) };
        prop_assert_eq!(plan.batch(), batch.max(1));
        prop_assert!(plan.describe().map(|step| step.tasks).max() <= Some(plan.threads()));
        let _ = (plan.workspace_bytes(), plan.peak_bytes(), plan.with_batch(65536).is_ok(), format!("{plan:?}"));
        if largest.saturating_mul(plan.batch()) > 1 << 16 || macs > 1 << 24 || !exact(plan.isa()) {
            return Ok(());
        }
        let batch = plan.batch() as u64;
        let inputs: Vec<Vec<Vec<f32>>> = (0..batch).map(|image| images(&graph, image)).collect();
        let joined: Vec<Vec<f32>> =
            (0..inputs[0].len()).map(|at| inputs.iter().flat_map(|image| image[at].clone()).collect()).collect();
        let got = run(&plan, &parallel, &joined, true);
        for image in 0..batch as usize {
            for (got, want) in got.iter().zip(wanted(&graph, &HashWeights, image as u64)) {
                let got = &got[image * want.len()..][..want.len()];
                assert_same(got, &want, None, &format!("image {image} of {batch}, {options:?}\n{graph}"));
            }
        }
    }
}

/// Images that no memory holds make plans of few calls.
#[test]
fn plans_of_absurd_images_are_small() {
    for shape in [Shape::new(1 << 22, 1 << 22, 16), Shape::new(1 << 40, 1, 16), Shape::new(1, 1 << 40, 16)] {
        let mut net = Builder::new();
        let image = net.input("image", shape).unwrap();
        let mixed = net.pointwise("mixed", image, 32, Layer::named("mixed")).unwrap();
        let filtered =
            net.depthwise("filtered", mixed, Window::square(3).symmetric(), Layer::named("filtered")).unwrap();
        let last = net.pointwise("last", filtered, 16, Layer::named("last")).unwrap();
        let graph = net.build(&[last]).unwrap();
        for (fusion, low_memory) in [(Fusion::Auto, false), (Fusion::Auto, true), (Fusion::Strips(1), false)] {
            let options = Options { fusion, low_memory, staged: low_memory, ..Options::default() };
            let plan = Plan::new(&graph, &HashWeights, &Backwards(4), options).unwrap();
            assert!(plan.workspace_bytes() > 1 << 40);
            assert_eq!(
                plan.workspace().unwrap_err().to_string(),
                format!(
                    "workspace: {} bytes of memory are not to be had; ask for less or free some",
                    plan.workspace_bytes()
                )
            );
        }
    }
}
