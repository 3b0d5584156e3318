//! A wall clock that is set while a run is under way. A process of its own: the clock that is set is this process's.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use clap::{FromArgMatches, Subcommand};
use custom_handler::clock;
use lab::evidence::moment::Moment;
use lab::{
    commands::Command,
    evidence::{
        jsonl,
        table_writer::{Table, Tables},
    },
    ingestion::{Collector, Sink},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Mutex,
    time::{Duration, sleep},
};

/// The clock is set by one test at a time.
static CLOCK: Mutex<()> = Mutex::const_new(());

/// The handler stands beside the lab: cargo builds both for a test of the whole workspace.
fn handler() -> PathBuf {
    let handler = Path::new(env!("CARGO_BIN_EXE_lab")).with_file_name("handler");
    assert!(handler.is_file(), "{} is missing: run `cargo test` for the whole workspace", handler.display());
    handler
}

/// Sets the clock once a run's incident is under way.
async fn step_in(evidence: &Path, by: time::Duration) {
    let baseline = evidence.join("replay/latest/phases.jsonl");
    while !fs::read_to_string(&baseline).is_ok_and(|it| it.ends_with('\n')) {
        sleep(Duration::from_millis(10)).await;
    }
    clock::step(by);
}

fn criterion<'a>(verdict: &'a Value, id: &str) -> &'a Value {
    verdict["criteria"].as_array().unwrap().iter().find(|it| it["id"] == id).unwrap()
}

#[tokio::test]
async fn a_run_during_which_the_clock_is_set_is_inconclusive_names_it_and_keeps_its_durations() {
    let _turn = CLOCK.lock().await;
    let scratch = tempfile::tempdir().unwrap();
    for (hours, wanted) in
        [(-1, "the wall clock was set back by 3600.0 s"), (1, "the wall clock was set forward by 3600.0 s")]
    {
        let evidence = scratch.path().join(format!("evidence{hours}"));
        let words =
            ["lab", "run", "replay", "--iterations", "200", "--continue-as-new-every", "40"].map(OsString::from);
        let paths =
            [("--handler", handler()), ("--evidence", evidence.clone()), ("--folder", scratch.path().join("work"))];
        let paths = paths.into_iter().flat_map(|(name, path)| [name.into(), path.into()]);
        let command = Command::augment_subcommands(clap::Command::new("lab"));
        let matches = command.try_get_matches_from(words.into_iter().chain(paths)).unwrap();
        let run = Command::from_arg_matches(&matches).unwrap().run();
        let (code, ()) = tokio::join!(run, step_in(&evidence, time::Duration::hours(hours)));
        clock::step(time::Duration::hours(-hours));
        assert_eq!(code.unwrap(), 2, "inconclusive");

        let run = evidence.join("replay/latest");
        let verdict: Value = serde_json::from_slice(&fs::read(run.join("verdict.json")).unwrap()).unwrap();
        assert_eq!(verdict["verdict"], "inconclusive");
        let doubts = verdict["doubts"].as_array().unwrap();
        assert!(doubts.iter().any(|it| it.as_str().unwrap().starts_with(wanted)), "{doubts:?}");
        // An hour is 3600 times what the run takes: a duration with it in would be far out, or negative.
        for id in ["incident.markers", "recovery.wall"] {
            let found = criterion(&verdict, id);
            let value = found["value"].as_f64().unwrap_or_else(|| panic!("{found:#}"));
            assert!((0.01..100.0).contains(&value), "{id}: {value}");
        }
        for phase in ["baseline", "incident", "recovery"] {
            let seconds = verdict["counts"][phase]["wall_seconds"].as_f64().unwrap();
            assert!((0.0..600.0).contains(&seconds), "{phase}: {seconds}");
        }
        for criterion in verdict["criteria"].as_array().unwrap().iter().filter(|it| it["kind"] == "consistency") {
            assert_eq!(criterion["result"], "pass", "{criterion:#}");
        }
    }
}

/// A trace envelope of this moment.
fn envelope(at: Moment) -> String {
    let time = at.timestamp();
    json!({"time": time, "data": {"baseType": "MessageData", "baseData": {"message": time}}}).to_string()
}

async fn post(url: &str, body: &str) {
    let mut stream = TcpStream::connect(url.trim_start_matches("http://")).await.unwrap();
    let head = "POST /v2/track HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length:";
    stream.write_all(format!("{head} {}\r\n\r\n{body}", body.len()).as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn telemetry_that_arrives_while_the_clock_is_set_keeps_its_moments_and_its_order() {
    let _turn = CLOCK.lock().await;
    let folder = tempfile::tempdir().unwrap();
    let tables = Tables::open(folder.path()).unwrap();
    let path = tables.path(Table::Traces);
    let collector = Collector::start(0, Sink::tables(tables)).await.unwrap();
    let mut made = Vec::new();
    for hours in [0, -1, 3, -2] {
        // One is sent before the clock is set, one is made before and sent after.
        made.push(Moment::now());
        post(&collector.url(), &envelope(made[made.len() - 1])).await;
        made.push(Moment::now());
        let late = envelope(made[made.len() - 1]);
        clock::step(time::Duration::hours(hours));
        post(&collector.url(), &late).await;
    }
    collector.stop().await;
    let rows: Vec<Value> = jsonl::read(&path).unwrap();
    let told: Vec<f64> = rows.iter().map(|it| it["monotonicMs"].as_f64().unwrap()).collect();
    assert!(told.is_sorted(), "{told:?}");
    for (told, made) in told.iter().zip(&made) {
        assert!((told - made.monotonic_ms()).abs() < 20.0, "{told} for {made:?}");
    }
    assert_eq!(told.len(), made.len());
}
