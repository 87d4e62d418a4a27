//! Weights in the order in which a kernel reads them.

use core::mem::MaybeUninit;
use core::ops::Range;

use super::part::expect_length;
use crate::error::Result;
use crate::tensor::buffer::Arena;
use crate::tensor::stored::{Saved, Stored};
use crate::tensor::transpose;

/// What the arrays that an operator runs with are made of.
pub(crate) enum Packing<'a> {
    /// Weights (outputs x inputs a group x rows x columns) and a bias an output, to be packed into an arena; both empty
    /// without weights.
    Fresh { arena: &'a mut Arena, weights: &'a [f32], bias: &'a [f32] },
    /// Arrays that were packed before.
    Saved(&'a mut Saved),
}

impl Packing<'_> {
    /// The error where weights or biases to be packed are more or fewer than their shapes say.
    pub(super) fn expect(&self, weights: (&str, &[usize]), bias: (&str, usize)) -> Result<()> {
        if let Packing::Fresh { weights: given, bias: biases, .. } = self {
            expect_length(weights.0, given.len(), weights.1)?;
            expect_length(bias.0, biases.len(), &[bias.1])?;
        }
        Ok(())
    }

    /// The next array of `length` elements: zeros that `fill` packs weights and biases into, or what was packed before.
    pub(super) fn array(&mut self, length: usize, fill: impl FnOnce(&mut [f32], &[f32], &[f32])) -> Result<Stored> {
        match self {
            Packing::Fresh { arena, weights, bias } => {
                let mut packed = arena.zeroed(length)?;
                fill(&mut packed, weights, bias);
                Ok(Stored::Own(packed))
            }
            Packing::Saved(saved) => saved.array(length),
        }
    }

    /// As [`array`](Self::array), of weights alone and not zeroed before: to write large arrays twice takes its time.
    ///
    /// # Safety
    /// `fill` must write every element.
    unsafe fn array_unzeroed(
        &mut self,
        length: usize,
        fill: impl FnOnce(&mut [MaybeUninit<f32>], &[f32]),
    ) -> Result<Stored> {
        match self {
            // SAFETY: by this function's own contract.
            Packing::Fresh { arena, weights, .. } => unsafe {
                Ok(Stored::Own(arena.filled(length, |packed| fill(packed, weights))?))
            },
            Packing::Saved(saved) => saved.array(length),
        }
    }
}

/// Panels of a GEMM's weights: `nr` output channels a panel, the last one as wide as it needs in whole vectors; in a
/// panel, one row of its width for each of the `depth` inputs. Missing channels are zero.
#[derive(Debug)]
pub(super) struct Panels {
    pub data: Stored,
    pub bias: Stored,
    /// From one panel to the next, in elements.
    pub stride: usize,
}

impl Panels {
    /// In the order in which they are packed.
    pub fn arrays(&self) -> [&[f32]; 2] {
        [&self.bias, &self.data]
    }
}

/// Packs the weights of `outputs`, of which each has `taps` of every one of `inputs` side by side, input by input; the rows of
/// a panel go tap by tap.
pub(super) fn panels(
    packing: &mut Packing<'_>,
    (nr, lanes): (usize, usize),
    (inputs, taps): (usize, usize),
    outputs: Range<usize>,
) -> Result<Panels> {
    let (n, depth) = (outputs.len(), inputs * taps);
    let padded = n.next_multiple_of(lanes);
    // The weights are as many as `depth` x `n`: nothing overflows, unless one of them is 0.
    let stride = depth.saturating_mul(nr);
    // The bias first: the kernels' prefetches run on from the last panel into the next layer's first.
    let bias = packing.array(padded, |packed, _, bias| packed[..n].copy_from_slice(&bias[outputs.clone()]))?;
    let fill = |data: &mut [MaybeUninit<f32>], weights: &[f32]| {
        let weights = &weights[outputs.start * depth..outputs.end * depth];
        for (panel, weights) in data.chunks_mut(stride.max(1)).zip(weights.chunks(stride.max(1))) {
            let (width, columns) = (panel.len() / depth, weights.len() / depth);
            if columns < width {
                panel.fill(MaybeUninit::new(0.0));
            }
            // Each row once. Without the division where it says nothing: it would cost as much as the move.
            let row = |index: usize| if taps == 1 { index } else { index % taps * inputs + index / taps };
            let place = |index| row(index) * width;
            // SAFETY: the weights are `columns` x `depth`, the panel is `depth` x `width`, and `width` is no less than `columns`.
            unsafe { transpose((columns, depth), (weights.as_ptr(), depth), panel.as_mut_ptr().cast(), place) };
        }
    };
    debug_assert!(nr.is_multiple_of(lanes));
    // SAFETY: panels are whole vectors wide, so there are as many of weights as of the array; what the last one lacks is zero.
    let data = unsafe { packing.array_unzeroed(depth.saturating_mul(padded), fill) }?;
    Ok(Panels { data, bias, stride })
}

/// Blocks of a depthwise kernel's weights: for each `lanes` channels their biases, then their `taps` taps. Where the
/// channels do not fill the last block, it holds the `lanes` channels that end at the last one, and one more block holds
/// those that are left over by themselves, for calls that compute no others. Fewer channels than `lanes` fill one block
/// with zeros, as those that are left over do.
pub(super) fn blocks(packing: &mut Packing<'_>, (lanes, taps): (usize, usize), channels: usize) -> Result<Stored> {
    let size = block_len(lanes, taps);
    let together = channels.div_ceil(lanes);
    let left_over = usize::from(channels > lanes && !channels.is_multiple_of(lanes));
    packing.array((together + left_over) * size, |data, weights, bias| {
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
    })
}

/// Elements of a block.
pub(super) const fn block_len(lanes: usize, taps: usize) -> usize {
    (1 + taps) * lanes
}
