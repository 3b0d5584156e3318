//! The host stand-in under test: its log collected, recordings made comparable with it.

use std::{path::PathBuf, time::Duration};

use lab::{
    emulator::host::{Call, Host, HostLog, HostOptions, Identity, InvocationOutcome, Level, LogLine},
    evidence::table_writer::{Table, Tables},
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::watch;

/// Facts are waited for, but not for ever.
const DEADLINE: Duration = Duration::from_secs(20);

/// A line of the log as a recording keeps it: level, category, text.
pub(crate) type Line = (String, String, String);

/// A host with a collected log, on an app folder of its own.
pub(crate) struct StandIn {
    pub(crate) host: Host,
    pub(crate) folder: TempDir,
    tables: Tables,
    lines: watch::Receiver<Vec<LogLine>>,
}

/// What a test may change before the host starts.
pub(crate) fn options(executable: &str) -> HostOptions {
    HostOptions {
        script_root: PathBuf::new(),
        executable: PathBuf::from(executable),
        working_directory: PathBuf::new(),
        arguments: Vec::new(),
        app_settings: Vec::new(),
        function_timeout: Duration::from_secs(60),
        timeout_grace: Duration::from_millis(200),
        initialization_timeout: Duration::from_secs(10),
        telemetry_configured: false,
        app_name: "app".to_owned(),
    }
}

/// A process that never listens, so that the test can take its place on the port.
pub(crate) fn placeholder() -> HostOptions {
    HostOptions { arguments: vec!["infinity".to_owned()], ..options("sleep") }
}

/// The scripted handler in `tests/probe`.
pub(crate) fn probe() -> HostOptions {
    options(&probe_path().display().to_string())
}

/// Its executable.
pub(crate) fn probe_path() -> PathBuf {
    let target = std::env::current_exe().unwrap();
    let probe = target.parent().unwrap().with_file_name("examples").join("probe");
    assert!(probe.exists(), "{} is missing: run `cargo build --example probe`", probe.display());
    probe
}

impl StandIn {
    pub(crate) async fn start(options: HostOptions) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tables = Tables::open(&folder.path().join("tables")).unwrap();
        let (collected, lines) = watch::channel(Vec::new());
        let echo = move |line: &LogLine| collected.send_modify(|it: &mut Vec<LogLine>| it.push(line.clone()));
        let log = HostLog::new(tables.clone(), Identity::new("app"), Some(Box::new(echo)));
        let root = folder.path().to_owned();
        let options = HostOptions { script_root: root.clone(), working_directory: root, ..options };
        let host = Host::start(options, log).await.unwrap();
        Self { host, folder, tables, lines }
    }

    /// Runs the function `ping` with the given `Data`.
    pub(crate) async fn ping(&self, data: Value) -> InvocationOutcome {
        ping(&self.host, data).await
    }

    /// All lines so far, without those a recording leaves out.
    pub(crate) fn log(&self) -> Vec<Line> {
        self.lines
            .borrow()
            .iter()
            .filter(|it| !it.message.starts_with("Waiting for HttpWorker"))
            .map(as_recorded)
            .collect()
    }

    /// Waits until the log says so.
    pub(crate) async fn until(&self, what: &str, mut holds: impl FnMut(&[Line]) -> bool) {
        let mut lines = self.lines.clone();
        let seen = tokio::time::timeout(DEADLINE, lines.wait_for(|_| holds(&self.log()))).await.is_ok();
        assert!(seen, "the log never showed {what}:\n{}", show(&self.log()));
    }

    /// Waits for a line with this text in it.
    pub(crate) async fn until_logged(&self, text: &str) {
        self.until(text, |lines| lines.iter().any(|(_, _, line)| line.contains(text))).await;
    }

    /// Waits until the host gives up, and returns its reason.
    pub(crate) async fn stopped(&self) -> String {
        let stopped = tokio::time::timeout(DEADLINE, self.host.stopped()).await;
        stopped.unwrap_or_else(|_| panic!("the host never gave up:\n{}", show(&self.log())))
    }

    pub(crate) fn rows(&self, table: Table) -> Vec<Value> {
        let text = std::fs::read_to_string(self.tables.path(table)).unwrap_or_default();
        text.lines().map(|row| serde_json::from_str(row).unwrap()).collect()
    }

    /// A text of the stand-in in a recording's terms.
    pub(crate) fn normal(&self, text: &str) -> String {
        let text = text.replace(&self.folder.path().display().to_string(), "<app>");
        let probe = text.split_whitespace().find(|it| it.contains("/examples/probe")).map(|it| {
            let start = it.find('/').unwrap_or_default();
            it[start..].to_owned()
        });
        normal(&probe.map_or_else(|| text.clone(), |probe| text.replace(&probe, "<app>/probe.sh")))
    }
}

