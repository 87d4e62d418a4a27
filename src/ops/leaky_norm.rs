//! A leaky ReLU before the batch normalisation of its output, which so cannot be folded into a convolution (EffNet, Freeman
//! et al. 2018, arXiv:1801.06434).

use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use pulp::Simd;

use super::epilogue::Epilogue;
#[cfg(feature = "reference")]
use super::operator::Given;
use super::operator::{Operator, Packed, Site, Traits};
use super::pack::Packing;
use super::part::{Call, Part, expect_length};
use super::simd::{Pixelwise, each_pixel, leaky_norm_run, pixel};
use crate::blob::Writer;
use crate::error::{Error, Result};
#[cfg(feature = "reference")]
use crate::reference;
use crate::tensor::stored::Stored;
use crate::tensor::{Clamp, Shape, View, ViewMut, Window};

/// `output = clamp((input < 0 ? input * slope : input) * scale + shift)`, pixel by pixel, the product and the sum rounded
/// once (twice on a CPU without FMA), for any slope; `scale` and `shift` hold one element a channel. An error where shapes
/// or lengths differ.
///
/// ```
/// use sepconv::{Clamp, View, ViewMut, ops};
///
/// let (input, mut output) = ([1.0, 1.0, -4.0, -4.0], [0.0; 4]);
/// let (input, output_view) = (View::tight(&input, 1, 2, 2)?, ViewMut::tight(&mut output, 1, 2, 2)?);
/// ops::leaky_norm(input, 0.25, (&[2.0, -1.0], &[0.5, 0.0]), Clamp::NONE, output_view)?;
/// assert_eq!(output, [2.5, -1.0, -1.5, 1.0]);
/// # Ok::<(), sepconv::Error>(())
/// ```
pub fn leaky_norm(
    input: View<'_>,
    slope: f32,
    (scale, shift): (&[f32], &[f32]),
    clamp: Clamp,
    mut output: ViewMut<'_>,
) -> Result<()> {
    let shape = output.layout().shape();
    input.layout().expect("leaky norm input", shape)?;
    expect_length("leaky norm scale (channels)", scale.len(), &[shape.channels])?;
    expect_length("leaky norm shift (channels)", shift.len(), &[shape.channels])?;
    if shape.is_empty() {
        return Ok(());
    }
    let whole = Part::all(shape);
    let call = Call::of(&Window::PIXEL, &whole, (input, 0..shape.channels), &Epilogue::clamp(clamp), &mut output);
    // SAFETY: the views are as large as was checked, and `output` is borrowed uniquely.
    unsafe { each_pixel(&call, &Pixels { slope, affine: (scale, shift) }) };
    Ok(())
}

/// The operator of a graph.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LeakyNorm {
    pub slope: f32,
}

/// The operator with the factor and the summand of each channel.
#[derive(Debug)]
struct PackedLeakyNorm {
    slope: f32,
    scale: Stored,
    shift: Stored,
}

impl Operator for LeakyNorm {
    fn kind(&self) -> &'static str {
        "leaky_norm"
    }

    fn traits(&self) -> Traits {
        Traits { clamps: true, ..Traits::PLAIN }
    }

    fn output(&self, inputs: &[Shape]) -> Result<Shape> {
        match self.slope.is_finite() {
            true => Ok(inputs[0]),
            false => Err(Error::shape("slope", self.slope, "a finite number")),
        }
    }

    fn window(&self, _input: Shape) -> Window {
        Window::PIXEL
    }

    fn weights(&self, input: Shape) -> Option<[usize; 4]> {
        Some([input.channels, 1, 1, 1])
    }

    fn pack(&self, site: &Site, packing: &mut Packing<'_>) -> Result<Arc<dyn Packed>> {
        let channels = site.input.channels;
        packing.expect(("leaky norm scale (channels)", &[channels]), ("leaky norm shift (channels)", channels))?;
        let scale = packing.array(channels, |packed, scale, _| packed.copy_from_slice(scale))?;
        let shift = packing.array(channels, |packed, _, shift| packed.copy_from_slice(shift))?;
        Ok(Arc::new(PackedLeakyNorm { slope: self.slope, scale, shift }))
    }

    fn write(&self, to: &mut Writer) {
        to.text("leaky_norm");
        to.float(self.slope);
    }

    #[cfg(feature = "reference")]
    fn reference(&self, given: &Given<'_>, inputs: &[&[f32]], clamp: Clamp) -> Vec<f32> {
        reference::leaky_norm(inputs[0], self.slope, given.weights, clamp)
    }
}

impl Packed for PackedLeakyNorm {
    fn kernel(&self) -> &'static str {
        "leaky_norm"
    }

    fn arrays(&self) -> Vec<&[f32]> {
        vec![&self.scale, &self.shift]
    }

    fn weights(&self, _inputs: usize, outputs: usize) -> usize {
        2 * outputs
    }

    unsafe fn run(&self, call: &Call) {
        let channels = call.outputs.clone();
        let affine = (&self.scale[channels.clone()], &self.shift[channels]);
        // SAFETY: by this function's own contract.
        unsafe { each_pixel(call, &Pixels { slope: self.slope, affine }) };
    }
}

/// The slope, and the factors and summands of some channels.
struct Pixels<'a> {
    slope: f32,
    affine: (&'a [f32], &'a [f32]),
}

impl Pixelwise for Pixels<'_> {
    #[inline(always)]
    unsafe fn pixel<S: Simd>(&self, simd: S, call: &Call, place: (usize, usize), output: &mut [f32]) {
        // SAFETY: by this function's own contract; the input holds every pixel of the output.
        let input = unsafe { pixel(call.input, place, output.len()) };
        leaky_norm_run(simd, input, self.slope, self.affine, call.clamp, output);
    }
}
