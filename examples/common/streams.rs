//! Plans that run beside each other, each on a thread of its own.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use sepconv::parallel::{Parallel, Serial};
use sepconv::{Plan, Workspace};

use crate::common::{self, Failure};

/// Runs of each stream that are timed together, so that one need not wait for the others behind each.
const RUNS: usize = 3;

/// One plan with what each of several runs of it works in.
pub struct Streams {
    plan: Plan,
    memory: Vec<Mutex<(Workspace<'static>, Vec<f32>)>>,
}

impl Streams {
    /// `plan`, cut for one thread, for so many runs at a time.
    pub fn new(plan: Plan, count: usize) -> Result<Self, Failure> {
        let one = |_| Ok(Mutex::new((plan.workspace()?, common::zeros(plan.output_len())?)));
        let memory = (0..count).map(one).collect::<Result<_, Failure>>()?;
        Ok(Streams { plan, memory })
    }

    /// The seconds of a run of every stream, on as many threads, after one that fetches the weights into the caches.
    pub fn seconds(&self, threads: &dyn Parallel, images: &[f32]) -> Result<f64, Failure> {
        let (mut seconds, result) = (0.0, Mutex::new(Ok(())));
        let run = |stream: usize, runs: usize| {
            let mut memory = self.memory[stream].lock().unwrap_or_else(PoisonError::into_inner);
            let (workspace, outputs) = &mut *memory;
            for _ in 0..runs {
                let ran = self.plan.run(&Serial, workspace, images, &mut *outputs);
                if ran.is_err() {
                    *result.lock().unwrap_or_else(PoisonError::into_inner) = ran;
                }
            }
        };
        let count = self.memory.len();
        threads.enter(count, &mut || {
            threads.run(count, &|stream| run(stream, 1));
            let start = Instant::now();
            threads.run(count, &|stream| run(stream, RUNS));
            seconds = start.elapsed().as_secs_f64() / RUNS as f64;
        });
        result.into_inner().unwrap_or_else(PoisonError::into_inner)?;
        Ok(seconds)
    }
}
