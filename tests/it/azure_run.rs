//! `lab run --on azure`: scripted Resource Manager and Log Analytics, and behind them the stand-in as the deployed app.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::Duration,
};

use http::Method;
use incident_labs::{
    blob::{EMULATOR_ACCOUNT, StorageAccount},
    functions::Lab,
};
use lab::azure::PlannedCall;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Map, Value, json};
use tokio::{
    sync::mpsc::{UnboundedSender, unbounded_channel},
    time::Instant,
};

use crate::{
    deployed_app::{APP, DeployedApp, GROUP, WORKSPACE, assert_clean, functions_of},
    handler::{assert_no_secret, http_client, rows},
    harness::{LAB, LabProcess, Scratch, eventually, finished},
    run_oom::{SCENARIO, assert_names_no_place, assert_verifies},
    scripted_azure::{Asked, Reply, SUBSCRIPTION, ScriptedAzure, assert_follows},
    scripted_workspace::Workspace,
    task_hub::ReplayLab,
};

const SOON: Duration = Duration::from_secs(120);
const STORM: [&str; 6] = ["--instances", "2", "--iterations", "30", "--continue-as-new-every", "10"];

/// The app's settings and its host.
struct State {
    all: Map<String, Value>,
    /// When the host was last started; none while it starts.
    started: Option<Instant>,
    /// Starts the host again, where there is one.
    restart: Option<UnboundedSender<Map<String, Value>>>,
}

#[derive(Clone)]
struct Settings(Arc<Mutex<State>>);

impl Settings {
    fn all(&self) -> Map<String, Value> {
        self.0.lock().unwrap().all.clone()
    }

    fn set(&self, name: &str, value: Option<&str>) {
        let all = &mut self.0.lock().unwrap().all;
        match value {
            Some(value) => all.insert(name.to_owned(), json!(value)),
            None => all.remove(name),
        };
    }
}

/// The cloud of a test, and folders for what runs against it.
struct Cloud {
    scratch: Scratch,
    endpoints: ScriptedAzure,
    settings: Settings,
    /// Connection string of the account that the app names.
    account: String,
}

impl Cloud {
    /// A healthy app with a lab's package. A write of settings restarts its host.
    async fn with(lab: Lab) -> Self {
        let endpoints = ScriptedAzure::start().await;
        let app = DeployedApp::healthy().with("functions", |it| {
            let one = it.body["value"][0].clone();
            it.body["value"] = functions_of(lab, &one);
        });
        app.on(&endpoints);
        endpoints.on(Method::GET, "prices.azure.com", Reply::fixture("prices"));
        let mut first = Reply::fixture("doctor/settings").body["properties"].as_object().unwrap().clone();
        first.insert("AzureWebJobsStorage__accountName".to_owned(), json!(EMULATOR_ACCOUNT));
        first.insert("Some.Odd-Name__with:colon".to_owned(), json!("its \"value\"\n"));
        let state = State { all: first, started: Some(Instant::now()), restart: None };
        let settings = Settings(Arc::new(Mutex::new(state)));
        let account = StorageAccount::emulator(9, 9).unwrap().connection_string().unwrap();
        let cloud = Self { scratch: Scratch::new(), endpoints, settings, account };
        cloud.serve_settings();
        cloud
    }

    fn serve_settings(&self) {
        let settings = self.settings.clone();
        self.endpoints.rule(move |asked| {
            let path = asked.url.split('?').next().unwrap();
            let mut state = settings.0.lock().unwrap();
            match (asked.method.as_str(), path) {
                ("POST", it) if it.ends_with("/config/appsettings/list") => {}
                ("PUT", it) if it.ends_with("/config/appsettings") => {
                    state.all = asked.body["properties"].as_object().unwrap().clone();
                    state.started = match &state.restart {
                        Some(host) => host.send(state.all.clone()).map(|()| None).unwrap(),
                        None => Some(Instant::now()),
                    };
                }
                ("GET", it) if it.ends_with("/hostruntime/admin/host/status") => {
                    let mut status = Reply::fixture("doctor/host-status");
                    match state.started {
                        Some(at) => status.body["processUptime"] = json!(at.elapsed().as_millis() as u64),
                        None => status.body = json!({"state": "Initializing"}),
                    }
                    return Some(status);
                }
                _ => return None,
            }
            let mut reply = Reply::fixture("doctor/settings");
            reply.body["properties"] = Value::Object(state.all.clone());
            Some(reply)
        });
    }

