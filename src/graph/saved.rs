//! Graphs written to a saved plan and read again. Reading makes the calls of a [`Builder`] anew, which checks all that it
//! would check of a caller.

use alloc::format;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec;

use super::arrange::{MOST_LISTED, inverse};
use super::builder::{Builder, check_shape};
use super::layer::{Layer, Norm, Parameters, Tensors};
use super::nodes::{Graph, Node, Tensor};
use super::value::{Origin, Run, Value};
use crate::blob::{Reader, Writer};
use crate::error::{Error, Result};
use crate::ops::saved;
use crate::tensor::Clamp;

impl Graph {
    /// Writes what [`read`](Self::read) makes the same graph of: arrays that were given to its builder stay behind. An error
    /// where the nodes take more channels in another order than can be listed.
    pub(crate) fn write(&self, to: &mut Writer) -> Result<()> {
        let ordered = self.nodes.iter().filter(|node| node.order.is_some());
        let listed = ordered.map(|node| node.input.channels).fold(0, usize::saturating_add);
        check_listed(listed)?;
        to.number(self.inputs.len());
        for (name, shape) in self.inputs() {
            to.text(name);
            to.shape(shape);
        }
        to.number(self.nodes.len());
        for node in &self.nodes {
            self.write_node(node, to);
        }
        to.number(self.outputs.len());
        for (name, value) in &self.outputs {
            to.text(name);
            write_value(&self.values[*value], to);
        }
        Ok(())
    }

    fn write_node(&self, node: &Node, to: &mut Writer) {
        to.text(&node.name);
        node.operator.write(to);
        to.number(node.inputs.len());
        node.inputs.iter().for_each(|&value| write_value(&self.values[value], to));
        to.flag(node.order.is_some());
        let output_order = node.output_order.as_deref().unwrap_or(&[]);
        to.number(output_order.len());
        to.numbers(output_order.iter().copied());
        to.clamp(node.clamp);
        to.flag(node.parameters.is_some());
        if let Some(Parameters { weights, bias, norm }) = &node.parameters {
            write_tensors(weights, to);
            to.flag(*bias);
            to.flag(norm.is_some());
            if let Some(Norm { tensors, epsilon }) = norm {
                write_tensors(tensors, to);
                to.bits(epsilon.to_bits());
            }
        }
    }

    /// The graph that [`write`](Self::write) wrote; an error where no builder would have made it.
    pub(crate) fn read(from: &mut Reader<'_>) -> Result<Graph> {
        let mut net = Builder::new();
        from.list(|from| net.input(from.text()?, from.shape()?))?;
        let mut listed = 0;
        from.list(|from| read_node(&mut net, &mut listed, from))?;
        let outputs = from.list(|from| Ok((from.text()?.to_string(), read_value(&mut net, from)?.index)))?;
        if outputs.is_empty() {
            return Err(Error::blob("its graph has no output"));
        }
        let Builder { inputs, values, nodes, .. } = net;
        Ok(Graph { inputs, values, nodes, outputs })
    }
}

/// The error for more channels in another order than can be listed.
fn check_listed(channels: usize) -> Result<()> {
    match channels > MOST_LISTED {
        true => Err(Error::shape("channels in another order", channels, format!("at most {MOST_LISTED}"))),
        false => Ok(()),
    }
}

fn read_node(net: &mut Builder, listed: &mut usize, from: &mut Reader<'_>) -> Result<()> {
    let (name, operator) = (from.text()?, saved::read(from)?);
    let inputs = from.list(|from| read_value(net, from))?;
    let (traits, kind) = (operator.traits(), operator.kind());
    if inputs.len() != traits.inputs {
        return Err(Error::blob(format!("{name}: {kind} has {} inputs, expected {}", inputs.len(), traits.inputs)));
    }
    let shape = net.shape(inputs[0])?;
    let mut order = None;
    if from.flag()? {
        *listed = listed.saturating_add(shape.channels);
        check_listed(*listed)?;
        // Sums of two tensors take both as they stand.
        let alone = inputs.len() == 1;
        order = net.values[inputs[0].index].reading_order(operator.groups()).filter(|_| alone);
        if order.is_none() {
            return Err(Error::blob(format!("{name}: {kind} has an order, which its inputs do not need")));
        }
    }
    let output_order = from.list(Reader::number)?;
    let clamp = from.clamp()?;
    if !traits.clamps && clamp != Clamp::NONE {
        return Err(Error::blob(format!("{name}: {kind} has a clamp, {clamp:?}")));
    }
    let parameters = if from.flag()? { Some(read_parameters(from)?) } else { None };
    if parameters.is_some() != operator.weights(shape).is_some() {
        let has = if parameters.is_some() { "has parameters" } else { "lacks its parameters" };
        return Err(Error::blob(format!("{name}: {kind} {has}")));
    }
    let result = match parameters {
        Some(parameters) => net.layer(name, operator, inputs[0], Layer { parameters, clamp })?,
        None => net.node(name, operator, &inputs, clamp, None)?,
    };
    let output = net.shape(result)?;
    // Where each channel is by itself, they are written as they are read.
    let free = traits.weighted && !traits.channelwise;
    let fits = output_order.is_empty() || free && is_permutation(&output_order, output.channels);
    if !fits {
        return Err(Error::blob(format!("{name}: {output_order:?} is no order of the {} outputs", output.channels)));
    }
    let output_order = Some(output_order).filter(|order| !order.is_empty());
    let index = net.nodes.len() - 1;
    if let Some(written) = if traits.channelwise { &order } else { &output_order } {
        let channels = inverse(written).into_iter().map(|channel| (Origin::Node(index), channel));
        net.values[result.index] = Value::of_channels(output.height, output.width, channels);
    }
    let node = &mut net.nodes[index];
    (node.order, node.output_order) = (order.map(Arc::from), output_order.map(Arc::from));
    Ok(())
}

