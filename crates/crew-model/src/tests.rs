use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use loom::cell::UnsafeCell;
use loom::model::Builder;
use loom::sync::Arc;
use loom::thread;

use crate::crew::{Crew, halve};
use crate::sync::{NEWEST_FIRST, TURNS, close, join, serve};

loom::thread_local! {
    /// The number of the pool's thread that this is, from 1 on.
    static NUMBER: Cell<usize> = Cell::new(1);
}

fn number() -> usize {
    NUMBER.with(Cell::get)
}

/// What tasks write without synchronisation: loom finds every race.
struct Counts(Vec<UnsafeCell<usize>>);

// SAFETY: whether accesses are ordered is what loom checks.
unsafe impl Sync for Counts {}

impl Counts {
    fn new(tasks: usize) -> Self {
        Counts((0..tasks).map(|_| UnsafeCell::new(0)).collect())
    }

    fn count(&self, task: usize) {
        // SAFETY: loom checks that nobody else is here.
        self.0[task].with_mut(|count| unsafe { *count += 1 });
    }

    fn assert_each(&self, times: usize) {
        // SAFETY: as above.
        self.0.iter().for_each(|count| count.with(|count| assert_eq!(unsafe { *count }, times)));
    }
}

/// Never gives up.
const ENDLESS: usize = usize::MAX;

/// Tries `first` on thread 1 of a pool of two in every order with `second` on thread 2, which then serves the pool; helpers
/// stay for `turns` without a task.
fn model(turns: usize, first: impl Fn(&Crew) + Send + Sync + 'static, second: impl Fn(&Crew) + Send + Sync + 'static) {
    TURNS.set(turns);
    let mut builder = Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(3));
    builder.max_branches = 5_000;
    let (first, second) = (std::sync::Arc::new(first), std::sync::Arc::new(second));
    for newest_first in [false, true] {
        NEWEST_FIRST.set(newest_first);
        let (first, second) = (first.clone(), second.clone());
        builder.check(move || {
            let crew = Arc::new(Crew::new());
            let (other, second) = (crew.clone(), second.clone());
            let helper = thread::spawn(move || {
                NUMBER.with(|number| number.set(2));
                second(&other);
                serve();
            });
            first(&crew);
            close();
            helper.join().unwrap();
        });
    }
}

fn nothing(_: &Crew) {}

/// Enters with so many helpers and runs `phases` times each of two tasks.
fn two_tasks(crew: &Crew, helpers: usize, phases: usize) {
    let counts = Counts::new(2);
    crew.enter(number(), helpers, &mut || {
        for phase in 0..phases {
            crew.run(number(), 2, &|task| counts.count(task));
            counts.assert_each(phase + 1);
        }
    });
    counts.assert_each(phases);
}

#[test]
fn each_task_runs_once_and_is_seen() {
    model(ENDLESS, |crew| two_tasks(crew, 1, 2), nothing);
}

#[test]
fn helpers_may_give_up_at_any_moment() {
    model(1, |crew| two_tasks(crew, 1, 2), nothing);
}

#[test]
fn a_second_leader_does_without_the_crew_or_comes_after() {
    model(ENDLESS, |crew| two_tasks(crew, 1, 1), |crew| two_tasks(crew, 1, 1));
}

/// The lock of the model's pool orders more than rayon does: here the crew alone orders one run before the next.
#[test]
fn one_leader_after_the_other_without_a_pool() {
    model(ENDLESS, |crew| two_tasks(crew, 0, 1), |crew| two_tasks(crew, 0, 1));
}

#[test]
fn a_panic_comes_out_when_all_tasks_have_ended() {
    model(
        ENDLESS,
        |crew| {
            let counts = Counts::new(2);
            let task = |task| {
                counts.count(task);
                // Without the hook, which tells of it every time.
                if task == 1 {
                    std::panic::resume_unwind(Box::new("planted"));
                }
            };
            let run = || crew.enter(number(), 1, &mut || crew.run(number(), 2, &task));
            let panic = catch_unwind(AssertUnwindSafe(run)).unwrap_err();
            assert_eq!(panic.downcast_ref(), Some(&"planted"));
            counts.assert_each(1);
            // The crew is free again.
            two_tasks(crew, 1, 1);
        },
        nothing,
    );
}

/// Who waits inside a task may take the job of a helper, which would wait for that task.
#[test]
fn tasks_may_run_tasks() {
    model(
        ENDLESS,
        |crew| {
            let counts = Counts::new(4);
            crew.enter(number(), 1, &mut || {
                crew.run(number(), 2, &|outer| crew.run(number(), 2, &|inner| counts.count(2 * outer + inner)));
            });
            counts.assert_each(1);
        },
        nothing,
    );
}

/// As above, where a half that another thread took waits in its turn.
#[test]
fn halves_of_tasks_may_wait() {
    model(
        ENDLESS,
        |crew| {
            let counts = Counts::new(5);
            crew.enter(number(), 1, &mut || {
                crew.run(number(), 2, &|outer| match outer {
                    0 => crew.run(number(), 4, &|inner| counts.count(inner)),
                    _ => counts.count(4),
                });
            });
            counts.assert_each(1);
        },
        nothing,
    );
}

/// A job of somebody else's that waits, on a thread that is in no run as far as it knows, and for which a task waits.
#[test]
fn tasks_may_wait_for_jobs_that_wait() {
    model(
        1,
        |crew| {
            let counts = Counts::new(2);
            crew.enter(number(), 1, &mut || {
                crew.run(number(), 2, &|task| match task {
                    0 => join(|| (), || join(|| (), || counts.count(0))),
                    task => counts.count(task),
                });
            });
            counts.assert_each(1);
        },
        nothing,
    );
}

#[test]
fn halves_are_seen_by_who_waits() {
    model(
        ENDLESS,
        |_| {
            let counts = Counts::new(2);
            halve(0..2, &|task| counts.count(task));
            counts.assert_each(1);
        },
        nothing,
    );
}
