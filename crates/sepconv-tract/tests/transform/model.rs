//! Small ONNX models, and what becomes of them.

use prost::Message;
use sepconv_tract::{Sepconv, Subgraph};
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto, type_proto,
};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::konst::Const;
use tract_onnx::tract_core::ops::source::TypedSource;
use tract_onnx::tract_core::transform::ModelTransform;

/// An ONNX graph that grows node by node; tensors go by their names.
pub struct Net {
    graph: GraphProto,
    state: u32,
}

/// An attribute of a node.
#[derive(Clone)]
pub enum Attribute<'a> {
    Int(i64),
    Ints(&'a [i64]),
    Float(f32),
}

pub use Attribute::{Float, Int, Ints};

impl Net {
    pub fn new() -> Net {
        Net::seeded(1)
    }

    /// A net of other random numbers.
    pub fn seeded(seed: u32) -> Net {
        Net { graph: GraphProto { name: "net".into(), ..GraphProto::default() }, state: seed.wrapping_mul(0x9e37_79b9) }
    }

    /// Numbers between -1 and 1.
    fn numbers(&mut self, count: usize) -> Vec<f32> {
        let mut next = || {
            self.state = self.state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (self.state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..count).map(|_| next()).collect()
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        ((self.numbers(1)[0] + 1.0) / 2.0 * end as f32) as usize % end
    }

    fn name(&self, kind: &str) -> String {
        format!("{kind}{}", self.graph.node.len() + self.graph.initializer.len() + self.graph.input.len())
    }

    pub fn input(&mut self, shape: &[i64]) -> String {
        let name = self.name("input");
        self.graph.input.push(described(&name, Some(shape)));
        name
    }

    /// A constant of numbers between -1 and 1.
    pub fn random(&mut self, shape: &[i64]) -> String {
        let numbers = self.numbers(shape.iter().product::<i64>() as usize);
        self.constant(shape, &numbers)
    }

    pub fn constant(&mut self, shape: &[i64], numbers: &[f32]) -> String {
        let name = self.name("constant");
        let (data_type, float_data) = (DataType::Float.into(), numbers.to_vec());
        let tensor =
            TensorProto { name: name.clone(), dims: shape.to_vec(), data_type, float_data, ..Default::default() };
        self.graph.initializer.push(tensor);
        name
    }

    pub fn integers(&mut self, numbers: &[i64]) -> String {
        let name = self.name("integers");
        let (data_type, dims) = (DataType::Int64.into(), vec![numbers.len() as i64]);
        let int64_data = numbers.to_vec();
        let tensor = TensorProto { name: name.clone(), dims, data_type, int64_data, ..Default::default() };
        self.graph.initializer.push(tensor);
        name
    }

    pub fn node(&mut self, op: &str, inputs: &[&str], attributes: &[(&str, Attribute<'_>)]) -> String {
        self.node_of(op, inputs, attributes, 1).remove(0)
    }

    /// A node of several outputs.
    pub fn node_of(
        &mut self,
        op: &str,
        inputs: &[&str],
        attributes: &[(&str, Attribute)],
        outputs: usize,
    ) -> Vec<String> {
        let name = self.name(op);
        let output: Vec<String> = match outputs {
            1 => vec![name.clone()],
            _ => (0..outputs).map(|output| format!("{name}.{output}")).collect(),
        };
        let attribute = |(name, value): &(&str, Attribute<'_>)| {
            let (name, empty) = (name.to_string(), AttributeProto::default());
            match value {
                Int(i) => AttributeProto { name, i: *i, r#type: AttributeType::Int.into(), ..empty },
                Ints(ints) => AttributeProto { name, ints: ints.to_vec(), r#type: AttributeType::Ints.into(), ..empty },
                Float(f) => AttributeProto { name, f: *f, r#type: AttributeType::Float.into(), ..empty },
            }
        };
        self.graph.node.push(NodeProto {
            name,
            op_type: op.into(),
            input: inputs.iter().map(|input| input.to_string()).collect(),
            output: output.clone(),
            attribute: attributes.iter().map(attribute).collect(),
            ..NodeProto::default()
        });
        output
    }

    /// A convolution with random weights (O, I a group, rows, columns) and biases.
    pub fn conv(&mut self, x: &str, weights: [i64; 4], stride: i64, pad: i64, group: i64) -> String {
        let attributes = [
            ("kernel_shape", Ints(&weights[2..])),
            ("strides", Ints(&[stride, stride])),
            ("pads", Ints(&[pad; 4])),
            ("group", Int(group)),
        ];
        self.conv_with(x, weights, &attributes)
    }

    pub fn conv_with(&mut self, x: &str, weights: [i64; 4], attributes: &[(&str, Attribute)]) -> String {
        let (kernel, bias) = (self.random(&weights), self.random(&weights[..1]));
        self.node("Conv", &[x, &kernel, &bias], attributes)
    }

    pub fn clip(&mut self, x: &str, lo: f32, hi: f32) -> String {
        let (lo, hi) = (self.constant(&[], &[lo]), self.constant(&[], &[hi]));
        self.node("Clip", &[x, &lo, &hi], &[])
    }

    /// A batch normalisation with random parameters.
    pub fn norm(&mut self, x: &str, channels: i64) -> String {
        let [scale, shift, mean] = [0; 3].map(|_| self.random(&[channels]));
        let variance: Vec<f32> = self.numbers(channels as usize).iter().map(|number| number.abs() + 0.1).collect();
        let variance = self.constant(&[channels], &variance);
        self.node("BatchNormalization", &[x, &scale, &shift, &mean, &variance], &[("epsilon", Float(1e-5))])
    }

    pub fn reshape(&mut self, x: &str, shape: &[i64]) -> String {
        let shape = self.integers(shape);
        self.node("Reshape", &[x, &shape], &[])
    }

    /// ShuffleNet's exchange of channels.
    pub fn shuffle(&mut self, x: &str, [count, channels, height, width]: [i64; 4], groups: i64) -> String {
        let x = self.reshape(x, &[count, groups, channels / groups, height, width]);
        let x = self.node("Transpose", &[&x], &[("perm", Ints(&[0, 2, 1, 3, 4]))]);
        self.reshape(&x, &[count, channels, height, width])
    }

    pub fn slice(&mut self, x: &str, axis: i64, start: i64, end: i64) -> String {
        let [start, end, axis] = [start, end, axis].map(|number| self.integers(&[number]));
        self.node("Slice", &[x, &start, &end, &axis], &[])
    }

    /// The model as a file's bytes.
    pub fn bytes(mut self, outputs: &[&str]) -> Vec<u8> {
        self.graph.output = outputs.iter().map(|name| described(name, None)).collect();
        let opset_import = vec![OperatorSetIdProto { version: 13, ..Default::default() }];
        ModelProto { ir_version: 8, opset_import, graph: Some(self.graph), ..Default::default() }.encode_to_vec()
    }

    pub fn model(self, outputs: &[&str]) -> TypedModel {
        let bytes = self.bytes(outputs);
        let model = tract_onnx::onnx().model_for_read(&mut &bytes[..]).unwrap();
        model.into_typed().unwrap().into_decluttered().unwrap()
    }

    /// The model with as much of it by sepconv as there can be, which is held to tract's results.
    pub fn transformed(mut self, outputs: &[&str]) -> Transformed {
        let shapes: Vec<Vec<usize>> = self.graph.input.iter().map(shape).collect();
        let tensor = |shape: &Vec<usize>| Tensor::from_shape(shape, &self.numbers(shape.iter().product())).unwrap();
        let inputs: TVec<TValue> = shapes.iter().map(tensor).map(Tensor::into_tvalue).collect();
        let model = self.model(outputs);
        let nodes = computing(&model).count();
        let mut own = model.clone();
        Sepconv.transform(&mut own).unwrap();
        let expected = run(model, &inputs);
        let got = run(own.clone(), &inputs);
        assert_eq!(expected.len(), got.len());
        for (expected, got) in expected.iter().zip(&got) {
            assert_eq!(expected.shape(), got.shape());
            assert_close(numbers(expected), numbers(got));
        }
        Transformed { nodes, model: own }
    }
}

/// A model after the transform.
pub struct Transformed {
    /// Nodes of the model before it.
    pub nodes: usize,
    pub model: TypedModel,
}

impl Transformed {
    pub fn subgraphs(&self) -> Vec<&Subgraph> {
        self.model.nodes.iter().filter_map(|node| node.op_as::<Subgraph>()).collect()
    }

    /// Names of the operators that stayed tract's.
    pub fn left(&self) -> Vec<String> {
        let others = computing(&self.model).filter(|node| !node.op_is::<Subgraph>());
        others.map(|node| node.op().name().to_string()).collect()
    }

    /// Every node became part of one subgraph, of these operators of sepconv.
    pub fn assert_one(&self, kinds: &[&str]) {
        let subgraphs = self.subgraphs();
        assert!(subgraphs.len() == 1 && self.left().is_empty(), "{}", self.model);
        let own: Vec<&str> = subgraphs[0].graph().nodes().iter().map(|node| node.kind()).collect();
        assert_eq!(own, kinds);
        assert_eq!(subgraphs[0].nodes(), self.nodes);
    }
}

pub fn run(model: TypedModel, inputs: &TVec<TValue>) -> TVec<TValue> {
    model.into_optimized().unwrap().into_runnable().unwrap().run(inputs.clone()).unwrap()
}

pub fn numbers(tensor: &Tensor) -> Vec<f32> {
    tensor.try_as_plain_ram().unwrap().as_slice::<f32>().unwrap().to_vec()
}

/// Within a tenth of a thousandth of the largest number; of nets whose inputs are about 1.
pub fn assert_close(expected: Vec<f32>, got: Vec<f32>) {
    let largest = expected.iter().fold(0f32, |largest, number| largest.max(number.abs()));
    assert!(largest.is_finite());
    let most = 1e-4 * largest.max(1e-2);
    for (at, (expected, got)) in expected.iter().zip(&got).enumerate() {
        assert!((expected - got).abs() <= most, "element {at}: {got}, expected {expected}, of {largest}");
    }
}

fn computing(model: &TypedModel) -> impl Iterator<Item = &TypedNode> {
    model.nodes.iter().filter(|node| !node.op_is::<TypedSource>() && !node.op_is::<Const>())
}

fn described(name: &str, shape: Option<&[i64]>) -> ValueInfoProto {
    // A negative size is one that the model leaves open.
    let size = |size: i64| match size {
        ..0 => dimension::Value::DimParam("N".into()),
        _ => dimension::Value::DimValue(size),
    };
    let dimension = |&of: &i64| Dimension { value: Some(size(of)), ..Default::default() };
    let shape = shape.map(|shape| TensorShapeProto { dim: shape.iter().map(dimension).collect() });
    let tensor = type_proto::Tensor { elem_type: DataType::Float.into(), shape };
    let r#type = Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() });
    ValueInfoProto { name: name.into(), r#type, ..Default::default() }
}

fn shape(input: &ValueInfoProto) -> Vec<usize> {
    let Some(type_proto::Value::TensorType(tensor)) = input.r#type.as_ref().and_then(|kind| kind.value.as_ref()) else {
        panic!("an input that is no tensor");
    };
    let size = |of: &Dimension| match of.value {
        Some(dimension::Value::DimValue(size)) => size as usize,
        _ => panic!("an input of unknown size"),
    };
    tensor.shape.as_ref().map_or_else(Vec::new, |shape| shape.dim.iter().map(size).collect())
}
