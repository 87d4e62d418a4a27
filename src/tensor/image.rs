//! The one form in which a kernel gets an image.

use super::Layout;

/// An image by address: its first element, and its strides. C kernels and Rust share it (kernels/arguments.rs); sizes
/// stand beside it. Whether it is read or written, each use says.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Image {
    /// First channel of the first pixel; null where there is no image.
    pub pointer: *mut f32,
    /// From one pixel to the next in its row, in elements.
    pub pixel_stride: isize,
    /// From one row to the next, in elements.
    pub row_stride: isize,
}

// SAFETY: an address by itself does nothing; who reads or writes through it promises that no other thread is in the way.
unsafe impl Send for Image {}
// SAFETY: as above.
unsafe impl Sync for Image {}

impl Image {
    /// No image.
    pub const NONE: Image = Image { pointer: core::ptr::null_mut(), pixel_stride: 0, row_stride: 0 };

    /// The image that begins at `pointer`.
    pub fn of(pointer: *mut f32, layout: &Layout) -> Image {
        let layout = layout.without_unused_strides();
        Image { pointer, pixel_stride: layout.pixel_stride as isize, row_stride: layout.row_stride as isize }
    }

    /// Whether there is none.
    pub fn is_none(&self) -> bool {
        self.pointer.is_null()
    }

    /// The image that begins `rows`, `pixels` and `channels` further on; none stays none.
    pub fn offset(self, rows: usize, pixels: usize, channels: usize) -> Image {
        if self.is_none() {
            return self;
        }
        let pixel = (pixels as isize).wrapping_mul(self.pixel_stride);
        let elements = (rows as isize).wrapping_mul(self.row_stride).wrapping_add(pixel);
        Image { pointer: self.pointer.wrapping_offset(elements).wrapping_add(channels), ..self }
    }

    /// The image of every `stride`th row and pixel.
    pub fn every(self, stride: (usize, usize)) -> Image {
        Image {
            pixel_stride: self.pixel_stride.wrapping_mul(stride.1 as isize),
            row_stride: self.row_stride.wrapping_mul(stride.0 as isize),
            ..self
        }
    }
}
