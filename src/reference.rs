//! The oracle: every operation as plain loops, one output at a time, each a single chain of `f32::mul_add`.
//!
//! Inputs and outputs are slices without gaps, NHWC with one image. What these functions compute is the definition of
//! what every kernel must compute, to the bit: start at the bias; fused multiply-adds with taps row-major, then input
//! channels ascending; then the residual; then the clamp. Taps outside the image are skipped. Sizes that do not fit
//! each other panic: an oracle has no use for a second answer.
#![forbid(unsafe_code)]

use crate::depthwise::Padding;
use crate::epilogue::Clamp;

/// Height, width, channels.
pub type Shape = (usize, usize, usize);

/// The window of a convolution.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// Rows and columns.
    pub size: (usize, usize),
    /// Input pixels from one window to the next.
    pub stride: usize,
    /// Missing pixels around the image.
    pub padding: Padding,
}

impl Window {
    /// Rows and columns of the output.
    fn output(&self, (height, width, _): Shape) -> (usize, usize) {
        self.padding.output((height, width), self.size, self.stride).expect("an image that holds the window")
    }

    /// The taps of output pixel (y, x) that are inside the image, row-major: (index of the tap, index of the pixel).
    fn taps(&self, (height, width, _): Shape, (y, x): (usize, usize)) -> impl Iterator<Item = (usize, usize)> {
        let Window { size, stride, padding } = *self;
        (0..size.0 * size.1).filter_map(move |tap| {
            let row = (y * stride + tap / size.1).checked_sub(padding.top)?;
            let column = (x * stride + tap % size.1).checked_sub(padding.left)?;
            (row < height && column < width).then_some((tap, row * width + column))
        })
    }
}

/// `clamp(sum + residual)` for output element `index`.
fn finish(sum: f32, residual: Option<&[f32]>, index: usize, clamp: Clamp) -> f32 {
    clamp.apply(residual.map_or(sum, |residual| sum + residual[index]))
}

/// Pointwise convolution of `m` pixels of `k` channels with `n` x `k` weights.
pub fn pointwise(
    input: &[f32],
    (m, k, n): Shape,
    weights: &[f32],
    bias: &[f32],
    residual: Option<&[f32]>,
    clamp: Clamp,
) -> Vec<f32> {
    let output = |i: usize, j: usize| {
        let sum = (0..k).fold(bias[j], |sum, c| input[i * k + c].mul_add(weights[j * k + c], sum));
        finish(sum, residual, i * n + j, clamp)
    };
    (0..m * n).map(|index| output(index / n, index % n)).collect()
}

/// Depthwise convolution with `channels` x taps weights; `input_lo` clamps each input from below first.
pub fn depthwise(
    input: &[f32],
    shape: Shape,
    window: Window,
    input_lo: Option<f32>,
    (weights, bias): (&[f32], &[f32]),
    residual: Option<&[f32]>,
    clamp: Clamp,
) -> Vec<f32> {
    let channels = shape.2;
    let ((height, width), taps) = (window.output(shape), window.size.0 * window.size.1);
    let clamp_input = |x: f32| input_lo.map_or(x, |lo| if x < lo { lo } else { x });
    let output = |y: usize, x: usize, c: usize| {
        let sum = window.taps(shape, (y, x)).fold(bias[c], |sum, (tap, pixel)| {
            clamp_input(input[pixel * channels + c]).mul_add(weights[c * taps + tap], sum)
        });
        finish(sum, residual, (y * width + x) * channels + c, clamp)
    };
    let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (y, x)));
    pixels.flat_map(|(y, x)| (0..channels).map(move |c| (y, x, c))).map(|(y, x, c)| output(y, x, c)).collect()
}

/// Dense convolution with weights in the layout O, I, kh, kw.
pub fn conv(
    input: &[f32],
    shape: Shape,
    window: Window,
    outputs: usize,
    (weights, bias): (&[f32], &[f32]),
    residual: Option<&[f32]>,
    clamp: Clamp,
) -> Vec<f32> {
    let channels = shape.2;
    let ((height, width), taps) = (window.output(shape), window.size.0 * window.size.1);
    let output = |y: usize, x: usize, j: usize| {
        let mut sum = bias[j];
        for (tap, pixel) in window.taps(shape, (y, x)) {
            for c in 0..channels {
                sum = input[pixel * channels + c].mul_add(weights[(j * channels + c) * taps + tap], sum);
            }
        }
        finish(sum, residual, (y * width + x) * outputs + j, clamp)
    };
    let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (y, x)));
    pixels.flat_map(|(y, x)| (0..outputs).map(move |j| (y, x, j))).map(|(y, x, j)| output(y, x, j)).collect()
}

/// Max pooling: the first tap inside the image, then each later one that is greater, or NaN.
pub fn max_pool(input: &[f32], shape: Shape, window: Window) -> Vec<f32> {
    let channels = shape.2;
    let (height, width) = window.output(shape);
    let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (y, x)));
    let output = |(y, x): (usize, usize), c: usize| {
        let mut taps = window.taps(shape, (y, x)).map(|(_, pixel)| input[pixel * channels + c]);
        let first = taps.next().expect("a window that holds a pixel");
        taps.fold(first, |m, x| if x > m || x.is_nan() { x } else { m })
    };
    pixels.flat_map(|pixel| (0..channels).map(move |c| (pixel, c))).map(|(pixel, c)| output(pixel, c)).collect()
}

/// Global average pooling: the sum over the pixels in row-major order, times 1/pixels.
pub fn global_average_pool(input: &[f32], channels: usize) -> Vec<f32> {
    let scale = 1.0 / (input.len() / channels) as f32;
    (0..channels).map(|c| input.iter().skip(c).step_by(channels).fold(0.0, |sum: f32, x| sum + x) * scale).collect()
}

/// Element-wise sum, clamped.
pub fn add(a: &[f32], b: &[f32], clamp: Clamp) -> Vec<f32> {
    a.iter().zip(b).map(|(a, b)| clamp.apply(a + b)).collect()
}
