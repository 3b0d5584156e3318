//! The framework's example app, run to its end under `lab start`: as this repository builds it, and as a stranger's crate.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command},
    time::Duration,
};

use custom_handler::{ClientError, DurableClient, Status};
use incident_labs::blob::StorageAccount;
use lab::machine::{
    storage::Storage,
    workspace::{Workspace, kill_processes_of},
};
use serde_json::{Value, json};

use crate::{
    handler::{SOON, http_client},
    harness::{HANDLER, LAB, Scratch, eventually},
    tidy::root,
};

const EXAMPLE: &str = "crates/custom-handler/examples/orders";
/// A build for one run: without what a debugger or the next build would want.
pub(crate) const BUILT_ONCE: [(&str, &str); 2] = [("CARGO_PROFILE_DEV_DEBUG", "0"), ("CARGO_INCREMENTAL", "0")];

/// The script root a host wants: what stands in `functions/` beside `host.json`, and the executable.
fn script_root(scratch: &Scratch, executable: &Path) -> PathBuf {
    let (app, example) = (scratch.path().join("app"), root().join(EXAMPLE));
    fs::create_dir_all(&app).unwrap();
    for file in ["host.json", "local.settings.json"] {
        fs::copy(example.join(file), app.join(file)).unwrap();
    }
    for folder in fs::read_dir(example.join("functions")).unwrap() {
        let folder = folder.unwrap();
        fs::create_dir(app.join(folder.file_name())).unwrap();
        let to = app.join(folder.file_name()).join("function.json");
        fs::copy(folder.path().join("function.json"), to).unwrap();
    }
    fs::copy(executable, app.join("orders")).unwrap();
    app
}

/// `lab start` on a script root.
struct Running {
    child: Child,
    folder: PathBuf,
    base: String,
    http: reqwest::Client,
}

impl Running {
    async fn start(scratch: &Scratch, app: &Path) -> Self {
        let folder = scratch.path().join("run");
        fs::create_dir_all(&folder).unwrap();
        let log = folder.join("lab.log");
        let out = File::create(&log).unwrap();
        let mut child = Command::new(&*LAB)
            .args(["start", "--script-root"])
            .arg(app)
            .arg("--folder")
            .arg(&folder)
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .spawn()
            .unwrap();
        let base = eventually(Duration::from_secs(60), async || {
            let text = fs::read_to_string(&log).unwrap();
            assert!(child.try_wait().unwrap().is_none(), "lab start ended: {text}");
            let line = text.lines().find_map(|it| it.trim().strip_prefix("durable"))?.trim().to_owned();
            text.contains("stop     Ctrl-C").then(|| line.trim_end_matches("/runtime/webhooks/durabletask").to_owned())
        })
        .await;
        Self { child, folder: folder.canonicalize().unwrap(), base, http: http_client() }
    }

    fn client(&self) -> DurableClient {
        DurableClient::new(&format!("{}/runtime/webhooks/durabletask", self.base), "")
    }

    /// Places an order and gives the instance's id.
    async fn order(&self, order: Value) -> String {
        let request = self.http.post(format!("{}/api/orders", self.base)).body(order.to_string());
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 202, "{answer:?}");
        let body: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        body["id"].as_str().unwrap().to_owned()
    }

    async fn until(&self, id: &str, is_so: impl Fn(&Status) -> bool) -> Status {
        let client = self.client();
        eventually(SOON, async || client.status(id).await.unwrap().filter(|it| is_so(it))).await
    }

    async fn output(&self, id: &str) -> Value {
        self.until(id, |it| it.runtime_status == "Completed").await.output
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("lab.log")).unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        kill_processes_of(&self.folder);
    }
}

fn example() -> PathBuf {
    let built = Path::new(HANDLER).with_file_name("examples").join("orders");
    assert!(built.is_file(), "{} is missing: run `cargo test` for the whole workspace", built.display());
    built
}

/// An order from its start to its delivery: a failed attempt and its retry, an event, a child with a timer.
async fn is_delivered(app: &Running) {
    let id = app.order(json!({ "item": "lamp", "quantity": 2 })).await;
    app.until(&id, |it| it.custom_status == "waiting for the payment").await;
    app.client().raise_event(&id, "Paid", &json!({})).await.unwrap();
    assert_eq!(app.output(&id).await, json!({ "state": "delivered", "weight_g": 500 }));
}

#[tokio::test]
async fn the_example_runs_to_its_end_under_lab_start() {
    let scratch = Scratch::new();
    let app = Running::start(&scratch, &script_root(&scratch, &example())).await;
    is_delivered(&app).await;

    // Type and flag of an activity's error decide: no retry, and a branch of its own.
    let id = app.order(json!({ "item": "lamp", "quantity": 101 })).await;
    assert_eq!(app.output(&id).await, json!({ "state": "soldOut" }));
    eventually(SOON, async || app.log().contains("there are no 101 of lamp").then_some(())).await;

    let id = app.order(json!({ "item": "lamp", "quantity": 1, "pay_within_s": 1 })).await;
    assert_eq!(app.output(&id).await, json!({ "state": "notPaid" }));

    let [blob, queue, _] = Workspace::ports_of(&app.folder).unwrap();
    let storage = Storage::open(&StorageAccount::emulator(blob, queue).unwrap()).unwrap();
    storage.put("invoices", "2026/a.txt", b"abc".to_vec(), None).await.unwrap();
    eventually(SOON, async || app.log().contains("invoice 2026/a.txt: 3 bytes").then_some(())).await;
}

