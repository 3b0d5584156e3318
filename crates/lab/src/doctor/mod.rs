//! What hinders a lab, on this machine or on Azure, and the way out of it.

mod finding;
pub mod machine;
pub mod planes;

pub use finding::{Examination, Finding, State};
