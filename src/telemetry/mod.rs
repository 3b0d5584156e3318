//! Where log lines, gauges and dependencies go. Nothing else knows: the other modules speak `tracing`.
//!
//! - Events of target `gauge` carry `name` and `value`; spans of target `dependency` last as long as the call they stand for.
//! - Events of target `trace` are about an orchestration: they carry its id as `operation_id`, under which they are filed.
//! - Everything else is an ordinary line for the host: stdout, or stderr from WARN on, which the host takes for an error.

mod tables;

use std::io;

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
