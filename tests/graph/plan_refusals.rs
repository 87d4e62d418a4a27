//! Weights, options and images that do not fit a plan.

use std::borrow::Cow;

use sepconv::graph::{Builder, Graph, Layer};
use sepconv::parallel::Serial;
use sepconv::weights::{Folded, HashWeights, Weights, fold};
use sepconv::{Batch, BatchMut, Bytes, Clamp, Isa, Options, Plan, Result, Shape, Window, Workspace};

use super::builder_refusals::{MAX, THREE, all_sides, arrays, expanded, graph, named, net};
use super::text;

/// A source of one answer, and of a list of names.
struct Source(fn(&[usize]) -> Result<Vec<f32>, String>, &'static [&'static str]);

impl Weights for Source {
    fn tensor(&self, _: &str, shape: &[usize]) -> Result<Cow<'_, [f32]>, String> {
        (self.0)(shape).map(Cow::Owned)
    }

    fn names(&self) -> Vec<String> {
        self.1.iter().map(|name| name.to_string()).collect()
    }
}

fn zeros(shape: &[usize]) -> Result<Vec<f32>, String> {
    Ok(vec![0.0; shape.iter().product()])
}

#[test]
fn a_plan_says_what_is_wrong_with_its_weights() {
    let plan = |graph: &Graph, weights: &dyn Weights| text(Plan::new(graph, weights, &Serial, Options::default()));
    let listed = |problem: &str| format!("the weights do not fit the graph:\n  {problem}");
    assert_eq!(plan(&graph(), &Source(zeros, &[])), "no error");
    let missing = Source(|_| Err("missing".into()), &[]);
    assert_eq!(plan(&graph(), &missing), listed("features.weight: missing"));
    let short = Source(|_| Ok(vec![0.0; 5]), &[]);
    let problem = "features.weight: 5 elements, expected 108 (shape [4, 3, 3, 3])";
    assert_eq!(plan(&graph(), &short), listed(problem));
    let more = Source(zeros, &["features.weight", "bn.num_batches_tracked", "extra.weight"]);
    assert_eq!(plan(&graph(), &more), listed("extra.weight: unexpected, no node reads it"));

    // Normalisations that divide by nothing, named and given.
    let normalised = |layer: Layer| {
        let mut net = net();
        let x = net.builder.pointwise("a", net.pixel, 2, layer).unwrap();
        net.builder.build(&[x]).unwrap()
    };
    let named = normalised(named().norm("n", 0.0));
    let problem = "n.running_var: element 0 is 0, expected one above 0";
    assert_eq!(plan(&named, &Source(zeros, &[])), listed(problem));
    for (variance, problem) in [
        ([1.0, -1.0], "a: variance: element 1 is -1, expected one above 0"),
        ([f32::NAN, 1.0], "a: variance: element 0 is NaN, expected one above 0"),
    ] {
        let ones = [1.0; 2];
        let layer = arrays(8, 2).norm_arrays(ones, ones, ones, variance, 1e-5);
        assert_eq!(plan(&normalised(layer), &HashWeights), listed(problem));
    }

    // All that is wrong is in one error.
    let two = normalised(Layer::named("a").bias());
    let problems = "features.weight: missing\n  a.weight: missing\n  a.bias: missing";
    assert_eq!(plan(&two, &missing), listed(problems));

    // More weights than any memory holds.
    let mut net = net();
    let large = net.builder.input("large", Shape::new(1, 1, 1 << 28)).unwrap();
    let x = net.builder.fully_connected("a", large, 1 << 24, Layer::named("a")).unwrap();
    let large = net.builder.build(&[x]).unwrap().features(["a"]).unwrap();
    let problem = format!("a.weight: {} bytes of memory are not to be had", 1u64 << 54);
    assert_eq!(plan(&large, &HashWeights), listed(&problem));
}

