//! Channels copied from one image to another: what a concatenation or a shuffle leaves to do.

use super::operator::Packed;
use super::part::Call;
use super::simd::{each_pixel, pixel};

/// Copies the channels of each pixel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Copy;

impl Packed for Copy {
    fn kernel(&self) -> &'static str {
        "copy"
    }

    unsafe fn run(&self, call: &Call) {
        // SAFETY: by this function's own contract; the input holds every pixel of the output.
        unsafe {
            each_pixel(call, |y, x, output| {
                let input = pixel(call.input, y, x, output.len());
                // Most runs are shorter than a call of `memcpy` is worth.
                let (chunks, rest) = input.as_chunks::<4>();
                let (targets, tail) = output.as_chunks_mut::<4>();
                targets.iter_mut().zip(chunks).for_each(|(target, chunk)| *target = *chunk);
                tail.iter_mut().zip(rest).for_each(|(target, value)| *target = *value);
            });
        }
    }
}