pub(crate) async fn ping(host: &Host, data: Value) -> InvocationOutcome {
    let data = data.as_object().cloned().unwrap_or_default();
    let reason = "This function was programmatically called via the host APIs.".to_owned();
    host.invoke(Call { function: "ping".to_owned(), reason, data, ..Call::default() }).await
}

pub(crate) fn golden(name: &str) -> Value {
    golden_of(&format!("host/{name}"))
}

/// A recording by its folder and name.
pub(crate) fn golden_of(name: &str) -> Value {
    let path = format!("{}/tests/it/golden/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).expect("a recording is JSON")
}

/// The lines of a recorded log.
pub(crate) fn recorded(log: &Value) -> Vec<Line> {
    let text = |line: &Value, at: usize| line[at].as_str().unwrap().to_owned();
    log.as_array().unwrap().iter().map(|line| (text(line, 0), text(line, 1), text(line, 2))).collect()
}

fn as_recorded(line: &LogLine) -> Line {
    let level = match line.level {
        Level::Debug => "dbug",
        Level::Information => "info",
        Level::Warning => "warn",
        Level::Error => "fail",
    };
    let text: Vec<String> = line.to_string().lines().map(|it| it.trim().to_owned()).collect();
    (level.to_owned(), line.category.clone(), text.join(" | "))
}

pub(crate) fn show(lines: &[Line]) -> String {
    lines.iter().map(|(level, category, text)| format!("  {level} {category}: {text}\n")).collect()
}

/// Ids, times, process ids and ports, which differ from run to run.
pub(crate) fn normal(text: &str) -> String {
    let mut text = without_guids(text);
    for (mark, stop, name) in [
        ("Duration=", "m", "<n>"),
        ("Pid=", ".", "<pid>"),
        ("Process ", " ", "<pid>"),
        ("process with Id=", " ", "<pid>"),
        ("127.0.0.1:", ")", "<port>"),
        ("Timeout value of ", " ", "<limit>"),
        ("Date: ", "|", "<date>"),
    ] {
        text = without(&text, mark, stop, name);
    }
    text
}

/// Replaces what stands between a mark and the next stop (or the end), unless it is a word.
fn without(text: &str, mark: &str, stop: &str, name: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(mark) {
        let end = after.find(stop).unwrap_or(after.len());
        let value = &after[..end];
        let is_value = mark == "Date: " || value.starts_with(|it: char| it.is_ascii_digit());
        out.push_str(before);
        out.push_str(mark);
        out.push_str(if is_value { name } else { value });
        rest = &after[end..];
    }
    out + rest
}

fn without_guids(text: &str) -> String {
    let is_guid = |it: &[u8]| {
        it.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
    };
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.as_bytes().windows(36).position(is_guid) {
        out.push_str(&rest[..at]);
        out.push_str("<id>");
        rest = &rest[at + 36..];
    }
    out + rest
}

/// Compares lines with recorded ones. A recording keeps stack frames, which the stand-in has none of, and cuts long
/// texts off.
pub(crate) fn assert_same_lines(what: &str, stand_in: &StandIn, actual: &[Line], recorded: &[Line]) {
    let context = || format!("{what}\nrecorded:\n{}actual:\n{}", show(recorded), show(actual));
    assert_eq!(actual.len(), recorded.len(), "{}", context());
    for (actual, recorded) in actual.iter().zip(recorded) {
        assert_eq!(actual.0, recorded.0, "level of {:?} in {}", recorded.2, context());
        assert_eq!(normal(&actual.1), normal(&recorded.1), "category in {}", context());
        let (ours, theirs) = (parts(&stand_in.normal(&actual.2)), parts(&normal(&recorded.2)));
        let is_cut = recorded.2.len() > 250 && !recorded.2.split(" | ").any(is_stack);
        let same = match theirs.split_last() {
            Some((last, whole)) if is_cut => {
                ours.len() >= theirs.len() && ours.starts_with(whole) && ours[whole.len()].starts_with(last.as_str())
            }
            _ => ours == theirs,
        };
        assert!(same, "text\n  {ours:?}\nis not\n  {theirs:?}\nin {}", context());
    }
}

/// The lines of a text up to the first stack frame: all messages of a chain stand before it.
fn parts(text: &str) -> Vec<String> {
    text.split(" | ").map(str::trim).take_while(|it| !is_stack(it)).map(str::to_owned).collect()
}

fn is_stack(line: &str) -> bool {
    let line = line.trim();
    line.starts_with("at ") || (line.starts_with("---") && !line.starts_with("--->"))
}
