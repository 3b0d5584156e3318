//! `lab run oom` and `lab load oom` as processes: a short run end to end, a run that is killed, and what is refused.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use lab::machine::workspace::processes_of;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use walkdir::WalkDir;

use crate::{
    handler::{assert_no_secret, rows},
    harness::{Bench, LAB, UNDER_WAY, eventually, finished},
    queries::{ask, column, facts, queries, shipped},
    tidy::root,
};

/// The guide's phases, as short as they can be and still be told apart.
pub(crate) const SCENARIO: &str = r#"
seed = 7
[control]
blob_mib = 1
per_second = 2
[[phase]]
name = "baseline"
blob_mib = 100
limit_share = 0.056
bursts = 2
every_s = 1
length_s = 3
[[phase]]
name = "load-1"
blob_mib = 100
limit_share = 0.38
bursts = 1
every_s = 1
length_s = 2
[[phase]]
name = "load-2"
blob_mib = 500
limit_share = 0.62
bursts = 1
every_s = 1
length_s = 2
[[phase]]
name = "incident"
blob_mib = 1024
beyond_reservable = 2
bursts = 1
every_s = 1
length_s = 2
[[phase]]
name = "recovery-a"
repeats = ["load-1", "load-2", "incident"]
[[phase]]
name = "recovery-b"
repeats = ["baseline"]
"#;

/// The same phases with a load of a few MiB: for what is not about memory.
fn small() -> String {
    let small = SCENARIO.replace("= 100\n", "= 8\n").replace("= 500\n", "= 16\n").replace("= 1024\n", "= 24\n");
    let small =
        small.replace("limit_share = 0.38", "limit_share = 0.01").replace("limit_share = 0.62", "limit_share = 0.01");
    small.replace("beyond_reservable = 2", "limit_share = 0.01")
}

fn bench(scenario: &str) -> Bench {
    let bench = Bench::new("oom");
    fs::write(bench.path("scenario.toml"), scenario).unwrap();
    bench
}

fn command(bench: &Bench, scale: &str) -> Command {
    let mut command = bench.command(&["--scale", scale]);
    command.arg("--scenario").arg(bench.path("scenario.toml"));
    command
}

/// Starts a run and waits until the handler has answered for a blob; the processes it consists of then.
async fn under_way(bench: &Bench) -> (Child, Vec<u32>) {
    let before = bench.latest();
    let lab = command(bench, "1/8").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually(UNDER_WAY, async || {
        let run = bench.latest().filter(|it| Some(it) != before.as_ref())?;
        (fs::metadata(run.join("tables/requests.jsonl")).ok()?.len() > 0).then_some(())
    })
    .await;
    (lab, processes_of(&bench.work()))
}

