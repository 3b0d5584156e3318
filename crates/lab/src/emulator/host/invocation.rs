//! One invocation: from "Executing" to "Executed", with its request row.

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use serde_json::{Map, Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    Host,
    dispatcher::HTTP_WORKER_SERVICE,
    exception::Exception,
    http_client::{self, Request},
    line::{Level, LogLine, Scope, span_id},
    log::{self, BlobLookup, HttpCall},
    reply::{self, Reply},
    rows::{RESULT_FORMAT, RESULTS},
    version,
};
use crate::evidence::moment::Moment;
use custom_handler::{
    clock,
    wire::{Envelope, header, timespan},
};

const EXCEPTION_HANDLER: &str = "Microsoft.Azure.WebJobs.Script.WebHost.WebScriptHostExceptionHandler";

/// What a trigger asks the host to run.
#[derive(Clone, Debug, Default)]
pub struct Call {
    /// Function to run, as its folder is called.
    pub function: String,
    /// Why, for the log: `New blob detected(LogsAndContainerScan): input/a.bin`.
    pub reason: String,
    /// The blob it is about, `container/name`; empty for other triggers.
    pub blob: String,
    /// What the log says about the trigger's message, if anything.
    pub trigger_details: Option<String>,
    /// Input bindings by name, encoded as they go over the wire.
    pub data: Map<String, Value>,
    /// Binding data, without `sys`, which the host adds.
    pub metadata: Map<String, Value>,
    /// Binding data that comes after `sys`: the properties of the trigger's value.
    pub properties: Map<String, Value>,
    /// What is done with a good answer; nothing, if not set.
    pub settle: Option<Settle>,
    /// The HTTP request that calls it. Its row then waits for [`Host::answered`]: it has the status.
    pub http: Option<HttpCall>,
    /// When its trigger began with it; now, if not set.
    pub begun: Option<Begun>,
    /// The look at the blob that the trigger took for it.
    pub lookup: Option<BlobLookup>,
}

/// The beginning of a measured time.
#[derive(Clone, Copy, Debug)]
pub struct Begun {
    pub at: Moment,
    instant: Instant,
}

impl Begun {
    pub fn now() -> Self {
        Self { at: Moment::now(), instant: Instant::now() }
    }

    pub fn elapsed(&self) -> Duration {
        self.instant.elapsed()
    }
}

/// Makes something of an answer; its exception fails the invocation, whose answer is taken all the same.
#[derive(Clone)]
pub struct Settle(Arc<dyn Fn(&Reply) -> Settling<'_> + Send + Sync>);

type Settling<'a> = BoxFuture<'a, Result<(), Exception>>;

impl Settle {
    pub fn new(settle: impl Fn(&Reply) -> Settling<'_> + Send + Sync + 'static) -> Self {
        Self(Arc::new(settle))
    }
}

impl std::fmt::Debug for Settle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Settle")
    }
}

/// How an invocation ended.
#[derive(Clone, Debug)]
pub struct InvocationOutcome {
    pub invocation_id: String,
    /// Whether the function succeeded.
    pub succeeded: bool,
    /// The exception it failed with.
    pub exception: Option<Exception>,
    /// Whether it was the function's time-out.
    pub timed_out: bool,
    /// What the handler answered, if that could be understood.
    pub reply: Option<Reply>,
    /// From "Executing" to "Executed".
    pub duration: Duration,
    /// What the row of an HTTP request says; the status is still to come.
    pub unanswered: Option<Unanswered>,
}

/// The row of an HTTP request that has not been answered yet.
#[derive(Clone, Debug)]
pub struct Unanswered {
    scope: Scope,
    begun: Begun,
    execution: Duration,
    succeeded: bool,
    call: HttpCall,
}

impl Host {
    /// Writes the row of an HTTP request.
    pub fn answered(&self, request: Unanswered, status: u16) {
        self.inner.log.request(&log::Request {
            scope: &request.scope,
            started: request.begun.at,
            duration: request.begun.elapsed(),
            execution: request.execution,
            succeeded: request.succeeded,
            http: Some((&request.call, status)),
        });
    }

