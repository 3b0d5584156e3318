//! Conversations between Microsoft's durable extension and a handler, held by the task hub: given the recorded replies, it must send
//! the recorded requests.

use std::{
    collections::{HashMap, VecDeque},
    fs,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use durable::{envelope, protocol::*};
use lab::{
    app::ScriptRoot,
    emulator::{
        host::{Host, HostOptions},
        task_hub::{Client, DurableFunctions, HubOptions, Signal, Start, TaskHub},
    },
    evidence::table_writer::Tables,
};
use prost::Message;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{
    decoded,
    golden_requests::{header, headers, without_time},
    harness::eventually,
    stand_in::{StandIn, golden_of, placeholder},
};

/// Long enough for the two rests of an episode that is given up.
const LONGEST: Duration = Duration::from_secs(30);

/// A function's invocations about one instance.
type Key = (String, String);

/// A request as it came over the wire.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) line: String,
    pub(crate) headers: Vec<String>,
    pub(crate) body: String,
}

impl Sent {
    pub(crate) async fn read(stream: &mut TcpStream) -> Self {
        let mut bytes = Vec::new();
        let is_complete = |bytes: &[u8]| {
            let end: &[u8] = if bytes.starts_with(b"GET") { b"\r\n\r\n" } else { b"\r\n0\r\n\r\n" };
            bytes.ends_with(end)
        };
        while !is_complete(&bytes) {
            assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0, "request cut: {bytes:?}");
        }
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let mut lines = head.split("\r\n").map(str::to_owned);
        Self { line: lines.next().unwrap(), headers: lines.collect(), body: dechunk(body) }
    }

    fn key(&self) -> Key {
        let function = self.line.split(['/', ' ']).nth(2).unwrap().to_owned();
        let body: Value = serde_json::from_str(&self.body).unwrap();
        let id = match body["Data"]["context"].as_str() {
            Some(value) => envelope::decode(value).unwrap().instance_id,
            None => serde_json::from_str(body["Metadata"]["instanceId"].as_str().unwrap()).unwrap(),
        };
        (function, id)
    }
}

/// The content of a chunked body.
fn dechunk(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        whole.push_str(&rest[..size]);
        body = &rest[size + 2..];
    }
    whole
}

/// One recorded request with its reply.
#[derive(Clone)]
struct Exchange {
    request: Value,
    reply: (u64, String, String),
    /// What somebody told the instance after this reply.
    signals: Vec<Signal>,
}

/// The exchanges of a conversation, by function and instance.
fn exchanges(conversation: &Value) -> Vec<(Key, Exchange)> {
    let all: Vec<&Value> = conversation.as_array().unwrap().iter().collect();
    all.iter()
        .enumerate()
        .map(|(n, exchange)| {
            let next = all[n + 1..].iter().find(|it| key_of(it) == key_of(exchange));
            let signals = next.and_then(|it| request_of(it)).map(|it| signals(&it)).unwrap_or_default();
            let exchange = Exchange { request: exchange["request"].clone(), reply: reply_of(exchange), signals };
            (key_of(all[n]), exchange)
        })
        .collect()
}

fn key_of(exchange: &Value) -> Key {
    let line = exchange["request"].as_str().or(exchange["request"]["line"].as_str());
    let function = line.map_or("orch", |it| it.split(['/', ' ']).nth(2).unwrap());
    let body = exchange["body"].as_str().or(exchange["request"]["body"].as_str());
    let id = match body.filter(|_| function != "orch") {
        Some(body) => {
            let body: Value = serde_json::from_str(body).unwrap();
            serde_json::from_str(body["Metadata"]["instanceId"].as_str().unwrap()).unwrap()
        }
        None => request_of(exchange).map(|it| it.instance_id).unwrap_or_else(|| response_id(exchange)),
    };
    (function.to_owned(), id)
}

/// Of a request that was not kept, the answer tells whose it was.
fn response_id(exchange: &Value) -> String {
    let body: Value = serde_json::from_str(exchange["reply"]["body"].as_str().unwrap()).unwrap();
    let bytes = STANDARD.decode(body["ReturnValue"].as_str().unwrap()).unwrap();
    OrchestratorResponse::decode(bytes.as_slice()).unwrap().instance_id
}

