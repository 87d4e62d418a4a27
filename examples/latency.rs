//! Times a network on demand: prints `ready`, then for each line `N` on standard input runs N inferences and prints
//! their N wall-clock times in milliseconds on one line.
//!
//!     echo 10 | cargo run --release --example latency -- --net mobilenet_v1

mod common;

use std::io::{BufRead, Write};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use common::{Failure, Flags};

/// Prints `ready`, then for each line N of standard input the milliseconds of N inferences on one line.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    flags: Flags,
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    let flags = &arguments.flags;
    let setup = flags.setup(|_| "hash")?;
    let (plan, input) = (setup.plan(1)?, setup.hash_image());
    let (mut workspace, mut logits) = (plan.workspace(), vec![0.0; plan.output_len()]);
    flags.with_threads(|threads| {
        let mut out = std::io::stdout();
        plan.run_on(threads, &mut workspace, &input, &mut logits)?;
        writeln!(out, "ready")?;
        out.flush()?;
        for line in std::io::stdin().lock().lines() {
            let line = line?;
            let count: usize =
                line.trim().parse().map_err(|_| format!("line {line:?}: expected a number of inferences"))?;
            for i in 0..count {
                let start = Instant::now();
                plan.run_on(threads, &mut workspace, &input, &mut logits)?;
                let space = if i == 0 { "" } else { " " };
                write!(out, "{space}{:.4}", start.elapsed().as_secs_f64() * 1e3)?;
            }
            writeln!(out)?;
            out.flush()?;
        }
        Ok(())
    })
}

fn main() -> ExitCode {
    common::exit(run(&Arguments::parse()))
}
