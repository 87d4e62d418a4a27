//! Weight files for the tests.

use std::collections::HashMap;

use safetensors::tensor::{Dtype, TensorView, serialize};
use sepconv::graph::Tensors;
use sepconv::models::Network;
use sepconv::weights::{HashWeights, Weights};

/// A tensor to be written: name, shape, values.
pub type Tensor = (String, Vec<usize>, Vec<f32>);

/// `tensors` as a safetensors file.
pub fn file(tensors: &[Tensor], metadata: &[(&str, &str)]) -> Vec<u8> {
    let bytes: Vec<Vec<u8>> =
        tensors.iter().map(|(.., values)| values.iter().flat_map(|value| value.to_le_bytes()).collect()).collect();
    let views = tensors
        .iter()
        .zip(&bytes)
        .map(|((name, shape, _), bytes)| (name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap()));
    let metadata: HashMap<String, String> = metadata.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    serialize(views, Some(metadata)).unwrap()
}

/// The hash weights of `network` as PyTorch would keep them.
pub fn torch(network: &Network) -> Vec<Tensor> {
    let mut tensors = Vec::new();
    let mut push = |name: String, shape: &[usize]| {
        let values = HashWeights.tensor(&name, shape).unwrap().into_owned();
        tensors.push((name, shape.to_vec(), values));
    };
    for node in network.graph().nodes() {
        let Some(parameters) = node.parameters() else { continue };
        let outputs = [node.output().channels];
        if let Tensors::Named(name) = parameters.weights() {
            push(format!("{name}.weight"), &node.weight_shape().expect("a node with weights"));
            if parameters.has_bias() {
                push(format!("{name}.bias"), &outputs);
            }
        }
        for field in ["weight", "bias", "running_mean", "running_var"] {
            if let Some(Tensors::Named(norm)) = parameters.norm().map(|norm| norm.tensors()) {
                push(format!("{norm}.{field}"), &outputs);
            }
        }
    }
    tensors
}
