//! The handler as a process: its start, what it prints, how its end is read.

use std::{
    collections::VecDeque,
    process::Stdio,
    sync::{Mutex, OnceLock, PoisonError},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, Command},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{environment, exception::Exception, line::Level, log::HostLog, options::HostOptions, variables::Variables};

/// Prefix of console lines meant for the host rather than for the user.
const CONSOLE_LOG_PREFIX: &str = "LanguageWorkerConsoleLog";
/// Prefix of lines meant for tools.
const TOOLING_LOG_PREFIX: &str = "azfuncjsonlog:";
/// How many error lines the exit exception quotes.
const QUOTED_ERRORS: usize = 3;

/// One start of the handler: to the host a worker channel, and the process behind it.
#[derive(Debug)]
pub(super) struct WorkerChannel {
    /// New for each start.
    pub id: String,
    pub pid: OnceLock<u32>,
    /// Set by the host: the process is to be killed, and what becomes of it no longer matters.
    pub disposed: CancellationToken,
    /// Set once the process is gone and its end has been logged.
    pub exited: CancellationToken,
    last_errors: Mutex<VecDeque<String>>,
}

impl WorkerChannel {
    pub(super) fn new() -> Self {
        Self {
            id: Uuid::new_v4().to_string(),
            pid: OnceLock::new(),
            disposed: CancellationToken::new(),
            exited: CancellationToken::new(),
            last_errors: Mutex::default(),
        }
    }

    /// Logger category of the channel.
    pub(super) fn channel_category(&self) -> String {
        format!("Worker.HttpWorkerChannel.{}", self.id)
    }

    /// Logger category of the process.
    pub(super) fn process_category(&self) -> String {
        format!("Worker.HttpWorkerProcess.{}", self.id)
    }

    /// Starts the process, in a group of its own: Ctrl-C in a terminal is for the lab to handle first.
    ///
    /// # Errors
    /// The exception the host logs.
    pub(super) fn start(&self, options: &HostOptions, port: u16, log: &HostLog) -> Result<Child, Exception> {
        let variables = environment::of_handler(options, port, &self.id);
        let known = Variables::with(&variables);
        let file = known.expand(&options.executable.display().to_string());
        let folder = options.working_directory.display().to_string();
        let arguments = known.expand_argument(&options.arguments.join(" "));
        let starting = format!(
            "Starting worker process with FileName:{file} WorkingDirectory:{folder} Arguments:{}{arguments}",
            if arguments.is_empty() { "" } else { " " }
        );
        log.write(&self.process_category(), Level::Debug, starting);
        let child = Command::new(&file)
            // The host hands over one command line without quotes, so an argument ends at a blank.
            .args(arguments.split_whitespace())
            .current_dir(&options.working_directory)
            .envs(variables)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| Exception::start_failed(&file, &folder, &error))?;
        let pid = child.id().unwrap_or_default();
        let _ = self.pid.set(pid);
        log.write(&self.process_category(), Level::Debug, format!("{file} process with Id={pid} started"));
        Ok(child)
    }

    /// Logs a line of the process's standard output.
    pub(super) fn printed(&self, line: &str, log: &HostLog) {
        self.console(line, Level::Information, log);
    }

    /// Logs a line of the process's standard error: a warning if it says so, else an error.
    pub(super) fn complained(&self, line: &str, log: &HostLog) {
        if line.to_ascii_lowercase().contains("warn") {
            return self.console(line, Level::Warning, log);
        }
        self.console(line, Level::Error, log);
        let mut last = self.last_errors.lock().unwrap_or_else(PoisonError::into_inner);
        if last.len() == QUOTED_ERRORS {
            last.pop_front();
        }
        last.push_back(line.to_owned());
    }

    fn console(&self, line: &str, level: Level, log: &HostLog) {
        if let Some(rest) = line.strip_prefix(CONSOLE_LOG_PREFIX) {
            log.write(&self.process_category(), level, rest);
        } else if line.starts_with(TOOLING_LOG_PREFIX) {
            log.write("Host.Function.ToolingConsoleLog", level, line);
        } else {
            log.write("Host.Function.Console", level, line);
        }
    }

    /// The exception the host makes of an exit it did not want. It quotes the last error lines the process ever wrote,
    /// however old they are.
    pub(super) fn exit_exception(&self, file: &str, code: i32) -> Exception {
        let last = self.last_errors.lock().unwrap_or_else(PoisonError::into_inner);
        let quoted: Vec<&str> = last.iter().map(String::as_str).filter(|line| !line.is_empty()).collect();
        Exception::new(
            "Microsoft.Azure.WebJobs.Script.Workers.WorkerProcessExitException",
            format!("{file} exited with code {code} (0x{code:X})"),
        )
        .caused_by(Exception::new("System.Exception", quoted.join(",")))
    }
}

/// Calls back for each line of a stream until its end. What is not UTF-8 is replaced.
pub(super) async fn each_line(stream: Option<impl AsyncRead + Unpin>, mut tell: impl FnMut(&str)) {
    let Some(stream) = stream else {
        return;
    };
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    while let Ok(1..) = reader.read_until(b'\n', &mut line).await {
        let text = String::from_utf8_lossy(&line);
        tell(text.trim_end_matches(['\r', '\n']));
        line.clear();
    }
}