fn request_of(exchange: &Value) -> Option<OrchestratorRequest> {
    if let Some(body) = exchange["request"]["body"].as_str() {
        let body: Value = serde_json::from_str(body).unwrap();
        return envelope::decode(body["Data"]["context"].as_str()?).ok();
    }
    exchange.get("orchestratorRequestDecoded").filter(|it| it.is_object()).map(decoded::request)
}

fn reply_of(exchange: &Value) -> (u64, String, String) {
    let reply = &exchange["reply"];
    if let Some(body) = reply.as_str() {
        // The one activity that failed in these recordings answered so.
        let status = if body == "{}" { 500 } else { 200 };
        return (status, "application/json".to_owned(), body.to_owned());
    }
    if let Some(body) = reply["body"].as_str() {
        return (reply["status"].as_u64().unwrap(), reply["contentType"].as_str().unwrap().to_owned(), body.to_owned());
    }
    let response = decoded::response(&exchange["orchestratorResponseDecoded"]);
    let body = json!({ "ReturnValue": STANDARD.encode(response.encode_to_vec()) });
    (200, "application/json".to_owned(), body.to_string())
}

/// What came from outside before an episode.
fn signals(request: &OrchestratorRequest) -> Vec<Signal> {
    let begins = |it: &HistoryEvent| matches!(it.event_type, Some(EventType::ExecutionStarted(_)));
    if request.new_events.iter().any(begins) {
        return Vec::new();
    }
    let told = request.new_events.iter().filter_map(|it| match it.event_type.clone()? {
        EventType::EventRaised(it) => Some(Signal::Raise { name: it.name, input: it.input }),
        EventType::ExecutionTerminated(it) => Some(Signal::Terminate(it.input)),
        EventType::ExecutionSuspended(it) => Some(Signal::Suspend(it.input)),
        EventType::ExecutionResumed(it) => Some(Signal::Resume(it.input)),
        _ => None,
    });
    told.collect()
}

/// A request's history without what differs from run to run: times, and ids of executions but for their order and form.
fn comparable(mut request: OrchestratorRequest) -> OrchestratorRequest {
    let mut executions: Vec<String> = Vec::new();
    let mut name = |id: &mut Option<String>| {
        if let Some(id) = id {
            let known = executions.iter().position(|it| it == id);
            let n = known.unwrap_or_else(|| {
                executions.push(id.clone());
                executions.len() - 1
            });
            let form = if id.contains('-') { "with hyphens" } else { "without" };
            *id = format!("execution-{n} {form}");
        }
    };
    for event in request.past_events.iter_mut().chain(&mut request.new_events) {
        event.timestamp = None;
        match &mut event.event_type {
            Some(EventType::ExecutionStarted(it)) => {
                it.orchestration_instance.iter_mut().for_each(|it| name(&mut it.execution_id));
                let parent = it.parent_instance.as_mut().and_then(|it| it.orchestration_instance.as_mut());
                parent.into_iter().for_each(|it| name(&mut it.execution_id));
            }
            // A failure's texts for people have .NET's stack in them.
            Some(EventType::TaskFailed(it)) => without_stack(it.failure_details.as_deref_mut()),
            _ => {}
        }
    }
    request
}

fn without_stack(details: Option<&mut FailureDetails>) {
    if let Some(details) = details {
        details.stack_trace = None;
        // The recorded handler was another HTTP server.
        if let Some((before, after)) = details.error_message.clone().split_once("Headers:\n{") {
            let rest = after.split_once("\n}").map_or("", |it| it.1);
            details.error_message = format!("{before}Headers:{rest}");
        }
        without_stack(details.inner_failure.as_deref_mut());
    }
}

/// Everything of a body but the history.
fn around(body: &str) -> String {
    let mut value: Value = serde_json::from_str(body).unwrap();
    if value["Data"]["context"].is_string() {
        value["Data"]["context"] = json!("<history>");
        return without_time(&value.to_string());
    }
    without_time(body)
}

