//! What a plan does, step by step.

use std::fmt;

use super::memory::Place;
use super::packed::Plan;
use crate::graph::Node;
use crate::tensor::Shape;

/// What a plan does in one step.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Description<'a> {
    /// The nodes that it computes, one after the other.
    pub nodes: Vec<&'a Node>,
    /// The name of each one's kernel, or of the operator.
    pub kernels: Vec<&'static str>,
    /// The shape of the input.
    pub input: Shape,
    /// The shape of the output.
    pub output: Shape,
    /// Multiply-accumulates of the whole batch.
    pub macs: u64,
    /// Bytes of input, output, residual and weights, each once.
    pub bytes: u64,
    /// Tasks that threads can share.
    pub tasks: usize,
}

impl Plan {
    /// One line a step: its nodes, its shapes and the kernels that do it.
    pub fn describe(&self) -> impl ExactSizeIterator<Item = Description<'_>> {
        self.steps.iter().map(|step| {
            let shape = |place: &Place| Shape { height: place.full_height, ..place.layout.shape() };
            Description {
                nodes: step.nodes.iter().map(|&node| &self.graph().nodes()[node]).collect(),
                kernels: step.kernels.clone(),
                input: shape(&step.input),
                output: shape(&step.output),
                macs: step.macs,
                bytes: step.bytes,
                tasks: step.tasks.len(),
            }
        })
    }
}

impl fmt::Display for Description<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.nodes.iter().map(|node| node.name()).collect();
        let (nodes, kernels) = (names.join(" + "), self.kernels.join(" + "));
        write!(f, "{nodes:<24} {:>12} -> {:<12} {kernels}", self.input, self.output)
    }
}
