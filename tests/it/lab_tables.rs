//! The lab's own records as tables, and the queries over them: each tells what is there, and turns when one thing is wrong.

use std::{collections::BTreeSet, fs, path::Path};

use lab::evidence::{database, schema::Profile};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::queries::{ask, queries};

/// Rows by file, relative to a run's folder.
type Rows = Vec<(&'static str, Vec<Value>)>;

fn at(seconds: u32) -> String {
    format!("2026-04-05T01:{:02}:{:02}Z", 30 + seconds / 60, seconds % 60)
}

/// Rows with a second each, as rows with a time.
fn timed(rows: impl IntoIterator<Item = (u32, Value)>) -> Vec<Value> {
    let stamp = |(seconds, mut row): (u32, Value)| {
        row["timestamp"] = json!(at(seconds));
        row
    };
    rows.into_iter().map(stamp).collect()
}

fn run_of(rows: &Rows) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("tables")).unwrap();
    for (file, rows) in rows {
        let text: String = rows.iter().map(|it| format!("{it}\n")).collect();
        fs::write(folder.path().join(format!("{file}.jsonl")), text).unwrap();
    }
    folder
}

/// The same with a change of one file.
fn with(mut rows: Rows, file: &str, change: impl Fn(&mut Vec<Value>)) -> Rows {
    change(&mut rows.iter_mut().find(|it| it.0 == file).unwrap().1);
    rows
}

fn text_of(lab: &str, name: &str) -> String {
    queries(lab, "lab").remove(&format!("{name}.kql")).unwrap_or_else(|| panic!("no query {name}"))
}

/// A query's rows over a run's folder, each as an object.
fn told(folder: &Path, text: &str) -> Vec<Value> {
    let query = kql::Query::parse(text).unwrap();
    query.check(&database::documented(Profile::Documented)).unwrap();
    let names: BTreeSet<String> = query.tables().into_iter().collect();
    let loaded = database::load(&folder.join("tables"), &names, Profile::Documented).unwrap();
    let table = query.run(&loaded.database).unwrap().table;
    let object = |row: Vec<kql::Value>| {
        let cells = table.columns().iter().zip(&row).map(|(column, value)| (column.name.clone(), value.to_json()));
        Value::Object(cells.collect())
    };
    table.rows().map(object).collect()
}

fn answer(rows: &Rows, lab: &str, name: &str) -> Vec<Value> {
    told(run_of(rows).path(), &text_of(lab, name))
}

/// Some columns of some rows.
fn cells(rows: &[Value], columns: &[&str]) -> Vec<Value> {
    rows.iter().map(|row| columns.iter().map(|it| row[it].clone()).collect()).collect()
}

const NAMES: [&str; 2] = ["r/a/x-00/00.bin", "r/b/x-00/00.bin"];
/// The second of each try, its blob, and whether it went well.
const TRIES: [(u32, usize, bool); 7] = [
    (11, 0, true),
    (111, 1, false),
    (112, 1, false),
    (113, 1, false),
    (114, 1, false),
    (115, 1, false),
    (150, 1, true),
];

/// A phase from one second to another.
fn phase(from: u32, name: &str, to: u32) -> (u32, Value) {
    (from, json!({"phase": name, "start": at(from), "end": at(to)}))
}

/// Two blobs: one at once, and one that fails five times, is poisoned, and succeeds when it is given another chance.
fn oom() -> Rows {
    let sent = |(seconds, name, phase): (u32, &str, &str)| {
        (seconds, json!({"name": name, "phase": phase, "group": "x", "size_bytes": 5, "sha256": "aa"}))
    };
    let result = |name: &str| (190, json!({"name": name, "size_bytes": 5, "sha256": "aa"}));
    let host =
        |(seconds, remedy): (u32, &str)| (seconds, json!({"remedy": remedy, "front_pid": 7, "front_pid_at_end": 7}));
    let cgroup = |(seconds, kills): (u32, u32)| (seconds, json!({"oomKills": kills}));
    let sample = |(seconds, mib): (u32, u64)| (seconds, json!({"counter": "Private Bytes", "value": mib << 20}));
    let mut rows = vec![
        ("phases", timed([phase(0, "a", 100), phase(100, "b", 200)])),
        ("manifest", timed([(10, NAMES[0], "a"), (110, NAMES[1], "b")].map(sent))),
        ("results", timed(NAMES.map(result))),
        ("redriven", timed([(140, json!({"name": NAMES[1]}))])),
        ("hosts", timed([(0, "none"), (120, "both")].map(host))),
        ("cgroup", timed([(119, 1), (199, 0)].map(cgroup))),
        ("tables/performanceCounters", timed([(20, 100), (120, 900)].map(sample))),
        ("tables/dependencies", timed([(11, json!({"type": "Azure blob"})), (12, json!({"type": "Http"}))])),
    ];
    rows.extend(tries());
    rows
}

