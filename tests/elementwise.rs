//! The operations without weights against the reference.

mod common;

use common::{Gaps, Kind, Numbers, assert_same, extent, gather, layout};
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
        let (gaps, kind) = (if primes { Gaps::Prime } else { Gaps::None }, if specials { Kind::Specials } else { Kind::Floats });
        let mut numbers = Numbers(seed);
        let (a, b) = (numbers.take(height * width * channels, kind), numbers.take(height * width * channels, kind));
        let layout = layout(height, width, channels, gaps);
        let mut output = vec![0.0; extent(&layout)];
        for clamp in [Clamp::NONE, Clamp::RELU, Clamp::RELU6] {
            let (a_buffer, b_buffer) = (spread(&a, &layout), spread(&b, &layout));
            let view = ViewMut::new(&mut output, layout).unwrap();
            add(View::new(&a_buffer, layout).unwrap(), View::new(&b_buffer, layout).unwrap(), clamp, view).unwrap();
            assert_same(&gather(&output, &layout), &reference::add(&a, &b, clamp), None, "add");
        }
    }

    #[test]
    fn max_pool_is_the_references(
        (height, width, channels) in (1usize..9, 1usize..9, 1usize..40),
        (top, bottom, left, right) in (0usize..3, 0usize..3, 0usize..3, 0usize..3),
        (primes, specials) in any::<(bool, bool)>(),
        seed in any::<u64>(),
    ) {
        let (gaps, kind) = (if primes { Gaps::Prime } else { Gaps::None }, if specials { Kind::Specials } else { Kind::Floats });
        let padding = Padding { top, bottom, left, right };
        let Some((out_height, out_width)) = padding.output((height, width), (3, 3), 2) else { return Ok(()) };
        let input = Numbers(seed).take(height * width * channels, kind);
        let (source, target) = (layout(height, width, channels, gaps), layout(out_height, out_width, channels, gaps));
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
        specials in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let input = Numbers(seed).take(height * width * channels, if specials { Kind::Specials } else { Kind::Floats });
        let mut output = vec![f32::NAN; channels];
        global_average_pool(View::tight(&input, height, width, channels).unwrap(), &mut output).unwrap();
        assert_same(&output, &reference::global_average_pool(&input, channels), None, "global average pool");
    }

    #[test]
    fn softmax_is_exact_to_a_millionth(logits in proptest::collection::vec(-50.0f32..50.0, 1..2000)) {
        let mut got = logits.clone();
        softmax(&mut got);
        let max = logits.iter().copied().map(f64::from).fold(f64::NEG_INFINITY, f64::max);
        let powers: Vec<f64> = logits.iter().map(|&x| (f64::from(x) - max).exp()).collect();
        let sum: f64 = powers.iter().sum();
        for (got, power) in got.iter().zip(powers) {
            prop_assert!((f64::from(*got) - power / sum).abs() <= 1e-6);
        }
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
    assert!(wrong.unwrap_err().to_string().contains("expected 2x2x2"));
    assert!(View::tight(&input, 2, 2, 3).is_err());
    assert!(View::tight(&input, usize::MAX, 2, 3).is_err());
}
