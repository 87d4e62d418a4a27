//! The one arithmetic of windows: where they lie on an image, how many there are, which rows they need.

use alloc::format;
use core::ops::Range;

use super::Shape;
use crate::error::{Error, Result};

/// Missing rows and pixels around an image. A tap that falls on one is skipped, never multiplied by zero. [`Window`] has an
/// example.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Padding {
    /// Rows above.
    pub top: usize,
    /// Rows below.
    pub bottom: usize,
    /// Pixels to the left.
    pub left: usize,
    /// Pixels to the right.
    pub right: usize,
}

impl Padding {
    /// None on any side.
    pub const NONE: Padding = Padding::all(0);

    /// The same on all four sides.
    pub const fn all(size: usize) -> Self {
        Padding { top: size, bottom: size, left: size, right: size }
    }
}

/// The largest size, stride and dilation of a window, and padding on a side: sums of products of two fit.
const LARGEST: usize = 1 << 15;

/// A window that moves over an image: its taps, how far it moves, what surrounds the image. Pairs are (rows, columns).
///
/// ```
/// use sepconv::{Padding, Shape, Window};
///
/// let window = Window::square(3).stride(2).symmetric();
/// assert_eq!((window.padding, window.output(224, 224)), (Padding::all(1), Some((112, 112))));
/// // TensorFlow has the odd pixel after the image.
/// let same = Window::square(3).stride(2).same(Shape::new(224, 224, 3));
/// assert_eq!(same.padding, Padding { bottom: 1, right: 1, ..Padding::NONE });
/// // Three taps of a row, four pixels apart.
/// let row = Window::new(1, 3).strides(1, 2).dilation(4).padding(Padding { left: 8, ..Padding::NONE });
/// assert_eq!((row.taps(), row.extent(), row.output(5, 11)), (3, (1, 9), Some((5, 6))));
/// assert_eq!(Window::PIXEL.output(5, 11), Some((5, 11)));
/// // No room for a window.
/// assert_eq!(Window::square(3).output(2, 2), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Window {
    /// Taps.
    pub size: (usize, usize),
    /// Input pixels from one window to the next.
    pub stride: (usize, usize),
    /// Input pixels from one tap to the next.
    pub dilation: (usize, usize),
    /// Missing pixels around the image.
    pub padding: Padding,
}

impl Window {
    /// One pixel after the other.
    pub const PIXEL: Window = Window::new(1, 1);

    /// A window of `height` x `width` neighbouring taps that moves by one pixel, without padding.
    pub const fn new(height: usize, width: usize) -> Self {
        Window { size: (height, width), stride: (1, 1), dilation: (1, 1), padding: Padding::NONE }
    }

    /// A window of `size` x `size`, without padding.
    pub const fn square(size: usize) -> Self {
        Self::new(size, size)
    }

    /// The same window, moved by `stride` rows and pixels.
    pub const fn stride(self, stride: usize) -> Self {
        self.strides(stride, stride)
    }

    /// The same window, moved by `rows` downwards and `columns` to the right.
    pub const fn strides(mut self, rows: usize, columns: usize) -> Self {
        self.stride = (rows, columns);
        self
    }

    /// The same window with its taps `dilation` pixels apart.
    pub const fn dilation(mut self, dilation: usize) -> Self {
        self.dilation = (dilation, dilation);
        self
    }

    /// The same window on an image with `padding`.
    pub const fn padding(mut self, padding: Padding) -> Self {
        self.padding = padding;
        self
    }

    /// The same window with half its extent as padding on each side, as PyTorch's models have it.
    pub const fn symmetric(self) -> Self {
        let (height, width) = self.extent();
        let (rows, columns) = (height.saturating_sub(1) / 2, width.saturating_sub(1) / 2);
        self.padding(Padding { top: rows, bottom: rows, left: columns, right: columns })
    }

    /// The same window with TensorFlow's SAME padding for an image of this shape: as many outputs as strides fit, the odd
    /// pixel after.
    pub fn same(self, image: Shape) -> Self {
        let sides = |extent: usize, stride: usize, window: usize| {
            let total = (extent.div_ceil(stride.max(1)).saturating_sub(1) * stride)
                .saturating_add(window)
                .saturating_sub(extent.max(1));
            (total / 2, total - total / 2)
        };
        let (height, width) = self.extent();
        let (top, bottom) = sides(image.height, self.stride.0, height);
        let (left, right) = sides(image.width, self.stride.1, width);
        self.padding(Padding { top, bottom, left, right })
    }

