//! What the shipped choices lose on this machine against exhaustive search: which layers are fused and into which
//! strips, the tile of each pointwise layer, and the number of threads.
//!
//!     cargo run --release --example tune -- --net mobilenet_v1 --threads 2 --need 3
//!
//! The alternatives are timed in turn, round after round, and the fastest time of each counts. The least of many noisy
//! times flatters the search: the more alternatives, the more regret it finds in noise alone. So the best of the search
//! are timed against the choice a second time, in rounds of their own, and only those times are reported. A negative
//! regret belongs to a best that lost the second time: the two are equal, or the machine was not quiet.

mod common;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use common::{Failure, Flags, Setup, Steps};
use sepconv::models::Architecture;
use sepconv::ops::{Pointwise, PointwiseParams};
use sepconv::parallel::Parallel;
use sepconv::weights::{HashWeights, Weights};
use sepconv::{
    AlignedBuffer, Clamp, Epilogue, Fusion, Isa, Kernels, Layout, Options, Plan, PointwiseKernel, View, ViewMut,
    Workspace, select,
};
use serde::Serialize;

/// Prints the regret of the shipped choices: how much longer they take than the best that a search finds.
///
/// The search tries every fusion and strip, every shipped pointwise kernel and, with --threads N above 1, every number
/// of threads up to N. Plans are compared over the smallest groups of layers that all of them begin and end together;
/// tiles with warm caches on one thread, each shape as often as it occurs. Each best is timed against the choice once
/// more before it is reported. Without --net and --weights: mobilenet_v1, mobilenet_v2 and xception.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    flags: Flags,
    /// Rounds of the search, and again of the second timing; the fastest of each alternative counts
    #[arg(long, default_value_t = 30)]
    rounds: usize,
    /// Exit with 1 where the regret of a sum is larger, in percent
    #[arg(long, value_name = "PERCENT", allow_negative_numbers = true)]
    need: Option<f64>,
}

/// The rows of the strips that are tried.
const STRIPS: [usize; 6] = [2, 4, 8, 16, 32, 64];

/// A pointwise layer as the kernels' model of their time sees it (tools/fit_cost.py).
#[derive(Serialize)]
struct Gemm {
    /// Pixels, input and output channels, of one group.
    m: usize,
    k: usize,
    n: usize,
    tiles: Vec<Tile>,
}

/// A kernel, with its time for one group from the search.
#[derive(Serialize)]
struct Tile {
    kernel: &'static str,
    lanes: usize,
    mr_by_vectors: &'static [usize],
    ms: f64,
}

/// The layers that one choice was made for, with the time of the choice and of the best alternative.
#[derive(Serialize)]
struct Row {
    what: String,
    layers: Vec<String>,
    chosen: String,
    chosen_ms: f64,
    best: String,
    best_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    gemm: Option<Gemm>,
}

/// The answer to one question about one network.
#[derive(Serialize)]
struct Table {
    network: String,
    question: &'static str,
    chosen_ms: f64,
    best_ms: f64,
    regret_percent: f64,
    rows: Vec<Row>,
}

#[derive(Serialize)]
struct Report {
    isa: String,
    threads: usize,
    rounds: usize,
    tables: Vec<Table>,
}

impl Table {
    fn new(network: Architecture, question: &'static str, rows: Vec<Row>) -> Self {
        let chosen_ms = rows.iter().map(|row| row.chosen_ms).sum();
        let best_ms: f64 = rows.iter().map(|row| row.best_ms).sum();
        let regret_percent = 100.0 * (chosen_ms - best_ms) / best_ms;
        Table { network: network.to_string(), question, chosen_ms, best_ms, regret_percent, rows }
    }

    /// Prints the rows that lose more than 1 % of the sum, and the sum.
    fn print(&self) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        let Table { network, question, chosen_ms, best_ms, regret_percent, rows } = self;
        writeln!(out, "{network}, {question}")?;
        let regret = |row: &Row| 100.0 * (row.chosen_ms - row.best_ms) / best_ms;
        let lost: Vec<_> = rows.iter().filter(|row| regret(row) > 1.0).collect();
        if !lost.is_empty() {
            let (what, chosen, best) = ("layers or shape", "chosen", "best");
            writeln!(out, "{what:<36} {chosen:<24} {:>8} {best:<24} {:>8} {:>7}", "ms", "ms", "regret")?;
        }
        for row in lost {
            let Row { what, chosen, chosen_ms, best, best_ms, .. } = row;
            let regret = regret(row);
            writeln!(out, "{what:<36} {chosen:<24} {chosen_ms:>8.3} {best:<24} {best_ms:>8.3} {regret:>5.1} %")?;
        }
        writeln!(out, "sum: chosen {chosen_ms:.3} ms, best {best_ms:.3} ms, regret {regret_percent:.2} %\n")?;
        Ok(())
    }
}

