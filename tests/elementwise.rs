//! The operations without weights against the reference.
#![cfg(feature = "reference")]

mod common;

use common::{Gaps, Kind, Numbers, assert_same, exact, extent, gather, one_sided};
use proptest::prelude::*;
use sepconv::ops::{add, average_pool, clamp, global_average_pool, leaky_norm, max_pool, softmax};
use sepconv::{Clamp, Padding, Shape, View, ViewMut, Window, reference};

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
    fn clamp_is_the_references(
        (height, width, channels) in (1usize..5, 1usize..6, 1usize..40),
        (primes, specials) in any::<(bool, bool)>(),
        (lo, hi) in (-1.0f32..0.5, 0.5f32..8.0),
        seed in any::<u64>(),
    ) {
        let (gaps, kind) = (if primes { Gaps::Everywhere } else { Gaps::Runs }, if specials { Kind::Specials } else { Kind::Floats });
        let input = Numbers(seed).take(height * width * channels, kind);
        let (source, target) = (gaps.input(height, width, channels), gaps.output(height, width, channels));
        let (buffer, mut output) = (spread(&input, &source), vec![0.0; extent(&target)]);
        for bounds in [Clamp::NONE, Clamp::RELU, Clamp::RELU6, Clamp::new(lo, hi), Clamp::new(hi, lo)] {
            let view = ViewMut::new(&mut output, target).unwrap();
            clamp(View::new(&buffer, source).unwrap(), bounds, view).unwrap();
            let want: Vec<f32> = input.iter().map(|&x| reference::clamp(x, bounds)).collect();
            assert_same(&gather(&output, &target), &want, None, "clamp");
        }
    }

    #[test]
    fn leaky_norm_is_the_references(
        (height, width, channels) in (1usize..5, 1usize..6, 1usize..40),
        (primes, specials) in any::<(bool, bool)>(),
        (slope, seed) in (-1.0f32..1.0, any::<u64>()),
    ) {
        let (gaps, kind) = (if primes { Gaps::Everywhere } else { Gaps::Runs }, if specials { Kind::Specials } else { Kind::Floats });
        let mut numbers = Numbers(seed);
        let input = numbers.take(height * width * channels, kind);
        let (scale, shift) = (numbers.take(channels, Kind::Floats), numbers.take(channels, Kind::Floats));
        let (source, target) = (gaps.input(height, width, channels), gaps.output(height, width, channels));
        let (buffer, mut output) = (spread(&input, &source), vec![0.0; extent(&target)]);
        for clamp in [Clamp::NONE, Clamp::RELU6] {
            let view = ViewMut::new(&mut output, target).unwrap();
            leaky_norm(View::new(&buffer, source).unwrap(), slope, (&scale, &shift), clamp, view).unwrap();
            let want = reference::leaky_norm(&input, slope, (&scale, &shift), clamp);
            // Without FMA the product is rounded by itself.
            if exact(sepconv::Isa::Portable) {
                assert_same(&gather(&output, &target), &want, None, "leaky norm");
            }
        }
    }

    #[test]
    fn max_pool_is_the_references(
        (height, width, channels) in (1usize..9, 1usize..9, 1usize..40),
        (size, strides, dilation) in ((1usize..5, 1usize..5), (1usize..4, 1usize..4), 1usize..3),
        (top, bottom, left, right) in (0usize..4, 0usize..4, 0usize..4, 0usize..4),
        (primes, specials, torch) in any::<(bool, bool, bool)>(),
        seed in any::<u64>(),
    ) {
        let padding = Padding { top, bottom, left, right };
        let window = Window::new(size.0, size.1).strides(strides.0, strides.1).dilation(dilation).padding(padding);
        // Half of the cases are the window of the networks.
        let window = if torch { Window::square(3).stride(2).padding(padding) } else { window };
        pool_is_the_references(window, Shape::new(height, width, channels), primes, specials, seed);
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

/// Max pooling and both average poolings of an image under `window`; or an error where a window would hold no pixel.
fn pool_is_the_references(window: Window, shape: Shape, primes: bool, specials: bool, seed: u64) {
    let gaps = if primes { Gaps::Everywhere } else { Gaps::Runs };
    let kind = if specials { Kind::Specials } else { Kind::Floats };
    let Shape { height, width, channels } = shape;
    let Some((out_height, out_width)) = window.output(height, width) else { return };
    let input = Numbers(seed).take(shape.len(), kind);
    let (source, target) = (gaps.input(height, width, channels), gaps.output(out_height, out_width, channels));
    let (buffer, mut output) = (spread(&input, &source), vec![0.0; extent(&target)]);
    let view = || View::new(&buffer, source).unwrap();
    let Padding { top, bottom, left, right } = window.padding;
    let extents = window.extent();
    // A window that lies in the padding alone, or one whose taps lie on both sides of the image, has no maximum.
    let mut windows = (0..out_height).flat_map(|y| (0..out_width).map(move |x| (y, x)));
    let empty = windows.any(|(y, x)| {
        let inside = |at: usize, taps: usize, before: usize, extent: usize| {
            (0..taps).any(|tap| (before..before + extent).contains(&(at + tap * window.dilation.0)))
        };
        !inside(y * window.stride.0, window.size.0, top, height)
            || !inside(x * window.stride.1, window.size.1, left, width)
    });
    let refused = empty || top.max(bottom) >= extents.0 || left.max(right) >= extents.1;
    let context = format!("{window:?} on {shape}");
    let pooled = max_pool(window, view(), ViewMut::new(&mut output, target).unwrap());
    assert_eq!(pooled.is_err(), refused, "{context}");
    if !refused {
        let want = reference::max_pool(&input, shape, &window);
        assert_same(&gather(&output, &target), &want, None, &format!("max pool, {context}"));
    }
    for count_padding in [false, true] {
        let pooled = average_pool(window, count_padding, view(), ViewMut::new(&mut output, target).unwrap());
        assert_eq!(pooled.is_err(), refused, "{context}");
        if !refused {
            let want = reference::average_pool(&input, shape, &window, count_padding);
            assert_same(&gather(&output, &target), &want, None, &format!("average pool, {count_padding}, {context}"));
        }
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
fn pools_take_padding_smaller_than_the_window() {
    let input = [1.0; 49];
    type Pool = fn(Window, View<'_>, ViewMut<'_>) -> sepconv::Result<()>;
    let pools: [Pool; 3] = [
        max_pool,
        |window, input, output| average_pool(window, true, input, output),
        |window, input, output| average_pool(window, false, input, output),
    ];
    for (pool, name) in pools.into_iter().zip(["max pool", "average pool", "average pool"]) {
        let run = |padding: Padding| {
            let window = Window::square(3).stride(2).padding(padding);
            let (height, width) = window.output(7, 7).unwrap();
            let mut output = [0.0; 36];
            let output = ViewMut::tight(&mut output[..height * width], height, width, 1).unwrap();
            pool(window, View::tight(&input, 7, 7, 1).unwrap(), output).map_err(|error| error.to_string())
        };
        for padding in one_sided(2).into_iter().chain([Padding::all(2)]) {
            assert_eq!(run(padding), Ok(()), "{padding:?}");
        }
        for padding in one_sided(3) {
            let expected = "expected less on each side than the window, 3x3";
            assert_eq!(run(padding), Err(format!("{name} padding: got {padding:?}, {expected}")));
        }
    }
}

/// A small image between two taps that lie apart: there is nothing to pool.
#[test]
fn windows_without_a_pixel_are_refused() {
    let window = Window::new(1, 2).dilation(3).padding(Padding { left: 1, right: 3, ..Padding::NONE });
    let input = [5.0; 6];
    for (width, outputs, refused) in [(1, 2, true), (2, 3, true), (3, 4, false), (6, 7, false)] {
        assert_eq!(window.output(1, width), Some((1, outputs)));
        let image = || View::tight(&input, 1, width, 1).unwrap();
        let run = |pool: &dyn Fn(ViewMut<'_>) -> sepconv::Result<()>| {
            let mut output = vec![f32::NAN; outputs];
            pool(ViewMut::tight(&mut output, 1, outputs, 1).unwrap()).map(|()| output)
        };
        let pooled = [
            run(&|output| max_pool(window, image(), output)),
            run(&|output| average_pool(window, false, image(), output)),
            run(&|output| average_pool(window, true, image(), output)),
        ];
        for pooled in &pooled {
            assert_eq!(pooled.is_err(), refused, "{width}");
        }
        if !refused {
            assert_eq!(pooled[..2], [Ok(vec![5.0; outputs]), Ok(vec![5.0; outputs])]);
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let (input, mut output) = ([0.0; 8], [0.0; 8]);
    let view = View::tight(&input, 2, 2, 2).unwrap();
    let other = |height, width, channels| View::tight(&input, height, width, channels).unwrap();
    let mut refused = |(height, width, channels), run: &dyn Fn(ViewMut<'_>) -> sepconv::Result<()>, text: &str| {
        let output = ViewMut::tight(&mut output, height, width, channels).unwrap();
        assert_eq!(run(output).unwrap_err().to_string(), text);
    };
    let three = Window::square(3).stride(2);
    let padded = three.padding(Padding::all(1));
    let none = "with Padding { top: 0, bottom: 0, left: 0, right: 0 }, expected at least 3x3 with its padding";
    refused((1, 1, 2), &|out| max_pool(three, view, out), &format!("max pool input: got 2x2 {none}"));
    refused((1, 1, 2), &|out| average_pool(three, true, view, out), &format!("average pool input: got 2x2 {none}"));
    let shape = "(height, width, channels), expected";
    refused((1, 1, 1), &|out| max_pool(padded, view, out), &format!("max pool output: got 1x1x1 {shape} 1x1x2"));
    refused(
        (1, 1, 1),
        &|out| average_pool(padded, false, view, out),
        &format!("average pool output: got 1x1x1 {shape} 1x1x2"),
    );
    refused(
        (2, 2, 2),
        &|out| add(view, other(2, 1, 2), Clamp::NONE, out),
        &format!("second summand: got 2x1x2 {shape} 2x2x2"),
    );
    refused(
        (2, 2, 2),
        &|out| add(other(1, 2, 2), view, Clamp::NONE, out),
        &format!("first summand: got 1x2x2 {shape} 2x2x2"),
    );
    let norm =
        |scale: usize, out: ViewMut<'_>| leaky_norm(view, 0.3, (&[0.0; 3][..scale], &[0.0; 2]), Clamp::NONE, out);
    refused((2, 2, 1), &|out| norm(1, out), &format!("leaky norm input: got 2x2x2 {shape} 2x2x1"));
    let scale = "leaky norm scale (channels): got 3 elements, expected 2";
    refused((2, 2, 2), &|out| norm(3, out), scale);
    refused((2, 2, 1), &|out| clamp(view, Clamp::RELU, out), &format!("clamp input: got 2x2x2 {shape} 2x2x1"));
    for (bad, outputs) in [(view, 8), (View::tight(&[], 0, 2, 2).unwrap(), 2)] {
        let error = global_average_pool(bad, &mut vec![0.0; outputs]).unwrap_err().to_string();
        let (got, expected) = (bad.layout().shape(), "expected one output a channel, and at least one pixel");
        assert_eq!(error, format!("global average pooling: got {outputs} outputs for {got}, {expected}"));
    }
    assert!(View::tight(&input, 2, 2, 3).is_err());
    assert!(View::tight(&input, usize::MAX, 2, 3).is_err());
}