    fn command(&self, lab: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(&*LAB);
        command.args(["run", lab, "--on", "azure", "--app", APP, "--resource-group", GROUP, "--workspace", WORKSPACE]);
        command.args(["--subscription", SUBSCRIPTION]).args(arguments);
        command.arg("--evidence").arg(self.scratch.path().join("evidence"));
        command.arg("--folder").arg(self.scratch.path().join("work")).env("INCIDENT_LAB_AZURE", &self.endpoints.url);
        command.env("AzureWebJobsStorage", &self.account);
        command
    }

    async fn run(&self, lab: &str, arguments: &[&str]) -> Output {
        finished(self.command(lab, arguments)).await
    }

    async fn plan(&self, lab: &str, arguments: &[&str]) -> Vec<PlannedCall> {
        let output = self.run(lab, &[arguments, &["--plan", "--json"]].concat()).await;
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let steps: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let call = |it: Value| PlannedCall {
            method: text(&it["method"]),
            url: text(&it["url"]),
            body: it.get("body").cloned(),
            why: text(&it["why"]),
            az: None,
            repeats: it["repeats"] == true,
        };
        steps.into_iter().map(call).collect()
    }

    fn latest(&self, lab: &str) -> PathBuf {
        self.scratch.path().join("evidence").join(lab).join("latest").canonicalize().unwrap()
    }

    /// Starts a run and waits until the settings are written.
    async fn until_written(&self, lab: &str) -> Child {
        let before = self.settings.all();
        let mut command = self.command(lab, &[]);
        let child = command.stdout(Stdio::null()).stderr(fs::File::create(self.scratch.path().join("told")).unwrap());
        let mut child = child.spawn().unwrap();
        eventually(SOON, async || {
            assert!(child.try_wait().unwrap().is_none(), "it ended: {}", self.told());
            (self.settings.all() != before).then_some(())
        })
        .await;
        child
    }

    /// Only the first look, the check before a run, finds a host that runs.
    fn host_hangs_when_restarted(&self) {
        let mut looks = 0;
        self.endpoints.rule(move |asked| {
            looks += u32::from(asked.url.contains("/admin/host/status"));
            let is_later = asked.url.contains("/admin/host/status") && looks > 1;
            is_later.then(|| Reply::new(200, json!({"state": "Initializing"})))
        });
    }

    fn told(&self) -> String {
        fs::read_to_string(self.scratch.path().join("told")).unwrap()
    }

    fn writes(&self) -> usize {
        self.endpoints.asked().iter().filter(|it| it.method == "PUT").count()
    }
}

/// Sends what is meant for the app to the stand-in.
fn forward(endpoints: &ScriptedAzure, base: String) {
    endpoints.rule(move |asked| {
        let path = asked.url.strip_prefix(&format!("https://{APP}.azurewebsites.net"))?;
        let (url, asked) = (format!("{base}{path}"), asked.clone());
        // Rules are not asynchronous, and the stand-in is another process.
        std::thread::spawn(move || sent(&url, &asked)).join().ok()
    });
}

fn sent(url: &str, asked: &Asked) -> Reply {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let method = Method::from_bytes(asked.method.as_bytes()).unwrap();
        let mut request = http_client().request(method, url);
        if !asked.body.is_null() {
            request = request.header("content-type", "application/json").body(asked.body.to_string());
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        Reply::new(status, serde_json::from_str(&answer.text().await.unwrap()).unwrap_or_default())
    })
}

