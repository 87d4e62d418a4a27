//! The portable tier: the three kernels over `pulp`, written apart from the C templates.
//!
//! Addresses are computed with wrapping arithmetic: those past a row's last weight or of an image without channels are
//! computed too, and never read.

use std::slice;

use pulp::{Arch, Simd, WithSimd};

use crate::isa::Isa;
use crate::kernel::arguments::{Conv, Depthwise, Pointwise};
use crate::kernel::{ConvKernel, DepthwiseKernel, Kernels, PointwiseKernel};

/// Channels of a panel and of a depthwise block: a multiple of every vector that pulp has.
const BLOCK: usize = 16;
/// Pixels of a GEMM tile.
const PIXELS: usize = 8;
/// Output columns of a depthwise tile.
const COLUMNS: usize = 4;

pub(crate) static KERNELS: Kernels = Kernels {
    isa: Isa::Portable,
    pointwise: &[PointwiseKernel {
        name: "pw_f32_8x16_portable",
        isa: Isa::Portable,
        rows: PIXELS,
        columns: BLOCK,
        lanes: BLOCK,
        heights: &[PIXELS],
        trial: false,
        reason: "8 chains for any vector of up to 16 lanes.",
        run: pointwise,
    }],
    depthwise: &[
        DepthwiseKernel {
            name: "dw3x3s1_f32_1x4x16_portable",
            isa: Isa::Portable,
            stride: 1,
            rows: 1,
            columns: COLUMNS,
            lanes: BLOCK,
            trial: false,
            reason: "4 chains and one weight at a time, for any vector of up to 16 lanes.",
            run: depthwise::<1>,
        },
        DepthwiseKernel {
            name: "dw3x3s2_f32_1x4x16_portable",
            isa: Isa::Portable,
            stride: 2,
            rows: 1,
            columns: COLUMNS,
            lanes: BLOCK,
            trial: false,
            reason: "4 chains and one weight at a time, for any vector of up to 16 lanes.",
            run: depthwise::<2>,
        },
    ],
    conv: &[ConvKernel {
        name: "conv_f32_8x16_portable",
        isa: Isa::Portable,
        rows: PIXELS,
        columns: BLOCK,
        lanes: BLOCK,
        trial: false,
        reason: "The pointwise tile.",
        run: conv,
    }],
};

/// `acc + a * b`, rounded once; on a CPU without FMA, where pulp has only its scalar tier, rounded twice: emulating the
/// single rounding there would cost a hundred times as much.
#[inline(always)]
fn fma<S: Simd>(simd: S, acc: S::f32s, a: S::f32s, b: S::f32s) -> S::f32s {
    if S::IS_SCALAR { simd.mul_add_e_f32s(a, b, acc) } else { simd.mul_add_f32s(a, b, acc) }
}

/// Compare and select: keeps NaN and −0.
#[inline(always)]
pub(crate) fn raise<S: Simd>(simd: S, x: S::f32s, lo: S::f32s) -> S::f32s {
    simd.select_f32s(simd.less_than_f32s(x, lo), lo, x)
}

/// Compare and select: keeps NaN and −0.
#[inline(always)]
pub(crate) fn lower<S: Simd>(simd: S, x: S::f32s, hi: S::f32s) -> S::f32s {
    simd.select_f32s(simd.greater_than_f32s(x, hi), hi, x)
}

/// The first `n` lanes from `pointer`, 1 <= n <= lanes; the others are zero.
///
/// # Safety
/// `n` elements must be readable.
#[inline(always)]
unsafe fn load<S: Simd>(simd: S, pointer: *const f32, n: usize) -> S::f32s {
    // SAFETY: by this function's own contract.
    simd.partial_load_f32s(unsafe { slice::from_raw_parts(pointer, n) })
}

/// # Safety
/// `n` elements must be writable.
#[inline(always)]
unsafe fn store<S: Simd>(simd: S, pointer: *mut f32, n: usize, v: S::f32s) {
    // SAFETY: by this function's own contract.
    simd.partial_store_f32s(unsafe { slice::from_raw_parts_mut(pointer, n) }, v);
}

/// One column of vectors of a GEMM tile: where it reads its weights and where its outputs go.
#[derive(Clone, Copy)]
struct Column {
    /// First weight; the next input's is `stride` further on.
    weights: *const f32,
    stride: usize,
    /// Null continues from the output.
    bias: *const f32,
    output: *mut f32,
    output_pixel: isize,
    residual: *const f32,
    residual_pixel: isize,
    lo: f32,
    hi: f32,
    /// Real lanes.
    lanes: usize,
}

