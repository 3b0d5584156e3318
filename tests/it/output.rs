//! What becomes of output: a reader that goes away changes nothing, a full disk is told, and the lab's own log is kept.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, pipe},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use custom_handler::wire::WEBHOOK_PATH;
use lab::{
    emulator::{
        host::{Host, HostLog, HostOptions, Identity, LogLine},
        task_hub::Instance,
    },
    evidence::table_writer::Tables,
    machine::{
        log,
        workspace::{Workspace, processes_of},
    },
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::{
    golden_conversations::{Sent, hub_of},
    handler::http_client,
    harness::{HANDLER, LAB, Scratch, UNDER_WAY, eventually},
    stand_in::placeholder,
    task_hub::{ReplayLab, handle, one_activity},
};

#[tokio::test]
async fn lab_start_whose_reader_went_away_keeps_serving() {
    let scratch = Scratch::new();
    let (stage, folder) = (ReplayLab::stage(&scratch), scratch.path().join("run"));
    let errors = scratch.path().join("errors");
    let mut lab = Command::new(&*LAB)
        .args(["start", "--port", "0", "--script-root"])
        .arg(stage)
        .arg("--folder")
        .arg(&folder)
        .stdout(Stdio::piped())
        .stderr(File::create(&errors).unwrap())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(lab.stdout.take().unwrap()).lines().map(Result::unwrap);
    let durable = lines.find(|it| it.trim().starts_with("durable")).unwrap();
    lines.find(|it| it.contains("stop     Ctrl-C")).unwrap();
    // As `head` does.
    drop(lines);

    let http = http_client();
    let base = durable.split_whitespace().last().unwrap().trim_end_matches(WEBHOOK_PATH).to_owned();
    let start = http.post(format!("{base}/api/durable/start-replay-lab")).body("{\"iterations\":5,\"instances\":3}");
    let started: Value = serde_json::from_str(&start.send().await.unwrap().text().await.unwrap()).unwrap();
    for id in started["instanceIds"].as_array().unwrap() {
        let url = format!("{base}/api/durable/status/{}", id.as_str().unwrap());
        eventually(UNDER_WAY, async || {
            let status = http.get(&url).send().await.unwrap().text().await.unwrap();
            status.contains("\"runtimeStatus\":\"Completed\"").then_some(())
        })
        .await;
    }
    kill_process(Pid::from_raw(lab.id().cast_signed()).unwrap(), Signal::INT).unwrap();
    let status = eventually(UNDER_WAY, async || lab.try_wait().unwrap()).await;
    let told = fs::read_to_string(errors).unwrap();
    assert!(status.success() && !told.contains("panicked"), "{status} {told}");
    assert_eq!(processes_of(&folder.canonicalize().unwrap()), [0; 0]);
}

#[test]
fn commands_whose_streams_are_closed_do_their_work_and_keep_their_exit_code() {
    let scratch = Scratch::new();
    let closed = || {
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        writer
    };
    let lab = |arguments: &[&str]| {
        let mut command = Command::new(&*LAB);
        command.args(arguments).current_dir(scratch.path()).stdout(closed());
        command
    };
    let staged = lab(&["stage", "--handler", HANDLER, "--out", "stage"]).output().unwrap();
    assert_eq!((staged.status.code(), &*staged.stderr), (Some(0), &b""[..]));
    assert!(scratch.path().join("stage/host.json").is_file());
    let refused = lab(&["stage", "--handler", HANDLER, "--out", "."]).stderr(closed()).status().unwrap();
    assert_eq!(refused.code(), Some(3), "neither a panic's 101 nor a signal");
    let helped = lab(&["--help"]).output().unwrap();
    assert_eq!((helped.status.code(), &*helped.stderr), (Some(0), &b""[..]));
    fs::write(scratch.path().join("file.txt"), "abc").unwrap();
    let processed = lab(&["process", "--handler", HANDLER, "--json", "file.txt"]).output().unwrap();
    let told = String::from_utf8(processed.stderr).unwrap();
    assert!(processed.status.success() && told.contains("1 of 1 right"), "{told}");
}

#[test]
fn output_that_a_full_disk_does_not_take_is_an_error() {
    let scratch = Scratch::new();
    let full = File::options().write(true).open("/dev/full").unwrap();
    let run = Command::new(&*LAB)
        .args(["stage", "--handler", HANDLER, "--out", "stage"])
        .current_dir(scratch.path())
        .stdout(full)
        .output()
        .unwrap();
    let told = String::from_utf8(run.stderr).unwrap();
    assert_eq!(run.status.code(), Some(3), "{told}");
    assert!(told.contains("error: some of the output could not be written: No space left on device"), "{told}");
}

#[tokio::test]
async fn the_lab_tells_its_own_errors_and_keeps_them_in_the_run_folder() {
    let scratch = Scratch::new();
    let folder = scratch.path().join("run");
    // A table that cannot be written: a folder has its name.
    fs::create_dir_all(Workspace::open(&folder).await.unwrap().tables().join("episodes.jsonl")).unwrap();
    let lab = ReplayLab::start(&folder, &ReplayLab::stage(&scratch)).await;
    let (_, _, started) = lab.call("POST", "/api/durable/start-replay-lab", Some("{\"iterations\":5}")).await;
    let id = started["instanceIds"][0].as_str().unwrap().to_owned();
    eventually(UNDER_WAY, async || (lab.status(&id).await["runtimeStatus"] == "Completed").then_some(())).await;
    let printed = fs::read_to_string(folder.join("lab.log")).unwrap();
    let kept = fs::read_to_string(folder.join("logs").join(log::FILE)).unwrap();
    let line = "ERROR rows of table episodes are lost: Is a directory";
    assert_eq!(kept.lines().count(), 1, "once, however many rows: {kept}");
    assert!(kept.contains(line) && printed.contains(kept.trim_end()), "{kept}{printed}");
    assert!(!kept.contains('\x1b') && !printed.contains('\x1b'), "no colours outside of a terminal");
}

/// The host's log is echoed inside of every work item, so an echo that panics is a work item that panics.
async fn life_with_a_panic_at(text: &'static str) -> (Instance, usize) {
    let folder = tempfile::tempdir().unwrap();
    let panicked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&panicked);
    let echo = move |line: &LogLine| {
        if line.message.starts_with(text) && count.fetch_add(1, Ordering::Relaxed) == 0 {
            panic!("as asked for");
        }
    };
    let tables = Tables::open(&folder.path().join("tables")).unwrap();
    let log = HostLog::new(tables, Identity::new("app"), Some(Box::new(echo)));
    let root = folder.path().to_owned();
    let options = HostOptions { script_root: root.clone(), working_directory: root.clone(), ..placeholder() };
    let host = Host::start(options, log).await.unwrap();
    let hub = hub_of(&host, &root, &root.join("hub.db"), &serde_json::json!({}));
    let answer = |request: &Sent| {
        if !request.line.contains("/act") {
            return one_activity(request);
        }
        Some((200, "application/json", json!({"ReturnValue": 7}).to_string()))
    };
    let driver = async {
        hub.start_instance("orch", "i", None).await.unwrap();
        eventually(UNDER_WAY, async || hub.instance("i").await.unwrap().filter(Instance::has_ended)).await
    };
    let instance = tokio::select! {
        () = handle(host.port(), answer) => unreachable!(),
        instance = driver => instance,
    };
    host.shutdown().await;
    hub.stop().await;
    (instance, panicked.load(Ordering::Relaxed))
}

#[tokio::test]
async fn a_work_item_that_panics_is_tried_again_and_its_instance_completes() {
    for text in [
        "Executing 'Functions.orch'",
        "Executed 'Functions.orch'",
        "Executing 'Functions.act'",
        "Executed 'Functions.act'",
    ] {
        let (instance, times) = life_with_a_panic_at(text).await;
        assert_eq!(instance.output.as_deref(), Some("7"), "{text}");
        assert!(times > 1, "{text}: the work item was tried again");
    }
}
