//! `lab run replay` and `lab load replay` as processes: short runs end to end, a run that is killed, and what is refused.
//!
//! Times are the machine's, and it is busy: nothing here depends on a duration.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use lab::machine::workspace::processes_of;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::{
    handler::{assert_no_secret, free_port, rows},
    harness::{Bench, HANDLER, LAB, Scratch, UNDER_WAY, eventually, finished},
    run_oom::{assert_names_no_place, assert_verifies},
    task_hub::ReplayLab,
};

const PHASES: [&str; 3] = ["baseline", "incident", "recovery"];
/// More than any test waits for.
const ENDLESS: &str = "14000";

fn bench() -> Bench {
    Bench::new("replay")
}

async fn output(bench: &Bench, arguments: &[&str]) -> Output {
    finished(bench.command(arguments)).await
}

/// Starts an endless run and waits until its incident is under way; its folder, and the processes it consists of then.
async fn under_way(bench: &Bench) -> (Child, PathBuf, Vec<u32>) {
    let before = bench.latest();
    let mut command = bench.command(&["--iterations", ENDLESS]);
    let mut lab = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let run = eventually(UNDER_WAY, async || {
        assert_eq!(lab.try_wait().unwrap(), None, "the run has ended");
        let run = bench.latest().filter(|it| Some(it) != before.as_ref())?;
        let baseline = complete_rows(&run.join("phases.jsonl")).pop()?;
        let is_later = |row: &Value| row["timestamp"].as_str() > baseline["end"].as_str();
        complete_rows(&run.join("tables/episodes.jsonl")).iter().any(is_later).then_some(run)
    })
    .await;
    (lab, run, processes_of(&bench.work()))
}

/// Rows of a table that is being written.
fn complete_rows(table: &Path) -> Vec<Value> {
    let text = fs::read_to_string(table).unwrap_or_default();
    let complete = text.rfind('\n').map_or(0, |it| it + 1);
    text[..complete].lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn verdict_of(run: &Path) -> Value {
    serde_json::from_slice(&fs::read(run.join("verdict.json")).unwrap()).unwrap()
}

/// What came of a criterion.
fn result<'a>(verdict: &'a Value, id: &str) -> &'a Value {
    let criterion = verdict["criteria"].as_array().unwrap().iter().find(|it| it["id"] == id);
    &criterion.unwrap_or_else(|| panic!("no {id} in {verdict:#}"))["result"]
}

/// All instances completed, nothing failed, and the rows agree: as true of a short run as of a long one.
fn assert_nothing_is_lost(verdict: &Value) {
    let criteria = verdict["criteria"].as_array().unwrap();
    let ids: Vec<&str> = criteria.iter().map(|it| it["id"].as_str().unwrap()).collect();
    let consistency: Vec<&str> = ids.iter().filter(|it| it.starts_with("consistent.")).copied().collect();
    assert!(consistency.len() >= 5, "{ids:?}");
    let always = ["recovery.resets", "falsified.dependencies", "falsified.platform"];
    let completed = ids.iter().filter(|it| it.ends_with(".completed")).copied();
    for id in always.into_iter().chain(completed).chain(consistency) {
        assert_eq!(result(verdict, id), "pass", "{id}: {criteria:#?}");
    }
}

#[tokio::test]
async fn a_run_without_the_cure_is_not_supported() {
    let bench = bench();
    let output = output(&bench, &["--iterations", "120", "--continue-as-new-every", "0"]).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let run = bench.latest().unwrap();
    let verdict = verdict_of(&run);
    assert_eq!((&verdict["lab"], &verdict["verdict"]), (&json!("replay"), &json!("not_supported")));
    assert_eq!(result(&verdict, "recovery.reset-at-all"), "fail", "{verdict:#}");
    assert_nothing_is_lost(&verdict);
    let told = String::from_utf8(output.stdout).unwrap();
    for part in ["Verdict: NOT SUPPORTED", &format!("evidence: {}", run.display())] {
        assert!(told.contains(part), "{part}: {told}");
    }
}

