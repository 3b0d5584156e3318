//! The host's rows, in the columns that Application Insights and the workspace make of what the host sends.
//!
//! Names of columns and dimensions are held to the telemetry of host 4.1037 (`tests/it/host_rows.rs`).

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{
    exception::Exception,
    line::{Level, LogLine, Scope, span_id},
    log::{BlobLookup, HandlerCall, Identity, Request},
    version,
};
use crate::{
    evidence::moment::{MONOTONIC, Moment},
    ingestion::bucket,
};

type Row = Map<String, Value>;

/// Category of what the host does for the values that a function is given.
const BINDINGS: &str = "Host.Bindings";
pub(super) const RESULTS: &str = "Host.Results";
pub(super) const RESULT_FORMAT: &str =
    "Result '{Name}' (started at={StartTime}, duration={Duration}, succeeded={Succeeded})";

/// In .NET's ticks of 100 ns, as the host counts.
pub(super) fn milliseconds(duration: Duration) -> f64 {
    (duration.as_nanos() / 100) as f64 / 10_000.0
}

pub(super) fn trace(identity: &Identity, line: &LogLine) -> Value {
    let mut row = common(identity, "trace", line.at, version::SDK, of_line(identity, line));
    row.insert("message".into(), json!(line.message));
    row.insert("severityLevel".into(), json!(line.level.severity()));
    row.extend(operation(line.scope.as_ref()));
    Value::Object(row)
}

pub(super) fn exception(identity: &Identity, line: &LogLine, exception: &Exception) -> Value {
    let mut dimensions = of_line(identity, line);
    if !line.message.is_empty() {
        dimensions.insert("FormattedMessage".into(), json!(line.message));
    }
    let innermost = exception.innermost();
    let mut row = common(identity, "exception", line.at, version::SDK, dimensions);
    row.extend(object(json!({
        "type": exception.kind,
        "message": exception.message,
        "outerType": exception.kind,
        "outerMessage": exception.message,
        "innermostType": innermost.kind,
        "innermostMessage": innermost.message,
        "problemId": innermost.kind,
        "severityLevel": line.level.severity(),
        "details": details(exception),
    })));
    row.extend(operation(line.scope.as_ref()));
    Value::Object(row)
}

/// The chain from the outermost on. There are no frames: nothing was thrown.
fn details(exception: &Exception) -> Vec<Value> {
    let chain = std::iter::successors(Some(exception), |it| it.inner.as_deref());
    let detail = |(place, it): (usize, &Exception)| {
        json!({
            "id": (place + 1).to_string(),
            "outerId": place.to_string(),
            "type": it.kind,
            "message": it.message,
            "hasFullStack": false,
        })
    };
    chain.enumerate().map(detail).collect()
}

