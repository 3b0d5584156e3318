//! Recorded histories as test data: what webhook, file and engine have of a life is one history, and `lab replay-check` holds an app's
//! code against it.

use std::{
    cell::RefCell,
    fs,
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use custom_handler::wire::WEBHOOK_PATH;
use durable::{
    ActivityError, Context, Error, all, envelope,
    history::{History, replay_against},
    protocol::*,
    replay,
};
use incident_labs::functions::replay_storm_orchestrator::replay_storm_orchestrator;
use lab::emulator::task_hub::{Signal, TaskHub, recorded, webhook};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

use crate::{
    golden_conversations::{Sent, stand_in_with_hub},
    handler::http_client,
    harness::{LAB, Scratch, eventually},
    stand_in::placeholder,
    task_hub::{ReplayLab, handle},
};

const SOON: Duration = Duration::from_secs(30);
const SHOW: &str = "showHistory=true&showHistoryOutput=true";

/// Meets everything a history can hold, and then waits with a timer and a child under way.
async fn meets_all(ctx: Context, input: Value) -> Result<Value, Error> {
    match input.as_str() {
        Some("grown") => return Ok(json!("grown")),
        Some("waiting") => return ctx.external_event("Never").await,
        Some("failing") => return Err(Error::new("Naughty", "would not")),
        _ => {}
    }
    let children = ["grown", "failing"].map(|it| ctx.sub_orchestration::<Value>("orch", &it));
    let work = (0..3).map(|it| ctx.activity::<Value>("act", &it));
    let (done, grown) = (all(work.collect::<Vec<_>>()).await, all(children).await);
    assert!(done[1].as_ref().is_err_and(|it| it.error_type == "SoldOut"), "{done:?}");
    assert!(grown[0].is_ok() && grown[1].is_err());
    ctx.send_event("other", "Hello", &1)?;
    ctx.timer(Duration::from_millis(50)).await;
    ctx.external_event::<Value>("Go").await?;
    let _unfired = ctx.timer(Duration::from_secs(3600));
    let child = ctx.sub_orchestration::<Value>("orch", &"waiting");
    ctx.set_custom_status(&"waiting")?;
    child.await
}

/// The handler of `meets_all`; the last request of the instance `i` is kept.
fn answer(request: &Sent, last: &RefCell<OrchestratorRequest>) -> Option<(u16, &'static str, String)> {
    let body: Value = serde_json::from_str(&request.body).unwrap();
    let Some(value) = body["Data"]["context"].as_str() else {
        let is_sold_out = body["Data"]["payload"].to_string().contains('1');
        let failure = ActivityError::new("SoldOut", "none is left").to_answer();
        let done = json!({ "ReturnValue": { "left": 0.5 } }).to_string();
        return Some(if is_sold_out { (200, "text/plain", failure) } else { (200, "application/json", done) });
    };
    let request = envelope::decode(value).unwrap();
    if request.instance_id == "i" {
        *last.borrow_mut() = request.clone();
    }
    let turn = replay(request, meets_all, || Duration::ZERO);
    Some((200, "application/json", json!({ "ReturnValue": envelope::encode(&turn.response) }).to_string()))
}

async fn shown(hub: &TaskHub, id: &str) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}{WEBHOOK_PATH}/instances/{id}?{SHOW}", listener.local_addr().unwrap());
    let router = webhook::router(hub.clone());
    TaskTracker::new().spawn(async { axum::serve(listener, router).await });
    http_client().get(url).send().await.unwrap().text().await.unwrap()
}

/// What both tell, without order: the webhook tells a step with its outcome.
fn comparable(history: &History) -> Vec<String> {
    let mut events = Vec::new();
    for event in &history.events {
        let mut event = event.clone();
        match &mut event.event_type {
            Some(EventType::OrchestratorStarted(_) | EventType::OrchestratorCompleted(_)) => continue,
            Some(EventType::ExecutionStarted(it)) => (it.version, it.orchestration_instance) = (None, None),
            Some(EventType::SubOrchestrationInstanceCreated(it)) => it.instance_id.clear(),
            Some(EventType::TimerFired(_)) => event.timestamp = None,
            _ => {}
        }
        events.push(format!("{event:?}"));
    }
    events.sort();
    events
}

