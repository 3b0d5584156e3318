//! The storms as data: phases, each with its instances and their iterations, and what the command line changes about them.

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    labs::{run::scenario, seconds},
    machine::exit::UsageError,
};
use incident_labs::settings::storm;

const GUIDE: &str = include_str!("../../../../../load/replay/scenario.toml");

/// The storms that the command line asks for.
#[derive(Clone, Debug, clap::Args)]
pub struct StormArguments {
    /// A scenario other than the guide's.
    #[arg(long, value_name = "FILE")]
    pub scenario: Option<PathBuf>,
    /// Iterations of incident and recovery.
    #[arg(long, value_name = "N")]
    pub iterations: Option<u64>,
    /// Iterations after which the recovery continues as new; 0 = never.
    #[arg(long, value_name = "N")]
    pub continue_as_new_every: Option<u64>,
    /// Instances that are started together, in each phase.
    #[arg(long, value_name = "N")]
    pub instances: Option<u64>,
    /// Longest time for a phase, in seconds.
    #[arg(long = "longest-s", default_value = "3600", value_name = "S", value_parser = seconds)]
    pub longest: Duration,
}

impl StormArguments {
    /// The phases to run.
    ///
    /// # Errors
    /// When the scenario cannot be read, or asks for what the app refuses.
    pub fn phases(&self) -> anyhow::Result<Vec<ReplayPhase>> {
        let mut phases = scenario(self.scenario.as_deref(), GUIDE, ReplayScenario::parse)?.phase;
        for phase in &mut phases {
            if phase.name != "baseline" {
                phase.iterations = self.iterations.unwrap_or(phase.iterations);
            }
            if phase.name == "recovery" {
                phase.continue_as_new_every = self.continue_as_new_every.unwrap_or(phase.continue_as_new_every);
            }
            phase.instances = self.instances.unwrap_or(phase.instances);
            phase.check().map_err(UsageError)?;
        }
        Ok(phases)
    }
}

/// `scenario.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplayScenario {
    /// In the order they run.
    pub phase: Vec<ReplayPhase>,
}

/// Instances that are started together.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ReplayPhase {
    pub name: String,
    pub iterations: u64,
    /// Of each execution; 0 = all.
    pub continue_as_new_every: u64,
    #[serde(default = "one")]
    pub instances: u64,
}

fn one() -> u64 {
    1
}

impl ReplayPhase {
    /// Checks it against what the app accepts.
    ///
    /// # Errors
    /// What is wrong, for people.
    pub fn check(&self) -> Result<(), String> {
        let fields = [
            ("iterations", self.iterations, storm::ITERATIONS),
            ("continue_as_new_every", self.continue_as_new_every, storm::CONTINUE_AS_NEW_EVERY),
            ("instances", self.instances, storm::INSTANCES),
        ];
        let wrong = fields.into_iter().find(|(_, value, range)| !range.contains(value));
        if let Some((name, value, range)) = wrong {
            return Err(format!("{}: {name} is {value}, not from {} to {}", self.name, range.start(), range.end()));
        }
        storm::check_total(self.iterations, self.continue_as_new_every, self.instances)
            .map_err(|why| format!("{}: {why}", self.name))
    }
}

impl ReplayScenario {
    /// The guide's.
    ///
    /// # Errors
    /// Never in practice: the scenario is part of the program.
    pub fn guide() -> Result<Self, toml::de::Error> {
        Self::parse(GUIDE)
    }

    /// Reads a scenario.
    ///
    /// # Errors
    /// When the text is not TOML of this shape.
    pub fn parse(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }
}
