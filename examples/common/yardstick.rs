//! A GEMM whose operands lie in the second-level cache: what a network can reach at the moment, where a loop in registers
//! says what the core could.

use std::time::Instant;

use sepconv::ops::{Pointwise, PointwiseParams};
use sepconv::weights::{HashWeights, Weights};
use sepconv::{AlignedBuffer, Epilogue, Isa, Layout, View, ViewMut};

use crate::common::Failure;

/// Pixels, input and output channels: 256 KB of weights and 192 KB of pixels.
pub const SHAPE: (usize, usize, usize) = (96, 256, 256);

/// The GEMM with its operands.
pub struct Yardstick {
    packed: Pointwise,
    input: AlignedBuffer,
    output: AlignedBuffer,
}

impl Yardstick {
    pub fn new(isa: Isa) -> Result<Self, Failure> {
        let (m, k, n) = SHAPE;
        let (weights, bias) = (HashWeights.tensor("gemm.weight", &[n, k])?, HashWeights.tensor("gemm.bias", &[n])?);
        let packed = Pointwise::new(isa.kernels()?, PointwiseParams::new(k, n), m, &weights, &bias)?;
        let buffer = |channels| AlignedBuffer::zeroed(Layout::spaced(1, m, channels).row_stride);
        let mut input = buffer(k)?;
        let length = input.len();
        input.copy_from_slice(&HashWeights.tensor("input", &[length])?);
        Ok(Yardstick { packed, input, output: buffer(n)? })
    }

    /// Seconds of one run behind another, which warms the caches.
    pub fn seconds(&mut self) -> Result<f64, Failure> {
        let (m, k, n) = SHAPE;
        let mut seconds = 0.0;
        for _ in 0..2 {
            let input = View::new(&self.input, Layout::spaced(1, m, k))?;
            let output = ViewMut::new(&mut self.output, Layout::spaced(1, m, n))?;
            let start = Instant::now();
            self.packed.run(input, Epilogue::default(), output)?;
            seconds = start.elapsed().as_secs_f64();
        }
        Ok(seconds)
    }

    /// Floating-point operations of a run.
    pub fn flops() -> f64 {
        let (m, k, n) = SHAPE;
        2.0 * (m * k * n) as f64
    }
}