/// What host and handler say of each try.
fn tries() -> Rows {
    let tries = || TRIES.into_iter().zip(0..).map(|(it, n)| (it, format!("i{n}")));
    let request = |((seconds, _, is_well), id): ((u32, usize, bool), String)| {
        let success = if is_well { "True" } else { "False" };
        let dimensions = json!({"InvocationId": id});
        (seconds, json!({"success": success, "duration": 10 * seconds, "customDimensions": dimensions}))
    };
    let dispatch = |((seconds, blob, _), id): ((u32, usize, bool), String)| {
        (seconds, json!({"invocationId": id, "blob": format!("input/{}", NAMES[blob])}))
    };
    let answer = |(seconds, _, is_well): (u32, usize, bool)| {
        (seconds, if is_well { "Invocation completed in 00:00:00.010" } else { "Invocation failed after 00:00:00.900" })
    };
    let other = [
        (112, "Worker process exited with code 137"),
        (113, "MemoryError: cannot allocate"),
        (116, "Message has reached MaxDequeueCount of 5"),
    ];
    let lines = TRIES.map(answer).into_iter().chain(other);
    vec![
        ("tables/requests", timed(tries().map(request))),
        ("tables/dispatches", timed(tries().map(dispatch))),
        ("tables/traces", timed(lines.map(|(seconds, text)| (seconds, json!({"message": text}))))),
    ]
}

/// One instance of 5 iterations in one batch, then the same in batches of 2: 2, 2 and 1.
fn replay() -> Rows {
    let phases = [phase(0, "baseline", 60), phase(60, "incident", 120), phase(120, "recovery", 180)];
    let instances = [("i1", 60, "incident", 0, 1, 5), ("i2", 120, "recovery", 2, 3, 1)];
    let instance = |(id, second, phase, every, batches, last): (&str, u32, &str, u32, u32, u32)| {
        let output = json!({"totalIterations": 5, "batches": batches, "finalBatchResults": last});
        (
            second,
            json!({"phase": phase, "instanceId": id, "iterations": 5, "continueAsNewEvery": every,
                "runtimeStatus": "Completed", "output": output}),
        )
    };
    let (mut requests, mut lines, mut episodes) = (Vec::new(), Vec::new(), Vec::new());
    for (id, start, _, _, batches, _) in instances {
        for n in 0..5 + batches {
            let (second, operation) = (start + n, format!("{id}-{n}"));
            requests.push((
                second,
                json!({"operation_Name": "replay_storm_orchestrator", "operation_Id": operation, "duration": 10.0}),
            ));
            let dimensions = json!({"HostOperationId": operation});
            lines.push((
                second,
                json!({"message": "Episode past=0 new=2", "operation_Id": id, "customDimensions": dimensions}),
            ));
        }
        for n in 0..5 {
            requests.push((
                start + n,
                json!({"operation_Name": "replay_lab_activity", "operation_Id": id, "duration": 2.0}),
            ));
        }
        // A work item that continues as new calls the orchestrator twice.
        for n in 0..6 {
            let call = if batches == 1 { 7.0 } else { 2.0 };
            episodes.push((start + n, json!({"instanceId": id, "readMs": 1.0, "callMs": call, "writeMs": 1.0})));
        }
        for n in 1..batches {
            lines.push((
                start + n,
                json!({"message": format!("ContinueAsNew at iteration {}/5, batch=0", 2 * n), "operation_Id": id}),
            ));
        }
        let complete = format!("Orchestration complete: instance=0 total=5 batches={batches}");
        lines.push((start + 9, json!({"message": complete, "operation_Id": id})));
    }
    vec![
        ("phases", timed(phases)),
        ("instances", timed(instances.map(instance))),
        ("tables/requests", timed(requests)),
        ("tables/traces", timed(lines)),
        ("tables/episodes", timed(episodes)),
    ]
}

