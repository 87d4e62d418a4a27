//! What the kernel tests share: the kernels of this machine, numbers, buffers with guards, comparison to the bit.
#![allow(dead_code)] // Each test file uses a part.

use std::ops::{Deref, DerefMut};

use sepconv::{Isa, Kernels, Layout, Observer, Padding, View};

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

/// Numbers from a seed (SplitMix64).
pub struct Numbers(pub u64);

impl Numbers {
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform in -1..1.
    pub fn float(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    /// -4..=4: products and sums of few of them are exact in f32.
    pub fn integer(&mut self) -> f32 {
        (self.bits() % 9) as f32 - 4.0
    }

    /// Mostly ordinary, with NaN, infinities, zeros of both signs and subnormals between.
    pub fn special(&mut self) -> f32 {
        const SPECIALS: [f32; 8] =
            [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0, 0.0, 1e-40, -1e-40, f32::MIN_POSITIVE];
        match self.bits() % 24 {
            i @ 0..8 => SPECIALS[i as usize],
            _ => self.float(),
        }
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.bits() % bound as u64) as usize
    }

    pub fn take(&mut self, count: usize, kind: Kind) -> Vec<f32> {
        (0..count)
            .map(|_| match kind {
                Kind::Integers => self.integer(),
                Kind::Floats => self.float(),
                Kind::Specials => self.special(),
            })
            .collect()
    }
}

/// What numbers a test uses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    Integers,
    Floats,
    Specials,
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

/// How far past tight the strides of a case's tensors go. Input, output and residual never go equally far: a kernel that
/// takes one's stride for another's is found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Gaps {
    /// Each image is one run of pixels; those of the input touch, since there are loops for that.
    Runs,
    /// As `Runs`, but for gaps after the rows of the residual.
    ResidualRows,
    /// After each pixel and each row.
    Everywhere,
}

impl Gaps {
    pub fn input(self, height: usize, width: usize, channels: usize) -> Layout {
        match self {
            Gaps::Runs | Gaps::ResidualRows => gapped(height, width, channels, 0, 0),
            Gaps::Everywhere => gapped(height, width, channels, 7, 13),
        }
    }

    pub fn output(self, height: usize, width: usize, channels: usize) -> Layout {
        match self {
            Gaps::Runs | Gaps::ResidualRows => gapped(height, width, channels, 3, 0),
            Gaps::Everywhere => gapped(height, width, channels, 11, 5),
        }
    }

    pub fn residual(self, height: usize, width: usize, channels: usize) -> Layout {
        match self {
            Gaps::Runs => gapped(height, width, channels, 2, 0),
            Gaps::ResidualRows => gapped(height, width, channels, 2, 19),
            Gaps::Everywhere => gapped(height, width, channels, 5, 29),
        }
    }
}

/// So many elements after each pixel and each row.
fn gapped(height: usize, width: usize, channels: usize, pixel: usize, row: usize) -> Layout {
    let pixel_stride = channels + pixel;
    Layout { pixel_stride, row_stride: width * pixel_stride + row, ..Layout::tight(height, width, channels) }
}

/// Elements from the first to one past the last of `layout`.
pub fn extent(layout: &Layout) -> usize {
    match layout.height * layout.width * layout.channels {
        0 => 0,
        _ => (layout.height - 1) * layout.row_stride + (layout.width - 1) * layout.pixel_stride + layout.channels,
    }
}

/// Where the guard of a buffer is: reads and writes past that end fault (where the system has guard pages) or are found
/// when the buffer is checked (elsewhere).
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Guard {
    Before,
    After,
}

/// What fills memory that nobody may write: a NaN of its own.
const CANARY: u32 = 0x7fc5_a5a5;

/// `length` elements that touch a guard on one side; on the other side lies canary.
pub struct Guarded {
    memory: Memory,
    start: usize,
    length: usize,
}

impl Guarded {
    /// All canary. `shift` elements (0..16) between the guard before and the first element vary the alignment.
    pub fn new(length: usize, guard: Guard, shift: usize) -> Self {
        let mut memory = Memory::new(length + 16);
        memory.elements().fill(f32::from_bits(CANARY));
        let start = match guard {
            Guard::Before => shift,
            Guard::After => memory.elements().len() - length,
        };
        Guarded { memory, start, length }
    }

