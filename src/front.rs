//! The front process: listens before anything else, serves until it is told to stop, drains.

use std::{net::Ipv4Addr, time::Duration};

use anyhow::Context as _;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use crate::{
    app,
    settings::{BlobSettings, Settings, Variant},
    telemetry,
    worker::Worker,
};

/// "Please restart me" to every host version; 0 means "never again" before 4.1047.
const EXIT_RESTART_ME: u8 = 200;
/// How long invocations under way may take after SIGTERM; platforms wait 30 s before SIGKILL.
const DRAIN: Duration = Duration::from_secs(25);

/// Runs the front until SIGTERM or Ctrl-C; gives its exit code.
///
/// # Errors
/// When the port cannot be had, or telemetry's folder.
pub fn run(settings: &Settings, package_variant: Option<Variant>) -> anyhow::Result<u8> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let code = runtime.block_on(serve(settings, package_variant));
    // Nothing that is still running may keep the process from ending.
    runtime.shutdown_background();
    code
}

async fn serve(settings: &Settings, package_variant: Option<Variant>) -> anyhow::Result<u8> {
    let address = (Ipv4Addr::LOCALHOST, settings.port);
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on 127.0.0.1:{}: is another handler running there?", settings.port))?;
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    telemetry::start_front(settings).context("cannot write to TELEMETRY_FOLDER")?;
    let worker = settings.blob.as_ref().map(|blob| start_worker(blob, package_variant));
    let router = app::router(settings, worker.clone());
    let stopping = CancellationToken::new();
    let stopped = stopping.clone();
    let server = axum::serve(listener, router).with_graceful_shutdown(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping: no new invocations, those under way may end");
        stopping.cancel();
    });
    tokio::select! {
        ended = server => ended?,
        () = async { stopped.cancelled().await; sleep(DRAIN).await } => {}
    }
    if let Some(worker) = worker {
        worker.stop().await;
    }
    Ok(EXIT_RESTART_ME)
}

fn start_worker(blob: &BlobSettings, package_variant: Option<Variant>) -> Worker {
    let BlobSettings { variant, decided_by, max_concurrent_invocations, batch_size, .. } = blob;
    tracing::info!(
        "{variant} variant ({decided_by}): {max_concurrent_invocations} invocations at once, {batch_size} pieces in memory"
    );
    let arguments = package_variant.map(|it| vec!["--variant".to_owned(), it.name().to_owned()]).unwrap_or_default();
    Worker::start(blob, arguments)
}
