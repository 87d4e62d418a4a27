//! Times a network on demand: prints `ready`, then for each line `N` on standard input runs N inferences and prints
//! their N wall-clock times in milliseconds on one line.
//!
//!     echo 10 | cargo run --release --example latency -- --net mobilenet_v1

mod common;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use common::{Failure, Flags, time_on_demand};
use sepconv::parallel::Parallel;
use sepconv::{Plan, Workspace};

/// Prints `ready`, then for each line N of standard input the milliseconds of N inferences, of --batch images each, on one
/// line.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    flags: Flags,
    /// Run the plan of this file, as the example logits saves it
    #[arg(long, conflicts_with_all = ["net", "weights"])]
    plan: Option<PathBuf>,
    /// Images an inference, 1 to 65536
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=65536))]
    batch: u32,
    /// Begin each inference with what comes before the first one: map the file, build or load the plan
    #[arg(long)]
    cold: bool,
}

/// A plan with what it runs in.
struct Ready {
    plan: Plan,
    workspace: Workspace<'static>,
    logits: Vec<f32>,
}

impl Ready {
    fn new(arguments: &Arguments, threads: &dyn Parallel) -> Result<Self, Failure> {
        let (flags, batch) = (&arguments.flags, arguments.batch as usize);
        let plan = match &arguments.plan {
            None => flags.setup("hash")?.plan(threads, batch)?,
            Some(path) => match flags.load(path)? {
                plan if plan.batch() == batch => plan,
                plan => plan.with_batch(batch)?,
            },
        };
        Ok(Ready { workspace: plan.workspace()?, logits: common::zeros(plan.output_len())?, plan })
    }

    fn run(&mut self, threads: &dyn Parallel, images: &[f32]) -> Result<(), Failure> {
        Ok(self.plan.run(threads, &mut self.workspace, images, &mut self.logits)?)
    }
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    let threads = &*arguments.flags.parallel()?;
    let mut ready = Ready::new(arguments, threads)?;
    let images = common::repeated(&common::hash_image_for(&ready.plan)?, ready.plan.batch())?;
    ready.run(threads, &images)?;
    if arguments.cold {
        return time_on_demand("inferences", 4, || {
            let mut ready = Ready::new(arguments, threads)?;
            ready.run(threads, &images)?;
            Ok(ready)
        });
    }
    time_on_demand("inferences", 4, || ready.run(threads, &images))
}

fn main() -> ExitCode {
    common::main(run)
}
