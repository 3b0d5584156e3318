//! `lab doctor`: what would hinder each lab, and the way out of it.

use std::path::{Path, PathBuf};

use anyhow::Context;

use super::{collect, doctor_azure::OnAzure};
use crate::{
    doctor::{
        Examination, State,
        machine::{LabNeeds, Machine, Port},
    },
    emulator::{listener::USUAL_PORT, local::LocalPlatform},
    labs::{Entry, LABS},
    machine::{
        azurite::WELL_KNOWN,
        exit::{EXIT_OK, interruption},
        terminal::{Paint, StatusLine, out},
    },
};
use incident_labs::{blob::MIB, functions::BLOB_FUNCTION, worker::proof::take_memory};

/// Name of [`TakeMemory`] on the command line.
const TAKE_MEMORY: &str = "take-memory";
/// Task hub, logs and staged app of a lab that declares nothing: a run of the replay lab left 155 MiB.
const HUB_BYTES: u64 = 256 * MIB;
/// Where runs leave their evidence, unless they are told otherwise.
const EVIDENCE: &str = "evidence";

/// Look at this machine, or at a deployed app, and say what would hinder each lab, what breaks, and what mends it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:     cargo lab doctor
             cargo lab doctor --json | jq '.findings[] | select(.state != \"ok\")'
             cargo lab doctor --app APP --resource-group GROUP --wait
             cargo lab doctor --app APP --resource-group GROUP --plan
Proved:      the memory limit, by a throw-away process that takes too much; nothing of it is left
Exit codes:  0 nothing hinders a lab; 1 something does; 2 nothing was found, and a check gave no answer; 3 it could not run;
             64 usage")]
pub struct Doctor {
    /// Print one line of JSON: each finding with its state, the labs it hinders, what breaks and what mends it.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    azure: OnAzure,
}

impl Doctor {
    /// Examines, and prints what was found.
    ///
    /// # Errors
    /// When it is interrupted, or Azure is away.
    pub async fn run(self) -> anyhow::Result<u8> {
        if self.azure.is_meant() {
            return self.azure.run(self.json).await;
        }
        let seen = tokio::select! {
            seen = this_machine() => seen?,
            error = interruption() => return Err(error),
        };
        if self.json {
            out(&serde_json::to_string(&seen)?);
        } else {
            out(&seen.render(Paint::on_stdout()));
            out(&format!("\n{}", summary(&seen)));
        }
        Ok(seen.exit_code())
    }
}

async fn this_machine() -> anyhow::Result<Examination> {
    let labs = LABS.iter().map(needs).collect::<anyhow::Result<Vec<_>>>()?;
    let machine = Machine { labs: &labs, ports: &ports(), evidence: Path::new(EVIDENCE), allocator: &[TAKE_MEMORY] };
    let mut status = StatusLine::start();
    let seen = machine.examine(|step| status.show(step, &format!("looking at {step}"))).await;
    status.clear();
    Ok(seen)
}

fn needs(lab: &Entry) -> anyhow::Result<LabNeeds> {
    let needs = (lab.needs)().with_context(|| format!("plan the {} lab", lab.name))?;
    Ok(LabNeeds {
        name: lab.name,
        work: PathBuf::from(lab.work),
        reads_blobs: (lab.functions)().contains(&BLOB_FUNCTION),
        memory_bytes: needs.as_ref().map(LocalPlatform::memory_bytes),
        disk_bytes: needs.as_ref().map_or(HUB_BYTES, LocalPlatform::disk_bytes),
    })
}

/// Ports that commands want by default. The labs themselves take free ones.
fn ports() -> Vec<Port> {
    let usual = Port {
        number: USUAL_PORT,
        hinders: &[],
        breaks: "`cargo lab start` takes any free port instead, so a client that expects 7071 meets another program",
        mend: "stop that program, or choose a port with `cargo lab start --port N`",
    };
    let storage = WELL_KNOWN.map(|number| Port {
        number,
        hinders: &["azurite"],
        breaks: "`cargo lab azurite`, and `func start` with UseDevelopmentStorage=true, want it; the labs take free ports",
        mend: "stop that program, or use `cargo lab start`, which takes free ports",
    });
    let telemetry = Port {
        number: collect::PORT,
        hinders: &["collect"],
        breaks: "`cargo lab collect` listens here",
        mend: "stop that program, or choose a port with `cargo lab collect --port N`",
    };
    [usual].into_iter().chain(storage).chain([telemetry]).collect()
}

/// One line for each lab.
fn summary(seen: &Examination) -> String {
    let line = |lab: &Entry| {
        let of = |state: State| {
            let those = seen.findings.iter().filter(|it| it.state == state && it.hinders.contains(&lab.name));
            those.map(|it| it.id.as_str()).collect::<Vec<_>>().join(", ")
        };
        match (&*of(State::Problem), &*of(State::Unknown)) {
            ("", "") => format!("{}: nothing hinders it", lab.name),
            ("", unknown) => format!("{}: cannot be told ({unknown})", lab.name),
            (problems, _) => format!("{}: hindered by {problems}", lab.name),
        }
    };
    LABS.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Takes memory until it is killed: what `lab doctor` proves the memory limit with.
#[derive(Debug, clap::Args)]
pub struct TakeMemory {}

impl TakeMemory {
    /// Reads from stdin how much.
    ///
    /// # Errors
    /// When stdin says nothing of the kind.
    pub fn run(self) -> anyhow::Result<u8> {
        take_memory().context("a number of bytes is expected on stdin: `lab doctor` starts this itself")?;
        Ok(EXIT_OK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_labs_say_what_they_need_and_only_one_that_reads_blobs_needs_storage() {
        let labs: Vec<LabNeeds> = LABS.iter().map(|it| needs(it).unwrap()).collect();
        let of = |name: &str| labs.iter().find(|it| it.name == name).unwrap();
        assert!(of("oom").reads_blobs && of("oom").memory_bytes > Some(1 << 30));
        assert!(of("oom").disk_bytes > of("replay").disk_bytes);
        assert!(!of("replay").reads_blobs);
    }
}
