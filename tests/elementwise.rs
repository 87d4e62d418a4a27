//! The operations without weights against the reference.

mod common;

use common::{Gaps, Kind, Numbers, assert_same, extent, gather, one_sided};
use proptest::prelude::*;
use sepconv::depthwise::Padding;
use sepconv::elementwise::{add, global_average_pool, max_pool, softmax};
use sepconv::reference::{self, Window};
use sepconv::{Clamp, View, ViewMut};

fn spread(values: &[f32], layout: &sepconv::Layout) -> Vec<f32> {
    let guarded = common::spread(values, layout, common::Guard::After, 0);
    guarded.to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn add_is_the_references(
        (height, width, channels) in (1usize..5, 1usize..6, 1usize..40),
        (primes, specials) in any::<(bool, bool)>(),
        seed in any::<u64>(),
    ) {
        let (gaps, kind) = (if primes { Gaps::Everywhere } else { Gaps::Runs }, if specials { Kind::Specials } else { Kind::Floats });
        let mut numbers = Numbers(seed);
        let (a, b) = (numbers.take(height * width * channels, kind), numbers.take(height * width * channels, kind));
        let (first, second) = (gaps.input(height, width, channels), gaps.residual(height, width, channels));
        let target = gaps.output(height, width, channels);
        let mut output = vec![0.0; extent(&target)];
        for clamp in [Clamp::NONE, Clamp::RELU, Clamp::RELU6] {
            let (a_buffer, b_buffer) = (spread(&a, &first), spread(&b, &second));
            let view = ViewMut::new(&mut output, target).unwrap();
            add(View::new(&a_buffer, first).unwrap(), View::new(&b_buffer, second).unwrap(), clamp, view).unwrap();
            assert_same(&gather(&output, &target), &reference::add(&a, &b, clamp), None, "add");
        }
    }

    #[test]
    fn max_pool_is_the_references(
        (height, width, channels) in (1usize..9, 1usize..9, 1usize..40),
        (top, bottom, left, right) in (0usize..3, 0usize..3, 0usize..3, 0usize..3),
        (primes, specials) in any::<(bool, bool)>(),
        seed in any::<u64>(),
    ) {
        let (gaps, kind) = (if primes { Gaps::Everywhere } else { Gaps::Runs }, if specials { Kind::Specials } else { Kind::Floats });
        let padding = Padding { top, bottom, left, right };
        let Some((out_height, out_width)) = padding.output((height, width), (3, 3), 2) else { return Ok(()) };
        let input = Numbers(seed).take(height * width * channels, kind);
        let (source, target) = (gaps.input(height, width, channels), gaps.output(out_height, out_width, channels));
        let (buffer, mut output) = (spread(&input, &source), vec![0.0; extent(&target)]);
        let pooled = max_pool(padding, View::new(&buffer, source).unwrap(), ViewMut::new(&mut output, target).unwrap());
        let window = Window { size: (3, 3), stride: 2, padding };
        // A window that lies in the padding alone has no maximum.
        let empty = [(height, top, out_height), (width, left, out_width)]
            .into_iter()
            .any(|(extent, before, out)| (0..out).any(|at| 2 * at + 3 <= before || 2 * at >= extent + before));
        prop_assert_eq!(pooled.is_err(), empty);
        if !empty {
            let want = reference::max_pool(&input, (height, width, channels), window);
            assert_same(&gather(&output, &target), &want, None, "max pool");
        }
    }

    #[test]
    fn global_average_pool_is_the_references(
        (height, width, channels) in (1usize..9, 1usize..9, 1usize..70),
        (primes, specials) in any::<(bool, bool)>(),
        seed in any::<u64>(),
    ) {
        let input = Numbers(seed).take(height * width * channels, if specials { Kind::Specials } else { Kind::Floats });
        let source = if primes { Gaps::Everywhere } else { Gaps::Runs }.input(height, width, channels);
        let (buffer, mut output) = (spread(&input, &source), vec![f32::NAN; channels]);
        global_average_pool(View::new(&buffer, source).unwrap(), &mut output).unwrap();
        assert_same(&output, &reference::global_average_pool(&input, channels), None, "global average pool");
    }

    #[test]
    fn softmax_is_exact_to_a_millionth(logits in proptest::collection::vec(-50.0f32..50.0, 1..2000)) {
        check_softmax(&logits);
    }
}

