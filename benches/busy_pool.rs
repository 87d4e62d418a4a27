//! A run whose pool is busy with somebody else's jobs, beside one on the calling thread alone; status 1 where the median of
//! the first is more than 20 % slower.
//!
//!     cargo bench --bench busy_pool

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sepconv::Options;
use sepconv::models::{Architecture, Config, Network};
use sepconv::parallel::{Parallel, Rayon, Serial};
use sepconv::weights::HashWeights;

const ROUNDS: usize = 60;
const MOST: f64 = 1.2;

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn main() -> ExitCode {
    let config = Config { resolution: 128, ..Config::of(Architecture::MobilenetV2) };
    let network = Network::new(Architecture::MobilenetV2, &config).expect("a size of the network");
    // All threads but one have a job that does not end before the measurement does, and takes no core from it.
    let threads = std::thread::available_parallelism().map_or(2, usize::from).max(2);
    let pool = Arc::new(rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool"));
    let (parallel, over) = (Rayon::new(pool.clone()), Arc::new(AtomicBool::new(false)));
    for _ in 1..threads {
        let over = over.clone();
        pool.spawn(move || {
            while !over.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(1));
            }
        });
    }
    let plan = network.plan(&HashWeights, &parallel, Options::default()).expect("the hash weights fit");
    let shape = network.input();
    let image = HashWeights::image(shape.height, shape.width, shape.channels).expect("a small image");
    let (mut workspace, mut logits) = (plan.workspace().expect("room"), vec![0.0; plan.output_len()]);
    let mut time = |parallel: &dyn Parallel| {
        let start = Instant::now();
        plan.run(parallel, &mut workspace, &image, &mut logits[..]).expect("the sizes agree");
        start.elapsed()
    };
    let (mut busy, mut alone) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        busy.push(time(&parallel));
        alone.push(time(&Serial));
    }
    over.store(true, Ordering::Relaxed);
    let (busy, alone) = (median(busy), median(alone));
    let ratio = busy.as_secs_f64() / alone.as_secs_f64();
    println!("busy pool of {threads}: {busy:.3?}, alone: {alone:.3?}, ratio {ratio:.3} of at most {MOST}");
    if ratio <= MOST { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
