//! The app itself, its plan and how far it scales, its host, and the functions the host found.

use std::collections::BTreeSet;

use http::Method;
use serde_json::{Value, json};

use super::{BOTH, Examiner, OOM, REPLAY, last, quoted};
use crate::{
    azure::{error::AzureError, site::BUNDLE},
    doctor::{Finding, State},
};
use incident_labs::functions::{Lab, own_names_of};

/// Its versions that host.json asks for.
const BUNDLE_RANGE: ([u64; 3], [u64; 3]) = ([4, 22, 0], [5, 0, 0]);

impl Examiner<'_> {
    /// The app, its configuration and its plan; nothing where there is no app to look at.
    pub(super) async fn app(&mut self) -> Result<Option<Value>, AzureError> {
        let call = self.site.read();
        (self.tell)(&call.why);
        let app = match self.azure.send(&call).await {
            Ok(answer) => answer.body,
            Err(error) if error.is_not_found() => {
                let seen =
                    format!("there is no app {} in {} ({})", self.site.app, self.site.resource_group, error.code());
                self.add(
                    Finding::new("app.exists", State::Problem, seen)
                        .hinders(BOTH)
                        .mend(format!("cargo lab deploy --resource-group {}", self.site.resource_group)),
                );
                return Ok(None);
            }
            Err(error @ AzureError::Refused { .. }) => {
                self.refused("app.read-app", &call, &error);
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        self.is_running(&app);
        let below = self.site.call(Method::GET, "/config/web", "read the app's configuration");
        let call = below.az(self.site.az("config show")).planned(json!({
            "properties": {"minimumElasticInstanceCount": 1, "functionAppScaleLimit": 1, "linuxFxVersion": ""},
        }));
        if let Some(configuration) = self.ask("scale.configuration", &call).await? {
            self.scale(&configuration["properties"]);
        }
        let plan = app["properties"]["serverFarmId"].as_str().unwrap_or_default().to_owned();
        if let Some(read) = self.ask("plan.kind", &self.plan_call(&plan)).await? {
            self.plan(last(&plan), &read);
        }
        Ok(Some(app))
    }

    fn is_running(&mut self, app: &Value) {
        let properties = &app["properties"];
        let kind = app["kind"].as_str().unwrap_or_default().to_lowercase();
        let is_linux = kind.contains("linux") || properties["reserved"] == true;
        self.add(if kind.contains("functionapp") && is_linux {
            Finding::ok("app.kind", &kind)
        } else {
            Finding::new("app.kind", State::Problem, format!("{kind:?} is no function app on Linux"))
                .hinders(BOTH)
                .breaks("the handler in the packages is a Linux executable")
                .mend("deploy the template: cargo lab deploy")
        });
        let state = properties["state"].as_str().unwrap_or_default();
        self.add(if state == "Running" {
            Finding::ok("app.state", state)
        } else {
            Finding::new("app.state", State::Problem, format!("the app is {state:?}"))
                .hinders(BOTH)
                .breaks("no trigger fires, and every route answers 403")
                .mend(self.site.az("start"))
        });
    }

    fn scale(&mut self, configuration: &Value) {
        let second = "a second instance takes half the load, and with it the incident";
        let more = |name: &str, count: u64| {
            format!(
                "az resource update --resource-type Microsoft.Web/sites --name {}/config/web --resource-group {} --set \
                 properties.{name}={count}",
                self.site.app, self.site.resource_group
            )
        };
        let mut found = Vec::new();
        for (id, name) in [("scale.minimum", "minimumElasticInstanceCount"), ("scale.limit", "functionAppScaleLimit")] {
            let seen = format!("{name} {}", configuration[name]);
            found.push(match (configuration[name].as_u64(), id) {
                (Some(1), _) => Finding::ok(id, seen),
                (Some(0) | None, "scale.minimum") => Finding::new(id, State::Warning, seen)
                    .breaks("the first blob waits for an instance")
                    .mend(more(name, 1)),
                // 0 is "no limit".
                _ => Finding::new(id, State::Problem, seen).hinders(BOTH).breaks(second).mend(more(name, 1)),
            });
        }
        found.into_iter().for_each(|it| self.add(it));
    }

    fn plan(&mut self, name: &str, plan: &Value) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (sku, tier) = (text(&plan["sku"]["name"]), text(&plan["sku"]["tier"]));
        let problem = |breaks: &str| {
            let finding = Finding::new("plan.kind", State::Problem, format!("{tier} {sku}")).breaks(breaks);
            finding.mend("deploy the template, which has an EP1 plan: cargo lab deploy")
        };
        self.add(match (&*tier.to_lowercase(), &*sku.to_uppercase()) {
            ("elasticpremium", "EP1") => Finding::ok("plan.kind", format!("{tier} {sku}")),
            ("flexconsumption", _) => problem(
                "on Flex Consumption the blob trigger is event-based only: it needs an Event Grid subscription, and never looks \
                 into the container by itself. The labs are for EP1",
            )
            .hinders(BOTH),
            ("dynamic", _) => problem(
                "on a Consumption plan an instance has 1.5 GB, and it goes away when idle: the load is sized for the 3.5 GB of EP1",
            )
            .hinders(BOTH),
            _ => problem("the load is sized for the 3.5 GB and one vCPU of EP1: on another size the bands do not hold")
                .hinders(OOM),
        });
        let most = &plan["properties"]["maximumElasticWorkerCount"];
        let seen = format!("maximumElasticWorkerCount {most}");
        if tier.eq_ignore_ascii_case("elasticpremium") {
            self.add(if most.as_u64() == Some(1) {
                Finding::ok("scale.plan", seen)
            } else {
                Finding::new("scale.plan", State::Problem, seen)
                    .hinders(BOTH)
                    .breaks("a second instance takes half the load, and with it the incident")
                    .mend(format!(
                        "az functionapp plan update --name {name} --resource-group {} --max-burst 1",
                        self.site.resource_group
                    ))
            });
        }
    }

    /// The host's own status, which Resource Manager passes on: `…/hostruntime/admin/host/status` (Azure Functions host, Admin API).
    pub(super) async fn host(&mut self) -> Result<Option<Value>, AzureError> {
        let call = self.site.host_status();
        let Some(status) = self.ask("host.state", &call).await? else { return Ok(None) };
        let state = status["state"].as_str().unwrap_or_default();
        let errors: Vec<String> = status["errors"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(|it| quoted(self.azure, it))
            .collect();
        self.add(if state == "Running" && errors.is_empty() {
            Finding::ok("host.state", format!("{state}, version {}", status["version"].as_str().unwrap_or("unknown")))
        } else {
            let said = errors.first().map(|it| format!(": {it}")).unwrap_or_default();
            Finding::new("host.state", State::Problem, format!("{state}{said}"))
                .hinders(BOTH)
                .breaks("the host runs no function until it starts without an error")
                .mend(self.site.az("restart"))
        });
        self.bundle(&status["extensionBundle"]);
        Ok(Some(status))
    }

    fn bundle(&mut self, bundle: &Value) {
        let (Some(id), Some(version)) = (bundle["id"].as_str(), bundle["version"].as_str()) else {
            self.add(Finding::new(
                "host.bundle",
                State::Warning,
                "the host does not say which extension bundle it loaded",
            ));
            return;
        };
        let seen = format!("{id} {version}");
        let is_in = numbers(version).is_some_and(|it| (BUNDLE_RANGE.0..BUNDLE_RANGE.1).contains(&it));
        self.add(if id == BUNDLE && is_in {
            Finding::ok("host.bundle", seen)
        } else {
            Finding::new("host.bundle", State::Problem, seen)
                .hinders(BOTH)
                .breaks(
                    "host.json asks for 4.22.0 or newer, below 5.0.0: other extensions speak otherwise to the handler",
                )
                .mend("deploy the labs' package, which has host.json: cargo lab deploy")
        });
    }

    /// What the host indexed, held against what the labs' packages have (Web Apps - List Functions).
    pub(super) async fn functions(&mut self, host: Option<&Value>) -> Result<(), AzureError> {
        let call = self.site.functions();
        let Some(listed) = self.ask_all("functions.indexed", &call).await? else { return Ok(()) };
        let name = |it: &Value| it["name"].as_str().map(|it| last(it).to_owned());
        let names: BTreeSet<String> = listed.iter().filter_map(name).collect();
        let off = listed.iter().filter(|it| it["properties"]["isDisabled"] == true).filter_map(name);
        let off: Vec<String> = off.collect();
        let finding = indexed(&names, host).unwrap_or_else(|seen| {
            let mend = format!(
                "{} --src artifacts/replay-app.zip (or oom-buffering-app.zip, oom-streaming-app.zip)",
                self.site.az("deployment source config-zip")
            );
            Finding::new("functions.indexed", State::Problem, seen).hinders(BOTH).mend(mend)
        });
        self.add(finding);
        if !off.is_empty() {
            let mend = format!(
                "{} --setting-names AzureWebJobs.{}.Disabled",
                self.site.az("config appsettings delete"),
                off[0]
            );
            let seen = format!("disabled: {}", off.join(", "));
            self.add(Finding::new("functions.disabled", State::Problem, seen).hinders(BOTH).mend(mend));
        }
        Ok(())
    }
}

/// Which of the labs' packages it is; what is wrong where it is none.
fn indexed(names: &BTreeSet<String>, host: Option<&Value>) -> Result<Finding, String> {
    let missing = |lab: Lab| -> Vec<&str> { own_names_of(lab).into_iter().filter(|it| !names.contains(*it)).collect() };
    let (oom, replay) = (missing(Lab::Oom), missing(Lab::Replay));
    if names.is_empty() {
        let is_running = host.is_some_and(|it| it["state"] == "Running");
        let finding = Finding::new("functions.indexed", State::Problem, "no function is indexed").hinders(BOTH);
        let finding = finding.breaks(
            "every route answers 404. A missing Table role does this: the durable extension gets 403 AuthorizationPermissionMismatch, \
             and the host indexes nothing at all. Like a replay storm it shows as \"Durable is not progressing\", and it is none",
        );
        return Ok(finding.mend(if is_running {
            "see the findings role.* and plane.*; where none is missing, deploy a package: cargo lab deploy"
        } else {
            "see the findings host.state and role.*"
        }));
    }
    match (oom.is_empty(), replay.is_empty()) {
        (true, true) => Ok(Finding::ok("functions.indexed", "those of both labs")),
        (true, false) => Ok(Finding::ok("functions.indexed", "those of the OOM lab's package").hinders(REPLAY)),
        (false, true) => Ok(Finding::ok("functions.indexed", "those of the replay lab's package").hinders(OOM)),
        (false, false) => {
            let least = if replay.len() < own_names_of(Lab::Replay).len() { &replay } else { &oom };
            Err(format!(
                "the package is not the labs' own, or only part of it was indexed: {} missing",
                least.join(", ")
            ))
        }
    }
}

/// `4.22.0` as numbers; parts after the third are left out.
fn numbers(version: &str) -> Option<[u64; 3]> {
    let mut parts = version.split('.').map(|it| it.parse().ok());
    Some([parts.next()??, parts.next()??, parts.next().unwrap_or(Some(0))?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_json_asks_for_the_bundle_that_the_doctor_expects() {
        let text = include_str!("../../../../../host.json");
        let host: Value = serde_json::from_str(text).unwrap();
        let shown = |it: [u64; 3]| it.map(|it| it.to_string()).join(".");
        let range = format!("[{}, {})", shown(BUNDLE_RANGE.0), shown(BUNDLE_RANGE.1));
        assert_eq!(host["extensionBundle"], json!({"id": BUNDLE, "version": range}));
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(numbers("4.100.0") > numbers("4.22.9"));
        assert_eq!((numbers("4.26"), numbers("x"), numbers("4")), (Some([4, 26, 0]), None, None));
    }
}
