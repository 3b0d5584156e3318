//! The roles lab: takes one of the app's roles at its storage away at a time, shows what the app then lacks and that the doctor names
//! that role, and measures how long the app takes to recover once it is granted.

mod drill;
mod examiner;
mod work;

use std::time::Duration;

use async_trait::async_trait;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::{Help, Lab, seconds};
use crate::{
    app::running::{Needs, Platform},
    evidence::{Environment, RunFolder},
    machine::exit::UsageError,
};
use drill::Drill;
use incident_labs::{
    blob::{MIB, Plane},
    functions,
};

/// The front and a worker that reads blobs of a few bytes.
const APP_BYTES: u64 = 256 * MIB;

/// The drill: all roles, then all but one.
#[derive(Debug, clap::Args)]
pub struct RolesLab {
    /// Withhold no role: the control.
    #[arg(long)]
    pub all_roles: bool,
    /// How long each role is withheld at least, in seconds; twice as long as the same work takes with all roles, if that is more.
    #[arg(long = "hold-s", default_value = "5", value_name = "S", value_parser = seconds)]
    pub hold: Duration,
    /// Longest wait for a finding, and for a recovery, in seconds.
    #[arg(long = "longest-s", default_value = "180", value_name = "S", value_parser = seconds)]
    pub longest: Duration,
}

/// What the app answers, if it says yes; nothing otherwise, and where there is no answer.
async fn answered<T: DeserializeOwned>(request: reqwest::RequestBuilder) -> Option<T> {
    let answer = request.send().await.ok()?;
    let body = if answer.status().is_success() { answer.bytes().await.ok()? } else { return None };
    serde_json::from_slice(&body).ok()
}

#[async_trait(?Send)]
impl Lab for RolesLab {
    const NAME: &'static str = "roles";
    const RUN_HELP: Help = Help {
        about: "One of the app's storage roles missing at a time: what it then lacks, what the doctor says, how soon it recovers. About \
                half a minute",
        after: "\
Example:     cargo lab run roles --all-roles        (the control: with every role there it must not be supported)
             cargo lab run roles --hold-s 20
Where:       on this machine alone. On Azure a role is yours to take away: `cargo lab doctor --app APP --resource-group GROUP --wait`
             says what is missing, and waits until a grant has spread
Evidence:    evidence/roles/latest: report.html, verdict.json, kql-session.json, timeline.csv, tables/*.jsonl
Exit codes:  0 supported; 1 not supported; 2 inconclusive; 3 it could not run; 64 usage",
    };
    const WORK: &'static str = ".lab/run-roles";
    const CRITERIA: &'static str = include_str!("../../../../../load/roles/criteria.toml");
    const PHASES: &'static [(&'static str, &'static [&'static str])] = &[
        ("control", &["control"]),
        ("queue", &["queue"]),
        ("blob", &["blob"]),
        ("file", &["file"]),
        ("table", &["table"]),
    ];
    const NOT_ON_AZURE: Option<&'static str> =
        Some("on Azure `lab doctor --app APP --resource-group GROUP --wait` says which role is missing");
    const WITHHOLDS_ROLES: bool = true;

    type Plan = ();

    fn functions() -> Vec<&'static str> {
        functions::names()
    }

    fn plan(&self) -> anyhow::Result<()> {
        if self.longest <= self.hold {
            let (longest, hold) = (self.longest.as_secs(), self.hold.as_secs());
            let text =
                format!("--longest-s is {longest}: more than the {hold} of --hold-s, or no role is withheld that long");
            return Err(UsageError(text).into());
        }
        Ok(())
    }

    fn takes(&self, (): &()) -> Duration {
        self.hold * Plane::ALL.len().try_into().unwrap_or(u32::MAX)
    }

    fn needs(&self, (): &()) -> Option<Needs> {
        Some(Needs { what: "the roles lab", worker_bytes: APP_BYTES, blob_bytes: 0 })
    }

    async fn carry_out(&self, (): &(), platform: &dyn Platform, evidence: &RunFolder) -> anyhow::Result<()> {
        Drill::new(self, platform, evidence)?.run().await
    }

    fn is_control(&self, (): &()) -> bool {
        self.all_roles
    }

    fn describe(&self, (): &(), environment: &mut Environment) {
        let withheld = if self.all_roles { &[][..] } else { &Plane::ALL };
        environment.note("withheld", json!(withheld.iter().map(|it| it.role()).collect::<Vec<_>>()));
        environment.note("hold_seconds", self.hold.as_secs());
    }
}
