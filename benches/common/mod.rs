//! What the benches share: the nodes of the networks, numbers, the peak of this machine.
#![allow(dead_code)] // Each bench uses a part.

#[path = "../../examples/common/peak.rs"]
pub mod peak;

use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput};
use sepconv::graph::Node;
use sepconv::models::{Architecture, Config, Network};
use sepconv::{Isa, Kernels};

/// The networks of the papers.
pub fn networks() -> Vec<Network> {
    let paper = |architecture| {
        Network::new(architecture, &Config::of(architecture)).expect("the paper's configuration is a network")
    };
    [Architecture::MobilenetV1, Architecture::MobilenetV2, Architecture::Xception].into_iter().map(paper).collect()
}

/// The nodes of all networks of one of these kinds.
pub fn nodes(kinds: &[&str]) -> Vec<Node> {
    let of_network = |network: &Network| network.graph().nodes().to_vec();
    networks().iter().flat_map(of_network).filter(|node| kinds.contains(&node.kind())).collect()
}

/// The kernels of every ISA that runs here.
pub fn every_isa() -> impl Iterator<Item = &'static Kernels> {
    Isa::supported().into_iter().filter_map(|isa| isa.kernels().ok())
}

/// `count` numbers in -1..1, the same every time.
pub fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|i| ((i as u32).wrapping_mul(2_654_435_761) >> 8) as f32 / (1u32 << 23) as f32 - 1.0).collect()
}

/// A group with the peak in it: the fused multiply-adds that the machine makes at the moment, without memory.
pub fn group<'a>(criterion: &'a mut Criterion, name: &str, macs: u64) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group.sample_size(10).warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_millis(500));
    let turns = 10_000;
    group.throughput(Throughput::Elements(peak::flops(Isa::best(), turns) as u64));
    group.bench_function("peak", |bencher| bencher.iter(|| peak::fma_loop(Isa::best(), turns)));
    group.throughput(Throughput::Elements(2 * macs));
    group
}
