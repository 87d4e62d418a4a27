//! Several images of one layout, equally far from each other.

use alloc::format;
use core::marker::PhantomData;

use super::form::{Form, copy};
use super::{Image, Layout, Shape, View, ViewMut};
use crate::error::{Error, Result};

/// Elements from the first of `count` images to one past the last.
fn extent(layout: &Layout, stride: usize, count: usize) -> Result<usize> {
    let one = layout.checked_extent("image")?;
    let refuse = || {
        let got = format!("{count} images, {stride} elements apart, of {layout:?}");
        Error::shape("batch", got, format!("at least {one} elements from one image to the next, and all addressable"))
    };
    match count {
        0 => Ok(0),
        1 => Ok(one),
        _ if stride < one => Err(refuse()),
        _ => (count - 1)
            .checked_mul(stride)
            .and_then(|before| before.checked_add(one))
            .filter(|&extent| extent <= isize::MAX as usize / 8)
            .ok_or_else(refuse),
    }
}

macro_rules! batch {
    ($(#[$doc:meta])* $name:ident, $data:ty, $pointer:ty, $as_pointer:ident, $raw:literal) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name<'a> {
            pointer: $pointer,
            layout: Layout,
            stride: usize,
            count: usize,
            planes: bool,
            data: PhantomData<$data>,
        }

        // SAFETY: a batch is used as the slice that it stands for.
        unsafe impl Send for $name<'_> {}
        // SAFETY: as above.
        unsafe impl Sync for $name<'_> {}

        impl<'a> $name<'a> {
            /// `count` images of `layout` in `data`, each `stride` elements after the one before; an error where the layout
            /// is malformed, images overlap or reach past the end.
            pub fn new(data: $data, layout: Layout, stride: usize, count: usize) -> Result<Self> {
                let extent = extent(&layout, stride, count)?;
                if data.len() < extent {
                    let expected = format!("at least {extent}");
                    return Err(Error::Length { what: "batch".into(), got: data.len(), expected });
                }
                Ok($name { pointer: data.$as_pointer(), layout, stride, count, planes: false, data: PhantomData })
            }

            /// The same images by address; an error where the layout is malformed, or images overlap. The gaps are never
            /// touched.
            ///
            /// # Safety
            #[doc = $raw]
            pub unsafe fn from_raw(pointer: $pointer, layout: Layout, stride: usize, count: usize) -> Result<Self> {
                extent(&layout, stride, count)?;
                Ok($name { pointer, layout, stride, count, planes: false, data: PhantomData })
            }

            /// `count` images of `shape` without gaps, NHWC; an error where `data` holds fewer elements.
            pub fn tight(data: $data, count: usize, shape: Shape) -> Result<Self> {
                let layout = Layout::tight(shape.height, shape.width, shape.channels);
                Self::new(data, layout, shape.len(), count)
            }

            /// `count` images of `shape` plane by plane (NCHW) without gaps: for plans that were built with
            /// [`Options::staged`](crate::Options::staged). An error where `data` holds fewer elements.
            pub fn planes(data: $data, count: usize, shape: Shape) -> Result<Self> {
                Ok($name { planes: true, ..Self::tight(data, count, shape)? })
            }

            /// Whether the images lie plane by plane; their layout is then that of images of pixels.
            pub fn is_planes(&self) -> bool {
                self.planes
            }

            /// The layout of each image.
            pub fn layout(&self) -> Layout {
                self.layout
            }

            /// Images.
            pub fn count(&self) -> usize {
                self.count
            }

            /// Where image `image` lies, from row `row` on.
            pub(crate) fn form(&self, image: usize, row: usize) -> Form {
                let first = self.image();
                let form = if self.planes { Form::planes(first, &self.layout) } else { Form::pixels(first) };
                form.of_image(image, self.stride, row)
            }

            /// From one image to the next, in elements.
            pub(crate) fn stride(&self) -> usize {
                self.stride
            }
        }
    };
}

