//! The one error type: what was wrong, what was expected, what to do.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// Why a call was refused. No function of this crate panics on bad input; each returns one of these instead.
///
/// ```
/// use sepconv::{Error, Result, View};
///
/// fn first(image: &[f32]) -> Result<f32> {
///     Ok(View::tight(image, 2, 2, 3)?.pixel(0, 0)[0])
/// }
/// let error = first(&[0.0; 11]).unwrap_err();
/// assert!(matches!(error, Error::Length { got: 11, .. }));
/// assert_eq!(error.to_string(), "view: got 11 elements, expected at least 12");
/// ```
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The ISA has no name like this.
    #[error("unknown ISA {name:?}: expected one of {known}; this CPU supports {supported}")]
    UnknownIsa {
        /// The name as given.
        name: String,
        /// All names.
        known: String,
        /// The names of the ISAs that this CPU and this build support.
        supported: String,
    },
    /// The CPU, its operating system or this build lacks the ISA.
    #[error("ISA {name} cannot run here: this CPU and build support {supported}; choose one of these")]
    UnsupportedIsa {
        /// The ISA's name.
        name: &'static str,
        /// The names of the ISAs that this CPU and this build support.
        supported: String,
    },
    /// An array does not have the length that its shape says, or a view's layout does not fit its data.
    #[error("{what}: got {got} elements, expected {expected}")]
    Length {
        /// The array.
        what: String,
        /// Elements given.
        got: usize,
        /// Elements that the shape asks for.
        expected: String,
    },
    /// Two shapes that belong together differ, or a size is out of range.
    #[error("{what}: got {got}, expected {expected}")]
    Shape {
        /// The argument.
        what: String,
        /// What was given.
        got: String,
        /// What is allowed.
        expected: String,
    },
    /// A call of a graph's builder that makes no node.
    #[error("{node}: {what}: got {got}, expected {expected}")]
    Node {
        /// The node's name.
        node: String,
        /// The argument.
        what: String,
        /// What was given.
        got: String,
        /// What is allowed.
        expected: String,
    },
    /// A parameter makes no network.
    #[error("{what} {got}: expected {expected}")]
    Parameter {
        /// The parameter's name.
        what: &'static str,
        /// What was given.
        got: String,
        /// What is allowed.
        expected: String,
    },
    /// Tensors of a weight file that do not fit the network: each by name, with what was expected.
    #[error("the weights do not fit {network}:{}", listed(problems))]
    Weights {
        /// The network's name.
        network: String,
        /// One line a tensor; a message has the first ten, and how many more there are.
        problems: Vec<String>,
    },
    /// The allocator has no room for what the arguments ask for.
    #[error("{what}: {bytes} bytes of memory are not to be had; ask for less or free some")]
    Memory {
        /// What the memory was for.
        what: String,
        /// Bytes asked for; `usize::MAX` stands for more than the address space holds.
        bytes: usize,
    },
    /// Tensors of a weight file under the names of another network.
    #[error("these weights look like {looks_like}, not {network}: build {looks_like}, or give other weights")]
    OtherNetwork {
        /// The network's name.
        network: String,
        /// The network that has tensors of these names.
        looks_like: &'static str,
    },
    /// A saved plan that is damaged, or none.
    #[error("not a readable saved plan: {why}; save it again")]
    Blob {
        /// What is wrong with it.
        why: String,
    },
    /// A saved plan for another version of this crate, another ISA, or another machine.
    #[error("the plan was saved for {what} {got}, expected {expected}: build it here, and save it again")]
    OtherBlob {
        /// What differs.
        what: &'static str,
        /// What the plan was saved for.
        got: String,
        /// What there is here.
        expected: String,
    },
    /// A weight file that cannot be read.
    #[error("not a readable safetensors file: {why}; fetch or convert it again")]
    File {
        /// The reader's reason.
        why: String,
    },
}

impl Error {
    pub(crate) fn shape(what: impl Into<String>, got: impl ToString, expected: impl ToString) -> Self {
        Error::Shape { what: what.into(), got: got.to_string(), expected: expected.to_string() }
    }

    pub(crate) fn node(node: &str, what: impl Into<String>, got: impl ToString, expected: impl ToString) -> Self {
        Error::Node { node: node.into(), what: what.into(), got: got.to_string(), expected: expected.to_string() }
    }

    /// The same error with the name of the node that it is about, where it has none yet.
    pub(crate) fn of_node(self, node: &str) -> Self {
        match self {
            Error::Shape { what, got, expected } => Error::Node { node: node.into(), what, got, expected },
            Error::Node { what, got, expected, .. } => Error::Node { node: node.into(), what, got, expected },
            Error::Length { what, got, expected } => Error::Length { what: format!("{node}: {what}"), got, expected },
            error => error,
        }
    }

    pub(crate) fn blob(why: impl Into<String>) -> Self {
        Error::Blob { why: why.into() }
    }

    /// The same error as one of the saved plan that was being loaded, where it is about what that holds.
    pub(crate) fn of_blob(self) -> Self {
        match self {
            Error::Blob { .. } | Error::OtherBlob { .. } | Error::Memory { .. } => self,
            Error::UnknownIsa { .. } | Error::UnsupportedIsa { .. } => self,
            error => Error::blob(error.to_string()),
        }
    }

    /// No room for `elements` elements of f32.
    pub(crate) fn memory(what: impl Into<String>, elements: usize) -> Self {
        Error::Memory { what: what.into(), bytes: elements.saturating_mul(size_of::<f32>()) }
    }
}

/// Problems in one message.
const LISTED: usize = 10;

/// The first problems, one a line, and how many more there are.
fn listed(problems: &[String]) -> String {
    let rest = problems.len().saturating_sub(LISTED);
    let rest = (rest > 0).then(|| format!("and {rest} more"));
    problems.iter().take(LISTED).chain(&rest).map(|line| format!("\n  {line}")).collect()
}

/// What fallible functions of this crate return; [`Error`] has an example.
pub type Result<T, E = Error> = core::result::Result<T, E>;
