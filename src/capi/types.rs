//! The structs of numbers that callers fill in: shapes, windows, clamps, images.

use std::ptr::NonNull;

use super::pointer::{check, check_count, optional, read};
use super::status::{Checked, Failure};
use crate::error::Error;
use crate::tensor::{Batch, BatchMut, Clamp, Layout, Padding, Shape, View, ViewMut, Window};

/// Height, width and channels of an image.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct sepconv_shape {
    /// Rows.
    pub height: usize,
    /// Pixels in a row.
    pub width: usize,
    /// Channels of a pixel.
    pub channels: usize,
}

impl From<Shape> for sepconv_shape {
    fn from(Shape { height, width, channels }: Shape) -> Self {
        sepconv_shape { height, width, channels }
    }
}

impl From<sepconv_shape> for Shape {
    fn from(sepconv_shape { height, width, channels }: sepconv_shape) -> Self {
        Shape { height, width, channels }
    }
}

/// A window that moves over an image. A tap that falls on padding is skipped, never multiplied by zero.
/// `sepconv_window_symmetric` and `sepconv_window_same` make the usual ones.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct sepconv_window {
    /// Rows of taps: 1 to 32768.
    pub height: usize,
    /// Taps in a row: 1 to 32768.
    pub width: usize,
    /// Input rows from one window to the next: 1 to 32768.
    pub stride_rows: usize,
    /// Input pixels from one window to the next: 1 to 32768.
    pub stride_columns: usize,
    /// Input rows from one tap to the next: 1 to 32768.
    pub dilation_rows: usize,
    /// Input pixels from one tap to the next: 1 to 32768.
    pub dilation_columns: usize,
    /// Missing rows above the image.
    pub pad_top: usize,
    /// Missing rows below.
    pub pad_bottom: usize,
    /// Missing pixels to the left.
    pub pad_left: usize,
    /// Missing pixels to the right.
    pub pad_right: usize,
}

impl sepconv_window {
    pub(super) fn window(&self) -> Window {
        let padding =
            Padding { top: self.pad_top, bottom: self.pad_bottom, left: self.pad_left, right: self.pad_right };
        let mut window = Window::new(self.height, self.width).padding(padding);
        window.stride = (self.stride_rows, self.stride_columns);
        window.dilation = (self.dilation_rows, self.dilation_columns);
        window
    }

    fn of(window: Window) -> Self {
        let Window { size, stride, dilation, padding } = window;
        sepconv_window {
            height: size.0,
            width: size.1,
            stride_rows: stride.0,
            stride_columns: stride.1,
            dilation_rows: dilation.0,
            dilation_columns: dilation.1,
            pad_top: padding.top,
            pad_bottom: padding.bottom,
            pad_left: padding.left,
            pad_right: padding.right,
        }
    }
}

/// A window of `size` x `size` taps without dilation, moved by `stride`, with half its size as padding on each side, as
/// PyTorch's models have it. Whether it is one that a layer takes, the layer says.
#[unsafe(no_mangle)]
pub extern "C" fn sepconv_window_symmetric(size: usize, stride: usize) -> sepconv_window {
    sepconv_window::of(Window::square(size).stride(stride).symmetric())
}

/// The same with TensorFlow's SAME padding for an image of `height` x `width`: as many outputs as strides fit, the odd
/// pixel after.
#[unsafe(no_mangle)]
pub extern "C" fn sepconv_window_same(size: usize, stride: usize, height: usize, width: usize) -> sepconv_window {
    sepconv_window::of(Window::square(size).stride(stride).same(Shape::new(height, width, 1)))
}

/// The bounds of a clamp. Where a pointer to one is null there is no clamp: ReLU is `{0, INFINITY}`, ReLU6 `{0, 6}`. NaN
/// stays NaN, -0 stays -0.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct sepconv_clamp {
    /// Lower bound; no NaN.
    pub lo: f32,
    /// Upper bound; no NaN, and no less than `lo`.
    pub hi: f32,
}

