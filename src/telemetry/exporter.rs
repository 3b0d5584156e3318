//! The exporter's thread: takes batches from the queue and has them sent to Application Insights. It has a runtime of its own, so that
//! no upload, however slow, meets a request.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use custom_handler::console;
use futures::FutureExt;
use opentelemetry::KeyValue;
use opentelemetry_application_insights::Exporter;
use opentelemetry_sdk::{
    logs::{LogBatch, LogExporter},
    metrics::exporter::PushMetricExporter,
    trace::SpanExporter,
};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    client::Client,
    connection::{ConnectionError, Destination, identity},
    losses::Losses,
    queue::{Item, Queue},
    rows::Rows,
    sign_in::SignIn,
    text::{LONGEST_ROLE, presentable},
};
use crate::settings::TelemetrySettings;

/// How long the first item of a batch waits for others. What a kill loses is this and an upload.
pub const GATHER: Duration = Duration::from_millis(500);
/// How long the end of the process waits for what is left.
const LAST_WORD: Duration = Duration::from_millis(1_200);

/// The thread, as the rest of the front sees it.
#[derive(Debug)]
pub struct Telemetry {
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    queue: Arc<Queue>,
    losses: Arc<Losses>,
    /// Items of the batch that is being sent.
    under_way: Arc<AtomicU64>,
    stop: CancellationToken,
    done: mpsc::Receiver<()>,
}

/// What the thread works with.
struct Uploads {
    exporter: Exporter<Client>,
    client: Client,
    rows: Rows,
    queue: Arc<Queue>,
    losses: Arc<Losses>,
    under_way: Arc<AtomicU64>,
    stop: CancellationToken,
}

/// Role and instance, under the names the exporter makes tags of.
pub(super) fn names(settings: &TelemetrySettings) -> Vec<KeyValue> {
    let name = |text: &str| presentable(text, LONGEST_ROLE).into_owned();
    vec![
        KeyValue::new("service.name", name(&settings.role_name)),
        KeyValue::new("service.instance.id", name(&settings.role_instance)),
    ]
}

impl Telemetry {
    /// No exporter: lines go to the console alone.
    pub(super) fn none() -> Self {
        Self { running: None }
    }

    /// Starts the thread.
    ///
    /// # Errors
    /// What cannot be used of the connection string or of the authentication string.
    pub(super) fn start(
        settings: &TelemetrySettings,
        connection_string: &str,
        target: &str,
    ) -> Result<(Self, Arc<Queue>), ConnectionError> {
        let destination = Destination::read(connection_string)?;
        let sign_in = settings.authentication_string.as_deref().map(identity).transpose()?;
        let sign_in = sign_in.map(SignIn::new).transpose().map_err(|_| ConnectionError::NoIdentity)?;
        let (stop, losses) = (CancellationToken::new(), Arc::new(Losses::new(console::err)));
        let client = Client::new(&destination, sign_in, stop.clone())?;
        let exporter = Exporter::new_from_connection_string(destination.connection_string.secret(), client.clone());
        let uploads = Uploads {
            exporter: exporter.map_err(|_| ConnectionError::Exporter)?,
            client,
            rows: Rows::new(names(settings), target),
            queue: Arc::new(Queue::new(Arc::clone(&losses))),
            losses: Arc::clone(&losses),
            under_way: Arc::default(),
            stop: stop.clone(),
        };
        let (queue, under_way) = (Arc::clone(&uploads.queue), Arc::clone(&uploads.under_way));
        let done = spawn(uploads).map_err(|_| ConnectionError::Thread)?;
        let running = Running { queue: Arc::clone(&queue), losses, under_way, stop, done };
        Ok((Self { running: Some(running) }, queue))
    }

    /// Sends what is left, for a little while, and tells how much was lost. Blocks: not for a task.
    pub fn stop(self) {
        let Some(running) = self.running else { return };
        running.stop.cancel();
        let is_done = running.done.recv_timeout(LAST_WORD).is_ok();
        let left = running.queue.close() as u64;
        // The thread is left alone: it ends with the process.
        let cut = if is_done { 0 } else { running.under_way.load(Ordering::Relaxed) };
        running.losses.finish(left + cut);
    }
}

/// A thread with a runtime of its own; the receiver hears of its end.
fn spawn(uploads: Uploads) -> io::Result<mpsc::Receiver<()>> {
    let (done, is_done) = mpsc::sync_channel(1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new().name("telemetry".to_owned()).spawn(move || {
        runtime.block_on(uploads.run());
        let _ = done.send(());
    })?;
    Ok(is_done)
}

impl Uploads {
    async fn run(self) {
        while !self.stop.is_cancelled() {
            self.wait().await;
            while self.queue.len() > 0 {
                let is_taken = self.upload().await;
                if self.stop.is_cancelled() && !is_taken {
                    return;
                }
                if self.queue.len() < super::queue::BATCH {
                    break;
                }
            }
            self.losses.settle();
        }
        while self.queue.len() > 0 && self.upload().await {}
    }

    /// Waits for a first item, then for others. A loss that is not told to its end wakes it, too.
    async fn wait(&self) {
        let news = async {
            if self.queue.len() == 0 {
                self.queue.news().await;
            }
            if self.queue.len() < super::queue::BATCH {
                let _ = timeout(GATHER, self.queue.full()).await;
            }
        };
        let overdue = async {
            if !self.losses.is_open() {
                std::future::pending::<()>().await;
            }
            sleep(GATHER).await;
        };
        tokio::select! {
            () = news => {}
            () = overdue => {}
            () = self.stop.cancelled() => {}
        }
    }

    /// Sends a batch; true when all of it was taken.
    async fn upload(&self) -> bool {
        let (mut records, mut spans, mut gauges) = (Vec::new(), Vec::new(), Vec::new());
        let batch = self.queue.take();
        self.under_way.store(batch.len() as u64, Ordering::Relaxed);
        for item in batch {
            match item {
                Item::Line(line) => records.push(self.rows.record(line)),
                Item::Call(call) => spans.push(self.rows.span(call)),
                Item::Gauges(metrics) => gauges.push(metrics),
            }
        }
        let mut is_taken = true;
        let records: Vec<_> = records.iter().map(|it| (it, self.rows.scope())).collect();
        if !records.is_empty() {
            is_taken &= self.send(records.len(), LogExporter::export(&self.exporter, LogBatch::new(&records))).await;
        }
        if !spans.is_empty() {
            is_taken &= self.send(spans.len(), SpanExporter::export(&self.exporter, spans)).await;
        }
        for metrics in gauges {
            is_taken &= self.send(1, PushMetricExporter::export(&self.exporter, &metrics)).await;
        }
        if is_taken {
            self.losses.taken();
        }
        is_taken
    }

    /// Has the exporter send so many items. A panic of it costs these, and no more.
    async fn send(&self, items: usize, export: impl Future) -> bool {
        let items = items as u64;
        self.client.begin(items);
        let outcome = std::panic::AssertUnwindSafe(export).catch_unwind().await;
        let (lost, cause) = self.client.end();
        self.under_way.fetch_sub(items, Ordering::Relaxed);
        let cause = if outcome.is_ok() { cause } else { "the exporter panicked".to_owned() };
        self.losses.add(lost, &cause);
        lost == 0
    }
}
