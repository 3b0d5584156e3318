//! `lab process`: sends files through storage, trigger, handler and back, and checks what comes out.

use std::{
    collections::{BTreeMap, BTreeSet},
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
        ScriptRoot,
        blob_message::{BlobMessage, POISON_QUEUE},
        own,
        pace::Pace,
    },
    emulator::{
        listener::HttpPort,
        session::{Blobs, Session, SessionOptions, last_lines},
    },
    machine::{
        exit::{EXIT_OK, EXIT_WRONG, UsageError, interruption},
        log,
        storage::Uploaded,
        terminal::{Progress, err, out},
        workspace::Workspace,
    },
};
use incident_labs::blob::{INPUT_CONTAINER, RESULTS_CONTAINER, Variant, check_name, record_name, shown};

const PARALLEL_UPLOADS: usize = 4;
/// Between two looks at what has come out.
const POLL: Duration = Duration::from_millis(200);
/// Longer than any run: a poisoned message is looked at once.
const POISON_LEASE: Duration = Duration::from_secs(24 * 3600);

/// Send files through storage, blob trigger and handler, and check each result.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:     cargo lab process --variant buffering photos/ Cargo.toml
Exit codes:  0 every result is right; 1 some are wrong, failed five times or cannot be blobs; 3 it could not run; 64 usage")]
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

/// What is asked for, by the names of its blobs.
#[derive(Debug, Default)]
struct Files {
    sent: BTreeMap<String, PathBuf>,
    /// What cannot be a blob, as records with an `error`.
    refused: Vec<Value>,
}

impl Process {
    /// Processes all files and says whether each result is right. Files that cannot be blobs are named at once.
    ///
    /// # Errors
    /// When a file is missing, or the lab cannot run.
    pub async fn run(self) -> anyhow::Result<u8> {
        let files = collect(&self.paths)?;
        if !self.json {
            out(&format!("{:<40} {:>14} {:<64} {:<9} {:>9} worker", "name", "bytes", "sha256", "variant", "ms"));
        }
        for record in &files.refused {
            out(&line(record, self.json));
        }
        if files.sent.is_empty() {
            return Ok(conclude(files.refused.len(), files.refused.len()));
        }
        let dir = tempfile::Builder::new().prefix("lab-process-").tempdir().context("make a work folder")?;
        let result = self.run_in(dir.path(), &files).await;
        if self.keep || !matches!(result, Ok(EXIT_OK)) {
            err(&format!("work folder kept: {}", dir.keep().display()));
        }
        result
    }

    async fn run_in(&self, folder: &Path, files: &Files) -> anyhow::Result<u8> {
        let app = self.app.own()?;
        let folder = Workspace::open(folder).await?;
        log::keep_in(&folder.logs());
        let script_root = self.app.serve_from(&app, &folder.path().join("stage"))?;
        let variant = ("BLOB_VARIANT".to_owned(), self.variant.name().to_owned());
        let settings = [variant].into_iter().chain(self.settings.settings.iter().cloned());
        let options = SessionOptions {
            script_root: ScriptRoot::read(&script_root)?.with_settings(settings),
            containers: own::containers(),
            folder,
            pace: Pace::Quick,
            port: HttpPort::Free,
            echo: None,
            withheld: None,
        };
        let session = Session::start(options).await?;
        let outcome = tokio::select! {
            outcome = send_and_check(session.blobs()?, files, self.json) => outcome,
            reason = session.host.stopped() => Err(anyhow::anyhow!("the host stopped: {reason}")),
            error = interruption() => Err(error),
        };
        if outcome.is_err() {
            let traces = session.folder.tables().join("traces.jsonl");
            last_lines(&traces, "message", 5).unwrap_or_default().iter().for_each(|it| err(&format!("  {it}")));
        }
        session.stop(Duration::from_secs(1)).await;
        outcome
    }
}

