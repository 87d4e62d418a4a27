//! Builders: their handle, and the calls that make no node.

use std::ffi::c_char;
use std::fmt::Display;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::graph::{Held as GraphHeld, sepconv_graph};
use super::handle::{self, Opaque};
use super::pointer::{array, check_count, place, text};
use super::status::{Checked, guard, sepconv_status};
use super::types::sepconv_shape;
use crate::error::{Error, Result};
use crate::graph::{Builder, Tensor};
use crate::tensor::buffer::room;

/// Builds a graph. Only one thread at a time may use a builder.
pub struct sepconv_builder {
    _private: (),
}

impl Opaque for sepconv_builder {
    type Held = Held;
    const MAGIC: u64 = u64::from_le_bytes(*b"scbuild1");
    const NAME: &'static str = "builder";
}

/// What a builder holds.
pub(super) struct Held {
    id: usize,
    pub builder: Builder,
    /// By the index that callers know them by.
    tensors: Vec<Tensor>,
}

/// A tensor of a builder: what its calls give and take. Any number of nodes may read one.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct sepconv_tensor {
    /// The builder's number.
    pub builder: usize,
    /// The tensor's.
    pub index: usize,
}

impl Held {
    /// The tensor that the caller calls `tensor`, and that is its argument `what`.
    pub fn tensor(&self, tensor: sepconv_tensor, what: impl Display) -> Checked<Tensor> {
        let known = self.tensors.get(tensor.index).filter(|_| tensor.builder == self.id);
        known.copied().ok_or_else(|| {
            let got = format!("tensor {} of builder {}", tensor.index, tensor.builder);
            Error::shape(what.to_string(), got, "one of this builder").into()
        })
    }

    /// The same of several.
    fn all(&self, tensors: &[sepconv_tensor], what: &str) -> Checked<Vec<Tensor>> {
        let mut all = room(what, tensors.len())?;
        for (at, &tensor) in tensors.iter().enumerate() {
            all.push(self.tensor(tensor, format_args!("{what}[{at}]"))?);
        }
        Ok(all)
    }

    /// What the caller calls `tensor`.
    fn give(&mut self, tensor: Tensor) -> sepconv_tensor {
        self.tensors.push(tensor);
        sepconv_tensor { builder: self.id, index: self.tensors.len() - 1 }
    }
}

/// Does what every call that makes one tensor does: `make` has the builder, and its own arguments.
///
/// # Safety
/// By the contract of the interface.
pub(super) unsafe fn call(
    builder: *mut sepconv_builder,
    output: *mut sepconv_tensor,
    make: impl FnOnce(&mut Held) -> Checked<Result<Tensor>>,
) -> sepconv_status {
    // SAFETY: by this function's own contract.
    guard(|| unsafe {
        let (held, output) = (handle::get_mut(builder)?, place(output, "output")?);
        let tensor = make(held)??;
        output.write(held.give(tensor));
        Ok(())
    })
}

/// Writes a handle of a builder of nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sepconv_builder_new(builder: *mut *mut sepconv_builder) -> sepconv_status {
    static BUILDERS: AtomicUsize = AtomicUsize::new(1);
    // SAFETY: by the contract of the interface.
    guard(|| unsafe {
        let place = place(builder, "builder")?;
        let id = BUILDERS.fetch_add(1, Ordering::Relaxed);
        place.write(handle::new(Held { id, builder: Builder::new(), tensors: Vec::new() }));
        Ok(())
    })
}

/// Frees a builder. Graphs of it live on. Null is nothing to free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sepconv_builder_free(builder: *mut sepconv_builder) -> sepconv_status {
    // SAFETY: by the contract of the interface.
    guard(|| unsafe { handle::free(builder) })
}

