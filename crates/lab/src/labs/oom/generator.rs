//! Uploads the sources, then releases them phase by phase beside a steady stream of small blobs, and writes down what it did.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use futures::{StreamExt, TryStreamExt, future::try_join_all, stream};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::{
    io::AsyncReadExt,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    events::{Event, Gate},
    nudge,
    random::RandomBytes,
    scenario::{Burst, Phase, Plan, Source},
};
use crate::{
    app::{
        blob_message::{BlobMessage, POISON_QUEUE, is_seen},
        running::Traffic,
    },
    evidence::{
        jsonl::{JsonLines, WriteError},
        moment::Moment,
    },
    machine::storage::{Storage, StorageError, Uploaded},
};
use custom_handler::clock;
use incident_labs::blob::{INPUT_CONTAINER, RESULTS_CONTAINER, record_name};

/// Where sources wait for being copied.
const SOURCES_CONTAINER: &str = "sources";
const PARALLEL_UPLOADS: usize = 4;
const SETTLE_POLL: Duration = Duration::from_millis(300);
/// Control blobs have streams of their own, far from those of the sources.
const CONTROL_STREAM: u64 = 1 << 32;

/// What to send where.
#[derive(Debug)]
pub(super) struct GeneratorOptions {
    pub storage: Storage,
    pub plan: Plan,
    /// First part of all names, so that runs on one account do not meet.
    pub run: String,
    /// Folder of `manifest.jsonl` and `phases.jsonl`, which are added to.
    pub out: PathBuf,
    /// Longest wait for blobs to be dealt with.
    pub settle: Duration,
    /// Whether blobs that are not dealt with are touched, because the host may not have seen them.
    pub nudge: bool,
}

/// A blob that was sent.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct ManifestRow {
    /// When it was there.
    pub timestamp: String,
    /// Its name in the input container.
    pub name: String,
    pub phase: String,
    /// What it is part of: a burst, or `control`.
    pub group: String,
    pub size_bytes: u64,
    pub sha256: String,
    /// The host never sees a blob of this name, so neither a result nor the poison queue is waited for. Written where it is so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unseen: bool,
}

/// A phase that took place.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct PhaseRow {
    /// When it began; `start` and `timestamp` are the same.
    pub timestamp: String,
    pub phase: String,
    /// First part of all names.
    pub run: String,
    pub start: String,
    pub end: String,
    /// The monotonic clock's, at both.
    #[serde(rename = "monotonicMs")]
    pub start_monotonic_ms: f64,
    #[serde(rename = "endMonotonicMs")]
    pub end_monotonic_ms: f64,
    /// Blobs that were not dealt with in time.
    pub unsettled: Vec<String>,
    /// Blobs that the host did not see until they were touched.
    #[serde(default)]
    pub nudged: BTreeSet<String>,
}