#[test]
fn a_plan_says_what_is_wrong_with_its_options() {
    let plan = |graph: &Graph, options: Options| text(Plan::new(graph, &HashWeights, &Serial, options));
    let of_batch = |batch| Options { batch, ..Options::default() };
    assert_eq!(plan(&graph(), of_batch(65537)), "batch: got 65537, expected at most 65536");
    assert_eq!(plan(&graph(), of_batch(MAX)), format!("batch: got {MAX}, expected at most 65536"));
    let one = Plan::new(&graph(), &HashWeights, &Serial, Options::default()).unwrap();
    assert_eq!(text(one.with_batch(65537)), "batch: got 65537, expected at most 65536");
    let supported = Isa::supported();
    for isa in Isa::ALL.into_iter().filter(|isa| !supported.contains(isa)) {
        let names = supported.iter().map(|isa| isa.as_str()).collect::<Vec<_>>().join(", ");
        let text = format!("ISA {isa} cannot run here: this CPU and build support {names}; choose one of these");
        assert_eq!(plan(&graph(), Options { isa: Some(isa), ..Options::default() }), text);
    }

    // Windows that no kernel has.
    let filtered = |window: Window| {
        let mut net = net();
        let x = net.builder.depthwise("a", net.image, window, named()).unwrap();
        net.builder.build(&[x]).unwrap()
    };
    for (window, got) in [
        (Window::new(3, 2), "3x2 stride 1"),
        (THREE.stride(3), "3x3 stride 3"),
        (THREE.dilation(3).symmetric(), "3x3 stride 1 dilation 3"),
    ] {
        let error = plan(&filtered(window), Options::default());
        assert!(error.starts_with(&format!("a: depthwise window: got {got}, expected one of 3x3 stride 1")), "{error}");
    }
    let uneven = "a: depthwise window: got Window { size: (3, 3), stride: (2, 1), dilation: (1, 1), {NONE} }, expected \
                  the same stride and dilation both ways";
    assert_eq!(plan(&filtered(THREE.strides(2, 1)), Options::default()), expanded(uneven));

    // Images that one batch has room for, but not many.
    for kind in 0..4 {
        let mut builder = Builder::new();
        let image = builder.input("image", Shape::new(1 << 22, 1 << 22, 16)).unwrap();
        let x = match kind {
            0 => builder.global_average_pool("a", image).unwrap(),
            1 => builder.clamp("a", image, Clamp::RELU).unwrap(),
            2 => builder.max_pool("a", image, Window::square(32768).padding(all_sides(32767))).unwrap(),
            _ => {
                let x = builder.max_pool("b", image, THREE.symmetric()).unwrap();
                builder.max_pool("a", x, THREE.symmetric()).unwrap()
            }
        };
        let large = builder.build(&[x]).unwrap();
        assert_eq!(plan(&large, Options::default()), "no error");
        let room = "batch: got 65536, expected one whose tensors fit the address space";
        assert_eq!(plan(&large, of_batch(65536)), room);
        let one = Plan::new(&large, &HashWeights, &Serial, Options::default()).unwrap();
        assert_eq!(text(one.with_batch(65536)), room);
        if kind == 3 {
            let bytes = one.workspace_bytes();
            let memory = format!("workspace: {bytes} bytes of memory are not to be had; ask for less or free some");
            assert_eq!(text(one.workspace()), memory);
        }
    }
}

#[test]
fn a_plan_says_what_is_wrong_with_folded_weights() {
    let folded = fold(&graph(), &HashWeights).unwrap();
    let plan = |folded: &[Option<Folded>]| text(Plan::from_folded(&graph(), folded, &Serial, Options::default()));
    assert_eq!(plan(&folded), "no error");
    let none = "features: folded weights: got none, expected those of `weights::fold`";
    assert_eq!(plan(&[None, None]), none);
    let count = |got| format!("folded weights: got {got} entries, expected one a node, 2");
    assert_eq!(plan(&[]), count(0));
    assert_eq!(plan(&folded[..1]), count(1));
    assert_eq!(plan(&[&folded[..], &[None]].concat()), count(3));
    let mut short = folded.clone();
    short[0].as_mut().unwrap().weights.pop();
    let text = "features: conv weights (outputs x inputs x kh x kw): got 107 elements, expected 4 x 3 x 3 x 3";
    assert_eq!(plan(&short), text);
    let mut short = folded;
    short[0].as_mut().unwrap().bias.push(0.0);
    assert_eq!(plan(&short), "features: conv bias (outputs): got 5 elements, expected 4");

    let folded = |weights: usize, outputs: usize| Folded::new(&vec![1.0; weights], &vec![(1.0, 0.0); outputs]);
    let error = folded(5, 2).unwrap_err().to_string();
    assert_eq!(error, "weights: got 5 elements, expected a multiple of 2 outputs, at least one");
    assert!(folded(0, 0).is_err() && folded(0, 3).is_ok());
}