#[track_caller]
fn compare(file: &str, sent: &Sent, recorded: &Value) -> bool {
    let (Some(line), Some(body)) = (recorded["line"].as_str(), recorded["body"].as_str()) else { return false };
    assert_eq!(sent.line, line, "{file}");
    assert_eq!(sent.headers.iter().map(|it| header(it)).collect::<Vec<_>>(), headers(recorded), "{file}");
    assert_eq!(around(&sent.body), around(body), "{file}");
    compare_history(file, &sent.body, body);
    true
}

#[track_caller]
fn compare_history(file: &str, sent: &str, recorded: &str) {
    let history = |body: &str| {
        let body: Value = serde_json::from_str(body).unwrap();
        body["Data"]["context"].as_str().map(|it| comparable(envelope::decode(it).unwrap()))
    };
    let (sent, recorded) = (history(sent), history(recorded));
    assert_eq!(sent, recorded, "{file}");
    let bytes = |it: &Option<OrchestratorRequest>| it.as_ref().map(Message::encode_to_vec);
    assert_eq!(bytes(&sent), bytes(&recorded), "{file}");
}

/// The handler's side: gives the recorded replies in order.
async fn play(
    port: u16,
    replies: Arc<Mutex<HashMap<Key, VecDeque<Exchange>>>>,
    sent: Arc<Mutex<Vec<Sent>>>,
    hub: TaskHub,
) {
    let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    // Dropped with this, and their connections with them.
    let mut tasks = tokio::task::JoinSet::new();
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (replies, sent, hub) = (Arc::clone(&replies), Arc::clone(&sent), hub.clone());
        tasks.spawn(async move {
            let request = Sent::read(&mut stream).await;
            if request.line.starts_with("GET") {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
                return;
            }
            let key = request.key();
            sent.lock().unwrap().push(request);
            let exchange = replies.lock().unwrap().get_mut(&key).and_then(VecDeque::pop_front);
            // What came later was not recorded: no answer.
            let Some(exchange) = exchange else { return std::future::pending().await };
            let (status, media_type, body) = exchange.reply;
            let head = format!("HTTP/1.1 {status} {}", if status == 200 { "OK" } else { "Internal Server Error" });
            let reply = format!("{head}\r\nContent-Type: {media_type}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            stream.write_all(reply.as_bytes()).await.unwrap();
            // One episode each: what is told together comes together.
            for signal in exchange.signals {
                tell(&hub, &key.1, signal).await;
            }
        });
    }
}

