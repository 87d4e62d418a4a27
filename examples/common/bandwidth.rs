//! The bytes that this machine reads from memory in a second: the slope of the roof over layers that wait for memory.

use std::hint::black_box;
use std::time::Instant;

use sepconv::parallel::Parallel;

/// Words of the buffer: 256 MB, past any cache.
const WORDS: usize = 32 << 20;
/// Passes over the buffer; the fastest counts.
const PASSES: usize = 10;

/// Bytes a second that `threads` threads read together, each its own part of the buffer.
pub fn read(parallel: &dyn Parallel, threads: usize) -> f64 {
    let buffer = vec![1u64; WORDS];
    let parts: Vec<&[u64]> = buffer.chunks(WORDS.div_ceil(threads)).collect();
    let pass = |_| {
        let start = Instant::now();
        parallel.run(parts.len(), &|part| {
            black_box(parts[part].iter().fold(0u64, |sum, &word| sum.wrapping_add(word)));
        });
        start.elapsed().as_secs_f64()
    };
    size_of_val(&buffer[..]) as f64 / (0..PASSES).map(pass).fold(f64::INFINITY, f64::min)
}
