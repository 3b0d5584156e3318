//! The OOM lab's criteria, each shown to turn: a run that supports the hypothesis, and the same run with one thing wrong.

use std::{collections::BTreeMap, fs, path::Path};

use custom_handler::clock;
use lab::{
    judgement::{Bundle, Criterion, CriterionResult, Judged, Manifest, Verdict, verify},
    labs::named,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use time::{Duration, OffsetDateTime, macros::datetime};

use crate::bundles::{Files, bundle, judged_without, written};

const START: OffsetDateTime = datetime!(2026-04-05 01:30:00 UTC);
const LIMIT: f64 = 896.0 * 1024.0 * 1024.0;
/// Phases of 100 s, one after the other, and how much of the limit is in use in each.
const PHASES: [(&str, f64); 6] =
    [("baseline", 0.1), ("load-1", 0.4), ("load-2", 0.6), ("incident", 0.99), ("recovery-a", 0.1), ("recovery-b", 0.1)];
const EXITS: [f64; 2] = [310.0, 320.0];

/// A run, as files of rows.
struct Run(Files);

fn at(seconds: f64) -> String {
    clock::timestamp(START + Duration::seconds_f64(seconds))
}

impl Run {
    /// A run in which everything came as the guide says.
    fn supported() -> Self {
        let mut run = Self(BTreeMap::new());
        for (n, (phase, share)) in PHASES.into_iter().enumerate() {
            let start = 100.0 * n as f64;
            run.row("phases", start, json!({"phase": phase, "start": at(start), "end": at(start + 100.0)}));
            run.row(
                "tables/performanceCounters",
                start + 9.0,
                json!({"counter": "Private Bytes", "value": share * LIMIT}),
            );
            for blob in 0..20 {
                let class = if blob < 20 - bursts(phase) { "control" } else { "burst" };
                run.blob((phase, &format!("{phase}/{class}/{blob}")), start + 1.0 + f64::from(blob));
            }
        }
        for (n, exit) in EXITS.into_iter().enumerate() {
            run.kill(exit, n + 1);
        }
        // One blob that fails five times, is poisoned, and succeeds when it is given another chance.
        for n in 0..5 {
            let cause = if n < 2 { "worker exited 137" } else { "" };
            run.failure("incident/burst/19", 310.0 + f64::from(n), cause);
        }
        run.line(
            315.0,
            "Message has reached MaxDequeueCount of 5. Moving message to queue 'webjobs-blobtrigger-poison'.",
        );
        run.row("redriven", 500.5, json!({"name": "incident/burst/19"}));
        for (remedy, start, end) in [("none", 0.0, 400.0), ("both", 400.0, 600.0)] {
            run.row("hosts", start, json!({"end": at(end), "remedy": remedy, "front_pid": 7, "front_pid_at_end": 7}));
            let kills = if remedy == "none" { 2 } else { 0 };
            run.row("cgroup", end - 1.0, json!({"remedy": remedy, "oomKills": kills}));
        }
        run.row("actions", 400.0, json!({"action": "remedy applied", "remedy": "both"}));
        run.row("queue", 5.0, json!({"queue": "trigger", "messages": 1}));
        run
    }

    fn row(&mut self, file: &'static str, seconds: f64, mut row: Value) {
        row["timestamp"] = json!(at(seconds));
        if file.starts_with("tables/") {
            (row["cloud_RoleName"], row["AppName"]) = (json!("app"), json!("app"));
        }
        if file == "tables/FunctionAppLogs" {
            row["TimeGenerated"] = row["timestamp"].take();
        }
        self.0.entry(file).or_default().push(row);
    }

    fn line(&mut self, seconds: f64, message: &str) {
        self.row("tables/traces", seconds, json!({"message": message}));
        self.row("tables/FunctionAppLogs", seconds, json!({"Message": message}));
    }

    fn request(&mut self, name: &str, seconds: f64, success: &str, duration: f64) {
        let number = self.0.get("tables/requests").map_or(0, Vec::len);
        let (invocation, operation) = (format!("invocation-{number}"), format!("{number:032x}"));
        let row = json!({
            "id": format!("{number:016x}"), "operation_Id": operation, "operation_Name": "BlobBufferProcessor",
            "success": success, "duration": duration, "customDimensions": {"InvocationId": invocation},
        });
        self.row("tables/requests", seconds, row);
        let dispatch = json!({
            "functionName": "BlobBufferProcessor", "invocationId": invocation, "operation_Id": operation,
            "blob": format!("input/{name}"),
        });
        self.row("tables/dispatches", seconds, dispatch);
        self.row("tables/dependencies", seconds, json!({"type": "Azure blob", "success": success}));
        // The host's own calls say less than the handler's.
        self.row("tables/dependencies", seconds, json!({"type": "Http", "success": "False"}));
    }

    fn blob(&mut self, (phase, name): (&str, &str), seconds: f64) {
        let group = name.split('/').nth(1).unwrap();
        let blob = json!({"name": name, "phase": phase, "group": group, "size_bytes": 5, "sha256": "aa"});
        self.row("manifest", seconds, blob.clone());
        self.row("results", 599.0, blob);
        self.request(name, seconds, "True", 10.0);
        self.line(seconds, "Invocation completed in 00:00:00.010");
    }

    fn failure(&mut self, name: &str, seconds: f64, cause: &str) {
        self.request(name, seconds, "False", 900.0);
        let line = if cause.is_empty() {
            "MemoryError: cannot allocate bytes object".to_owned()
        } else {
            format!("BlobBufferProcessor could not process input/{name}: {cause}")
        };
        self.line(seconds, &line);
        self.line(seconds, "Invocation failed after 00:00:00.900");
    }

    fn kill(&mut self, seconds: f64, number: usize) {
        self.line(seconds, "Worker process exited with code 137");
        let seen =
            format!(" INFO the kernel killed the worker at its memory limit of 896 MiB (oom_kill {number}) pid=1");
        self.line(seconds, &seen);
        self.line(seconds + 0.1, "warn: Restarting worker process after unexpected exit");
        self.line(seconds + 0.2, "Worker process started");
    }

    /// Changes the rows of a file.
    fn with(mut self, file: &'static str, change: impl Fn(&mut Vec<Value>)) -> Self {
        change(self.0.get_mut(file).unwrap());
        self
    }

    /// Adds what a full disk leaves of a row: a line cut inside a character.
    fn with_cut_line(self, file: &'static str) -> Self {
        self.with(file, |rows| rows.insert(1, json!({"cut": true})))
    }

    /// Leaves out lines of the host's log.
    fn without_line(self, start: &str) -> Self {
        self.with("tables/traces", |rows| rows.retain(|row| !row["message"].as_str().unwrap().contains(start)))
    }

    fn write(&self) -> TempDir {
        written(&self.0)
    }

    fn judged(&self) -> Judged {
        bundle("oom", self.write().path(), 896.0).judge().unwrap()
    }

    fn judge(&self) -> Vec<Criterion> {
        self.judged().verdict.criteria
    }
}

/// Blobs of a phase that come at once. Recovery a repeats those of the phases before.
fn bursts(phase: &str) -> i32 {
    match phase {
        "load-1" | "load-2" | "incident" => 2,
        "recovery-a" => 6,
        _ => 0,
    }
}

fn failed(criteria: &[Criterion]) -> Vec<&str> {
    criteria.iter().filter(|it| it.result != CriterionResult::Pass).map(|it| it.id.as_str()).collect()
}

#[test]
fn a_run_as_the_guide_has_it_is_supported() {
    let judged = Run::supported().judged();
    assert_eq!(failed(&judged.verdict.criteria), [""; 0], "{:#?}", judged.verdict.criteria);
    assert_eq!((judged.verdict.verdict, judged.verdict.doubts.len()), (Verdict::Supported, 0));
    let counts = &judged.verdict.counts;
    let figures = ["uploaded", "processed", "requests", "failed", "retried", "poisoned", "redriven", "exits"];
    assert_eq!(figures.map(|it| counts[it].as_f64().unwrap()), [120.0, 120.0, 125.0, 5.0, 4.0, 1.0, 1.0, 2.0]);
    let incident = &counts["phases"]["incident"];
    assert_eq!((&incident["exits"], &incident["failed"], &incident["peak_mib"]), (&json!(2), &json!(5), &json!(887.0)));
    let grades = ["incident.exits", "incident.same-window", "recovery-b.p95", "consistency.payload"].map(|id| {
        let found = judged.verdict.criteria.iter().find(|it| it.id == id).unwrap();
        serde_json::to_value(found.grade).unwrap()
    });
    assert_eq!(grades, ["observed", "correlated", "observed", "inferred"]);
}

/// A run with one thing wrong, and the criteria that fail with it.
type Case = (Run, &'static [&'static str]);

