//! Keeps a worker running: start, limit, ping, sample, explain its end, start again.

use std::{
    io,
    os::{fd::OwnedFd, unix::net::UnixStream as StdUnixStream},
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use futures::{SinkExt, Stream, StreamExt};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    net::UnixStream,
    process::Child,
    sync::{mpsc, watch},
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    FAREWELL, cgroup,
    connection::Connection,
    environment::of_worker,
    limit::{Counted, MemoryLimit},
    memory::PrivateBytes,
    protocol::{FromWorker, ToWorker, typed},
};
use crate::settings::process_environment;
use custom_handler::{console, exit_code};

const PING_EVERY: Duration = Duration::from_secs(1);
/// Silence after which a worker counts as hung.
const LONGEST_SILENCE: Duration = Duration::from_secs(10);
pub(super) const SAMPLE_EVERY: Duration = Duration::from_millis(50);
const SAMPLES_PER_ROW: u32 = 20;
/// Time for a worker to have its threads and limits.
const START_TIME: Duration = Duration::from_secs(30);
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A worker that lived this long was healthy: its end is a first one again.
const HEALTHY: Duration = Duration::from_secs(60);
/// Exit code of a process that was killed: 128 + SIGKILL.
pub(super) const KILLED: i32 = 137;

/// Application Insights turns a gauge of this name into a performanceCounters row, category Process.
const PRIVATE_BYTES: &str = r"\Process(??APP_WIN32_PROC??)\Private Bytes";
/// The front's own, under a name of ours: the host's memory has the other one already.
const FRONT_BYTES: &str = "handler.front_rss";

/// The one owner of the worker process.
pub(super) struct Supervisor {
    pub(super) limit_setting: Option<u64>,
    pub(super) arguments: Vec<String>,
    pub(super) current: watch::Sender<Option<Arc<Connection>>>,
    pub(super) stop: CancellationToken,
    pub(super) tasks: TaskTracker,
}

/// A worker that is up.
struct Life {
    child: Child,
    pid: u32,
    generation: u32,
    connection: Arc<Connection>,
    /// The copying of its output and the reading of its messages; both end with it.
    output: TaskTracker,
    born: Instant,
    /// What the kernel had counted when it was born.
    counted: Option<Counted>,
}

/// How a life ended.
enum End {
    Exited(io::Result<ExitStatus>),
    Unresponsive,
    Stopped,
}

impl Supervisor {
    pub(super) async fn run(self) {
        cgroup::remove_leftovers();
        let mut limit = MemoryLimit::establish(self.limit_setting).await;
        tracing::info!("worker memory limit {limit}");
        let mut pauses = Pauses::default();
        for generation in 1_u32.. {
            let born = Instant::now();
            let stopped = match self.start(generation, &mut limit).await {
                Ok(life) => self.live(life, &limit).await,
                // The end of everything reached it first; that is no failure.
                Err(_) if self.stop.is_cancelled() => true,
                Err(error) => {
                    console::err(&format!("worker process could not be started: {error}"));
                    false
                }
            };
            if stopped || self.stop.is_cancelled() {
                return;
            }
            console::err("warn: Restarting worker process after unexpected exit");
            let pause = pauses.next(born.elapsed());
            if self.stop.run_until_cancelled(sleep(pause)).await.is_none() {
                return;
            }
        }
    }

