//! How the host is set up: what `host.json` says, and the limits tests shorten.

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;

use super::variables::Variables;
use crate::app::{AppError, ScriptRoot};
use custom_handler::wire::timespan;

/// Everything the host needs to know before it starts the handler.
#[derive(Clone, Debug)]
pub struct HostOptions {
    /// The app's folder, absolute.
    pub script_root: PathBuf,
    /// The handler's executable. Absolute if it stands under the script root, else as `host.json` names it.
    pub executable: PathBuf,
    /// Where the handler is started.
    pub working_directory: PathBuf,
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
    #[serde(default)]
    enable_forwarding_http_request: bool,
    #[serde(default)]
    enable_proxying_http_request: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Description {
    default_executable_path: String,
    default_worker_path: Option<String>,
    #[serde(default)]
    working_directory: String,
    /// Where a relative executable is looked for.
    #[serde(default)]
    worker_directory: String,
    #[serde(default)]
    arguments: Vec<String>,
    #[serde(default)]
    worker_arguments: Vec<String>,
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
        let custom_handler = host.custom_handler;
        if custom_handler.enable_forwarding_http_request || custom_handler.enable_proxying_http_request {
            let problem = "HTTP requests are to reach the handler as they are, and here they come as JSON alone";
            return Err(
                root.host_error(problem, "set enableForwardingHttpRequest and enableProxyingHttpRequest to false")
            );
        }
        let description = custom_handler.description;
        let arguments = description.arguments.into_iter().chain(description.default_worker_path);
        let limit = |text: Option<String>, default| match text {
            None => Ok(default),
            Some(text) => timespan::parse(&text)
                .ok_or_else(|| root.host_error(format!("{text:?} is not a time span"), "write it as hh:mm:ss")),
        };
        Ok(Self {
            executable: executable(
                &root.path().join(description.worker_directory),
                &description.default_executable_path,
            ),
            working_directory: root.path().join(description.working_directory),
            arguments: arguments.chain(description.worker_arguments).collect(),
            app_settings: root.settings().to_vec(),
            function_timeout: limit(host.function_timeout, Duration::from_secs(30 * 60))?,
            timeout_grace: Duration::from_secs(2),
            initialization_timeout: limit(custom_handler.initialization_timeout, Duration::from_secs(30))?,
            telemetry_configured: false,
            app_name: "local".to_owned(),
            script_root: root.path().to_owned(),
        })
    }

    /// Refuses an executable that is not there: the host would wait for it and fail the first invocation after two minutes.
    ///
    /// # Errors
    /// Which executable, and where it was looked for.
    pub fn check_executable(&self, root: &ScriptRoot) -> Result<(), AppError> {
        let variables = Variables::with(&self.app_settings);
        let file = PathBuf::from(variables.expand(&self.executable.display().to_string()));
        if !file.is_absolute() {
            let on_path = |folder: &str| is_executable(&Path::new(folder).join(&file));
            let is_name = file.components().count() == 1;
            if is_name && variables.get("PATH").unwrap_or_default().split(':').any(on_path) {
                return Ok(());
            }
        } else if is_executable(&file) {
            return Ok(());
        } else if file.is_file() {
            return Err(AppError::new(&file, "it is not executable", format!("chmod +x {}", file.display())));
        }
        let problem = format!("it starts {file:?}, which is neither in {} nor on PATH", root.path().display());
        Err(root.host_error(problem, "build the handler there, or give one with --handler"))
    }
}

fn is_executable(file: &Path) -> bool {
    file.metadata().is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0)
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