/// The best alternative of a group, with the second times of the choice and of itself, and the first times of all, in
/// seconds.
struct Best {
    index: usize,
    chosen: f64,
    best: f64,
    all: Vec<f64>,
}

/// Finds the best of `count` alternatives for each group, then times it against the alternative `chosen` once more.
/// `measure` times those alternatives that it is given, in turn, and returns the fastest time of each for every group,
/// at the alternative's index.
fn search(
    count: usize,
    chosen: usize,
    mut measure: impl FnMut(&[usize]) -> Result<Vec<Vec<f64>>, Failure>,
) -> Result<Vec<Best>, Failure> {
    let all: Vec<usize> = (0..count).collect();
    let first = measure(&all)?;
    let fastest = |group: usize| all.iter().copied().min_by(|&a, &b| first[a][group].total_cmp(&first[b][group]));
    let best: Vec<usize> = (0..first[chosen].len()).map(|group| fastest(group).unwrap_or(chosen)).collect();
    let again: Vec<usize> = all.iter().copied().filter(|index| *index == chosen || best.contains(index)).collect();
    let second = measure(&again)?;
    let timed = |(group, index): (usize, usize)| Best {
        index,
        chosen: second[chosen][group],
        best: second[index][group],
        all: first.iter().map(|times| times[group]).collect(),
    };
    Ok(best.into_iter().enumerate().map(timed).collect())
}

/// A plan that is timed, with what it runs in.
struct Alternative {
    label: String,
    plan: Plan,
    workspace: Workspace<'static>,
    logits: Vec<f32>,
    /// The group of each step.
    groups: Vec<usize>,
}

impl Alternative {
    fn new(label: String, setup: &Setup, threads: &dyn Parallel, options: Options) -> Result<Self, Failure> {
        let plan = setup.plan_with(threads, options)?;
        let (workspace, logits) = (plan.workspace()?, common::zeros(plan.output_len())?);
        Ok(Alternative { label, plan, workspace, logits, groups: Vec::new() })
    }

    /// How many layers are done at the end of each step.
    fn ends(&self) -> Vec<usize> {
        let add = |done: &mut usize, layers: usize| {
            *done += layers;
            Some(*done)
        };
        self.plan.describe().map(|step| step.nodes.len()).scan(0, add).collect()
    }

    /// How the plan does a group, for the table.
    fn describe(&self, group: usize) -> String {
        let steps = self.groups.iter().filter(|&&of_step| of_step == group).count();
        format!("{} in {steps} step{}", self.label, if steps == 1 { "" } else { "s" })
    }

    /// Runs once and lowers the `fastest` time of each group.
    fn time(&mut self, threads: &dyn Parallel, image: &[f32], fastest: &mut [f64]) -> Result<(), Failure> {
        let Alternative { plan, workspace, logits, groups, .. } = self;
        // The first run fetches the weights into the caches, from which the plan before drove them.
        plan.run(threads, workspace, image, &mut *logits)?;
        let mut seconds = vec![0.0; fastest.len()];
        let mut clock = Steps(|step: usize, work: &mut dyn FnMut()| {
            let start = Instant::now();
            work();
            seconds[groups[step]] += start.elapsed().as_secs_f64();
        });
        plan.run_observed(threads, workspace, image, logits, &mut clock)?;
        for (fastest, seconds) in fastest.iter_mut().zip(seconds) {
            *fastest = fastest.min(seconds);
        }
        Ok(())
    }
}

