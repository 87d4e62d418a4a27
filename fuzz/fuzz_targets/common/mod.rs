//! What the targets share: numbers from bytes, images with gaps, canaries.
#![allow(dead_code)] // No target uses all of it.

use sepconv::{Isa, Kernels, Layout};

/// A NaN that marks memory which nobody may write.
const CANARY: u32 = 0x7fc5_a5a5;
/// Canaries on each side of an output.
const MARGIN: usize = 16;

/// The kernels of every ISA that runs here.
pub fn every_isa() -> impl Iterator<Item = &'static Kernels> {
    Isa::supported().into_iter().filter_map(|isa| isa.kernels().ok())
}

/// `count` numbers: any bit pattern that the bytes hold, over and over.
pub fn numbers(bytes: &[u8], count: usize, from: usize) -> Vec<f32> {
    let byte = |i: usize| bytes.get((from + i) % bytes.len().max(1)).copied().unwrap_or(i as u8);
    (0..count).map(|i| f32::from_bits(u32::from_le_bytes([0, 1, 2, 3].map(|j| byte(4 * i + j))))).collect()
}

/// The layout of an image with `pixel_gap` elements after each pixel and `row_gap` after each row.
pub fn layout(height: usize, width: usize, channels: usize, (pixel_gap, row_gap): (u8, u8)) -> Layout {
    let pixel_stride = channels + usize::from(pixel_gap % 8);
    let row_stride = width * pixel_stride + usize::from(row_gap % 8);
    Layout { height, width, channels, pixel_stride, row_stride }
}

fn extent(layout: &Layout) -> usize {
    layout.extent().expect("the layout is sound")
}

fn elements(layout: &Layout) -> impl Iterator<Item = usize> {
    let Layout { height, width, channels, pixel_stride, row_stride } = *layout;
    (0..height)
        .flat_map(move |y| (0..width).map(move |x| y * row_stride + x * pixel_stride))
        .flat_map(move |pixel| pixel..pixel + channels)
}

/// Tight `values` in `layout`, in an allocation of their own.
pub fn spread(values: &[f32], layout: &Layout) -> Vec<f32> {
    let mut buffer = vec![f32::from_bits(CANARY); extent(layout)];
    elements(layout).zip(values).for_each(|(at, &value)| buffer[at] = value);
    buffer
}

fn same(got: f32, want: f32) -> bool {
    got.to_bits() == want.to_bits() || (got.is_nan() && want.is_nan())
}

/// `got` must be `want` to the bit, but for NaN's payload.
pub fn assert_same(got: &[f32], want: &[f32], what: impl Fn() -> String) {
    assert_eq!(got.len(), want.len(), "{}", what());
    let differ = got.iter().zip(want).position(|(&got, &want)| !same(got, want));
    if let Some(at) = differ {
        panic!("element {at}: {}, expected {}; {}", got[at], want[at], what());
    }
}

/// An output between canaries.
pub struct Output(Vec<f32>, Layout);

impl Output {
    pub fn new(layout: Layout) -> Self {
        Output(vec![f32::from_bits(CANARY); extent(&layout) + 2 * MARGIN], layout)
    }

    pub fn slice(&mut self) -> &mut [f32] {
        let end = self.0.len() - MARGIN;
        &mut self.0[MARGIN..end]
    }

    /// The output must be `want` to the bit (but for NaN's payload), and no canary may have changed.
    pub fn check(mut self, want: &[f32], kernel: &str) {
        for (at, &want) in elements(&self.1).zip(want) {
            let got = self.0[MARGIN + at];
            assert!(same(got, want), "{kernel}: {got}, expected {want}");
            self.0[MARGIN + at] = f32::from_bits(CANARY);
        }
        assert!(self.0.iter().all(|value| value.to_bits() == CANARY), "{kernel} wrote outside its output");
    }
}
