//! The caller's threads.

use std::ffi::c_void;
use std::hint::spin_loop;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::yield_now;

use super::pointer::{null, optional};
use super::status::{Checked, text_of};
use crate::parallel::{Parallel, Serial};

/// One task: to be called with `argument` as it was given.
pub type sepconv_task = Option<unsafe extern "C" fn(argument: *mut c_void, index: usize)>;

/// The caller's threads. The library starts none of its own; where a pointer to these is null, the calling thread does
/// everything. Any number of runs at the same time may share one of these, where its functions allow it.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct sepconv_threads {
    /// Handed to both functions.
    pub context: *mut c_void,
    /// How many threads there are, the calling one among them: a plan is cut for as many. Asked when a plan is made; 0 is
    /// taken as 1, more than 65536 as 65536.
    pub count: Option<unsafe extern "C" fn(context: *mut c_void) -> usize>,
    /// Calls `task(argument, 0)` to `task(argument, tasks - 1)`, each once, in any order, on any threads. Every call of
    /// `task` must have returned before this returns: `argument` is memory that is used after its end by a later one. It
    /// must not be left by a C++ exception or by `longjmp`. It is called many times a run, one after the other, on the
    /// thread that called `sepconv_plan_run`; two runs at the same time that share these threads are in it at the same
    /// time. Which thread runs a task never changes a bit.
    pub parallel_for:
        Option<unsafe extern "C" fn(context: *mut c_void, tasks: usize, task: sepconv_task, argument: *mut c_void)>,
}

/// The caller's functions as a `Parallel`.
pub(super) struct Caller {
    context: *mut c_void,
    count: unsafe extern "C" fn(*mut c_void) -> usize,
    parallel_for: unsafe extern "C" fn(*mut c_void, usize, sepconv_task, *mut c_void),
}

// SAFETY: the context goes nowhere but to the caller's own functions, from the thread that called the library.
unsafe impl Sync for Caller {}

/// Whoever runs the tasks of one call.
pub(super) enum Threads {
    Caller(Caller),
    Serial,
}

impl Threads {
    /// The threads at `pointer`, the calling one alone where it is null.
    ///
    /// # Safety
    /// By the contract of the interface.
    pub unsafe fn read(pointer: *const sepconv_threads) -> Checked<Self> {
        // SAFETY: by this function's own contract.
        let Some(&sepconv_threads { context, count, parallel_for }) = (unsafe { optional(pointer, "threads") })? else {
            return Ok(Threads::Serial);
        };
        Ok(Threads::Caller(Caller {
            context,
            count: count.ok_or_else(|| null("threads.count", "a function"))?,
            parallel_for: parallel_for.ok_or_else(|| null("threads.parallel_for", "a function"))?,
        }))
    }

    pub fn parallel(&self) -> &dyn Parallel {
        match self {
            Threads::Caller(caller) => caller,
            Threads::Serial => &Serial,
        }
    }
}

/// The tasks of one call. Each call of the caller's takes the next one, whatever its index: none runs twice.
struct Job<'a> {
    task: &'a (dyn Fn(usize) + Sync),
    tasks: usize,
    begun: AtomicUsize,
    ended: AtomicUsize,
    /// What the first task that panicked said.
    panicked: OnceLock<String>,
}

impl Job<'_> {
    /// Takes the next task, if there is one, and runs it, unless one has panicked.
    fn next(&self) -> bool {
        let take = |begun: usize| (begun < self.tasks).then_some(begun + 1);
        let Ok(index) = self.begun.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) else { return false };
        if self.panicked.get().is_none() {
            // A panic ends here: the frames below may be C.
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (self.task)(index))) {
                let _ = self.panicked.set(text_of(panic));
            }
        }
        self.ended.fetch_add(1, Ordering::Release);
        true
    }
}