/// Writes a handle of the graph of all calls so far, with these tensors as its outputs: at least one, each once. The
/// builder stays as it is.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sepconv_builder_build(
    builder: *const sepconv_builder,
    outputs: *const sepconv_tensor,
    count: usize,
    graph: *mut *mut sepconv_graph,
) -> sepconv_status {
    // SAFETY: by the contract of the interface.
    guard(|| unsafe {
        let (held, graph) = (handle::get(builder)?, place(graph, "graph")?);
        let outputs = array(outputs, count, "outputs")?;
        let outputs = held.all(outputs, "outputs")?;
        graph.write(handle::new(GraphHeld::Built(held.builder.copy().build(&outputs)?)));
        Ok(())
    })
}

/// Writes the shape of a tensor.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sepconv_builder_shape(
    builder: *const sepconv_builder,
    tensor: sepconv_tensor,
    shape: *mut sepconv_shape,
) -> sepconv_status {
    // SAFETY: by the contract of the interface.
    guard(|| unsafe {
        let (held, shape) = (handle::get(builder)?, place(shape, "shape")?);
        shape.write(held.builder.shape(held.tensor(tensor, "tensor")?)?.into());
        Ok(())
    })
}

/// Writes an input of the graph: images of `shape`, which holds at least one element. Here and in the calls below names are
/// the caller's, each used once; a call that is refused changes nothing. Where the node is what is wrong, not a pointer or
/// an argument by itself, the message begins with the node's name.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sepconv_builder_input(
    builder: *mut sepconv_builder,
    name: *const c_char,
    shape: sepconv_shape,
    output: *mut sepconv_tensor,
) -> sepconv_status {
    // SAFETY: by the contract of the interface.
    unsafe { call(builder, output, |held| Ok(held.builder.input(text(name, "name")?, shape.into()))) }
}

/// `count` channels of a tensor from channel `first` on, at least one; no node, and no copy.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sepconv_builder_slice(
    builder: *mut sepconv_builder,
    input: sepconv_tensor,
    first: usize,
    count: usize,
    output: *mut sepconv_tensor,
) -> sepconv_status {
    // SAFETY: by the contract of the interface.
    unsafe {
        call(builder, output, |held| {
            let input = held.tensor(input, "input")?;
            Ok(held.builder.slice(input, first..first.saturating_add(count)))
        })
    }
}

/// A tensor in `count` slices of so many `channels` each, which are all of it; writes as many tensors to `outputs`. No node,
/// and no copy.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sepconv_builder_split(
    builder: *mut sepconv_builder,
    input: sepconv_tensor,
    channels: *const usize,
    count: usize,
    outputs: *mut sepconv_tensor,
) -> sepconv_status {
    // SAFETY: by the contract of the interface.
    guard(|| unsafe {
        let (held, channels) = (handle::get_mut(builder)?, array(channels, count, "channels")?);
        let outputs = place(outputs, "outputs")?;
        check_count(outputs, count, "outputs")?;
        let tensor = held.tensor(input, "input")?;
        for (at, slice) in held.builder.split(tensor, channels)?.into_iter().enumerate() {
            outputs.add(at).write(held.give(slice));
        }
        Ok(())
    })
}

/// The channels of `count` tensors of one height and width, those of the first in front; no node. A plan has them written
/// side by side where it can.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sepconv_builder_concat(
    builder: *mut sepconv_builder,
    inputs: *const sepconv_tensor,
    count: usize,
    output: *mut sepconv_tensor,
) -> sepconv_status {
    // SAFETY: by the contract of the interface.
    unsafe {
        call(builder, output, |held| {
            let inputs = array(inputs, count, "inputs")?;
            let inputs = held.all(inputs, "inputs")?;
            Ok(held.builder.concat(&inputs))
        })
    }
}

/// A channel shuffle: the channels as `groups` rows, a divisor of them, read column by column; no node. It moves into the
/// weights of its neighbours where it can.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sepconv_builder_shuffle(
    builder: *mut sepconv_builder,
    input: sepconv_tensor,
    groups: usize,
    output: *mut sepconv_tensor,
) -> sepconv_status {
    // SAFETY: by the contract of the interface.
    unsafe {
        call(builder, output, |held| {
            let input = held.tensor(input, "input")?;
            Ok(held.builder.shuffle(input, groups))
        })
    }
}
