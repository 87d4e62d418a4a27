//! Average pooling, under a window or over the whole image.

use alloc::format;
use alloc::sync::Arc;
#[cfg(feature = "reference")]
use alloc::vec::Vec;

use super::epilogue::Epilogue;
#[cfg(feature = "reference")]
use super::operator::Given;
use super::operator::{Operator, Packed, Site, Traits};
use super::pack::Packing;
use super::part::{Call, Part};
use super::pool::{Mean, reduce_windows};
use crate::blob::Writer;
use crate::error::{Error, Result};
#[cfg(feature = "reference")]
use crate::reference;
#[cfg(feature = "reference")]
use crate::tensor::Clamp;
use crate::tensor::{Shape, View, ViewMut, Window};

/// Average pooling: for each channel the sum of the taps inside the image, row-major, times 1/n. Where `count_padding`, n
/// counts the taps on padding too (ShuffleNet V1); else only those that were summed. An error where no tap of a window is
/// inside, or `output` has another shape.
///
/// ```
/// use sepconv::{View, ViewMut, Window, ops};
///
/// let (input, mut output) = ([1.0, 3.0, 8.0], [0.0; 2]);
/// let window = Window::square(3).stride(2).symmetric();
/// let mut pool = |count_padding| {
///     let output = ViewMut::tight(&mut output, 1, 2, 1)?;
///     ops::average_pool(window, count_padding, View::tight(&input, 1, 3, 1)?, output)
/// };
/// pool(false)?;
/// assert_eq!(output, [2.0, 5.5]);
/// # Ok::<(), sepconv::Error>(())
/// ```
pub fn average_pool(window: Window, count_padding: bool, input: View<'_>, mut output: ViewMut<'_>) -> Result<()> {
    let pool = AveragePool { window, count_padding };
    let whole = pool.output(&[input.layout().shape()])?;
    output.layout().expect("average pool output", whole)?;
    run(window, count_padding, whole, input, &mut output);
    Ok(())
}

/// Global average pooling: for each channel the sum over the pixels in row-major order, times 1/pixels. `output` has one
/// element a channel; an error where it has not, or the image has no pixel.
///
/// ```
/// use sepconv::{View, ops};
///
/// let mut means = [0.0; 2];
/// ops::global_average_pool(View::tight(&[1.0, -1.0, 4.0, -2.0], 1, 2, 2)?, &mut means)?;
/// assert_eq!(means, [2.5, -1.5]);
/// # Ok::<(), sepconv::Error>(())
/// ```
pub fn global_average_pool(input: View<'_>, output: &mut [f32]) -> Result<()> {
    let shape = input.layout().shape();
    if output.len() != shape.channels || shape.pixels() == 0 {
        let got = format!("{} outputs for {shape}", output.len());
        return Err(Error::shape("global average pooling", got, "one output a channel, and at least one pixel"));
    }
    let mut output = ViewMut::tight(output, 1, 1, shape.channels)?;
    run(global(shape), true, Shape::new(1, 1, shape.channels), input, &mut output);
    Ok(())
}

/// The window that is the whole image.
const fn global(image: Shape) -> Window {
    Window::new(image.height, image.width)
}

/// Pools an image whose shapes were checked.
fn run(window: Window, count_padding: bool, whole: Shape, input: View<'_>, output: &mut ViewMut<'_>) {
    if !whole.is_empty() {
        let part = Part::all(whole);
        let call = Call::of(&window, &part, (input, 0..whole.channels), &Epilogue::default(), output);
        // SAFETY: the views are as large as was checked, and `output` is borrowed uniquely.
        unsafe { Pooling { window, count_padding, kernel: "average_pool" }.run(&call) };
    }
}

/// Average pooling as the operator of a graph.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AveragePool {
    pub window: Window,
    pub count_padding: bool,
}

impl Operator for AveragePool {
    fn kind(&self) -> &'static str {
        "average_pool"
    }

    fn traits(&self) -> Traits {
        Traits::PLAIN
    }

    fn output(&self, inputs: &[Shape]) -> Result<Shape> {
        self.window.check("average pool")?;
        let (height, width) = self.window.expect_pixels("average pool", inputs[0])?;
        Ok(Shape { height, width, channels: inputs[0].channels })
    }

    fn window(&self, _input: Shape) -> Window {
        self.window
    }

    fn pack(&self, _site: &Site, _packing: &mut Packing<'_>) -> Result<Arc<dyn Packed>> {
        let AveragePool { window, count_padding } = *self;
        Ok(Arc::new(Pooling { window, count_padding, kernel: self.kind() }))
    }

    fn write(&self, to: &mut Writer) {
        to.text("average_pool");
        to.window(&self.window);
        to.flag(self.count_padding);
    }

    #[cfg(feature = "reference")]
    fn reference(&self, given: &Given<'_>, inputs: &[&[f32]], clamp: Clamp) -> Vec<f32> {
        debug_assert_eq!(clamp, Clamp::NONE, "a pooling has no clamp");
        reference::average_pool(inputs[0], given.input, &self.window, self.count_padding)
    }
}

/// Global average pooling as the operator of a graph.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GlobalAveragePool;

impl Operator for GlobalAveragePool {
    fn kind(&self) -> &'static str {
        "global_average_pool"
    }

    fn traits(&self) -> Traits {
        Traits::PLAIN
    }

    fn output(&self, inputs: &[Shape]) -> Result<Shape> {
        Ok(Shape::new(1, 1, inputs[0].channels))
    }

    fn window(&self, input: Shape) -> Window {
        global(input)
    }

    fn pack(&self, site: &Site, _packing: &mut Packing<'_>) -> Result<Arc<dyn Packed>> {
        Ok(Arc::new(Pooling { window: global(site.input), count_padding: true, kernel: self.kind() }))
    }

    fn write(&self, to: &mut Writer) {
        to.text("global_average_pool");
    }

    #[cfg(feature = "reference")]
    fn reference(&self, given: &Given<'_>, inputs: &[&[f32]], clamp: Clamp) -> Vec<f32> {
        debug_assert_eq!(clamp, Clamp::NONE, "a pooling has no clamp");
        reference::global_average_pool(inputs[0], given.input.channels)
    }
}

/// Either of them, ready to run.
#[derive(Debug)]
struct Pooling {
    window: Window,
    count_padding: bool,
    kernel: &'static str,
}

impl Packed for Pooling {
    fn kernel(&self) -> &'static str {
        self.kernel
    }

    unsafe fn run(&self, call: &Call) {
        let mean = Mean { of: self.count_padding.then(|| self.window.taps()) };
        // SAFETY: by this function's own contract.
        unsafe { reduce_windows(call, self.window, &mean) };
    }
}
