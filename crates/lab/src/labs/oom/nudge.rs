//! Blobs that a real host never sees on development storage, brought to its notice.
//!
//! There its listener lists containers and takes what is newer than the newest blob it has seen, by the whole second. A blob of that
//! same second that was not in that listing is lost to it until it restarts, without a line [recorded]. Any later write has it seen.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use tokio::time::sleep;

use crate::machine::storage::{Storage, StorageError};
use custom_handler::clock;

/// Why blobs are touched, for people.
pub(super) const WHY: &str =
    "on development storage a host takes only what is newer than the newest second it has seen";
/// Touches of one blob: those of a second in which the host lists are lost in turn.
pub(super) const MOST: usize = 3;
/// The metadata that a touch writes.
const MARK: &str = "nudged";
const PARALLEL: usize = 32;

/// Writes a mark into each blob's metadata. All of them fall into the beginning of one second, so that one listing has all.
///
/// # Errors
/// When the account refuses or is away. A blob that is gone is left out.
pub(super) async fn nudge(storage: &Storage, container: &str, names: &[String]) -> Result<(), StorageError> {
    let past = Duration::from_nanos(clock::utc_now().nanosecond().into());
    sleep(Duration::from_secs(1).saturating_sub(past)).await;
    let mark = clock::timestamp(clock::utc_now());
    let touches = names.iter().map(|name| storage.mark(container, name, (MARK, &mark)));
    stream::iter(touches).buffer_unordered(PARALLEL).try_collect().await
}
