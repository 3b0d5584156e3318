//! Query A of the replay lab over request rows in memory: 100,000 and ten times as many.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use kql::{Column, Database, Query, Table, Type, Value};

const QUERY: &str = r#"
let BaselineEnd = datetime(2026-04-07 12:29:22Z);
let IncidentEnd = datetime(2026-04-07 12:56:18Z);
let RunEnd = datetime(2026-04-07 13:02:00Z);
let baseline = requests
| where timestamp >= datetime(2026-04-07 12:28:00Z) and timestamp < BaselineEnd
| where cloud_RoleName == "labep1shared-func"
| where operation_Name has "replay_storm_orchestrator"
| extend phase = "Baseline";
let incident = requests
| where timestamp >= BaselineEnd and timestamp < IncidentEnd
| where cloud_RoleName == "labep1shared-func"
| where operation_Name has "replay_storm_orchestrator"
| extend phase = "Incident";
let recovery = requests
| where timestamp >= IncidentEnd and timestamp < RunEnd
| where cloud_RoleName == "labep1shared-func"
| where operation_Name has "replay_storm_orchestrator"
| extend phase = "Recovery";
union baseline, incident, recovery
| summarize
executions = count(),
avg_ms = round(avg(duration), 1),
p95_ms = round(percentile(duration, 95), 1),
max_ms = round(max(duration), 1)
by phase, bin(timestamp, 2m)
| order by timestamp asc"#;

/// Rows over the 34 minutes of the query, nine in ten of them of the orchestrator.
fn requests(count: usize) -> Database {
    let names =
        ["timestamp", "cloud_RoleName", "operation_Name", "duration", "operation_Id", "resultCode", "success", "url"];
    let kinds = [
        Type::DateTime,
        Type::String,
        Type::String,
        Type::Real,
        Type::String,
        Type::String,
        Type::String,
        Type::String,
    ];
    let schema: Vec<Column> = names.iter().zip(kinds).map(|(name, kind)| Column::new(*name, kind)).collect();
    let Some(Value::DateTime(start)) = Value::parse(Type::DateTime, "2026-04-07T12:28:00Z") else {
        return Database::default();
    };
    let step = 34 * 60 * 10_000_000 / count as i64;
    let role = Value::text("labep1shared-func");
    let [orchestrator, activity] = ["replay_storm_orchestrator", "replay_lab_activity"].map(Value::text);
    let rows = (0..count).map(|at| {
        let operation = if at % 10 == 0 { activity.clone() } else { orchestrator.clone() };
        vec![
            Value::DateTime(start + step * at as i64),
            role.clone(),
            operation,
            Value::Real((at * 7919 % 100_003) as f64 / 100.0),
            Value::text(format!("{at:032x}")),
            Value::text("200"),
            Value::text("True"),
            Value::text(""),
        ]
    });
    let mut database = Database::default();
    database.insert("requests", Table::new(schema, rows.collect()));
    database
}

fn query_a(criterion: &mut Criterion) {
    let Ok(query) = Query::parse(QUERY) else { return };
    let mut group = criterion.benchmark_group("query_a");
    group.sample_size(10);
    for count in [100_000, 1_000_000] {
        let database = requests(count);
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            bencher.iter(|| black_box(query.run(&database)))
        });
    }
    group.finish();
}

criterion_group!(benches, query_a);
criterion_main!(benches);
