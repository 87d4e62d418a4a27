//! Times a network on demand: prints `ready`, then for each line `N` on standard input runs N inferences and prints
//! their N wall-clock times in milliseconds on one line.
//!
//!     echo 10 | cargo run --release --example latency -- --net mobilenet_v1

mod common;

use std::process::ExitCode;

use clap::Parser;
use common::{Failure, Flags, time_on_demand};

/// Prints `ready`, then for each line N of standard input the milliseconds of N inferences on one line.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    flags: Flags,
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    let flags = &arguments.flags;
    let setup = flags.setup("hash")?;
    let (plan, input) = (setup.plan(1)?, setup.hash_image()?);
    let (mut workspace, mut logits) = (plan.workspace()?, common::zeros(plan.output_len())?);
    flags.with_threads(|threads| {
        let mut run = || Ok(plan.run_on(threads, &mut workspace, &input, &mut logits)?);
        run()?;
        time_on_demand("inferences", 4, run)
    })
}

fn main() -> ExitCode {
    common::main(run)
}