#[tokio::test]
async fn twenty_instances_at_once_end_in_each_phase_and_nothing_is_lost() {
    let bench = bench();
    let arguments = ["--instances", "20", "--iterations", "12", "--continue-as-new-every", "5", "--json"];
    let output = output(&bench, &arguments).await;
    let told = stderr(&output);
    let verdict: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {told}"));
    let codes = [("supported", 0), ("not_supported", 1), ("inconclusive", 2)];
    let code = output.status.code().unwrap();
    assert!(codes.contains(&(verdict["verdict"].as_str().unwrap(), code)), "{code} {verdict:#}");
    assert_nothing_is_lost(&verdict);
    assert_eq!(result(&verdict, "recovery.reset-at-all"), "pass");
    for (phase, executions) in PHASES.into_iter().zip([20 * 51, 20 * 13, 20 * 15]) {
        let counts = &verdict["counts"][phase];
        assert_eq!((&counts["instances"], &counts["executions"]), (&json!(20), &json!(executions)), "{phase}");
    }

    let run = bench.latest().unwrap();
    assert_eq!(verdict_of(&run), verdict, "what is printed is what is kept");
    assert_names_no_place(&run, &bench.path(""));
    assert_verifies("replay", &run, &verdict);
    let instances = rows(&run.join("instances.jsonl"));
    let ids: BTreeSet<&str> = instances.iter().map(|it| it["instanceId"].as_str().unwrap()).collect();
    assert_eq!((instances.len(), ids.len()), (60, 60));
    let traces = rows(&run.join("tables/traces.jsonl"));
    for instance in &instances {
        let (iterations, batches, last) = match instance["phase"].as_str().unwrap() {
            "baseline" => (50, 1, 50),
            "incident" => (12, 1, 12),
            _ => (12, 3, 2),
        };
        let output = json!({"totalIterations": iterations, "batches": batches, "finalBatchResults": last});
        assert_eq!((&instance["runtimeStatus"], &instance["output"]), (&json!("Completed"), &output), "{instance}");
        let ended = |row: &&Value| {
            row["operation_Id"] == instance["instanceId"]
                && row["message"].as_str().unwrap().starts_with("Orchestration complete: ")
        };
        assert_eq!(traces.iter().filter(ended).count(), 1, "{instance}");
    }
    for file in ["environment.json", "timeline.csv", "phases.jsonl", "tables/requests.jsonl", "tables/episodes.jsonl"] {
        assert!(fs::metadata(run.join(file)).unwrap().len() > 0, "{file}");
    }
    assert_no_secret(&run);
    assert_eq!(processes_of(&bench.work()), [0; 0]);
}

#[tokio::test]
async fn a_run_that_was_killed_is_tidied_up_by_the_next_and_ctrl_c_by_itself() {
    let bench = bench();
    let (mut lab, killed, first) = under_way(&bench).await;
    lab.kill().unwrap();
    lab.wait().unwrap();
    assert!(!processes_of(&bench.work()).is_empty(), "a killed lab cannot tidy up");

    let (mut lab, interrupted, second) = under_way(&bench).await;
    assert!(first.iter().all(|pid| !second.contains(pid)), "{first:?} {second:?}");
    kill_process(Pid::from_raw(lab.id().cast_signed()).unwrap(), Signal::INT).unwrap();
    let status = eventually(Duration::from_secs(60), async || lab.try_wait().unwrap()).await;
    assert_eq!(status.code(), Some(3), "interrupted is neither supported nor not");
    assert_eq!(processes_of(&bench.work()), [0; 0]);

    for run in [&killed, &interrupted] {
        assert!(!run.join("verdict.json").exists(), "there is no verdict on half a run");
        assert_eq!(rows(&run.join("phases.jsonl")).len(), 1, "the baseline alone has ended");
    }
}

