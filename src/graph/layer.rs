//! What a node with weights has besides its shape: where its parameters come from, and its clamp.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use crate::tensor::Clamp;

/// What a convolution or a fully connected layer has besides its shape: parameters, by name or as arrays, and a clamp.
///
/// ```
/// use sepconv::graph::{Builder, Layer};
/// use sepconv::{Clamp, Shape};
///
/// // The tensors `pw.weight`, `pw.bias`, and `bn.weight`, `.bias`, `.running_mean`, `.running_var` of a source of weights.
/// let named = Layer::named("pw").bias().norm("bn", 1e-5).clamp(Clamp::RELU6);
/// // The same from arrays.
/// let (ones, zeros) = ([1.0; 8], [0.0; 8]);
/// let given = Layer::arrays([0.5; 8 * 3], zeros).norm_arrays(ones, zeros, zeros, ones, 1e-5).clamp(Clamp::RELU6);
///
/// let mut net = Builder::new();
/// let image = net.input("image", Shape::new(4, 4, 3))?;
/// let outputs = [net.pointwise("named", image, 8, named)?, net.pointwise("given", image, 8, given)?];
/// let graph = net.build(&outputs)?;
/// // Weights, biases, scales and shifts of two layers.
/// assert_eq!(graph.params(), 2 * (8 * 3 + 8 + 8 + 8));
/// # Ok::<(), sepconv::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Layer {
    pub(super) parameters: Parameters,
    pub(super) clamp: Clamp,
}

impl Layer {
    /// Weights called `name`.weight in the source.
    pub fn named(name: impl Into<String>) -> Self {
        let parameters = Parameters { weights: Tensors::Named(name.into()), bias: false, norm: None };
        Layer { parameters, clamp: Clamp::NONE }
    }

    /// These weights (outputs x inputs a group x rows x columns) and this bias (one an output).
    pub fn arrays(weights: impl Into<Vec<f32>>, bias: impl Into<Vec<f32>>) -> Self {
        let weights = Tensors::Given([weights.into(), bias.into()].map(Arc::from).to_vec());
        Layer { parameters: Parameters { weights, bias: true, norm: None }, clamp: Clamp::NONE }
    }

    /// No weights: a batch normalisation alone, which [`norm`](Self::norm) or [`norm_arrays`](Self::norm_arrays) gives
    /// ([`Builder::leaky_norm`](super::Builder::leaky_norm)).
    pub fn without_weights() -> Self {
        Layer { parameters: Parameters { weights: Tensors::Ones, bias: false, norm: None }, clamp: Clamp::NONE }
    }

    /// With the bias `name`.bias besides the weights.
    pub fn bias(mut self) -> Self {
        self.parameters.bias = true;
        self
    }

    /// With the batch normalisation `name`.weight, `name`.bias, `name`.running_mean, `name`.running_var after it, which
    /// is folded into weights and bias; `epsilon` is added to the variance.
    pub fn norm(mut self, name: impl Into<String>, epsilon: f64) -> Self {
        self.parameters.norm = Some(Norm { tensors: Tensors::Named(name.into()), epsilon });
        self
    }

    /// With the batch normalisation of these scales, shifts, means and variances (one an output each) after it.
    pub fn norm_arrays(
        mut self,
        scale: impl Into<Vec<f32>>,
        shift: impl Into<Vec<f32>>,
        mean: impl Into<Vec<f32>>,
        variance: impl Into<Vec<f32>>,
        epsilon: f64,
    ) -> Self {
        let arrays = [scale.into(), shift.into(), mean.into(), variance.into()].map(Arc::from);
        self.parameters.norm = Some(Norm { tensors: Tensors::Given(arrays.to_vec()), epsilon });
        self
    }

    /// With this clamp of its output.
    pub fn clamp(mut self, clamp: Clamp) -> Self {
        self.clamp = clamp;
        self
    }
}

/// Where tensors come from; [`Parameters`] has an example.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub enum Tensors {
    /// A source of weights has them, under this name and their own endings.
    Named(String),
    /// They were given to the builder, in the order of the endings.
    Given(Vec<Arc<[f32]>>),
    /// There are none: every weight is 1.
    Ones,
    /// They were given, and are packed in the plan that was loaded: no other plan can be built of them.
    Packed,
}

impl fmt::Debug for Tensors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Tensors::Named(name) => write!(f, "Named({name:?})"),
            Tensors::Given(arrays) => {
                let lengths: Vec<usize> = arrays.iter().map(|array| array.len()).collect();
                write!(f, "Given({lengths:?} elements)")
            }
            Tensors::Ones => f.write_str("Ones"),
            Tensors::Packed => f.write_str("Packed"),
        }
    }
}

/// The trained parameters of a node.
///
/// ```
/// use sepconv::Shape;
/// use sepconv::graph::{Builder, Layer, Tensors};
///
/// let mut net = Builder::new();
/// let image = net.input("image", Shape::new(4, 4, 3))?;
/// let x = net.pointwise("pw", image, 8, Layer::named("block.pw").norm("block.bn", 1e-5))?;
/// let graph = net.build(&[x])?;
/// let parameters = graph.nodes()[0].parameters().unwrap();
/// assert_eq!(parameters.weights(), &Tensors::Named("block.pw".into()));
/// assert!(!parameters.has_bias());
/// let norm = parameters.norm().unwrap();
/// assert_eq!((norm.tensors(), norm.epsilon()), (&Tensors::Named("block.bn".into()), 1e-5));
/// # Ok::<(), sepconv::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Parameters {
    pub(super) weights: Tensors,
    pub(super) bias: bool,
    pub(super) norm: Option<Norm>,
}

impl Parameters {
    /// The weights: `NAME.weight` and, with a bias, `NAME.bias`.
    pub fn weights(&self) -> &Tensors {
        &self.weights
    }

    /// Whether there is a bias.
    pub fn has_bias(&self) -> bool {
        self.bias
    }

    /// The batch normalisation that is folded into the weights.
    pub fn norm(&self) -> Option<&Norm> {
        self.norm.as_ref()
    }
}

/// The batch normalisation that follows a convolution; [`Parameters`] has an example.
#[derive(Debug, Clone, PartialEq)]
pub struct Norm {
    pub(super) tensors: Tensors,
    pub(super) epsilon: f64,
}

impl Norm {
    /// Its tensors: `NAME.weight`, `NAME.bias`, `NAME.running_mean`, `NAME.running_var`.
    pub fn tensors(&self) -> &Tensors {
        &self.tensors
    }

    /// What is added to the variance.
    pub fn epsilon(&self) -> f64 {
        self.epsilon
    }
}
