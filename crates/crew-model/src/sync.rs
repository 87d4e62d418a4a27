//! What the crew is made of, as loom has it; and a pool in which whoever waits takes the jobs of others, as in rayon's.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

#[allow(clippy::unsafe_removed_from_name, reason = "the crate's own hides its cell, too")]
pub use loom::cell::UnsafeCell as Slot;
pub use loom::sync::Mutex;
pub use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::thread::yield_now;
pub use std::sync::PoisonError;

loom::thread_local! {
    /// Whether the thread is inside a run: leads one, or helps one.
    pub static INSIDE: Cell<bool> = Cell::new(false);
}

thread_local! {
    /// Idle turns that a helper stays. Loom runs all of a model's threads on one.
    pub static TURNS: Cell<usize> = const { Cell::new(0) };
    /// Whether jobs of others are taken from the newest on: rayon's threads have a queue each, so that which job comes
    /// next depends on whose queue is looked at.
    pub static NEWEST_FIRST: Cell<bool> = const { Cell::new(false) };
}

/// Lets others run: there is no time.
pub fn pause(_turn: usize) {
    yield_now();
}

/// Of a helper that has had no task since it was made.
pub struct Patience(Cell<usize>);

impl Patience {
    #[allow(clippy::new_without_default, reason = "the crate's own has none")]
    pub fn new() -> Self {
        Patience(Cell::new(0))
    }

    /// Whether it has come to its end; asked in every turn.
    pub fn is_over(&self, _turn: usize) -> bool {
        self.0.replace(self.0.get() + 1) >= TURNS.get()
    }
}

/// What a pool's threads have left for each other.
#[derive(Default)]
struct Pool {
    /// Jobs that nobody has begun, by number.
    jobs: Vec<(usize, Job)>,
    /// Of each job, whether it has ended.
    ended: Vec<bool>,
    /// Whether the threads may go home.
    closed: bool,
}

struct Job(*mut (dyn FnMut() + Send));

// SAFETY: the job is called by one thread, before the `join` that made it returns.
unsafe impl Send for Job {}

loom::lazy_static! {
    static ref POOL: Mutex<Pool> = Mutex::new(Pool::default());
}

/// Takes job number `own` where it is there, else the oldest or the newest, and runs it; whether there was one.
fn work(own: Option<usize>) -> bool {
    let (number, job) = {
        let mut pool = POOL.lock().unwrap();
        let Some(last) = pool.jobs.len().checked_sub(1) else { return false };
        let others = if NEWEST_FIRST.get() { last } else { 0 };
        let at = pool.jobs.iter().position(|&(number, _)| Some(number) == own).unwrap_or(others);
        pool.jobs.remove(at)
    };
    // SAFETY: `join` waits until the job has ended.
    unsafe { (*job.0)() };
    POOL.lock().unwrap().ended[number] = true;
    true
}

/// Runs both, the second maybe on another thread of the pool; whoever waits takes other jobs of the pool meanwhile.
pub fn join(here: impl FnOnce() + Send, beside: impl FnOnce() + Send) {
    let mut panic: Option<Box<dyn Any + Send>> = None;
    let mut beside = Some(beside);
    let mut job = || panic = catch_unwind(AssertUnwindSafe(beside.take().expect("a job runs once"))).err();
    let job: &mut (dyn FnMut() + Send) = &mut job;
    // SAFETY: the lifetime is forgotten; the job has ended when this returns.
    let job: *mut (dyn FnMut() + Send) = unsafe { std::mem::transmute(job) };
    let number = {
        let mut pool = POOL.lock().unwrap();
        let number = pool.ended.len();
        pool.ended.push(false);
        pool.jobs.push((number, Job(job)));
        number
    };
    let first = catch_unwind(AssertUnwindSafe(here)).err();
    while !POOL.lock().unwrap().ended[number] {
        if !work(Some(number)) {
            yield_now();
        }
    }
    if let Some(panic) = first.or(panic) {
        resume_unwind(panic);
    }
}

/// A thread of the pool that has nothing else to do.
pub fn serve() {
    while !POOL.lock().unwrap().closed {
        if !work(None) {
            yield_now();
        }
    }
}

/// Lets the pool's threads go home.
pub fn close() {
    POOL.lock().unwrap().closed = true;
}
