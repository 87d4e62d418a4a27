//! What `Parallel` promises, kept by `Rayon` on pools of any size: each task once, on the pool's threads, and a return in
//! the end.
#![cfg(feature = "rayon")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::abort;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread::{self, sleep, yield_now};
use std::time::{Duration, Instant};

use rayon::{ThreadPool, ThreadPoolBuilder};
use sepconv::parallel::{Parallel, Rayon, Serial};

/// Runs `test`; ends the process where it takes more than a minute.
fn watched(name: &'static str, test: impl FnOnce()) {
    let (alive, watch) = channel::<()>();
    thread::spawn(move || {
        if watch.recv_timeout(Duration::from_secs(60)) == Err(RecvTimeoutError::Timeout) {
            eprintln!("{name} did not end within a minute");
            abort();
        }
    });
    test();
    drop(alive);
}

fn pool(threads: usize) -> Arc<ThreadPool> {
    Arc::new(ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool"))
}

/// Whether `done` comes true within `time`.
fn within(time: Duration, done: impl Fn() -> bool) -> bool {
    let start = Instant::now();
    while !done() {
        if start.elapsed() > time {
            return false;
        }
        yield_now();
    }
    true
}

/// How often each task ran.
struct Counts(Vec<AtomicUsize>);

impl Counts {
    fn new(tasks: usize) -> Self {
        Counts((0..tasks).map(|_| AtomicUsize::new(0)).collect())
    }

    fn count(&self, task: usize) {
        self.0[task].fetch_add(1, Ordering::Relaxed);
    }

    fn assert_each(&self, times: usize, context: &str) {
        let counts: Vec<_> = self.0.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        assert_eq!(counts, vec![times; counts.len()], "{context}");
    }
}

/// Enters, and counts how often the work was called.
fn enter(parallel: &dyn Parallel, tasks: usize, work: impl Fn() + Sync) {
    let calls = AtomicUsize::new(0);
    parallel.enter(tasks, &mut || {
        calls.fetch_add(1, Ordering::Relaxed);
        work();
    });
    assert_eq!(calls.into_inner(), 1, "the work of enter({tasks}, ..)");
}

/// Fewer tasks than threads, as many, and more; none and one; inside `enter` and outside.
#[test]
fn each_task_runs_once() {
    watched("each_task_runs_once", || {
        for threads in 1..=4 {
            let pool = pool(threads);
            for tasks in [0, 1, 2, 3, 4, 5, 64] {
                let parallels: [&dyn Parallel; 2] = [&Serial, &Rayon::new(pool.clone())];
                for (parallel, context) in parallels.into_iter().zip(["serial", "rayon"]) {
                    let context = format!("{context}: {tasks} tasks on {threads} threads");
                    let counts = Counts::new(tasks);
                    parallel.run(tasks, &|task| counts.count(task));
                    counts.assert_each(1, &format!("{context}, outside"));
                    enter(parallel, tasks, || (0..5).for_each(|_| parallel.run(tasks, &|task| counts.count(task))));
                    counts.assert_each(6, &format!("{context}, inside"));
                }
            }
        }
    });
}

#[test]
fn the_work_of_no_tasks_is_done() {
    watched("the_work_of_no_tasks_is_done", || {
        for threads in 1..=3 {
            let pool = pool(threads);
            let parallels: [&dyn Parallel; 2] = [&Serial, &Rayon::new(pool.clone())];
            for parallel in parallels {
                enter(parallel, 0, || parallel.run(0, &|task| panic!("task {task} of none")));
                // The run after it has its tasks.
                let counts = Counts::new(3);
                enter(parallel, 3, || parallel.run(3, &|task| counts.count(task)));
                counts.assert_each(1, "after none");
            }
        }
    });
}

#[test]
fn tasks_run_on_the_threads_of_the_pool() {
    watched("tasks_run_on_the_threads_of_the_pool", || {
        for threads in 1..=3 {
            let pool = pool(threads);
            let parallel = Rayon::new(pool.clone());
            let on_pool = |_| assert!(pool.current_thread_index().is_some_and(|index| index < threads));
            for tasks in [1, 2, 9] {
                parallel.run(tasks, &on_pool);
                enter(&parallel, tasks, || {
                    on_pool(0);
                    parallel.run(tasks, &on_pool);
                });
                // From a thread of the pool, with no way to another.
                pool.install(|| {
                    let index = pool.current_thread_index();
                    parallel.run(tasks, &on_pool);
                    enter(&parallel, tasks, || assert_eq!(pool.current_thread_index(), index));
                });
            }
        }
    });
}

/// Rounds of which one has to show that threads share the tasks: a thread that is busy elsewhere is not waited for.
const ROUNDS: usize = 20;
const ROUND: Duration = Duration::from_secs(2);

/// Two tasks that wait for each other are both running at once, and so on the second run of the same `enter`.
#[test]
fn two_threads_share_the_tasks() {
    watched("two_threads_share_the_tasks", || {
        let pool = pool(2);
        let parallel = Rayon::new(pool.clone());
        let round = || {
            let met = AtomicUsize::new(0);
            enter(&parallel, 2, || {
                for _ in 0..2 {
                    let (begun, ended) = (AtomicUsize::new(0), AtomicUsize::new(0));
                    parallel.run(2, &|_| {
                        begun.fetch_add(1, Ordering::SeqCst);
                        if within(ROUND / 4, || begun.load(Ordering::SeqCst) == 2 && ended.load(Ordering::SeqCst) == 0)
                        {
                            met.fetch_add(1, Ordering::Relaxed);
                        }
                        sleep(Duration::from_millis(2));
                        ended.fetch_add(1, Ordering::SeqCst);
                    });
                    assert_eq!(ended.load(Ordering::SeqCst), 2, "`run` returned before its tasks");
                }
            });
            met.into_inner() == 4
        };
        assert!((0..ROUNDS).any(|_| round()), "no two tasks were ever running at once");
    });
}

#[test]
fn a_second_run_does_without_the_first_ones_threads() {
    watched("a_second_run_does_without_the_first_ones_threads", || {
        // Two threads for the first run, which waits for the second, and one for that.
        let pool = pool(3);
        let parallel = Rayon::new(pool.clone());
        let (first, second) = (Counts::new(2), Counts::new(2));
        let (leads, over) = (AtomicBool::new(false), AtomicBool::new(false));
        thread::scope(|scope| {
            scope.spawn(|| {
                enter(&parallel, 2, || {
                    parallel.run(2, &|task| {
                        leads.store(true, Ordering::SeqCst);
                        assert!(
                            within(Duration::from_secs(30), || over.load(Ordering::SeqCst)),
                            "the second run waits"
                        );
                        first.count(task);
                    });
                });
            });
            assert!(within(Duration::from_secs(30), || leads.load(Ordering::SeqCst)));
            enter(&parallel, 2, || (0..3).for_each(|_| parallel.run(2, &|task| second.count(task))));
            second.assert_each(3, "the second run");
            first.assert_each(0, "the first run meanwhile");
            over.store(true, Ordering::SeqCst);
        });
        first.assert_each(1, "the first run");
        // The crew is free again.
        enter(&parallel, 2, || parallel.run(2, &|task| first.count(task)));
        first.assert_each(2, "the third run");
    });
}

#[test]
fn runs_at_the_same_time_mix_no_tasks() {
    watched("runs_at_the_same_time_mix_no_tasks", || {
        for threads in 1..=3 {
            let pool = pool(threads);
            let parallels = [Rayon::new(pool.clone()), Rayon::new(pool.clone())];
            thread::scope(|scope| {
                for run in 0..4 {
                    let parallel = &parallels[run % 2];
                    scope.spawn(move || {
                        let counts = Counts::new(3 + run);
                        for _ in 0..5 {
                            enter(parallel, 3 + run, || {
                                (0..5).for_each(|_| parallel.run(3 + run, &|task| counts.count(task)));
                            });
                            parallel.run(3 + run, &|task| counts.count(task));
                        }
                        counts.assert_each(30, &format!("run {run} on {threads} threads"));
                    });
                }
            });
        }
    });
}

/// Threads that have to wait for a core while others ask for tasks.
#[test]
fn more_threads_than_cores() {
    watched("more_threads_than_cores", || {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let parallel = Rayon::new(pool(4 * cores + 1));
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let counts = Counts::new(40);
                    for _ in 0..10 {
                        enter(&parallel, 40, || (0..5).for_each(|_| parallel.run(40, &|task| counts.count(task))));
                    }
                    counts.assert_each(50, "on more threads than cores");
                });
            }
        });
    });
}

