//! What the crew is made of: atomics, a slot, the pool's `join`, the clock. `crates/crew-model` has others in their place.

use std::cell::{Cell, UnsafeCell};
use std::hint::spin_loop;
use std::thread::yield_now;
use std::time::{Duration, Instant};

pub use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
pub use std::sync::{Mutex, PoisonError};

/// Runs both, the second maybe on another thread of the pool; whoever waits takes other jobs of the pool meanwhile.
pub fn join(here: impl FnOnce() + Send, beside: impl FnOnce() + Send) {
    rayon::join(here, beside);
}

/// What threads write and read in turn.
#[derive(Debug)]
pub struct Slot<T>(UnsafeCell<T>);

impl<T> Slot<T> {
    pub fn new(value: T) -> Self {
        Slot(UnsafeCell::new(value))
    }

    /// Calls `read` with the place: nobody may write meanwhile.
    pub fn with<R>(&self, read: impl FnOnce(*const T) -> R) -> R {
        read(self.0.get())
    }

    /// Calls `write` with the place: nobody else may use it meanwhile.
    pub fn with_mut<R>(&self, write: impl FnOnce(*mut T) -> R) -> R {
        write(self.0.get())
    }
}

thread_local! {
    /// Whether the thread is inside a run: leads one, or helps one.
    pub static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Lets time pass in turn number `turn` of a wait: at first without giving up the processor.
pub fn pause(turn: usize) {
    if turn.is_multiple_of(128) { yield_now() } else { spin_loop() }
}

/// How long a helper stays without a task: longer than the steps of a plan are apart, and than most tasks of the others
/// that it has to wait for.
const PATIENCE: Duration = Duration::from_millis(10);
/// Turns between two looks at the clock.
const CLOCK: usize = 1024;

/// Of a helper that has had no task since it was made.
pub struct Patience(Instant);

impl Patience {
    pub fn new() -> Self {
        Patience(Instant::now())
    }

    /// Whether it has come to its end; asked in every turn.
    pub fn is_over(&self, turn: usize) -> bool {
        turn.is_multiple_of(CLOCK) && self.0.elapsed() > PATIENCE
    }
}
