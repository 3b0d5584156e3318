//! The roles lab's criteria, each shown to turn: a drill that supports the hypothesis, and the same drill with one thing wrong.

use std::sync::LazyLock;

use custom_handler::clock;
use serde_json::{Value, json};
use tempfile::TempDir;
use time::{Duration, OffsetDateTime, macros::datetime};

use crate::bundles::{Files, Told, ids, judged_without, written};

const START: OffsetDateTime = datetime!(2026-04-05 01:30:00 UTC);
/// Phase, its first second, the grant, and its last.
const PHASES: [(&str, f64, f64, f64); 5] = [
    ("control", 0.0, 0.0, 4.0),
    ("queue", 4.0, 12.0, 16.0),
    ("blob", 16.0, 24.0, 28.0),
    ("file", 28.0, 36.0, 40.0),
    ("table", 40.0, 52.0, 60.0),
];
const CODE: &str = "403 AuthorizationPermissionMismatch";

/// A drill, as files of rows.
#[derive(Clone)]
struct Drill(Files);

fn at(seconds: f64) -> String {
    clock::timestamp(START + Duration::seconds_f64(seconds))
}

impl Drill {
    /// A drill in which each role showed what it should, and its absence was over with the grant.
    fn supported() -> Self {
        static DRILL: LazyLock<Drill> = LazyLock::new(|| {
            let mut drill = Drill(Files::new());
            PHASES.iter().for_each(|it| drill.phase(*it));
            drill
        });
        DRILL.clone()
    }

    fn phase(&mut self, (phase, start, grant, end): (&str, f64, f64, f64)) {
        self.row("phases", start, json!({"phase": phase, "start": at(start), "end": at(end)}));
        let is_withheld = phase != "control";
        let look = |found: &[String]| {
            let (source, seen) = (
                if phase == "table" && !found.is_empty() { "lines" } else { "function" },
                if found.is_empty() { "" } else { CODE },
            );
            json!({"phase": phase, "source": source, "found": found, "unknown": 0, "seen": seen})
        };
        if is_withheld {
            let columns = json!({"phase": phase, "plane": phase, "role": format!("Storage {phase}"), "withheld": true, "end": at(grant)});
            self.row("roles", start, columns);
            // What the handler found a moment ago is its answer for a second.
            self.row("examinations", start + 0.1, look(&[]));
            self.row("examinations", start + 2.0, look(&[format!("role.{phase}")]));
        }
        self.row("examinations", grant + 1.5, look(&[]));
        for piece in ["blob", "orchestration"] {
            let waits = phase == "table" || (piece == "blob" && matches!(phase, "queue" | "blob"));
            let done = if waits { grant + 1.0 } else { start + 1.5 };
            let refused = if phase == "table" && piece == "orchestration" { 9 } else { 0 };
            let columns = json!({"phase": phase, "piece": piece, "name": phase, "refused": refused, "isRight": true, "end": at(done)});
            self.row("work", start + 0.1, columns);
        }
        self.telemetry(phase, start, grant);
    }

    fn telemetry(&mut self, phase: &str, start: f64, grant: f64) {
        self.line(
            start + 1.0,
            "Storage access: table refused (403 AuthorizationPermissionMismatch): the app needs that role",
        );
        match phase {
            "queue" | "blob" => {
                self.line(start + 1.0, "blob listing fails and will be repeated: 403: AuthorizationPermissionMismatch")
            }
            "table" => {
                self.line(start + 1.0, "A host error has occurred during startup operation '1'.");
                let text = "not authorized\nStatus: 403\nErrorCode: AuthorizationPermissionMismatch";
                self.row(
                    "tables/exceptions",
                    start + 1.0,
                    json!({"outerMessage": text, "type": "Azure.RequestFailedException"}),
                );
                self.line(grant + 0.5, "Host started (61ms)");
            }
            _ => {}
        }
        if phase != "table" {
            self.row(
                "tables/requests",
                start + 0.5,
                json!({"operation_Name": "replay_storm_orchestrator", "success": "True"}),
            );
        }
    }

    fn line(&mut self, seconds: f64, message: &str) {
        self.row("tables/traces", seconds, json!({"message": message, "severityLevel": 1}));
    }

    fn row(&mut self, file: &'static str, seconds: f64, mut row: Value) {
        row["timestamp"] = json!(at(seconds));
        if file.starts_with("tables/") {
            row["cloud_RoleName"] = json!("app");
        }
        self.0.entry(file).or_default().push(row);
    }