/// What is wrong is the incident.
fn of_the_incident() -> Vec<Case> {
    let supported = Run::supported;
    let late_errors = |rows: &mut Vec<Value>| {
        for row in rows.iter_mut().filter(|row| row["message"].as_str().unwrap().starts_with("MemoryError")) {
            row["timestamp"] = json!(at(390.0));
        }
    };
    vec![
        // The signs of an incident do not make one unless they come together.
        (supported().with("tables/traces", late_errors), &["incident.same-window"]),
        (
            supported().with("tables/performanceCounters", |rows| rows[3]["value"] = json!(0.7 * LIMIT)),
            &["incident.private-bytes", "incident.same-window", "disproof.never-critical"],
        ),
        (
            supported().with("tables/performanceCounters", |rows| rows[1]["value"] = json!(0.51 * LIMIT)),
            &["load-1.private-bytes"],
        ),
        (
            supported().with("tables/performanceCounters", |rows| rows[4]["value"] = json!(0.35 * LIMIT)),
            &["recovery-a.private-bytes"],
        ),
        (supported().without_line("Restarting"), &["incident.lifecycle"]),
    ]
}

/// A blob whose name begins with a slash, by whether its manifest knows that the host never sees it.
fn with_a_slash(is_marked: bool) -> Run {
    let mut blob =
        json!({"name": "/b/control/0", "phase": "baseline", "group": "control", "size_bytes": 5, "sha256": "aa"});
    if is_marked {
        blob["unseen"] = json!(true);
    }
    let mut run = Run::supported();
    run.row("manifest", 2.0, blob);
    run
}

