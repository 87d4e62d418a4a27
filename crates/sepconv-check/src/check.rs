//! One case of one kernel.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::subject::Refusal;
use crate::{Case, Failure, Fault, Guarded, Rule, Subject, is_canary, shrink, spread};

/// What became of a case that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It ran, and its output is right.
    Passed,
    /// The kernel does not take it.
    Refused,
}

/// Runs `case` in guarded memory and compares. A case that is no convolution is refused.
pub fn check<S: Subject + ?Sized>(subject: &S, case: &Case, rule: Rule) -> Result<Outcome, Box<Failure>> {
    if !case.is_possible() || !subject.supports(case) {
        return Ok(Outcome::Refused);
    }
    let failed = |fault| Err(Box::new(Failure { case: *case, rule, fault, shrunk_from: None }));
    let operands = case.operands();
    let Case { guard, shift, .. } = *case;
    let target = case.output();
    let input = spread(&operands.input, &case.input(), guard, shift);
    let weights = Guarded::holding(&operands.weights, guard, shift);
    let bias = Guarded::holding(&operands.bias, guard, shift);
    let residual = operands.residual.as_ref().map(|residual| spread(residual, &case.residual(), guard, shift));
    let mut output = Guarded::new(target.extent(), guard, shift);

    let read: [(&str, Option<&Guarded>); 4] =
        [("input", Some(&input)), ("weights", Some(&weights)), ("bias", Some(&bias)), ("residual", residual.as_ref())];
    let before = read.map(|(name, buffer)| buffer.map(|buffer| (name, buffer, buffer.snapshot())));
    // The subject is only borrowed, and the buffers are looked at with care after an unwind, or not at all.
    let beside = residual.as_deref();
    let ran = catch_unwind(AssertUnwindSafe(|| subject.run_with(case, &input, &weights, &bias, beside, &mut output)));
    match ran {
        Err(payload) if payload.is::<Refusal>() => return Ok(Outcome::Refused),
        Err(payload) => return failed(Fault::Stopped { why: message(payload) }),
        Ok(()) => {}
    }
    if let Some(at) = output.written_outside(&target) {
        return failed(Fault::Outside { at });
    }
    for (buffer, memory, snapshot) in before.into_iter().flatten() {
        if let Some(at) = memory.changed_since(&snapshot) {
            return failed(Fault::Changed { buffer, at });
        }
    }
    let got = target.gather(&output);
    let unwritten = got.iter().filter(|value| is_canary(**value)).count();
    if let Some(index) = got.iter().position(|value| is_canary(*value)) {
        return failed(Fault::Unwritten { index, count: unwritten, total: got.len() });
    }
    match rule.compare(case, &operands, &got) {
        Some(mismatch) => failed(Fault::Wrong(mismatch)),
        None => Ok(Outcome::Passed),
    }
}

/// As [`check`]; what fails is [shrunk](crate::shrink()) first.
pub fn check_shrunk<S: Subject + ?Sized>(subject: &S, case: &Case, rule: Rule) -> Result<Outcome, Box<Failure>> {
    check(subject, case, rule).map_err(|failure| shrink(subject, failure))
}

/// Panics where `case` fails, with the shrunk counter-example in a person's words, and where it does not run.
pub fn assert_case<S: Subject + ?Sized>(subject: &S, case: &Case, rule: Rule) {
    match check_shrunk(subject, case, rule) {
        Ok(Outcome::Passed) => {}
        Ok(Outcome::Refused) => panic!("refused: {case}"),
        Err(failure) => panic!("{failure}"),
    }
}

fn message(payload: Box<dyn Any + Send>) -> String {
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => payload.downcast_ref::<&str>().map_or("an unknown panic".into(), |text| (*text).into()),
    }
}
