//! Times a network from its weights, and from a saved plan, to its first output.
//!
//!     cargo run --release --example startup -- --net mobilenet_v2

mod common;

use std::fs;
use std::io;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use common::{Failure, Flags};
use sepconv::parallel::Parallel;
use sepconv::{LoadOptions, Plan};
use serde::Serialize;

/// Builds the plan of a network, saves it, and loads it from a fresh map of the file, again and again: the median
/// milliseconds of each part, and of a run that follows another.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    flags: Flags,
    /// Times that each part is timed
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
}

#[derive(Serialize)]
struct Output {
    network: String,
    threads: usize,
    megabytes: f64,
    /// Reading and folding the weights.
    fold_ms: f64,
    /// Packing them, and all else that building the plan does.
    pack_ms: f64,
    save_ms: f64,
    /// Mapping the file and loading the plan.
    load_ms: f64,
    /// Making a workspace.
    workspace_ms: f64,
    /// The first run of a loaded plan.
    first_run_ms: f64,
    /// From the closed file to the first output.
    first_output_ms: f64,
    /// A run that follows another, of the plan that was built.
    warm_run_ms: f64,
    /// The same of a loaded plan.
    warm_loaded_run_ms: f64,
    /// What the first output takes beyond a warm run of the plan that was built.
    beyond_ms: f64,
}

/// The median of the middle two.
fn median(times: impl Iterator<Item = f64>) -> f64 {
    let mut times: Vec<f64> = times.collect();
    times.sort_by(f64::total_cmp);
    (times[(times.len() - 1) / 2] + times[times.len() / 2]) / 2.0
}

/// What `work` gives, and its milliseconds.
fn timed<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let start = Instant::now();
    let done = work();
    (done, start.elapsed().as_secs_f64() * 1e3)
}

/// The median milliseconds of so many runs after a first one.
fn warm(plan: &Plan, threads: &dyn Parallel, rounds: u16, input: &[f32]) -> Result<f64, Failure> {
    let (mut workspace, mut output) = (plan.workspace()?, common::zeros(plan.output_len())?);
    let mut times = Vec::new();
    for _ in 0..=rounds {
        let (run, time) = timed(|| plan.run(threads, &mut workspace, input, &mut output));
        run?;
        times.push(time);
    }
    Ok(median(times.into_iter().skip(1)))
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Arguments { flags, rounds } = arguments;
    let (setup, threads) = (flags.setup("hash")?, flags.parallel()?);
    let path = std::env::temp_dir().join(format!("sepconv-startup-{}.plan", std::process::id()));
    let fail = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
    let mut built = Vec::new();
    // Making numbers from names takes longer than reading them.
    for _ in 0..(*rounds).min(5) {
        let (folded, fold) = timed(|| setup.fold());
        let folded = folded?;
        let (plan, pack) = timed(|| Plan::from_folded(setup.network.graph(), &folded, &*threads, setup.options));
        built.push((plan?, fold, pack));
    }
    let (fold_ms, pack_ms) = (median(built.iter().map(|built| built.1)), median(built.iter().map(|built| built.2)));
    let (plan, ..) = built.swap_remove(0);
    drop(built);
    let (blob, save_ms) = timed(|| plan.save());
    let blob = blob?;
    fs::write(&path, &blob).map_err(|why| fail(&why))?;
    let megabytes = blob.len() as f64 / 1e6;
    drop(blob);
    let input = common::hash_image_for(&plan)?;
    let mut expected = common::zeros(plan.output_len())?;
    plan.run(&*threads, &mut plan.workspace()?, &input, &mut expected)?;
    let warm_run_ms = warm(&plan, &*threads, *rounds, &input)?;
    let mut times = Vec::new();
    let mut warm_loaded_run_ms = 0.0;
    for round in 0..*rounds {
        let mut output = common::zeros(plan.output_len())?;
        let (loaded, load) = timed(|| {
            let map = common::map(&path, "a saved plan")?;
            Ok::<Plan, Failure>(Plan::load(map, LoadOptions { isa: Some(plan.isa()), ..LoadOptions::default() })?)
        });
        let loaded = loaded?;
        let (workspace, room) = timed(|| loaded.workspace());
        let mut workspace = workspace?;
        let (ran, first) = timed(|| loaded.run(&*threads, &mut workspace, &input, &mut output));
        ran?;
        if output.iter().zip(&expected).any(|(got, want)| got.to_bits() != want.to_bits()) {
            return Err(fail(&"the loaded plan has other bits than the one that was saved").into());
        }
        times.push([load, room, first]);
        if round + 1 == *rounds {
            warm_loaded_run_ms = warm(&loaded, &*threads, *rounds, &input)?;
        }
    }
    fs::remove_file(&path).map_err(|why| fail(&why))?;
    let first_output_ms = median(times.iter().map(|parts| parts.iter().sum()));
    let [load_ms, workspace_ms, first_run_ms] = [0, 1, 2].map(|part| median(times.iter().map(|parts| parts[part])));
    let output = Output {
        network: setup.network.name().into(),
        threads: flags.threads,
        megabytes,
        fold_ms,
        pack_ms,
        save_ms,
        load_ms,
        workspace_ms,
        first_run_ms,
        first_output_ms,
        warm_run_ms,
        warm_loaded_run_ms,
        beyond_ms: first_output_ms - warm_run_ms,
    };
    if flags.json {
        return common::print_json(io::stdout().lock(), &output);
    }
    println!("{} with {} threads, {:.1} MB; milliseconds, medians:", output.network, output.threads, output.megabytes);
    for (what, milliseconds) in [
        ("building: read and fold the weights", output.fold_ms),
        ("building: pack and compile", output.pack_ms),
        ("saving", output.save_ms),
        ("loading a mapped file", output.load_ms),
        ("a workspace", output.workspace_ms),
        ("first run of a loaded plan", output.first_run_ms),
        ("from the file to the first output", output.first_output_ms),
        ("a warm run", output.warm_run_ms),
        ("a warm run of a loaded plan", output.warm_loaded_run_ms),
        ("first output beyond a warm run", output.beyond_ms),
    ] {
        println!("  {what:<38} {milliseconds:>9.3}");
    }
    Ok(())
}

fn main() -> ExitCode {
    common::main(run)
}
