//! Threads: the caller's, behind a small trait. The crate starts none of its own.

/// Something that runs tasks, maybe at once.
///
/// Which thread runs a task never changes a result: tasks of one call write to disjoint memory and none waits for another.
pub trait Parallel: Sync {
    /// Threads that may run tasks at once, the caller's among them; at least 1.
    fn threads(&self) -> usize;

    /// Calls `work` once where [`run`](Self::run) is cheapest to call from; a plan enters once a run.
    fn enter(&self, work: &mut (dyn FnMut() + Send));

    /// Calls `task(0)` to `task(tasks - 1)`, each once, in any order, and returns when all have returned.
    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync));
}

/// The calling thread alone.
#[derive(Debug, Clone, Copy, Default)]
pub struct Serial;

impl Parallel for Serial {
    fn threads(&self) -> usize {
        1
    }

    fn enter(&self, work: &mut (dyn FnMut() + Send)) {
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
    use std::ops::Range;

    use super::Parallel;

    /// A rayon thread pool.
    #[derive(Debug, Clone, Copy)]
    pub struct Rayon<'a> {
        pool: &'a rayon::ThreadPool,
    }

    impl<'a> Rayon<'a> {
        /// Tasks run on `pool`.
        pub fn new(pool: &'a rayon::ThreadPool) -> Self {
            Rayon { pool }
        }
    }

    /// Halves the tasks until one is left: `join` allocates nothing.
    fn halve(tasks: Range<usize>, task: &(dyn Fn(usize) + Sync)) {
        match tasks.len() {
            0 => {}
            1 => task(tasks.start),
            length => {
                let middle = tasks.start + length / 2;
                rayon::join(|| halve(tasks.start..middle, task), || halve(middle..tasks.end, task));
            }
        }
    }

    impl Parallel for Rayon<'_> {
        fn threads(&self) -> usize {
            self.pool.current_num_threads()
        }

        fn enter(&self, work: &mut (dyn FnMut() + Send)) {
            self.pool.install(work);
        }

        fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
            halve(0..tasks, task);
        }
    }
}
