//! The program that stood behind Microsoft's host when the durable extension was recorded, as far as its inputs tell what it did.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use durable::{envelope, protocol::*};
use prost::Message;
use serde_json::{Map, Value, json};
use tokio::{io::AsyncWriteExt, net::TcpListener, task::JoinSet};

use crate::{decoded, golden_conversations::Sent};

/// How often each instance was called, continue-as-new and restarts included.
#[derive(Clone, Debug, Default)]
pub(crate) struct Program {
    calls: Arc<Mutex<HashMap<String, u64>>>,
}

enum Answer {
    Reply(Reply),
    HangUp,
    Never,
}

pub(crate) struct Reply {
    status: u64,
    reason: Option<String>,
    media_type: Option<String>,
    body: String,
}

impl Program {
    /// How often an instance was called.
    pub(crate) fn calls(&self, id: &str) -> u64 {
        self.calls.lock().unwrap().get(id).copied().unwrap_or_default()
    }

    /// Serves the handler's port, calls side by side.
    pub(crate) async fn serve(self, port: u16) {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let mut tasks = JoinSet::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let program = self.clone();
            tasks.spawn(async move {
                let request = Sent::read(&mut stream).await;
                let answer = match &request.line {
                    line if line.starts_with("GET") => Answer::Reply(Reply::json(String::new())),
                    line if line.contains("/act") => program.activity(&request),
                    _ => program.orchestrator(&request),
                };
                match answer {
                    // The host may have given up meanwhile.
                    Answer::Reply(reply) => drop(stream.write_all(reply.on_the_wire().as_bytes()).await),
                    Answer::HangUp => {}
                    Answer::Never => std::future::pending().await,
                }
            });
        }
    }

    fn orchestrator(&self, request: &Sent) -> Answer {
        let body: Value = serde_json::from_str(&request.body).unwrap();
        let request = envelope::decode(body["Data"]["context"].as_str().unwrap()).unwrap();
        let call = self.count(&request.instance_id);
        let episode = Episode::of(request, call);
        let reply = |status: u64| Answer::Reply(Reply { status, ..Reply::json("{}".to_owned()) });
        match (episode.input["om"].as_str(), call) {
            (Some("reset"), _) => Answer::HangUp,
            (Some("hangonce"), 1) => Answer::Never,
            (Some("h500"), _) | (Some("h500once"), 1) | (Some("h500second"), 2) => reply(500),
            (Some("h503once"), 1) => reply(503),
            (mode, _) => Answer::Reply(episode.answer(mode)),
        }
    }

    fn count(&self, what: &str) -> u64 {
        let mut calls = self.calls.lock().unwrap();
        let count = calls.entry(what.to_owned()).or_default();
        *count += 1;
        *count
    }

    /// What the recorded activity did with each input.
    fn activity(&self, request: &Sent) -> Answer {
        let body: Value = serde_json::from_str(&request.body).unwrap();
        let input: Value = serde_json::from_str(body["Data"]["payload"].as_str().unwrap()).unwrap();
        let input = input.as_str().map(|it| serde_json::from_str(it).unwrap()).unwrap_or(input);
        let call = self.count(input["k"].as_str().unwrap_or("act"));
        match (input["k"].as_str(), call) {
            (Some("reset"), _) => Answer::HangUp,
            (Some("hang"), _) | (Some("hangonce"), 1) => Answer::Never,
            _ => Answer::Reply(outcome(&input)),
        }
    }
}

impl Reply {
    fn json(body: String) -> Self {
        Self { status: 200, reason: None, media_type: Some("application/json".to_owned()), body }
    }

    fn on_the_wire(&self) -> String {
        let usual = match self.status {
            200 => "OK",
            400 => "Bad Request",
            404 => "Not Found",
            503 => "Service Unavailable",
            _ => "Internal Server Error",
        };
        let reason = self.reason.as_deref().unwrap_or(usual);
        let media_type = self.media_type.as_ref().map(|it| format!("Content-Type: {it}\r\n")).unwrap_or_default();
        let head = format!("HTTP/1.1 {} {reason}\r\n{media_type}Content-Length: {}", self.status, self.body.len());
        format!("{head}\r\n\r\n{}", self.body)
    }
}

