//! `sepconv.Error`.

use pyo3::PyErr;
use pyo3::exceptions::PyException;

pyo3::create_exception!(
    sepconv,
    Error,
    PyException,
    "Why a call was refused: what was given, what was expected, and what to do. The sentence is that of the Rust crate."
);

/// What ends a call: an error of the crate, or one that Python has raised already.
pub enum Failure {
    /// Becomes [`Error`].
    Refused(sepconv::Error),
    /// Stays as it is.
    Raised(PyErr),
}

/// What fallible functions of the module return.
pub type Result<T> = std::result::Result<T, Failure>;

impl From<sepconv::Error> for Failure {
    fn from(error: sepconv::Error) -> Self {
        Failure::Refused(error)
    }
}

impl From<PyErr> for Failure {
    fn from(error: PyErr) -> Self {
        Failure::Raised(error)
    }
}

impl From<Failure> for PyErr {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(error) => Error::new_err(error.to_string()),
            Failure::Raised(error) => error,
        }
    }
}

/// The error for an argument that is not what was expected.
pub fn refused(what: impl ToString, got: impl ToString, expected: impl ToString) -> sepconv::Error {
    sepconv::Error::Shape { what: what.to_string(), got: got.to_string(), expected: expected.to_string() }
}
