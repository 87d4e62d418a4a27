//! OpenCV's bilinear resize of 8-bit images, which shrinks without antialiasing.

use image::RgbImage;

/// What one output position reads: two input positions, with weights in units of 2^-11.
struct Taps {
    at: [usize; 2],
    weights: [i32; 2],
}

/// 1 as a weight.
const ONE: f32 = 2048.0;

/// The taps of outputs `start..start + count` when `input` pixels become `output` pixels. At the borders of a `row` the
/// weights are 1 and 0; of a column of pixels both taps then read one pixel, and the weights stay as they are.
fn taps(input: u32, output: u64, start: u64, count: u32, row: bool) -> Vec<Taps> {
    let scale = 1.0 / (output as f64 / f64::from(input));
    let last = i64::from(input) - 1;
    let one = |i: u64| {
        let centre = ((i as f64 + 0.5) * scale - 0.5) as f32;
        let floor = centre.floor();
        let mut share = centre - floor;
        let first = floor as i64;
        if row && !(0..last).contains(&first) {
            share = 0.0;
        }
        Taps {
            at: [first, first + 1].map(|at| at.clamp(0, last) as usize),
            weights: [1.0 - share, share].map(|weight| (weight * ONE).round_ties_even() as i32),
        }
    };
    (start..start + u64::from(count)).map(one).collect()
}

/// One side of a picture: its pixels when it is scaled, and from which of them on the cut is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Side {
    pub scaled: u64,
    pub offset: u64,
}

/// `r` × `r` pixels of the scaled picture, level by level as OpenCV's `resize` with `INTER_LINEAR` rounds.
pub(super) fn cut(image: &RgbImage, width: Side, height: Side, r: u32) -> RgbImage {
    let columns = taps(image.width(), width.scaled, width.offset, r, true);
    let rows = taps(image.height(), height.scaled, height.offset, r, false);
    let (levels, pitch) = (image.as_raw(), image.width() as usize * 3);
    let mut result = RgbImage::new(r, r);
    for (row, out) in rows.iter().zip(result.chunks_exact_mut(columns.len().max(1) * 3)) {
        for (column, pixel) in columns.iter().zip(out.chunks_exact_mut(3)) {
            for (channel, level) in pixel.iter_mut().enumerate() {
                let across = |y: usize| {
                    let of = |at: usize| i32::from(levels[y * pitch + column.at[at] * 3 + channel]);
                    of(0) * column.weights[0] + of(1) * column.weights[1]
                };
                // Rounded down twice on the way.
                let part = |at: usize| ((across(row.at[at]) >> 4) * row.weights[at]) >> 16;
                *level = ((part(0) + part(1) + 2) >> 2).clamp(0, 255) as u8;
            }
        }
    }
    result
}
