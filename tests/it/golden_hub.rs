//! What the durable extension 3.19.0 made of replies and versions, row by row of the recordings, put to the task hub.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use durable::protocol::OrchestrationStatus;
use lab::emulator::{
    host::HostOptions,
    task_hub::{Client, Instance, Signal, Start, TaskHub},
};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{
    golden_conversations::{hub_holding, hub_of, stand_in_with, stand_in_with_hub},
    harness::eventually,
    recorded_handler::Program,
    stand_in::{StandIn, golden_of, placeholder},
};

const SOON: Duration = Duration::from_secs(60);

fn start(id: &str, input: &Value, version: Option<&str>) -> Start {
    Start {
        name: "orch".to_owned(),
        instance_id: id.to_owned(),
        input: Some(input.to_string()),
        version: version.map(str::to_owned),
        client: Client::Webhook,
    }
}

/// A text as the status shows it: what is not JSON is a string.
fn value(text: Option<&str>) -> Value {
    text.map_or(Value::Null, |it| serde_json::from_str(it).unwrap_or_else(|_| json!(it)))
}

/// Lets a story happen on a hub whose handler is the recorded program, then ends both.
async fn beside(program: &Program, stand_in: &StandIn, hub: &TaskHub, story: impl Future<Output = ()>) {
    tokio::select! {
        () = program.clone().serve(stand_in.host.port()) => unreachable!(),
        () = story => {}
    }
    stand_in.host.shutdown().await;
    hub.stop().await;
}

async fn shown(hub: &TaskHub, id: &str) -> Instance {
    hub.instance(id).await.unwrap().unwrap()
}

/// Rows that the stand-in answers otherwise on purpose: `(row, status, what its output names)`.
const OTHERWISE: &[(&str, &str, &str)] = &[("timerlong", "Failed", "createTimer is more than 7 days ahead")];

/// Rows of instances that were called on and on when the recording looked: row and calls to wait for.
const CALLED_ON: &[(&str, u64)] = &[("baddup", 4), ("emptyname", 13), ("many", 2)];

/// What is comparable of an output: of a failure the exceptions, without stacks and the words of the library that decodes.
fn comparable(row: &str, output: &Value) -> Value {
    let Some(details) = output["details"].as_str() else { return output.clone() };
    let text = details.split("\n   at ").next().unwrap().split('…').next().unwrap();
    let text = if row == "badproto" { text.split(", the input").next().unwrap() } else { text };
    let until =
        if row == "badproto" { text.find("While parsing a protocol message") } else { text.find("Headers:\n{") };
    json!([output["message"], &text[..until.unwrap_or(text.len())]])
}

#[tokio::test]
async fn each_recorded_reply_of_an_orchestrator_leads_to_the_recorded_status() {
    let golden = golden_of("durable-3/durable-orchestrator-reply-table");
    let rows = golden["outcomes"].as_object().unwrap();
    assert_eq!(rows.len(), 48);
    let (stand_in, hub) = stand_in_with_hub(placeholder()).await;
    let program = Program::default();
    let driver = async {
        for (name, row) in rows {
            hub.create_instance(start(name, &row["input"], None)).await.unwrap();
        }
        for (name, row) in rows {
            println!("{name}");
            let otherwise = OTHERWISE.iter().find(|it| it.0 == name);
            let wanted = otherwise.map_or_else(|| row["runtimeStatus"].as_str().unwrap(), |it| it.1);
            let instance = eventually(SOON, async || {
                let instance = shown(&hub, name).await;
                let is_there = format!("{:?}", instance.status) == wanted && program.calls(name) > 0;
                let was_recorded = instance.has_ended() || instance.custom_status.is_some() || name == "noinst0";
                (is_there && was_recorded).then_some(instance)
            });
            let instance = instance.await;
            let output = value(instance.output.as_deref());
            if let Some((_, _, what)) = otherwise {
                assert!(output["details"].as_str().unwrap().contains(what), "{name}: {output}");
                continue;
            }
            // Of a long output the recording cut the middle, and of those tried again it kept the first look.
            let ours = comparable(name, &output);
            let theirs = comparable(name, &row["output"]);
            match (ours[1].as_str(), theirs[1].as_str()) {
                (Some(ours), Some(theirs)) => assert!(ours.starts_with(theirs), "{name}: {ours:?} is not {theirs:?}"),
                _ => assert_eq!(ours, theirs, "{name}"),
            }
            if row.get("note").is_none() && name != "okstatus" && !CALLED_ON.iter().any(|it| it.0 == name) {
                assert_eq!(value(instance.custom_status.as_deref()), row["customStatus"], "{name}");
            }
        }
        for (name, calls) in CALLED_ON {
            eventually(SOON, async || (program.calls(name) >= *calls).then_some(())).await;
        }
        assert_eq!(program.calls("oom"), 3, "it is tried again, twice");
        for name in ["reset", "h500", "h500once", "h503once", "badproto", "timerlong"] {
            assert_eq!(program.calls(name), 1, "{name} is not tried again");
        }
    };
    beside(&program, &stand_in, &hub, driver).await;
}

