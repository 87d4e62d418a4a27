//! What more threads bring a network, beside what they bring a loop of fused multiply-adds that touches no memory.
//!
//!     cargo run --release --example scaling -- --threads 2 --need 0.9
//!
//! On a machine whose cores are shared with others, the loop itself does not scale by the number of threads: it is the
//! bound, so it is measured in the same rounds.

mod common;
#[path = "common/peak.rs"]
mod peak;
#[path = "common/timed.rs"]
mod timed;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use common::{Failure, Flags};
use sepconv::parallel::{Parallel, Rayon};
use serde::Serialize;
use timed::Timed;

/// Prints the speed-up of networks with more threads, and that of a loop of fused multiply-adds beside them.
///
/// Each round runs the loop and the network with 1 thread, 2, and so on up to --threads; the fastest of each counts.
/// Without --net and --weights: mobilenet_v1, mobilenet_v2 and xception.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    flags: Flags,
    /// Rounds; the fastest of each measurement counts
    #[arg(long, default_value_t = 40)]
    rounds: usize,
    /// Exit with 1 where a network's speed-up is a smaller part of the loop's, or one more thread makes it slower
    #[arg(long, value_name = "RATIO")]
    need: Option<f64>,
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

fn lines(flags: &Flags, rounds: usize) -> Result<Vec<Line>, Failure> {
    let setup = flags.setup("hash")?;
    let image = setup.hash_image()?;
    let runner = |threads| {
        let pool = common::pool(threads)?;
        let plan = Timed::new(setup.plan(&pool, 1)?)?;
        Ok(Runner { threads, pool, plan, network: f64::INFINITY, fma_loop: f64::INFINITY })
    };
    let mut runners = (1..=flags.threads).map(runner).collect::<Result<Vec<Runner>, Failure>>()?;
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

/// Prints the table; whether every line is as good as needed.
fn run(arguments: &Arguments) -> Result<bool, Failure> {
    let &Arguments { ref flags, rounds, need } = arguments;
    if rounds == 0 {
        return Err("--rounds 0: expected at least 1".into());
    }
    if flags.threads < 2 {
        return Err("give --threads 2 or more, which are compared with 1".into());
    }
    if let Some(need) = need.filter(|need| !(need.is_finite() && *need >= 0.0)) {
        return Err(format!("--need {need}: expected a ratio of 0 or more, such as 0.93").into());
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