/// The clamp at `pointer`, none where it is null.
///
/// # Safety
/// By the contract of the interface.
pub(super) unsafe fn read_clamp(pointer: *const sepconv_clamp) -> Checked<Clamp> {
    // SAFETY: by this function's own contract.
    let Some(&sepconv_clamp { lo, hi }) = (unsafe { optional(pointer, "clamp") })? else { return Ok(Clamp::NONE) };
    match lo <= hi {
        true => Ok(Clamp::new(lo, hi)),
        false => Err(Failure::bad(format!("clamp: got {lo} to {hi}, expected a lower bound, then a higher"))),
    }
}

/// An image to read, NHWC: channel `c` of pixel (`y`, `x`) is `data[y * row_stride + x * pixel_stride + c]`. Sizes and
/// strides count floats. Gaps are never touched.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct sepconv_image {
    /// The first channel of the first pixel; may be null where `length` is 0.
    pub data: *const f32,
    /// Floats from `data` on that belong to the caller: at least up to the last channel of the last pixel.
    pub length: usize,
    /// Rows.
    pub height: usize,
    /// Pixels in a row.
    pub width: usize,
    /// Channels of a pixel.
    pub channels: usize,
    /// From one pixel to the next, at least `channels`; 0 stands for `channels`.
    pub pixel_stride: usize,
    /// From one row to the next, at least what a row takes; 0 stands for `width * pixel_stride`.
    pub row_stride: usize,
}

/// An image to write, laid out as `sepconv_image`. Its memory need not be initialised.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct sepconv_image_mut {
    /// The first channel of the first pixel; may be null where `length` is 0.
    pub data: *mut f32,
    /// Floats from `data` on that belong to the caller: at least up to the last channel of the last pixel.
    pub length: usize,
    /// Rows.
    pub height: usize,
    /// Pixels in a row.
    pub width: usize,
    /// Channels of a pixel.
    pub channels: usize,
    /// From one pixel to the next, at least `channels`; 0 stands for `channels`.
    pub pixel_stride: usize,
    /// From one row to the next, at least what a row takes; 0 stands for `width * pixel_stride`.
    pub row_stride: usize,
}

/// Several images to read of one layout.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct sepconv_batch {
    /// The first; its `length` covers all of them.
    pub first: sepconv_image,
    /// Images.
    pub count: usize,
    /// Floats from one image to the next; 0 stands for those from the first to the last of an image.
    pub image_stride: usize,
}

/// Several images to write of one layout.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct sepconv_batch_mut {
    /// The first; its `length` covers all of them.
    pub first: sepconv_image_mut,
    /// Images.
    pub count: usize,
    /// Floats from one image to the next; 0 stands for those from the first to the last of an image.
    pub image_stride: usize,
}

impl sepconv_image_mut {
    /// The same to be read.
    pub(super) fn read(&self) -> sepconv_image {
        let sepconv_image_mut { data, length, height, width, channels, pixel_stride, row_stride } = *self;
        sepconv_image { data, length, height, width, channels, pixel_stride, row_stride }
    }
}

impl sepconv_image {
    fn layout(&self) -> Layout {
        let or = |stride: usize, otherwise: usize| if stride == 0 { otherwise } else { stride };
        let pixel_stride = or(self.pixel_stride, self.channels);
        let row_stride = or(self.row_stride, self.width.saturating_mul(pixel_stride));
        Layout { height: self.height, width: self.width, channels: self.channels, pixel_stride, row_stride }
    }

