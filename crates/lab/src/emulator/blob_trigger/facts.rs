//! What a HEAD request says about a blob, in the trigger's terms.

use std::collections::{BTreeMap, HashMap};

use azure_storage_blob::models::{BlobClientGetPropertiesResultHeaders, BlobType};
use base64::{Engine, engine::general_purpose::STANDARD};
use time::{OffsetDateTime, UtcOffset, format_description::FormatItem, macros::format_description};

use crate::{
    app::blob_message::is_seen,
    emulator::host::binding_data::BlobFacts,
    machine::{
        queue::Received,
        storage::{Listed, Storage, StorageError, quoted},
    },
};
use incident_labs::blob::check_name;

/// A blob's version and properties; `None` when there is no such blob, or none that the host sees.
pub(super) async fn of(
    storage: &Storage,
    container: &str,
    name: &str,
) -> Result<Option<(String, BlobFacts)>, StorageError> {
    if !is_seen(name) {
        return Ok(None);
    }
    // Under that URL another blob would be looked at.
    if check_name(name).is_err() {
        return listed(storage, container, name).await;
    }
    match asked(storage, container, name).await {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// What a listing says, where a name stands in a text and not in a URL.
async fn listed(storage: &Storage, container: &str, name: &str) -> Result<Option<(String, BlobFacts)>, StorageError> {
    Ok(storage.find(container, name).await?.map(|it| {
        let last_modified = it.last_modified.unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let facts = BlobFacts::new(last_modified, it.size_bytes);
        (it.etag, BlobFacts { blob_type: it.blob_type, metadata: it.metadata, ..facts })
    }))
}

async fn asked(storage: &Storage, container: &str, name: &str) -> Result<(String, BlobFacts), StorageError> {
    let fail = |source| StorageError::new(format!("look at blob {container}/{name}"), source);
    let head = storage.blob(container, name).get_properties(None).await.map_err(fail)?;
    let etag = head.etag().map_err(fail)?.map(|it| it.to_string()).unwrap_or_default();
    let last_modified = head.last_modified().map_err(fail)?.unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let mut facts = BlobFacts::new(last_modified, head.content_length().map_err(fail)?.unwrap_or_default());
    facts.blob_type = head.blob_type().map_err(fail)?.unwrap_or(BlobType::BlockBlob);
    facts.committed_blocks = head.blob_committed_block_count().map_err(fail)?.unwrap_or_default();
    facts.sequence_number = head.blob_sequence_number().map_err(fail)?.unwrap_or_default();
    facts.created_on = head.creation_time().map_err(fail)?.unwrap_or(last_modified);
    let metadata = head.metadata().map_err(fail)?;
    if !metadata.is_empty() {
        facts.metadata = spelt(metadata, storage.find(container, name).await?);
    }
    if let Some(content_type) = head.content_type().map_err(fail)? {
        facts.content_type = content_type;
    }
    facts.content_md5 = head.content_md5().map_err(fail)?.map(|it| STANDARD.encode(it));
    facts.content_encoding = head.content_encoding().map_err(fail)?;
    facts.content_disposition = head.content_disposition().map_err(fail)?;
    facts.content_language = head.content_language().map_err(fail)?;
    facts.cache_control = head.cache_control().map_err(fail)?;
    facts.access_tier = head.access_tier().map_err(fail)?;
    facts.access_tier_inferred = head.access_tier_inferred().map_err(fail)?.unwrap_or_default();
    facts.access_tier_changed_on = head.access_tier_change_time().map_err(fail)?;
    Ok((quoted(&etag), facts))
}

/// Metadata as headers have it, with the case and the order that a listing has and headers lose.
fn spelt(headers: HashMap<String, String>, listed: Option<Listed>) -> Vec<(String, String)> {
    let mut left: BTreeMap<String, String> = headers.into_iter().collect();
    let mut metadata = Vec::new();
    for (key, _) in listed.into_iter().flat_map(|it| it.metadata) {
        metadata.extend(left.remove(&key.to_ascii_lowercase()).map(|value| (key, value)));
    }
    // Changed between the two calls: the version in the headers is the one that is run.
    metadata.extend(left);
    metadata
}

/// The host's line about a message.
pub(super) fn trigger_details(message: &Received, facts: &BlobFacts) -> String {
    let inserted = message.inserted.unwrap_or(OffsetDateTime::UNIX_EPOCH);
    format!(
        "MessageId: {}, DequeueCount: {}, InsertedOn: {}, BlobCreated: {}, BlobLastModified: {}",
        message.id,
        message.dequeue_count,
        millis(inserted),
        millis(facts.created_on),
        millis(facts.last_modified)
    )
}

/// `2026-11-25T12:44:05.000+00:00`
fn millis(at: OffsetDateTime) -> String {
    const FORMAT: &[FormatItem<'_>] =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]+00:00");
    at.to_offset(UtcOffset::UTC).format(FORMAT).unwrap_or_default()
}
