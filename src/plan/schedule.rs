//! The choices of a plan that change its speed or its memory, never its bits: what is fused, and how work is cut.
#![forbid(unsafe_code)]

use alloc::vec::Vec;
use core::ops::Range;

use super::options::{Fusion, Options};
use crate::graph::{Graph, Node};
use crate::machine::Blocking;
use crate::ops::cut;
use crate::tensor::Shape;

/// How the nodes of an item share the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Schedule {
    /// One node, whole.
    Whole,
    /// Strip by strip of this many output rows, the nodes in turn: between them there are only the rows that a strip
    /// needs.
    Strips(usize),
    /// An inverted residual, block by block of its expanded channels (MobileNet V2, section 5.1).
    ChannelBlocks,
}

/// The most nodes of a step.
pub(super) const MAX_FUSED: usize = 5;
/// A step is cut from this many multiply-accumulates on (4 microseconds of one thread), so that a task has at least half as
/// many: smaller ones cost more to hand over than they save.
const LEAST_MACS: u64 = 200_000;
/// Blocks of an inverted residual's expanded channels: the paper recommends 2 to 5.
const CHANNEL_BLOCKS: usize = 4;
/// Output rows of the tallest image that is computed in strips: each is a list of calls.
const MAX_STRIPS: usize = 1 << 16;

/// What the options ask of the schedules.
#[derive(Debug, Clone, Copy)]
pub(super) struct Schedules {
    fusion: Fusion,
    low_memory: bool,
    threads: usize,
    blocking: &'static Blocking,
}

/// What an operator is to a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Weights for each channel by itself: a depthwise convolution.
    Filter,
    /// Sums over the channels of one pixel, every pixel: a pointwise convolution.
    Mix,
    /// Sums over the channels of a window: a dense convolution.
    Convolve,
    /// A window over each channel, without weights.
    Pool,
    /// Anything else is better left alone.
    Other,
}

fn role(node: &Node) -> Role {
    let (traits, window) = (node.operator.traits(), node.window());
    let every_pixel = window.is_pixel() && window.stride == (1, 1);
    match (traits.weighted, traits.channelwise) {
        (true, true) => Role::Filter,
        (true, false) if every_pixel => Role::Mix,
        (true, false) if !window.is_pixel() => Role::Convolve,
        (false, true) if traits.inputs == 1 && !window.is_pixel() && window.extent().0 < node.input().height => {
            Role::Pool
        }
        _ => Role::Other,
    }
}

impl Schedules {
    pub fn new(options: &Options, threads: usize, blocking: &'static Blocking) -> Self {
        Schedules { fusion: options.fusion, low_memory: options.low_memory, threads: threads.max(1), blocking }
    }

    /// How many of `batch` images go through all items together: a divisor of the batch, so that every part is cut the same way.
    /// An item reads and writes `elements` of each image at the most, and there are so many `weights`, which are read for every
    /// part: where those are many, tensors of several items may leave the caches. There are images for all threads.
    pub fn images_together(&self, batch: usize, elements: usize, weights: usize) -> usize {
        let most = (self.blocking.together.max(weights / 4) / elements.max(1)).max(self.threads);
        let divides = |images: &usize| batch.is_multiple_of(*images);
        let below = (1..=most.min(batch)).rev().find(divides).unwrap_or(1);
        // Where those are far fewer, rather some more.
        if below * 2 < most { (most..=batch).find(divides).unwrap_or(below) } else { below }
    }