#[tokio::test]
async fn webhook_file_and_engine_have_one_history() {
    let (stand_in, hub) = stand_in_with_hub(placeholder()).await;
    let last = RefCell::default();
    let driver = async {
        hub.start_instance("orch", "i", Some("{}".to_owned())).await.unwrap();
        for signal in [Signal::Suspend(Some("tea".to_owned())), Signal::Resume(None)] {
            hub.signal("i", signal).await.unwrap();
        }
        hub.signal("i", Signal::Raise { name: "go".to_owned(), input: Some("{\"a\":[1]}".to_owned()) }).await.unwrap();
        let is_waiting = async || hub.instance("i").await.unwrap()?.custom_status.filter(|it| it == "\"waiting\"");
        eventually(SOON, is_waiting).await;
        History::from_status(&shown(&hub, "i").await).unwrap()
    };
    let rebuilt = tokio::select! {
        () = handle(stand_in.host.port(), |it| answer(it, &last)) => unreachable!(),
        rebuilt = driver => rebuilt,
    };
    let of_file = recorded(&stand_in.folder.path().join("hub.db")).unwrap();
    let (_, exact) = of_file.into_iter().find(|(it, _)| it.instance_id == "i").unwrap();
    assert_eq!(comparable(&rebuilt), comparable(&exact));
    let seen = last.take();
    let seen = [seen.past_events, seen.new_events].concat();
    assert!(seen.len() > 20, "{seen:?}");
    assert_eq!(exact.events[..seen.len()], seen);
    for history in [exact, rebuilt] {
        assert_eq!(replay_against(&history, meets_all), Ok(()));
    }
    stand_in.host.shutdown().await;
    hub.stop().await;
}

fn replay_check(stage: &Path, arguments: &[&Path], options: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(&*LAB);
    let Output { status, stdout, stderr } =
        command.arg("replay-check").args(arguments).arg("--script-root").arg(stage).args(options).output().unwrap();
    assert!(!stdout.is_empty() || status.code() == Some(3), "{}", String::from_utf8_lossy(&stderr));
    let told = if stdout.is_empty() { stderr } else { stdout };
    (status.code(), String::from_utf8(told).unwrap())
}

#[tokio::test]
async fn a_recorded_run_fits_the_app_that_ran_and_not_a_history_whose_activity_has_another_name() {
    let scratch = Scratch::new();
    let (run, stage) = (scratch.path().join("run"), ReplayLab::stage(&scratch));
    let lab = ReplayLab::start(&run, &stage).await;
    let start = "/orchestrators/replay_storm_orchestrator";
    for (id, iterations) in [("short", 7), ("long", 100_000)] {
        let input = json!({"iterations": iterations, "continueAsNewEvery": 500}).to_string();
        assert_eq!(lab.hook("POST", &format!("{start}/{id}"), Some(&input)).await.0, 202);
    }
    let completed = async || Some(lab.status("short").await).filter(|it| it["runtimeStatus"] == "Completed");
    eventually(SOON, completed).await;
    let shown = lab.hook("GET", &format!("/instances/short?{SHOW}"), None).await.2.to_string();
    drop(lab);

    let hub = run.join("task-hub.db");
    let (code, told) = replay_check(&stage, &[&hub], &[]);
    assert_eq!((code, told.contains("fit: 2, do not fit: 0, cannot be told: 0")), (Some(0), true), "{told}");
    let (_, history) = recorded(&hub).unwrap().into_iter().find(|(it, _)| it.instance_id == "short").unwrap();
    assert_eq!(replay_against(&history, replay_storm_orchestrator), Ok(()));

    let histories = scratch.path().join("histories");
    fs::create_dir(&histories).unwrap();
    fs::write(histories.join("a.json"), &shown).unwrap();
    fs::write(histories.join("b.json"), shown.replace("replay_storm_orchestrator", "storm_of_old")).unwrap();
    fs::write(histories.join("c.json"), "<html>").unwrap();
    fs::write(histories.join("d.db"), "SQLite format 3\0 and no more").unwrap();
    let (code, told) = replay_check(&stage, &[&histories], &[]);
    assert_eq!((code, told.contains("fit: 1, do not fit: 0, cannot be told: 3")), (Some(2), true), "{told}");
    for why in
        ["The function 'storm_of_old' doesn't exist", "it is not JSON", "it is no task hub's file, or a damaged one"]
    {
        assert!(told.contains(why), "{told}");
    }

    let renamed = histories.join("renamed.json");
    fs::write(&renamed, shown.replace("\"FunctionName\":\"replay_lab_activity\"", "\"FunctionName\":\"step\""))
        .unwrap();
    let (code, told) = replay_check(&stage, &[&renamed, &histories.join("a.json")], &["--json"]);
    assert_eq!(code, Some(1), "{told}");
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((&told["fit"], &told["doNotFit"], &told["cannotBeTold"]), (&json!(1), &json!(1), &json!(0)));
    let misfit = json!({
        "kind": "step", "event": 3,
        "recorded": "activity \"step\"", "attempted": "activity \"replay_lab_activity\"",
    });
    assert_eq!(told["histories"][0]["misfit"], misfit);
    assert_eq!(told["histories"][1]["verdict"], "fits");

    let (code, told) = replay_check(&stage, &[&scratch.path().join("nowhere.json")], &[]);
    assert!(code == Some(3) && told.contains("nowhere.json: No such file"), "{told}");
}
