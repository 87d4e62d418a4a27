//! A counter-example in a person's words.

use std::fmt;

use crate::guard::comes_from_beside;
use crate::{Case, Mismatch, Rule};

/// What went wrong. Offsets count elements from the first of a buffer, indices those of the tight NHWC output.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// Outputs that break the rule.
    Wrong(Mismatch),
    /// Outputs that nothing was written to.
    Unwritten {
        /// The first.
        index: usize,
        /// How many.
        count: usize,
        /// Of how many.
        total: usize,
    },
    /// Something was written beside the output or in its gaps.
    Outside {
        /// Where.
        at: isize,
    },
    /// Something was written to what the kernel may only read.
    Changed {
        /// `input`, `weights`, `bias` or `residual`.
        buffer: &'static str,
        /// Where.
        at: isize,
    },
    /// The kernel panicked, crashed or ran for too long.
    Stopped {
        /// What is known about it.
        why: String,
    },
}

/// A case that fails, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// The case.
    pub case: Case,
    /// The rule.
    pub rule: Rule,
    /// What went wrong.
    pub fault: Fault,
    /// The larger case that failed first.
    pub shrunk_from: Option<Case>,
}

impl Failure {
    fn place(&self, index: usize) -> String {
        let (y, x, c) = self.case.output().position(index);
        format!("row {y}, column {x}, channel {c} (index {index})")
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.case)?;
        match &self.fault {
            Fault::Wrong(Mismatch { index, got, expected, ulps, bound, count, total }) => {
                write!(f, "{count} of {total} outputs break the rule {}; the first is ", self.rule)?;
                write!(f, "{}: got {got:?} ({:#010x}), ", self.place(*index), got.to_bits())?;
                write!(f, "expected {expected:?} ({:#010x})", expected.to_bits())?;
                match ulps {
                    Some(ulps) => write!(f, ", {ulps} ulps apart")?,
                    None => write!(f, ", one of them no number")?,
                }
                if let Some(bound) = bound {
                    write!(f, ", where {bound:e} is allowed")?;
                }
                match comes_from_beside(*got) {
                    true => write!(f, "; it was computed from what lies beside an input"),
                    false => Ok(()),
                }
            }
            Fault::Unwritten { index, count, total } => {
                let place = self.place(*index);
                write!(f, "{count} of {total} outputs were not written; the first is {place}")
            }
            Fault::Outside { at } => write!(f, "wrote element {at} of the output's buffer, which is not the output's"),
            Fault::Changed { buffer, at } => write!(f, "wrote element {at} of the {buffer}, which may only be read"),
            Fault::Stopped { why } => write!(f, "did not end well: {why}"),
        }?;
        match &self.shrunk_from {
            Some(case) => write!(f, "\nshrunk from {case}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}
