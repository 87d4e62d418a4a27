//! All groups of cases on one kernel.

use crate::{Failure, Group, Outcome, Rule, Subject, check_shrunk};

/// The seed of the cases that [`run_group`] runs.
const SEED: u64 = 1;

/// Runs the cases of a group and counts those that the subject took; the first that fails is shrunk.
pub fn run_group<S: Subject + ?Sized>(subject: &S, rule: Rule, group: Group) -> Result<usize, Box<Failure>> {
    let mut ran = 0;
    for case in group.cases(&subject.scope(), SEED) {
        ran += usize::from(check_shrunk(subject, &case, rule)? == Outcome::Passed);
    }
    Ok(ran)
}

/// Panics where a case of the group fails, with the shrunk counter-example, and where the group has cases for the
/// subject's scope but it took none.
pub fn assert_group<S: Subject + ?Sized>(subject: &S, rule: Rule, group: Group) {
    match run_group(subject, rule, group) {
        Err(failure) => panic!("{group}: {failure}"),
        Ok(0) if !group.cases(&subject.scope(), SEED).is_empty() => panic!("{group}: no case was taken"),
        Ok(_) => {}
    }
}

/// `#[test]` functions, one a [`Group`]: `conformance!(subject, rule)` in a module `conformance`, or
/// `conformance!(name, subject, rule)` in one of another name. Subject and rule are expressions.
#[macro_export]
macro_rules! conformance {
    ($subject:expr, $rule:expr $(,)?) => {
        $crate::conformance!(conformance, $subject, $rule);
    };
    ($name:ident, $subject:expr, $rule:expr $(,)?) => {
        mod $name {
            #[allow(unused_imports)]
            use super::*;
            $crate::conformance!(@tests $subject, $rule,
                exact Exact, ordered Ordered, ragged Ragged, borders Borders, guards Guards, specials Specials,
                strided Strided, any_shape AnyShape);
        }
    };
    (@tests $subject:expr, $rule:expr, $($test:ident $group:ident),*) => {
        $(
            #[test]
            fn $test() {
                $crate::assert_group(&$subject, $rule, $crate::Group::$group);
            }
        )*
    };
}
