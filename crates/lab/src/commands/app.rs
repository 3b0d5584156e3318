//! Which app a command is about, and which handler it is served with.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::handler;
use crate::{
    app::{
        AppSource,
        stage::{copy_local_settings, stage_some},
    },
    machine::exit::UsageError,
};
use incident_labs::{blob::Variant, functions};

/// Without either the app of the current folder is used, else the one the lab carries.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct AppArgs {
    /// Use this app: a folder with host.json, and each function's folder beside it or in functions/.
    #[arg(long, value_name = "DIR")]
    pub script_root: Option<PathBuf>,
    /// Use this handler instead of building one.
    #[arg(long)]
    pub handler: Option<PathBuf>,
}

/// App settings of the command line.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct SettingArgs {
    /// An app setting; may be repeated, and wins over presets.
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = parse_setting)]
    pub settings: Vec<(String, String)>,
}

impl AppArgs {
    /// The project's own app; any other one is refused.
    ///
    /// # Errors
    /// When it cannot be read, or is another one.
    pub fn own(&self) -> anyhow::Result<AppSource> {
        let app = self.find(AppSource::is_own)?;
        match &self.script_root {
            Some(folder) if !app.is_own() => {
                let problem = format!("the app in {} has none of the labs' functions", folder.display());
                Err(UsageError(format!("{problem}: serve it with `lab start`, or leave --script-root out")).into())
            }
            _ => Ok(app),
        }
    }

    /// Any app.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn any(&self) -> anyhow::Result<AppSource> {
        self.find(|_| true)
    }

    fn find(&self, is_acceptable: impl Fn(&AppSource) -> bool) -> anyhow::Result<AppSource> {
        if let Some(folder) = &self.script_root {
            return Ok(AppSource::read(folder)?);
        }
        let here = std::env::current_dir().context("find the current folder")?;
        Ok(AppSource::above(&here, is_acceptable)?.unwrap_or_else(AppSource::carried))
    }

    /// The handler an app is staged with.
    ///
    /// # Errors
    /// When there is none, or it does not build.
    pub fn handler(&self, app: &AppSource) -> anyhow::Result<PathBuf> {
        match &self.handler {
            Some(handler) => {
                ensure!(handler.is_file(), "--handler {}: there is no such file", handler.display());
                Ok(handler.clone())
            }
            None if app.is_own() => handler::find(handler::LAB),
            None => Ok(app.handler()?),
        }
    }

    /// The script root to serve an app from: its own folder if the host can run that as it is, else `out`, where it is staged.
    ///
    /// # Errors
    /// When there is no handler, or the app is refused.
    pub fn serve_from(&self, app: &AppSource, out: &Path) -> anyhow::Result<PathBuf> {
        match (app.script_root(), &self.handler) {
            (Some(folder), None) => Ok(folder.to_owned()),
            _ => {
                self.stage(app, out)?;
                if let Some(text) = app.local_settings()? {
                    copy_local_settings(out, &text)?;
                }
                Ok(out.to_owned())
            }
        }
    }

    /// Stages all functions of an app.
    ///
    /// # Errors
    /// As [`AppArgs::serve_from`].
    pub fn stage(&self, app: &AppSource, out: &Path) -> anyhow::Result<()> {
        // Whether each function has code is known of the handler in the same tree alone.
        let is_whole = app.is_own() && app.script_root().is_none();
        let known = if is_whole { functions::names() } else { app.functions() };
        Ok(stage_some(app, &self.handler(app)?, out, &known, &known)?)
    }

    /// The script root to serve some functions of the project's own app from: without the blob function there is no worker and
    /// no storage to start. An app that the host can run as it is has those it has.
    ///
    /// # Errors
    /// As [`AppArgs::serve_from`], or when a function is missing.
    pub fn serve_some_from(&self, out: &Path, functions: &[&str]) -> anyhow::Result<PathBuf> {
        let app = self.own()?;
        if app.script_root().is_none() {
            stage_some(&app, &self.handler(&app)?, out, &functions::names(), functions)?;
            return Ok(out.to_owned());
        }
        let missing: Vec<&str> = functions.iter().copied().filter(|it| !app.functions().contains(it)).collect();
        if !missing.is_empty() {
            let text =
                format!("the app of --script-root lacks {}: stage it whole with `lab stage`", missing.join(", "));
            return Err(UsageError(text).into());
        }
        self.serve_from(&app, out)
    }
}

/// Reads `NAME=VALUE`.
fn parse_setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}

/// Reads the name of a variant.
pub(super) fn variant_parser() -> impl TypedValueParser<Value = Variant> {
    PossibleValuesParser::new([Variant::Buffering, Variant::Streaming].map(Variant::name))
        .try_map(|it| it.parse::<Variant>())
}