#[test]
fn a_blob_that_the_host_never_sees_is_counted_and_needs_no_result() {
    let judged = with_a_slash(true).judged();
    assert_eq!(judged.verdict.verdict, Verdict::Supported, "{:#?}", judged.verdict);
    let count = |name: &str| judged.verdict.counts[name].as_u64().unwrap();
    assert_eq!((count("unseen"), count("uploaded") - count("processed")), (1, 1));

    let unmarked = with_a_slash(false).judge();
    assert_eq!(failed(&unmarked), ["consistency.unprocessed", "consistency.tries"]);
    // It was seen all the same.
    let mut run = with_a_slash(true);
    run.request("/b/control/0", 3.0, "True", 10.0);
    run.line(3.0, "Invocation completed in 00:00:00.010");
    assert_eq!(failed(&run.judge()), ["consistency.tries"]);
}

/// What is wrong is the evidence.
fn of_the_evidence() -> Vec<Case> {
    let supported = Run::supported;
    vec![
        (supported().without_line("the kernel killed"), &["consistency.kills-seen"]),
        (supported().with("cgroup", |rows| rows[0]["oomKills"] = json!(1)), &["consistency.kills-counted"]),
        (supported().with("hosts", |rows| rows[1]["front_pid_at_end"] = json!(8)), &["consistency.front"]),
        (supported().with("results", |rows| rows[7]["sha256"] = json!("bb")), &["consistency.unprocessed"]),
        (
            supported().with("results", |rows| rows[7]["name"] = json!("x")),
            &["consistency.unprocessed", "consistency.unknown"],
        ),
        (supported().with("redriven", Vec::clear), &["consistency.tries", "consistency.redriven"]),
        (
            supported().with("tables/requests", |rows| drop(rows.remove(0))),
            &["consistency.dispatches", "consistency.tries"],
        ),
        (
            supported().with("tables/dispatches", |rows| drop(rows.remove(0))),
            &["consistency.dispatches", "consistency.tries"],
        ),
        (supported().without_line("could not process"), &["disproof.unrelated-failures"]),
        (supported().with_cut_line("tables/requests"), &["consistency.lines"]),
        (supported().with_cut_line("manifest"), &["consistency.lines"]),
        (
            supported().with("manifest", |rows| {
                rows.iter_mut()
                    .filter(|it| it["name"] == "recovery-a/burst/19")
                    .for_each(|it| it["size_bytes"] = json!(9_000_000));
            }),
            &["consistency.unprocessed", "checklist.same-load"],
        ),
        (supported().with("manifest", |rows| rows[3]["timestamp"] = json!(at(150.0))), &["checklist.in-phase"]),
        (supported().with("tables/requests", |rows| rows[3]["operation_Id"] = json!("op-0003")), &["checklist.ids"]),
        (supported().with("tables/requests", |rows| rows[3]["id"] = rows[4]["id"].clone()), &["checklist.ids"]),
        (
            supported().with("tables/dependencies", |rows| {
                rows.iter_mut().take(20).for_each(|it| it["success"] = json!("False"));
            }),
            &["baseline.dependencies"],
        ),
    ]
}

