//! What each command of `lab` does. Errors here are for the person at the keyboard.

pub mod app;
pub mod azurite;
pub mod bench;
pub mod clean;
pub mod clean_azure;
pub mod collect;
pub mod compare;
pub mod deploy;
pub mod diagnose;
pub mod doctor;
pub mod doctor_azure;
mod handler;
pub mod import;
pub mod judge;
pub mod load;
pub mod on_azure;
pub mod package;
pub mod process;
pub mod query;
pub mod redrive;
pub mod replay_check;
pub mod report;
pub mod run;
pub mod stage;
pub mod start;
pub mod verify;

use std::{path::Path, process::ExitCode};

use crate::machine::{
    exit::{EXIT_COULD_NOT_RUN, EXIT_USAGE, UsageError},
    terminal::{err, unwritten},
};

/// What the command line asks for.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    Doctor(doctor::Doctor),
    Process(process::Process),
    /// Cause an incident, apply its remedy, and say whether the evidence supports the hypothesis.
    #[command(subcommand)]
    Run(run::Run),
    /// Drive an account or an app with an incident's load.
    #[command(subcommand)]
    Load(load::Load),
    Start(start::Start),
    Stage(stage::Stage),
    Package(package::Package),
    Azurite(azurite::Azurite),
    Bench(bench::Bench),
    Deploy(deploy::Deploy),
    Clean(clean::Clean),
    Redrive(redrive::Redrive),
    ReplayCheck(replay_check::ReplayCheck),
    Query(query::Query),
    Judge(judge::Judge),
    Diagnose(diagnose::Diagnose),
    Verify(verify::Verify),
    Collect(collect::Collect),
    Import(import::Import),
    Report(report::Report),
    Compare(compare::Compare),
    #[command(hide = true)]
    TakeMemory(doctor::TakeMemory),
}

impl Command {
    /// Carries it out and gives the exit code.
    ///
    /// # Errors
    /// When it could not be carried out.
    pub async fn run(self) -> anyhow::Result<u8> {
        match self {
            Self::Doctor(it) => it.run().await,
            Self::Process(it) => it.run().await,
            Self::Run(it) => it.run().await,
            Self::Load(it) => it.run().await,
            Self::Start(it) => it.run().await,
            Self::Stage(it) => it.run(),
            Self::Package(it) => it.run(),
            Self::Azurite(it) => it.run().await,
            Self::Bench(it) => it.run().await,
            Self::Deploy(it) => it.run().await,
            Self::Clean(it) => it.run().await,
            Self::Redrive(it) => it.run().await,
            Self::ReplayCheck(it) => it.run().await,
            Self::Query(it) => it.run(),
            Self::Judge(it) => it.run(),
            Self::Diagnose(it) => it.run(),
            Self::Verify(it) => it.run(),
            Self::Collect(it) => it.run().await,
            Self::Import(it) => it.run(),
            Self::Report(it) => it.run(),
            Self::Compare(it) => it.run(),
            Self::TakeMemory(it) => it.run(),
        }
    }
}

/// Refuses a folder without tables.
fn need_tables(folder: &Path) -> Result<(), UsageError> {
    if folder.join("tables").is_dir() {
        return Ok(());
    }
    let folder = folder.display();
    let text = format!("{folder} has no folder `tables`: make one with `cargo lab import FILE… --folder {folder}`");
    Err(UsageError(text))
}

/// Prints a failure and says which exit code it is.
pub fn report(result: anyhow::Result<u8>) -> ExitCode {
    match result {
        Ok(code) => match unwritten() {
            None => code.into(),
            Some(why) => {
                err(&format!("error: some of the output could not be written: {why}"));
                EXIT_COULD_NOT_RUN.into()
            }
        },
        Err(error) => {
            err(&format!("error: {error:#}"));
            let is_usage = error.downcast_ref::<UsageError>().is_some();
            if is_usage { EXIT_USAGE } else { EXIT_COULD_NOT_RUN }.into()
        }
    }
}