fn interrupt(child: &Child) {
    kill_process(Pid::from_raw(child.id().cast_signed()).unwrap(), Signal::INT).unwrap();
}

async fn ended(child: &mut Child) -> Option<i32> {
    eventually(SOON, async || child.try_wait().unwrap()).await.code()
}

fn assert_folder_is_clean(run: &Path) {
    for entry in walkdir::WalkDir::new(run).into_iter().map(Result::unwrap).filter(|it| it.file_type().is_file()) {
        assert_clean(&String::from_utf8_lossy(&fs::read(entry.path()).unwrap()));
    }
}

#[tokio::test]
async fn the_replay_lab_runs_on_an_app_on_azure_whose_rows_come_late_and_whose_workspace_refuses_cuts_and_shuffles() {
    let cloud = Cloud::with(Lab::Replay).await;
    let folder = cloud.scratch.path().join("app");
    let stage = ReplayLab::stage(&cloud.scratch);
    let app = ReplayLab::start_as(&folder, &stage, &["--set", "WEBSITE_SITE_NAME=labs-app"]).await;
    forward(&cloud.endpoints, app.base.clone());
    // The first rows are seen after a while, and the tables are not complete before.
    let (empty, tables) = (cloud.scratch.path().join("empty"), folder.join("tables"));
    fs::create_dir(&empty).unwrap();
    let mut cuts = 1;
    let workspace = Workspace {
        tables: Box::new(move |query| if query < 30 { empty.clone() } else { tables.clone() }),
        change: Box::new(move |_, mut reply| {
            if let Some(rows) = reply.body["tables"][0]["rows"].as_array_mut().filter(|it| it.len() > 20) {
                rows.reverse();
                if cuts > 0 {
                    cuts -= 1;
                    rows.truncate(5);
                    reply.body["error"] = Reply::fixture("query-partial").body["error"].clone();
                }
            }
            reply
        }),
    };
    workspace.answer_as(WORKSPACE, &cloud.endpoints);
    let path = "/v1/workspaces/";
    cloud.endpoints.once(Method::POST, path, Reply::error(429, "ThrottledError", "").header("retry-after", "1"));
    cloud.endpoints.once(Method::POST, path, Reply::error(401, "InvalidTokenError", "The provided token has expired"));
    // A token is used while it is valid for 5 min more: each of these for two seconds.
    cloud.endpoints.tokens_live(302);
    let plan = cloud.plan("replay", &STORM).await;
    assert_eq!(cloud.endpoints.asked(), [], "a plan sends nothing");
    assert_eq!(cloud.endpoints.tokens_given(), 0, "and signs nobody in");
    assert!(!cloud.scratch.path().join("evidence").exists() && !cloud.scratch.path().join("work").exists());

    let output = cloud.run("replay", &[&STORM[..], &["--json"]].concat()).await;
    let told = String::from_utf8(output.stderr).unwrap();
    let verdict: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {told}"));
    assert_eq!((&verdict["origin"], &verdict["doubts"]), (&json!("azure"), &json!([])), "{verdict:#} {told}");
    assert_follows(&plan, &cloud.endpoints.asked());
    assert!(cloud.endpoints.tokens_given() > 3, "{} tokens", cloud.endpoints.tokens_given());
    assert!(told.contains("Cost: an EP1 instance in koreacentral is "), "{told}");

    let run = cloud.latest("replay");
    assert_verifies("replay", &run, &verdict);
    assert_names_no_place(&run, &cloud.scratch.path());
    let criteria = verdict["criteria"].as_array().unwrap();
    for id in ["baseline.completed", "incident.completed", "recovery.completed", "recovery.reset-at-all"] {
        let criterion = criteria.iter().find(|it| it["id"] == id).unwrap();
        assert_eq!(criterion["result"], "pass", "{criterion:#}");
    }
    let session: Value = serde_json::from_slice(&fs::read(run.join("workspace-session.json")).unwrap()).unwrap();
    let queries = session["queries"].as_array().unwrap();
    assert!(queries.len() > 5 && queries.iter().all(|it| it["differs"].is_null()), "{session:#}");
    assert!(rows(&run.join("tables/requests.jsonl")).len() > 250);
    assert!(!run.join("tables/episodes.jsonl").exists(), "the stand-in's own records are not on Azure");
    let environment: Value = serde_json::from_slice(&fs::read(run.join("environment.json")).unwrap()).unwrap();
    assert_eq!((&environment["platform"], &environment["host_version"]), (&json!("Azure"), &json!("4.1037.0.0")));
    assert_folder_is_clean(&run);
    assert_no_secret(&run);
    assert_clean(&format!("{told}{verdict}"));
    assert_eq!(cloud.writes(), 0, "this lab changes no setting");
}

