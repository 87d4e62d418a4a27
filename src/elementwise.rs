//! The operations without weights, over `pulp`: add, max pooling, global average pooling, softmax.

use pulp::{Arch, Simd, WithSimd};

use crate::depthwise::Padding;
use crate::epilogue::Clamp;
use crate::error::{Error, Result};
use crate::portable::{lower, raise};
use crate::tensor::{View, ViewMut};

/// `output = clamp(a + b)`, pixel by pixel.
pub fn add(a: View<'_>, b: View<'_>, clamp: Clamp, mut output: ViewMut<'_>) -> Result<()> {
    let layout = output.layout();
    a.layout().expect("first summand", layout.height, layout.width, layout.channels)?;
    b.layout().expect("second summand", layout.height, layout.width, layout.channels)?;
    if layout.is_empty() {
        return Ok(());
    }
    for y in 0..layout.height {
        for x in 0..layout.width {
            add_run(a.pixel(y, x), b.pixel(y, x), clamp, output.pixel_mut(y, x));
        }
    }
    Ok(())
}

/// `output = clamp(a + b)` for three runs of equal length.
pub(crate) fn add_run(a: &[f32], b: &[f32], clamp: Clamp, output: &mut [f32]) {
    struct Add<'a>(&'a [f32], &'a [f32], Clamp, &'a mut [f32]);
    impl WithSimd for Add<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let Add(a, b, clamp, output) = self;
            let (lo, hi) = (simd.splat_f32s(clamp.lo), simd.splat_f32s(clamp.hi));
            let ((a, a_tail), (b, b_tail)) = (S::as_simd_f32s(a), S::as_simd_f32s(b));
            let (output, tail) = S::as_mut_simd_f32s(output);
            for ((&a, &b), output) in a.iter().zip(b).zip(output) {
                *output = lower(simd, raise(simd, simd.add_f32s(a, b), lo), hi);
            }
            for ((a, b), output) in a_tail.iter().zip(b_tail).zip(tail) {
                *output = clamp.apply(a + b);
            }
        }
    }
    Arch::new().dispatch(Add(a, b, clamp, output));
}

/// Rows and columns of the window of max pooling, and input pixels from one window to the next.
pub(crate) const POOL_WINDOW: usize = 3;
pub(crate) const POOL_STRIDE: usize = 2;

/// Max pooling with a 3x3 window and stride 2: the first tap inside the image, then each later one that is greater, or
/// NaN. Padding (less than 3 on each side) never counts.
pub fn max_pool(padding: Padding, input: View<'_>, mut output: ViewMut<'_>) -> Result<()> {
    let (source, target) = (input.layout(), output.layout());
    let sides = [padding.top, padding.bottom, padding.left, padding.right];
    let size = padding
        .output((source.height, source.width), (POOL_WINDOW, POOL_WINDOW), POOL_STRIDE)
        .filter(|_| sides.iter().all(|&side| side < POOL_WINDOW));
    let (height, width) = size.ok_or_else(|| {
        let got = format!("{}x{} with {padding:?}", source.height, source.width);
        Error::shape("max pooling input", got, "at least 3x3 with its padding, which is at most 2 a side")
    })?;
    target.expect("max pooling output", height, width, source.channels)?;
    if target.is_empty() {
        return Ok(());
    }
    for y in 0..height {
        for x in 0..width {
            max_pool_pixel(padding, input, (y, x), output.pixel_mut(y, x))?;
        }
    }
    Ok(())
}

/// One output pixel of [`max_pool`].
pub(crate) fn max_pool_pixel(padding: Padding, input: View<'_>, at: (usize, usize), output: &mut [f32]) -> Result<()> {
    let layout = input.layout();
    let inside = |at: usize, before: usize, extent: usize| {
        let start = POOL_STRIDE * at;
        start.saturating_sub(before)..(start + POOL_WINDOW).saturating_sub(before).min(extent)
    };
    let (rows, columns) = (inside(at.0, padding.top, layout.height), inside(at.1, padding.left, layout.width));
    let mut taps = rows.flat_map(|y| columns.clone().map(move |x| (y, x))).map(|(y, x)| input.pixel(y, x));
    let Some(first) = taps.next() else {
        return Err(Error::shape("max pooling window", format!("{at:?}"), "a window that holds a pixel"));
    };
    output.copy_from_slice(first);
    taps.for_each(|tap| maximum_run(tap, output));
    Ok(())
}

/// `m = x > m || x.is_nan() ? x : m`.
fn maximum_run(x: &[f32], m: &mut [f32]) {
    struct Maximum<'a>(&'a [f32], &'a mut [f32]);
    impl WithSimd for Maximum<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let ((x, x_tail), (m, m_tail)) = (S::as_simd_f32s(self.0), S::as_mut_simd_f32s(self.1));
            for (&x, m) in x.iter().zip(m) {
                // A NaN in x fails every comparison, so it is the case "neither less nor equal"; a NaN in m stays
                // unless x is NaN as well.
                let keep = simd.select_f32s(simd.greater_than_f32s(x, *m), x, *m);
                let ordered = simd.less_than_or_equal_f32s(x, simd.splat_f32s(f32::INFINITY));
                *m = simd.select_f32s(ordered, keep, x);
            }
            for (&x, m) in x_tail.iter().zip(m_tail) {
                if x > *m || x.is_nan() {
                    *m = x;
                }
            }
        }
    }
    Arch::new().dispatch(Maximum(x, m));
}

/// Global average pooling: for each channel the sum over the pixels in row-major order, times 1/pixels.
pub fn global_average_pool(input: View<'_>, output: &mut [f32]) -> Result<()> {
    let layout = input.layout();
    if output.len() != layout.channels || layout.pixels() == 0 {
        let got = format!("{} outputs for {layout:?}", output.len());
        return Err(Error::shape("global average pooling", got, "one output a channel, and at least one pixel"));
    }
    output.fill(0.0);
    if layout.is_empty() {
        return Ok(());
    }
    for y in 0..layout.height {
        for x in 0..layout.width {
            accumulate_run(input.pixel(y, x), output);
        }
    }
    let scale = 1.0 / layout.pixels() as f32;
    output.iter_mut().for_each(|sum| *sum *= scale);
    Ok(())
}

fn accumulate_run(x: &[f32], sum: &mut [f32]) {
    struct Accumulate<'a>(&'a [f32], &'a mut [f32]);
    impl WithSimd for Accumulate<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let ((x, x_tail), (sum, sum_tail)) = (S::as_simd_f32s(self.0), S::as_mut_simd_f32s(self.1));
            for (&x, sum) in x.iter().zip(sum) {
                *sum = simd.add_f32s(*sum, x);
            }
            for (x, sum) in x_tail.iter().zip(sum_tail) {
                *sum += x;
            }
        }
    }
    Arch::new().dispatch(Accumulate(x, sum));
}

/// Turns logits into probabilities, in place: `exp(x - max) / sum`. For output only: exempt from the promise of equal
/// bits, and within 1e-6 of the exact value.
pub fn softmax(logits: &mut [f32]) {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0f64;
    for x in logits.iter_mut() {
        *x = (*x - max).exp();
        sum += f64::from(*x);
    }
    logits.iter_mut().for_each(|x| *x = (f64::from(*x) / sum) as f32);
}
