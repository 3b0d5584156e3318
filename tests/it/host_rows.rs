//! The stand-in's rows beside those of Microsoft's host: every kind has the columns, custom dimensions and texts that were recorded.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
};

use incident_labs::functions;
use lab::{
    app::{AppSource, stage::stage_some},
    ingestion::{Envelope, rows_of},
};
use serde_json::{Value, json};

use crate::{
    handler::{SOON, http_client},
    harness::{HANDLER, LabProcess, Scratch},
    ingestion::recording,
    queries::{ask, column, recorded},
    tidy::root,
};

/// What differs on purpose, by its number in docs/stand-in.md: kinds of the host's that are not here.
const LEFT_OUT: &[(&str, &[&str])] = &[
    (
        "T1",
        &[
            "Host.Triggers.DurableTask",
            "Function.F.User Information {instanceId}",
            "Function.F.User Warning {instanceId}",
            "Function.F.User Warning {details}",
        ],
    ),
    (
        "T2",
        &[
            "OptionsLoggingService Information ApplicationInsightsLoggerOptions",
            "OptionsLoggingService Information LoggerFilterOptions",
            "OptionsLoggingService Information ConcurrencyOptions",
            "OptionsLoggingService Information QueuesOptions",
            "OptionsLoggingService Information SingletonOptions",
            "OptionsLoggingService Information DurableTaskOptions",
            "OptionsLoggingService Information ScaleOptions",
            "OptionsLoggingService Information LanguageWorkerOptions",
            "OptionsLoggingService Information HttpOptions",
        ],
    ),
    ("T3", &["Host.Triggers.Warmup", "BlobsExtensionConfigProvider", "({provider})", "Host.General"]),
    (
        "T4",
        &["was challenged", "BlobBaseClient.Exists", "BlobBaseClient.Download", "Function.F Information HEAD", "GET"],
    ),
];
/// Columns and dimensions that are on one side alone, likewise.
const ELSEWHERE: &[(&str, &[&str])] = &[
    ("T5", &["iKey", "client_IP", "monotonicMs"]),
    ("T6", &["method", "assembly", "outerMethod", "outerAssembly", "innermostMethod", "innermostAssembly"]),
    ("T7", &["ClientRequestId", "ServerRequestId"]),
];

/// The names in a row: its columns, and its custom dimensions.
type Names = (BTreeSet<String>, BTreeSet<String>);

/// The kinds of rows, with the names each was seen with, and a text of each.
#[derive(Default)]
struct Kinds(BTreeMap<String, (BTreeSet<Names>, BTreeSet<String>)>);

impl Kinds {
    fn add(&mut self, table: &str, row: &Value) {
        let elsewhere = |it: &String| !ELSEWHERE.iter().any(|(_, names)| names.contains(&it.as_str()));
        let names = |it: &Value| it.as_object().unwrap().keys().filter(|it| elsewhere(it)).cloned().collect();
        let kind = kind(table, row);
        let (seen, texts) = self.0.entry(kind).or_default();
        seen.insert((names(row), names(&row["customDimensions"])));
        texts.insert(normal(row["message"].as_str().unwrap_or_default()));
    }
}

/// Table, category, level, and what the row is about with its values left out.
fn kind(table: &str, row: &Value) -> String {
    let dimensions = &row["customDimensions"];
    let text = |it: &Value| it.as_str().unwrap_or_default().to_owned();
    let category = text(&dimensions["Category"]);
    let category = match category.strip_prefix("Function.") {
        Some(rest) if rest.ends_with(".User") => "Function.F.User".to_owned(),
        Some(_) => "Function.F".to_owned(),
        None => category,
    };
    let format = [&dimensions["prop__{OriginalFormat}"], &dimensions["{OriginalFormat}"]].map(text).concat();
    let is_free = category == "Host.Function.Console" || category.ends_with(".User") && !format.starts_with('{');
    let about = match table {
        "customMetrics" => text(&row["name"]).rsplit(' ').next().unwrap().to_owned(),
        "dependencies" => text(&row["name"]).split(' ').next().unwrap().to_owned(),
        _ if is_free => "any text".to_owned(),
        _ => normal(&format),
    };
    format!("{table} {category} {} {about}", text(&dimensions["LogLevel"]))
}

/// A text without what differs from start to start: numbers, ids, and whose functions it names.
fn normal(text: &str) -> String {
    let mut normal = String::new();
    for part in text.split_inclusive(|it: char| !it.is_ascii_alphanumeric() && it != '-') {
        let is_number = part.starts_with(|it: char| it.is_ascii_digit()) || part.len() > 36;
        normal.push_str(if is_number { "#" } else { part });
    }
    normal
}

fn of_microsofts_host() -> Kinds {
    let mut kinds = Kinds::default();
    for file in ["real-run/telemetry.jsonl.gz", "telemetry-host.jsonl"] {
        for line in recording(file).lines() {
            let envelope = Envelope::read(serde_json::from_str(line).unwrap()).unwrap();
            for row in rows_of(&envelope).unwrap() {
                kinds.add(row.table.name(), &Value::Object(row.columns));
            }
        }
    }
    kinds
}