    /// Runs one invocation, from "Executing" to "Executed". After a function time-out it returns only when the handler
    /// has been restarted.
    pub async fn invoke(&self, call: Call) -> InvocationOutcome {
        let inner = &self.inner;
        let begun = call.begun.unwrap_or_else(Begun::now);
        let mut scope = Scope::new(&call.function);
        scope.http_request_id = call.http.as_ref().map(|_| Uuid::new_v4().to_string());
        if let Some(lookup) = &call.lookup {
            inner.log.blob_lookup(&scope, lookup);
        }
        let (started, settle, http) = (Begun::now(), call.settle.clone(), call.http.clone());
        self.executing(&call, &scope);
        let ended = Ended { scope: &scope, begun, started, http };
        // A task of its own: the real host's goes on after a time-out too, and may then stop the host.
        let work = inner.tasks.spawn(self.clone().carry_out(call, scope.clone()));
        let result = tokio::select! {
            result = work => result.unwrap_or_else(|error| Err(Exception::new("System.Exception", error.to_string()))),
            () = tokio::time::sleep(inner.options.function_timeout) => {
                return self.timed_out(ended).await;
            }
        };
        let (reply, failure) = match result {
            Ok(reply) => {
                let failure = match reply.as_ref().zip(settle) {
                    Some((reply, settle)) => settle.0(reply).await.err(),
                    None => None,
                };
                (reply, failure)
            }
            Err(cause) => (None, Some(cause)),
        };
        let exception = failure.map(|cause| Exception::of_invocation(&scope.function, cause));
        InvocationOutcome { reply, ..self.executed(&ended, exception) }
    }

    fn executing(&self, call: &Call, scope: &Scope) {
        let log = &self.inner.log;
        let category = format!("Function.{}", call.function);
        let name = format!("Functions.{}", call.function);
        let mut values = vec![("functionName", name.as_str()), ("invocationId", &scope.id)];
        if !call.reason.is_empty() {
            values.push(("reason", &call.reason));
        }
        let format = "Executing '{functionName}' (Reason='{reason}', Id={invocationId})";
        let line = LogLine::formatted(&category, Level::Information, format, &values);
        log.record(line.event(1, "FunctionStarted").within(scope));
        log.dispatched(scope, &call.blob);
        if let Some(details) = &call.trigger_details {
            log.record(trigger_details(&category, details).within(scope));
        }
    }

    /// Calls the handler and waits for its result.
    async fn carry_out(self, call: Call, scope: Scope) -> Result<Option<Reply>, Exception> {
        let inner = &self.inner;
        self.await_initialized().await;
        let of_call = format!("for function: '{}' invocationId: '{}'", call.function, scope.id);
        let debug = |text: String| {
            inner.log.record(LogLine::new(HTTP_WORKER_SERVICE, Level::Debug, text).within(&scope));
        };
        debug(format!("Sending invocation {of_call}"));
        let request = self.request(call, &scope);
        let begun = Begun::now();
        let answer = http_client::send(inner.port, request).await;
        let status = answer.as_ref().ok().map(|it| it.status);
        let port = inner.port;
        let (started, duration) = (begun.at, begun.elapsed());
        inner.log.handler_call(&log::HandlerCall { scope: &scope, port, started, duration, status });
        let response = answer?;
        debug(format!("Received invocation response {of_call}"));
        let Some(reply) = reply::read(&response)? else {
            // The host forgets to finish an invocation whose result is null; only the time-out ends it.
            inner.closing.cancelled().await;
            return Ok(None);
        };
        let is_set = [(!reply.outputs.is_empty(), "Outputs"), (!reply.return_value.is_null(), "ReturnValue")];
        for (is_set, what) in is_set {
            if !is_set {
                debug(format!("{what} not set on http response for invocationId:{}", scope.id));
            }
        }
        let category = format!("Function.{}.User", scope.function);
        for line in &reply.logs {
            inner.log.record(LogLine::new(&category, Level::Information, line).within(&scope));
        }
        Ok(Some(reply))
    }

    fn request(&self, call: Call, scope: &Scope) -> Request {
        let mut metadata = call.metadata;
        let sys = json!({
            "MethodName": call.function,
            "UtcNow": round_trip(&clock::timestamp(clock::utc_now())),
            "RandGuid": Uuid::new_v4().to_string(),
        });
        metadata.insert("sys".into(), sys);
        metadata.extend(call.properties);
        let envelope = Envelope { data: call.data, metadata };
        Request {
            method: "POST",
            path: format!("/{}", call.function),
            headers: vec![
                (header::HOST_VERSION, version::HOST.to_owned()),
                (header::INVOCATION_ID, scope.id.clone()),
                ("User-Agent", format!("Azure-Functions-Host/{}", version::HOST)),
            ],
            traceparent: self.inner.options.telemetry_configured.then(|| traceparent(Some(&scope.operation_id))),
            body: Some(serde_json::to_vec(&envelope).unwrap_or_default()),
        }
    }