fn cgroups_of(pids: &[u32]) -> Vec<PathBuf> {
    let names: Vec<String> = pids.iter().map(|pid| format!("handler-worker-{pid}")).collect();
    let entries = WalkDir::new("/sys/fs/cgroup").max_depth(6).into_iter().flatten();
    let is_theirs = |path: &Path| path.file_name().is_some_and(|it| names.iter().any(|name| it == name.as_str()));
    entries.map(walkdir::DirEntry::into_path).filter(|it| is_theirs(it)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_loses_nothing_agrees_with_itself_and_leaves_nothing_behind() {
    let bench = bench(SCENARIO);
    let mut command = command(&bench, "1/8");
    command.arg("--json");
    let Output { status, stdout, stderr } = finished(command).await;
    let told = String::from_utf8(stderr).unwrap();
    let verdict: Value = serde_json::from_slice(&stdout).unwrap_or_else(|error| panic!("{error}: {told}"));
    let codes = [("supported", 0), ("not_supported", 1), ("inconclusive", 2)];
    assert!(codes.contains(&(verdict["verdict"].as_str().unwrap(), status.code().unwrap())), "{status} {verdict:#}");
    assert_eq!((&verdict["lab"], &verdict["scale"]), (&"oom".into(), &"1/8".into()));

    // Times are the machine's, and it is busy; that nothing is lost and the rows agree is ours.
    let criteria = verdict["criteria"].as_array().unwrap();
    let consistency: Vec<&Value> = criteria.iter().filter(|it| it["kind"] == "consistency").collect();
    assert!(consistency.len() >= 10);
    for criterion in consistency {
        let is_uncounted = criterion["id"] == "consistency.kills-counted" && criterion["result"] == "missing";
        assert!(criterion["result"] == "pass" || is_uncounted, "{criterion:#}\n{told}");
    }
    let counts = &verdict["counts"];
    assert!(counts["uploaded"].as_u64() > Some(30), "{counts}");
    assert_eq!(counts["uploaded"], counts["processed"]);
    for phase in ["recovery-a", "recovery-b"] {
        assert_eq!(counts["phases"][phase]["exits"], 0, "{counts}");
    }
    println!("{counts:#}");

    let run = bench.path("evidence/oom/latest");
    let environment: Value = serde_json::from_slice(&fs::read(run.join("environment.json")).unwrap()).unwrap();
    assert_eq!(environment["pace"], "quick");
    for file in ["verdict.json", "environment.json", "timeline.csv", "manifest.jsonl", "results.jsonl", "phases.jsonl"]
    {
        assert!(fs::metadata(run.join(file)).unwrap().len() > 0, "{file}");
    }
    assert_no_secret(&run);
    assert_names_no_place(&run, &bench.path(""));
    assert_verifies("oom", &run, &verdict);
    queries_find_what_the_run_counted(&run, counts);
    assert_eq!(processes_of(&bench.work()), [0; 0]);
    let fronts: Vec<u32> =
        rows(&run.join("hosts.jsonl")).iter().map(|row| row["front_pid"].as_u64().unwrap() as u32).collect();
    assert_eq!(fronts.len(), 2);
    assert!(cgroups_of(&fronts).is_empty(), "{:?}", cgroups_of(&fronts));
}

/// Evidence is shown to others: no file names a path, a user's folder or the machine.
pub(crate) fn assert_names_no_place(run: &Path, scratch: &Path) {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let user = std::process::Command::new("id").arg("-un").output().unwrap();
    let user = String::from_utf8(user.stdout).unwrap();
    let places = [
        (scratch.display().to_string(), "the folder of the run"),
        (root().display().to_string(), "the checkout"),
        (format!("/home/{}", user.trim()), "a home"),
        ("/root".to_owned(), "a home"),
        ("/sys/fs/cgroup".to_owned(), "a group of the kernel's"),
        (format!("\"{}\"", host.trim()), "the machine"),
        (format!("\"{}\"", user.trim()), "the user"),
    ];
    let files = WalkDir::new(run).into_iter().map(Result::unwrap).filter(|it| it.file_type().is_file());
    let files: Vec<PathBuf> = files.map(walkdir::DirEntry::into_path).collect();
    assert!(files.len() >= 12, "{files:?}");
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        for (place, what) in &places {
            let line = text.lines().find(|it| it.contains(place.as_str()));
            assert!(line.is_none(), "{} names {what}: {line:?}", file.display());
        }
    }
}

/// The bundle of a run holds, comes to the same verdict again, and is left as it is.
pub(crate) fn assert_verifies(lab: &str, run: &Path, verdict: &Value) {
    let ask = |command: &[&str]| Command::new(&*LAB).args(command).arg(run).output().unwrap();
    let verified = ask(&["verify", "--json"]);
    assert_eq!(verified.status.code(), Some(0), "{verified:?}");
    let judged = ask(&["judge", lab, "--json"]);
    assert_eq!(&serde_json::from_slice::<Value>(&judged.stdout).unwrap(), verdict);
    assert_eq!(ask(&["verify"]).status.code(), Some(0), "a run's bundle is not changed by judging it");
}

/// The guide's queries, corrected, over the run's own tables: they find what the verdict counts, each line once.
fn queries_find_what_the_run_counted(run: &Path, counts: &Value) {
    let tables = run.join("tables").display().to_string();
    let on = ["--tables", tables.as_str()];
    for place in ["component", "workspace"] {
        let outcome = shipped("oom", place, "outcome", &on);
        let facts = facts(&outcome);
        for (fact, count) in [
            ("attempts to process a blob", "requests"),
            ("attempts that failed", "failed"),
            ("worker exits with code 137", "exits"),
            ("MemoryErrors", "memory_errors"),
            ("blobs given up after their last attempt", "poisoned"),
        ] {
            assert_eq!(Some(facts[fact]), counts[count].as_i64(), "{fact}, {place}: {counts}");
        }
        for name in queries("oom", place).keys() {
            shipped("oom", place, name, &on);
        }
        let memory = shipped("oom", place, "query-i", &on);
        assert!(!memory["rows"].as_array().unwrap().is_empty(), "Private Bytes of the worker");
        let calls = shipped("oom", place, "query-h", &on);
        let types: Vec<&Value> = column(&calls, "type");
        assert!(types.iter().any(|it| **it == "Azure blob") && types.iter().any(|it| **it == "Http"), "{calls}");
    }
    // As printed, with the run's window: the app's rows are found.
    let printed = queries("oom", "printed")["oom-query-f-worker-lifecycle-crash-signatures-traces.kql"].clone();
    let wide = ["--tables", &tables, "--param", "tStart=2020-01-01", "--param", "tEnd=2100-01-01"];
    assert!(!ask(&printed, &wide).unwrap()["rows"].as_array().unwrap().is_empty());
    for printed in queries("oom", "printed").values() {
        let told = ask(printed, &on);
        assert!(told.as_ref().is_ok_and(|it| it["rows"].is_array()) || told.unwrap_err().contains("KS1"));
    }
    // A lifecycle line comes by the console alone: once in each table it belongs to.
    let exits = |table: &str, text: &str| {
        let answer = ask(&format!("{table} | where {text} startswith 'Worker process exited' | count"), &on).unwrap();
        answer["rows"][0][0].as_i64()
    };
    assert_eq!(exits("traces", "message"), counts["exits"].as_i64());
    assert_eq!(exits("FunctionAppLogs", "Message"), counts["exits"].as_i64());
    let requests = ask("requests | where sdkVersion !startswith 'azurefunctions'", &on).unwrap();
    assert_eq!(requests["rows"], json!([]), "request rows are the host's alone");
}

#[tokio::test]
async fn a_run_that_was_killed_is_tidied_up_by_the_next_and_ctrl_c_by_itself() {
    let bench = bench(&small());
    let (mut lab, first) = under_way(&bench).await;
    lab.kill().unwrap();
    lab.wait().unwrap();
    assert!(!processes_of(&bench.work()).is_empty(), "a killed lab cannot tidy up");

    let (mut lab, second) = under_way(&bench).await;
    assert!(first.iter().all(|pid| !second.contains(pid)), "{first:?} {second:?}");
    assert!(cgroups_of(&first).is_empty(), "{:?}", cgroups_of(&first));
    kill_process(Pid::from_raw(lab.id().cast_signed()).unwrap(), Signal::INT).unwrap();
    let status = eventually(Duration::from_secs(30), async || lab.try_wait().unwrap()).await;
    assert_eq!(status.code(), Some(3), "interrupted is neither supported nor not");
    assert_eq!(processes_of(&bench.work()), [0; 0]);
    assert!(cgroups_of(&second).is_empty(), "{:?}", cgroups_of(&second));
}

#[test]
fn a_scale_that_could_show_nothing_or_does_not_fit_is_refused_with_the_numbers() {
    for (scenario, scale, want) in [
        (SCENARIO.to_owned(), "1/20", "64 MiB exceed 0.34 of the limit of 179 MiB"),
        (SCENARIO.replace("limit_share = 0.38", "limit_share = 9000"), "1/8", "MiB of disk and "),
    ] {
        let bench = bench(&scenario);
        let output = command(&bench, scale).output().unwrap();
        assert_eq!(output.status.code(), Some(3), "{output:?}");
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains(want) && text.contains("take a "), "{text}");
        assert!(!bench.path("evidence").exists(), "refused before anything is written");
        assert_eq!(fs::read_dir(bench.work()).unwrap().count(), 0);
    }
}