#[tokio::test]
async fn the_run_after_a_killed_one_ends_and_knows_nothing_of_it() {
    let bench = bench();
    let (mut lab, killed, first) = under_way(&bench).await;
    lab.kill().unwrap();
    lab.wait().unwrap();

    let output = output(&bench, &["--iterations", "20", "--continue-as-new-every", "5", "--json"]).await;
    assert!([Some(0), Some(1), Some(2)].contains(&output.status.code()), "{output:?}");
    let run = bench.latest().unwrap();
    assert_ne!(run, killed);
    let verdict = verdict_of(&run);
    assert_nothing_is_lost(&verdict);
    let executions = PHASES.map(|it| verdict["counts"][it]["executions"].as_u64().unwrap());
    assert_eq!(executions, [51, 21, 24], "the endless storm of the killed run does not go on");
    let left = processes_of(&bench.work());
    assert!(left.is_empty(), "{first:?} {left:?}");
}

#[tokio::test]
async fn load_runs_storms_on_a_lab_that_is_there_already() {
    let scratch = Scratch::new();
    let lab = ReplayLab::start(&scratch.path().join("run"), &ReplayLab::stage(&scratch)).await;
    let load = |out: &str, arguments: &[&str]| {
        let mut command = Command::new(&*LAB);
        command.args(["load", "replay", "--url", &lab.base]).args(arguments);
        command.arg("--out").arg(scratch.path().join(out));
        finished(command)
    };
    let storm = ["--iterations", "20", "--continue-as-new-every", "8", "--instances", "3"];
    let output = load("all", &storm).await;
    assert!(output.status.success(), "{output:?}");
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(told.contains(&format!("instances and phases in {}", scratch.path().join("all").display())), "{told}");
    let phases = rows(&scratch.path().join("all/phases.jsonl"));
    assert_eq!(phases.iter().map(|it| it["phase"].as_str().unwrap()).collect::<Vec<_>>(), PHASES);
    let moments: Vec<&str> = phases.iter().flat_map(|it| [&it["start"], &it["end"]]).flat_map(Value::as_str).collect();
    assert!(moments.len() == 6 && moments.is_sorted(), "one phase after the other: {moments:?}");
    let instances = rows(&scratch.path().join("all/instances.jsonl"));
    assert_eq!(instances.len(), 9);
    for (n, instance) in instances.iter().enumerate() {
        assert_eq!((&instance["phase"], &instance["instanceIndex"]), (&json!(PHASES[n / 3]), &json!(n % 3)));
        assert_eq!(instance["runtimeStatus"], "Completed", "{instance}");
        assert_eq!(instance["output"]["batches"], [1, 1, 3][n / 3], "{instance}");
        let (_, _, status) =
            lab.hook("GET", &format!("/instances/{}", instance["instanceId"].as_str().unwrap()), None).await;
        assert_eq!(status["output"], instance["output"], "the app says the same");
    }

    let output = load("two", &["--iterations", "5", "--phases", "recovery,baseline"]).await;
    assert!(output.status.success(), "{output:?}");
    let phases = rows(&scratch.path().join("two/phases.jsonl"));
    assert_eq!(phases.iter().map(|it| it["phase"].as_str().unwrap()).collect::<Vec<_>>(), ["recovery", "baseline"]);

    let output = load("none", &["--phases", "baseline,incidnet"]).await;
    assert_eq!(output.status.code(), Some(64), "{output:?}");
    let told = stderr(&output);
    assert!(told.contains("no phase \"incidnet\": there are baseline, incident, recovery"), "{told}");
    assert!(!scratch.path().join("none").exists(), "refused before anything is started");
}

