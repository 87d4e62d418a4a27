//! Kernels with planted faults: each is found, and shrunk to what a person can follow.

mod naive;

use naive::{Naive, everything, fused};
use sepconv_check::*;

type Run = fn(&Case, &[f32], &[f32], &[f32], &mut [f32]);

/// The first failure of a kernel, shrunk.
fn first<S: Subject>(subject: &S, rule: Rule) -> Option<Box<Failure>> {
    let cases = Cases::new(&subject.scope(), 1).take(3000);
    cases.map(|case| check_shrunk(subject, &case, rule)).find_map(Result::err)
}

fn spoilt(spoil: Run) -> Within<impl Subject> {
    let run = move |case: &Case, input: &[f32], weights: &[f32], bias: &[f32], output: &mut [f32]| {
        fused().run(case, input, weights, bias, output);
        spoil(case, input, weights, bias, output);
    };
    Within { scope: Scope { gaps: true, ..Scope::default() }, subject: run }
}

/// The last column of a wide image reads on into the next row, as a kernel would that has no right border.
#[test]
fn a_border_is_shrunk_to_a_few_pixels() {
    let kernel = |case: &Case, input: &[f32], weights: &[f32], bias: &[f32], output: &mut [f32]| {
        let (source, target) = (case.input(), case.output());
        for (index, at) in target.places().enumerate() {
            let (y, x, c) = target.position(index);
            let mut sum = bias[c];
            for tap in 0..9 {
                let row = (y * case.stride.0 + tap / 3).wrapping_sub(case.padding.top);
                let column = (x * case.stride.1 + tap % 3).wrapping_sub(case.padding.left);
                let on = row < source.height && column <= source.width && row * source.width + column < source.pixels();
                if on {
                    sum = input[(row * source.width + column) * case.inputs + c].mul_add(weights[c * 9 + tap], sum);
                }
            }
            output[at] = case.clamp.apply(sum);
        }
    };
    let kernel = Within { scope: Scope::fixed(Op::Depthwise, (3, 3), (1, 1)), subject: kernel };
    let failure = first(&kernel, Rule::Bound).expect("a fault");
    let case = failure.case;
    assert!(case.height * case.width <= 6 && case.inputs == 1, "{failure}");
    let Fault::Wrong(mismatch) = &failure.fault else { panic!("{failure}") };
    let (_, column, _) = case.output().position(mismatch.index);
    assert_eq!(column + 1, case.output().width, "{failure}");
    let text = failure.to_string();
    for word in ["depthwise 3x3 on", "outputs break the rule bound", "row 0, column", "got", "expected", "ulps apart"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    assert!(failure.shrunk_from.is_some());
    // The README shows it.
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words(include_str!("../README.md")).contains(&words(&text)), "{text}");
}

#[test]
fn a_write_into_a_gap_is_found() {
    let spoil: Run = |case, _, _, _, output| {
        if let Some(after) = output.get_mut(case.outputs).filter(|_| case.gaps.output.inner > 0) {
            *after = 0.0;
        }
    };
    let failure = first(&spoilt(spoil), Rule::Bits).expect("a fault");
    assert_eq!(failure.fault, Fault::Outside { at: failure.case.outputs as isize }, "{failure}");
    assert!(failure.to_string().contains("which is not the output's"));
}

#[test]
fn a_write_before_the_output_is_found() {
    let spoil: Run = |case, _, _, _, output| {
        if case.guard == Guard::After {
            // SAFETY: none, which is the fault; there is canary before the output.
            unsafe { *output.as_mut_ptr().sub(1) = 0.0 };
        }
    };
    let failure = first(&spoilt(spoil), Rule::Bits).expect("a fault");
    assert_eq!(failure.fault, Fault::Outside { at: -1 });
    // With nothing else to blame, the smallest case that there is.
    assert_eq!((failure.case.inputs, failure.case.outputs, failure.case.kind), (1, 1, Kind::Integers), "{failure}");
}

#[test]
fn an_output_that_is_not_written_is_found() {
    let kernel = |case: &Case, input: &[f32], weights: &[f32], bias: &[f32], output: &mut [f32]| {
        let last = case.output().places().last().unwrap();
        let before = output[last];
        fused().run(case, input, weights, bias, output);
        if case.output().pixels() > 4 {
            output[last] = before;
        }
    };
    let failure = first(&kernel, Rule::Bits).expect("a fault");
    let Fault::Unwritten { index, count: 1, total } = failure.fault else { panic!("{failure}") };
    assert_eq!(index + 1, total);
    assert!(
        failure.case.output().pixels() <= 6 && failure.to_string().contains("1 of 5 outputs were not written"),
        "{failure}"
    );
}

#[test]
fn a_changed_input_is_found() {
    let spoil: Run = |_, _, weights, _, _| {
        // SAFETY: none, which is the fault; the memory is writable.
        unsafe { std::hint::black_box(weights.as_ptr().cast_mut()).write_volatile(99.0) };
    };
    let failure = first(&spoilt(spoil), Rule::Bits).expect("a fault");
    assert_eq!(failure.fault, Fault::Changed { buffer: "weights", at: 0 });
}

#[test]
fn a_panic_is_a_failure() {
    let spoil: Run = |case, _, _, _, _| assert!(case.output().pixels() < 3, "three pixels");
    let failure = first(&Isolated::new(spoilt(spoil)), Rule::Bits).expect("a fault");
    assert!(matches!(&failure.fault, Fault::Stopped { .. }), "{failure}");
    assert!(failure.case.output().pixels() <= 4, "{failure}");
    let failure = check(&spoilt(spoil), &Case::pointwise(3, 1, 1), Rule::Bits).unwrap_err();
    assert_eq!(failure.fault, Fault::Stopped { why: "three pixels".into() });
}

