//! The identity the app runs as, and the roles it has.

use http::Method;
use serde_json::{Value, json};

use super::{BOTH, Examiner, OOM, REPLAY, last, settings::AppSettings};
use crate::{
    azure::{call::Call, error::AzureError},
    doctor::{Finding, State, planes::assign},
};

/// A built-in role. Its id is the same in every tenant.
#[derive(Clone, Copy, Debug)]
pub struct Role {
    pub name: &'static str,
    pub id: &'static str,
    /// The data plane it opens, or `account`: last part of a finding's name.
    pub plane: &'static str,
    hinders: &'static [&'static str],
    breaks: &'static str,
}

/// The roles that the template gives the identity on the data account (guide 004, required storage RBAC role set).
pub const STORAGE_ROLES: [Role; 5] = [
    Role {
        name: "Storage Account Contributor",
        id: "17d1049b-9a84-46fb-8f53-869881c3d3ab",
        plane: "account",
        hinders: OOM,
        breaks: "the blob trigger cannot read the properties of the account and of its services",
    },
    Role {
        name: "Storage Blob Data Owner",
        id: "b7e6dc6d-f1e8-4753-8033-0f276bb0955b",
        plane: "blob",
        hinders: BOTH,
        breaks: "the host cannot take its locks and read its keys, the handler can read no blob: 403 AuthorizationPermissionMismatch",
    },
    Role {
        name: "Storage File Data Privileged Contributor",
        id: "69566ab7-960f-475b-8e7c-b3118f30c6bd",
        plane: "file",
        hinders: &[],
        breaks: "it is part of the set that the guide requires; the app's own content share is reached with a key",
    },
    Role {
        name: "Storage Queue Data Contributor",
        id: "974c5e8b-45b9-4653-ba55-5f855dd0fb88",
        plane: "queue",
        hinders: BOTH,
        breaks: "the blob trigger cannot queue what it found, and Durable cannot send a message: nothing is worked on",
    },
    Role {
        name: "Storage Table Data Contributor",
        id: "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3",
        plane: "table",
        hinders: REPLAY,
        breaks: "the Durable host gets 403 AuthorizationPermissionMismatch for its task hub's tables and indexes no function: every \
                 route answers 404. Like a replay storm it shows as \"Durable is not progressing\", and it is none: a storm runs, with \
                 fast activities",
    },
];

/// The role with which host and handler send telemetry.
pub const METRICS_PUBLISHER: Role = Role {
    name: "Monitoring Metrics Publisher",
    id: "3913510d-42f4-4e42-8a64-420c390055eb",
    plane: "telemetry",
    hinders: BOTH,
    breaks: "telemetry is refused: the workspace stays empty, and no criterion can be told",
};

/// Roles that hold Storage Account Contributor's rights, none of them over data: Owner and Contributor.
const HOLD_ACCOUNT: [&str; 2] = ["8e3af657-a8ff-443c-a75c-2fe8c4bcb635", "b24988ac-6180-42a0-ab88-20f7382dd24c"];

impl Role {
    /// What it is that the identity lacks it.
    pub(super) fn state(&self) -> State {
        if self.hinders.is_empty() { State::Warning } else { State::Problem }
    }
}

/// The identity the app reaches storage as.
pub(super) struct Identity {
    pub(super) principal: String,
}

