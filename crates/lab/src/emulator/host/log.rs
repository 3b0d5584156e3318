//! The host's log: each line goes to the console (if there is one) and, from Information up, into the tables.

use std::{fmt, sync::Arc, time::Duration};

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{exception::Exception, version};
use crate::evidence::moment::{MONOTONIC, Moment};
use crate::evidence::table_writer::{Table, Tables};

/// Severity of a log line, as .NET names it.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Level {
    /// Only on the console.
    Debug,
    Information,
    Warning,
    Error,
}

impl Level {
    /// `Information`, as in the columns `Level` and `LogLevel`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Debug => "Debug",
            Self::Information => "Information",
            Self::Warning => "Warning",
            Self::Error => "Error",
        }
    }

    /// `severityLevel` of Application Insights. .NET's own numbers (`LevelId`) are one higher.
    fn severity(self) -> u8 {
        self as u8
    }
}

/// The invocation during which a line is logged.
#[derive(Clone, Debug)]
pub struct Scope {
    pub id: String,
    pub function: String,
    /// Operation id of the invocation's request row: new for each invocation.
    pub operation_id: String,
    /// Id of the request row, parent of everything logged inside.
    pub request_id: String,
}

impl Scope {
    /// A new invocation of a function.
    pub fn new(function: &str) -> Self {
        Self {
            id: Uuid::new_v4().to_string(),
            function: function.to_owned(),
            operation_id: Uuid::new_v4().simple().to_string(),
            request_id: span_id(),
        }
    }
}

/// A W3C span id: 16 random hex digits.
pub(super) fn span_id() -> String {
    format!("{:016x}", Uuid::new_v4().as_u64_pair().0)
}

/// One line of the host's log.
#[derive(Clone, Debug)]
pub struct LogLine {
    /// When it was logged.
    pub at: Moment,
    pub category: String,
    pub level: Level,
    /// The message, without the exception.
    pub message: String,
    /// The exception logged with it.
    pub exception: Option<Exception>,
    pub scope: Option<Scope>,
}

impl LogLine {
    /// A line outside of any invocation.
    pub fn new(category: impl Into<String>, level: Level, message: impl Into<String>) -> Self {
        let (category, message) = (category.into(), message.into());
        Self { at: Moment::now(), category, level, message, exception: None, scope: None }
    }

    /// The same line, logged inside an invocation.
    #[must_use]
    pub fn within(mut self, scope: &Scope) -> Self {
        self.scope = Some(scope.clone());
        self
    }

    /// The same line, with an exception.
    #[must_use]
    pub fn because(mut self, exception: Exception) -> Self {
        self.exception = Some(exception);
        self
    }
}

