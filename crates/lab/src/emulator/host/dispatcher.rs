//! The host's `HttpFunctionInvocationDispatcher`: starts the handler, watches it, restarts it, and gives up after the
//! third error in a chain.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use tokio::{process::Child, time::Instant};

use super::{
    Host, State,
    exception::Exception,
    http_client::{self, Request},
    invocation,
    line::{Level, LogLine},
    worker_channel::{WorkerChannel, each_line},
};
use custom_handler::{clock, exit_code};

const DISPATCHER: &str = "Microsoft.Azure.WebJobs.Script.Workers.HttpFunctionInvocationDispatcher";
pub(super) const HTTP_WORKER_SERVICE: &str = "Microsoft.Azure.WebJobs.Script.Workers.Http.DefaultHttpWorkerService";

/// Between two readiness probes.
const PROBE_INTERVAL: Duration = Duration::from_millis(25);
/// Counted errors after which the host gives up.
pub(super) const ERROR_THRESHOLD: u32 = 3;
/// An error starts a new chain if the one before is older.
const CHAIN_GAP: Duration = Duration::from_secs(30 * 60);
/// How long the host waits for a process it killed.
const KILL_WAIT: Duration = Duration::from_secs(1);
/// How long the last lines of a dead process may take to arrive: a child of it may hold the pipes open.
const DRAIN_WAIT: Duration = Duration::from_millis(250);

/// An exit code the host treats as a wish to be started again.
const RESTART_EXIT_CODE: i32 = 200;

#[derive(Debug)]
pub(super) struct CountedError {
    at: Instant,
    created: String,
    worker_id: String,
}

