//! Tensors as runs of channels: a slice, a concatenation or a shuffle of channels moves no data.

use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;

use crate::tensor::{Shape, Transposition};

/// So many runs are copied while a block of a transposition is (Zen 3: 1.6 and 8 cycles).
const RUNS_A_BLOCK: usize = 5;

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

    /// The value of these runs of buffers, in order, of `height` x `width` pixels.
    pub fn of_runs(height: usize, width: usize, given: impl IntoIterator<Item = Run>) -> Value {
        let mut runs: Vec<Run> = Vec::new();
        let mut channels = 0;
        for next in given.into_iter().filter(|run| run.channels > 0) {
            channels += next.channels;
            match runs.last_mut() {
                Some(run) if run.origin == next.origin && run.first + run.channels == next.first => {
                    run.channels += next.channels;
                }
                _ => runs.push(next),
            }
        }
        Value { shape: Shape { height, width, channels }, runs }
    }

    /// The value of these channels of buffers, in order, of `height` x `width` pixels.
    pub fn of_channels(height: usize, width: usize, channels: impl IntoIterator<Item = (Origin, usize)>) -> Value {
        let one = |(origin, first): (Origin, usize)| Run { origin, first, channels: 1 };
        Value::of_runs(height, width, channels.into_iter().map(one))
    }

    /// The buffer and the channel of it that each channel is.
    pub fn channels(&self) -> impl Iterator<Item = (Origin, usize)> {
        self.runs.iter().flat_map(|run| (run.first..run.first + run.channels).map(|channel| (run.origin, channel)))
    }

    /// The order in which the nodes that read this tensor take its channels: of each of `groups` equal slices by buffer,
    /// then by channel in it, so that channels that lie side by side are taken side by side. Element `k` is the channel
    /// that is taken as the `k`th; `None` where they are taken as they stand, because no fewer runs are left, or a
    /// transposition that costs less.
    pub fn reading_order(&self, groups: usize) -> Option<Vec<usize>> {
        if self.runs.len() == 1 {
            return None;
        }
        let channels: Vec<(Origin, usize)> = self.channels().collect();
        let mut order: Vec<usize> = (0..channels.len()).collect();
        for slice in order.chunks_mut((channels.len() / groups.max(1)).max(1)) {
            slice.sort_by_key(|&channel| channels[channel]);
        }
        let runs = self.runs_in(Some(&order)).len();
        let alone = self.runs.iter().all(|run| run.origin == self.runs[0].origin);
        let transposed = alone && transposition_outdoes(runs, channels.iter().map(|&(_, channel)| channel));
        // Those that stand in as few runs already stay as they are.
        (runs < self.runs.len() && !transposed).then_some(order)
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
        let starts = self.runs.iter().scan(0, |at, run| Some(core::mem::replace(at, *at + run.channels)));
        let runs = self.runs.iter().zip(starts).map(|(run, at)| {
            let (start, end) = (range.start.max(at), range.end.min(at + run.channels));
            Run { first: run.first + start.saturating_sub(at), channels: end.saturating_sub(start), ..*run }
        });
        Value::of_runs(height, width, runs)
    }

    /// Its channels as `groups` rows, read column by column: channel `i * groups + j` of the result is channel
    /// `j * n + i`, where `n` is the number of channels a group.
    pub fn shuffle(&self, groups: usize) -> Value {
        let Shape { height, width, channels } = self.shape;
        let (all, n): (Vec<(Origin, usize)>, usize) = (self.channels().collect(), channels / groups);
        Value::of_channels(height, width, (0..channels).map(|at| all[at % groups * n + at / groups]))
    }
}

/// Whether the channels at these places are copied in less time as they stand than in so many runs, because they are a
/// transposition: groups of which the first channels come first, then the second.
pub(super) fn transposition_outdoes(runs: usize, places: impl ExactSizeIterator<Item = usize> + Clone) -> bool {
    Transposition::of(places).is_some_and(|transposition| transposition.blocks() * RUNS_A_BLOCK < runs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_that_lie_side_by_side_are_read_side_by_side() {
        let [a, b] = [0, 1].map(Origin::Node);
        let of = |channels: &[(Origin, usize)]| Value::of_channels(1, 1, channels.iter().copied());
        let apart = of(&[(b, 2), (a, 1), (b, 3), (a, 0)]);
        assert_eq!(apart.reading_order(1), Some(vec![3, 1, 0, 2]));
        assert_eq!(apart.runs_in(Some(&[3, 1, 0, 2])).len(), 2);
        // Each half has one channel of either already; halves of two buffers are sorted by themselves.
        assert_eq!(apart.reading_order(2), None);
        assert_eq!(of(&[(a, 3), (a, 2), (b, 1), (b, 0)]).reading_order(2), Some(vec![1, 0, 3, 2]));
        // As they stand: in one run, or in as few as there can be.
        assert_eq!(of(&[(a, 4), (a, 5)]).reading_order(1), None);
        assert_eq!(of(&[(b, 0), (b, 1), (a, 0)]).reading_order(1), None);
    }
}