/// A task runs tasks, on its own `Rayon` and on another of the same pool; a run is entered inside a run.
#[test]
fn runs_nest() {
    watched("runs_nest", || {
        for threads in 1..=3 {
            let pool = pool(threads);
            let (outer, other) = (Rayon::new(pool.clone()), Rayon::new(pool.clone()));
            for inner in [&outer, &other] {
                let counts = Counts::new(3);
                let nested = |_| inner.run(3, &|task| counts.count(task));
                outer.run(4, &nested);
                enter(&outer, 4, || outer.run(4, &nested));
                counts.assert_each(8, &format!("tasks on {threads} threads"));
                enter(&outer, 4, || {
                    enter(inner, 3, || nested(0));
                    outer.run(4, &|_| enter(inner, 3, || nested(0)));
                    // The outer run still has its tasks to itself.
                    outer.run(3, &|task| counts.count(task));
                });
                counts.assert_each(14, &format!("runs on {threads} threads"));
            }
        }
    });
}

/// Lets the tasks of one run panic on the thread that leads it, or on another one, until that has happened.
fn a_panic_on(leader: bool) {
    let pool = pool(2);
    let parallel = Rayon::new(pool.clone());
    let round = || {
        let (begun, ended, panicked) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
        let run = || {
            parallel.enter(2, &mut || {
                let leads = pool.current_thread_index();
                parallel.run(2, &|_| {
                    begun.fetch_add(1, Ordering::SeqCst);
                    let here = pool.current_thread_index() == leads;
                    // Both have begun, so that there is one on each thread.
                    let both = within(ROUND / 2, || begun.load(Ordering::SeqCst) == 2);
                    if both && here == leader && !panicked.swap(true, Ordering::SeqCst) {
                        panic!("planted");
                    }
                    // Longer than the panic takes to unwind.
                    sleep(Duration::from_millis(20));
                    ended.fetch_add(1, Ordering::SeqCst);
                });
            });
        };
        let result = catch_unwind(AssertUnwindSafe(run));
        let panicked = panicked.into_inner();
        assert_eq!(result.is_err(), panicked, "a panic must come out of the run");
        let ended = ended.into_inner() + usize::from(panicked);
        assert_eq!(begun.into_inner(), ended, "a task is still running");
        // The next run knows nothing of it.
        let counts = Counts::new(5);
        enter(&parallel, 5, || (0..2).for_each(|_| parallel.run(5, &|task| counts.count(task))));
        counts.assert_each(2, "after a panic");
        panicked
    };
    assert!((0..ROUNDS).any(|_| round()), "no task was running on that thread");
}

