//! What the operators share: vectors of any width, and addresses.

use core::slice;

use pulp::Simd;

use crate::tensor::Image;

/// Channels of a panel and of a depthwise block: a multiple of every vector that pulp has.
pub(crate) const BLOCK: usize = 16;

/// `acc + a * b`, rounded once; on a CPU without FMA, where pulp has only its scalar tier, rounded twice: emulating the
/// single rounding there would cost a hundred times as much.
#[inline(always)]
pub(super) fn fma<S: Simd>(simd: S, acc: S::f32s, a: S::f32s, b: S::f32s) -> S::f32s {
    if S::IS_SCALAR { simd.mul_add_e_f32s(a, b, acc) } else { simd.mul_add_f32s(a, b, acc) }
}

/// `x`, or `lo` where it is less. Compare and select: keeps NaN and −0.
#[inline(always)]
pub(crate) fn clamp_lo<S: Simd>(simd: S, x: S::f32s, lo: S::f32s) -> S::f32s {
    simd.select_f32s(simd.less_than_f32s(x, lo), lo, x)
}

/// `x`, or `hi` where it is greater. Compare and select: keeps NaN and −0.
#[inline(always)]
pub(crate) fn clamp_hi<S: Simd>(simd: S, x: S::f32s, hi: S::f32s) -> S::f32s {
    simd.select_f32s(simd.greater_than_f32s(x, hi), hi, x)
}

/// The first `n` lanes from `pointer`, 1 <= n <= lanes; the others are zero.
///
/// # Safety
/// `n` elements must be readable.
#[inline(always)]
pub(super) unsafe fn load<S: Simd>(simd: S, pointer: *const f32, n: usize) -> S::f32s {
    // SAFETY: by this function's own contract; pulp's vectors are plain data of as many elements as they have lanes.
    unsafe {
        // Where `n` is no constant, the masks of partial vectors cost more than the test.
        if n == S::F32_LANES {
            pointer.cast::<S::f32s>().read_unaligned()
        } else {
            simd.partial_load_f32s(slice::from_raw_parts(pointer, n))
        }
    }
}

/// Stores the first `n` lanes at `pointer`, 1 <= n <= lanes.
///
/// # Safety
/// `n` elements must be writable.
#[inline(always)]
pub(super) unsafe fn store<S: Simd>(simd: S, pointer: *mut f32, n: usize, v: S::f32s) {
    // SAFETY: as for `load`.
    unsafe {
        if n == S::F32_LANES {
            pointer.cast::<S::f32s>().write_unaligned(v);
        } else {
            simd.partial_store_f32s(slice::from_raw_parts_mut(pointer, n), v);
        }
    }
}

/// The address of the first channel of a pixel of `image`, or of where it would be.
#[inline(always)]
pub(super) fn at(image: &Image, row: isize, pixel: isize) -> *mut f32 {
    let elements = row.wrapping_mul(image.row_stride).wrapping_add(pixel.wrapping_mul(image.pixel_stride));
    image.pointer.wrapping_offset(elements)
}

/// `v` with the vector at `pixel` of the first row of `residual` added, `lanes` of them real, where there is a residual.
///
/// # Safety
/// The residual, if any, must hold `lanes` readable elements there.
#[inline(always)]
pub(super) unsafe fn add_residual<S: Simd>(
    simd: S,
    v: S::f32s,
    residual: &Image,
    pixel: isize,
    lanes: usize,
) -> S::f32s {
    if residual.is_none() {
        return v;
    }
    // SAFETY: by this function's own contract.
    simd.add_f32s(v, unsafe { load(simd, at(residual, 0, pixel), lanes) })
}
