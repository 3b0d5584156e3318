//! `lab bench blob`: streaming a large blob beside `curl | openssl dgst`, and the small costs around it.

use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, ensure};
use azure_storage_blob::models::{BlobContainerClientCreateOptions, PublicAccessType};
use serde::Deserialize;
use tokio::{process::Command, time::Instant};

use super::{Goal, Report, handler::Handler, median, percentile};
use crate::{
    host::{INPUT_CONTAINER, RESULTS_CONTAINER},
    lab::{
        azurite::{Azurite, Ports},
        folder::Folder,
        storage::Storage,
    },
};

const SCENARIO: &str = include_str!("../../../load/bench/blob.toml");
const MIB: usize = 1 << 20;
const LARGE: &str = "large";
const EMPTY: &str = "empty";

/// What `load/bench/blob.toml` asks for.
#[derive(Clone, Debug, Deserialize)]
pub struct BlobBench {
    /// Size of the large blob.
    pub blob_mib: usize,
    /// Rounds, each with every peer once.
    pub rounds: usize,
    /// Invocations of the empty blob.
    pub empty_blobs: usize,
    goals: Goals,
}

#[derive(Clone, Debug, Deserialize)]
struct Goals {
    vs_curl_and_openssl: f64,
    vs_curl: f64,
    first_answer_ms: f64,
    idle_rss_mb: f64,
}

#[derive(Debug, Default)]
struct Samples {
    handler_s: Vec<f64>,
    curl_openssl_s: Vec<f64>,
    curl_s: Vec<f64>,
    first_answer_ms: Vec<f64>,
    empty_ms: Vec<f64>,
    front_rss_mb: f64,
    worker_rss_mb: f64,
}

impl BlobBench {
    /// The scenario of the repository.
    ///
    /// # Errors
    /// When the file is not what this code expects.
    pub fn load() -> anyhow::Result<Self> {
        toml::from_str(SCENARIO).context("read load/bench/blob.toml")
    }

    /// Runs it in `folder`, telling `progress` each step.
    ///
    /// # Errors
    /// When storage, the handler or a peer does not work.
    pub async fn run(&self, handler: &Path, folder: &Path, progress: impl Fn(&str)) -> anyhow::Result<Report> {
        let environment = environment(handler).await?;
        progress("starting storage and making the blob");
        let run = Folder::open(folder).await?;
        let azurite = Azurite::start(&run, Ports::Free).await?;
        let storage = Storage::open(azurite.account())?;
        self.fill(&storage, folder).await?;
        let samples = self.measure(handler, &storage, progress).await;
        azurite.stop().await;
        Ok(Report { environment, results: self.judge(&samples?) })
    }

    /// The input container is readable by everyone here, so that curl needs no key.
    async fn fill(&self, storage: &Storage, folder: &Path) -> anyhow::Result<()> {
        let options = BlobContainerClientCreateOptions { access: Some(PublicAccessType::Blob), ..Default::default() };
        storage.container(INPUT_CONTAINER).create(Some(options)).await?;
        storage.ensure_container(RESULTS_CONTAINER).await?;
        storage.put(INPUT_CONTAINER, EMPTY, Vec::new(), None).await?;
        let file = folder.join("large.bin");
        write_pseudo_random(&file, self.blob_mib)?;
        storage.upload(INPUT_CONTAINER, LARGE, &file).await?;
        std::fs::remove_file(file)?;
        Ok(())
    }

    async fn measure(&self, executable: &Path, storage: &Storage, progress: impl Fn(&str)) -> anyhow::Result<Samples> {
        let mut samples = Samples::default();
        for _ in 0..self.rounds {
            let (_, first_answer) = Handler::start(executable, storage.account()).await?;
            samples.first_answer_ms.push(first_answer.as_secs_f64() * 1000.0);
        }
        let (handler, _) = Handler::start(executable, storage.account()).await?;
        let (front, worker) = handler.rss_bytes().await?;
        (samples.front_rss_mb, samples.worker_rss_mb) = (front as f64 / 1e6, worker as f64 / 1e6);

        let url = storage.blob(INPUT_CONTAINER, LARGE).url().to_string();
        let curl = format!("curl --silent --fail --noproxy '*' '{url}'");
        progress("warming up");
        handler.invoke(LARGE).await?;
        for round in 1..=self.rounds {
            progress(&format!("round {round} of {}", self.rounds));
            samples.handler_s.push(handler.invoke(LARGE).await?.as_secs_f64());
            samples.curl_openssl_s.push(shell(&format!("{curl} | openssl dgst -sha256")).await?.as_secs_f64());
            samples.curl_s.push(shell(&format!("{curl} --output /dev/null")).await?.as_secs_f64());
        }
        progress("empty blobs");
        for _ in 0..self.empty_blobs {
            samples.empty_ms.push(handler.invoke(EMPTY).await?.as_secs_f64() * 1000.0);
        }
        Ok(samples)
    }