/// Two images of 4x5x2 and 4x5x3; their depthwise convolutions are the outputs.
fn pair() -> Graph {
    let mut net = Builder::new();
    let a = net.input("a", Shape::new(4, 5, 2)).unwrap();
    let b = net.input("b", Shape::new(4, 5, 3)).unwrap();
    let x = net.depthwise("x", a, THREE.symmetric(), named()).unwrap();
    let y = net.depthwise("y", b, THREE.symmetric(), Layer::named("v")).unwrap();
    net.build(&[x, y]).unwrap()
}

#[test]
fn a_run_says_what_is_wrong_with_its_images() {
    let plan = |graph: &Graph, batch| {
        Plan::new(graph, &HashWeights, &Serial, Options { batch, ..Options::default() }).unwrap()
    };
    let data = vec![0.5; 1000];
    // One input and one output, as slices.
    for (batch, size) in [(1, "1 x 8 x 6 x 3, NHWC"), (2, "2 x 8 x 6 x 3, NHWC")] {
        let plan = plan(&graph(), batch);
        let run = |input: usize, output: usize| {
            let (mut workspace, mut given) = (plan.workspace().unwrap(), vec![7.0; output]);
            let result = plan.run(&Serial, &mut workspace, &data[..input], &mut given);
            assert!(result.is_ok() || given.iter().all(|&value| value == 7.0), "nothing is written");
            text(result)
        };
        let (inputs, outputs) = (144 * batch, 4 * batch);
        for wrong in [0, inputs - 1, inputs + 1] {
            let expected = format!("input: got {wrong} elements, expected {inputs} ({size})");
            assert_eq!(run(wrong, outputs), expected);
        }
        for wrong in [0, outputs - 1, outputs + 1] {
            let expected = format!("output: got {wrong} elements, expected {outputs} ({batch} x 4)");
            assert_eq!(run(inputs, wrong), expected);
        }
        assert_eq!(run(inputs, outputs), "no error");
    }
    // Two of each, as batches.
    let plan = plan(&pair(), 2);
    let (mut first, mut second) = (vec![7.0; 80], vec![7.0; 120]);
    let run = |workspace: &mut Workspace<'_>, inputs: &[Batch<'_>], outputs: &mut [BatchMut<'_>]| {
        text(plan.run(&Serial, workspace, inputs, outputs))
    };
    let (a, b) = (Shape::new(4, 5, 2), Shape::new(4, 5, 3));
    let batch = |count: usize, shape: Shape| Batch::tight(&data[..count * shape.len()], count, shape).unwrap();
    let good = [batch(2, a), batch(2, b)];
    let workspace = &mut plan.workspace().unwrap();
    let mut outputs = [BatchMut::tight(&mut first, 2, a).unwrap(), BatchMut::tight(&mut second, 2, b).unwrap()];
    assert_eq!(run(workspace, &good[..1], &mut outputs), "inputs: got 1, expected 2");
    assert_eq!(run(workspace, &[], &mut outputs), "inputs: got 0, expected 2");
    assert_eq!(run(workspace, &good, &mut outputs[1..]), "outputs: got 1, expected 2");
    assert_eq!(run(workspace, &[good[0], good[1], good[1]], &mut outputs), "inputs: got 3, expected 2");
    for (wrong, got) in
        [(batch(1, b), "1 images of 4x5x3"), (batch(3, b), "3 images of 4x5x3"), (batch(2, a), "2 images of 4x5x2")]
    {
        let expected = format!("input \"b\": got {got}, expected 2 images of 4x5x3");
        assert_eq!(run(workspace, &[good[0], wrong], &mut outputs), expected);
    }
    let turned = batch(2, Shape::new(5, 4, 2));
    let expected = "input \"a\": got 2 images of 5x4x2, expected 2 images of 4x5x2";
    assert_eq!(run(workspace, &[turned, good[1]], &mut outputs), expected);
    outputs.swap(0, 1);
    let expected = "output \"x\": got 2 images of 4x5x3, expected 2 images of 4x5x2";
    assert_eq!(run(workspace, &good, &mut outputs), expected);
    outputs.swap(0, 1);
    // A slice is one.
    let slice = |what: &str| format!("{what}: got one slice, expected 2 {what}s, given as `");
    assert_eq!(text(plan.run(&Serial, workspace, &data, &mut outputs)), slice("input") + "Batch`");
    let mut output = vec![7.0; 200];
    assert_eq!(text(plan.run(&Serial, workspace, &good, &mut output)), slice("output") + "BatchMut`");
    // Planes and bytes are for plans that are staged.
    let pixels = |what: &str, form: &str| {
        let expected = "pixels of f32: the plan was not built with `Options { staged: true, .. }`";
        format!("{what}: got {form}, expected {expected}")
    };
    let planes = Batch::planes(&data[..120], 2, b).unwrap();
    assert_eq!(run(workspace, &[good[0], planes], &mut outputs), pixels("input \"b\"", "planes"));
    let mut other = vec![7.0; 80];
    let first = std::mem::replace(&mut outputs[0], BatchMut::planes(&mut other, 2, a).unwrap());
    assert_eq!(run(workspace, &good, &mut outputs), pixels("output \"x\"", "planes"));
    outputs[0] = first;
    let given = [bytes(80, 2, 2), bytes(120, 3, 3)];
    assert_eq!(text(plan.run(&Serial, workspace, &given[..], &mut outputs)), pixels("inputs", "bytes"));
    assert_eq!(run(workspace, &good, &mut outputs), "no error");
    assert!(output.iter().all(|&value| value == 7.0));
}

