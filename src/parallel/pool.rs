//! The threads of a rayon pool.

use std::sync::Arc;

use super::Parallel;
use super::crew::{Crew, halve};

/// A rayon thread pool.
///
/// While a plan runs, as many of the pool's threads as it has tasks look for them without going to sleep, and take
/// no other jobs: on a virtual machine, waking a thread costs tens of microseconds, as long as many a layer
/// takes. A thread that is busy elsewhere is not waited for. A second run on the same `Rayon` at the same time
/// does without them.
///
/// What helps lies in the pool's queues as a job, and whoever waits for something else on that pool may take it:
/// a task that calls rayon, an observer, a run inside a run. Such a job returns at once where its thread is inside
/// a run already, and after 10 milliseconds without a task anywhere else: a run always ends.
///
/// ```
/// use sepconv::models::{Architecture, Config, Network};
/// use sepconv::parallel::{Rayon, Serial};
/// use sepconv::weights::HashWeights;
///
/// let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build()?;
/// let parallel = Rayon::new(pool);
/// let network = Network::new(Architecture::Digits, &Config::of(Architecture::Digits))?;
/// let plan = network.plan(&HashWeights, &parallel, Default::default())?;
/// assert_eq!(plan.threads(), 2);
/// let (mut workspace, image) = (plan.workspace()?, HashWeights::image(28, 28, 1)?);
/// let (mut by_two, mut by_one) = ([0.0; 10], [0.0; 10]);
/// plan.run(&parallel, &mut workspace, &image, &mut by_two[..])?;
/// plan.run(&Serial, &mut workspace, &image, &mut by_one[..])?;
/// assert_eq!(by_two, by_one);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Rayon {
    pool: Arc<rayon::ThreadPool>,
    crew: Crew,
}

impl Rayon {
    /// Tasks run on `pool`, which is the caller's, or is given away.
    pub fn new(pool: impl Into<Arc<rayon::ThreadPool>>) -> Self {
        Rayon { pool: pool.into(), crew: Crew::new() }
    }

    /// One more than the index of the pool's thread that this is; 0 for another thread.
    fn thread(&self) -> usize {
        self.pool.current_thread_index().map_or(0, |index| index + 1)
    }
}

// SAFETY: `halve` and `Crew::run` run each task once; both return, or unwind, when none is running any more.
unsafe impl Parallel for Rayon {
    fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }

    fn enter(&self, tasks: usize, work: &mut (dyn FnMut() + Send)) {
        let helpers = self.threads().min(tasks).saturating_sub(1);
        self.pool.install(|| self.crew.enter(self.thread(), helpers, work));
    }

    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        match self.thread() {
            0 => self.pool.install(|| halve(0..tasks, task)),
            thread => self.crew.run(thread, tasks, task),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn pool(threads: usize) -> Arc<rayon::ThreadPool> {
        Arc::new(rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap())
    }

    #[test]
    fn every_task_runs_once() {
        for threads in 1..=4 {
            let pool = pool(threads);
            let parallel = Rayon::new(pool);
            let counts: Vec<AtomicUsize> = (0..9).map(|_| AtomicUsize::new(0)).collect();
            let count = |task: usize| {
                counts[task].fetch_add(1, Ordering::Relaxed);
            };
            // From outside a run, then in one, phase after phase.
            parallel.run(9, &count);
            parallel.enter(9, &mut || (0..1000).for_each(|phase| parallel.run(phase % 10, &count)));
            let total: usize = counts.iter().map(|count| count.load(Ordering::Relaxed)).sum();
            assert_eq!(total, 9 + 4500, "{threads} threads");
            assert_eq!(counts[8].load(Ordering::Relaxed), 1 + 100);
        }
    }

    #[test]
    fn two_runs_share_a_pool() {
        let pool = pool(2);
        let parallel = Rayon::new(pool);
        let count = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let phase = |_| {
                        parallel.run(3, &|_| {
                            count.fetch_add(1, Ordering::Relaxed);
                        });
                    };
                    (0..50).for_each(|_| parallel.enter(3, &mut || (0..20).for_each(phase)));
                });
            }
        });
        assert_eq!(count.into_inner(), 4 * 50 * 20 * 3);
    }

    #[test]
    fn a_panic_ends_the_run() {
        let pool = pool(2);
        let parallel = Rayon::new(pool);
        let run = || {
            parallel.enter(8, &mut || parallel.run(8, &|task| assert!(task != 3, "planted")));
        };
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err());
        let count = AtomicUsize::new(0);
        parallel.enter(8, &mut || {
            parallel.run(8, &|_| {
                count.fetch_add(1, Ordering::Relaxed);
            });
        });
        assert_eq!(count.into_inner(), 8);
    }

    #[test]
    fn tasks_may_run_tasks() {
        for threads in 1..=3 {
            let pool = pool(threads);
            let parallel = Rayon::new(pool);
            let count = AtomicUsize::new(0);
            let inner = |_| {
                count.fetch_add(1, Ordering::Relaxed);
            };
            parallel.enter(3, &mut || (0..200).for_each(|_| parallel.run(3, &|_| parallel.run(3, &inner))));
            assert_eq!(count.into_inner(), 200 * 9);
        }
    }
}
