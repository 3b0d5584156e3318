//! Work items in tasks of their own: what becomes of one that fails or panics.

use std::{fmt::Display, hash::Hash, panic::AssertUnwindSafe, time::Duration};

use futures::FutureExt;
use tokio::{sync::Notify, time::timeout};

use super::{Inner, TaskHub, store::StoreError, under_way::UnderWay};

/// How a work item ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Ended {
    Well,
    /// Nothing of it is recorded, for what it was about has been replaced meanwhile. What is there now is looked at at once.
    Outdated,
    /// Nothing of it is recorded, and it is to be tried again.
    GivenUp,
    /// The same, until an app runs its version.
    Rejected,
}

/// Rest of an instance whose version was rejected for the first time [recorded]; it doubles each time.
const FIRST_REJECTED: Duration = Duration::from_secs(1);

/// Work items of a kind, and what tells their dispatcher that one has ended.
pub(super) type Kind<K> = fn(&Inner) -> (&UnderWay<K>, &Notify);

/// A work item's place among those under way, given back however it ends: a panic must not keep it.
struct Place<K: Clone + Eq + Hash + 'static> {
    hub: TaskHub,
    key: K,
    of: Kind<K>,
}

impl<K: Clone + Eq + Hash + 'static> Drop for Place<K> {
    fn drop(&mut self) {
        let (items, arrived) = (self.of)(&self.hub.inner);
        items.leave(&self.key);
        arrived.notify_one();
    }
}

impl TaskHub {
    /// Does a work item that has its place. One that fails or panics is told and tried again after a rest.
    pub(super) fn work_on<K>(
        &self,
        key: K,
        of: Kind<K>,
        work: impl Future<Output = Result<Ended, StoreError>> + Send + 'static,
    ) where
        K: Clone + Display + Eq + Hash + Send + Sync + 'static,
    {
        let place = Place { hub: self.clone(), key, of };
        self.inner.tasks.spawn(async move {
            let Place { hub, key, .. } = &place;
            let items = of(&hub.inner).0;
            let what = match AssertUnwindSafe(work).catch_unwind().await {
                Ok(Ok(Ended::Well)) => return items.went_well(key),
                Ok(Ok(Ended::Outdated)) => return items.offer(key.clone()),
                Ok(Ok(Ended::GivenUp)) => None,
                Ok(Ok(Ended::Rejected)) => {
                    return hub.wake_after(items.rest_from(key, FIRST_REJECTED), key.clone(), of);
                }
                Ok(Err(error)) => Some(format!("could not be recorded: {error}")),
                Err(_) => Some("panicked".to_owned()),
            };
            if let Some(what) = what {
                tracing::error!("work item {key} {what}; it is tried again after a rest");
            }
            hub.wake_after(items.rest(key), key.clone(), of);
        });
    }

    fn wake_after<K>(&self, rest: Duration, key: K, of: Kind<K>)
    where
        K: Clone + Eq + Hash + Send + 'static,
    {
        let hub = self.clone();
        self.inner.tasks.spawn(async move {
            let _ = timeout(rest, hub.inner.stopping.cancelled()).await;
            let (items, arrived) = of(&hub.inner);
            items.rested(key);
            arrived.notify_one();
        });
    }
}