/// What the caller's threads call.
///
/// # Safety
/// `argument` must be the address of a job that lives.
unsafe extern "C" fn next(argument: *mut c_void, _index: usize) {
    // SAFETY: by this function's own contract.
    unsafe { &*argument.cast::<Job<'_>>() }.next();
}

// SAFETY: a job gives out each task once, and `run` returns, or unwinds, when all have ended.
unsafe impl Parallel for Caller {
    fn threads(&self) -> usize {
        // SAFETY: the caller's function with its context.
        unsafe { (self.count)(self.context) }.max(1)
    }

    fn enter(&self, _: usize, work: &mut (dyn FnMut() + Send)) {
        work();
    }

    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        let (begun, ended) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let job = Job { task, tasks, begun, ended, panicked: OnceLock::new() };
        if tasks > 1 {
            // SAFETY: the caller's function with its context; it calls `next` with the job no later than it returns.
            unsafe { (self.parallel_for)(self.context, tasks, Some(next), (&raw const job).cast_mut().cast()) };
        }
        // What the caller's threads have left.
        while job.next() {}
        while job.ended.load(Ordering::Acquire) < tasks {
            spin_loop();
            yield_now();
        }
        if let Some(text) = job.panicked.into_inner() {
            // The hook of panics has told of it already.
            resume_unwind(Box::new(format!("a task panicked: {text}")));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::CStr;
    use std::ptr;

    use super::*;
    use crate::capi::status::{guard, sepconv_last_message, sepconv_status};

    unsafe extern "C" fn two(_: *mut c_void) -> usize {
        2
    }

    /// Half of the tasks on another thread, or, without a context, none at all.
    unsafe extern "C" fn halves(context: *mut c_void, tasks: usize, task: sepconv_task, argument: *mut c_void) {
        if context.is_null() {
            return;
        }
        let (task, argument) = (task.unwrap(), argument.expose_provenance());
        // SAFETY: as the library asks.
        let call = |index| unsafe { task(ptr::with_exposed_provenance_mut(argument), index) };
        std::thread::scope(|scope| {
            scope.spawn(|| (0..tasks / 2).for_each(call));
            (tasks / 2..tasks).for_each(call);
        });
    }

    #[test]
    fn a_run_ends_with_what_a_task_that_panicked_said() {
        for context in [ptr::null_mut(), ptr::dangling_mut::<u8>().cast()] {
            let threads = sepconv_threads { context, count: Some(two), parallel_for: Some(halves) };
            // SAFETY: the struct lives.
            let threads = unsafe { Threads::read(&threads) }.unwrap();
            for tasks in [1, 2, 7] {
                let (running, after) = (AtomicUsize::new(0), AtomicUsize::new(0));
                let task = |index: usize| {
                    running.fetch_add(1, Ordering::Relaxed);
                    if index == tasks / 2 {
                        running.fetch_sub(1, Ordering::Relaxed);
                        panic!("number {index} of {tasks}");
                    }
                    yield_now();
                    running.fetch_sub(1, Ordering::Relaxed);
                };
                let status = guard(|| {
                    let run = catch_unwind(AssertUnwindSafe(|| threads.parallel().run(tasks, &task)));
                    assert_eq!(running.load(Ordering::Relaxed), 0, "a task runs on");
                    run.unwrap_or_else(|panic| resume_unwind(panic));
                    after.fetch_add(1, Ordering::Relaxed);
                    Ok(())
                });
                assert_eq!((status, after.into_inner()), (sepconv_status::Panicked, 0));
                // SAFETY: the message ends in NUL, and no call fails meanwhile.
                let message = unsafe { CStr::from_ptr(sepconv_last_message()) }.to_str().unwrap();
                assert_eq!(message, format!("the library panicked: a task panicked: number {} of {tasks}", tasks / 2));
                // The next run begins anew.
                let sum = AtomicUsize::new(0);
                threads.parallel().run(tasks, &|index| _ = sum.fetch_add(index + 1, Ordering::Relaxed));
                assert_eq!(sum.into_inner(), tasks * (tasks + 1) / 2);
            }
        }
    }
}