/// Details without stacks, and without the headers of the recorded server.
fn without_stacks(mut failed: Value) -> Value {
    let mut details = Some(&mut failed["failureDetails"]);
    while let Some(it) = details.take().filter(|it| it.is_object()) {
        it.as_object_mut().unwrap().remove("stackTrace");
        let text = it["errorMessage"].as_str().unwrap().to_owned();
        if let Some((before, after)) = text.split_once("Headers:\n{") {
            it["errorMessage"] = json!(format!("{before}{}", after.split_once("\n}").unwrap().1));
        }
        // Where in the text is not known here any more, and the words of the library that reads it are another's.
        if let Some(text) = it["errorMessage"].as_str().and_then(|it| Some(it.split_once("Path '")?.0.to_owned())) {
            it["errorMessage"] = json!(text);
        }
        if it["errorType"] == "Newtonsoft.Json.JsonReaderException" {
            it["errorMessage"] = Value::Null;
        }
        details = it.get_mut("innerFailure");
    }
    json!(failed["failureDetails"])
}

#[tokio::test]
async fn each_recorded_reply_of_an_activity_becomes_the_recorded_outcome() {
    let golden = golden_of("durable-3/durable-activity-replies");
    let cases = golden["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 38);
    let (stand_in, hub) = stand_in_with_hub(placeholder()).await;
    let inputs: Vec<&Value> = cases.iter().map(|it| &it["activityInput"]).collect();
    let driver = async {
        hub.create_instance(start("items1", &json!({ "mode": "items", "items": inputs }), None)).await.unwrap();
        let ended = async || Some(shown(&hub, "items1").await).filter(Instance::has_ended);
        let output = value(eventually(SOON, ended).await.output.as_deref());
        let outcomes: Vec<(u64, Value)> = serde_json::from_value(output).unwrap();
        let outcomes: BTreeMap<u64, Value> = outcomes.into_iter().collect();
        for ((id, mut ours), case) in outcomes.into_iter().zip(cases) {
            let (name, mut theirs) = (case["case"].as_str().unwrap(), case["received"].clone());
            for outcome in [&mut ours, &mut theirs] {
                if !outcome["taskFailed"].is_null() {
                    outcome["taskFailed"] = without_stacks(outcome["taskFailed"].take());
                } else {
                    outcome.as_object_mut().unwrap().remove("taskFailed");
                }
            }
            assert_eq!(ours, theirs, "{id} {name}");
        }
    };
    tokio::select! {
        () = Program::default().serve(stand_in.host.port()) => unreachable!(),
        () = driver => {}
    }
    stand_in.host.shutdown().await;
    hub.stop().await;
}

/// An output without what differs from run to run.
fn without_times(output: &Value) -> Value {
    let mut output = output.clone();
    if let Some(fields) = output.as_object_mut() {
        fields.remove("eventId");
        fields.remove("timestamp");
    }
    output
}

#[tokio::test]
async fn each_version_is_run_rejected_or_failed_as_recorded() {
    let golden = golden_of("durable-3/durable-versions");
    for (settings, rows) in golden["outcomesBySettings"].as_object().unwrap() {
        let rows = rows.as_object().unwrap();
        assert_eq!(rows.len(), 17);
        let (stand_in, hub) = stand_in_with(placeholder(), &serde_json::from_str(settings).unwrap()).await;
        let program = Program::default();
        let driver = async {
            for (id, start_of) in golden["inputs"].as_object().unwrap() {
                let version = start_of[1].as_str().unwrap().split_once("version=").map(|it| it.1);
                hub.create_instance(start(id, &start_of[0], version)).await.unwrap();
            }
            let bound = Start { client: Client::OutputBinding, ..start("v_out", &json!({ "mode": "ch" }), None) };
            hub.create_instance(bound).await.unwrap();
            let waits = |it: &Value| ["Pending", "Running"].contains(&it[0].as_str().unwrap());
            for (id, row) in rows.iter().filter(|it| !waits(it.1)) {
                let ended = async || Some(shown(&hub, id).await).filter(Instance::has_ended);
                let instance = eventually(SOON, ended).await;
                let ours = json!([format!("{:?}", instance.status), without_times(&value(instance.output.as_deref()))]);
                assert_eq!(ours, json!([row[0], without_times(&row[1])]), "{settings} {id}");
            }
            for (id, row) in rows.iter().filter(|it| waits(it.1)) {
                let instance = shown(&hub, id).await;
                let ours = (format!("{:?}", instance.status), value(instance.output.as_deref()));
                assert_eq!(ours, (row[0].as_str().unwrap().to_owned(), row[1].clone()), "{settings} {id}");
                assert_eq!(
                    program.calls(id) > 0,
                    row[0] == "Running",
                    "{settings} {id}: whether the handler is called"
                );
            }
        };
        beside(&program, &stand_in, &hub, driver).await;
    }
}

/// As seen of the real hub: no version is below any, so without an app's version nothing that has one is run.
#[tokio::test]
async fn without_a_version_of_the_app_an_instance_that_has_one_waits() {
    let (stand_in, hub) = stand_in_with_hub(placeholder()).await;
    let program = Program::default();
    let driver = async {
        hub.create_instance(start("versioned", &json!({ "mode": "ch" }), Some("2.5"))).await.unwrap();
        let child = json!({ "mode": "sub", "cver": "2.5", "child": { "mode": "ch" } });
        hub.create_instance(start("parent", &child, None)).await.unwrap();
        hub.create_instance(start("empty", &json!({ "mode": "ch" }), Some(""))).await.unwrap();
        let done = ended(&hub, "empty").await;
        assert_eq!(value(done.output.as_deref()), json!({ "version": {} }));
        let is_there = async || hub.instance("parent:0").await.unwrap().is_some().then_some(());
        eventually(SOON, is_there).await;
        let status = async |id: &str| shown(&hub, id).await.status;
        assert_eq!(status("versioned").await, OrchestrationStatus::Pending);
        assert_eq!(status("parent:0").await, OrchestrationStatus::Pending);
        assert_eq!(status("parent").await, OrchestrationStatus::Running);
        assert_eq!((program.calls("versioned"), program.calls("parent:0")), (0, 0));
    };
    beside(&program, &stand_in, &hub, driver).await;
}

async fn ended(hub: &TaskHub, id: &str) -> Instance {
    eventually(SOON, async || Some(shown(hub, id).await).filter(Instance::has_ended)).await
}

/// `hangsAndKills` of the reply table; deaths are among its rows.
#[tokio::test]
async fn an_episode_that_hangs_is_tried_again_and_an_activity_that_hangs_has_failed() {
    let function_timeout = Duration::from_millis(700);
    let (stand_in, hub) = stand_in_with_hub(HostOptions { function_timeout, ..placeholder() }).await;
    let program = Program::default();
    let driver = async {
        hub.create_instance(start("episode", &json!({ "om": "hangonce", "mode": "ch" }), None)).await.unwrap();
        assert_eq!(ended(&hub, "episode").await.status, OrchestrationStatus::Completed);
        assert_eq!(program.calls("episode"), 2);

        let items = json!({ "mode": "items", "items": [{ "k": "hang" }] });
        hub.create_instance(start("activity", &items, None)).await.unwrap();
        let outcome = value(ended(&hub, "activity").await.output.as_deref());
        let details = &outcome[0][1]["taskFailed"]["failureDetails"];
        assert_eq!(details["errorType"], "Microsoft.Azure.WebJobs.Host.FunctionTimeoutException");
        let message = "Timeout value of 00:00:00.7000000 was exceeded by function: Functions.act";
        assert_eq!(details["errorMessage"], message);
        assert_eq!(program.calls("hang"), 1, "it is not tried again");
    };
    beside(&program, &stand_in, &hub, driver).await;
}

/// As recorded of `zombie`: shown as terminated at once, called on, and completed in the end.
#[tokio::test]
async fn a_termination_that_is_ignored_is_shown_until_the_instance_completes() {
    let (stand_in, hub) = stand_in_with_hub(placeholder()).await;
    let driver = async {
        hub.create_instance(start("zombie", &json!({ "n": 60 }), None)).await.unwrap();
        let is_under_way = async || (shown(&hub, "zombie").await.status == OrchestrationStatus::Running).then_some(());
        eventually(SOON, is_under_way).await;
        hub.signal("zombie", Signal::Terminate(Some("bye".to_owned()))).await.unwrap();
        let terminated = eventually(SOON, async || Some(shown(&hub, "zombie").await).filter(Instance::has_ended)).await;
        assert_eq!(
            (terminated.status, terminated.output.as_deref()),
            (OrchestrationStatus::Terminated, Some("\"bye\""))
        );
        let completed = async || Some(shown(&hub, "zombie").await).filter(|it| it.finished);
        let completed = eventually(SOON, completed).await;
        assert_eq!(completed.status, OrchestrationStatus::Completed);
        assert_eq!(value(completed.output.as_deref()), json!({ "total": 60, "batches": 1 }));
    };
    tokio::select! {
        () = Program::default().serve(stand_in.host.port()) => unreachable!(),
        () = driver => {}
    }
    stand_in.host.shutdown().await;
    hub.stop().await;
}

/// A hub that was stopped while an orchestrator and an activity were being called; its file is in the folder.
async fn stopped_during_calls(program: &Program) -> (StandIn, PathBuf) {
    let (first, hub) = stand_in_with_hub(placeholder()).await;
    let file = first.folder.path().join("hub.db");
    let mut handler = JoinSet::new();
    handler.spawn(program.clone().serve(first.host.port()));
    hub.create_instance(start("hs-orch", &json!({ "om": "hangonce", "mode": "ch" }), None)).await.unwrap();
    let items = json!({ "mode": "items", "items": [{ "k": "hangonce" }] });
    hub.create_instance(start("hs-act", &items, None)).await.unwrap();
    let are_called = async || (program.calls("hs-orch") == 1 && program.calls("hangonce") == 1).then_some(());
    eventually(SOON, are_called).await;
    let dies = async {
        // After the hub has begun to stop.
        tokio::task::yield_now().await;
        handler.shutdown().await;
    };
    tokio::join!(hub.stop(), dies);
    first.host.shutdown().await;
    (first, file)
}

/// As recorded in `durable-host-stop`, at the real pace but for its length: only what was cut off waits.
#[tokio::test]
async fn calls_that_a_stop_cuts_off_can_be_held_back_and_nothing_else_is() {
    let program = Program::default();
    let (_first, file) = stopped_during_calls(&program).await;
    let second = StandIn::start(placeholder()).await;
    let hold = (Duration::from_secs(600), Duration::from_millis(300));
    let hub = hub_holding(&second.host, second.folder.path(), &file, &json!({}), hold);
    let driver = async {
        let items = json!({ "mode": "items", "items": [{ "k": "str" }] });
        hub.create_instance(start("new", &items, None)).await.unwrap();
        assert_eq!(ended(&hub, "new").await.status, OrchestrationStatus::Completed);
        assert_eq!(ended(&hub, "hs-act").await.status, OrchestrationStatus::Completed);
        assert_eq!(program.calls("hs-orch"), 1, "its call comes back much later");
    };
    beside(&program, &second, &hub, driver).await;
}

/// As recorded in `durable-host-stop`, but for the five minutes an orchestrator waits there.
#[tokio::test]
async fn calls_that_a_stop_cuts_off_are_made_again_by_the_next_start() {
    let program = Program::default();
    let (_first, file) = stopped_during_calls(&program).await;
    let second = StandIn::start(placeholder()).await;
    let hub = hub_of(&second.host, second.folder.path(), &file, &json!({}));
    let driver = async {
        assert_eq!(ended(&hub, "hs-orch").await.status, OrchestrationStatus::Completed);
        let outcome = value(ended(&hub, "hs-act").await.output.as_deref());
        assert_eq!(outcome[0][1], json!({ "taskCompleted": "{}" }));
    };
    beside(&program, &second, &hub, driver).await;
}
