//! `lab deploy` and `lab clean --resource-group`: each step as the `az` command it stands for, and nothing that was not asked for.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Output,
    time::Duration,
};

use http::Method;
use incident_labs::settings::process_environment;
use lab::app::{
    AppSource,
    package::{PACKAGES, package},
};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::{
    azure_doctor::plan,
    deployed_app::{DeployedApp, GROUP, assert_clean},
    harness::{LAB, Scratch, eventually},
    package::static_handler,
    scripted_azure::{Reply, SUBSCRIPTION, ScriptedAzure, assert_follows},
};

/// What `az bicep build` makes, as far as anything here looks at it.
const TEMPLATE: &str = r#"{"$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#", "resources": []}"#;

/// A folder with a package, and with an `az` that knows `bicep build` alone.
pub(crate) struct Desk {
    pub(crate) scratch: Scratch,
}

impl Desk {
    pub(crate) fn new() -> Self {
        let scratch = Scratch::new();
        let desk = Self { scratch };
        let bin = desk.path("bin");
        fs::create_dir(&bin).unwrap();
        let script = format!("#!/bin/sh\n[ \"$1 $2\" = 'bicep build' ] || exit 9\ncat <<'END'\n{TEMPLATE}\nEND\n");
        fs::write(bin.join("az"), script).unwrap();
        fs::set_permissions(bin.join("az"), fs::Permissions::from_mode(0o755)).unwrap();
        desk
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    pub(crate) fn zip(&self, of: usize) -> PathBuf {
        let handler = static_handler(&self.scratch);
        package(&PACKAGES[of], &AppSource::carried(), &handler, &self.path("zips")).unwrap().path
    }

    fn lab(&self, endpoints: &ScriptedAzure, arguments: &[&str]) -> Command {
        let mut command = Command::new(&*LAB);
        let path = &process_environment()["PATH"];
        command.args(arguments).args(["--subscription", SUBSCRIPTION]).env("INCIDENT_LAB_AZURE", &endpoints.url);
        command.env("PATH", format!("{}:{path}", self.path("bin").display())).kill_on_drop(true);
        command
    }

    async fn deploy(&self, endpoints: &ScriptedAzure, zip: &Path, more: &[&str]) -> Output {
        let zip = zip.to_str().unwrap();
        let arguments = ["deploy", "--resource-group", GROUP, "--allowed-addresses", "203.0.113.7/32", "--zip", zip];
        self.lab(endpoints, &[&arguments[..], more].concat()).output().await.unwrap()
    }
}

/// Endpoints where a deployment succeeds; the app is healthy afterwards.
pub(crate) async fn ready(app: DeployedApp) -> ScriptedAzure {
    let endpoints = ScriptedAzure::start().await;
    app.on(&endpoints);
    let fixture = |name: &str| Reply::fixture(&format!("deploy/{name}"));
    endpoints.on(Method::GET, "prices.azure.com", Reply::fixture("prices"));
    endpoints.on(Method::GET, "graph.microsoft.com/v1.0/me", fixture("me"));
    endpoints.on(Method::PUT, "/resourceGroups/rg-labs?", fixture("group-created"));
    endpoints.on(Method::GET, "/resourceGroups/rg-labs?", fixture("group"));
    endpoints.on(Method::PUT, "/deployments/labs?", fixture("deployment-accepted"));
    endpoints.on(Method::GET, "/deployments/labs?", fixture("outputs"));
    endpoints.on(Method::GET, "/operationStatuses/", fixture("operation"));
    endpoints.on(Method::POST, "labs-app.scm.azurewebsites.net/api/zipdeploy?isAsync=true", fixture("push-accepted"));
    endpoints.on(Method::GET, "labs-app.scm.azurewebsites.net/api/deployments/latest", fixture("pushed"));
    endpoints.on(Method::PUT, "/config/appsettings?", fixture("settings-written"));
    endpoints.on(Method::GET, "/resourceGroups/rg-labs/resources?", fixture("resources"));
    endpoints.on(Method::DELETE, "/resourceGroups/rg-labs?", fixture("group-deleted"));
    endpoints.on(Method::GET, "/operationresults/", Reply::new(200, Value::Null));
    endpoints
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn everything(output: &Output) -> String {
    text(&output.stdout) + &text(&output.stderr)
}

#[tokio::test]
async fn it_says_the_cost_and_then_each_step_as_its_az_command() {
    let (desk, endpoints) = (Desk::new(), ready(DeployedApp::healthy()).await);
    endpoints.once(Method::GET, "/resourceGroups/rg-labs?", Reply::error(404, "ResourceGroupNotFound", "no"));
    endpoints.once(Method::GET, "/api/deployments/latest", Reply::new(200, json!({"status": 1, "complete": false})));
    let output = desk.deploy(&endpoints, &desk.zip(0), &[]).await;
    let told = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{}", everything(&output));
    assert_clean(&everything(&output));
    let mut rest = told.as_str();
    for want in [
        "Cost: an EP1 instance in koreacentral is 0.235 USD an hour",
        "1/6  look into the package",
        "2/6  create the resource group\n     $ az group create --name rg-labs --location koreacentral",
        "3/6  deploy the template\n     $ az deployment group create --resource-group rg-labs --name labs",
        "4/6  push the package\n     $ az functionapp deployment source config-zip --name labs-app",
        "5/6  set the preset, and keep the other settings\n     $ az functionapp config appsettings set --name labs-app",
        "6/6  examine the app\n     $ cargo lab doctor --app labs-app --resource-group rg-labs",
        "ok       role.table",
        "It bills until: cargo lab clean --resource-group rg-labs",
    ] {
        let at = rest.find(want).unwrap_or_else(|| panic!("{want:?} does not follow in {told}"));
        rest = &rest[at + want.len()..];
    }
    let asked = endpoints.asked();
    let sent = |method: &str, part: &str| asked.iter().find(|it| it.method == method && it.url.contains(part)).cloned();
    let template = sent("PUT", "/deployments/labs").unwrap().body;
    let parameters = &template["properties"]["parameters"];
    assert_eq!(parameters["allowedAddresses"]["value"], json!(["203.0.113.7/32"]));
    assert_eq!(parameters["operatorPrincipalId"]["value"], "55555555-aaaa-4bbb-8ccc-00000000000e");
    assert_eq!(template["properties"]["template"], serde_json::from_str::<Value>(TEMPLATE).unwrap());
    assert!(sent("POST", "/api/zipdeploy").unwrap().bytes > 500);
    assert!(
        sent("PUT", "/config/appsettings?").is_none(),
        "settings that are right are not written: a write restarts the app"
    );
}

#[tokio::test]
async fn settings_are_merged_into_those_that_are_there() {
    let (desk, endpoints) = (Desk::new(), ready(DeployedApp::healthy()).await);
    let output = desk.deploy(&endpoints, &desk.zip(1), &["--package", "oom-streaming"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", everything(&output));
    let asked = endpoints.asked();
    let written = &asked.iter().find(|it| it.method == "PUT" && it.url.contains("/config/appsettings?")).unwrap().body;
    let mut want = Reply::fixture("doctor/settings").body["properties"].clone();
    want["BLOB_BATCH_SIZE"] = json!("8");
    want["MAX_CONCURRENT_INVOCATIONS"] = json!("12");
    assert_eq!(written["properties"], want, "a PUT replaces all settings");
    assert_clean(&everything(&output));
}

#[tokio::test]
async fn its_plan_has_every_request_in_order() {
    let desk = Desk::new();
    for (of, name, is_new) in [(0, "oom-buffering", true), (1, "oom-streaming", false), (2, "replay", false)] {
        let endpoints = ready(DeployedApp::healthy()).await;
        let zip = desk.zip(of);
        let planned = desk.deploy(&endpoints, &zip, &["--package", name, "--plan", "--json"]).await;
        assert!(planned.status.success() && endpoints.asked().is_empty(), "{}", everything(&planned));
        assert_clean(&everything(&planned));
        if is_new {
            endpoints.once(Method::GET, "/resourceGroups/rg-labs?", Reply::error(404, "ResourceGroupNotFound", "no"));
        }
        let done = desk.deploy(&endpoints, &zip, &["--package", name]).await;
        assert_eq!(done.status.code(), Some(0), "{}", everything(&done));
        assert_follows(&plan(&planned), &endpoints.asked());
    }
}

#[tokio::test]
async fn a_package_that_would_not_run_is_refused_before_anything_begins() {
    let (desk, endpoints) = (Desk::new(), ready(DeployedApp::healthy()).await);
    let zip = desk.path("broken.zip");
    fs::write(&zip, "no zip").unwrap();
    let output = desk.deploy(&endpoints, &zip, &[]).await;
    assert!(!output.status.success());
    assert!(endpoints.asked().iter().all(|it| it.method == "GET"), "{:?}", endpoints.asked());
}

#[tokio::test]
async fn a_step_that_fails_says_what_was_done_and_what_was_not() {
    let (desk, endpoints) = (Desk::new(), ready(DeployedApp::healthy()).await);
    let failed = json!({"status": "Failed", "error": {"code": "DeploymentFailed", "message": "no quota for EP1"}});
    endpoints.on(Method::GET, "/operationStatuses/", Reply::new(200, failed));
    let output = desk.deploy(&endpoints, &desk.zip(0), &[]).await;
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    for want in [
        "done: package, resource group; under way: template; not done: push, settings, doctor",
        "az deployment operation group list --resource-group rg-labs --name labs",
        "DeploymentFailed: no quota for EP1",
        "cargo lab clean --resource-group rg-labs",
    ] {
        assert!(said.contains(want), "{want:?} is not in {said}");
    }
    let failed = json!({"status": 3, "status_text": "the zip is broken"});
    let endpoints = ready(DeployedApp::healthy()).await;
    endpoints.on(Method::GET, "/api/deployments/latest", Reply::new(200, failed));
    let output = desk.deploy(&endpoints, &desk.zip(0), &[]).await;
    let said = text(&output.stderr);
    assert!(
        output.status.code() == Some(3) && said.contains("the zip is broken") && said.contains("under way: push"),
        "{said}"
    );
}

#[tokio::test]
async fn interrupted_it_says_what_goes_on_without_it() {
    let (desk, endpoints) = (Desk::new(), ready(DeployedApp::healthy()).await);
    endpoints.on(Method::GET, "/operationStatuses/", Reply::new(200, json!({"status": "Running"})));
    let zip = desk.zip(0);
    let arguments =
        ["deploy", "--resource-group", GROUP, "--allowed-addresses", "203.0.113.7/32", "--zip", zip.to_str().unwrap()];
    let mut command = desk.lab(&endpoints, &arguments);
    let child = command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let is_waiting = async || endpoints.asked().iter().any(|it| it.url.contains("/operationStatuses/")).then_some(());
    eventually(Duration::from_secs(60), is_waiting).await;
    let process = rustix::process::Pid::from_raw(child.id().unwrap().try_into().unwrap()).unwrap();
    rustix::process::kill_process(process, rustix::process::Signal::INT).unwrap();
    let output = child.wait_with_output().await.unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    for want in
        ["done: package, resource group", "under way: template", "az deployment group cancel", "error: interrupted"]
    {
        assert!(said.contains(want), "{want:?} is not in {said}");
    }
}

#[tokio::test]
async fn an_az_that_is_not_there_or_fails_is_named() {
    let (desk, endpoints) = (Desk::new(), ready(DeployedApp::healthy()).await);
    fs::write(desk.path("bin/az"), "#!/bin/sh\necho 'bicep is broken' >&2\nexit 1\n").unwrap();
    let output = desk.deploy(&endpoints, &desk.zip(0), &[]).await;
    let said = text(&output.stderr);
    assert!(
        output.status.code() == Some(3) && said.contains("az bicep build") && said.contains("bicep is broken"),
        "{said}"
    );

    let template = desk.path("main.json");
    fs::write(&template, TEMPLATE).unwrap();
    let output = desk.deploy(&endpoints, &desk.zip(0), &["--template", template.to_str().unwrap()]).await;
    assert_eq!(output.status.code(), Some(0), "{}", everything(&output));
}

#[tokio::test]
async fn what_would_change_a_request_is_refused() {
    let (desk, endpoints) = (Desk::new(), ready(DeployedApp::healthy()).await);
    for arguments in [
        vec!["deploy", "--resource-group", "a/b", "--allowed-addresses", "1.2.3.4/32"],
        vec!["deploy", "--resource-group", "g"],
        vec!["deploy", "--resource-group", "g", "--allowed-addresses", "1.2.3.4"],
        vec!["deploy", "--resource-group", "g", "--allowed-addresses", "1.2.3.4/33"],
        vec!["deploy", "--resource-group", "g", "--allowed-addresses", "everyone/0"],
        vec!["deploy", "--resource-group", "g", "--allowed-addresses", "1.2.3.4/32", "--location", "korea central"],
        vec!["deploy", "--resource-group", "g", "--allowed-addresses", "1.2.3.4/32", "--package", "other"],
        vec!["clean", "--resource-group", "g/../h"],
    ] {
        let output = desk.lab(&endpoints, &arguments).output().await.unwrap();
        assert_eq!(output.status.code(), Some(64), "{arguments:?}: {}", everything(&output));
    }
    assert!(endpoints.asked().is_empty());
}

#[tokio::test]
async fn a_group_is_listed_and_deleted_with_a_word() {
    let (desk, endpoints) = (Desk::new(), ready(DeployedApp::healthy()).await);
    let clean = ["clean", "--resource-group", GROUP];
    let output = desk.lab(&endpoints, &clean).output().await.unwrap();
    assert!(output.status.code() == Some(64) && everything(&output).contains("give --yes"), "{}", everything(&output));
    assert!(endpoints.asked().iter().all(|it| it.method == "GET"), "nothing is deleted unasked");

    let planned = desk.lab(&endpoints, &[&clean[..], &["--plan", "--json"]].concat()).output().await.unwrap();
    let before = endpoints.asked().len();
    let output = desk.lab(&endpoints, &[&clean[..], &["--yes"]].concat()).output().await.unwrap();
    let told = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{}", everything(&output));
    assert_clean(&everything(&output));
    for want in [
        "rg-labs, in koreacentral, made by `cargo lab deploy`:",
        "incidentlabs-abcdefghij123  Microsoft.Web/sites, since 2026-01-02",
        "microsoft.insights/components, since unknown",
        "$ az group delete --name rg-labs",
        "rg-labs is deleted, and bills no more",
    ] {
        assert!(told.contains(want), "{want:?} is not in {told}");
    }
    assert_follows(&plan(&planned), &endpoints.asked()[before..]);
}

#[tokio::test]
async fn a_group_with_other_things_takes_a_further_word() {
    let (desk, endpoints) = (Desk::new(), ready(DeployedApp::healthy()).await);
    let mut listed = Reply::fixture("deploy/resources");
    let other = json!({"name": "shop", "type": "Microsoft.Sql/servers", "createdTime": "2020-01-01T00:00:00Z"});
    listed.body["value"].as_array_mut().unwrap().push(other);
    endpoints.on(Method::GET, "/resourceGroups/rg-labs/resources?", listed);
    let clean = ["clean", "--resource-group", GROUP, "--yes"];
    let output = desk.lab(&endpoints, &clean).output().await.unwrap();
    let said = everything(&output);
    assert!(output.status.code() == Some(64) && said.contains("shop") && said.contains("--with-others"), "{said}");
    assert!(endpoints.asked().iter().all(|it| it.method == "GET"));
    let output = desk.lab(&endpoints, &[&clean[..], &["--with-others"]].concat()).output().await.unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", everything(&output));

    endpoints.on(Method::GET, "/resourceGroups/rg-labs?", Reply::error(404, "ResourceGroupNotFound", "no"));
    let output = desk.lab(&endpoints, &clean).output().await.unwrap();
    assert!(output.status.code() == Some(0) && text(&output.stdout).contains("there is no resource group"));
}
