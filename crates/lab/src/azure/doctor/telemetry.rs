//! Application Insights, the workspace behind it, and where the app's logs go.

use http::Method;
use serde_json::{Value, json};

use super::{BOTH, Examiner, last, roles::Identity, settings::AppSettings};
use crate::{
    azure::{call::Call, error::AzureError},
    doctor::{Finding, State},
};
use incident_labs::settings::{AUTHENTICATION_STRING, CONNECTION_STRING};

impl Examiner<'_> {
    /// Gives the id of the workspace that telemetry goes to, where it can be read.
    pub(super) async fn telemetry(
        &mut self,
        settings: Option<&AppSettings>,
        identity: Option<&Identity>,
        given: Option<&str>,
    ) -> Result<Option<String>, AzureError> {
        let Some(component) = self.component(settings).await? else { return Ok(None) };
        let id = self.azure.scrubbed(component["id"].as_str().unwrap_or_default());
        if component["properties"]["DisableLocalAuth"] == true {
            self.authentication(settings);
            if let Some(identity) = identity {
                self.telemetry_role(&id, identity).await?;
            }
        }
        self.sampling(&component["properties"]["SamplingPercentage"], last(&id));
        let workspace = component["properties"]["WorkspaceResourceId"].as_str().unwrap_or_default();
        let workspace = self.azure.scrubbed(workspace);
        let found = self.workspace(&workspace, given).await?;
        self.function_logs(&workspace).await?;
        Ok(found)
    }

    /// The component that the connection string leads to (Components - List By Resource Group).
    async fn component(&mut self, settings: Option<&AppSettings>) -> Result<Option<Value>, AzureError> {
        let text = settings.and_then(|it| it.get(CONNECTION_STRING)).unwrap_or_default();
        let parts = text.split(';').filter_map(|it| it.split_once('='));
        let key =
            parts.into_iter().find(|it| it.0.trim().eq_ignore_ascii_case("InstrumentationKey")).map(|it| it.1.trim());
        let Some(key) = key else { return Ok(None) };
        let group = &self.site.resource_group;
        let path = format!("{}/providers/Microsoft.Insights/components", self.site.group());
        let call = Call::management(
            Method::GET,
            format_args!("{path}?api-version=2020-02-02"),
            "find Application Insights",
        )
        .az(format!("az monitor app-insights component show --resource-group {group}"))
        .planned(json!({"value": [{
            "id": format!("{path}/{{component}}"),
            "properties": {
                "InstrumentationKey": "{instrumentationKey}",
                "DisableLocalAuth": true,
                "WorkspaceResourceId":
                    format!("{}/providers/Microsoft.OperationalInsights/workspaces/{{workspace}}", self.site.group()),
            },
        }]}));
        let Some(listed) = self.ask_all("insights.component", &call).await? else { return Ok(None) };
        let is_meant = |it: &&Value| {
            it["properties"]["InstrumentationKey"].as_str().is_some_and(|it| it.eq_ignore_ascii_case(key))
        };
        let found = listed.iter().find(is_meant).cloned();
        self.add(match &found {
            Some(it) => Finding::ok("insights.component", last(it["id"].as_str().unwrap_or_default())),
            None => Finding::new(
                "insights.component",
                State::Warning,
                format!("{CONNECTION_STRING} leads out of {group}"),
            )
            .breaks("telemetry goes to a component that this examination does not see")
            .mend("give its workspace to the labs with --workspace, or deploy the template again: cargo lab deploy"),
        });
        Ok(found)
    }

    /// Without keys, host and handler must send as the identity.
    fn authentication(&mut self, settings: Option<&AppSettings>) {
        let Some(settings) = settings else { return };
        let text = settings.get(AUTHENTICATION_STRING).unwrap_or_default().to_lowercase();
        let client = settings.get("AzureWebJobsStorage__clientId").map(str::to_lowercase);
        let has_client = client.as_ref().is_none_or(|it| text.contains(&format!("clientid={it}")));
        let id = format!("settings.{AUTHENTICATION_STRING}");
        if text.contains("authorization=aad") && has_client {
            return;
        }
        let seen = if text.is_empty() { "not set" } else { "names another identity, or none" };
        let value = format!("'Authorization=AAD;ClientId={}'", client.unwrap_or_else(|| "CLIENT_ID".to_owned()));
        let mend = format!("{} --settings {AUTHENTICATION_STRING}={value}", self.site.az("config appsettings set"));
        self.add(
            Finding::new(id, State::Problem, format!("{seen}, and local authentication is off"))
                .hinders(BOTH)
                .breaks("telemetry is refused: the workspace stays empty, and no criterion can be told")
                .mend(mend),
        );
    }

    fn sampling(&mut self, percentage: &Value, component: &str) {
        if let Some(percentage) = percentage.as_f64().filter(|it| *it < 100.0) {
            let mend = format!(
                "az resource update --resource-type Microsoft.Insights/components --name {component} --resource-group {} --set \
                 properties.SamplingPercentage=100",
                self.site.resource_group
            );
            self.add(
                Finding::new("insights.sampling", State::Warning, format!("{percentage} % of the telemetry is kept"))
                    .breaks("counts are estimates: each row stands for itemCount of them")
                    .mend(mend),
            );
        }
    }

    /// The workspace and its daily cap (Workspaces - Get).
    async fn workspace(&mut self, path: &str, given: Option<&str>) -> Result<Option<String>, AzureError> {
        let (name, group) = (last(path), &self.site.resource_group);
        let call = Call::management(Method::GET, format_args!("{path}?api-version=2025-07-01"), "read the workspace")
            .az(format!("az monitor log-analytics workspace show --workspace-name {name} --resource-group {group}"))
            .planned(json!({"properties": {
                "customerId": "{workspaceId}",
                "workspaceCapping": {"dailyQuotaGb": 1, "dataIngestionStatus": "RespectQuota"},
            }}));
        let Some(workspace) = self.ask("workspace.cap", &call).await? else { return Ok(None) };
        let properties = &workspace["properties"];
        let id = properties["customerId"].as_str().map(str::to_owned);
        if let (Some(given), Some(id)) = (given, &id)
            && !given.eq_ignore_ascii_case(id)
            && !self.azure.is_planning()
        {
            let seen = format!("--workspace {given} is not the one that the app's telemetry goes to");
            self.add(
                Finding::new("workspace.id", State::Problem, seen)
                    .hinders(BOTH)
                    .breaks("queries find no row of this app")
                    .mend(format!("--workspace {id}")),
            );
        }
        let (quota, status) = (
            properties["workspaceCapping"]["dailyQuotaGb"].as_f64(),
            &properties["workspaceCapping"]["dataIngestionStatus"],
        );
        let set = |gb: u32| {
            format!(
                "az monitor log-analytics workspace update --workspace-name {name} --resource-group {group} --quota {gb}"
            )
        };
        let finding = match (quota.filter(|it| *it >= 0.0), status.as_str().unwrap_or_default()) {
            (_, "OverQuota") => Finding::new("workspace.cap", State::Problem, "today's cap is reached")
                .hinders(BOTH)
                .breaks("what is sent until the cap's reset is lost: no criterion can be told")
                .mend(format!("{}, or wait for the reset", set(5))),
            (_, status @ ("ForceOff" | "SubscriptionSuspended")) => {
                Finding::new("workspace.cap", State::Problem, format!("the workspace takes nothing in ({status})"))
                    .hinders(BOTH)
            }
            (Some(gb), _) => Finding::ok("workspace.cap", format!("{gb} GB a day")),
            (None, _) => Finding::new("workspace.cap", State::Warning, "no daily cap")
                .breaks("one call can start a storm that writes millions of rows, and each is paid for")
                .mend(set(1)),
        };
        self.add(finding);
        Ok(id)
    }

    /// Whether `FunctionAppLogs` reaches the workspace (Diagnostic Settings - List).
    async fn function_logs(&mut self, workspace: &str) -> Result<(), AzureError> {
        let path = format!("{}/providers/Microsoft.Insights/diagnosticSettings", self.site.path());
        let url = format!("{path}?api-version=2021-05-01-preview");
        let (app, group) = (&self.site.app, &self.site.resource_group);
        let az = format!(
            "az monitor diagnostic-settings list --resource {app} --resource-group {group} --resource-type Microsoft.Web/sites"
        );
        let call =
            Call::management(Method::GET, url, "read where the app's logs go").az(az).planned(json!({"value": []}));
        let Some(listed) = self.ask_all("workspace.function-logs", &call).await? else { return Ok(()) };
        let is_there = listed.iter().any(|it| {
            let to = self.azure.scrubbed(it["properties"]["workspaceId"].as_str().unwrap_or_default());
            let logs = it["properties"]["logs"].as_array().into_iter().flatten();
            let mut on = logs.filter(|it| it["enabled"] == true);
            to.eq_ignore_ascii_case(workspace)
                && on.any(|it| it["category"] == "FunctionAppLogs" || it["categoryGroup"] == "allLogs")
        });
        self.add(if is_there {
            Finding::ok("workspace.function-logs", "FunctionAppLogs")
        } else {
            let mend = format!(
                "az monitor diagnostic-settings create --name function-app-logs --resource {app} --resource-group {group} \
                 --resource-type Microsoft.Web/sites --workspace {} --logs '[{{\"category\":\"FunctionAppLogs\",\"enabled\":true}}]'",
                last(workspace)
            );
            Finding::new("workspace.function-logs", State::Problem, "FunctionAppLogs does not go to the workspace")
                .hinders(BOTH)
                .breaks("queries over FunctionAppLogs find nothing: exits, restarts and MemoryErrors of the worker are in no table")
                .mend(mend)
        });
        Ok(())
    }
}
