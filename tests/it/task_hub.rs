//! The task hub: what becomes of an instance whatever its handler answers, the HTTP API, and deaths of the lab.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use custom_handler::wire::WEBHOOK_PATH;
use durable::{envelope, protocol::*};
use incident_labs::functions::{self, Lab};
use lab::{
    app::{AppSource, stage::stage_some},
    emulator::task_hub::Instance,
    machine::workspace::kill_processes_of,
};
use prost::Message;
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, net::TcpListener, time::sleep};

use crate::{
    golden_conversations::{Sent, stand_in_with_hub},
    handler::{http_client, rows},
    harness::{HANDLER, LAB, Scratch, eventually},
    stand_in::placeholder,
    tidy::root,
};

const SOON: Duration = Duration::from_secs(30);

/// Answers as an orchestrator of one activity does.
pub(crate) fn one_activity(request: &Sent) -> Option<(u16, &'static str, String)> {
    let result = new_events(request).iter().find_map(|it| match &it.event_type {
        Some(EventType::TaskCompleted(it)) => it.result.clone(),
        _ => None,
    });
    let schedule = ActionType::ScheduleTask(ScheduleTask::new("act".to_owned(), None));
    answered(match result {
        None => vec![OrchestratorAction::new(0, Some(schedule))],
        Some(result) => vec![completion(1, &result)],
    })
}

/// Serves the handler's port: `answer` gives status, type and body, or nothing to hang up.
pub(crate) async fn handle(port: u16, answer: impl Fn(&Sent) -> Option<(u16, &'static str, String)>) {
    let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let request = Sent::read(&mut stream).await;
        let answer =
            if request.line.starts_with("GET") { Some((200, "text/plain", String::new())) } else { answer(&request) };
        let Some((status, media_type, body)) = answer else { continue };
        let reason = if status == 200 { "OK" } else { "Internal Server Error" };
        let head =
            format!("HTTP/1.1 {status} {reason}\r\nContent-Type: {media_type}\r\nContent-Length: {}", body.len());
        stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).await.unwrap();
    }
}

