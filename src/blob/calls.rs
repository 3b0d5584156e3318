//! What the blob code tells about its storage calls while they happen, so that a call cut short by the kernel is known too.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use serde::{Deserialize, Serialize};

/// The start or the end of one storage call.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "call_event")]
pub enum CallEvent {
    /// A request is about to be sent.
    Started {
        /// Number of the call, unique in this worker.
        call: u64,
        /// `GET input/a.bin` and the like: what a dependency row is named.
        name: String,
        /// Byte range, or empty.
        detail: String,
    },
    /// It was answered, failed or was given up.
    Ended {
        /// Number of the call.
        call: u64,
        /// HTTP status, or a word for what happened instead.
        result_code: String,
        /// Whether it gave what was asked for.
        success: bool,
    },
}

/// Hears each [`CallEvent`] of one invocation.
#[derive(Clone)]
pub struct CallObserver(Arc<dyn Fn(CallEvent) + Send + Sync>);

impl fmt::Debug for CallObserver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CallObserver")
    }
}

static NEXT_CALL: AtomicU64 = AtomicU64::new(1);

impl CallObserver {
    /// Passes each event to `hear`.
    pub fn new(hear: impl Fn(CallEvent) + Send + Sync + 'static) -> Self {
        Self(Arc::new(hear))
    }

    pub(super) fn start(&self, name: String, detail: String) -> OpenCall {
        let call = NEXT_CALL.fetch_add(1, Ordering::Relaxed);
        (self.0)(CallEvent::Started { call, name, detail });
        OpenCall { call, observer: self.clone(), ended: false }
    }
}

/// A call under way. Dropped without an end, it ends as canceled.
pub(super) struct OpenCall {
    call: u64,
    observer: CallObserver,
    ended: bool,
}

impl OpenCall {
    pub(super) fn end(mut self, result_code: String, success: bool) {
        self.tell(result_code, success);
    }

    fn tell(&mut self, result_code: String, success: bool) {
        self.ended = true;
        (self.observer.0)(CallEvent::Ended { call: self.call, result_code, success });
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        if !self.ended {
            self.tell("canceled".to_owned(), false);
        }
    }
}
