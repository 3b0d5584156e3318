//! What an episode costs the handler: the host's whole body in, the whole answer out.
//!
//! `cargo bench --bench replay`. Compare rows of one run with each other, not with another day's.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use incident_labs::functions::replay_storm_orchestrator::answer;
use lab::bench::storm;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("episode");
    for iterations in storm::ITERATIONS {
        let body = storm::body(iterations);
        group.throughput(Throughput::Elements(storm::events(iterations)));
        group.bench_with_input(BenchmarkId::from_parameter(iterations), &body, |bench, body| {
            bench.iter(|| black_box(answer(black_box(body))));
        });
    }
    group.finish();
    criterion.final_summary();
}
