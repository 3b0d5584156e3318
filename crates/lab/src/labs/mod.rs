//! The labs: each an experiment, its load, its measures and criteria, and its report.
//!
//! A lab is one folder here and one row in [`LABS`]. It sees the app through [`crate::app::running`] alone.

pub mod oom;
pub mod replay;
mod run;

use std::{fmt, path::Path, time::Duration};

use async_trait::async_trait;
use clap::{ArgMatches, Command};
use futures::future::LocalBoxFuture;
use serde_json::{Map, Value};

pub use run::RunArguments;

use crate::{
    app::running::{Needs, OpenPlatform, Platform},
    evidence::{Criterion, Environment, Measure, Rules, RulesError, RunFolder},
};

/// All labs, in the order in which the command line lists them.
pub const LABS: &[Entry] = &[Entry::of::<oom::OomLab>(), Entry::of::<replay::ReplayLab>()];

/// A subcommand's help.
#[derive(Clone, Copy, Debug)]
pub struct Help {
    pub about: &'static str,
    pub after: &'static str,
}

/// A lab. Its value is an experiment as the command line asks for it.
#[async_trait(?Send)]
pub trait Lab: clap::Args + fmt::Debug + Sized + 'static {
    /// Its name on the command line, in the path of its evidence and in `verdict.json`.
    const NAME: &'static str;
    const RUN_HELP: Help;
    const LOAD_HELP: Help;
    /// The work folder, where the command line names no other.
    const WORK: &'static str;
    /// The text of its `criteria.toml`.
    const CRITERIA: &'static str;
    /// The guide's phases, which its queries are about: each with the run's own that it covers.
    const PHASES: &'static [(&'static str, &'static [&'static str])];
    /// Every number its criteria may ask for.
    const MEASURES: &'static [Measure<Self::Rows>];

    /// `lab load NAME`.
    type Load: Load;
    /// The experiment in full: what was asked for, checked against the scenario.
    type Plan;
    /// What a run left in its folder, read back.
    type Rows: 'static;

    /// Functions its app must have.
    fn functions() -> Vec<&'static str>;

    /// Plans the experiment and writes nothing.
    ///
    /// # Errors
    /// When it cannot be carried out as asked for.
    fn plan(&self) -> anyhow::Result<Self::Plan>;

    /// What the app will take of its machine, where that is worth checking.
    fn needs(&self, _plan: &Self::Plan) -> Option<Needs> {
        None
    }

    /// Carries the experiment out on a platform that was cleared, and leaves everything it is judged by in the run folder.
    ///
    /// # Errors
    /// When it could not be carried out; then nothing can be said of the hypothesis.
    async fn carry_out(&self, plan: &Self::Plan, platform: &dyn Platform, evidence: &RunFolder) -> anyhow::Result<()>;

    /// Answers another question on the same platform where the command line asks it: then there is no verdict, and this is the
    /// exit code.
    ///
    /// # Errors
    /// As [`Lab::carry_out`].
    async fn side_experiment(
        &self,
        _platform: &dyn Platform,
        _evidence: &RunFolder,
        _json: bool,
    ) -> anyhow::Result<Option<u8>> {
        Ok(None)
    }

    /// Reads a run's folder.
    ///
    /// # Errors
    /// When a table cannot be read.
    fn read(&self, folder: &Path) -> anyhow::Result<Self::Rows>;

    /// Its criteria.
    ///
    /// # Errors
    /// Never in practice: they are part of the program.
    fn rules() -> Result<Rules, RulesError> {
        Rules::parse(Self::CRITERIA)
    }

    /// Totals for `verdict.json`, by name.
    fn counts(rows: &Self::Rows) -> Map<String, Value>;

    /// `timeline.csv`.
    fn timeline(rows: &Self::Rows) -> String;

    /// Share of an EP1 at which it runs, where the lab is scaled.
    fn scale(&self) -> String {
        "1".to_owned()
    }

    /// Adds to `environment.json` what the lab knows.
    fn describe(&self, _rows: &Self::Rows, _environment: &mut Environment) {}

    /// Printed above the criteria of a single run: the guide's tables.
    fn guide_tables(_rows: &Self::Rows) -> String {
        String::new()
    }

    /// Printed below the criteria of a single run.
    fn totals(_counts: &Map<String, Value>) -> String {
        String::new()
    }
}

/// The load of a lab by itself, on any account or app. Its value is what the command line asks for.
#[async_trait(?Send)]
pub trait Load: clap::Args {
    /// Generates the load and gives the exit code.
    ///
    /// # Errors
    /// When the other side refuses or is away, or the load cannot be planned as asked for.
    async fn run(self) -> anyhow::Result<u8>;
}

/// Holds a run's rows against the lab's criteria.
///
/// # Errors
/// When a criterion asks for what the lab does not measure.
pub fn judge<L: Lab>(rows: &L::Rows) -> Result<Vec<Criterion>, RulesError> {
    crate::evidence::judge(&L::rules()?, L::MEASURES, rows)
}

/// A lab as the command line has it.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    pub name: &'static str,
    /// `lab run NAME`.
    pub run_command: fn() -> Command,
    /// Carries out what the command line asked for, and gives the exit code.
    pub run: fn(ArgMatches, OpenPlatform) -> LocalBoxFuture<'static, anyhow::Result<u8>>,
    /// `lab load NAME`.
    pub load_command: fn() -> Command,
    pub load: fn(ArgMatches) -> LocalBoxFuture<'static, anyhow::Result<u8>>,
    pub rules: fn() -> Result<Rules, RulesError>,
    /// Names of its measures.
    pub measures: fn() -> Vec<&'static str>,
}

impl Entry {
    const fn of<L: Lab>() -> Self {
        Self {
            name: L::NAME,
            run_command: || command::<RunArguments<L>>(L::NAME, L::RUN_HELP),
            run: |matches, open| Box::pin(async move { run::run(arguments::<RunArguments<L>>(&matches)?, open).await }),
            load_command: || command::<L::Load>(L::NAME, L::LOAD_HELP),
            load: |matches| Box::pin(async move { arguments::<L::Load>(&matches)?.run().await }),
            rules: L::rules,
            measures: || L::MEASURES.iter().map(|it| it.name).collect(),
        }
    }
}

fn command<A: clap::Args>(name: &'static str, help: Help) -> Command {
    A::augment_args(Command::new(name)).about(help.about).after_help(help.after)
}

fn arguments<A: clap::Args>(matches: &ArgMatches) -> Result<A, clap::Error> {
    A::from_arg_matches(matches)
}

/// Reads a number of seconds from the command line.
fn seconds(text: &str) -> Result<Duration, std::num::ParseIntError> {
    Ok(Duration::from_secs(text.parse()?))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_measure_that_criteria_name_exists_and_every_measure_is_named() {
        for lab in LABS {
            let rules = (lab.rules)().unwrap();
            let named: BTreeSet<&str> = rules.criterion.iter().map(|it| it.measure.as_str()).collect();
            let measures = (lab.measures)();
            assert_eq!(named, measures.iter().copied().collect(), "{}", lab.name);
            assert_eq!(named.len(), measures.len(), "{} has a measure twice", lab.name);
        }
    }

    #[test]
    fn every_lab_has_a_command_line_that_clap_accepts() {
        for lab in LABS {
            (lab.run_command)().debug_assert();
            (lab.load_command)().debug_assert();
        }
    }
}
