//! What the operators without weights share: runs of elements over `pulp`, and the loop over the pixels of a call.

use core::slice;

use pulp::{Arch, Simd, WithSimd};

use super::part::Call;
use crate::math::fma;
use crate::tensor::{Clamp, Image};

/// An operator that computes its output pixel by pixel.
pub(super) trait Pixelwise {
    /// Computes pixel (`y`, `x`) of `call`, its channels in `output`.
    ///
    /// # Safety
    /// The contract of [`Packed::run`](super::operator::Packed::run).
    unsafe fn pixel<S: Simd>(&self, simd: S, call: &Call, place: (usize, usize), output: &mut [f32]);
}

/// Computes each output pixel of `call`, row by row, with the widest vectors that `pulp` finds.
///
/// # Safety
/// The contract of [`Packed::run`](super::operator::Packed::run).
pub(super) unsafe fn each_pixel(call: &Call, operator: &impl Pixelwise) {
    struct Pixels<'a, P>(&'a Call, &'a P);
    impl<P: Pixelwise> WithSimd for Pixels<'_, P> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let Pixels(call, operator) = self;
            let (height, width) = call.output_size;
            for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
                // SAFETY: by the contract of the function around: the pixel lies inside the output, and nothing else uses
                // it.
                unsafe {
                    let pixel = call.output.offset(y, x, 0).pointer;
                    operator.pixel(simd, call, (y, x), slice::from_raw_parts_mut(pixel, call.outputs.len()));
                }
            }
        }
    }
    Arch::new().dispatch(Pixels(call, operator));
}

/// `channels` of pixel (`y`, `x`) of `image`, to be read.
///
/// # Safety
/// The image must hold the pixel, and nothing write to it while the slice is used.
#[inline(always)]
pub(super) unsafe fn pixel<'a>(image: Image, (y, x): (usize, usize), channels: usize) -> &'a [f32] {
    // SAFETY: by this function's own contract.
    unsafe { slice::from_raw_parts(image.offset(y, x, 0).pointer, channels) }
}

/// Compare and select: keeps NaN and −0.
#[inline(always)]
fn clamped<S: Simd>(simd: S, x: S::f32s, lo: S::f32s, hi: S::f32s) -> S::f32s {
    let raised = simd.select_f32s(simd.less_than_f32s(x, lo), lo, x);
    simd.select_f32s(simd.greater_than_f32s(raised, hi), hi, raised)
}

/// `a * b + c`, rounded once; twice on a CPU without FMA, where pulp has only its scalar tier.
#[inline(always)]
fn fused<S: Simd>(simd: S, a: S::f32s, b: S::f32s, c: S::f32s) -> S::f32s {
    if S::IS_SCALAR { simd.mul_add_e_f32s(a, b, c) } else { simd.mul_add_f32s(a, b, c) }
}

/// `output = clamp(a + b)` for three runs of equal length.
#[inline(always)]
pub(super) fn add_run<S: Simd>(simd: S, a: &[f32], b: &[f32], clamp: Clamp, output: &mut [f32]) {
    let (lo, hi) = (simd.splat_f32s(clamp.lo), simd.splat_f32s(clamp.hi));
    let ((a, a_tail), (b, b_tail)) = (S::as_simd_f32s(a), S::as_simd_f32s(b));
    let (output, tail) = S::as_mut_simd_f32s(output);
    for ((&a, &b), output) in a.iter().zip(b).zip(output) {
        *output = clamped(simd, simd.add_f32s(a, b), lo, hi);
    }
    for ((a, b), output) in a_tail.iter().zip(b_tail).zip(tail) {
        *output = clamp.apply(a + b);
    }
}

/// `output = clamp(x)` for two runs of equal length.
#[inline(always)]
pub(super) fn clamp_run<S: Simd>(simd: S, x: &[f32], clamp: Clamp, output: &mut [f32]) {
    let (lo, hi) = (simd.splat_f32s(clamp.lo), simd.splat_f32s(clamp.hi));
    let ((x, x_tail), (output, tail)) = (S::as_simd_f32s(x), S::as_mut_simd_f32s(output));
    for (&x, output) in x.iter().zip(output) {
        *output = clamped(simd, x, lo, hi);
    }
    for (&x, output) in x_tail.iter().zip(tail) {
        *output = clamp.apply(x);
    }
}

/// `output = clamp((x < 0 ? x * slope : x) * scale + shift)` for runs of equal length.
#[inline(always)]
pub(super) fn leaky_norm_run<S: Simd>(
    simd: S,
    x: &[f32],
    slope: f32,
    (scale, shift): (&[f32], &[f32]),
    clamp: Clamp,
    output: &mut [f32],
) {
    let (lo, hi, zero) = (simd.splat_f32s(clamp.lo), simd.splat_f32s(clamp.hi), simd.splat_f32s(0.0));
    let slopes = simd.splat_f32s(slope);
    let ((x, x_tail), (output, tail)) = (S::as_simd_f32s(x), S::as_mut_simd_f32s(output));
    let ((scale, scale_tail), (shift, shift_tail)) = (S::as_simd_f32s(scale), S::as_simd_f32s(shift));
    for ((&x, output), (&scale, &shift)) in x.iter().zip(output).zip(scale.iter().zip(shift)) {
        let leaky = simd.select_f32s(simd.less_than_f32s(x, zero), simd.mul_f32s(x, slopes), x);
        *output = clamped(simd, fused(simd, leaky, scale, shift), lo, hi);
    }
    for ((&x, output), (&scale, &shift)) in x_tail.iter().zip(tail).zip(scale_tail.iter().zip(shift_tail)) {
        let leaky = if x < 0.0 { x * slope } else { x };
        *output = clamp.apply(fma(leaky, scale, shift));
    }
}
