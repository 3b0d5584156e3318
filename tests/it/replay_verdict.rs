//! The replay lab's criteria, each shown to turn: a run that supports the hypothesis, and the same run with one thing wrong.

use std::{collections::BTreeMap, fs, ops::Range, sync::LazyLock};

use custom_handler::clock;
use incident_labs::functions::{ACTIVITY_FUNCTION, ORCHESTRATOR_FUNCTION, START_FUNCTION};
use serde_json::{Value, json};
use tempfile::TempDir;
use time::{Duration, OffsetDateTime, macros::datetime};

use crate::bundles::{Files, Told, bundle, ids, judged_without, written};

const START: OffsetDateTime = datetime!(2026-04-05 01:30:00 UTC);
/// Each phase starts this many storms together.
const INSTANCES: usize = 2;
/// Iterations that leave a rest in the last batch: four of 45 and one of 20.
const ITERATIONS: u64 = 200;
const EVERY: u64 = 45;
/// An episode without history, and what each iteration of history adds.
const EPISODE_MS: f64 = 10.0;
const REPLAY_MS: f64 = 1.0;
const ACTIVITY_MS: f64 = 2.7;
/// Reading a history, and writing it.
const STORAGE_MS: f64 = 1.0;
/// From the last instance's end to the phase's: it is polled for.
const NOTICED_MS: f64 = 100.0;

/// A run, as files of rows in order of time.
#[derive(Clone)]
struct Run {
    files: Files,
    /// Seconds from the start.
    phases: BTreeMap<&'static str, Range<f64>>,
}

fn at(seconds: f64) -> String {
    clock::timestamp(START + Duration::seconds_f64(seconds))
}

/// 32 hex digits, as instances and operations have.
fn id(number: usize) -> String {
    format!("{number:032x}")
}

fn add(row: &mut Value, column: &str, more: f64) {
    row[column] = json!(row[column].as_f64().unwrap() + more);
}

fn scale(row: &mut Value, column: &str, factor: f64) {
    row[column] = json!(row[column].as_f64().unwrap() * factor);
}

/// Puts rows at equal distances of time, in the order they have.
fn spread<'a>(window: Range<f64>, rows: impl Iterator<Item = &'a mut Value>) {
    let rows: Vec<&mut Value> = rows.collect();
    let step = (window.end - window.start) / rows.len() as f64;
    for (n, row) in rows.into_iter().enumerate() {
        row["timestamp"] = json!(at(window.start + (n as f64 + 0.5) * step));
    }
}

impl Run {
    /// A run in which everything came as the guide says.
    fn supported() -> Self {
        static RUN: LazyLock<Run> = LazyLock::new(|| Run::continuing_as_new_every(EVERY));
        RUN.clone()
    }

    /// The same work, with a recovery that drops its history this often; 0 = never.
    fn continuing_as_new_every(every: u64) -> Self {
        let mut run = Self { files: BTreeMap::new(), phases: BTreeMap::new() };
        let mut start = 0.0;
        for (phase, iterations, every) in
            [("baseline", 50, 0), ("incident", ITERATIONS, 0), ("recovery", ITERATIONS, every)]
        {
            run.request(START_FUNCTION, start, 3.0);
            run.row("tables/dependencies", start, json!({"type": "Azure blob", "success": "True"}));
            // The host's own rows are shown, never judged.
            run.row("tables/dependencies", start, json!({"type": "Http", "success": "False"}));
            let storms = (0..INSTANCES).map(|index| run.storm((phase, index), start, iterations, every));
            let end = storms.fold(start, f64::max) + NOTICED_MS / 1000.0;
            run.row("phases", start, json!({"phase": phase, "start": at(start), "end": at(end)}));
            run.phases.insert(phase, start..end);
            start = end + 0.001;
        }
        for rows in run.files.values_mut() {
            rows.sort_by_key(|row| row["timestamp"].as_str().unwrap().to_owned());
        }
        run
    }

    fn row(&mut self, file: &'static str, seconds: f64, mut row: Value) {
        row["timestamp"] = json!(at(seconds));
        if file.starts_with("tables/") {
            row["cloud_RoleName"] = json!("app");
        }
        self.files.entry(file).or_default().push(row);
    }

