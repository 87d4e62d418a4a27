//! The choices of a plan that change its speed or its memory, never its bits: what is fused, and how work is cut.
#![forbid(unsafe_code)]

use std::ops::Range;

use super::{Fusion, Options};
use crate::depthwise::WINDOW;
use crate::elementwise::{POOL_STRIDE, POOL_WINDOW};
use crate::net::{Network, Op, Shape};

/// How the layers of an item share the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Schedule {
    /// One layer, whole.
    Whole,
    /// Strip by strip of this many output rows, the layers in turn: between them there are only the rows that a strip
    /// needs.
    Strips(usize),
    /// An inverted residual, block by block of its expanded channels (MobileNet V2, section 5.1).
    ChannelBlocks,
}

/// A step is cut from this many multiply-accumulates on (4 microseconds of one thread), so that a task has at least half as
/// many: smaller ones cost more to hand over than they save.
const LEAST_MACS: u64 = 200_000;
/// Blocks of an inverted residual's expanded channels: the paper recommends 2 to 5.
const CHANNEL_BLOCKS: usize = 4;
/// Elements that a second-level cache holds, 512 KB: the smallest of the CPUs that the plans are made for.
pub(super) const CACHE: usize = 128 * 1024;
/// Elements of the tensors between the layers of a strip.
const STRIP: usize = CACHE;
/// The same where memory counts more than time.
const SMALL_STRIP: usize = CACHE / 4;
/// Tensors between layers that are smaller (in elements) come back cheaply enough as they are.
const FUSE_FROM: usize = 2 * CACHE;
/// Tensors between separable blocks that are smaller (in elements) come back from memory cheaply enough: joining the
/// blocks made MobileNet V1 1 % slower, and Xception, whose tensors are larger, 1.3 % faster. A max pooling is joined
/// by the same limit, which saves Xception 8 MB.
const JOIN_FROM: usize = 8 * CACHE;

/// What the options ask of the schedules.
#[derive(Debug, Clone, Copy)]
pub(super) struct Schedules {
    fusion: Fusion,
    low_memory: bool,
    threads: usize,
}

impl Schedules {
    pub fn new(options: &Options) -> Self {
        Schedules { fusion: options.fusion, low_memory: options.low_memory, threads: options.threads.max(1) }
    }

    /// The schedule for `layers`, each the only reader of the one before; `None` where they are better left apart.
    pub fn of(&self, network: &Network, layers: &[usize]) -> Option<Schedule> {
        let all = network.layers();
        let ops: Vec<Op> = layers.iter().map(|&layer| all[layer].op).collect();
        let pointwise = |op: &Op| matches!(op, Op::Pointwise { stride: 1 });
        let separable = |ops: &[Op]| {
            !ops.is_empty() && ops.chunks(2).all(|pair| matches!(pair, [Op::Depthwise { .. }, op] if pointwise(op)))
        };
        let inverted = match (&ops[..], layers) {
            ([first, Op::Depthwise { .. }, last], [expand, _, project]) if pointwise(first) && pointwise(last) => {
                let (input, [expanded, output]) =
                    (network.shape_of(all[*expand].input), [expand, project].map(|&l| all[l].output));
                expanded.channels > input.channels.max(output.channels)
            }
            _ => false,
        };
        let (convolutions, pooled) = match &ops[..] {
            [before @ .., Op::MaxPool { .. }] => (before, true),
            ops => (ops, false),
        };
        let chain = match convolutions {
            [Op::Conv { .. }, rest @ ..] => separable(rest),
            all => separable(all),
        };
        if !(inverted || chain) {
            return None;
        }
        let output = all[layers[layers.len() - 1]].output;
        let between: Vec<Shape> = layers[..layers.len() - 1].iter().map(|&layer| all[layer].output).collect();
        let largest = between.iter().map(Shape::len).max().unwrap_or(0);
        let rows = |budget: usize| {
            let fits = |&rows: &usize| strip_len(network, layers, rows) <= budget;
            // Kernels compute two rows or four at a time; a row of a pooled tensor is two of the one before.
            let unit = if pooled { 1 } else { 2 };
            (unit..=output.height).step_by(unit).take_while(fits).last().unwrap_or(unit.min(output.height))
        };
        match self.fusion {
            Fusion::Strips(rows) => Some(Schedule::Strips(rows.clamp(1, output.height.max(1)))),
            Fusion::Off if !self.low_memory => None,
            _ if self.low_memory => {
                let rows = rows(SMALL_STRIP);
                let whole = between.iter().map(Shape::len).sum::<usize>();
                // Every thread has a strip of its own.
                let strips = strip_len(network, layers, rows).saturating_mul(self.threads);
                match whole / CHANNEL_BLOCKS {
                    blocks if inverted && blocks < strips => Some(Schedule::ChannelBlocks),
                    _ => (strips < whole).then_some(Schedule::Strips(rows)),
                }
            }
            _ => {
                let rows = rows(STRIP);
                // Where one separable block, or a pooling, follows another.
                let mut joints = between.iter().zip(&ops).filter(|(_, op)| chain && pointwise(op));
                let worth = largest >= FUSE_FROM
                    && joints.all(|(shape, _)| shape.len() >= JOIN_FROM)
                    // At least two threads should find a strip each.
                    && output.height >= rows * self.threads.min(2);
                worth.then_some(Schedule::Strips(rows))
            }
        }
    }

