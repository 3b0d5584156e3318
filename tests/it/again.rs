//! Instances that are run again or are gone: rewind, restart, purge, and starts in the place of another.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use custom_handler::clock;
use durable::{Carry, Context, Error, envelope, protocol::*, replay};
use lab::emulator::task_hub::{Instance, Restarted, Rewound, Signal, TaskHub};
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, net::TcpListener, sync::Notify, task::JoinSet};

use crate::{
    golden_conversations::{Sent, stand_in_with_hub},
    harness::eventually,
    stand_in::placeholder,
};

const SOON: Duration = Duration::from_secs(30);

/// An orchestrator on the real engine: its input says what it waits for.
async fn orchestrator(ctx: Context, input: Value) -> Result<Value, Error> {
    match input["do"].as_str().unwrap() {
        "act" => ctx.activity("act", &input["act"]).await,
        "child" => ctx.sub_orchestration_as(input["id"].as_str().unwrap(), "orch", &input["child"]).await,
        "catch" => {
            let child = ctx.sub_orchestration_as::<Value>(input["id"].as_str().unwrap(), "orch", &input["child"]);
            assert!(child.await.is_err());
            ctx.external_event::<Value>("Go").await
        }
        "both" => {
            let mut tasks = Vec::new();
            for act in input["acts"].as_array().unwrap() {
                tasks.push(ctx.activity::<Value>("act", act));
            }
            durable::try_all(tasks).await.map(Value::from)
        }
        "event" => ctx.external_event::<Value>("Go").await,
        "again" => {
            let _: Value = ctx.external_event("Go").await?;
            ctx.continue_as_new(&json!({ "do": "event" }), Carry::Nothing)
        }
        "broken" => Err(Error::new("Broken", "as asked for")),
        other => panic!("nothing is known of {other}"),
    }
}

/// The handler's side: the engine for orchestrators, and activities that fail as often as their input says.
#[derive(Clone, Default)]
struct Handler {
    calls: Arc<Mutex<HashMap<String, u64>>>,
    requests: Arc<Mutex<Vec<OrchestratorRequest>>>,
    /// Activities that wait end with it.
    released: Arc<Notify>,
    /// The hub's file.
    file: PathBuf,
}

impl Handler {
    async fn serve(self, port: u16) {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let mut tasks = JoinSet::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let handler = self.clone();
            tasks.spawn(async move {
                let request = Sent::read(&mut stream).await;
                let (status, body) = handler.answer(&request).await;
                let head = format!(
                    "HTTP/1.1 {status} Reason\r\nContent-Type: application/json\r\nContent-Length: {}",
                    body.len()
                );
                stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).await.unwrap();
            });
        }
    }

    async fn answer(&self, request: &Sent) -> (u16, String) {
        if request.line.starts_with("GET") {
            return (200, String::new());
        }
        let body: Value = serde_json::from_str(&request.body).unwrap();
        let Some(context) = body["Data"]["context"].as_str() else {
            return self.activity(&body["Metadata"]["data"]).await;
        };
        let request = envelope::decode(context).unwrap();
        self.requests.lock().unwrap().push(request.clone());
        let turn = replay(request, orchestrator, || Duration::ZERO);
        (200, json!({ "ReturnValue": envelope::encode(&turn.response) }).to_string())
    }

    async fn activity(&self, input: &Value) -> (u16, String) {
        let name = input["name"].as_str().unwrap().to_owned();
        let call = {
            let mut calls = self.calls.lock().unwrap();
            let count = calls.entry(name.clone()).or_default();
            *count += 1;
            *count
        };
        if input["waits"] == true {
            self.released.notified().await;
        }
        if call <= input["fails"].as_u64().unwrap_or_default() {
            return (500, "{}".to_owned());
        }
        (200, json!({ "ReturnValue": format!("{name} {call}") }).to_string())
    }

    fn calls(&self, name: &str) -> u64 {
        self.calls.lock().unwrap().get(name).copied().unwrap_or_default()
    }

    /// Whether no activity and no message waits for the hub.
    fn is_idle(&self) -> bool {
        let file = rusqlite::Connection::open(&self.file).unwrap();
        let count = "SELECT (SELECT count(*) FROM activities) + (SELECT count(*) FROM control)";
        file.query_row(count, [], |row| row.get::<_, i64>(0)).unwrap() == 0
    }

    /// The requests about an instance, oldest first.
    fn requests(&self, id: &str) -> Vec<OrchestratorRequest> {
        self.requests.lock().unwrap().iter().filter(|it| it.instance_id == id).cloned().collect()
    }
}