#[test]
fn blobs_and_their_results_and_tries_add_up_or_are_named() {
    for name in ["oom-blobs-unprocessed", "oom-results-unknown", "oom-tries-unmatched"] {
        assert_eq!(answer(&oom(), "oom", name), [json!(null); 0], "{name}");
    }
    let second = "r/b/x-00/00.bin";
    let problem = |change: &dyn Fn(&mut Vec<Value>)| {
        cells(&answer(&with(oom(), "results", change), "oom", "oom-blobs-unprocessed"), &["name", "phase", "problem"])
    };
    assert_eq!(problem(&|rows| rows.truncate(1)), [json!([second, "b", "no result"])]);
    assert_eq!(problem(&|rows| rows[1]["sha256"] = json!("bb")), [json!([second, "b", "another SHA-256"])]);
    assert_eq!(problem(&|rows| rows[1]["size_bytes"] = json!(6)), [json!([second, "b", "another size"])]);
    let strange = with(oom(), "results", |rows| rows.push(json!({"timestamp": at(191), "name": "r/z"})));
    assert_eq!(cells(&answer(&strange, "oom", "oom-results-unknown"), &["name"]), [json!(["r/z"])]);

    let columns = ["name", "succeeded", "failed", "redriven"];
    let odd = |rows: Rows| cells(&answer(&rows, "oom", "oom-tries-unmatched"), &columns);
    assert_eq!(
        odd(with(oom(), "redriven", Vec::clear)),
        [json!([second, 1, 5, 0])],
        "five failures without another chance"
    );
    let lost = with(oom(), "tables/requests", |rows| drop(rows.remove(1)));
    assert_eq!(odd(lost), [json!([second, 1, 4, 1])], "a request without its row");
    let never = with(oom(), "tables/dispatches", |rows| drop(rows.remove(0)));
    assert_eq!(odd(never), [json!(["r/a/x-00/00.bin", 0, 0, 0])], "a blob that was never dispatched");
    let twice = with(oom(), "tables/requests", |rows| rows[5]["success"] = json!("True"));
    assert_eq!(odd(twice), [json!([second, 2, 4, 1])]);
}

#[test]
fn kills_fronts_dispatches_and_poisoned_messages_are_counted_by_more_than_one_writer() {
    let one = |rows: Rows, name: &str, columns: &[&str]| cells(&answer(&rows, "oom", name), columns);
    let kills = |rows| one(rows, "oom-kills-counted", &["exits", "oomKills", "uncounted"]);
    assert_eq!(kills(oom()), [json!([1, 1, 0])]);
    assert_eq!(kills(with(oom(), "cgroup", |rows| rows[1]["oomKills"] = json!(2))), [json!([1, 3, -2])]);
    assert_eq!(kills(with(oom(), "cgroup", Vec::clear)), [json!(null); 0], "no cgroup, no number");

    let fronts = |rows| one(rows, "oom-front-changes", &["remedy", "frontPid", "frontPidAtEnd", "changed"]);
    assert_eq!(fronts(oom()), [json!(["none", 7, 7, 0]), json!(["both", 7, 7, 0])]);
    let changed = with(oom(), "hosts", |rows| rows[1]["front_pid_at_end"] = json!(8));
    assert_eq!(fronts(changed)[1], json!(["both", 7, 8, 1]));
    let gone = with(oom(), "hosts", |rows| rows[1]["front_pid_at_end"] = Value::Null);
    assert_eq!(fronts(gone)[1], json!(["both", 7, null, 1]), "a front that was gone at the end");

    let dispatches = |rows| one(rows, "oom-dispatches", &["requests", "dispatched", "answered", "unmatched"]);
    assert_eq!(dispatches(oom()), [json!([7, 7, 7, 0])]);
    assert_eq!(dispatches(with(oom(), "tables/requests", |rows| drop(rows.pop()))), [json!([6, 7, 7, 2])]);
    let unanswered = with(oom(), "tables/traces", |rows| drop(rows.remove(0)));
    assert_eq!(dispatches(unanswered), [json!([7, 7, 6, 1])]);

    let poisoned = |rows| one(rows, "oom-poison-redriven", &["poisoned", "redriven", "left"]);
    assert_eq!(poisoned(oom()), [json!([1, 1, 0])]);
    assert_eq!(poisoned(with(oom(), "redriven", Vec::clear)), [json!([1, 0, 1])]);
}