impl Host {
    /// Starts the handler and returns at once; readiness is awaited in the background.
    pub(super) fn start_channel(&self) {
        let inner = &self.inner;
        let channel = Arc::new(WorkerChannel::new());
        *inner.channel.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&channel));
        inner.log.write(&channel.channel_category(), Level::Debug, "Initiating Worker Process start up");
        match channel.start(&inner.options, inner.port, &inner.log) {
            Ok(child) => {
                inner.tasks.spawn(self.clone().watch(Arc::clone(&channel), child));
                inner.log.write(&channel.channel_category(), Level::Debug, "Initializing HttpWorker.");
                inner.tasks.spawn(self.clone().await_readiness(channel));
            }
            Err(exception) => {
                // The real host drops this task with its exception: nothing is restarted, the state stays as it is.
                channel.exited.cancel();
                let file = inner.options.executable.display();
                let message = format!("Failed to start Worker Channel. Process fileName: {file}");
                inner.log.record(LogLine::new(channel.process_category(), Level::Error, message).because(exception));
            }
        }
    }

    async fn await_readiness(self, channel: Arc<WorkerChannel>) {
        let inner = &self.inner;
        let answered = tokio::select! {
            biased;
            // A disposed channel reports nothing any more.
            () = channel.disposed.cancelled() => return,
            answered = self.probe() => answered,
        };
        if answered {
            inner.log.write(&channel.channel_category(), Level::Debug, "HttpWorker is Initialized.");
            inner.log.write(DISPATCHER, Level::Debug, format!("Adding http worker channel. workerId:{}", channel.id));
            inner.state.send_replace(State::Initialized);
            inner.log.write(DISPATCHER, Level::Information, "Worker process started and initialized.");
            return;
        }
        let timed_out = Exception::new("System.TimeoutException", "Initializing HttpWorker timed out.");
        let message = format!("Failed to start http worker process. workerId:{}", channel.id);
        inner.log.record(LogLine::new(channel.channel_category(), Level::Error, message).because(timed_out.clone()));
        self.worker_error(&channel, &timed_out).await;
    }

    /// Asks for `/` until anything answers. As in the host, the budget counts the pauses only, so an answer that never
    /// comes is waited for on the client's own time-out.
    async fn probe(&self) -> bool {
        let Self { inner } = self;
        let mut waited = Duration::ZERO;
        loop {
            let traceparent = inner.options.telemetry_configured.then(|| invocation::traceparent(None));
            let request = Request { method: "GET", path: "/".into(), headers: Vec::new(), traceparent, body: None };
            let answer = http_client::send(inner.port, request);
            let client_timeout = inner.options.function_timeout.saturating_add(Duration::from_secs(60));
            match tokio::time::timeout(client_timeout, answer).await {
                Ok(Err(exception)) if is_socket_error(&exception) => {
                    let message = format!(
                        "Waiting for HttpWorker to be initialized. Request to: http://127.0.0.1:{}/ failing with \
                         exception message: {}",
                        inner.port, exception.message
                    );
                    inner.log.write(HTTP_WORKER_SERVICE, Level::Debug, message);
                }
                Ok(_) => return true,
                Err(_) => return false,
            }
            if waited >= inner.options.initialization_timeout {
                return false;
            }
            tokio::time::sleep(PROBE_INTERVAL).await;
            waited += PROBE_INTERVAL;
        }
    }

    /// Logs what the process prints and how it ends, and acts on its end.
    async fn watch(self, channel: Arc<WorkerChannel>, mut child: Child) {
        let inner = &self.inner;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let (log, teller) = (inner.log.clone(), Arc::clone(&channel));
        let console = inner.tasks.spawn(async move {
            tokio::join!(
                each_line(stdout, |line| teller.printed(line, &log)),
                each_line(stderr, |line| teller.complained(line, &log)),
            )
        });
        let status = tokio::select! {
            status = child.wait() => status,
            () = channel.disposed.cancelled() => child.kill().await.and(child.try_wait()).map(Option::unwrap_or_default),
        };
        let code = status.map_or(-1, exit_code);
        let _ = tokio::time::timeout(DRAIN_WAIT, console).await;
        let pid = channel.pid.get().copied().unwrap_or_default();
        inner.log.write(
            &channel.process_category(),
            Level::Debug,
            format!("Process {pid} has exited with code {code}."),
        );
        channel.exited.cancel();
        if !channel.disposed.is_cancelled() {
            self.process_exited(&channel, pid, code).await;
        }
    }

    async fn process_exited(&self, channel: &Arc<WorkerChannel>, pid: u32, code: i32) {
        let inner = &self.inner;
        match code {
            // Hosts before 4.1047 take this as the end of a duty: nothing is restarted, and later calls are refused.
            0 => {}
            RESTART_EXIT_CODE => {
                let message = "Language Worker Process exited and needs to be restarted.";
                inner.log.write(&channel.process_category(), Level::Information, message);
                let handling = format!("Handling WorkerRestartEvent for workerId:{}", channel.id);
                inner.log.write(DISPATCHER, Level::Debug, handling);
                self.restart(Some(channel)).await;
            }
            code => {
                let exception = channel.exit_exception(&inner.options.executable.display().to_string(), code);
                let message = format!("Language Worker Process exited. Pid={pid}.");
                inner
                    .log
                    .record(LogLine::new(channel.process_category(), Level::Error, message).because(exception.clone()));
                self.worker_error(channel, &exception).await;
            }
        }
    }

    async fn worker_error(&self, channel: &Arc<WorkerChannel>, exception: &Exception) {
        let message = format!("Handling WorkerErrorEvent for workerId:{}. Failed with: {exception}", channel.id);
        self.inner.log.write(DISPATCHER, Level::Debug, message);
        self.count_error(channel);
        self.restart(Some(channel)).await;
    }

    fn count_error(&self, channel: &WorkerChannel) {
        let mut errors = self.inner.errors.lock().unwrap_or_else(PoisonError::into_inner);
        if errors.last().is_some_and(|last| last.at.elapsed() > CHAIN_GAP) {
            for CountedError { created, worker_id, .. } in errors.drain(..).rev() {
                let message = format!("Popping out errorEvent createdAt:{created} workerId:{worker_id}");
                self.inner.log.write(DISPATCHER, Level::Debug, message);
            }
        }
        let created = clock::timestamp(clock::utc_now());
        errors.push(CountedError { at: Instant::now(), created, worker_id: channel.id.clone() });
    }

    /// Kills the handler, if it still runs, and starts it again unless the host has seen too many errors.
    ///
    /// `of` is the channel whose end asks for it; if another one has taken its place, the wish is outdated.
    pub(super) async fn restart(&self, of: Option<&Arc<WorkerChannel>>) {
        let inner = &self.inner;
        let _one_at_a_time = inner.restarting.lock().await;
        let current = self.channel();
        if inner.closing.is_cancelled() || of.is_some_and(|of| current.as_ref().is_some_and(|it| it.id != of.id)) {
            return;
        }
        inner.state.send_replace(State::WorkerProcessRestarting);
        if let Some(current) = current {
            inner.log.write(DISPATCHER, Level::Debug, format!("Disposing channel for workerId: {}", current.id));
            self.dispose(&current).await;
        }
        let errors = inner.errors.lock().unwrap_or_else(PoisonError::into_inner).len();
        if errors < ERROR_THRESHOLD as usize {
            inner.log.write(DISPATCHER, Level::Debug, "Restarting http invoker channel");
            self.start_channel();
        } else {
            let message = "Exceeded http worker restart retry count. Shutting down Functions Host";
            inner.log.write(DISPATCHER, Level::Error, message);
            self.stop(message);
        }
    }

    async fn dispose(&self, channel: &WorkerChannel) {
        channel.disposed.cancel();
        if tokio::time::timeout(KILL_WAIT, channel.exited.cancelled()).await.is_err() {
            let pid = channel.pid.get().copied().unwrap_or_default();
            let message = format!("Worker process {pid} has not exited despite waiting for 1000 ms");
            self.inner.log.write(&channel.process_category(), Level::Warning, message);
        }
    }

    /// Waits until the handler can take invocations. If that takes too long the host stops itself, and the invocation
    /// goes on to fail at the call.
    pub(super) async fn await_initialized(&self) {
        const CATEGORY: &str = "Microsoft.Azure.WebJobs.Script.Description.WorkerFunctionInvoker";
        let inner = &self.inner;
        let mut state = inner.state.subscribe();
        let limit = inner.options.initialization_timeout.saturating_mul(ERROR_THRESHOLD + 1);
        tokio::select! {
            _ = state.wait_for(|state| *state == State::Initialized) => {}
            _ = self.stopped() => {}
            () = inner.closing.cancelled() => {}
            () = tokio::time::sleep(limit) => {
                let state = *inner.state.borrow();
                let message = format!(
                    "Final functionDispatcher state: {state:?}. Initialization timed out and host is shutting down"
                );
                inner.log.write(CATEGORY, Level::Error, message.clone());
                self.stop(&message);
            }
        }
    }

    /// Ends the handler as the host does when it stops: without warning.
    pub(super) async fn dispose_dispatcher(&self) {
        let inner = &self.inner;
        inner.closing.cancel();
        let _one_at_a_time = inner.restarting.lock().await;
        inner.log.write(DISPATCHER, Level::Debug, "Disposing HttpFunctionInvocationDispatcher");
        if let Some(channel) = self.channel() {
            self.dispose(&channel).await;
        }
        inner.state.send_replace(State::Disposed);
    }
}

/// Tells "not listening yet" from a bad answer, which proves that the handler listens.
fn is_socket_error(exception: &Exception) -> bool {
    exception.inner.as_ref().is_some_and(|inner| inner.kind == "System.Net.Sockets.SocketException")
}
