//! How the host is set up: what `host.json` says, and the limits tests shorten.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;

/// Everything the host needs to know before it starts the handler.
#[derive(Clone, Debug)]
pub struct HostOptions {
    /// Staged app; also the handler's working directory.
    pub script_root: PathBuf,
    /// The handler's executable. Absolute if it stands under the script root, else as `host.json` names it.
    pub executable: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// App settings, handed to the handler as environment variables.
    pub app_settings: Vec<(String, String)>,
    /// After this an invocation has failed, and the handler is killed.
    pub function_timeout: Duration,
    /// From a function's time-out to the handler's death.
    pub timeout_grace: Duration,
    /// How long the handler may take to answer `GET /`.
    pub initialization_timeout: Duration,
    /// Whether Application Insights is configured: then each call to the handler carries a `traceparent`.
    pub telemetry_configured: bool,
    /// Name of the app in telemetry (`cloud_RoleName`, `AppName`).
    pub app_name: String,
}

/// Why a host could not be set up or started.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// `host.json` is missing or unreadable.
    #[error("cannot read {path}: {source}; stage the app first")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// `host.json` is not what the host understands.
    #[error("{path} is not a valid host.json: {problem}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// No free port on loopback.
    #[error("no free port on 127.0.0.1 for the handler: {0}")]
    NoPort(#[source] io::Error),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HostJson {
    function_timeout: Option<String>,
    custom_handler: CustomHandler,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CustomHandler {
    description: Description,
    initialization_timeout: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Description {
    default_executable_path: String,
    #[serde(default)]
    arguments: Vec<String>,
}

impl HostOptions {
    /// Reads `host.json` in a script root.
    ///
    /// # Errors
    /// When it cannot be read, or lacks what starts a custom handler.
    pub fn from_script_root(root: &Path) -> Result<Self, HostError> {
        let unreadable = |path: &Path, source| HostError::Unreadable { path: path.to_owned(), source };
        let root = root.canonicalize().map_err(|source| unreadable(root, source))?;
        let path = root.join("host.json");
        let text = std::fs::read(&path).map_err(|source| unreadable(&path, source))?;
        let invalid = |problem: String| HostError::Invalid { path: path.clone(), problem };
        let host: HostJson = serde_json::from_slice(&text).map_err(|error| invalid(error.to_string()))?;
        let description = host.custom_handler.description;
        let limit = |text: Option<String>, default| match text {
            None => Ok(default),
            Some(text) => timespan(&text).ok_or_else(|| invalid(format!("{text:?} is not a time span (hh:mm:ss)"))),
        };
        Ok(Self {
            executable: executable(&root, &description.default_executable_path),
            arguments: description.arguments,
            app_settings: Vec::new(),
            function_timeout: limit(host.function_timeout, Duration::from_secs(30 * 60))?,
            timeout_grace: Duration::from_secs(2),
            initialization_timeout: limit(host.custom_handler.initialization_timeout, Duration::from_secs(30))?,
            telemetry_configured: false,
            app_name: "local".to_owned(),
            script_root: root,
        })
    }
}

/// A relative path is the app's if such a file exists there, else it is looked up on `PATH`.
fn executable(root: &Path, path: &str) -> PathBuf {
    let inside = root.join(path);
    if inside.exists() { inside } else { PathBuf::from(path) }
}

/// Reads `hh:mm:ss[.fff]`; `-1` is no limit.
fn timespan(text: &str) -> Option<Duration> {
    if text == "-1" {
        return Some(Duration::MAX);
    }
    let parts: Vec<&str> = text.split(':').collect();
    let [hours, minutes, seconds] = parts.as_slice() else {
        return None;
    };
    let (hours, minutes) = (hours.parse::<u32>().ok()?, minutes.parse::<u32>().ok()?);
    let seconds = Duration::try_from_secs_f64(seconds.parse().ok()?).ok()?;
    Some(Duration::from_secs(u64::from(hours) * 3600 + u64::from(minutes) * 60) + seconds)
}

/// `00:00:20`, or `00:00:00.5000000`: a .NET `TimeSpan` in its messages.
pub(super) fn print_timespan(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let whole = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    match duration.subsec_nanos() / 100 {
        0 => whole,
        ticks => format!("{whole}.{ticks:07}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_spans_are_read_and_printed_as_dotnet_does() {
        for (text, want) in [("00:10:00", 600_000), ("01:00:01.5", 3_601_500), ("00:00:00.300", 300)] {
            assert_eq!(timespan(text), Some(Duration::from_millis(want)), "{text}");
        }
        assert_eq!(timespan("-1"), Some(Duration::MAX));
        assert_eq!(timespan("10"), None);
        assert_eq!(print_timespan(Duration::from_secs(1_800)), "00:30:00");
        assert_eq!(print_timespan(Duration::from_millis(500)), "00:00:00.5000000");
    }

    #[test]
    fn host_json_says_how_to_start_the_handler() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("host.json"), include_str!("../../../host.json")).unwrap();
        let absent = HostOptions::from_script_root(root.path()).unwrap();
        assert_eq!(absent.executable, Path::new("handler"));
        assert_eq!(absent.function_timeout, Duration::from_secs(600));
        assert_eq!(absent.initialization_timeout, Duration::from_secs(30));

        std::fs::write(root.path().join("handler"), "").unwrap();
        let present = HostOptions::from_script_root(root.path()).unwrap();
        assert_eq!(present.executable, root.path().canonicalize().unwrap().join("handler"));
    }
}
