//! What is done to each output before it is stored.

use crate::tensor::{Clamp, View};

/// Bias is part of the packed weights; the rest of the epilogue comes with each call: `clamp(sum + residual)`.
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
