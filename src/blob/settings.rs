//! How the blob function works. The settings' reader makes it; reader, processor and worker go by it.

use std::{fmt, str::FromStr};

use super::StorageAccount;

/// One mebibyte, the unit of the size settings.
pub const MIB: u64 = 1 << 20;

/// How a blob's bytes are held while they are processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// The whole blob in memory, then the hash.
    Buffering,
    /// Blocks in a fixed set of buffers, hashed as they arrive.
    Streaming,
}

impl Variant {
    /// Name in settings, records and arguments.
    pub fn name(self) -> &'static str {
        match self {
            Self::Buffering => "buffering",
            Self::Streaming => "streaming",
        }
    }

    /// `(MAX_CONCURRENT_INVOCATIONS, BLOB_BATCH_SIZE)` of the preset.
    pub(crate) const fn preset(self) -> (usize, usize) {
        match self {
            Self::Buffering => (48, 32),
            Self::Streaming => (12, 8),
        }
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Variant {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "buffering" => Ok(Self::Buffering),
            "streaming" => Ok(Self::Streaming),
            _ => Err("expected buffering or streaming".to_owned()),
        }
    }
}

/// How the blob function works: where, the variant and its gates.
#[derive(Clone, Debug)]
pub struct BlobSettings {
    /// Account of the blobs and of the result records.
    pub storage: StorageAccount,
    /// Container of the trigger. Blobs of others are refused.
    pub container: String,
    /// The worker's memory limit in bytes; `None` = detect.
    pub worker_memory_limit_bytes: Option<u64>,
    pub variant: Variant,
    /// What decided the variant, for the line at start.
    pub decided_by: &'static str,
    /// Invocations processed at once.
    pub max_concurrent_invocations: usize,
    /// Pieces of payload in memory at once.
    pub batch_size: usize,
    /// Size of a streaming block.
    pub block_bytes: usize,
}
