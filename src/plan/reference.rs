//! A graph by plain loops: the oracle for plans.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::error::{Error, Result};
use crate::graph::{Graph, Origin};
use crate::ops::Given;
use crate::weights::{Weights, fold};

/// What a graph computes, by plain loops: NHWC without gaps. [`Graph::reference`] has an example.
#[derive(Clone, PartialEq)]
pub struct Computed {
    /// The output of every node.
    pub nodes: Vec<Vec<f32>>,
    /// The outputs of the graph.
    pub outputs: Vec<Vec<f32>>,
}

impl core::fmt::Debug for Computed {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Computed({} nodes, {} outputs)", self.nodes.len(), self.outputs.len())
    }
}

impl Graph {
    /// Every tensor, computed by [`reference`](crate::reference) alone, one operator after the other: what every plan of
    /// the graph must compute, to the bit. `inputs` holds one image an input, NHWC without gaps. An error where they have
    /// other sizes, or the weights do not fit.
    ///
    /// ```
    /// use sepconv::graph::{Builder, Layer};
    /// use sepconv::parallel::Serial;
    /// use sepconv::weights::HashWeights;
    /// use sepconv::{Options, Plan, Shape, Window};
    ///
    /// let mut net = Builder::new();
    /// let image = net.input("image", Shape::new(8, 8, 4))?;
    /// let x = net.depthwise("dw", image, Window::square(3).symmetric(), Layer::named("dw"))?;
    /// let x = net.pointwise("pw", x, 6, Layer::named("pw"))?;
    /// let (graph, image) = (net.build(&[x])?, HashWeights::image(8, 8, 4)?);
    /// let computed = graph.reference(&HashWeights, &[&image])?;
    /// // An output a node; the last is that of the graph.
    /// assert_eq!((computed.nodes.len(), &computed.nodes[1]), (2, &computed.outputs[0]));
    ///
    /// let plan = Plan::new(&graph, &HashWeights, &Serial, Options::default())?;
    /// let (mut workspace, mut output) = (plan.workspace()?, vec![0.0; plan.output_len()]);
    /// plan.run(&Serial, &mut workspace, &image, &mut output)?;
    /// assert_eq!(output, computed.outputs[0]);
    /// # Ok::<(), sepconv::Error>(())
    /// ```
    pub fn reference(&self, weights: &dyn Weights, inputs: &[&[f32]]) -> Result<Computed> {
        let folded = fold(self, weights)?;
        let lengths = self.inputs().map(|(_, shape)| shape.len());
        if inputs.len() != lengths.len() || lengths.zip(inputs).any(|(length, input)| length != input.len()) {
            let got = format!("{:?} elements", inputs.iter().map(|input| input.len()).collect::<Vec<_>>());
            let shapes: Vec<String> = self.inputs().map(|(_, shape)| shape.to_string()).collect();
            return Err(Error::shape("inputs", got, shapes.join(", ")));
        }
        let mut outputs: Vec<Vec<f32>> = Vec::new();
        for (node, folded) in self.nodes().iter().zip(&folded) {
            let read: Vec<Vec<f32>> =
                node.inputs.iter().map(|&value| self.gather(value, node.order.as_deref(), inputs, &outputs)).collect();
            let read: Vec<&[f32]> = read.iter().map(|tensor| &tensor[..]).collect();
            let weights = folded.as_ref().map_or((&[][..], &[][..]), |folded| (&folded.weights, &folded.bias));
            let output = node.operator.reference(&Given { input: node.input, weights }, &read, node.clamp);
            outputs.push(output);
        }
        // As the network has their channels.
        let tensor = |value: usize| self.gather(value, None, inputs, &outputs);
        let nodes = (0..self.nodes().len()).map(|node| tensor(self.output_of(node))).collect();
        Ok(Computed { nodes, outputs: self.output_values().map(tensor).collect() })
    }

    /// The channels of a value, in `order` where there is one.
    fn gather(&self, value: usize, order: Option<&[usize]>, inputs: &[&[f32]], outputs: &[Vec<f32>]) -> Vec<f32> {
        let value = self.value(value);
        let runs = value.runs_in(order);
        let mut gathered = Vec::with_capacity(value.shape.len());
        for pixel in 0..value.shape.pixels() {
            for run in &runs {
                let (tensor, channels) = match run.origin {
                    Origin::Input(input) => (inputs[input], self.shape_of(run.origin).channels),
                    Origin::Node(node) => (&outputs[node][..], self.shape_of(run.origin).channels),
                };
                gathered.extend_from_slice(&tensor[pixel * channels + run.first..][..run.channels]);
            }
        }
        gathered
    }
}
