//! The bytes that this machine reads in a second from memory, or from whichever cache holds so many: the slope of the roof
//! over layers that wait for them.

use std::hint::black_box;
use std::time::Instant;

use sepconv::parallel::Parallel;

use crate::common::{self, Failure};

/// Bytes a second that the threads of `parallel` read together, each its own part of so many bytes, in the fastest of some
/// passes.
pub fn read(parallel: &dyn Parallel, bytes: usize, passes: usize) -> Result<f64, Failure> {
    let threads = parallel.threads();
    let words = (bytes / size_of::<u64>()).max(threads);
    let mut buffer: Vec<u64> = common::room(words)?;
    buffer.resize(words, 1);
    let parts: Vec<&[u64]> = buffer.chunks(words.div_ceil(threads)).collect();
    let mut fastest = f64::INFINITY;
    parallel.enter(parts.len(), &mut || {
        for _ in 0..passes {
            let start = Instant::now();
            parallel.run(parts.len(), &|part| {
                black_box(parts[part].iter().fold(0u64, |sum, &word| sum.wrapping_add(word)));
            });
            fastest = fastest.min(start.elapsed().as_secs_f64());
        }
    });
    Ok(size_of_val(&buffer[..]) as f64 / fastest)
}
