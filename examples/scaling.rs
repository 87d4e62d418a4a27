//! What more threads bring a network, beside what they bring a loop of fused multiply-adds that touches no memory.
//!
//!     cargo run --release --example scaling -- --threads 2 --need 0.9
//!
//! On a machine whose cores are shared with others, the loop itself does not scale by the number of threads: it is the
//! bound, so it is measured in the same rounds.
//!
//!     cargo run --release --example scaling -- --threads 2 --model
//!
//! predicts what more cores than there are would bring.

#[path = "common/bandwidth.rs"]
mod bandwidth;
mod common;
#[path = "common/forecast.rs"]
mod forecast;
#[path = "common/model.rs"]
mod model;
#[path = "common/peak.rs"]
mod peak;
#[path = "common/timed.rs"]
mod timed;

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use common::{Failure, Flags, Setup};
use forecast::Forecast;
use model::{Cut, Machine};
use sepconv::parallel::{Parallel, Rayon};
use serde::Serialize;
use timed::Timed;

/// Prints the speed-up of networks with more threads, and that of a loop of fused multiply-adds beside them.
///
/// Each round runs the loop and the network with 1 thread, 2, and so on up to --threads; the fastest of each counts.
/// Without --net and --weights: mobilenet_v1, mobilenet_v2 and xception.
///
/// With --model it predicts 1 to 64 cores from the tasks of the plans for as many threads, timed on one core, and says how
/// far the predictions for 1 to --threads threads on this machine are off, what each layer gains, and which layers stop
/// gaining first.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    flags: Flags,
    /// Rounds; the fastest of each measurement counts
    #[arg(long, default_value_t = 40)]
    rounds: usize,
    /// Exit with 1 where a network's speed-up is a smaller part of the loop's, or one more thread makes it slower
    #[arg(long, value_name = "RATIO", conflicts_with = "model")]
    need: Option<f64>,
    /// Predict what more cores than there are would bring
    #[arg(long)]
    model: bool,
    /// With --model: the cores for which layers are listed, 2 to 1024
    #[arg(long, value_name = "CORES", default_value_t = 8, value_parser = clap::value_parser!(u32).range(2..=1024))]
    at: u32,
    /// With --model: exit with 1 where a prediction for as many threads as this machine has cores, or fewer, is further off
    #[arg(long, value_name = "PERCENT", requires = "model")]
    within: Option<f64>,
}

/// Turns of the loop, some 0.4 milliseconds, and how often it runs in a round: the shorter, the surer a run undisturbed.
const TURNS: usize = 240_000;
const LOOPS: usize = 5;

#[derive(Serialize)]
struct Line {
    network: String,
    threads: usize,
    ms: f64,
    speed_up: f64,
    loop_gflops: f64,
    loop_speed_up: f64,
    ratio: f64,
}

/// A network for so many threads, with the fastest times so far.
struct Runner {
    threads: usize,
    pool: Rayon,
    plan: Timed,
    network: f64,
    fma_loop: f64,
}

impl Runner {
    fn measure(&mut self, image: &[f32]) -> Result<(), Failure> {
        let Runner { threads, pool, plan, network, fma_loop } = self;
        let isa = plan.plan.isa();
        *network = network.min(plan.seconds(pool, image)?);
        pool.enter(*threads, &mut || {
            for _ in 0..LOOPS {
                let start = Instant::now();
                pool.run(*threads, &|_| peak::fma_loop(isa, TURNS));
                *fma_loop = fma_loop.min(start.elapsed().as_secs_f64());
            }
        });
        Ok(())
    }
}

/// A runner for each number of threads from 1 on.
fn runners(setup: &Setup, threads: usize) -> Result<Vec<Runner>, Failure> {
    let runner = |threads| {
        let pool = common::pool(threads)?;
        let plan = Timed::new(setup.plan(&pool, 1)?)?;
        Ok(Runner { threads, pool, plan, network: f64::INFINITY, fma_loop: f64::INFINITY })
    };
    (1..=threads).map(runner).collect()
}

fn lines(flags: &Flags, rounds: usize) -> Result<Vec<Line>, Failure> {
    let setup = flags.setup("hash")?;
    let image = setup.hash_image()?;
    let mut runners = runners(&setup, flags.threads)?;
    for _ in 0..rounds {
        for runner in &mut runners {
            runner.measure(&image)?;
        }
    }
    let (network, fma_loop) = (runners[0].network, runners[0].fma_loop);
    let line = |runner: &Runner| {
        let speed_up = network / runner.network;
        // Each thread runs the whole loop.
        let loop_speed_up = runner.threads as f64 * fma_loop / runner.fma_loop;
        Line {
            network: setup.network.architecture().to_string(),
            threads: runner.threads,
            ms: runner.network * 1e3,
            speed_up,
            loop_gflops: runner.threads as f64 * peak::flops(runner.plan.plan.isa(), TURNS) / runner.fma_loop / 1e9,
            loop_speed_up,
            ratio: speed_up / loop_speed_up,
        }
    };
    Ok(runners.iter().map(line).collect())
}

/// Cores that are predicted for.
const CORES: [usize; 11] = [1, 2, 4, 6, 8, 12, 16, 24, 32, 48, 64];