    /// The schedule for `nodes`, each the only reader of the one before; `None` where they are better left apart.
    pub fn of(&self, graph: &Graph, nodes: &[usize]) -> Option<Schedule> {
        let nodes: Vec<&Node> = nodes.iter().map(|&node| &graph.nodes()[node]).collect();
        let roles: Vec<Role> = nodes.iter().map(|node| role(node)).collect();
        let separable =
            |roles: &[Role]| !roles.is_empty() && roles.chunks(2).all(|pair| pair == [Role::Filter, Role::Mix]);
        let inverted = match (&roles[..], &nodes[..]) {
            ([Role::Mix, Role::Filter, Role::Mix], [expand, _, project]) => {
                project.operator.traits().continues
                    && expand.output().channels > expand.input().channels.max(project.output().channels)
            }
            _ => false,
        };
        let (convolutions, pooled) = match &roles[..] {
            [before @ .., Role::Pool] => (before, true),
            roles => (roles, false),
        };
        let chain = match convolutions {
            [Role::Convolve] => pooled,
            [Role::Convolve, rest @ ..] => separable(rest),
            all => separable(all),
        };
        let output = nodes.last()?.output();
        if !(inverted || chain) || output.height > MAX_STRIPS {
            return None;
        }
        let between: Vec<Shape> = nodes[..nodes.len() - 1].iter().map(|node| node.output()).collect();
        let largest = between.iter().map(Shape::len).max().unwrap_or(0);
        let rows = |budget: usize| {
            let fits = |&rows: &usize| strip_len(&nodes, rows) <= budget;
            // Kernels compute two rows or four at a time; a row of a pooled tensor is two of the one before.
            let unit = if pooled { 1 } else { 2 };
            (unit..=output.height).step_by(unit).take_while(fits).last().unwrap_or(unit.min(output.height))
        };
        match self.fusion {
            Fusion::Strips(rows) => Some(Schedule::Strips(rows.clamp(1, output.height.max(1)))),
            Fusion::Off if !self.low_memory => None,
            _ if self.low_memory => {
                let rows = rows(self.blocking.small_strip);
                let whole = between.iter().map(Shape::len).sum::<usize>();
                // Every thread has a strip of its own.
                let strips = strip_len(&nodes, rows).saturating_mul(self.threads);
                match whole / CHANNEL_BLOCKS {
                    blocks if inverted && blocks < strips => Some(Schedule::ChannelBlocks),
                    _ => (strips < whole).then_some(Schedule::Strips(rows)),
                }
            }
            _ => {
                let rows = rows(self.blocking.strip);
                // Where one separable block, or a pooling, follows another.
                let mut joints = between.iter().zip(&roles).filter(|(_, role)| chain && **role == Role::Mix);
                let worth = largest >= self.blocking.fuse_from
                    && joints.all(|(shape, _)| shape.len() >= self.blocking.join_from)
                    // At least two threads should find a strip each.
                    && output.height >= rows * self.threads.min(2);
                worth.then_some(Schedule::Strips(rows))
            }
        }
    }

