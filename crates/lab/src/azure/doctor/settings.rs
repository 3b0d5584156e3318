//! The app's settings: what the handler's own reader makes of them, and what host and platform need. By name, never by value.

use std::collections::BTreeMap;

use http::Method;
use serde_json::{Value, json};

use super::{BOTH, Examiner, OOM};
use crate::{
    azure::{call::Call, error::AzureError, site::Site},
    doctor::{Finding, State},
};
use custom_handler::{files::setting::is_same, wire::env};
use incident_labs::settings::{AUTHENTICATION_STRING, CONNECTION_STRING, Settings, Source};

/// Settings that host and platform read, each with the value that it must have.
pub const PLATFORM_SETTINGS: [(&str, Option<&str>); 9] = [
    ("FUNCTIONS_EXTENSION_VERSION", Some("~4")),
    ("FUNCTIONS_WORKER_RUNTIME", Some("custom")),
    (CONNECTION_STRING, None),
    (AUTHENTICATION_STRING, None),
    ("WEBSITE_RUN_FROM_PACKAGE", Some("1")),
    ("SCM_DO_BUILD_DURING_DEPLOYMENT", Some("false")),
    ("ENABLE_ORYX_BUILD", Some("false")),
    ("WEBSITE_CONTENTSHARE", None),
    ("WEBSITE_CONTENTAZUREFILECONNECTIONSTRING", None),
];

/// Settings of the handler that must be set on Azure.
pub const HANDLER_SETTINGS: [&str; 5] = [
    "AzureWebJobsStorage__accountName",
    "AzureWebJobsStorage__credential",
    "AzureWebJobsStorage__clientId",
    "BLOB_BATCH_SIZE",
    "MAX_CONCURRENT_INVOCATIONS",
];

/// A setting's name and its new value; none takes it away.
pub type Change = (String, Option<String>);

/// App settings by name. Not shown anywhere: a value may be a key.
pub(crate) struct AppSettings(BTreeMap<String, String>);

impl AppSettings {
    /// Of an answer's `properties`.
    pub(crate) fn of(body: &Value) -> Self {
        let properties = body["properties"].as_object().into_iter().flatten();
        Self(properties.map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned())).collect())
    }

    /// A setting that has a value, by its name in any case.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|it| is_same(it.0, name)).map(|it| it.1.trim());
        found.filter(|it| !it.is_empty())
    }

    /// The changes that undo others.
    pub(crate) fn undoing(&self, changes: &[Change]) -> Vec<Change> {
        let value = |name: &str| self.0.iter().find(|it| is_same(it.0, name)).map(|it| it.1.clone());
        changes.iter().map(|(name, _)| (name.clone(), value(name))).collect()
    }

    pub(crate) fn all(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    /// Sets some and takes some away, each under the name it has in whatever case. Gives whether anything changed.
    pub(crate) fn merge(&mut self, changes: &[Change]) -> bool {
        let before = self.0.clone();
        for (name, value) in changes {
            let known = self.0.keys().find(|it| is_same(it, name)).cloned().unwrap_or_else(|| name.clone());
            match value {
                Some(value) => self.0.insert(known, value.clone()),
                None => self.0.remove(&known),
            };
        }
        self.0 != before
    }
}

/// Reads all settings (Web Apps - List Application Settings). The answer holds keys.
pub(crate) fn list_call(site: &Site) -> Call {
    let call = site.call(Method::POST, "/config/appsettings/list", "read the app's settings");
    call.az(site.az("config appsettings list")).planned(json!({"properties": {
        "AzureWebJobsStorage__accountName": "{account}",
        "AzureWebJobsStorage__clientId": "{clientId}",
        CONNECTION_STRING: "InstrumentationKey={instrumentationKey}",
    }}))
}

