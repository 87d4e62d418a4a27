//! Images as views into slices, or into memory given by address.

use std::marker::PhantomData;
use std::slice;

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

    /// A view without gaps: `height * width * channels` elements.
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

    /// A view without gaps: `height * width * channels` elements.
    pub fn tight(data: &'a mut [f32], height: usize, width: usize, channels: usize) -> Result<Self> {
        Self::new(data, Layout::tight(height, width, channels))
    }

    /// A view of memory by address; an error where the layout is malformed. The memory need not be initialised, and its
    /// gaps are never touched: several threads may each have a slice of the channels, or some rows, of one image.
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
