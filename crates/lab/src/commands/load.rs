//! `lab load`: the load of a lab by itself, on any account or app.

use anyhow::Context;
use clap::Command;

use super::run::{OfLab, Verb};
use crate::labs::Entry;

/// `lab load LAB`.
pub type Load = OfLab<Loading>;

impl Load {
    /// Generates the lab's load and gives the exit code.
    ///
    /// # Errors
    /// When the other side refuses or is away, or the load cannot be planned as asked for.
    pub async fn run(self) -> anyhow::Result<u8> {
        let load = self.lab.load.with_context(|| format!("the {} lab has no load", self.lab.name))?;
        (load.run)(self.matches).await
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Loading;

impl Verb for Loading {
    fn subcommand(lab: &Entry) -> Option<Command> {
        lab.load.map(|it| (it.command)(lab.name))
    }
}