/// Compares plans of one network, of which `chosen` is the shipped one, group by group.
fn compare(
    mut plans: Vec<Alternative>,
    chosen: usize,
    rounds: usize,
    threads: &dyn Parallel,
    image: &[f32],
) -> Result<Vec<Row>, Failure> {
    let ends: Vec<Vec<usize>> = plans.iter().map(Alternative::ends).collect();
    let mut shared = ends[chosen].clone();
    shared.retain(|end| ends.iter().all(|ends| ends.contains(end)));
    // A step without a layer, a copy, belongs to the layer before it.
    shared.dedup();
    for (plan, ends) in plans.iter_mut().zip(&ends) {
        plan.groups = ends.iter().map(|end| shared.partition_point(|shared| shared < end)).collect();
    }
    let found = search(plans.len(), chosen, |among| {
        let mut fastest = vec![vec![f64::INFINITY; shared.len()]; plans.len()];
        for _ in 0..rounds {
            for &index in among {
                plans[index].time(threads, image, &mut fastest[index])?;
            }
        }
        Ok(fastest)
    })?;
    let chosen = &plans[chosen];
    let mut names = chosen.plan.describe().flat_map(|step| step.nodes);
    let starts = [0].iter().chain(&shared);
    let rows = found.iter().zip(starts.zip(&shared)).enumerate().map(|(group, (found, (start, end)))| {
        let layers: Vec<String> = names.by_ref().take(end - start).map(|node| node.name().to_string()).collect();
        let what = match &layers[..] {
            [first, _, .., last] => format!("{first} .. {last}"),
            layers => layers.join(" + "),
        };
        let (of_choice, of_best) = (chosen.describe(group), plans[found.index].describe(group));
        let (chosen_ms, best_ms) = (found.chosen * 1e3, found.best * 1e3);
        Row { what, layers, chosen: of_choice, chosen_ms, best: of_best, best_ms, gemm: None }
    });
    Ok(rows.collect())
}

/// Which layers are fused, and into which strips.
fn fusions(setup: &Setup, flags: &Flags, rounds: usize) -> Result<Vec<Row>, Failure> {
    let strips = STRIPS.map(|rows| (format!("strips of {rows}"), Fusion::Strips(rows)));
    let all = [("auto".into(), Fusion::Auto), ("off".into(), Fusion::Off)].into_iter().chain(strips);
    let threads = &*flags.parallel()?;
    let plan = |(label, fusion)| {
        Alternative::new(label, setup, threads, Options { isa: flags.isa, fusion, ..Options::default() })
    };
    let plans = all.map(plan).collect::<Result<Vec<_>, _>>()?;
    compare(plans, 0, rounds, threads, &setup.hash_image()?)
}

/// How many tasks a step is cut into, for the same threads.
fn threads(setup: &Setup, flags: &Flags, rounds: usize) -> Result<Vec<Row>, Failure> {
    let plan = |threads| {
        let label = format!("{threads} thread{}", if threads == 1 { "" } else { "s" });
        Alternative::new(label, setup, &common::pool(threads)?, Options { isa: flags.isa, ..Options::default() })
    };
    let plans = (1..=flags.threads).map(plan).collect::<Result<Vec<_>, _>>()?;
    compare(plans, flags.threads - 1, rounds, &*flags.parallel()?, &setup.hash_image()?)
}

/// A buffer for pixels that begin on different lines of the first-level cache, as a plan spaces them, and its layout.
fn pixels(name: &str, count: usize, channels: usize) -> Result<(AlignedBuffer, Layout), Failure> {
    let layout = Layout::spaced(1, count, channels);
    let mut buffer = AlignedBuffer::zeroed(layout.row_stride)?;
    buffer.copy_from_slice(&HashWeights.tensor(name, &[layout.row_stride])?);
    Ok((buffer, layout))
}