/// One call of the orchestrator.
struct Episode {
    id: String,
    call: u64,
    input: Value,
    started: ExecutionStarted,
    events: Vec<HistoryEvent>,
}

impl Episode {
    fn of(request: OrchestratorRequest, call: u64) -> Self {
        let OrchestratorRequest { instance_id: id, past_events, new_events, .. } = request;
        let events: Vec<HistoryEvent> = past_events.into_iter().chain(new_events).collect();
        let started = events.iter().find_map(|it| match &it.event_type {
            Some(EventType::ExecutionStarted(it)) => Some((**it).clone()),
            _ => None,
        });
        let started = started.expect("an execution has a beginning");
        let input = started.input.as_deref().and_then(|it| serde_json::from_str(it).ok()).unwrap_or_default();
        Self { id, call, input, started, events }
    }

    fn answer(&self, mode: Option<&str>) -> Reply {
        let encoded = STANDARD.encode(self.response());
        let value = match mode {
            Some("rvdouble") => json!(format!("\"{encoded}\"")),
            Some("rvobj") => json!({ "value": encoded }),
            Some("badb64") => json!("%%%"),
            Some("badproto") => json!("////"),
            Some("null") => Value::Null,
            Some("emptystr") => json!(""),
            Some("outputs") => return Reply::json(json!({ "Outputs": { "$return": encoded } }).to_string()),
            Some("text") => return Reply { media_type: Some("text/plain".to_owned()), ..Reply::json(encoded) },
            _ => json!(encoded),
        };
        Reply::json(json!({ "ReturnValue": value }).to_string())
    }

    fn response(&self) -> Vec<u8> {
        let input = &self.input;
        let asks_for_history = !input["requiresHistory"].is_null() && self.call == 1;
        let actions = match (asks_for_history, input["requiresHistory"].as_str()) {
            (true, None) => json!([]),
            _ => self.actions(),
        };
        let pad = "c".repeat(usize::try_from(input["csize"].as_u64().unwrap_or_default()).unwrap());
        let status = match (input["cs"].as_str(), pad.is_empty()) {
            (Some(text), _) => text.to_owned(),
            (None, true) => json!({ "ep": self.call }).to_string(),
            (None, false) => format!("{{\"ep\":{},\"pad\":\"{pad}\"}}", self.call),
        };
        let id = if input["noinst"].is_null() { self.id.as_str() } else { "" };
        let mut response = json!({ "instanceId": id, "actions": actions });
        if input["nostatus"].is_null() {
            response["customStatus"] = json!({ "value": status });
        }
        let mut message = decoded::response(&response);
        message.requires_history = asks_for_history;
        let mut bytes = message.encode_to_vec();
        if id.is_empty() {
            // JavaScript's library writes an empty text too.
            bytes.extend([0x0a, 0]);
        }
        let unread: [(&str, &[u8]); 4] = [
            ("numEventsProcessed", &[0x2a, 2, 8, 1]),
            ("completionToken", &[0x22, 1, b'x']),
            ("isPartial", &[0x40, 1, 0x4a, 0]),
            ("orchestrationTraceContext", &[0x32, 7, 0x0a, 5, 0x0a, 3, b'a', b'b', b'c']),
        ];
        bytes.extend(unread.into_iter().filter(|(name, _)| !input["resp"][name].is_null()).flat_map(|(_, it)| it));
        bytes
    }

    /// What it asks for, as a protobuf library of JavaScript takes it.
    fn actions(&self) -> Value {
        let input = &self.input;
        let task = |id: u64| json!({ "id": id, "scheduleTask": { "name": "act" } });
        match input["mode"].as_str() {
            None => self.sequence(),
            Some("actions") => input["actions"].clone(),
            Some("baddup") if self.call <= 4 => json!([task(0), task(0)]),
            Some("many") if self.call == 1 => (0..input["count"].as_u64().unwrap()).map(task).collect(),
            Some("baddup" | "many") => json!([]),
            Some("terminateaction") => json!([{ "id": 0, "terminateOrchestration": {} }]),
            Some("ch") => complete(0, &json!(self.beginning())),
            Some("fail") => {
                let usual = json!({ "errorType": "MyError", "errorMessage": "it broke" });
                failed(0, if input["fd"].is_null() { &usual } else { &input["fd"] })
            }
            Some("oom") if self.call < 3 => {
                let inner = json!({ "errorType": "System.OutOfMemoryException", "errorMessage": "oom" });
                failed(0, &json!({ "errorType": "Outer", "errorMessage": "x", "innerFailure": inner }))
            }
            Some("oom") => complete(0, &json!("after oom retries")),
            Some("timer") => self.timer(),
            Some("sub") => self.child(),
            Some("event") => match self.raised("Go") {
                Some(input) => complete(0, &json!([{ "name": "Go", "input": input }])),
                None => json!([]),
            },
            Some("items") => self.items(),
            Some(other) => panic!("no recording has the mode {other}"),
        }
    }