/// The whole life of an instance `i` whose handler answers like this.
async fn life(answer: impl Fn(&Sent) -> Option<(u16, &'static str, String)>) -> Instance {
    let (stand_in, hub) = stand_in_with_hub(placeholder()).await;
    let driver = async {
        // Clients may write a function's name in another case.
        hub.start_instance("ORCH", "i", None).await.unwrap();
        eventually(SOON, async || hub.instance("i").await.unwrap().filter(Instance::has_ended)).await
    };
    let instance = tokio::select! {
        () = handle(stand_in.host.port(), answer) => unreachable!(),
        instance = driver => instance,
    };
    stand_in.host.shutdown().await;
    hub.stop().await;
    instance
}

/// What is new in an episode.
fn new_events(request: &Sent) -> Vec<HistoryEvent> {
    let body: Value = serde_json::from_str(&request.body).unwrap();
    envelope::decode(body["Data"]["context"].as_str().unwrap()).unwrap().new_events
}

pub(crate) fn completion(id: i32, result: &str) -> OrchestratorAction {
    let complete = CompleteOrchestration::with(|set| {
        set.orchestration_status = OrchestrationStatus::Completed as i32;
        set.result = Some(result.to_owned());
    });
    OrchestratorAction::new(id, Some(ActionType::CompleteOrchestration(complete)))
}

pub(crate) fn answered(actions: Vec<OrchestratorAction>) -> Option<(u16, &'static str, String)> {
    let response = OrchestratorResponse::with(|set| {
        set.instance_id = "i".to_owned();
        set.actions = actions;
        set.custom_status = None;
    });
    let body = json!({ "ReturnValue": STANDARD.encode(response.encode_to_vec()) });
    Some((200, "application/json", body.to_string()))
}

#[tokio::test]
async fn an_activity_whose_handler_hangs_up_has_failed_and_is_not_run_again() {
    let schedule =
        OrchestratorAction::new(0, Some(ActionType::ScheduleTask(ScheduleTask::new("act".to_owned(), None))));
    let calls = std::cell::Cell::new(0);
    let answer = |request: &Sent| {
        if request.line.contains("/act") {
            calls.set(calls.get() + 1);
            return None;
        }
        let failure = new_events(request).iter().find_map(|it| match &it.event_type {
            Some(EventType::TaskFailed(it)) => it.failure_details.clone(),
            _ => None,
        });
        answered(match failure {
            None => vec![schedule.clone()],
            Some(details) => vec![completion(1, &json!(details.inner_failure.unwrap().error_type).to_string())],
        })
    };
    let instance = life(answer).await;
    assert_eq!(instance.output.as_deref(), Some("\"System.Net.Http.HttpRequestException\""));
    assert_eq!(calls.get(), 1);
}

#[tokio::test]
async fn a_child_whose_id_is_taken_has_failed_and_its_parent_is_told() {
    let child = SubOrchestration::new("i".to_owned(), "orch".to_owned(), None);
    let create = OrchestratorAction::new(0, Some(ActionType::CreateSubOrchestration(child)));
    let answer = |request: &Sent| {
        let why = new_events(request).iter().find_map(|it| match &it.event_type {
            Some(EventType::SubOrchestrationInstanceFailed(it)) => it.failure_details.clone(),
            _ => None,
        });
        answered(match why {
            None => vec![create.clone()],
            Some(details) => vec![completion(1, &json!(details.error_message).to_string())],
        })
    };
    let instance = life(answer).await;
    let output: String = serde_json::from_str(instance.output.as_deref().unwrap()).unwrap();
    assert!(
        output.starts_with("An Orchestration instance with the status ") && output.ends_with(" already exists."),
        "{output}"
    );
}

/// `lab start` with the replay lab's functions alone: no storage, no worker.
pub(crate) struct ReplayLab {
    child: Child,
    folder: PathBuf,
    pub(crate) base: String,
    http: reqwest::Client,
}

impl ReplayLab {
    pub(crate) fn stage(scratch: &Scratch) -> PathBuf {
        let stage = scratch.path().join("stage");
        stage_some(
            &AppSource::carried(),
            Path::new(HANDLER),
            &stage,
            &functions::names(),
            &functions::names_of(Lab::Replay),
        )
        .unwrap();
        stage
    }

    pub(crate) async fn start(folder: &Path, stage: &Path) -> Self {
        Self::start_as(folder, stage, &[]).await
    }

    /// The same with arguments of `lab start`.
    pub(crate) async fn start_as(folder: &Path, stage: &Path, arguments: &[&str]) -> Self {
        fs::create_dir_all(folder).unwrap();
        let log = folder.join("lab.log");
        let out = File::create(&log).unwrap();
        let mut child = Command::new(&*LAB)
            .args(["start", "--port", "0", "--script-root"])
            .arg(stage)
            .arg("--folder")
            .arg(folder)
            .args(arguments)
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .spawn()
            .unwrap();
        let base = eventually(SOON, async || {
            let text = fs::read_to_string(&log).unwrap();
            assert!(child.try_wait().unwrap().is_none(), "lab start ended: {text}");
            let line = text.lines().find_map(|it| it.trim().strip_prefix("durable"))?;
            text.contains("stop     Ctrl-C").then(|| line.trim().trim_end_matches(WEBHOOK_PATH).to_owned())
        })
        .await;
        Self { child, folder: folder.canonicalize().unwrap(), base, http: http_client() }
    }

    pub(crate) async fn call(&self, method: &str, path: &str, body: Option<&str>) -> (u16, http::HeaderMap, Value) {
        let url = format!("{}{path}", self.base);
        let mut request = self.http.request(method.parse().unwrap(), url);
        if let Some(body) = body {
            request = request.header("Content-Type", "application/json").body(body.to_owned());
        }
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.unwrap();
        (status, headers, serde_json::from_str(&text).unwrap_or(Value::from(text)))
    }

    pub(crate) async fn hook(&self, method: &str, path: &str, body: Option<&str>) -> (u16, http::HeaderMap, Value) {
        self.call(method, &format!("{WEBHOOK_PATH}{path}"), body).await
    }

    pub(crate) async fn status(&self, id: &str) -> Value {
        self.call("GET", &format!("/api/durable/status/{id}"), None).await.2
    }

    /// As a crash: nothing is told, nothing is stopped.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        std::mem::forget(self);
    }
}

