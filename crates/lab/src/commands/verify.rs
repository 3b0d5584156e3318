//! `lab verify`: whether a bundle is what it was, and still comes to its verdict.

use std::path::PathBuf;

use anyhow::{Context, bail};
use serde_json::json;

use crate::{
    judgement::{Manifest, Verification, sums, verify, verify_files},
    labs::named,
    machine::{
        exit::{EXIT_OK, EXIT_WRONG},
        terminal::out,
    },
};

/// What `lab run oom --ablation` leaves instead of a verdict.
const ABLATION: &str = "ablation.json";

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
        let is_ablation = self.folder.join(ABLATION).is_file();
        let manifest = if is_ablation { None } else { Some(Manifest::read(&self.folder)?) };
        if !self.folder.join(sums::FILE).is_file() {
            bail!("{} has no {}: the bundle was never closed", self.folder.display(), sums::FILE);
        }
        let verification = match manifest {
            None => verify_files(&self.folder)?,
            Some(manifest) => {
                let lab = named(&manifest.lab).with_context(|| format!("no lab is named {:?}", manifest.lab))?;
                verify(lab.definition, &self.folder)?
            }
        };
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
    if *criteria == 0 {
        out("the files alone were compared: an ablation has no criteria");
    } else {
        out(&format!("{queries} queries and {criteria} criteria computed again: {verdict}"));
    }
    out(&format!("seal: {seal}"));
    out(if it.holds() { "the bundle holds" } else { "the bundle does NOT hold" });
}