/// Why load could not be generated.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoadError {
    /// The account refuses or is away.
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    File(#[from] WriteError),
    #[error("tell what is being done: the other end is closed")]
    Told(#[from] io::Error),
}

/// A load generator on one account.
#[derive(Debug)]
pub(super) struct Generator {
    options: GeneratorOptions,
    /// What each source is.
    sources: BTreeMap<String, Uploaded>,
    manifest: Mutex<JsonLines>,
    /// Blobs of the phase under way that were touched.
    nudged: Mutex<BTreeSet<String>>,
}

impl Generator {
    /// Creates the containers and uploads the sources that are not there yet: those of the same seed and scale are used again.
    ///
    /// # Errors
    /// When the account refuses, or the output folder cannot be written.
    pub(super) async fn prepare(options: GeneratorOptions, gate: &mut Gate) -> Result<Self, LoadError> {
        for container in [INPUT_CONTAINER, RESULTS_CONTAINER, SOURCES_CONTAINER] {
            options.storage.ensure_container(container).await?;
        }
        let manifest = JsonLines::append(&options.out.join("manifest.jsonl"))?;
        let sources = upload(&options, gate).await?;
        Ok(Self { options, sources, manifest: Mutex::new(manifest), nudged: Mutex::default() })
    }

    /// Runs all phases, and says how many blobs were not dealt with in time.
    ///
    /// # Errors
    /// When the account refuses or is away, or the parent process is gone.
    pub(super) async fn run(&self, gate: &mut Gate) -> Result<usize, LoadError> {
        let mut unsettled = 0;
        for phase in &self.options.plan.phases {
            unsettled += self.phase(phase, gate).await?;
        }
        Ok(unsettled)
    }

    async fn phase(&self, phase: &Phase, gate: &mut Gate) -> Result<usize, LoadError> {
        gate.tell(Event::Phase { phase: phase.name.clone() }).await?;
        let start = Moment::now();
        let enough = CancellationToken::new();
        let bursts = async {
            let result = self.bursts(phase, gate).await;
            enough.cancel();
            result
        };
        tokio::try_join!(self.control(&phase.name, &enough), bursts)?;
        let unsettled = self.settle(&format!("{}/{}/", self.options.run, phase.name), gate).await?;
        let nudged = std::mem::take(&mut *self.nudged.lock().unwrap_or_else(PoisonError::into_inner));
        let end = Moment::now();
        let row = PhaseRow {
            timestamp: start.timestamp(),
            phase: phase.name.clone(),
            run: self.options.run.clone(),
            start: start.timestamp(),
            end: end.timestamp(),
            start_monotonic_ms: start.monotonic_ms(),
            end_monotonic_ms: end.monotonic_ms(),
            unsettled: unsettled.clone(),
            nudged: nudged.clone(),
        };
        JsonLines::append(&self.options.out.join("phases.jsonl"))?.write(&row)?;
        let count = unsettled.len();
        gate.tell(Event::PhaseEnd { phase: phase.name.clone(), unsettled, nudged: nudged.len() }).await?;
        Ok(count)
    }

    /// Small blobs at a steady rate. Open loop: a slow answer does not delay the next blob's time.
    async fn control(&self, phase: &str, enough: &CancellationToken) -> Result<(), LoadError> {
        let plan = &self.options.plan;
        let (began, mut due) = (Instant::now(), Instant::now());
        for n in 0_u64.. {
            if enough.run_until_cancelled(sleep_until(due)).await.is_none() {
                break;
            }
            let name = control_name(&self.options.run, phase, n);
            let stream = CONTROL_STREAM + stream_of(&name);
            let bytes = RandomBytes::new(plan.seed, stream, plan.control_bytes);
            let uploaded = self.options.storage.upload_from(INPUT_CONTAINER, &name, bytes).await?;
            self.sent(phase, "control", &name, &uploaded)?;
            due = began + plan.control_every.mul_f64((n + 1) as f64);
        }
        Ok(())
    }

    async fn bursts(&self, phase: &Phase, gate: &mut Gate) -> Result<(), LoadError> {
        for burst in &phase.bursts {
            let began = Instant::now();
            for time in 0..burst.times {
                sleep_until(began + burst.every * time as u32).await;
                let prefix = burst_prefix(&self.options.run, &phase.name, &burst.class, time);
                let blobs = burst.sources.len();
                gate.tell(Event::Burst { phase: phase.name.clone(), prefix: prefix.clone(), blobs }).await?;
                self.release(&phase.name, burst, &prefix).await?;
                gate.tell(Event::Copied { prefix: prefix.clone(), blobs }).await?;
                self.settle(&prefix, gate).await?;
            }
            sleep_until(began + burst.length).await;
        }
        Ok(())
    }

    /// Copies a burst's sources inside the account, all at once.
    async fn release(&self, phase: &str, burst: &Burst, prefix: &str) -> Result<(), LoadError> {
        let storage = &self.options.storage;
        let copies = burst.sources.iter().enumerate().map(|(n, source)| async move {
            let (from, name) = (source_name(&self.options.plan, source), format!("{prefix}{n:02}.bin"));
            storage.copy((SOURCES_CONTAINER, &from), (INPUT_CONTAINER, &name)).await?;
            self.sent(phase, &burst.class, &name, &self.sources[&source.name])
        });
        try_join_all(copies).await.map(drop)
    }

    fn sent(&self, phase: &str, group: &str, name: &str, uploaded: &Uploaded) -> Result<(), LoadError> {
        let row = ManifestRow {
            timestamp: clock::timestamp(clock::utc_now()),
            name: name.to_owned(),
            phase: phase.to_owned(),
            group: group.to_owned(),
            size_bytes: uploaded.size_bytes,
            sha256: uploaded.sha256.clone(),
            unseen: !is_seen(name),
        };
        Ok(self.manifest.lock().unwrap_or_else(PoisonError::into_inner).write(&row)?)
    }

    /// Waits until each blob under a prefix is dealt with, and touches those that are not in time; names those left then.
    async fn settle(&self, prefix: &str, gate: &mut Gate) -> Result<Vec<String>, LoadError> {
        let mut open = self.wait_for(prefix).await?;
        for _ in 0..if self.options.nudge { nudge::MOST } else { 0 } {
            if open.is_empty() {
                break;
            }
            gate.tell(Event::Nudge { prefix: prefix.to_owned(), blobs: open.len() }).await?;
            nudge::nudge(&self.options.storage, INPUT_CONTAINER, &open).await?;
            self.nudged.lock().unwrap_or_else(PoisonError::into_inner).extend(open);
            open = self.wait_for(prefix).await?;
        }
        Ok(open)
    }

    /// Waits until each blob under a prefix has a result or is in the poison queue, unless the host never sees it; names those
    /// that have neither in time.
    async fn wait_for(&self, prefix: &str) -> Result<Vec<String>, LoadError> {
        let storage = &self.options.storage;
        let poison = storage.queue(POISON_QUEUE).await?;
        let asked = Instant::now();
        loop {
            let sent = storage.list(INPUT_CONTAINER, prefix, false).await?;
            let results = storage.list(RESULTS_CONTAINER, prefix, false).await?;
            let records: BTreeSet<String> = results.into_iter().map(|it| it.name).collect();
            let messages = poison.peek().await?;
            let poisoned: BTreeSet<String> =
                messages.iter().filter_map(|it| Some(BlobMessage::decode(it)?.blob_name)).collect();
            let is_open = |it: &String| is_seen(it) && !records.contains(&record_name(it)) && !poisoned.contains(it);
            let open: Vec<String> = sent.into_iter().map(|it| it.name).filter(is_open).collect();
            if open.is_empty() || asked.elapsed() > self.options.settle {
                return Ok(open);
            }
            sleep(SETTLE_POLL).await;
        }
    }
}

/// What the names of a burst's blobs begin with.
pub(super) fn burst_prefix(run: &str, phase: &str, class: &str, time: usize) -> String {
    format!("{run}/{phase}/{class}-{time:02}/")
}

/// About what phases send to the account; copies inside it move no bytes over the network.
pub(super) fn traffic(plan: &Plan, phases: &[&str], run: &str) -> Vec<Traffic> {
    let to_account = |path: String, why: String, count: u64| Traffic {
        method: "PUT",
        path,
        body: None,
        why,
        count,
        is_storage: true,
        repeats: true,
    };
    let sources = plan.sources();
    let megabytes = plan.source_bytes() / (1 << 20);
    let uploads = to_account(
        format!("/{SOURCES_CONTAINER}/{{source}}"),
        format!("upload the sources that are not there yet, {megabytes} MiB in all"),
        sources.len() as u64,
    );
    let of_phase = |phase: &Phase| {
        let blobs: usize = phase.bursts.iter().map(|it| it.sources.len() * it.times).sum();
        let path = format!("/{INPUT_CONTAINER}/{run}/{}/{{burst}}/{{blob}}", phase.name);
        let copies = to_account(path, format!("{}: copy blobs inside the account", phase.name), blobs as u64);
        let small = phase.length().as_secs_f64() / plan.control_every.as_secs_f64();
        let path = format!("/{INPUT_CONTAINER}/{run}/{}/control/{{number}}.bin", phase.name);
        [copies, to_account(path, format!("{}: small blobs all the time", phase.name), small as u64)]
    };
    let chosen = plan.phases.iter().filter(|it| phases.contains(&it.name.as_str()));
    [uploads].into_iter().chain(chosen.flat_map(of_phase)).collect()
}

/// Name of a control blob.
pub(super) fn control_name(run: &str, phase: &str, number: u64) -> String {
    format!("{run}/{phase}/control/{number:05}.bin")
}

/// Uploads the sources, unless an earlier start has left the same ones; then its list is taken over.
async fn upload(options: &GeneratorOptions, gate: &mut Gate) -> Result<BTreeMap<String, Uploaded>, LoadError> {
    let (storage, plan) = (&options.storage, &options.plan);
    let list = format!("{}sources.json", source_prefix(plan));
    let known: BTreeMap<String, Uploaded> = match storage.read(SOURCES_CONTAINER, &list).await? {
        Some(text) => serde_json::from_slice(&text).unwrap_or_default(),
        None => BTreeMap::new(),
    };
    let missing: Vec<Source> = plan.sources().into_iter().filter(|it| !known.contains_key(&it.name)).collect();
    let total = missing.len();
    let mut uploads = stream::iter(missing)
        .map(|source| async move {
            let bytes = RandomBytes::new(plan.seed, source.stream, source.bytes);
            let uploaded = storage.upload_from(SOURCES_CONTAINER, &source_name(plan, &source), bytes).await?;
            Ok::<_, LoadError>((source.name, uploaded))
        })
        .buffer_unordered(PARALLEL_UPLOADS);
    let mut sources = known;
    let mut done = 0;
    while let Some((name, uploaded)) = uploads.try_next().await? {
        sources.insert(name, uploaded);
        done += 1;
        gate.tell(Event::Uploaded { done, total }).await?;
    }
    if done > 0 {
        let text = serde_json::to_vec(&sources).unwrap_or_default();
        storage.put(SOURCES_CONTAINER, &list, text, None).await?;
    }
    Ok(sources)
}

fn source_prefix(plan: &Plan) -> String {
    format!("seed-{}/limit-{}/", plan.seed, plan.scale.limit_bytes())
}

fn source_name(plan: &Plan, source: &Source) -> String {
    source_prefix(plan) + &source.name
}

/// A stream for a name: the same name, the same bytes.
fn stream_of(name: &str) -> u64 {
    let digest = Sha256::digest(name.as_bytes());
    digest.iter().take(4).fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

/// Writes the sources of the three load phases as files, in folders as the guide names them, with a manifest.
///
/// # Errors
/// When a file cannot be written.
pub(super) async fn write_files(plan: &Plan, folder: &Path, told: impl Fn(&Path)) -> Result<(), LoadError> {
    let file_error = |path: &Path| {
        let path = path.to_owned();
        move |source| WriteError { path, source }
    };
    let mut manifest = JsonLines::replace(&folder.join("manifest.jsonl"))?;
    for (number, class) in [(1, "load-1"), (2, "load-2"), (3, "incident")] {
        let bursts = plan.phases.iter().flat_map(|it| &it.bursts).find(|it| it.class == class);
        let phase = folder.join(format!("phase{number}"));
        fs::create_dir_all(&phase).map_err(file_error(&phase))?;
        for (n, source) in bursts.map(|it| it.sources.as_slice()).unwrap_or_default().iter().enumerate() {
            let path = phase.join(format!("{n:02}.bin"));
            let uploaded = write_file(&path, RandomBytes::new(plan.seed, source.stream, source.bytes)).await;
            let uploaded = uploaded.map_err(file_error(&path))?;
            let row = serde_json::json!({
                "name": format!("phase{number}/{n:02}.bin"),
                "size_bytes": uploaded.size_bytes,
                "sha256": uploaded.sha256,
            });
            manifest.write(&row)?;
            told(&path);
        }
    }
    Ok(())
}

async fn write_file(path: &Path, mut bytes: RandomBytes) -> io::Result<Uploaded> {
    let mut file = File::create(path)?;
    let (mut hash, mut size_bytes, mut chunk) = (Sha256::new(), 0, vec![0; 1 << 20]);
    loop {
        match bytes.read(&mut chunk).await? {
            0 => return Ok(Uploaded { size_bytes, sha256: format!("{:x}", hash.finalize()) }),
            length => {
                hash.update(&chunk[..length]);
                file.write_all(&chunk[..length])?;
                size_bytes += length as u64;
            }
        }
    }
}
