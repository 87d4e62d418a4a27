//! Max pooling.

use alloc::sync::Arc;
#[cfg(feature = "reference")]
use alloc::vec::Vec;

use super::epilogue::Epilogue;
#[cfg(feature = "reference")]
use super::operator::Given;
use super::operator::{Operator, Packed, Site, Traits};
use super::pack::Packing;
use super::part::{Call, Part};
use super::pool::{Maximum, reduce_windows};
use crate::blob::Writer;
use crate::error::Result;
#[cfg(feature = "reference")]
use crate::reference;
#[cfg(feature = "reference")]
use crate::tensor::Clamp;
use crate::tensor::{Shape, View, ViewMut, Window};

/// Max pooling: the first tap inside the image, then each later one that is greater, or NaN. Padding, which is smaller
/// than the window on each side, never counts. An error where no tap of a window is inside, or `output` has another shape.
///
/// ```
/// use sepconv::{View, ViewMut, Window, ops};
///
/// let (input, mut output) = ([-1.0, -5.0, -3.0, -4.0, -2.0, -6.0], [0.0; 2]);
/// ops::max_pool(Window::square(2), View::tight(&input, 2, 3, 1)?, ViewMut::tight(&mut output, 1, 2, 1)?)?;
/// assert_eq!(output, [-1.0, -2.0]);
/// # Ok::<(), sepconv::Error>(())
/// ```
pub fn max_pool(window: Window, input: View<'_>, mut output: ViewMut<'_>) -> Result<()> {
    let source = input.layout().shape();
    let pool = MaxPool { window };
    let whole = pool.output(&[source])?;
    output.layout().expect("max pool output", whole)?;
    if !whole.is_empty() {
        let channels = 0..whole.channels;
        let call = Call::of(&window, &Part::all(whole), (input, channels), &Epilogue::default(), &mut output);
        // SAFETY: the views are as large as was checked, and `output` is borrowed uniquely.
        unsafe { pool.run(&call) };
    }
    Ok(())
}

/// The operator of a graph.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MaxPool {
    pub window: Window,
}

impl Operator for MaxPool {
    fn kind(&self) -> &'static str {
        "max_pool"
    }

    fn traits(&self) -> Traits {
        Traits::PLAIN
    }

    fn output(&self, inputs: &[Shape]) -> Result<Shape> {
        self.window.check("max pool")?;
        let (height, width) = self.window.expect_pixels("max pool", inputs[0])?;
        Ok(Shape { height, width, channels: inputs[0].channels })
    }

    fn window(&self, _input: Shape) -> Window {
        self.window
    }

    fn pack(&self, _site: &Site, _packing: &mut Packing<'_>) -> Result<Arc<dyn Packed>> {
        Ok(Arc::new(*self))
    }

    fn write(&self, to: &mut Writer) {
        to.text("max_pool");
        to.window(&self.window);
    }

    #[cfg(feature = "reference")]
    fn reference(&self, given: &Given<'_>, inputs: &[&[f32]], clamp: Clamp) -> Vec<f32> {
        debug_assert_eq!(clamp, Clamp::NONE, "a pooling has no clamp");
        reference::max_pool(inputs[0], given.input, &self.window)
    }
}

impl Packed for MaxPool {
    fn kernel(&self) -> &'static str {
        "max_pool"
    }

    unsafe fn run(&self, call: &Call) {
        // SAFETY: by this function's own contract.
        unsafe { reduce_windows(call, self.window, &Maximum) };
    }
}
