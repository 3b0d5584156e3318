//! An app on Azure as a lab's platform: the second implementation of the interface between lab and app. What it changes are settings, and
//! it puts them back.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, bail};
use async_trait::async_trait;
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::time::{Instant, sleep};
use url::Url;

use super::{
    call::Call,
    client::{Answer, Azure},
    deploy,
    doctor::settings::{AppSettings, Change, list_call},
    error::AzureError,
    harvest::Harvest,
    plan::PlannedCall,
    prices,
    site::{Site, last},
};
use crate::{
    app::{
        package::PACKAGES,
        running::{AppStart, Deployed, Platform, RunningApp, Traffic},
    },
    judgement::{Definition, Manifest},
    machine::{
        exit,
        storage::{Storage, account_at},
        terminal::{StatusLine, err},
        workspace::Workspace,
    },
};
use custom_handler::clock;
use incident_labs::{
    blob::StorageAccount,
    functions::{self, Lab},
    settings::process_environment,
};

/// From a write of settings to a host that runs under them.
const RESTART: Duration = Duration::from_secs(10 * 60);
/// How often the settings are written back.
const TRIES: u32 = 3;
/// Longest wait for rows, which `harvest` keeps to.
const INGESTION: Duration = Duration::from_secs(20 * 60);
const CONNECTION: &str = "AzureWebJobsStorage";

/// What the platform needs to know of a lab.
#[derive(Clone, Copy, Debug)]
pub struct Deployment {
    /// Whose functions the package must have.
    pub lab: Lab,
    pub definition: Definition,
    /// How long the load takes.
    pub takes: Duration,
}

/// An app that is deployed already.
#[derive(Debug)]
pub struct AzurePlatform {
    azure: Arc<Azure>,
    site: Site,
    workspace: String,
    deployment: Deployment,
    work: Workspace,
    /// `defaultHostName`.
    host: String,
    /// The account of its blob trigger, where the lab has one. A plan opens none.
    storage: Option<Storage>,
    facts: BTreeMap<String, Value>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What puts the settings back.
    undoing: Vec<Change>,
    /// When the run began.
    began: Option<OffsetDateTime>,
}

impl AzurePlatform {
    /// Reads the app, checks its package, and says what the run will change, take and cost. Changes nothing.
    ///
    /// # Errors
    /// When Azure refuses or is away, the package is another lab's, or the app names no storage account.
    pub async fn open(deployed: Deployed, deployment: Deployment, work: Workspace) -> anyhow::Result<Self> {
        let Deployed { app, resource_group, workspace, subscription, is_plan } = deployed;
        let azure = Arc::new(Azure::open_or_plan(subscription, is_plan)?);
        let site = Site { app, resource_group };
        let seen = azure.send(&site.read()).await?.body;
        let host = azure.send(&site.host_status()).await?.body;
        let names = indexed(&azure.list(&functions_call(&site, deployment.lab)).await?);
        check_package(&site, deployment.lab, &names)?;
        let storage = match deployment.lab {
            Lab::Oom => storage(&azure, &site).await?,
            Lab::Replay => None,
        };
        let text = |value: &Value| value.as_str().unwrap_or("unknown").to_owned();
        let (region, takes) = (text(&seen["location"]), deployment.takes + INGESTION);
        let cost = prices::cost(&azure, &region, takes).await;
        if !is_plan {
            err(&format!("{}; its rows can take {} min to arrive", site.app, INGESTION.as_secs() / 60));
            err(&cost);
        }
        let plan = text(&seen["properties"]["serverFarmId"]);
        let facts = [
            ("platform", json!("Azure")),
            ("app", json!(site.app)),
            ("region", json!(region)),
            ("plan", json!(last(&plan))),
            ("host_version", host["version"].clone()),
            ("bundle", host["extensionBundle"].clone()),
            ("functions", json!(names)),
        ];
        let facts = facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let fallback = format!("{}.azurewebsites.net", site.app);
        let host = seen["properties"]["defaultHostName"].as_str().unwrap_or(&fallback).to_owned();
        let state = Mutex::default();
        Ok(Self { azure, site, workspace, deployment, work, host, storage, facts, state })
    }

    fn harvest(&self) -> Harvest<'_> {
        Harvest { azure: &self.azure, workspace: &self.workspace, app: &self.site.app }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what undoes a change. Of a setting that is changed twice, the first value is the one that was found.
    fn keep(&self, undoing: Vec<Change>) {
        let mut state = self.state();
        for change in undoing {
            if !state.undoing.iter().any(|it| it.0 == change.0) {
                state.undoing.push(change);
            }
        }
    }

    /// Gives the app settings, and waits until a host runs that was started under them.
    async fn apply(&self, changes: &[Change]) -> anyhow::Result<()> {
        let names = names_of(changes);
        let asked = Instant::now();
        let has_written = deploy::change(&self.azure, &self.site, changes, |undoing| {
            self.keep(undoing);
            if !self.azure.is_planning() {
                err(&format!("{}: {names} change for the run, and are put back after it", self.site.app));
            }
        });
        if has_written.await.context("give the app its settings")? {
            self.restarted(asked).await.context("wait for the host to run under its new settings")?;
        }
        Ok(())
    }

