//! The clamp of f32.

/// Bounds of `f32::clamp`: NaN stays NaN and −0 stays −0. Any two numbers are bounds; where they cross, `hi` wins (in a
/// graph they are an error).
///
/// ```
/// use sepconv::{Clamp, View, ViewMut, ops};
///
/// let clamped = |clamp| -> sepconv::Result<[f32; 3]> {
///     let mut output = [0.0; 3];
///     ops::clamp(View::tight(&[-2.0, 0.5, 7.0], 1, 1, 3)?, clamp, ViewMut::tight(&mut output, 1, 1, 3)?)?;
///     Ok(output)
/// };
/// assert_eq!(clamped(Clamp::NONE)?, [-2.0, 0.5, 7.0]);
/// assert_eq!(clamped(Clamp::RELU)?, [0.0, 0.5, 7.0]);
/// assert_eq!(clamped(Clamp::RELU6)?, [0.0, 0.5, 6.0]);
/// assert_eq!(clamped(Clamp::new(-1.0, 1.0))?, [-1.0, 0.5, 1.0]);
/// # Ok::<(), sepconv::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Clamp {
    /// Lower bound.
    pub lo: f32,
    /// Upper bound.
    pub hi: f32,
}

impl Clamp {
    /// No activation.
    pub const NONE: Clamp = Clamp { lo: f32::NEG_INFINITY, hi: f32::INFINITY };
    /// max(x, 0).
    pub const RELU: Clamp = Clamp { lo: 0.0, hi: f32::INFINITY };
    /// min(max(x, 0), 6).
    pub const RELU6: Clamp = Clamp { lo: 0.0, hi: 6.0 };

    /// The bounds `lo` and `hi`.
    pub const fn new(lo: f32, hi: f32) -> Self {
        Clamp { lo, hi }
    }

    /// Compare and select, as the kernels do: never `f32::max` or `f32::min`, which differ on NaN and −0.
    #[inline(always)]
    pub(crate) fn apply(self, x: f32) -> f32 {
        let raised = if x < self.lo { self.lo } else { x };
        if raised > self.hi { self.hi } else { raised }
    }
}

impl Default for Clamp {
    fn default() -> Self {
        Clamp::NONE
    }
}
