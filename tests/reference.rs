//! The oracle against other oracles: the `gemm` crate, and loops in f64.
#![cfg(feature = "reference")]

mod common;

use common::{Kind, Numbers, abs};
use sepconv::{Clamp, Padding, Shape, Window, reference};

/// |got - exact| <= (depth + 2) * epsilon * magnitude, for each output.
fn assert_near(got: &[f32], exact: &[f64], magnitude: &[f32], depth: usize) {
    assert_eq!(got.len(), exact.len());
    for (i, (&got, &exact)) in got.iter().zip(exact).enumerate() {
        let bound = (depth + 2) as f64 * f64::from(f32::EPSILON) * f64::from(magnitude[i]);
        assert!((f64::from(got) - exact).abs() <= bound, "element {i} is {got}, exactly {exact}");
    }
}

#[test]
fn pointwise_is_a_matrix_product() {
    let (m, k, n) = (37, 129, 53);
    let mut numbers = Numbers(3);
    let (a, b, bias) =
        (numbers.take(m * k, Kind::Floats), numbers.take(n * k, Kind::Floats), numbers.take(n, Kind::Floats));
    let got = reference::pointwise(&a, (m, k, n), (&b, &bias), None, Clamp::NONE);
    let magnitude = reference::pointwise(&abs(&a), (m, k, n), (&abs(&b), &abs(&bias)), None, Clamp::NONE);
    let exact: Vec<f64> = (0..m * n)
        .map(|index| {
            let (i, j) = (index / n, index % n);
            f64::from(bias[j]) + (0..k).map(|c| f64::from(a[i * k + c]) * f64::from(b[j * k + c])).sum::<f64>()
        })
        .collect();
    assert_near(&got, &exact, &magnitude, k);

    let mut product: Vec<f32> = (0..m * n).map(|index| bias[index % n]).collect();
    let (n_stride, k_stride) = (n as isize, k as isize);
    // SAFETY: the strides are those of row-major m x n and m x k matrices, and of n x k weights read across.
    unsafe {
        let (c, a, b) = (product.as_mut_ptr(), a.as_ptr(), b.as_ptr());
        let serial = gemm::Parallelism::None;
        gemm::gemm(
            m, n, k, c, 1, n_stride, true, a, 1, k_stride, b, k_stride, 1, 1.0, 1.0, false, false, false, serial,
        );
    }
    let product: Vec<f64> = product.into_iter().map(f64::from).collect();
    let twice: Vec<f32> = magnitude.iter().map(|magnitude| 2.0 * magnitude).collect();
    assert_near(&got, &product, &twice, k);
}

#[test]
fn convolutions_are_sums_over_the_window() {
    let (height, width, channels, outputs) = (9, 7, 5, 4);
    let mut numbers = Numbers(4);
    let input = numbers.take(height * width * channels, Kind::Floats);
    let weights = numbers.take(outputs * channels * 9, Kind::Floats);
    let bias = numbers.take(channels.max(outputs), Kind::Floats);
    for stride in [1, 2] {
        for padding in [Padding::default(), Padding::all(1), Padding { top: 0, bottom: 1, left: 2, right: 0 }] {
            let window = Window::square(3).stride(stride).padding(padding);
            let shape = Shape::new(height, width, channels);
            let (out_height, out_width) = window.output(height, width).unwrap();
            // The image with its padding as zeros: finite inputs make skipping and multiplying by zero the same.
            let at = |y: usize, x: usize, c: usize| match (y.checked_sub(padding.top), x.checked_sub(padding.left)) {
                (Some(y), Some(x)) if y < height && x < width => f64::from(input[(y * width + x) * channels + c]),
                _ => 0.0,
            };
            let sum = |y: usize, x: usize, c: usize, weights: &[f32]| {
                (0..9).map(|t| at(y * stride + t / 3, x * stride + t % 3, c) * f64::from(weights[t])).sum::<f64>()
            };
            let pixels = || (0..out_height).flat_map(|y| (0..out_width).map(move |x| (y, x)));
            let dw_exact: Vec<f64> = pixels()
                .flat_map(|(y, x)| (0..channels).map(move |c| (y, x, c)))
                .map(|(y, x, c)| f64::from(bias[c]) + sum(y, x, c, &weights[c * 9..][..9]))
                .collect();
            let dw = |input: &[f32], weights: &[f32], bias: &[f32]| {
                reference::depthwise(input, shape, &window, None, (weights, bias), None, Clamp::NONE)
            };
            assert_near(&dw(&input, &weights, &bias), &dw_exact, &dw(&abs(&input), &abs(&weights), &abs(&bias)), 9);

            let of_output = |y, x, j: usize| {
                (0..channels).map(|c| sum(y, x, c, &weights[(j * channels + c) * 9..][..9])).sum::<f64>()
            };
            let exact: Vec<f64> = pixels()
                .flat_map(|(y, x)| (0..outputs).map(move |j| (y, x, j)))
                .map(|(y, x, j)| f64::from(bias[j]) + of_output(y, x, j))
                .collect();
            let conv = |input: &[f32], weights: &[f32], bias: &[f32]| {
                reference::conv(input, shape, &window, outputs, (weights, bias), None, Clamp::NONE)
            };
            let magnitude = conv(&abs(&input), &abs(&weights), &abs(&bias));
            assert_near(&conv(&input, &weights, &bias), &exact, &magnitude, 9 * channels);
        }
    }
}
