//! What hinders a lab, on this machine or on Azure, and the way out of it.

mod finding;
pub mod planes;
pub mod machine;

pub use finding::{Examination, Finding, State};
