//! The lab's own log: what goes wrong in the lab itself, to stderr above the progress, and into a file of the folder it works in.

use std::{
    fmt,
    fs::OpenOptions,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::{
    Layer,
    filter::Targets,
    fmt::{MakeWriter, format::Writer, time::FormatTime},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

use super::terminal;
use custom_handler::clock;

/// Name of the file. It is there with its first line.
pub const FILE: &str = "lab.log";
/// Our own packages: the SDK below us logs requests, headers included.
const OURS: [&str; 4] = ["lab", "incident_labs", "custom_handler", "durable"];

static KEPT_IN: Mutex<Option<PathBuf>> = Mutex::new(None);

/// Starts the log: warnings and errors, a line each, and panics.
pub fn start() {
    let lines = tracing_subscriber::fmt::layer()
        .with_timer(WallClock)
        .with_target(false)
        .with_ansi(false)
        .log_internal_errors(false)
        .with_writer(Lines)
        .with_filter(Targets::new().with_targets(OURS.map(|it| (it, LevelFilter::WARN))));
    tracing_subscriber::registry().with(lines).init();
    std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
}

/// Keeps all further lines in a folder, too.
pub fn keep_in(folder: &Path) {
    *KEPT_IN.lock().unwrap_or_else(PoisonError::into_inner) = Some(folder.join(FILE));
}

/// The time as every row has it.
struct WallClock;

impl FormatTime for WallClock {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        writer.write_str(&clock::timestamp(clock::utc_now()))
    }
}

struct Lines;

/// One event: it is written as a whole when it is dropped.
#[derive(Default)]
struct Event(Vec<u8>);

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Event;

    fn make_writer(&'a self) -> Event {
        Event::default()
    }
}

impl Write for Event {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        let text = String::from_utf8_lossy(&self.0);
        terminal::err(text.trim_end());
        let kept = KEPT_IN.lock().unwrap_or_else(PoisonError::into_inner);
        // Where even this cannot be written, stderr has it.
        if let Some(mut file) = kept.as_ref().and_then(|it| OpenOptions::new().create(true).append(true).open(it).ok())
        {
            let _ = file.write_all(&self.0);
        }
    }
}
