//! What a plan would take on a machine with more cores, from the tasks that it is cut into, each timed on one core.
//!
//! The steps of a plan follow each other; the tasks of a step go in order to the first free core. The tasks of one thread
//! are timed by themselves, one inference behind another, so that its second-level cache holds what that thread leaves
//! there, and what the others read and write comes from beyond. Four terms say what threads cost and cores have in common:
//!
//! - their clock: a loop of multiply-adds, on as many as this machine has;
//! - once a run, to wake the threads: measured on as many;
//! - a barrier a step: measured on as many, and for each one beyond as much again as for each of them, because threads
//!   take turns at one counter;
//! - the path to the third-level cache and memory: n cores read n / (1 + s (n - 1)) times the bytes of one (Gunther's law
//!   of scalability, without its term for coherence). s is that of as many cores as there are, over as many bytes as the
//!   network has; a task is held up for as long as its own bytes take on one core.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use sepconv::parallel::{Parallel, Rayon};
use sepconv::{Description, Isa, Plan, Workspace};

use crate::common::{self, Failure, Setup};
use crate::{bandwidth, peak};

/// Steps whose barriers are timed together, and turns of the loop of multiply-adds that is the task of each thread, some 5
/// microseconds: one thread would take all of those without work.
const STEPS: usize = 20;
const TURNS: usize = 3000;
/// Passes over the network's bytes.
const PASSES: usize = 20;

/// One of several threads: runs its own task of each step and leaves out the others, so that what a plan computes on it
/// means nothing.
struct Share {
    threads: usize,
    thread: usize,
    /// Seconds of its task in each step so far, where it has one.
    seconds: Mutex<Vec<Option<f64>>>,
}

// SAFETY: runs each task once at most, on the calling thread.
unsafe impl Parallel for Share {
    fn threads(&self) -> usize {
        self.threads
    }

    fn enter(&self, _: usize, work: &mut (dyn FnMut() + Send)) {
        work();
    }

    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        let seconds = (self.thread < tasks).then(|| {
            let start = Instant::now();
            task(self.thread);
            start.elapsed().as_secs_f64()
        });
        self.seconds.lock().unwrap_or_else(PoisonError::into_inner).push(seconds);
    }
}

/// A plan for so many threads with the seconds of its tasks.
pub struct Cut {
    pub plan: Plan,
    workspace: Workspace<'static>,
    outputs: Vec<f32>,
    /// Of each thread, the tasks of each step in its fastest inference.
    shares: Vec<Vec<Option<f64>>>,
}

impl Cut {
    pub fn new(setup: &Setup, threads: usize) -> Result<Self, Failure> {
        let plan = setup.plan(&Share { threads, thread: 0, seconds: Mutex::default() }, 1)?;
        let (workspace, outputs) = (plan.workspace()?, common::zeros(plan.output_len())?);
        Ok(Cut { plan, workspace, outputs, shares: vec![Vec::new(); threads] })
    }

    /// Times the tasks of every thread once more; the fastest inference of each counts, as it does of whole plans.
    pub fn measure(&mut self, image: &[f32]) -> Result<(), Failure> {
        let threads = self.shares.len();
        let total = |seconds: &[Option<f64>]| seconds.iter().flatten().sum::<f64>();
        for (thread, fastest) in self.shares.iter_mut().enumerate() {
            let share = Share { threads, thread, seconds: Mutex::default() };
            self.plan.run(&share, &mut self.workspace, image, &mut self.outputs)?;
            let seconds = share.seconds.into_inner().unwrap_or_else(PoisonError::into_inner);
            if fastest.is_empty() || total(&seconds) < total(fastest) {
                *fastest = seconds;
            }
        }
        Ok(())
    }

