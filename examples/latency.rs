//! Times a network on demand: prints `ready`, then for each line `N` on standard input runs N inferences and prints
//! their N wall-clock times in milliseconds on one line.
//!
//!     echo 10 | cargo run --release --example latency -- --net mobilenet_v1

mod common;

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
    /// Images an inference, 1 to 65536
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=65536))]
    batch: u32,
    /// Begin each inference with what comes before the first one: map the weights, build the plan
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
    fn new(flags: &Flags, threads: &dyn Parallel, batch: usize) -> Result<Self, Failure> {
        let plan = flags.setup("hash")?.plan(threads, batch)?;
        Ok(Ready { workspace: plan.workspace()?, logits: common::zeros(plan.output_len())?, plan })
    }

    fn run(&mut self, threads: &dyn Parallel, images: &[f32]) -> Result<(), Failure> {
        Ok(self.plan.run(threads, &mut self.workspace, images, &mut self.logits)?)
    }
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    let &Arguments { ref flags, batch, cold } = arguments;
    let (threads, batch) = (&*flags.parallel()?, batch as usize);
    let images = common::repeated(&flags.setup("hash")?.hash_image()?, batch)?;
    let mut ready = Ready::new(flags, threads, batch)?;
    ready.run(threads, &images)?;
    if cold {
        return time_on_demand("inferences", 4, || {
            let mut ready = Ready::new(flags, threads, batch)?;
            ready.run(threads, &images)?;
            Ok(ready)
        });
    }
    time_on_demand("inferences", 4, || ready.run(threads, &images))
}

fn main() -> ExitCode {
    common::main(run)
}