fn is_permutation(order: &[usize], channels: usize) -> bool {
    let mut seen = vec![false; order.len()];
    let new = |&channel: &usize| seen.get_mut(channel).is_some_and(|seen| !core::mem::replace(seen, true));
    order.len() == channels && order.iter().all(new)
}

fn write_value(value: &Value, to: &mut Writer) {
    to.number(value.runs.len());
    for &Run { origin, first, channels } in &value.runs {
        let (of_node, index) = match origin {
            Origin::Input(input) => (false, input),
            Origin::Node(node) => (true, node),
        };
        to.flag(of_node);
        to.numbers([index, first, channels]);
    }
}

/// A tensor of channels that inputs and the nodes so far write.
fn read_value(net: &mut Builder, from: &mut Reader<'_>) -> Result<Tensor> {
    let mut size = None;
    let mut all = 0usize;
    let runs = from.list(|from| {
        let origin = if from.flag()? { Origin::Node } else { Origin::Input };
        let (index, first, channels) = (from.number()?, from.number()?, from.number()?);
        let origin = origin(index);
        let of = match origin {
            Origin::Input(input) => net.inputs.get(input).map(|input| input.shape),
            Origin::Node(node) => net.nodes.get(node).map(|node| node.output),
        };
        let of = of.ok_or_else(|| Error::blob(format!("{origin:?} is read before it is there")))?;
        let ends = first.checked_add(channels).is_some_and(|end| channels > 0 && end <= of.channels);
        if !ends || *size.get_or_insert((of.height, of.width)) != (of.height, of.width) {
            let got = format!("{channels} channels from {first} on of {origin:?}");
            return Err(Error::blob(format!("{got}, a tensor of {of}, among others of {size:?} pixels")));
        }
        all = all.saturating_add(channels);
        Ok(Run { origin, first, channels })
    })?;
    let (height, width) = size.ok_or_else(|| Error::blob("a tensor has no channels"))?;
    if runs.len() > 1 {
        check_listed(all)?;
    }
    let value = Value::of_runs(height, width, runs);
    check_shape("tensor", value.shape)?;
    Ok(net.value(value))
}

fn write_tensors(tensors: &Tensors, to: &mut Writer) {
    to.number(match tensors {
        Tensors::Named(_) => 0,
        Tensors::Ones => 1,
        Tensors::Given(_) | Tensors::Packed => 2,
    });
    if let Tensors::Named(name) = tensors {
        to.text(name);
    }
}

fn read_tensors(from: &mut Reader<'_>) -> Result<Tensors> {
    match from.number()? {
        0 => Ok(Tensors::Named(from.text()?.into())),
        1 => Ok(Tensors::Ones),
        2 => Ok(Tensors::Packed),
        kind => Err(Error::blob(format!("there is no kind {kind} of tensors"))),
    }
}

fn read_parameters(from: &mut Reader<'_>) -> Result<Parameters> {
    let (weights, bias) = (read_tensors(from)?, from.flag()?);
    let norm = match from.flag()? {
        true => Some(Norm { tensors: read_tensors(from)?, epsilon: f64::from_bits(from.bits()?) }),
        false => None,
    };
    Ok(Parameters { weights, bias, norm })
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::tensor::{Shape, Window};

    /// What is read of a graph, as text.
    fn read(graph: &Graph) -> Result<String> {
        let mut to = Writer(Vec::new());
        graph.write(&mut to)?;
        Graph::read(&mut Reader(&to.0)).map(|graph| graph.to_string())
    }

    #[test]
    fn an_order_that_outputs_cannot_have_is_refused() {
        let mut net = Builder::new();
        let image = net.input("image", Shape::new(2, 2, 3)).unwrap();
        let x = net.depthwise("dw", image, Window::square(3).symmetric(), Layer::named("dw")).unwrap();
        let x = net.pointwise("pw", x, 3, Layer::named("pw")).unwrap();
        let graph = net.build(&[x]).unwrap();
        let ordered = |node: usize, order: &[usize]| {
            let mut graph = graph.clone();
            graph.nodes[node].output_order = Some(Arc::from(order));
            read(&graph)
        };
        assert!(ordered(1, &[2, 0, 1]).is_ok());
        // Each once; and a channel that is computed of itself alone lies where it lay.
        for (node, order) in [(1, &[2, 0, 0][..]), (1, &[1, 0]), (1, &[1, 2, 3]), (0, &[2, 0, 1])] {
            let error = ordered(node, order).unwrap_err();
            assert!(matches!(&error, Error::Blob { why } if why.contains("is no order of the 3 outputs")), "{error}");
        }
    }

    #[test]
    fn an_order_that_inputs_do_not_need_is_refused() {
        let mut net = Builder::new();
        let image = net.input("image", Shape::new(2, 2, 4)).unwrap();
        let x = net.pointwise("pw", image, 3, Layer::named("pw")).unwrap();
        let mut graph = net.build(&[x]).unwrap();
        assert_eq!(read(&graph), Ok(graph.to_string()));
        graph.nodes[0].order = Some(Arc::from([3, 2, 1, 0]));
        let error = read(&graph).unwrap_err();
        assert!(matches!(&error, Error::Blob { why } if why.starts_with("pw: pointwise has an order")), "{error}");
    }
}
