//! What an episode costs the handler: the host's whole body in, the whole answer out. And what many tasks of one orchestrator cost
//! the engine: per task the same, however many there are.
//!
//! `cargo bench --bench replay`. Compare rows of one run with each other, not with another day's.

use std::{hint::black_box, time::Duration};

use criterion::{BenchmarkId, Criterion, Throughput};
use durable::{Context, Error, all, as_completed, history::History, protocol::OrchestratorRequest, replay};
use incident_labs::functions::replay_storm_orchestrator::answer;
use lab::bench::storm;

const TASKS: [i32; 4] = [500, 1000, 2000, 4000];

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
    measure(&mut criterion, "as completed", completed, async |ctx, count| {
        let mut tasks = as_completed((0..count).map(|at| ctx.activity::<i32>("Copy", &at)));
        let mut sum = 0;
        while let Some((_, done)) = tasks.next().await {
            sum += done?;
        }
        Ok(sum)
    });
    measure(&mut criterion, "all", completed, async |ctx, count| {
        all((0..count).map(|at| ctx.activity::<i32>("Copy", &at))).await.into_iter().sum()
    });
    measure(&mut criterion, "events claimed from the last", raised, async |ctx, count| {
        let mut sum = 0;
        for at in (0..count).rev() {
            sum += ctx.external_event::<i32>(&format!("Event{at}")).await?;
        }
        Ok(sum)
    });
    criterion.final_summary();
}

/// So many activities, completed from the last to the first.
fn completed(count: i32) -> OrchestratorRequest {
    let begun = (0..count).fold(History::of("fan").input(&count), |history, _| history.scheduled("Copy"));
    (0..count).rev().fold(begun, |history, id| history.completed(id, &1)).request()
}

/// So many events, each of another name.
fn raised(count: i32) -> OrchestratorRequest {
    let begun = History::of("listen").input(&count);
    (0..count).fold(begun, |history, at| history.raised(&format!("Event{at}"), &1)).request()
}

fn measure<Fut: Future<Output = Result<i32, Error>>>(
    criterion: &mut Criterion,
    name: &str,
    request: fn(i32) -> OrchestratorRequest,
    orchestrator: impl Fn(Context, i32) -> Fut,
) {
    let mut group = criterion.benchmark_group(name);
    for count in TASKS {
        let request = request(count);
        group.throughput(Throughput::Elements(count.unsigned_abs().into()));
        group.bench_with_input(BenchmarkId::from_parameter(count), &request, |bench, request| {
            bench.iter(|| {
                let turn = replay(request.clone(), &orchestrator, || Duration::ZERO);
                assert!(turn.failure().is_none(), "{:?}", turn.failure());
                black_box(turn)
            });
        });
    }
    group.finish();
}
