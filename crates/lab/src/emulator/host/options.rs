//! How the host is set up: what `host.json` says, and the limits tests shorten.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;

use crate::app::host_json;
use custom_handler::wire::timespan;

/// Everything the host needs to know before it starts the handler.
#[derive(Clone, Debug)]
pub struct HostOptions {
    /// Staged app; also the handler's working directory.
    pub script_root: PathBuf,
    /// The handler's executable. Absolute if it stands under the script root, else as `host.json` names it.
    pub executable: PathBuf,
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
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// `host.json` is not what the host understands.
    #[error("{path} is not a valid host.json: {problem}")]
    Invalid {
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
    /// Reads `host.json` in a script root, as the app settings override it.
    ///
    /// # Errors
    /// When it cannot be read, or lacks what starts a custom handler.
    pub fn from_script_root(root: &Path, app_settings: Vec<(String, String)>) -> Result<Self, HostError> {
        let unreadable = |source| HostError::Unreadable { path: root.to_owned(), source };
        let root = root.canonicalize().map_err(unreadable)?;
        let invalid = |problem| HostError::Invalid { path: root.join("host.json"), problem };
        let host = host_json::read(&root, &app_settings)?;
        let host: HostJson = serde_json::from_value(host).map_err(|error| invalid(error.to_string()))?;
        let description = host.custom_handler.description;
        let limit = |text: Option<String>, default| match text {
            None => Ok(default),
            Some(text) => {
                timespan::parse(&text).ok_or_else(|| invalid(format!("{text:?} is not a time span (hh:mm:ss)")))
            }
        };
        Ok(Self {
            executable: executable(&root, &description.default_executable_path),
            arguments: description.arguments,
            app_settings,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_json_says_how_to_start_the_handler() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("host.json"), include_str!("../../../../../host.json")).unwrap();
        let absent = HostOptions::from_script_root(root.path(), Vec::new()).unwrap();
        assert_eq!(absent.executable, Path::new("handler"));
        assert_eq!(absent.function_timeout, Duration::from_secs(600));
        assert_eq!(absent.initialization_timeout, Duration::from_secs(30));

        std::fs::write(root.path().join("handler"), "").unwrap();
        let present = HostOptions::from_script_root(root.path(), Vec::new()).unwrap();
        assert_eq!(present.executable, root.path().canonicalize().unwrap().join("handler"));
    }
}
