//! Tensors as runs of channels: a slice, a concatenation or a shuffle of channels moves no data.

use std::ops::Range;

use crate::tensor::Shape;

/// What writes a buffer: an input of the graph, or a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Origin {
    Input(usize),
    Node(usize),
}

/// Some channels of a buffer, which follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub origin: Origin,
    pub first: usize,
    pub channels: usize,
}

/// A tensor: its channels, run by run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Value {
    pub shape: Shape,
    pub runs: Vec<Run>,
}

impl Value {
    /// All that `origin` writes.
    pub fn whole(origin: Origin, shape: Shape) -> Value {
        Value { shape, runs: vec![Run { origin, first: 0, channels: shape.channels }] }
    }

    /// The value of these channels of buffers, in order, of `height` x `width` pixels.
    pub fn of_channels(height: usize, width: usize, channels: impl IntoIterator<Item = (Origin, usize)>) -> Value {
        let mut runs: Vec<Run> = Vec::new();
        let mut count = 0;
        for (origin, channel) in channels {
            count += 1;
            match runs.last_mut() {
                Some(run) if run.origin == origin && run.first + run.channels == channel => run.channels += 1,
                _ => runs.push(Run { origin, first: channel, channels: 1 }),
            }
        }
        Value { shape: Shape { height, width, channels: count }, runs }
    }

    /// The buffer and the channel of it that each channel is.
    pub fn channels(&self) -> impl Iterator<Item = (Origin, usize)> {
        self.runs.iter().flat_map(|run| (run.first..run.first + run.channels).map(|channel| (run.origin, channel)))
    }

    /// The order in which the nodes that read this tensor take its channels: of each of `groups` equal slices by buffer,
    /// then by channel in it, so that channels that lie side by side are taken side by side. Element `k` is the channel
    /// that is taken as the `k`th; `None` where they are taken as they stand.
    pub fn reading_order(&self, groups: usize) -> Option<Vec<usize>> {
        let channels: Vec<(Origin, usize)> = self.channels().collect();
        let mut order: Vec<usize> = (0..channels.len()).collect();
        for slice in order.chunks_mut((channels.len() / groups.max(1)).max(1)) {
            slice.sort_by_key(|&channel| channels[channel]);
        }
        let stands = order.iter().enumerate().all(|(at, &channel)| at == channel);
        (!stands).then_some(order)
    }

    /// The runs of the channels in `order`.
    pub fn runs_in(&self, order: Option<&[usize]>) -> Vec<Run> {
        let Some(order) = order else { return self.runs.clone() };
        let channels: Vec<(Origin, usize)> = self.channels().collect();
        let Shape { height, width, .. } = self.shape;
        Value::of_channels(height, width, order.iter().map(|&channel| channels[channel])).runs
    }

    /// Some channels of it.
    pub fn slice(&self, range: Range<usize>) -> Value {
        let Shape { height, width, .. } = self.shape;
        Value::of_channels(height, width, self.channels().skip(range.start).take(range.len()))
    }

    /// Its channels as `groups` rows, read column by column: channel `i * groups + j` of the result is channel
    /// `j * n + i`, where `n` is the number of channels a group.
    pub fn shuffle(&self, groups: usize) -> Value {
        let Shape { height, width, channels } = self.shape;
        let (all, n): (Vec<(Origin, usize)>, usize) = (self.channels().collect(), channels / groups);
        Value::of_channels(height, width, (0..channels).map(|at| all[at % groups * n + at / groups]))
    }
}