    async fn start(&self, generation: u32, limit: &mut MemoryLimit) -> io::Result<Life> {
        let (ours, theirs) = StdUnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let mut child = limit
            .command()?
            .arg("--worker")
            .args(&self.arguments)
            .env_clear()
            .envs(of_worker(&process_environment()))
            // glibc returns freed blocks at once instead of keeping them; musl does so anyway.
            .env("MALLOC_MMAP_THRESHOLD_", "1048576")
            // A failed allocation inside a backtrace hangs.
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C in a terminal is the front's to handle.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let pid = child.id().ok_or_else(|| io::Error::other("it ended at once"))?;
        let output = TaskTracker::new();
        output.spawn(copy_lines(child.stdout.take(), |line| tracing::info!(target: "worker", "{line}")));
        output.spawn(copy_lines(child.stderr.take(), tell_trouble));
        limit.admit(pid);

        let (mut from_worker, to_worker) = typed::<FromWorker, ToWorker>(UnixStream::from_std(ours)?);
        let (outbox, messages) = mpsc::unbounded_channel();
        let connection = Arc::new(Connection::new(outbox));
        connection.send(ToWorker::Start { generation, memory_limit_bytes: Some(limit.bytes()) });
        self.tasks.spawn(write_messages(messages, to_worker, self.stop.clone()));
        match timeout(START_TIME, from_worker.next()).await {
            Ok(Some(ready @ FromWorker::Ready)) => connection.receive(ready),
            Ok(_) => {
                let status = child.wait().await?;
                output.close();
                let _ = timeout(FAREWELL, output.wait()).await;
                return Err(io::Error::other(format!("it exited with code {}", exit_code(status))));
            }
            Err(_) => return Err(io::Error::other("it was not ready in 30 s")),
        }
        output.spawn(read_messages(from_worker, Arc::clone(&connection)));
        output.close();
        let counted = limit.begin_to_count();
        Ok(Life { child, pid, generation, connection, output, born: Instant::now(), counted })
    }

    /// Announces the worker, waits for its end and explains it. True when the front is shutting down.
    async fn live(&self, mut life: Life, limit: &MemoryLimit) -> bool {
        console::out("Worker process started");
        tracing::info!(worker.generation = life.generation, worker.pid = life.pid, "worker is up");
        self.current.send_replace(Some(Arc::clone(&life.connection)));
        let ended = async {
            tokio::select! {
                status = life.child.wait() => End::Exited(status),
                () = silence(&life.connection) => End::Unresponsive,
                () = sample(life.pid, limit) => End::Exited(life.child.wait().await),
            }
        };
        let end = stop_or(&self.stop, ended).await;
        self.current.send_replace(None);
        match end {
            End::Exited(status) => {
                let code = status.map_or(-1, exit_code);
                let _ = timeout(FAREWELL, life.output.wait()).await;
                console::err(&format!("Worker process exited with code {code}"));
                life.connection.close(&format!("worker exited {code}"));
                tracing::info!(
                    worker.generation = life.generation,
                    worker.pid = life.pid,
                    lived_ms = life.born.elapsed().as_millis() as u64,
                    "{}",
                    explain(code, life.counted.as_ref(), limit)
                );
                false
            }
            End::Unresponsive => {
                console::err("worker unresponsive: no answer to a ping for 10 s, killing it");
                let _ = life.child.kill().await;
                life.connection.close("worker unresponsive");
                false
            }
            End::Stopped => {
                // The socket is closed by now; a worker that does not see it is killed when the child is dropped.
                let _ = timeout(FAREWELL, life.child.wait()).await;
                life.connection.close("handler shutting down");
                true
            }
        }
    }
}

/// A worker that was told to stop may be gone before its front looks: its end is no news then, so the stop comes first.
async fn stop_or(stop: &CancellationToken, ended: impl Future<Output = End>) -> End {
    tokio::select! {
        biased;
        () = stop.cancelled() => End::Stopped,
        end = ended => end,
    }
}

/// Why a worker ended, as far as the kernel tells.
fn explain(code: i32, counted: Option<&Counted>, limit: &MemoryLimit) -> String {
    match (code, counted) {
        (KILLED, None) => format!("the worker was killed; its memory limit is {limit}"),
        (KILLED, Some(counted)) => limit
            .kill_since(counted)
            .unwrap_or_else(|| "the worker was killed, but not by the kernel for its memory".to_owned()),
        _ => "the worker ended by itself".to_owned(),
    }
}

/// Pauses before a restart: none the first time, then 0.5 s doubling to 10 s, from the start after 60 s of health.
#[derive(Default)]
struct Pauses(Option<Duration>);

