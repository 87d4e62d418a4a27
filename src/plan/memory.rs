//! Where each tensor lies: one arena, in which tensors that do not live at the same time share memory.
#![forbid(unsafe_code)]

use crate::error::{Error, Result};
use crate::net::{Network, TensorId};
use crate::tensor::{LINE, Layout};

/// The memory that a place is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Region {
    /// The caller's images.
    Input,
    /// The caller's logits.
    Output,
    /// The workspace, from this element on.
    Workspace(usize),
}

/// Where the images of a tensor lie.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub region: Region,
    /// Of one image; the next one begins `height` rows further on.
    pub layout: Layout,
}

impl Place {
    /// From one image to the next.
    pub fn image_stride(&self) -> usize {
        self.layout.height * self.layout.row_stride
    }
}

/// A tensor that has memory, from the layer that writes it to the last one that reads it.
struct Live {
    offset: usize,
    length: usize,
    until: usize,
}

/// Elements after each pixel, so that the pixels of a window do not fall on the same lines of the first-level cache, as
/// they do where they are a multiple of 1 KB apart.
fn gap(channels: usize) -> usize {
    if channels.is_multiple_of(256) { LINE } else { 0 }
}

/// The place of every tensor, and the elements of the workspace. With `keep`, every tensor lives to the end.
pub(super) fn lay_out(network: &Network, batch: usize, keep: bool) -> Result<(Vec<Place>, usize)> {
    let count = network.layers().len();
    let layout = |tensor: TensorId| {
        let shape = network.shape(tensor);
        // The caller's image and logits have no gaps.
        let gap = if (1..count).contains(&tensor) { gap(shape.channels) } else { 0 };
        let pixel_stride = shape.channels + gap;
        Layout {
            pixel_stride,
            row_stride: shape.width * pixel_stride,
            ..Layout::tight(shape.height, shape.width, shape.channels)
        }
    };
    let mut last_read = vec![0; count + 1];
    for (index, layer) in network.layers().iter().enumerate() {
        for tensor in layer.residual.into_iter().chain([layer.input]) {
            last_read[tensor] = index;
        }
    }
    let mut places = vec![Place { region: Region::Input, layout: layout(0) }];
    let (mut live, mut size): (Vec<Live>, usize) = (Vec::new(), 0);
    for index in 0..count {
        let tensor = index + 1;
        let region = if tensor == count {
            Region::Output
        } else {
            let length = batch
                .checked_mul(layout(tensor).row_stride)
                .and_then(|row| row.checked_mul(layout(tensor).height))
                .and_then(|length| length.checked_next_multiple_of(LINE))
                .filter(|&length| length < isize::MAX as usize / 64)
                .ok_or_else(|| Error::shape("batch", batch, "one whose tensors fit the address space"))?;
            live.retain(|other| other.until >= index);
            let offset = first_gap(&mut live, length);
            live.push(Live { offset, length, until: if keep { count } else { last_read[tensor] } });
            size = size.max(offset + length);
            Region::Workspace(offset)
        };
        places.push(Place { region, layout: layout(tensor) });
    }
    Ok((places, size))
}

/// The lowest offset at which `length` elements overlap no tensor that lives.
fn first_gap(live: &mut [Live], length: usize) -> usize {
    live.sort_by_key(|other| other.offset);
    let mut offset = 0;
    for other in live {
        if offset + length <= other.offset {
            break;
        }
        offset = offset.max(other.offset + other.length);
    }
    offset
}