#[test]
fn the_load_can_be_written_as_files_and_is_the_same_every_time() {
    let bench = bench(&small());
    let write = |folder: &str| {
        let mut command = Command::new(&*LAB);
        command.args(["load", "oom", "--scale", "1/8", "--scenario"]).arg(bench.path("scenario.toml"));
        let output = command.arg("--write").arg(bench.path(folder)).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        fs::read_to_string(bench.path(folder).join("manifest.jsonl")).unwrap()
    };
    let manifest = write("one");
    assert_eq!(manifest, write("two"));
    let files: Vec<Value> = manifest.lines().map(|it| serde_json::from_str(it).unwrap()).collect();
    assert!(files.len() >= 3);
    for file in files {
        let bytes = fs::read(bench.path("one").join(file["name"].as_str().unwrap())).unwrap();
        assert_eq!(file["size_bytes"], bytes.len());
        assert_eq!(file["sha256"], format!("{:x}", Sha256::digest(&bytes)));
    }
}

#[test]
fn load_without_an_account_says_how_to_name_one() {
    let output = Command::new(&*LAB).args(["load", "oom"]).env_remove("AzureWebJobsStorage").output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("give --storage-url, or put a connection string into AzureWebJobsStorage"), "{text}");
    let sas = ["load", "oom", "--storage-url", "https://a.blob.core.windows.net/?sig=secret"];
    let output = Command::new(&*LAB).args(sas).output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    assert!(!String::from_utf8(output.stderr).unwrap().contains("secret"));
}
