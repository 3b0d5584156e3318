//! How the host is set up: what `host.json` says, and the limits tests shorten.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;

use crate::app::{AppError, ScriptRoot};
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
    /// What an app's `host.json` says.
    ///
    /// # Errors
    /// When it lacks what starts a custom handler.
    pub fn new(root: &ScriptRoot) -> Result<Self, AppError> {
        let host = HostJson::deserialize(root.host()).map_err(|error| {
            root.host_error(error, "name the handler in customHandler.description.defaultExecutablePath")
        })?;
        let description = host.custom_handler.description;
        let limit = |text: Option<String>, default| match text {
            None => Ok(default),
            Some(text) => timespan::parse(&text)
                .ok_or_else(|| root.host_error(format!("{text:?} is not a time span"), "write it as hh:mm:ss")),
        };
        Ok(Self {
            executable: executable(root.path(), &description.default_executable_path),
            arguments: description.arguments,
            app_settings: root.settings().to_vec(),
            function_timeout: limit(host.function_timeout, Duration::from_secs(30 * 60))?,
            timeout_grace: Duration::from_secs(2),
            initialization_timeout: limit(host.custom_handler.initialization_timeout, Duration::from_secs(30))?,
            telemetry_configured: false,
            app_name: "local".to_owned(),
            script_root: root.path().to_owned(),
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
        let read = || HostOptions::new(&ScriptRoot::read(root.path()).unwrap()).unwrap();
        let absent = read();
        assert_eq!(absent.executable, Path::new("handler"));
        assert_eq!(absent.function_timeout, Duration::from_secs(600));
        assert_eq!(absent.initialization_timeout, Duration::from_secs(30));

        std::fs::write(root.path().join("handler"), "").unwrap();
        assert_eq!(read().executable, root.path().canonicalize().unwrap().join("handler"));
    }
}