    /// Version and tags it was started with, where there are any.
    fn beginning(&self) -> Value {
        let mut shown = Map::new();
        if let Some(version) = &self.started.version {
            shown.insert("version".to_owned(), wrapped(version));
        }
        if !self.started.tags.is_empty() {
            shown.insert("tags".to_owned(), json!(self.started.tags));
        }
        shown.into()
    }

    fn sequence(&self) -> Value {
        let number = |name: &str| self.input[name].as_u64().unwrap_or_default();
        let (n, every, batch) = (number("n"), number("every"), number("batch"));
        let last = if every == 0 { n } else { n.min((batch + 1) * every) };
        let outcomes: Vec<bool> = self.outcomes().map(|it| it.is_ok()).collect();
        let done = outcomes.len() as u64;
        if outcomes.contains(&false) {
            return failed(done, &json!({ "errorType": "Probe", "errorMessage": "activity failed" }));
        }
        if batch * every + done < last {
            let name = self.input["aname"].as_str().unwrap_or("act");
            let mut task = json!({ "name": name, "input": wrapped(&json!({ "i": batch * every + done }).to_string()) });
            if let Some(version) = self.input["aver"].as_str() {
                task["version"] = wrapped(version);
            }
            task["tags"] = self.input["atags"].clone();
            return json!([{ "id": done, "scheduleTask": task }]);
        }
        if last == n {
            let mut end = complete(done, &json!({ "total": n, "batches": batch + 1 }));
            end[0]["completeOrchestration"]["tags"] = self.input["ctags"].clone();
            return end;
        }
        let mut next = self.input.clone();
        next["batch"] = json!(batch + 1);
        let mut end = json!({ "orchestrationStatus": 2, "result": wrapped(&next.to_string()) });
        if let Some(version) = self.input["newVersion"].as_str() {
            end["newVersion"] = wrapped(version);
        }
        json!([{ "id": done, "completeOrchestration": end }])
    }

    fn timer(&self) -> Value {
        if self.events.iter().any(|it| matches!(it.event_type, Some(EventType::TimerFired(_)))) {
            return complete(1, &json!("fired"));
        }
        let now = self.events.last().and_then(|it| it.timestamp).unwrap().seconds;
        json!([{ "id": 0, "createTimer": { "fireAt": { "seconds": now + self.input["secs"].as_i64().unwrap() } } }])
    }

    fn child(&self) -> Value {
        let outcome = self.events.iter().find_map(|it| match it.event_type.as_ref()? {
            EventType::SubOrchestrationInstanceCompleted(it) => {
                let result = json!({ "result": wrapped(it.result.as_deref().unwrap_or_default()) });
                Some(json!({ "subOrchestrationInstanceCompleted": result }))
            }
            EventType::SubOrchestrationInstanceFailed(it) => {
                let details = it.failure_details.as_deref().map(shown).map(|it| json!({ "failureDetails": it }));
                Some(json!({ "subOrchestrationInstanceFailed": details.unwrap_or_else(|| json!({})) }))
            }
            _ => None,
        });
        if let Some(outcome) = outcome {
            return complete(1, &outcome);
        }
        let input = if self.input["child"].is_null() { json!({ "n": 1 }) } else { self.input["child"].clone() };
        let name = self.input["cname"].as_str().unwrap_or("orch");
        let mut child = json!({ "instanceId": format!("{}:0", self.id), "name": name });
        (child["input"], child["tags"]) = (wrapped(&input.to_string()), self.input["tags"].clone());
        if let Some(version) = self.input["cver"].as_str() {
            child["version"] = wrapped(version);
        }
        json!([{ "id": 0, "createSubOrchestration": child }])
    }