impl Examiner<'_> {
    /// The user-assigned identity that the settings name, else the only one, else the app's own.
    pub(super) fn identity(&mut self, app: &Value, settings: Option<&AppSettings>) -> Option<Identity> {
        let named = settings.and_then(|it| it.get("AzureWebJobsStorage__clientId"));
        let all: Vec<(&String, &Value)> =
            app["identity"]["userAssignedIdentities"].as_object().into_iter().flatten().collect();
        let is_named = |it: &&(&String, &Value)| it.1["clientId"].as_str() == named && named.is_some();
        let found = all.iter().find(is_named).or_else(|| all.first());
        let principal = match found {
            Some((_, it)) => it["principalId"].as_str(),
            None => app["identity"]["principalId"].as_str(),
        };
        let Some(principal) = principal.filter(|it| !it.is_empty()) else {
            let mend = format!(
                "{} --identities IDENTITY_ID; or deploy the template: cargo lab deploy --resource-group {}",
                self.site.az("identity assign"),
                self.site.resource_group
            );
            self.add(
                Finding::new("identity.assigned", State::Problem, "the app has no identity")
                    .hinders(BOTH)
                    .breaks("storage and telemetry take no key, so host and handler reach neither")
                    .mend(mend),
            );
            return None;
        };
        let name = found.map_or("system-assigned", |it| last(it.0)).to_owned();
        self.add(Finding::ok("identity.assigned", name));
        Some(Identity { principal: principal.to_owned() })
    }

    /// The identity's roles at the account, those of the group and the subscription included.
    pub(super) async fn storage_roles(&mut self, account: Option<&str>, identity: &Identity) -> Result<(), AzureError> {
        let Some(account) = account else { return Ok(()) };
        let path = format!("{}/providers/Microsoft.Storage/storageAccounts/{account}", self.site.group());
        let scope = self.account_scope(account);
        let call = assignments(&path, identity, &format!("list the identity's roles at {account}"), &scope);
        let Some(listed) = self.ask_all("role.storage", &call).await? else { return Ok(()) };
        for role in &STORAGE_ROLES {
            let more: &[&str] = if role.plane == "account" { &HOLD_ACCOUNT } else { &[] };
            self.role(role, more, &path, &listed, identity, &scope);
        }
        Ok(())
    }

    /// The role at Application Insights.
    pub(super) async fn telemetry_role(&mut self, component: &str, identity: &Identity) -> Result<(), AzureError> {
        let name = last(component);
        let scope = format!(
            "\"$(az monitor app-insights component show --app {name} --resource-group {} --query id --output tsv)\"",
            self.site.resource_group
        );
        let call = assignments(component, identity, &format!("list the identity's roles at {name}"), &scope);
        let Some(listed) = self.ask_all("role.telemetry", &call).await? else { return Ok(()) };
        self.role(&METRICS_PUBLISHER, &[], component, &listed, identity, &scope);
        Ok(())
    }

    fn role(&mut self, role: &Role, more: &[&str], at: &str, listed: &[Value], identity: &Identity, scope: &str) {
        let id = format!("role.{}", role.plane);
        let granted =
            listed.iter().find(|it| is_granted(it, role.id, at) || more.iter().any(|id| is_granted(it, id, at)));
        self.add(match granted {
            Some(it) => {
                let is_here = it["properties"]["scope"]
                    .as_str()
                    .is_some_and(|it| below_subscription(it) == below_subscription(at));
                let inherited = if is_here { "" } else { ", inherited" };
                Finding::ok(id, format!("{}{inherited}", role.name))
            }
            None => Finding::new(id, role.state(), format!("{} is missing", role.name))
                .hinders(role.hinders)
                .breaks(role.breaks)
                .mend(format!(
                    "{}, then cargo lab doctor --wait: a role takes 32 to 105 s to spread",
                    assign(&identity.principal, "ServicePrincipal", role.name, scope)
                )),
        });
    }
}

/// Role Assignments - List For Scope. With this filter the answer has assignments at, above and below the scope.
fn assignments(path: &str, identity: &Identity, why: &str, scope: &str) -> Call {
    let principal = &identity.principal;
    let filter = format!("$filter=principalId%20eq%20%27{principal}%27");
    let url = format!("{path}/providers/Microsoft.Authorization/roleAssignments?api-version=2022-04-01&{filter}");
    let az = format!("az role assignment list --assignee {principal} --include-inherited --scope {scope}");
    Call::management(Method::GET, url, why).az(az).planned(json!({"value": []}))
}

/// Whether an assignment gives a role at the scope or above it.
fn is_granted(assignment: &Value, role: &str, at: &str) -> bool {
    let properties = &assignment["properties"];
    let is_role = properties["roleDefinitionId"].as_str().is_some_and(|it| last(it).eq_ignore_ascii_case(role));
    let above = properties["scope"].as_str().map(|it| below_subscription(it.trim_end_matches('/')));
    let at = below_subscription(at);
    is_role && above.is_some_and(|above| at == above || at.starts_with(&format!("{above}/")) || above.is_empty())
}

/// A resource id without its subscription, in lower case: ids are compared without regard to case, and the subscription is one.
/// A management group is above the subscription.
fn below_subscription(id: &str) -> String {
    let id = id.to_lowercase();
    let mut parts = id.split('/').skip(1);
    match (parts.next(), parts.next()) {
        (Some("subscriptions"), Some(_)) => parts.map(|it| format!("/{it}")).collect(),
        (Some("providers"), Some("microsoft.management")) => String::new(),
        _ => id,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_counts_at_the_scope_and_above_it_and_not_below_or_beside() {
        let at = "/subscriptions/{subscriptionId}/resourceGroups/rg/providers/Microsoft.Storage/storageAccounts/data";
        let id = STORAGE_ROLES[4].id;
        for (scope, counts) in [
            ("/subscriptions/1/resourceGroups/RG/providers/Microsoft.Storage/storageAccounts/data", true),
            ("/subscriptions/1/resourcegroups/rg", true),
            ("/subscriptions/1", true),
            ("/", true),
            ("/providers/Microsoft.Management/managementGroups/all", true),
            ("/subscriptions/1/resourceGroups/r", false),
            ("/subscriptions/1/resourceGroups/rg/providers/Microsoft.Storage/storageAccounts/data2", false),
            (
                "/subscriptions/1/resourceGroups/rg/providers/Microsoft.Storage/storageAccounts/data/tableServices/default/tables/t",
                false,
            ),
        ] {
            let definition =
                format!("/subscriptions/1/providers/Microsoft.Authorization/roleDefinitions/{}", id.to_uppercase());
            let assignment = json!({"properties": {"scope": scope, "roleDefinitionId": definition}});
            assert_eq!(is_granted(&assignment, id, at), counts, "{scope}");
            assert!(!is_granted(&assignment, STORAGE_ROLES[0].id, at));
        }
    }
}