    async fn restarted(&self, asked: Instant) -> Result<(), AzureError> {
        let mut status = StatusLine::start();
        let is_new = |answer: &Result<Answer, AzureError>| {
            let line = format!("the host restarts: {} s so far", asked.elapsed().as_secs());
            status.show(&line, &line);
            match answer {
                Ok(answer) => answer.body["state"] == "Running" && is_younger(&answer.body, asked.elapsed()),
                Err(error) => error.is_forbidden(),
            }
        };
        self.azure.wait(&self.site.host_status(), RESTART, is_new).await?;
        let wanted = functions::names_of(self.deployment.lab);
        let is_indexed = |answer: &Result<Answer, AzureError>| match answer {
            Ok(answer) => has_all(&indexed(answer.body["value"].as_array().map_or(&[], Vec::as_slice)), &wanted),
            Err(error) => error.is_forbidden(),
        };
        self.azure.wait(&functions_call(&self.site, self.deployment.lab), RESTART, is_indexed).await?;
        status.clear();
        Ok(())
    }

    /// Writes back what was found, more than once if it must.
    async fn put_back(&self, changes: &[Change]) -> Result<(), AzureError> {
        let mut attempt = 1;
        loop {
            match deploy::change(&self.azure, &self.site, changes, |_| ()).await {
                Ok(_) => return Ok(()),
                Err(error) if attempt == TRIES => return Err(error),
                Err(error) => err(&format!("the settings are not put back yet: {error}")),
            }
            attempt += 1;
            sleep(self.azure.poll_interval()).await;
        }
    }
}

#[async_trait(?Send)]
impl Platform for AzurePlatform {
    fn work(&self) -> &Workspace {
        &self.work
    }

    /// Earlier runs stay: a run's blobs and rows have its name and its time.
    async fn clear(&self) -> anyhow::Result<()> {
        self.state().began = Some(clock::utc_now());
        Ok(())
    }

    async fn start(&self, start: AppStart) -> anyhow::Result<Box<dyn RunningApp>> {
        let changes: Vec<Change> = start.settings.into_iter().map(|(name, value)| (name, Some(value))).collect();
        if !changes.is_empty() {
            self.apply(&changes).await?;
        }
        let (azure, host, storage) = (Arc::clone(&self.azure), self.host.clone(), self.storage.clone());
        Ok(Box::new(AzureApp { azure, host, storage }))
    }

    fn facts(&self) -> BTreeMap<String, Value> {
        self.facts.clone()
    }

    fn limits_memory(&self) -> bool {
        false
    }

    fn is_on_azure(&self) -> bool {
        true
    }

    async fn interrupted(&self) {
        // Without signals to watch there is nothing to wait for.
        if exit::interrupted().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    async fn leave(&self) -> anyhow::Result<()> {
        let changes = std::mem::take(&mut self.state().undoing);
        if changes.is_empty() {
            return Ok(());
        }
        let Err(error) = self.put_back(&changes).await else {
            if !self.azure.is_planning() {
                err(&format!("{}: {} are as they were", self.site.app, names_of(&changes)));
            }
            return Ok(());
        };
        let commands = deploy::az_of(&self.site, &changes).join("\n  ");
        let names = names_of(&changes);
        bail!("{error}. {names} of {} still have the run's values; put them back with\n  {commands}", self.site.app)
    }

    async fn gather(&self, run: &Path, expected: &BTreeMap<&str, u64>) -> anyhow::Result<()> {
        let now = clock::utc_now();
        let from = self.state().began.unwrap_or(now);
        self.harvest().gather(from, now, expected, &run.join("tables")).await?;
        Ok(())
    }

    async fn ask_again(&self, bundle: &Path) -> anyhow::Result<()> {
        let definition = self.deployment.definition;
        let manifest = match self.azure.is_planning() {
            true => Manifest::new(definition, bundle, crate::judgement::Origin::Azure)?,
            false => Manifest::read(bundle)?,
        };
        self.harvest().ask_again(definition, bundle, manifest).await
    }

    fn rehearsed(&self, json: bool) -> Option<String> {
        let plan = self.azure.is_planning().then(|| self.azure.plan())?;
        Some(if json { serde_json::to_string(&plan).unwrap_or_default() } else { plan.render() })
    }
}

/// The deployed app while a lab drives it.
struct AzureApp {
    azure: Arc<Azure>,
    host: String,
    storage: Option<Storage>,
}

#[async_trait(?Send)]
impl RunningApp for AzureApp {
    async fn ready(&self) -> anyhow::Result<()> {
        Ok(())
    }

    fn url(&self) -> anyhow::Result<Url> {
        Ok(self.azure.locate(&format!("https://{}/", self.host)).parse()?)
    }

    fn storage(&self) -> anyhow::Result<&Storage> {
        self.storage.as_ref().context("the app has no blob function")
    }

