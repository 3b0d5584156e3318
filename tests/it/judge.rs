//! `lab judge` and `lab verify`: telemetry of Microsoft's own host held against both labs, and bundles that were tampered with.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use lab::labs::named;
use serde_json::{Value, json};

use crate::{
    harness::{LAB, Scratch},
    queries::recorded,
};

fn lab(arguments: &[&str], folder: &Path) -> Output {
    Command::new(&*LAB).args(arguments).arg(folder).output().unwrap()
}

fn verdict(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// Criteria that came out so, by id.
fn with<'a>(verdict: &'a Value, result: &str) -> BTreeMap<&'a str, &'a Value> {
    let criteria = verdict["criteria"].as_array().unwrap().iter().filter(|it| it["result"] == result);
    criteria.map(|it| (it["id"].as_str().unwrap(), it)).collect()
}

/// Criteria of a lab over its own records: no telemetry has those.
fn over_own_records(lab: &str) -> BTreeSet<String> {
    let definition = named(lab).unwrap().definition;
    let is_over = |query: &str| {
        let tables = kql::Query::parse(definition.query(query).unwrap()).unwrap().tables();
        // The lines of any folder's files can be counted.
        tables.iter().any(|it| it.starts_with("lab_") && it != "lab_files")
    };
    let criteria = definition.rules().unwrap().criterion;
    criteria.into_iter().filter(|it| is_over(&it.query)).map(|it| it.id).collect()
}

#[test]
fn the_replay_hypothesis_is_supported_by_what_microsofts_host_wrote() {
    let scratch = Scratch::new();
    let folder = recorded(&scratch, "replay.jsonl.gz", Some("replay.phases.json"));
    let output = lab(&["judge", "replay", "--json"], &folder);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let verdict = verdict(&output);
    assert_eq!((&verdict["verdict"], &verdict["origin"]), (&json!("supported"), &json!("import")));
    assert_eq!(with(&verdict, "fail").len(), 0);
    let inconclusive: BTreeSet<String> = with(&verdict, "inconclusive").keys().map(|it| (*it).to_owned()).collect();
    assert_eq!(inconclusive, over_own_records("replay"));
    for criterion in with(&verdict, "inconclusive").values() {
        assert!(criterion["reason"].as_str().unwrap().starts_with("the table lab_"), "{criterion:#}");
        assert_eq!(criterion["grade"], Value::Null);
    }
    let passed = with(&verdict, "pass");
    let value = |id: &str| passed[id]["value"].as_f64().unwrap();
    assert_eq!([value("incident.rises"), value("incident.growth"), value("recovery.flat")], [3.0, 2.063, 1.113]);
    assert_eq!(passed["incident.growth"]["rows"].as_array().unwrap().len(), 4, "a criterion's rows are the query's");
    let session: Value = serde_json::from_slice(&fs::read(folder.join("kql-session.json")).unwrap()).unwrap();
    let queries = session["queries"].as_array().unwrap();
    let quarters: Vec<&Value> = queries.iter().filter(|it| it["name"] == "replay-quarters.kql").collect();
    assert_eq!(quarters.iter().map(|it| &it["window"]["phase"]).collect::<Vec<_>>(), ["incident", "recovery"]);
    for query in queries {
        let (text, asked) = (query["text"].as_str().unwrap(), query["for"].as_array().unwrap());
        assert!(!asked.is_empty() && kql::Query::parse(text).is_ok(), "{query:#}");
        assert!(!text.contains("2026-04-0"), "the window is the run's, not the guide's: {text}");
    }
    let verified = lab(&["verify", "--json"], &folder);
    assert_eq!(verified.status.code(), Some(0), "{verified:?}");
}

