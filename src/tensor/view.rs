//! Images as views into slices, or into memory given by address.

use alloc::format;
use core::marker::PhantomData;
use core::slice;

use super::{Image, Layout};
use crate::error::{Error, Result};

fn check(layout: &Layout, length: usize) -> Result<()> {
    let extent = layout.checked_extent("view")?;
    if length < extent {
        return Err(Error::Length { what: "view".into(), got: length, expected: format!("at least {extent}") });
    }
    Ok(())
}

/// One image to read.
///
/// ```
/// use sepconv::{Layout, View};
///
/// let data: Vec<f32> = (0u8..15).map(f32::from).collect();
/// // 2x2 pixels of three channels, and one element between a pixel and the next.
/// let layout = Layout { pixel_stride: 4, row_stride: 8, ..Layout::tight(2, 2, 3) };
/// let view = View::new(&data, layout)?;
/// assert_eq!((view.layout(), view.pixel(1, 0)), (layout, &[8.0, 9.0, 10.0][..]));
/// // The first twelve elements as pixels without gaps.
/// assert_eq!(View::tight(&data, 2, 2, 3)?.pixel(1, 0), [6.0, 7.0, 8.0]);
/// // The last two channels by address.
/// // SAFETY: `data` stays borrowed and holds them.
/// let last = unsafe { View::from_raw(data[1..].as_ptr(), Layout { channels: 2, ..layout }) }?;
/// assert_eq!(last.pixel(1, 0), [9.0, 10.0]);
/// # Ok::<(), sepconv::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    pointer: *const f32,
    layout: Layout,
    data: PhantomData<&'a [f32]>,
}

// SAFETY: a view is used as the shared slice that it stands for.
unsafe impl Send for View<'_> {}
// SAFETY: as above.
unsafe impl Sync for View<'_> {}

impl<'a> View<'a> {
    /// A view of `data`; an error where the layout is malformed or reaches past the end.
    pub fn new(data: &'a [f32], layout: Layout) -> Result<Self> {
        check(&layout, data.len())?;
        Ok(View { pointer: data.as_ptr(), layout, data: PhantomData })
    }

    /// A view without gaps of the first `height * width * channels` elements; an error where there are fewer.
    pub fn tight(data: &'a [f32], height: usize, width: usize, channels: usize) -> Result<Self> {
        Self::new(data, Layout::tight(height, width, channels))
    }

    /// A view of memory by address; an error where the layout is malformed. The gaps of the layout are never read.
    ///
    /// # Safety
    /// Of the [`Layout::extent`] elements from `pointer` on, those that belong to the image must be initialised and
    /// readable for as long as the view lives, and nothing may write to them meanwhile.
    pub unsafe fn from_raw(pointer: *const f32, layout: Layout) -> Result<Self> {
        layout.checked_extent("view")?;
        Ok(View { pointer, layout, data: PhantomData })
    }

    /// The layout.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The channels of pixel (`y`, `x`).
    ///
    /// # Panics
    /// Where the image has no such pixel.
    pub fn pixel(&self, y: usize, x: usize) -> &'a [f32] {
        let at = offset(&self.layout, y, x);
        // SAFETY: the pixel lies inside the image, whose elements the view may read while `'a` lasts.
        unsafe { slice::from_raw_parts(self.pointer.wrapping_add(at), self.layout.channels) }
    }

    /// The image as kernels take it, to be read.
    pub(crate) fn image(&self) -> Image {
        Image::of(self.pointer.cast_mut(), &self.layout)
    }
}

/// One image to write.
///
/// ```
/// use sepconv::{Clamp, Layout, View, ViewMut, ops};
///
/// let mut data = [9.0; 5];
/// // Two pixels of two channels; the element between them is never touched.
/// let layout = Layout { pixel_stride: 3, row_stride: 6, ..Layout::tight(1, 2, 2) };
/// let mut view = ViewMut::new(&mut data, layout)?;
/// ops::clamp(View::tight(&[-1.0, 1.0, 2.0, -2.0], 1, 2, 2)?, Clamp::RELU, view.reborrow())?;
/// view.pixel_mut(0, 1)[1] = 5.0;
/// assert_eq!(view.layout(), layout);
/// assert_eq!(data, [0.0, 1.0, 9.0, 2.0, 5.0]);
/// // One pixel of all five elements.
/// ViewMut::tight(&mut data, 1, 1, 5)?.pixel_mut(0, 0).fill(3.0);
/// assert_eq!(data, [3.0; 5]);
/// # Ok::<(), sepconv::Error>(())
/// ```
#[derive(Debug)]
pub struct ViewMut<'a> {
    pointer: *mut f32,
    layout: Layout,
    data: PhantomData<&'a mut [f32]>,
}

// SAFETY: a view is used as the unique slice that it stands for.
unsafe impl Send for ViewMut<'_> {}
// SAFETY: as above.
unsafe impl Sync for ViewMut<'_> {}

impl<'a> ViewMut<'a> {
    /// A view of `data`; an error where the layout is malformed or reaches past the end.
    pub fn new(data: &'a mut [f32], layout: Layout) -> Result<Self> {
        check(&layout, data.len())?;
        Ok(ViewMut { pointer: data.as_mut_ptr(), layout, data: PhantomData })
    }

    /// A view without gaps of the first `height * width * channels` elements; an error where there are fewer.
    pub fn tight(data: &'a mut [f32], height: usize, width: usize, channels: usize) -> Result<Self> {
        Self::new(data, Layout::tight(height, width, channels))
    }

    /// A view of memory by address; an error where the layout is malformed. The memory need not be initialised, and its
    /// gaps are never touched: several threads may each have a slice of the channels, or some rows, of one image
    /// ([`Part`](crate::ops::Part) has an example).
    ///
    /// # Safety
    /// Of the [`Layout::extent`] elements from `pointer` on, those that belong to the image must be writable for as long
    /// as the view lives, and nothing else may use them meanwhile. Those that are read ([`pixel_mut`](Self::pixel_mut),
    /// a sum that continues) must be initialised.
    pub unsafe fn from_raw(pointer: *mut f32, layout: Layout) -> Result<Self> {
        layout.checked_extent("view")?;
        Ok(ViewMut { pointer, layout, data: PhantomData })
    }

    /// The layout.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The channels of pixel (`y`, `x`).
    ///
    /// # Panics
    /// Where the image has no such pixel.
    pub fn pixel_mut(&mut self, y: usize, x: usize) -> &mut [f32] {
        let at = offset(&self.layout, y, x);
        // SAFETY: the pixel lies inside the image, whose elements only this view may use while `'a` lasts.
        unsafe { slice::from_raw_parts_mut(self.pointer.wrapping_add(at), self.layout.channels) }
    }

    /// The same image for as long as `self` is borrowed.
    pub fn reborrow(&mut self) -> ViewMut<'_> {
        ViewMut { pointer: self.pointer, layout: self.layout, data: PhantomData }
    }

    /// The image as kernels take it, to be written.
    pub(crate) fn image(&mut self) -> Image {
        Image::of(self.pointer, &self.layout)
    }
}

/// Elements from the first to those of pixel (`y`, `x`), which must be inside.
fn offset(layout: &Layout, y: usize, x: usize) -> usize {
    let Layout { height, width, channels, pixel_stride, row_stride } = *layout;
    assert!(y < height && x < width, "pixel ({y}, {x}) of an image of {height}x{width}");
    // Without channels there may be no memory at all.
    if channels == 0 { 0 } else { y * row_stride + x * pixel_stride }
}