impl Drop for ReplayLab {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        kill_processes_of(&self.folder);
    }
}

#[tokio::test]
async fn a_storm_is_started_watched_and_completes_batch_by_batch() {
    let scratch = Scratch::new();
    let lab = ReplayLab::start(&scratch.path().join("run"), &ReplayLab::stage(&scratch)).await;
    let body = r#"{"iterations":25,"continueAsNewEvery":10,"instances":2}"#;
    let (code, _, started) = lab.call("POST", "/api/durable/start-replay-lab", Some(body)).await;
    assert_eq!((code, &started["started"]), (202, &json!(2)));
    for id in started["instanceIds"].as_array().unwrap() {
        let id = id.as_str().unwrap();
        let status =
            eventually(SOON, async || Some(lab.status(id).await).filter(|it| it["runtimeStatus"] == "Completed")).await;
        assert_eq!(status["output"], json!({"totalIterations": 25, "batches": 3, "finalBatchResults": 5}));
        let names: Vec<&String> = status.as_object().unwrap().keys().collect();
        assert_eq!(names, ["instanceId", "runtimeStatus", "createdTime", "lastUpdatedTime", "output"]);
        // The handler's lines come in batches.
        let lines = eventually(SOON, async || {
            let traces = rows(&lab.folder.join("tables/traces.jsonl"));
            let messages =
                || traces.iter().filter(|it| it["operation_Id"] == id).filter_map(|it| it["message"].as_str());
            let count = |start: &str| messages().filter(|it| it.starts_with(start)).count();
            let completed = count("Orchestration complete: ");
            (completed > 0).then(|| (count("Episode "), count("ContinueAsNew at iteration "), completed))
        })
        .await;
        assert!(lines.0 >= 27 && (lines.1, lines.2) == (2, 1), "{lines:?}");
    }
    let (code, _, refused) = lab.call("POST", "/api/durable/start-replay-lab", Some("{\"iterations\":0}")).await;
    assert!(code == 400 && refused["error"].as_str().unwrap().contains("iterations"), "{refused}");
    assert_eq!(lab.call("GET", "/api/durable/status/nope", None).await.0, 404);
    let (code, _, refused) = lab.call("GET", "/api/durable/status/a%23b", None).await;
    assert!(code == 400 && refused["error"].as_str().unwrap().contains("instanceId"), "{refused}");
    assert_eq!(lab.call("GET", "/api/nothing", None).await.0, 404);
}

