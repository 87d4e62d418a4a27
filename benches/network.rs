//! Whole networks, on every ISA that runs here, on one and two threads.
//!
//!     cargo bench --bench network

mod common;

use common::{every_isa, group, networks};
use criterion::{Criterion, criterion_group, criterion_main};
use sepconv::Options;
use sepconv::parallel::Rayon;
use sepconv::weights::HashWeights;

fn network(criterion: &mut Criterion) {
    for network in networks() {
        let shape = network.input();
        let input = HashWeights::image(shape.height, shape.width, shape.channels).unwrap();
        let mut group = group(criterion, network.name(), network.graph().macs());
        let mut want: Option<Vec<f32>> = None;
        for isa in every_isa().map(|kernels| kernels.isa()) {
            for threads in [1, 2] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a thread pool");
                let (pool, options) = (Rayon::new(pool), Options { isa: Some(isa), ..Options::default() });
                let plan = network.plan(&HashWeights, &pool, options).expect("the hash weights fit");
                let (mut workspace, mut logits) = (plan.workspace().unwrap(), vec![0.0; plan.output_len()]);
                let mut run = || plan.run(&pool, &mut workspace, &input, &mut logits).expect("the sizes agree");
                run();
                group.bench_function(format!("{isa}, {threads} threads"), |bencher| bencher.iter(&mut run));
                assert_eq!(&logits, want.get_or_insert_with(|| logits.clone()), "{isa}, {threads} threads");
            }
        }
        group.finish();
    }
}

criterion_group!(benches, network);
criterion_main!(benches);
