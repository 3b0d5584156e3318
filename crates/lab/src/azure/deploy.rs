//! From a template and a package to a running app: the steps of `lab deploy`, each by itself.

use std::{collections::BTreeMap, path::Path, time::Duration};

use http::Method;
use serde_json::{Map, Value, json};

use super::{
    call::{Body, Call},
    client::Azure,
    doctor::settings::{AppSettings, Change, list_call},
    error::AzureError,
    site::{Site, group_path},
};

/// Name of the deployment, in every resource group.
pub const DEPLOYMENT: &str = "labs";
/// Version of the interface for resource groups, and of the one for deployments.
pub(super) const GROUPS: &str = "2021-04-01";
/// Tag of a group that the lab made.
pub(super) const TAG: (&str, &str) = ("made-by", "functions-incident-labs");
/// A package is a few MB, and nothing is built.
const PUSH: Duration = Duration::from_secs(10 * 60);

/// What a template is deployed with.
#[derive(Clone, Debug)]
pub struct Parameters {
    pub location: Option<String>,
    /// `buffering` or `streaming`.
    pub preset: &'static str,
    /// Object id of the user who sends the load; empty for none.
    pub operator: String,
    /// Ranges that may call the HTTP functions.
    pub allowed_addresses: Vec<String>,
    /// GB of telemetry a day.
    pub daily_quota_gb: u32,
}

/// What the template's outputs say.
#[derive(Clone, Debug, PartialEq)]
pub struct Outputs {
    pub app: String,
    /// Of the workspace: `customerId`.
    pub workspace: String,
    /// Account of the data.
    pub account: String,
}

/// Reads where a resource group is; nothing where there is none.
///
/// # Errors
/// When Azure refuses or is away.
pub async fn location(azure: &Azure, group: &str) -> Result<Option<String>, AzureError> {
    let found = read_group(azure, group, "see whether the resource group is there").await?;
    Ok(found.map(|it| it["location"].as_str().unwrap_or_default().to_owned()))
}

