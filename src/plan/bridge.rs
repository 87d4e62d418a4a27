//! Images between the forms that callers have them in and the pixels of the workspace.

use core::ops::Range;

use super::images::Bytes;
use crate::math::fma;
use crate::tensor::{Image, Layout, transpose};

/// Where the elements of an image lie: as pixels, or as planes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Form {
    image: Image,
    channel_stride: usize,
}

impl Form {
    /// Channels side by side.
    pub fn pixels(image: Image) -> Form {
        Form { image, channel_stride: 1 }
    }

    /// Image `image` of those that are `stride` apart, from row `row` on.
    pub fn of_image(self, image: usize, stride: usize, row: usize) -> Form {
        let pointer = self.image.pointer.wrapping_add(image * stride);
        Form { image: Image { pointer, ..self.image }.offset(row, 0, 0), ..self }
    }
}

/// The form of a caller's image: its pixels at `image`, or its planes, without gaps, from there on.
pub(super) fn form(image: Image, layout: &Layout, planes: bool) -> Form {
    if !planes {
        return Form::pixels(image);
    }
    let image = Image { pixel_stride: 1, row_stride: layout.width as isize, ..image };
    Form { image, channel_stride: layout.pixels() }
}

/// Copies as many rows as `rows` has, of images of `layout`'s width and channels, from where `from` is to where `to` is.
/// One of the two has its channels side by side.
///
/// # Safety
/// Both must hold the rows; nothing else may use what is written meanwhile.
pub(super) unsafe fn copy(from: Form, to: Form, rows: &Range<usize>, layout: &Layout) {
    let Layout { width, channels, .. } = *layout;
    let tight = [from, to].iter().all(|form| form.image.row_stride == form.image.pixel_stride * width as isize);
    // Rows without gaps are one row.
    let (height, width) = if tight { (1, rows.len() * width) } else { (rows.len(), width) };
    for y in 0..height {
        let (source, target) = (from.image.offset(y, 0, 0).pointer, to.image.offset(y, 0, 0).pointer);
        let (step, to_step) = (from.image.pixel_stride as usize, to.image.pixel_stride as usize);
        // SAFETY: by this function's own contract.
        unsafe {
            match (from.channel_stride, to.channel_stride) {
                (1, 1) => (0..width).for_each(|x| {
                    source.wrapping_add(x * step).copy_to_nonoverlapping(target.wrapping_add(x * to_step), channels)
                }),
                (plane, 1) => transpose((channels, width), (source, plane), target, |x| x * to_step),
                (_, plane) => transpose((width, channels), (source, step), target, |channel| channel * plane),
            }
        }
    }
}

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
