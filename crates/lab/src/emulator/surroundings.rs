//! What the platform gives an app, and whether the app can be served here: told before anything starts.

use serde_json::Value;

use crate::{
    app::{AppError, FunctionJson, ScriptRoot, blob_trigger::BlobFunction},
    machine::{azurite::Azurite, workspace::Workspace},
};

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

/// Adds the platform's settings: below the app's own, except that development storage is this session's.
pub(super) fn provide(root: ScriptRoot, folder: &Workspace, azurite: Option<&Azurite>, port: u16) -> ScriptRoot {
    let connection = azurite.and_then(|it| it.account().connection_string());
    let own = [
        Some(("FUNCTIONS_WORKER_RUNTIME", "custom".to_owned())),
        Some(("WEBSITE_HOSTNAME", format!("localhost:{port}"))),
        connection.clone().map(|it| (STORAGE, it)),
    ];
    let root = root.with_defaults(own.into_iter().flatten().map(|(name, value)| (name.to_owned(), value)));
    let names = root.settings().iter().map(|it| &it.0).filter(|it| root.setting(it).is_some_and(is_local));
    let here: Vec<_> = names.filter_map(|it| Some((it.clone(), connection.clone()?))).collect();
    root.with_settings(here.into_iter().chain([folder.mark()]))
}

fn is_local(connection: &str) -> bool {
    connection.trim_end_matches(';') == DEVELOPMENT_STORAGE
}

/// Refuses an app without functions, and one whose blobs would be looked for in one place and read in another.
///
/// # Errors
/// Which file, and what to do about it.
pub(super) fn check(root: &ScriptRoot, functions: &[BlobFunction]) -> Result<(), AppError> {
    if root.functions().is_empty() {
        let way_out = "put a folder with a function.json beside host.json for each, or all of them into functions/";
        return Err(AppError::new(root.path(), "the app has no function", way_out));
    }
    for function in functions {
        let name = &function.connection;
        // The host looks for the name with its own prefix first.
        let value = root.setting(&format!("AzureWebJobs{name}")).or_else(|| root.setting(name));
        let problem = match value {
            Some(value) if is_local(value) => continue,
            None if name == STORAGE => continue,
            Some(_) => format!("its connection {name} names storage elsewhere, and blobs are looked for here alone"),
            None => format!("its connection {name} is no app setting"),
        };
        let way_out = format!("set {name} to {DEVELOPMENT_STORAGE} in local.settings.json or with --set");
        return Err(AppError::new(&function.file, problem, way_out));
    }
    Ok(())
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
    let text = |field: &str| binding[field].as_str().unwrap_or("?");
    format!("{function}: {} {} ({})", text("type"), text("name"), binding["direction"].as_str().unwrap_or("in"))
}
