//! The guides' queries: which Kusto accepts, with which code it refuses, and the columns it gives.

use std::{collections::BTreeMap, fs};

use kql::Query;

use crate::support::{root, schemas};

fn texts() -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for lab in ["oom", "replay"] {
        for entry in fs::read_dir(root().join("load").join(lab).join("queries/printed")).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            all.insert(name, fs::read_to_string(&path).unwrap());
        }
    }
    all
}

/// Answers of Microsoft's parser: `tests/golden/README.md` says how they were made.
fn golden(profile: &str) -> BTreeMap<String, serde_json::Value> {
    let path = format!("{}/tests/golden/printed-{profile}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// Compares all with Microsoft's answers; how many are accepted and refused.
fn verdicts(profile: &str) -> (usize, usize) {
    let (schemas, golden) = (schemas(profile), golden(profile));
    let (mut accepted, mut refused) = (0, 0);
    for (name, text) in texts() {
        let expected = &golden[&name];
        match Query::parse(&text).and_then(|it| it.check(&schemas)) {
            Ok(columns) => {
                accepted += 1;
                let columns: Vec<String> = columns.iter().map(|it| format!("{}:{}", it.name, it.kind)).collect();
                assert_eq!(expected["columns"], columns.join(", "), "{name}");
            }
            Err(error) => {
                refused += 1;
                let codes = expected["codes"].as_array().unwrap();
                assert!(codes.iter().any(|it| it == error.code.unwrap()), "{name}: {codes:?}\n{}", error.render(&text));
            }
        }
    }
    (accepted, refused)
}

#[test]
fn of_the_printed_queries_18_run_and_8_are_refused_where_durations_are_reals() {
    assert_eq!(verdicts("documented"), (18, 8));
}

#[test]
fn of_the_printed_queries_22_run_and_4_are_refused_where_durations_are_timespans() {
    assert_eq!(verdicts("timespan"), (22, 4));
}

#[test]
fn a_query_names_the_tables_it_reads_and_the_lets_that_can_be_set() {
    let text = &texts()["replay-query-a-orchestrator-duration-timeline-in-2-minute-b"];
    let query = Query::parse(text).unwrap();
    assert_eq!(query.tables().into_iter().collect::<Vec<_>>(), ["requests"]);
    let parameters = query.parameters();
    assert_eq!(
        parameters.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(),
        ["BaselineEnd", "IncidentEnd", "RunEnd"]
    );
    assert_eq!(parameters[0].default, "datetime(2026-04-07 12:29:22Z)");
    let set = query.with_parameter("RunEnd", "2026-04-08T00:00:00+02:00").unwrap();
    let wrong = set.clone().with_parameter("RunEnd", "soon").unwrap_err();
    assert!(wrong.to_string().contains("'RunEnd' is a datetime"), "{wrong}");
    let unknown = set.with_parameter("RunEnds", "2026").unwrap_err();
    assert!(unknown.to_string().contains("Did you mean 'RunEnd'?"), "{unknown}");
}
