//! The order in which layers write their channels, where they are free to choose: what is read together lies together, so
//! that slices and shuffles leave few runs to be copied.

use std::sync::Arc;

use super::nodes::{Graph, Node};
use super::value::{Origin, Value};

/// A channel as the network counts it.
type Channel = (Origin, usize);

/// Chooses the order of the output channels of every layer whose readers take them in pieces, and with it the order in which
/// each node reads. The values of the graph stay what they are.
pub(super) fn arrange(graph: &mut Graph) {
    if graph.values.iter().all(|value| value.runs.len() == 1) {
        return;
    }
    let channels = channels(graph);
    let chosen = chosen(graph, &channels);
    // Where each channel of a node lies; `None` as the network counts them.
    let mut places: Vec<Option<Vec<usize>>> = vec![None; graph.nodes.len()];
    let placed = |places: &[Option<Vec<usize>>], value: usize, old: &Value| {
        let lies = channels[value].iter().map(|&(origin, channel)| match origin {
            Origin::Node(node) => (origin, places[node].as_ref().map_or(channel, |places| places[channel])),
            Origin::Input(_) => (origin, channel),
        });
        Value::of_channels(old.shape.height, old.shape.width, lies)
    };
    for (index, output_order) in chosen.into_iter().enumerate() {
        let node = &graph.nodes[index];
        let order = match node.inputs[..] {
            // Sums of two tensors take both as they stand.
            [value] => placed(&places, value, &graph.values[value]).reading_order(node.operator.groups()),
            _ => None,
        };
        let passes_on = node.operator.traits().channelwise;
        places[index] = if passes_on { order.as_deref() } else { output_order.as_deref() }.map(inverse);
        let node = &mut graph.nodes[index];
        (node.order, node.output_order) = (order.map(Arc::from), output_order.map(Arc::from));
    }
    for value in 0..graph.values.len() {
        graph.values[value] = placed(&places, value, &graph.values[value]);
    }
}

/// Where each element of a permutation stands.
pub(super) fn inverse(order: &[usize]) -> Vec<usize> {
    let mut places = vec![0; order.len()];
    order.iter().enumerate().for_each(|(place, &channel)| places[channel] = place);
    places
}

/// The channels of every value as the network counts them.
fn channels(graph: &Graph) -> Vec<Vec<Channel>> {
    // The channel at each place of what a node writes.
    let lies = |node: &Node| {
        let result = &graph.values[node.result];
        (result.runs.len() > 1).then(|| inverse(&result.channels().map(|(_, place)| place).collect::<Vec<_>>()))
    };
    let lying: Vec<Option<Vec<usize>>> = graph.nodes.iter().map(lies).collect();
    let counted = |(origin, place): (Origin, usize)| match origin {
        Origin::Node(node) => (origin, lying[node].as_ref().map_or(place, |channels| channels[place])),
        Origin::Input(_) => (origin, place),
    };
    graph.values.iter().map(|value| value.channels().map(counted).collect()).collect()
}

/// For every node the order in which it should write its output channels, where that is another than theirs: what is read
/// first stands first, which leaves its readers no more runs, and often fewer.
fn chosen(graph: &Graph, channels: &[Vec<Channel>]) -> Vec<Option<Vec<usize>>> {
    // Of every channel of a node: who reads it, the last reader first. A reader is a node, and a slice of its inputs.
    let mut readers: Vec<Vec<Vec<(usize, usize)>>> =
        graph.nodes.iter().map(|node| vec![Vec::new(); node.output.channels]).collect();
    // What is summed with another tensor, or leaves the graph, has the order of the network.
    let mut fixed = vec![false; graph.nodes.len()];
    let fix = |fixed: &mut Vec<bool>, value: usize| {
        for &(origin, _) in &channels[value] {
            if let Origin::Node(node) = origin {
                fixed[node] = true;
            }
        }
    };
    graph.outputs.iter().for_each(|&(_, value)| fix(&mut fixed, value));
    for (index, node) in graph.nodes.iter().enumerate().rev() {
        let passes_on = node.operator.traits().channelwise;
        let [value] = node.inputs[..] else {
            node.inputs.iter().for_each(|&value| fix(&mut fixed, value));
            continue;
        };
        if passes_on && fixed[index] {
            fix(&mut fixed, value);
        }
        let slice = (channels[value].len() / node.operator.groups()).max(1);
        for (at, &(origin, channel)) in channels[value].iter().enumerate() {
            let Origin::Node(from) = origin else { continue };
            if passes_on {
                let further = readers[index][at].clone();
                readers[from][channel].extend(further);
            } else {
                readers[from][channel].push((index, at / slice));
            }
        }
    }
    let of = |(index, node): (usize, &Node)| {
        let traits = node.operator.traits();
        if fixed[index] || !traits.weighted || traits.channelwise {
            return None;
        }
        let readers: Vec<Vec<_>> = readers[index].iter().map(|of| of.iter().rev().copied().collect()).collect();
        let group = (readers.len() / node.operator.groups()).max(1);
        let own: Vec<usize> = (0..readers.len()).collect();
        let mut order = own.clone();
        // Each group of outputs is written by itself.
        order.chunks_mut(group).for_each(|group| group.sort_by(|&a, &b| readers[a].cmp(&readers[b])));
        let runs = |order: &[usize]| order.windows(2).filter(|pair| readers[pair[0]] != readers[pair[1]]).count();
        (order != own && runs(&order) <= runs(&own)).then_some(order)
    };
    graph.nodes.iter().enumerate().map(of).collect()
}
