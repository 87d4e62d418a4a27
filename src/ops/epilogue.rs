//! What is done to each output before it is stored.

use crate::tensor::{Clamp, View};

/// Bias is part of the packed weights; the rest of the epilogue comes with each call: `clamp(sum + residual)`.
///
/// ```
/// use sepconv::ops::{Pointwise, PointwiseParams};
/// use sepconv::{Clamp, Epilogue, Isa, View, ViewMut};
///
/// // Twice the input.
/// let op = Pointwise::new(Isa::selected()?.kernels()?, PointwiseParams::new(1, 1), 2, &[2.0], &[0.0])?;
/// let (input, residual, mut output) = ([1.0, 4.0], [-3.0, 1.0], [0.0; 2]);
/// let view = |data| View::tight(data, 1, 2, 1);
/// op.run(view(&input)?, Epilogue::clamp(Clamp::RELU6), ViewMut::tight(&mut output, 1, 2, 1)?)?;
/// assert_eq!(output, [2.0, 6.0]);
/// let epilogue = Epilogue::add(view(&residual)?, Clamp::RELU);
/// op.run(view(&input)?, epilogue, ViewMut::tight(&mut output, 1, 2, 1)?)?;
/// assert_eq!(output, [0.0, 9.0]);
/// # Ok::<(), sepconv::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Epilogue<'a> {
    /// An image of the output's size to add.
    pub residual: Option<View<'a>>,
    /// The clamp after it.
    pub clamp: Clamp,
}

impl<'a> Epilogue<'a> {
    /// Only a clamp.
    pub const fn clamp(clamp: Clamp) -> Self {
        Epilogue { residual: None, clamp }
    }

    /// A residual, then a clamp.
    pub const fn add(residual: View<'a>, clamp: Clamp) -> Self {
        Epilogue { residual: Some(residual), clamp }
    }
}
