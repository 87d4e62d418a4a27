//! Where the pixels of an image lie.

use alloc::format;
use alloc::string::ToString;

use super::Shape;
use super::buffer::LINE;
use crate::error::{Error, Result};

/// The largest size or stride of an image, in elements.
const LARGEST: usize = isize::MAX as usize / 8;

/// Where the pixels of one NHWC image lie in a slice: channel `c` of pixel (`y`, `x`) is element
/// `y * row_stride + x * pixel_stride + c`. Sizes and strides count elements.
///
/// ```
/// use sepconv::{Layout, Shape};
///
/// let tight = Layout::tight(2, 3, 256);
/// assert_eq!((tight.shape(), tight.pixels()), (Shape::new(2, 3, 256), 6));
/// assert_eq!(tight.extent(), Some(2 * 3 * 256));
/// // A cache line after each pixel; the one after the last is no part of the image.
/// let spaced = Layout::spaced(2, 3, 256);
/// assert_eq!((spaced.pixel_stride, spaced.row_stride), (272, 3 * 272));
/// assert_eq!(spaced.extent(), Some(5 * 272 + 256));
/// // Rows that overlap.
/// assert_eq!(Layout { row_stride: 256, ..tight }.extent(), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Rows.
    pub height: usize,
    /// Pixels in a row.
    pub width: usize,
    /// Channels of a pixel.
    pub channels: usize,
    /// From one pixel to the next; at least `channels`.
    pub pixel_stride: usize,
    /// From one row to the next; at least `width * pixel_stride`.
    pub row_stride: usize,
}

impl Layout {
    /// As [`tight`](Self::tight), with a gap after each pixel where pixels would be a multiple of 1 KB apart: those of a
    /// window would fall on the same lines of the first-level cache, which makes the depthwise kernels much slower.
    pub const fn spaced(height: usize, width: usize, channels: usize) -> Self {
        let pixel_stride = channels + if channels.is_multiple_of(256) { LINE } else { 0 };
        let row_stride = width.saturating_mul(pixel_stride);
        Layout { height, width, channels, pixel_stride, row_stride }
    }

    /// The layout without gaps.
    pub const fn tight(height: usize, width: usize, channels: usize) -> Self {
        Layout { height, width, channels, pixel_stride: channels, row_stride: width.saturating_mul(channels) }
    }

    /// The shape.
    pub const fn shape(&self) -> Shape {
        Shape { height: self.height, width: self.width, channels: self.channels }
    }

    /// Pixels of the image; `usize::MAX` where there are more than fit.
    pub const fn pixels(&self) -> usize {
        self.height.saturating_mul(self.width)
    }

    /// Elements from the first to one past the last that belongs to the image: what a slice or an allocation must hold.
    /// `None` where the layout is malformed: strides that overlap, sizes that overflow.
    pub fn extent(&self) -> Option<usize> {
        // Whatever is computed from two of the numbers has room: an image without elements may have any other size.
        let numbers = [self.height, self.width, self.channels, self.pixel_stride, self.row_stride];
        if numbers.iter().any(|&number| number > LARGEST) {
            return None;
        }
        if self.is_empty() {
            return Some(0);
        }
        let row = (self.width - 1).checked_mul(self.pixel_stride)?.checked_add(self.channels)?;
        if self.pixel_stride < self.channels || (self.height > 1 && self.row_stride < row) {
            return None;
        }
        let extent = (self.height - 1).checked_mul(self.row_stride)?.checked_add(row)?;
        (extent <= LARGEST).then_some(extent)
    }

    /// The same image with every stride that is never used (of a single pixel, a single row, no element) as if there were
    /// no gaps, so that strides times small numbers fit the address space.
    pub(crate) const fn without_unused_strides(mut self) -> Self {
        if self.is_empty() {
            (self.pixel_stride, self.row_stride) = (0, 0);
            return self;
        }
        match (self.height, self.width) {
            (1, 1) => (self.pixel_stride, self.row_stride) = (self.channels, self.channels),
            (1, width) => self.row_stride = width * self.pixel_stride,
            (_, 1) => self.pixel_stride = self.row_stride,
            _ => {}
        }
        self
    }

    /// Whether the image has no element.
    pub(crate) const fn is_empty(&self) -> bool {
        self.shape().is_empty()
    }

    /// The extent; an error where the layout is malformed.
    pub(crate) fn checked_extent(&self, what: &str) -> Result<usize> {
        self.extent().ok_or_else(|| {
            Error::shape(
                what,
                format!("{self:?}"),
                "a pixel stride of at least the channels, a row stride that holds the row, and sizes that fit the address space",
            )
        })
    }

    /// The error for a layout whose size is not the expected one, if it is not.
    pub(crate) fn expect(&self, what: impl core::fmt::Display, expected: Shape) -> Result<()> {
        if self.shape() == expected {
            return Ok(());
        }
        Err(Error::shape(what.to_string(), format!("{} (height, width, channels)", self.shape()), expected))
    }
}
