//! Where log lines, gauges and dependencies go. Nothing else knows: the other modules speak `tracing`.
//!
//! - Events of target `gauge` carry `name` and `value`; spans of target `dependency` last as long as the call they stand for.
//! - Events of target `trace` are about an orchestration: they carry its id as `operation_id`, under which they are filed.
//! - Everything else is an ordinary line for the host: stdout, or stderr from WARN on, which the host takes for an error.

pub mod moment;
pub mod row_file;
mod tables;

use std::{io, time::Duration};

use axum::http::HeaderMap;
use custom_handler::{Episode, Level as Severity, durable::Turn, operation_id};
use tracing::Level;
use tracing_subscriber::{
    Layer, Registry,
    filter::{LevelFilter, Targets},
    fmt::writer::MakeWriterExt,
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

use self::tables::TableLayer;
use crate::settings::{Settings, TelemetrySettings};

/// Target of gauge events.
const GAUGE: &str = "gauge";
/// Target of dependency spans.
const DEPENDENCY: &str = "dependency";

/// Target of events about an orchestration.
const TRACE: &str = "trace";

/// Sets up the front's telemetry.
///
/// # Errors
/// When the folder of the local sink cannot be written.
pub fn start_front(settings: &Settings) -> io::Result<()> {
    let TelemetrySettings { folder, role_name, role_instance } = &settings.telemetry;
    let target = settings.blob.as_ref().and_then(|it| it.storage.blob_endpoint.host_str()).unwrap_or_default();
    let tables =
        folder.as_ref().map(|folder| TableLayer::open(folder, role_name, role_instance, target)).transpose()?;
    // Where nothing else keeps them, the lines about orchestrations are ordinary lines.
    let also = if tables.is_none() { Some(TRACE) } else { None };
    let wanted = [GAUGE, DEPENDENCY, TRACE].map(|it| (it, Level::INFO));
    let tables = tables.map(|layer| layer.with_filter(Targets::new().with_targets(wanted)));
    tracing_subscriber::registry().with(lines(also)).with(tables).init();
    Ok(())
}

/// Files the orchestrator's lines and one about the episode under the instance's id. The trace id of the host's request leads to the
/// row of that request.
pub fn tell_episode(episode: &Episode, headers: &HeaderMap) {
    let host_operation_id = operation_id(headers);
    let Turn { response, log, past_events, new_events, outcome } = episode.turn();
    let id = response.instance_id.as_str();
    for line in log {
        let message = line.message.as_str();
        match line.level {
            Severity::Information => {
                tracing::info!(target: TRACE, operation_id = id, host_operation_id, "{message}")
            }
            Severity::Warning => tracing::warn!(target: TRACE, operation_id = id, host_operation_id, "{message}"),
            Severity::Error => tracing::error!(target: TRACE, operation_id = id, host_operation_id, "{message}"),
        }
    }
    let timing = episode.timing();
    let ms = |it: Duration| it.as_secs_f64() * 1000.0;
    tracing::info!(
        target: TRACE,
        operation_id = id,
        host_operation_id,
        past_events,
        new_events,
        decode_ms = ms(timing.decode),
        replay_ms = ms(timing.replay),
        encode_ms = ms(timing.encode),
        outcome = ?outcome,
        "Episode past={past_events} new={new_events} decode={:.3}ms replay={:.3}ms encode={:.3}ms outcome={outcome:?}",
        ms(timing.decode),
        ms(timing.replay),
        ms(timing.encode),
    );
}

/// Sets up the worker's: lines only, which its front passes on.
pub fn start_worker() {
    tracing_subscriber::registry().with(lines(None)).init();
}

/// Our own lines alone: the SDK below us logs requests, headers included.
fn lines(also: Option<&'static str>) -> impl Layer<Registry> {
    let wanted = std::iter::once("incident_labs").chain(also).map(|it| (it, LevelFilter::INFO));
    tracing_subscriber::fmt::layer()
        .without_time()
        .with_target(false)
        .with_ansi(false)
        .log_internal_errors(false)
        .with_writer(io::stderr.with_max_level(Level::WARN).or_else(io::stdout))
        .with_filter(Targets::new().with_targets(wanted))
}
