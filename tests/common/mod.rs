//! What the tests share: the kernels of this machine; numbers, guarded buffers and comparison to the bit, from the testing kit.
#![allow(dead_code, unused_imports)] // Each test file uses a part.

use sepconv::{Isa, Kernels, Layout, Observer, Padding, View};
use sepconv_check::{Gap, Image};
pub use sepconv_check::{Guard, Guarded, Kind, Numbers};

/// The kernels of every ISA that runs here. Fails where `SEPCONV_REQUIRE_ISA` (a comma list) names one that does not.
pub fn every_isa() -> Vec<&'static Kernels> {
    let supported = Isa::supported();
    for name in std::env::var("SEPCONV_REQUIRE_ISA").unwrap_or_default().split(',').filter(|name| !name.is_empty()) {
        let isa: Isa = name.parse().expect("SEPCONV_REQUIRE_ISA names ISAs");
        assert!(supported.contains(&isa), "SEPCONV_REQUIRE_ISA names {isa}, which would be skipped here");
    }
    supported.into_iter().map(|isa| isa.kernels().expect("a supported ISA has kernels")).collect()
}

/// Whether `isa` promises the reference's bits here: pulp's scalar tier, which runs where there is no FMA, does not.
pub fn exact(isa: Isa) -> bool {
    // An interpreter runs that tier too.
    if cfg!(miri) {
        return false;
    }
    #[cfg(target_arch = "x86_64")]
    return isa != Isa::Portable || (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"));
    #[cfg(not(target_arch = "x86_64"))]
    return isa != Isa::Portable || cfg!(target_arch = "aarch64");
}

/// `size` on each side alone.
pub fn one_sided(size: usize) -> [Padding; 4] {
    let none = Padding::default();
    [
        Padding { top: size, ..none },
        Padding { bottom: size, ..none },
        Padding { left: size, ..none },
        Padding { right: size, ..none },
    ]
}

/// How far past tight the strides of a test's tensors go: as the kit's gaps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Gaps {
    /// Each image is one run of pixels; those of the input touch, since there are loops for that.
    Runs,
    /// After each pixel and each row, of each image others.
    Everywhere,
}

impl Gaps {
    fn gaps(self) -> sepconv_check::Gaps {
        match self {
            Gaps::Runs => sepconv_check::Gaps::RUNS,
            Gaps::Everywhere => sepconv_check::Gaps::EVERYWHERE,
        }
    }

    pub fn input(self, height: usize, width: usize, channels: usize) -> Layout {
        gapped(height, width, channels, self.gaps().input)
    }

    pub fn output(self, height: usize, width: usize, channels: usize) -> Layout {
        gapped(height, width, channels, self.gaps().output)
    }

    pub fn residual(self, height: usize, width: usize, channels: usize) -> Layout {
        gapped(height, width, channels, self.gaps().residual)
    }
}

fn gapped(height: usize, width: usize, channels: usize, gap: Gap) -> Layout {
    let Image { row_stride, pixel_stride, .. } =
        Image::new((height, width, channels), sepconv_check::Layout::Nhwc, gap);
    Layout { height, width, channels, pixel_stride, row_stride }
}

/// A layout as the kit's image.
fn image(layout: &Layout) -> Image {
    let Layout { height, width, channels, pixel_stride, row_stride } = *layout;
    Image { height, width, channels, row_stride, pixel_stride, channel_stride: 1 }
}

/// Elements from the first to one past the last of `layout`.
pub fn extent(layout: &Layout) -> usize {
    image(layout).extent()
}

/// A guarded buffer that holds tight `values` in `layout`, canary in its gaps.
pub fn spread(values: &[f32], layout: &Layout, guard: Guard, shift: usize) -> Guarded {
    sepconv_check::spread(values, &image(layout), guard, shift)
}

/// The tight values that `buffer` holds in `layout`.
pub fn gather(buffer: &[f32], layout: &Layout) -> Vec<f32> {
    image(layout).gather(buffer)
}

/// What a guarded buffer is asked after a run.
pub trait Check {
    /// The gaps of `layout` and everything around it must still be canary.
    fn check(&self, layout: &Layout, context: &str);
}

impl Check for Guarded {
    fn check(&self, layout: &Layout, context: &str) {
        self.assert_untouched_outside(&image(layout), context);
    }
}

/// Equal to the bit, but for the payload of NaN; where `bounds` are given (a tier that rounds twice), within them.
pub fn assert_same(got: &[f32], want: &[f32], bounds: Option<&[f32]>, context: &str) {
    let Some(bounds) = bounds else { return sepconv_check::assert_same(got, want, context) };
    assert_eq!(got.len(), want.len(), "{context}: length");
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        // A bound is NaN, and bounds nothing, where infinities met zeros.
        let near = bounds[i].is_nan() || (got - want).abs() <= bounds[i];
        assert!(near || sepconv_check::same(*got, *want), "{context}: element {i} is {got}, expected {want}");
    }
}

/// Absolute values.
pub fn abs(values: &[f32]) -> Vec<f32> {
    values.iter().map(|value| value.abs()).collect()
}

/// The bound of a chain of `depth` multiply-adds that rounds twice, from the sum of the magnitudes.
pub fn bound(magnitudes: Vec<f32>, depth: usize) -> Vec<f32> {
    magnitudes.into_iter().map(|magnitude| magnitude * (depth + 2) as f32 * f32::EPSILON).collect()
}

/// The tight values of an image.
pub fn values(view: View<'_>) -> Vec<f32> {
    let layout = view.layout();
    let pixels = (0..layout.height).flat_map(|y| (0..layout.width).map(move |x| (y, x)));
    pixels.flat_map(|(y, x)| view.pixel(y, x).to_vec()).collect()
}

/// Looks on by calling a closure with each node and its output.
pub struct OnOutput<F>(pub F);

impl<F: FnMut(usize, &[View<'_>]) + Send> Observer for OnOutput<F> {
    fn output(&mut self, node: usize, images: &[View<'_>]) {
        (self.0)(node, images);
    }
}