/// Within 1e-6 of the exact softmax.
fn check_softmax(logits: &[f32]) {
    let mut got = logits.to_vec();
    softmax(&mut got);
    let max = logits.iter().copied().map(f64::from).fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = logits.iter().map(|&x| (f64::from(x) - max).exp()).collect();
    let sum: f64 = powers.iter().sum();
    for (i, (got, power)) in got.iter().zip(powers).enumerate() {
        let exact = power / sum;
        assert!((f64::from(*got) - exact).abs() <= 1e-6, "{i} of {logits:?}: {got}, expected {exact}");
    }
}

/// Logits whose exponentials, or differences, are no f32.
#[test]
fn softmax_is_exact_at_any_size() {
    const NONE: f32 = f32::NEG_INFINITY;
    check_softmax(&[]);
    for size in [0.0f32, 1.0, 89.0, 1e4, 3e38, f32::MAX] {
        for one in [size, -size] {
            check_softmax(&[one]);
            check_softmax(&[one; 7]);
            check_softmax(&[one, NONE]);
            check_softmax(&[NONE, one, NONE, one - 1.0, one]);
        }
        check_softmax(&[size, -size]);
        check_softmax(&[-size, 0.0, size, size, NONE]);
        check_softmax(&[-size, -size, -size - 0.5, -size - 1.0]);
        check_softmax(&[size, size - 0.5, size - 1.0, size - 90.0]);
    }
    let many: Vec<f32> = (0..1000).map(|i| 1e4 + i as f32 / 100.0).collect();
    check_softmax(&many);
}

#[test]
fn max_pool_takes_padding_up_to_two() {
    let input = [1.0; 49];
    let run = |padding: Padding| {
        let (height, width) = padding.output((7, 7), (3, 3), 2).unwrap();
        let mut output = [0.0; 36];
        let output = ViewMut::tight(&mut output[..height * width], height, width, 1).unwrap();
        max_pool(padding, View::tight(&input, 7, 7, 1).unwrap(), output).map_err(|error| error.to_string())
    };
    for padding in one_sided(2).into_iter().chain([Padding::all(2)]) {
        assert_eq!(run(padding), Ok(()), "{padding:?}");
    }
    for padding in one_sided(3) {
        assert!(run(padding).unwrap_err().contains("at most 2 a side"), "{padding:?}");
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let (input, mut output) = ([0.0; 8], [0.0; 8]);
    let view = View::tight(&input, 2, 2, 2).unwrap();
    assert!(global_average_pool(view, &mut output).unwrap_err().to_string().contains("one output a channel"));
    let small = max_pool(Padding::default(), view, ViewMut::tight(&mut output, 1, 1, 2).unwrap());
    assert!(small.unwrap_err().to_string().contains("at least 3x3"));
    let wrong =
        add(view, View::tight(&input, 2, 1, 2).unwrap(), Clamp::NONE, ViewMut::tight(&mut output, 2, 2, 2).unwrap());
    assert!(wrong.unwrap_err().to_string().contains("second summand: got 2x1x2"));
    let wrong =
        add(View::tight(&input, 1, 2, 2).unwrap(), view, Clamp::NONE, ViewMut::tight(&mut output, 2, 2, 2).unwrap());
    assert!(wrong.unwrap_err().to_string().contains("first summand: got 1x2x2"));
    let wrong = max_pool(Padding::all(1), view, ViewMut::tight(&mut output, 1, 1, 1).unwrap());
    assert!(wrong.unwrap_err().to_string().contains("expected 1x1x2"));
    assert!(View::tight(&input, 2, 2, 3).is_err());
    assert!(View::tight(&input, usize::MAX, 2, 3).is_err());
}
