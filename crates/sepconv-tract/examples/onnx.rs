//! Runs an ONNX model by tract alone and with sepconv: what was replaced, how far the results are apart, how long each takes.
//!
//! ```sh
//! cargo run --release -p sepconv-tract --example onnx -- MODEL.onnx [--input FILE.npy] [--output FILE.npy]
//!     [--engine tract|sepconv|both] [--threads N] [--rounds N] [--json]
//! ```

mod npy;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use serde::Serialize;
use tract_linalg::multithread::{Executor, set_default_executor};
use tract_onnx::prelude::{Framework, InferenceModelExt};
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::konst::Const;
use tract_onnx::tract_core::ops::source::TypedSource;
use tract_onnx::tract_core::transform::get_transform;
use tract_onnx::tract_hir::infer::Factoid;

use sepconv_tract::Subgraph;

#[derive(Parser)]
#[command(about = "Runs an ONNX model by tract alone and with sepconv.")]
struct Arguments {
    /// The model; sizes that it leaves open are those of the input, or 1.
    model: PathBuf,
    /// The first input, float32; without it, numbers between -1 and 1.
    #[arg(long)]
    input: Option<PathBuf>,
    /// Where to write the first output: sepconv's, or that of tract where it runs alone.
    #[arg(long)]
    output: Option<PathBuf>,
    /// What to run.
    #[arg(long, value_enum, default_value = "both")]
    engine: Engine,
    /// Threads of tract's executor.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: u16,
    /// Timed runs of each engine, in turn; the fastest counts.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// One line of JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Engine {
    Tract,
    Sepconv,
    Both,
}

/// What is printed; an engine that did not run leaves its fields empty.
#[derive(Default, Serialize)]
struct Report {
    /// Nodes of tract's model, beside inputs and constants.
    nodes_total: usize,
    /// Those of them that sepconv runs.
    nodes_replaced: Option<usize>,
    /// The operators that it runs them as.
    subgraphs: Option<usize>,
    max_abs_difference: Option<f32>,
    argmax_equal: Option<bool>,
    tract_ms: Option<f64>,
    /// With tract's own transform `conv_nhwc`.
    tract_nhwc_ms: Option<f64>,
    sepconv_ms: Option<f64>,
    /// The faster of tract's over sepconv's.
    ratio: Option<f64>,
}

/// A model that is ready, and its fastest run.
struct Runner {
    state: Box<dyn State>,
    fastest: Duration,
}

impl Runner {
    fn new(model: TypedModel) -> TractResult<Self> {
        Ok(Runner { state: DefaultRuntime.prepare(model)?.spawn()?, fastest: Duration::MAX })
    }

    fn run(&mut self, inputs: &TVec<TValue>) -> TractResult<TVec<TValue>> {
        let begin = Instant::now();
        let outputs = self.state.run(inputs.clone())?;
        self.fastest = self.fastest.min(begin.elapsed());
        Ok(outputs)
    }