#[tokio::test]
async fn rows_that_never_come_leave_a_run_without_a_verdict() {
    let cloud = Cloud::with(Lab::Replay).await;
    let folder = cloud.scratch.path().join("app");
    let app =
        ReplayLab::start_as(&folder, &ReplayLab::stage(&cloud.scratch), &["--set", "WEBSITE_SITE_NAME=labs-app"]).await;
    forward(&cloud.endpoints, app.base.clone());
    let part = cloud.scratch.path().join("part");
    let tables = folder.join("tables");
    let some = move |_| {
        let _ = fs::create_dir(&part);
        for entry in fs::read_dir(&tables).unwrap().map(Result::unwrap) {
            let text = fs::read_to_string(entry.path()).unwrap();
            let whole = text.lines().enumerate().filter(|it| it.0 % 3 > 0 && it.1.ends_with('}'));
            let kept: String = whole.map(|it| format!("{}\n", it.1)).collect();
            fs::write(part.join(entry.file_name()), kept).unwrap();
        }
        part.clone()
    };
    let workspace = Workspace { tables: Box::new(some), ..Workspace::of(folder.join("tables")) };
    workspace.answer_as(WORKSPACE, &cloud.endpoints);
    let output = cloud.run("replay", &["--iterations", "12", "--json"]).await;
    let verdict: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &verdict["verdict"]), (Some(2), &json!("inconclusive")), "{verdict:#}");
    let doubt = verdict["doubts"][0].as_str().unwrap();
    assert!(doubt.starts_with("AppRequests has ") && doubt.contains(" of at least 148 rows, "), "{verdict:#}");
}

#[tokio::test]
async fn an_app_with_another_package_is_told_before_anything_is_changed() {
    let cloud = Cloud::with(Lab::Replay).await;
    let output = cloud.run("oom", &[]).await;
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{told}");
    assert!(told.contains("has the functions of replay-app.zip") && told.contains("oom-buffering-app.zip"), "{told}");
    assert_eq!(cloud.writes(), 0);
}

