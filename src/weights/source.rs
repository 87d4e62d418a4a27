//! Where tensors come from.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::error::Result;

/// A source of tensors by name.
///
/// ```
/// use std::borrow::Cow;
///
/// use sepconv::graph::{Builder, Layer};
/// use sepconv::weights::{Weights, fold};
/// use sepconv::{Error, Shape};
///
/// /// One tensor.
/// struct One(&'static str, Vec<f32>);
///
/// impl Weights for One {
///     fn tensor(&self, name: &str, shape: &[usize]) -> Result<Cow<'_, [f32]>, String> {
///         match name == self.0 && shape.iter().product::<usize>() == self.1.len() {
///             true => Ok(Cow::Borrowed(&self.1)),
///             false => Err(format!("missing, expected shape {shape:?}")),
///         }
///     }
///
///     fn names(&self) -> Vec<String> {
///         vec![self.0.into()]
///     }
/// }
///
/// let mut net = Builder::new();
/// let image = net.input("image", Shape::new(4, 4, 3))?;
/// let x = net.pointwise("pw", image, 2, Layer::named("block.pw"))?;
/// let graph = net.build(&[x])?;
/// let one = One("block.pw.weight", vec![0.5; 2 * 3]);
/// let folded = fold(&graph, &one)?;
/// assert_eq!(folded[0].as_ref().unwrap().weights, [0.5; 2 * 3]);
/// assert_eq!((&*one.label("x"), one.may_stay_unread("x")), ("x", false));
/// // What is missing, and what nobody reads.
/// let error = fold(&graph, &One("block.dw.weight", vec![0.5; 2 * 3])).unwrap_err();
/// assert!(matches!(error, Error::Weights { problems, .. } if problems.len() == 2));
/// # Ok::<(), sepconv::Error>(())
/// ```
pub trait Weights {
    /// The tensor `name` of `shape`, row-major; or why there is none. Kernels have PyTorch's axes (O, I, kh, kw; depthwise
    /// C, 1, kh, kw; fully connected O, I).
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Cow<'_, [f32]>, String>;

    /// The names of all tensors where the source is a closed list: those that a graph has no use for are then an error. A
    /// source without a list has tensors of any name.
    fn names(&self) -> Vec<String> {
        Vec::new()
    }

    /// What people know tensor `name` by, for messages.
    fn label(&self, name: &str) -> String {
        name.into()
    }

    /// Whether a graph may leave tensor `name` of [`names`](Self::names) unread.
    fn may_stay_unread(&self, _name: &str) -> bool {
        false
    }
}

/// No tensors: for graphs whose layers were given theirs as arrays.
///
/// ```
/// use sepconv::Shape;
/// use sepconv::graph::{Builder, Layer};
/// use sepconv::weights::fold;
///
/// let mut net = Builder::new();
/// let image = net.input("image", Shape::new(4, 4, 3))?;
/// let given = net.pointwise("given", image, 2, Layer::arrays([0.5; 2 * 3], [0.0; 2]))?;
/// let named = net.pointwise("named", given, 2, Layer::named("pw"))?;
/// let graph = net.build(&[given, named])?;
/// assert_eq!(fold(&graph.features(["given"])?, &())?[0].as_ref().unwrap().weights, [0.5; 2 * 3]);
/// assert!(fold(&graph, &()).unwrap_err().to_string().contains("pw.weight"));
/// # Ok::<(), sepconv::Error>(())
/// ```
impl Weights for () {
    fn tensor(&self, _name: &str, shape: &[usize]) -> Result<Cow<'_, [f32]>, String> {
        Err(format!("missing, expected shape {shape:?}"))
    }
}
