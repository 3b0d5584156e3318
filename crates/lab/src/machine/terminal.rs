//! The lab's two streams, and progress on stderr: a bar on a terminal, a line every few seconds elsewhere.
//!
//! - All output goes through [`out`] and [`err`]. Each line is one write, above the bars.
//! - A reader that went away changes nothing: the command goes on, and its exit code is what it would be.

use std::{
    io::{self, IsTerminal, Write, stderr, stdout},
    sync::{LazyLock, OnceLock},
    time::Duration,
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tokio::time::Instant;

const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// All bars: lines go above them.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);
/// Why stdout did not take a line, for the first one.
static UNWRITTEN: OnceLock<String> = OnceLock::new();

/// Writes a line to stdout.
pub fn out(line: &str) {
    if let Err(error) = BARS.suspend(|| write_line(&mut stdout().lock(), line))
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        let _ = UNWRITTEN.set(error.to_string());
    }
}

/// Writes a line to stderr.
pub fn err(line: &str) {
    let _ = BARS.suspend(|| write_line(&mut stderr().lock(), line));
}

/// Why output is missing from stdout although its reader is there: a full disk, for example.
pub fn unwritten() -> Option<&'static str> {
    UNWRITTEN.get().map(String::as_str)
}

fn write_line(stream: &mut impl Write, line: &str) -> io::Result<()> {
    stream.write_all(format!("{line}\n").as_bytes())?;
    stream.flush()
}

/// Colours, where stdout is a terminal.
#[derive(Clone, Copy, Debug)]
pub struct Paint {
    colours: bool,
}

impl Paint {
    pub fn on_stdout() -> Self {
        Self { colours: stdout().is_terminal() }
    }

    pub fn plain() -> Self {
        Self { colours: false }
    }

    pub fn green(self, text: &str) -> String {
        self.with("32", text)
    }

    pub fn red(self, text: &str) -> String {
        self.with("31", text)
    }

    pub fn yellow(self, text: &str) -> String {
        self.with("33", text)
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Shows what is going on where the total is unknown: lines that replace each other on a terminal, one every few
/// seconds elsewhere.
#[derive(Debug)]
pub struct StatusLine {
    bar: Option<ProgressBar>,
    told: Option<Instant>,
}

impl StatusLine {
    /// Nothing to show yet.
    pub fn start() -> Self {
        let bar = stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{spinner} {elapsed} {msg}");
            let style = style.unwrap_or_else(|_| ProgressStyle::default_spinner());
            BARS.add(ProgressBar::new_spinner().with_style(style))
        });
        Self { bar, told: None }
    }

    /// Shows `screen` on a terminal, and elsewhere `line` if it is time for one.
    pub fn show(&mut self, screen: &str, line: &str) {
        match &self.bar {
            Some(bar) => {
                bar.set_message(screen.to_owned());
                bar.tick();
            }
            None if self.told.is_none_or(|it| it.elapsed() >= LINE_INTERVAL) => {
                self.told = Some(Instant::now());
                err(line);
            }
            None => {}
        }
    }

    /// The next line is news: it does not wait.
    pub fn hurry(&mut self) {
        self.told = None;
    }

    /// A line that stays.
    pub fn say(&self, line: &str) {
        err(line);
    }

    /// Leaves nothing.
    pub fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// Leaves a last line.
    pub fn finish(&self, line: &str) {
        self.clear();
        err(line);
    }
}

/// Progress of one step towards a known number.
#[derive(Debug)]
pub struct Progress {
    step: &'static str,
    total: u64,
    done: u64,
    bar: Option<ProgressBar>,
    told: Instant,
}

impl Progress {
    /// A step that is done after `total` of something.
    pub fn start(step: &'static str, total: usize) -> Self {
        let total = total as u64;
        let bar = stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{msg:>11} [{bar:40}] {pos}/{len} {elapsed}");
            let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
            BARS.add(ProgressBar::new(total).with_style(style).with_message(step))
        });
        if bar.is_none() {
            err(&format!("{step} 0/{total}"));
        }
        Self { step, total, done: 0, bar, told: Instant::now() }
    }

    /// One more is done.
    pub fn advance(&mut self) {
        self.done += 1;
        match &self.bar {
            Some(bar) => bar.set_position(self.done),
            None => self.tick(),
        }
    }

    pub fn tick(&mut self) {
        match &self.bar {
            Some(bar) => bar.tick(),
            None if self.told.elapsed() >= LINE_INTERVAL && self.done < self.total => {
                self.told = Instant::now();
                err(&format!("{} {}/{}", self.step, self.done, self.total));
            }
            None => {}
        }
    }

    /// Leaves a last line.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        err(&format!("{} {}/{}", self.step, self.done, self.total));
    }
}
