//! Telemetry that arrives: both labs' telemetry of the real host, envelopes of other SDKs, and the endpoint over HTTP.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{Read, Write},
    path::{Path, PathBuf},
    sync::LazyLock,
};

use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use kql::Type;
use lab::{
    evidence::{
        jsonl,
        schema::{self, Profile},
        table_writer::Tables,
    },
    ingestion::{Collector, Counts, Envelope, Sink, rows_of},
};
use proptest::{collection::vec, prelude::*, sample::select};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{harness::Scratch, tidy::root};

pub(crate) fn golden(name: &str) -> PathBuf {
    root().join("tests/it/golden").join(name)
}

/// The text of a recording, unpacked.
pub(crate) fn recording(name: &str) -> String {
    let mut text = String::new();
    let mut file = File::open(golden(name)).unwrap();
    if name.ends_with(".gz") {
        GzDecoder::new(file).read_to_string(&mut text).unwrap();
    } else {
        file.read_to_string(&mut text).unwrap();
    }
    text
}

pub(crate) fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// Rows of all envelopes of a recording, by table.
fn tables_of(name: &str) -> BTreeMap<&'static str, Vec<Value>> {
    let mut tables: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for line in recording(name).lines() {
        let envelope = Envelope::read(serde_json::from_str(line).unwrap()).unwrap();
        for row in rows_of(&envelope).unwrap_or_else(|error| panic!("{error}: {line}")) {
            tables.entry(row.table.name()).or_default().push(Value::Object(row.columns));
        }
    }
    tables
}

fn counts_of(tables: &BTreeMap<&'static str, Vec<Value>>) -> Value {
    json!(tables.iter().map(|(name, rows)| (*name, rows.len())).collect::<BTreeMap<_, _>>())
}

/// Rows of a table by the kind of envelope they come from.
pub(crate) fn truth(name: &str, field: &str) -> Value {
    let truth: Value = serde_json::from_str(&fs::read_to_string(golden(name)).unwrap()).unwrap();
    let kinds = [
        ("MessageData", "traces"),
        ("RequestData", "requests"),
        ("RemoteDependencyData", "dependencies"),
        ("MetricData", "customMetrics"),
        ("ExceptionData", "exceptions"),
    ];
    let counts = &truth[field];
    assert!(counts.as_object().unwrap().keys().all(|it| kinds.iter().any(|(kind, _)| kind == it)), "{counts}");
    let tables = kinds.iter().filter(|(kind, _)| !counts[kind].is_null());
    json!(tables.map(|(kind, table)| (*table, counts[kind].clone())).collect::<BTreeMap<_, _>>())
}

/// Every column is one of the table's, and its value of the column's type.
pub(crate) fn assert_typed(table: &str, row: &Value) {
    let schema = schema::table(table, Profile::Documented).unwrap();
    for (name, value) in row.as_object().unwrap() {
        if name == "monotonicMs" {
            continue;
        }
        let column = schema.column(name).unwrap_or_else(|| panic!("{table} has no column {name}: {row}"));
        let fits = match column.kind {
            Type::Bool => value.is_boolean(),
            Type::Int | Type::Long => value.is_i64(),
            Type::Real | Type::TimeSpan => value.is_number(),
            Type::String | Type::Guid => value.is_string(),
            Type::Dynamic => value.is_object() || value.is_array(),
            Type::DateTime => value.as_str().and_then(schema::read_time).is_some_and(|it| it.text.ends_with('Z')),
        };
        assert!(fits, "{table}.{name} is {value}, which is no {:?}", column.kind);
    }
}

pub(crate) fn count(rows: &[Value], wanted: impl Fn(&Value) -> bool) -> usize {
    rows.iter().filter(|it| wanted(it)).count()
}

pub(crate) fn message(row: &Value) -> &str {
    row["message"].as_str().unwrap()
}