/// Reads a resource group; nothing where there is none (Resource Groups - Get).
pub(super) async fn read_group(azure: &Azure, group: &str, why: &str) -> Result<Option<Value>, AzureError> {
    let call = Call::management(Method::GET, format_args!("{}?api-version={GROUPS}", group_path(group)), why)
        .az(format!("az group show --name {group}"))
        .planned(json!({"location": "{region}"}));
    match azure.send(&call).await {
        Ok(answer) => Ok(Some(answer.body)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes a resource group where there is none. One that is there would lose its tags: it is left as it is.
///
/// # Errors
/// When Azure refuses or is away.
pub async fn ensure_group(azure: &Azure, group: &str, is_there: bool, location: &str) -> Result<(), AzureError> {
    let call = create_group(group, location);
    if azure.is_planning() {
        azure.note(call.shown(true));
    } else if !is_there {
        azure.send(&call).await?;
    }
    Ok(())
}

/// Makes a resource group (Resource Groups - Create Or Update).
pub fn create_group(group: &str, location: &str) -> Call {
    let url = format!("{}?api-version={GROUPS}", group_path(group));
    Call::management(Method::PUT, url, "create the resource group")
        .az(format!("az group create --name {group} --location {location} --tags {}={}", TAG.0, TAG.1))
        .body(Body::Json(json!({"location": location, "tags": {TAG.0: TAG.1}})))
}

/// Reads who is signed in (Microsoft Graph, Get a user). Only a user has an answer.
///
/// # Errors
/// When Graph refuses or is away, or an application is signed in.
pub async fn signed_in_user(azure: &Azure) -> Result<String, AzureError> {
    let call = Call::graph(Method::GET, "/v1.0/me?$select=id", "read your object id")
        .az("az ad signed-in-user show --query id --output tsv")
        .planned(json!({"id": "{your object id}"}));
    let answer = azure.send(&call).await?;
    required(&call, &answer.body["id"], "id")
}

/// Deploys the template into a group (Deployments - Create Or Update). `template` is what `az bicep build` makes.
pub fn template_call(group: &str, template: Value, parameters: &Parameters) -> Call {
    let mut values = Map::new();
    let mut set = |name: &str, value: Value| values.insert(name.to_owned(), json!({"value": value}));
    set("preset", json!(parameters.preset));
    set("operatorPrincipalId", json!(parameters.operator));
    set("allowedAddresses", json!(parameters.allowed_addresses));
    set("dailyQuotaGb", json!(parameters.daily_quota_gb));
    let mut az = format!(
        "az deployment group create --resource-group {group} --name {DEPLOYMENT} --template-file infra/main.bicep --parameters \
         preset={} operatorPrincipalId={} allowedAddresses='{}' dailyQuotaGb={}",
        parameters.preset,
        parameters.operator,
        json!(parameters.allowed_addresses),
        parameters.daily_quota_gb
    );
    if let Some(location) = &parameters.location {
        set("location", json!(location));
        az += &format!(" location={location}");
    }
    let properties = json!({"mode": "Incremental", "template": template, "parameters": values});
    Call::management(Method::PUT, deployment_path(group), "deploy the template")
        .az(az)
        .body(Body::Json(json!({"properties": properties})))
        .long_running()
}

fn deployment_path(group: &str) -> String {
    format!("{}/providers/Microsoft.Resources/deployments/{DEPLOYMENT}?api-version={GROUPS}", group_path(group))
}

/// Reads what the deployment gave (Deployments - Get).
///
/// # Errors
/// When Azure refuses or is away, or an output is missing.
pub async fn outputs(azure: &Azure, group: &str) -> Result<Outputs, AzureError> {
    let output = |value: &str| json!({"type": "String", "value": value});
    let call = Call::management(Method::GET, deployment_path(group), "read the deployment's outputs")
        .az(format!("az deployment group show --resource-group {group} --name {DEPLOYMENT} --query properties.outputs"))
        .planned(json!({"properties": {"outputs": {
            "appName": output("{app}"),
            "workspaceCustomerId": output("{workspaceId}"),
            "dataAccountName": output("{account}"),
        }}}));
    let answer = azure.send(&call).await?;
    let outputs = &answer.body["properties"]["outputs"];
    let text = |name: &str| required(&call, &outputs[name]["value"], name);
    Ok(Outputs { app: text("appName")?, workspace: text("workspaceCustomerId")?, account: text("dataAccountName")? })
}

fn required(call: &Call, value: &Value, field: &str) -> Result<String, AzureError> {
    let text = value.as_str().filter(|it| !it.is_empty());
    text.map(str::to_owned).ok_or_else(|| AzureError::Incomplete { why: call.why.clone(), field: field.to_owned() })
}

/// Pushes a package: `az` does the same. `POST /api/zipdeploy?isAsync=true` (Kudu, Deploying from a zip file).
pub fn push_call(site: &Site, zip: &Path) -> Call {
    let url = format!("https://{}.scm.azurewebsites.net/api/zipdeploy?isAsync=true", site.app);
    Call::deployment(Method::POST, url, "push the package")
        .az(format!("{} --src {}", site.az("deployment source config-zip"), zip.display()))
        .body(Body::File(zip.to_owned()))
}

/// Pushes a package and waits until it is deployed: `status` 4 of `GET /api/deployments/latest`; 3 is a failure.
///
/// # Errors
/// When the deployment site refuses, is away, or reports a failure.
pub async fn push(azure: &Azure, site: &Site, zip: &Path) -> Result<(), AzureError> {
    azure.send(&push_call(site, zip)).await?;
    let url = format!("https://{}.scm.azurewebsites.net/api/deployments/latest", site.app);
    let ask = Call::deployment(Method::GET, url, "see whether the package is deployed").planned(json!({"status": 4}));
    // While the site restarts there is no answer, or none of sense.
    let is_over = |answer: &Result<super::Answer, AzureError>| match answer {
        Ok(answer) => matches!(answer.body["status"].as_u64(), Some(3 | 4)),
        Err(error) => error.is_forbidden(),
    };
    let answer = azure.wait(&ask, PUSH, is_over).await?;
    if answer.body["status"] == 3 {
        let message =
            azure.scrubbed(answer.body["status_text"].as_str().unwrap_or("the log is at /api/deployments/latest/log"));
        let why = "push the package".to_owned();
        return Err(AzureError::Failed { why, state: "Failed".to_owned(), code: String::new(), message });
    }
    Ok(())
}

/// The write of settings: all of them, as a PUT replaces what is there (Web Apps - Update Application Settings).
fn write_call(site: &Site, all: &BTreeMap<String, String>, changes: &[Change]) -> Call {
    let call = site.call(Method::PUT, "/config/appsettings", "write the settings");
    call.az(az_of(site, changes).join("; ")).body(Body::Json(json!({"properties": all})))
}

/// The `az` commands that make changes.
pub fn az_of(site: &Site, changes: &[Change]) -> Vec<String> {
    let set: Vec<String> =
        changes.iter().filter_map(|(name, value)| Some(format!("{name}={}", value.as_ref()?))).collect();
    let gone: Vec<&str> = changes.iter().filter(|it| it.1.is_none()).map(|it| it.0.as_str()).collect();
    let command = |what: &str, names: &str| format!("{} {names}", site.az(&format!("config appsettings {what}")));
    let mut commands = Vec::new();
    if !set.is_empty() {
        commands.push(command("set", &format!("--settings {}", set.join(" "))));
    }
    if !gone.is_empty() {
        commands.push(command("delete", &format!("--setting-names {}", gone.join(" "))));
    }
    commands
}

/// Sets app settings and keeps the others. Gives whether it wrote.
///
/// # Errors
/// As [`change`].
pub async fn set(azure: &Azure, site: &Site, changes: &[(String, String)]) -> Result<bool, AzureError> {
    let changes: Vec<Change> = changes.iter().cloned().map(|(name, value)| (name, Some(value))).collect();
    change(azure, site, &changes, |_| ()).await
}

/// Changes app settings and keeps the others: reads, merges, writes back. Writes nothing where nothing changes, because a write restarts
/// the app. `before_writing` is given what undoes the changes. Gives whether it wrote.
///
/// # Errors
/// When Azure refuses or is away.
pub async fn change(
    azure: &Azure,
    site: &Site,
    changes: &[Change],
    before_writing: impl FnOnce(Vec<Change>),
) -> Result<bool, AzureError> {
    let call = list_call(site);
    let answer = azure.send(&call).await?;
    if azure.is_planning() {
        let mut all = BTreeMap::from([("{every setting as it was read}".to_owned(), "{its value}".to_owned())]);
        all.extend(changes.iter().filter_map(|(name, value)| Some((name.clone(), value.clone()?))));
        before_writing(changes.iter().map(|it| (it.0.clone(), Some("{its value}".to_owned()))).collect());
        azure.note(write_call(site, &all, changes).shown(true));
        return Ok(true);
    }
    // Without them a write would take all settings away.
    if !answer.body["properties"].is_object() {
        return Err(AzureError::Incomplete { why: call.why, field: "properties".to_owned() });
    }
    let mut all = AppSettings::of(&answer.body);
    let undoing = all.undoing(changes);
    if !all.merge(changes) {
        return Ok(false);
    }
    before_writing(undoing);
    azure.send(&write_call(site, all.all(), changes)).await?;
    Ok(true)
}