#[tokio::test]
async fn a_plan_of_the_oom_lab_shows_settings_windows_and_load_and_sends_nothing() {
    let cloud = Cloud::with(Lab::Oom).await;
    let output = cloud.run("oom", &["--plan"]).await;
    let told = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{told}");
    for part in [
        "BLOB_BATCH_SIZE=32 MAX_CONCURRENT_INVOCATIONS=48",
        "BLOB_BATCH_SIZE=8 MAX_CONCURRENT_INVOCATIONS=12",
        "baseline: small blobs all the time (1800 requests)",
        "incident: copy blobs inside the account",
        "PUT https://{account}.blob.core.windows.net/input/{run}/incident/",
        "ask oom-latency.kql in the workspace",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(!told.contains("WORKER_MEMORY_LIMIT_MIB"), "the instance's memory is the limit");
    assert_clean(&told);
    assert_eq!((cloud.endpoints.asked(), cloud.endpoints.tokens_given()), (Vec::new(), 0));
    assert!(!cloud.scratch.path().join("evidence").exists() && !cloud.scratch.path().join("work").exists());
}

#[tokio::test]
async fn ctrl_c_leaves_the_settings_as_they_were_also_when_the_first_write_fails() {
    let cloud = Cloud::with(Lab::Oom).await;
    cloud.settings.set("BLOB_BATCH_SIZE", Some("7"));
    cloud.settings.set("MAX_CONCURRENT_INVOCATIONS", None);
    let before = cloud.settings.all();
    cloud.host_hangs_when_restarted();
    let mut run = cloud.until_written("oom").await;
    assert_eq!(cloud.settings.all()["BLOB_BATCH_SIZE"], "32");
    assert_eq!(cloud.settings.all().len(), before.len() + 1, "all others are kept");
    let conflict = Reply::error(409, "Conflict", "another operation is in progress");
    cloud.endpoints.once(Method::PUT, "/config/appsettings", conflict);
    interrupt(&run);
    assert_eq!(ended(&mut run).await, Some(3), "{}", cloud.told());
    assert_eq!(cloud.settings.all(), before);
    assert_eq!(cloud.writes(), 3, "{}", cloud.told());
    for part in ["interrupted", "change for the run, and are put back", "not put back yet", "are as they were"] {
        assert!(cloud.told().contains(part), "{part}: {}", cloud.told());
    }
    assert_clean(&cloud.told());
}

#[tokio::test]
async fn settings_that_cannot_be_put_back_are_named_with_the_command_that_does_it() {
    let cloud = Cloud::with(Lab::Oom).await;
    cloud.settings.set("BLOB_BATCH_SIZE", Some("7"));
    cloud.settings.set("MAX_CONCURRENT_INVOCATIONS", None);
    cloud.host_hangs_when_restarted();
    let mut run = cloud.until_written("oom").await;
    cloud.endpoints.on(Method::PUT, "/config/appsettings", Reply::error(403, "AuthorizationFailed", SUBSCRIPTION));
    interrupt(&run);
    assert_eq!(ended(&mut run).await, Some(3));
    let told = cloud.told();
    for part in [
        "interrupted",
        "still have the run's values",
        "az functionapp config appsettings set --name labs-app --resource-group rg-labs --settings BLOB_BATCH_SIZE=7",
        "az functionapp config appsettings delete --name labs-app --resource-group rg-labs --setting-names MAX_CONCURRENT_INVOCATIONS",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert_clean(&told);
}

#[tokio::test]
async fn what_only_one_of_the_two_places_knows_is_refused_by_name() {
    let cloud = Cloud::with(Lab::Replay).await;
    let refused = async |arguments: &[&str]| {
        let mut command = Command::new(&*LAB);
        command.args(["run", "replay"]).args(arguments).current_dir(cloud.scratch.path());
        let output = finished(command).await;
        assert_eq!(output.status.code(), Some(64), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(refused(&["--plan"]).await.contains("are for --on azure"));
    assert!(refused(&["--on", "azure", "--app", "a"]).await.contains("--resource-group and --workspace"));
    let named = ["--on", "azure", "--app", "a/b", "--resource-group", "rg", "--workspace", WORKSPACE];
    assert!(refused(&named).await.contains("--app must be a name of letters, digits and hyphens"));
    let here = ["--on", "azure", "--app", "a", "--resource-group", "rg", "--workspace", WORKSPACE, "--handler", "h"];
    assert!(refused(&here).await.contains("are for this machine"));
    assert_eq!(cloud.endpoints.asked(), []);
}

/// The OOM lab's app as a stand-in with an eighth of an EP1, restarted with each write of the settings.
struct Host {
    folder: PathBuf,
    settings: Settings,
    thread: Option<JoinHandle<()>>,
}

impl Host {
    async fn of(cloud: &mut Cloud) -> Self {
        let process = started(&cloud.scratch.path().join("app"), &cloud.settings.all()).await;
        cloud.account = process.storage.account().connection_string().unwrap();
        let (folder, settings) = (process.folder().to_owned(), cloud.settings.clone());
        let (restart, wanted) = unbounded_channel();
        settings.0.lock().unwrap().restart = Some(restart);
        let (own, mut process, mut wanted) = (settings.clone(), Some(process), wanted);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                while let Some(all) = wanted.recv().await {
                    let last = process.take().unwrap();
                    let folder = last.folder().to_owned();
                    last.interrupt().await;
                    process = Some(started(&folder, &all).await);
                    own.0.lock().unwrap().started = Some(Instant::now());
                }
            });
        });
        Self { folder, settings, thread: Some(thread) }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.settings.0.lock().unwrap().restart = None;
        let _ = self.thread.take().unwrap().join();
    }
}

