//! How the host is set up: what `host.json` says, and the limits tests shorten.

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use super::variables::Variables;
use crate::app::{AppError, ScriptRoot, Start};
use incident_labs::settings::SITE_NAME;

/// The app's name where its settings give it none.
pub const APP_NAME: &str = "local";

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

impl HostOptions {
    /// What an app's `host.json` says.
    ///
    /// # Errors
    /// When it lacks what starts a custom handler, or says something that cannot be read.
    pub fn new(root: &ScriptRoot) -> Result<Self, AppError> {
        let settings = root.host_settings()?;
        if settings.forwards_http {
            let problem = "HTTP requests are to reach the handler as they are, and here they come as JSON alone";
            return Err(
                root.host_error(problem, "set enableForwardingHttpRequest and enableProxyingHttpRequest to false")
            );
        }
        let start = settings.start;
        Ok(Self {
            executable: executable(root.path(), &start),
            working_directory: root.path().join(start.working_directory),
            arguments: settings.arguments,
            app_settings: root.settings().to_vec(),
            function_timeout: settings.function_timeout,
            timeout_grace: Duration::from_secs(2),
            initialization_timeout: settings.initialization_timeout,
            telemetry_configured: false,
            app_name: root.setting(SITE_NAME).filter(|it| !it.is_empty()).unwrap_or(APP_NAME).to_owned(),
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
fn executable(root: &Path, start: &Start) -> PathBuf {
    let inside = root.join(&start.executable);
    if inside.exists() { inside } else { start.as_written.clone() }
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