    /// Taps; `usize::MAX` where there are more than fit.
    pub const fn taps(&self) -> usize {
        self.size.0.saturating_mul(self.size.1)
    }

    /// Rows and columns of the image from the first tap to the last.
    pub const fn extent(&self) -> (usize, usize) {
        const fn extent(size: usize, dilation: usize) -> usize {
            size.saturating_sub(1).saturating_mul(dilation).saturating_add(if size > 0 { 1 } else { 0 })
        }
        (extent(self.size.0, self.dilation.0), extent(self.size.1, self.dilation.1))
    }

    /// Whether each output pixel reads one input pixel.
    pub(crate) const fn is_pixel(&self) -> bool {
        self.size.0 == 1 && self.size.1 == 1
    }

    /// Rows and columns of the output for an image of `height` x `width`; `None` where the padded image is smaller than
    /// the window, and for a stride of 0.
    pub fn output(&self, height: usize, width: usize) -> Option<(usize, usize)> {
        let size = |image: usize, before: usize, after: usize, window: usize, stride: usize| {
            let padded = image.checked_add(before)?.checked_add(after)?;
            padded.checked_sub(window)?.checked_div(stride)?.checked_add(1)
        };
        let (Padding { top, bottom, left, right }, extent) = (self.padding, self.extent());
        Some((size(height, top, bottom, extent.0, self.stride.0)?, size(width, left, right, extent.1, self.stride.1)?))
    }

    /// As [`output`](Self::output), with the error of `what`. Every window reaches the image.
    pub(crate) fn expect_output(&self, what: &str, image: Shape) -> Result<(usize, usize)> {
        let Padding { top, bottom, left, right } = self.padding;
        let (height, width) = self.extent();
        if top.max(bottom) >= height || left.max(right) >= width {
            let expected = format!("less on each side than the window, {height}x{width}");
            return Err(Error::shape(format!("{what} padding"), format!("{:?}", self.padding), expected));
        }
        self.expect_windows(what, image)
    }

    /// As [`expect_output`](Self::expect_output), for an operator that needs a pixel under every window: the taps of one
    /// that is dilated may all lie beside a small image.
    pub(crate) fn expect_pixels(&self, what: &str, image: Shape) -> Result<(usize, usize)> {
        let outputs = self.expect_output(what, image)?;
        let Padding { top, left, .. } = self.padding;
        let holds = |outputs: usize, stride: usize, taps: (usize, usize), before: usize, extent: usize| {
            // From there on the same distances come again.
            (0..outputs.min(taps.1)).all(|at| !inside(at * stride, taps, before, extent).is_empty())
        };
        let rows = holds(outputs.0, self.stride.0, (self.size.0, self.dilation.0), top, image.height);
        if rows && holds(outputs.1, self.stride.1, (self.size.1, self.dilation.1), left, image.width) {
            return Ok(outputs);
        }
        let got = format!("{}x{} with {:?}", image.height, image.width, self.padding);
        Err(Error::shape(format!("{what} input"), got, "a pixel under every window"))
    }

    /// As [`expect_output`](Self::expect_output), but padding may be as large as the window, so that windows at the border
    /// hold nothing.
    pub(crate) fn expect_padded_output(&self, what: &str, image: Shape) -> Result<(usize, usize)> {
        let Padding { top, bottom, left, right } = self.padding;
        let (height, width) = self.extent();
        if top.max(bottom) > height || left.max(right) > width {
            let expected = format!("at most the window on each side, {height}x{width}");
            return Err(Error::shape(format!("{what} padding"), format!("{:?}", self.padding), expected));
        }
        self.expect_windows(what, image)
    }

    fn expect_windows(&self, what: &str, image: Shape) -> Result<(usize, usize)> {
        let (height, width) = self.extent();
        self.output(image.height, image.width).ok_or_else(|| {
            let got = format!("{}x{} with {:?}", image.height, image.width, self.padding);
            Error::shape(format!("{what} input"), got, format!("at least {height}x{width} with its padding"))
        })
    }

    /// The error for numbers that make no window, if they do not.
    pub(crate) fn check(&self, what: &str) -> Result<()> {
        let Window { size, stride, dilation, padding: Padding { top, bottom, left, right } } = *self;
        let sizes = [size, stride, dilation].map(|(rows, columns)| [rows, columns]);
        let good = sizes.as_flattened().iter().all(|size| (1..=LARGEST).contains(size))
            && [top, bottom, left, right].iter().all(|&side| side <= LARGEST * LARGEST);
        if good {
            return Ok(());
        }
        let expected = format!("sizes, strides and dilations of 1 to {LARGEST}");
        Err(Error::shape(format!("{what} window"), format!("{self:?}"), expected))
    }

