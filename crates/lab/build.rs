//! Puts the app's `function.json` files into the lab, so that it can stage the app where there is no checkout.

use std::{env, fmt::Write, fs, io, path::Path};

const FUNCTIONS: &str = "../../functions";

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed={FUNCTIONS}");
    let mut table = "&[\n".to_owned();
    let mut folders: Vec<_> = fs::read_dir(FUNCTIONS)?.collect::<io::Result<_>>()?;
    folders.sort_by_key(fs::DirEntry::file_name);
    for folder in folders {
        let file = folder.path().join("function.json").canonicalize()?;
        let _ = writeln!(table, "    ({:?}, include_str!({file:?})),", folder.file_name());
    }
    #[expect(clippy::disallowed_methods, reason = "cargo tells a build script where to write in no other way")]
    let out = env::var_os("OUT_DIR").unwrap_or_default();
    fs::write(Path::new(&out).join("functions.rs"), table + "]\n")
}