    fn executed(&self, ended: &Ended<'_>, exception: Option<Exception>) -> InvocationOutcome {
        let log = &self.inner.log;
        let Ended { scope, begun, started, .. } = *ended;
        let execution = started.elapsed();
        let succeeded = exception.is_none();
        let (level, status, event) =
            if succeeded { (Level::Information, "Succeeded", 2) } else { (Level::Error, "Failed", 3) };
        let format = "Executed '{functionName}' ({status}, Id={invocationId}, Duration={executionDuration}ms)";
        let values = [
            ("functionName", &*format!("Functions.{}", scope.function)),
            ("status", status),
            ("invocationId", &scope.id),
            ("executionDuration", &execution.as_millis().to_string()),
        ];
        let line = LogLine::formatted(format!("Function.{}", scope.function), level, format, &values);
        let mut line = line.event(event, "FunctionCompleted").within(scope);
        line.exception = exception.clone();
        log.record(line);
        if let Some(exception) = exception.clone() {
            log.record(failed_result(ended, execution).because(exception));
        }
        self.inner.results.add(&scope.function, execution, succeeded, log);
        let unanswered =
            ended.http.clone().map(|call| Unanswered { scope: scope.clone(), begun, execution, succeeded, call });
        if unanswered.is_none() {
            let (started, duration) = (begun.at, begun.elapsed());
            log.request(&log::Request { scope, started, duration, execution, succeeded, http: None });
        }
        InvocationOutcome {
            invocation_id: scope.id.clone(),
            succeeded,
            exception,
            timed_out: false,
            reply: None,
            duration: execution,
            unanswered,
        }
    }

    /// Fails the invocation at once, then kills the handler with everything else in flight: no cancellation reaches it.
    async fn timed_out(&self, ended: Ended<'_>) -> InvocationOutcome {
        let log = &self.inner.log;
        let Scope { id, function, .. } = ended.scope;
        let limit = timespan::print(self.inner.options.function_timeout);
        let message = format!(
            "Timeout value of {limit} exceeded by function 'Functions.{function}' (Id: '{id}'). Initiating cancellation."
        );
        log.record(LogLine::new(format!("Function.{function}"), Level::Error, message).within(ended.scope));
        let exception = Exception::new(
            "Microsoft.Azure.WebJobs.Host.FunctionTimeoutException",
            format!("Timeout value of {limit} was exceeded by function: Functions.{function}"),
        );
        let outcome = InvocationOutcome { timed_out: true, ..self.executed(&ended, Some(exception)) };
        tokio::time::sleep(self.inner.options.timeout_grace).await;
        let message =
            format!("A function timeout has occurred. Restarting worker process executing invocationId '{id}'.");
        log.write(EXCEPTION_HANDLER, Level::Warning, message);
        self.restart(None).await;
        log.write(EXCEPTION_HANDLER, Level::Warning, "Restart of language worker process(es) completed.");
        outcome
    }
}

struct Ended<'a> {
    scope: &'a Scope,
    begun: Begun,
    started: Begun,
    http: Option<HttpCall>,
}

/// The details come as `name: value, name: value`.
fn trigger_details(category: &str, details: &str) -> LogLine {
    let values: Vec<(&str, &str)> = details.split(", ").filter_map(|it| it.split_once(": ")).collect();
    let names: Vec<String> = values.iter().map(|(name, _)| format!("{name}: {{{name}}}")).collect();
    let format = format!("Trigger Details: {}", names.join(", "));
    LogLine::formatted(category, Level::Information, &format, &values)
}

/// To Application Insights the line is the request row, so that it has no text here: only its exception is told.
fn failed_result(ended: &Ended<'_>, execution: Duration) -> LogLine {
    let scope = ended.scope;
    let milliseconds = |at: time::OffsetDateTime| {
        let text = clock::timestamp(at);
        format!("{}Z", text.get(..23).unwrap_or(&text))
    };
    let mut line = LogLine::new(RESULTS, Level::Error, "").within(scope);
    line.format = Some(RESULT_FORMAT.to_owned());
    line.values = [
        ("FullName", format!("Functions.{}", scope.function)),
        ("InvocationId", scope.id.clone()),
        ("Name", scope.function.clone()),
        ("StartTime", milliseconds(ended.started.at.at)),
        ("EndTime", milliseconds(ended.started.at.at + execution)),
        ("Duration", timespan::print(execution)),
        ("Succeeded", "False".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    line
}

/// A W3C trace context, not sampled, as the host starts one.
pub(super) fn traceparent(operation_id: Option<&str>) -> String {
    let trace_id = operation_id.map_or_else(|| Uuid::new_v4().simple().to_string(), str::to_owned);
    format!("00-{trace_id}-{}-00", span_id())
}

/// Newtonsoft drops the zeros at the end of a fraction of a second.
fn round_trip(timestamp: &str) -> String {
    format!("{}Z", timestamp.trim_end_matches('Z').trim_end_matches('0').trim_end_matches('.'))
}
