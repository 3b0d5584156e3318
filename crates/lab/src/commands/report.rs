//! `lab report`: makes the page of a run again.

use std::path::PathBuf;

use crate::{
    machine::{
        exit::{EXIT_OK, UsageError},
        terminal::out,
    },
    report::{self, FILE, ReportError},
};

/// Make report.html of a run's folder again: its verdict, charts, tables, and the rows behind each criterion.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:     cargo lab report evidence/oom/latest
             cargo lab report evidence/replay/latest --out replay.html
The page:    one file that needs nothing else, made from the folder's files alone: the same files give the same page
More:        docs/report.md says what it shows and which keys it has; `lab run LAB --watch` shows it while the run is under way
Exit codes:  0 the page is written; 3 a file cannot be read or written; 64 DIR has no verdict, or the command line is wrong")]
pub struct Report {
    /// A run's folder, or one that `lab judge` judged: it has verdict.json and phases.json.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Write the page there instead of into the folder.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Report {
    /// Writes the page, and says where.
    ///
    /// # Errors
    /// When the folder has no verdict, or the page cannot be written.
    pub fn run(self) -> anyhow::Result<u8> {
        let path = self.out.unwrap_or_else(|| self.folder.join(FILE));
        match report::write_to(&self.folder, &path) {
            Ok(()) => {}
            Err(error @ (ReportError::NoBundle { .. } | ReportError::NoLab { .. })) => {
                return Err(UsageError(error.to_string()).into());
            }
            Err(error) => return Err(error.into()),
        }
        out(&format!("report: {}", path.display()));
        Ok(EXIT_OK)
    }
}
