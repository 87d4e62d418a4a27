//! Whole networks, on every ISA that runs here, on one and two threads.
//!
//!     cargo bench --bench network

mod common;

use common::{every_isa, group, networks};
use criterion::{Criterion, criterion_group, criterion_main};
use sepconv::parallel::Rayon;
use sepconv::weights::HashWeights;
use sepconv::{Options, Plan};

fn network(criterion: &mut Criterion) {
    for network in networks() {
        let shape = network.input();
        let input = HashWeights::image(shape.height, shape.width, shape.channels).unwrap();
        let mut group = group(criterion, network.name(), network.macs());
        let mut want: Option<Vec<f32>> = None;
        for isa in every_isa().map(|kernels| kernels.isa()) {
            for threads in [1, 2] {
                let options = Options { isa: Some(isa), threads, ..Options::default() };
                let plan = Plan::new(network.clone(), &HashWeights, options).expect("the hash weights fit");
                let (mut workspace, mut logits) = (plan.workspace().unwrap(), vec![0.0; plan.output_len()]);
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a thread pool");
                let mut run = || {
                    plan.run_on(&Rayon::new(&pool), &mut workspace, &input, &mut logits).expect("the sizes agree");
                };
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
