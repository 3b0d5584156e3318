//! The app as Resource Manager knows it: the paths below it, and the calls that several commands make.

use http::Method;
use serde_json::json;

use super::call::{Call, SUBSCRIPTION};

/// Version of the interface for apps and plans.
pub(super) const WEB: &str = "2025-03-01";
/// What host.json asks for: the test of the template holds it against `host.json`.
pub(super) const BUNDLE: &str = "Microsoft.Azure.Functions.ExtensionBundle";

/// An app and its resource group, by name.
#[derive(Clone, Debug)]
pub struct Site {
    pub app: String,
    pub resource_group: String,
}

/// Reads a name of an app: letters, digits and hyphens. Other ones would change the path of a request.
///
/// # Errors
/// When it is no such name.
pub fn app_name(text: &str) -> Result<String, String> {
    named(text, "-", "letters, digits and hyphens")
}

/// Reads a name of a resource group, as Azure admits them.
///
/// # Errors
/// When it is no such name.
pub fn group_name(text: &str) -> Result<String, String> {
    let name = named(text, "-_().", "letters, digits, hyphens, underscores, periods and parentheses")?;
    if name.ends_with('.') { Err("must not end with a period".to_owned()) } else { Ok(name) }
}

fn named(text: &str, more: &str, what: &str) -> Result<String, String> {
    let is_meant = |it: char| it.is_ascii_alphanumeric() || more.contains(it);
    let is_name = (1..=90).contains(&text.len()) && text.chars().all(is_meant);
    if is_name { Ok(text.to_owned()) } else { Err(format!("must be a name of {what}")) }
}

/// Path of a resource group.
pub(super) fn group_path(group: &str) -> String {
    format!("/subscriptions/{SUBSCRIPTION}/resourceGroups/{group}")
}

/// The last part of a resource id, or of a function's `app/function`: a name.
pub(super) fn last(id: &str) -> &str {
    id.rsplit('/').next().unwrap_or_default()
}

impl Site {
    /// Path of the resource group.
    pub fn group(&self) -> String {
        group_path(&self.resource_group)
    }

    /// Path of the app.
    pub fn path(&self) -> String {
        format!("{}/providers/Microsoft.Web/sites/{}", self.group(), self.app)
    }

    /// A request about the app; `below` is the rest of its path, beginning with a slash, or nothing.
    pub fn call(&self, method: Method, below: &str, why: &str) -> Call {
        Call::management(method, format!("{}{below}?api-version={WEB}", self.path()), why)
    }

    /// `az functionapp … --name APP --resource-group GROUP`.
    pub fn az(&self, command: &str) -> String {
        format!("az functionapp {command} --name {} --resource-group {}", self.app, self.resource_group)
    }

    /// Reads the host's own status, which Resource Manager passes on: `…/hostruntime/admin/host/status` (Azure Functions host, Admin API).
    pub fn host_status(&self) -> Call {
        let call = self.call(Method::GET, "/hostruntime/admin/host/status", "read the host's status");
        let url = call.url.clone();
        call.az(format!("az rest --method get --url \"{url}\"")).planned(json!({
            "state": "Running",
            "version": "{version}",
            "extensionBundle": {"id": BUNDLE, "version": "4.22.0"},
        }))
    }

    /// Lists what the host indexed (Web Apps - List Functions).
    pub fn functions(&self) -> Call {
        let call = self.call(Method::GET, "/functions", "list the functions that the host indexed");
        call.az(self.az("function list")).planned(json!({"value": []}))
    }

    /// Reads the app itself: `GET …/sites/{name}` (Web Apps - Get).
    pub fn read(&self) -> Call {
        let host = format!("{}.azurewebsites.net", self.app);
        let deployment = format!("{}.scm.azurewebsites.net", self.app);
        let identity =
            format!("{}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{{identity}}", self.group());
        self.call(Method::GET, "", "read the app").az(self.az("show")).planned(json!({
            "location": "{region}",
            "kind": "functionapp,linux",
            "identity": {"type": "UserAssigned", "userAssignedIdentities": {
                identity: {"principalId": "{principalId}", "clientId": "{clientId}"},
            }},
            "properties": {
                "state": "Running",
                "defaultHostName": host,
                "enabledHostNames": [host, deployment],
                "serverFarmId": format!("{}/providers/Microsoft.Web/serverfarms/{{plan}}", self.group()),
                "reserved": true,
            },
        }))
    }
}