#[test]
fn all_envelopes_of_the_real_run_become_rows_of_the_schema() {
    let telemetry = tables_of("real-run/telemetry.jsonl.gz");
    assert_eq!(counts_of(&telemetry), truth("real-run/truth.json", "envelopes"));
    telemetry.iter().for_each(|(table, rows)| rows.iter().for_each(|row| assert_typed(table, row)));
}

#[test]
fn what_was_true_of_the_real_run_is_in_its_rows() {
    let tables = tables_of("real-run/telemetry.jsonl.gz");
    let (traces, requests) = (&tables["traces"], &tables["requests"]);
    assert_eq!(count(traces, |it| message(it).contains("Worker process exited with code 137")), 5);
    assert_eq!(count(traces, |it| message(it).starts_with("MemoryError")), 7);
    assert_eq!(count(traces, |it| message(it).starts_with("Message has reached MaxDequeueCount")), 7);
    let is_blob = |it: &Value| it["operation_Name"] == "BlobBufferProcessor" && it["name"] == "BlobBufferProcessor";
    assert_eq!(count(requests, is_blob), 62);
    assert_eq!(count(requests, |it| is_blob(it) && it["success"] == "False"), 35);
    assert_eq!(count(&tables["dependencies"], |it| it["success"] == "False"), 35);
    let first = json!({"severityLevel": 1, "Category": "Host.Triggers.DurableTask", "timestamp": "2026-11-25T13:31:34.7950509Z"});
    let row = &traces[0];
    let read = json!({"severityLevel": row["severityLevel"], "Category": row["customDimensions"]["Category"],
        "timestamp": row["timestamp"]});
    assert_eq!(read, first);
    assert_eq!(requests[0]["duration"], 366.2066);
    let exception = &tables["exceptions"][0];
    assert_eq!(exception["outerType"], "Microsoft.Azure.WebJobs.Host.FunctionInvocationException");
    assert_eq!(exception["innermostType"], "System.Net.Http.HttpRequestException");
    assert_eq!(exception["innermostMethod"], "System.Net.Http.HttpResponseMessage.EnsureSuccessStatusCode");
    assert_eq!(exception["details"].as_array().unwrap().len(), 2);
}

#[test]
fn envelopes_of_an_opentelemetry_exporter_become_rows() {
    let tables = tables_of("app-insights-envelopes.jsonl");
    let wanted = json!({"customMetrics": 2, "dependencies": 2, "performanceCounters": 2, "requests": 1, "traces": 3});
    assert_eq!(counts_of(&tables), wanted);
    tables.iter().for_each(|(table, rows)| rows.iter().for_each(|row| assert_typed(table, row)));
    let counter = &tables["performanceCounters"][0];
    assert_eq!(
        [&counter["category"], &counter["instance"], &counter["counter"], &counter["name"], &counter["cloud_RoleName"]],
        [
            "Process",
            "??APP_WIN32_PROC??",
            "Private Bytes",
            r"\Process(??APP_WIN32_PROC??)\Private Bytes",
            "recommended"
        ]
    );
    assert_eq!(counter["value"], 1_785_856.0);
    let download = &tables["dependencies"][0];
    assert_eq!(
        (&download["duration"], &download["success"], &download["resultCode"]),
        (&json!(16.247), &json!("True"), &json!("206"))
    );
    assert_eq!(tables["traces"][1]["severityLevel"], 2);
    assert_eq!(tables["customMetrics"][1]["valueMin"], 0.25);
    // The other recording of the real host has one envelope of each kind.
    let host = tables_of("telemetry-host.jsonl");
    let wanted = json!({"customMetrics": 7, "dependencies": 12, "exceptions": 2, "requests": 1, "traces": 69});
    assert_eq!(counts_of(&host), wanted);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 3000, ..ProptestConfig::default() })]

    /// Whatever is changed in an envelope, it becomes rows of the schema or is refused.
    #[test]
    fn a_changed_envelope_gives_typed_rows_or_a_reason(
        line in 0_usize..101,
        at in 0_usize..2000,
        with in select(PIECES),
        length in 0_usize..40,
    ) {
        let line = LINES.lines().nth(line).unwrap();
        let begin = line.floor_char_boundary(at % line.len());
        let end = line.floor_char_boundary(begin + length).max(begin);
        let changed = format!("{}{with}{}", &line[..begin], &line[end..]);
        let envelope = serde_json::from_str(&changed).ok().and_then(|it| Envelope::read(it).ok());
        for row in envelope.and_then(|it| rows_of(&it).ok()).unwrap_or_default() {
            assert_typed(row.table.name(), &Value::Object(row.columns));
        }
    }

    #[test]
    fn any_text_is_a_time_a_timespan_or_neither(pieces in vec(select(PIECES), 0..9)) {
        let text = pieces.concat();
        if let Some(time) = schema::read_time(&text) {
            prop_assert_eq!(schema::read_time(&time.text).map(|it| it.at.unix_timestamp()), Some(time.at.unix_timestamp()));
        }
        prop_assert!(schema::duration_ms(&text).is_none_or(f64::is_finite));
    }
}

