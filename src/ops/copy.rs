//! Channels copied from one image to another: what a concatenation or a shuffle leaves to do.

use pulp::Simd;

use super::operator::Packed;
use super::part::Call;
use super::simd::{Pixelwise, copy_run, each_pixel, pixel};

/// Copies the channels of each pixel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Copy;

impl Packed for Copy {
    fn kernel(&self) -> &'static str {
        "copy"
    }

    unsafe fn run(&self, call: &Call) {
        // SAFETY: by this function's own contract.
        unsafe { each_pixel(call, self) };
    }
}

impl Pixelwise for Copy {
    #[inline(always)]
    unsafe fn pixel<S: Simd>(&self, _: S, call: &Call, place: (usize, usize), output: &mut [f32]) {
        // SAFETY: by this function's own contract; the input holds every pixel of the output.
        copy_run::<S>(unsafe { pixel(call.input, place, output.len()) }, output);
    }
}
