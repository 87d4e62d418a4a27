//! Kernels that are right, each under the rules that it keeps and no other.

mod naive;

use naive::{Naive, everything, fused, rounding_twice};
use sepconv_check::{Case, Cases, Fault, Group, Layout, Op, Rule, Scope, Subject, assert_case, conformance, run_group};

fn planar(kernel: Naive) -> Naive {
    Naive { scope: Scope { layout: Layout::Nchw, ..everything() }, ..kernel }
}

conformance!(naive_keeps_bits, fused(), Rule::Bits);
conformance!(naive_keeps_bits_nchw, planar(fused()), Rule::Bits);
conformance!(rounding_twice_keeps_chain, rounding_twice(), Rule::Chain);
conformance!(rounding_twice_keeps_bound, rounding_twice(), Rule::Bound);
conformance!(zeros_without_sign_keep_ulp, zeros_without_sign, Rule::Ulp(0));

/// No output is −0.
fn zeros_without_sign(case: &Case, input: &[f32], weights: &[f32], bias: &[f32], output: &mut [f32]) {
    fused().run(case, input, weights, bias, output);
    case.output().places().for_each(|at| output[at] += 0.0);
}

#[test]
fn zeros_without_sign_break_bits() {
    let failure = run_group(&zeros_without_sign, Rule::Bits, Group::Specials).unwrap_err();
    let Fault::Wrong(wrong) = &failure.fault else { panic!("{failure}") };
    assert_eq!((wrong.expected.to_bits(), wrong.got.to_bits()), (1 << 31, 0), "{failure}");
}

/// The `gemm` crate's product of matrices, added to the biases; the clamp is a pass of its own.
struct Gemm;

impl Subject for Gemm {
    fn run(&self, case: &Case, input: &[f32], weights: &[f32], bias: &[f32], output: &mut [f32]) {
        let (source, target) = (case.input(), case.output());
        let (inputs, outputs) = (case.inputs_per_group(), case.outputs_per_group());
        for (index, at) in target.places().enumerate() {
            output[at] = bias[index % case.outputs];
        }
        let stride = |stride: usize| isize::try_from(stride).unwrap();
        for (row, group) in (0..case.height).flat_map(|row| (0..case.groups).map(move |group| (row, group))) {
            let (from, to) = (source.at((row, 0, group * inputs)), target.at((row, 0, group * outputs)));
            // SAFETY: rows of `width` pixels with the strides of their images, and `outputs` x `inputs` weights read across.
            unsafe {
                gemm::gemm(
                    case.width,
                    outputs,
                    inputs,
                    output.as_mut_ptr().add(to),
                    stride(target.channel_stride),
                    stride(target.pixel_stride),
                    true,
                    input.as_ptr().add(from),
                    stride(source.channel_stride),
                    stride(source.pixel_stride),
                    weights.as_ptr().add(group * outputs * inputs),
                    stride(inputs),
                    1,
                    1.0,
                    1.0,
                    false,
                    false,
                    false,
                    gemm::Parallelism::None,
                );
            }
        }
        for at in target.places() {
            output[at] = case.clamp.apply(output[at]);
        }
    }

    fn scope(&self) -> Scope {
        Scope { strides: vec![(1, 1)], gaps: true, ..Scope::of(Op::Pointwise) }
    }
}

conformance!(gemm_keeps_bound, Gemm, Rule::Bound);

fn plain(case: &Case, input: &[f32], weights: &[f32], bias: &[f32], output: &mut [f32]) {
    fused().run(case, input, weights, bias, output);
}

#[test]
fn functions_are_subjects() {
    for case in Cases::new(&plain.scope(), 2).take(500) {
        assert_case(&plain, &case, Rule::Bits);
        assert_case(&plain, &case, Rule::Bound);
    }
}

#[test]
fn rounding_twice_breaks_bits() {
    let failure = run_group(&rounding_twice(), Rule::Bits, Group::Ordered).unwrap_err();
    assert!(failure.to_string().contains("break the rule bits"), "{failure}");
    assert!(run_group(&rounding_twice(), Rule::Bits, Group::Exact).is_ok());
}

/// Sums from the last tap to the first, the channels backwards too.
#[test]
fn another_order_breaks_chain_and_keeps_bound() {
    let backwards = |case: &Case, input: &[f32], weights: &[f32], bias: &[f32], output: &mut [f32]| {
        let inputs = case.inputs_per_group();
        for (index, at) in case.output().places().enumerate() {
            let (y, x, j) = case.output().position(index);
            let first = j / case.outputs_per_group() * inputs;
            let taps: Vec<_> = case.taps_inside((y, x)).collect();
            let mut sum = bias[j];
            for (tap, row, column) in taps.into_iter().rev() {
                for c in (0..inputs).rev() {
                    let weight = weights[(j * inputs + c) * case.taps() + tap];
                    sum = input[case.input().at((row, column, first + c))].mul_add(weight, sum);
                }
            }
            output[at] = case.clamp.apply(sum);
        }
    };
    for rule in [Rule::Bits, Rule::Chain, Rule::Ulp(0)] {
        assert!(run_group(&backwards, rule, Group::Ordered).is_err(), "{rule}");
    }
    for group in Group::ALL {
        assert!(run_group(&backwards, Rule::Bound, group).is_ok(), "{group}");
    }
}
