//! What a plan says of its memory and its steps, and what it takes.

mod common;

use common::OnOutput;
use sepconv::graph::{Builder, Layer, Tensor};
use sepconv::models::{Architecture, Config, Network};
use sepconv::parallel::{Parallel, Serial};
use sepconv::weights::HashWeights;
use sepconv::{Clamp, Fusion, Observer, Options, Plan, Shape, View, Window};

/// A MobileNet of at most 28 x 28 pixels and few channels.
fn network() -> Network {
    let config = Config { width: 0.05, resolution: 28, ..Config::of(Architecture::MobilenetV1) };
    Network::new(Architecture::MobilenetV1, &config).unwrap()
}

fn plan(options: Options) -> Result<Plan, String> {
    network().plan(&HashWeights, &Serial, options).map_err(|error| error.to_string())
}

/// Any number of threads, whose tasks this one runs.
struct Threads(usize);

// SAFETY: one task after the other.
unsafe impl Parallel for Threads {
    fn threads(&self) -> usize {
        self.0
    }

    fn enter(&self, _: usize, work: &mut (dyn FnMut() + Send)) {
        work();
    }

    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        (0..tasks).for_each(task);
    }
}

/// The image with the first layer's output, 28x28x3 and 14x14x8, is more than any two of the other tensors: of those the
/// largest are 14x14x8 both. Without the image the peak would be 12,544 bytes, with it to the end 21,952.
#[test]
fn the_peak_holds_the_images_until_they_were_read() {
    for batch in [1, 3] {
        let plan = plan(Options { batch, fusion: Fusion::Off, ..Options::default() }).unwrap();
        assert_eq!(plan.peak_bytes(), batch * 4 * (28 * 28 * 3 + 14 * 14 * 8));
        assert_eq!(plan.workspace_bytes(), batch * 4 * 2 * 14 * 14 * 8);
    }
}

#[test]
fn batch_and_threads_have_a_limit() {
    const LARGEST: usize = 1 << 16;
    for batch in [LARGEST, LARGEST - 1] {
        let plan = plan(Options { batch, ..Options::default() }).unwrap();
        assert_eq!((plan.batch(), plan.input_len()), (batch, batch * 28 * 28 * 3));
    }
    // More threads than are ever used count as so many.
    for (threads, counted) in [(0, 1), (1, 1), (LARGEST, LARGEST), (LARGEST + 1, LARGEST), (usize::MAX, LARGEST)] {
        let plan = network().plan(&HashWeights, &Threads(threads), Options::default()).unwrap();
        assert_eq!((plan.batch(), plan.threads()), (1, counted));
        assert!(plan.describe().all(|step| (1..=counted).contains(&step.tasks)));
    }
    for beyond in [LARGEST + 1, usize::MAX] {
        let error = plan(Options { batch: beyond, ..Options::default() }).unwrap_err();
        assert_eq!(error, format!("batch: got {beyond}, expected at most 65536"));
        let other = plan(Options::default()).unwrap().with_batch(beyond).unwrap_err();
        assert_eq!(other.to_string(), error);
    }
    let none = plan(Options { batch: 0, ..Options::default() }).unwrap();
    assert_eq!((none.batch(), none.threads()), (1, 1));
    assert_eq!(none.with_batch(0).unwrap().batch(), 1);
}

/// With all that there is to count: inverted residuals, a shortcut, batches.
fn inverted() -> Network {
    let config = Config { width: 0.35, resolution: 40, classes: Some(9), ..Config::of(Architecture::MobilenetV2) };
    Network::new(Architecture::MobilenetV2, &config).unwrap()
}

