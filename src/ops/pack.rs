//! Weights in the order in which a kernel reads them.

use crate::error::Result;
use crate::tensor::AlignedBuffer;
use crate::tensor::buffer::Arena;

/// Panels of a GEMM's weights: `nr` output channels a panel, the last one as wide as it needs in whole vectors; in a
/// panel, one row of its width for each of the `depth` inputs. Missing channels are zero.
#[derive(Debug)]
pub(super) struct Panels {
    pub data: AlignedBuffer,
    pub bias: AlignedBuffer,
    /// From one panel to the next, in elements.
    pub stride: usize,
}

/// Packs `depth` × `n` weights given by `weight(row, column)`.
pub(super) fn panels(
    arena: &mut Arena,
    (nr, lanes): (usize, usize),
    depth: usize,
    n: usize,
    bias: &[f32],
    weight: impl Fn(usize, usize) -> f32,
) -> Result<Panels> {
    let padded = n.next_multiple_of(lanes);
    // The weights given are as many as `depth` x `n`: nothing overflows, unless one of them is 0.
    let stride = depth.saturating_mul(nr);
    // The bias first: the kernels' prefetches run on from the last panel into the next layer's first.
    let mut packed_bias = arena.zeroed(padded)?;
    packed_bias[..n].copy_from_slice(bias);
    let mut data = arena.zeroed(depth.saturating_mul(padded))?;
    for first in (0..n).step_by(nr) {
        let width = nr.min(padded - first);
        let panel = &mut data[first / nr * stride..];
        // Some rows at a time stay in the cache, while each column's weights are read one after the other.
        for rows in (0..depth).step_by(64).map(|row| row..depth.min(row + 64)) {
            for column in 0..width.min(n - first) {
                for row in rows.clone() {
                    panel[row * width + column] = weight(row, first + column);
                }
            }
        }
    }
    Ok(Panels { data, bias: packed_bias, stride })
}

/// Blocks of a depthwise kernel's weights: for each `lanes` channels their biases, then their `taps` taps. Where the
/// channels do not fill the last block, it holds the `lanes` channels that end at the last one, and one more block holds
/// those that are left over by themselves, for calls that compute no others. Fewer channels than `lanes` fill one block
/// with zeros, as those that are left over do.
pub(super) fn blocks(
    arena: &mut Arena,
    (lanes, taps): (usize, usize),
    channels: usize,
    weights: &[f32],
    bias: &[f32],
) -> Result<AlignedBuffer> {
    let size = block_len(lanes, taps);
    let together = channels.div_ceil(lanes);
    let left_over = usize::from(channels > lanes && !channels.is_multiple_of(lanes));
    let mut data = arena.zeroed((together + left_over) * size)?;
    for (index, block) in data.chunks_exact_mut(size).enumerate() {
        let first = match index < together {
            true => (index * lanes).min(channels.saturating_sub(lanes)),
            false => (together - 1) * lanes,
        };
        for lane in 0..lanes.min(channels - first) {
            block[lane] = bias[first + lane];
            for tap in 0..taps {
                block[(1 + tap) * lanes + lane] = weights[(first + lane) * taps + tap];
            }
        }
    }
    Ok(data)
}

/// Elements of a block.
pub(super) const fn block_len(lanes: usize, taps: usize) -> usize {
    (1 + taps) * lanes
}