async fn started(folder: &Path, settings: &Map<String, Value>) -> LabProcess {
    let of = |name: &str| format!("{name}={}", settings[name].as_str().unwrap());
    let (batch, most) = (of("BLOB_BATCH_SIZE"), of("MAX_CONCURRENT_INVOCATIONS"));
    let given = ["WEBSITE_SITE_NAME=labs-app", "WORKER_MEMORY_LIMIT_MIB=448", &batch, &most];
    let given: Vec<&str> = given.iter().flat_map(|it| ["--set", it]).collect();
    LabProcess::start(folder, &[&["--port", "0"], &given[..]].concat()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oom_lab_runs_on_an_app_on_azure_and_puts_its_settings_back() {
    let mut cloud = Cloud::with(Lab::Oom).await;
    cloud.settings.set("BLOB_BATCH_SIZE", Some("8"));
    cloud.settings.set("MAX_CONCURRENT_INVOCATIONS", Some("10"));
    let before = cloud.settings.all();
    let host = Host::of(&mut cloud).await;
    Workspace::of(host.folder.join("tables")).answer_as(WORKSPACE, &cloud.endpoints);
    let scenario = cloud.scratch.path().join("scenario.toml");
    fs::write(&scenario, SCENARIO).unwrap();
    let arguments = ["--scale", "1/8", "--scenario", scenario.to_str().unwrap()];
    let plan = cloud.plan("oom", &arguments).await;

    let output = cloud.run("oom", &[&arguments[..], &["--json"]].concat()).await;
    let told = String::from_utf8(output.stderr).unwrap();
    let verdict: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {told}"));
    assert_eq!((&verdict["origin"], &verdict["doubts"]), (&json!("azure"), &json!([])), "{verdict:#} {told}");
    assert_eq!(cloud.settings.all(), before);
    assert_eq!(cloud.writes(), 3, "buffering, streaming, and back");
    assert_follows(&plan, &cloud.endpoints.asked());

    let run = cloud.latest("oom");
    let sent = rows(&run.join("manifest.jsonl")).len();
    assert!(sent > 30 && rows(&run.join("results.jsonl")).len() == sent, "every blob was processed in the end");
    let criteria = verdict["criteria"].as_array().unwrap();
    let result = |id: &str| &criteria.iter().find(|it| it["id"] == id).unwrap_or_else(|| panic!("{id}"))["result"];
    for criterion in criteria.iter().filter(|it| it["kind"] == "consistency") {
        let is_of_this_machine = ["consistency.front", "consistency.dispatches", "consistency.kills-counted"];
        let is_missing = criterion["result"] == "missing"
            || criterion["needsOwnRecords"] == true
            || criterion["needs_own_records"] == true;
        let is_excused = is_missing || is_of_this_machine.contains(&criterion["id"].as_str().unwrap());
        assert!(criterion["result"] == "pass" || is_excused, "{criterion:#} {told}");
    }
    assert_ne!(result("consistency.front"), "pass", "no process is seen there");
    assert_verifies("oom", &run, &verdict);
    assert_folder_is_clean(&run);
    assert_no_secret(&run);
}
