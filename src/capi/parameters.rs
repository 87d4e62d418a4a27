//! The parameters of a node with weights.

use std::ffi::{c_char, c_int};
use std::iter;

use super::pointer::{array, optional_text};
use super::status::{Checked, Failure};
use super::types::{read_clamp, sepconv_clamp};
use crate::graph::Layer;
use crate::tensor::buffer::collect;

/// The parameters of a node with weights: by name in the source of weights, or as arrays, which are copied. A struct of
/// zeros has none of them. What would be ignored is refused.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct sepconv_parameters {
    /// The weights are `NAME.weight`; null where they are arrays, or there are none.
    pub name: *const c_char,
    /// Not 0: there must be a bias, `NAME.bias`. Else it is added where the source of weights has one.
    pub has_bias: c_int,
    /// Outputs x inputs of a group x rows x columns floats, where `name` is null.
    pub weights: *const f32,
    /// How many there are; 0 where `weights` is null.
    pub weights_length: usize,
    /// A float an output, only beside `weights`; null for zeros.
    pub bias: *const f32,
    /// How many there are; 0 where `bias` is null.
    pub bias_length: usize,
    /// The batch normalisation after it, which is folded into the weights, is `NORM.weight`, `NORM.bias`,
    /// `NORM.running_mean`, `NORM.running_var`; null where it is arrays, or there is none.
    pub norm: *const c_char,
    /// Scales, shifts, means and variances, where `norm` is null: `norm_length` floats each. All null where there is no
    /// normalisation.
    pub scale: *const f32,
    /// See `scale`.
    pub shift: *const f32,
    /// See `scale`.
    pub mean: *const f32,
    /// See `scale`.
    pub variance: *const f32,
    /// Outputs; 0 where these four are null, as they are where `norm` is not.
    pub norm_length: usize,
    /// What is added to the variance: 0 or more, below 1.
    pub epsilon: f64,
}

impl sepconv_parameters {
    /// The same with the clamp at `clamp`, for a node of so many outputs.
    ///
    /// # Safety
    /// By the contract of the interface.
    pub(super) unsafe fn layer(&self, outputs: usize, clamp: *const sepconv_clamp) -> Checked<Layer> {
        // SAFETY: by this function's own contract.
        unsafe {
            let weights = array(self.weights, self.weights_length, "parameters.weights")?;
            let bias = array(self.bias, self.bias_length, "parameters.bias")?;
            if self.weights.is_null() && !self.bias.is_null() {
                return Err(Failure::bad("parameters.bias: got an array, expected none without parameters.weights"));
            }
            let mut layer = match optional_text(self.name, "parameters.name")? {
                Some(_) if !self.weights.is_null() => {
                    let message = "parameters.weights: got a name and arrays, expected one of them";
                    return Err(Failure::bad(message));
                }
                Some(name) => Layer::named(name),
                None if self.weights.is_null() && self.has_bias != 0 => {
                    let message = "parameters.has_bias: got a bias without weights, expected 0, or a name or weights";
                    return Err(Failure::bad(message));
                }
                None if self.weights.is_null() => Layer::without_weights(),
                None => {
                    let zeros = self.bias.is_null() && outputs <= weights.len();
                    let bias = match zeros {
                        true => collect("parameters.bias", outputs, iter::repeat(0.0))?,
                        false => copy(bias, "parameters.bias")?,
                    };
                    Layer::arrays(copy(weights, "parameters.weights")?, bias)
                }
            };
            if self.has_bias != 0 && !self.name.is_null() {
                layer = layer.bias();
            }
            let arrays = [self.scale, self.shift, self.mean, self.variance];
            let given = self.norm_length != 0 || arrays.iter().any(|array| !array.is_null());
            layer = match optional_text(self.norm, "parameters.norm")? {
                Some(_) if given => {
                    let message = "parameters.norm: got a name and arrays, or norm_length, expected one of them";
                    return Err(Failure::bad(message));
                }
                Some(name) => layer.norm(name, self.epsilon),
                None if !given => layer,
                None => {
                    let one = |pointer, what| copy(array(pointer, self.norm_length, what)?, what);
                    let [scale, shift] = [one(self.scale, "parameters.scale")?, one(self.shift, "parameters.shift")?];
                    let [mean, variance] =
                        [one(self.mean, "parameters.mean")?, one(self.variance, "parameters.variance")?];
                    layer.norm_arrays(scale, shift, mean, variance, self.epsilon)
                }
            };
            Ok(layer.clamp(read_clamp(clamp)?))
        }
    }
}

/// A copy of `array`, or an error that says `what` it was for.
fn copy(array: &[f32], what: &str) -> Checked<Vec<f32>> {
    Ok(collect(what, array.len(), array.iter().copied())?)
}
