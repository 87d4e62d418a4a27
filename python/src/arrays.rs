//! numpy arrays as images, and memory for new ones.

use std::slice;

use numpy::npyffi::PY_ARRAY_API;
use numpy::{Element, PyArrayDescrMethods, PyArrayDyn, PyArrayMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use sepconv::{Batch, BatchMut, Error, Layout, Shape};

use crate::error::{Failure, Result, refused};

/// Bytes of an element.
const BYTES: isize = size_of::<f32>() as isize;

/// The order of an array's axes.
#[derive(Clone, Copy, PartialEq)]
pub enum Order {
    /// Images, rows, pixels, channels.
    Nhwc,
    /// Images, channels, rows, pixels.
    Nchw,
}

impl Order {
    /// The order called `name`.
    pub fn named(name: &str) -> sepconv::Result<Self> {
        match name {
            "nhwc" => Ok(Order::Nhwc),
            "nchw" => Ok(Order::Nchw),
            _ => Err(refused("layout", format!("{name:?}"), "\"nhwc\" or \"nchw\"")),
        }
    }

    /// `axes` of an array in this order as images, rows, pixels, channels.
    fn sort<T: Copy>(self, axes: [T; 4]) -> [T; 4] {
        let [images, a, b, c] = axes;
        match self {
            Order::Nhwc => axes,
            Order::Nchw => [images, b, c, a],
        }
    }
}

/// What is expected of arrays.
pub const FLOATS: &str = "a numpy array of float32";

/// `object` as an array of f32; else what it is.
pub fn as_floats<'a, 'py>(
    object: &'a Bound<'py, PyAny>,
) -> std::result::Result<&'a Bound<'py, PyArrayDyn<f32>>, String> {
    object.cast::<PyArrayDyn<f32>>().map_err(|_| match object.cast::<PyUntypedArray>() {
        Ok(array) => format!("an array of {}", array.dtype()),
        Err(_) => kind(object),
    })
}

/// The name of the type of `object`.
pub fn kind(object: &Bound<'_, PyAny>) -> String {
    object.get_type().name().map_or_else(|_| "another object".into(), |name| name.to_string())
}

/// `object` as an array of f32; an error of the argument `what` where it is another array or none.
pub fn floats<'a, 'py>(object: &'a Bound<'py, PyAny>, what: &str) -> Result<&'a Bound<'py, PyArrayDyn<f32>>> {
    Ok(as_floats(object).map_err(|got| refused(what, got, FLOATS))?)
}

/// The elements of `array`, row-major.
pub fn elements(array: &Bound<'_, PyArrayDyn<f32>>) -> Vec<f32> {
    // SAFETY: the interpreter is held, and no code of it runs meanwhile.
    let view = unsafe { array.as_array() };
    view.iter().copied().collect()
}

/// A new array whose elements are not yet written; an error where there is no room for it.
pub fn unwritten<'py>(py: Python<'py>, axes: &[usize]) -> Result<Bound<'py, PyArrayDyn<f32>>> {
    let too_large = |_| Failure::from(Error::Memory { what: "output".into(), bytes: usize::MAX });
    let mut axes = axes.iter().map(|&axis| isize::try_from(axis).map_err(too_large)).collect::<Result<Vec<_>>>()?;
    // SAFETY: numpy reads as many axes as there are, takes the description over, and gives a new reference or null with
    // an exception set.
    unsafe {
        let description = f32::get_dtype(py).into_dtype_ptr();
        let array = PY_ARRAY_API.PyArray_Empty(py, axes.len() as i32, axes.as_mut_ptr(), description, 0);
        let array = Bound::from_owned_ptr_or_err(py, array)?;
        Ok(array.cast_into().map_err(|_| PyTypeError::new_err("numpy gave no array"))?)
    }
}

/// Images that a numpy array holds.
pub struct Images {
    first: *const u8,
    /// How many there are.
    pub count: usize,
    shape: Shape,
    /// Bytes from one image, row, pixel and channel to the next; where there is only one, as if there were no gaps.
    strides: [isize; 4],
}

// SAFETY: an array that others write to while a network reads it is the caller's error, as the docs of the call say; its
// memory stays as long as the call, which holds a reference.
unsafe impl Send for Images {}
// SAFETY: as above.
unsafe impl Sync for Images {}