#[tokio::test]
async fn the_client_manages_instances() {
    let scratch = Scratch::new();
    let app = Running::start(&scratch, &script_root(&scratch, &example())).await;
    let client = app.client();
    let order = json!({ "item": "desk", "quantity": 1 });
    let id = client.start("Fulfil", Some("order 7"), &order).await.unwrap();
    assert_eq!(id, "order 7");
    let status = app.until(&id, |it| it.custom_status == "waiting for the payment").await;
    assert_eq!((status.name.as_str(), &status.input["item"]), ("Fulfil", &json!("desk")));

    client.suspend(&id, "stock-taking & co").await.unwrap();
    app.until(&id, |it| it.runtime_status == "Suspended").await;
    client.resume(&id, "done").await.unwrap();
    app.until(&id, |it| it.runtime_status == "Running").await;
    client.terminate(&id, "cancelled").await.unwrap();
    let status = app.until(&id, |it| it.runtime_status == "Terminated").await;
    assert_eq!(status.output, json!("cancelled"));
    let refused = client.raise_event(&id, "Paid", &json!({})).await.unwrap_err();
    assert!(matches!(refused, ClientError::Refused { status, .. } if status == 410), "{refused}");

    assert!(client.purge(&id).await.unwrap());
    assert!(!client.purge(&id).await.unwrap());
    assert!(client.status(&id).await.unwrap().is_none());
    let made_up = client.start("Deliver", None, &json!({ "item": "desk", "quantity": 1 })).await.unwrap();
    assert_eq!(app.output(&made_up).await, json!({ "weight_g": 250 }));
}

#[tokio::test]
async fn folders_and_functions_that_do_not_match_are_named() {
    let scratch = Scratch::new();
    let root = script_root(&scratch, &example());
    fs::remove_dir_all(root.join("NoteInvoice")).unwrap();
    fs::create_dir(root.join("Resrve")).unwrap();
    fs::copy(root.join("Reserve/function.json"), root.join("Resrve/function.json")).unwrap();
    let app = Running::start(&scratch, &root).await;
    eventually(SOON, async || app.log().contains("function NoteInvoice is not in this app").then_some(())).await;
    let told = "folder Resrve has a function.json and no function: this handler has Deliver, Fulfil, ";
    eventually(SOON, async || app.log().contains(told).then_some(())).await;
    let traces = fs::read_to_string(app.folder.join("tables/traces.jsonl")).unwrap();
    let severity = |text: &str| {
        let row = traces.lines().find(|it| it.contains(text)).unwrap();
        serde_json::from_str::<Value>(row).unwrap()["severityLevel"].clone()
    };
    assert_eq!((severity("NoteInvoice is not in"), severity("folder Resrve has")), (json!(1), json!(3)));
    is_delivered(&app).await;
}

/// A crate elsewhere, whose only path dependency is the framework.
#[tokio::test]
async fn a_strangers_crate_builds_and_runs_the_example() {
    let scratch = Scratch::new();
    let stranger = scratch.path().join("orders");
    fs::create_dir_all(stranger.join("src")).unwrap();
    let manifest = format!(
        "[package]\nname = \"orders\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[dependencies]\n\
         custom-handler = {{ path = {:?} }}\nserde = {{ version = \"1\", features = [\"derive\"] }}\nserde_json = \"1\"\n\
         tokio = {{ version = \"1\", features = [\"macros\", \"rt-multi-thread\"] }}\n\n[workspace]\n",
        root().join("crates/custom-handler")
    );
    fs::write(stranger.join("Cargo.toml"), manifest).unwrap();
    // The versions that are here already: nothing is fetched.
    fs::copy(root().join("Cargo.lock"), stranger.join("Cargo.lock")).unwrap();
    fs::copy(root().join(EXAMPLE).join("main.rs"), stranger.join("src/main.rs")).unwrap();
    let target = Path::new(HANDLER).ancestors().nth(2).unwrap().join("stranger");
    let build = Command::new(env!("CARGO"))
        .args(["build", "--offline", "--quiet", "--target-dir"])
        .arg(&target)
        .envs(BUILT_ONCE)
        .current_dir(&stranger)
        .output()
        .unwrap();
    assert!(build.status.success(), "{}", String::from_utf8_lossy(&build.stderr));

    let app = Running::start(&scratch, &script_root(&scratch, &target.join("debug/orders"))).await;
    is_delivered(&app).await;
}