static LINES: LazyLock<String> =
    LazyLock::new(|| recording("telemetry-host.jsonl") + &recording("app-insights-envelopes.jsonl"));

/// What envelopes, times and numbers are made of, and what breaks them.
const PIECES: &[&str] = &[
    "",
    "\"",
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "null",
    "true",
    "-1",
    "1e99",
    "0",
    "7",
    "26",
    "2026",
    "9999",
    "0000",
    "-",
    "T",
    "Z",
    " ",
    ".",
    "9999999",
    "+23:59",
    "-23:59",
    "00:00:00",
    "24:00:00",
    "/",
    "AM",
    "PM",
    ", ",
    "4/5/2026",
    "\\",
    "\\u0000",
    "ä",
    "\"duration\":",
    "\"time\":",
];

/// Status and body of an answer.
pub(crate) async fn ask(url: &str, method: &str, path: &str, headers: &str, body: &[u8]) -> (u16, Value) {
    let mut stream = TcpStream::connect(url.trim_start_matches("http://")).await.unwrap();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\n{headers}Connection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // A body that is refused by its length is not read.
    let _ = stream.write_all(body).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    (status, serde_json::from_str(body).unwrap_or(Value::String(body.to_owned())))
}

/// A collector into the tables of a folder.
struct Endpoint {
    scratch: Scratch,
    collector: Collector,
}

impl Endpoint {
    async fn start() -> Self {
        let scratch = Scratch::new();
        let tables = Tables::open(&scratch.path().join("tables")).unwrap();
        let sink = Sink::tables(tables).and_file(&scratch.path().join("envelopes.jsonl")).unwrap();
        Self { collector: Collector::start(0, sink).await.unwrap(), scratch }
    }

    async fn post(&self, headers: &str, body: &[u8]) -> (u16, Value) {
        ask(&self.collector.url(), "POST", "/v2/track", headers, body).await
    }

    fn rows(&self, table: &str) -> Vec<Value> {
        jsonl::read(&self.scratch.path().join(format!("tables/{table}.jsonl"))).unwrap()
    }

    fn kept(&self) -> Vec<Value> {
        jsonl::read(&self.scratch.path().join("envelopes.jsonl")).unwrap()
    }
}

const GZIP: &str = "Content-Encoding: gzip\r\n";

pub(crate) fn trace(message: &str) -> Value {
    json!({
        "name": "AppTraces", "time": "2026-11-25T13:31:34.7Z", "iKey": "00000000-0000-0000-0000-000000000000", "tags": {},
        "data": {"baseType": "MessageData", "baseData": {"message": message}},
    })
}

pub(crate) fn accepted(received: usize) -> (u16, Value) {
    (200, json!({"itemsReceived": received, "itemsAccepted": received, "errors": [], "appId": null}))
}

