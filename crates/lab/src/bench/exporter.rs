//! `lab bench exporter`: what sending telemetry costs a request. One handler twice, with and without a connection string, in turns.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, ensure};
use axum::{Router, body::Bytes, extract::DefaultBodyLimit};
use serde::Deserialize;
use tokio::{net::TcpListener, time::Instant};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::{Goal, Report, handler::Handler, median, storm};
use crate::machine::{
    azurite::{Azurite, Ports},
    storage::Storage,
    workspace::Workspace,
};
use incident_labs::{
    blob::{INPUT_CONTAINER, RESULTS_CONTAINER},
    settings::CONNECTION_STRING,
};

const SCENARIO: &str = include_str!("../../../../load/bench/exporter.toml");
const EMPTY: &str = "empty";

/// What `load/bench/exporter.toml` asks for.
#[derive(Clone, Debug, Deserialize)]
pub struct ExporterBench {
    /// Rounds, each with a block of every contender and kind of call.
    pub rounds: usize,
    /// How long a block is.
    pub block_ms: u64,
    /// Iterations in the history of an episode.
    pub iterations: u64,
    goals: Goals,
}

#[derive(Clone, Debug, Deserialize)]
struct Goals {
    ratio: f64,
}

/// Latencies of one contender, in ms.
#[derive(Debug, Default)]
struct Samples {
    empty: Vec<f64>,
    episode: Vec<f64>,
}

/// An endpoint that takes everything and looks at nothing.
struct Sink {
    connection_string: String,
    uploads: Arc<AtomicUsize>,
    _server: AbortOnDropHandle<()>,
}

impl ExporterBench {
    /// The scenario of the repository.
    ///
    /// # Errors
    /// When the file is not what this code expects.
    pub fn load() -> anyhow::Result<Self> {
        toml::from_str(SCENARIO).context("read load/bench/exporter.toml")
    }

    /// Runs it in `folder`, telling `progress` each step.
    ///
    /// # Errors
    /// When storage or a handler does not work, or nothing was sent.
    pub async fn run(&self, handler: &Path, folder: &Path, progress: impl Fn(&str)) -> anyhow::Result<Report> {
        progress("starting storage");
        let run = Workspace::open(folder).await?;
        let azurite = Azurite::start(&run, Ports::Free).await?;
        let storage = Storage::open(azurite.account())?;
        storage.ensure_container(INPUT_CONTAINER).await?;
        storage.ensure_container(RESULTS_CONTAINER).await?;
        storage.put(INPUT_CONTAINER, EMPTY, Vec::new(), None).await?;
        let measured = self.measure(handler, &storage, progress).await;
        azurite.stop().await;
        let (without, with) = measured?;
        let environment = vec![("handler".to_owned(), handler.display().to_string())];
        Ok(Report { environment, results: self.judge(&without, &with) })
    }

    async fn measure(
        &self,
        executable: &Path,
        storage: &Storage,
        progress: impl Fn(&str),
    ) -> anyhow::Result<(Samples, Samples)> {
        let sink = Sink::start().await?;
        let setting = [(CONNECTION_STRING, sink.connection_string.as_str())];
        let (without, _) = Handler::start_with(executable, storage.account(), &[]).await?;
        let (with, _) = Handler::start_with(executable, storage.account(), &setting).await?;
        let mut samples = (Samples::default(), Samples::default());
        let body = storm::body(self.iterations);
        for round in 0..=self.rounds {
            progress(&format!("round {round} of {}; round 0 is not counted", self.rounds));
            let mut turns = [(&without, &mut samples.0), (&with, &mut samples.1)];
            if round % 2 == 1 {
                turns.reverse();
            }
            for (handler, samples) in turns {
                let empty = self.block(async || handler.invoke(EMPTY).await).await?;
                let episode = self.block(async || handler.episode(&body).await).await?;
                if round > 0 {
                    samples.empty.extend(empty);
                    samples.episode.extend(episode);
                }
            }
        }
        ensure!(
            sink.uploads.load(Ordering::Relaxed) > self.rounds,
            "the handler sends no telemetry: is it an older one?"
        );
        Ok(samples)
    }

    /// Calls one after the other for the time of a block.
    async fn block(&self, call: impl AsyncFn() -> anyhow::Result<Duration>) -> anyhow::Result<Vec<f64>> {
        let (began, mut took) = (Instant::now(), Vec::new());
        while began.elapsed() < Duration::from_millis(self.block_ms) {
            took.push(call().await?.as_secs_f64() * 1000.0);
        }
        Ok(took)
    }

    fn judge(&self, without: &Samples, with: &Samples) -> Vec<Goal> {
        let mut results = Vec::new();
        for (name, without, with) in
            [("empty blob", &without.empty, &with.empty), ("episode", &without.episode, &with.episode)]
        {
            let (without, with) = (median(without), median(with));
            results.push(Goal::bare(format!("{name}, without the exporter, p50 ms"), without));
            results.push(Goal::bare(format!("{name}, with the exporter, p50 ms"), with));
            results.push(Goal::at_most(format!("{name}, with / without"), with / without, self.goals.ratio));
        }
        results
    }
}

impl Sink {
    async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        let uploads = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&uploads);
        let answer = move |_: Bytes| {
            counted.fetch_add(1, Ordering::Relaxed);
            std::future::ready(r#"{"itemsReceived":1,"itemsAccepted":1,"errors":[]}"#)
        };
        let router = Router::new().fallback(answer).layer(DefaultBodyLimit::disable());
        let server = TaskTracker::new().spawn(async {
            let _ = axum::serve(listener, router).await;
        });
        let connection_string = format!("InstrumentationKey=bench;IngestionEndpoint={endpoint}");
        Ok(Self { connection_string, uploads, _server: AbortOnDropHandle::new(server) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_of_the_medians_is_held_against_the_goal() {
        let samples = |empty: f64, episode: f64| Samples { empty: vec![empty; 3], episode: vec![episode; 3] };
        let results = ExporterBench::load().unwrap().judge(&samples(1.0, 1.0), &samples(1.04, 1.2));
        let met = |name: &str| results.iter().find(|it| it.name == name).unwrap().met;
        assert_eq!(met("empty blob, with / without"), Some(true));
        assert_eq!(met("episode, with / without"), Some(false));
        assert_eq!(met("episode, without the exporter, p50 ms"), None);
    }
}
