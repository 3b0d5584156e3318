//! A resource group: what is in it, whose it is, and its end.

use http::Method;
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    call::Call,
    client::Azure,
    deploy::{GROUPS, TAG, read_group},
    error::AzureError,
    site::group_path,
};

/// A resource of a group.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Resource {
    pub name: String,
    /// `Microsoft.Web/sites`.
    #[serde(rename = "type")]
    pub kind: String,
    /// As Azure writes it; empty where it does not say.
    pub created: String,
    /// Whether it is one that the template makes, or that Azure makes for such a one.
    pub is_ours: bool,
}

/// What is in a group.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Contents {
    pub location: String,
    /// Whether the lab made the group: its tag says so.
    pub is_tagged: bool,
    pub resources: Vec<Resource>,
}

impl Contents {
    /// What is in the group that is not the labs'.
    pub fn others(&self) -> Vec<&Resource> {
        self.resources.iter().filter(|it| !it.is_ours).collect()
    }
}

/// Lists a group (Resource Groups - Get, Resources - List By Resource Group); nothing where there is no such group.
///
/// # Errors
/// When Azure refuses or is away.
pub async fn list(azure: &Azure, group: &str) -> Result<Option<Contents>, AzureError> {
    let Some(found) = read_group(azure, group, "read the resource group").await? else { return Ok(None) };
    let url = format!("{}/resources?api-version={GROUPS}&$expand=createdTime", group_path(group));
    let call = Call::management(Method::GET, url, "list what is in it")
        .az(format!("az resource list --resource-group {group}"))
        .planned(json!({"value": []}));
    let listed = azure.list(&call).await?;
    Ok(Some(Contents {
        location: found["location"].as_str().unwrap_or_default().to_owned(),
        is_tagged: found["tags"][TAG.0] == TAG.1,
        resources: listed.iter().map(resource).collect(),
    }))
}

/// Deletes a group with everything in it (Resource Groups - Delete).
pub fn delete_call(group: &str) -> Call {
    Call::management(
        Method::DELETE,
        format_args!("{}?api-version={GROUPS}", group_path(group)),
        "delete the resource group",
    )
    .az(format!("az group delete --name {group} --yes"))
    .long_running()
}

fn resource(it: &Value) -> Resource {
    let text = |name: &str| it[name].as_str().unwrap_or_default().to_owned();
    let (name, kind) = (text("name"), text("type"));
    let is_ours = is_ours(&kind, &name);
    Resource { created: text("createdTime"), name, kind, is_ours }
}

/// Types and names of the template (`infra/`), and of what Azure adds to Application Insights by itself. Whatever else is there is
/// somebody's: a group is not deleted by accident.
fn is_ours(kind: &str, name: &str) -> bool {
    let (kind, name) = (kind.to_lowercase(), name.to_lowercase());
    // `uniqueString` gives 13 letters and digits.
    let has_token = |before: &str| {
        name.strip_prefix(before).is_some_and(|it| it.len() == 13 && it.chars().all(|it| it.is_ascii_alphanumeric()))
    };
    match &*kind {
        "microsoft.web/sites" => name.rsplit_once('-').is_some_and(|it| it.1.len() == 13),
        "microsoft.web/serverfarms" => name.ends_with("-plan"),
        "microsoft.storage/storageaccounts" => has_token("data") || has_token("content"),
        "microsoft.managedidentity/userassignedidentities" => name.ends_with("-identity"),
        "microsoft.operationalinsights/workspaces" => name.ends_with("-logs"),
        "microsoft.insights/components" => name.ends_with("-telemetry"),
        "microsoft.alertsmanagement/smartdetectoralertrules" => name.starts_with("failure anomalies"),
        "microsoft.insights/actiongroups" => name == "application insights smart detection",
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_template_makes_is_ours() {
        for (kind, name, ours) in [
            ("Microsoft.Web/sites", "incidentlabs-abcdefghij123", true),
            ("Microsoft.Web/sites", "shop", false),
            ("Microsoft.Web/serverFarms", "incidentlabs-plan", true),
            ("Microsoft.Storage/storageAccounts", "dataabcdefghij123", true),
            ("Microsoft.Storage/storageAccounts", "contentabcdefghij123", true),
            ("Microsoft.Storage/storageAccounts", "datalake", false),
            ("Microsoft.ManagedIdentity/userAssignedIdentities", "incidentlabs-identity", true),
            ("Microsoft.OperationalInsights/workspaces", "incidentlabs-logs", true),
            ("microsoft.insights/components", "incidentlabs-telemetry", true),
            ("microsoft.insights/actiongroups", "Application Insights Smart Detection", true),
            ("Microsoft.Sql/servers", "incidentlabs-logs", false),
            ("", "", false),
        ] {
            assert_eq!(is_ours(kind, name), ours, "{kind} {name}");
        }
    }
}
