//! A kernel under test.

use std::panic;

use crate::{Case, Scope};

/// A kernel under test. A function or closure of `run`'s arguments is one, with the default scope; [`Within`] gives it
/// another.
pub trait Subject {
    /// Computes `case` without a residual. Images lie in their slices as `case.input()` and `case.output()` say; weights
    /// are `outputs` x `inputs / groups` x taps, without gaps. Every buffer is as long as it must be, and what lies beside
    /// it may not be touched; the output is full of NaN.
    fn run(&self, case: &Case, input: &[f32], weights: &[f32], bias: &[f32], output: &mut [f32]);

    /// What is called for every case: as [`run`](Self::run) with the residual, if the case has one, which lies as
    /// `case.residual()` says. A kernel whose scope has residuals writes this one, and lets `run` call it with `None`; one
    /// that does not write it refuses residuals.
    fn run_with(
        &self,
        case: &Case,
        input: &[f32],
        weights: &[f32],
        bias: &[f32],
        residual: Option<&[f32]>,
        output: &mut [f32],
    ) {
        if residual.is_some() {
            refuse();
        }
        self.run(case, input, weights, bias, output);
    }

    /// The cases that it claims.
    fn scope(&self) -> Scope {
        Scope::default()
    }

    /// Whether it takes this case of its scope. A kernel that finds out only when it runs calls [`refuse`].
    fn supports(&self, case: &Case) -> bool {
        let _ = case;
        true
    }
}

impl<F: Fn(&Case, &[f32], &[f32], &[f32], &mut [f32])> Subject for F {
    fn run(&self, case: &Case, input: &[f32], weights: &[f32], bias: &[f32], output: &mut [f32]) {
        self(case, input, weights, bias, output);
    }
}

/// A subject with another scope.
#[derive(Debug, Clone)]
pub struct Within<S> {
    /// The cases that are asked of it.
    pub scope: Scope,
    /// The kernel.
    pub subject: S,
}

impl<S: Subject> Subject for Within<S> {
    fn run(&self, case: &Case, input: &[f32], weights: &[f32], bias: &[f32], output: &mut [f32]) {
        self.subject.run(case, input, weights, bias, output);
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
        self.subject.run_with(case, input, weights, bias, residual, output);
    }

    fn scope(&self) -> Scope {
        self.scope.clone()
    }

    fn supports(&self, case: &Case) -> bool {
        self.subject.supports(case)
    }
}

/// What a subject that refuses unwinds with.
pub(crate) struct Refusal;

/// Called inside a subject's run: it does not take this case. The case then counts neither as run nor as failed.
pub fn refuse() -> ! {
    panic::resume_unwind(Box::new(Refusal))
}
