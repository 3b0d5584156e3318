//! How the program ends: its exit codes, mistakes in what was asked for, and Ctrl-C.

use std::io;

use tokio::signal::unix::{SignalKind, signal};

/// Everything went as asked.
pub const EXIT_OK: u8 = 0;
/// It ran, and some blobs or instances came out wrong or not at all.
pub const EXIT_WRONG: u8 = 1;
/// It could not run.
pub const EXIT_COULD_NOT_RUN: u8 = 3;
/// sysexits' EX_USAGE.
pub const EXIT_USAGE: u8 = 64;

/// A mistake in what was asked for, as opposed to one in carrying it out.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// Resolves at Ctrl-C or SIGTERM.
///
/// # Errors
/// When the signals cannot be watched.
pub async fn interrupted() -> io::Result<()> {
    watch_interrupts()?.await;
    Ok(())
}

/// Watches for Ctrl-C and SIGTERM from now on; what it gives resolves at either.
///
/// # Errors
/// When the signals cannot be watched.
pub fn watch_interrupts() -> io::Result<impl Future<Output = ()>> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
