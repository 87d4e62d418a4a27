//! Times a network on demand: prints `ready`, then for each line `N` on standard input runs N inferences and prints
//! their N wall-clock times in milliseconds on one line.
//!
//!     echo 10 | cargo run --release --example latency -- --net mobilenet_v1

mod common;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use common::{Failure, Flags, time_on_demand};

/// Prints `ready`, then for each line N of standard input the milliseconds of N inferences on one line.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    flags: Flags,
    /// Run the plan of this file, as the example logits saves it
    #[arg(long, conflicts_with_all = ["net", "weights"])]
    plan: Option<PathBuf>,
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    let flags = &arguments.flags;
    let threads = flags.parallel()?;
    let plan = match &arguments.plan {
        Some(path) => flags.load(path)?.with_batch(1)?,
        None => flags.setup("hash")?.plan(&*threads, 1)?,
    };
    let input = common::hash_image_for(&plan)?;
    let (mut workspace, mut logits) = (plan.workspace()?, common::zeros(plan.output_len())?);
    let mut run = || Ok(plan.run(&*threads, &mut workspace, &input, &mut logits)?);
    run()?;
    time_on_demand("inferences", 4, run)
}

fn main() -> ExitCode {
    common::main(run)
}
