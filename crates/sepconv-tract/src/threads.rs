//! The threads of tract's executor, as plans take them.

use std::sync::Arc;

use rayon::ThreadPool;
use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, ParallelIterator};
use sepconv::parallel::{Parallel, Rayon, Serial};
use tract_linalg::multithread::{Executor, current_tract_executor};

/// The threads that tract runs on at the moment of a call, kept from one to the next.
#[derive(Debug, Default)]
pub struct Threads(Option<(Arc<ThreadPool>, Rayon)>);

impl Threads {
    /// Those of the executor that is tract's now.
    pub fn current(&mut self) -> &dyn Parallel {
        match current_tract_executor() {
            Executor::SingleThread => &Serial,
            Executor::RayonGlobal => &GlobalPool,
            Executor::MultiThread(pool) => {
                let kept = self.0.take().filter(|(kept, _)| Arc::ptr_eq(kept, &pool));
                &self.0.insert(kept.unwrap_or_else(|| (pool.clone(), Rayon::new(pool)))).1
            }
        }
    }
}

/// Rayon's own pool.
struct GlobalPool;

// SAFETY: `for_each` calls each task once, and returns, or unwinds, when all that have begun have ended.
unsafe impl Parallel for GlobalPool {
    fn threads(&self) -> usize {
        rayon::current_num_threads()
    }

    fn enter(&self, _: usize, work: &mut (dyn FnMut() + Send)) {
        rayon::scope(|_| work());
    }

    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        (0..tasks).into_par_iter().with_max_len(1).for_each(task);
    }
}
