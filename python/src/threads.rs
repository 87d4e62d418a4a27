//! The threads of a network.

use rayon::ThreadPoolBuilder;
use sepconv::parallel::{Parallel, Rayon, Serial};

use crate::error::refused;

/// The most threads of a network.
const MOST: usize = 1024;

/// The calling thread alone, or a pool of the network's own.
pub struct Threads {
    parallel: Box<dyn Parallel + Send>,
    /// The process that has the pool's threads; `None` without a pool.
    process: Option<u32>,
}

impl Threads {
    /// So many threads, the calling one among them; an error where the system has no room for them.
    pub fn new(count: usize) -> sepconv::Result<Self> {
        match count {
            1 => Ok(Threads { parallel: Box::new(Serial), process: None }),
            2..=MOST => {
                let name = |index| format!("sepconv-{index}");
                let pool = ThreadPoolBuilder::new().num_threads(count).thread_name(name).build();
                let pool =
                    pool.map_err(|why| refused("threads", why, "a system that can start as many; ask for less"))?;
                Ok(Threads { parallel: Box::new(Rayon::new(pool)), process: Some(std::process::id()) })
            }
            _ => Err(refused("threads", count, format!("1 to {MOST}"))),
        }
    }

    /// The threads; an error in a process that was forked off and has none of them.
    pub fn parallel(&self) -> sepconv::Result<&dyn Parallel> {
        match self.process {
            Some(process) if process != std::process::id() => Err(refused(
                "threads",
                "those of the process that forked this one",
                "this process's own: make the network after the fork, or with threads=1",
            )),
            _ => Ok(&*self.parallel),
        }
    }
}
