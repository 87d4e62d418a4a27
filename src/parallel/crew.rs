//! The threads of a pool that share the tasks of a run, without a lock and without going to sleep between two steps.
//!
//! What it needs of the standard library and of the pool comes from `sync`, so that `crates/crew-model` checks this very file
//! in every order of its steps.

use std::any::Any;
use std::ops::{DerefMut, Range};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use super::sync::{AtomicBool, AtomicUsize, INSIDE, Mutex, Ordering, Patience, PoisonError, Slot, join, pause};

/// What tasks are called as.
type Task = *const (dyn Fn(usize) + Sync);

/// The tasks of the run that leads, which its threads share.
#[derive(Debug)]
pub struct Crew {
    /// The number of the pool's thread that leads the run, from 1 on; 0 while there is none.
    leader: AtomicUsize,
    /// Whether the run is over: orders nothing, since `join` awaits every helper.
    over: AtomicBool,
    /// Whether tasks are shared at the moment.
    leading: AtomicBool,
    /// What the first task that panicked left.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    /// What to call; valid from before `unclaimed` is raised until `finished` has reached as many.
    task: Slot<Option<Task>>,
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
    pub fn new() -> Self {
        Crew {
            leader: AtomicUsize::new(0),
            over: AtomicBool::new(false),
            leading: AtomicBool::new(false),
            panic: Mutex::new(None),
            task: Slot::new(None),
            unclaimed: AtomicUsize::new(0),
            finished: AtomicUsize::new(0),
        }
    }

    /// Calls `work` on the pool's thread number `thread`, which leads the run with up to `helpers` others, unless another
    /// leads one: then it does without.
    pub fn enter(&self, thread: usize, helpers: usize, work: &mut (dyn FnMut() + Send)) {
        let _inside = Inside::enter();
        if self.leader.compare_exchange(0, thread, Ordering::Acquire, Ordering::Relaxed).is_err() {
            return work();
        }
        let _leaving = Leaving(self);
        self.over.store(false, Ordering::Relaxed);
        with_helpers(self, helpers, work);
    }

    /// Runs each task once: with the crew where thread number `thread` leads the run, and not for a task of it.
    pub fn run(&self, thread: usize, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        let leads = self.leader.load(Ordering::Relaxed) == thread;
        if leads && tasks > 1 && !self.leading.swap(true, Ordering::Relaxed) {
            self.lead(tasks, task);
        } else {
            halve(0..tasks, task);
        }
    }

    /// Takes one task and runs it, if there is one.
    fn work(&self) -> bool {
        let take = |unclaimed: usize| unclaimed.checked_sub(1);
        let Ok(unclaimed) = self.unclaimed.fetch_update(Ordering::Acquire, Ordering::Relaxed, take) else {
            return false;
        };
        // SAFETY: a claimed task that has not finished keeps the pointer valid (see `task`).
        if let Some(task) = self.task.with(|task| unsafe { *task }) {
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
        let task: Task = unsafe { std::mem::transmute(task) };
        // SAFETY: no task is unclaimed and none runs (`leading`), so nobody reads.
        self.task.with_mut(|slot| unsafe { *slot = Some(task) });
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
    /// known ([`Inside`]); those of others are not, and [`Patience`] bounds what they cost.
    fn help(&self) {
        let Some(_inside) = Inside::enter() else { return };
        let mut patience = Patience::new();
        patiently(|turn| {
            let mut worked = false;
            while self.work() {
                worked = true;
            }
            if worked {
                patience = Patience::new();
            }
            self.over.load(Ordering::Relaxed) || patience.is_over(turn)
        });
    }
}

/// Marks the thread as inside a run.
struct Inside(());

impl Inside {
    /// `None` where it is inside one already.
    fn enter() -> Option<Self> {
        // Made only where it is wanted: to drop one is to leave.
        (!INSIDE.with(|inside| inside.replace(true))).then(|| Inside(()))
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        INSIDE.with(|inside| inside.set(false));
    }
}

/// Ends a run, also one that panics.
struct Ending<'a>(&'a Crew);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Relaxed);
    }
}

/// Frees the crew for the next run.
struct Leaving<'a>(&'a Crew);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.leader.store(0, Ordering::Release);
    }
}

/// Asks again and again, with the number of the turn.
fn patiently(mut done: impl FnMut(usize) -> bool) {
    for turn in 1usize.. {
        if done(turn) {
            break;
        }
        pause(turn);
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
            join(|| with_helpers(crew, helpers - 1, work), || crew.help());
        }
    }
}

/// Halves the tasks until one is left.
pub fn halve(tasks: Range<usize>, task: &(dyn Fn(usize) + Sync)) {
    // Another thread may have taken this half, and waits in it: what runs it must be known there too.
    let _inside = Inside::enter();
    match tasks.len() {
        0 => {}
        1 => task(tasks.start),
        length => {
            let middle = tasks.start + length / 2;
            join(|| halve(tasks.start..middle, task), || halve(middle..tasks.end, task));
        }
    }
}
