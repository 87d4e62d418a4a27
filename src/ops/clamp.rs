//! An activation by itself, where no convolution before or after it takes it over.

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
use super::simd::{Pixelwise, clamp_run, each_pixel, pixel};
use crate::blob::Writer;
use crate::error::Result;
#[cfg(feature = "reference")]
use crate::reference;
use crate::tensor::{Clamp, Shape, View, ViewMut, Window};

/// `output = clamp(input)`, pixel by pixel; an error where the shapes differ. [`Clamp`] has an example.
pub fn clamp(input: View<'_>, clamp: Clamp, mut output: ViewMut<'_>) -> Result<()> {
    let shape = output.layout().shape();
    input.layout().expect("clamp input", shape)?;
    if shape.is_empty() {
        return Ok(());
    }
    let whole = Part::all(shape);
    let call = Call::of(&Window::PIXEL, &whole, (input, 0..shape.channels), &Epilogue::clamp(clamp), &mut output);
    // SAFETY: the views are as large as was checked, and `output` is borrowed uniquely.
    unsafe { Clamping.run(&call) };
    Ok(())
}

/// The operator of a graph: nothing but the clamp that each node has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clamping;

impl Operator for Clamping {
    fn kind(&self) -> &'static str {
        "clamp"
    }

    fn traits(&self) -> Traits {
        Traits { clamps: true, only_clamps: true, ..Traits::PLAIN }
    }

    fn output(&self, inputs: &[Shape]) -> Result<Shape> {
        Ok(inputs[0])
    }

    fn window(&self, _input: Shape) -> Window {
        Window::PIXEL
    }

    fn pack(&self, _site: &Site, _packing: &mut Packing<'_>) -> Result<Arc<dyn Packed>> {
        Ok(Arc::new(*self))
    }

    fn write(&self, to: &mut Writer) {
        to.text("clamp");
    }

    #[cfg(feature = "reference")]
    fn reference(&self, _given: &Given<'_>, inputs: &[&[f32]], clamp: Clamp) -> Vec<f32> {
        inputs[0].iter().map(|&x| reference::clamp(x, clamp)).collect()
    }
}

impl Packed for Clamping {
    fn kernel(&self) -> &'static str {
        "clamp"
    }

    unsafe fn run(&self, call: &Call) {
        // SAFETY: by this function's own contract.
        unsafe { each_pixel(call, self) };
    }
}

impl Pixelwise for Clamping {
    #[inline(always)]
    unsafe fn pixel<S: Simd>(&self, simd: S, call: &Call, place: (usize, usize), output: &mut [f32]) {
        // SAFETY: by this function's own contract; the input holds every pixel of the output.
        clamp_run(simd, unsafe { pixel(call.input, place, output.len()) }, call.clamp, output);
    }
}
