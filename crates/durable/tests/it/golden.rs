//! Conversations recorded between Microsoft's durable extension and a handler, held with an orchestrator written on
//! [`durable`]: the same requests must give the same actions.

use std::{fs, path::Path, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use durable::{
    Carry, Context, Durable, Error, all, envelope,
    protocol::{ActionType, FailureDetails, OrchestratorAction, OrchestratorRequest, OrchestratorResponse},
    replay,
};
use prost::Message;
use serde_json::{Value, json};

use super::decoded;

/// The program whose conversations were recorded, as far as an orchestrator can be that program.
async fn recorded(ctx: Context, input: Value) -> Result<Value, Error> {
    match input["mode"].as_str() {
        None => sequence(ctx, input).await,
        Some("fan") => {
            let count = input["fan"].as_u64().unwrap();
            let outcomes = all((0..count).map(|i| ctx.activity::<Value>("act", &json!({"i": i})))).await;
            let done = outcomes.iter().filter(|it| it.is_ok()).count();
            Ok(json!({"done": done, "failed": outcomes.len() - done}))
        }
        Some("timer") => {
            ctx.timer(Duration::from_secs(2)).await;
            Ok(json!("fired"))
        }
        Some("fail") => Err(Error::new("MyError", "it broke")),
        Some("oom") => {
            let inner = FailureDetails::with(|set| {
                set.error_type = "System.OutOfMemoryException".to_owned();
                set.error_message = "y".to_owned();
            });
            Err(Error::new("Outer", "x").caused_by(inner))
        }
        Some("sub") => {
            let child = if input["child"].is_null() { json!({"n": 1}) } else { input["child"].clone() };
            let id = format!("{}:0", ctx.instance_id());
            let _ = ctx.sub_orchestration_as::<Value>(&id, "orch", &child).await;
            Ok(Value::Null)
        }
        Some("items") => {
            for item in input["items"].as_array().unwrap() {
                let _ = ctx.activity::<Value>("act", item).await;
            }
            Ok(Value::Null)
        }
        Some("event") => {
            let value: Value = ctx.external_event("Go").await?;
            Ok(json!([{"name": "Go", "input": value.to_string()}]))
        }
        Some("carry") => carry(ctx, input).await,
        Some("send") => {
            ctx.send_event(input["to"].as_str().unwrap(), "Go", &json!({"from": ctx.instance_id()}))?;
            ctx.timer_at(ctx.now().replace_nanosecond(0).unwrap() + Duration::from_secs(1)).await;
            Ok(json!("sent"))
        }
        Some(other) => Err(Error::new("Unknown", other)),
    }
}

async fn sequence(ctx: Context, input: Value) -> Result<Value, Error> {
    let number = |name: &str| input[name].as_u64().unwrap_or_default();
    let (n, every, batch) = (number("n"), number("every"), number("batch"));
    let first = batch * every;
    let last = if every == 0 { n } else { n.min(first + every) };
    for i in first..last {
        ctx.activity::<Value>("act", &json!({"i": i})).await?;
    }
    if last < n {
        return ctx.continue_as_new(&json!({"n": n, "every": every, "batch": batch + 1}), Carry::Events);
    }
    Ok(json!({"total": n, "batches": batch + 1}))
}

/// Continues as new when two events are there, without having taken them.
async fn carry(ctx: Context, input: Value) -> Result<Value, Error> {
    if input["second"] == true {
        let names: &[&str] = if input["keep"] == 1 { &["A", "B"] } else { &["C"] };
        for name in names {
            ctx.external_event::<Value>(name).await?;
        }
        return Ok(json!(names));
    }
    let (mut a, mut b) = (ctx.external_event::<Value>("A"), ctx.external_event::<Value>("B"));
    std::future::poll_fn(|cx| {
        use std::{future::Future, pin::Pin, task::Poll};
        if a.ready_at().is_some() && b.ready_at().is_some() {
            return Poll::Ready(());
        }
        for task in [&mut a, &mut b] {
            if task.ready_at().is_none() {
                assert!(Pin::new(task).poll(cx).is_pending());
            }
        }
        Poll::Pending
    })
    .await;
    drop((b, a));
    let mut next = json!({"mode": "carry", "second": true});
    let keep = !input["keep"].is_null();
    if keep {
        next["keep"] = input["keep"].clone();
    }
    ctx.continue_as_new(&next, if keep { Carry::Events } else { Carry::Nothing })
}

/// What the recorded program did and an orchestrator does not: `(file, what, why)`.
const DIFFERENT: &[(&str, &str, &str)] = &[
    ("durable-sub", "result", "the recorded program gave back the event itself, with its times"),
    ("durable-subfail", "result", "the same"),
    ("durable-sub500", "result", "the same"),
    ("durable-items", "result", "the same"),
    ("durable-fail", "stack", "the recorded program made one up"),
    ("durable-subfail", "stack", "the same"),
    ("durable-status-carryover-sendevent", "id", "the recorded program gave its completion an id it had used"),
    ("durable-suspend-resume", "suspended", "the recorded program completed while it was suspended"),
    ("durable-terminate", "terminated", "the recorded program ignored the wish, or chose id and text of its answer"),
    ("durable-oom", "recovered", "the recorded program gave up failing the third time"),
];

fn is_different(file: &str, what: &str) -> bool {
    DIFFERENT.iter().any(|(name, kind, _)| *name == file && *kind == what)
}

/// Leaves out what times, or the table above, make different.
fn comparable(file: &str, mut actions: Vec<OrchestratorAction>) -> Vec<OrchestratorAction> {
    for action in &mut actions {
        let Some(ActionType::CompleteOrchestration(complete)) = &mut action.action_type else { continue };
        if is_different(file, "result") {
            complete.result = None;
        }
        if is_different(file, "id") {
            action.id = 0;
        }
        if is_different(file, "stack")
            && let Some(details) = &mut complete.failure_details
        {
            details.stack_trace = None;
        }
        complete.carryover_events.iter_mut().for_each(|event| event.timestamp = None);
    }
    actions
}

/// An exchange with an orchestrator: what it was sent, and what it answered.
type Exchange = (OrchestratorRequest, OrchestratorResponse);

/// Every exchange below a value. Where bytes were kept they count, else the decoded messages.
fn exchanges(value: &Value, found: &mut Vec<Exchange>) {
    match value {
        Value::Object(fields) if fields.get("orchestratorResponseDecoded").is_some_and(Value::is_object) => {
            // Of a long conversation the requests in the middle were not kept.
            found.extend(request_of(value).map(|request| (request, response_of(value))));
        }
        Value::Object(fields) => fields.values().for_each(|it| exchanges(it, found)),
        Value::Array(items) => items.iter().for_each(|it| exchanges(it, found)),
        _ => {}
    }
}

fn request_of(exchange: &Value) -> Option<OrchestratorRequest> {
    let Some(body) = exchange["request"]["body"].as_str() else {
        return exchange.get("orchestratorRequestDecoded").map(decoded::request);
    };
    let body: Value = serde_json::from_str(body).unwrap();
    Some(envelope::decode(body["Data"]["context"].as_str().unwrap()).unwrap())
}

fn response_of(exchange: &Value) -> OrchestratorResponse {
    let reply = exchange["reply"]["body"].as_str().and_then(|it| serde_json::from_str::<Value>(it).ok());
    match reply.as_ref().and_then(|it| it["ReturnValue"].as_str()) {
        None => decoded::response(&exchange["orchestratorResponseDecoded"]),
        Some(value) => OrchestratorResponse::decode(STANDARD.decode(value).unwrap().as_slice()).unwrap(),
    }
}

#[test]
fn recorded_conversations_are_held_by_an_orchestrator() {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join("tests/it/golden/host");
    let (mut held, mut other) = (0, Vec::new());
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let file = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let conversation: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let mut found = Vec::new();
        exchanges(&conversation, &mut found);
        for (request, want) in found {
            let shown = format!("{file}: {request:?}");
            let turn = replay(request, recorded, || Duration::ZERO);
            let (ours, theirs) = (comparable(&file, turn.response.actions), comparable(&file, want.actions));
            if ["suspended", "terminated", "recovered"].iter().any(|it| is_different(&file, it)) && ours != theirs {
                other.push(file.clone());
                continue;
            }
            assert_eq!(ours, theirs, "{shown}");
            assert_eq!(turn.response.instance_id, want.instance_id, "{file}");
            held += 1;
        }
    }
    println!("{held} exchanges held; the table of differences explains {other:?}");
    assert!(held >= 45 && other.len() <= 5, "{held} held, {other:?} different");
}
