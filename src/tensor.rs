//! NHWC images as views into slices.

use crate::buffer::LINE;
use crate::error::{Error, Result};

/// The largest size or stride of an image, in elements.
const LARGEST: usize = isize::MAX as usize / 8;

/// Where the pixels of one NHWC image lie in a slice: channel `c` of pixel (`y`, `x`) is element
/// `y * row_stride + x * pixel_stride + c`. Sizes and strides count elements.
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
    pub fn spaced(height: usize, width: usize, channels: usize) -> Self {
        let pixel_stride = channels + if channels.is_multiple_of(256) { LINE } else { 0 };
        let row_stride = width.saturating_mul(pixel_stride);
        Layout { pixel_stride, row_stride, ..Layout::tight(height, width, channels) }
    }

    /// The layout without gaps.
    pub const fn tight(height: usize, width: usize, channels: usize) -> Self {
        Layout { height, width, channels, pixel_stride: channels, row_stride: width.saturating_mul(channels) }
    }

    /// Pixels of the image.
    pub const fn pixels(&self) -> usize {
        self.height.saturating_mul(self.width)
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
        self.height == 0 || self.width == 0 || self.channels == 0
    }

    /// Elements from the first to one past the last that belongs to the image; `None` where the layout is malformed
    /// (strides that overlap, sizes that overflow).
    fn extent(&self) -> Option<usize> {
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

    fn check(&self, what: &str, length: usize) -> Result<()> {
        let Some(extent) = self.extent() else {
            return Err(Error::shape(
                what,
                format!("{self:?}"),
                "a pixel stride of at least the channels, a row stride that holds the row, and sizes that fit the address space",
            ));
        };
        if length < extent {
            return Err(Error::Length { what: what.into(), got: length, expected: format!("at least {extent}") });
        }
        Ok(())
    }

    /// The error for a layout whose size is not the expected one, if it is not.
    pub(crate) fn expect(&self, what: &str, height: usize, width: usize, channels: usize) -> Result<()> {
        if (self.height, self.width, self.channels) == (height, width, channels) {
            return Ok(());
        }
        Err(Error::shape(
            what,
            format!("{}x{}x{} (height, width, channels)", self.height, self.width, self.channels),
            format!("{height}x{width}x{channels}"),
        ))
    }
}

/// One image to read.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    data: &'a [f32],
    layout: Layout,
}

impl<'a> View<'a> {
    /// A view of `data`; an error where the layout is malformed or reaches past the end.
    pub fn new(data: &'a [f32], layout: Layout) -> Result<Self> {
        layout.check("view", data.len())?;
        Ok(View { data, layout })
    }

    /// A view without gaps: `height * width * channels` elements.
    pub fn tight(data: &'a [f32], height: usize, width: usize, channels: usize) -> Result<Self> {
        Self::new(data, Layout::tight(height, width, channels))
    }

    /// The layout.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The channels of pixel (`y`, `x`), both inside the image.
    pub fn pixel(&self, y: usize, x: usize) -> &'a [f32] {
        match self.layout.channels {
            // There may be no data at all.
            0 => &[],
            channels => &self.data[y * self.layout.row_stride + x * self.layout.pixel_stride..][..channels],
        }
    }

    pub(crate) fn as_ptr(&self) -> *const f32 {
        self.data.as_ptr()
    }
}

/// One image to write.
#[derive(Debug)]
pub struct ViewMut<'a> {
    data: &'a mut [f32],
    layout: Layout,
}

impl<'a> ViewMut<'a> {
    /// A view of `data`; an error where the layout is malformed or reaches past the end.
    pub fn new(data: &'a mut [f32], layout: Layout) -> Result<Self> {
        layout.check("view", data.len())?;
        Ok(ViewMut { data, layout })
    }

    /// A view without gaps: `height * width * channels` elements.
    pub fn tight(data: &'a mut [f32], height: usize, width: usize, channels: usize) -> Result<Self> {
        Self::new(data, Layout::tight(height, width, channels))
    }

    /// The layout.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The channels of pixel (`y`, `x`), both inside the image.
    pub fn pixel_mut(&mut self, y: usize, x: usize) -> &mut [f32] {
        match self.layout.channels {
            0 => &mut [],
            channels => &mut self.data[y * self.layout.row_stride + x * self.layout.pixel_stride..][..channels],
        }
    }

    pub(crate) fn as_mut_ptr(&mut self) -> *mut f32 {
        self.data.as_mut_ptr()
    }
}
