//! `lab doctor --app`: a healthy app has no finding; each fault by itself has exactly its own.

use std::process::Output;

use http::Method;
use incident_labs::functions::Lab;
use lab::{
    azure::{Azure, PlannedCall, Site, doctor},
    doctor::{Examination, State},
};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::{
    deployed_app::{APP, DeployedApp, GROUP, WORKSPACE, assert_clean, functions_of},
    harness::LAB,
    scripted_azure::{Reply, SUBSCRIPTION, ScriptedAzure, assert_follows},
};

fn site() -> Site {
    Site { app: APP.to_owned(), resource_group: GROUP.to_owned() }
}

async fn examined(app: DeployedApp) -> Examination {
    let endpoints = ScriptedAzure::start().await;
    app.on(&endpoints);
    doctor::examine(&endpoints.client(), &site(), None, &mut |_| {}).await.unwrap()
}

async fn lab_doctor(endpoints: &ScriptedAzure, arguments: &[&str]) -> Output {
    let mut command = Command::new(&*LAB);
    command.args(["doctor", "--app", APP, "--resource-group", GROUP, "--subscription", SUBSCRIPTION]).args(arguments);
    command.env("INCIDENT_LAB_AZURE", &endpoints.url).output().await.unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What is not well: names of findings, sorted.
fn found(seen: &Examination) -> Vec<&str> {
    let mut ids: Vec<&str> = seen.findings.iter().filter(|it| it.state != State::Ok).map(|it| it.id.as_str()).collect();
    ids.sort_unstable();
    ids
}

#[tokio::test]
async fn nothing_is_found_of_a_healthy_app_and_no_secret_is_told() {
    let endpoints = ScriptedAzure::start().await;
    DeployedApp::healthy().on(&endpoints);
    let output = lab_doctor(&endpoints, &["--json"]).await;
    let (told, said) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{told} {said}");
    let seen: Value = serde_json::from_str(&told).unwrap();
    let findings = seen["findings"].as_array().unwrap();
    assert!(findings.len() > 20 && findings.iter().all(|it| it["state"] == "ok"), "{told}");
    for id in ["operator.blob", "operator.queue", "operator.query", "plane.table", "role.table", "role.telemetry"] {
        assert!(findings.iter().any(|it| it["id"] == id), "{id} was not looked at: {told}");
    }
    assert_clean(&format!("{told}{said}"));
    let rendered = lab_doctor(&endpoints, &[]).await;
    assert_clean(&text(&rendered.stdout));
    assert!(endpoints.asked().iter().all(|it| ["GET", "POST"].contains(&it.method.as_str())), "it changes nothing");
}

#[tokio::test]
async fn its_plan_has_every_request_in_order() {
    let endpoints = ScriptedAzure::start().await;
    DeployedApp::healthy().on(&endpoints);
    let output = lab_doctor(&endpoints, &["--plan", "--json"]).await;
    assert!(output.status.success() && endpoints.asked().is_empty(), "{}", text(&output.stderr));
    assert_clean(&text(&output.stdout));
    assert!(lab_doctor(&endpoints, &[]).await.status.success());
    assert_follows(&plan(&output), &endpoints.asked());
}

/// A plan as the command printed it.
pub(crate) fn plan(output: &Output) -> Vec<PlannedCall> {
    let calls: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let text = |it: &Value| it.as_str().map(str::to_owned);
    let call = |it: &Value| PlannedCall {
        method: text(&it["method"]).unwrap(),
        url: text(&it["url"]).unwrap(),
        body: it.get("body").cloned(),
        why: text(&it["why"]).unwrap(),
        az: text(&it["az"]),
        repeats: it["repeats"] == true,
    };
    calls.iter().map(call).collect()
}

type Fault = (&'static str, fn(&mut Reply), &'static [&'static str]);

fn properties(reply: &mut Reply) -> &mut Value {
    &mut reply.body["properties"]
}

fn drop_role(reply: &mut Reply, id: &str) {
    let listed = reply.body["value"].as_array_mut().unwrap();
    let count = listed.len();
    listed.retain(|it| !it["properties"]["roleDefinitionId"].as_str().unwrap().ends_with(id));
    assert_eq!(listed.len(), count - 1);
}

fn forbidden(reply: &mut Reply) {
    *reply = Reply::error(403, "AuthorizationFailed", "The client does not have authorization.");
}

fn storage_refuses(reply: &mut Reply) {
    *reply = Reply::new(403, Value::Null).header("x-ms-error-code", "AuthorizationPermissionMismatch");
}

fn refuse_plane(reply: &mut Reply, at: usize) {
    let plane = &mut reply.body["planes"][at];
    plane["outcome"] = json!("refused");
    plane["status"] = json!(403);
    plane["code"] = json!("AuthorizationPermissionMismatch");
}

/// Faults of the app, its plan and its host.
const OF_THE_APP: &[Fault] = &[
    ("site", |it| *it = Reply::error(404, "ResourceNotFound", "no"), &["app.exists"]),
    ("site", forbidden, &["operator.read-app"]),
    ("site", |it| properties(it)["state"] = json!("Stopped"), &["app.state"]),
    (
        "site",
        |it| {
            it.body["kind"] = json!("functionapp");
            properties(it)["reserved"] = json!(false);
        },
        &["app.kind"],
    ),
    ("plan", |it| it.body["sku"] = json!({"name": "FC1", "tier": "FlexConsumption"}), &["plan.kind"]),
    ("plan", |it| it.body["sku"] = json!({"name": "Y1", "tier": "Dynamic"}), &["plan.kind"]),
    ("plan", |it| it.body["sku"] = json!({"name": "EP2", "tier": "ElasticPremium"}), &["plan.kind"]),
    ("plan", |it| properties(it)["maximumElasticWorkerCount"] = json!(20), &["scale.plan"]),
    ("plan", |it| *it = Reply::error(404, "ResourceNotFound", "no"), &["plan.kind"]),
    ("configuration", |it| properties(it)["functionAppScaleLimit"] = json!(0), &["scale.limit"]),
    ("configuration", |it| properties(it)["functionAppScaleLimit"] = json!(2), &["scale.limit"]),
    ("configuration", |it| properties(it)["functionAppScaleLimit"] = json!(null), &["scale.limit"]),
    ("configuration", |it| properties(it)["minimumElasticInstanceCount"] = json!(2), &["scale.minimum"]),
    ("configuration", forbidden, &["operator.configuration"]),
    ("host-status", |it| it.body["state"] = json!("Error"), &["host.state"]),
    ("host-status", |it| it.body["errors"] = json!(["403 AuthorizationPermissionMismatch"]), &["host.state"]),
    ("host-status", |it| *it = Reply::error(404, "NotFound", "no"), &["host.state"]),
    ("host-status", |it| it.body["extensionBundle"]["version"] = json!("4.9.0"), &["host.bundle"]),
    ("host-status", |it| it.body["extensionBundle"]["version"] = json!("5.0.0"), &["host.bundle"]),
    ("host-status", |it| it.body["extensionBundle"]["version"] = json!("new"), &["host.bundle"]),
    ("host-status", |it| it.body["extensionBundle"]["id"] = json!("Other"), &["host.bundle"]),
    ("host-status", |it| it.body["extensionBundle"] = json!(null), &["host.bundle"]),
    ("functions", |it| it.body["value"] = json!([]), &["functions.indexed"]),
    ("functions", |it| it.body["value"] = json!([{"name": "labs-app/Other"}]), &["functions.indexed"]),
    ("functions", |it| it.body["value"][0]["properties"]["isDisabled"] = json!(true), &["functions.disabled"]),
    (
        "functions",
        |it| {
            let all = functions_of(Lab::Replay, &it.body["value"][0]);
            it.body["value"] = json!(all.as_array().unwrap()[1..]);
        },
        &["functions.indexed"],
    ),
];

/// Faults of settings, identity and roles.
const OF_ITS_RIGHTS: &[Fault] = &[
    ("settings", forbidden, &["operator.list"]),
    ("settings", |it| properties(it)["BLOB_BATCH_SIZE"] = json!("many"), &["settings.BLOB_BATCH_SIZE"]),
    ("settings", |it| properties(it)["BLOB_BATCH_SIZE"] = json!(""), &["settings.BLOB_BATCH_SIZE"]),
    ("settings", |it| properties(it)["LOG_LEVEL"] = json!("loud"), &["settings.LOG_LEVEL"]),
    (
        "settings",
        |it| properties(it)["AzureWebJobsStorage__clientId"] = json!("00000000-0000-4000-8000-000000000000"),
        &["settings.APPLICATIONINSIGHTS_AUTHENTICATION_STRING", "settings.AzureWebJobsStorage__clientId"],
    ),
    (
        "settings",
        |it| properties(it)["APPLICATIONINSIGHTS_AUTHENTICATION_STRING"] = json!(null),
        &["settings.APPLICATIONINSIGHTS_AUTHENTICATION_STRING"],
    ),
    (
        "settings",
        |it| properties(it)["WEBSITE_CONTENTAZUREFILECONNECTIONSTRING"] = json!(null),
        &["settings.WEBSITE_CONTENTAZUREFILECONNECTIONSTRING"],
    ),
    ("settings", |it| properties(it)["WEBSITE_RUN_FROM_PACKAGE"] = json!("0"), &["settings.WEBSITE_RUN_FROM_PACKAGE"]),
    (
        "settings",
        |it| properties(it)["FUNCTIONS_WORKER_RUNTIME"] = json!("python"),
        &["settings.FUNCTIONS_WORKER_RUNTIME"],
    ),
    ("site", |it| it.body["identity"] = json!(null), &["identity.assigned", "settings.AzureWebJobsStorage__clientId"]),
    ("storage-roles", |it| drop_role(it, "17d1049b-9a84-46fb-8f53-869881c3d3ab"), &["role.account"]),
    ("storage-roles", |it| drop_role(it, "b7e6dc6d-f1e8-4753-8033-0f276bb0955b"), &["role.blob"]),
    ("storage-roles", |it| drop_role(it, "69566ab7-960f-475b-8e7c-b3118f30c6bd"), &["role.file"]),
    ("storage-roles", |it| drop_role(it, "974c5e8b-45b9-4653-ba55-5f855dd0fb88"), &["role.queue"]),
    ("storage-roles", |it| drop_role(it, "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3"), &["role.table"]),
    ("storage-roles", forbidden, &["operator.storage"]),
    ("telemetry-role", |it| it.body["value"] = json!([]), &["role.telemetry"]),
    ("storage-access", |it| refuse_plane(it, 0), &["plane.blob"]),
    ("storage-access", |it| refuse_plane(it, 1), &["plane.file"]),
    ("storage-access", |it| refuse_plane(it, 2), &["plane.queue"]),
    ("storage-access", |it| refuse_plane(it, 3), &["plane.table"]),
    ("storage-access", |it| it.body["planes"][0]["outcome"] = json!("unreachable"), &["plane.blob"]),
    ("storage-access", |it| *it = Reply::new(404, json!(null)), &["plane"]),
    ("storage-access", |it| it.body = json!([1]), &["plane"]),
    ("storage-access", forbidden, &["operator.call", "plane"]),
    ("blob", storage_refuses, &["operator.blob"]),
    ("queue", storage_refuses, &["operator.queue"]),
    ("query", forbidden, &["operator.query"]),
];

/// Faults of telemetry.
const OF_TELEMETRY: &[Fault] = &[
    ("components", |it| it.body["value"] = json!([]), &["insights.component"]),
    ("components", |it| it.body["value"][0]["properties"]["SamplingPercentage"] = json!(50), &["insights.sampling"]),
    ("workspace", |it| properties(it)["workspaceCapping"]["dailyQuotaGb"] = json!(-1), &["workspace.cap"]),
    (
        "workspace",
        |it| properties(it)["workspaceCapping"]["dataIngestionStatus"] = json!("OverQuota"),
        &["workspace.cap"],
    ),
    ("diagnostic-settings", |it| it.body["value"] = json!([]), &["workspace.function-logs"]),
    (
        "diagnostic-settings",
        |it| it.body["value"][0]["properties"]["logs"][0]["enabled"] = json!(false),
        &["workspace.function-logs"],
    ),
];

#[tokio::test]
async fn each_fault_by_itself_is_found_and_nothing_else() {
    for (number, (name, change, want)) in OF_THE_APP.iter().chain(OF_ITS_RIGHTS).chain(OF_TELEMETRY).enumerate() {
        let seen = examined(DeployedApp::healthy().with(name, *change)).await;
        assert_eq!(found(&seen), *want, "fault {number}, of {name}: {:#?}", seen.findings);
        let told = serde_json::to_string(&seen).unwrap();
        assert_clean(&told);
        for finding in seen.findings.iter().filter(|it| it.state == State::Problem) {
            let is_said = finding.mend.is_some() || finding.breaks.is_some();
            assert!(is_said, "{finding:?} says neither what breaks nor what mends it");
        }
    }
}

#[tokio::test]
async fn a_missing_table_role_is_told_in_the_guides_words_and_with_the_command_that_mends_it() {
    let app = DeployedApp::healthy()
        .with("storage-roles", |it| drop_role(it, "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3"))
        .with("functions", |it| it.body["value"] = json!([]))
        .with("storage-access", |it| *it = Reply::new(404, json!(null)))
        .with("query", |it| {
            it.body["tables"][0]["columns"] =
                json!([{"name": "TimeGenerated", "type": "datetime"}, {"name": "Message", "type": "string"}]);
            let line = "Storage access: table refused (403 AuthorizationPermissionMismatch): the app needs Storage Table Data \
                        Contributor";
            let older = "Storage access: table allowed";
            let blob = "Storage access: blob allowed";
            let rows = [(1, older), (2, blob), (2, line)];
            it.body["tables"][0]["rows"] =
                rows.map(|(second, line)| json!([format!("2026-01-01T00:00:0{second}Z"), line])).into_iter().collect();
        });
    let endpoints = ScriptedAzure::start().await;
    app.on(&endpoints);
    let output = lab_doctor(&endpoints, &["--workspace", WORKSPACE]).await;
    let told = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert_clean(&told);
    for want in [
        "problem  role.table",
        "problem  plane.table",
        "problem  functions.indexed",
        "403 AuthorizationPermissionMismatch",
        "indexes no function",
        "Like a replay storm",
        "az role assignment create",
        "--role \"Storage Table Data Contributor\"",
        "--scope \"$(az storage account show --name labsdata --resource-group rg-labs --query id --output tsv)\"",
    ] {
        assert!(told.contains(want), "{want:?} is not in {told}");
    }
}

#[tokio::test]
async fn it_looks_again_until_a_role_has_spread() {
    let endpoints = ScriptedAzure::start().await;
    DeployedApp::healthy().on(&endpoints);
    for _ in 0..2 {
        let mut without = Reply::fixture("doctor/storage-roles");
        drop_role(&mut without, "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3");
        endpoints.once(Method::GET, "/storageAccounts/labsdata/providers/Microsoft.Authorization", without);
    }
    let output = lab_doctor(&endpoints, &["--wait"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    assert!(text(&output.stderr).contains("nothing is refused"), "{}", text(&output.stderr));
    let asked = endpoints.asked();
    assert_eq!(asked.iter().filter(|it| it.url.contains("/labsdata/providers/Microsoft.Authorization")).count(), 3);

    let without = |it: &mut Reply| drop_role(it, "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3");
    let endpoints = ScriptedAzure::start().await;
    DeployedApp::healthy().with("storage-roles", without).on(&endpoints);
    let output = lab_doctor(&endpoints, &["--wait", "1"]).await;
    let said = text(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("still refused after 1 s: role.table"), "{said}");
}

#[tokio::test]
async fn roles_of_the_group_and_the_subscription_count() {
    for scope in
        [format!("/subscriptions/{SUBSCRIPTION}"), format!("/subscriptions/{SUBSCRIPTION}/resourceGroups/RG-LABS")]
    {
        let seen = examined(DeployedApp::healthy().with("storage-roles", |it| {
            for assignment in it.body["value"].as_array_mut().unwrap() {
                assignment["properties"]["scope"] = json!(scope);
            }
        }))
        .await;
        assert_eq!(found(&seen), Vec::<&str>::new());
        assert!(seen.findings.iter().any(|it| it.id == "role.table" && it.seen.ends_with(", inherited")));
        assert_clean(&serde_json::to_string(&seen).unwrap());
    }
}

#[tokio::test]
async fn the_package_of_the_other_lab_is_fine_too() {
    let replay = DeployedApp::healthy().with("functions", |it| {
        it.body["value"] = functions_of(Lab::Replay, &it.body["value"][0]);
    });
    let seen = examined(replay).await;
    assert_eq!(found(&seen), Vec::<&str>::new());
}

#[tokio::test]
async fn a_workspace_of_another_app_and_answers_of_no_sense_are_told() {
    let endpoints = ScriptedAzure::start().await;
    DeployedApp::healthy().on(&endpoints);
    let other = "00000000-0000-4000-8000-000000000000";
    let seen = doctor::examine(&endpoints.client(), &site(), Some(other), &mut |_| {}).await.unwrap();
    assert_eq!(found(&seen), vec!["workspace.id"]);
    // Whatever an answer is, there is an examination.
    for body in
        [json!(null), json!([]), json!("text"), json!({"properties": 5, "value": 7, "identity": [], "tables": {}})]
    {
        let endpoints = ScriptedAzure::start().await;
        endpoints.rule(move |_| Some(Reply::new(200, body.clone())));
        let seen = doctor::examine(&endpoints.client(), &site(), None, &mut |_| {}).await.unwrap();
        assert_eq!(seen.exit_code(), 1, "{:?}", seen.findings);
    }
    let planning = Azure::planning().unwrap();
    doctor::examine(&planning, &site(), None, &mut |_| {}).await.unwrap();
    assert!(planning.plan().calls.len() >= 15, "{}", planning.plan().calls.len());
}

#[tokio::test]
async fn names_that_would_change_a_path_are_refused() {
    for (app, group) in [("a/b", "g"), ("a?b", "g"), ("", "g"), ("a", "../g"), ("a", "g."), ("a", "g/h"), ("a#", "g")] {
        let arguments = ["doctor", "--app", app, "--resource-group", group];
        let output = Command::new(&*LAB).args(arguments).output().await.unwrap();
        assert_eq!(output.status.code(), Some(64), "{app} {group}");
    }
}
