//! A function with a blob trigger: which blobs it wants, and what they are called to it.

use std::path::PathBuf;

use super::{
    AppError, FunctionJson, ScriptRoot,
    function_json::{has_expression, is_deferred, is_trigger, text},
};

/// A function triggered by the blobs of one container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobFunction {
    /// Folder, route and operation name.
    pub name: String,
    /// Name of the trigger's binding.
    pub binding: String,
    /// App setting with the storage connection.
    pub connection: String,
    /// Where and which blobs.
    pub path: BlobPath,
    /// Whether the handler is sent facts about a blob; else it is sent the whole blob.
    pub is_deferred: bool,
    /// Its `function.json`.
    pub file: PathBuf,
}

/// A trigger's path: a container, and a blob name with at most one parameter, for example `input/{name}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobPath {
    pub container: String,
    prefix: String,
    parameter: Option<String>,
    suffix: String,
}

impl BlobFunction {
    /// The blob-triggered functions of an app whose names are filled in ([`ScriptRoot::resolved`]), by name.
    ///
    /// # Errors
    /// When one names a path the trigger cannot follow.
    pub fn all(root: &ScriptRoot) -> Result<Vec<Self>, AppError> {
        root.functions().iter().filter_map(|it| Self::declared(it).transpose()).collect()
    }

    fn declared(function: &FunctionJson) -> Result<Option<Self>, AppError> {
        let Some(trigger) = function.binding_of("blobTrigger") else { return Ok(None) };
        let path = text(trigger, "path");
        let path = BlobPath::parse(path).ok_or_else(|| {
            let problem = format!("the trigger path {path:?} cannot be followed");
            AppError::new(&function.file, problem, "write `container/{name}`, with at most one parameter")
        })?;
        let connection = Some(text(trigger, "connection")).filter(|it| !it.is_empty()).unwrap_or("AzureWebJobsStorage");
        let mut others = function.bindings.iter().filter(|it| !is_trigger(it));
        Ok(Some(Self {
            name: function.name.clone(),
            binding: text(trigger, "name").to_owned(),
            connection: connection.to_owned(),
            path,
            is_deferred: is_deferred(trigger) && !others.any(has_expression),
            file: function.file.clone(),
        }))
    }

    /// The id the storage extension files receipts and messages under.
    pub fn id(&self) -> String {
        format!("Host.Functions.{}", self.name)
    }
}

impl BlobPath {
    /// Reads a trigger path; `None` when it is of a kind the lab does not follow.
    pub fn parse(path: &str) -> Option<Self> {
        let (container, blob) = path.split_once('/')?;
        let (prefix, rest) = blob.split_once('{').unwrap_or((blob, ""));
        let (parameter, suffix) = match rest.split_once('}') {
            Some((parameter, suffix)) => (Some(parameter.to_owned()), suffix),
            None => (None, rest),
        };
        let plain = |it: &str| !it.contains(['{', '}']);
        let is_ok = !container.is_empty() && !blob.is_empty() && plain(container) && plain(prefix) && plain(suffix);
        let is_ok = is_ok && blob.contains('{') == parameter.is_some() && parameter.as_deref() != Some("");
        is_ok.then(|| Self {
            container: container.to_owned(),
            prefix: prefix.to_owned(),
            parameter,
            suffix: suffix.to_owned(),
        })
    }

    /// What the path's parameter is for a blob; `None` when the blob is not meant.
    pub fn parameters(&self, blob: &str) -> Option<Vec<(String, String)>> {
        let value = blob.strip_prefix(&self.prefix)?.strip_suffix(&self.suffix)?;
        match &self.parameter {
            Some(parameter) if !value.is_empty() => Some(vec![(parameter.clone(), value.to_owned())]),
            None if value.is_empty() => Some(Vec::new()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_selects_blobs_and_names_their_part() {
        let cases = [
            ("input/{name}", "a/b c.txt", Some(vec![("name", "a/b c.txt")])),
            ("input/in/{name}.csv", "in/x.csv", Some(vec![("name", "x")])),
            ("input/in/{name}.csv", "in/x.txt", None),
            ("input/only", "only", Some(vec![])),
            ("input/only", "only2", None),
        ];
        for (path, blob, want) in cases {
            let found = BlobPath::parse(path).unwrap().parameters(blob);
            let found = found.as_ref().map(|it| it.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect());
            assert_eq!(found, want, "{path} {blob}");
        }
        for path in ["input", "/x", "{c}/x", "input/{a}{b}", "input/{", "input/{}", "input/"] {
            assert_eq!(BlobPath::parse(path), None, "{path}");
        }
    }
}
