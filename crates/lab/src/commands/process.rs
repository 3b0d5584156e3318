//! `lab process`: sends files through storage, trigger, handler and back, and checks what comes out.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};
use tokio::time::sleep;
use walkdir::WalkDir;

use super::app::{AppArgs, SettingArgs, variant_parser};
use crate::{
    app::{
        blob_message::{BlobMessage, POISON_QUEUE},
        own,
    },
    emulator::{
        listener::HttpPort,
        session::{Blobs, Session, SessionOptions, last_lines},
    },
    machine::{
        exit::{EXIT_OK, EXIT_WRONG, UsageError, interrupted},
        storage::Uploaded,
        terminal::Progress,
        workspace::Workspace,
    },
};
use incident_labs::blob::{INPUT_CONTAINER, RESULTS_CONTAINER, Variant};

const PARALLEL_UPLOADS: usize = 4;
const PACE: Duration = Duration::from_millis(200);
/// Longer than any run: a poisoned message is looked at once.
const POISON_LEASE: Duration = Duration::from_secs(24 * 3600);

/// Send files through storage, blob trigger and handler, and check each result.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:     cargo lab process --variant buffering photos/ Cargo.toml
Exit codes:  0 every result is right; 1 some are wrong or failed five times; 3 it could not run; 64 usage")]
pub struct Process {
    /// Files, and folders whose files are taken with their path.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// How the handler holds a blob while it is processed.
    #[arg(long, value_parser = variant_parser(), default_value = "streaming")]
    variant: Variant,
    /// Print one JSON object per line instead of a table.
    #[arg(long)]
    json: bool,
    /// Keep the work folder (it is always kept when something went wrong).
    #[arg(long)]
    keep: bool,
    #[command(flatten)]
    app: AppArgs,
    #[command(flatten)]
    settings: SettingArgs,
}

/// Blob names and the files they are made from.
type Files = BTreeMap<String, PathBuf>;

impl Process {
    /// Processes all files and says whether each result is right.
    ///
    /// # Errors
    /// When a file is missing, or the lab cannot run.
    pub async fn run(self) -> anyhow::Result<u8> {
        let files = collect(&self.paths)?;
        let dir = tempfile::Builder::new().prefix("lab-process-").tempdir().context("make a work folder")?;
        let result = self.run_in(dir.path(), &files).await;
        if self.keep || !matches!(result, Ok(EXIT_OK)) {
            eprintln!("work folder kept: {}", dir.keep().display());
        }
        result
    }

    async fn run_in(&self, folder: &Path, files: &Files) -> anyhow::Result<u8> {
        let script_root = self.app.serve_from(&self.app.own()?, &folder.join("stage"))?;
        let folder = Workspace::open(folder).await?;
        let variant = ("BLOB_VARIANT".to_owned(), self.variant.name().to_owned());
        let settings = [variant].into_iter().chain(self.settings.settings.iter().cloned());
        let options = SessionOptions {
            script_root: own::read(&script_root, &folder.tables())?.with_settings(settings),
            containers: own::containers(),
            folder,
            pace: Some(PACE),
            port: HttpPort::Free,
            echo: None,
        };
        let session = Session::start(options).await?;
        let outcome = tokio::select! {
            outcome = send_and_check(session.blobs()?, files, self.json) => outcome,
            reason = session.host.stopped() => Err(anyhow::anyhow!("the host stopped: {reason}")),
            result = interrupted() => Err(result.err().map_or_else(|| anyhow::anyhow!("interrupted"), Into::into)),
        };
        if outcome.is_err() {
            let traces = session.folder.tables().join("traces.jsonl");
            last_lines(&traces, "message", 5).unwrap_or_default().iter().for_each(|it| eprintln!("  {it}"));
        }
        session.stop(Duration::from_secs(1)).await;
        outcome
    }
}

/// Files and the files under folders, each with the name its blob gets.
fn collect(paths: &[PathBuf]) -> Result<Files, UsageError> {
    let mut files = Files::new();
    for path in paths {
        let base = if path.is_dir() { path.as_path() } else { path.parent().unwrap_or(Path::new("")) };
        for entry in WalkDir::new(path).follow_links(true).sort_by_file_name() {
            let entry = entry.map_err(|error| UsageError(format!("read {}: {error}", path.display())))?;
            if !entry.file_type().is_file() {
                continue;
            }
            let file = entry.into_path();
            let name = file.strip_prefix(base).ok().and_then(Path::to_str).map(str::to_owned);
            let name = name.ok_or_else(|| UsageError(format!("{} is not UTF-8: rename it", file.display())))?;
            if let Some(other) = files.insert(name, file.clone()) {
                let text = format!("{} and {} would be the same blob", other.display(), file.display());
                return Err(UsageError(text));
            }
        }
    }
    if files.is_empty() { Err(UsageError("there are no files in these folders".to_owned())) } else { Ok(files) }
}