#[test]
fn of_the_oom_lab_everything_passes_on_microsofts_host_that_its_rows_can_tell() {
    let scratch = Scratch::new();
    let folder = recorded(&scratch, "telemetry.jsonl.gz", Some("telemetry.phases.json"));
    let output = lab(&["judge", "oom", "--json"], &folder);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let verdict = verdict(&output);
    assert_eq!(verdict["verdict"], "inconclusive");
    assert_eq!(with(&verdict, "fail").len(), 0, "{verdict:#}");
    let mut wanted = over_own_records("oom");
    let without_rows = [
        ("load-1.private-bytes", "there is no phase load-1"),
        ("load-2.private-bytes", "there is no phase load-2"),
        ("incident.failures-rise", "there is no phase load-1"),
        ("recovery-b.p95", "there is no phase recovery-b"),
        ("disproof.no-faster", "there is no phase recovery-b"),
        ("baseline.private-bytes", "performanceCounters"),
        ("incident.private-bytes", "performanceCounters"),
        ("incident.same-window", "performanceCounters"),
        ("recovery-a.private-bytes", "performanceCounters"),
        ("disproof.never-critical", "performanceCounters"),
    ];
    let inconclusive = with(&verdict, "inconclusive");
    for (id, reason) in without_rows {
        assert!(inconclusive[id]["reason"].as_str().unwrap().contains(reason), "{id}: {}", inconclusive[id]);
    }
    wanted.extend(without_rows.map(|it| it.0.to_owned()));
    assert_eq!(inconclusive.keys().map(|it| (*it).to_owned()).collect::<BTreeSet<_>>(), wanted);
    let passed = with(&verdict, "pass");
    let value = |id: &str| passed[id]["value"].as_f64().unwrap();
    assert_eq!(["incident.exits", "incident.memory-errors", "recovery-a.exits"].map(value), [5.0, 7.0, 0.0]);
}

#[test]
fn an_import_that_replaces_another_takes_its_verdict_away() {
    let scratch = Scratch::new();
    let file = scratch.path().join("lines.jsonl");
    let envelope = json!({
        "time": "2026-04-05T01:30:30Z", "data": {"baseType": "MessageData", "baseData": {"message": "a line"}},
    });
    fs::write(&file, format!("{envelope}\n")).unwrap();
    let folder = scratch.path().join("imported");
    let import = |more: &[&str]| {
        let output =
            Command::new(&*LAB).arg("import").arg(&file).arg("--folder").arg(&folder).args(more).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    import(&[]);
    let before = files(&folder);
    assert_eq!(lab(&["judge", "oom"], &folder).status.code(), Some(2));
    assert_eq!(lab(&["verify"], &folder).status.code(), Some(0));
    import(&["--replace"]);
    assert_eq!(files(&folder), before);
}

/// A folder of tables and phases, as an import leaves them.
struct Folder {
    scratch: Scratch,
}

impl Folder {
    fn new(tables: &[(&str, Vec<Value>)]) -> Self {
        let scratch = Scratch::new();
        let tables_folder = scratch.path().join("mine/tables");
        fs::create_dir_all(&tables_folder).unwrap();
        for (table, rows) in tables {
            let text: String = rows.iter().map(|it| format!("{it}\n")).collect();
            fs::write(tables_folder.join(format!("{table}.jsonl")), text).unwrap();
        }
        Self { scratch }
    }

    fn path(&self) -> PathBuf {
        self.scratch.path().join("mine")
    }

    fn with_phases(self, app: &str) -> Self {
        let phase = |name: &str, minute: u32| json!({"name": name, "start": format!("2026-04-05T01:{minute:02}:00Z"), "end": format!("2026-04-05T01:{:02}:00Z", minute + 1)});
        let phases =
            json!({"appName": app, "phases": [phase("baseline", 30), phase("incident", 31), phase("recovery", 32)]});
        fs::write(self.path().join("phases.json"), phases.to_string()).unwrap();
        self
    }
}

/// A line a minute, and what is said in it.
fn traces(messages: [&str; 3]) -> Vec<Value> {
    let row = |(message, minute): (&str, u32)| json!({"timestamp": format!("2026-04-05T01:{minute:02}:30Z"), "message": message, "cloud_RoleName": "app"});
    messages.into_iter().zip(30..).map(row).collect()
}

#[test]
fn rows_of_another_app_are_no_proof_of_quiet() {
    let lines = || vec![("traces", traces(["a", "Worker process exited with code 137", "b"]))];
    let own = Folder::new(&lines()).with_phases("app");
    let found = verdict(&lab(&["judge", "oom", "--json"], &own.path()));
    assert_eq!(with(&found, "pass")["recovery-a.exits"]["value"], 0.0);
    assert_eq!(with(&found, "fail")["incident.exits"]["value"], 1.0);
    let other = Folder::new(&lines()).with_phases("another");
    let found = verdict(&lab(&["judge", "oom", "--json"], &other.path()));
    for id in ["recovery-a.exits", "incident.exits", "consistency.payload"] {
        let reason = with(&found, "inconclusive")[id]["reason"].as_str().unwrap().to_owned();
        assert_eq!(reason, "traces has no rows of the app \"another\", which phases.json names", "{id}");
    }
    assert_eq!(found["verdict"], "inconclusive");
}

#[test]
fn a_folder_without_tables_or_phases_is_told_apart() {
    let scratch = Scratch::new();
    let output = lab(&["judge", "oom"], &scratch.path());
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(64), "{said}");
    assert!(said.contains("has no folder `tables`: make one with `cargo lab import FILE… --folder"), "{said}");
    let bare = Folder::new(&[("traces", traces(["a", "b", "c"]))]);
    let output = lab(&["judge", "replay", "--json"], &bare.path());
    assert_eq!(output.status.code(), Some(2));
    let found = verdict(&output);
    assert_eq!(with(&found, "inconclusive")["incident.growth"]["reason"], "there is no phase incident");
    assert_eq!(lab(&["verify"], &scratch.path()).status.code(), Some(3));
}