#[test]
fn nan_lost_and_zero_of_the_wrong_sign() {
    // `f32::max` takes the number where the other is NaN.
    let maximum = Naive { scope: Scope { clamp: false, ..everything() }, ..fused() };
    let kernel = |case: &Case, input: &[f32], weights: &[f32], bias: &[f32], output: &mut [f32]| {
        maximum.run(&Case { clamp: Clamp::NONE, ..*case }, input, weights, bias, output);
        case.output().places().for_each(|at| output[at] = output[at].max(case.clamp.lo).min(case.clamp.hi));
    };
    let failure = first(&kernel, Rule::Bits).expect("a fault");
    let Fault::Wrong(mismatch) = failure.fault else { panic!("{failure}") };
    assert!(mismatch.expected.is_nan() || mismatch.expected.to_bits() == 1 << 31, "{failure}");
    assert!(run_group(&kernel, Rule::Ulp(0), Group::Ordered).is_ok());
    // A sum that starts at zero and adds the bias last: −0 gets lost.
    let case = Case::pointwise(1, 0, 1);
    let zero: Run = |_, _, _, bias, output| output[0] = 0.0 + bias[0];
    let negative = (0..1000).map(|seed| Case { seed, kind: Kind::Specials, ..case });
    let negative =
        negative.into_iter().find(|case| case.operands().bias[0].to_bits() == 1 << 31).expect("a seed of −0");
    assert!(check(&zero, &negative, Rule::Bits).is_err() && check(&zero, &negative, Rule::Ulp(0)).is_ok());
}

#[cfg(target_os = "linux")]
mod isolated {
    use super::*;

    /// A read past the last weight, of wide outputs only.
    #[test]
    fn a_read_past_the_end_is_shrunk() {
        let spoil: Run = |case, _, weights, _, _| {
            if case.guard == Guard::After && case.outputs > 3 {
                // SAFETY: none, which is the fault.
                let past = unsafe { weights.as_ptr().add(weights.len()).read_volatile() };
                std::hint::black_box(past);
            }
        };
        let failure = first(&Isolated::new(spoilt(spoil)), Rule::Bits).expect("a fault");
        assert_eq!(failure.case.outputs, 4, "{failure}");
        assert!(failure.to_string().contains("touched memory outside its buffers"), "{failure}");
    }

    /// A read before the first input, of several channels only.
    #[test]
    fn a_read_before_the_start_is_shrunk() {
        let spoil: Run = |case, input, _, _, _| {
            if case.guard == Guard::Before && case.shift == 0 && case.inputs > 2 {
                // SAFETY: none, which is the fault.
                let before = unsafe { input.as_ptr().sub(1).read_volatile() };
                std::hint::black_box(before);
            }
        };
        let failure = first(&Isolated::new(spoilt(spoil)), Rule::Bits).expect("a fault");
        assert_eq!((failure.case.inputs, failure.case.guard), (3, Guard::Before), "{failure}");
        assert!(failure.to_string().contains("touched memory outside its buffers"), "{failure}");
    }

    #[test]
    fn a_kernel_without_end_is_stopped() {
        let spoil: Run = |_, _, _, _, _| loop {
            std::thread::yield_now();
        };
        let failure = check(&Isolated::new(spoilt(spoil)).within_seconds(1), &Case::conv(3, 3, 1, 1), Rule::Bits);
        assert!(failure.unwrap_err().to_string().contains("still ran after 1 s"));
    }

    #[test]
    fn what_is_right_passes_in_a_process_of_its_own() {
        let kernel = Isolated::new(fused());
        for case in Cases::new(&everything(), 7).take(300) {
            assert_eq!(check(&kernel, &case, Rule::Bits), Ok(Outcome::Passed), "{case}");
        }
    }
}

#[test]
fn refusing_is_no_failure() {
    let spoil: Run = |case, _, _, _, _| {
        if case.groups > 1 {
            refuse();
        }
    };
    for kernel in [&spoilt(spoil) as &dyn Subject, &Isolated::new(spoilt(spoil))] {
        assert_eq!(check(kernel, &Case::pointwise(1, 1, 1), Rule::Bits), Ok(Outcome::Passed));
        assert_eq!(check(kernel, &Case::depthwise(1, 1, 2), Rule::Bits), Ok(Outcome::Refused));
    }
    let impossible = Case { width: 0, ..Case::conv(1, 1, 1, 1) };
    let impossible = Case { stride: (0, 1), ..impossible };
    assert_eq!(check(&fused(), &impossible, Rule::Bits), Ok(Outcome::Refused));
}

/// One that takes nothing has shown nothing.
#[test]
#[should_panic(expected = "no case was taken")]
fn a_group_of_refusals_is_no_pass() {
    let spoil: Run = |_, _, _, _, _| refuse();
    assert_group(&spoilt(spoil), Rule::Bits, Group::Exact);
}

#[test]
#[should_panic(expected = "outputs break the rule bits")]
fn assertions_tell_the_case() {
    let spoil: Run = |case, _, _, _, output| output[case.output().at((0, 0, 0))] += 1.0;
    assert_case(&spoilt(spoil), &Case::pointwise(2, 2, 2), Rule::Bits);
}