#[test]
fn a_panic_on_the_leading_thread_ends_the_run() {
    watched("a_panic_on_the_leading_thread_ends_the_run", || a_panic_on(true));
}

#[test]
fn a_panic_on_another_thread_ends_the_run() {
    watched("a_panic_on_another_thread_ends_the_run", || a_panic_on(false));
}

/// Whether in `enter` or outside, with tasks left that nobody has begun.
#[test]
fn a_panic_comes_out_of_the_run() {
    watched("a_panic_comes_out_of_the_run", || {
        for threads in 1..=3 {
            let pool = pool(threads);
            let parallel = Rayon::new(pool.clone());
            for planted in [0, 3, 7] {
                let task = |task| assert!(task != planted, "planted");
                let outside = || parallel.run(8, &task);
                let inside = || parallel.enter(8, &mut || parallel.run(8, &task));
                let work = || parallel.enter(8, &mut || panic!("planted"));
                assert!(catch_unwind(AssertUnwindSafe(outside)).is_err(), "{threads} threads, outside");
                assert!(catch_unwind(AssertUnwindSafe(inside)).is_err(), "{threads} threads, inside");
                assert!(catch_unwind(AssertUnwindSafe(work)).is_err(), "{threads} threads, the work");
                let counts = Counts::new(8);
                enter(&parallel, 8, || parallel.run(8, &|task| counts.count(task)));
                counts.assert_each(1, &format!("{threads} threads"));
            }
        }
    });
}

/// Work that catches what its tasks panic with goes on: of the tasks that follow none has panicked, nor does the
/// panic come out again when the work is done, whichever thread it was on.
#[test]
fn a_panic_that_was_caught_is_over() {
    watched("a_panic_that_was_caught_is_over", || {
        for threads in (1..=3).cycle().take(60) {
            let pool = pool(threads);
            let parallel = Rayon::new(pool);
            let counts = Counts::new(8);
            enter(&parallel, 8, || {
                for planted in 0..8 {
                    let panics = || parallel.run(8, &|task| assert!(task != planted, "planted"));
                    let caught = catch_unwind(AssertUnwindSafe(panics)).expect_err("a panic");
                    assert_eq!(caught.downcast_ref(), Some(&"planted"), "{threads} threads, task {planted}");
                    parallel.run(8, &|task| counts.count(task));
                }
            });
            counts.assert_each(8, &format!("{threads} threads"));
        }
    });
}

/// A pool that is given away lives as long as its `Rayon`, on whatever thread that is.
#[test]
fn a_pool_may_be_given_away() {
    watched("a_pool_may_be_given_away", || {
        let parallel = Rayon::new(ThreadPoolBuilder::new().num_threads(2).build().expect("a pool"));
        assert_eq!(parallel.threads(), 2);
        let parallel = thread::spawn(move || {
            let counts = Counts::new(5);
            enter(&parallel, 5, || parallel.run(5, &|task| counts.count(task)));
            counts.assert_each(1, "on another thread");
            parallel
        });
        let parallel = parallel.join().expect("no panic");
        let counts = Counts::new(5);
        parallel.run(5, &|task| counts.count(task));
        counts.assert_each(1, "back again");
        // One that is shared outlives the caller's handle.
        let shared = pool(3);
        let parallel = Rayon::new(shared.clone());
        drop(shared);
        enter(&parallel, 5, || parallel.run(5, &|task| counts.count(task)));
        counts.assert_each(2, "without the caller's handle");
    });
}
