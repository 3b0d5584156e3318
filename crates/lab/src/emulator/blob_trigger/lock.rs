//! The listener's lock: of all hosts on an account only the one that has it looks for blobs. A host that was killed keeps it until
//! its lease ends.

use std::time::Duration;

use azure_core::http::StatusCode;
use azure_storage_blob::{
    BlobClient,
    models::{BlobClientAcquireLeaseResultHeaders, BlobClientRenewLeaseOptions},
};
use tokio::time::sleep;

use super::Shared;
use crate::{
    app::blob_message::{HOSTS_CONTAINER, LISTENER_LOCK},
    emulator::host::Level,
    machine::storage::StorageError,
};
use custom_handler::error_chain;

/// A lease on the lock's blob; nothing where the pace has no lock.
pub(super) struct Lock(Option<Lease>);

struct Lease {
    blob: BlobClient,
    id: String,
    lasts: Duration,
}

impl Lock {
    /// Waits until the lock is this host's. `None` when the trigger stops before.
    pub(super) async fn take(shared: &Shared) -> Option<Self> {
        let Some(lasts) = shared.settings.waits.listener_lock else {
            return (!shared.closing.is_cancelled()).then_some(Self(None));
        };
        let mut failing = false;
        loop {
            let again = match acquire(shared, lasts).await {
                Ok(Some(lease)) => return Some(Self(Some(lease))),
                Ok(None) => lasts,
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        let text = format!("the listener's lock will be asked for again: {}", error_chain(&error));
                        shared.tell(Level::Warning, text);
                    }
                    shared.settings.waits.listing
                }
            };
            tokio::select! {
                () = sleep(again) => {}
                () = shared.closing.cancelled() => return None,
            }
        }
    }

    /// Renews the lock until that fails for as long as it lasts.
    pub(super) async fn lost(&self, shared: &Shared) {
        let Some(lease) = &self.0 else { return std::future::pending().await };
        let mut failures = 0;
        while failures < 2 {
            sleep(lease.lasts / 2).await;
            let options = BlobClientRenewLeaseOptions::default();
            failures =
                if lease.blob.renew_lease(lease.id.clone(), Some(options)).await.is_ok() { 0 } else { failures + 1 };
        }
        shared.tell(Level::Warning, "the listener's lock is lost; blobs are looked for when it is back".to_owned());
    }

    /// Gives it up, so that the next host need not wait.
    pub(super) async fn release(self, shared: &Shared) {
        let Some(lease) = self.0 else { return };
        if let Err(source) = lease.blob.release_lease(lease.id, None).await {
            let error = StorageError::new("release the listener's lock", source);
            shared.tell(Level::Warning, error_chain(&error));
        }
    }
}

/// A new lease on the lock, which is made where it is missing; `None` while another host has it.
async fn acquire(shared: &Shared, lasts: Duration) -> Result<Option<Lease>, StorageError> {
    let fail = |source| StorageError::new("take the listener's lock", source);
    let blob = shared.storage.blob(HOSTS_CONTAINER, LISTENER_LOCK);
    let seconds = i32::try_from(lasts.as_secs()).unwrap_or(i32::MAX);
    let mut result = blob.acquire_lease(seconds, None).await;
    if result.as_ref().is_err_and(|it| it.http_status() == Some(StatusCode::NotFound)) {
        shared.storage.ensure_container(HOSTS_CONTAINER).await?;
        shared.storage.put(HOSTS_CONTAINER, LISTENER_LOCK, "", None).await?;
        result = blob.acquire_lease(seconds, None).await;
    }
    match result {
        Ok(response) => {
            let id = response.lease_id().map_err(fail)?.unwrap_or_default();
            Ok(Some(Lease { blob, id, lasts }))
        }
        Err(error) if error.http_status() == Some(StatusCode::Conflict) => Ok(None),
        Err(error) => Err(fail(error)),
    }
}
