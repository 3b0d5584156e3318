//! What an app is made of, and how the host's calls reach it.

mod activity;
mod app;
mod blob;
mod body;
mod client;
pub mod clock;
mod connections;
pub mod console;
mod exit;
pub mod files;
mod http;
mod invocation;
pub mod orchestrator;
mod own_names;
mod parent;
mod serve;
mod start;
pub mod wire;

pub use self::http::{HttpRequest, HttpResponse};
pub use activity::Logged;
pub use app::{App, Call};
pub use blob::{BlobTrigger, Failure};
pub use client::{ClientError, DurableClient, Status};
pub use connections::serve_connections;
pub use exit::exit_code;
pub use invocation::{Invocation, Rejected, operation_id};
pub use orchestrator::Episode;
pub use serve::{Listener, ServeError};
pub use start::{NotStarted, Start};