#[test]
fn steps_count_what_they_compute_and_move() {
    let (network, batch) = (inverted(), 2);
    for (fusion, low_memory) in
        [(Fusion::Auto, false), (Fusion::Off, false), (Fusion::Off, true), (Fusion::Strips(2), false)]
    {
        let options = Options { batch, fusion, low_memory, ..Options::default() };
        let plan = network.plan(&HashWeights, &Threads(2), options).unwrap();
        let macs: u64 = plan.describe().map(|step| step.macs).sum();
        assert_eq!(macs, batch as u64 * network.graph().macs(), "{fusion:?}, {low_memory}");
        assert!(plan.describe().all(|step| step.nodes.len() == step.kernels.len()));
    }
    let graph = network.graph();
    let folded = network.fold(&HashWeights).unwrap();
    let options = Options { batch, observed: true, ..Options::default() };
    let plan = Plan::from_folded(graph, &folded, &Serial, options).unwrap();
    let steps = plan.describe().collect::<Vec<_>>();
    assert_eq!(steps.len(), graph.nodes().len());
    for ((step, node), folded) in steps.iter().zip(graph.nodes()).zip(&folded) {
        assert_eq!(step.nodes.iter().map(|node| node.name()).collect::<Vec<_>>(), [node.name()]);
        assert_eq!((step.input, step.output), (node.input(), node.output()), "{}", node.name());
        // An addition reads two tensors of the shape that it writes.
        let residual = if node.kind() == "add" { node.input().len() } else { 0 };
        let tensors = node.input().len() + residual + node.output().len();
        let weights = folded.as_ref().map_or(0, |folded| folded.weights.len() + folded.bias.len());
        assert_eq!(step.bytes, 4 * (batch * tensors + weights) as u64, "{}", node.name());
        // Of few pixels, the tasks share the output channels of what sums over the input's.
        let mixes = ["conv", "pointwise", "fully_connected"].contains(&node.kind());
        let by_channels = mixes && batch * node.output().pixels() < 128;
        let shared = if by_channels { batch * node.input().len() } else { weights };
        assert_eq!(step.shared_bytes, 4 * shared as u64, "{}", node.name());
        assert_eq!(step.macs, batch as u64 * node.macs(), "{}", node.name());
        assert_eq!(step.tasks, 1, "{}", node.name());
    }
    assert!(graph.nodes().iter().any(|node| node.kind() == "add"));
    // Folded into the convolution before it, the residual is still read.
    let plan =
        network.plan(&HashWeights, &Serial, Options { batch, fusion: Fusion::Off, ..Options::default() }).unwrap();
    let added = |step: &sepconv::Description<'_>| {
        let node = step.nodes[0];
        let weights = folded[graph.nodes().iter().position(|other| other.name() == node.name()).unwrap()].as_ref();
        let weights = weights.map_or(0, |folded| folded.weights.len() + folded.bias.len());
        step.bytes - 4 * (batch * (node.input().len() + node.output().len()) + weights) as u64
    };
    let residuals: Vec<u64> = plan.describe().map(|step| added(&step)).collect();
    let expected = graph.nodes().iter().filter(|node| node.kind() == "add").map(|node| 4 * batch * node.output().len());
    assert_eq!(residuals.iter().sum::<u64>(), expected.sum::<usize>() as u64);
}

/// The nodes of each step, none for a copy, of a graph over two images of 6 x 6 x 8, each layer by itself.
fn steps(make: fn(&mut Builder, [Tensor; 2]) -> sepconv::Result<Vec<Tensor>>) -> Vec<String> {
    let mut net = Builder::new();
    let images = ["a", "b"].map(|name| net.input(name, Shape::new(6, 6, 8)).unwrap());
    let outputs = make(&mut net, images).unwrap();
    let options = Options { fusion: Fusion::Off, ..Options::default() };
    let plan = Plan::new(&net.build(&outputs).unwrap(), &HashWeights, &Serial, options).unwrap();
    let names =
        |step: sepconv::Description<'_>| step.nodes.iter().map(|node| node.name()).collect::<Vec<_>>().join("+");
    plan.describe().map(names).collect()
}

