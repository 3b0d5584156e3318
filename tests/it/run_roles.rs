//! `lab run roles` as a process: a short drill end to end, its control, one that is interrupted, and what is refused.
//!
//! Times are the machine's, and it is busy: nothing here depends on a duration.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Output, Stdio},
};

use incident_labs::blob::Plane;
use lab::machine::workspace::processes_of;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use crate::{
    bundles::ids,
    handler::{assert_no_secret, rows},
    harness::{Bench, LAB, UNDER_WAY, eventually, finished},
    run_oom::{assert_names_no_place, assert_verifies},
};

fn verdict_of(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// Ids of the criteria that came out so.
fn with<'a>(verdict: &'a Value, result: &str) -> Vec<&'a str> {
    let all = verdict["criteria"].as_array().unwrap().iter();
    all.filter(|it| it["result"] == result).map(|it| it["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn each_role_that_is_missing_is_found_and_the_app_recovers_once_it_is_granted() {
    let bench = Bench::new("roles");
    let output = finished(bench.command(&["--hold-s", "2", "--json"])).await;
    let verdict = verdict_of(&output);
    assert_eq!(with(&verdict, "pass"), ids("roles"), "{verdict:#}");
    assert_eq!((output.status.code(), &verdict["verdict"]), (Some(0), &json!("supported")));
    let run = bench.latest().unwrap();
    assert_verifies("roles", &run, &verdict);
    assert_no_secret(&run);
    assert_names_no_place(&run, &bench.path(""));
    assert_eq!(processes_of(&bench.work()), [0; 0]);

    let roles: Vec<String> =
        rows(&run.join("roles.jsonl")).iter().map(|it| it["role"].as_str().unwrap().to_owned()).collect();
    assert_eq!(roles, [Plane::Queue, Plane::Blob, Plane::File, Plane::Table].map(Plane::role));
    let findings = rows(&run.join("journal.jsonl")).into_iter().filter(|it| it["text"] == "the doctor finds");
    let findings: Vec<Value> = findings.collect();
    for (finding, role) in findings.iter().zip(&roles) {
        assert!(finding["mend"].as_str().unwrap().contains(role.as_str()), "{finding:#}");
    }
    assert_eq!(findings.len(), 4);
    // The function cannot be asked while the host does not start; then the lines of the handler's start tell.
    let looks = rows(&run.join("examinations.jsonl"));
    let sources = |phase: &str| {
        let named = looks.iter().filter(|it| it["phase"] == phase && !it["found"].as_array().unwrap().is_empty());
        let mut sources: Vec<&str> = named.map(|it| it["source"].as_str().unwrap()).collect();
        sources.dedup();
        sources
    };
    assert_eq!((sources("queue"), sources("table")), (vec!["function"], vec!["lines"]));
    let told = String::from_utf8(output.stderr).unwrap();
    for part in ["starting the app\n", "control  well after", "queue    withheld for", "table    well after"] {
        assert!(told.contains(part), "{part}: {told}");
    }
}

#[tokio::test]
async fn with_every_role_there_nothing_is_found_and_the_hypothesis_is_not_supported() {
    let bench = Bench::new("roles");
    let output = finished(bench.command(&["--all-roles", "--hold-s", "1", "--json"])).await;
    let verdict = verdict_of(&output);
    assert_eq!(
        (output.status.code(), &verdict["verdict"], &verdict["control"]),
        (Some(1), &json!("not_supported"), &json!(true))
    );
    let failed = with(&verdict, "fail");
    for id in
        ["withheld.roles", "queue.found", "blob.found", "file.found", "table.found", "queue.symptom", "table.refused"]
    {
        assert!(failed.contains(&id), "{id}: {verdict:#}");
    }
    let passed = with(&verdict, "pass");
    for id in [
        "control.nothing-found",
        "control.work",
        "falsified.other-role",
        "falsified.refused-anyway",
        "falsified.lost",
        "consistent.lines",
    ] {
        assert!(passed.contains(&id), "{id}: {verdict:#}");
    }
    let looks = rows(&bench.latest().unwrap().join("examinations.jsonl"));
    assert!(looks.len() > 5 && looks.iter().all(|it| it["found"] == json!([])), "{looks:#?}");
}

#[tokio::test]
async fn a_drill_that_is_interrupted_ends_at_once_and_leaves_no_process() {
    let interrupted = async |when: &'static str| {
        let bench = Bench::new("roles");
        let mut command = bench.command(&["--hold-s", "1", "--longest-s", "600"]);
        let mut lab = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let told = BufReader::new(lab.stderr.take().unwrap());
        let (pid, work) = (Pid::from_child(&lab), bench.work());
        let rest = spawn_blocking(move || {
            let mut lines = told.lines().map(Result::unwrap);
            lines.by_ref().find(|it| it.contains(when)).unwrap_or_else(|| panic!("it never says {when}"));
            kill_process(pid, Signal::INT).unwrap();
            (lab.wait().unwrap().code(), lines.collect::<Vec<_>>())
        });
        let (code, rest) = rest.await.unwrap();
        assert_eq!((code, rest.last().map(String::as_str)), (Some(3), Some("error: interrupted")), "{when}: {rest:?}");
        eventually(UNDER_WAY, async || processes_of(&work).is_empty().then_some(())).await;
    };
    // While the app starts, and while its host waits for the role.
    tokio::join!(interrupted("starting the app without a role"), interrupted("table    withheld"));
}

#[test]
fn what_cannot_be_carried_out_is_refused_before_anything_is_written() {
    let bench = Bench::new("roles");
    let azure =
        ["--on", "azure", "--app", "a", "--resource-group", "g", "--workspace", "00000000-0000-0000-0000-000000000001"];
    for (arguments, told) in [
        (&azure[..], "the roles lab is for this machine"),
        (&["--hold-s", "9", "--longest-s", "9"], "--longest-s is 9: more than the 9 of --hold-s"),
    ] {
        let mut command = Command::new(&*LAB);
        command.args(["run", "roles"]).args(arguments).arg("--evidence").arg(bench.path("evidence"));
        let output = command.output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{error}");
        assert!(error.contains(told), "{error}");
    }
    assert!(bench.latest().is_none());
    let load = Command::new(&*LAB).args(["load", "roles"]).output().unwrap();
    assert_eq!(load.status.code(), Some(64), "its load makes no sense alone: {load:?}");
}