const HOSTS_TABLES: [&str; 5] = ["requests", "traces", "dependencies", "exceptions", "customMetrics"];

/// All rows of the host from a start to a stop in which blobs, an orchestration and HTTP functions ran; some blobs failed.
async fn of_the_stand_in(scratch: &Scratch) -> Vec<(&'static str, Value)> {
    let folder = scratch.path().join("run");
    let file = scratch.path().join("large");
    File::create(&file).unwrap().set_len(150 << 20).unwrap();
    // The app as it was recorded.
    let (stage, all) = (scratch.path().join("stage"), functions::names());
    let some: Vec<&str> = all.iter().copied().filter(|it| *it != functions::ACCESS_FUNCTION).collect();
    stage_some(&AppSource::carried(), HANDLER.as_ref(), &stage, &all, &some).unwrap();
    let settings = ["--preset", "buffering", "--set", "WORKER_MEMORY_LIMIT_MIB=64", "--script-root"];
    let lab = LabProcess::serve(&folder, &[&settings[..], &[stage.to_str().unwrap()]].concat()).await;
    lab.storage.put("input", "a (b): 'c', Id=#1", "1", None).await.unwrap();
    lab.storage.upload("input", "large", &file).await.unwrap();
    let start = format!("{}/api/durable/start-replay-lab?code=hunter2", lab.http_url());
    let answer = http_client().post(start).body("{\"iterations\":2}").send().await.unwrap();
    assert_eq!(answer.status(), 202);
    lab.rows_of("requests", |it| it["name"] == "replay_lab_activity", 2).await;
    lab.rows_of("requests", |it| it["name"] == "BlobBufferProcessor" && it["success"] == "True", 1).await;
    lab.rows_of("traces", |it| it["message"].as_str().unwrap().starts_with("Message has reached"), 1).await;
    assert!(lab.interrupt().await.success());
    let tables = folder.join("tables");
    let rows = |table: &'static str| {
        let text = fs::read_to_string(tables.join(format!("{table}.jsonl"))).unwrap();
        let rows: Vec<Value> = text.lines().map(|it| serde_json::from_str(it).unwrap()).collect();
        // The handler's own rows are another SDK's.
        let is_hosts = |it: &Value| it["customDimensions"]["HostInstanceId"].is_string();
        rows.into_iter().filter(is_hosts).map(move |it| (table, it)).collect::<Vec<_>>()
    };
    HOSTS_TABLES.into_iter().flat_map(rows).collect()
}

#[tokio::test]
async fn the_hosts_rows_have_the_names_and_texts_that_microsofts_host_gives_them() {
    let scratch = Scratch::new();
    let rows = of_the_stand_in(&scratch).await;
    let theirs = of_microsofts_host().0;
    let mut ours = Kinds::default();
    for (table, row) in &rows {
        ours.add(table, row);
    }
    for (kind, (names, texts)) in &ours.0 {
        let (their_names, their_texts) = theirs.get(kind).unwrap_or_else(|| panic!("no recording has {kind}"));
        for (columns, dimensions) in names {
            let is_recorded = their_names.iter().any(|it| it.0 == *columns && it.1 == *dimensions);
            assert!(is_recorded, "{kind} has {columns:?} and {dimensions:?}, recorded is {their_names:?}");
        }
        // A line with a format has that in its kind, and a format in the place of values has no text of its own.
        let is_free = kind.contains("any text") || kind.contains('{') || texts.iter().all(String::is_empty);
        let is_said = texts.iter().all(|it| their_texts.contains(it));
        assert!(is_free || is_said, "{kind}: {texts:?}, recorded is {their_texts:?}");
    }
    let page = fs::read_to_string(root().join("docs/stand-in.md")).unwrap();
    for (number, kinds) in LEFT_OUT {
        for kind in *kinds {
            let is_one = theirs.keys().any(|it| it.contains(kind) && !ours.0.contains_key(it));
            assert!(is_one, "{number}: {kind} was not recorded, or is here");
        }
    }
    for number in LEFT_OUT.iter().map(|it| it.0).chain(ELSEWHERE.iter().map(|it| it.0)) {
        assert!(page.contains(&format!("| {number} |")), "docs/stand-in.md has no {number}");
    }
    // Of the handler's own texts any may be missing.
    let explained = |it: &&String| {
        !it.ends_with("any text") && !LEFT_OUT.iter().any(|(_, kinds)| kinds.iter().any(|kind| it.contains(kind)))
    };
    let missing: Vec<_> = theirs.keys().filter(|it| !ours.0.contains_key(*it)).filter(explained).collect();
    assert!(missing.is_empty(), "recorded, not here, and not said in docs/stand-in.md: {missing:#?}");
    values(&rows);
}