async fn send_and_check(blobs: &Blobs, files: &Files, json: bool) -> anyhow::Result<u8> {
    let mut pending = upload(blobs, files).await?;
    let mut progress = Progress::start("processed", pending.len());
    if !json {
        progress.print(&format!("{:<40} {:>14} {:<64} {:<9} {:>9} worker", "name", "bytes", "sha256", "variant", "ms"));
    }
    let mut wrong = 0;
    while !pending.is_empty() {
        for (name, verdict) in settled(blobs, &pending).await? {
            pending.remove(&name);
            wrong += usize::from(verdict.get("error").is_some());
            progress.print(&if json { verdict.to_string() } else { row(&verdict) });
            progress.advance();
        }
        progress.tick();
        sleep(PACE).await;
    }
    progress.finish();
    let total = files.len();
    eprintln!(
        "{} of {total} right{}",
        total - wrong,
        if wrong > 0 { format!(", {wrong} wrong") } else { String::new() }
    );
    Ok(if wrong == 0 { EXIT_OK } else { EXIT_WRONG })
}

async fn upload(blobs: &Blobs, files: &Files) -> anyhow::Result<BTreeMap<String, Uploaded>> {
    let mut progress = Progress::start("uploaded", files.len());
    let mut uploads = stream::iter(files)
        .map(|(name, file)| async move {
            blobs.storage.upload(INPUT_CONTAINER, name, file).await.map(|it| (name.clone(), it))
        })
        .buffer_unordered(PARALLEL_UPLOADS);
    let mut uploaded = BTreeMap::new();
    while let Some((name, upload)) = uploads.try_next().await? {
        uploaded.insert(name, upload);
        progress.advance();
    }
    progress.finish();
    Ok(uploaded)
}

/// Results and failures that have come in, as records; those that are not right have an `error`.
async fn settled(blobs: &Blobs, pending: &BTreeMap<String, Uploaded>) -> anyhow::Result<Vec<(String, Value)>> {
    let mut found = Vec::new();
    for blob in blobs.storage.list(RESULTS_CONTAINER, "", false).await? {
        let Some((name, want)) = blob.name.strip_suffix(".json").and_then(|it| pending.get_key_value(it)) else {
            continue;
        };
        let Some(text) = blobs.storage.read(RESULTS_CONTAINER, &blob.name).await? else { continue };
        found.push((name.clone(), verdict(name, &text, want)));
    }
    for message in blobs.storage.queue(POISON_QUEUE).await?.receive(32, POISON_LEASE).await? {
        let name = BlobMessage::decode(&message.text).map(|it| it.blob_name).unwrap_or_default();
        if pending.contains_key(&name) && !found.iter().any(|(it, _)| *it == name) {
            let record = json!({"name": name, "error": "failed too often: stands in the poison queue"});
            found.push((name, record));
        }
    }
    Ok(found)
}

fn verdict(name: &str, text: &[u8], want: &Uploaded) -> Value {
    let mut record: Value = match serde_json::from_slice(text) {
        Ok(record @ Value::Object(_)) => record,
        _ => return json!({"name": name, "error": "the result record is not a JSON object"}),
    };
    if record["sha256"] != want.sha256.as_str() || record["size_bytes"] != want.size_bytes || record["name"] != name {
        let text = format!("differs from the file: {} bytes, sha256 {}", want.size_bytes, want.sha256);
        record["error"] = text.into();
    }
    record
}

fn row(record: &Value) -> String {
    let text = |field: &str| match &record[field] {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let worker = &record["worker"];
    let worker = if worker.is_object() { format!("{}:{}", worker["generation"], worker["pid"]) } else { String::new() };
    let line = format!(
        "{:<40} {:>14} {:<64} {:<9} {:>9} {worker}",
        text("name"),
        text("size_bytes"),
        text("sha256"),
        text("variant"),
        text("duration_ms")
    );
    match record["error"].as_str() {
        Some(error) => format!("{} WRONG: {error}", line.trim_end()),
        None => line,
    }
}
