//! Where the time of a network goes, layer by layer, against the peak of fused multiply-adds measured between the layers.
//!
//!     cargo run --release --example profile -- --net mobilenet_v1

mod common;
#[path = "common/peak.rs"]
mod peak;

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use common::{Failure, Flags};
use serde::Serialize;

/// Prints a table of a network's layers: shape, kernel, time, speed, share, and percent of the peak.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    flags: Flags,
    /// Runs; each layer's fastest counts
    #[arg(long, default_value_t = 50)]
    rounds: usize,
}

#[derive(Serialize)]
struct Line {
    layer: String,
    shape: String,
    kernel: &'static str,
    ms: f64,
    gflops: f64,
    share: f64,
    of_peak: f64,
}

/// For comparison, at 224 pixels in f32: the largest pair of input and output of a layer.
const LAYER_BY_LAYER: &str = "layer by layer MobileNet V2 1.0 at 224 has a peak of 6.02 MB (inputs and outputs of block1_dw), \
    with whole blocks as one operation 2.41 MB (block0), V1 4.82 MB";

/// Turns of the loop between two layers: about 30 microseconds.
const PEAK_TURNS: usize = 4000;

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    let flags = &arguments.flags;
    if arguments.rounds == 0 {
        return Err("--rounds 0: expected at least 1".into());
    }
    let setup = flags.setup(|_| "hash")?;
    let (plan, input) = (setup.plan(1)?, setup.hash_image());
    let (mut workspace, mut logits) = (plan.workspace(), vec![0.0; plan.output_len()]);
    let steps = plan.describe().count();
    let mut fastest = vec![f64::INFINITY; steps];
    let mut peaks = Vec::new();
    flags.with_threads(|threads| {
        for _ in 0..arguments.rounds {
            plan.run_timed(threads, &mut workspace, &input, &mut logits, &mut |step, work| {
                let start = Instant::now();
                work();
                fastest[step] = fastest[step].min(start.elapsed().as_secs_f64());
                let start = Instant::now();
                threads.run(flags.threads, &|_| {
                    peak::fma_loop(PEAK_TURNS);
                });
                peaks.push(start.elapsed().as_secs_f64());
            })?;
        }
        Ok(())
    })?;
    let peak = flags.threads as f64 * peak::flops(PEAK_TURNS) / median(&mut peaks);
    let total: f64 = fastest.iter().sum();
    let dimensions = |s: sepconv::net::Shape| format!("{}x{}x{}", s.height, s.width, s.channels);
    let lines: Vec<Line> = plan
        .describe()
        .zip(&fastest)
        .map(|(line, &seconds)| {
            let speed = 2.0 * line.macs as f64 / seconds;
            Line {
                layer: line.layer.into(),
                shape: format!("{} -> {}", dimensions(line.input), dimensions(line.output)),
                kernel: line.kernel,
                ms: seconds * 1e3,
                gflops: speed / 1e9,
                share: seconds / total,
                of_peak: speed / peak,
            }
        })
        .collect();
    if flags.json {
        println!("{}", serde_json::to_string(&lines)?);
        return Ok(());
    }
    println!(
        "{:<24} {:<28} {:<26} {:>8} {:>8} {:>7} {:>7}",
        "layer", "shape", "kernel", "ms", "GFLOP/s", "share", "peak"
    );
    for Line { layer, shape, kernel, ms, gflops, share, of_peak } in &lines {
        let (share, of_peak) = (share * 100.0, of_peak * 100.0);
        println!("{layer:<24} {shape:<28} {kernel:<26} {ms:>8.3} {gflops:>8.1} {share:>6.1}% {of_peak:>6.1}%");
    }
    let macs = plan.network().macs() as f64;
    println!(
        "{:.3} ms, {:.1} GFLOP/s of {:.1}, {} thread(s), {}",
        total * 1e3,
        2.0 * macs / total / 1e9,
        peak / 1e9,
        flags.threads,
        plan.isa()
    );
    println!(
        "peak of activations {:.2} MB, workspace {:.2} MB; {}",
        plan.peak_bytes() as f64 / 1e6,
        plan.workspace_bytes() as f64 / 1e6,
        LAYER_BY_LAYER,
    );
    Ok(())
}

fn main() -> ExitCode {
    common::exit(run(&Arguments::parse()))
}
