//! Networks, batches and threads by turns, through Rust and through C, for as many seconds as `SEPCONV_SOAK_SECONDS` says: the
//! same bits every time. From a minute on also memory that does not grow and runs that get no slower (by themselves alone, as
//! in `just soak`).

use std::collections::HashMap;
use std::ptr;
use std::time::{Duration, Instant};

use sepconv::capi::plan::{sepconv_plan, sepconv_plan_run};
use sepconv::capi::saved::sepconv_plan_load;
use sepconv::models::{Architecture, Config, Network};
use sepconv::parallel::{Parallel, Rayon, Serial};
use sepconv::weights::HashWeights;
use sepconv::{AlignedBuffer, Options, Plan, Shape};

use crate::common::*;

const NETWORKS: [(Architecture, f64, usize); 7] = [
    (Architecture::Digits, 1.0, 28),
    (Architecture::MobilenetV1, 0.25, 96),
    (Architecture::MobilenetV2, 0.35, 96),
    (Architecture::Xception, 0.25, 75),
    (Architecture::ShufflenetV1, 0.5, 64),
    (Architecture::ShufflenetV2, 0.5, 96),
    (Architecture::Squeezenet1_1, 0.5, 64),
];

/// Bytes of this process in memory, where the system says so.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    pages.and_then(|pages| pages.split(' ').nth(1)?.parse::<usize>().ok()).unwrap_or(0) * 4096
}

/// The logits of `images` by the plan, as Rust runs it.
fn by_rust(plan: &Plan, parallel: &dyn Parallel, images: &[f32]) -> Vec<u32> {
    let mut logits = vec![f32::NAN; plan.output_len()];
    plan.run(parallel, &mut plan.workspace().unwrap(), images, &mut logits[..]).unwrap();
    bits(&logits)
}

/// The same by what the plan is saved as, loaded and run through the C interface on threads of its caller.
fn by_c(plan: &Plan, images: &[f32], (shape, classes): (Shape, usize)) -> Vec<u32> {
    let saved = plan.save().unwrap();
    let mut blob = AlignedBuffer::zeroed(saved.len().div_ceil(4)).unwrap();
    let mut logits = vec![f32::NAN; plan.output_len()];
    // SAFETY: the blob has room for the bytes; what the handles point to lives as long as they do.
    unsafe {
        blob.as_mut_ptr().cast::<u8>().copy_from_nonoverlapping(saved.as_ptr(), saved.len());
        let start = blob.as_ptr().cast();
        let loaded: Handle<sepconv_plan> =
            Handle::new(|place| sepconv_plan_load(start, saved.len(), ptr::null(), place));
        let mut memory = workspace(&loaded);
        let (memory, bytes) = (memory.as_mut_ptr().cast(), memory.len() * 4);
        let input = batch(images, plan.batch(), shape);
        let output = batch_mut(&mut logits, plan.batch(), (1, 1, classes));
        ok(sepconv_plan_run(loaded.0, &three_threads(), memory, bytes, &input, 1, &output, 1));
    }
    bits(&logits)
}

#[test]
fn hours_change_nothing() {
    let seconds =
        std::env::var("SEPCONV_SOAK_SECONDS").map_or(1, |seconds| seconds.parse().expect("a number of seconds"));
    let long = seconds >= 60;
    let pool = |threads| Rayon::new(rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap());
    let threads: [&dyn Parallel; 3] = [&Serial, &pool(2), &pool(3)];
    let networks = NETWORKS.map(|(name, width, resolution)| {
        Network::new(name, &Config { width, resolution, classes: Some(11), ..Config::of(name) }).unwrap()
    });
    let mut known: HashMap<(usize, usize), Vec<u32>> = HashMap::new();
    // With room, so that what is allocated is what the library has.
    let room = 50 * (seconds as usize + 10);
    let (mut times, mut memory) = (Vec::with_capacity(room), Vec::with_capacity(room));
    let (mut allocated, mut runs) = (Vec::with_capacity(room), 0);
    let start = Instant::now();
    while times.len() < 2 || start.elapsed() < Duration::from_secs(seconds) {
        let round = times.len();
        for (index, network) in networks.iter().enumerate() {
            let images = 1 + (round + index) % 3;
            let parallel = threads[(round / 3 + index) % 3];
            let options = Options { batch: images, low_memory: round % 5 == 4, ..Options::default() };
            let plan = network.plan(&HashWeights, parallel, options).unwrap();
            let input = numbers(plan.input_len(), images as u32);
            let shape = network.graph().inputs().next().unwrap().1;
            let rust = by_rust(&plan, parallel, &input);
            assert_eq!(by_c(&plan, &input, (shape, 11)), rust, "round {round}, network {index}");
            let want = known.entry((index, images)).or_insert_with(|| rust.clone());
            assert_eq!(&rust, want, "round {round}, network {index}, {images} images");
            runs += 2;
        }
        let plan = networks[2].plan(&HashWeights, &Serial, Options::default()).unwrap();
        let (input, mut workspace) = (numbers(plan.input_len(), 1), plan.workspace().unwrap());
        let mut logits = vec![0.0; plan.output_len()];
        let mut time = || {
            let start = Instant::now();
            plan.run(&Serial, &mut workspace, &input, &mut logits[..]).unwrap();
            start.elapsed()
        };
        times.push((0..5).map(|_| time()).min().unwrap());
        memory.push(resident());
        allocated.push(held());
    }
    let third = times.len() / 3;
    let fastest = |times: &[Duration]| times.iter().min().copied().unwrap_or_default();
    let most = |memory: &[usize]| memory.iter().max().copied().unwrap_or(0);
    let (before, after) = (fastest(&times[..=third]), fastest(&times[2 * third..]));
    let (early, late) = (most(&allocated[..=third]), most(&allocated[2 * third..]));
    let pages = [&memory[..=third], &memory[2 * third..]].map(|memory| most(memory) >> 10);
    println!("{runs} runs in {} rounds; {before:?}, then {after:?} a run", times.len());
    println!("{early} bytes allocated, then {late}; {} KB resident, then {}", pages[0], pages[1]);
    if long {
        assert!(
            after.as_secs_f64() <= 1.1 * before.as_secs_f64(),
            "{before:?} in the first third, {after:?} in the last"
        );
        assert!(late <= early, "{early} bytes allocated in the first third, {late} in the last");
        // The system's allocator keeps memory for threads, which come and go.
        assert!(pages[1] <= 2 * pages[0], "{} KB resident in the first third, {} in the last", pages[0], pages[1]);
    }
}
