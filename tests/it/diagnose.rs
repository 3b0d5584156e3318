//! `lab diagnose`: the incidents of Microsoft's own host are named, and each branch of the flow is taken by rows that a test writes.

use std::{fs, path::Path, process::Command};

use custom_handler::clock;
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime, macros::datetime};

use crate::{
    harness::{LAB, Scratch},
    queries::recorded,
};

const START: OffsetDateTime = datetime!(2026-04-05 01:30:00 UTC);
/// A moment between two executions of a storm.
const STEP: f64 = 0.1;

/// Telemetry of an app that has nothing of this repository's names.
#[derive(Default)]
struct App {
    requests: Vec<Value>,
    traces: Vec<Value>,
    counters: Vec<Value>,
}

fn at(seconds: f64) -> String {
    clock::timestamp(START + Duration::seconds_f64(seconds))
}

impl App {
    fn request(&mut self, name: &str, seconds: f64, duration: f64, success: &str) {
        self.requests.push(json!({
            "timestamp": at(seconds), "operation_Name": name, "duration": duration, "success": success, "cloud_RoleName": "shop",
        }));
    }

    fn line(&mut self, seconds: f64, category: &str, message: &str) {
        self.traces.push(json!({
            "timestamp": at(seconds), "message": message, "cloud_RoleName": "shop", "customDimensions": {"Category": category},
        }));
    }

    /// The durable extension's line about a function.
    fn kind(&mut self, name: &str, kind: &str) {
        let message = format!("7f00: Function '{name} ({kind})' started. IsReplay: False. State: Started.");
        self.line(0.0, "Host.Triggers.DurableTask", &message);
    }

    /// An orchestration of so many executions, each with an activity and an HTTP call; durations by how far it is.
    fn storm(mut self, count: usize, [orchestrator, activity, http]: [fn(f64) -> f64; 3]) -> Self {
        self.kind("Checkout", "Orchestrator");
        self.kind("Reserve", "Activity");
        for n in 0..count {
            let (now, far) = (n as f64 * STEP, n as f64 / count as f64);
            self.request("Checkout", now, orchestrator(far), "True");
            self.request("Reserve", now + 0.03, activity(far), "True");
            self.request("Basket", now + 0.06, http(far), "True");
        }
        self
    }

    fn diagnosed(&self, arguments: &[&str]) -> Diagnosed {
        let scratch = Scratch::new();
        let tables = scratch.path().join("theirs/tables");
        fs::create_dir_all(&tables).unwrap();
        for (table, rows) in
            [("requests", &self.requests), ("traces", &self.traces), ("performanceCounters", &self.counters)]
        {
            let text: String = rows.iter().map(|it| format!("{it}\n")).collect();
            if !rows.is_empty() {
                fs::write(tables.join(format!("{table}.jsonl")), text).unwrap();
            }
        }
        diagnosed(&scratch.path().join("theirs"), arguments)
    }
}

struct Diagnosed {
    code: i32,
    told: Value,
}

fn diagnosed(folder: &Path, arguments: &[&str]) -> Diagnosed {
    let output = Command::new(&*LAB).arg("diagnose").arg(folder).arg("--json").args(arguments).output().unwrap();
    let told = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    Diagnosed { code: output.status.code().unwrap(), told }
}

