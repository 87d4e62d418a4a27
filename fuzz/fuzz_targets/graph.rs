//! Any graph of the public builder: what it refuses is an error, and what it builds has the reference's bits on every ISA,
//! for any threads, fusion, memory and batch.
#![no_main]

mod common;

use std::sync::LazyLock;

use arbitrary::Arbitrary;
use common::{assert_same, every_isa, numbers};
use libfuzzer_sys::fuzz_target;
use sepconv::graph::{Builder, Flatten, Graph, Layer, Tensor};
use sepconv::parallel::{Parallel, Rayon, Serial};
use sepconv::weights::HashWeights;
use sepconv::{Batch, BatchMut, Clamp, Fusion, Options, Padding, Plan, Shape, Window};

/// One call of the builder. `from` and `other` count back from the last tensor.
#[derive(Debug, Arbitrary)]
struct Call {
    what: What,
    from: u8,
    other: u8,
    clamp: u8,
    norm: bool,
}

#[derive(Debug, Arbitrary)]
enum What {
    Conv { channels: u8, window: AnyWindow },
    Depthwise { window: AnyWindow },
    Pointwise { channels: u8, groups: u8 },
    LeakyNorm { slope: f32 },
    Add,
    Clamp,
    MaxPool { window: AnyWindow },
    AveragePool { window: AnyWindow, count_padding: bool },
    GlobalAveragePool,
    Slice { first: u8, end: u8 },
    Split { first: u8 },
    Concat,
    Shuffle { groups: u8 },
    Flattened { channels_last: bool, channels: u8 },
    FullyConnected { channels: u8 },
}

#[derive(Debug, Arbitrary)]
struct AnyWindow {
    size: (u8, u8),
    strides: (u8, u8),
    dilation: u8,
    padding: [u8; 4],
    symmetric: bool,
}

#[derive(Debug, Arbitrary)]
struct Case<'a> {
    size: (u8, u8),
    channels: u8,
    second: bool,
    calls: Vec<Call>,
    outputs: Vec<u8>,
    batch: bool,
    threads: u8,
    strips: u8,
    low_memory: bool,
    staged: bool,
    data: &'a [u8],
}

/// Beyond it the reference takes too long.
const MOST_MACS: u64 = 400_000;
const MOST_ELEMENTS: usize = 20_000;

impl AnyWindow {
    fn window(&self) -> Window {
        // Mostly what networks have; now and then what nothing has.
        let number = |byte: u8| match byte {
            200.. => usize::from(byte) << (byte % 64),
            _ => usize::from(byte % 4),
        };
        let window = Window::new(number(self.size.0), number(self.size.1))
            .strides(number(self.strides.0), number(self.strides.1))
            .dilation(number(self.dilation));
        let [top, bottom, left, right] = self.padding.map(number);
        if self.symmetric { window.symmetric() } else { window.padding(Padding { top, bottom, left, right }) }
    }
}

impl Call {
    /// What the call makes, or why it is refused.
    fn make(&self, net: &mut Builder, tensors: &[Tensor], index: usize) -> sepconv::Result<Vec<Tensor>> {
        let back = |steps: u8| tensors[tensors.len() - 1 - usize::from(steps) % tensors.len()];
        let (x, y, name) = (back(self.from), back(self.other), format!("n{index}"));
        let clamp = [Clamp::NONE, Clamp::RELU6, Clamp::new(-0.5, 0.75), Clamp::new(1.0, f32::NAN)];
        let clamp = clamp[usize::from(self.clamp) % 16 * 3 / 15];
        let named =
            || if self.norm { Layer::named(&name).norm(format!("{name}.bn"), 1e-5) } else { Layer::named(&name) };
        let layer = || named().clamp(clamp);
        let one = match self.what {
            What::Conv { channels, ref window } => net.conv(&name, x, channels.into(), window.window(), layer()),
            What::Depthwise { ref window } => net.depthwise(&name, x, window.window(), layer()),
            What::Pointwise { channels, groups } => {
                net.grouped_pointwise(&name, x, channels.into(), usize::from(groups % 5), layer())
            }
            What::LeakyNorm { slope } => {
                let norm = Layer::without_weights().norm(&name, 1e-5).clamp(clamp);
                net.leaky_norm(&name, x, slope, norm)
            }
            What::Add => net.add(&name, x, y, clamp),
            What::Clamp => net.clamp(&name, x, clamp),
            What::MaxPool { ref window } => net.max_pool(&name, x, window.window()),
            What::AveragePool { ref window, count_padding } => {
                net.average_pool(&name, x, window.window(), count_padding)
            }
            What::GlobalAveragePool => net.global_average_pool(&name, x),
            What::Slice { first, end } => net.slice(x, first.into()..end.into()),
            What::Split { first } => {
                let channels = net.shape(x)?.channels;
                return net.split(x, &[first.into(), channels.saturating_sub(first.into())]);
            }
            What::Concat => net.concat(&[x, y]),
            What::Shuffle { groups } => net.shuffle(x, groups.into()),
            What::Flattened { channels_last, channels } => {
                let order = if channels_last { Flatten::ChannelsLast } else { Flatten::ChannelsFirst };
                net.flattened(&name, x, order, channels.into(), layer())
            }
            What::FullyConnected { channels } => net.fully_connected(&name, x, channels.into(), layer()),
        };
        one.map(|tensor| vec![tensor])
    }
}

