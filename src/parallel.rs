//! Threads: the caller's, behind a small trait. The crate starts none of its own.

/// Something that runs tasks, maybe at once.
///
/// Which thread runs a task never changes a result: tasks of one call write to disjoint memory and none waits for
/// another.
///
/// ```
/// use std::sync::atomic::{AtomicUsize, Ordering};
///
/// use sepconv::parallel::Parallel;
///
/// /// The standard library's threads, one a task.
/// struct Scoped;
///
/// // SAFETY: a scope ends, or unwinds, when all of its threads have ended.
/// unsafe impl Parallel for Scoped {
///     fn threads(&self) -> usize {
///         4
///     }
///
///     fn enter(&self, _: usize, work: &mut (dyn FnMut() + Send)) {
///         work();
///     }
///
///     fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
///         std::thread::scope(|scope| {
///             for index in 0..tasks {
///                 scope.spawn(move || task(index));
///             }
///         });
///     }
/// }
///
/// let sum = AtomicUsize::new(0);
/// let add = |task| {
///     sum.fetch_add(task, Ordering::Relaxed);
/// };
/// Scoped.enter(4, &mut || Scoped.run(4, &add));
/// assert_eq!(sum.into_inner(), 6);
/// ```
/// # Safety
/// [`run`](Self::run) calls each task once at most. When it returns, every task has returned; when it unwinds, no task
/// is running any more and none begins. Plans write through raw pointers on the strength of it.
pub unsafe trait Parallel: Sync {
    /// Threads that tasks may run on at one time, this one among them: a plan is cut for as many.
    fn threads(&self) -> usize;

    /// Calls `work` once where [`run`](Self::run) is cheapest to call from; a plan enters once a run. No `run` in it
    /// has more than `tasks` tasks.
    fn enter(&self, tasks: usize, work: &mut (dyn FnMut() + Send));

    /// Calls `task(0)` to `task(tasks - 1)`, each once, in any order, and returns when all have returned.
    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync));
}

/// The calling thread alone.
///
/// ```
/// use std::sync::Mutex;
///
/// use sepconv::parallel::{Parallel, Serial};
///
/// let order = Mutex::new(Vec::new());
/// Serial.run(3, &|task| order.lock().unwrap().push(task));
/// assert_eq!((Serial.threads(), order.into_inner().unwrap()), (1, vec![0, 1, 2]));
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Serial;

// SAFETY: one task after the other.
unsafe impl Parallel for Serial {
    fn threads(&self) -> usize {
        1
    }

    fn enter(&self, _: usize, work: &mut (dyn FnMut() + Send)) {
        work();
    }

    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        (0..tasks).for_each(task);
    }
}

#[cfg(feature = "rayon")]
pub use with_rayon::Rayon;

