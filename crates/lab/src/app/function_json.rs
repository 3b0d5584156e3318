//! The `function.json` files of a script root.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde_json::Value;

#[derive(Clone, Debug)]
pub struct FunctionJson {
    /// Its folder: route and operation name.
    pub name: String,
    /// Its bindings, the trigger among them.
    pub bindings: Vec<Value>,
}

/// Why the declared functions could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FunctionJsonError {
    /// No such file, or not readable.
    #[error("read {}", path.display())]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    #[error("understand {}", path.display())]
    Invalid { path: PathBuf, source: serde_json::Error },
}

impl FunctionJson {
    /// All functions of a script root, by name.
    ///
    /// # Errors
    /// When a folder or file cannot be read.
    pub fn all(root: &Path) -> Result<Vec<Self>, FunctionJsonError> {
        let unreadable = |path: &Path| {
            let path = path.to_owned();
            move |source| FunctionJsonError::Unreadable { path, source }
        };
        let mut functions = Vec::new();
        for entry in fs::read_dir(root).map_err(unreadable(root))? {
            let folder = entry.map_err(unreadable(root))?.path();
            let path = folder.join("function.json");
            if !path.is_file() {
                continue;
            }
            let text = fs::read(&path).map_err(unreadable(&path))?;
            let json: Value =
                serde_json::from_slice(&text).map_err(|source| FunctionJsonError::Invalid { path, source })?;
            let name = folder.file_name().and_then(|it| it.to_str()).unwrap_or_default().to_owned();
            functions.push(Self { name, bindings: json["bindings"].as_array().cloned().unwrap_or_default() });
        }
        functions.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(functions)
    }

    /// The first binding of a type; types are compared without regard to case, as the host does.
    pub fn binding_of(&self, kind: &str) -> Option<&Value> {
        self.bindings.iter().find(|it| it["type"].as_str().is_some_and(|it| it.eq_ignore_ascii_case(kind)))
    }

    /// The same for one direction.
    pub fn binding_in(&self, kind: &str, direction: &str) -> Option<&Value> {
        let directed = |it: &&Value| it["direction"].as_str().unwrap_or("in").eq_ignore_ascii_case(direction);
        self.bindings
            .iter()
            .filter(directed)
            .find(|it| it["type"].as_str().is_some_and(|it| it.eq_ignore_ascii_case(kind)))
    }
}