    /// What each step takes on so many cores of `machine`.
    pub fn steps(&self, machine: &Machine, cores: usize) -> Vec<Step> {
        let step = |(at, step): (usize, Description<'_>)| {
            let tasks: Vec<f64> = self.shares.iter().filter_map(|share| *share.get(at)?).collect();
            let sharing = cores.min(tasks.len()).max(1);
            let bytes = step.shared_bytes as f64 + (step.bytes - step.shared_bytes) as f64 / tasks.len() as f64;
            let mut free_at = vec![0.0f64; cores];
            for task in &tasks {
                if let Some(core) = free_at.iter_mut().min_by(|a, b| a.total_cmp(b)) {
                    *core += task * machine.clock(cores) + machine.held_up(task.min(bytes / machine.read()), sharing);
                }
            }
            Step {
                layers: step.nodes.iter().map(|node| node.name().to_string()).collect(),
                tasks: tasks.len(),
                busy: tasks.iter().sum(),
                seconds: free_at.into_iter().fold(0.0, f64::max) + machine.barrier(sharing),
            }
        };
        self.plan.describe().enumerate().map(step).collect()
    }
}

/// A step on several cores.
#[derive(Debug, Clone)]
pub struct Step {
    pub layers: Vec<String>,
    pub tasks: usize,
    /// Seconds of all its tasks, one after the other.
    pub busy: f64,
    /// Seconds until the next step may begin.
    pub seconds: f64,
}

/// What the cores of this machine have in common: of one core, of two, and so on, the best measurements so far.
pub struct Machine {
    /// Seconds of a loop of multiply-adds.
    pub loops: Vec<f64>,
    /// Seconds to enter and leave the threads' pool.
    entries: Vec<f64>,
    /// Seconds of a step whose tasks are a short loop each.
    steps: Vec<f64>,
    /// Bytes a second that they read together.
    reads: Vec<f64>,
    /// Bytes of the network.
    bytes: usize,
}

impl Machine {
    /// For a network of so many bytes.
    pub fn new(cores: usize, bytes: usize) -> Self {
        let [loops, entries, steps] = [(); 3].map(|()| vec![f64::INFINITY; cores]);
        Machine { loops, entries, steps, reads: vec![0.0; cores], bytes }
    }

    /// Measures once more with the threads of `pool`, of which there are not more than cores.
    pub fn measure(&mut self, pool: &Rayon, isa: Isa) -> Result<(), Failure> {
        let threads = pool.threads();
        let [entry, step] = [&mut self.entries, &mut self.steps].map(|seconds| &mut seconds[threads - 1]);
        let start = Instant::now();
        pool.enter(threads, &mut || ());
        *entry = entry.min(start.elapsed().as_secs_f64());
        pool.enter(threads, &mut || {
            let start = Instant::now();
            (0..STEPS).for_each(|_| pool.run(threads, &|_| peak::fma_loop(isa, TURNS)));
            *step = step.min(start.elapsed().as_secs_f64() / STEPS as f64);
        });
        let read = &mut self.reads[threads - 1];
        *read = read.max(bandwidth::read(pool, self.bytes, PASSES)?);
        Ok(())
    }

    /// Cores that were measured together.
    pub fn cores(&self) -> usize {
        self.loops.len()
    }

    /// How many times as long a core takes where so many are busy.
    fn clock(&self, cores: usize) -> f64 {
        self.loops[cores.min(self.cores()) - 1] / self.loops[0]
    }

    /// Seconds a run beyond its steps, with so many threads.
    pub fn entry(&self, threads: usize) -> f64 {
        self.entries[threads.min(self.cores()) - 1]
    }

    /// Seconds of a barrier of so many threads.
    pub fn barrier(&self, threads: usize) -> f64 {
        let measured = threads.min(self.cores());
        let barrier = (self.steps[measured - 1] - self.steps[0] * self.clock(measured)).max(0.0);
        if measured == threads { barrier } else { barrier * (threads - 1) as f64 / (measured - 1) as f64 }
    }

    /// The s of Gunther's law.
    pub fn contention(&self) -> f64 {
        let cores = self.cores() as f64;
        ((cores * self.reads[0] / self.reads[self.cores() - 1] - 1.0) / (cores - 1.0)).max(0.0)
    }

    /// Bytes a second that one core reads.
    pub fn read(&self) -> f64 {
        self.reads[0]
    }

    /// Seconds that one of so many cores waits for the others while it reads and writes for so many seconds.
    fn held_up(&self, seconds: f64, cores: usize) -> f64 {
        (cores - 1) as f64 * self.contention() * seconds
    }
}
