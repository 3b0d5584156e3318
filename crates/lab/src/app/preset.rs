//! The settings that the blob function is compared under, on a laptop and on Azure.

use incident_labs::{blob::Variant, settings::MEMORY_LIMIT_MIB};

/// Memory of an EP1 instance.
pub const EP1_MIB: u64 = 3584;
/// Share of it that a laptop's worker has.
const LAPTOP_PARTS: u64 = 4;

/// Settings for this machine: those that an app on Azure is given (`load/oom/*.json`), and a memory limit for the worker, which on
/// Azure is the instance's. `load/oom/*.env` has them for a shell.
pub fn preset(variant: Variant) -> Vec<(String, String)> {
    let mut settings = variant.settings();
    settings.push((MEMORY_LIMIT_MIB.to_owned(), (EP1_MIB / LAPTOP_PARTS).to_string()));
    settings
}