/// The tile of each pointwise shape: output pixels, input channels, output channels, groups.
fn tiles(setup: &Setup, kernels: &'static Kernels, rounds: usize) -> Result<Vec<Row>, Failure> {
    let mut shapes = BTreeMap::<_, Vec<String>>::new();
    for node in setup.network.graph().nodes() {
        if matches!(node.kind(), "pointwise" | "fully_connected") {
            let (inputs, outputs) = (node.input().channels, node.output().channels);
            // A group reads as many inputs as its kernel has; that of a fully connected layer has all of them.
            let of_group = node.weight_shape().filter(|_| node.kind() == "pointwise").map_or(inputs, |shape| shape[1]);
            let shape = (node.output().pixels(), inputs, outputs, inputs / of_group);
            shapes.entry(shape).or_default().push(node.name().to_string());
        }
    }
    let row = |((m, k, n, groups), layers): (_, Vec<String>)| {
        let chosen = select::pointwise(kernels, m, k / groups, n / groups)?.name();
        // The matrix-vector kernel is made for one pixel: it competes where it is the choice.
        let competes = |kernel: &&PointwiseKernel| !kernel.is_trial() && (kernel.mr() > 1 || kernel.name() == chosen);
        let tiles: Vec<&'static PointwiseKernel> = kernels.pointwise().iter().filter(competes).collect();
        let (weights, bias) = (HashWeights.tensor("weights", &[n, k / groups])?, HashWeights.tensor("bias", &[n])?);
        let params = PointwiseParams { groups, ..PointwiseParams::new(k, n) };
        let pack = |&kernel: &_| Pointwise::with_kernel(kernel, params, &weights, &bias);
        let packed = tiles.iter().map(pack).collect::<Result<Vec<_>, _>>()?;
        let (input, input_layout) = pixels("input", m, k)?;
        let (mut output, output_layout) = pixels("output", m, n)?;
        let position = tiles.iter().position(|kernel| kernel.name() == chosen).unwrap_or(0);
        let found = search(tiles.len(), position, |among| {
            let mut fastest = vec![vec![f64::INFINITY]; tiles.len()];
            for _ in 0..rounds {
                for &index in among {
                    let mut run = || -> Result<_, Failure> {
                        let (from, to) = (View::new(&input, input_layout)?, ViewMut::new(&mut output, output_layout)?);
                        let start = Instant::now();
                        packed[index].run(from, Epilogue::clamp(Clamp::RELU6), to)?;
                        Ok(start.elapsed().as_secs_f64())
                    };
                    // The first run warms the caches.
                    run()?;
                    fastest[index][0] = fastest[index][0].min(run()?);
                }
            }
            Ok(fastest)
        })?;
        let (found, times) = (&found[0], layers.len() as f64 * 1e3);
        let of_group = |(tile, seconds): (&&'static PointwiseKernel, &f64)| Tile {
            kernel: tile.name(),
            lanes: tile.lanes(),
            mr_by_vectors: tile.mr_by_vectors(),
            ms: seconds * 1e3 / groups as f64,
        };
        let grouped = if groups == 1 { String::new() } else { format!(" in {groups} groups") };
        let repeated = if layers.len() == 1 { String::new() } else { format!(", {} times", layers.len()) };
        Ok(Row {
            what: format!("{m}x{k}x{n}{grouped}{repeated}"),
            layers,
            chosen: chosen.into(),
            chosen_ms: found.chosen * times,
            best: tiles[found.index].name().into(),
            best_ms: found.best * times,
            gemm: Some(Gemm {
                m,
                k: k / groups,
                n: n / groups,
                tiles: tiles.iter().zip(&found.all).map(of_group).collect(),
            }),
        })
    };
    shapes.into_iter().map(row).collect()
}

/// Prints the tables; whether every sum is as good as needed.
fn run(arguments: &Arguments) -> Result<bool, Failure> {
    let &Arguments { ref flags, rounds, need } = arguments;
    if rounds == 0 {
        return Err("--rounds 0: expected at least 1".into());
    }
    if let Some(need) = need.filter(|need| !(need.is_finite() && *need >= 0.0)) {
        return Err(format!("--need {need}: expected a percentage of 0 or more").into());
    }
    if flags.fusion != Fusion::Auto {
        let fusion = match flags.fusion {
            Fusion::Strips(rows) => rows.to_string(),
            other => format!("{other:?}").to_lowercase(),
        };
        return Err(format!("--fusion {fusion}: expected auto, which is compared with all others").into());
    }
    if flags.low_memory {
        return Err("--low-memory: expected a network that is built for time".into());
    }
    let kernels = flags.isa.map_or_else(Isa::selected, Ok)?.kernels()?;
    let mut report = Report { isa: kernels.isa().to_string(), threads: flags.threads, rounds, tables: Vec::new() };
    let mut answer = |network, question, rows| -> Result<(), Failure> {
        let table = Table::new(network, question, rows);
        if !flags.json {
            table.print()?;
        }
        report.tables.push(table);
        Ok(())
    };
    for of_network in flags.for_each_network() {
        let setup = of_network.setup("hash")?;
        let network = setup.network.architecture();
        answer(network, "fusion and strips", fusions(&setup, flags, rounds)?)?;
        answer(network, "tile, one thread", tiles(&setup, kernels, rounds)?)?;
        if flags.threads > 1 {
            answer(network, "threads", threads(&setup, flags, rounds)?)?;
        }
    }
    if flags.json {
        writeln!(io::stdout(), "{}", serde_json::to_string(&report)?)?;
    }
    let (mut enough, need) = (true, need.unwrap_or(f64::INFINITY));
    for Table { network, question, regret_percent, .. } in &report.tables {
        if *regret_percent > need {
            enough = false;
            common::complain(format_args!(
                "{network}, {question}: regret {regret_percent:.2} %, expected at most {need} %"
            ));
        }
    }
    Ok(enough)
}

fn main() -> ExitCode {
    common::main(|arguments| Ok(if run(arguments)? { ExitCode::SUCCESS } else { ExitCode::FAILURE }))
}
