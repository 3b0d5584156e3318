//! The front's side of one worker's life: what is in flight there, and how it is told when that life ends.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};
use tracing::Span;

use super::{
    Context, Failure,
    protocol::{Answer, FromWorker, ToWorker, Work},
};
use crate::blob::CallEvent;

/// How an invocation ended: in the worker, or with it.
pub(super) type Ending = Result<Answer, Failure>;

#[derive(Debug)]
pub(super) struct Connection {
    outbox: mpsc::UnboundedSender<ToWorker>,
    /// `None` once the worker is gone: nothing can be sent to it any more.
    in_flight: Mutex<Option<HashMap<u64, InFlight>>>,
    last_heard: Mutex<Instant>,
}

#[derive(Debug)]
struct InFlight {
    context: Context,
    ending: oneshot::Sender<Ending>,
    /// Storage calls under way, as the dependency spans they will become.
    calls: HashMap<u64, Span>,
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

impl Connection {
    pub(super) fn new(outbox: mpsc::UnboundedSender<ToWorker>) -> Self {
        Self { outbox, in_flight: Mutex::new(Some(HashMap::new())), last_heard: Mutex::new(Instant::now()) }
    }

    /// Hands a blob to the worker. `None` when the worker is gone already.
    pub(super) fn begin(&self, context: Context, deadline: Instant) -> Option<(u64, oneshot::Receiver<Ending>)> {
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let (ending, ended) = oneshot::channel();
        let work = Work {
            id,
            container: context.blob.container.clone(),
            name: context.blob.name.clone(),
            time_left: deadline.saturating_duration_since(Instant::now()),
        };
        self.in_flight().as_mut()?.insert(id, InFlight { context, ending, calls: HashMap::new() });
        self.send(ToWorker::Invoke(work));
        Some((id, ended))
    }

    /// Takes an invocation back whose time is over.
    pub(super) fn cancel(&self, id: u64) {
        self.send(ToWorker::Cancel { id });
        if let Some(cancelled) = self.in_flight().as_mut().and_then(|it| it.remove(&id)) {
            end_calls(cancelled.calls, "deadline");
        }
    }

    pub(super) fn send(&self, message: ToWorker) {
        // A worker that does not listen any more is about to be noticed by its exit.
        let _ = self.outbox.send(message);
    }

    /// Moment of the worker's last word.
    pub(super) fn last_heard(&self) -> Instant {
        *self.last_heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn receive(&self, message: FromWorker) {
        *self.last_heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        let mut in_flight = self.in_flight();
        let Some(in_flight) = in_flight.as_mut() else { return };
        match message {
            FromWorker::Ready | FromWorker::Pong => {}
            FromWorker::Call { id, event } => {
                if let Some(invocation) = in_flight.get_mut(&id) {
                    invocation.hear(event);
                }
            }
            FromWorker::Done { id, outcome } => {
                if let Some(done) = in_flight.remove(&id) {
                    end_calls(done.calls, "canceled");
                    let _ = done.ending.send(Ok(outcome));
                }
            }
        }
    }

    /// The worker is gone: everything in flight fails with `why`, and its open calls with it.
    pub(super) fn close(&self, why: &str) {
        for (_, lost) in self.in_flight().take().into_iter().flatten() {
            end_calls(lost.calls, why);
            let _ = lost.ending.send(Err(Failure::WorkerGone { why: why.to_owned() }));
        }
    }

    fn in_flight(&self) -> MutexGuard<'_, Option<HashMap<u64, InFlight>>> {
        self.in_flight.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl InFlight {
    fn hear(&mut self, event: CallEvent) {
        match event {
            CallEvent::Started { call, name, detail } => {
                let span = tracing::info_span!(
                    target: "dependency",
                    "dependency",
                    name,
                    detail,
                    operation_id = self.context.operation_id,
                    invocation_id = self.context.invocation_id,
                    result_code = tracing::field::Empty,
                    success = tracing::field::Empty,
                );
                self.calls.insert(call, span);
            }
            CallEvent::Ended { call, result_code, success } => {
                if let Some(span) = self.calls.remove(&call) {
                    span.record("result_code", result_code).record("success", success);
                }
            }
        }
    }
}

fn end_calls(calls: HashMap<u64, Span>, why: &str) {
    for span in calls.into_values() {
        span.record("result_code", why).record("success", false);
    }
}