#[tokio::test]
async fn the_endpoint_takes_arrays_objects_and_lines_packed_or_not() {
    let endpoint = Endpoint::start().await;
    let (one, two) = (trace("one").to_string(), trace("two").to_string());
    assert_eq!(endpoint.post("", format!("[{one},{two}]").as_bytes()).await, accepted(2));
    assert_eq!(endpoint.post("", one.as_bytes()).await, accepted(1));
    assert_eq!(endpoint.post("", format!("{one}\n{two}\n").as_bytes()).await, accepted(2));
    let lines = "Content-Type: application/x-json-stream\r\n";
    assert_eq!(
        endpoint.post(&format!("{GZIP}{lines}"), &gzip(format!("{one}\r\n{two}").as_bytes())).await,
        accepted(2)
    );
    assert_eq!(endpoint.post(GZIP, &gzip(format!("[{one}]").as_bytes())).await, accepted(1));
    assert_eq!(endpoint.post("", b"[]").await, accepted(0));
    let url = endpoint.collector.url();
    assert_eq!(ask(&url, "POST", "/v2.1/track", "Authorization: Bearer x\r\n", one.as_bytes()).await, accepted(1));
    for (method, path) in [("GET", "/api/profiles/k/appId"), ("POST", "/QuickPulseService.svc/ping"), ("GET", "/")] {
        assert_eq!(ask(&url, method, path, "", b"").await.0, 404, "{path}");
    }
    let counts = endpoint.collector.stop().await;
    assert_eq!((counts.received, counts.accepted, counts.late), (9, 9, 9));
    assert_eq!(counts.rows, BTreeMap::from([("traces".to_owned(), 9)]));
    assert_eq!(endpoint.rows("traces").len(), 9);
    assert_eq!(endpoint.kept().len(), 9);
    assert_eq!(endpoint.kept()[0], trace("one"), "as it was sent");
    assert!(endpoint.rows("traces").iter().all(|it| it["monotonicMs"].is_number()));
}

#[tokio::test]
async fn what_is_wrong_with_an_item_is_told_with_its_index_and_stops_no_other() {
    let endpoint = Endpoint::start().await;
    let mut view = trace("x");
    view["data"]["baseType"] = json!("PageViewData");
    let mut old = trace("x");
    old["time"] = json!("0001-01-01T00:00:00Z");
    let mut timeless = trace("x");
    timeless["time"] = json!("now");
    let lines = format!(
        "{}\n{view}\n{}\n{old}\n{timeless}\n7\n{}\n",
        trace("one"),
        &trace("x").to_string()[..50],
        trace("two")
    );
    let (status, answer) = endpoint.post("", lines.as_bytes()).await;
    assert_eq!((status, &answer["itemsReceived"], &answer["itemsAccepted"]), (206, &json!(7), &json!(2)), "{answer}");
    let indexes: Vec<u64> =
        answer["errors"].as_array().unwrap().iter().map(|it| it["index"].as_u64().unwrap()).collect();
    assert_eq!(indexes, [1, 2, 3, 4, 5]);
    assert!(answer["errors"].as_array().unwrap().iter().all(|it| it["statusCode"] == 400), "{answer}");
    assert_eq!(answer["errors"][0]["message"], "the kind \"PageViewData\" has no table here");

    let (status, answer) = endpoint.post("", b"[{\"name\":").await;
    assert_eq!((status, &answer["itemsAccepted"]), (400, &json!(0)));
    assert_eq!(endpoint.post("", b"").await.0, 400);
    let counts = endpoint.collector.stop().await;
    let refused: BTreeMap<&str, u64> = counts.refused.iter().map(|(reason, it)| (reason.as_str(), it.count)).collect();
    let wanted =
        [("cut", 3), ("not an envelope", 1), ("older than the clock", 1), ("unknown kind", 1), ("unreadable time", 1)];
    assert_eq!(refused, BTreeMap::from(wanted));
    assert_eq!(endpoint.rows("traces").iter().map(message).collect::<Vec<_>>(), ["one", "two"]);
}