    /// A request's row; gives its operation.
    fn request(&mut self, function: &str, seconds: f64, duration: f64) -> String {
        let operation = id(self.files.get("tables/requests").map_or(0, Vec::len));
        let columns = json!({
            "id": operation[16..], "operation_Name": function, "operation_Id": operation, "duration": duration, "success": "True",
        });
        self.row("tables/requests", seconds, columns);
        operation
    }

    /// The whole life of an instance; gives the second of its end.
    fn storm(&mut self, (phase, index): (&str, usize), start: f64, iterations: u64, every: u64) -> f64 {
        let instance = id(0xa000_0000 + 0x100 * self.phases.len() + index);
        let (mut now, mut done, mut batch) = (start, 0, 0);
        let last = loop {
            let length = if every == 0 { iterations } else { every.min(iterations - done) };
            for past in 0..=length {
                let operation = self.episode(&instance, &mut now, past);
                let mut line = |message: String| self.line(now, &instance, &operation, &message);
                if past > 0 && past % 50 == 0 {
                    let iteration = done + past;
                    line(format!(
                        "ReplayIteration instance={index} batch={batch} iteration={iteration}/{iterations} elapsed=7ms"
                    ));
                }
                if past < length {
                    self.request(ACTIVITY_FUNCTION, now, ACTIVITY_MS);
                    now += ACTIVITY_MS / 1000.0;
                } else if done + length < iterations {
                    let done = done + length;
                    line(format!("ContinueAsNew at iteration {done}/{iterations}, batch={batch}, resetting history"));
                } else {
                    let batches = batch + 1;
                    line(format!("Orchestration complete: instance={index} total={iterations} batches={batches}"));
                }
            }
            (done, batch) = (done + length, batch + 1);
            if done == iterations {
                break length;
            }
        };
        let output = json!({"totalIterations": iterations, "batches": batch, "finalBatchResults": last});
        let columns = json!({
            "phase": phase, "instanceId": instance, "instanceIndex": index, "iterations": iterations,
            "continueAsNewEvery": every, "runtimeStatus": "Completed", "output": output,
        });
        self.row("instances", start, columns);
        now
    }

    /// What an episode leaves: the host's request, the task hub's row, the handler's line.
    fn episode(&mut self, instance: &str, now: &mut f64, past: u64) -> String {
        let took = EPISODE_MS + REPLAY_MS * past as f64;
        let operation = self.request(ORCHESTRATOR_FUNCTION, *now, took);
        let columns = json!({
            "instanceId": instance, "pastEvents": 4 * past, "newEvents": 2,
            "readMs": STORAGE_MS, "callMs": took, "writeMs": STORAGE_MS,
        });
        self.row("tables/episodes", *now, columns);
        *now += took / 1000.0;
        let past = 4 * past;
        self.line(*now, instance, &operation, &format!("Episode past={past} new=2 decode=0.1ms outcome=Waiting"));
        operation
    }

    /// The handler's, filed under the instance.
    fn line(&mut self, seconds: f64, instance: &str, operation: &str, message: &str) {
        let dimensions = json!({"HostOperationId": operation, "instanceId": instance});
        let columns = json!({"message": message, "operation_Id": instance, "customDimensions": dimensions});
        self.row("tables/traces", seconds, columns);
    }

    /// Rows of a file that were written in a phase.
    fn of(&mut self, phase: &str, file: &str) -> impl Iterator<Item = &mut Value> {
        let Range { start, end } = self.phases[phase].clone();
        let (start, end) = (at(start), at(end));
        let is_of_phase = move |row: &&mut Value| (&*start..&*end).contains(&row["timestamp"].as_str().unwrap());
        self.files.get_mut(file).unwrap().iter_mut().filter(is_of_phase)
    }

    fn requests(&mut self, phase: &str, function: &str) -> impl Iterator<Item = &mut Value> {
        self.of(phase, "tables/requests").filter(move |row| row["operation_Name"] == function)
    }

    fn orchestrator(&mut self, phase: &str) -> impl Iterator<Item = &mut Value> {
        self.requests(phase, ORCHESTRATOR_FUNCTION)
    }

    fn instance(&mut self, phase: &str) -> &mut Value {
        self.of(phase, "instances").last().unwrap()
    }

    /// The last line of the run that begins so.
    fn last_line(&mut self, start: &str) -> &mut Value {
        let begins = |row: &&mut Value| row["message"].as_str().unwrap().starts_with(start);
        self.files.get_mut("tables/traces").unwrap().iter_mut().rev().find(begins).unwrap()
    }