    /// The layout and the floats from one image to the next of `count` images; an error where their memory, which `what`
    /// names, does not hold them.
    fn checked(&self, what: &str, count: usize, image_stride: usize) -> Checked<(Layout, usize)> {
        let layout = self.layout();
        let one = layout.checked_extent(what)?;
        let stride = if image_stride == 0 { one } else { image_stride };
        let extent = match count {
            0 => Some(0),
            1 => Some(one),
            _ => (count - 1).checked_mul(stride).and_then(|before| before.checked_add(one)),
        };
        let extent = extent.filter(|_| count < 2 || stride >= one).ok_or_else(|| {
            let got = format!("{count} images, {stride} floats apart");
            Error::shape(what, got, format!("at least {one} from one to the next, and all addressable"))
        })?;
        if self.length < extent {
            let expected = format!("at least {extent}");
            return Err(Error::Length { what: what.into(), got: self.length, expected }.into());
        }
        if self.length > 0 {
            check(self.data, what, format_args!("{} floats", self.length))?;
            check_count(self.data, self.length, what)?;
        }
        Ok((layout, stride))
    }

    /// The floats, as addresses: from the first on, and one past the last.
    pub(super) fn span(&self) -> (usize, usize) {
        (self.data.addr(), self.data.addr().saturating_add(self.length.saturating_mul(size_of::<f32>())))
    }
}

/// `data`, or an address that is not null where there is no float.
fn some(data: *mut f32) -> *mut f32 {
    NonNull::new(data).unwrap_or(NonNull::dangling()).as_ptr()
}

/// The image at `pointer`, as a view.
///
/// # Safety
/// By the contract of the interface.
pub(super) unsafe fn view<'a>(pointer: *const sepconv_image, what: &str) -> Checked<View<'a>> {
    // SAFETY: by this function's own contract.
    let image = unsafe { read(pointer, what) }?;
    let (layout, _) = image.checked(what, 1, 0)?;
    // SAFETY: the memory holds the layout, and nothing writes it, by this function's own contract.
    Ok(unsafe { View::from_raw(some(image.data.cast_mut()), layout) }?)
}

/// The image at `pointer`, as a view to write.
///
/// # Safety
/// By the contract of the interface.
pub(super) unsafe fn view_mut<'a>(pointer: *const sepconv_image_mut, what: &str) -> Checked<ViewMut<'a>> {
    // SAFETY: by this function's own contract.
    let image = unsafe { read(pointer, what) }?;
    let (layout, _) = image.read().checked(what, 1, 0)?;
    // SAFETY: the memory holds the layout, and nothing else uses it, by this function's own contract.
    Ok(unsafe { ViewMut::from_raw(some(image.data), layout) }?)
}

impl sepconv_batch {
    /// The images that `what` names.
    ///
    /// # Safety
    /// By the contract of the interface.
    pub(super) unsafe fn batch<'a>(&self, what: &str) -> Checked<Batch<'a>> {
        let (layout, stride) = self.first.checked(what, self.count, self.image_stride)?;
        // SAFETY: the memory holds the images, and nothing writes it, by this function's own contract.
        Ok(unsafe { Batch::from_raw(some(self.first.data.cast_mut()), layout, stride, self.count) }?)
    }
}

impl sepconv_batch_mut {
    /// The images that `what` names.
    ///
    /// # Safety
    /// By the contract of the interface.
    pub(super) unsafe fn batch<'a>(&self, what: &str) -> Checked<BatchMut<'a>> {
        let (layout, stride) = self.first.read().checked(what, self.count, self.image_stride)?;
        // SAFETY: the memory holds the images, and nothing else uses it, by this function's own contract.
        Ok(unsafe { BatchMut::from_raw(some(self.first.data), layout, stride, self.count) }?)
    }
}

/// The failure for memory of a batch that lies in the workspace too, if some does.
pub(super) fn expect_apart(what: &str, image: &sepconv_image, workspace: (usize, usize)) -> Checked<()> {
    let (start, end) = image.span();
    match start < workspace.1 && workspace.0 < end {
        true => Err(Failure::bad(format!("{what}: lies in the workspace; give memory apart from it"))),
        false => Ok(()),
    }
}
