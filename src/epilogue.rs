//! What is done to each output before it is stored.

use crate::error::Result;
use crate::tensor::{Layout, View};

/// Bounds of `f32::clamp`: NaN stays NaN and −0 stays −0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Clamp {
    /// Lower bound.
    pub lo: f32,
    /// Upper bound; at least `lo`.
    pub hi: f32,
}

impl Clamp {
    /// No activation.
    pub const NONE: Clamp = Clamp { lo: f32::NEG_INFINITY, hi: f32::INFINITY };
    /// max(x, 0).
    pub const RELU: Clamp = Clamp { lo: 0.0, hi: f32::INFINITY };
    /// min(max(x, 0), 6).
    pub const RELU6: Clamp = Clamp { lo: 0.0, hi: 6.0 };

    /// Compare and select, as the kernels do: never `f32::max` or `f32::min`, which differ on NaN and −0.
    #[inline(always)]
    pub(crate) fn apply(self, x: f32) -> f32 {
        let raised = if x < self.lo { self.lo } else { x };
        if raised > self.hi { self.hi } else { raised }
    }
}

/// Bias is part of the packed weights; the rest of the epilogue comes with each call: `clamp(sum + residual)`.
#[derive(Debug, Clone, Copy)]
pub struct Epilogue<'a> {
    /// An image of the output's size to add.
    pub residual: Option<View<'a>>,
    /// The clamp after it.
    pub clamp: Clamp,
}

impl Epilogue<'_> {
    /// Only a clamp.
    pub const fn clamp(clamp: Clamp) -> Self {
        Epilogue { residual: None, clamp }
    }

    pub(crate) fn check(&self, output: &Layout) -> Result<()> {
        match self.residual {
            Some(residual) => residual.layout().expect("residual", output.height, output.width, output.channels),
            None => Ok(()),
        }
    }
}

/// A residual as a kernel takes it: first element, pixel stride, row stride.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Residual {
    pub pointer: *const f32,
    pub pixel: usize,
    pub row: usize,
}

impl Residual {
    pub const NONE: Residual = Residual { pointer: std::ptr::null(), pixel: 0, row: 0 };

    pub fn of(epilogue: &Epilogue<'_>) -> Self {
        epilogue.residual.map_or(Self::NONE, |view| {
            let layout = view.layout().without_unused_strides();
            Residual { pointer: view.as_ptr(), pixel: layout.pixel_stride, row: layout.row_stride }
        })
    }

    /// The residual of the part of the output that starts `pixels` and `rows` and `channels` further on.
    pub fn offset(self, rows: usize, pixels: usize, channels: usize) -> Self {
        if self.pointer.is_null() {
            return self;
        }
        Residual { pointer: self.pointer.wrapping_add(rows * self.row + pixels * self.pixel + channels), ..self }
    }
}