impl Column {
    /// Computes `N` pixels: `pixels[i]` gives each run of input channels, as (weight row, first input, inputs).
    ///
    /// # Safety
    /// Every pointer must hold what the runs and lanes say.
    #[inline(always)]
    unsafe fn tile<S: Simd, const N: usize>(
        &self,
        simd: S,
        runs: impl Iterator<Item = (usize, [*const f32; N], usize)>,
    ) {
        // SAFETY: by this function's own contract, for each access below.
        unsafe {
            let mut acc = [simd.splat_f32s(0.0); N];
            for (i, acc) in acc.iter_mut().enumerate() {
                *acc = if self.bias.is_null() {
                    load(simd, self.output.wrapping_offset(i as isize * self.output_pixel), self.lanes)
                } else {
                    load(simd, self.bias, S::F32_LANES)
                };
            }
            for (row, pixels, inputs) in runs {
                let mut weights = self.weights.wrapping_add(row * self.stride);
                for k in 0..inputs {
                    let weight = load(simd, weights, S::F32_LANES);
                    for i in 0..N {
                        acc[i] = fma(simd, acc[i], simd.splat_f32s(*pixels[i].wrapping_add(k)), weight);
                    }
                    weights = weights.wrapping_add(self.stride);
                }
            }
            for (i, &sum) in acc.iter().enumerate() {
                let mut v = sum;
                if !self.residual.is_null() {
                    v = simd.add_f32s(
                        v,
                        load(simd, self.residual.wrapping_offset(i as isize * self.residual_pixel), self.lanes),
                    );
                }
                v = lower(simd, raise(simd, v, simd.splat_f32s(self.lo)), simd.splat_f32s(self.hi));
                store(simd, self.output.wrapping_offset(i as isize * self.output_pixel), self.lanes, v);
            }
        }
    }
}

/// Calls `tile` with a constant N for 1..=8 pixels.
macro_rules! with_pixels {
    ($count:expr, $n:ident => $tile:expr) => {
        match $count {
            1 => {
                const $n: usize = 1;
                $tile
            }
            2 => {
                const $n: usize = 2;
                $tile
            }
            3 => {
                const $n: usize = 3;
                $tile
            }
            4 => {
                const $n: usize = 4;
                $tile
            }
            5 => {
                const $n: usize = 5;
                $tile
            }
            6 => {
                const $n: usize = 6;
                $tile
            }
            7 => {
                const $n: usize = 7;
                $tile
            }
            _ => {
                const $n: usize = 8;
                $tile
            }
        }
    };
}

impl WithSimd for &Pointwise {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let p = self;
        for first in (0..p.n).step_by(S::F32_LANES) {
            let panel = first / BLOCK;
            // SAFETY: the contract of the kernel (kernels/README.md): every pointer covers the sizes beside it.
            unsafe {
                let mut done = 0;
                while done < p.m {
                    let count = (p.m - done).min(PIXELS);
                    let column = Column {
                        weights: p.b.wrapping_add(panel * p.b_panel + p.b_skip * BLOCK + first % BLOCK),
                        stride: BLOCK,
                        bias: if p.bias.is_null() { p.bias } else { p.bias.wrapping_add(first) },
                        output: p.c.wrapping_offset(done as isize * p.c_pixel).wrapping_add(first),
                        output_pixel: p.c_pixel,
                        residual: if p.residual.is_null() {
                            p.residual
                        } else {
                            p.residual.wrapping_offset(done as isize * p.residual_pixel).wrapping_add(first)
                        },
                        residual_pixel: p.residual_pixel,
                        lo: p.lo,
                        hi: p.hi,
                        lanes: (p.n - first).min(S::F32_LANES),
                    };
                    with_pixels!(count, N => {
                        let pixels: [*const f32; N] = std::array::from_fn(|i| {
                            let (y, x) = ((done + i) / p.width, (done + i) % p.width);
                            p.a.wrapping_offset(y as isize * p.a_row + x as isize * p.a_pixel)
                        });
                        column.tile::<S, N>(simd, std::iter::once((0, pixels, p.k)));
                    });
                    done += count;
                }
            }
        }
    }
}

impl WithSimd for &Conv {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let p = self;
        // The part of a window from `start` that lies in 0..extent.
        let inside = |start: isize, size: usize, extent: usize| {
            let first = (-start).clamp(0, size as isize);
            first..(extent as isize - start).clamp(first, size as isize)
        };
        for y in 0..p.output_height {
            let top = (y * p.stride) as isize - p.pad_top as isize;
            let rows = inside(top, p.kernel_height, p.height);
            let left = |x: usize| (x * p.stride) as isize - p.pad_left as isize;
            let columns = |x: usize| inside(left(x), p.kernel_width, p.width);
            let mut x = 0;
            while x < p.output_width {
                // Neighbours whose windows lose the same columns share a tile.
                let taps = columns(x);
                let count = (x..p.output_width.min(x + PIXELS)).take_while(|&x| columns(x) == taps).count();
                for first in (0..p.n).step_by(S::F32_LANES) {
                    // SAFETY: the contract of the kernel (kernels/README.md): every pointer covers the sizes beside it,
                    // and only taps inside the image are read.
                    unsafe {
                        let column = Column {
                            weights: p.b.wrapping_add(first / BLOCK * p.b_panel + first % BLOCK),
                            stride: BLOCK,
                            bias: p.bias.wrapping_add(first),
                            output: p
                                .output
                                .wrapping_offset(y as isize * p.output_row + x as isize * p.output_pixel)
                                .wrapping_add(first),
                            output_pixel: p.output_pixel,
                            residual: if p.residual.is_null() {
                                p.residual
                            } else {
                                p.residual
                                    .wrapping_offset(y as isize * p.residual_row + x as isize * p.residual_pixel)
                                    .wrapping_add(first)
                            },
                            residual_pixel: p.residual_pixel,
                            lo: p.lo,
                            hi: p.hi,
                            lanes: (p.n - first).min(S::F32_LANES),
                        };
                        with_pixels!(count, N => {
                            let runs = rows.clone().flat_map(|ky| taps.clone().map(move |kx| (ky, kx))).map(|(ky, kx)| {
                                let row = (ky as usize * p.kernel_width + kx as usize) * p.channels;
                                let pixels: [*const f32; N] = std::array::from_fn(|i| {
                                    p.input.wrapping_offset((top + ky) * p.input_row + (left(x + i) + kx) * p.input_pixel)
                                });
                                (row, pixels, p.channels)
                            });
                            column.tile::<S, N>(simd, runs);
                        });
                    }
                }
                x += count;
            }
        }
    }
}

