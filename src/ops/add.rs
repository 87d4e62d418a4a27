//! The sum of two images.

use alloc::format;
use alloc::sync::Arc;
#[cfg(feature = "reference")]
use alloc::vec::Vec;

use pulp::Simd;

use super::epilogue::Epilogue;
#[cfg(feature = "reference")]
use super::operator::Given;
use super::operator::{Operator, Packed, Site, Traits};
use super::pack::Packing;
use super::part::{Call, Part};
use super::simd::{Pixelwise, add_run, each_pixel, pixel};
use crate::blob::Writer;
use crate::error::{Error, Result};
#[cfg(feature = "reference")]
use crate::reference;
use crate::tensor::{Clamp, Shape, View, ViewMut, Window};

/// `output = clamp(a + b)`, pixel by pixel; an error where the three shapes differ.
///
/// ```
/// use sepconv::{Clamp, View, ViewMut, ops};
///
/// let (a, b, mut sum) = ([1.0, 2.0], [-3.0, 2.0], [0.0; 2]);
/// let view = |data| View::tight(data, 1, 2, 1);
/// ops::add(view(&a)?, view(&b)?, Clamp::RELU, ViewMut::tight(&mut sum, 1, 2, 1)?)?;
/// assert_eq!(sum, [0.0, 4.0]);
/// # Ok::<(), sepconv::Error>(())
/// ```
pub fn add(a: View<'_>, b: View<'_>, clamp: Clamp, mut output: ViewMut<'_>) -> Result<()> {
    let shape = output.layout().shape();
    a.layout().expect("first summand", shape)?;
    b.layout().expect("second summand", shape)?;
    if shape.is_empty() {
        return Ok(());
    }
    let (whole, epilogue) = (Part::all(shape), Epilogue::add(b, clamp));
    let call = Call::of(&Window::PIXEL, &whole, (a, 0..shape.channels), &epilogue, &mut output);
    // SAFETY: the views are as large as was checked, and `output` is borrowed uniquely.
    unsafe { Add.run(&call) };
    Ok(())
}

/// The operator of a graph.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Add;

impl Operator for Add {
    fn kind(&self) -> &'static str {
        "add"
    }

    fn traits(&self) -> Traits {
        Traits { inputs: 2, sums: true, clamps: true, ..Traits::PLAIN }
    }

    fn output(&self, inputs: &[Shape]) -> Result<Shape> {
        match inputs[0] == inputs[1] {
            true => Ok(inputs[0]),
            false => Err(Error::shape("second summand", inputs[1], format!("the first one's shape, {}", inputs[0]))),
        }
    }

    fn window(&self, _input: Shape) -> Window {
        Window::PIXEL
    }

    fn pack(&self, _site: &Site, _packing: &mut Packing<'_>) -> Result<Arc<dyn Packed>> {
        Ok(Arc::new(*self))
    }

    fn write(&self, to: &mut Writer) {
        to.text("add");
    }

    #[cfg(feature = "reference")]
    fn reference(&self, _given: &Given<'_>, inputs: &[&[f32]], clamp: Clamp) -> Vec<f32> {
        reference::add(inputs[0], inputs[1], clamp)
    }
}

impl Packed for Add {
    fn kernel(&self) -> &'static str {
        "add"
    }

    unsafe fn run(&self, call: &Call) {
        // SAFETY: by this function's own contract.
        unsafe { each_pixel(call, self) };
    }
}

impl Pixelwise for Add {
    #[inline(always)]
    unsafe fn pixel<S: Simd>(&self, simd: S, call: &Call, place: (usize, usize), output: &mut [f32]) {
        // SAFETY: by this function's own contract; both summands hold every pixel of the output.
        let (a, b) = unsafe { (pixel(call.input, place, output.len()), pixel(call.residual, place, output.len())) };
        add_run(simd, a, b, call.clamp, output);
    }
}
