//! A stand-in for the Functions host, 4.1037: starts the handler, sends it invocations, takes its replies, and writes
//! the log lines and rows the host writes.
//!
//! It speaks the host's wire to the byte and reacts as recordings of the host show. What becomes of outputs and return values is
//! the caller's business.

mod aggregator;
mod dispatcher;
mod environment;
mod exception;
mod http_client;
mod invocation;
mod lifecycle;
mod line;
mod log;
mod options;
mod reply;
mod rows;
pub(in crate::emulator) mod texts;
mod variables;
mod worker_channel;

use std::{
    io,
    net::Ipv4Addr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{net::TcpSocket, sync::watch, time::sleep};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::aggregator::{Aggregator, FLUSH_EVERY};

pub mod binding_data;

pub use exception::Exception;
pub use invocation::{Begun, Call, InvocationOutcome, Settle, Unanswered};
pub use lifecycle::Lifecycle;
pub use line::{Level, LogLine, Scope};
pub use log::{BlobLookup, Echo, HostLog, HttpCall, Identity};
pub use options::{APP_NAME, HostOptions};
pub use reply::Reply;

mod version {
    /// As in the header `X-Azure-Functions-HostVersion`.
    pub(super) const HOST: &str = "4.1037.0.0";
    /// As in the column `sdkVersion`.
    pub(super) const SDK: &str = "azurefunctions: 4.1037.0.0";
    /// The same in the rows of the host's own HTTP calls.
    pub(super) const HTTP_SDK: &str = "rdddsc:2.23.0-29";
    /// The same in the rows of what the host asks of storage.
    pub(super) const AZURE_SDK: &str = "rdddsaz:2.23.0-29";
    /// The same in the rows of the host's metrics.
    pub(super) const METRIC_SDK: &str = "af_azurefunctions: 4.1037.0.0";
}

/// The dispatcher's state, in the host's words.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Initializing,
    Initialized,
    WorkerProcessRestarting,
    Disposed,
}

#[derive(Clone, Debug)]
pub struct Host {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    options: HostOptions,
    log: HostLog,
    /// Picked once; each start of the handler gets the same one.
    port: u16,
    state: watch::Sender<State>,
    channel: Mutex<Option<Arc<worker_channel::WorkerChannel>>>,
    errors: Mutex<Vec<dispatcher::CountedError>>,
    restarting: tokio::sync::Mutex<()>,
    gave_up: watch::Sender<Option<String>>,
    results: Aggregator,
    closing: CancellationToken,
    tasks: TaskTracker,
}

impl Host {
    /// Starts the handler and returns at once, as the host does: invocations wait for its readiness.
    ///
    /// # Errors
    /// When no port is free. A handler that cannot be started is logged and ends the host later, as it does on Azure.
    pub async fn start(options: HostOptions, log: HostLog) -> io::Result<Self> {
        let port = unused_port()?;
        let inner = Inner {
            options,
            log,
            port,
            state: watch::Sender::new(State::Initializing),
            channel: Mutex::default(),
            errors: Mutex::default(),
            restarting: tokio::sync::Mutex::default(),
            gave_up: watch::Sender::new(None),
            results: Aggregator::default(),
            closing: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        let host = Self { inner: Arc::new(inner) };
        host.start_channel();
        host.inner.tasks.spawn(host.clone().tell_results());
        Ok(host)
    }

    /// The port the handler is told to listen on.
    pub fn port(&self) -> u16 {
        self.inner.port
    }

    /// The handler's process id. `None` if it could not be started.
    pub fn pid(&self) -> Option<u32> {
        self.channel().and_then(|it| it.pid.get().copied())
    }

    /// Resolves, with the reason, when the host gives up: three errors in a chain, or a wait for readiness that is over.
    pub async fn stopped(&self) -> String {
        let mut gave_up = self.inner.gave_up.subscribe();
        // The sender lives as long as `self`, so the wait itself cannot fail.
        gave_up.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone()).unwrap_or_default()
    }

    /// Kills the handler, as the host does when it stops: SIGKILL without warning, then a wait of a second.
    pub async fn shutdown(&self) {
        self.dispose_dispatcher().await;
        self.inner.tasks.close();
        // A process the handler left behind may hold its pipes open for ever.
        let _ = tokio::time::timeout(Duration::from_secs(1), self.inner.tasks.wait()).await;
        self.inner.results.flush(&self.inner.log);
    }

    /// Until the host is closed: from then on each result is told when the last ones are in.
    async fn tell_results(self) {
        while self.inner.closing.run_until_cancelled(sleep(FLUSH_EVERY)).await.is_some() {
            self.inner.results.flush(&self.inner.log);
        }
    }

    fn channel(&self) -> Option<Arc<worker_channel::WorkerChannel>> {
        self.inner.channel.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn stop(&self, reason: &str) {
        self.inner.gave_up.send_if_modified(|it| {
            let first = it.is_none();
            it.get_or_insert_with(|| reason.to_owned());
            first
        });
    }
}

/// A free port below those the system hands to outgoing connections: between two starts of the handler no process holds the
/// port, and on a busy machine a connection would take it.
fn unused_port() -> io::Result<u16> {
    let drawn = || 20_000 + (uuid::Uuid::new_v4().as_u128() % 12_000) as u16;
    let mut tries = std::iter::repeat_with(drawn).take(50).map(bound_port);
    tries.find_map(Result::ok).map_or_else(|| bound_port(0), Ok)
}

/// Binds without listening: a child that another thread is just starting may hold a copy of the socket a moment longer,
/// and only a listening copy would keep the handler from the port.
fn bound_port(port: u16) -> io::Result<u16> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind((Ipv4Addr::LOCALHOST, port).into())?;
    Ok(socket.local_addr()?.port())
}