/// Files and the files under folders, each with the name its blob gets.
fn collect(paths: &[PathBuf]) -> Result<Files, UsageError> {
    let mut files = Files::default();
    for path in paths {
        let base = if path.is_dir() { path.as_path() } else { path.parent().unwrap_or(Path::new("")) };
        for entry in WalkDir::new(path).follow_links(true).sort_by_file_name() {
            let entry = entry.map_err(|error| UsageError(format!("read {}: {error}", path.display())))?;
            let is_file = entry.file_type().is_file();
            // Of a folder its files are taken; what was asked for by name is named.
            if is_file || entry.depth() == 0 && !entry.file_type().is_dir() {
                files.add(entry.into_path(), base, is_file)?;
            }
        }
    }
    if files.sent.is_empty() && files.refused.is_empty() {
        return Err(UsageError("there are no files in these folders".to_owned()));
    }
    Ok(files)
}

impl Files {
    fn add(&mut self, file: PathBuf, base: &Path, is_file: bool) -> Result<(), UsageError> {
        let name = file.strip_prefix(base).unwrap_or(&file);
        let problem = match name.to_str() {
            None => Some("its name is not UTF-8".to_owned()),
            Some(_) if !is_file => Some("it is not a file".to_owned()),
            Some(name) => check_name(name).err().map(|cause| cause.to_string()),
        };
        let name = name.to_string_lossy().into_owned();
        if let Some(problem) = problem {
            self.refused.push(json!({"name": name, "error": format!("cannot be a blob: {problem}")}));
            return Ok(());
        }
        match self.sent.insert(name, file.clone()) {
            None => Ok(()),
            Some(other) => {
                Err(UsageError(format!("{} and {} would be the same blob", other.display(), file.display())))
            }
        }
    }
}

async fn send_and_check(blobs: &Blobs, files: &Files, json: bool) -> anyhow::Result<u8> {
    let mut pending = upload(blobs, &files.sent).await?;
    let mut progress = Progress::start("processed", pending.len());
    let mut wrong = files.refused.len();
    let mut news = renamed(blobs, &pending).await?;
    loop {
        for (name, verdict) in news {
            pending.remove(&name);
            wrong += usize::from(verdict.get("error").is_some());
            out(&line(&verdict, json));
            progress.advance();
        }
        if pending.is_empty() {
            break;
        }
        progress.tick();
        sleep(POLL).await;
        news = settled(blobs, &pending).await?;
    }
    progress.finish();
    Ok(conclude(wrong, files.sent.len() + files.refused.len()))
}

/// Says how many are right, and gives the exit code.
fn conclude(wrong: usize, total: usize) -> u8 {
    let wrong_ones = if wrong > 0 { format!(", {wrong} wrong") } else { String::new() };
    err(&format!("{} of {total} right{wrong_ones}", total - wrong));
    if wrong == 0 { EXIT_OK } else { EXIT_WRONG }
}

/// Blobs that storage does not list under the name they were sent with: no result would ever be theirs.
async fn renamed(blobs: &Blobs, sent: &BTreeMap<String, Uploaded>) -> anyhow::Result<Vec<(String, Value)>> {
    let listed = blobs.storage.list(INPUT_CONTAINER, "", false).await?;
    let listed: BTreeSet<String> = listed.into_iter().map(|it| it.name).collect();
    let missing = sent.keys().filter(|it| !listed.contains(*it));
    let error = "storage lists no blob of this name: rename the file";
    Ok(missing.map(|name| (name.clone(), json!({"name": name, "error": error}))).collect())
}

async fn upload(blobs: &Blobs, files: &BTreeMap<String, PathBuf>) -> anyhow::Result<BTreeMap<String, Uploaded>> {
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
    let listed = blobs.storage.list(RESULTS_CONTAINER, "", false).await?;
    let records: BTreeSet<String> = listed.into_iter().map(|it| it.name).collect();
    for (name, want) in pending {
        let record = record_name(name);
        if !records.contains(&record) {
            continue;
        }
        let Some(text) = blobs.storage.read(RESULTS_CONTAINER, &record).await? else { continue };
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

fn line(record: &Value, json: bool) -> String {
    if json { record.to_string() } else { row(record) }
}

fn row(record: &Value) -> String {
    let text = |field: &str| match &record[field] {
        Value::Null => String::new(),
        Value::String(text) => shown(text),
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