    fn rehearses(&self, traffic: &[Traffic]) -> bool {
        for it in traffic {
            let base = if it.is_storage { "https://{account}.blob.core.windows.net" } else { &*self.host };
            let url = if it.is_storage { format!("{base}{}", it.path) } else { format!("https://{base}{}", it.path) };
            let why = if it.count > 1 { format!("{} ({} requests)", it.why, it.count) } else { it.why.clone() };
            let (method, body) = (it.method.to_owned(), it.body.clone());
            self.azure.note(PlannedCall { method, url, body, why, az: None, repeats: it.repeats });
        }
        self.azure.is_planning()
    }

    async fn ended(&self) -> String {
        std::future::pending().await
    }

    async fn stop(self: Box<Self>) -> anyhow::Result<()> {
        Ok(())
    }
}

/// Lists what the host indexed. A plan goes on as if the lab's package were there.
fn functions_call(site: &Site, lab: Lab) -> Call {
    let value: Vec<Value> = functions::names_of(lab).iter().map(|it| json!({"name": it})).collect();
    site.functions().planned(json!({"value": value}))
}

/// Names of the functions: the listing has `app/function`.
fn indexed(functions: &[Value]) -> Vec<String> {
    functions.iter().filter_map(|it| it["name"].as_str()).map(|it| last(it).to_owned()).collect()
}

fn has_all(names: &[String], wanted: &[&str]) -> bool {
    wanted.iter().all(|it| names.iter().any(|name| name == it))
}

/// Refuses an app that has not the functions of the lab.
fn check_package(site: &Site, lab: Lab, names: &[String]) -> anyhow::Result<()> {
    if has_all(names, &functions::names_of(lab)) {
        return Ok(());
    }
    let file = |lab: Lab| PACKAGES.iter().find(|it| it.lab == lab).map(|it| it.file).unwrap_or_default();
    let other = [Lab::Oom, Lab::Replay].into_iter().find(|it| has_all(names, &functions::names_of(*it)));
    let there = match other {
        Some(other) => format!("has the functions of {}", file(other)),
        None if names.is_empty() => {
            "has no function that the host indexed (a missing Table role does this, too)".into()
        }
        None => format!("has other functions: {}", names.join(", ")),
    };
    let deploy = format!("{} --src artifacts/{}", site.az("deployment source config-zip"), file(lab));
    bail!("{} {there}. Deploy the package of this lab:\n  {deploy}", site.app)
}

/// Whether a host's process is younger than `age` (`processUptime`, in ms); one that does not say is believed.
fn is_younger(status: &Value, age: Duration) -> bool {
    status["processUptime"].as_u64().is_none_or(|it| u128::from(it) <= age.as_millis())
}

/// The account that the app's settings name, under the identity of the person who is signed in, or with the connection string in the
/// environment if that is the same account's. A plan opens none.
async fn storage(azure: &Azure, site: &Site) -> anyhow::Result<Option<Storage>> {
    let settings = AppSettings::of(&azure.send(&list_call(site)).await?.body);
    let name = settings.get("AzureWebJobsStorage__accountName").map(str::to_owned);
    let name = name.with_context(|| format!("{} has no setting AzureWebJobsStorage__accountName", site.app))?;
    if azure.is_planning() {
        return Ok(None);
    }
    let environment = process_environment();
    let at_hand = environment.get(CONNECTION).and_then(|it| StorageAccount::from_connection_string(it).ok());
    let account = match at_hand.filter(|it| it.name == name) {
        Some(account) => account,
        None => account_at(&format!("https://{name}.blob.core.windows.net").parse()?, None)?,
    };
    Ok(Some(Storage::open(&account)?))
}

fn names_of(changes: &[Change]) -> String {
    changes.iter().map(|it| it.0.as_str()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_with_another_labs_package_is_told_which_to_deploy() {
        let site = Site { app: "labs".to_owned(), resource_group: "rg".to_owned() };
        let names = |lab| functions::names_of(lab).into_iter().map(str::to_owned).collect::<Vec<_>>();
        let refused = |lab, names: &[String]| check_package(&site, lab, names).unwrap_err().to_string();
        assert!(check_package(&site, Lab::Oom, &names(Lab::Oom)).is_ok());
        let told = refused(Lab::Oom, &names(Lab::Replay));
        assert!(told.starts_with("labs has the functions of replay-app.zip."), "{told}");
        assert!(
            told.ends_with("config-zip --name labs --resource-group rg --src artifacts/oom-buffering-app.zip"),
            "{told}"
        );
        assert!(refused(Lab::Replay, &[]).contains("no function that the host indexed"));
        assert!(refused(Lab::Replay, &["f".to_owned()]).contains("other functions: f."));
    }

    #[test]
    fn a_host_that_was_there_before_the_write_is_not_the_new_one() {
        let age = Duration::from_secs(7);
        assert!(!is_younger(&json!({"processUptime": 90_000}), age));
        assert!(is_younger(&json!({"processUptime": 5_000}), age) && is_younger(&json!({}), age));
    }
}