#[tokio::test]
async fn the_http_api_answers_as_recorded() {
    let scratch = Scratch::new();
    let lab = ReplayLab::start(&scratch.path().join("run"), &ReplayLab::stage(&scratch)).await;
    let long = r#"{"iterations":100000,"continueAsNewEvery":50}"#;
    let start = "/orchestrators/replay_storm_orchestrator";
    let (code, headers, body) = lab.hook("POST", &format!("{start}/one"), Some(long)).await;
    assert_eq!((code, &headers["retry-after"], &body["id"]), (202, &"10".parse().unwrap(), &json!("one")));
    assert_eq!(headers["location"].to_str().unwrap(), body["statusQueryGetUri"]);
    assert_eq!(body.as_object().unwrap().len(), 8, "an id and seven addresses");

    let (code, _, body) = lab.hook("POST", &format!("{start}/one"), Some(long)).await;
    let exists = "An Orchestration instance with the status ";
    assert!(code == 409 && body["Message"].as_str().unwrap().starts_with(exists), "{body}");
    assert_eq!(lab.hook("POST", "/orchestrators/nosuch/two", Some("{}")).await.0, 202);
    let failed = eventually(SOON, async || {
        Some(lab.hook("GET", "/instances/two", None).await.2).filter(|it| it["runtimeStatus"] == "Failed")
    })
    .await;
    assert!(failed["output"].as_str().unwrap().starts_with("The function 'nosuch' doesn't exist"), "{failed}");
    let (code, _, body) = lab.hook("POST", start, Some("{bad")).await;
    assert_eq!((code, &body["Message"]), (400, &json!("Invalid JSON content")), "{body}");
    assert_eq!(lab.hook("GET", "/instances/nobody", None).await.0, 404);

    let (code, headers, body) = lab.hook("GET", "/instances/one", None).await;
    assert_eq!(
        (code, &headers["retry-after"], &body["name"]),
        (202, &"5".parse().unwrap(), &json!("replay_storm_orchestrator"))
    );
    assert_eq!(lab.hook("POST", "/instances/one/raiseEvent/Go", Some("{\"x\":1}")).await.0, 202);
    assert_eq!(lab.hook("POST", "/instances/nobody/raiseEvent/Go", Some("1")).await.0, 404);
    assert_eq!(lab.hook("POST", "/instances/one/raiseEvent/Go", Some("{bad")).await.0, 400);
    assert_eq!(lab.hook("POST", "/instances/one/suspend?reason=tea", None).await.0, 202);
    let shown = async |wanted: &str| {
        let (_, _, body) = lab.hook("GET", "/instances/one", None).await;
        (body["runtimeStatus"] == wanted).then_some(body)
    };
    let suspended = eventually(SOON, async || shown("Suspended").await).await;
    assert_eq!(suspended["output"], "tea");
    assert_eq!(lab.hook("POST", "/instances/one/resume?reason=back", None).await.0, 202);
    eventually(SOON, async || shown("Running").await).await;

    assert_eq!(lab.hook("POST", "/instances/one/terminate?reason=enough", None).await.0, 202);
    let terminated = eventually(SOON, async || shown("Terminated").await).await;
    assert_eq!(terminated["output"], "enough");
    eventually(SOON, async || (lab.hook("GET", "/instances/one", None).await.0 == 200).then_some(())).await;
    for action in ["raiseEvent/Go", "resume", "terminate"] {
        assert_eq!(lab.hook("POST", &format!("/instances/one/{action}"), Some("1")).await.0, 410, "{action}");
    }
    let (code, _, body) = lab.hook("DELETE", "/instances/one", None).await;
    assert_eq!((code, body), (200, json!({"instancesDeleted": 1})));
    assert_eq!(lab.hook("DELETE", "/instances/one", None).await.0, 404);
}

#[tokio::test]
async fn instances_are_waited_for_listed_and_purged() {
    let scratch = Scratch::new();
    let lab = ReplayLab::start(&scratch.path().join("run"), &ReplayLab::stage(&scratch)).await;
    let start = "/orchestrators/replay_storm_orchestrator";
    let (code, _, output) =
        lab.hook("POST", &format!("{start}/two?timeout=20&pollingInterval=1"), Some("{\"iterations\":2}")).await;
    assert_eq!((code, &output["totalIterations"]), (200, &json!(2)), "{output}");
    // Without a body there is no input, which this orchestrator does not understand.
    lab.hook("POST", &format!("{start}/three"), None).await;
    let failed =
        async || Some(lab.hook("GET", "/instances/three", None).await.2).filter(|it| it["runtimeStatus"] == "Failed");
    let failed = eventually(SOON, failed).await;
    assert!(failed["input"].is_null() && failed["output"].as_str().unwrap().starts_with("DecodeError: "), "{failed}");
    let (code, _, _) = lab.hook("GET", "/instances/three?returnInternalServerErrorOnFailure=true", None).await;
    assert_eq!(code, 500);
    lab.hook("POST", &format!("{start}/other?timeout=20&pollingInterval=0.1"), Some("{\"iterations\":1}")).await;

    let ids = |body: &Value| body.as_array().unwrap().iter().map(|it| it["instanceId"].clone()).collect::<Vec<_>>();
    assert_eq!(ids(&lab.hook("GET", "/instances", None).await.2), ["other", "three", "two"]);
    assert_eq!(ids(&lab.hook("GET", "/instances?runtimeStatus=Failed,Terminated", None).await.2), ["three"]);
    assert_eq!(ids(&lab.hook("GET", "/instances?instanceIdPrefix=t", None).await.2), ["three", "two"]);
    let (_, headers, body) = lab.hook("GET", "/instances?top=2", None).await;
    assert_eq!(ids(&body), ["other", "three"]);
    assert!(headers["x-ms-continuation-token"].to_str().unwrap().is_ascii());
    assert_eq!(ids(&lab.hook("GET", "/instances?createdTimeFrom=yesterday", None).await.2).len(), 3);

    assert_eq!(lab.hook("DELETE", "/instances", None).await.0, 400);
    let (code, _, body) = lab.hook("DELETE", "/instances?createdTimeFrom=2020-01-01T00:00:00Z", None).await;
    assert_eq!((code, body), (200, json!({"instancesDeleted": 3})));
}