    /// Tasks for `macs` multiply-accumulates.
    pub fn tasks(&self, macs: u64) -> usize {
        (macs / LEAST_MACS + 1).min(self.threads as u64) as usize
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

/// Rows that each of `nodes` but the last holds for `rows` output rows of the last.
pub(super) fn rows_between(nodes: &[&Node], rows: usize) -> Vec<usize> {
    let (mut held, mut rows) = (Vec::new(), rows);
    for pair in nodes.windows(2).rev() {
        rows = pair[1].window().rows_held(rows).min(pair[0].output().height);
        held.push(rows);
    }
    held.reverse();
    held
}

/// Elements between `nodes` for a strip of `rows` output rows.
fn strip_len(nodes: &[&Node], rows: usize) -> usize {
    let row = |node: &Node| node.output().width * node.output().channels;
    rows_between(nodes, rows).iter().zip(nodes).map(|(rows, node)| rows * row(node)).sum()
}

/// Whether the threads share a GEMM of so many pixels along its output channels, so that each reads its own part of the
/// weights.
pub(super) fn cut_by_channels(pixels: usize) -> bool {
    pixels < 128
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Builder, Layer};
    use crate::machine::Machine;
    use crate::tensor::Window;

    #[test]
    fn work_of_any_size_has_as_many_tasks_as_threads() {
        let schedules = Schedules::new(&Options::default(), 7, Machine::this().blocking());
        // The last counts overflow a `usize` of 32 bits.
        let counts = [0, LEAST_MACS - 1, LEAST_MACS, 6 * LEAST_MACS, LEAST_MACS << 32, u64::MAX];
        assert_eq!(counts.map(|macs| schedules.tasks(macs)), [1, 1, 2, 7, 7, 7]);
    }

    #[test]
    fn as_many_images_go_together_as_the_caches_hold() {
        let blocking = Machine::this().blocking();
        let together = |threads: usize, batch: usize, elements: usize, weights: usize| {
            Schedules::new(&Options::default(), threads, blocking).images_together(batch, elements, weights)
        };
        let all = blocking.together;
        // As many as there is room for, in equal parts; all where there is room for them; one at least.
        assert_eq!([1, 8, 12, 64].map(|batch| together(1, batch, all / 8, 0)), [1, 8, 6, 8]);
        assert_eq!([1, 8, 64].map(|batch| together(1, batch, 2 * all, 0)), [1, 1, 1]);
        // Rather more than far fewer.
        assert_eq!([13, 22].map(|batch| together(1, batch, all / 8, 0)), [13, 11]);
        assert_eq!([5, 17].map(|batch| together(1, batch, all / 2, 0)), [1, 1]);
        // Images for all threads, and more where there are many weights.
        assert_eq!([2, 8, 16].map(|threads| together(threads, 16, 2 * all, 0)), [2, 8, 16]);
        assert_eq!([4 * all, 16 * all].map(|weights| together(1, 8, all, weights)), [1, 4]);
        // Nothing overflows.
        assert_eq!(together(usize::MAX, 6, 0, usize::MAX), 6);
    }

    /// Six rows of 20 x 8 are a strip, one is a small one; tensors of 20 x 20 x 8 are fused, and of twice as much joined.
    const LIMITS: Blocking = Blocking {
        gemm: 0,
        few_weights: 0,
        strip: 6 * 160,
        small_strip: 160,
        fuse_from: 20 * 160,
        join_from: 40 * 160,
        together: 0,
    };

    /// An image of 8 channels and so many rows of 20 pixels, through layers of (size of the window, stride, outputs); those
    /// without a number of outputs are depthwise.
    fn chain(rows: usize, layers: &[(usize, usize, usize)]) -> Graph {
        chain_over(rows, 20, layers)
    }

    /// The same with rows of `width` pixels.
    fn chain_over(rows: usize, width: usize, layers: &[(usize, usize, usize)]) -> Graph {
        let mut net = Builder::new();
        let mut x = net.input("image", Shape::new(rows, width, 8)).unwrap();
        for (at, &(size, stride, outputs)) in layers.iter().enumerate() {
            let (name, window) = (at.to_string(), Window::square(size).stride(stride).symmetric());
            x = match outputs {
                0 => net.depthwise(&name, x, window, Layer::named(&name)).unwrap(),
                _ => net.conv(&name, x, outputs, window, Layer::named(&name)).unwrap(),
            };
        }
        net.build(&[x]).unwrap()
    }

    fn scheduled(graph: &Graph, limits: &'static Blocking, threads: usize, options: Options) -> Option<Schedule> {
        let nodes: Vec<usize> = (0..graph.nodes().len()).collect();
        Schedules::new(&options, threads, limits).of(graph, &nodes)
    }

    #[test]
    fn large_tensors_are_fused_where_each_thread_finds_a_strip() {
        let auto = |graph: &Graph, limits, threads| scheduled(graph, limits, threads, Options::default());
        let block = chain(20, &[(3, 1, 0), (1, 1, 16)]);
        assert_eq!(auto(&block, &LIMITS, 1), Some(Schedule::Strips(6)));
        assert_eq!(auto(&block, &Blocking { fuse_from: 20 * 160 + 1, ..LIMITS }, 1), None);
        assert_eq!(
            [1, 2, 3].map(|threads| auto(&block, &Blocking { strip: 10 * 160, ..LIMITS }, threads)),
            [Some(Schedule::Strips(10)); 3]
        );
        assert_eq!(
            [1, 2].map(|threads| auto(&block, &Blocking { strip: 12 * 160, ..LIMITS }, threads)),
            [Some(Schedule::Strips(12)), None]
        );
        // What stands after the last layer does not count.
        assert_eq!(auto(&block, &Blocking { join_from: usize::MAX, ..LIMITS }, 1), Some(Schedule::Strips(6)));
        // Of two blocks, the tensor between them does: 20 x 20 x 16.
        let two = chain(20, &[(3, 1, 0), (1, 1, 16), (3, 1, 0), (1, 1, 8)]);
        assert_eq!(auto(&two, &LIMITS, 1), Some(Schedule::Strips(2)));
        assert_eq!(auto(&two, &Blocking { join_from: 40 * 160 + 1, ..LIMITS }, 1), None);
        // A dense convolution goes before blocks; pixels that are left out, and other orders, are no block.
        assert_eq!(auto(&chain(20, &[(3, 1, 8), (3, 1, 0), (1, 1, 16)]), &LIMITS, 1), Some(Schedule::Strips(2)));
        for others in [&[(3, 1, 0), (1, 2, 16)][..], &[(1, 1, 16), (3, 1, 0)], &[(3, 1, 8), (3, 1, 8)], &[(3, 1, 8)]] {
            assert_eq!(auto(&chain(20, others), &LIMITS, 1), None, "{others:?}");
        }
    }

    #[test]
    fn strips_have_the_rows_that_are_asked_for() {
        let asked = |rows, height| {
            // Narrow, so that the highest image fits an address space of 32 bits too.
            let graph = chain_over(height, 2, &[(3, 1, 0), (1, 1, 16)]);
            scheduled(&graph, &LIMITS, 1, Options { fusion: Fusion::Strips(rows), ..Options::default() })
        };
        assert_eq!([0, 5, 21].map(|rows| asked(rows, 20)), [1, 5, 20].map(|rows| Some(Schedule::Strips(rows))));
        // A list of calls has an end.
        assert_eq!([MAX_STRIPS, MAX_STRIPS + 1].map(|height| asked(1, height)), [Some(Schedule::Strips(1)), None]);
    }

    #[test]
    fn no_more_rows_are_held_than_there_are() {
        let graph = chain(20, &[(1, 1, 48), (3, 1, 0), (1, 1, 8)]);
        let nodes: Vec<&Node> = graph.nodes().iter().collect();
        assert_eq!([1, 2, 20].map(|rows| rows_between(&nodes, rows)), [[3, 1], [4, 2], [20, 20]]);
    }

    #[test]
    fn low_memory_takes_what_is_least() {
        let low = |graph: &Graph, threads| {
            let options = Options { low_memory: true, fusion: Fusion::Off, ..Options::default() };
            scheduled(graph, &LIMITS, threads, options)
        };
        // A strip of two rows each, or 20 rows once.
        let block = chain(20, &[(3, 1, 0), (1, 1, 16)]);
        assert_eq!(
            [1, 9, 10].map(|threads| low(&block, threads)),
            [Some(Schedule::Strips(2)), Some(Schedule::Strips(2)), None]
        );
        // Four rows and two, of 20 x 48, a thread; or a quarter of twice 20.
        let inverted = chain(20, &[(1, 1, 48), (3, 1, 0), (1, 1, 8)]);
        assert_eq!(
            [1, 2].map(|threads| low(&inverted, threads)),
            [Some(Schedule::Strips(2)), Some(Schedule::ChannelBlocks)]
        );
        // Fewer channels between than around are no inverted residual.
        assert_eq!(low(&chain(20, &[(1, 1, 8), (3, 1, 0), (1, 1, 16)]), 2), None);
    }
}