#[test]
fn totals_and_phases_are_counted_from_the_records() {
    let totals = answer(&oom(), "oom", "oom-totals");
    let n = |totals: &[Value], fact: &str| totals.iter().find(|it| it["fact"] == fact).unwrap()["n"].clone();
    let facts = [
        "uploaded",
        "processed",
        "requests",
        "failed",
        "retried",
        "poisoned",
        "redriven",
        "exits",
        "memory_errors",
        "not_about_a_blob",
    ];
    assert_eq!(facts.map(|it| n(&totals, it).as_f64().unwrap()), [2.0, 2.0, 7.0, 5.0, 4.0, 1.0, 1.0, 1.0, 1.0, 0.0]);
    assert_eq!(n(&totals, "dispatch_skew_ms").as_f64(), Some(0.0), "bursts of one blob");
    let together =
        with(oom(), "manifest", |rows| rows.push(json!({"name": "r/b/x-00/01.bin", "group": "x", "phase": "b"})));
    let together = with(together, "tables/dispatches", |rows| {
        rows.push(
            json!({"timestamp": "2026-04-05T01:31:51.25Z", "invocationId": "i9", "blob": "input/r/b/x-00/01.bin"}),
        );
        rows.push(json!({"timestamp": at(1), "invocationId": "i10", "blob": ""}));
    });
    let totals = answer(&together, "oom", "oom-totals");
    assert_eq!(n(&totals, "dispatch_skew_ms").as_f64(), Some(250.0), "between first tries");
    assert_eq!((n(&totals, "not_about_a_blob").as_f64(), n(&totals, "uploaded").as_f64()), (Some(1.0), Some(3.0)));
    let small = with(oom(), "results", |rows| rows[1]["size_bytes"] = json!(4));
    assert_eq!(n(&answer(&small, "oom", "oom-totals"), "processed").as_f64(), Some(1.0), "a result of another size");

    let columns =
        ["phase", "requests", "failed", "p50_ms", "p95_ms", "peak_mib", "exits", "memory_errors", "dependencies"];
    let phases = cells(&answer(&oom(), "oom", "oom-phases"), &columns);
    assert_eq!(
        phases,
        [json!(["a", 1, 0, 110.0, 110.0, 100.0, 0, 0, 1]), json!(["b", 6, 5, 1130.0, 1500.0, 900.0, 1, 1, 0]),]
    );
}

#[test]
fn instances_their_lines_and_their_executions_are_as_their_batches_need_or_are_named() {
    let columns = ["instanceId", "batches", "notCompleted", "wrongOutput"];
    let instances = |change: &dyn Fn(&mut Vec<Value>)| {
        cells(&answer(&with(replay(), "instances", change), "replay", "replay-instances"), &columns)
    };
    assert_eq!(instances(&|_| {}), [json!(["i1", 1, 0, 0]), json!(["i2", 3, 0, 0])]);
    assert_eq!(instances(&|rows| rows[1]["runtimeStatus"] = json!("Failed"))[1], json!(["i2", 3, 1, 0]));
    for wrong in [
        json!({"totalIterations": 5, "batches": 2, "finalBatchResults": 1}),
        json!({"totalIterations": 5, "batches": 3}),
        json!({"totalIterations": 5, "batches": 3, "finalBatchResults": 1, "more": 1}),
        json!("five"),
        json!(null),
    ] {
        assert_eq!(instances(&|rows| rows[1]["output"] = wrong.clone())[1], json!(["i2", 3, 0, 1]), "{wrong}");
    }

    let missing =
        |rows: &Rows, name: &str| cells(&answer(rows, "replay", name), &["instanceId", "wanted", "found", "missing"]);
    assert_eq!(missing(&replay(), "replay-resets"), [json!(["i1", 0, 0, 0]), json!(["i2", 2, 2, 0])]);
    assert_eq!(missing(&replay(), "replay-completions"), [json!(["i1", 1, 1, 0]), json!(["i2", 1, 1, 0])]);
    assert_eq!(missing(&replay(), "replay-executions"), [json!(["i1", 6, 6, 0]), json!(["i2", 8, 8, 0])]);
    let without = |start: &str| {
        with(replay(), "tables/traces", |rows| {
            let n = rows.iter().rposition(|it| it["message"].as_str().unwrap().starts_with(start)).unwrap();
            rows.remove(n);
        })
    };
    assert_eq!(missing(&without("ContinueAsNew"), "replay-resets")[1], json!(["i2", 2, 1, 1]));
    assert_eq!(missing(&without("Orchestration"), "replay-completions")[1], json!(["i2", 1, 0, 1]));
    assert_eq!(missing(&without("Episode"), "replay-executions")[1], json!(["i2", 8, 7, 1]));
    let other = with(replay(), "tables/traces", |rows| {
        let line = rows.last_mut().unwrap();
        line["message"] = json!("Orchestration complete: instance=0 total=5 batches=13");
    });
    assert_eq!(missing(&other, "replay-completions")[1], json!(["i2", 1, 1, 1]), "a line with other numbers");
}

