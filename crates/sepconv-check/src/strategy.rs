//! Cases for proptest.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::cases::draw;
use crate::{Case, Scope};

/// Choices of a case.
const CHOICES: usize = 32;

/// Cases of `scope` (which has an operator), any shape; proptest's shrinking makes each number of a case smaller.
pub fn any_case(scope: &Scope) -> impl Strategy<Value = Case> + use<> {
    let scope = scope.clone();
    vec(any::<u32>(), CHOICES).prop_filter_map("a scope with an operator", move |choices| {
        let mut choices = choices.into_iter();
        // Scaled, so that a smaller choice is never a larger number.
        let mut below = |bound: usize| ((u64::from(choices.next().unwrap_or(0)) * bound as u64) >> 32) as usize;
        draw(&scope, &mut below)
    })
}