#[test]
fn each_criterion_turns_with_the_rows_it_is_about() {
    for (run, want) in of_the_incident().into_iter().chain(of_the_evidence()) {
        let judged = run.judged();
        assert_eq!(failed(&judged.verdict.criteria), want, "{:#?}", judged.verdict.criteria);
        // What is not as the operator should find it proves nothing either way.
        let is_about_evidence = want.iter().all(|it| it.starts_with("checklist."));
        let verdict = if is_about_evidence { Verdict::Inconclusive } else { Verdict::NotSupported };
        assert_eq!(judged.verdict.verdict, verdict, "{want:?}");
    }
}

#[test]
fn an_incident_that_goes_on_after_the_remedy_is_not_supported() {
    let mut run = Run::supported();
    run.kill(450.0, 1);
    run.failure("recovery-a/burst/15", 450.0, "worker exited 137");
    let run = run.with("cgroup", |rows| rows[1]["oomKills"] = json!(1));
    let criteria = run.judge();
    let want = ["recovery-a.exits", "recovery-a.failure-rate", "disproof.no-improvement"];
    assert_eq!(failed(&criteria), want);
    let exits = criteria.iter().find(|it| it.id == "recovery-a.exits").unwrap();
    assert_eq!(
        (exits.value, exits.query.as_str()),
        (Some(2.0), "oom-postfix-3.kql"),
        "the guide counts exits and restarts"
    );
}

#[test]
fn a_lost_blob_is_named() {
    let run = Run::supported().with("results", |rows| rows.retain(|row| row["name"] != "load-2/control/4"));
    let criteria = run.judge();
    let lost = criteria.iter().find(|it| it.id == "consistency.unprocessed").unwrap();
    assert_eq!(lost.observed, "1 (load-2/control/4: no result)");
    assert_eq!(lost.rows[0]["name"], "load-2/control/4", "the row that decided it is named");
}

#[test]
fn kills_that_nothing_counts_do_not_keep_a_run_from_being_supported() {
    let run = Run::supported().with("cgroup", Vec::clear).with("tables/traces", |rows| {
        for row in rows.iter_mut().filter(|row| row["message"].as_str().unwrap().contains("the kernel killed")) {
            row["message"] = json!(" INFO the worker was killed; its memory limit is 896 MiB, enforced by the front");
        }
    });
    let judged = run.judged();
    assert_eq!(failed(&judged.verdict.criteria), ["consistency.kills-counted"]);
    assert_eq!(judged.verdict.verdict, Verdict::Supported);
}

#[test]
fn a_run_without_rows_is_inconclusive_and_no_criterion_passes_by_default() {
    let judged = Run(BTreeMap::new()).judged();
    let inconclusive = judged.verdict.criteria.iter().filter(|it| it.result == CriterionResult::Inconclusive);
    assert_eq!(inconclusive.count(), judged.verdict.criteria.len(), "{:#?}", judged.verdict.criteria);
    assert!(judged.verdict.criteria.iter().all(|it| !it.reason.is_empty()));
    assert_eq!(judged.verdict.verdict, Verdict::Inconclusive);
}

#[test]
fn without_any_one_of_its_tables_a_run_is_inconclusive_and_says_by_name_why() {
    let run = Run::supported();
    for file in run.0.keys() {
        judged_without("oom", run.write().path(), 896.0, &format!("{file}.jsonl"));
    }
}

