//! `lab start`: storage, host, triggers and task hub, until Ctrl-C.

use std::{path::PathBuf, time::Duration};

use super::app::{AppArgs, SettingArgs, variant_parser};
use crate::{
    app::{ScriptRoot, own, pace::Pace, preset::preset},
    emulator::{
        host::{Echo, Level, LogLine},
        listener::HttpPort,
        session::{Blobs, Session, SessionOptions},
        unserved,
    },
    machine::{
        exit::{EXIT_OK, UsageError, interrupted, watch_interrupts},
        log,
        terminal::{Paint, err, out},
        workspace::{Workspace, kill_processes_of},
    },
};
use custom_handler::wire::WEBHOOK_PATH;
use incident_labs::{blob::Variant, settings::CONNECTION_STRING};

/// Run storage, host, triggers and task hub until Ctrl-C; the folder goes on where it was left, even after kill -9.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:     cargo lab start --preset buffering --set BLOB_BLOCK_MIB=4
             cargo lab start --script-root my-app       (any custom handler's app, with its local.settings.json)
Exit codes:  0 stopped by Ctrl-C; 3 it could not run, or the host gave up; 64 usage")]
pub struct Start {
    /// Work folder: storage data, tables, logs.
    #[arg(long, default_value = ".lab/start")]
    folder: PathBuf,
    /// Settings to run the labs' app under [default: streaming].
    #[arg(long, value_parser = variant_parser())]
    preset: Option<Variant>,
    /// Wait as little as possible, or as long as the real host does where that only takes time.
    #[arg(long, value_enum, default_value_t)]
    pace: Pace,
    /// Port of the HTTP functions and webhooks on 127.0.0.1 (7071, or any free one if that is taken).
    #[arg(long)]
    port: Option<u16>,
    #[command(flatten)]
    app: AppArgs,
    #[command(flatten)]
    settings: SettingArgs,
}

impl Start {
    /// Runs until Ctrl-C; a second one skips the drain.
    ///
    /// # Errors
    /// When it cannot be started, or the host gives up.
    pub async fn run(self) -> anyhow::Result<u8> {
        // Locked before anything in it is touched: another lab may be serving the app staged there.
        let folder = Workspace::open(&self.folder).await?;
        log::keep_in(&folder.logs());
        let path = folder.path().to_owned();
        let pace = self.pace;
        let options = self.options(folder)?;
        let unserved = unserved(&options.script_root);
        let session = Session::start(options).await?;
        // From before the greeting: whoever reads it may stop the lab at once.
        let stopped = watch_interrupts()?;
        unserved.iter().for_each(|it| out(&format!("  not served here: {it}")));
        introduce(&session, pace);
        let gave_up = tokio::select! {
            reason = session.ended() => Some(reason),
            () = stopped => None,
        };
        err("stopping; Ctrl-C again to stop at once");
        tokio::select! {
            () = session.stop(Duration::from_secs(10)) => {}
            result = interrupted() => { result?; kill_processes_of(&path); }
        }
        match gave_up {
            Some(reason) => anyhow::bail!(reason),
            None => Ok(EXIT_OK),
        }
    }

    fn options(self, folder: Workspace) -> anyhow::Result<SessionOptions> {
        let app = self.app.any()?;
        let script_root = ScriptRoot::read(&self.app.serve_from(&app, &folder.path().join("stage"))?)?;
        let (script_root, containers) = if app.is_own() {
            // What local.settings.json says wins over the default preset, not over --preset.
            let defaults = if self.preset.is_none() { preset(Variant::Streaming) } else { Vec::new() };
            let script_root = script_root.with_defaults(defaults);
            (script_root.with_settings(self.preset.map(preset).unwrap_or_default()), own::containers())
        } else if self.preset.is_some() {
            let text =
                "--preset is for the labs' own app, and this one is another: give its settings with --set NAME=VALUE";
            return Err(UsageError(text.to_owned()).into());
        } else {
            (script_root, Vec::new())
        };
        Ok(SessionOptions {
            script_root: script_root.with_settings(self.settings.settings),
            containers,
            folder,
            pace: self.pace,
            port: self.port.map_or(HttpPort::Usual, HttpPort::Given),
            echo: console(),
            withheld: None,
        })
    }
}

fn introduce(session: &Session, pace: Pace) {
    if let Ok(blobs) = session.blobs() {
        introduce_storage(blobs);
    }
    let base = session.http.url();
    for route in &session.http.routes {
        let (method, path) = route.split_once(' ').unwrap_or_default();
        out(&format!("  {:<8} {base}{path}", method.to_lowercase()));
    }
    if session.http.hub.is_some() {
        out(&format!("  durable  {base}{WEBHOOK_PATH}"));
    }
    out(&format!("  handler  http://127.0.0.1:{}", session.host.port()));
    out(&format!("  folder   {}", session.folder.path().display()));
    let waits = match pace {
        Pace::Quick => "retries and restarts come sooner than on the real host (--pace real)",
        Pace::Real => "an idle queue is asked once a minute, a killed host's blob comes back after 10",
    };
    out(&format!("  pace     {}: {waits}", pace.name()));
    if session.sends_telemetry_elsewhere {
        out(&format!("  rows     the app's {CONNECTION_STRING} takes the handler's; tables/ has the host's alone"));
    }
    out("  stop     Ctrl-C");
}

fn introduce_storage(blobs: &Blobs) {
    let account = blobs.azurite.account();
    let table = blobs.azurite.ports()[2];
    let input = blobs.inputs.first().map(String::as_str).unwrap_or_default();
    let results = match blobs.outputs.as_slice() {
        [] => String::new(),
        outputs => format!("; results appear in container {}", outputs.join(", ")),
    };
    out(&format!("  blob     {}", account.blob_endpoint));
    out(&format!("  queue    {}", account.queue_endpoint));
    out(&format!("  table    http://127.0.0.1:{table}/{}", account.name));
    out(&format!("  upload   to container {}{results}, for example", blobs.inputs.join(" or ")));
    out(&format!("           az storage blob upload --blob-endpoint {} --auth-mode key \\", account.blob_endpoint));
    out(&format!("             --account-name {} --account-key KEY (Azurite's published one) \\", account.name));
    out(&format!("             --container-name {input} --file FILE --name FILE"));
}

/// Lines from Information up, coloured on a terminal.
fn console() -> Echo {
    let paint = Paint::on_stdout();
    Some(Box::new(move |line: &LogLine| {
        let text = line.to_string();
        let text = match line.level {
            Level::Debug => return,
            Level::Information => text,
            Level::Warning => paint.yellow(&text),
            Level::Error => paint.red(&text),
        };
        let time = line.at.timestamp();
        out(&format!("{} {text}", time.get(11..23).unwrap_or_default()));
    }))
}
