//! `lab import` and `lab collect` as processes: evidence from elsewhere as tables, and an endpoint for any app.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Read},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use lab::{
    evidence::{
        jsonl,
        phases_file::PhasesFile,
        schema::{self, Profile},
    },
    ingestion::import::Import,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::{
    harness::{LAB, Scratch},
    ingestion::{accepted, ask, assert_typed, count, golden, gzip, message, trace, truth},
};

/// A scratch folder with files to import, and the folder to import into.
struct Desk(Scratch);

impl Desk {
    fn new() -> Self {
        Self(Scratch::new())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        fs::write(self.path(name), content).unwrap();
        self.path(name)
    }

    fn import(&self, files: &[&Path], arguments: &[&str]) -> Output {
        let mut command = Command::new(&*LAB);
        command.arg("import").args(files).arg("--folder").arg(self.path("dir")).args(arguments);
        command.output().unwrap()
    }

    /// The summary of an import that ends with this code.
    fn summary(&self, files: &[&Path], arguments: &[&str], code: i32) -> Value {
        let output = self.import(files, &[arguments, &["--json"]].concat());
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{out}{err}");
        serde_json::from_str(&out).unwrap()
    }

    /// What an import says that is refused.
    fn refusal(&self, files: &[&Path], arguments: &[&str], code: i32) -> String {
        let output = self.import(files, arguments);
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), output.stdout.is_empty()), (Some(code), true), "{err}");
        err
    }

    fn rows(&self, table: &str) -> Vec<Value> {
        let rows: Vec<Value> = jsonl::read(&self.path(&format!("dir/tables/{table}.jsonl"))).unwrap();
        // Of a long table these are enough: it was made by one piece of code.
        rows.iter().step_by(rows.len() / 1000 + 1).for_each(|it| assert_typed(table, it));
        let time = schema::table(table, Profile::Documented).unwrap().time_column();
        let times: Vec<_> = rows.iter().map(|it| schema::read_time(it[time].as_str().unwrap()).unwrap().at).collect();
        assert!(times.is_sorted(), "{table} is in order of time");
        rows
    }
}

#[test]
fn the_real_runs_become_tables_none_refused_none_lost() {
    let desk = Desk::new();
    let phases = golden("real-run/telemetry.phases.json");
    let files = [golden("real-run/replay.jsonl.gz"), golden("real-run/telemetry.jsonl.gz")];
    let summary = desk.summary(&[&files[0], &files[1]], &["--phases", phases.to_str().unwrap()], 0);
    assert_eq!(
        (&summary["received"], &summary["accepted"], &summary["refused"]),
        (&json!(46_824), &json!(46_824), &json!({}))
    );
    let truths = [truth("real-run/truth.json", "envelopes"), truth("real-run/replay-truth.json", "envelopesHere")];
    let sum = |table: &str| truths.iter().filter_map(|it| it[table].as_u64()).sum::<u64>();
    let tables = ["traces", "requests", "dependencies", "customMetrics", "exceptions"];
    let mut wanted: BTreeMap<&str, u64> = tables.map(|it| (it, sum(it))).into();
    wanted.insert("FunctionAppLogs", wanted["traces"]);
    assert_eq!(summary["rows"], json!(wanted));
    let rows: BTreeMap<&str, Vec<Value>> = wanted.keys().map(|it| (*it, desk.rows(it))).collect();
    wanted.iter().for_each(|(table, wanted)| assert_eq!(rows[table].len() as u64, *wanted, "{table}"));
    let (requests, logs) = (&rows["requests"], &rows["FunctionAppLogs"]);
    assert_eq!(count(requests, |it| it["name"] == "BlobBufferProcessor" && it["success"] == "False"), 35);
    assert_eq!(count(requests, |it| it["name"] == "replay_storm_orchestrator"), 860 + 51 + 51 + 2001 + 2008);
    assert!(logs.iter().all(|it| it["SourceSystem"] == "derived from traces"));
    assert_eq!(count(logs, |it| it["Message"].as_str().unwrap().starts_with("MemoryError")), 7);
    // A line of the console is no function's; the host's own about an invocation is, and has the exception.
    let failed = |it: &Value| it["FunctionName"] == "BlobBufferProcessor" && it["LevelId"] == 4;
    assert_eq!(count(logs, failed), 35);
    assert_eq!(
        count(logs, |it| failed(it) && it["ExceptionDetails"].as_str().unwrap().contains("HttpRequestException")),
        35
    );
    assert_eq!(count(logs, |it| it["Category"] == "Host.Function.Console" && it["FunctionName"] != ""), 0);
    assert_eq!(summary["phases"].as_array().unwrap().len(), 6);
    assert_eq!(fs::read(desk.path("dir/phases.json")).unwrap(), fs::read(phases).unwrap());
}