/// So many bytes, factors and summands.
fn bytes(length: usize, scale: usize, offset: usize) -> Bytes<'static> {
    static ONES: [f32; 4] = [1.0; 4];
    Bytes { data: &[1; 200][..length], scale: &ONES[..scale], offset: &ONES[..offset] }
}

#[test]
fn a_run_says_what_is_wrong_with_its_bytes() {
    let options = Options { batch: 2, staged: true, ..Options::default() };
    let plan = Plan::new(&pair(), &HashWeights, &Serial, options).unwrap();
    let (mut first, mut second) = (vec![7.0; 80], vec![7.0; 120]);
    let first = BatchMut::planes(&mut first, 2, Shape::new(4, 5, 2)).unwrap();
    let mut outputs = [first, BatchMut::tight(&mut second, 2, Shape::new(4, 5, 3)).unwrap()];
    let mut run = |inputs: &[Bytes<'_>]| text(plan.run(&Serial, &mut plan.workspace().unwrap(), inputs, &mut outputs));
    let good = bytes(120, 3, 3);
    assert_eq!(run(&[good]), "inputs: got 1, expected 2");
    for length in [0, 79, 81] {
        let expected = format!("input \"a\": got {length} elements, expected 80 (2 x 4 x 5 x 2, NHWC)");
        assert_eq!(run(&[bytes(length, 2, 2), good]), expected);
    }
    for (scale, offset) in [(1, 2), (2, 3), (0, 0), (4, 4)] {
        let got = format!("scale and offset of input \"a\": got {scale} and {offset} numbers");
        assert_eq!(run(&[bytes(80, scale, offset), good]), format!("{got}, expected 2 of each, one a channel"));
    }
    assert_eq!(run(&[bytes(80, 2, 2), good]), "no error");
}
