//! How the program ends: its exit codes, mistakes in what was asked for, and Ctrl-C.

use std::{
    io,
    sync::{
        LazyLock, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use tokio::{
    runtime::Builder,
    signal::unix::{SignalKind, signal},
    sync::watch,
};

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

/// Ctrl-C and SIGTERM so far.
static TOLD: LazyLock<watch::Sender<u64>> = LazyLock::new(|| watch::Sender::new(0));
/// How many of them a wait has ended with.
static TAKEN: AtomicU64 = AtomicU64::new(0);

/// Resolves at Ctrl-C or SIGTERM.
///
/// # Errors
/// When the signals cannot be watched.
pub async fn interrupted() -> io::Result<()> {
    watch_interrupts()?.await;
    Ok(())
}

/// Resolves at Ctrl-C or SIGTERM, with the error that ends a command then.
pub async fn interruption() -> anyhow::Error {
    interrupted().await.err().map_or_else(|| anyhow::anyhow!("interrupted"), Into::into)
}

/// Watches for Ctrl-C and SIGTERM from now on; what it gives resolves at the first that no earlier wait has ended with. So one that comes
/// between two waits is not lost.
///
/// # Errors
/// When the signals cannot be watched.
pub fn watch_interrupts() -> io::Result<impl Future<Output = ()>> {
    static COUNTED: OnceLock<Result<(), String>> = OnceLock::new();
    COUNTED.get_or_init(|| count().map_err(|it| it.to_string())).clone().map_err(io::Error::other)?;
    let (taken, mut told) = (TAKEN.load(Ordering::Relaxed), TOLD.subscribe());
    Ok(async move {
        let _ = told.wait_for(|it| *it > taken).await;
        TAKEN.fetch_max(taken + 1, Ordering::Relaxed);
    })
}

/// Counts the signals, on a thread of its own: as long as the process lives, whoever waits for them on whichever runtime.
fn count() -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_io().build()?;
    let (mut interrupt, mut terminate) = {
        let _context = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    let watch = async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            TOLD.send_modify(|it| *it += 1);
        }
    };
    thread::Builder::new().name("signals".to_owned()).spawn(move || runtime.block_on(watch))?;
    Ok(())
}
