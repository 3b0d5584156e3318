//! What is changed between incident and recovery, as app settings.

use incident_labs::{
    blob::{MIB, Variant},
    settings::{MEMORY_LIMIT_MIB, VARIANT},
};

#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum Remedy {
    /// Nothing changes: the control experiment.
    None,
    /// Blocks instead of whole blobs, as many at once as before.
    Streaming,
    /// Fewer blobs at once, whole as before.
    Concurrency,
    /// Both, as in the guide.
    Both,
}

impl Remedy {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Streaming => "streaming",
            Self::Concurrency => "concurrency",
            Self::Both => "both",
        }
    }

    /// App settings with this remedy applied, and a memory limit where the instance is none. Where only one of the two changes is wanted, the variant is named:
    /// left to itself it follows from the two numbers.
    pub fn settings(self, limit_bytes: Option<u64>) -> Vec<(String, String)> {
        let (numbers, variant) = match self {
            Self::None => (Variant::Buffering, None),
            Self::Both => (Variant::Streaming, None),
            Self::Streaming => (Variant::Buffering, Some(Variant::Streaming)),
            Self::Concurrency => (Variant::Streaming, Some(Variant::Buffering)),
        };
        let mut settings = numbers.settings();
        settings.extend(limit_bytes.map(|it| (MEMORY_LIMIT_MIB.to_owned(), (it / MIB).to_string())));
        settings.extend(variant.map(|it| (VARIANT.to_owned(), it.to_string())));
        settings
    }
}
