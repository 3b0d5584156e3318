//! A Functions app: its files (host.json, every function.json, staging, packages), and what a lab may ask of it while it runs.

pub mod blob_message;
pub mod blob_trigger;
mod error;
pub(crate) mod function_json;
mod host_settings;
pub mod own;
pub mod pace;
pub mod package;
pub mod preset;
pub mod redrive;
pub mod route;
pub mod running;
mod script_root;
mod source;
pub mod stage;

pub use error::AppError;
pub use function_json::{FunctionJson, is_binding};
pub use host_settings::{HostSettings, VersionFailure, VersionMatch, Versions};
pub use script_root::ScriptRoot;
pub use source::AppSource;
pub(crate) use source::Start;
