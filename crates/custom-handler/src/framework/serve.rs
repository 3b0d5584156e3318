//! The process: listens before anything else, serves until it is told to stop, drains.

use std::{
    io,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use durable::error_chain;
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use super::{app::App, connections::serve_connections, console, parent::Parent, wire::env};

/// "Please restart me" to every host version; 0 means "never again" before 4.1047.
const EXIT_RESTART_ME: u8 = 200;
/// sysexits' EX_USAGE: the host did not start this process.
const EXIT_USAGE: u8 = 64;
/// How long calls under way may take after SIGTERM; platforms wait 30 s before SIGKILL.
const DRAIN: Duration = Duration::from_secs(25);

/// Why an app could not be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    #[error("{} is not set to a port: the Functions host starts this program, or `lab start` does", env::PORT)]
    NoPort,
    #[error("cannot listen on 127.0.0.1:{port}: is another handler running there?")]
    Taken { port: u16, source: io::Error },
    #[error("cannot watch for SIGTERM")]
    Signals(#[source] io::Error),
    #[error("cannot read the script root {}", path.display())]
    ScriptRoot { path: PathBuf, source: io::Error },
    #[error("the listener failed")]
    Listener(#[source] io::Error),
}

/// The port the host waits at, on loopback, and the signals that end the process.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    terminate: Signal,
    interrupt: Signal,
    script_root: Option<PathBuf>,
    /// The host, where one started this process.
    host: Option<Parent>,
    /// Told when it is gone.
    tell: fn(&str),
}

impl Listener {
    /// Takes the port. From then on the host's probe is queued, so whatever an app does before it is served delays no start.
    ///
    /// # Errors
    /// When the port is taken.
    pub async fn bind(port: u16) -> Result<Self, ServeError> {
        let host = variable(env::PORT).map(|_| Parent::now());
        let address = (Ipv4Addr::LOCALHOST, port);
        let socket = TcpListener::bind(address).await.map_err(|source| ServeError::Taken { port, source })?;
        let terminate = signal(SignalKind::terminate()).map_err(ServeError::Signals)?;
        let interrupt = signal(SignalKind::interrupt()).map_err(ServeError::Signals)?;
        Ok(Self { socket, terminate, interrupt, script_root: None, host, tell: console::err })
    }

    /// Says elsewhere than on stderr that the host is gone: it was the host that read the streams.
    #[must_use]
    pub fn telling(mut self, tell: fn(&str)) -> Self {
        self.tell = tell;
        self
    }

    /// Compares functions and folders of this script root at the start.
    #[must_use]
    pub fn script_root(mut self, path: Option<&Path>) -> Self {
        self.script_root = path.map(Path::to_owned);
        self
    }
}

impl App {
    /// Serves the app where the host expects it, until SIGTERM or Ctrl-C or the end of the host that started the process, and gives
    /// the process's exit code: 200 ("restart me") after those, 64 where no host started the process, else 1. Problems are printed.
    pub async fn serve(self) -> ExitCode {
        let served = async {
            let port = variable(env::PORT).and_then(|it| it.parse().ok()).ok_or(ServeError::NoPort)?;
            let root = variable(env::APP_ROOT).map(PathBuf::from);
            self.serve_on(Listener::bind(port).await?.script_root(root.as_deref())).await
        };
        served.await.map_or_else(
            |error| {
                console::err(&error_chain(&error));
                ExitCode::from(if matches!(error, ServeError::NoPort) { EXIT_USAGE } else { 1 })
            },
            ExitCode::from,
        )
    }

    /// The same on a listener, for apps with more to start and stop; gives the exit code 200.
    ///
    /// # Errors
    /// When the script root cannot be read, or the listener fails.
    pub async fn serve_on(self, listener: Listener) -> Result<u8, ServeError> {
        let Listener { socket, mut terminate, mut interrupt, script_root, host, tell } = listener;
        let app = match script_root {
            Some(path) => self.fit(&path).map_err(|source| ServeError::ScriptRoot { path, source })?,
            None => self,
        };
        let stopping = CancellationToken::new();
        let stopped = stopping.clone();
        let server = serve_connections(socket, app.router(), async move {
            let told_to = async {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
            };
            match host_gone_or(host, told_to).await {
                None => console::out("stopping: no new invocations, those under way may end"),
                Some(how) => tell(&format!("stopping: the host is gone ({how}); invocations under way may end")),
            }
            stopping.cancel();
        });
        tokio::select! {
            ended = server => ended.map_err(ServeError::Listener)?,
            () = async { stopped.cancelled().await; sleep(DRAIN).await } => {}
        }
        Ok(EXIT_RESTART_ME)
    }
}

/// How the end of the host was seen, if that came first.
async fn host_gone_or(host: Option<Parent>, told_to: impl Future<Output = ()>) -> Option<String> {
    let gone = async {
        match host {
            Some(host) => host.gone().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = told_to => None,
        how = gone => Some(how),
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place where the framework asks the environment")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|it| !it.is_empty())
}