#[test]
fn requests_lines_and_work_items_of_a_storm_are_matched_and_what_it_cost_is_told() {
    let activities = |rows: &Rows| cells(&answer(rows, "replay", "replay-activities"), &["wanted", "found", "missing"]);
    assert_eq!(activities(&replay()), [json!([10, 10, 0])]);
    assert_eq!(activities(&with(replay(), "tables/requests", |rows| drop(rows.pop()))), [json!([10, 9, 1])]);

    let episodes = |rows: &Rows| {
        cells(&answer(rows, "replay", "replay-episodes"), &["requests", "episodes", "lines", "unmatched"])
    };
    assert_eq!(episodes(&replay()), [json!([14, 12, 14, 0])]);
    assert_eq!(episodes(&with(replay(), "tables/requests", |rows| drop(rows.remove(0)))), [json!([13, 12, 14, 1])]);
    assert_eq!(episodes(&with(replay(), "tables/traces", |rows| drop(rows.remove(0)))), [json!([14, 12, 13, 1])]);
    let more = with(replay(), "tables/episodes", |rows| rows.extend(rows.clone()));
    assert_eq!(episodes(&more), [json!([14, 24, 14, 10])], "more work items than requests");

    let cost = |rows: &Rows| cells(&answer(rows, "replay", "replay-cost"), &["incidentMs", "recoveryMs", "ratio"]);
    assert_eq!(cost(&replay()), [json!([54.0, 24.0, 2.25])]);
    let free = with(replay(), "tables/episodes", |rows| rows.truncate(6));
    assert_eq!(cost(&free), [json!([54.0, 0.0, null])]);

    let columns =
        ["phase", "instances", "executions", "wall_seconds", "storage_and_episode_ms", "p50_ms", "activity_p50_ms"];
    assert_eq!(
        cells(&answer(&replay(), "replay", "replay-phases"), &columns),
        [
            json!(["baseline", 0, 0, 60.0, null, null, null]),
            json!(["incident", 1, 6, 60.0, 54.0, 10.0, 2.0]),
            json!(["recovery", 1, 8, 60.0, 24.0, 10.0, 2.0]),
        ]
    );
}

#[test]
fn lines_that_cannot_be_read_are_counted_by_file_and_both_labs_ask_the_same() {
    assert_eq!(text_of("oom", "oom-lines-unreadable"), text_of("replay", "replay-lines-unreadable"));
    let folder = run_of(&replay());
    let lines = || cells(&told(folder.path(), &text_of("replay", "replay-lines-unreadable")), &["lines"]);
    assert_eq!(lines(), [json!([0])]);
    fs::write(folder.path().join("actions.jsonl"), b"{\"action\":\"\xc3\n{}\n{\"cut").unwrap();
    fs::write(folder.path().join("tables/exceptions.jsonl"), "{\n").unwrap();
    assert_eq!(lines(), [json!([3])]);
    let files = cells(&told(folder.path(), "lab_files"), &["file", "rows", "unreadable"]);
    let wanted = [
        json!(["actions.jsonl", 3, 2]),
        json!(["instances.jsonl", 2, 0]),
        json!(["phases.jsonl", 3, 0]),
        json!(["tables/episodes.jsonl", 12, 0]),
        json!(["tables/exceptions.jsonl", 1, 1]),
        json!(["tables/requests.jsonl", 24, 0]),
        json!(["tables/traces.jsonl", 18, 0]),
    ];
    assert_eq!(files, wanted, "in order of their names, whatever order the disk has them in");
}

