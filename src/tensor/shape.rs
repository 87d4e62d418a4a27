//! The shape of an image.

use alloc::format;
use core::fmt;

/// Height, width and channels of an image.
///
/// ```
/// use sepconv::Shape;
///
/// let shape = Shape::new(4, 6, 3);
/// assert_eq!((shape.pixels(), shape.len(), shape.is_empty()), (24, 72, false));
/// assert_eq!((shape, shape.to_string()), (Shape::from((4, 6, 3)), "4x6x3".into()));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Shape {
    /// Rows.
    pub height: usize,
    /// Pixels in a row.
    pub width: usize,
    /// Channels of a pixel.
    pub channels: usize,
}

impl Shape {
    /// The shape of `height` rows of `width` pixels of `channels` channels.
    pub const fn new(height: usize, width: usize, channels: usize) -> Self {
        Shape { height, width, channels }
    }

    /// Pixels; `usize::MAX` where there are more than fit.
    pub const fn pixels(&self) -> usize {
        self.height.saturating_mul(self.width)
    }

    /// Elements; `usize::MAX` where there are more than fit.
    pub const fn len(&self) -> usize {
        if self.is_empty() { 0 } else { self.pixels().saturating_mul(self.channels) }
    }

    /// Whether there is no element.
    pub const fn is_empty(&self) -> bool {
        self.height == 0 || self.width == 0 || self.channels == 0
    }
}

impl From<(usize, usize, usize)> for Shape {
    fn from((height, width, channels): (usize, usize, usize)) -> Self {
        Shape { height, width, channels }
    }
}

/// `height`x`width`x`channels`.
impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}x{}x{}", self.height, self.width, self.channels))
    }
}
