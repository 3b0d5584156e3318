//! `lab`: what the command line asks for. Everything else is in the library.

use std::process::ExitCode;

use clap::Parser;
use lab::{
    commands::{Command, report},
    machine::log,
};

/// Cause, watch, fix and prove two Azure Functions incidents on this machine.
#[derive(Parser)]
#[command(
    version,
    after_help = "\
Start here:  cargo lab process Cargo.toml
Then:        cargo lab run oom
Exit codes:  0 all right; 1 it ran and something came out wrong; 3 it could not run; 64 the command line is wrong"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::try_parse().unwrap_or_else(|error| {
        let _ = error.print();
        std::process::exit(if error.use_stderr() { 64 } else { 0 })
    });
    log::start();
    report(cli.command.run().await)
}