#[test]
fn a_table_that_cannot_be_told_from_is_named_with_its_file() {
    let folder = run_of(&with(oom(), "redriven", Vec::clear));
    let tables = folder.path().join("tables");
    let why = |table: &str| database::missing(&tables, table);
    for there in ["requests", "AppRequests", "lab_manifest", "lab_redriven", "lab_dispatches", "lab_files"] {
        assert_eq!(why(there), None, "{there}");
    }
    for (table, file) in [
        ("exceptions", "tables/exceptions.jsonl"),
        ("AppExceptions", "tables/exceptions.jsonl"),
        ("FunctionAppLogs", "tables/FunctionAppLogs.jsonl"),
        ("lab_episodes", "tables/episodes.jsonl"),
        ("lab_queue", "queue.jsonl"),
    ] {
        assert!(why(table).unwrap().ends_with(&format!("there is no {file}")), "{table}: {:?}", why(table));
    }
    // Neither a blank line nor one that is cut is a row.
    for text in ["", "\n", "{\"timestamp\":\"2026"] {
        fs::write(tables.join("traces.jsonl"), text).unwrap();
        for table in ["traces", "AppTraces"] {
            assert!(why(table).unwrap().ends_with("tables/traces.jsonl has no rows"), "{text:?}: {:?}", why(table));
        }
        fs::write(folder.path().join("cgroup.jsonl"), text).unwrap();
        assert_eq!(why("lab_cgroup"), None, "it may be empty");
    }
}

#[test]
fn a_run_whose_clock_was_set_back_is_told_by_the_monotonic_one() {
    // An hour back in the middle of the first phase.
    let phase = |name: &str, (start, end): (&str, &str), (from, to): (u32, u32)| {
        let mut row = json!({"phase": name, "timestamp": start, "start": start, "end": end});
        (row["monotonicMs"], row["endMonotonicMs"]) = (json!(from), json!(to));
        row
    };
    let late = json!({"timestamp": "2026-04-05T00:30:15Z", "success": "True", "monotonicMs": 16_000, "duration": 2.0});
    let early = json!({"timestamp": "2026-04-05T01:30:05Z", "success": "True", "monotonicMs": 6000, "duration": 1.0});
    let rows = vec![
        (
            "phases",
            vec![
                phase("a", ("2026-04-05T01:30:00Z", "2026-04-05T00:30:10Z"), (1000, 11_000)),
                phase("b", ("2026-04-05T00:30:11Z", "2026-04-05T00:30:20Z"), (12_000, 21_000)),
            ],
        ),
        ("tables/requests", vec![late, early]),
    ];
    let folder = run_of(&rows);
    let windows = told(folder.path(), "lab_phases | project phase, seconds = (end - start) / 1s, begins = timestamp");
    let seconds = cells(&windows, &["phase", "seconds"]);
    assert_eq!(seconds, [json!(["a", 10.0]), json!(["b", 9.0])]);
    assert_eq!(windows[1]["begins"], "2026-04-05T01:30:11.0000000Z");
    for (table, time) in [("requests", "timestamp"), ("AppRequests", "TimeGenerated")] {
        let apart = format!("{table} | summarize apart = (max({time}) - min({time})) / 1s");
        assert_eq!(told(folder.path(), &apart)[0]["apart"], 10.0, "{table}");
    }
    let by_phase = cells(&told(folder.path(), &text_of("oom", "oom-phases")), &["phase", "requests", "p50_ms"]);
    assert_eq!(by_phase, [json!(["a", 1, 1.0]), json!(["b", 1, 2.0])]);
}

#[test]
fn records_are_asked_like_any_other_table() {
    let folder = run_of(&oom());
    let tables = folder.path().join("tables").display().to_string();
    let on = ["--tables", tables.as_str()];
    let answer = ask("lab_manifest | summarize n = count() by phase | order by phase asc", &on).unwrap();
    assert_eq!(answer["rows"], json!([["a", 1], ["b", 1]]));
    let said = ask("lab_manifest | where phas == 'a'", &on).unwrap_err();
    assert!(said.contains("'phas'") && said.contains("Did you mean 'phase'?"), "{said}");
    let said = ask("lab_manifests | count", &on).unwrap_err();
    assert!(said.contains("The name 'lab_manifests' does not refer to any known table"), "{said}");
    // An import has its phases in phases.json alone.
    fs::remove_file(folder.path().join("phases.jsonl")).unwrap();
    let phases = json!({"appName": "app", "phases": [{"name": "incident", "start": at(0), "end": at(9)}]});
    fs::write(folder.path().join("phases.json"), phases.to_string()).unwrap();
    let answer = ask("lab_phases | project phase, seconds = (end - start) / 1s", &on).unwrap();
    assert_eq!(answer["rows"], json!([["incident", 9.0]]));
}

#[test]
fn every_query_over_records_says_so_first() {
    for lab in ["oom", "replay"] {
        let own = queries(lab, "lab");
        assert!(own.len() > 8, "{lab}");
        for (name, text) in own {
            assert!(text.starts_with("// Over the lab's own records"), "{name}");
            assert!(text.contains("lab_"), "{name}");
        }
    }
}
