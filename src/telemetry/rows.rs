//! Turns what was queued into the records and spans of OpenTelemetry, on the exporter's thread.

use std::time::SystemTime;

use opentelemetry::{
    InstrumentationScope, KeyValue, SpanId, TraceFlags, TraceId,
    logs::{AnyValue, LogRecord, Logger, LoggerProvider, Severity},
    trace::{SpanContext, SpanKind, Status, TraceState},
};
use opentelemetry_sdk::{
    logs::{SdkLogRecord, SdkLogger, SdkLoggerProvider},
    trace::{SpanData, SpanEvents, SpanLinks},
};
use tracing::Level;
use uuid::Uuid;

use super::{
    episode_text,
    fields::Said,
    queue::{Call, Line},
    text::{LONGEST, LONGEST_NAME, presentable},
};

/// As the host and the guides name calls of a blob service.
const DEPENDENCY_TYPE: &str = "Azure blob";
/// Names of instance and request in custom dimensions, as the corrected queries have them.
const INSTANCE_ID: &str = "instanceId";
const HOST_OPERATION_ID: &str = "HostOperationId";
const INVOCATION_ID: &str = "InvocationId";

/// Makes rows of one role and instance, for one storage account.
pub(super) struct Rows {
    scope: InstrumentationScope,
    logger: SdkLogger,
    /// Host of the account's blob service.
    target: String,
}

impl Rows {
    /// The names stand in the scope: the exporter makes tags of its attributes, and no custom dimensions.
    pub(super) fn new(names: Vec<KeyValue>, target: &str) -> Self {
        let scope = InstrumentationScope::builder("handler").with_attributes(names).build();
        // It only makes empty records: there is no processor.
        let logger = SdkLoggerProvider::builder().build().logger_with_scope(scope.clone());
        Self { scope, logger, target: presentable(target, LONGEST_NAME).into_owned() }
    }

    pub(super) fn scope(&self) -> &InstrumentationScope {
        &self.scope
    }

    pub(super) fn record(&self, line: Line) -> SdkLogRecord {
        let Line { at, level, target, mut fields } = line;
        let text = if target == super::EPISODE { episode_text(&fields) } else { fields.take("message") };
        let mut record = self.logger.create_log_record();
        record.set_timestamp(SystemTime::from(at));
        record.set_severity_number(severity(level));
        record.set_body(AnyValue::from(presentable(&text, LONGEST).into_owned()));
        if [super::TRACE, super::EPISODE].contains(&target) {
            let (instance, host) = (fields.take("operation_id"), fields.take("host_operation_id"));
            // An id that is no trace id has no operation of its own: its lines are filed with the request of the host.
            if let Some(operation) = trace_id(&instance).or_else(|| trace_id(&host)) {
                record.set_trace_context(operation, root_span(operation), None);
            }
            fields.0.push((INSTANCE_ID, Said::Text(instance)));
            fields.0.push((HOST_OPERATION_ID, Said::Text(host)));
        }
        for (name, said) in fields.0 {
            record.add_attribute(name, presented(said));
        }
        record
    }

    pub(super) fn span(&self, call: Call) -> SpanData {
        let Call { began, took, mut fields } = call;
        let invocation = fields.take("invocation_id");
        let operation = trace_id(&fields.take("operation_id")).unwrap_or_else(|| operation_of(&invocation));
        let start_time = SystemTime::from(began);
        let is_success = fields.get("success") == Some(&Said::Flag(true));
        let code = fields.take("result_code");
        let mut text = |name| presentable(&fields.take(name), LONGEST).into_owned();
        let (name, detail) = (text("name"), text("detail"));
        SpanData {
            span_context: SpanContext::new(operation, new_span_id(), TraceFlags::SAMPLED, false, TraceState::default()),
            parent_span_id: SpanId::INVALID,
            parent_span_is_remote: false,
            span_kind: SpanKind::Client,
            name: presentable(&name, LONGEST_NAME).into_owned().into(),
            start_time,
            end_time: start_time + took,
            attributes: vec![
                // What the exporter makes type, target, result code and data of.
                KeyValue::new("rpc.system.name", DEPENDENCY_TYPE),
                KeyValue::new("server.address", self.target.clone()),
                KeyValue::new("http.response.status_code", presentable(&code, LONGEST_NAME).into_owned()),
                KeyValue::new("url.full", detail),
                KeyValue::new(INVOCATION_ID, presentable(&invocation, LONGEST).into_owned()),
            ],
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: if is_success { Status::Ok } else { Status::error("") },
            instrumentation_scope: self.scope.clone(),
        }
    }
}

fn severity(level: Level) -> Severity {
    match level {
        Level::ERROR => Severity::Error,
        Level::WARN => Severity::Warn,
        Level::INFO => Severity::Info,
        _ => Severity::Debug,
    }
}

fn presented(said: Said) -> AnyValue {
    match said {
        Said::Text(text) => presentable(&text, LONGEST).into_owned().into(),
        other => other.into(),
    }
}

/// A text as a trace id: 32 hex digits in lower case, as the tables are compared by case, and not all of them 0.
fn trace_id(text: &str) -> Option<TraceId> {
    let is_hex = text.len() == 32 && text.bytes().all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f'));
    is_hex.then(|| TraceId::from_hex(text).ok()).flatten().filter(|it| *it != TraceId::INVALID)
}