    /// The rows of an image of `height` rows that the windows of output `rows` lie on.
    pub(crate) fn strip(&self, rows: &Range<usize>, height: usize) -> Strip {
        let (start, top) = (rows.start * self.stride.0, self.padding.top);
        let first = start.saturating_sub(top).min(height);
        let end = (rows.end.max(1) - 1) * self.stride.0 + self.extent().0;
        let end = end.saturating_sub(top).clamp(first, height);
        Strip { first, length: end - first, missing: top.saturating_sub(start) }
    }

    /// The window of the image with rows and columns exchanged.
    pub(crate) const fn transposed(self) -> Self {
        let Window { size, stride, dilation, padding: Padding { top, bottom, left, right } } = self;
        Window {
            size: (size.1, size.0),
            stride: (stride.1, stride.0),
            dilation: (dilation.1, dilation.0),
            padding: Padding { top: left, bottom: right, left: top, right: bottom },
        }
    }

    /// The most input rows that `rows` output rows need.
    pub(crate) fn rows_held(&self, rows: usize) -> usize {
        rows.saturating_sub(1) * self.stride.0 + self.extent().0
    }

    /// The most output rows for which `rows` input rows are enough; 1 also where they are too few.
    pub(crate) fn outputs_held(&self, rows: usize) -> usize {
        rows.saturating_sub(self.extent().0) / self.stride.0 + 1
    }

    /// The taps of output row `y` that are inside an image of `height` rows: the row of the first of them, and which rows of the
    /// window they are.
    #[inline(always)]
    pub(crate) fn tap_rows(&self, height: usize, y: usize) -> (usize, Range<usize>) {
        let Window { size, stride, dilation, padding, .. } = *self;
        let rows = inside(y * stride.0, (size.0, dilation.0), padding.top, height);
        ((y * stride.0 + rows.start * dilation.0).saturating_sub(padding.top), rows)
    }

    /// The taps of output column `x` that are inside an image of `width` columns: the column of the first of them, and which
    /// columns of the window they are.
    #[inline(always)]
    pub(crate) fn tap_columns(&self, width: usize, x: usize) -> (usize, Range<usize>) {
        let Window { size, stride, dilation, padding, .. } = *self;
        let columns = inside(x * stride.1, (size.1, dilation.1), padding.left, width);
        ((x * stride.1 + columns.start * dilation.1).saturating_sub(padding.left), columns)
    }

    /// The output columns whose taps are all inside an image of `width` columns.
    pub(crate) fn inner_columns(&self, width: usize) -> Range<usize> {
        let (stride, left) = (self.stride.1, self.padding.left);
        let end = (width + left + stride).saturating_sub(self.extent().1) / stride;
        left.div_ceil(stride)..end
    }

    /// The taps of output pixel `pixel` (row, column) that are inside an image of size `image` (height, width), row-major:
    /// (index of the tap, row, column).
    #[cfg(any(test, feature = "reference"))]
    pub(crate) fn taps_inside(
        self,
        image: (usize, usize),
        pixel: (usize, usize),
    ) -> impl Iterator<Item = (usize, usize, usize)> {
        let ((row, rows), (column, columns)) = (self.tap_rows(image.0, pixel.0), self.tap_columns(image.1, pixel.1));
        let Window { size, dilation, .. } = self;
        let first = (rows.start, columns.start);
        rows.flat_map(move |ky| columns.clone().map(move |kx| (ky, kx))).map(move |(ky, kx)| {
            let (down, across) = ((ky - first.0) * dilation.0, (kx - first.1) * dilation.1);
            (ky * size.1 + kx, row + down, column + across)
        })
    }
}

/// The taps, along one axis, of the window that starts at padded pixel `start` which are inside the `extent` pixels after
/// `before` of padding.
#[inline(always)]
fn inside(start: usize, (size, dilation): (usize, usize), before: usize, extent: usize) -> Range<usize> {
    // Most windows have no dilation, and a division costs as much as many taps.
    let taps_in = |pixels: usize| if dilation == 1 { pixels } else { pixels.div_ceil(dilation) };
    let first = taps_in(before.saturating_sub(start)).min(size);
    let last = taps_in((before + extent).saturating_sub(start)).min(size);
    first..last.max(first)
}