    fn judge(&self, samples: &Samples) -> Vec<Goal> {
        let mb = (self.blob_mib * MIB) as f64 / 1e6;
        let throughput = |name, seconds: &[f64]| Goal::bare(name, mb / median(seconds));
        // Of each round, because the machine is not the same in all of them.
        let ratio = |peer: &[f64]| {
            median(&samples.handler_s.iter().zip(peer).map(|(ours, peers)| peers / ours).collect::<Vec<_>>())
        };
        let goals = &self.goals;
        vec![
            throughput("handler, streaming, MB/s", &samples.handler_s),
            throughput("curl | openssl dgst -sha256, MB/s", &samples.curl_openssl_s),
            throughput("curl alone, MB/s", &samples.curl_s),
            Goal::at_least("handler / (curl | openssl)", ratio(&samples.curl_openssl_s), goals.vs_curl_and_openssl),
            Goal::at_least("handler / curl alone", ratio(&samples.curl_s), goals.vs_curl),
            Goal::below("exec to first answer, ms", median(&samples.first_answer_ms), goals.first_answer_ms),
            Goal::below("front, idle RSS, MB", samples.front_rss_mb, goals.idle_rss_mb),
            Goal::below("worker, idle RSS, MB", samples.worker_rss_mb, goals.idle_rss_mb),
            Goal::bare("empty blob, envelope to reply, p50 ms", percentile(&samples.empty_ms, 0.5)),
            Goal::bare("empty blob, envelope to reply, p99 ms", percentile(&samples.empty_ms, 0.99)),
        ]
    }
}

async fn shell(command: &str) -> anyhow::Result<Duration> {
    let started = Instant::now();
    let status = Command::new("bash")
        .args(["-o", "pipefail", "-c", command])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .await
        .context("run bash, curl and openssl (`apt install curl openssl`)")?;
    ensure!(status.success(), "`{command}` ended with {status}: are curl and openssl installed?");
    Ok(started.elapsed())
}

/// Bytes that no layer can compress or guess, the same in every run.
fn write_pseudo_random(path: &PathBuf, mebibytes: usize) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut block = vec![0_u8; MIB];
    for _ in 0..mebibytes {
        for word in block.chunks_exact_mut(8) {
            // xorshift64
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes());
        }
        file.write_all(&block)?;
    }
    Ok(())
}

async fn environment(handler: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let binary = std::fs::read(handler).with_context(|| format!("read {}", handler.display()))?;
    let names_loader = binary.windows(LOADER.len()).any(|it| it == LOADER);
    let libc = if names_loader { "glibc" } else { "musl (static)" };
    let mut rows = vec![("handler's libc".to_owned(), libc.to_owned())];
    let handler = handler.display().to_string();
    for (name, program, argument) in [
        ("handler", handler.as_str(), "--version"),
        ("curl", "curl", "--version"),
        ("openssl", "openssl", "version"),
        ("node", "node", "--version"),
        ("kernel", "uname", "-r"),
    ] {
        let output = Command::new(program).arg(argument).output().await;
        let output = output.with_context(|| format!("run {program} {argument}"))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let line = text.lines().next().unwrap_or_default();
        rows.push((name.to_owned(), line.split(" (").next().unwrap_or_default().to_owned()));
    }
    Ok(rows)
}

/// The interpreter a dynamically linked glibc program names.
const LOADER: &[u8] = b"/lib64/ld-linux";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_met_or_missed_by_the_median_of_the_rounds() {
        let bench = BlobBench::load().unwrap();
        let samples = Samples {
            handler_s: vec![1.0, 2.0, 4.0],
            curl_openssl_s: vec![2.0, 2.0, 2.0],
            curl_s: vec![0.5, 1.0, 2.0],
            first_answer_ms: vec![10.0],
            ..Samples::default()
        };
        let results = bench.judge(&samples);
        let met = |name: &str| results.iter().find(|it| it.name == name).unwrap().met;
        assert_eq!(met("handler / (curl | openssl)"), Some(true));
        assert_eq!(met("handler / curl alone"), Some(false));
        assert_eq!(met("exec to first answer, ms"), Some(true));
        assert_eq!(met("curl alone, MB/s"), None);
    }
}
