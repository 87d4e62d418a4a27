//! Threads: the caller's, behind a small trait. The crate starts none of its own.

#[cfg(feature = "rayon")]
mod crew;
#[cfg(feature = "rayon")]
mod pool;
#[cfg(feature = "rayon")]
mod sync;

#[cfg(feature = "rayon")]
pub use pool::Rayon;

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
/// [`run`](Self::run) calls each task once at most. When it returns, every task has returned, by unwinding or not; when it
/// unwinds, since a task did or for any other reason, no task is running any more, on any thread, and none begins. A task
/// that unwinds must not be called again, nor may what it unwound with be lost: `run` unwinds too, or never returns.
/// [`enter`](Self::enter) returns, or unwinds, when `work` has. Plans write through raw pointers on the strength of it.
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
