//! `host.json`, with the app settings that override it.

use std::path::Path;

use serde_json::Value;

use crate::emulator::host::HostError;

/// Prefix of an override; `__` stands between the names on the way to a value (host: `HostJsonFileConfigurationSource`
/// below the environment).
const OVERRIDE: &str = "AzureFunctionsJobHost__";

/// Reads it from a script root.
///
/// # Errors
/// When it is not there, or not JSON.
pub(crate) fn read(root: &Path, app_settings: &[(String, String)]) -> Result<Value, HostError> {
    let path = root.join("host.json");
    let unreadable = |source| HostError::Unreadable { path: path.clone(), source };
    let text = std::fs::read(&path).map_err(unreadable)?;
    let invalid = |error: serde_json::Error| HostError::Invalid { path: path.clone(), problem: error.to_string() };
    let mut host: Value = serde_json::from_slice(&text).map_err(invalid)?;
    for (name, value) in app_settings {
        if let Some(place) = name.strip_prefix(OVERRIDE) {
            set(&mut host, place, value);
        }
    }
    Ok(host)
}

fn set(host: &mut Value, place: &str, value: &str) {
    let mut at = host;
    for name in place.split("__") {
        let Some(object) = at.as_object_mut() else { return };
        let known = object.keys().find(|it| it.eq_ignore_ascii_case(name)).cloned();
        at =
            object.entry(known.unwrap_or_else(|| name.to_owned())).or_insert_with(|| Value::Object(Default::default()));
    }
    // Configuration is text to the host; here a number or a flag has to look like one.
    *at = match serde_json::from_str(value) {
        Ok(scalar @ (Value::Number(_) | Value::Bool(_) | Value::Array(_))) => scalar,
        _ => Value::String(value.to_owned()),
    };
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn app_settings_override_host_json() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("host.json"), r#"{"functionTimeout":"00:10:00","extensions":{"blobs":{}}}"#)
            .unwrap();
        let settings = [
            ("AzureFunctionsJobHost__functiontimeout", "00:00:40"),
            ("AzureFunctionsJobHost__extensions__blobs__maxDegreeOfParallelism", "1"),
            ("FUNCTIONS_WORKER_RUNTIME", "custom"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let host = read(root.path(), &settings).unwrap();
        let wanted =
            json!({ "functionTimeout": "00:00:40", "extensions": { "blobs": { "maxDegreeOfParallelism": 1 } } });
        assert_eq!(host, wanted);
    }
}
