//! `lab bench blob`: streaming a large blob beside `curl | openssl dgst`, and the small costs around it; of one handler or of several.

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

use super::{Goal, Report, at_percentile, handler::Handler, median, ratio};
use crate::machine::{
    azurite::{Azurite, Ports},
    elf,
    storage::Storage,
    workspace::Workspace,
};
use incident_labs::blob::{INPUT_CONTAINER, RESULTS_CONTAINER};

const SCENARIO: &str = include_str!("../../../../load/bench/blob.toml");
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

/// What one handler did.
#[derive(Debug, Default)]
struct Samples {
    streaming_s: Vec<f64>,
    first_answer_ms: Vec<f64>,
    empty_ms: Vec<f64>,
    front_rss_mb: f64,
    worker_rss_mb: f64,
}

/// What the peers did in the same rounds.
#[derive(Debug, Default)]
struct Peers {
    curl_openssl_s: Vec<f64>,
    curl_s: Vec<f64>,
}

impl BlobBench {
    /// The scenario of the repository.
    ///
    /// # Errors
    /// When the file is not what this code expects.
    pub fn load() -> anyhow::Result<Self> {
        toml::from_str(SCENARIO).context("read load/bench/blob.toml")
    }

    /// Runs it in `folder`, telling `progress` each step. Handlers take turns in every round.
    ///
    /// # Errors
    /// When storage, a handler or a peer does not work.
    pub async fn run(&self, handlers: &[PathBuf], folder: &Path, progress: impl Fn(&str)) -> anyhow::Result<Report> {
        let libcs = handlers.iter().map(|it| libc(it)).collect::<anyhow::Result<Vec<_>>>()?;
        let environment = environment(handlers, &libcs).await?;
        progress("starting storage and making the blob");
        let run = Workspace::open(folder).await?;
        let azurite = Azurite::start(&run, Ports::Free).await?;
        let storage = Storage::open(azurite.account())?;
        self.fill(&storage, folder).await?;
        let measured = self.measure(handlers, &storage, progress).await;
        azurite.stop().await;
        let (samples, peers) = measured?;
        Ok(Report { environment, results: self.judge(&samples, &peers, &libcs) })
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

    async fn measure(
        &self,
        executables: &[PathBuf],
        storage: &Storage,
        progress: impl Fn(&str),
    ) -> anyhow::Result<(Vec<Samples>, Peers)> {
        let mut all: Vec<Samples> = executables.iter().map(|_| Samples::default()).collect();
        for _ in 0..self.rounds {
            for (executable, samples) in executables.iter().zip(&mut all) {
                let (_, first_answer) = Handler::start(executable, storage.account()).await?;
                samples.first_answer_ms.push(first_answer.as_secs_f64() * 1000.0);
            }
        }
        let mut handlers = Vec::new();
        progress("warming up");
        for (executable, samples) in executables.iter().zip(&mut all) {
            let (handler, _) = Handler::start(executable, storage.account()).await?;
            let (front, worker) = handler.rss_bytes().await?;
            (samples.front_rss_mb, samples.worker_rss_mb) = (front as f64 / 1e6, worker as f64 / 1e6);
            handler.invoke(LARGE).await?;
            handlers.push(handler);
        }
        let mut peers = Peers::default();
        let url = storage.blob(INPUT_CONTAINER, LARGE).url().to_string();
        let curl = format!("curl --silent --fail --noproxy '*' '{url}'");
        for round in 1..=self.rounds {
            progress(&format!("round {round} of {}", self.rounds));
            for (handler, samples) in handlers.iter().zip(&mut all) {
                samples.streaming_s.push(handler.invoke(LARGE).await?.as_secs_f64());
            }
            peers.curl_openssl_s.push(shell(&format!("{curl} | openssl dgst -sha256")).await?.as_secs_f64());
            peers.curl_s.push(shell(&format!("{curl} --output /dev/null")).await?.as_secs_f64());
        }
        progress("empty blobs");
        for _ in 0..self.empty_blobs {
            for (handler, samples) in handlers.iter().zip(&mut all) {
                samples.empty_ms.push(handler.invoke(EMPTY).await?.as_secs_f64() * 1000.0);
            }
        }
        Ok((all, peers))
    }

    fn judge(&self, all: &[Samples], peers: &Peers, libcs: &[&str]) -> Vec<Goal> {
        let mut results = vec![
            self.throughput("curl | openssl dgst -sha256, MB/s", &peers.curl_openssl_s),
            self.throughput("curl alone, MB/s", &peers.curl_s),
        ];
        for (samples, libc) in all.iter().zip(libcs) {
            results.extend(self.judge_one(samples, peers).into_iter().map(|it| match all {
                [_] => it,
                _ => Goal { name: format!("{libc}: {}", it.name), ..it },
            }));
        }
        if let [first, others @ ..] = all {
            for (samples, libc) in others.iter().zip(&libcs[1..]) {
                let name = format!("{libc} / {}, throughput", libcs[0]);
                results.push(Goal::bare(name, ratio(&samples.streaming_s, &first.streaming_s)));
            }
        }
        results
    }

    fn judge_one(&self, samples: &Samples, peers: &Peers) -> Vec<Goal> {
        let goals = &self.goals;
        let against = |peer: &[f64]| ratio(&samples.streaming_s, peer);
        vec![
            self.throughput("handler, streaming, MB/s", &samples.streaming_s),
            Goal::at_least("handler / (curl | openssl)", against(&peers.curl_openssl_s), goals.vs_curl_and_openssl),
            Goal::at_least("handler / curl alone", against(&peers.curl_s), goals.vs_curl),
            Goal::below("exec to first answer, ms", median(&samples.first_answer_ms), goals.first_answer_ms),
            Goal::below("front, idle RSS, MB", samples.front_rss_mb, goals.idle_rss_mb),
            Goal::below("worker, idle RSS, MB", samples.worker_rss_mb, goals.idle_rss_mb),
            Goal::bare("empty blob, envelope to reply, p50 ms", median(&samples.empty_ms)),
            Goal::bare("empty blob, envelope to reply, p99 ms", at_percentile(&samples.empty_ms, 99.0)),
        ]
    }

    fn throughput(&self, name: &str, seconds: &[f64]) -> Goal {
        Goal::bare(name, (self.blob_mib * MIB) as f64 / 1e6 / median(seconds))
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

/// The C library a program is linked with, for its rows.
fn libc(handler: &Path) -> anyhow::Result<&'static str> {
    let binary = std::fs::read(handler).with_context(|| format!("read {}", handler.display()))?;
    Ok(elf::libc(&binary).unwrap_or("static"))
}

async fn environment(handlers: &[PathBuf], libcs: &[&str]) -> anyhow::Result<Vec<(String, String)>> {
    let mut rows = Vec::new();
    for (handler, libc) in handlers.iter().zip(libcs) {
        rows.push((
            "handler".to_owned(),
            format!("{}, {libc}", version(&handler.display().to_string(), "--version").await?),
        ));
    }
    for (name, program, argument) in [
        ("curl", "curl", "--version"),
        ("openssl", "openssl", "version"),
        ("node", "node", "--version"),
        ("kernel", "uname", "-r"),
    ] {
        rows.push((name.to_owned(), version(program, argument).await?));
    }
    Ok(rows)
}

async fn version(program: &str, argument: &str) -> anyhow::Result<String> {
    let output = Command::new(program).arg(argument).output().await;
    let output = output.with_context(|| format!("run {program} {argument}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().next().unwrap_or_default();
    Ok(line.split(" (").next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(streaming_s: [f64; 3]) -> Samples {
        Samples { streaming_s: streaming_s.into(), first_answer_ms: vec![10.0], ..Samples::default() }
    }

    fn peers() -> Peers {
        Peers { curl_openssl_s: vec![2.0, 2.0, 2.0], curl_s: vec![0.5, 1.0, 2.0] }
    }

    #[test]
    fn a_goal_is_met_or_missed_by_the_median_of_the_rounds() {
        let results = BlobBench::load().unwrap().judge(&[samples([1.0, 2.0, 4.0])], &peers(), &["glibc"]);
        let met = |name: &str| results.iter().find(|it| it.name == name).unwrap().met;
        assert_eq!(met("handler / (curl | openssl)"), Some(true));
        assert_eq!(met("handler / curl alone"), Some(false));
        assert_eq!(met("exec to first answer, ms"), Some(true));
        assert_eq!(met("curl alone, MB/s"), None);
    }

    #[test]
    fn several_handlers_are_named_and_compared_with_the_first() {
        let all = [samples([1.0, 2.0, 4.0]), samples([2.0, 2.0, 2.0])];
        let results = BlobBench::load().unwrap().judge(&all, &peers(), &["glibc", "static"]);
        let value = |name: &str| results.iter().find(|it| it.name == name).unwrap().value;
        assert!((value("static: handler / (curl | openssl)") - 1.0).abs() < 1e-9);
        assert!((value("glibc: handler / curl alone") - 0.5).abs() < 1e-9);
        assert!((value("static / glibc, throughput") - 1.0).abs() < 1e-9);
    }
}
