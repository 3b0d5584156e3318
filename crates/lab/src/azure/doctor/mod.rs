//! Examines a deployed app: what Resource Manager says of it, what its handler says of storage, and what the operator may do.
//!
//! The data planes are tried inside the app, with the app's identity. From here only the operator's own rights are tried, and those
//! findings are named `operator.*`.

mod app;
mod inside;
mod operator;
mod roles;
pub mod settings;
mod telemetry;

use http::Method;
use serde_json::{Value, json};

use super::{
    call::Call,
    client::Azure,
    error::AzureError,
    site::{Site, WEB, last},
};
use crate::doctor::{Examination, Finding, State, planes::assign};

pub use roles::{METRICS_PUBLISHER, Role, STORAGE_ROLES};

/// Names of the labs, for [`Finding::hinders`].
const BOTH: &[&str] = &["oom", "replay"];
const OOM: &[&str] = &["oom"];
const REPLAY: &[&str] = &["replay"];

/// Object id of who is signed in, as the shell finds it.
const YOURSELF: &str = "\"$(az ad signed-in-user show --query id --output tsv)\"";

/// What one examination has of its own.
struct Examiner<'a> {
    azure: &'a Azure,
    site: &'a Site,
    seen: Examination,
    /// Told what is looked at.
    tell: &'a mut dyn FnMut(&str),
}

/// Looks at everything once. `workspace` is a workspace's id (`customerId`), or taken from Application Insights. `tell` is called with
/// what is looked at.
///
/// # Errors
/// When Azure is away or nobody is signed in. What Azure refuses is a finding.
pub async fn examine(
    azure: &Azure,
    site: &Site,
    workspace: Option<&str>,
    tell: &mut dyn FnMut(&str),
) -> Result<Examination, AzureError> {
    let mut examiner = Examiner { azure, site, seen: Examination::default(), tell };
    examiner.everything(workspace).await?;
    Ok(examiner.seen)
}

/// Names of the findings that a role may mend which was granted lately: roles take 32 to 105 s to spread.
pub fn refused(seen: &Examination) -> impl Iterator<Item = &str> {
    const AREAS: [&str; 5] = ["role", "plane", "operator", "functions", "host"];
    let is_area = |id: &str| AREAS.contains(&id.split('.').next().unwrap_or_default());
    seen.findings.iter().filter(move |it| it.state >= State::Unknown && is_area(&it.id)).map(|it| it.id.as_str())
}

impl Examiner<'_> {
    async fn everything(&mut self, workspace: Option<&str>) -> Result<(), AzureError> {
        let Some(app) = self.app().await? else { return Ok(()) };
        let settings = self.settings(&app).await?;
        let identity = self.identity(&app, settings.as_ref());
        let host = self.host().await?;
        self.functions(host.as_ref()).await?;
        let account = settings.as_ref().and_then(|it| it.get("AzureWebJobsStorage__accountName")).map(str::to_owned);
        if let Some(identity) = &identity {
            self.storage_roles(account.as_deref(), identity).await?;
        }
        let found = self.telemetry(settings.as_ref(), identity.as_ref(), workspace).await?;
        let workspace = workspace.map(str::to_owned).or(found);
        self.planes(account.as_deref(), identity.as_ref(), workspace.as_deref()).await?;
        self.operator(account.as_deref(), workspace.as_deref()).await
    }

    /// Sends a request for a check. What is refused becomes a finding: to the operator where a right is missing.
    async fn ask(&mut self, id: &str, call: &Call) -> Result<Option<Value>, AzureError> {
        (self.tell)(&call.why);
        match self.azure.send(call).await {
            Ok(answer) => Ok(Some(answer.body)),
            Err(error @ AzureError::Refused { .. }) => {
                self.refused(id, call, &error);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The same for all pages of a listing.
    async fn ask_all(&mut self, id: &str, call: &Call) -> Result<Option<Vec<Value>>, AzureError> {
        (self.tell)(&call.why);
        match self.azure.list(call).await {
            Ok(all) => Ok(Some(all)),
            Err(error @ AzureError::Refused { .. }) => {
                self.refused(id, call, &error);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn refused(&mut self, id: &str, call: &Call, error: &AzureError) {
        let status = error.status().map(|it| it.as_u16()).unwrap_or_default();
        let seen = format!("{status} {}", error.code()).trim_end().to_owned();
        let finding = if error.is_forbidden() {
            let name = id.split_once('.').map_or(id, |it| it.1);
            Finding::new(format!("operator.{name}"), State::Problem, format!("you may not {} ({seen})", call.why))
                .hinders(BOTH)
                .breaks("the doctor cannot look, and a lab cannot set the app up")
                .mend(assign(YOURSELF, "User", "Contributor", &self.group_scope()))
        } else {
            Finding::new(id, State::Unknown, format!("cannot be told: {} answered {seen}", call.why))
        };
        self.seen.add(finding);
    }

    /// Id of an account of the group, as the shell finds it.
    fn account_scope(&self, account: &str) -> String {
        let group = &self.site.resource_group;
        format!("\"$(az storage account show --name {account} --resource-group {group} --query id --output tsv)\"")
    }

    /// The same of the group.
    fn group_scope(&self) -> String {
        format!("\"$(az group show --name {} --query id --output tsv)\"", self.site.resource_group)
    }

    fn add(&mut self, finding: Finding) {
        self.seen.add(finding);
    }

    /// Reads the app's plan, whose id came with the app.
    fn plan_call(&self, id: &str) -> Call {
        let name = last(id);
        Call::management(
            Method::GET,
            format_args!("{}?api-version={WEB}", self.azure.scrubbed(id)),
            "read the app's plan",
        )
        .az(format!("az functionapp plan show --name {name} --resource-group {}", self.site.resource_group))
        .planned(json!({
            "sku": {"name": "EP1", "tier": "ElasticPremium"},
            "properties": {"maximumElasticWorkerCount": 1, "reserved": true},
        }))
    }
}

/// The first line of a foreign text, without the subscription's id.
fn quoted(azure: &Azure, text: &str) -> String {
    let line: String = text.lines().next().unwrap_or_default().chars().take(200).collect();
    azure.scrubbed(&line)
}