/// All files of a folder, by path from it.
fn files(folder: &Path) -> Vec<String> {
    let entries = walkdir::WalkDir::new(folder).into_iter().map(Result::unwrap).filter(|it| it.file_type().is_file());
    entries.map(|it| it.path().strip_prefix(folder).unwrap().to_string_lossy().into_owned()).collect()
}

fn verified(folder: &Path) -> Value {
    verdict(&lab(&["verify", "--json"], folder))
}

#[test]
fn every_file_of_a_bundle_that_is_changed_missing_or_added_is_named() {
    let folder = Folder::new(&[("traces", traces(["a", "b", "c"]))]).with_phases("app");
    let path = folder.path();
    assert_eq!(lab(&["judge", "oom"], &path).status.code(), Some(1), "no exit is no incident");
    assert_eq!(verified(&path)["verified"], true);
    let all = files(&path);
    let wanted = [
        "SHA256SUMS",
        "checklist.md",
        "environment.json",
        "journal.jsonl",
        "kql-session.json",
        "manifest.json",
        "phases.json",
        "report.html",
        "tables/traces.jsonl",
        "timeline.csv",
        "verdict.json",
    ];
    assert!(wanted.iter().all(|it| all.iter().any(|file| file == it)), "{all:?}");
    for file in all.iter().filter(|it| *it != "SHA256SUMS") {
        let whole = fs::read(path.join(file)).unwrap();
        // A byte more, which no reader of JSON minds.
        fs::write(path.join(file), [whole.as_slice(), b"\n"].concat()).unwrap();
        let found = verified(&path);
        assert_eq!((&found["verified"], &found["changed"]), (&json!(false), &json!([file])), "{file}: {found:#}");
        if file != "manifest.json" {
            fs::remove_file(path.join(file)).unwrap();
            let found = verified(&path);
            assert_eq!((&found["verified"], &found["missing"]), (&json!(false), &json!([file])), "{file}: {found:#}");
        }
        fs::write(path.join(file), whole).unwrap();
    }
    fs::write(path.join("tables/requests.jsonl"), "").unwrap();
    let found = verified(&path);
    assert_eq!(found["added"], json!(["tables/requests.jsonl"]));
    fs::remove_file(path.join("tables/requests.jsonl")).unwrap();
    assert_eq!(verified(&path)["verified"], true);
}

#[test]
fn a_verdict_that_does_not_follow_from_the_tables_is_found_though_all_sums_fit() {
    let folder = Folder::new(&[("traces", traces(["a", "b", "c"]))]).with_phases("app");
    let path = folder.path();
    lab(&["judge", "oom"], &path);
    let kept = fs::read_to_string(path.join("verdict.json")).unwrap();
    let forged = kept.replace("\"verdict\": \"not_supported\"", "\"verdict\": \"supported\"");
    assert_ne!(kept, forged);
    fs::write(path.join("verdict.json"), forged).unwrap();
    seal(&path);
    let output = lab(&["verify"], &path);
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("verdict.json says \"supported\", and the files come to \"not_supported\""), "{said}");
    assert!(!said.contains("changed "), "{said}");
}

/// Writes sums that fit, as a forger would: `(previous line; file) | sha256sum`, line by line.
fn seal(folder: &Path) {
    use sha2::{Digest, Sha256};
    let listed = fs::read_to_string(folder.join("SHA256SUMS")).unwrap();
    let (mut text, mut before) = (String::new(), String::new());
    for file in listed.lines().map(|it| it.split_once("  ").unwrap().1) {
        let bytes = [before.as_bytes(), &fs::read(folder.join(file)).unwrap()].concat();
        let hash: String = Sha256::digest(bytes).iter().map(|it| format!("{it:02x}")).collect();
        before = format!("{hash}  {file}\n");
        text += &before;
    }
    fs::write(folder.join("SHA256SUMS"), text).unwrap();
}
