//! A run allocates nothing, on the calling thread and in a pool.
#![cfg(feature = "rayon")]

use std::alloc::{self, GlobalAlloc, System};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use sepconv::models::{Architecture, Config, Network};
use sepconv::parallel::{Parallel, Rayon, Serial};
use sepconv::weights::HashWeights;
use sepconv::{Batch, BatchMut, Bytes, Fusion, Isa, Layout, Observer, Options, Shape, View, Workspace};

/// The system's allocator, counting.
struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);
/// What one test allocates, another would count.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: alloc::Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises are handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: alloc::Layout) {
        // SAFETY: the caller's promises are handed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// The fewest allocations of several calls of `run` after a first one. Other threads (the pool's at their start, the test
/// harness's) may allocate for themselves meanwhile: a run that allocates does so in every trial.
fn fewest(mut run: impl FnMut()) -> Option<usize> {
    run();
    let trial = |_| {
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        run();
        ALLOCATIONS.load(Ordering::Relaxed) - before
    };
    (0..4).map(trial).min()
}

/// Looks at every step.
struct Steps(usize);

impl Observer for Steps {
    fn step(&mut self, _: usize, work: &mut dyn FnMut()) {
        self.0 += 1;
        work();
    }
}

#[test]
fn a_run_allocates_nothing() {
    let _alone = ONE_AT_A_TIME.lock();
    for name in Architecture::ALL {
        // Small enough for an emulator, large enough that layers are cut into tasks.
        let paper = Config::of(name);
        let width = if name == Architecture::ShufflenetV2 { 0.5 } else { 0.25 };
        let config = Config { width, resolution: paper.resolution.min(128), ..paper };
        let network = Network::new(name, &config).unwrap();
        let shape = network.input();
        let input = HashWeights::image(shape.height, shape.width, shape.channels).unwrap();
        for (isa, threads) in Isa::supported().into_iter().flat_map(|isa| [1, 2].map(|threads| (isa, threads))) {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let pool = Rayon::new(pool);
            let plan = network.plan(&HashWeights, &pool, Options { isa: Some(isa), ..Options::default() }).unwrap();
            let (mut workspace, mut logits) = (plan.workspace().unwrap(), vec![0.0; plan.output_len()]);
            let serial: &dyn Parallel = &Serial;
            for (place, parallel) in [("the calling thread", serial), ("a pool", &pool)] {
                let fewest = fewest(|| plan.run(parallel, &mut workspace, &input, &mut logits).unwrap());
                assert_eq!(fewest, Some(0), "{name} on {isa}, {threads} threads of {place}");
            }
        }
    }
}

/// Neither with images in batches, nor in the caller's memory, nor watched, nor in strips.
#[test]
fn any_kind_of_run_allocates_nothing() {
    let _alone = ONE_AT_A_TIME.lock();
    let config = Config { width: 0.25, resolution: 96, ..Config::of(Architecture::MobilenetV2) };
    let network = Network::new(Architecture::MobilenetV2, &config).unwrap();
    let pool = Rayon::new(rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap());
    for (fusion, low_memory) in [(Fusion::Off, false), (Fusion::Strips(2), false), (Fusion::Auto, true)] {
        let options = Options { batch: 2, fusion, low_memory, ..Options::default() };
        let plan = network.plan(&HashWeights, &pool, options).unwrap();
        let layout = Layout { pixel_stride: 4, row_stride: 96 * 4, ..Layout::tight(96, 96, 3) };
        let input = vec![0.5; 2 * 96 * 96 * 4];
        let (mut logits, mut memory) = (vec![0.0; 2 * 1004], vec![0.0; plan.workspace_len()]);
        let run = || {
            let mut workspace = Workspace::over(&mut memory);
            let inputs = [Batch::new(&input, layout, 96 * 96 * 4, 2).unwrap()];
            let mut outputs = [BatchMut::new(&mut logits, Layout::tight(1, 1, 1000), 1004, 2).unwrap()];
            let mut steps = Steps(0);
            plan.run_observed(&pool, &mut workspace, &inputs, &mut outputs, &mut steps).unwrap();
            assert!(steps.0 > 0);
        };
        assert_eq!(fewest(run), Some(0), "{fusion:?}, {low_memory}");
    }
    // Planes and bytes.
    let plan = network.plan(&HashWeights, &pool, Options { batch: 2, staged: true, ..Options::default() }).unwrap();
    let (input, bytes) = (vec![0.5; 2 * 96 * 96 * 3], vec![7; 2 * 96 * 96 * 3]);
    let (mut logits, mut workspace) = (vec![0.0; 2 * 1000], plan.workspace().unwrap());
    let run = || {
        let planes = [Batch::planes(&input, 2, Shape::new(96, 96, 3)).unwrap()];
        plan.run(&pool, &mut workspace, &planes, &mut logits).unwrap();
        let bytes = [Bytes { data: &bytes, scale: &[0.5; 3], offset: &[0.1; 3] }];
        let mut planes = [BatchMut::planes(&mut logits, 2, Shape::new(1, 1, 1000)).unwrap()];
        plan.run(&pool, &mut workspace, &bytes[..], &mut planes).unwrap();
    };
    assert_eq!(fewest(run), Some(0), "planes and bytes");
    // One image, as a view.
    let plan = network.plan(&HashWeights, &Serial, Options::default()).unwrap();
    let (input, mut logits, mut workspace) = (vec![0.5; 96 * 96 * 3], vec![0.0; 1000], plan.workspace().unwrap());
    let run = || {
        let inputs = [View::tight(&input, 96, 96, 3).unwrap().into()];
        plan.run(&Serial, &mut workspace, &inputs, &mut logits).unwrap();
    };
    assert_eq!(fewest(run), Some(0), "a view");
}