    /// The most tasks of a step.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Tasks for `macs` multiply-accumulates.
    pub fn tasks(&self, macs: u64) -> usize {
        self.threads.min((macs / LEAST_MACS) as usize + 1)
    }

    /// The channel blocks of an inverted residual with so many expanded channels; each begins at a multiple of `unit`
    /// and holds at least as many.
    pub fn channel_blocks(&self, channels: usize, unit: usize) -> Vec<Range<usize>> {
        let mut blocks: Vec<_> = cut(channels, unit, CHANNEL_BLOCKS).collect();
        if let [.., before, last] = &mut blocks[..]
            && last.len() < unit
        {
            before.end = last.end;
            blocks.pop();
        }
        blocks
    }
}

/// Rows that each of `layers` but the last holds for `rows` output rows of the last.
pub(super) fn rows_between(network: &Network, layers: &[usize], rows: usize) -> Vec<usize> {
    let mut held = Vec::new();
    let mut rows = rows;
    for pair in layers.windows(2).rev() {
        let (before, after) = (&network.layers()[pair[0]], &network.layers()[pair[1]]);
        rows = match after.op {
            Op::Depthwise { stride, .. } => rows.saturating_sub(1) * stride + WINDOW,
            Op::Conv { window, stride, .. } => rows.saturating_sub(1) * stride + window,
            Op::MaxPool { .. } => rows.saturating_sub(1) * POOL_STRIDE + POOL_WINDOW,
            _ => rows,
        }
        .min(before.output.height);
        held.push(rows);
    }
    held.reverse();
    held
}

/// Elements between `layers` for a strip of `rows` output rows.
fn strip_len(network: &Network, layers: &[usize], rows: usize) -> usize {
    let row = |layer: usize| network.layers()[layer].output.width * network.layers()[layer].output.channels;
    rows_between(network, layers, rows).iter().zip(layers).map(|(rows, &layer)| rows * row(layer)).sum()
}

/// Whether the threads share a GEMM of so many pixels along its output channels, so that each reads its own part of the
/// weights.
pub(super) fn cut_by_channels(pixels: usize) -> bool {
    pixels < 128
}

/// Cuts 0..`count` into at most `parts` ranges of nearly equal length whose bounds are multiples of `unit`.
pub(super) fn cut(count: usize, unit: usize, parts: usize) -> impl Iterator<Item = Range<usize>> {
    let units = count.div_ceil(unit);
    let parts = parts.min(units).max(1);
    (0..parts).map(move |part| units * part / parts * unit..(units * (part + 1) / parts * unit).min(count))
}