/// Runs a test's story on a hub whose handler is the engine.
async fn on_a_hub(story: impl AsyncFnOnce(&TaskHub, &Handler)) {
    let (stand_in, hub) = stand_in_with_hub(placeholder()).await;
    let handler = Handler { file: stand_in.folder.path().join("hub.db"), ..Handler::default() };
    tokio::select! {
        () = handler.clone().serve(stand_in.host.port()) => unreachable!(),
        () = story(&hub, &handler) => {}
    }
    stand_in.host.shutdown().await;
    hub.stop().await;
}

async fn begin(hub: &TaskHub, id: &str, input: &Value) {
    hub.start_instance("orch", id, Some(input.to_string())).await.unwrap();
}

async fn shown(hub: &TaskHub, id: &str, status: OrchestrationStatus) -> Instance {
    let is_there = async || hub.instance(id).await.unwrap().filter(|it| it.status == status);
    eventually(SOON, is_there).await
}

async fn failed(hub: &TaskHub, id: &str) -> Instance {
    eventually(SOON, async || {
        hub.instance(id).await.unwrap().filter(|it| it.finished && it.status == OrchestrationStatus::Failed)
    })
    .await
}

fn kinds(events: &[HistoryEvent]) -> Vec<(i32, &'static str)> {
    let kind = |it: &HistoryEvent| match it.event_type.as_ref().unwrap() {
        EventType::OrchestratorStarted(_) => "orchestratorStarted",
        EventType::OrchestratorCompleted(_) => "orchestratorCompleted",
        EventType::ExecutionStarted(_) => "executionStarted",
        EventType::SubOrchestrationInstanceCreated(_) => "subOrchestrationInstanceCreated",
        EventType::GenericEvent(it) if it.input.is_some() => "genericEvent with a reason",
        EventType::GenericEvent(_) => "genericEvent",
        _ => "another",
    };
    events.iter().map(|it| (it.event_id, kind(it))).collect()
}

#[tokio::test]
async fn a_rewound_instance_is_called_as_recorded_and_completes_with_its_parents() {
    on_a_hub(async |hub, handler| {
        let act = json!({ "do": "act", "act": { "name": "flaky", "fails": 1 } });
        let parent = json!({ "do": "child", "id": "child", "child": act });
        begin(hub, "grand", &json!({ "do": "child", "id": "parent", "child": parent })).await;
        let before = failed(hub, "grand").await.execution_id;
        assert_eq!(hub.rewind("grand", Some("try again".to_owned())).await.unwrap(), Rewound::Accepted);
        for id in ["grand", "parent", "child"] {
            let instance = shown(hub, id, OrchestrationStatus::Completed).await;
            assert_eq!(instance.output.as_deref(), Some("\"flaky 2\""), "{id}");
        }
        let child = handler.requests("child");
        let rewound =
            child.iter().find(|it| kinds(&it.new_events).iter().any(|it| it.1 == "genericEvent with a reason"));
        let rewound = rewound.unwrap();
        assert_eq!(
            kinds(&rewound.past_events),
            [
                (-1, "orchestratorStarted"),
                (-1, "executionStarted"),
                (0, "genericEvent"),
                (-1, "orchestratorCompleted"),
                (-1, "orchestratorStarted"),
                (-1, "genericEvent"),
                (1, "genericEvent"),
                (-1, "orchestratorCompleted"),
            ]
        );
        assert_eq!(kinds(&rewound.new_events), [(-1, "orchestratorStarted"), (-1, "genericEvent with a reason")]);
        let grand = handler.requests("grand");
        assert_eq!(kinds(&grand.last().unwrap().past_events)[2], (0, "subOrchestrationInstanceCreated"));
        assert_eq!(hub.instance("grand").await.unwrap().unwrap().execution_id, before);
        assert_eq!(handler.calls("flaky"), 2);
    })
    .await;
}

