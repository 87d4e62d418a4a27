//! Runs that wait inside runs, on few threads, must end: whoever waits on a pool may be given the job of a helper.
#![cfg(feature = "rayon")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use sepconv::parallel::{Parallel, Rayon};

/// How long each test repeats itself: `SEPCONV_STRESS_SECONDS`, or a second.
fn duration() -> Duration {
    let seconds = std::env::var("SEPCONV_STRESS_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs_f64(seconds.unwrap_or(1.0))
}

/// Repeats `round` until the time is over; ends the process where a round does not return for a minute.
fn repeat(name: &'static str, mut round: impl FnMut()) {
    let (alive, watched) = channel();
    let watchdog = std::thread::spawn(move || {
        loop {
            match watched.recv_timeout(Duration::from_secs(60)) {
                Ok(()) => {}
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    eprintln!("{name}: a run did not end within a minute");
                    std::process::abort();
                }
            }
        }
    });
    let (start, mut rounds) = (Instant::now(), 0);
    while rounds == 0 || start.elapsed() < duration() {
        round();
        rounds += 1;
        alive.send(()).expect("the watchdog listens");
    }
    drop(alive);
    watchdog.join().expect("the watchdog ends");
    println!("{name}: {rounds} rounds");
}

fn pool(threads: usize) -> Arc<rayon::ThreadPool> {
    Arc::new(rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool"))
}

/// Runs `round` for one to four threads, and expects it to count `tasks` tasks each time.
fn counted(
    name: &'static str,
    tasks: usize,
    round: impl Fn(&Arc<rayon::ThreadPool>, &Rayon, &(dyn Fn(usize) + Sync)) + Sync,
) {
    let pools: Vec<_> = (1..=4).map(pool).collect();
    let parallels: Vec<_> = pools.iter().cloned().map(Rayon::new).collect();
    repeat(name, || {
        for (pool, parallel) in pools.iter().zip(&parallels) {
            let count = AtomicUsize::new(0);
            round(pool, parallel, &|_| {
                count.fetch_add(1, Ordering::Relaxed);
            });
            assert_eq!(count.into_inner(), tasks, "{name}: {parallel:?}");
        }
    });
}

#[test]
fn tasks_that_install_on_another_pool() {
    let other = pool(2);
    counted("tasks that install on another pool", 20 * 3, |_, parallel, count| {
        let phase = |_| parallel.run(3, &|task| other.install(|| count(task)));
        parallel.enter(3, &mut || (0..20).for_each(phase));
    });
}

#[test]
fn an_observer_that_installs_on_another_pool() {
    let other = pool(1);
    counted("an observer that installs on another pool", 20 * 3 + 20, |_, parallel, count| {
        parallel.enter(3, &mut || {
            for phase in 0..20 {
                parallel.run(3, count);
                other.install(|| count(phase));
            }
        });
    });
}

#[test]
fn tasks_that_join() {
    counted("tasks that join", 20 * 4 * 4, |_, parallel, count| {
        let four = |task: usize| {
            rayon::join(|| rayon::join(|| count(task), || count(task)), || rayon::join(|| count(task), || count(task)));
        };
        parallel.enter(4, &mut || (0..20).for_each(|_| parallel.run(4, &four)));
    });
}

#[test]
fn runs_inside_runs() {
    counted("runs inside runs", 10 * 3 * 3 * 3, |_, parallel, count| {
        let inner = |_| parallel.enter(3, &mut || parallel.run(3, count));
        let outer = |_| parallel.run(3, &inner);
        parallel.enter(3, &mut || (0..10).for_each(|_| parallel.run(3, &outer)));
    });
}

#[test]
fn two_crews_inside_each_other() {
    counted("two crews inside each other", 10 * 3 * 3, |pool, parallel, count| {
        let second = Rayon::new(pool.clone());
        let inner = |_| second.enter(3, &mut || second.run(3, count));
        parallel.enter(3, &mut || (0..10).for_each(|_| parallel.run(3, &inner)));
    });
}

#[test]
fn runs_that_come_late_from_outside() {
    counted("runs that come late from outside", 3 * 10 * 9, |_, parallel, count| {
        let nested = |_| parallel.run(3, count);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| parallel.enter(3, &mut || (0..10).for_each(|_| parallel.run(3, &nested))));
            }
        });
    });
}

#[test]
fn runs_among_foreign_jobs() {
    counted("runs among foreign jobs", 10 * 9 + 10, |pool, parallel, count| {
        let nested = |_| rayon::join(|| parallel.run(3, count), || ());
        let runs = || {
            parallel.enter(3, &mut || {
                (0..10).for_each(|_| {
                    parallel.run(3, &|task| {
                        nested(task);
                    })
                })
            })
        };
        pool.install(|| rayon::join(|| (0..10).for_each(|task| rayon::join(|| count(task), || ()).0), runs));
    });
}