/// The graph of the calls that make sense, and are not too large.
fn graph(case: &Case<'_>) -> sepconv::Result<Graph> {
    let mut net = Builder::new();
    let shape =
        Shape::new(usize::from(case.size.0 % 18), usize::from(case.size.1 % 18), usize::from(case.channels % 20));
    let mut tensors = vec![net.input("image", shape)?];
    if case.second {
        tensors.push(net.input("other", shape)?);
    }
    for (index, call) in case.calls.iter().take(10).enumerate() {
        let made = call.make(&mut net, &tensors, index).unwrap_or_default();
        for tensor in made {
            if net.shape(tensor)?.len() <= MOST_ELEMENTS {
                tensors.push(tensor);
            }
        }
    }
    let mut outputs = vec![tensors[tensors.len() - 1]];
    outputs.extend(case.outputs.iter().take(2).map(|&output| tensors[usize::from(output) % tensors.len()]));
    net.build(&outputs)
}

/// So many threads whose tasks run in reverse order on this one.
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

static POOL: LazyLock<Rayon> =
    LazyLock::new(|| Rayon::new(rayon::ThreadPoolBuilder::new().num_threads(3).build().expect("three threads")));

fuzz_target!(|case: Case<'_>| {
    let Ok(graph) = graph(&case) else { return };
    if graph.macs() > MOST_MACS {
        return;
    }
    let batch = 1 + usize::from(case.batch);
    let shapes: Vec<Shape> = graph.inputs().map(|(_, shape)| shape).collect();
    let image = |at: usize, shape: &Shape| numbers(case.data, shape.len(), at);
    // Image by image, an input each; the reference knows no batch.
    let images: Vec<Vec<Vec<f32>>> = (0..batch)
        .map(|image_of| shapes.iter().enumerate().map(|(at, shape)| image(image_of + at, shape)).collect())
        .collect();
    let by_reference = |images: &Vec<Vec<f32>>| {
        let images: Vec<&[f32]> = images.iter().map(Vec::as_slice).collect();
        graph.reference(&HashWeights, &images).map(|computed| computed.outputs)
    };
    let want: Vec<Vec<Vec<f32>>> = images.iter().map(|images| by_reference(images).expect("the sizes agree")).collect();
    let parallel: &dyn Parallel = match case.threads % 3 {
        0 => &Serial,
        1 => &Backwards(3),
        _ => &*POOL,
    };
    let fusion = match case.strips % 8 {
        0..3 => Fusion::Auto,
        3 => Fusion::Off,
        rows => Fusion::Strips(usize::from(rows) - 3),
    };
    for kernels in every_isa() {
        let options = Options {
            isa: Some(kernels.isa()),
            batch,
            fusion,
            low_memory: case.low_memory,
            staged: case.staged,
            observed: false,
        };
        // A window that no kernel has is refused.
        let Ok(plan) = Plan::new(&graph, &HashWeights, parallel, options) else { return };
        let inputs: Vec<Vec<f32>> =
            (0..shapes.len()).map(|at| images.iter().flat_map(|images| images[at].clone()).collect()).collect();
        let inputs: Vec<Batch<'_>> = inputs
            .iter()
            .zip(&shapes)
            .map(|(input, &shape)| Batch::tight(input, batch, shape).expect("it fits"))
            .collect();
        let outputs: Vec<Shape> = graph.outputs().map(|(_, shape)| shape).collect();
        let mut got: Vec<Vec<f32>> = outputs.iter().map(|shape| vec![f32::NAN; batch * shape.len()]).collect();
        let mut views: Vec<BatchMut<'_>> = got
            .iter_mut()
            .zip(&outputs)
            .map(|(output, &shape)| BatchMut::tight(output, batch, shape).expect("it fits"))
            .collect();
        let mut memory = vec![f32::NAN; plan.workspace_len()];
        let mut workspace = sepconv::Workspace::over(&mut memory);
        plan.run(parallel, &mut workspace, &inputs[..], &mut views[..]).expect("the shapes agree");
        drop(views);
        for (at, got) in got.iter().enumerate() {
            let want: Vec<f32> = want.iter().flat_map(|outputs| outputs[at].clone()).collect();
            assert_same(got, &want, || format!("{options:?}, output {at} of\n{graph}"));
        }
    }
});
