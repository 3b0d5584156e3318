//! The labs: each an experiment, its load, and the criteria it is judged by.
//!
//! A lab is one folder here and one row in [`LABS`]. It sees the app through [`crate::app::running`] alone.

pub mod oom;
pub mod replay;
pub mod roles;
mod run;

use std::{collections::BTreeMap, fmt, io, path::Path, time::Duration};

use async_trait::async_trait;
use clap::{ArgMatches, Command};
use futures::future::LocalBoxFuture;

pub use run::{RunArguments, close, tell};

use crate::{
    app::running::{Needs, OpenPlatform, Platform},
    evidence::{Environment, RunFolder},
    judgement::{Definition, Rules, RulesError},
};

/// All labs, in the order in which the command line lists them.
pub const LABS: &[Entry] = &[
    Entry::of::<oom::OomLab>().with_load::<oom::LoadOom>(),
    Entry::of::<replay::ReplayLab>().with_load::<replay::LoadReplay>(),
    Entry::of::<roles::RolesLab>(),
];

/// Memory of an EP1's instance, in MB: the worker's limit at full scale.
pub const EP1_LIMIT_MB: f64 = 3584.0;

/// The lab of a name.
pub fn named(name: &str) -> Option<&'static Entry> {
    LABS.iter().find(|it| it.name == name)
}

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
    /// The work folder, where the command line names no other.
    const WORK: &'static str;
    /// The text of its `criteria.toml`.
    const CRITERIA: &'static str;
    /// The guide's phases, which its queries are about: each with the run's own that it covers.
    const PHASES: &'static [(&'static str, &'static [&'static str])];
    /// Why it cannot be carried out on Azure, and what is there instead; nothing where it can.
    const NOT_ON_AZURE: Option<&'static str> = None;
    /// Whether it withholds roles of the app.
    const WITHHOLDS_ROLES: bool = false;
    /// The experiment in full: what was asked for, checked against the scenario.
    type Plan;
    /// Functions its app must have.
    fn functions() -> Vec<&'static str>;

    /// Plans the experiment and writes nothing.
    ///
    /// # Errors
    /// When it cannot be carried out as asked for.
    fn plan(&self) -> anyhow::Result<Self::Plan>;

    /// Asks for what an app on Azure is asked for: the guide's windows, an EP1's memory.
    fn go_to_azure(&mut self) {}

    /// How long the load takes as planned.
    fn takes(&self, plan: &Self::Plan) -> Duration;

    /// The least number of rows that the telemetry of a run must have, by the workspace's names of the tables.
    ///
    /// # Errors
    /// When the run's own records cannot be read.
    fn expected_rows(_run: &Path) -> io::Result<BTreeMap<&'static str, u64>> {
        Ok(BTreeMap::new())
    }

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

    /// Its criteria.
    ///
    /// # Errors
    /// Never in practice: they are part of the program.
    fn rules() -> Result<Rules, RulesError> {
        Self::definition().rules()
    }

    /// The lab as its judge knows it.
    fn definition() -> Definition {
        Definition { name: Self::NAME, criteria: Self::CRITERIA }
    }

    /// What the judge gives the queries beside the phases, for a worker with a limit of so many MB.
    fn parameters(_limit_mb: f64) -> BTreeMap<String, String> {
        BTreeMap::new()
    }

    /// Share of an EP1 at which it runs, where the lab is scaled.
    fn scale(&self) -> String {
        "1".to_owned()
    }

    /// The worker's limit at that scale.
    fn limit_mb(&self) -> f64 {
        EP1_LIMIT_MB
    }

    /// Whether the remedy is left out on purpose.
    fn is_control(&self, plan: &Self::Plan) -> bool;

    /// Adds to `environment.json` what the lab knows.
    fn describe(&self, plan: &Self::Plan, environment: &mut Environment);
}

/// The load of a lab by itself, on any account or app. Its value is what the command line asks for.
#[async_trait(?Send)]
pub trait Load: clap::Args {
    const HELP: Help;

    /// Generates the load and gives the exit code.
    ///
    /// # Errors
    /// When the other side refuses or is away, or the load cannot be planned as asked for.
    async fn run(self) -> anyhow::Result<u8>;
}

/// A lab as the command line has it.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    pub name: &'static str,
    /// `lab run NAME`.
    pub run_command: fn() -> Command,
    /// Carries out what the command line asked for, and gives the exit code.
    pub run: fn(ArgMatches, OpenPlatform) -> LocalBoxFuture<'static, anyhow::Result<u8>>,
    /// `lab load NAME`, where its load makes sense by itself.
    pub load: Option<LoadEntry>,
    /// Its work folder, where the command line names no other.
    pub work: &'static str,
    /// Functions its app must have.
    pub functions: fn() -> Vec<&'static str>,
    /// What its app takes when `lab run NAME` is given no option.
    pub needs: fn() -> anyhow::Result<Option<Needs>>,
    pub definition: Definition,
    /// See [`Lab::parameters`].
    pub parameters: fn(f64) -> BTreeMap<String, String>,
}

/// A lab's load as the command line has it.
#[derive(Clone, Copy, Debug)]
pub struct LoadEntry {
    /// The subcommand of a name.
    pub command: fn(&'static str) -> Command,
    pub run: fn(ArgMatches) -> LocalBoxFuture<'static, anyhow::Result<u8>>,
}

impl Entry {
    const fn of<L: Lab>() -> Self {
        Self {
            name: L::NAME,
            run_command: run::command::<L>,
            run: |matches, open| Box::pin(async move { run::run(arguments::<RunArguments<L>>(&matches)?, open).await }),
            load: None,
            work: L::WORK,
            functions: L::functions,
            needs: || {
                let matches = run::command::<L>().try_get_matches_from([L::NAME])?;
                let lab = arguments::<RunArguments<L>>(&matches)?.experiment;
                Ok(lab.needs(&lab.plan()?))
            },
            definition: Definition { name: L::NAME, criteria: L::CRITERIA },
            parameters: L::parameters,
        }
    }

    const fn with_load<L: Load>(self) -> Self {
        let load = LoadEntry {
            command: |name| command::<L>(name, L::HELP),
            run: |matches| Box::pin(async move { arguments::<L>(&matches)?.run().await }),
        };
        Self { load: Some(load), ..self }
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
    fn every_query_that_criteria_name_is_there_and_parses() {
        for lab in LABS {
            let rules = lab.definition.rules().unwrap();
            for rule in &rules.criterion {
                let text = lab.definition.query(&rule.query).unwrap_or_else(|| panic!("{}: {}", rule.id, rule.query));
                let text = if rule.keep.is_empty() { text.to_owned() } else { format!("{text}| where {}", rule.keep) };
                kql::Query::parse(&text).unwrap_or_else(|error| panic!("{}", error.render(&text)));
            }
            for query in rules.queries() {
                assert!(lab.definition.query(query).is_some(), "{query}");
            }
            let ids: BTreeSet<&str> = rules.criterion.iter().map(|it| it.id.as_str()).collect();
            assert_eq!(ids.len(), rules.criterion.len(), "{} has an id twice", lab.name);
        }
    }

    #[test]
    fn every_lab_has_a_command_line_that_clap_accepts() {
        for lab in LABS {
            (lab.run_command)().debug_assert();
            if let Some(load) = lab.load {
                (load.command)(lab.name).debug_assert();
            }
        }
    }
}