/// What Microsoft's client says when it has driven the webhooks of a fresh lab.
async fn driven_by(program: &Path, script: &str, installed_by: &str) -> String {
    let scratch = Scratch::new();
    let lab = ReplayLab::start(&scratch.path().join("run"), &ReplayLab::stage(&scratch)).await;
    let output = Command::new(program)
        .arg(root().join(script))
        .arg(format!("{}{WEBHOOK_PATH}/", lab.base))
        .output()
        .unwrap_or_else(|error| panic!("{error}: it is installed by {installed_by}"));
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

#[tokio::test]
#[ignore = "needs Python with azure-functions-durable 1.7.0: bash tests/python/install, then cargo test -- --ignored"]
async fn microsofts_client_for_python_manages_instances() {
    let python = root().join("target/python/bin/python");
    assert_eq!(driven_by(&python, "tests/python/client.py", "tests/python/install").await, "all right");
}

#[tokio::test]
#[ignore = "needs durable-functions: npm ci --prefix tests/node, then cargo test -- --ignored"]
async fn microsofts_client_for_node_manages_instances() {
    assert_eq!(driven_by(Path::new("node"), "tests/node/client.mjs", "npm ci --prefix tests/node").await, "all right");
}

/// The lab dies 20 times at moments nobody chose.
#[tokio::test]
async fn killed_at_random_moments_the_instance_completes_and_nothing_is_recorded_twice() {
    const ITERATIONS: usize = 500;
    let scratch = Scratch::new();
    let (folder, stage) = (scratch.path().join("run"), ReplayLab::stage(&scratch));
    let mut lab = ReplayLab::start(&folder, &stage).await;
    let body = json!({ "iterations": ITERATIONS }).to_string();
    let started = lab.call("POST", "/api/durable/start-replay-lab", Some(&body)).await.2;
    let id = started["instanceIds"][0].as_str().unwrap().to_owned();
    let mut rng = ChaCha8Rng::seed_from_u64(u64::from(std::process::id()));
    let mut under_way = 0;
    for _ in 0..20 {
        sleep(Duration::from_millis(u64::from(rng.next_u32() % 150))).await;
        lab.kill();
        lab = ReplayLab::start(&folder, &stage).await;
        under_way += usize::from(lab.status(&id).await["runtimeStatus"] == "Running");
    }
    println!("{under_way} of 20 deaths found the instance under way");
    assert!(under_way >= 5, "the instance was over too early for the deaths to mean something: {under_way}");
    let status =
        eventually(SOON * 4, async || Some(lab.status(&id).await).filter(|it| it["runtimeStatus"] == "Completed"))
            .await;
    assert_eq!(status["output"], json!({"totalIterations": ITERATIONS, "batches": 1, "finalBatchResults": ITERATIONS}));
    let path = format!("/instances/{id}?showHistory=true&showHistoryOutput=true");
    let history = lab.hook("GET", &path, None).await.2["historyEvents"].as_array().unwrap().clone();
    let completed = history.iter().filter(|it| it["EventType"] == "TaskCompleted");
    let indices: Vec<u64> = completed.map(|it| it["Result"]["index"].as_u64().unwrap()).collect();
    assert_eq!(indices, (0..ITERATIONS as u64).collect::<Vec<_>>(), "each index once, in order");
    assert_eq!(history.iter().filter(|it| it["EventType"] == "TaskFailed").count(), 0);
}
