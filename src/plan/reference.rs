//! A graph by plain loops: the oracle for plans.

use crate::error::{Error, Result};
use crate::graph::{Graph, Origin};
use crate::ops::Given;
use crate::weights::{Weights, fold};

impl Graph {
    /// The output of every node, computed by [`reference`](crate::reference) alone, one operator after the other: what
    /// every plan of the graph must compute, to the bit. `inputs` holds one tight image an input.
    pub fn reference(&self, weights: &dyn Weights, inputs: &[&[f32]]) -> Result<Vec<Vec<f32>>> {
        let folded = fold(self, weights)?;
        let lengths = self.inputs().map(|(_, shape)| shape.len());
        if inputs.len() != lengths.len() || lengths.zip(inputs).any(|(length, input)| length != input.len()) {
            let got = format!("{:?} elements", inputs.iter().map(|input| input.len()).collect::<Vec<_>>());
            let shapes: Vec<String> = self.inputs().map(|(_, shape)| shape.to_string()).collect();
            return Err(Error::shape("inputs", got, shapes.join(", ")));
        }
        let mut outputs: Vec<Vec<f32>> = Vec::new();
        for (node, folded) in self.nodes().iter().zip(&folded) {
            let read: Vec<Vec<f32>> = node.inputs.iter().map(|&value| self.gather(value, inputs, &outputs)).collect();
            let read: Vec<&[f32]> = read.iter().map(|tensor| &tensor[..]).collect();
            let weights = folded.as_ref().map_or((&[][..], &[][..]), |folded| (&folded.weights, &folded.bias));
            let output = node.operator.reference(&Given { input: node.input, weights }, &read, node.clamp);
            outputs.push(output);
        }
        Ok(outputs)
    }

    /// The channels of a value, run by run.
    fn gather(&self, value: usize, inputs: &[&[f32]], outputs: &[Vec<f32>]) -> Vec<f32> {
        let value = self.value(value);
        let mut gathered = Vec::with_capacity(value.shape.len());
        for pixel in 0..value.shape.pixels() {
            for run in &value.runs {
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