/// The remote span all lines of an operation have for a parent: the same for all of them, from whichever process.
fn root_span(operation: TraceId) -> SpanId {
    let [.., a, b, c, d, e, f, g, h] = operation.to_bytes();
    match SpanId::from_bytes([a, b, c, d, e, f, g, h]) {
        SpanId::INVALID => SpanId::from_bytes([0, 0, 0, 0, 0, 0, 0, 1]),
        span => span,
    }
}

/// A host without telemetry sends no trace id: the calls of an invocation then belong together by its own id.
fn operation_of(invocation: &str) -> TraceId {
    let id = Uuid::try_parse(invocation).ok().filter(|it| !it.is_nil()).unwrap_or_else(Uuid::new_v4);
    TraceId::from_bytes(id.into_bytes())
}

fn new_span_id() -> SpanId {
    SpanId::from_bytes(Uuid::new_v4().as_u64_pair().1.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use custom_handler::clock;

    use super::*;

    const INSTANCE: &str = "0af7651916cd43dd8448eb211c80319c";
    use super::super::fields::Fields;
    const HOST: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    fn text(text: &str) -> Said {
        Said::Text(text.to_owned())
    }

    fn record(target: &'static str, fields: Vec<(&'static str, Said)>) -> SdkLogRecord {
        let line = Line { at: clock::utc_now(), level: Level::INFO, target, fields: Fields(fields) };
        Rows::new(Vec::new(), "host").record(line)
    }

    #[test]
    fn a_line_is_filed_under_its_instance_where_that_is_a_trace_id() {
        for (instance, operation) in [
            (INSTANCE, Some(INSTANCE)),
            ("my-instance", Some(HOST)),
            ("0AF7651916CD43DD8448EB211C80319C", Some(HOST)),
            ("00000000000000000000000000000000", Some(HOST)),
            ("+af7651916cd43dd8448eb211c80319c", Some(HOST)),
        ] {
            let fields =
                vec![("message", text("m")), ("operation_id", text(instance)), ("host_operation_id", text(HOST))];
            let record = record(super::super::TRACE, fields);
            let found = record.trace_context().map(|it| it.trace_id.to_string());
            assert_eq!(found.as_deref(), operation, "{instance}");
            assert_ne!(record.trace_context().unwrap().span_id, SpanId::INVALID);
            let dimensions: Vec<_> = record.attributes_iter().map(|it| (it.0.as_str(), it.1.clone())).collect();
            assert_eq!(dimensions, [(INSTANCE_ID, instance.to_owned().into()), (HOST_OPERATION_ID, HOST.into())]);
        }
        assert!(record(super::super::TRACE, vec![("operation_id", text("mine"))]).trace_context().is_none());
        assert!(record("incident_labs", vec![("message", text("m"))]).trace_context().is_none());
    }

    #[test]
    fn a_row_is_as_severe_as_its_line() {
        for (level, number) in
            [(Level::ERROR, Severity::Error), (Level::WARN, Severity::Warn), (Level::INFO, Severity::Info)]
        {
            let at = clock::utc_now();
            let line = Line { at, level, target: "worker", fields: Fields(vec![("message", text("m"))]) };
            let record = Rows::new(Vec::new(), "host").record(line);
            assert_eq!(record.severity_number(), Some(number));
            assert_eq!(record.timestamp(), Some(SystemTime::from(at)));
        }
    }

    #[test]
    fn a_call_without_a_request_of_the_host_is_filed_with_its_invocation() {
        let span = |operation: &str, invocation: &str| {
            let fields = Fields(vec![("operation_id", text(operation)), ("invocation_id", text(invocation))]);
            let call = Call { began: clock::utc_now(), took: Duration::from_millis(3), fields };
            Rows::new(Vec::new(), "host").span(call)
        };
        let invocation = "1f0d0000-0000-0000-0000-000000000001";
        assert_eq!(span(HOST, invocation).span_context.trace_id().to_string(), HOST);
        assert_eq!(span("", invocation).span_context.trace_id().to_string(), invocation.replace('-', ""));
        assert_ne!(span("", "x").span_context.trace_id(), TraceId::INVALID);
        let open = span(HOST, invocation);
        assert!(matches!(open.status, Status::Error { .. }), "what never said how it ended has failed");
        assert_eq!(open.end_time.duration_since(open.start_time).unwrap(), Duration::from_millis(3));
    }

    #[test]
    fn no_text_of_a_row_is_longer_than_the_exporter_can_cut() {
        let long = || text(&"ü".repeat(9_000));
        let record = record(super::super::TRACE, vec![("message", long()), ("operation_id", long()), ("a", long())]);
        assert_eq!(record.body().map(|it| format!("{it:?}").len() < 8_100), Some(true));
        for (name, value) in record.attributes_iter() {
            assert!(matches!(value, AnyValue::String(it) if it.as_str().len() <= LONGEST), "{name}");
        }
        let fields = ["name", "detail", "result_code", "operation_id", "invocation_id"].map(|it| (it, long()));
        let call = Call { began: clock::utc_now(), took: Duration::ZERO, fields: Fields(fields.to_vec()) };
        let span = Rows::new(Vec::new(), &"ü".repeat(9_000)).span(call);
        assert!(span.name.len() <= LONGEST_NAME);
        for it in span.attributes {
            let longest = if ["url.full", INVOCATION_ID].contains(&it.key.as_str()) { LONGEST } else { LONGEST_NAME };
            assert!(it.value.as_str().len() <= longest, "{}", it.key);
        }
    }
}