/// What the names hold, where it can be told beforehand.
fn values(rows: &[(&str, Value)]) {
    let of = |table: &str, name: &str| -> Vec<&Value> {
        rows.iter().filter(|(it, row)| *it == table && row["name"] == name).map(|it| &it.1).collect()
    };
    let pid = rows[0].1["customDimensions"]["ProcessId"].clone();
    assert!(rows.iter().all(|(_, row)| row["customDimensions"]["ProcessId"] == pid));
    let asked = of("requests", "BlobBufferProcessor");
    assert_eq!((asked.len(), of("dependencies", "POST /BlobBufferProcessor").len()), (6, 6));
    for request in &asked {
        let execution: f64 = request["customDimensions"]["FunctionExecutionTimeMs"].as_str().unwrap().parse().unwrap();
        assert!(request["duration"].as_f64().unwrap() > execution, "the look at the blob is in it: {request}");
        assert_eq!(request["resultCode"], "0");
        let children: Vec<_> = rows
            .iter()
            .filter(|(table, it)| *table == "dependencies" && it["operation_Id"] == request["operation_Id"])
            .collect();
        let names: BTreeSet<_> =
            children.iter().map(|it| it.1["name"].as_str().unwrap().split(' ').next().unwrap()).collect();
        assert_eq!(names, BTreeSet::from(["BlobBaseClient.GetProperties", "HEAD", "POST"]));
    }
    let codes: Vec<_> =
        of("dependencies", "POST /BlobBufferProcessor").iter().map(|it| it["resultCode"].clone()).collect();
    assert_eq!(codes.iter().filter(|it| **it == "500").count(), 5);
    let started = of("requests", "start_replay_lab");
    assert_eq!((started.len(), &started[0]["resultCode"], &started[0]["success"]), (1, &json!("202"), &json!("True")));
    assert_eq!(started[0]["customDimensions"]["HttpPath"], "/api/durable/start-replay-lab");
    let told = serde_json::to_string(&rows.iter().map(|it| &it.1).collect::<Vec<_>>()).unwrap();
    assert!(!told.contains("hunter2"), "a query may have a key in it");
    // What took longer than 30 s is told in several.
    let metrics = |name: &str| {
        let rows = of("customMetrics", &format!("BlobBufferProcessor {name}"));
        rows.iter().map(|it| it["value"].as_f64().unwrap()).collect::<Vec<_>>()
    };
    let sums = ["Count", "Successes", "Failures"].map(|it| metrics(it).iter().sum::<f64>());
    assert_eq!(sums, [6.0, 1.0, 5.0]);
    let [least, average, most] = ["MinDurationMs", "AvgDurationMs", "MaxDurationMs"].map(metrics);
    assert!(least.iter().zip(&average).zip(&most).all(|((least, average), most)| least <= average && average <= most));
    let said: Vec<&str> =
        rows.iter().filter(|it| it.0 == "traces").map(|it| it.1["message"].as_str().unwrap()).collect();
    assert!(said[0].starts_with("Initializing Host.") && *said.last().unwrap() == "Job host stopped");
}

/// The query of docs/telemetry.md.
fn which_blob() -> String {
    let page = fs::read_to_string(root().join("docs/telemetry.md")).unwrap();
    let query = page.split("```kusto\n").nth(1).expect("a query").split("```").next().unwrap();
    query.to_owned()
}

#[tokio::test]
async fn a_blobs_name_is_found_in_the_line_that_begins_its_invocation() {
    let scratch = Scratch::new();
    let theirs = recorded(&scratch, "telemetry.jsonl.gz", None).join("tables").display().to_string();
    let answer = ask(&which_blob(), &["--tables", &theirs]).unwrap();
    let names: BTreeMap<String, usize> = column(&answer, "blob").iter().fold(BTreeMap::new(), |mut all, it| {
        *all.entry(it.as_str().unwrap().to_owned()).or_default() += 1;
        all
    });
    assert_eq!(names.values().sum::<usize>(), 62, "each request row of a blob has its name");
    assert_eq!(
        names.iter().filter(|it| it.0.starts_with("input/incident/")).map(|it| *it.1).collect::<Vec<_>>(),
        [5; 7]
    );

    let lab = LabProcess::start(&scratch.path().join("run"), &[]).await;
    let odd = ["plain", "a (b): 'c', Id=#1", "sub dir/ä (x).bin", "{reason}"];
    for name in odd {
        lab.storage.put("input", name, "1", None).await.unwrap();
        lab.result(name, SOON).await;
    }
    lab.rows_of("requests", |_| true, odd.len()).await;
    let ours = scratch.path().join("run/tables").display().to_string();
    let answer = ask(&which_blob(), &["--tables", &ours]).unwrap();
    let found: BTreeSet<String> = column(&answer, "blob").iter().map(|it| it.as_str().unwrap().to_owned()).collect();
    assert_eq!(found, odd.iter().map(|it| format!("input/{it}")).collect());
    let dispatched: BTreeSet<String> =
        lab.rows("dispatches").iter().map(|it| it["blob"].as_str().unwrap().to_owned()).collect();
    assert_eq!(found, dispatched, "the lab's own record says the same");
    assert!(lab.interrupt().await.success());
}