#[tokio::test]
async fn load_names_the_instances_that_do_not_complete() {
    let scratch = Scratch::new();
    let lab = ReplayLab::start(&scratch.path().join("run"), &ReplayLab::stage(&scratch)).await;
    let out = scratch.path().join("out");
    let load = |arguments: &[&str]| {
        let mut command = Command::new(&*LAB);
        command.args(["load", "replay", "--url", &lab.base, "--phases", "incident", "--out"]).arg(&out);
        command.args(["--iterations", ENDLESS]).args(arguments);
        finished(command)
    };
    let terminate = async {
        let running = async || {
            let (_, _, instances) = lab.hook("GET", "/instances?runtimeStatus=Running", None).await;
            Some(instances[0]["instanceId"].as_str()?.to_owned())
        };
        let id = eventually(UNDER_WAY, running).await;
        let (code, _, body) = lab.hook("POST", &format!("/instances/{id}/terminate?reason=enough"), None).await;
        assert_eq!(code, 202, "{body}");
        id
    };
    let (output, id) = tokio::join!(load(&[]), terminate);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(told.contains(&format!("{id} did not complete: Terminated")), "{told}");

    let output = load(&["--longest-s", "0"]).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(["Running", "Pending"].iter().any(|it| told.contains(&format!(" did not complete: {it}"))), "{told}");

    let instances = rows(&out.join("instances.jsonl"));
    assert_eq!(instances.len(), 2, "a second load adds its rows");
    assert_eq!((&instances[0]["instanceId"], &instances[0]["runtimeStatus"]), (&json!(id), &json!("Terminated")));
}

#[tokio::test]
async fn load_says_which_address_does_not_answer_as_the_app_does() {
    let scratch = Scratch::new();
    let load = |url: String| {
        let mut command = Command::new(&*LAB);
        command.args(["load", "replay", "--url", &url, "--out"]).arg(scratch.path().join("out"));
        finished(command)
    };
    let away = format!("http://127.0.0.1:{}", free_port().await);
    let output = load(away.clone()).await;
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let told = stderr(&output);
    assert!(told.contains(&format!("{away}/api/durable/start-replay-lab does not answer")), "{told}");

    let lab = ReplayLab::start(&scratch.path().join("run"), &ReplayLab::stage(&scratch)).await;
    let output = load(format!("{}/elsewhere", lab.base)).await;
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let told = stderr(&output);
    let wanted = format!("{}/elsewhere/api/durable/start-replay-lab answered 404", lab.base);
    assert!(told.contains(&wanted), "{told}");
    assert!(!scratch.path().join("out").exists());
}

#[test]
fn what_the_app_would_refuse_is_refused_before_anything_is_written() {
    let scenario = "[[phase]]\nname = \"baseline\"\niterations = 0\ncontinue_as_new_every = 0\n";
    for (argument, field) in [
        ("--iterations=0", "iterations is 0, not from 1 to 100000"),
        ("--iterations=100001", "iterations is 100001, not from 1 to 100000"),
        ("--iterations=-1", "--iterations"),
        ("--instances=0", "instances is 0, not from 1 to 100"),
        ("--instances=101", "instances is 101, not from 1 to 100"),
        ("--continue-as-new-every=100001", "continue_as_new_every is 100001, not from 0 to 100000"),
        ("--continue-as-new-every=often", "--continue-as-new-every"),
        ("--scenario=scenario.toml", "baseline: iterations is 0, not from 1 to 100000"),
    ] {
        let scratch = Scratch::new();
        fs::write(scratch.path().join("scenario.toml"), scenario).unwrap();
        // Nothing listens there: the load's own checks come first.
        let load = ["load", "replay", "--url", "http://127.0.0.1:1", "--out", "out"];
        let run = ["run", "replay", "--handler", HANDLER, "--evidence", "evidence", "--folder", "work"];
        for command in [&load[..], &run[..]] {
            let output = Command::new(&*LAB).current_dir(scratch.path()).args(command).arg(argument).output().unwrap();
            assert_eq!(output.status.code(), Some(64), "{argument}: {output:?}");
            let told = stderr(&output);
            assert!(told.contains(field), "{argument}: {told}");
            assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1, "{argument}: the scenario alone");
        }
    }
}
