//! A run allocates nothing, on the calling thread and in a pool.
#![cfg(feature = "rayon")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use sepconv::net::{Config, Name, Network};
use sepconv::parallel::{Parallel, Rayon, Serial};
use sepconv::weights::HashWeights;
use sepconv::{Isa, Options, Plan};

/// The system's allocator, counting.
struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises are handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are handed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

#[test]
fn a_run_allocates_nothing() {
    for name in Name::ALL {
        // Small enough for an emulator, large enough that layers are cut into tasks.
        let paper = Config::of(name);
        let config = Config { width: 0.25, resolution: paper.resolution.min(128), ..paper };
        let network = Network::new(name, &config).unwrap();
        let shape = network.input();
        let input = HashWeights::image(shape.height, shape.width, shape.channels).unwrap();
        for (isa, threads) in Isa::supported().into_iter().flat_map(|isa| [1, 2].map(|threads| (isa, threads))) {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let plan =
                Plan::new(network.clone(), &HashWeights, Options { isa: Some(isa), threads, ..Options::default() });
            let plan = plan.unwrap();
            let (mut workspace, mut logits) = (plan.workspace().unwrap(), vec![0.0; plan.output_len()]);
            let serial: &dyn Parallel = &Serial;
            for (place, parallel) in [("the calling thread", serial), ("a pool", &Rayon::new(&pool))] {
                let mut run = || plan.run_on(parallel, &mut workspace, &input, &mut logits).unwrap();
                run();
                // Other threads (the pool's at their start, the test harness's) may allocate for themselves meanwhile:
                // a run that allocates does so in every trial.
                let trial = |_| {
                    let before = ALLOCATIONS.load(Ordering::Relaxed);
                    run();
                    ALLOCATIONS.load(Ordering::Relaxed) - before
                };
                let fewest = (0..4).map(trial).min();
                assert_eq!(fewest, Some(0), "{name} on {isa}, {threads} threads of {place}");
            }
        }
    }
}
