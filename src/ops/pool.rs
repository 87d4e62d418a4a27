//! What the poolings share: the taps of a window, reduced for each channel by itself.

use core::{array, ptr, slice};

use pulp::{Arch, Simd, WithSimd};

use super::part::Call;
use crate::tensor::{Padding, Window};

/// What a pooling does with the taps of a window, one after the other.
pub(super) trait Reduce {
    /// What comes before the first tap; `None` where that is the first to come.
    const BEFORE: Option<f32>;

    /// Takes all `taps` into `sofar`, each channel by itself.
    fn vectors<S: Simd>(simd: S, sofar: S::f32s, taps: impl Iterator<Item = S::f32s> + Clone) -> S::f32s;

    /// Takes tap `x` of one channel into `sofar`.
    fn scalar(sofar: f32, x: f32) -> f32;

    /// What the result of so many taps is multiplied by, if by anything.
    fn scale(&self, taps: usize) -> Option<f32>;
}

/// `x > m || x.is_nan() ? x : m`.
pub(super) struct Maximum;

impl Reduce for Maximum {
    const BEFORE: Option<f32> = None;

    #[inline(always)]
    fn vectors<S: Simd>(simd: S, sofar: S::f32s, taps: impl Iterator<Item = S::f32s> + Clone) -> S::f32s {
        let greater = |m, x| simd.select_f32s(simd.greater_than_f32s(x, m), x, m);
        let (maximum, sum) = taps.clone().fold((sofar, sofar), |(m, sum), x| (greater(m, x), simd.add_f32s(sum, x)));
        // A sum that is a number, and so equal to itself, has no NaN in it: additions cost less than a look at each tap.
        if simd.first_true_m32s(simd.not_m32s(simd.equal_f32s(sum, sum))) >= S::F32_LANES {
            return maximum;
        }
        // A NaN in m stays unless x is NaN as well.
        taps.fold(sofar, |m, x| simd.select_f32s(simd.equal_f32s(x, x), greater(m, x), x))
    }

    #[inline(always)]
    fn scalar(m: f32, x: f32) -> f32 {
        if x > m || x.is_nan() { x } else { m }
    }

    #[inline(always)]
    fn scale(&self, _taps: usize) -> Option<f32> {
        None
    }
}

/// The sum, times 1/n.
pub(super) struct Mean {
    /// n, if it is not the number of taps that are summed.
    pub of: Option<usize>,
}

impl Reduce for Mean {
    const BEFORE: Option<f32> = Some(0.0);

    #[inline(always)]
    fn vectors<S: Simd>(simd: S, sofar: S::f32s, taps: impl Iterator<Item = S::f32s> + Clone) -> S::f32s {
        taps.fold(sofar, |sum, x| simd.add_f32s(sum, x))
    }

    #[inline(always)]
    fn scalar(sum: f32, x: f32) -> f32 {
        sum + x
    }

    #[inline(always)]
    fn scale(&self, taps: usize) -> Option<f32> {
        Some(1.0 / self.of.unwrap_or(taps) as f32)
    }
}

/// Taps of a window that are reduced at once: a window of 3x3 in one go.
const TAPS: usize = 9;

