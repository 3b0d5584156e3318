//! A checkout of this project, if the lab is run in one: there the handler is built rather than found.

use std::path::{Path, PathBuf};

/// Name of the root package, and of the folder for what the lab keeps elsewhere.
pub(crate) const PROJECT: &str = "functions-incident-labs";

/// The checkout that holds the current folder, or the lab's own executable.
pub fn find() -> Option<PathBuf> {
    let here = std::env::current_dir().ok();
    let executable = std::env::current_exe().ok();
    [here, executable].iter().flatten().find_map(|it| above(it))
}

fn above(path: &Path) -> Option<PathBuf> {
    path.ancestors().find(|it| is_checkout(it)).map(Path::to_owned)
}

fn is_checkout(folder: &Path) -> bool {
    let name = format!("name = \"{PROJECT}\"");
    std::fs::read_to_string(folder.join("Cargo.toml")).is_ok_and(|text| text.lines().any(|line| line == name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkout_is_known_by_its_manifest() {
        let root = Path::new("../..").canonicalize().unwrap();
        assert_eq!(above(&root.join("crates/lab/src")), Some(root.clone()));
        assert_eq!(above(root.parent().unwrap()), None);
    }
}
