//! Where log lines, gauges and dependencies go. Nothing else knows: the other modules speak `tracing`.
//!
//! - Events of target `gauge` carry `name` and `value`; spans of target `dependency` last as long as the call they stand for.
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

/// Sets up the front's telemetry.
///
/// # Errors
/// When the folder of the local sink cannot be written.
pub fn start_front(settings: &Settings) -> io::Result<()> {
    let TelemetrySettings { folder, role_name, role_instance } = &settings.telemetry;
    let target = settings.storage.blob_endpoint.host_str().unwrap_or_default();
    let tables =
        folder.as_ref().map(|folder| TableLayer::open(folder, role_name, role_instance, target)).transpose()?.map(
            |layer| layer.with_filter(Targets::new().with_targets([(GAUGE, Level::INFO), (DEPENDENCY, Level::INFO)])),
        );
    tracing_subscriber::registry().with(lines()).with(tables).init();
    Ok(())
}

/// Sets up the worker's: lines only, which its front passes on.
pub fn start_worker() {
    tracing_subscriber::registry().with(lines()).init();
}

/// Our own lines alone: the SDK below us logs requests, headers included.
fn lines() -> impl Layer<Registry> {
    tracing_subscriber::fmt::layer()
        .without_time()
        .with_target(false)
        .with_ansi(false)
        .log_internal_errors(false)
        .with_writer(io::stderr.with_max_level(Level::WARN).or_else(io::stdout))
        .with_filter(Targets::new().with_target("incident_labs", LevelFilter::INFO))
}
