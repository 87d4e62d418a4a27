//! How images lie in memory.

use std::fmt;
use std::str::FromStr;

/// Which index of an image runs fastest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Layout {
    /// Rows of pixels, each all its channels.
    #[default]
    Nhwc,
    /// A plane a channel, each rows of pixels.
    Nchw,
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Layout::Nhwc => "nhwc",
            Layout::Nchw => "nchw",
        })
    }
}

impl FromStr for Layout {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = [Layout::Nhwc, Layout::Nchw].into_iter().find(|layout| layout.to_string() == name);
        found.ok_or_else(|| format!("unknown layout {name:?}: expected nhwc or nchw"))
    }
}

/// Elements that nobody may touch, between those of one image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Gap {
    /// After each innermost run: the channels of a pixel (NHWC), the pixels of a row (NCHW).
    pub inner: usize,
    /// After each run of those: a row (NHWC), a plane (NCHW).
    pub outer: usize,
}

/// The gaps of a case's images. Unless there are none, input, output and residual never have the same: a kernel that takes
/// one's stride for another's is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Gaps {
    /// Of the input.
    pub input: Gap,
    /// Of the output.
    pub output: Gap,
    /// Of the residual.
    pub residual: Gap,
}

impl Gaps {
    /// Every image is tight.
    pub const NONE: Gaps = Gaps::new((0, 0), (0, 0), (0, 0));
    /// Each image is one run of pixels (NHWC) or rows (NCHW); those of the input touch, since kernels have loops for that.
    pub const RUNS: Gaps = Gaps::new((0, 0), (3, 0), (2, 0));
    /// As `RUNS`, but for outer gaps in the residual.
    pub const RESIDUAL_ROWS: Gaps = Gaps::new((0, 0), (3, 0), (2, 19));
    /// Everywhere, by primes.
    pub const EVERYWHERE: Gaps = Gaps::new((7, 13), (11, 5), (5, 29));

    /// The gaps (inner, outer) of the input, the output and the residual.
    pub const fn new(input: (usize, usize), output: (usize, usize), residual: (usize, usize)) -> Self {
        const fn gap((inner, outer): (usize, usize)) -> Gap {
            Gap { inner, outer }
        }
        Gaps { input: gap(input), output: gap(output), residual: gap(residual) }
    }
}

/// Where the elements of one image lie in a slice: channel `c` of pixel (`y`, `x`) is element
/// `y * row_stride + x * pixel_stride + c * channel_stride`. Sizes and strides count elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Image {
    /// Rows.
    pub height: usize,
    /// Pixels in a row.
    pub width: usize,
    /// Channels of a pixel.
    pub channels: usize,
    /// From one row to the next.
    pub row_stride: usize,
    /// From one pixel to the next.
    pub pixel_stride: usize,
    /// From one channel to the next.
    pub channel_stride: usize,
}

impl Image {
    /// An image of `height` x `width` x `channels` with gaps.
    pub const fn new((height, width, channels): (usize, usize, usize), layout: Layout, gap: Gap) -> Self {
        match layout {
            Layout::Nhwc => {
                let pixel_stride = channels + gap.inner;
                let row_stride = width * pixel_stride + gap.outer;
                Image { height, width, channels, row_stride, pixel_stride, channel_stride: 1 }
            }
            Layout::Nchw => {
                let row_stride = width + gap.inner;
                let channel_stride = height * row_stride + gap.outer;
                Image { height, width, channels, row_stride, pixel_stride: 1, channel_stride }
            }
        }
    }

    /// Pixels.
    pub const fn pixels(&self) -> usize {
        self.height * self.width
    }

    /// Elements that belong to the image.
    pub const fn len(&self) -> usize {
        self.pixels() * self.channels
    }

    /// Whether there is no element.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Elements from the first to one past the last.
    pub const fn extent(&self) -> usize {
        if self.is_empty() {
            return 0;
        }
        (self.height - 1) * self.row_stride
            + (self.width - 1) * self.pixel_stride
            + (self.channels - 1) * self.channel_stride
            + 1
    }

    /// Where an element lies.
    pub const fn at(&self, (y, x, c): (usize, usize, usize)) -> usize {
        y * self.row_stride + x * self.pixel_stride + c * self.channel_stride
    }

    /// Row, column and channel of element `index` of the tight NHWC image.
    pub const fn position(&self, index: usize) -> (usize, usize, usize) {
        let pixel = index / self.channels;
        (pixel / self.width, pixel % self.width, index % self.channels)
    }

    /// Where the elements lie, in the order of the tight NHWC image.
    pub fn places(self) -> impl Iterator<Item = usize> {
        (0..self.len()).map(move |index| self.at(self.position(index)))
    }

    /// The tight NHWC values that `memory` holds.
    pub fn gather(self, memory: &[f32]) -> Vec<f32> {
        self.places().map(|at| memory[at]).collect()
    }

    /// Writes tight NHWC `values` where they lie in `memory`; the gaps stay as they are.
    pub fn scatter(self, values: &[f32], memory: &mut [f32]) {
        for (at, value) in self.places().zip(values) {
            memory[at] = *value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_has_a_place_of_its_own() {
        for layout in [Layout::Nhwc, Layout::Nchw] {
            for gap in [Gap::default(), Gap { inner: 7, outer: 13 }] {
                let image = Image::new((3, 4, 5), layout, gap);
                let mut places: Vec<usize> = image.places().collect();
                places.sort();
                places.dedup();
                assert_eq!((places.len(), places.last()), (60, Some(&(image.extent() - 1))));
                let values: Vec<f32> = (0u8..60).map(f32::from).collect();
                let mut memory = vec![f32::NAN; image.extent()];
                image.scatter(&values, &mut memory);
                assert_eq!(image.gather(&memory), values);
                assert_eq!(memory.iter().filter(|x| x.is_nan()).count(), image.extent() - 60);
            }
            assert_eq!(Image::new((3, 4, 5), layout, Gap::default()).extent(), 60);
            assert_eq!(Image::new((3, 0, 5), layout, Gaps::EVERYWHERE.input).extent(), 0);
        }
        assert!(Image::new((3, 4, 5), Layout::Nhwc, Gap::default()).places().eq(0..60));
    }
}
