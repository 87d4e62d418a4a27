//! Cases from proptest.

mod naive;

use naive::{everything, fused};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use sepconv_check::{Case, Op, Outcome, Rule, Scope, any_case, check};

proptest! {
    #[test]
    fn a_naive_loop_keeps_bits(case in any_case(&everything())) {
        prop_assert_eq!(check(&fused(), &case, Rule::Bits), Ok(Outcome::Passed));
    }

    #[test]
    fn cases_stay_in_their_scope(case in any_case(&Scope::fixed(Op::Depthwise, (3, 3), (2, 2)))) {
        prop_assert!(case.is_possible() && case.op == Op::Depthwise);
        prop_assert_eq!((case.window, case.stride, case.residual), ((3, 3), (2, 2), false));
    }
}

#[test]
fn shrinking_makes_numbers_smaller() {
    let mut runner = TestRunner::deterministic();
    let fails = |case: &Case| case.outputs > 5 && case.width > 3;
    let trees = (0..100).map(|_| any_case(&Scope::default()).new_tree(&mut runner).unwrap());
    let mut tree = trees.into_iter().find(|tree| fails(&tree.current())).expect("a case that fails");
    let start = tree.current();
    while tree.simplify() {
        if !fails(&tree.current()) && !tree.complicate() {
            break;
        }
    }
    let end = tree.current();
    assert!(end.width <= start.width && end.outputs <= start.outputs && end.width <= 5, "{start}\n{end}");
}
