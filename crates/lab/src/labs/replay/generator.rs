//! The replay lab's load: storms, started and watched over HTTP as a person would with curl.

use std::{path::PathBuf, time::Duration};

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use url::Url;

use super::ReplayPhase;
use crate::{
    evidence::{
        jsonl::{JsonLines, WriteError},
        moment::Moment,
    },
    machine::own_folder::{FolderError, OwnFolder, Purpose},
};
use incident_labs::blob::tls;

/// Paths of the app's functions.
pub(in crate::labs) const START_PATH: &str = "api/durable/start-replay-lab";
pub(in crate::labs) const STATUS_PATH: &str = "api/durable/status";
/// Between two looks at an instance.
const POLL_EVERY: Duration = Duration::from_millis(250);
/// Failures in a row of the status function after which it is not asked any more.
const PATIENCE: u32 = 40;

/// Why a phase could not be run.
#[derive(Debug, thiserror::Error)]
pub enum ReplayLoadError {
    /// The app is not there.
    #[error("{url} does not answer: is the app running?")]
    Away { url: Url, source: reqwest::Error },
    /// It answered something else.
    #[error("{url} answered {status}: {body}")]
    Unexpected {
        url: Url,
        status: u16,
        /// The start of its body.
        body: String,
    },
    #[error(transparent)]
    Unwritable(#[from] WriteError),
    #[error(transparent)]
    Folder(#[from] FolderError),
}

/// What became of a phase.
#[derive(Clone, Debug)]
pub struct PhaseOutcome {
    /// Instances that did not complete, with their state.
    pub not_completed: Vec<(String, String)>,
    /// From the start's answer to the last end that was seen.
    pub took: Duration,
}

#[derive(Clone, Debug)]
pub struct ReplayLoad {
    pub base: Url,
    /// Where phases.jsonl and instances.jsonl go.
    pub out: PathBuf,
    /// Longest time for the instances of a phase.
    pub longest: Duration,
    http: reqwest::Client,
}

impl ReplayLoad {
    /// A driver for an app.
    pub fn new(base: Url, out: PathBuf, longest: Duration) -> Self {
        let http = tls::http_client().timeout(Duration::from_secs(60)).build().unwrap_or_default();
        Self { base, out, longest, http }
    }

    /// Starts a phase's instances and waits for their ends.
    ///
    /// # Errors
    /// When the app does not answer as it should.
    pub async fn run(&self, phase: &ReplayPhase) -> Result<PhaseOutcome, ReplayLoadError> {
        let (began, start) = (Instant::now(), Moment::now());
        let ids = self.start(phase).await?;
        let mut not_completed = Vec::new();
        let mut rows = Vec::new();
        for (id, index) in ids.iter().zip(0..) {
            let status = self.wait_for(id, began).await?;
            let state = status["runtimeStatus"].as_str().unwrap_or("Running").to_owned();
            if state != "Completed" {
                not_completed.push((id.clone(), state));
            }
            rows.push(instance_row(phase, id, index, start, &status));
        }
        let took = began.elapsed();
        OwnFolder::take(&self.out, Purpose::Evidence)?;
        for row in &rows {
            self.append("instances", row)?;
        }
        let mut row = json!({ "phase": phase.name, "start": start.timestamp() });
        start.stamp_until(Moment::now(), &mut row);
        self.append("phases", &row)?;
        Ok(PhaseOutcome { not_completed, took })
    }

    async fn start(&self, phase: &ReplayPhase) -> Result<Vec<String>, ReplayLoadError> {
        let body = start_body(phase);
        let url = self.url(START_PATH);
        let request = self.http.post(url.clone()).header("Content-Type", "application/json").body(body.to_string());
        let answer = self.ask(url.clone(), request).await?;
        let ids = answer["instanceIds"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
        let ids: Vec<String> = ids.collect();
        if ids.is_empty() {
            return Err(ReplayLoadError::Unexpected { url, status: 202, body: excerpt(&answer.to_string()) });
        }
        Ok(ids)
    }

    /// The last state of an instance: its end, or what it was when time was over.
    async fn wait_for(&self, id: &str, began: Instant) -> Result<Value, ReplayLoadError> {
        let url = self.url(&format!("{STATUS_PATH}/{id}"));
        let mut failures = 0;
        loop {
            match self.ask(url.clone(), self.http.get(url.clone())).await {
                Ok(status) => {
                    failures = 0;
                    let is_running = ["Running", "Pending", "ContinuedAsNew", "Suspended"];
                    let state = status["runtimeStatus"].as_str().unwrap_or_default();
                    if !is_running.contains(&state) || began.elapsed() > self.longest {
                        return Ok(status);
                    }
                }
                // A start may be answered before the instance can be seen, and a busy app may be slow for a while.
                Err(_) if failures < PATIENCE => failures += 1,
                Err(error) => return Err(error),
            }
            sleep(POLL_EVERY).await;
        }
    }

    async fn ask(&self, url: Url, request: reqwest::RequestBuilder) -> Result<Value, ReplayLoadError> {
        let away = |source: reqwest::Error| ReplayLoadError::Away { url: url.clone(), source: source.without_url() };
        let response = request.send().await.map_err(away)?;
        let status = response.status();
        let body = response.text().await.map_err(away)?;
        match serde_json::from_str(&body) {
            Ok(value) if status.is_success() => Ok(value),
            _ => Err(ReplayLoadError::Unexpected { url: url.clone(), status: status.as_u16(), body: excerpt(&body) }),
        }
    }

    fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/{path}", self.base.path().trim_end_matches('/')));
        url
    }

    fn append(&self, table: &str, row: &Value) -> Result<(), ReplayLoadError> {
        Ok(JsonLines::append(&self.out.join(format!("{table}.jsonl")))?.write(row)?)
    }
}

pub(super) fn start_body(phase: &ReplayPhase) -> Value {
    json!({
        "iterations": phase.iterations,
        "continueAsNewEvery": phase.continue_as_new_every,
        "instances": phase.instances,
    })
}

fn instance_row(phase: &ReplayPhase, id: &str, index: u64, start: Moment, status: &Value) -> Value {
    let mut row = json!({
        "phase": phase.name,
        "instanceId": id,
        "instanceIndex": index,
        "iterations": phase.iterations,
        "continueAsNewEvery": phase.continue_as_new_every,
        "runtimeStatus": status["runtimeStatus"],
        "createdTime": status["createdTime"],
        "lastUpdatedTime": status["lastUpdatedTime"],
        "output": status["output"],
    });
    start.stamp(&mut row);
    row
}

fn excerpt(body: &str) -> String {
    body.chars().take(300).collect()
}