/// As .NET's console prints it: the message, then the exception on lines of its own.
impl fmt::Display for LogLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.exception {
            None => f.write_str(&self.message),
            Some(exception) if self.message.is_empty() => write!(f, "{exception}"),
            Some(exception) => write!(f, "{}\n{exception}", self.message),
        }
    }
}

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
    pub started: Moment,
    pub duration: Duration,
    pub succeeded: bool,
    pub reason: &'a str,
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
        if let Some(echo) = &self.inner.echo {
            echo(&line);
        }
        if line.level < Level::Information {
            return;
        }
        // The results category has no text of its own: to Application Insights it is the request row.
        if line.exception.is_none() || !line.message.is_empty() {
            self.inner.tables.append(Table::Traces, &self.trace(&line));
        }
        if let Some(exception) = &line.exception {
            self.inner.tables.append(Table::Exceptions, &self.exception(&line, exception));
        }
        self.inner.tables.append(Table::FunctionAppLogs, &self.function_app_log(&line));
    }

    pub(super) fn request(&self, request: &Request<'_>) {
        let scope = request.scope;
        let milliseconds = request.duration.as_secs_f64() * 1000.0;
        let level = if request.succeeded { Level::Information } else { Level::Error };
        let dimensions = json!({
            "TriggerReason": request.reason,
            "InvocationId": scope.id,
            "FunctionExecutionTimeMs": milliseconds.to_string(),
            "HostInstanceId": self.inner.identity.host_instance_id,
            "LogLevel": level.name(),
            "{OriginalFormat}": "Result '{Name}' (started at={StartTime}, duration={Duration}, succeeded={Succeeded})",
            "Category": "Host.Results",
            "FullName": format!("Functions.{}", scope.function),
            "OperationName": scope.function,
        });
        let mut row = self.common("request", request.started, dimensions);
        row.extend(object(json!({
            "id": scope.request_id,
            "name": scope.function,
            "duration": milliseconds,
            "success": if request.succeeded { "True" } else { "False" },
            "resultCode": "0",
            "operation_Id": scope.operation_id,
            "operation_Name": scope.function,
            "operation_ParentId": "",
        })));
        self.inner.tables.append(Table::Requests, &Value::Object(row));
    }

    /// One row for each call, failed when the answer is no success (recorded of the durable extension 3.19.0, and of both labs on the
    /// real host). A call without an answer has the state of its task, as the .NET SDK writes it.
    pub(super) fn handler_call(&self, call: &HandlerCall<'_>) {
        let scope = call.scope;
        let dimensions = json!({
            "InvocationId": scope.id,
            "ProcessId": std::process::id().to_string(),
            "HostInstanceId": self.inner.identity.host_instance_id,
            "LogLevel": Level::Information.name(),
            "Category": format!("Function.{}", scope.function),
        });
        let succeeded = call.status.is_some_and(|it| (200..400).contains(&it));
        let target = format!("127.0.0.1:{}", call.port);
        let mut row = self.common("dependency", call.started, dimensions);
        row.extend(object(json!({
            "id": span_id(),
            "type": "Http",
            "target": target,
            "name": format!("POST /{}", scope.function),
            "data": format!("http://{target}/{}", scope.function),
            "duration": call.duration.as_secs_f64() * 1000.0,
            "success": if succeeded { "True" } else { "False" },
            "resultCode": call.status.map_or_else(|| "Faulted".to_owned(), |it| it.to_string()),
            "operation_Id": scope.operation_id,
            "operation_Name": scope.function,
            "operation_ParentId": scope.request_id,
            "sdkVersion": version::HTTP_SDK,
        })));
        self.inner.tables.append(Table::Dependencies, &Value::Object(row));
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

    fn trace(&self, line: &LogLine) -> Value {
        let mut row = self.common("trace", line.at, self.dimensions(line));
        row.insert("message".into(), json!(line.message));
        row.insert("severityLevel".into(), json!(line.level.severity()));
        row.extend(operation(line));
        Value::Object(row)
    }

    fn exception(&self, line: &LogLine, exception: &Exception) -> Value {
        let innermost = exception.innermost();
        let mut dimensions = object(self.dimensions(line));
        if !line.message.is_empty() {
            dimensions.insert("FormattedMessage".into(), json!(line.message));
        }
        let mut row = self.common("exception", line.at, Value::Object(dimensions));
        row.extend(object(json!({
            "type": exception.kind,
            "message": exception.message,
            "outerType": exception.kind,
            "outerMessage": exception.message,
            "innermostType": innermost.kind,
            "innermostMessage": innermost.message,
            "severityLevel": line.level.severity(),
        })));
        row.extend(operation(line));
        Value::Object(row)
    }

    fn function_app_log(&self, line: &LogLine) -> Value {
        let identity = &self.inner.identity;
        let exception = line.exception.as_ref();
        json!({
            "TimeGenerated": line.at.timestamp(),
            MONOTONIC: line.at.monotonic_ms(),
            "AppName": identity.app_name,
            "FunctionName": line.scope.as_ref().map_or("", |scope| &scope.function),
            "FunctionInvocationId": line.scope.as_ref().map_or("", |scope| &scope.id),
            "Level": line.level.name(),
            "LevelId": line.level.severity() + 1,
            "Category": line.category,
            "Message": line.message,
            "ExceptionType": exception.map_or("", |it| &it.kind),
            "ExceptionMessage": exception.map_or("", |it| &it.message),
            "ExceptionDetails": exception.map(ToString::to_string).unwrap_or_default(),
            "HostInstanceId": identity.host_instance_id,
            "HostVersion": version::HOST,
            "RoleInstance": identity.role_instance,
            "ProcessId": std::process::id(),
            "Type": "FunctionAppLogs",
        })
    }

    fn dimensions(&self, line: &LogLine) -> Value {
        let mut dimensions = json!({
            "HostInstanceId": self.inner.identity.host_instance_id,
            "LogLevel": line.level.name(),
            "Category": line.category,
        });
        if let Some(scope) = &line.scope {
            dimensions["InvocationId"] = json!(scope.id);
        }
        dimensions
    }

    fn common(&self, item: &str, at: Moment, dimensions: Value) -> Map<String, Value> {
        let identity = &self.inner.identity;
        object(json!({
            "timestamp": at.timestamp(),
            MONOTONIC: at.monotonic_ms(),
            "itemType": item,
            "itemCount": 1,
            "cloud_RoleName": identity.app_name,
            "cloud_RoleInstance": identity.role_instance,
            "sdkVersion": version::SDK,
            "customDimensions": dimensions,
        }))
    }
}

fn operation(line: &LogLine) -> Map<String, Value> {
    let scope = line.scope.as_ref();
    object(json!({
        "operation_Id": scope.map_or("", |it| &it.operation_id),
        "operation_Name": scope.map_or("", |it| &it.function),
        "operation_ParentId": scope.map_or("", |it| &it.request_id),
    }))
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