    /// The gaps of `layout` and everything around it must still be canary.
    pub fn check(&mut self, layout: &Layout, context: &str) {
        let (start, length) = (self.start, self.length);
        for (i, value) in self.memory.elements().iter().enumerate() {
            let inside = i.checked_sub(start).filter(|&at| at < length).is_some_and(|at| {
                let (y, rest) = (at / layout.row_stride.max(1), at % layout.row_stride.max(1));
                let (x, c) = (rest / layout.pixel_stride.max(1), rest % layout.pixel_stride.max(1));
                y < layout.height && x < layout.width && c < layout.channels
            });
            let untouched = value.to_bits() == CANARY;
            assert!(inside || untouched, "{context}: wrote element {} outside the output", i as isize - start as isize);
        }
    }
}

impl Deref for Guarded {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.memory.shared()[self.start..self.start + self.length]
    }
}

impl DerefMut for Guarded {
    fn deref_mut(&mut self) -> &mut [f32] {
        let (start, length) = (self.start, self.length);
        &mut self.memory.elements()[start..start + length]
    }
}

/// Whole pages between two pages that may not be touched.
#[cfg(target_os = "linux")]
struct Memory {
    map: *mut f32,
    bytes: usize,
    page: usize,
}

#[cfg(target_os = "linux")]
impl Memory {
    fn new(length: usize) -> Self {
        // SAFETY: a fresh anonymous mapping, whose first and last page are then closed.
        unsafe {
            let page = libc::sysconf(libc::_SC_PAGESIZE) as usize;
            let bytes = (length * 4).next_multiple_of(page);
            let map = libc::mmap(
                std::ptr::null_mut(),
                bytes + 2 * page,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            );
            assert_ne!(map, libc::MAP_FAILED);
            assert_eq!(libc::mprotect(map, page, libc::PROT_NONE), 0);
            assert_eq!(libc::mprotect(map.byte_add(page + bytes), page, libc::PROT_NONE), 0);
            Memory { map: map.cast(), bytes, page }
        }
    }

    fn shared(&self) -> &[f32] {
        // SAFETY: the open pages of the mapping, as long as `self` lives.
        unsafe { std::slice::from_raw_parts(self.map.byte_add(self.page), self.bytes / 4) }
    }

    fn elements(&mut self) -> &mut [f32] {
        // SAFETY: as in `shared`, borrowed uniquely.
        unsafe { std::slice::from_raw_parts_mut(self.map.byte_add(self.page), self.bytes / 4) }
    }
}

// SAFETY: what can be reached by a shared reference is only read.
#[cfg(target_os = "linux")]
unsafe impl Sync for Memory {}

#[cfg(target_os = "linux")]
impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the mapping that `new` made; no slice of it outlives `self`.
        unsafe { libc::munmap(self.map.cast(), self.bytes + 2 * self.page) };
    }
}

#[cfg(not(target_os = "linux"))]
struct Memory(Vec<f32>);

#[cfg(not(target_os = "linux"))]
impl Memory {
    fn new(length: usize) -> Self {
        Memory(vec![0.0; length + 64])
    }

    fn shared(&self) -> &[f32] {
        &self.0
    }

    fn elements(&mut self) -> &mut [f32] {
        &mut self.0
    }
}

/// A guarded buffer that holds tight `values` in `layout`, canary in its gaps.
pub fn spread(values: &[f32], layout: &Layout, guard: Guard, shift: usize) -> Guarded {
    let mut buffer = Guarded::new(extent(layout), guard, shift);
    for (pixel, value) in values.chunks_exact(layout.channels.max(1)).enumerate() {
        let at = pixel / layout.width * layout.row_stride + pixel % layout.width * layout.pixel_stride;
        buffer[at..at + layout.channels].copy_from_slice(value);
    }
    buffer
}

/// The tight values that `buffer` holds in `layout`.
pub fn gather(buffer: &[f32], layout: &Layout) -> Vec<f32> {
    let pixels = 0..if layout.channels == 0 { 0 } else { layout.height * layout.width };
    let at = |pixel: usize| pixel / layout.width * layout.row_stride + pixel % layout.width * layout.pixel_stride;
    pixels.flat_map(|pixel| buffer[at(pixel)..][..layout.channels].to_vec()).collect()
}

/// Equal to the bit, but for the payload of NaN; where `bounds` are given (a tier that rounds twice), within them.
pub fn assert_same(got: &[f32], want: &[f32], bounds: Option<&[f32]>, context: &str) {
    assert_eq!(got.len(), want.len(), "{context}: length");
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        let same = g.to_bits() == w.to_bits() || (g.is_nan() && w.is_nan());
        // A bound is NaN, and bounds nothing, where infinities met zeros.
        let near = bounds.is_some_and(|bounds| bounds[i].is_nan() || (g - w).abs() <= bounds[i]);
        assert!(
            same || near,
            "{context}: element {i} is {g} ({:#010x}), expected {w} ({:#010x})",
            g.to_bits(),
            w.to_bits()
        );
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