#[test]
fn the_phases_of_the_real_runs_are_those_of_their_truth() {
    for (name, truth) in [("telemetry", "truth"), ("replay", "replay-truth")] {
        let file = PhasesFile::read(&golden(&format!("real-run/{name}.phases.json"))).unwrap();
        let truth = fs::read_to_string(golden(&format!("real-run/{truth}.json"))).unwrap();
        assert_eq!(file.app_name, "");
        for phase in &file.phases {
            assert!(truth.contains(&format!("\"{} ", phase.start.text)), "{phase:?}");
            assert!(truth.contains(&format!("\"{} ", phase.end.text)), "{phase:?}");
            let known = |id: &String| truth.contains(&format!("ends ({id})"));
            assert!(phase.instance_ids.iter().all(known), "{phase:?}");
        }
    }
}

#[test]
fn what_cannot_be_read_is_counted_and_named_and_stops_nothing() {
    let desk = Desk::new();
    let with = |field: &str, value: Value| {
        let mut envelope = trace("x");
        envelope[field] = value;
        envelope.to_string()
    };
    let view = with("data", json!({"baseType": "PageViewData", "baseData": {}}));
    let lines = [
        trace("one").to_string()[30..].to_owned(),
        trace("two").to_string(),
        String::new(),
        view,
        with("time", json!("1601-01-01T00:00:00Z")),
        with("time", json!(null)),
        trace("x").to_string()[..40].to_owned(),
        json!({"some": "thing"}).to_string(),
        trace("three").to_string(),
    ];
    let file = desk.write("e.jsonl", lines.join("\n"));
    let summary = desk.summary(&[&file], &[], 1);
    assert_eq!((&summary["received"], &summary["accepted"]), (&json!(8), &json!(2)));
    let refused = summary["refused"].as_object().unwrap();
    let counts: BTreeMap<&str, u64> =
        refused.iter().map(|(name, it)| (&**name, it["count"].as_u64().unwrap())).collect();
    let wanted =
        [("cut", 2), ("not an envelope", 1), ("older than the clock", 1), ("unknown kind", 1), ("unreadable time", 1)];
    assert_eq!(counts, BTreeMap::from(wanted));
    let named = |reason: &str, line: u32| {
        let start = format!("{} line {line}: ", file.display());
        let examples = refused[reason]["examples"].as_array().unwrap();
        assert!(examples.iter().any(|it| it.as_str().unwrap().starts_with(&start)), "{reason}: {examples:?}");
    };
    [
        ("cut", 1),
        ("unknown kind", 4),
        ("older than the clock", 5),
        ("unreadable time", 6),
        ("cut", 7),
        ("not an envelope", 8),
    ]
    .into_iter()
    .for_each(|(reason, line)| named(reason, line));
    assert_eq!(desk.rows("traces").iter().map(message).collect::<Vec<_>>(), ["two", "three"]);
    let output = desk.import(&[&file], &["--replace"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("8 items, 2 accepted, 6 refused\n") && text.contains("line 8: not an envelope"), "{text}");
}

#[test]
fn a_packed_file_that_breaks_off_and_an_array_that_does_give_what_there_is() {
    let desk = Desk::new();
    let lines: Vec<String> = (0..200).map(|n| trace(&format!("line {n}")).to_string()).collect();
    let packed = gzip(lines.join("\n").as_bytes());
    let cut = desk.write("cut.jsonl.gz", &packed[..packed.len() - 20]);
    let summary = desk.summary(&[&cut], &[], 1);
    let accepted = summary["accepted"].as_u64().unwrap();
    assert!((50..200).contains(&accepted) && summary["refused"]["cut"]["count"] == 1, "{summary}");
    assert!(summary["refused"]["cut"]["examples"][0].as_str().unwrap().contains("the gzip stream breaks off"));
    let array = desk.write("cut.json", format!("[{},\n{},\n{}", lines[0], lines[1], &lines[2][..20]));
    let summary = desk.summary(&[&array], &["--replace"], 1);
    assert_eq!((&summary["accepted"], &summary["refused"]["cut"]["count"]), (&json!(2), &json!(1)));
    let array = desk.write("whole.json", format!("[{},{}]", lines[0], lines[1]));
    let pretty = desk.write("one.json", serde_json::to_string_pretty(&trace("one")).unwrap());
    assert_eq!(desk.summary(&[&array, &pretty], &["--replace"], 0)["rows"], json!({"traces": 3}));
    let bodies =
        desk.write("bodies.jsonl", format!("[{},{}]\n[{}]\n{}\n[{{\n", lines[0], lines[1], lines[2], lines[3]));
    let summary = desk.summary(&[&bodies], &["--replace"], 1);
    assert_eq!((&summary["accepted"], &summary["refused"]["cut"]["count"]), (&json!(4), &json!(1)));
    let empty = desk.write("empty.jsonl", "");
    assert_eq!(desk.summary(&[&empty], &["--replace"], 1)["received"], 1);
}

/// Two requests, the later one first, in every form of an export.
fn exports() -> Vec<(&'static str, Vec<u8>)> {
    let csv = "timestamp [UTC],name,success,duration,resultCode,itemCount,url,customDimensions,operation_Id\r\n\
        \"4/5/2026, 1:30:01.5000000 AM\",f,False,1500,500,1,u,\"{\"\"Category\"\":\"\"Host.Results\"\"}\",b\r\n\
        \"4/5/2026, 1:30:00.0000000 AM\",f,True,12.5,200,1,u,\"{\"\"Category\"\":\"\"Host.Results\"\"}\",a\r\n";
    let workspace = "\u{feff}TimeGenerated [UTC],Name,Success,DurationMs,ResultCode,ItemCount,Url,Properties,\
        OperationId,TenantId,Type\n\
        2026-04-05T01:30:01.5000000Z,f,false,1500,500,1,u,\"{\"\"Category\"\":\"\"Host.Results\"\"}\",b,t,AppRequests\n\
        2026-04-05T01:30:00.0000000Z,f,true,12.5,200,1,u,\"{\"\"Category\"\":\"\"Host.Results\"\"}\",a,t,AppRequests\n";
    let names = [
        "timestamp",
        "name",
        "success",
        "duration",
        "resultCode",
        "itemCount",
        "url",
        "customDimensions",
        "operation_Id",
    ];
    let columns: Vec<Value> = names.iter().map(|it| json!({"name": it, "type": "string"})).collect();
    let dimensions = r#"{"Category":"Host.Results"}"#;
    let answer = json!({"tables": [{"name": "PrimaryResult", "columns": columns, "rows": [
        ["2026-04-05T01:30:01.5000000Z", "f", "False", 1500.0, "500", 1, "u", dimensions, "b"],
        ["2026-04-05T01:30:00.0000000Z", "f", "True", 12.5, "200", 1, "u", dimensions, "a"],
    ]}]});
    let row = |time: &str, success: &str, ms: &str, code: &str, id: &str| {
        json!({"TableName": "PrimaryResult", "TimeGenerated": time, "Name": "f", "Success": success, "DurationMs": ms,
            "ResultCode": code, "ItemCount": "1", "Url": "u", "Properties": dimensions, "OperationId": id})
    };
    let rows = json!([
        row("2026-04-05T01:30:01.5000000Z", "False", "1500", "500", "b"),
        row("2026-04-05T01:30:00.0000000Z", "True", "12.5", "200", "a"),
    ]);
    vec![
        ("query_data.csv", csv.into()),
        ("query_data.csv.gz", gzip(csv.as_bytes())),
        ("workspace.csv", workspace.into()),
        ("app-insights.json", serde_json::to_vec_pretty(&answer).unwrap()),
        ("one-line.json", answer.to_string().into()),
        ("log-analytics.json", serde_json::to_vec_pretty(&rows).unwrap()),
        ("rows.jsonl", rows.as_array().unwrap().iter().map(|it| format!("{it}\n")).collect::<String>().into()),
    ]
}

#[test]
fn an_export_in_any_form_of_either_family_is_the_same_rows() {
    let desk = Desk::new();
    for (name, content) in exports() {
        let file = desk.write(name, content);
        let summary = desk.summary(&[&file], &["--replace"], 0);
        assert_eq!(summary["rows"], json!({"requests": 2}), "{name}");
        let mut rows = desk.rows("requests");
        for row in &mut rows {
            row["customDimensions"] = json!(row["customDimensions"]["Category"]);
        }
        let row = |time: &str, success: &str, ms: f64, code: &str, id: &str| {
            json!({"timestamp": time, "name": "f", "success": success, "duration": ms, "resultCode": code, "itemCount": 1,
                "url": "u", "customDimensions": "Host.Results", "operation_Id": id, "itemType": "request"})
        };
        let wanted = [
            row("2026-04-05T01:30:00.0000000Z", "True", 12.5, "200", "a"),
            row("2026-04-05T01:30:01.5000000Z", "False", 1500.0, "500", "b"),
        ];
        let numbers = |rows: &[Value]| rows.iter().map(|it| it["duration"].as_f64().unwrap()).collect::<Vec<_>>();
        assert_eq!(numbers(&rows), numbers(&wanted));
        for (row, mut wanted) in rows.into_iter().zip(wanted) {
            wanted["duration"] = row["duration"].clone();
            assert_eq!(row, wanted, "{name}");
        }
        let left_out = if name == "workspace.csv" { json!(["TenantId"]) } else { json!([]) };
        assert_eq!(summary["columnsNotKept"], left_out);
    }
}

#[test]
fn a_table_is_asked_for_where_columns_and_name_do_not_tell_it() {
    let desk = Desk::new();
    let text = "timestamp,message,severityLevel\n2026-04-05T01:30:00Z,m,3\n";
    let (unknown, known) = (desk.write("query.csv", text), desk.write("traces.csv", text));
    let told = desk.refusal(&[&unknown], &[], 3);
    assert!(told.contains("query.csv") && told.contains("exceptions and traces") && told.contains("--table"), "{told}");
    assert!(!desk.path("dir").exists(), "nothing is written");
    assert_eq!(desk.summary(&[&known], &[], 0)["rows"], json!({"traces": 1}));
    for name in ["traces", "AppTraces"] {
        assert_eq!(desk.summary(&[&unknown], &["--table", name, "--replace"], 0)["rows"], json!({"traces": 1}));
    }
    assert!(desk.refusal(&[&known], &["--table", "Heartbeat"], 64).contains("Heartbeat is no table; there are"));
    let local = desk.write("requests.csv", "timestamp [Local Time],url\n\"4/5/2026, 1:30:00 AM\",u\n");
    assert!(desk.refusal(&[&local], &["--replace"], 3).contains("time zone set to UTC"));
    let other = desk.write("notes.csv", "a,b\n1,2\n");
    assert!(desk.refusal(&[&other], &["--replace"], 3).contains("neither JSON nor CSV with a column timestamp"));
    let wide: Vec<u8> = "\u{feff}timestamp,url".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert!(desk.refusal(&[&desk.write("wide.csv", wide)], &["--replace"], 3).contains("save it as UTF-8"));
    assert!(desk.refusal(&[&desk.path("absent")], &["--replace"], 3).contains("absent"));
}

#[test]
fn logs_that_were_exported_are_kept_and_exported_traces_give_derived_ones() {
    let desk = Desk::new();
    let dimensions = json!({"Category": "Host.General", "LogLevel": "Warning"}).to_string();
    let rows = json!([{"timestamp": "2026-04-05T01:30:00Z", "message": "m", "severityLevel": 2, "itemType": "trace",
        "sdkVersion": "azurefunctions: 4.1037.0.0", "customDimensions": dimensions}]);
    let traces = desk.write("t.json", rows.to_string());
    assert_eq!(desk.summary(&[&traces], &[], 0)["derived"], 1);
    assert_eq!(desk.rows("FunctionAppLogs")[0]["Level"], "Warning");
    let logs = desk.write("l.csv", "TimeGenerated,FunctionName,Message,LevelId\n2026-04-05T01:30:00Z,f,x,4\n");
    let summary = desk.summary(&[&traces, &logs], &["--replace"], 0);
    assert_eq!((&summary["derived"], &summary["rows"]["FunctionAppLogs"]), (&json!(0), &json!(1)));
    assert_eq!(desk.rows("FunctionAppLogs")[0]["Message"], "x");
}

#[test]
fn a_folder_is_filled_once_and_replaced_only_where_an_import_filled_it() {
    let desk = Desk::new();
    let file = desk.write("e.jsonl", trace("one").to_string());
    desk.summary(&[&file], &[], 0);
    assert!(desk.refusal(&[&file], &[], 3).contains("or replace that import with --replace"));
    let later = desk.write("e.jsonl", trace("two").to_string());
    desk.summary(&[&later], &["--replace"], 0);
    assert_eq!(desk.rows("traces").iter().map(message).collect::<Vec<_>>(), ["two"]);
    // What a link leads to stays as it is.
    let outside = desk.write("outside.json", "mine");
    for name in ["import.json", "phases.json", "tables.new"] {
        let _ = fs::remove_file(desk.path("dir").join(name));
        symlink(&outside, desk.path("dir").join(name)).unwrap();
    }
    desk.summary(&[&later], &["--replace"], 0);
    assert_eq!(fs::read_to_string(&outside).unwrap(), "mine");
    // A run's folder, as every folder of evidence that no import filled.
    fs::remove_file(desk.path("dir/import.json")).unwrap();
    assert!(desk.refusal(&[&file], &["--replace"], 3).contains("has the evidence of a run"));
    assert_eq!(desk.rows("traces").len(), 1, "it is left as it is");
    fs::remove_dir_all(desk.path("dir")).unwrap();
    fs::create_dir(desk.path("dir")).unwrap();
    fs::write(desk.path("dir/mine.txt"), "").unwrap();
    assert!(desk.refusal(&[&file], &["--replace"], 3).contains("holds what the lab did not make"));
}

#[test]
fn phases_that_cannot_be_are_refused_before_anything_is_written() {
    let desk = Desk::new();
    let file = desk.write("e.jsonl", trace("one").to_string());
    let phases = desk
        .write("p.json", r#"{"phases": [{"name": "incident", "start": "2026-04-05T01:30:00Z", "end": "2026-04-05"}]}"#);
    let told = desk.refusal(&[&file], &["--phases", phases.to_str().unwrap()], 3);
    assert!(told.contains("p.json: phase \"incident\": end: \"2026-04-05\" is no time"), "{told}");
    assert!(!desk.path("dir").exists());
}

#[test]
fn rows_are_read_under_the_names_of_either_family() {
    let desk = Desk::new();
    let mut import = Import::new(None).unwrap();
    import.read(&desk.write("e.jsonl", trace("one").to_string()), |_| {}).unwrap();
    let imported = import.finish();
    assert_eq!(imported.rows("traces").unwrap()[0]["message"], "one");
    assert_eq!(imported.rows("AppTraces").unwrap()[0]["Message"], "one");
    assert!(imported.rows("AppRequests").unwrap().is_empty());
}

/// `lab collect` under way, and the lines it prints. Dropped, it is killed.
struct Collecting {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
    url: String,
}

impl Collecting {
    fn start(file: &Path) -> Self {
        let mut command = Command::new(&*LAB);
        command.args(["collect", "--port", "0", "--json", "--out"]).arg(file);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        let greeting: Value = serde_json::from_str(&line).unwrap();
        let url = greeting["url"].as_str().unwrap().to_owned();
        let wanted = format!("InstrumentationKey=00000000-0000-0000-0000-000000000000;IngestionEndpoint={url}/");
        assert_eq!(greeting["connectionString"], wanted);
        Self { child, lines, url }
    }

    async fn post(&self, body: &[u8]) -> (u16, Value) {
        ask(&self.url, "POST", "/v2/track", "", body).await
    }

    /// Ends it as Ctrl-C does: its exit code and its summary.
    fn interrupt(mut self) -> (Option<i32>, Value) {
        kill_process(Pid::from_raw(self.child.id().cast_signed()).unwrap(), Signal::INT).unwrap();
        let (mut summary, mut err) = (String::new(), String::new());
        self.lines.read_to_string(&mut summary).unwrap();
        self.child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        let status = self.child.wait().unwrap();
        (status.code(), serde_json::from_str(&summary).unwrap_or_else(|_| panic!("{status}: {summary}{err}")))
    }
}

impl Drop for Collecting {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn a_collection_is_a_file_that_can_be_imported_and_goes_on_where_it_stopped() {
    let desk = Desk::new();
    let file = desk.path("telemetry.jsonl");
    let collecting = Collecting::start(&file);
    assert_eq!(collecting.post(format!("[{},\n {}]", trace("one"), trace("two")).as_bytes()).await, accepted(2));
    let (code, summary) = collecting.interrupt();
    assert_eq!((code, &summary["received"], &summary["kinds"]), (Some(0), &json!(2), &json!({"MessageData": 2})));
    let collecting = Collecting::start(&file);
    let view = json!({"time": "2026-11-25T13:31:34.7Z", "data": {"baseType": "PageViewData", "baseData": {"n": 1.0}}});
    assert_eq!(collecting.post(format!("{}\n{view}", trace("three")).as_bytes()).await.0, 206);
    let (code, summary) = collecting.interrupt();
    assert_eq!((code, &summary["refused"]["unknown kind"]["count"]), (Some(1), &json!(1)));
    let kept: Vec<Value> = jsonl::read(&file).unwrap();
    assert_eq!(kept, [trace("one"), trace("two"), trace("three"), view], "what was refused is kept as well");
    let summary = desk.summary(&[&file], &[], 1);
    assert_eq!((&summary["accepted"], &summary["received"]), (&json!(3), &json!(4)));
}

#[tokio::test]
async fn a_collection_spoils_no_other_file_and_says_which_port_is_taken() {
    let desk = Desk::new();
    let other = desk.write("notes.txt", "mine\n");
    let run = |file: &Path, port: &str| {
        let output = Command::new(&*LAB).args(["collect", "--port", port, "--out"]).arg(file).output().unwrap();
        assert_eq!(output.status.code(), Some(3));
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(run(&other, "0").contains("notes.txt holds something else than envelopes: choose another file"));
    assert_eq!(fs::read_to_string(&other).unwrap(), "mine\n");
    assert!(run(&desk.0.path(), "0").contains("is a folder: name a file with --out"));
    let collecting = Collecting::start(&desk.path("one.jsonl"));
    let port = collecting.url.rsplit(':').next().unwrap();
    let told = run(&desk.path("two.jsonl"), port);
    assert!(told.contains(&format!("listen for telemetry on 127.0.0.1:{port}: choose another port")), "{told}");
}
