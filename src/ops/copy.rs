//! Channels copied from one image to another: what a concatenation or a shuffle leaves to do.

use pulp::{Arch, Simd, WithSimd};

use super::operator::Packed;
use super::part::Call;

/// Copies the channels of each pixel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Copy;

impl Packed for Copy {
    fn kernel(&self) -> &'static str {
        "copy"
    }

    unsafe fn run(&self, call: &Call) {
        struct Pixels<'a>(&'a Call);
        impl WithSimd for Pixels<'_> {
            type Output = ();

            #[inline(always)]
            fn with_simd<S: Simd>(self, _: S) {
                let Pixels(&Call { ref input, ref output, output_size: (height, width), ref outputs, .. }) = self;
                for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
                    let (from, to) = (input.offset(y, x, 0).pointer, output.offset(y, x, 0).pointer);
                    // SAFETY: the caller's promise: both images hold so many channels of the pixel.
                    unsafe { copy_run::<S>(from, to, outputs.len()) };
                }
            }
        }
        Arch::new().dispatch(Pixels(call));
    }
}

/// Copies `count` elements: most runs are shorter than a call of `memcpy` is worth. The last vector ends at the last
/// element, and copies some a second time.
///
/// # Safety
/// So many elements must be readable at `from`, and writable at `to`; the two must not overlap.
#[inline(always)]
unsafe fn copy_run<S: Simd>(from: *const f32, to: *mut f32, count: usize) {
    let Some(last) = count.checked_sub(S::F32_LANES) else {
        // SAFETY: by this function's own contract.
        (0..count).for_each(|at| unsafe { *to.add(at) = *from.add(at) });
        return;
    };
    for at in (0..last).step_by(S::F32_LANES).chain([last]) {
        // SAFETY: `at` and the vector after it lie within `count`.
        unsafe { to.add(at).cast::<S::f32s>().write_unaligned(from.add(at).cast::<S::f32s>().read_unaligned()) };
    }
}
