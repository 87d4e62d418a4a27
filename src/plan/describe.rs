//! What a plan does, step by step.

use alloc::vec::Vec;
use core::fmt;

use super::memory::Place;
use super::packed::Plan;
use crate::graph::Node;
use crate::tensor::Shape;

/// What a plan does in one step, with as many images as go through the network together.
///
/// ```
/// use sepconv::graph::{Builder, Layer};
/// use sepconv::parallel::Serial;
/// use sepconv::weights::HashWeights;
/// use sepconv::{Options, Plan, Shape};
///
/// let mut net = Builder::new();
/// let image = net.input("image", Shape::new(8, 8, 3))?;
/// let x = net.pointwise("pw", image, 16, Layer::named("pw"))?;
/// let plan = Plan::new(&net.build(&[x])?, &HashWeights, &Serial, Options::default())?;
/// let steps: Vec<_> = plan.describe().collect();
/// let [step] = &steps[..] else { panic!("one layer is one step") };
/// assert_eq!((step.nodes[0].name(), step.kernels.len(), step.tasks), ("pw", 1, 1));
/// assert_eq!((step.input, step.output), (Shape::new(8, 8, 3), Shape::new(8, 8, 16)));
/// assert_eq!(step.macs, 64 * 3 * 16);
/// // Weights and a bias for each output.
/// assert_eq!(step.bytes, 4 * (64 * (3 + 16) + (3 + 1) * 16));
/// assert_eq!(step.shared_bytes, 4 * 64 * 3);
/// assert!(step.to_string().starts_with("pw "));
/// # Ok::<(), sepconv::Error>(())
/// ```
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
    /// Multiply-accumulates of the images that [go together](Plan::images_together).
    pub macs: u64,
    /// Bytes of their input, output and residual, and of the weights, each once.
    pub bytes: u64,
    /// Of these, the bytes that every task reads: the weights, or the input where each task has its own output channels.
    pub shared_bytes: u64,
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
                shared_bytes: step.shared_bytes,
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
