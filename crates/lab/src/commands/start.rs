//! `lab start`: storage, host, triggers and task hub, until Ctrl-C.

use std::{
    io::{IsTerminal, stdout},
    path::PathBuf,
    time::Duration,
};

use super::{EXIT_OK, interrupted, stage};
use crate::emulator::{
    listener::HttpPort,
    session::{Blobs, Session, SessionOptions},
};
use crate::{
    app::own,
    emulator::host::{Echo, Level, LogLine},
    machine::workspace::{Folder, kill_processes_of},
};
use custom_handler::wire::WEBHOOK_PATH;

/// What `lab start` was asked for.
#[derive(Debug)]
pub struct StartOptions {
    pub folder: PathBuf,
    /// A staged app; if not set the app is staged into the run folder.
    pub stage: Option<PathBuf>,
    /// A handler for that; built if not set.
    pub handler: Option<PathBuf>,
    pub settings: Vec<(String, String)>,
    /// Longest time a new blob goes unnoticed.
    pub pace: Option<Duration>,
    /// Where HTTP functions and webhooks listen.
    pub port: HttpPort,
}

/// Runs until Ctrl-C; a second one skips the drain.
///
/// # Errors
/// When it cannot be started, or the host gives up.
pub async fn run(options: StartOptions) -> anyhow::Result<u8> {
    // Locked before anything in it is touched: another lab may be serving the app staged there.
    let folder = Folder::open(&options.folder).await?;
    let path = folder.path().to_owned();
    let script_root = match options.stage {
        Some(stage) => stage,
        None => {
            let out = path.join("stage");
            stage::make(&out, options.handler)?;
            out
        }
    };
    let session = Session::start(SessionOptions {
        script_root: own::read(&script_root, &folder.tables())?.with_settings(options.settings),
        containers: own::containers(),
        folder,
        pace: options.pace,
        port: options.port,
        echo: console(),
    })
    .await?;
    introduce(&session);
    let gave_up = tokio::select! {
        reason = session.ended() => Some(reason),
        result = interrupted() => { result?; None }
    };
    eprintln!("stopping; Ctrl-C again to stop at once");
    tokio::select! {
        () = session.stop(Duration::from_secs(10)) => {}
        result = interrupted() => { result?; kill_processes_of(&path); }
    }
    match gave_up {
        Some(reason) => anyhow::bail!(reason),
        None => Ok(EXIT_OK),
    }
}

fn introduce(session: &Session) {
    if let Ok(blobs) = session.blobs() {
        introduce_storage(blobs);
    }
    let base = session.http.url();
    for route in &session.http.routes {
        let (method, path) = route.split_once(' ').unwrap_or_default();
        println!("  {:<8} {base}{path}", method.to_lowercase());
    }
    if session.http.hub.is_some() {
        println!("  durable  {base}{WEBHOOK_PATH}");
    }
    println!("  handler  http://127.0.0.1:{}", session.host.port());
    println!("  folder   {}", session.folder.path().display());
    println!("  stop     Ctrl-C");
}

fn introduce_storage(blobs: &Blobs) {
    let account = blobs.azurite.account();
    let table = blobs.azurite.ports()[2];
    let input = blobs.inputs.first().map(String::as_str).unwrap_or_default();
    println!("  blob     {}", account.blob_endpoint);
    println!("  queue    {}", account.queue_endpoint);
    println!("  table    http://127.0.0.1:{table}/{}", account.name);
    println!("  upload   to container {input}; results appear in container results, for example");
    println!("           az storage blob upload --blob-endpoint {} --auth-mode key \\", account.blob_endpoint);
    println!("             --account-name {} --account-key KEY (Azurite's published one) \\", account.name);
    println!("             --container-name {input} --file FILE --name FILE");
}

/// Lines from Information up, coloured on a terminal.
fn console() -> Echo {
    let is_terminal = stdout().is_terminal();
    Some(Box::new(move |line: &LogLine| {
        let colour = match line.level {
            Level::Debug => return,
            Level::Information => "",
            Level::Warning => "\x1b[33m",
            Level::Error => "\x1b[31m",
        };
        let time = custom_handler::clock::timestamp(line.at);
        let time = time.get(11..23).unwrap_or_default();
        if is_terminal && !colour.is_empty() {
            println!("{time} {colour}{line}\x1b[0m");
        } else {
            println!("{time} {line}");
        }
    }))
}
