//! An activation by itself, where no convolution before or after it takes it over.

use std::sync::Arc;

#[cfg(feature = "reference")]
use super::operator::Given;
use super::operator::{Operator, Packed, Site, Traits};
use super::part::Call;
use super::simd::{clamp_run, each_pixel, pixel};
use crate::error::Result;
#[cfg(feature = "reference")]
use crate::reference;
use crate::tensor::buffer::Arena;
use crate::tensor::{Clamp, Shape, View, ViewMut, Window};

/// `output = clamp(input)`, pixel by pixel; an error where the shapes differ. [`Clamp`] has an example.
pub fn clamp(input: View<'_>, clamp: Clamp, mut output: ViewMut<'_>) -> Result<()> {
    let shape = output.layout().shape();
    input.layout().expect("clamp input", shape)?;
    if shape.is_empty() {
        return Ok(());
    }
    for (y, x) in (0..shape.height).flat_map(|y| (0..shape.width).map(move |x| (y, x))) {
        clamp_run(input.pixel(y, x), clamp, output.pixel_mut(y, x));
    }
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

    fn pack(&self, _site: &Site<'_>, _arena: &mut Arena) -> Result<Arc<dyn Packed>> {
        Ok(Arc::new(*self))
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
        // SAFETY: by this function's own contract; the input holds every pixel of the output.
        unsafe {
            each_pixel(call, |y, x, output| {
                clamp_run(pixel(call.input, y, x, call.outputs.len()), call.clamp, output);
            });
        }
    }
}
