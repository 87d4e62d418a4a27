//! How fast a kernel is on one large case.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use sepconv_check::{Case, Op, Padding, Scope, Subject};

/// The best of some runs.
pub struct Bench {
    pub case: Case,
    pub runs: usize,
    pub nanoseconds: u64,
}

impl Bench {
    /// Two operations a product, those that fall on padding included.
    pub fn gflops(&self) -> f64 {
        let products = self.case.output().len() * self.case.depth();
        2.0 * products as f64 / self.nanoseconds.max(1) as f64
    }
}

/// How long to measure.
const BUDGET: Duration = Duration::from_millis(500);

/// Runs the kernel in this process on a large case of its first window, stride, dilation and number of groups; `None`
/// where it does not take that.
pub fn measure(kernel: &impl Subject, scope: &Scope) -> Option<Bench> {
    let base = *scope.bases().first()?;
    let base = match base.op {
        Op::Pointwise => Case { height: 14, width: 14, ..base.channels(256, 256) },
        Op::Depthwise => Case { height: 28, width: 28, ..base.channels(1, 256) },
        Op::Conv => Case { height: 56, width: 56, ..base.channels(16, 32) },
    };
    // Large windows need a large image.
    let Padding { top, bottom, left, right } = base.padding;
    let (rows, columns) = base.extent();
    let height = base.height.max(rows.saturating_sub(top + bottom));
    let case = Case { height, width: base.width.max(columns.saturating_sub(left + right)), ..base };
    let operands = case.operands();
    let mut output = vec![0.0; case.output().extent()];
    let mut run = || {
        let run = || kernel.run(&case, &operands.input, &operands.weights, &operands.bias, &mut output);
        let start = Instant::now();
        // What unwinds is a refusal; the output is not looked at.
        catch_unwind(AssertUnwindSafe(run)).ok().map(|()| start.elapsed())
    };
    run()?;
    let (begin, mut runs, mut best) = (Instant::now(), 0, Duration::MAX);
    while runs < 5 || begin.elapsed() < BUDGET {
        best = best.min(run()?);
        runs += 1;
    }
    Some(Bench { case, runs, nanoseconds: best.as_nanos() as u64 })
}