#[tokio::test]
async fn a_rewind_that_fails_again_can_be_rewound_again() {
    on_a_hub(async |hub, _| {
        begin(hub, "i", &json!({ "do": "act", "act": { "name": "flaky", "fails": 3 } })).await;
        for n in 0..3 {
            failed(hub, "i").await;
            assert_eq!(hub.rewind("i", None).await.unwrap(), Rewound::Accepted, "{n}");
        }
        let done = shown(hub, "i", OrchestrationStatus::Completed).await;
        assert_eq!(done.output.as_deref(), Some("\"flaky 4\""));
        let completed = Rewound::NotFailed(OrchestrationStatus::Completed);
        assert_eq!(hub.rewind("i", None).await.unwrap(), completed);
        assert_eq!(hub.rewind("nosuch", None).await.unwrap(), Rewound::Unknown);
    })
    .await;
}

/// The other activity ended when its instance had failed already: its result was dropped, and it runs again.
#[tokio::test]
async fn a_rewound_instance_does_not_wait_for_a_result_that_was_dropped() {
    on_a_hub(async |hub, handler| {
        let acts = json!([{ "name": "slow", "waits": true }, { "name": "flaky", "fails": 1 }]);
        begin(hub, "i", &json!({ "do": "both", "acts": acts })).await;
        failed(hub, "i").await;
        eventually(SOON, async || (handler.calls("slow") == 1).then_some(())).await;
        handler.released.notify_one();
        eventually(SOON, async || handler.is_idle().then_some(())).await;
        assert_eq!(hub.rewind("i", None).await.unwrap(), Rewound::Accepted);
        eventually(SOON, async || (handler.calls("slow") == 2).then_some(())).await;
        handler.released.notify_one();
        let done = shown(hub, "i", OrchestrationStatus::Completed).await;
        assert_eq!(done.output.as_deref(), Some("[\"slow 2\",\"flaky 2\"]"));
    })
    .await;
}

/// The child was purged, or its id was another's: it is created anew.
#[tokio::test]
async fn a_child_that_is_gone_is_started_again_by_a_rewind() {
    on_a_hub(async |hub, _| {
        let act = json!({ "do": "act", "act": { "name": "flaky", "fails": 1 } });
        begin(hub, "gone", &json!({ "do": "child", "id": "gone:0", "child": act })).await;
        failed(hub, "gone").await;
        assert!(hub.purge("gone:0").await.unwrap());
        assert_eq!(hub.rewind("gone", None).await.unwrap(), Rewound::Accepted);
        assert_eq!(shown(hub, "gone", OrchestrationStatus::Completed).await.output.as_deref(), Some("\"flaky 2\""));

        begin(hub, "taken", &json!({ "do": "event" })).await;
        shown(hub, "taken", OrchestrationStatus::Running).await;
        let act = json!({ "do": "act", "act": { "name": "well" } });
        begin(hub, "parent", &json!({ "do": "child", "id": "taken", "child": act })).await;
        failed(hub, "parent").await;
        let go = Signal::Raise { name: "Go".to_owned(), input: Some("1".to_owned()) };
        hub.signal("taken", go).await.unwrap();
        shown(hub, "taken", OrchestrationStatus::Completed).await;
        assert_eq!(hub.rewind("parent", None).await.unwrap(), Rewound::Accepted);
        assert_eq!(shown(hub, "parent", OrchestrationStatus::Completed).await.output.as_deref(), Some("\"well 1\""));
    })
    .await;
}

#[tokio::test]
async fn a_child_that_is_rewound_by_itself_answers_no_parent_that_has_its_answer() {
    on_a_hub(async |hub, _| {
        let act = json!({ "do": "act", "act": { "name": "flaky", "fails": 1 } });
        begin(hub, "parent", &json!({ "do": "catch", "id": "parent:0", "child": act })).await;
        failed(hub, "parent:0").await;
        let outcomes = async || {
            let history = hub.history("parent").await.unwrap();
            let is_outcome = |it: &&HistoryEvent| {
                use EventType::{
                    SubOrchestrationInstanceCompleted as Completed, SubOrchestrationInstanceFailed as Failed,
                };
                matches!(it.event_type, Some(Completed(_) | Failed(_)))
            };
            history.iter().filter(is_outcome).count()
        };
        eventually(SOON, async || (outcomes().await == 1).then_some(())).await;
        assert_eq!(hub.rewind("parent:0", None).await.unwrap(), Rewound::Accepted);
        shown(hub, "parent:0", OrchestrationStatus::Completed).await;
        hub.signal("parent", Signal::Raise { name: "Go".to_owned(), input: Some("1".to_owned()) }).await.unwrap();
        shown(hub, "parent", OrchestrationStatus::Completed).await;
        assert_eq!(outcomes().await, 1);
    })
    .await;
}