fn mix(net: &mut Builder, name: &str, input: Tensor, clamp: Clamp) -> sepconv::Result<Tensor> {
    net.pointwise(name, input, 8, Layer::named(name).clamp(clamp))
}

/// What makes the parts of a concatenation writes them where they are read; an image is copied, and what is read twice.
#[test]
fn parts_are_written_side_by_side() {
    let both = steps(|net, [a, b]| {
        let parts = [mix(net, "x", a, Clamp::NONE)?, mix(net, "y", b, Clamp::NONE)?];
        let x = net.concat(&parts)?;
        Ok(vec![mix(net, "z", x, Clamp::NONE)?])
    });
    assert_eq!(both, ["x", "y", "z"]);
    let three = steps(|net, [a, b]| {
        let parts = [a, mix(net, "x", a, Clamp::NONE)?, mix(net, "y", b, Clamp::NONE)?];
        let x = net.concat(&parts)?;
        Ok(vec![mix(net, "z", x, Clamp::NONE)?])
    });
    assert_eq!(three, ["x", "y", "", "z"]);
    let made = steps(|net, [a, b]| {
        let parts = [("v", a), ("w", b), ("x", a)].map(|(name, input)| mix(net, name, input, Clamp::NONE));
        let x = net.concat(&parts.into_iter().collect::<sepconv::Result<Vec<_>>>()?)?;
        Ok(vec![mix(net, "z", x, Clamp::NONE)?])
    });
    assert_eq!(made, ["v", "w", "x", "z"]);
    let halves = steps(|net, [a, _]| {
        let x = mix(net, "x", a, Clamp::NONE)?;
        let parts = [net.slice(x, 0..2)?, net.slice(x, 4..6)?];
        let x = net.concat(&parts)?;
        Ok(vec![mix(net, "z", x, Clamp::NONE)?])
    });
    assert_eq!(halves, ["x", "z"]);
}

/// An addition joins a convolution that nothing else reads, unless that clamps.
#[test]
fn additions_join_convolutions() {
    let free = steps(|net, [a, b]| {
        let (x, y) = (mix(net, "x", a, Clamp::NONE)?, mix(net, "y", b, Clamp::NONE)?);
        Ok(vec![net.add("sum", x, y, Clamp::RELU)?])
    });
    assert_eq!(free, ["x", "y"]);
    let clamped = steps(|net, [a, b]| {
        let (x, y) = (mix(net, "x", a, Clamp::RELU)?, mix(net, "y", b, Clamp::RELU)?);
        Ok(vec![net.add("sum", x, y, Clamp::NONE)?])
    });
    assert_eq!(clamped, ["x", "y", "sum"]);
    let depthwise = steps(|net, [a, b]| {
        let x = net.depthwise("x", a, Window::square(3).symmetric(), Layer::named("x"))?;
        Ok(vec![net.add("sum", x, b, Clamp::NONE)?])
    });
    assert_eq!(depthwise, ["x"]);
    let read = steps(|net, [a, b]| {
        let x = mix(net, "x", a, Clamp::NONE)?;
        Ok(vec![net.add("sum", x, b, Clamp::NONE)?, mix(net, "z", x, Clamp::NONE)?])
    });
    assert_eq!(read, ["x", "sum", "z"]);
}

