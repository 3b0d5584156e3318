//! Where log lines, gauges and dependencies go. Nothing else knows: the other modules speak `tracing`.
//!
//! - Events of target `gauge` carry a number for each gauge; spans of target `dependency` last as long as the call they stand for.
//! - Events of target `trace` are about an orchestration: they carry its id as `operation_id`, under which they are filed. Those of
//!   target `episode` are about one episode of it, and have no text until one is needed.
//! - Events of target `worker` are lines the worker wrote.
//! - With a connection string all of it goes to Application Insights, and there alone: the host makes a row of each line on stdout.
//!   Without one lines go to stdout, or to stderr from WARN on.
//! - The lines of the workers' lives and of failed invocations are no events: they go to stdout and stderr in any case.

mod client;
mod connection;
mod exporter;
mod fields;
mod gauges;
mod layer;
mod lines;
mod losses;
mod queue;
mod rows;
mod sign_in;
mod text;

use std::time::Duration;

use axum::http::HeaderMap;
use custom_handler::{Episode, Level as Severity, console, durable::Turn, operation_id};
use tracing::Level;
use tracing_subscriber::{Layer, filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};

pub use self::exporter::{GATHER, Telemetry};
use self::{fields::Fields, layer::ExportLayer, lines::LineLayer};
use crate::settings::Settings;

/// Target of gauge events.
const GAUGE: &str = "gauge";
/// Target of dependency spans.
const DEPENDENCY: &str = "dependency";
/// Target of events about an orchestration.
const TRACE: &str = "trace";
/// Target of events about an episode.
const EPISODE: &str = "episode";
/// Target of the worker's lines.
const WORKER: &str = "worker";
/// Our own lines. The SDK below us logs requests, headers included, and the exporter's own requests must not become rows.
const OURS: &str = "incident_labs";

/// Sets up the front's telemetry. A connection string that cannot be used is told, and all else works without it.
pub fn start_front(settings: &Settings) -> Telemetry {
    let telemetry = &settings.telemetry;
    let target = settings.blob.as_ref().and_then(|it| it.storage.blob_endpoint.host_str()).unwrap_or_default();
    let started = telemetry.connection_string.as_ref().map(|it| Telemetry::start(telemetry, it.secret(), target));
    match started {
        Some(Ok((running, queue))) => {
            let wanted = [GAUGE, DEPENDENCY, TRACE, EPISODE, WORKER, OURS].map(|it| (it, Level::INFO));
            let layer = ExportLayer::new(queue, exporter::names(telemetry));
            tracing_subscriber::registry().with(layer.with_filter(Targets::new().with_targets(wanted))).init();
            running
        }
        refused => {
            if let Some(Err(error)) = refused {
                console::err(&format!("warn: running without telemetry: {} {error}", error.setting()));
            }
            let wanted = [TRACE, WORKER, OURS].into_iter().chain(telemetry.is_verbose.then_some(EPISODE));
            let wanted = Targets::new().with_targets(wanted.map(|it| (it, Level::INFO)));
            tracing_subscriber::registry().with(LineLayer::new().with_filter(wanted)).init();
            Telemetry::none()
        }
    }
}

/// Sets up the worker's: lines only, which its front passes on.
pub fn start_worker() {
    let wanted = Targets::new().with_target(OURS, Level::INFO);
    tracing_subscriber::registry().with(LineLayer::new().with_filter(wanted)).init();
}

/// A warning of the front's own.
pub fn warn(line: &str) {
    tracing::warn!("{line}");
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
            Severity::Information => tracing::info!(target: TRACE, message, operation_id = id, host_operation_id),
            Severity::Warning => tracing::warn!(target: TRACE, message, operation_id = id, host_operation_id),
            Severity::Error => tracing::error!(target: TRACE, message, operation_id = id, host_operation_id),
        }
    }
    let timing = episode.timing();
    let ms = |it: Duration| it.as_secs_f64() * 1000.0;
    tracing::info!(
        target: EPISODE,
        operation_id = id,
        host_operation_id,
        past_events,
        new_events,
        decode_ms = ms(timing.decode),
        replay_ms = ms(timing.replay),
        encode_ms = ms(timing.encode),
        outcome = ?outcome,
    );
}

/// The text of an episode's row.
fn episode_text(fields: &Fields) -> String {
    let ms = |name: &str| fields.real(name);
    format!(
        "Episode past={} new={} decode={:.3}ms replay={:.3}ms encode={:.3}ms outcome={}",
        fields.real("past_events"),
        fields.real("new_events"),
        ms("decode_ms"),
        ms("replay_ms"),
        ms("encode_ms"),
        fields.text("outcome"),
    )
}