#[tokio::test]
async fn a_restart_begins_with_the_same_input_under_the_same_or_a_new_id() {
    on_a_hub(async |hub, handler| {
        begin(hub, "i", &json!({ "do": "act", "act": { "name": "a" } })).await;
        let first = shown(hub, "i", OrchestrationStatus::Completed).await;
        assert_eq!(hub.restart("i", false).await.unwrap(), Restarted::As("i".to_owned()));
        eventually(SOON, async || (handler.calls("a") == 2).then_some(())).await;
        let second = shown(hub, "i", OrchestrationStatus::Completed).await;
        assert_eq!((first.execution_id.len(), second.execution_id.len()), (36, 32));
        assert_eq!((&first.input, first.name.as_str()), (&second.input, second.name.as_str()));

        let Restarted::As(new) = hub.restart("i", true).await.unwrap() else { panic!("it was there") };
        assert_eq!(shown(hub, &new, OrchestrationStatus::Completed).await.output.as_deref(), Some("\"a 3\""));
        let request = handler.requests(&new).remove(0);
        let Some(EventType::ExecutionStarted(started)) = &request.new_events[1].event_type else {
            panic!("{request:?}")
        };
        assert_eq!(started.tags["MS_DurableFunctions_SourceInstanceId"], "i");
        assert_eq!(started.orchestration_instance.as_ref().unwrap().execution_id.as_ref().unwrap().len(), 32);
        let Some(ValueKind::String(source)) = &request.properties["sourceInstanceId"].kind else {
            panic!("{request:?}")
        };
        assert_eq!(source, "i");
        assert!(!handler.requests("i").iter().any(|it| it.properties.contains_key("sourceInstanceId")));

        begin(hub, "live", &json!({ "do": "event" })).await;
        shown(hub, "live", OrchestrationStatus::Running).await;
        assert_eq!(hub.restart("live", false).await.unwrap(), Restarted::Live(OrchestrationStatus::Running));
        assert!(matches!(hub.restart("live", true).await.unwrap(), Restarted::As(_)), "a new id is in no one's way");
        assert_eq!(hub.restart("nosuch", true).await.unwrap(), Restarted::Unknown);
    })
    .await;
}

/// A state of its own for the execution that follows, as the engine of .NET makes one.
#[tokio::test]
async fn an_instance_that_continues_as_new_in_the_batch_that_suspended_it_is_shown_as_running() {
    let (stand_in, hub) = stand_in_with_hub(placeholder()).await;
    let can = CompleteOrchestration::with(|set| {
        set.orchestration_status = OrchestrationStatus::ContinuedAsNew as i32;
        set.result = Some("2".to_owned());
    });
    // A handler that does not hold back: it continues as new when it sees the suspension.
    let answer = move |request: &Sent| {
        let body: Value = serde_json::from_str(&request.body).unwrap();
        let request = envelope::decode(body["Data"]["context"].as_str().unwrap()).unwrap();
        let is_suspended = |it: &HistoryEvent| matches!(it.event_type, Some(EventType::ExecutionSuspended(_)));
        let end = OrchestratorAction::new(0, Some(ActionType::CompleteOrchestration(can.clone())));
        let actions = if request.new_events.iter().any(is_suspended) { vec![end] } else { Vec::new() };
        let response =
            OrchestratorResponse::with(|set| (set.instance_id, set.actions) = (request.instance_id, actions));
        Some((200, "application/json", json!({ "ReturnValue": envelope::encode(&response) }).to_string()))
    };
    let driver = async {
        begin(&hub, "i", &json!(1)).await;
        let first = shown(&hub, "i", OrchestrationStatus::Running).await;
        hub.signal("i", Signal::Suspend(Some("tea".to_owned()))).await.unwrap();
        let next = async || hub.instance("i").await.unwrap().filter(|it| it.execution_id != first.execution_id);
        let next = eventually(SOON, next).await;
        assert_eq!((next.status, next.input.as_deref(), next.output), (OrchestrationStatus::Running, Some("2"), None));
    };
    tokio::select! {
        () = crate::task_hub::handle(stand_in.host.port(), answer) => unreachable!(),
        () = driver => {}
    }
    stand_in.host.shutdown().await;
    hub.stop().await;
}

