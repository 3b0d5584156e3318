//! The host's HTTP side in operation: functions under their routes, and the task hub with its webhooks.

use std::{
    future::pending,
    io,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use anyhow::Context;
use axum::{Router, extract::DefaultBodyLimit, routing::get};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    host::{Host, HostLog},
    http_trigger::HttpFunctions,
    task_hub::{DurableFunctions, HubOptions, TaskHub, webhook},
};
use crate::{
    app::{ScriptRoot, pace::Waits},
    evidence::table_writer::Tables,
};
use custom_handler::serve_connections;

/// Longest request body, as the host's own limit (host: `maxRequestBodySize`).
const LONGEST_BODY_BYTES: usize = 100 << 20;
/// Where Core Tools listens.
pub const USUAL_PORT: u16 = 7071;

/// Which port to listen on.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum HttpPort {
    /// Any that is free.
    #[default]
    Free,
    /// The one of Core Tools, or any other if that is taken.
    Usual,
    Given(u16),
}

impl HttpPort {
    /// Takes the port, on loopback.
    ///
    /// # Errors
    /// When it is taken.
    pub async fn listen(self) -> anyhow::Result<TcpListener> {
        let bind = async |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await;
        let listener = match self {
            Self::Free => bind(0).await,
            Self::Given(port) => bind(port).await,
            Self::Usual => match bind(USUAL_PORT).await {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => bind(0).await,
                other => other,
            },
        };
        let port = if let Self::Given(port) = self { port } else { USUAL_PORT };
        listener.with_context(|| format!("listen on 127.0.0.1:{port} (choose another one with --port)"))
    }
}

/// What the HTTP side is made of.
#[derive(Debug)]
pub struct HttpParts {
    /// The task hub's file.
    pub hub_file: PathBuf,
    pub host: Host,
    pub log: HostLog,
    pub tables: Tables,
    pub waits: Waits,
}

#[derive(Debug)]
pub struct HttpHost {
    pub address: SocketAddr,
    /// The task hub, if the app has durable functions.
    pub hub: Option<TaskHub>,
    /// Methods and paths of the functions.
    pub routes: Vec<String>,
    closing: CancellationToken,
    tasks: TaskTracker,
}

impl HttpHost {
    /// Serves on an already bound listener: the handler needs its address at start.
    ///
    /// # Errors
    /// When the task hub's file cannot be opened.
    pub fn start(listener: TcpListener, root: &ScriptRoot, parts: HttpParts) -> anyhow::Result<Self> {
        let address = listener.local_addr()?;
        let functions = HttpFunctions::new(root);
        let durable = DurableFunctions::new(root);
        let hub = if durable.is_empty() {
            None
        } else {
            let again = (parts.waits.orchestrator_again, parts.waits.activity_again);
            let options = HubOptions { again, ..HubOptions::new(root) };
            let hub = TaskHub::start(&parts.hub_file, durable, options, parts.host.clone(), parts.tables);
            Some(hub.with_context(|| format!("open {}", parts.hub_file.display()))?)
        };
        let routes = functions.describe();
        let mut router = Router::new().route("/", get(async || "The lab's host stand-in is up.\n"));
        if let Some(hub) = &hub {
            router = router.merge(webhook::router(hub.clone()));
        }
        let router = router.merge(functions.router(address, parts.host, parts.log, hub.clone()));
        let router = router.layer(DefaultBodyLimit::max(LONGEST_BODY_BYTES));
        let (closing, tasks) = (CancellationToken::new(), TaskTracker::new());
        let closed = closing.clone();
        tasks.spawn(async move {
            tokio::select! {
                ended = serve_connections(listener, router, pending()) => {
                    if let Err(error) = ended {
                        tracing::error!("the HTTP side ended: {error}");
                    }
                }
                () = closed.cancelled() => {}
            }
        });
        Ok(Self { address, hub, routes, closing, tasks })
    }

    /// `http://127.0.0.1:<port>`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Takes no more requests, and lets the task hub finish what is under way.
    pub async fn stop(&self) {
        self.closing.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        if let Some(hub) = &self.hub {
            hub.stop().await;
        }
    }
}