#[cfg(feature = "rayon")]
mod with_rayon {
    use std::any::Any;
    use std::cell::{Cell, UnsafeCell};
    use std::hint::spin_loop;
    use std::ops::{DerefMut, Range};
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex, PoisonError};
    use std::thread::yield_now;
    use std::time::{Duration, Instant};

    use super::Parallel;

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
            Rayon { pool: pool.into(), crew: Crew::default() }
        }
    }

    /// The tasks of the run that leads, which its threads share.
    #[derive(Debug, Default)]
    struct Crew {
        /// One more than the index of the pool's thread that leads the run; 0 while there is none.
        leader: AtomicUsize,
        /// Whether the run is over.
        over: AtomicBool,
        /// Whether tasks are shared at the moment.
        leading: AtomicBool,
        /// What the first task that panicked left.
        panic: Mutex<Option<Box<dyn Any + Send>>>,
        /// What to call; valid from before `unclaimed` is raised until `finished` has reached as many.
        task: UnsafeCell<Option<*const (dyn Fn(usize) + Sync)>>,
        /// Tasks that no thread has begun.
        unclaimed: AtomicUsize,
        /// Tasks that have returned.
        finished: AtomicUsize,
    }

    // SAFETY: the leader alone writes `task`, while `unclaimed` is 0; others read it after they have claimed a task,
    // which orders the read after the write, and before they report it finished, which the leader awaits.
    unsafe impl Sync for Crew {}
    // SAFETY: the pointer is used between a leader's `lead` and its return only.
    unsafe impl Send for Crew {}

    impl Crew {
        /// Takes one task and runs it, if there is one.
        fn work(&self) -> bool {
            let take = |unclaimed: usize| unclaimed.checked_sub(1);
            let Ok(unclaimed) = self.unclaimed.fetch_update(Ordering::Acquire, Ordering::Relaxed, take) else {
                return false;
            };
            // SAFETY: a claimed task that has not finished keeps the pointer valid (see `task`).
            if let Some(task) = unsafe { *self.task.get() } {
                // SAFETY: as above.
                let task = || unsafe { (*task)(unclaimed - 1) };
                if let Err(panic) = catch_unwind(AssertUnwindSafe(task)) {
                    // A later one is forgotten: to drop it might panic too.
                    let mut first = self.panic();
                    if first.is_none() { *first = Some(panic) } else { std::mem::forget(panic) }
                }
            }
            self.finished.fetch_add(1, Ordering::Release);
            true
        }

        fn panic(&self) -> impl DerefMut<Target = Option<Box<dyn Any + Send>>> {
            self.panic.lock().unwrap_or_else(PoisonError::into_inner)
        }

        /// Shares `tasks` with those who help, and returns when all have finished; what a task panicked with, on
        /// whichever thread, comes out here.
        fn lead(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
            let task: *const (dyn Fn(usize) + Sync + '_) = task;
            // SAFETY: the lifetime is forgotten; the pointer is not used after this function returns.
            let task: *const (dyn Fn(usize) + Sync) = unsafe { std::mem::transmute(task) };
            // SAFETY: no task is unclaimed and none runs (`leading`), so nobody reads.
            unsafe { *self.task.get() = Some(task) };
            self.finished.store(0, Ordering::Relaxed);
            self.unclaimed.store(tasks, Ordering::Release);
            while self.work() {}
            patiently(|_| self.finished.load(Ordering::Acquire) == tasks);
            let panic = self.panic().take();
            self.leading.store(false, Ordering::Relaxed);
            if let Some(panic) = panic {
                resume_unwind(panic);
            }
        }

        /// Runs tasks until the run is over.
        ///
        /// A thread that waits for something else may be the one that takes this job. What it waits for, or what waits
        /// for it, may be what the run needs to end: so it must not stay. Frames of runs further down its stack are
        /// known ([`Inside`]); those of others are not, and [`PATIENCE`] bounds what they cost.
        fn help(&self) {
            let Some(_inside) = Inside::enter() else { return };
            let mut idle = Instant::now();
            patiently(|turn| {
                let mut worked = false;
                while self.work() {
                    worked = true;
                }
                if worked {
                    idle = Instant::now();
                }
                self.over.load(Ordering::Acquire) || (turn.is_multiple_of(CLOCK) && idle.elapsed() > PATIENCE)
            });
        }
    }

    /// How long a helper stays without a task: longer than the steps of a plan are apart, and than most tasks of the
    /// others that it has to wait for.
    const PATIENCE: Duration = Duration::from_millis(10);
    /// Turns of [`patiently`] between two looks at the clock.
    const CLOCK: usize = 1024;

    thread_local! {
        /// Whether the thread is inside a run: leads one, or helps one.
        static INSIDE: Cell<bool> = const { Cell::new(false) };
    }

    /// Marks the thread as inside a run.
    struct Inside(());

    impl Inside {
        /// `None` where it is inside one already.
        fn enter() -> Option<Self> {
            (!INSIDE.replace(true)).then_some(Inside(()))
        }
    }

    impl Drop for Inside {
        fn drop(&mut self) {
            INSIDE.set(false);
        }
    }

    /// Ends a run, also one that panics.
    struct Ending<'a>(&'a Crew);

    impl Drop for Ending<'_> {
        fn drop(&mut self) {
            self.0.over.store(true, Ordering::Release);
        }
    }

    /// Frees the crew for the next run.
    struct Leaving<'a>(&'a Crew);

    impl Drop for Leaving<'_> {
        fn drop(&mut self) {
            self.0.leader.store(0, Ordering::Release);
        }
    }

    /// Asks again and again, with the number of the turn, at first without giving up the processor.
    fn patiently(mut done: impl FnMut(usize) -> bool) {
        for turn in 1usize.. {
            if done(turn) {
                break;
            }
            if turn.is_multiple_of(128) { yield_now() } else { spin_loop() }
        }
    }

    /// Calls `work` with `helpers` jobs beside it that other threads of the pool may take: `join` allocates nothing.
    fn with_helpers(crew: &Crew, helpers: usize, work: &mut (dyn FnMut() + Send)) {
        match helpers {
            0 => {
                let _ending = Ending(crew);
                work();
            }
            _ => {
                rayon::join(|| with_helpers(crew, helpers - 1, work), || crew.help());
            }
        }
    }

    /// Halves the tasks until one is left.
    fn halve(tasks: Range<usize>, task: &(dyn Fn(usize) + Sync)) {
        // Another thread may have taken this half, and waits in it: what runs it must be known there too.
        let _inside = Inside::enter();
        match tasks.len() {
            0 => {}
            1 => task(tasks.start),
            length => {
                let middle = tasks.start + length / 2;
                rayon::join(|| halve(tasks.start..middle, task), || halve(middle..tasks.end, task));
            }
        }
    }

    impl Rayon {
        /// One more than the index of the pool's thread that this is; 0 for another thread.
        fn thread(&self) -> usize {
            self.pool.current_thread_index().map_or(0, |index| index + 1)
        }
    }

    // SAFETY: `halve` and `Crew::lead` run each task once; both return, or unwind, when none is running any more.
    unsafe impl Parallel for Rayon {
        fn threads(&self) -> usize {
            self.pool.current_num_threads()
        }

        fn enter(&self, tasks: usize, work: &mut (dyn FnMut() + Send)) {
            self.pool.install(|| {
                let _inside = Inside::enter();
                let free = self.crew.leader.compare_exchange(0, self.thread(), Ordering::Acquire, Ordering::Relaxed);
                if free.is_err() {
                    // Another run leads the crew: this one does without.
                    return work();
                }
                let _leaving = Leaving(&self.crew);
                self.crew.over.store(false, Ordering::Relaxed);
                let threads = self.pool.current_num_threads().min(tasks);
                with_helpers(&self.crew, threads.saturating_sub(1), work);
            });
        }

        fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
            let (leader, thread) = (self.crew.leader.load(Ordering::Relaxed), self.thread());
            match thread {
                0 => self.pool.install(|| halve(0..tasks, task)),
                // A task that itself runs tasks does so without the crew.
                _ if leader == thread && tasks > 1 && !self.crew.leading.swap(true, Ordering::Relaxed) => {
                    self.crew.lead(tasks, task);
                }
                _ => halve(0..tasks, task),
            }
        }
    }

    #[cfg(test)]
    mod tests {
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
}
