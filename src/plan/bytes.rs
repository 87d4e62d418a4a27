//! Bytes of callers as the pixels of the workspace.

use core::ops::Range;

use super::images::Bytes;
use crate::math::fma;
use crate::tensor::{Image, Layout};

/// Makes numbers of `rows` of image `image` of `bytes`, tight images of `layout`'s size, in the pixels at `to`.
///
/// # Safety
/// `to` must hold the rows, and nothing else use them meanwhile.
pub(super) unsafe fn widen(bytes: &Bytes<'_>, image: usize, rows: &Range<usize>, to: Image, layout: &Layout) {
    let Layout { height, width, channels, .. } = *layout;
    for (y, x) in (0..rows.len()).flat_map(|y| (0..width).map(move |x| (y, x))) {
        let pixel = ((image * height + rows.start + y) * width + x) * channels;
        let target = to.offset(y, x, 0).pointer;
        let numbers = bytes.data[pixel..pixel + channels].iter().zip(bytes.scale).zip(bytes.offset);
        for (channel, ((&value, &scale), &offset)) in numbers.enumerate() {
            // SAFETY: by this function's own contract.
            unsafe { *target.wrapping_add(channel) = fma(f32::from(value), scale, offset) };
        }
    }
}