impl Diagnosed {
    fn verdict(&self) -> Vec<&str> {
        self.told["verdict"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect()
    }

    /// The step whose question has these words.
    fn step(&self, words: &str) -> &Value {
        let steps = self.told["steps"].as_array().unwrap();
        let found = steps.iter().find(|it| it["question"].as_str().unwrap().contains(words));
        found.unwrap_or_else(|| panic!("no step asks {words}: {:#}", self.told))
    }

    fn replies<const N: usize>(&self, words: [&str; N]) -> [&str; N] {
        words.map(|it| self.step(it)["reply"].as_str().unwrap())
    }
}

const GROWS: fn(f64) -> f64 = |far| 5.0 + 30.0 * far;
const FLAT: fn(f64) -> f64 = |_| 3.0;

#[test]
fn the_storm_on_microsofts_host_is_found_without_phases_though_a_recovery_follows_it() {
    let scratch = Scratch::new();
    let found = diagnosed(&recorded(&scratch, "replay.jsonl.gz", None), &[]);
    assert_eq!((found.code, found.verdict()), (1, vec!["storm"]), "{:#}", found.told);
    let words = ["indexing", "killed for memory", "orchestrator", "activity", "everything else", "history dropped"];
    assert_eq!(found.replies(words), ["yes", "no", "yes", "no", "no", "no"]);
    let storm = &found.told["findings"][0];
    assert!(storm["said"].as_str().unwrap().starts_with("replay_storm_orchestrator grew 2."), "{storm:#}");
    assert!(storm["next"].as_str().unwrap().starts_with("keep the ContinueAsNew that came after it"), "{storm:#}");
    for step in found.told["steps"].as_array().unwrap() {
        assert!(step["queries"][0].as_str().unwrap().starts_with("diagnose-"), "{step:#}");
    }
}

#[test]
fn the_kills_on_microsofts_host_are_found_and_a_small_storm_beside_them_is_not_one() {
    let scratch = Scratch::new();
    let found = diagnosed(&recorded(&scratch, "telemetry.jsonl.gz", None), &[]);
    assert_eq!((found.code, found.verdict()), (1, vec!["oom"]), "{:#}", found.told);
    assert_eq!(found.told["findings"][0]["grade"], "correlated");
    let row = &found.step("killed for memory")["rows"][0];
    assert_eq!((&row["kills"], &row["restarts"], &row["memoryErrors"]), (&json!(5), &json!(5), &json!(7)));
    assert_eq!(found.replies(["fail when the worker goes", "orchestrator"]), ["yes", "no"]);
    // 400 iterations: 1.8 x, where 2 x counts.
    assert!(found.step("orchestrator")["said"].as_str().unwrap().contains("grew 1.8 x at most"), "{:#}", found.told);
}

#[test]
fn each_branch_of_the_replay_flow_is_taken() {
    let storm = App::default().storm(300, [GROWS, FLAT, FLAT]).diagnosed(&[]);
    assert_eq!((storm.code, storm.verdict()), (1, vec!["storm"]), "{:#}", storm.told);
    assert!(storm.told["findings"][0]["next"].as_str().unwrap().starts_with("apply ContinueAsNew"));

    let mut tuned = App::default().storm(300, [GROWS, FLAT, FLAT]);
    tuned.line(
        15.0,
        "Function.Checkout.User",
        "7f00: Function 'Checkout (Orchestrator)' completed. ContinuedAsNew: True.",
    );
    let tuned = tuned.diagnosed(&[]);
    assert!(tuned.told["findings"][0]["next"].as_str().unwrap().starts_with("tune the batch size"), "{:#}", tuned.told);

    let activity = App::default().storm(300, [GROWS, GROWS, FLAT]).diagnosed(&[]);
    assert_eq!((activity.code, activity.verdict().len()), (0, 0), "\"activity got slower\": {:#}", activity.told);
    assert_eq!(activity.replies(["orchestrator", "activity", "everything else"]), ["yes", "yes", "not_asked"]);

    let platform = App::default().storm(300, [GROWS, FLAT, GROWS]).diagnosed(&[]);
    assert_eq!((platform.code, platform.verdict().len()), (0, 0), "\"platform incident only\": {:#}", platform.told);
    assert_eq!(platform.replies(["activity", "everything else"]), ["no", "yes"]);

    let healthy = App::default().storm(300, [FLAT, FLAT, FLAT]).diagnosed(&[]);
    assert_eq!((healthy.code, healthy.verdict().len()), (0, 0), "{:#}", healthy.told);
    let cold: fn(f64) -> f64 = |far| if far < 0.05 { 900.0 } else { 3.0 };
    assert_eq!(App::default().storm(300, [cold, FLAT, FLAT]).diagnosed(&[]).verdict(), [""; 0]);
    let sawtooth: fn(f64) -> f64 = |far| 3.0 + 8.0 * ((far * 8.0) % 1.0);
    assert_eq!(App::default().storm(400, [sawtooth, FLAT, FLAT]).diagnosed(&[]).verdict(), [""; 0]);
    let few = App::default().storm(30, [GROWS, FLAT, FLAT]).diagnosed(&[]);
    assert_eq!(few.replies(["orchestrator"]), ["no"], "30 executions are too few to tell");
}

#[test]
fn an_orchestrator_that_no_line_tells_of_is_known_by_the_activity_that_keeps_step_with_it() {
    let mut app = App::default().storm(300, [GROWS, FLAT, FLAT]);
    app.traces.clear();
    app.line(0.0, "Host.Startup", "Host started (412ms)");
    let found = app.diagnosed(&[]);
    assert_eq!(found.verdict(), ["storm"], "{:#}", found.told);
    assert!(found.told["findings"][0]["said"].as_str().unwrap().starts_with("Checkout grew"));
}

#[test]
fn a_host_that_cannot_index_is_another_incident_than_what_came_after_it_was_mended() {
    let refusal = "This request is not authorized to perform this operation using this permission. \
                   ErrorCode: AuthorizationPermissionMismatch";
    let mut broken = App::default();
    broken.line(1.0, "Host.Startup", refusal);
    broken.line(2.0, "Host.Startup", "No job functions found. Try making your job classes and methods public.");
    let found = broken.diagnosed(&[]);
    assert_eq!((found.code, found.verdict()), (1, vec!["indexing_failure"]), "{:#}", found.told);
    assert!(found.told["findings"][0]["next"].as_str().unwrap().contains("Storage Table Data Contributor"));

    let mut mended = App::default();
    mended.line(-60.0, "Host.Startup", refusal);
    let mended = mended.storm(300, [GROWS, FLAT, FLAT]).diagnosed(&[]);
    assert_eq!(mended.verdict(), ["storm"], "{:#}", mended.told);
    assert!(mended.step("indexing")["said"].as_str().unwrap().starts_with("it was not, and is"));

    // A function that storage refuses says nothing about the host.
    let mut own = App::default().storm(50, [FLAT, FLAT, FLAT]);
    own.line(60.0, "Function.Basket.User", refusal);
    assert_eq!(own.diagnosed(&[]).verdict(), [""; 0]);
}

/// An app whose worker ends with a code, as Python's does on the stock host.
fn exiting(code: u8) -> App {
    let mut app = App::default();
    for n in 0..20 {
        app.request("Resize", f64::from(n), 50.0, if n > 10 { "False" } else { "True" });
    }
    app.line(12.0, "Host.Function.Console", &format!("python exited with code {code} (0x89)"));
    app.line(13.0, "Host.General", "Restarting worker process");
    app.line(14.0, "Host.General", "Worker process started and initialized.");
    app
}

#[test]
fn the_signature_of_memory_is_graded_by_what_comes_with_it() {
    let grade = |app: &App| {
        let found = app.diagnosed(&["--limit-mib", "1000"]);
        assert_eq!((found.code, found.verdict()), (1, vec!["oom"]), "{:#}", found.told);
        found.told["findings"][0]["grade"].as_str().unwrap().to_owned()
    };
    let mut killed = exiting(137);
    assert_eq!(grade(&killed), "observed", "an exit alone");
    killed.counters.push(json!({
        "timestamp": at(11.0), "counter": "Private Bytes", "value": 900.0 * 1024.0 * 1024.0, "cloud_RoleName": "shop",
    }));
    assert_eq!(grade(&killed), "correlated", "and memory near the limit");
    let mut refused = App::default();
    refused.request("Resize", 0.0, 1.0, "False");
    refused.line(1.0, "Function.Resize.User", "MemoryError: cannot allocate bytes object");
    assert_eq!(grade(&refused), "inferred", "a failure that no exit followed");

    let crashed = exiting(139).diagnosed(&[]);
    assert_eq!((crashed.code, crashed.verdict().len()), (0, 0), "{:#}", crashed.told);
    let follows = crashed.step("killed for memory")["follows"].as_str().unwrap().to_owned();
    assert_eq!(follows, "exits with other codes are another matter: read their lines");
}

#[test]
fn what_tables_cannot_tell_is_never_a_no() {
    let mut app = App::default().storm(60, [FLAT, FLAT, FLAT]);
    app.traces.clear();
    let found = app.diagnosed(&[]);
    assert_eq!(found.code, 2, "{:#}", found.told);
    assert_eq!(found.replies(["indexing", "killed for memory"]), ["cannot_tell"; 2]);
    let why = found.step("indexing")["said"].as_str().unwrap();
    assert_eq!(why, "the table traces is missing: there is no tables/traces.jsonl");

    let scratch = Scratch::new();
    let output = Command::new(&*LAB).arg("diagnose").arg(scratch.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(64), "{output:?}");
    fs::create_dir(scratch.path().join("tables")).unwrap();
    let output = Command::new(&*LAB).arg("diagnose").arg(scratch.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("there are no rows in requests or traces"), "{output:?}");
}

#[test]
fn rows_that_no_host_would_write_are_borne() {
    let mut app = App::default().storm(80, [FLAT, FLAT, FLAT]);
    for odd in [json!(null), json!(-5), json!(1e300), json!("slow"), json!("NaN")] {
        let mut row = app.requests[3].clone();
        row["duration"] = odd;
        app.requests.push(row);
    }
    app.requests.reverse();
    app.requests.push(json!({"operation_Name": "Checkout"}));
    let found = app.diagnosed(&[]);
    assert_eq!((found.code, found.verdict().len()), (0, 0), "{:#}", found.told);
    let output = Command::new(&*LAB).args(["diagnose", "--from", "yesterday", "/"]).output().unwrap();
    assert_eq!(output.status.code(), Some(64));
}