#[tokio::test]
async fn a_bomb_a_long_body_and_a_cut_stream_take_nothing_with_them() {
    let endpoint = Endpoint::start().await;
    let bomb = gzip(&vec![b' '; (64 << 20) + 1]);
    assert_eq!(endpoint.post(GZIP, &bomb).await.0, 413);
    let mut stream = TcpStream::connect(endpoint.collector.url().trim_start_matches("http://")).await.unwrap();
    let head = format!("POST /v2/track HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", (64 << 20) + 1);
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut start = [0; 12];
    stream.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 413");
    assert_eq!(endpoint.post("Content-Encoding: br\r\n", b"x").await.0, 415);
    let lines: String = (0..100).map(|n| format!("{}\n", trace(&format!("line {n}")))).collect();
    let packed = gzip(lines.as_bytes());
    let (status, answer) = endpoint.post(GZIP, &packed[..packed.len() - 12]).await;
    assert_eq!(status, 206, "{answer}");
    let read = answer["itemsAccepted"].as_u64().unwrap();
    assert!((50..100).contains(&read), "{answer}");
    assert_eq!(answer["errors"].as_array().unwrap().len(), 1, "{answer}");
    assert_eq!(endpoint.rows("traces").len() as u64, read);
    assert_eq!(endpoint.post("", trace("after").to_string().as_bytes()).await, accepted(1));
    let refused = endpoint.collector.stop().await.refused;
    assert_eq!((refused["unread body"].count, refused["cut"].count), (3, 1), "{refused:?}");
}

#[tokio::test]
async fn a_full_disk_asks_for_another_try() {
    let collector = Collector::start(0, Sink::default().and_file(Path::new("/dev/full")).unwrap()).await.unwrap();
    let lines = format!("{}\n7\n", trace("one"));
    let (status, answer) = ask(&collector.url(), "POST", "/v2/track", "", lines.as_bytes()).await;
    let statuses: Vec<&Value> = answer["errors"].as_array().unwrap().iter().map(|it| &it["statusCode"]).collect();
    assert_eq!((status, statuses), (503, vec![&json!(503), &json!(400)]), "{answer}");
    let refused = collector.stop().await.refused;
    assert!(refused["not stored"].examples[0].contains("No space left on device"), "{refused:?}");
}

#[tokio::test]
async fn a_page_of_another_site_sends_nothing_here() {
    let endpoint = Endpoint::start().await;
    let body = trace("x").to_string();
    for headers in ["Origin: https://evil.example\r\n", "Sec-Fetch-Site: cross-site\r\n"] {
        assert_eq!(endpoint.post(headers, body.as_bytes()).await.0, 403);
    }
    assert_eq!(endpoint.collector.stop().await, Counts::default());
}

#[tokio::test]
async fn the_real_run_goes_in_over_http_none_refused_none_lost() {
    let endpoint = Endpoint::start().await;
    let packed = fs::read(golden("real-run/telemetry.jsonl.gz")).unwrap();
    assert_eq!(endpoint.post(GZIP, &packed).await, accepted(11_481));
    assert_eq!(endpoint.collector.stop().await.refusals(), 0);
    for (table, wanted) in [("traces", 7516), ("requests", 1831), ("exceptions", 70)] {
        assert_eq!(endpoint.rows(table).len(), wanted, "{table}");
    }
}

#[tokio::test]
async fn a_connection_string_is_what_an_exporter_needs() {
    let endpoint = Endpoint::start().await;
    let port = endpoint.collector.url().rsplit(':').next().unwrap().to_owned();
    let wanted =
        format!("InstrumentationKey=00000000-0000-0000-0000-000000000000;IngestionEndpoint=http://127.0.0.1:{port}/");
    assert_eq!(endpoint.collector.connection_string(), wanted);
    let taken = Collector::start(port.parse().unwrap(), Sink::default()).await.unwrap_err();
    assert!(taken.to_string().contains(&format!("127.0.0.1:{port}: choose another port")), "{taken}");
}