    fn milliseconds(&self) -> f64 {
        self.fastest.as_secs_f64() * 1e3
    }
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> TractResult<()> {
    if arguments.threads > 1 {
        set_default_executor(Executor::multithread(arguments.threads.into()));
    }
    let input = arguments.input.as_deref().map(npy::read).transpose()?;
    let model = load(arguments, input.as_ref())?;
    let inputs = inputs(&model, input)?;
    let mut report = Report { nodes_total: computing(&model).count(), ..Report::default() };

    let (mut alone, mut sepconv) = (Vec::new(), None);
    if arguments.engine != Engine::Sepconv {
        alone.push(Runner::new(model.clone())?);
        alone.push(Runner::new(transformed(&model, "conv_nhwc")?)?);
    }
    if arguments.engine != Engine::Tract {
        let model = transformed(&model, "sepconv")?;
        let subgraphs = || model.nodes.iter().filter_map(|node| node.op_as::<Subgraph>());
        report.nodes_replaced = Some(subgraphs().map(Subgraph::nodes).sum());
        report.subgraphs = Some(subgraphs().count());
        sepconv = Some(Runner::new(model)?);
    }
    // The first runs, which are not timed, give the results.
    let mut first = |runner: &mut Runner| runner.state.run(inputs.clone());
    let of_tract = alone.first_mut().map(&mut first).transpose()?;
    let of_sepconv = sepconv.as_mut().map(&mut first).transpose()?;
    for _ in 0..arguments.rounds {
        for runner in alone.iter_mut().chain(&mut sepconv) {
            runner.run(&inputs)?;
        }
    }

    let times: Vec<f64> = alone.iter().map(Runner::milliseconds).collect();
    (report.tract_ms, report.tract_nhwc_ms) = (times.first().copied(), times.get(1).copied());
    report.sepconv_ms = sepconv.as_ref().map(Runner::milliseconds);
    report.ratio = report.sepconv_ms.and_then(|own| Some(times.iter().copied().reduce(f64::min)? / own));
    if let (Some(tract), Some(sepconv)) = (&of_tract, &of_sepconv) {
        let mut difference = 0f32;
        for (a, b) in tract.iter().zip(sepconv) {
            let (a, b) = (a.try_as_plain_ram()?, b.try_as_plain_ram()?);
            let pairs = a.as_slice::<f32>()?.iter().zip(b.as_slice::<f32>()?);
            // Of a number that is none, nothing is far enough.
            difference =
                pairs.fold(difference, |most, (a, b)| if (a - b).abs() <= most { most } else { (a - b).abs() });
        }
        report.max_abs_difference = Some(difference);
        report.argmax_equal = Some(largest(&tract[0])? == largest(&sepconv[0])?);
    }
    if let (Some(path), Some(outputs)) = (&arguments.output, of_sepconv.as_ref().or(of_tract.as_ref())) {
        npy::write(path, &outputs[0])?;
    }
    print(&report, arguments.json)
}

/// The model, with every size known.
fn load(arguments: &Arguments, input: Option<&Tensor>) -> TractResult<TypedModel> {
    let path = &arguments.model;
    let mut model = tract_onnx::onnx().model_for_path(path).with_context(|| format!("{}: no model", path.display()))?;
    for index in 0..model.inputs.len() {
        let fact = model.input_fact(index)?.clone();
        let kind = fact.datum_type.concretize().unwrap_or(f32::datum_type());
        let open = fact.shape.dims().map(|size| size.concretize().and_then(|size| size.to_usize().ok()).unwrap_or(1));
        let shape: TVec<usize> = match input.filter(|_| index == 0) {
            Some(input) => input.shape().into(),
            None => open.collect(),
        };
        model.set_input_fact(index, kind.fact(shape).into())?;
    }
    let mut model = model.into_typed()?.into_decluttered()?;
    model.prop_consts()?;
    Ok(model)
}

fn transformed(model: &TypedModel, name: &str) -> TractResult<TypedModel> {
    let transform = get_transform(name)?.with_context(|| format!("{name}: no such transform"))?;
    transform.transform_into(model.clone())?.into_decluttered()
}

/// The nodes of a model that compute something.
fn computing(model: &TypedModel) -> impl Iterator<Item = &TypedNode> {
    model.nodes.iter().filter(|node| !node.op_is::<TypedSource>() && !node.op_is::<Const>())
}

/// `first`, and numbers between -1 and 1, always the same, for each other input.
fn inputs(model: &TypedModel, mut first: Option<Tensor>) -> TractResult<TVec<TValue>> {
    let mut state = 0x9e37_79b9_u32;
    let mut number = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    let mut inputs = TVec::new();
    for index in 0..model.inputs.len() {
        let fact = model.input_fact(index)?;
        let shape = fact.shape.as_concrete().context("an input of unknown size: give one by --input")?;
        let tensor = match first.take() {
            Some(tensor) => tensor,
            None => {
                ensure!(fact.datum_type == f32::datum_type(), "input {index} is {:?}, expected f32", fact.datum_type);
                let numbers: Vec<f32> = std::iter::repeat_with(&mut number).take(shape.iter().product()).collect();
                Tensor::from_shape(shape, &numbers)?
            }
        };
        inputs.push(tensor.into_tvalue());
    }
    Ok(inputs)
}

/// Where the largest number stands.
fn largest(tensor: &Tensor) -> TractResult<Option<usize>> {
    let view = tensor.try_as_plain_ram()?;
    let numbers = view.as_slice::<f32>()?.iter().enumerate();
    Ok(numbers.max_by(|a, b| a.1.total_cmp(b.1)).map(|(index, _)| index))
}

fn print(report: &Report, json: bool) -> TractResult<()> {
    if json {
        println!("{}", serde_json::to_string(report)?);
        return Ok(());
    }
    println!("nodes          {}", report.nodes_total);
    if let (Some(nodes), Some(subgraphs)) = (report.nodes_replaced, report.subgraphs) {
        println!("by sepconv     {nodes}, in {subgraphs} subgraphs");
    }
    if let (Some(difference), Some(equal)) = (report.max_abs_difference, report.argmax_equal) {
        println!("difference     {difference:e}, largest number {}", if equal { "the same" } else { "another" });
    }
    let times = [("tract", report.tract_ms), ("tract, NHWC", report.tract_nhwc_ms), ("sepconv", report.sepconv_ms)];
    for (name, time) in times {
        if let Some(time) = time {
            println!("{name:<14} {time:.3} ms");
        }
    }
    if let Some(ratio) = report.ratio {
        println!("ratio          {ratio:.2}");
    }
    Ok(())
}
