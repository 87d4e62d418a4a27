//! The order in which layers write their channels, where they are free to choose: what is read together lies together, so
//! that slices and shuffles leave few runs to be copied.

use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use super::nodes::{Graph, Node};
use super::value::{Origin, Value, transposition_outdoes};

/// A channel as the network counts it.
type Channel = (Origin, usize);

/// The most channels of a concatenation or a shuffle, whose runs may be as many.
pub(super) const MOST_ORDERED: usize = 1 << 20;
/// The most channels of all tensors of a graph that are kept account of one by one.
pub(super) const MOST_LISTED: usize = 16 * MOST_ORDERED;

/// Chooses the order of the output channels of every layer whose readers take them in pieces, and the order in which each node
/// reads. The values of the graph stay what they are.
pub(super) fn arrange(graph: &mut Graph) {
    let whole = graph.values.iter().all(|value| value.runs.len() == 1);
    // Channels are listed value by value.
    let listed = graph.values.iter().map(|value| value.shape.channels).fold(0, usize::saturating_add);
    if whole || listed > MOST_LISTED {
        return;
    }
    // What nodes write is in the order of the network so far.
    let channels: Vec<Vec<Channel>> = graph.values.iter().map(|value| value.channels().collect()).collect();
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

/// For every node the order in which it should write its output channels, where that is another than theirs: sorted by their
/// readers, so that what is read first stands first. It is taken where it leaves the readers fewer runs, or as many and the
/// first one's, of several, at the front, where they can be written beside what else it reads; but not in place of a transposition
/// that costs less.
fn chosen(graph: &Graph, channels: &[Vec<Channel>]) -> Vec<Option<Vec<usize>>> {
    // Of every channel of a node: who reads it, the last reader first. A reader is a node, and a slice of its inputs.
    let mut readers: Vec<Vec<Vec<(usize, usize)>>> =
        graph.nodes.iter().map(|node| vec![Vec::new(); node.output.channels]).collect();
    // What is summed with another tensor, or leaves the graph, has the order of the network.
    let mut fixed = vec![false; graph.nodes.len()];
    // The channels of a node as its reader takes them, or the reader behind that which passes them on. None where there are
    // several readers, or channels of others among them.
    let mut taken: Vec<Option<Vec<usize>>> = vec![None; graph.nodes.len()];
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
        let further = passes_on.then(|| taken[index].take()).flatten();
        let order = further.unwrap_or_else(|| (0..channels[value].len()).collect());
        let sources: Vec<Channel> = order.into_iter().map(|at| channels[value][at]).collect();
        let alone = sources.iter().all(|source| source.0 == sources[0].0);
        match sources[..] {
            [(Origin::Node(from), _), ..] if alone && taken[from].is_none() => {
                taken[from] = Some(sources.iter().map(|source| source.1).collect());
            }
            _ => sources.iter().for_each(|source| {
                if let Origin::Node(from) = source.0 {
                    taken[from] = Some(Vec::new());
                }
            }),
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
        // Where a reader begins to read, once a run.
        let begins = |at: usize, order: &[usize]| {
            let before = at.checked_sub(1).map_or(&[][..], |before| &readers[order[before]]);
            readers[order[at]].iter().filter(|reader| !before.contains(reader)).count()
        };
        let runs = |order: &[usize]| (0..order.len()).map(|at| begins(at, order)).sum::<usize>();
        let first = readers.iter().flatten().min();
        let reads_first = |&channel: &usize| first.is_some_and(|first| readers[channel].contains(first));
        let count = own.iter().filter(|channel| reads_first(channel)).count();
        let in_front = |order: &[usize]| order[..count].iter().all(reads_first);
        let (before, after) = (runs(&own), runs(&order));
        // What is copied faster as it stands stays so.
        if taken[index].as_ref().is_some_and(|taken| transposition_outdoes(after, taken.iter().copied())) {
            return None;
        }
        (after < before || after == before && in_front(&order) && !in_front(&own)).then_some(order)
    };
    graph.nodes.iter().enumerate().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::MOST_ORDERED;
    use crate::graph::{Builder, Layer, Tensor};
    use crate::tensor::{Shape, Window};

    /// The order in which the first layer writes, where `read` says what reads it.
    fn written(
        outputs: usize,
        groups: usize,
        read: impl Fn(&mut Builder, Tensor) -> Vec<Tensor>,
    ) -> Option<Vec<usize>> {
        let mut net = Builder::new();
        let image = net.input("image", Shape::new(1, 1, 2 * groups)).unwrap();
        let first = net.grouped_pointwise("first", image, outputs, groups, Layer::named("first")).unwrap();
        let last = read(&mut net, first);
        let graph = net.build(&last).unwrap();
        graph.nodes[0].output_order.as_deref().map(<[usize]>::to_vec)
    }

    fn mix(net: &mut Builder, name: &str, parts: &[Tensor]) -> Tensor {
        let x = net.concat(parts).unwrap();
        net.pointwise(name, x, 2, Layer::named(name)).unwrap()
    }

    fn one(net: &mut Builder, x: Tensor, channel: usize) -> Tensor {
        net.slice(x, channel..channel + 1).unwrap()
    }

    #[test]
    fn what_is_read_together_is_written_together() {
        let halves = |net: &mut Builder, x: Tensor| {
            let [even, odd] = [[0, 2, 4], [1, 3, 5]].map(|at| at.map(|channel| one(net, x, channel)));
            vec![mix(net, "odd", &odd), mix(net, "even", &even)]
        };
        assert_eq!(written(6, 1, halves), Some(vec![1, 3, 5, 0, 2, 4]));
        // Each of two groups writes its own three channels.
        assert_eq!(written(6, 2, halves), Some(vec![1, 0, 2, 3, 5, 4]));
        // Each of two groups reads its own two.
        let grouped = |net: &mut Builder, x: Tensor| {
            let parts = [0, 2, 1, 3].map(|channel| one(net, x, channel));
            let x = net.concat(&parts).unwrap();
            vec![net.grouped_pointwise("grouped", x, 2, 2, Layer::named("grouped")).unwrap()]
        };
        assert_eq!(written(4, 1, grouped), Some(vec![0, 2, 1, 3]));
    }

    #[test]
    fn what_is_read_first_stands_first() {
        let upper_half = |net: &mut Builder, x: Tensor| {
            let parts = net.split(x, &[2, 2]).unwrap();
            vec![mix(net, "upper", &parts[1..]), mix(net, "both", &[parts[1], parts[0]])]
        };
        assert_eq!(written(4, 1, upper_half), Some(vec![2, 3, 0, 1]));
    }

    #[test]
    fn nothing_moves_without_a_gain() {
        // One reads all, another the middle.
        let middle = |net: &mut Builder, x: Tensor| {
            let part = one(net, x, 1);
            vec![mix(net, "all", &[x]), mix(net, "middle", &[part])]
        };
        assert_eq!(written(3, 1, middle), None);
        // Any order gives one of the three two runs; theirs gives each one.
        let overlap = |net: &mut Builder, x: Tensor| {
            let [a, b, c] = [0..2, 3..5, 1..4].map(|range| net.slice(x, range).unwrap());
            vec![mix(net, "a", &[a]), mix(net, "b", &[b]), mix(net, "c", &[c])]
        };
        assert_eq!(written(5, 1, overlap), None);
    }

    #[test]
    fn sums_and_outputs_keep_the_networks_order() {
        let halves = |net: &mut Builder, x: Tensor| {
            let [even, odd] = [[0, 2], [1, 3]].map(|at| at.map(|channel| one(net, x, channel)));
            vec![mix(net, "odd", &odd), mix(net, "even", &even), x]
        };
        assert_eq!(written(4, 1, halves), None);
        let summed = |net: &mut Builder, x: Tensor| {
            let [even, odd] = [[0, 2], [1, 3]].map(|at| at.map(|channel| one(net, x, channel)));
            let sum = net.add("sum", x, x, crate::tensor::Clamp::NONE).unwrap();
            vec![mix(net, "odd", &odd), mix(net, "even", &even), sum]
        };
        assert_eq!(written(4, 1, summed), None);
    }

    #[test]
    fn shuffles_that_are_transposed_stay_as_they_are() {
        // Eight groups of `n` channels, shuffled before or behind what passes them on, then read by eight groups.
        let orders = |n: usize, before: bool| {
            let mut net = Builder::new();
            let image = net.input("image", Shape::new(1, 1, 8)).unwrap();
            let mut x = net.grouped_pointwise("first", image, 8 * n, 8, Layer::named("first")).unwrap();
            let shuffle = |net: &mut Builder, x, groups| net.shuffle(x, groups).unwrap();
            x = if before { shuffle(&mut net, x, 8) } else { x };
            x = net.depthwise("filter", x, Window::square(1), Layer::named("filter")).unwrap();
            x = if before { x } else { shuffle(&mut net, x, n) };
            let last = net.grouped_pointwise("last", x, 8, 8, Layer::named("last")).unwrap();
            let graph = net.build(&[last]).unwrap();
            (graph.nodes[0].output_order.is_some(), graph.nodes[2].order.is_some())
        };
        // Runs of one and two channels, and of three: six and twelve blocks instead of 64 runs.
        assert_eq!([orders(12, true), orders(12, false), orders(24, true), orders(24, false)], [(false, false); 4]);
        // Runs of six: 24 blocks take longer.
        let long = [orders(48, true), orders(48, false)];
        assert!(long.iter().all(|&(written, read)| written || read), "{long:?}");
    }

    #[test]
    fn millions_of_channels_are_put_in_order_and_more_are_left_as_they_are() {
        const HALF: usize = MOST_ORDERED / 2;
        let is_ordered = |copies: usize| {
            let mut net = Builder::new();
            let image = net.input("image", Shape::new(1, 1, 2 * HALF)).unwrap();
            let halves = [HALF..2 * HALF, 0..HALF].map(|half| net.slice(image, half).unwrap());
            let turned = net.concat(&halves).unwrap();
            for _ in 0..copies {
                net.slice(image, 0..2 * HALF).unwrap();
            }
            let sums = net.pointwise("sums", turned, 1, Layer::named("sums")).unwrap();
            net.build(&[sums]).unwrap().nodes[0].order.is_some()
        };
        // The image, its halves, what is made of them and the copies: 3 Mi channels are listed, or 17 Mi would be.
        assert_eq!([0, 14].map(is_ordered), [true, false]);
    }
}