/// Some rows of an operator's output as one image of its own: where its input rows begin, how many there are, and how
/// many are missing above.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Strip {
    /// First input row that a window of the strip holds.
    pub first: usize,
    /// Input rows from there on.
    pub length: usize,
    /// Rows of the first window that stick out above the image.
    pub missing: usize,
}

impl Strip {
    /// The input rows.
    pub fn rows(&self) -> Range<usize> {
        self.first..self.first + self.length
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A strip holds the rows of its windows' taps, of each window the first and the last that is inside, and no more.
    #[test]
    fn a_strip_holds_the_rows_that_its_windows_touch() {
        let windows = (1..=4).flat_map(|size| (1..=3).map(move |stride| Window::new(size, 1).stride(stride)));
        let windows = windows.flat_map(|window| (1..=2).map(move |dilation| window.dilation(dilation)));
        for window in windows.filter(|window| window.size.0 > 1 || window.dilation.0 == 1) {
            for (top, height) in (0..window.extent().0).flat_map(|top| (1..9).map(move |height| (top, height))) {
                let window = window.padding(Padding { top, bottom: 1.min(window.extent().0 - 1), ..Padding::NONE });
                let Some((outputs, _)) = window.output(height, 1) else { continue };
                for (start, end) in (0..outputs).flat_map(|start| (start + 1..=outputs).map(move |end| (start, end))) {
                    let strip = window.strip(&(start..end), height);
                    let touched = (start..end).flat_map(|y| window.taps_inside((height, 1), (y, 0)));
                    let touched: Vec<usize> = touched.map(|(_, row, _)| row).collect();
                    assert!(touched.iter().all(|row| strip.rows().contains(row)), "{window:?} {start}..{end}");
                    assert!(strip.length <= window.rows_held(end - start));
                    assert_eq!(strip.missing, top.saturating_sub(start * window.stride.0));
                    if window.stride.0 == 1 && window.dilation.0 == 1 && !touched.is_empty() {
                        let (first, last) = (*touched.iter().min().unwrap(), *touched.iter().max().unwrap());
                        assert_eq!(strip.rows(), first..last + 1, "{window:?} {start}..{end} of {height}");
                    }
                }
            }
        }
    }

    #[test]
    fn as_many_outputs_are_held_as_fit() {
        for window in [Window::square(3), Window::new(5, 3).stride(2), Window::new(3, 1).dilation(4)] {
            let least = window.rows_held(1);
            for rows in least..least + 9 {
                let outputs = window.outputs_held(rows);
                assert!(
                    window.rows_held(outputs) <= rows && rows < window.rows_held(outputs + 1),
                    "{window:?}, {rows}"
                );
            }
        }
        let window = Window::new(3, 5).strides(1, 2).padding(Padding { top: 1, bottom: 2, left: 3, right: 4 });
        let turned = Window::new(5, 3).strides(2, 1).padding(Padding { top: 3, bottom: 4, left: 1, right: 2 });
        assert_eq!((window.transposed(), window.dilation(2).transposed()), (turned, turned.dilation(2)));
    }

    #[test]
    fn inner_columns_have_all_their_taps() {
        let windows = (1..=4).flat_map(|size| (1..=3).map(move |stride| Window::new(1, size).stride(stride)));
        let windows = windows.flat_map(|window| (1..=2).map(move |dilation| window.dilation(dilation)));
        for (window, left) in windows.flat_map(|window| (0..window.extent().1).map(move |left| (window, left))) {
            for (right, width) in (0..window.extent().1).flat_map(|right| (1..9).map(move |width| (right, width))) {
                let window = window.padding(Padding { left, right, ..Padding::NONE });
                let Some((_, outputs)) = window.output(1, width) else { continue };
                for x in 0..outputs {
                    let all = window.tap_columns(width, x).1 == (0..window.size.1);
                    assert_eq!(window.inner_columns(width).contains(&x), all, "{window:?} over {width}, column {x}");
                }
            }
        }
    }

    #[test]
    fn same_pads_as_tensorflow() {
        let image = |size| Shape::new(size, size, 1);
        let of = |window: Window, size| {
            let padding = window.same(image(size)).padding;
            (padding.top, padding.bottom)
        };
        assert_eq!(of(Window::square(3).stride(2), 224), (0, 1));
        assert_eq!(of(Window::square(3).stride(2), 7), (1, 1));
        assert_eq!(of(Window::square(3), 5), (1, 1));
        assert_eq!(of(Window::square(1).stride(2), 8), (0, 0));
        assert_eq!(of(Window::square(5).stride(2), 8), (1, 2));
        assert_eq!(of(Window::square(3).dilation(2), 9), (2, 2));
    }
}
