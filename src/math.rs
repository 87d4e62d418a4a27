//! What `core` has no function for: the standard library's, or `libm`'s without it. The results are the same, but for
//! [`exp`], which is within the last bits.

#[cfg(feature = "std")]
mod std_or_libm {
    /// The square root.
    pub fn sqrt(x: f64) -> f64 {
        x.sqrt()
    }

    /// The nearest whole number, of two the even one.
    pub fn round_ties_even(x: f64) -> f64 {
        x.round_ties_even()
    }

    /// `x * y + z`, rounded once.
    #[inline(always)]
    pub fn fma(x: f32, y: f32, z: f32) -> f32 {
        x.mul_add(y, z)
    }

    /// e to the power of `x`.
    pub fn exp(x: f32) -> f32 {
        x.exp()
    }
}

#[cfg(not(feature = "std"))]
mod std_or_libm {
    pub use libm::{expf as exp, fmaf as fma, rint as round_ties_even, sqrt};
}

pub(crate) use std_or_libm::{exp, fma, round_ties_even, sqrt};
