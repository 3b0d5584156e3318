//! The same queries by duckdb-kql, another implementation: where it runs one, the answers are equal as multisets.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use kql::{Database, Query, Table, Type, Value};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};
use serde_json::{Value as Json, json};

use crate::support::{root, schema};

const COLUMNS: &str =
    "timestamp:datetime, name:string, role:string, duration:real, code:int, count_of:long, success:string";

const QUERIES: [&str; 22] = [
    "requests | where duration > 100 | project name, duration",
    "requests | where timestamp between (datetime(2026-04-05 01:30:00) .. datetime(2026-04-05 01:45:00)) | count",
    "requests | where role == 'func-a' | summarize total = count(), longest = max(duration), least = min(count_of) by name",
    "requests | summarize total = count(), failures = countif(success == 'False') by bin(timestamp, 5m)",
    "requests | summarize avg_ms = round(avg(duration), 1) by name, bin(timestamp, 2m) | order by timestamp asc",
    "requests | where name has 'orchestrator' | count",
    "requests | where name has_any ('activity', 'nothing') | project name, code",
    "requests | where name contains 'REPLAY' | distinct name, role",
    "requests | where code in (200, 500) | summarize sum(count_of) by code",
    "requests | extend half = count_of / 2, share = 100.0 * code / 7 | project half, share",
    "requests | extend slow = iff(duration > 100, 'slow', 'fast') | summarize count() by slow",
    "requests | extend grade = case(duration > 150, 'c', duration > 50, 'b', 'a') | summarize count() by grade",
    "requests | where isnotnull(duration) | top 5 by duration | project duration",
    "requests | where isnull(duration) | count",
    "requests | summarize dcount(name)",
    "let limit_ms = 100.0; let slow = requests | where duration > limit_ms; slow | summarize count() by role",
    "union (requests | where code == 200), (requests | where code == 500) | summarize count() by code",
    "requests | join kind=inner (requests | where code == 500 | summarize n = count() by name) on name | summarize count() by name, n",
    "requests | join kind=leftanti (requests | where code == 500) on name | distinct name",
    "requests | where success =~ 'false' and not(role == 'func-b') | count",
    "requests | extend part = substring(name, 0, 6), size = strlen(name) | distinct part, size",
    "print a = 1 + 2, b = strcat('x', 'y'), c = toupper('q')",
];

fn rows(seed: u64) -> Vec<Vec<Json>> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut below = move |limit: u64| random.next_u64() % limit;
    let mut pick = move |of: &[&str]| of[below(of.len() as u64) as usize].to_owned();
    let mut random = ChaCha8Rng::seed_from_u64(seed + 1000);
    let row = |_| {
        let mut below = |limit: u64| random.next_u64() % limit;
        let (minute, second) = (30 + below(20), below(60));
        let duration = if below(9) == 0 { Json::Null } else { json!(below(40_000) as f64 / 200.0) };
        let (code, count_of) = ([200, 404, 500][below(3) as usize], below(1_000) as i64 - 500);
        vec![
            json!(format!("2026-04-05T01:{minute}:{second:02}")),
            json!(pick(&["replay_storm_orchestrator", "replay_lab_activity", "Functions.blob orchestrator", "start"])),
            json!(pick(&["func-a", "func-b"])),
            duration,
            json!(code),
            json!(count_of),
            json!(pick(&["True", "False"])),
        ]
    };
    (0..200).map(row).collect()
}

/// Our answer as the peer writes it.
fn cell(value: &Value) -> String {
    match value {
        Value::DateTime(_) => value.to_string().trim_end_matches('Z')[..26].to_owned(),
        Value::Real(it) => format!("{it:.6}"),
        other => other.to_json().to_string().trim_matches('"').to_owned(),
    }
}

fn peer_cell(value: &Json) -> String {
    match value {
        Json::Number(it) if it.is_f64() => format!("{:.6}", it.as_f64().unwrap()),
        other => other.to_string().trim_matches('"').to_owned(),
    }
}

fn multiset(rows: impl Iterator<Item = Vec<String>>) -> Vec<Vec<String>> {
    let mut rows: Vec<_> = rows.collect();
    rows.sort();
    rows
}

fn ask(given: &Json) -> Vec<Json> {
    let mut child = Command::new(root().join("target/python/bin/python"))
        .arg(root().join("tests/python/kql_peer.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Python is installed by tests/python/install");
    child.stdin.take().unwrap().write_all(given.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
#[ignore = "needs Python with duckdb-kql 1.1.2: bash tests/python/install, then cargo test -- --ignored"]
fn another_implementation_gives_the_same_rows() {
    let columns = schema(COLUMNS);
    for seed in 1..=3 {
        let rows = rows(seed);
        let names: Vec<Json> = columns.iter().map(|it| json!([it.name, it.kind.name()])).collect();
        let answers = ask(&json!({"tables": {"requests": {"columns": names, "rows": rows}}, "queries": QUERIES}));
        let typed = |(value, kind): (&Json, Type)| Value::from_json(kind, value).unwrap();
        let table = rows.iter().map(|row| row.iter().zip(columns.iter().map(|it| it.kind)).map(typed).collect());
        let mut database = Database::default();
        database.insert("requests", Table::new(columns.clone(), table.collect()));
        let mut compared = 0;
        for (query, answer) in QUERIES.iter().zip(&answers) {
            let ours = Query::parse(query)
                .and_then(|it| it.run(&database))
                .unwrap_or_else(|it| panic!("{}", it.render(query)));
            let Some(theirs) = answer["rows"].as_array() else { continue };
            let theirs = multiset(theirs.iter().map(|it| it.as_array().unwrap().iter().map(peer_cell).collect()));
            assert_eq!(multiset(ours.table.rows().map(|row| row.iter().map(cell).collect())), theirs, "{query}");
            compared += 1;
        }
        assert!(compared >= 18, "the peer ran only {compared} of {} queries: {answers:?}", QUERIES.len());
    }
}
