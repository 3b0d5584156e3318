//! The host's log: each line goes to the console (if there is one) and, from Information up, into the tables.

use std::{fmt, sync::Arc, time::Duration};

use serde_json::json;
use uuid::Uuid;

use super::{
    line::{Level, LogLine, Scope},
    rows,
};
use crate::evidence::moment::Moment;
use crate::evidence::table_writer::{Table, Tables};

/// Who writes the rows.
#[derive(Clone, Debug)]
pub struct Identity {
    /// `cloud_RoleName` and `AppName`.
    pub app_name: String,
    /// `cloud_RoleInstance` and `RoleInstance`.
    pub role_instance: String,
    /// `HostInstanceId`, new for each start of the host.
    pub host_instance_id: String,
}

impl Identity {
    /// A new host instance of an app.
    pub fn new(app_name: &str) -> Self {
        Self {
            app_name: app_name.to_owned(),
            role_instance: "local".to_owned(),
            host_instance_id: Uuid::new_v4().to_string(),
        }
    }
}

/// Called for every line, debug lines included.
pub type Echo = Option<Box<dyn Fn(&LogLine) + Send + Sync>>;

/// Writes the host's log lines and rows.
#[derive(Clone)]
pub struct HostLog {
    inner: Arc<Inner>,
}

struct Inner {
    tables: Tables,
    identity: Identity,
    echo: Echo,
}

impl fmt::Debug for HostLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostLog").field("identity", &self.inner.identity).finish_non_exhaustive()
    }
}

/// What the request row of a finished invocation says.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub scope: &'a Scope,
    /// When its trigger began with it, which is before the function does.
    pub started: Moment,
    pub duration: Duration,
    /// The function's own part of that.
    pub execution: Duration,
    pub succeeded: bool,
    /// The HTTP request it answered, and with which status.
    pub http: Option<(&'a HttpCall, u16)>,
}

/// An HTTP request that calls a function.
#[derive(Clone, Debug)]
pub struct HttpCall {
    pub method: String,
    pub url: String,
    pub path: String,
    /// Why the function runs, as the row says it.
    pub reason: String,
}

/// One call to the handler, as the SDK that watches the host's own HTTP client sees it.
#[derive(Debug)]
pub(super) struct HandlerCall<'a> {
    pub scope: &'a Scope,
    pub port: u16,
    pub started: Moment,
    pub duration: Duration,
    /// `None` when the handler did not answer.
    pub status: Option<u16>,
}

/// The look at a blob that binding it to the function takes. One measurement: it is told as the storage SDK's operation and as the
/// HTTP request in it.
#[derive(Clone, Debug)]
pub struct BlobLookup {
    /// The blob's URL, as it goes over the wire.
    pub url: url::Url,
    pub started: Moment,
    pub duration: Duration,
}

impl HostLog {
    /// A log into the given tables, echoed where wanted.
    pub fn new(tables: Tables, identity: Identity, echo: Echo) -> Self {
        Self { inner: Arc::new(Inner { tables, identity, echo }) }
    }

    /// Logs a line outside of any invocation.
    pub fn write(&self, category: &str, level: Level, message: impl Into<String>) {
        self.record(LogLine::new(category, level, message));
    }

    pub fn record(&self, line: LogLine) {
        let Inner { tables, identity, echo } = &*self.inner;
        if let Some(echo) = echo {
            echo(&line);
        }
        if line.level < Level::Information {
            return;
        }
        // The results category has no text of its own: to Application Insights it is the request row.
        if line.exception.is_none() || !line.message.is_empty() {
            tables.append(Table::Traces, &rows::trace(identity, &line));
        }
        if let Some(exception) = &line.exception {
            tables.append(Table::Exceptions, &rows::exception(identity, &line, exception));
        }
        tables.append(Table::FunctionAppLogs, &rows::function_app_log(identity, &line));
    }

    pub(super) fn request(&self, request: &Request<'_>) {
        self.inner.tables.append(Table::Requests, &rows::request(&self.inner.identity, request));
    }

    /// One row for each call, failed when the answer is no success (recorded of the durable extension 3.19.0, and of both labs on the
    /// real host). A call without an answer has the state of its task, as the .NET SDK writes it.
    pub(super) fn handler_call(&self, call: &HandlerCall<'_>) {
        self.inner.tables.append(Table::Dependencies, &rows::handler_call(&self.inner.identity, call));
    }

    pub(super) fn blob_lookup(&self, scope: &Scope, lookup: &BlobLookup) {
        for row in rows::blob_lookup(&self.inner.identity, scope, lookup) {
            self.inner.tables.append(Table::Dependencies, &row);
        }
    }

    /// One value of the host's own metrics.
    pub(super) fn metric(&self, name: &str, value: f64) {
        self.inner.tables.append(Table::CustomMetrics, &rows::metric(&self.inner.identity, name, value));
    }

    /// The id of this start of the host.
    pub(super) fn host_instance_id(&self) -> &str {
        &self.inner.identity.host_instance_id
    }

    /// The lab's own record of what was dispatched, beside the host's row of what became of it. `blob` is `container/name`.
    pub(super) fn dispatched(&self, scope: &Scope, blob: &str) {
        let mut row = json!({
            "functionName": scope.function,
            "invocationId": scope.id,
            "operation_Id": scope.operation_id,
            "blob": blob,
        });
        Moment::now().stamp(&mut row);
        self.inner.tables.append(Table::Dispatches, &row);
    }
}
