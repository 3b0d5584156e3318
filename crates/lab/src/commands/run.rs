//! `lab run`: one subcommand for each lab, on the app as this machine runs it or as it is deployed.

use std::{fmt, marker::PhantomData};

use anyhow::Context;
use clap::{ArgMatches, Command, FromArgMatches, Subcommand, error::ErrorKind};
use futures::future::LocalBoxFuture;

use super::{app::AppArgs, on_azure::guid};
use crate::{
    app::{
        ScriptRoot, own,
        running::{AppRequest, Deployed, Platform},
    },
    azure::{
        app_name, group_name,
        platform::{AzurePlatform, Deployment},
    },
    emulator::local::LocalPlatform,
    labs::{Entry, LABS, Lab, named, oom::OomLab},
    machine::{exit::UsageError, log, workspace::Workspace},
};
use incident_labs::functions;

/// `lab run LAB`.
pub type Run = OfLab<Running>;

impl Run {
    /// Runs the lab's experiment and gives the exit code of its verdict.
    ///
    /// # Errors
    /// When the experiment could not be carried out.
    pub async fn run(self) -> anyhow::Result<u8> {
        (self.lab.run)(self.matches, open).await
    }
}

fn open(mut request: AppRequest) -> LocalBoxFuture<'static, anyhow::Result<Box<dyn Platform>>> {
    match request.deployed.take() {
        Some(deployed) => on_azure(deployed, request),
        None => on_this_machine(request),
    }
}

/// The app that is deployed already, which is changed only when it is started.
fn on_azure(deployed: Deployed, request: AppRequest) -> LocalBoxFuture<'static, anyhow::Result<Box<dyn Platform>>> {
    Box::pin(async move {
        let Deployed { app, resource_group, workspace, subscription, is_plan } = deployed;
        let usage = |name: &'static str| move |why: String| UsageError(format!("{name} {why}"));
        let deployed = Deployed {
            app: app_name(&app).map_err(usage("--app"))?,
            resource_group: group_name(&resource_group).map_err(usage("--resource-group"))?,
            workspace: guid(&workspace).map_err(usage("--workspace"))?,
            subscription,
            is_plan,
        };
        let entry = named(request.lab).with_context(|| format!("there is no lab {}", request.lab))?;
        // What a lab's package has, the whole of it.
        let lab = if entry.name == OomLab::NAME { functions::Lab::Oom } else { functions::Lab::Replay };
        let work = Workspace::open(&request.work).await?;
        log::keep_in(&work.logs());
        let deployment = Deployment { lab, definition: entry.definition, takes: request.takes };
        Ok(Box::new(AzurePlatform::open(deployed, deployment, work).await?) as Box<dyn Platform>)
    })
}

/// Stages the app into the work folder, where the stand-in runs it.
fn on_this_machine(request: AppRequest) -> LocalBoxFuture<'static, anyhow::Result<Box<dyn Platform>>> {
    Box::pin(async move {
        let AppRequest { functions, script_root, handler, work, needs, withholds_roles, pace, .. } = request;
        if let Some(needs) = needs {
            LocalPlatform::ensure_room(needs, &work)?;
        }
        // Locked before anything in it is touched; what a killed run left is ended.
        let work = Workspace::open(&work).await?;
        log::keep_in(&work.logs());
        let out = work.path().join("stage");
        let script_root = AppArgs { script_root, handler }.serve_some_from(&out, &functions)?;
        let script_root = ScriptRoot::read(&script_root)?;
        let platform = LocalPlatform::new(work, script_root, own::containers(), pace);
        let platform = if withholds_roles { platform.withholding_roles() } else { platform };
        Ok(Box::new(platform) as Box<dyn Platform>)
    })
}

/// What a command does with a lab.
pub trait Verb {
    /// The subcommand of a lab; `None` where the lab has nothing of the kind.
    fn subcommand(lab: &Entry) -> Option<Command>;
}

#[derive(Clone, Copy, Debug)]
pub struct Running;

impl Verb for Running {
    fn subcommand(lab: &Entry) -> Option<Command> {
        Some((lab.run_command)())
    }
}

/// A command whose subcommands are the labs: the one that was chosen, and its arguments.
pub struct OfLab<V> {
    pub(super) lab: &'static Entry,
    pub(super) matches: ArgMatches,
    verb: PhantomData<V>,
}

impl<V> fmt::Debug for OfLab<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OfLab").field("lab", &self.lab.name).finish_non_exhaustive()
    }
}

impl<V> FromArgMatches for OfLab<V> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let chosen = matches.subcommand().and_then(|(name, matches)| {
            let lab = LABS.iter().find(|it| it.name == name)?;
            Some(Self { lab, matches: matches.clone(), verb: PhantomData })
        });
        chosen.ok_or_else(|| clap::Error::new(ErrorKind::MissingSubcommand))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl<V: Verb> Subcommand for OfLab<V> {
    fn augment_subcommands(command: Command) -> Command {
        command
            .subcommand_required(true)
            .arg_required_else_help(true)
            .subcommands(LABS.iter().filter_map(V::subcommand))
    }

    fn augment_subcommands_for_update(command: Command) -> Command {
        Self::augment_subcommands(command)
    }

    fn has_subcommand(name: &str) -> bool {
        LABS.iter().any(|it| it.name == name && V::subcommand(it).is_some())
    }
}
