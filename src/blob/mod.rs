//! Reading blobs: the account, and the ways of turning a blob into a SHA-256.

mod account;

pub use account::{AccountError, EMULATOR_ACCOUNT, EMULATOR_KEY, StorageAccount};
