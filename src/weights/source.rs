//! Where tensors come from.

use std::borrow::Cow;

use crate::error::Result;

/// A source of tensors by name.
pub trait Weights {
    /// The tensor `name` of `shape`, row-major; or why there is none.
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