/// A clamp joins the layer that makes its input, if nothing else reads that, or those depthwise ones that read its output, if it
/// has no upper bound.
#[test]
fn clamps_join_their_neighbours() {
    let back = steps(|net, [a, _]| {
        let x = mix(net, "x", a, Clamp::NONE)?;
        Ok(vec![net.clamp("clamp", x, Clamp::RELU6)?])
    });
    assert_eq!(back, ["x"]);
    fn shared(net: &mut Builder, a: Tensor, clamp: Clamp) -> sepconv::Result<[Tensor; 2]> {
        let x = mix(net, "x", a, Clamp::NONE)?;
        Ok([x, net.clamp("clamp", x, clamp)?])
    }
    let forward = steps(|net, [a, _]| {
        let [x, clamped] = shared(net, a, Clamp::RELU)?;
        let window = Window::square(3).symmetric();
        let y = net.depthwise("y", clamped, window, Layer::named("y"))?;
        Ok(vec![y, mix(net, "z", x, Clamp::NONE)?])
    });
    assert_eq!(forward, ["x", "y", "z"]);
    let bounded = steps(|net, [a, _]| {
        let [x, clamped] = shared(net, a, Clamp::RELU6)?;
        let window = Window::square(3).symmetric();
        let y = net.depthwise("y", clamped, window, Layer::named("y"))?;
        Ok(vec![y, mix(net, "z", x, Clamp::NONE)?])
    });
    assert_eq!(bounded, ["x", "clamp", "y", "z"]);
    let other = steps(|net, [a, _]| {
        let [x, clamped] = shared(net, a, Clamp::RELU)?;
        Ok(vec![mix(net, "y", clamped, Clamp::NONE)?, mix(net, "z", x, Clamp::NONE)?])
    });
    assert_eq!(other, ["x", "clamp", "y", "z"]);
}

/// A task for each 200,000 multiply-accumulates, of all images that go together, as far as rows and threads reach.
#[test]
fn work_is_cut_by_its_size() {
    type Make = fn(&mut Builder, Tensor) -> sepconv::Result<Tensor>;
    let tasks = |batch: usize, options: Options, make: Make| -> Vec<(usize, u64)> {
        let mut net = Builder::new();
        let image = net.input("image", Shape::new(100, 100, 16)).unwrap();
        let output = make(&mut net, image).unwrap();
        let plan = Plan::new(&net.build(&[output]).unwrap(), &HashWeights, &Threads(40), Options { batch, ..options });
        plan.unwrap().describe().map(|step| (step.tasks, step.bytes)).collect()
    };
    let counts = |options: Options, make: Make| {
        [1, 2].map(|batch| tasks(batch, options, make).into_iter().map(|(tasks, _)| tasks).collect::<Vec<_>>())
    };
    let auto = Options::default();
    let pointwise: Make = |net, x| net.pointwise("pw", x, 16, Layer::named("pw"));
    assert_eq!(counts(auto, pointwise), [[13], [26]]);
    // What has no weights counts its taps.
    assert_eq!(counts(auto, |net, x| net.max_pool("pool", x, Window::square(3).symmetric())), [[8], [15]]);
    let separable: Make = |net, x| {
        let x = net.depthwise("dw", x, Window::square(3).symmetric(), Layer::named("dw"))?;
        net.pointwise("pw", x, 16, Layer::named("pw"))
    };
    assert_eq!(counts(Options { fusion: Fusion::Strips(2), ..auto }, separable), [[21], [40]]);
    // 4 MB of weights take longer to read than a million products.
    let dense = tasks(1, auto, |net, x| {
        let x = net.global_average_pool("mean", x)?;
        let x = net.fully_connected("wide", x, 1000, Layer::named("wide"))?;
        net.fully_connected("fc", x, 1000, Layer::named("fc"))
    });
    assert!(dense[2].0 > 1_000_000 / 200_000 + 1, "{dense:?}");
    // Copies count their elements, which are read and written.
    let copied = |batch| tasks(batch, Options { staged: true, ..auto }, pointwise)[0];
    assert_eq!([1, 3].map(copied), [(1, 2 * 640_000), (3, 2 * 3 * 640_000)]);
}

/// Notes the steps, and calls their work so often.
struct Steps(Vec<usize>, usize);

impl Observer for Steps {
    fn step(&mut self, index: usize, work: &mut dyn FnMut()) {
        self.0.push(index);
        (0..self.1).for_each(|_| work());
    }
}

