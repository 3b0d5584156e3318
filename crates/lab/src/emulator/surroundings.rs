//! What the platform gives an app, and whether the app can be served here: told before anything starts.

use custom_handler::files::field;
use serde_json::Value;

use super::{host::APP_NAME, http_trigger::HttpFunctions};
use crate::{
    app::{AppError, FunctionJson, ScriptRoot, blob_trigger::BlobFunction},
    machine::workspace::Workspace,
};
use incident_labs::{blob::StorageAccount, settings::SITE_NAME};

/// The connection every app has: the host keeps its queues and receipts there.
const STORAGE: &str = "AzureWebJobsStorage";
/// What a connection to the local emulator says.
const DEVELOPMENT_STORAGE: &str = "UseDevelopmentStorage=true";
/// Types and directions of the bindings that are served.
const SERVED: &[(&str, &str)] = &[
    ("httpTrigger", "in"),
    ("http", "out"),
    ("blobTrigger", "in"),
    ("orchestrationTrigger", "in"),
    ("activityTrigger", "in"),
    ("durableClient", "in"),
    ("durableClient", "out"),
];

/// The app as it will be served, with names filled in from its settings and the platform's: for a look before anything starts.
///
/// # Errors
/// A name that is no setting.
pub(super) fn preview(root: &ScriptRoot, port: u16) -> Result<ScriptRoot, AppError> {
    let storage = (STORAGE.to_owned(), DEVELOPMENT_STORAGE.to_owned());
    root.clone().with_defaults(of_platform(port).into_iter().chain([storage])).resolved()
}

/// The app's name is the role of its rows, the host's and the handler's alike.
fn of_platform(port: u16) -> [(String, String); 3] {
    let host_name = format!("localhost:{port}");
    [("FUNCTIONS_WORKER_RUNTIME", "custom"), ("WEBSITE_HOSTNAME", &host_name), (SITE_NAME, APP_NAME)]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
}

/// Adds the platform's settings: below the app's own, except that development storage is this session's.
pub(super) fn provide(root: ScriptRoot, folder: &Workspace, account: Option<&StorageAccount>, port: u16) -> ScriptRoot {
    let connection = account.and_then(StorageAccount::connection_string);
    let storage = connection.clone().map(|it| (STORAGE.to_owned(), it));
    let root = root.with_defaults(of_platform(port).into_iter().chain(storage));
    let names = root.settings().iter().map(|it| &it.0).filter(|it| root.setting(it).is_some_and(is_local));
    let here: Vec<_> = names.filter_map(|it| Some((it.clone(), connection.clone()?))).collect();
    root.with_settings(here.into_iter().chain([folder.mark()]))
}

fn is_local(connection: &str) -> bool {
    StorageAccount::is_emulator_shortcut(connection)
}

/// Refuses an app without functions, one with a route that cannot be served, and one whose blobs would be looked for in one place and
/// read in another.
///
/// # Errors
/// Which file, and what to do about it.
pub(super) fn check(root: &ScriptRoot, functions: &[BlobFunction]) -> Result<(), AppError> {
    if root.functions().is_empty() && !root.disabled().is_empty() {
        let way_out = "switch one on: its setting AzureWebJobs.<function>.Disabled, or `functions` of host.json";
        return Err(AppError::new(root.path(), "every function of the app is disabled", way_out));
    }
    if root.functions().is_empty() {
        let way_out = "put a folder with a function.json beside host.json for each, or all of them into functions/";
        return Err(AppError::new(root.path(), "the app has no function", way_out));
    }
    HttpFunctions::check(root)?;
    functions.iter().try_for_each(|it| check_connection(root, it))
}

fn check_connection(root: &ScriptRoot, function: &BlobFunction) -> Result<(), AppError> {
    let name = &function.connection;
    // The host looks for the name with its own prefix first.
    let value = root.setting(&format!("AzureWebJobs{name}")).or_else(|| root.setting(name));
    let problem = match value {
        Some(value) if is_local(value) => return Ok(()),
        Some(value) => {
            let why = StorageAccount::from_connection_string(value).err().map(|it| format!(" (it {it})"));
            let why = why.unwrap_or_default();
            format!("its connection {name} names storage elsewhere{why}, and blobs are looked for here alone")
        }
        None if root.has_section(name) => {
            format!(
                "its connection {name} names storage elsewhere, by an identity, and blobs are looked for here alone"
            )
        }
        None if name == STORAGE => return Ok(()),
        None => format!("its connection {name} is no app setting"),
    };
    let way_out = format!("set {name} to {DEVELOPMENT_STORAGE} in local.settings.json or with --set");
    Err(AppError::new(&function.file, problem, way_out))
}

/// Bindings that are not served here, for people: their triggers never fire, and what is put into them is dropped.
pub fn unserved(root: &ScriptRoot) -> Vec<String> {
    let of_function = |function: &FunctionJson| {
        let name = function.name.clone();
        let unserved = |it: &&Value| !SERVED.iter().any(|(kind, way)| crate::app::is_binding(it, kind, way));
        let texts = function.bindings.iter().filter(unserved).map(move |it| describe(&name, it));
        texts.collect::<Vec<_>>()
    };
    root.functions().iter().flat_map(of_function).collect()
}

fn describe(function: &str, binding: &Value) -> String {
    let text = |name: &str| field(binding, name).as_str().unwrap_or("?");
    format!("{function}: {} {} ({})", text("type"), text("name"), field(binding, "direction").as_str().unwrap_or("in"))
}
