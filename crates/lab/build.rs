//! Puts files of the checkout into the lab, so that it works where there is no checkout: the app's `function.json` files, and the
//! labs' queries.

use std::{
    env,
    fmt::Write,
    fs, io,
    path::{Path, PathBuf},
};

const FUNCTIONS: &str = "../../functions";
const LOAD: &str = "../../load";
/// Folders of queries that the lab itself runs: those of Application Insights' tables, and those that need the lab's own.
const PLACES: [&str; 2] = ["component", "lab"];

fn main() -> io::Result<()> {
    let functions = sorted(Path::new(FUNCTIONS))?.into_iter().map(|it| (name(&it), it.join("function.json")));
    write_table("functions.rs", FUNCTIONS, functions)?;
    let mut queries = Vec::new();
    for lab in sorted(Path::new(LOAD))? {
        for place in PLACES.map(|it| lab.join("queries").join(it)).iter().filter(|it| it.is_dir()) {
            queries.extend(sorted(place)?.into_iter().map(|it| (format!("{}/{}", name(&lab), name(&it)), it)));
        }
    }
    write_table("queries.rs", LOAD, queries.into_iter())
}

fn sorted(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = fs::read_dir(folder)?.map(|it| Ok(it?.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Writes `&[(name, text)]`, and has cargo come back when the folder changes.
fn write_table(file: &str, watched: &str, entries: impl Iterator<Item = (String, PathBuf)>) -> io::Result<()> {
    println!("cargo::rerun-if-changed={watched}");
    let mut table = "&[\n".to_owned();
    for (name, path) in entries {
        let _ = writeln!(table, "    ({name:?}, include_str!({:?})),", path.canonicalize()?);
    }
    #[expect(clippy::disallowed_methods, reason = "cargo tells a build script where to write in no other way")]
    let out = env::var_os("OUT_DIR").unwrap_or_default();
    fs::write(Path::new(&out).join(file), table + "]\n")
}
