//! A network of one's own: built call by call, run by a plan, and checked against plain loops bit by bit.
//!
//!     cargo run --release --example custom_network

mod common;

use std::borrow::Cow;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use common::Failure;
use sepconv::graph::{Builder, Graph, Layer};
use sepconv::parallel::Serial;
use sepconv::weights::Weights;
use sepconv::{Clamp, Isa, Options, Plan, Shape, Window};

/// Builds a small separable network, runs it, and says whether every bit is that of the reference; exits with 2 where one
/// is not.
#[derive(Parser)]
struct Arguments {
    /// ISA: portable, neon, avx2, avx512 [default: SEPCONV_ISA, else the best]
    #[arg(long)]
    isa: Option<Isa>,
}

/// A stem of 16 channels for an image of 48 x 80 pixels, three depthwise-separable blocks, ten classes.
fn network() -> sepconv::Result<Graph> {
    let mut net = Builder::new();
    let image = net.input("image", Shape::new(48, 80, 3))?;
    let window = Window::square(3).symmetric();
    // Weights as arrays: outputs x inputs x rows x columns, and a bias an output.
    let stem = Layer::arrays(numbers(16 * 3 * 9, 0.4), numbers(16, 0.1)).clamp(Clamp::RELU6);
    let mut x = net.conv("stem", image, 16, window.stride(2), stem)?;
    for (block, (channels, stride)) in [(32, 1), (64, 2), (64, 1)].into_iter().enumerate() {
        // Weights by name: `Trained` has them.
        let name = |part| format!("block{block}.{part}");
        let depthwise = Layer::named(name("dw")).norm(name("dw.bn"), 1e-5).clamp(Clamp::RELU6);
        let y = net.depthwise(&name("dw"), x, window.stride(stride), depthwise)?;
        let y = net.pointwise(&name("pw"), y, channels, Layer::named(name("pw")).norm(name("pw.bn"), 1e-5))?;
        let same = net.shape(x)? == net.shape(y)?;
        x = if same { net.add(&name("sum"), x, y, Clamp::NONE)? } else { net.clamp(&name("relu"), y, Clamp::RELU)? };
    }
    let mean = net.global_average_pool("mean", x)?;
    let logits = net.fully_connected("classes", mean, 10, Layer::named("classes").bias())?;
    net.build(&[logits])
}

/// A source of weights of one's own: whatever finds a tensor by its name and shape.
struct Trained;

impl Weights for Trained {
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Cow<'_, [f32]>, String> {
        let count = shape.iter().product();
        Ok(Cow::Owned(match name.rsplit('.').next() {
            Some("running_var") => vec![0.5; count],
            _ => numbers(count, 0.3),
        }))
    }
}

/// `count` numbers in -`bound`..`bound`, the same every time.
fn numbers(count: usize, bound: f32) -> Vec<f32> {
    let unit = |i: usize| ((i as u32).wrapping_mul(2_654_435_761) >> 8) as f32 / (1u32 << 23) as f32 - 1.0;
    (1..=count).map(|i| unit(i) * bound).collect()
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    let graph = network()?;
    let plan = Plan::new(&graph, &Trained, &Serial, Options { isa: arguments.isa, ..Options::default() })?;
    let image = numbers(plan.input_len(), 1.0);
    let mut logits = vec![0.0; plan.output_len()];
    plan.run(&Serial, &mut plan.workspace()?, &image, &mut logits)?;

    let computed = graph.reference(&Trained, &[&image])?;
    let want = computed.outputs.first().ok_or("the graph has no output")?;
    let differ = logits.iter().zip(want).filter(|(got, want)| got.to_bits() != want.to_bits()).count();
    if differ > 0 || logits.len() != want.len() {
        return Err(format!("{differ} of {} logits differ from the reference", want.len()).into());
    }
    let (nodes, macs) = (graph.nodes().len(), graph.macs() as f64 / 1e6);
    writeln!(
        io::stdout(),
        "{nodes} layers, {macs:.2} million multiply-adds on {}: all {} logits are those of the reference, bit by bit",
        plan.isa(),
        want.len()
    )?;
    Ok(())
}

fn main() -> ExitCode {
    common::main(run)
}