/// Answers the first execution of `i` with an activity, ignores the wish to end, and has a lot to ask for when the activity has ended.
fn late(request: OrchestratorRequest) -> Vec<OrchestratorAction> {
    let events = || request.past_events.iter().chain(&request.new_events);
    let is_first = events()
        .any(|it| matches!(&it.event_type, Some(EventType::ExecutionStarted(it)) if it.input.as_deref() == Some("1")));
    let has =
        |wanted: fn(&EventType) -> bool| request.new_events.iter().any(|it| it.event_type.as_ref().is_some_and(wanted));
    let task = |name: &str| ActionType::ScheduleTask(ScheduleTask::new(name.to_owned(), None));
    let actions = if is_first && has(|it| matches!(it, EventType::ExecutionStarted(_))) {
        vec![task("act")]
    } else if is_first && has(|it| matches!(it, EventType::TaskCompleted(_))) {
        let child = SubOrchestration::new("late child".to_owned(), "orch".to_owned(), None);
        let fire_at = Some(Timestamp::from(clock::utc_now()));
        vec![
            ActionType::CreateTimer(TimerCreated::new(fire_at)),
            task("nosuch"),
            ActionType::CreateSubOrchestration(child),
        ]
    } else {
        Vec::new()
    };
    (1..).zip(actions).map(|(id, it)| OrchestratorAction::new(id, Some(it))).collect()
}

/// An instance that ignores its termination is shown as ended: it may be purged, and its id taken, while its handler is called.
#[tokio::test]
async fn what_an_episode_comes_to_is_not_written_when_its_instance_is_gone_or_another() {
    let (stand_in, hub) = stand_in_with_hub(placeholder()).await;
    let (act, called, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()), Arc::new(Notify::new()));
    let serve = async {
        let listener = TcpListener::bind(("127.0.0.1", stand_in.host.port())).await.unwrap();
        let mut tasks = JoinSet::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (act, called, release) = (Arc::clone(&act), Arc::clone(&called), Arc::clone(&release));
            tasks.spawn(async move {
                let request = Sent::read(&mut stream).await;
                let mut body = String::new();
                if request.line.contains("/act") {
                    act.notified().await;
                    body = json!({ "ReturnValue": 1 }).to_string();
                } else if !request.line.starts_with("GET") {
                    let value: Value = serde_json::from_str(&request.body).unwrap();
                    let request = envelope::decode(value["Data"]["context"].as_str().unwrap()).unwrap();
                    let id = request.instance_id.clone();
                    let actions = late(request);
                    if actions.len() > 1 {
                        called.notify_one();
                        release.notified().await;
                    }
                    let response = OrchestratorResponse::with(|set| (set.instance_id, set.actions) = (id, actions));
                    body = json!({ "ReturnValue": envelope::encode(&response) }).to_string();
                }
                let head =
                    format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}", body.len());
                stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).await.unwrap();
            });
        }
    };
    let driver = async {
        for is_taken_before in [false, true] {
            begin(&hub, "i", &json!(1)).await;
            shown(&hub, "i", OrchestrationStatus::Running).await;
            hub.signal("i", Signal::Terminate(None)).await.unwrap();
            assert!(!shown(&hub, "i", OrchestrationStatus::Terminated).await.finished, "the wish is ignored");
            act.notify_one();
            called.notified().await;
            if is_taken_before {
                begin(&hub, "i", &json!(2)).await;
                release.notify_one();
            } else {
                assert!(hub.purge("i").await.unwrap());
                release.notify_one();
                begin(&hub, "i", &json!(2)).await;
            }
            // Its episode waits for the one of before.
            shown(&hub, "i", OrchestrationStatus::Running).await;
            let history = kinds(&hub.history("i").await.unwrap());
            assert_eq!(
                history.iter().map(|it| it.1).collect::<Vec<_>>(),
                ["orchestratorStarted", "executionStarted", "orchestratorCompleted"]
            );
            assert!(hub.instance("late child").await.unwrap().is_none());
            hub.signal("i", Signal::Terminate(None)).await.unwrap();
            shown(&hub, "i", OrchestrationStatus::Terminated).await;
            assert!(hub.purge("i").await.unwrap());
        }
    };
    tokio::select! {
        () = serve => unreachable!(),
        () = driver => {}
    }
    stand_in.host.shutdown().await;
    hub.stop().await;
}
