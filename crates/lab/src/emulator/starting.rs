//! An app whose host may have to wait for a role: its address and its storage are there from the beginning.

use anyhow::Context;
use async_trait::async_trait;
use futures::future::LocalBoxFuture;
use tokio::sync::{Mutex, SetOnce};
use url::Url;

use super::session::{Opened, Session};
use crate::{app::running::RunningApp, machine::storage::Storage};
use incident_labs::worker::cgroup::Usage;

/// [`RunningApp::ready`] drives the start; without it nothing goes on.
pub(super) struct Starting {
    url: Url,
    storage: Storage,
    /// Gone when it has ended.
    start: Mutex<Option<LocalBoxFuture<'static, anyhow::Result<Session>>>>,
    session: SetOnce<Session>,
}

impl Starting {
    /// # Errors
    /// When the app has no blob function, and so nothing to be refused.
    pub(super) fn new(opened: Opened) -> anyhow::Result<Self> {
        let (url, storage) = (opened.url()?, opened.storage()?);
        Ok(Self { url, storage, start: Mutex::new(Some(Box::pin(opened.start()))), session: SetOnce::new() })
    }
}

#[async_trait(?Send)]
impl RunningApp for Starting {
    async fn ready(&self) -> anyhow::Result<()> {
        let mut start = self.start.lock().await;
        if let Some(starting) = &mut *start {
            let session = starting.await;
            *start = None;
            let _ = self.session.set(session?);
        }
        self.session.get().context("the host did not start")?.ready().await
    }

    fn url(&self) -> anyhow::Result<Url> {
        Ok(self.url.clone())
    }

    fn storage(&self) -> anyhow::Result<&Storage> {
        Ok(&self.storage)
    }

    async fn trigger_queue(&self) -> anyhow::Result<String> {
        self.session.wait().await.trigger_queue().await
    }

    fn handler_pid(&self) -> Option<u32> {
        self.session.get()?.handler_pid()
    }

    fn worker_usage(&self) -> Option<Usage> {
        self.session.get()?.worker_usage()
    }

    fn hold_blob_trigger(&self) -> bool {
        self.session.get().is_some_and(RunningApp::hold_blob_trigger)
    }

    fn release_blob_trigger(&self) {
        if let Some(session) = self.session.get() {
            session.release_blob_trigger();
        }
    }

    async fn ended(&self) -> String {
        self.session.wait().await.ended().await
    }

    /// A start that is under way is dropped, and its processes with it.
    async fn stop(self: Box<Self>) -> anyhow::Result<()> {
        if let Some(session) = self.session.into_inner() {
            RunningApp::stop(Box::new(session)).await?;
        }
        Ok(())
    }
}