pub(super) fn function_app_log(identity: &Identity, line: &LogLine) -> Value {
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

/// HTTP requests have the reason, the request and no operation name; blobs and durable functions the other way round.
pub(super) fn request(identity: &Identity, request: &Request<'_>) -> Value {
    let scope = request.scope;
    let level = if request.succeeded { Level::Information } else { Level::Error };
    let mut dimensions = dimensions(identity, level, RESULTS, Some(scope));
    dimensions.extend(object(json!({
        "FunctionExecutionTimeMs": milliseconds(request.execution).to_string(),
        "{OriginalFormat}": RESULT_FORMAT,
        "FullName": format!("Functions.{}", scope.function),
    })));
    let of_trigger = match request.http {
        Some((call, _)) => {
            json!({ "TriggerReason": call.reason, "HttpMethod": call.method, "HttpPath": call.path })
        }
        None => json!({ "OperationName": scope.function }),
    };
    dimensions.extend(object(of_trigger));
    let mut row = common(identity, "request", request.started, version::SDK, dimensions);
    row.extend(operation(Some(scope)));
    row.extend(object(json!({
        "id": scope.request_id,
        "name": scope.function,
        "duration": milliseconds(request.duration),
        "performanceBucket": bucket(milliseconds(request.duration)),
        "success": truth(request.succeeded),
        "resultCode": request.http.map_or_else(|| "0".to_owned(), |(_, status)| status.to_string()),
        "operation_ParentId": "",
    })));
    row.extend(request.http.map(|(call, _)| ("url".to_owned(), json!(call.url))));
    Value::Object(row)
}

pub(super) fn handler_call(identity: &Identity, call: &HandlerCall<'_>) -> Value {
    let scope = call.scope;
    let category = format!("Function.{}", scope.function);
    let dimensions = dimensions(identity, Level::Information, &category, Some(scope));
    let succeeded = call.status.is_some_and(|it| (200..400).contains(&it));
    let target = format!("127.0.0.1:{}", call.port);
    let mut row = dependency(identity, scope, call.started, call.duration, version::HTTP_SDK, dimensions);
    row.extend(object(json!({
        "type": "Http",
        "target": target,
        "name": format!("POST /{}", scope.function),
        "data": format!("http://{target}/{}", scope.function),
        "success": truth(succeeded),
        "resultCode": call.status.map_or_else(|| "Faulted".to_owned(), |it| it.to_string()),
    })));
    Value::Object(row)
}

/// The SDK's operation, and under it the request.
pub(super) fn blob_lookup(identity: &Identity, scope: &Scope, lookup: &BlobLookup) -> [Value; 2] {
    let begin = || {
        let dimensions = dimensions(identity, Level::Information, BINDINGS, Some(scope));
        dependency(identity, scope, lookup.started, lookup.duration, version::AZURE_SDK, dimensions)
    };
    let (mut operation, mut request) = (begin(), begin());
    operation.extend(object(json!({
        "type": "InProc | Microsoft.Storage",
        "name": "BlobBaseClient.GetProperties",
        "success": truth(true),
    })));
    let url = &lookup.url;
    let target = [url.host_str().unwrap_or_default(), &url.port().map(|it| format!(":{it}")).unwrap_or_default()];
    request.extend(object(json!({
        "type": "Http",
        "target": target.concat(),
        "name": format!("HEAD {}", url.path()),
        "data": url.as_str(),
        "success": truth(true),
        "resultCode": "200",
        "operation_ParentId": operation["id"],
    })));
    [operation, request].map(Value::Object)
}

fn dependency(
    identity: &Identity,
    scope: &Scope,
    started: Moment,
    duration: Duration,
    sdk: &str,
    dimensions: Row,
) -> Row {
    let mut row = common(identity, "dependency", started, sdk, dimensions);
    row.extend(operation(Some(scope)));
    let ms = milliseconds(duration);
    row.extend(object(json!({ "id": span_id(), "duration": ms, "performanceBucket": bucket(ms) })));
    row
}

/// An aggregation of one value, which is how the host sends each of its own.
pub(super) fn metric(identity: &Identity, name: &str, value: f64) -> Value {
    let dimensions = dimensions(identity, Level::Information, "Host.Aggregator", None);
    let mut row = common(identity, "customMetric", Moment::now(), version::METRIC_SDK, dimensions);
    row.remove("itemCount");
    row.extend(operation(None));
    row.extend(object(json!({
        "name": name, "value": value, "valueCount": 1, "valueSum": value, "valueMin": value, "valueMax": value,
    })));
    Value::Object(row)
}

/// What a line says of itself: where it came from, and the values in it by their names.
fn of_line(identity: &Identity, line: &LogLine) -> Row {
    let mut dimensions = dimensions(identity, line.level, &line.category, line.scope.as_ref());
    if let Some((id, name)) = line.event {
        dimensions.insert("EventId".into(), json!(id.to_string()));
        dimensions.insert("EventName".into(), json!(name));
    }
    dimensions.insert("prop__{OriginalFormat}".into(), json!(line.format.as_ref().unwrap_or(&line.message)));
    let of_request = line.scope.as_ref().and_then(|it| it.http_request_id.as_ref());
    dimensions.extend(of_request.map(|it| ("prop__MS_AzureFunctionsRequestID".to_owned(), json!(it))));
    dimensions.extend(line.values.iter().map(|(name, value)| (format!("prop__{name}"), json!(value))));
    dimensions
}

fn dimensions(identity: &Identity, level: Level, category: &str, scope: Option<&Scope>) -> Row {
    let mut dimensions = object(json!({
        "ProcessId": std::process::id().to_string(),
        "HostInstanceId": identity.host_instance_id,
        "LogLevel": level.name(),
        "Category": category,
    }));
    dimensions.extend(scope.map(|it| ("InvocationId".to_owned(), json!(it.id))));
    dimensions
}

fn common(identity: &Identity, item: &str, at: Moment, sdk: &str, dimensions: Row) -> Row {
    object(json!({
        "timestamp": at.timestamp(),
        MONOTONIC: at.monotonic_ms(),
        "itemType": item,
        "itemCount": 1,
        "cloud_RoleName": identity.app_name,
        "cloud_RoleInstance": identity.role_instance,
        "sdkVersion": sdk,
        "customDimensions": dimensions,
    }))
}

fn operation(scope: Option<&Scope>) -> Row {
    object(json!({
        "operation_Id": scope.map_or("", |it| &it.operation_id),
        "operation_Name": scope.map_or("", |it| &it.function),
        "operation_ParentId": scope.map_or("", |it| &it.request_id),
    }))
}

fn truth(success: bool) -> &'static str {
    if success { "True" } else { "False" }
}

fn object(value: Value) -> Row {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