/// The depthwise kernel with its stride.
struct Strided<'a, const STRIDE: usize>(&'a Depthwise);

impl<const STRIDE: usize> Strided<'_, STRIDE> {
    /// `lanes` channels, from `channel` on, of the `COLUMNS` pixels (fewer at the end of the row) from (y, x).
    ///
    /// # Safety
    /// The contract of the kernel; `weights` is the bias of the first channel.
    #[inline(always)]
    unsafe fn tile<S: Simd>(&self, simd: S, (y, x): (usize, usize), channel: usize, lanes: usize, weights: *const f32) {
        let p = self.0;
        let top = (y * STRIDE) as isize - p.pad_top as isize;
        let left = (x * STRIDE) as isize - p.pad_left as isize;
        let count = (p.output_width - x).min(COLUMNS);
        // SAFETY: taps outside the image are skipped; everything else the kernel's contract covers.
        unsafe {
            let mut acc = [load(simd, weights, S::F32_LANES); COLUMNS];
            for ky in (0..3).filter(|ky| (0..p.height as isize).contains(&(top + ky))) {
                let row = p.input.wrapping_offset((top + ky) * p.input_row).wrapping_add(channel);
                for kx in 0..3 {
                    let weight =
                        load(simd, weights.wrapping_add((1 + ky as usize * 3 + kx as usize) * BLOCK), S::F32_LANES);
                    for (q, acc) in acc.iter_mut().enumerate().take(count) {
                        let column = left + (q * STRIDE) as isize + kx;
                        if (0..p.width as isize).contains(&column) {
                            let mut input = load(simd, row.wrapping_offset(column * p.input_pixel), lanes);
                            if p.clamp_input != 0 {
                                input = raise(simd, input, simd.splat_f32s(p.input_lo));
                            }
                            *acc = fma(simd, *acc, input, weight);
                        }
                    }
                }
            }
            for (q, &sum) in acc.iter().enumerate().take(count) {
                let (row, column) = (y as isize, (x + q) as isize);
                let mut v = sum;
                if !p.residual.is_null() {
                    let residual = p
                        .residual
                        .wrapping_offset(row * p.residual_row + column * p.residual_pixel)
                        .wrapping_add(channel);
                    v = simd.add_f32s(v, load(simd, residual, lanes));
                }
                v = lower(simd, raise(simd, v, simd.splat_f32s(p.lo)), simd.splat_f32s(p.hi));
                store(
                    simd,
                    p.output.wrapping_offset(row * p.output_row + column * p.output_pixel).wrapping_add(channel),
                    lanes,
                    v,
                );
            }
        }
    }
}

impl<const STRIDE: usize> WithSimd for Strided<'_, STRIDE> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let p = self.0;
        for y in 0..p.output_height {
            for block in 0..p.channels.div_ceil(BLOCK) {
                // The last block ends at the last channel, as it was packed.
                let first = (block * BLOCK).min(p.channels.saturating_sub(BLOCK));
                for x in (0..p.output_width).step_by(COLUMNS) {
                    for lane in (0..BLOCK.min(p.channels)).step_by(S::F32_LANES) {
                        let lanes = (p.channels - first - lane).min(S::F32_LANES);
                        // SAFETY: the contract of the kernel (kernels/README.md).
                        unsafe {
                            let weights = p.weights.wrapping_add(block * 10 * BLOCK + lane);
                            self.tile(simd, (y, x), first + lane, lanes, weights);
                        }
                    }
                }
            }
        }
    }
}

unsafe extern "C" fn pointwise(arguments: *const Pointwise) {
    // SAFETY: the contract of the kernel: the arguments are valid.
    Arch::new().dispatch(unsafe { &*arguments });
}

unsafe extern "C" fn depthwise<const STRIDE: usize>(arguments: *const Depthwise) {
    // SAFETY: the contract of the kernel: the arguments are valid.
    Arch::new().dispatch(Strided::<STRIDE>(unsafe { &*arguments }));
}

unsafe extern "C" fn conv(arguments: *const Conv) {
    // SAFETY: the contract of the kernel: the arguments are valid.
    Arch::new().dispatch(unsafe { &*arguments });
}
