//! The time that a pointwise kernel should take.
#![forbid(unsafe_code)]

use super::record::PointwiseKernel;
use crate::isa::Isa;

/// The coefficients of the model. The unit of time is what one multiply-add of a vector takes.
struct Coefficients {
    /// Units of a multiply-add where the CPU computes a vector as two halves.
    double_pumped: f64,
    /// Loads of a vector or a pixel that take one unit together: most hide behind the multiply-adds.
    loads: f64,
    /// The part of the first-level cache that a panel may take and stay there beside the pixels that stream past it.
    l1_panel: f64,
    /// Vectors of weights from the second-level cache that take one unit together, where the panel is larger.
    l2_vectors: f64,
    /// How much longer a multiply-add takes in a panel of a single vector, where each has a pixel of its own to load.
    single_vector: f64,
    /// Units a multiply-add's column for the addresses of the next tile's pixels, in a panel of one vector; the vectors of
    /// a wider one share them.
    addresses: f64,
    /// Pixels of a tile whose accumulators take one unit of each vector to start and to store.
    accumulators: f64,
    /// Units of a vector for the branches of the general epilogue, which panels narrower than the kernel's have.
    general_epilogue: f64,
}

/// Fitted to times on Zen 4, hot, within 2 % for full panels; on Zen 3 they lose 0.1 % against the best choices
/// (benches/pointwise_times.csv, tools/fit_cost.py).
const ZEN4: Coefficients = Coefficients {
    double_pumped: 2.0,
    loads: 50.0,
    l1_panel: 0.75,
    l2_vectors: 40.0,
    single_vector: 1.25,
    addresses: 2.0,
    accumulators: 7.0,
    general_epilogue: 1.0,
};

/// The units that a pixel of `m` takes with `k` input and `n` output channels, on a CPU that computes wide vectors as
/// halves or not, with so many bytes of first-level cache.
pub(super) fn pointwise(
    kernel: &PointwiseKernel,
    (double_pumped_avx512, l1d): (bool, usize),
    (m, k, n): (usize, usize, usize),
) -> f64 {
    let c = &ZEN4;
    let (nr, lanes) = (kernel.nr(), kernel.lanes());
    let (full, rest) = (nr / lanes, (n % nr).div_ceil(lanes));
    let vector = if is_double_pumped(kernel.isa(), double_pumped_avx512) { c.double_pumped } else { 1.0 };
    let panel = |vectors: usize| {
        let most = kernel.mr_by_vectors()[vectors - 1];
        // Tiles are balanced.
        let mr = m.max(1) as f64 / m.max(1).div_ceil(most) as f64;
        let width = vectors as f64 * vector;
        let loads = (mr + width) / (mr * width) / c.loads;
        let bytes = k as f64 * (vectors * lanes * size_of::<f32>()) as f64;
        let l2 = if bytes > c.l1_panel * l1d as f64 { 1.0 / (c.l2_vectors * mr) } else { 0.0 };
        let single = if vectors == 1 { c.single_vector } else { 1.0 };
        let general = if vectors < full { c.general_epilogue } else { 0.0 };
        let between_tiles = c.addresses / (vectors * vectors) as f64 + most as f64 / c.accumulators + general;
        width * single * (k as f64 * (1.0 + loads + l2) + between_tiles)
    };
    (n / nr) as f64 * panel(full) + if rest > 0 { panel(rest) } else { 0.0 }
}

/// Whether a CPU with wide vectors as halves, or not, computes those of `isa` so.
pub(super) fn is_double_pumped(isa: Isa, double_pumped_avx512: bool) -> bool {
    double_pumped_avx512 && isa == Isa::Avx512
}
