//! `lab load replay`: storms on any app, started and watched over HTTP.

use std::path::PathBuf;

use anyhow::bail;
use async_trait::async_trait;
use url::Url;

use super::{PhaseOutcome, ReplayLoad, ReplayPhase, StormArguments};
use crate::{
    labs::{Help, Load},
    machine::{
        exit::{EXIT_OK, EXIT_WRONG, UsageError, interrupted},
        own_folder::{Purpose, check},
        terminal::{err, out},
    },
};

#[derive(Debug, clap::Args)]
pub struct LoadReplay {
    /// The app.
    #[arg(long, default_value = "http://127.0.0.1:7071")]
    pub url: Url,
    #[command(flatten)]
    pub storm: StormArguments,
    /// Only these phases, in this order.
    #[arg(long, value_delimiter = ',')]
    pub phases: Vec<String>,
    /// Where instances.jsonl and phases.jsonl go.
    #[arg(long, default_value = "evidence/load")]
    pub out: PathBuf,
}

#[async_trait(?Send)]
impl Load for LoadReplay {
    const HELP: Help = Help {
        about: "Storms on any app with the replay lab's functions, started and watched over HTTP",
        after: "\
Example:     cargo lab load replay --url https://APP.azurewebsites.net --phases baseline,incident
Exit codes:  0 every instance completed; 1 some did not; 3 it could not run; 64 usage",
    };

    async fn run(self) -> anyhow::Result<u8> {
        let phases = self.phases()?;
        check(&self.out, Purpose::Evidence)?;
        let load = ReplayLoad::new(self.url, self.out.clone(), self.storm.longest);
        let mut wrong = 0;
        for phase in &phases {
            err(&format!("{} started: {} x {} iterations", phase.name, phase.instances, phase.iterations));
            let outcome = tokio::select! {
                outcome = load.run(phase) => outcome?,
                result = interrupted() => {
                    result?;
                    bail!("interrupted; what was started goes on")
                }
            };
            wrong += tell(phase, &outcome);
        }
        out(&format!("instances and phases in {}", self.out.display()));
        Ok(if wrong == 0 { EXIT_OK } else { EXIT_WRONG })
    }
}

impl LoadReplay {
    fn phases(&self) -> anyhow::Result<Vec<ReplayPhase>> {
        let all = self.storm.phases()?;
        if self.phases.is_empty() {
            return Ok(all);
        }
        let named = self.phases.iter().map(|name| {
            let found = all.iter().find(|it| it.name == *name).cloned();
            found.ok_or_else(|| {
                let names: Vec<&str> = all.iter().map(|it| it.name.as_str()).collect();
                UsageError(format!("there is no phase {name:?}: there are {}", names.join(", ")))
            })
        });
        Ok(named.collect::<Result<_, _>>()?)
    }
}

/// Tells how a phase ended, and how many of its instances did not complete.
fn tell(phase: &ReplayPhase, outcome: &PhaseOutcome) -> usize {
    out(&format!("{:<10} {:>7} iterations in {:.1} s", phase.name, phase.iterations, outcome.took.as_secs_f64()));
    for (id, state) in &outcome.not_completed {
        out(&format!("  {id} did not complete: {state}"));
    }
    outcome.not_completed.len()
}