    fn remove(&mut self, file: &str, wanted: impl Fn(&Value) -> bool) {
        self.files.get_mut(file).unwrap().retain(|row| !wanted(row));
    }

    fn remove_lines(&mut self, start: &str) {
        self.remove("tables/traces", |row| row["message"].as_str().unwrap().starts_with(start));
    }

    /// Leaves out one line of the run that begins so.
    fn remove_last_line(&mut self, start: &str) {
        *self.last_line(start) = Value::Null;
        self.remove("tables/traces", Value::is_null);
    }

    fn write(&self) -> TempDir {
        written(&self.files)
    }

    fn judge(&self) -> Told {
        Told::of("replay", self.write().path())
    }
}

type Change = fn(&mut Run);

/// A criterion, the least change that fails it, and the criteria that cannot but fail with it.
type Case = (&'static str, Change, &'static [&'static str]);

const CASES: &[Case] = &[
    ("baseline.completed", |run| run.instance("baseline")["runtimeStatus"] = json!("Failed"), &[]),
    (
        "baseline.p95",
        |run| {
            let slow = run.orchestrator("baseline").filter(|row| row["duration"].as_f64() > Some(55.0));
            slow.for_each(|row| scale(row, "duration", 2.0));
        },
        &[],
    ),
    ("incident.completed", |run| run.instance("incident")["runtimeStatus"] = json!("Terminated"), &[]),
    (
        "incident.rises",
        |run| {
            let rows: Vec<&mut Value> = run.orchestrator("incident").collect();
            let quarter = rows.len() / 4;
            let third = rows.into_iter().skip(2 * quarter).take(quarter);
            third.for_each(|row| row["duration"] = json!(60.0));
        },
        &[],
    ),
    ("incident.growth", |run| run.orchestrator("incident").for_each(|row| add(row, "duration", 200.0)), &[]),
    (
        "incident.throughput",
        |run| {
            let incident = run.phases["incident"].clone();
            spread(incident, run.orchestrator("incident"));
        },
        &[],
    ),
    (
        "incident.markers",
        |run| {
            let incident = run.phases["incident"].clone();
            let is_marker = |row: &&mut Value| row["message"].as_str().unwrap().starts_with("ReplayIteration ");
            spread(incident, run.of("incident", "tables/traces").filter(is_marker));
        },
        &[],
    ),
    ("recovery.completed", |run| run.instance("recovery")["runtimeStatus"] = json!("Running"), &[]),
    ("recovery.orchestrator", |run| run.orchestrator("recovery").for_each(|row| scale(row, "duration", 2.5)), &[]),
    (
        "recovery.flat",
        |run| {
            let rows: Vec<&mut Value> = run.orchestrator("recovery").collect();
            let quarter = rows.len() / 4;
            rows.into_iter().skip(3 * quarter).for_each(|row| scale(row, "duration", 3.0));
        },
        &[],
    ),
    ("recovery.resets", |run| run.remove_last_line("ContinueAsNew at "), &[]),
    // An instance that should have reset and never did lacks its lines, too.
    ("recovery.reset-at-all", |run| run.remove_lines("ContinueAsNew at "), &["recovery.resets"]),
    ("recovery.cost", |run| run.of("recovery", "tables/episodes").for_each(|row| scale(row, "callMs", 2.0)), &[]),
    (
        "recovery.wall",
        |run| {
            let (incident, recovery) = (run.phases["incident"].clone(), run.phases["recovery"].clone());
            let end = recovery.start + (incident.end - incident.start) + 1.0;
            run.of("recovery", "phases").for_each(|row| row["end"] = json!(at(end + 1.0)));
            run.orchestrator("recovery").last().unwrap()["timestamp"] = json!(at(end));
        },
        &[],
    ),
    (
        "falsified.activity",
        |run| run.requests("incident", ACTIVITY_FUNCTION).for_each(|row| row["duration"] = json!(4.1)),
        &[],
    ),
    (
        "falsified.dependencies",
        |run| run.of("incident", "tables/dependencies").for_each(|row| row["success"] = json!("False")),
        &[],
    ),
    (
        "falsified.platform",
        |run| run.requests("baseline", START_FUNCTION).for_each(|row| row["success"] = json!("False")),
        &[],
    ),
    // As slow as an incident of three times the baseline is more than twice the baseline.
    (
        "falsified.no-recovery",
        |run| run.orchestrator("recovery").for_each(|row| scale(row, "duration", 5.0)),
        &["recovery.orchestrator"],
    ),
    (
        "consistent.executions",
        |run| {
            let twice = run.last_line("Episode ").clone();
            run.files.get_mut("tables/traces").unwrap().push(twice);
        },
        &[],
    ),
    (
        "consistent.activities",
        |run| {
            let row = run.requests("recovery", ACTIVITY_FUNCTION).last().unwrap();
            *row = Value::Null;
            run.remove("tables/requests", Value::is_null);
        },
        &[],
    ),
    ("consistent.episodes", |run| run.last_line("Episode ")["customDimensions"]["HostOperationId"] = json!(id(0)), &[]),
    ("consistent.outputs", |run| run.instance("incident")["output"]["batches"] = json!(2), &[]),
    ("consistent.completions", |run| run.remove_last_line("Orchestration complete: "), &[]),
    ("consistent.lines", |run| run.files.entry("tables/exceptions").or_default().push(json!({"cut": true})), &[]),
    (
        "checklist.ledger",
        |run| {
            let first = run.of("recovery", "instances").next().unwrap()["instanceId"].clone();
            let end = run.phases["recovery"].end;
            let is_its = |row: &&mut Value| {
                row["operation_Id"] == first && row["message"].as_str().unwrap().starts_with("Orchestration complete")
            };
            run.files.get_mut("tables/traces").unwrap().iter_mut().find(is_its).unwrap()["timestamp"] =
                json!(at(end + 9.0));
        },
        &[],
    ),
    (
        "checklist.ids",
        |run| run.requests("incident", ACTIVITY_FUNCTION).last().unwrap()["operation_Id"] = json!("minute-0042"),
        &[],
    ),
    (
        "checklist.durations",
        |run| run.requests("incident", ACTIVITY_FUNCTION).last().unwrap()["duration"] = Value::Null,
        &[],
    ),
];

#[test]
fn a_run_as_the_guide_has_it_is_supported() {
    let folder = Run::supported().write();
    let judged = Told::of("replay", folder.path());
    assert_eq!(judged.with("pass"), ids("replay"), "{:#?}", judged.criteria);
    assert_eq!(judged.verdict, "supported");
    let counts = &judged.whole["counts"];
    let phases = ["baseline", "incident", "recovery"];
    let executions = phases.map(|it| counts[it]["executions"].as_u64().unwrap());
    assert_eq!(executions, [2 * 51, 2 * 201, 2 * 205], "an execution more than iterations in each batch");
    assert_eq!(phases.map(|it| counts[it]["instances"].as_u64().unwrap()), [2; 3]);

    let kept = bundle("replay", folder.path(), 3584.0);
    kept.keep(&kept.judge().unwrap()).unwrap();
    let timeline = fs::read_to_string(folder.path().join("timeline.csv")).unwrap();
    let rows: Vec<Vec<&str>> = timeline.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(rows[0], ["time_utc", "phase", "signal", "observation", "interpretation"]);
    let bins = phases.map(|phase| {
        let rows = rows.iter().filter(|row| row[1] == phase && row[2] == "requests");
        rows.map(|row| row[3].trim_start_matches('"').split(' ').next().unwrap().parse().unwrap()).collect::<Vec<u64>>()
    });
    assert_eq!(bins.each_ref().map(|it| it.iter().sum::<u64>()), executions, "each is in one bin: {timeline}");
    assert_eq!(bins[1].len(), 13, "{timeline}");
    assert!(bins[1].is_sorted_by(|one, next| one >= next), "{timeline}");
}

#[test]
fn each_criterion_turns_with_the_rows_it_is_about() {
    assert_eq!(CASES.iter().map(|(id, ..)| *id).collect::<Vec<_>>(), ids("replay"), "a case for each criterion");
    for (id, change, also) in CASES {
        let mut run = Run::supported();
        change(&mut run);
        let judged = run.judge();
        let wanted: Vec<String> =
            ids("replay").into_iter().filter(|it| it == id || also.contains(&it.as_str())).collect();
        assert_eq!(judged.with("fail"), wanted, "{id}: {:#?}", judged.criteria);
        assert_eq!(judged.with("pass").len(), ids("replay").len() - wanted.len(), "{id}: the others keep their result");
        let verdict = if id.starts_with("checklist.") { "inconclusive" } else { "not_supported" };
        assert_eq!(judged.verdict, verdict, "{id}");
    }
}

#[test]
fn a_failure_names_the_instances_it_is_about() {
    let cases: [(&str, Change); 4] = [
        ("recovery.completed", |run| run.instance("recovery")["runtimeStatus"] = json!("Running")),
        ("recovery.resets", |run| run.remove_last_line("ContinueAsNew at ")),
        ("consistent.outputs", |run| run.instance("recovery")["output"]["finalBatchResults"] = json!(45)),
        ("consistent.completions", |run| run.remove_last_line("Orchestration complete: ")),
    ];
    for (id, change) in cases {
        let mut run = Run::supported();
        change(&mut run);
        let judged = run.judge();
        let criterion = judged.criterion(id);
        let decides = |row: &&Value| row[criterion["column"].as_str().unwrap()] != 0;
        let rows: Vec<&Value> = criterion["rows"].as_array().unwrap().iter().filter(decides).collect();
        assert_eq!(rows.len(), 1, "{id}: {criterion:#}");
        assert_eq!(rows[0]["instanceId"], run.instance("recovery")["instanceId"], "{id}");
        assert_eq!(rows[0], &criterion["rows"][0], "{id}: the row that decides stands first");
    }
}

#[test]
fn a_line_that_contradicts_the_rest_fails_whatever_it_is_about() {
    let cases: [(Change, &[&str]); 4] = [
        (|run| run.remove_last_line("Episode "), &["consistent.executions", "consistent.episodes"]),
        (
            |run| {
                *run.orchestrator("recovery").last().unwrap() = Value::Null;
                run.remove("tables/requests", Value::is_null);
            },
            &["consistent.episodes"],
        ),
        (
            |run| {
                let line = run.last_line("Orchestration complete: ");
                line["message"] = json!("Orchestration complete: instance=1 total=199 batches=5");
            },
            &["consistent.completions"],
        ),
        (
            |run| {
                let twice = run.last_line("Orchestration complete: ").clone();
                run.files.get_mut("tables/traces").unwrap().push(twice);
            },
            &["consistent.completions"],
        ),
    ];
    for (change, wanted) in cases {
        let mut run = Run::supported();
        change(&mut run);
        assert_eq!(run.judge().with("fail"), wanted);
    }
}

#[test]
fn where_an_episode_without_history_costs_little_short_histories_may_show() {
    let mut run = Run::supported();
    run.orchestrator("baseline").for_each(|row| scale(row, "duration", 0.2));
    run.orchestrator("recovery").for_each(|row| scale(row, "duration", 0.6));
    let judged = run.judge();
    assert_eq!(judged.with("fail"), [""; 0]);
    let measured = judged.criteria.iter().find(|it| it["id"] == "recovery.orchestrator").unwrap();
    assert_eq!(measured["observed"], "0.97 x (18 and 18.5 ms)");
}

#[test]
fn a_recovery_without_its_cure_is_not_supported() {
    let judged = Run::continuing_as_new_every(0).judge();
    // Two equal walls differ by what their timestamps were rounded by.
    let failed: Vec<&str> = judged.with("fail").into_iter().filter(|it| *it != "recovery.wall").collect();
    let wanted =
        ["recovery.orchestrator", "recovery.flat", "recovery.reset-at-all", "recovery.cost", "falsified.no-recovery"];
    assert_eq!(failed, wanted, "{:#?}", judged.criteria);
    assert_eq!(judged.verdict, "not_supported");
    assert_eq!(judged.with("inconclusive"), [""; 0]);
}

#[test]
fn without_any_one_of_its_tables_a_run_is_inconclusive_and_says_by_name_why() {
    let run = Run::supported();
    for file in run.files.keys() {
        judged_without("replay", run.write().path(), 3584.0, &format!("{file}.jsonl"));
    }
}

#[test]
fn a_run_without_rows_is_inconclusive_and_no_criterion_passes_by_default() {
    let judged = Run { files: BTreeMap::new(), phases: BTreeMap::new() }.judge();
    assert_eq!(judged.with("inconclusive"), ids("replay"), "{:#?}", judged.criteria);
    assert_eq!(judged.verdict, "inconclusive");
    assert!(judged.criteria.iter().all(|it| !it["reason"].as_str().unwrap().is_empty()));
}
