//! What the lab needs of the machine it runs on.

pub mod azurite;
pub mod capacity;
pub mod checkout;
pub mod elf;
pub mod exit;
mod listing;
pub mod log;
pub mod own_folder;
pub(crate) mod proc;
pub mod queue;
pub mod storage;
pub mod storage_proxy;
pub mod terminal;
pub mod toolchain;
pub mod workspace;
