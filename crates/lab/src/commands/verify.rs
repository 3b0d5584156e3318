//! `lab verify`: whether a bundle is what it was, and still comes to its verdict.

use std::path::PathBuf;

use anyhow::{Context, bail};
use serde_json::json;

use crate::{
    judgement::{Manifest, Verification, verify},
    labs::named,
    machine::{
        exit::{EXIT_OK, EXIT_WRONG},
        terminal::out,
    },
};

/// Check a bundle: its files against its sums, its queries and criteria against its tables.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:     cargo lab verify evidence/oom/latest
What it does: reads the bundle's files alone. Each line of SHA256SUMS covers the line before it and its file, so that neither a file nor
             a line can be changed alone; the last one, the seal, covers everything. Then all queries run again, and all criteria are
             judged again: verdict, numbers and rows must come out as they are kept.
By hand:     (grep -B1 ' FILE$' SHA256SUMS | head -1; cat FILE) | sha256sum     (the first file has no line before)
Exit codes:  0 it holds; 1 it does not, and what differs is named; 3 it is no bundle; 64 usage")]
pub struct Verify {
    /// Folder of a run, or of what `lab judge` judged.
    folder: PathBuf,
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
}

impl Verify {
    /// Verifies the bundle and prints what it found.
    ///
    /// # Errors
    /// When it is no bundle, or cannot be read.
    pub fn run(self) -> anyhow::Result<u8> {
        let manifest = Manifest::read(&self.folder)?;
        let lab = named(&manifest.lab).with_context(|| format!("no lab is named {:?}", manifest.lab))?;
        if !self.folder.join("SHA256SUMS").is_file() {
            bail!("{} has no SHA256SUMS: the bundle was never closed", self.folder.display());
        }
        let verification = verify(lab.definition, &self.folder)?;
        if self.json {
            let mut told = serde_json::to_value(&verification)?;
            told["verified"] = json!(verification.holds());
            out(&told.to_string());
        } else {
            tell(&verification);
        }
        Ok(if verification.holds() { EXIT_OK } else { EXIT_WRONG })
    }
}

fn tell(it: &Verification) {
    for (what, files) in [("changed", &it.changed), ("missing", &it.missing), ("added", &it.added)] {
        files.iter().for_each(|file| out(&format!("{what:<8} {file}")));
    }
    it.differences.iter().for_each(|difference| out(&format!("differs  {difference}")));
    let Verification { queries, criteria, verdict, seal, .. } = it;
    out(&format!("{queries} queries and {criteria} criteria computed again: {verdict}"));
    out(&format!("seal: {seal}"));
    out(if it.holds() { "the bundle holds" } else { "the bundle does NOT hold" });
}
