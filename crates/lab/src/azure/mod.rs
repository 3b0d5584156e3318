//! Azure's REST interfaces: requests as values, sent or shown, and what the lab does with an app that is deployed.
//!
//! Nothing here has met Azure. The tests speak to endpoints scripted from Microsoft's REST specifications.

mod call;
pub mod clean;
mod client;
pub mod deploy;
pub mod doctor;
mod error;
pub mod harvest;
pub mod logs;
mod plan;
pub mod platform;
pub mod prices;
mod sign_in;
mod site;

pub use call::{Body, Call};
pub use client::{Answer, Azure, DETOUR};
pub use error::AzureError;
pub use plan::{Plan, PlannedCall};
pub use site::{Site, app_name, group_name};