    /// Everything at once; the end says what came of each.
    fn items(&self) -> Value {
        let items = self.input["items"].as_array().unwrap();
        let outcomes: Vec<(i32, Value)> = self
            .events
            .iter()
            .filter_map(|it| match it.event_type.as_ref()? {
                EventType::TaskCompleted(it) => {
                    let text = it.result.as_deref().unwrap_or("no result");
                    Some((it.task_scheduled_id, json!({ "taskCompleted": text })))
                }
                EventType::TaskFailed(it) => {
                    let details = shown(it.failure_details.as_deref().unwrap());
                    Some((it.task_scheduled_id, json!({ "taskFailed": { "failureDetails": details } })))
                }
                _ => None,
            })
            .collect();
        if self.call == 1 {
            let task = |(id, item): (usize, &Value)| json!({ "id": id, "scheduleTask": { "name": "act", "input": wrapped(&item.to_string()) } });
            return items.iter().enumerate().map(task).collect();
        }
        if outcomes.len() < items.len() {
            return json!([]);
        }
        complete(items.len() as u64, &json!(outcomes))
    }

    fn outcomes(&self) -> impl Iterator<Item = Result<(), ()>> {
        self.events.iter().filter_map(|it| match it.event_type.as_ref()? {
            EventType::TaskCompleted(_) => Some(Ok(())),
            EventType::TaskFailed(_) => Some(Err(())),
            _ => None,
        })
    }

    fn raised(&self, name: &str) -> Option<String> {
        self.events.iter().find_map(|it| match it.event_type.as_ref()? {
            EventType::EventRaised(it) if it.name == name => it.input.clone(),
            _ => None,
        })
    }
}

fn wrapped(text: &str) -> Value {
    if text.is_empty() { json!({}) } else { json!({ "value": text }) }
}

fn complete(id: u64, result: &Value) -> Value {
    json!([{ "id": id, "completeOrchestration": { "orchestrationStatus": 1, "result": wrapped(&result.to_string()) } }])
}

fn failed(id: u64, details: &Value) -> Value {
    json!([{ "id": id, "completeOrchestration": { "orchestrationStatus": 3, "failureDetails": details } }])
}

/// Details as the recordings show them: no defaults, no stack of .NET's.
pub(crate) fn shown(details: &FailureDetails) -> Value {
    let mut shown = json!({ "errorType": details.error_type, "errorMessage": details.error_message });
    if let Some(inner) = &details.inner_failure {
        shown["innerFailure"] = self::shown(inner);
    }
    if let Some(stack) = details.stack_trace.as_deref().filter(|it| !it.starts_with("   at ")) {
        shown["stackTrace"] = wrapped(stack);
    }
    if details.is_non_retriable {
        shown["isNonRetriable"] = json!(true);
    }
    if !details.properties.is_empty() {
        let value = |it: &durable::protocol::Value| match &it.kind {
            Some(ValueKind::Number(it)) if it.fract() == 0.0 => json!({ "numberValue": *it as i64 }),
            Some(ValueKind::String(it)) => json!({ "stringValue": it }),
            other => panic!("no recording has {other:?}"),
        };
        shown["properties"] = details.properties.iter().map(|(name, it)| (name.clone(), value(it))).collect();
    }
    shown
}

fn outcome(input: &Value) -> Reply {
    match input["k"].as_str() {
        Some("rv") => Reply::json(json!({ "ReturnValue": input["v"] }).to_string()),
        Some("norv") => Reply::json(json!({ "Outputs": {} }).to_string()),
        Some("raw") => {
            let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            // One case has the type null, and was read as JSON. That it had no header at all contradicts the host's own recording
            // (`http-reply-table`, `noct`), where such an answer fails.
            let media_type = input["type"].as_str().unwrap_or("application/json");
            Reply {
                status: input["status"].as_u64().unwrap_or(200),
                reason: input["reason"].as_str().map(str::to_owned),
                media_type: Some(media_type.to_owned()),
                body: text(&input["body"]),
            }
        }
        _ => {
            let back = if input["i"].is_null() { json!({}) } else { json!({ "i": input["i"] }) };
            Reply::json(json!({ "Outputs": {}, "Logs": [], "ReturnValue": back }).to_string())
        }
    }
}