/// Reduces the taps of each window of `call` that lie inside its input, row-major, with the widest vectors that `pulp` finds:
/// one at least, as [`Window::expect_pixels`] holds.
///
/// # Safety
/// The contract of [`Packed::run`](super::operator::Packed::run).
pub(super) unsafe fn reduce_windows<R: Reduce>(call: &Call, window: Window, reduce: &R) {
    struct Windows<'a, R>(&'a Call, Window, &'a R);
    impl<R: Reduce> WithSimd for Windows<'_, R> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let Windows(call, window, reduce) = self;
            let (input, channels) = (call.input, call.outputs.len());
            let (down, across) = (
                input.row_stride.wrapping_mul(window.dilation.0 as isize),
                input.pixel_stride.wrapping_mul(window.dilation.1 as isize),
            );
            let inner = window.inner_columns(call.input_size.1);
            for y in 0..call.output_size.0 {
                let (row, rows) = window.tap_rows(call.input_size.0, y);
                let square = rows.len() == 3 && window.size.1 == 3;
                for x in 0..call.output_size.1 {
                    let inside = square && inner.contains(&x);
                    let (column, columns) = match inside {
                        true => (x * window.stride.1 - window.padding.left, 0..3),
                        false => window.tap_columns(call.input_size.1, x),
                    };
                    let first = input.offset(row, column, 0).pointer.cast_const();
                    let tap = |ky: usize, kx: usize| {
                        first.wrapping_offset(ky as isize * down).wrapping_offset(kx as isize * across)
                    };
                    // SAFETY: by the contract of the function around: the pixel lies inside the output, and nothing else
                    // uses it; the taps lie inside the input.
                    unsafe {
                        let output = slice::from_raw_parts_mut(call.output.offset(y, x, 0).pointer, channels);
                        if inside {
                            let taps: [_; TAPS] = array::from_fn(|at| tap(at / 3, at % 3));
                            reduce_run::<S, R>(simd, &taps, true, reduce.scale(TAPS), output);
                            continue;
                        }
                        let mut taps = [ptr::null(); TAPS];
                        let count = rows.len() * columns.len();
                        debug_assert!(count > 0, "a window without a pixel");
                        for (at, (ky, kx)) in
                            (0..rows.len()).flat_map(|ky| (0..columns.len()).map(move |kx| (ky, kx))).enumerate()
                        {
                            taps[at % TAPS] = tap(ky, kx);
                            let last = at + 1 == count;
                            if last || at % TAPS == TAPS - 1 {
                                let scale = reduce.scale(count).filter(|_| last);
                                reduce_run::<S, R>(simd, &taps[..at % TAPS + 1], at < TAPS, scale, output);
                            }
                        }
                    }
                }
            }
        }
    }
    // A strip of rows that some rows of the first window stick out of.
    let window = window.padding(Padding { top: call.missing, ..window.padding });
    Arch::new().dispatch(Windows(call, window, reduce));
}

/// Reduces runs of the length of `output` in turn into it: the `first` of a window, or those that come after what it holds; and
/// multiplies the result by `scale`.
///
/// # Safety
/// There must be one run at least, and nothing write to the runs meanwhile.
#[inline(always)]
unsafe fn reduce_run<S: Simd, R: Reduce>(
    simd: S,
    taps: &[*const f32],
    first: bool,
    scale: Option<f32>,
    output: &mut [f32],
) {
    let whole = output.len() - output.len() % S::F32_LANES;
    let (vectors, tail) = S::as_mut_simd_f32s(output);
    let skipped = usize::from(first && R::BEFORE.is_none());
    for (at, output) in vectors.iter_mut().enumerate() {
        // SAFETY: the runs are as long as the output, which has as many vectors.
        let load = |tap: &*const f32| unsafe { tap.cast::<S::f32s>().add(at).read_unaligned() };
        let before = match R::BEFORE {
            _ if !first => *output,
            Some(before) => simd.splat_f32s(before),
            None => load(&taps[0]),
        };
        let reduced = R::vectors(simd, before, taps[skipped..].iter().map(load));
        *output = scale.map_or(reduced, |scale| simd.mul_f32s(reduced, simd.splat_f32s(scale)));
    }
    for (at, output) in tail.iter_mut().enumerate() {
        // SAFETY: as above.
        let load = |tap: &*const f32| unsafe { tap.add(whole + at).read() };
        let before = match R::BEFORE {
            _ if !first => *output,
            Some(before) => before,
            None => load(&taps[0]),
        };
        let reduced = taps[skipped..].iter().map(load).fold(before, R::scalar);
        *output = scale.map_or(reduced, |scale| reduced * scale);
    }
}
