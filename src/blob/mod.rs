//! Reading blobs: the account and the rights to it, and the two ways of turning a blob into a result record.

mod access;
mod account;
mod calls;
mod connection_string;
mod failure;
mod memory;
mod names;
mod probe;
mod processor;
mod ranges;
mod reader;
mod settings;
mod shared_key;
pub mod tls;

/// Container the blob function is triggered by.
pub const INPUT_CONTAINER: &str = "input";
/// Container the result records go to.
pub const RESULTS_CONTAINER: &str = "results";

pub use access::{AccountAccess, NO_ROLE, Outcome, Plane, PlaneAccess};
pub use account::{EMULATOR_ACCOUNT, EMULATOR_KEY, StorageAccount};
pub use calls::{CallEvent, CallObserver};
pub use connection_string::AccountError;
pub use memory::{BufferPool, HEAD_ROOM_BYTES, MemoryError, Reservations, reservable_bytes};
pub use names::{LONGEST_NAME, NameError, UriError, check_name, record_name, shown};
pub use probe::AccessProbe;
pub use processor::{ProcessError, Processed, Processor, ResultRecord, WorkerId};
pub use reader::{BlobName, BlobReader, Patience, ReadError, Version};
pub use settings::{BlobSettings, MIB, Variant};