    /// The rows of a file that are a phase's.
    fn of(&mut self, phase: &str, file: &str) -> impl Iterator<Item = &mut Value> {
        self.0.get_mut(file).unwrap().iter_mut().filter(move |row| row["phase"] == phase)
    }

    fn work(&mut self, phase: &str, piece: &str) -> &mut Value {
        self.of(phase, "work").find(|it| it["piece"] == piece).unwrap()
    }

    /// The look that names the role of a phase.
    fn named(&mut self, phase: &str) -> &mut Value {
        self.of(phase, "examinations").find(|it| it["seen"] == CODE).unwrap()
    }

    fn without_lines(&mut self, from: f64, to: f64, start: &str) {
        let is_it = |row: &Value| {
            let is_within = row["timestamp"].as_str().unwrap() >= at(from).as_str()
                && row["timestamp"].as_str().unwrap() < at(to).as_str();
            is_within && row["message"].as_str().unwrap().starts_with(start)
        };
        self.0.get_mut("tables/traces").unwrap().retain(|row| !is_it(row));
    }

    fn write(&self) -> TempDir {
        written(&self.0)
    }

    fn judge(&self) -> Told {
        Told::of("roles", self.write().path())
    }
}

type Change = fn(&mut Drill);

/// A criterion, the least change that fails it, and the criteria that cannot but fail with it.
type Case = (&'static str, Change, &'static [&'static str]);

const CASES: &[Case] = &[
    (
        "control.nothing-found",
        |drill| {
            drill.row(
                "examinations",
                1.0,
                json!({"phase": "control", "source": "function", "found": ["role.table"], "unknown": 0, "seen": CODE}),
            )
        },
        &["falsified.other-role"],
    ),
    ("control.work", |drill| drill.work("control", "blob")["isRight"] = json!(false), &["falsified.lost"]),
    ("withheld.roles", |drill| drill.of("file", "roles").for_each(|it| it["withheld"] = json!(false)), &[]),
    ("queue.found", |drill| drill.named("queue")["found"] = json!([]), &[]),
    ("queue.symptom", |drill| drill.without_lines(4.0, 16.0, "blob listing"), &[]),
    ("queue.work", |drill| drill.work("queue", "blob")["end"] = json!(at(9.0)), &[]),
    ("queue.recovery", |drill| drill.work("queue", "blob")["end"] = json!(at(12.0 + 121.0)), &[]),
    (
        "blob.found",
        |drill| drill.named("blob")["found"] = json!(["role.blob", "role.queue"]),
        &["falsified.other-role"],
    ),
    ("blob.symptom", |drill| drill.without_lines(16.0, 28.0, "blob listing"), &[]),
    ("blob.work", |drill| drill.work("blob", "blob")["end"] = json!(at(20.0)), &[]),
    (
        "blob.recovery",
        |drill| {
            drill
                .of("blob", "examinations")
                .filter(|it| it["timestamp"].as_str().unwrap() > at(24.0).as_str())
                .for_each(|it| it["timestamp"] = json!(at(24.0 + 121.0)))
        },
        &[],
    ),
    ("file.found", |drill| drill.named("file")["timestamp"] = json!(at(36.2)), &[]),
    ("file.symptom", |drill| drill.line(30.0, "mount fails: 403: AuthorizationPermissionMismatch"), &[]),
    ("file.work", |drill| drill.work("file", "orchestration")["end"] = json!(at(37.0)), &[]),
    (
        "file.recovery",
        |drill| {
            drill
                .of("file", "examinations")
                .filter(|it| it["timestamp"].as_str().unwrap() > at(36.0).as_str())
                .for_each(|it| it["timestamp"] = json!(at(36.0 + 121.0)))
        },
        &[],
    ),
    ("table.found", |drill| drill.named("table")["found"] = json!(["role.queue"]), &["falsified.other-role"]),
    ("table.symptom", |drill| drill.without_lines(40.0, 52.0, "A host error"), &[]),
    (
        "table.error",
        |drill| drill.0.get_mut("tables/exceptions").unwrap()[0]["outerMessage"] = json!("Status: 500"),
        &[],
    ),
    ("table.refused", |drill| drill.work("table", "orchestration")["refused"] = json!(0), &[]),
    ("table.work", |drill| drill.work("table", "blob")["end"] = json!(at(45.0)), &[]),
    ("table.indexed", |drill| drill.without_lines(52.0, 60.0, "Host started"), &[]),
    ("table.recovery", |drill| drill.work("table", "orchestration")["end"] = json!(at(52.0 + 121.0)), &[]),
    (
        "falsified.other-role",
        |drill| {
            drill.row(
                "examinations",
                13.7,
                json!({"phase": "queue", "source": "function", "found": ["role.blob"], "unknown": 0, "seen": CODE}),
            )
        },
        &[],
    ),
    (
        "falsified.refused-anyway",
        |drill| drill.line(2.0, "list container input: 403: AuthorizationPermissionMismatch"),
        &[],
    ),
    (
        "falsified.storm",
        |drill| {
            drill.row(
                "tables/requests",
                45.0,
                json!({"operation_Name": "replay_storm_orchestrator", "success": "True"}),
            )
        },
        &[],
    ),
    ("falsified.lost", |drill| drill.work("queue", "blob")["isRight"] = json!(false), &[]),
    ("consistent.held", |drill| drill.work("control", "blob")["end"] = json!(at(4.5)), &[]),
    ("consistent.lines", |drill| drill.row("tables/dependencies", 70.0, json!({"cut": true})), &[]),
    ("checklist.codes", |drill| drill.named("queue")["seen"] = json!("403 AuthenticationFailed"), &[]),
];

#[test]
fn a_drill_in_which_each_role_shows_what_it_should_is_supported() {
    let judged = Drill::supported().judge();
    assert_eq!(judged.with("pass"), ids("roles"), "{:#?}", judged.criteria);
    assert_eq!(judged.verdict, "supported");
    let counts = &judged.whole["counts"];
    assert_eq!((&counts["table"]["orchestration"], &counts["table"]["starts_refused"]), (&json!("+1.0 s"), &json!(9)));
    assert_eq!(counts["file"]["blob"], "done meanwhile");
    assert_eq!(judged.criterion("table.recovery")["observed"], "1.50 s (work 1, doctor 1.5)");
}

#[test]
fn each_criterion_turns_with_the_rows_it_is_about() {
    let (all, cases) = (ids("roles"), CASES.iter().map(|(id, ..)| *id).collect::<Vec<_>>());
    assert_eq!(cases, all, "a case for each criterion");
    for (id, change, also) in CASES {
        let mut drill = Drill::supported();
        change(&mut drill);
        let judged = drill.judge();
        let wanted: Vec<&String> = all.iter().filter(|it| it == id || also.contains(&it.as_str())).collect();
        assert_eq!(judged.with("fail"), wanted, "{id}: {:#?}", judged.criteria);
        assert_eq!(judged.with("pass").len(), all.len() - wanted.len(), "{id}: the others keep their result");
        let verdict = if id.starts_with("checklist.") { "inconclusive" } else { "not_supported" };
        assert_eq!(judged.verdict, verdict, "{id}");
    }
}

#[test]
fn work_that_is_never_done_and_a_role_that_stays_refused_fail_what_they_are_about() {
    let mut drill = Drill::supported();
    drill.work("table", "blob").as_object_mut().unwrap().remove("end");
    let judged = drill.judge();
    assert_eq!(judged.with("fail"), ["falsified.lost"], "{:#?}", judged.criteria);
    assert_eq!(judged.with("inconclusive"), ["table.recovery"], "it has no time to tell");

    let mut drill = Drill::supported();
    drill.of("file", "examinations").for_each(|it| (it["found"], it["seen"]) = (json!(["role.file"]), json!(CODE)));
    let judged = drill.judge();
    assert_eq!(
        (judged.with("fail").len(), judged.with("inconclusive")),
        (0, vec!["file.recovery"]),
        "{:#?}",
        judged.criteria
    );
    assert_eq!(judged.verdict, "inconclusive");
}

#[test]
fn without_any_one_of_its_tables_a_drill_is_inconclusive_and_says_by_name_why() {
    let drill = Drill::supported();
    for file in drill.0.keys() {
        judged_without("roles", drill.write().path(), 3584.0, &format!("{file}.jsonl"));
    }
}

#[test]
fn a_drill_without_rows_is_inconclusive_and_no_criterion_passes_by_default() {
    let judged = Drill(Files::new()).judge();
    assert_eq!(judged.with("inconclusive"), ids("roles"), "{:#?}", judged.criteria);
    assert_eq!(judged.verdict, "inconclusive");
}
