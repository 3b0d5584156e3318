//! `lab judge`: holds any folder of tables against a lab's criteria.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;
use clap::builder::PossibleValuesParser;
use serde_json::{Value, json};

use super::need_tables;
use crate::{
    ingestion::import::SUMMARY,
    judgement::{Bundle, ENVIRONMENT, Journal, Manifest, ManifestError, Origin, Step},
    labs::{EP1_LIMIT_MB, Entry, LABS, close, named, tell},
    machine::{exit::UsageError, terminal::err},
};

/// Hold telemetry from anywhere against a lab's criteria, and make the same bundle and page as a run.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:     cargo lab import telemetry.jsonl --folder evidence/mine --phases phases.json
             cargo lab judge replay evidence/mine
Folder:      of `lab import`; phases.json in it says when baseline, incident and recovery were, and which instances are theirs.
             Criteria over tables or phases that are missing are inconclusive, each by name. Those over the lab's own records
             (tables lab_*) do not keep an import from being supported. A run of the lab is judged, too, and left as it is.
Exit codes:  0 supported; 1 not supported; 2 inconclusive; 3 it could not be judged; 64 usage")]
pub struct Judge {
    /// Whose criteria.
    #[arg(value_parser = PossibleValuesParser::new(LABS.iter().map(|it| it.name)))]
    lab: String,
    /// Folder with the tables in `tables`.
    folder: PathBuf,
    /// Memory limit of the worker, in MiB: the OOM lab's bands are shares of it.
    #[arg(long, value_name = "MIB", default_value_t = EP1_LIMIT_MB, value_parser = positive)]
    limit_mib: f64,
    /// Print verdict.json alone instead of tables.
    #[arg(long)]
    json: bool,
}

fn positive(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|it| it.is_finite() && *it > 0.0);
    number.ok_or_else(|| "write a number of MiB above 0".to_owned())
}

impl Judge {
    /// Judges the folder and gives the exit code of its verdict.
    ///
    /// # Errors
    /// When the folder has no tables, or cannot be read or written.
    pub fn run(self) -> anyhow::Result<u8> {
        let lab = named(&self.lab).context("find the lab")?;
        need_tables(&self.folder)?;
        if self.folder.join(SUMMARY).is_file() || !is_run(&self.folder) { self.import(lab) } else { self.own(lab) }
    }

    fn import(&self, lab: &Entry) -> anyhow::Result<u8> {
        let rules = lab.definition.rules()?;
        let journal = Journal::of(&self.folder);
        journal.add(Step::Hypothesis, rules.hypothesis.trim(), json!({}))?;
        journal.add(Step::Action, "telemetry from elsewhere is judged", json!({ "lab": lab.name }))?;
        let environment = json!({"lab": env!("CARGO_PKG_VERSION"), "imported": received(&self.folder.join(SUMMARY))});
        let path = self.folder.join(ENVIRONMENT);
        fs::write(&path, serde_json::to_vec_pretty(&environment)?).context("write environment.json")?;
        let (judged, seal) = close(lab.definition, &self.folder, self.manifest(lab, Origin::Import)?)?;
        tell(&judged, &self.folder, &seal, self.json)
    }

    /// A run has its bundle: it is judged again, and nothing in it is changed.
    fn own(&self, lab: &Entry) -> anyhow::Result<u8> {
        let manifest = match Manifest::read(&self.folder) {
            Err(ManifestError::Missing { .. }) => self.manifest(lab, Origin::Run)?,
            read => read?,
        };
        if manifest.lab != lab.name {
            let (folder, own) = (self.folder.display(), &manifest.lab);
            return Err(
                UsageError(format!("{folder} is a run of the lab {own}: judge it with `lab judge {own}`")).into()
            );
        }
        let judged = Bundle::of(lab.definition, &self.folder, manifest).judge()?;
        err("this is a run of the lab, whose bundle stays as it is; `lab verify` compares the two");
        tell(&judged, &self.folder, "", self.json)
    }

    fn manifest(&self, lab: &Entry, origin: Origin) -> anyhow::Result<Manifest> {
        let folder = self.folder.canonicalize().context("find the folder")?;
        let parameters = (lab.parameters)(self.limit_mib);
        Ok(Manifest { parameters, ..Manifest::new(lab.definition, &folder, origin)? })
    }
}

/// Whether a lab's run left the folder: it has records that no import has.
fn is_run(folder: &Path) -> bool {
    let made = Manifest::read(folder).is_ok_and(|it| it.origin.is_run());
    made || ["phases.jsonl", "manifest.jsonl", "instances.jsonl"].iter().any(|it| folder.join(it).exists())
}

/// What the import counted.
fn received(path: &Path) -> Value {
    let text = fs::read(path).unwrap_or_default();
    let summary: Value = serde_json::from_slice(&text).unwrap_or_default();
    json!({"received": summary["received"], "rows": summary["rows"], "refused": summary["refused"]})
}