/// Tells an instance something when its last episode is recorded.
async fn tell(hub: &TaskHub, id: &str, signal: Signal) {
    let episodes = async || {
        let history = hub.history(id).await.unwrap();
        history.iter().filter(|it| matches!(it.event_type, Some(EventType::OrchestratorCompleted(_)))).count()
    };
    let before = episodes().await;
    let _ = tokio::time::timeout(Duration::from_millis(500), async {
        while episodes().await == before {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    hub.signal(id, signal).await.unwrap();
}

/// A host whose handler's place a test takes, with a task hub for an orchestrator `orch` and an activity `act`.
pub(crate) async fn stand_in_with_hub(options: HostOptions) -> (StandIn, TaskHub) {
    stand_in_with(options, &json!({})).await
}

/// The same, with options of host.json's `durableTask`.
pub(crate) async fn stand_in_with(options: HostOptions, durable_task: &Value) -> (StandIn, TaskHub) {
    let stand_in = StandIn::start(options).await;
    let root = stand_in.folder.path();
    let hub = hub_of(&stand_in.host, root, &root.join("hub.db"), durable_task);
    (stand_in, hub)
}

/// A task hub of an app with the orchestrator `orch` and the activity `act`.
pub(crate) fn hub_of(host: &Host, root: &Path, file: &Path, durable_task: &Value) -> TaskHub {
    hub_holding(host, root, file, durable_task, (Duration::ZERO, Duration::ZERO))
}

/// The same; calls that an earlier hub left come back after so long.
pub(crate) fn hub_holding(
    host: &Host,
    root: &Path,
    file: &Path,
    durable_task: &Value,
    again: (Duration, Duration),
) -> TaskHub {
    for (name, kind, binding) in [("orch", "orchestrationTrigger", "context"), ("act", "activityTrigger", "payload")] {
        fs::create_dir_all(root.join(name)).unwrap();
        let json = json!({ "bindings": [{ "type": kind, "name": binding, "direction": "in" }] });
        fs::write(root.join(name).join("function.json"), json.to_string()).unwrap();
    }
    let host_json = json!({ "extensions": { "durableTask": durable_task } });
    fs::write(root.join("host.json"), host_json.to_string()).unwrap();
    let app = ScriptRoot::read(root).unwrap();
    let (options, functions) = (HubOptions { again, ..HubOptions::new(&app) }, DurableFunctions::new(&app));
    let tables = Tables::open(&root.join("tables")).unwrap();
    TaskHub::start(file, functions, options, host.clone(), tables).unwrap()
}

/// How the instances of a recording were started.
#[derive(Clone, Copy)]
struct Begun<'a> {
    client: Client,
    durable_task: &'a Value,
}

/// Starts the first instance of a conversation and waits until everything recorded was sent.
async fn hold(file: &str, conversations: &[&Value]) -> usize {
    hold_as(Begun { client: Client::Webhook, durable_task: &json!({}) }, file, conversations).await
}

async fn hold_as(begun: Begun<'_>, file: &str, conversations: &[&Value]) -> usize {
    let has_trace = conversations.iter().any(|it| it.to_string().contains("traceparent: "));
    let options = HostOptions { telemetry_configured: has_trace, ..placeholder() };
    let (stand_in, hub) = stand_in_with(options, begun.durable_task).await;

    let all: Vec<(Key, Exchange)> = conversations.iter().flat_map(|it| exchanges(it)).collect();
    let mut replies: HashMap<Key, VecDeque<Exchange>> = HashMap::new();
    for (key, exchange) in &all {
        // An event that another instance sends is nobody's signal.
        let exchange = Exchange {
            signals: if key.1 == "recv1" { Vec::new() } else { exchange.signals.clone() },
            ..exchange.clone()
        };
        replies.entry(key.clone()).or_default().push_back(exchange);
    }
    let (replies, sent) = (Arc::new(Mutex::new(replies)), Arc::new(Mutex::new(Vec::new())));
    let handler = play(stand_in.host.port(), Arc::clone(&replies), Arc::clone(&sent), hub.clone());
    let driver = async {
        for conversation in conversations {
            hub.create_instance(first_start(begun.client, conversation)).await.unwrap();
        }
        eventually(LONGEST, async || (sent.lock().unwrap().len() >= all.len()).then_some(())).await;
    };
    tokio::select! {
        () = handler => {}
        () = driver => {}
    }
    let sent = std::mem::take(&mut *sent.lock().unwrap());
    let mut compared = 0;
    for key in all.iter().map(|(key, _)| key).collect::<std::collections::HashSet<_>>() {
        let recorded = all.iter().filter(|(it, _)| it == key).map(|(_, it)| &it.request);
        for (sent, recorded) in sent.iter().filter(|it| it.key() == *key).zip(recorded) {
            compared += usize::from(compare(file, sent, recorded));
        }
    }
    compared += compare_decoded(file, &sent, conversations);
    stand_in.host.shutdown().await;
    hub.stop().await;
    compared
}

fn first_start(client: Client, conversation: &Value) -> Start {
    let first = conversation.as_array().unwrap().iter().find_map(request_of).unwrap();
    let started = first.past_events.iter().chain(&first.new_events).find_map(|it| match &it.event_type {
        Some(EventType::ExecutionStarted(it)) => Some(it),
        _ => None,
    });
    let ExecutionStarted { name, input, version, .. } = started.map(|it| (**it).clone()).unwrap();
    Start { name, instance_id: first.instance_id, input, version, client }
}

/// Histories that were kept as JSON alone; gives their number.
fn compare_decoded(file: &str, sent: &[Sent], conversations: &[&Value]) -> usize {
    let mut compared = 0;
    let all = conversations.iter().flat_map(|it| it.as_array().unwrap());
    let mut recorded: HashMap<Key, Vec<&Value>> = HashMap::new();
    for exchange in all.filter(|it| it["request"].is_null()) {
        recorded.entry(key_of(exchange)).or_default().push(exchange);
    }
    for (key, exchanges) in recorded {
        for (sent, recorded) in sent.iter().filter(|it| it.key() == key).zip(exchanges) {
            let body: Value = serde_json::from_str(&sent.body).unwrap();
            let sent = comparable(envelope::decode(body["Data"]["context"].as_str().unwrap()).unwrap());
            let wanted = comparable(request_of(recorded).unwrap());
            assert_eq!((sent.past_events, sent.new_events), (wanted.past_events, wanted.new_events), "{file} {key:?}");
            if !wanted.properties.is_empty() {
                assert_eq!(sent.properties, wanted.properties, "{file} {key:?}");
            }
            compared += 1;
        }
    }
    compared
}

/// A recording of the extension 3.19.0.
fn recording(file: &str) -> Value {
    golden_of(&format!("durable-3/{file}"))
}

#[tokio::test]
async fn recorded_replies_lead_to_the_recorded_requests() {
    let mut compared = 0;
    for file in ["seq5-every3", "timer", "fail", "oom", "sub", "subfail", "sub500", "suspend-resume"] {
        let file = format!("durable-{file}");
        compared += hold(&file, &[&recording(&file)["conversation"]]).await;
    }
    assert!(compared >= 25, "{compared} requests compared");
}

#[tokio::test]
async fn recorded_histories_come_about_again() {
    let mut compared =
        hold("durable-suspend-resume", &[&recording("durable-suspend-resume")["conversationHeldBack"]]).await;
    let terminate = recording("durable-terminate");
    for how in ["ignored", "answeredWithTERMINATED", "answeredWithoutResult"] {
        compared += hold("durable-terminate", &[&terminate[how]]).await;
    }
    let file = "durable-status-carryover-sendevent";
    let conversations = recording(file)["conversations"].clone();
    for id in ["cs1", "cs2", "carry1", "carry0", "case1"] {
        compared += hold(file, &[&conversations[id]]).await;
    }
    compared += hold(file, &[&conversations["recv1"], &conversations["send1"]]).await;
    for (id, case) in recording("durable-fail-details")["cases"].as_object().unwrap() {
        compared += hold(&format!("durable-fail-details {id}"), &[&case["conversation"]]).await;
    }
    assert!(compared >= 39, "{compared} requests compared");
}

#[tokio::test]
async fn what_host_json_and_the_output_binding_change_in_requests_is_as_recorded() {
    let stored = json!({ "storeInputsInOrchestrationHistory": true });
    let begun = Begun { client: Client::Webhook, durable_task: &stored };
    let mut compared = hold_as(begun, "durable-store-inputs", &[&recording("durable-store-inputs")["s_seq"]]).await;

    let bound = Begun { client: Client::OutputBinding, durable_task: &json!({}) };
    let file = "durable-start-by-output-binding";
    let mut first = recording(file)["firstEpisode"].clone();
    // Of this one the reply was not kept, the answer in it was.
    first[0].as_object_mut().unwrap().retain(|name, _| name.starts_with("orchestrator"));
    compared += hold_as(bound, file, &[&first]).await;

    let versioned = json!({ "defaultVersion": "2.0" });
    let begun = Begun { client: Client::Webhook, durable_task: &versioned };
    let requests = recording("durable-versions")["requestsWithDefaultVersion2_0"].clone();
    for id in ["v_none", "v_subold", "v_can", "v_act", "v_tags"] {
        let mut conversation = requests[id].clone();
        for exchange in conversation.as_array_mut().unwrap() {
            if exchange["request"].is_object() {
                exchange.as_object_mut().unwrap().retain(|name, _| name.starts_with("orchestrator"));
            }
        }
        compared += hold_as(begun, &format!("durable-versions {id}"), &[&conversation]).await;
    }
    assert!(compared >= 14, "{compared} requests compared");
}
