//! `lab stage`: the script root, with a handler built for it.

use std::path::PathBuf;

use super::app::{AppArgs, variant_parser};
use crate::{
    app::{preset::preset, stage::write_local_settings},
    machine::{
        exit::{EXIT_OK, UsageError},
        own_folder::{Purpose, check},
        terminal::out,
    },
};
use incident_labs::blob::Variant;

/// Make the flat script root a Functions host wants.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:     cargo lab stage --local --preset streaming && func start --script-root target/stage
Exit codes:  0 staged; 3 refused, or the handler does not build; 64 usage")]
pub struct Stage {
    /// Where to.
    #[arg(long, default_value = "target/stage")]
    out: PathBuf,
    #[command(flatten)]
    app: AppArgs,
    /// Also write local.settings.json, for `func start`.
    #[arg(long, requires = "preset")]
    local: bool,
    /// Settings for local.settings.json.
    #[arg(long, value_parser = variant_parser(), requires = "local")]
    preset: Option<Variant>,
}

impl Stage {
    /// Stages the app.
    ///
    /// # Errors
    /// When there is no handler, or the app is refused.
    pub fn run(self) -> anyhow::Result<u8> {
        let (app, folder) = (self.app.any()?, self.out.display());
        if self.local && !app.is_own() {
            let text = "--local writes the labs' own settings, and this app is another one: write its local.settings.json by hand";
            return Err(UsageError(text.to_owned()).into());
        }
        // Before a handler is built.
        check(&self.out, Purpose::Stage)?;
        self.app.stage(&app, &self.out)?;
        if let Some(variant) = self.preset {
            write_local_settings(&self.out, preset(variant))?;
        }
        out(&format!("staged in {folder}"));
        if self.local {
            out(&format!("next: `cargo lab azurite` in one terminal, `func start --script-root {folder}` in another"));
        }
        Ok(EXIT_OK)
    }
}