fn forecast(flags: &Flags, rounds: usize, at: usize) -> Result<Forecast, Failure> {
    let cores = std::thread::available_parallelism()?.get().min(flags.threads);
    if cores < 2 {
        return Err(
            "--model: this machine has one core; expected two, whose barrier and bandwidth can be measured".into()
        );
    }
    let setup = flags.setup("hash")?;
    let image = setup.hash_image()?;
    let mut runners = runners(&setup, flags.threads)?;
    let counts: BTreeSet<usize> = CORES.into_iter().chain(1..=flags.threads).chain([at]).collect();
    let mut cuts = counts.into_iter().map(|threads| Cut::new(&setup, threads)).collect::<Result<Vec<_>, Failure>>()?;
    let bytes = cuts[0].plan.graph().params() as usize * size_of::<f32>() + cuts[0].plan.peak_bytes();
    let mut machine = Machine::new(cores, bytes);
    for _ in 0..rounds {
        cuts.iter_mut().try_for_each(|cut| cut.measure(&image))?;
        for runner in &mut runners {
            runner.measure(&image)?;
        }
        runners[..cores].iter().try_for_each(|runner| machine.measure(&runner.pool, cuts[0].plan.isa()))?;
    }
    machine.loops = runners[..cores].iter().map(|runner| runner.fma_loop).collect();
    let measured: Vec<f64> = runners.iter().map(|runner| runner.network).collect();
    Ok(Forecast::new(setup.network.architecture().to_string(), &machine, &cuts, &measured, at))
}

/// Prints the forecasts; whether every one that can be checked is as near as asked for.
fn run_model(flags: &Flags, rounds: usize, at: usize, within: Option<f64>) -> Result<bool, Failure> {
    if let Some(within) = within.filter(|within| !(within.is_finite() && *within >= 0.0)) {
        return Err(format!("--within {within}: expected a percentage of 0 or more, such as 5").into());
    }
    let networks = flags.for_each_network();
    let forecasts =
        networks.iter().map(|flags| forecast(flags, rounds, at)).collect::<Result<Vec<Forecast>, Failure>>()?;
    let mut out = io::stdout().lock();
    if flags.json {
        common::print_json(out, &forecasts)?;
    } else {
        forecasts.iter().try_for_each(|forecast| forecast.print(&mut out))?;
    }
    let mut near = true;
    for forecast in &forecasts {
        for (threads, error) in forecast.errors() {
            if within.is_some_and(|within| error.abs() > within) {
                near = false;
                common::complain(format_args!(
                    "{}, {threads} threads: the prediction is {error:+.1} % off, expected at most {}",
                    forecast.network,
                    within.unwrap_or_default()
                ));
            }
        }
    }
    Ok(near)
}

/// Prints the table; whether every line is as good as needed.
fn run(arguments: &Arguments) -> Result<bool, Failure> {
    let &Arguments { ref flags, rounds, need, model, at, within } = arguments;
    if rounds == 0 {
        return Err("--rounds 0: expected at least 1".into());
    }
    if flags.threads < 2 {
        return Err("give --threads 2 or more, which are compared with 1".into());
    }
    if let Some(need) = need.filter(|need| !(need.is_finite() && *need >= 0.0)) {
        return Err(format!("--need {need}: expected a ratio of 0 or more, such as 0.93").into());
    }
    if model {
        return run_model(flags, rounds, at as usize, within);
    }
    let mut table = Vec::new();
    for flags in flags.for_each_network() {
        table.extend(lines(&flags, rounds)?);
    }
    let mut out = io::stdout().lock();
    if flags.json {
        writeln!(out, "{}", serde_json::to_string(&table)?)?;
    } else {
        let (network, threads, ms) = ("network", "threads", "ms");
        writeln!(
            out,
            "{network:<14} {threads:>7} {ms:>9} {:>8} {:>12} {:>13} {:>6}",
            "speed-up", "loop GFLOP/s", "loop speed-up", "ratio"
        )?;
        for Line { network, threads, ms, speed_up, loop_gflops, loop_speed_up, ratio } in &table {
            writeln!(
                out,
                "{network:<14} {threads:>7} {ms:>9.3} {speed_up:>8.2} {loop_gflops:>12.1} {loop_speed_up:>13.2} {ratio:>6.2}"
            )?;
        }
    }
    let Some(need) = need else { return Ok(true) };
    let mut enough = true;
    for pair in table.windows(2).filter(|pair| pair[1].threads > 1) {
        let (before, Line { network, threads, ms, ratio, .. }) = (&pair[0], &pair[1]);
        if *ratio < need {
            enough = false;
            common::complain(format_args!(
                "{network}, {threads} threads: {ratio:.2} of the loop's speed-up, expected at least {need}"
            ));
        }
        if *ms > before.ms {
            enough = false;
            common::complain(format_args!(
                "{network}, {threads} threads: {ms:.3} ms, slower than with one thread less, {:.3}",
                before.ms
            ));
        }
    }
    Ok(enough)
}

fn main() -> ExitCode {
    common::main(|arguments| Ok(if run(arguments)? { ExitCode::SUCCESS } else { ExitCode::FAILURE }))
}