batch!(
    /// Images to read.
    ///
    /// ```
    /// use sepconv::{Batch, Layout, Shape};
    ///
    /// let (data, shape) = ([0.0; 40], Shape::new(2, 2, 3));
    /// // The second of two images begins 20 elements after the first.
    /// let apart = Batch::new(&data, Layout::tight(2, 2, 3), 20, 2)?;
    /// assert_eq!((apart.count(), apart.layout().shape()), (2, shape));
    /// // By address.
    /// // SAFETY: `data` stays borrowed and holds them.
    /// let raw = unsafe { Batch::from_raw(data.as_ptr(), Layout::tight(2, 2, 3), 20, 2) }?;
    /// assert_eq!((raw.count(), raw.layout()), (2, apart.layout()));
    /// // Images that overlap.
    /// assert!(Batch::new(&data, Layout::tight(2, 2, 3), 11, 2).is_err());
    /// // Without gaps, as pixels and as planes.
    /// assert!(!Batch::tight(&data, 3, shape)?.is_planes());
    /// assert!(Batch::planes(&data, 3, shape)?.is_planes());
    /// # Ok::<(), sepconv::Error>(())
    /// ```
    Batch, &'a [f32], *const f32, as_ptr,
    "The elements of each image must be initialised and readable for as long as the batch lives, and nothing may write to \
     them meanwhile."
);
batch!(
    /// Images to write; [`Outputs`](crate::Outputs) has an example.
    BatchMut, &'a mut [f32], *mut f32, as_mut_ptr,
    "The elements of each image must be writable for as long as the batch lives, and nothing else may use them meanwhile."
);

impl Clone for Batch<'_> {
    fn clone(&self) -> Self {
        *self
    }
}

impl Copy for Batch<'_> {}

impl Batch<'_> {
    /// Copies the images to others of the same shape, as many: pixels and planes become what those are, transposed by vectors.
    /// An error where shapes or counts differ.
    ///
    /// ```
    /// use sepconv::{Batch, BatchMut, Shape};
    ///
    /// let shape = Shape::new(1, 2, 3);
    /// let (planes, mut pixels) = ([1.0, 4.0, 2.0, 5.0, 3.0, 6.0], [0.0; 6]);
    /// Batch::planes(&planes, 1, shape)?.copy_to(&mut BatchMut::tight(&mut pixels, 1, shape)?)?;
    /// assert_eq!(pixels, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    /// let mut back = [0.0; 6];
    /// Batch::tight(&pixels, 1, shape)?.copy_to(&mut BatchMut::planes(&mut back, 1, shape)?)?;
    /// assert_eq!(back, planes);
    /// # Ok::<(), sepconv::Error>(())
    /// ```
    pub fn copy_to(&self, to: &mut BatchMut<'_>) -> Result<()> {
        let images = |count: usize, layout: &Layout| format!("{count} images of {}", layout.shape());
        if (self.count, self.layout.shape()) != (to.count, to.layout.shape()) {
            let expected = images(self.count, &self.layout);
            return Err(Error::shape("batch to copy to", images(to.count, &to.layout), expected));
        }
        if self.layout.is_empty() {
            return Ok(());
        }
        for image in 0..self.count {
            let (from, target) = (self.form(image, 0), to.form(image, 0));
            // SAFETY: both batches hold the images, and `to` borrows its own uniquely.
            unsafe { copy(from, target, &(0..self.layout.height), &self.layout) };
        }
        Ok(())
    }

    /// The first image as kernels take it, to be read.
    pub(crate) fn image(&self) -> Image {
        Image::of(self.pointer.cast_mut(), &self.layout)
    }
}

impl BatchMut<'_> {
    /// The first image as kernels take it, to be written.
    pub(crate) fn image(&self) -> Image {
        Image::of(self.pointer, &self.layout)
    }
}

impl<'a> From<View<'a>> for Batch<'a> {
    fn from(view: View<'a>) -> Self {
        Batch {
            pointer: view.image().pointer,
            layout: view.layout(),
            stride: 0,
            count: 1,
            planes: false,
            data: PhantomData,
        }
    }
}

impl<'a> From<ViewMut<'a>> for BatchMut<'a> {
    fn from(mut view: ViewMut<'a>) -> Self {
        BatchMut {
            pointer: view.image().pointer,
            layout: view.layout(),
            stride: 0,
            count: 1,
            planes: false,
            data: PhantomData,
        }
    }
}
