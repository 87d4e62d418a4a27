//! Kernels that may crash.

use crate::{Case, Scope, Subject};

/// A subject each of whose runs is a process of its own (on Linux; elsewhere it runs as it is): one that touches a guard
/// page, or runs for too long, is a failure like any other, which can be shrunk.
#[derive(Debug, Clone)]
pub struct Isolated<S> {
    subject: S,
    seconds: u32,
}

impl<S> Isolated<S> {
    /// At most 60 s a run.
    pub fn new(subject: S) -> Self {
        Isolated { subject, seconds: 60 }
    }

    /// At most `seconds` a run.
    pub fn within_seconds(self, seconds: u32) -> Self {
        Isolated { seconds, ..self }
    }
}

impl<S: Subject> Subject for Isolated<S> {
    fn run(&self, case: &Case, input: &[f32], weights: &[f32], bias: &[f32], output: &mut [f32]) {
        isolate(self.seconds, || self.subject.run(case, input, weights, bias, output));
    }

    fn run_with(
        &self,
        case: &Case,
        input: &[f32],
        weights: &[f32],
        bias: &[f32],
        residual: Option<&[f32]>,
        output: &mut [f32],
    ) {
        isolate(self.seconds, || self.subject.run_with(case, input, weights, bias, residual, output));
    }

    fn scope(&self) -> Scope {
        self.subject.scope()
    }

    fn supports(&self, case: &Case) -> bool {
        self.subject.supports(case)
    }
}

#[cfg(not(all(target_os = "linux", not(miri))))]
fn isolate(_seconds: u32, run: impl FnOnce()) {
    run();
}

/// Whether this process is a child, whose panics are reported by its status alone.
#[cfg(all(target_os = "linux", not(miri)))]
static IN_CHILD: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

/// Makes panics of children silent. The hook is set in the parent, since a child may find locks taken for good by threads
/// that it does not have.
#[cfg(all(target_os = "linux", not(miri)))]
fn silence_children() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !IN_CHILD.load(std::sync::atomic::Ordering::Relaxed) {
                before(panic);
            }
        }));
    });
}

/// Runs `run` in a child. What it writes to memory that is shared with children, as that of guarded buffers is, stays.
#[cfg(all(target_os = "linux", not(miri)))]
fn isolate(seconds: u32, run: impl FnOnce()) {
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
    use std::sync::atomic::Ordering;

    use crate::subject::{Refusal, refuse};

    const DONE: i32 = 0;
    const REFUSED: i32 = 3;
    const PANICKED: i32 = 4;
    let stopped = |why: String| -> ! { resume_unwind(Box::new(why)) };
    silence_children();
    // SAFETY: the child runs the kernel and ends by `_exit`; it neither returns from here nor runs what the parent's other
    // threads left half done, but for the allocator's locks, which the C library hands over whole.
    let child = unsafe { libc::fork() };
    match child {
        -1 => stopped("no process could be started to run it in".into()),
        0 => {
            // SAFETY: a timer of the child's own, whose signal ends it.
            unsafe { libc::alarm(seconds) };
            IN_CHILD.store(true, Ordering::Relaxed);
            let status = match catch_unwind(AssertUnwindSafe(run)) {
                Ok(()) => DONE,
                Err(payload) if payload.is::<Refusal>() => REFUSED,
                Err(_) => PANICKED,
            };
            // SAFETY: ends the child without running anything of the parent's.
            unsafe { libc::_exit(status) }
        }
        child => {
            let mut status = 0;
            // SAFETY: `status` is writable, `child` was started above.
            while unsafe { libc::waitpid(child, &mut status, 0) } == -1 {
                if std::io::Error::last_os_error().kind() != std::io::ErrorKind::Interrupted {
                    stopped("its process was lost".into());
                }
            }
            if libc::WIFSIGNALED(status) {
                stopped(match libc::WTERMSIG(status) {
                    libc::SIGSEGV | libc::SIGBUS => "touched memory outside its buffers (segmentation fault)".into(),
                    libc::SIGALRM => format!("still ran after {seconds} s"),
                    libc::SIGILL => "an instruction that this CPU lacks".into(),
                    signal => format!("ended by signal {signal}"),
                });
            }
            match libc::WEXITSTATUS(status) {
                DONE => {}
                REFUSED => refuse(),
                PANICKED => stopped("panicked".into()),
                status => stopped(format!("left its process with status {status}")),
            }
        }
    }
}
