//! From a counter-example to a small one.

use crate::{Case, Clamp, Failure, Gaps, Guard, Kind, Op, Padding, Scope, Subject, check};

/// The most cases that are tried.
const ATTEMPTS: usize = 4000;

/// A smaller case that fails under the same rule: fewer pixels and channels, no residual, plain numbers, as far as each
/// step still fails. Windows, strides, dilations and groups only become what the subject's scope lists.
pub fn shrink<S: Subject + ?Sized>(subject: &S, failure: Box<Failure>) -> Box<Failure> {
    let (scope, original) = (subject.scope(), failure.case);
    let (mut smallest, mut attempts) = (failure, 0);
    'smaller: loop {
        for case in candidates(&smallest.case, &scope) {
            if attempts == ATTEMPTS {
                break 'smaller;
            }
            attempts += 1;
            if let Err(failure) = check(subject, &case, smallest.rule) {
                smallest = failure;
                continue 'smaller;
            }
        }
        break;
    }
    if smallest.case != original {
        smallest.shrunk_from = Some(original);
    }
    smallest
}

/// Cases that are a step simpler, the largest steps first.
fn candidates(case: &Case, scope: &Scope) -> Vec<Case> {
    let case = *case;
    // What clutters the description.
    let mut found = vec![
        Case { residual: false, ..case },
        Case { input_lo: None, ..case },
        Case { clamp: Clamp::NONE, ..case },
        Case { gaps: Gaps::NONE, ..case },
        Case { shift: 0, ..case },
        Case { guard: Guard::After, shift: 0, ..case },
    ];
    if case.kind == Kind::Specials {
        found.push(Case { kind: Kind::Floats, ..case });
    }
    if case.kind != Kind::Integers {
        found.push(Case { kind: Kind::Integers, ..case });
    }
    // Sizes.
    let smallest = usize::from(case.height * case.width * case.inputs > 0);
    for height in smaller(case.height, smallest) {
        found.push(Case { height, ..case });
    }
    for width in smaller(case.width, smallest) {
        found.push(Case { width, ..case });
    }
    let (inputs, outputs) = (case.inputs_per_group(), case.outputs_per_group());
    if case.op == Op::Depthwise {
        let multiplier = outputs.max(1);
        for channels in smaller(case.inputs, smallest) {
            found.push(Case { inputs: channels, outputs: channels * multiplier, groups: channels, ..case });
        }
    } else {
        for &groups in scope.groups.iter().filter(|&&groups| groups < case.groups) {
            found.push(Case { groups, ..case }.channels(inputs, outputs));
        }
        found.extend(smaller(inputs, smallest).map(|inputs| case.channels(inputs, outputs)));
        found.extend(smaller(outputs, 1).map(|outputs| case.channels(inputs, outputs)));
    }
    // The window, with the padding that still fits it.
    let taps = case.taps();
    let windows = scope.windows.iter().filter(|window| case.op != Op::Pointwise && window.0 * window.1 < taps);
    found.extend(windows.map(|&window| less_padding(Case { window, ..case })));
    let product = |(rows, columns): (usize, usize)| rows * columns;
    let strides = scope.strides.iter().filter(|stride| product(**stride) < product(case.stride));
    found.extend(strides.map(|&stride| Case { stride, ..case }));
    let dilations = scope.dilations.iter().filter(|dilation| product(**dilation) < product(case.dilation));
    found.extend(dilations.map(|&dilation| less_padding(Case { dilation, ..case })));
    let Padding { top, bottom, left, right } = case.padding;
    found.extend(smaller(top, 0).map(|top| Case { padding: Padding { top, ..case.padding }, ..case }));
    found.extend(smaller(bottom, 0).map(|bottom| Case { padding: Padding { bottom, ..case.padding }, ..case }));
    found.extend(smaller(left, 0).map(|left| Case { padding: Padding { left, ..case.padding }, ..case }));
    found.extend(smaller(right, 0).map(|right| Case { padding: Padding { right, ..case.padding }, ..case }));
    found.extend(smaller(case.seed.min(2) as usize, 1).map(|seed| Case { seed: seed as u64, ..case }));
    found.retain(|simpler| *simpler != case && simpler.is_possible());
    found
}

/// `least`, then the half, then one less.
fn smaller(size: usize, least: usize) -> impl Iterator<Item = usize> {
    let mut sizes = vec![least, size / 2, size.saturating_sub(1)];
    sizes.dedup();
    sizes.into_iter().filter(move |&smaller| smaller < size && smaller >= least)
}

fn less_padding(case: Case) -> Case {
    let (rows, columns) = case.extent();
    let Padding { top, bottom, left, right } = case.padding;
    let ([top, bottom], [left, right]) =
        ([top, bottom].map(|side| side.min(rows - 1)), [left, right].map(|side| side.min(columns - 1)));
    Case { padding: Padding { top, bottom, left, right }, ..case }
}