impl Examiner<'_> {
    pub(super) async fn settings(&mut self, app: &Value) -> Result<Option<AppSettings>, AzureError> {
        let Some(body) = self.ask("settings.list", &list_call(self.site)).await? else { return Ok(None) };
        let settings = AppSettings::of(&body);
        let before = self.seen.findings.len();
        self.by_the_handler(&settings);
        self.by_the_platform(&settings);
        self.of_the_identity(&settings, app);
        if self.seen.findings.len() == before {
            self.add(Finding::ok("settings", format!("{} settings, all that are needed", settings.0.len())));
        }
        Ok(Some(settings))
    }

    fn set(&self, name: &str, value: &str) -> String {
        format!("{} --settings {name}={value}", self.site.az("config appsettings set"))
    }

    /// What the handler would refuse to start with.
    fn by_the_handler(&mut self, settings: &AppSettings) {
        let mut source: Source = settings.0.clone();
        source.insert(env::PORT.to_owned(), "7000".to_owned());
        source.retain(|name, _| !is_same(name, env::APP_ROOT));
        let problems = Settings::read(&source, None).err().map(|it| it.problems).unwrap_or_default();
        for problem in problems {
            let name = problem.split([' ', ':']).next().unwrap_or_default().to_owned();
            let mend = format!("{}; docs/settings.md has its values", self.set(&name, "VALUE"));
            self.add(
                Finding::new(format!("settings.{name}"), State::Problem, problem)
                    .hinders(BOTH)
                    .breaks("the handler refuses its settings and exits: after three starts the host stops")
                    .mend(mend),
            );
        }
    }

    fn by_the_platform(&mut self, settings: &AppSettings) {
        for (name, needed) in PLATFORM_SETTINGS {
            let is_right = match (settings.get(name), needed) {
                (Some(value), Some(needed)) => value.eq_ignore_ascii_case(needed),
                (value, None) => value.is_some(),
                (None, Some(_)) => false,
            };
            // Where no key is refused, telemetry needs none: `telemetry` judges it beside the component.
            if is_right || name == AUTHENTICATION_STRING {
                continue;
            }
            let is = if settings.get(name).is_none() { "not set" } else { "set to something else" };
            let seen = needed.map_or_else(|| is.to_owned(), |needed| format!("{is}; it must be {needed}"));
            let mend = match needed {
                Some(needed) => self.set(name, needed),
                None => format!(
                    "deploy the template again, which sets it: cargo lab deploy --resource-group {}",
                    self.site.resource_group
                ),
            };
            let finding = Finding::new(format!("settings.{name}"), State::Problem, seen).hinders(BOTH);
            self.add(finding.breaks(breaks(name)).mend(mend));
        }
        let numbers = ["BLOB_BATCH_SIZE", "MAX_CONCURRENT_INVOCATIONS"];
        for name in numbers.into_iter().filter(|it| settings.get(it).is_none()) {
            let mend = format!("{} --settings @load/oom/buffering.json", self.site.az("config appsettings set"));
            self.add(
                Finding::new(format!("settings.{name}"), State::Warning, "not set")
                    .hinders(OOM)
                    .breaks("without both numbers the package's own variant decides, buffering or streaming")
                    .mend(mend),
            );
        }
    }

    /// Storage is reached with the identity that the app has.
    fn of_the_identity(&mut self, settings: &AppSettings, app: &Value) {
        let (id, name) = ("settings.AzureWebJobsStorage__clientId", "AzureWebJobsStorage__clientId");
        let identities: Vec<&Value> =
            app["identity"]["userAssignedIdentities"].as_object().into_iter().flat_map(|it| it.values()).collect();
        let has = |client: &str| {
            identities.iter().any(|it| it["clientId"].as_str().is_some_and(|it| it.eq_ignore_ascii_case(client)))
        };
        let breaks =
            "host and handler sign in to storage as another identity, or as none: nothing is read, and nothing starts";
        match settings.get(name) {
            Some(client) if has(client) => {}
            None if identities.is_empty() => {}
            is => {
                let seen = if is.is_some() {
                    "is none of the app's identities"
                } else {
                    "not set, and the app's identity is user-assigned"
                };
                let known = identities.first().and_then(|it| it["clientId"].as_str()).unwrap_or("CLIENT_ID").to_owned();
                let mend = self.set(name, &known);
                self.add(Finding::new(id, State::Problem, seen).hinders(BOTH).breaks(breaks).mend(mend));
            }
        }
        if settings.get("AzureWebJobsStorage").is_some() {
            let mend = format!("{} --setting-names AzureWebJobsStorage", self.site.az("config appsettings delete"));
            self.add(
                Finding::new("settings.AzureWebJobsStorage", State::Warning, "a connection string is set")
                    .breaks("it wins over the identity, so no role counts; an account that refuses keys then refuses everything")
                    .mend(mend),
            );
        }
    }
}

fn breaks(name: &str) -> &'static str {
    match name {
        "FUNCTIONS_EXTENSION_VERSION" => "another version of the host runs, or none",
        "FUNCTIONS_WORKER_RUNTIME" => "the host looks for another language's worker and never starts the handler",
        CONNECTION_STRING => "no telemetry arrives: the workspace stays empty, and no criterion can be told",
        "WEBSITE_RUN_FROM_PACKAGE" => {
            "the package is not mounted as it is: the handler may be missing, or not executable"
        }
        "WEBSITE_CONTENTSHARE" | "WEBSITE_CONTENTAZUREFILECONNECTIONSTRING" => {
            "a Premium plan mounts the app's content from this share: without it the app does not start or loses its package"
        }
        _ => "the platform builds what is built already, and changes the package",
    }
}