/// Whether the observer calls the work never, once or more often.
#[test]
fn an_observed_run_is_a_run() {
    let network = inverted();
    let shape = network.input();
    let image = HashWeights::image(shape.height, shape.width, shape.channels).unwrap();
    for observed in [false, true] {
        let options = Options { observed, ..Options::default() };
        let plan = network.plan(&HashWeights, &Serial, options).unwrap();
        let mut want = vec![0.0; plan.output_len()];
        plan.run(&Serial, &mut plan.workspace().unwrap(), &image, &mut want).unwrap();
        for calls in 0..=2 {
            let (mut got, mut steps) = (vec![f32::NAN; plan.output_len()], Steps(Vec::new(), calls));
            plan.run_observed(&Serial, &mut plan.workspace().unwrap(), &image, &mut got, &mut steps).unwrap();
            assert_eq!(steps.0, (0..plan.describe().count()).collect::<Vec<_>>());
            assert_eq!(got, want);
        }
        let (mut got, mut steps) = (vec![f32::NAN; plan.output_len()], Steps(Vec::new(), 1));
        let short = plan.run_observed(&Serial, &mut plan.workspace().unwrap(), &image[1..], &mut got, &mut steps);
        let (got, want) = (image.len() - 1, image.len());
        let text = format!("input: got {got} elements, expected {want} (1 x 40 x 40 x 3, NHWC)");
        assert_eq!(short.unwrap_err().to_string(), text);
        assert!(steps.0.is_empty(), "a run that is refused has no steps");
    }
}

/// The output of a node is shown after its step, with all images of the batch.
#[test]
fn observers_see_all_images() {
    let network = inverted();
    let shape = network.input();
    let image = HashWeights::image(shape.height, shape.width, shape.channels).unwrap();
    let backwards: Vec<f32> = image.iter().rev().copied().collect();
    let options = Options { observed: true, ..Options::default() };
    let outputs = |batch: usize, image: &[f32]| {
        let plan = network.plan(&HashWeights, &Serial, Options { batch, ..options }).unwrap();
        let (mut logits, mut seen) = (vec![0.0; plan.output_len()], Vec::new());
        let mut observer = OnOutput(|node, images: &[View<'_>]| {
            seen.push((node, images.iter().map(|&image| common::values(image)).collect::<Vec<_>>()));
        });
        plan.run_observed(&Serial, &mut plan.workspace().unwrap(), image, &mut logits, &mut observer).unwrap();
        assert_eq!(
            seen.iter().map(|(node, _)| *node).collect::<Vec<_>>(),
            (0..plan.describe().count()).collect::<Vec<_>>()
        );
        let nodes: Vec<Vec<Vec<f32>>> = seen.into_iter().map(|(_, images)| images).collect();
        assert_eq!(nodes.last().unwrap().concat(), logits);
        nodes
    };
    let (first, second) = (outputs(1, &image), outputs(1, &backwards));
    let both = outputs(2, &[&image[..], &backwards].concat());
    for ((both, first), second) in both.iter().zip(&first).zip(&second) {
        assert_eq!(both, &[&first[..], second].concat());
    }
}

#[test]
fn weights_of_another_network_are_refused() {
    let (network, other) = (inverted(), network().fold(&HashWeights).unwrap());
    let refused = |folded: &[_]| {
        let plan = Plan::from_folded(network.graph(), folded, &Serial, Options::default());
        plan.unwrap_err().to_string()
    };
    assert_eq!(refused(&other), "folded weights: got 29 entries, expected one a node, 64");
    assert_eq!(refused(&[]), "folded weights: got 0 entries, expected one a node, 64");
    let mut folded = network.fold(&HashWeights).unwrap();
    folded[0] = other[0].clone();
    let error = refused(&folded);
    assert_eq!(error, "conv1: conv weights (outputs x inputs x kh x kw): got 216 elements, expected 16 x 3 x 3 x 3");
    folded[0] = None;
    assert_eq!(refused(&folded), "conv1: folded weights: got none, expected those of `weights::fold`");
}