impl Pauses {
    fn next(&mut self, lived: Duration) -> Duration {
        let last = self.0.filter(|_| lived < HEALTHY);
        let pause = match last {
            None => Duration::ZERO,
            Some(Duration::ZERO) => FIRST_PAUSE,
            Some(last) => (last * 2).min(LONGEST_PAUSE),
        };
        self.0 = Some(pause);
        pause
    }
}

async fn copy_lines(from: Option<impl AsyncRead + Unpin>, to: fn(&str)) {
    let Some(from) = from else { return };
    let mut lines = BufReader::new(from).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        to(&line);
    }
}

/// A line of the worker's stderr, as severe as the host would take it for.
fn tell_trouble(line: &str) {
    if line.to_ascii_lowercase().contains("warn") {
        tracing::warn!(target: "worker", "{line}");
    } else {
        tracing::error!(target: "worker", "{line}");
    }
}

/// Ends, and with it the worker's end of file comes, when the front stops or the connection is dropped.
async fn write_messages(
    mut messages: mpsc::UnboundedReceiver<ToWorker>,
    mut to_worker: impl futures::Sink<ToWorker, Error = io::Error> + Unpin,
    stop: CancellationToken,
) {
    while let Some(Some(message)) = stop.run_until_cancelled(messages.recv()).await {
        if to_worker.send(message).await.is_err() {
            return;
        }
    }
}

async fn read_messages(mut from_worker: impl Stream<Item = FromWorker> + Unpin, connection: Arc<Connection>) {
    while let Some(message) = from_worker.next().await {
        connection.receive(message);
    }
}

/// Pings; returns when nothing has been heard for too long.
async fn silence(connection: &Connection) {
    let mut ticks = interval(PING_EVERY);
    loop {
        ticks.tick().await;
        if connection.last_heard().elapsed() >= LONGEST_SILENCE {
            return;
        }
        connection.send(ToWorker::Ping);
    }
}

/// Samples the worker's memory and emits each second's maximum, so that the peak before a kill survives. Returns when
/// there is nothing left to sample; kills the worker first where the front is what enforces the limit.
async fn sample(pid: u32, limit: &MemoryLimit) {
    let (Ok(mut worker), Ok(mut front)) = (PrivateBytes::of(pid), PrivateBytes::of(std::process::id())) else { return };
    let mut ticks = interval(SAMPLE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let mut peak = 0;
        for _ in 0..SAMPLES_PER_ROW {
            ticks.tick().await;
            let Ok(bytes) = worker.sample() else {
                emit(peak, &mut front);
                return;
            };
            peak = peak.max(bytes);
            if limit.is_watched_by_front() && bytes >= limit.bytes() {
                kill(pid);
            }
        }
        emit(peak, &mut front);
    }
}

fn emit(worker_bytes: u64, front: &mut PrivateBytes) {
    let worker_bytes = (worker_bytes > 0).then_some(worker_bytes);
    // One event for both: they are of one moment, and one upload.
    let front_bytes = front.sample().ok();
    tracing::info!(target: "gauge", of = "memory", { FRONT_BYTES } = front_bytes, { PRIVATE_BYTES } = worker_bytes);
}

pub(super) fn kill(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_worker_that_was_told_to_stop_and_is_gone_was_stopped() {
        let stop = CancellationToken::new();
        stop.cancel();
        for _ in 0..64 {
            let gone = async { End::Exited(Ok(ExitStatus::default())) };
            assert!(matches!(stop_or(&stop, gone).await, End::Stopped));
        }
    }

    #[test]
    fn a_restart_comes_at_once_then_later_and_later_and_at_once_again_after_health() {
        let mut pauses = Pauses::default();
        let short = Duration::from_secs(1);
        let seconds: Vec<f32> = (0..8).map(|_| pauses.next(short).as_secs_f32()).collect();
        assert_eq!(seconds, [0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]);
        assert_eq!(pauses.next(HEALTHY), Duration::ZERO);
        assert_eq!(pauses.next(short), FIRST_PAUSE);
    }
}
