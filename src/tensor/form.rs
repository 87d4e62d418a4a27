//! Images as pixels and as planes, and from one to the other.

use core::ops::Range;

use super::{Image, Layout, transpose};

/// Where the elements of an image lie: as pixels, or as planes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Form {
    image: Image,
    channel_stride: usize,
}

impl Form {
    /// Channels side by side.
    pub fn pixels(image: Image) -> Form {
        Form { image, channel_stride: 1 }
    }

    /// Planes without gaps, from where `image` begins.
    pub fn planes(image: Image, layout: &Layout) -> Form {
        let image = Image { pixel_stride: 1, row_stride: layout.width as isize, ..image };
        Form { image, channel_stride: layout.pixels() }
    }

    /// Image `image` of those that are `stride` apart, from row `row` on.
    pub fn of_image(self, image: usize, stride: usize, row: usize) -> Form {
        let pointer = self.image.pointer.wrapping_add(image * stride);
        Form { image: Image { pointer, ..self.image }.offset(row, 0, 0), ..self }
    }
}

/// Copies as many rows as `rows` has, of images of `layout`'s width and channels, from where `from` is to where `to` is.
///
/// # Safety
/// Both must hold the rows, and share no memory; nothing else may use what is written meanwhile.
pub(crate) unsafe fn copy(from: Form, to: Form, rows: &Range<usize>, layout: &Layout) {
    let Layout { width, channels, .. } = *layout;
    let tight = [from, to].iter().all(|form| form.image.row_stride == form.image.pixel_stride * width as isize);
    // Rows without gaps are one row.
    let (height, width) = if tight { (1, rows.len() * width) } else { (rows.len(), width) };
    for y in 0..height {
        let (source, target) = (from.image.offset(y, 0, 0).pointer, to.image.offset(y, 0, 0).pointer);
        let (step, to_step) = (from.image.pixel_stride as usize, to.image.pixel_stride as usize);
        let (plane, to_plane) = (from.channel_stride, to.channel_stride);
        // SAFETY: by this function's own contract.
        unsafe {
            match (plane == 1, to_plane == 1) {
                (true, true) => (0..width).for_each(|x| {
                    source.wrapping_add(x * step).copy_to_nonoverlapping(target.wrapping_add(x * to_step), channels)
                }),
                (false, true) => transpose((channels, width), (source, plane), target, |x| x * to_step),
                (true, false) => transpose((width, channels), (source, step), target, |channel| channel * to_plane),
                (false, false) => (0..channels).for_each(|channel| {
                    let source = source.wrapping_add(channel * plane);
                    source.copy_to_nonoverlapping(target.wrapping_add(channel * to_plane), width)
                }),
            }
        }
    }
}