impl Images {
    /// The images of `object`, which the network calls `name`; an error where it is no array of float32 with `order`'s four
    /// axes and images of this shape.
    pub fn of(object: &Bound<'_, PyAny>, name: &str, shape: Shape, order: Order) -> Result<Self> {
        let what = || format!("input {name:?}");
        let array = as_floats(object).map_err(|got| refused(what(), got, FLOATS))?;
        let axes = |axes: &[usize]| axes.iter().map(usize::to_string).collect::<Vec<_>>().join("x");
        let Shape { height, width, channels } = shape;
        let refuse = || {
            let (expected, layout) = match order {
                Order::Nhwc => ([height, width, channels], "nhwc"),
                Order::Nchw => ([channels, height, width], "nchw"),
            };
            let expected = format!("images x {} (layout={layout:?})", axes(&expected));
            Failure::from(refused(
                what(),
                format!("an array of {} axes, {}", array.ndim(), axes(array.shape())),
                expected,
            ))
        };
        let sizes = order.sort(<[usize; 4]>::try_from(array.shape()).map_err(|_| refuse())?);
        let strides = order.sort(<[isize; 4]>::try_from(array.strides()).map_err(|_| refuse())?);
        if sizes[1..] != [height, width, channels] {
            return Err(refuse());
        }
        let (mut tight, mut own) = (BYTES, strides);
        for axis in (0..4).rev() {
            // numpy says anything of an axis that nothing moves along.
            if sizes[axis] == 1 {
                own[axis] = tight;
            }
            tight = own[axis].wrapping_mul(sizes[axis] as isize);
        }
        Ok(Images { first: array.data().cast_const().cast(), count: sizes[0], shape, strides: own })
    }

    /// The layout, and the elements from one image to the next, where a plan can read the array as it lies.
    fn in_place(&self, count: usize) -> Option<(Layout, usize)> {
        let aligned = self.first.addr().is_multiple_of(align_of::<f32>());
        let elements =
            self.strides.map(|stride| (stride % BYTES == 0).then(|| usize::try_from(stride / BYTES).ok()).flatten());
        let [Some(stride), Some(row_stride), Some(pixel_stride), Some(1)] = elements else { return None };
        let Shape { height, width, channels } = self.shape;
        let layout = Layout { height, width, channels, pixel_stride, row_stride };
        let extent = layout.extent()?;
        (aligned && (count == 1 || stride >= extent)).then_some((layout, stride))
    }

    /// Whether each image lies plane by plane without gaps.
    fn are_planes(&self) -> bool {
        let Shape { height, width, .. } = self.shape;
        let aligned = self.first.addr().is_multiple_of(align_of::<f32>()) && self.strides[0] % BYTES == 0;
        let (row, plane) = (width as isize * BYTES, (height * width) as isize * BYTES);
        aligned && self.strides[1..] == [row, BYTES, plane]
    }

    /// Images `first` to `first + count`, as they lie, or in `copy`; an error where there is no room for that.
    ///
    /// # Safety
    /// The array must live as long as the batch, hold them, and not be written to meanwhile.
    pub unsafe fn batch<'a>(
        &'a self,
        first: usize,
        count: usize,
        copy: &'a mut Vec<f32>,
    ) -> sepconv::Result<Batch<'a>> {
        let from = self.first.wrapping_offset(self.strides[0].wrapping_mul(first as isize));
        if let Some((layout, stride)) = self.in_place(count) {
            // SAFETY: by this function's own contract; numpy's strides and sizes are those of the array.
            return unsafe { Batch::from_raw(from.cast(), layout, stride, count) };
        }
        let length = count.saturating_mul(self.shape.len());
        let room = || Error::Memory { what: "input copy".into(), bytes: length.saturating_mul(4) };
        if self.are_planes() {
            copy.try_reserve_exact(length.saturating_sub(copy.len())).map_err(|_| room())?;
            copy.resize(length, 0.0);
            for (n, image) in copy.chunks_exact_mut(self.shape.len().max(1)).enumerate() {
                let from = from.wrapping_offset(self.strides[0].wrapping_mul(n as isize)).cast();
                // SAFETY: by this function's own contract; the planes lie side by side, on boundaries of four bytes.
                let planes = unsafe { slice::from_raw_parts(from, self.shape.len()) };
                Batch::planes(planes, 1, self.shape)?.copy_to(&mut BatchMut::tight(image, 1, self.shape)?)?;
            }
            return Batch::tight(copy, count, self.shape);
        }
        copy.clear();
        copy.try_reserve_exact(length).map_err(|_| room())?;
        let [image, row, pixel, channel] = self.strides;
        let at =
            |from: *const u8, stride: isize, index: usize| from.wrapping_offset(stride.wrapping_mul(index as isize));
        let Shape { height, width, channels } = self.shape;
        for (n, y) in (0..count).flat_map(|n| (0..height).map(move |y| (n, y))) {
            let from = at(at(from, image, n), row, y);
            for x in 0..width {
                let from = at(from, pixel, x);
                // SAFETY: by this function's own contract; the address may be a multiple of anything.
                copy.extend((0..channels).map(|c| unsafe { at(from, channel, c).cast::<f32>().read_unaligned() }));
            }
        }
        Batch::tight(copy, count, self.shape)
    }
}