#[test]
fn rows_that_end_before_a_phase_do_not_make_it_quiet() {
    for (table, criterion) in [
        ("tables/traces", "recovery-a.exits"),
        ("tables/FunctionAppLogs", "recovery-a.memory-errors"),
        ("tables/requests", "recovery-a.failure-rate"),
        ("tables/performanceCounters", "recovery-a.private-bytes"),
    ] {
        let time = if table == "tables/FunctionAppLogs" { "TimeGenerated" } else { "timestamp" };
        let run = Run::supported().with(table, |rows| rows.retain(|row| row[time].as_str() < Some(&at(400.0))));
        let judged = run.judged();
        let found = judged.verdict.criteria.iter().find(|it| it.id == criterion).unwrap();
        assert_eq!(found.result, CriterionResult::Inconclusive, "{table}: {found:#?}");
        assert!(found.reason.contains("no rows in the phase recovery-a"), "{}", found.reason);
        assert_ne!(judged.verdict.verdict, Verdict::Supported, "{table}");
    }
}

#[test]
fn the_timeline_tells_the_incident_in_order() {
    let folder = Run::supported().write();
    let bundle = bundle("oom", folder.path(), 896.0);
    bundle.keep(&bundle.judge().unwrap()).unwrap();
    let text = fs::read_to_string(folder.path().join("timeline.csv")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "time_utc,phase,signal,observation,interpretation");
    let at = |part: &str| lines.iter().position(|line| line.contains(part)).unwrap_or_else(|| panic!("{part}: {text}"));
    assert!(at("baseline,performanceCounters") < at("load-1,performanceCounters"));
    assert!(at("incident,traces,Worker process exited") < at("incident,traces,warn: Restarting"));
    assert!(at("incident,traces,Worker process started") < at("recovery-a,traces,no worker exit"));
    assert!(at("remediation,runbook action,remedy applied: both") > at("incident,traces,Worker process exited"));
    assert!(lines[at("incident,performanceCounters")].ends_with("\"Private Bytes 887 MiB, 0.99 L\",critical band"));
}

#[test]
fn five_runs_are_a_measurement_with_its_spread_and_verify_as_a_whole() {
    let folder = tempfile::tempdir().unwrap();
    for number in 1..=5 {
        let path = folder.path().join(format!("run-{number}"));
        let run = Run::supported().with("tables/requests", |rows| {
            rows.iter_mut().take(20).for_each(|it| it["duration"] = json!(10.0 + f64::from(number)));
        });
        fs::rename(run.write().keep(), &path).unwrap();
        close(&path, 0);
    }
    close(folder.path(), 5);
    let verdict: Value = serde_json::from_slice(&fs::read(folder.path().join("verdict.json")).unwrap()).unwrap();
    assert_eq!((&verdict["verdict"], &verdict["runs"]), (&json!("supported"), &json!(5)), "{verdict:#}");
    let p95 = verdict["criteria"].as_array().unwrap().iter().find(|it| it["id"] == "baseline.p95").unwrap();
    assert_eq!((&p95["value"], &p95["grade"]), (&json!(13.0), &json!("measured")));
    assert_eq!(p95["spread"], json!({"low": 11.0, "high": 15.0, "runs": 5}));
    let definition = named("oom").unwrap().definition;
    assert!(verify(definition, folder.path()).unwrap().holds());

    let traces = folder.path().join("run-3/tables/traces.jsonl");
    let changed = fs::read_to_string(&traces).unwrap().replace("code 137", "code 139");
    fs::write(&traces, changed).unwrap();
    let found = verify(definition, folder.path()).unwrap();
    assert_eq!(found.changed, ["run-3/tables/traces.jsonl"]);
    let names = |id: &str| found.differences.iter().any(|it| it.starts_with(&format!("run-3: verdict.json: {id} was")));
    assert!(names("incident.exits") && !names("baseline.p95"), "{found:#?}");
}

/// Judges and closes a folder as a run does.
fn close(folder: &Path, parts: usize) {
    let manifest = Manifest { parts, ..bundle("oom", folder, 896.0).manifest };
    let closed = Bundle::make(named("oom").unwrap().definition, folder, manifest).unwrap();
    closed.keep(&closed.judge().unwrap()).unwrap();
    closed.seal().unwrap();
}
