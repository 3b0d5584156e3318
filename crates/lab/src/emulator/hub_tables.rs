//! The task hub's tables at the app's storage account, as far as the durable extension needs them to start.
//!
//! The hub here is a file. The extension keeps instances and histories in two tables and creates them at start; where it may not, the host
//! says why, serves nothing and starts again. Only behind the proxy that withholds roles can that happen here, so only then they are asked
//! for: Azurite refuses nothing.

use std::{future::pending, net, os::fd::AsFd, time::Duration};

use anyhow::Context as _;
use axum::{Router, http::StatusCode};
use azure_core::http::{Context, Method, Pipeline, PipelineSendOptions, Request, Url};
use custom_handler::serve_connections;
use serde_json::json;
use tokio::{net::TcpListener, time::sleep};
use uuid::Uuid;

use super::{
    host::{Exception, HostLog, Level, LogLine},
    task_hub::{DurableFunctions, HubOptions},
};
use crate::app::ScriptRoot;
use incident_labs::blob::{Plane, StorageAccount};

/// From a start that failed to the next, doubled each time (host: `WebJobsScriptHostService`, `Utility.DelayWithBackoffAsync`).
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(120);
const STARTUP: &str = "Host.Startup";

/// The tables, and the way to them with the app's credential.
pub(super) struct HubTables {
    pipeline: Pipeline,
    service: Url,
    names: [String; 2],
}

impl HubTables {
    /// Of an account behind the proxy; `None` for an app without durable functions.
    ///
    /// # Errors
    /// When the account cannot be reached by the SDK.
    pub(super) fn of(root: &ScriptRoot, account: &StorageAccount) -> anyhow::Result<Option<Self>> {
        if DurableFunctions::new(root).is_empty() {
            return Ok(None);
        }
        let hub = HubOptions::new(root).name;
        let mut service = account.endpoint(Plane::Table).context("the account has no table service")?.clone();
        service.set_path(&format!("{}/Tables", service.path().trim_end_matches('/')));
        let names = ["Instances", "History"].map(|it| format!("{hub}{it}"));
        Ok(Some(Self { pipeline: account.pipeline(Plane::Table)?, service, names }))
    }

    /// Returns once both tables are there. Until then the host answers 503 to everyone and tries again, ever less often.
    ///
    /// # Errors
    /// When nobody can be answered on the listener.
    pub(super) async fn provide(&self, listener: &TcpListener, log: &HostLog) -> anyhow::Result<()> {
        let Err(first) = self.create().await else { return Ok(()) };
        let socket = listener.as_fd().try_clone_to_owned().context("answer while the host does not start")?;
        let socket = TcpListener::from_std(net::TcpListener::from(socket))?;
        let router =
            Router::new().fallback(async || (StatusCode::SERVICE_UNAVAILABLE, "Function host is not running."));
        tokio::select! {
            ended = serve_connections(socket, router, pending()) => Ok(ended?),
            () = self.insist(first, log) => Ok(()),
        }
    }

    async fn insist(&self, first: Exception, log: &HostLog) {
        let (mut refusal, mut pause) = (first, FIRST_PAUSE);
        loop {
            let id = Uuid::new_v4().to_string();
            let format = "A host error has occurred during startup operation '{operationId}'.";
            log.record(LogLine::formatted(STARTUP, Level::Error, format, &[("operationId", &id)]).because(refusal));
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            match self.create().await {
                Ok(()) => return,
                Err(next) => refusal = next,
            }
        }
    }

    /// "Create Table": 201, or 409 where it is there.
    async fn create(&self) -> Result<(), Exception> {
        for name in &self.names {
            let mut request = Request::new(self.service.clone(), Method::Post);
            for (name, value) in [
                ("x-ms-version", "2022-11-02"),
                ("content-type", "application/json"),
                ("accept", "application/json;odata=nometadata"),
                ("prefer", "return-no-content"),
            ] {
                request.insert_header(name, value);
            }
            request.set_body(json!({ "TableName": name }).to_string());
            let unchecked = PipelineSendOptions { skip_checks: true, ..Default::default() };
            let answer = self.pipeline.send(&Context::new(), &mut request, Some(unchecked)).await;
            let answer = answer
                .map_err(|_| Exception::new("Azure.RequestFailedException", "No answer of the table service."))?;
            match u16::from(answer.status()) {
                200..=299 | 409 => {}
                status => return Err(refused(status, answer.body().as_ref())),
            }
        }
        Ok(())
    }
}

/// As Azure.Data.Tables puts an answer that it did not expect: the service's message, then status and code.
fn refused(status: u16, body: &[u8]) -> Exception {
    let body: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let error = &body["odata.error"];
    let text = |it: &serde_json::Value| it.as_str().unwrap_or_default().to_owned();
    let (message, code) = (text(&error["message"]["value"]), text(&error["code"]));
    Exception::new("Azure.RequestFailedException", format!("{message}\nStatus: {status}\nErrorCode: {code}"))
}
