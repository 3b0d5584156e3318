//! What a HEAD request says about a blob, in the trigger's terms.

use azure_storage_blob::models::BlobClientGetPropertiesResultHeaders;
use base64::{Engine, engine::general_purpose::STANDARD};
use time::OffsetDateTime;

use crate::{
    emulator::host::binding_data::BlobFacts,
    machine::storage::{Received, Storage, StorageError, quoted},
};
use custom_handler::clock;
use incident_labs::blob::check_name;

/// A blob's version and properties; `None` when there is no such blob.
pub(super) async fn of(
    storage: &Storage,
    container: &str,
    name: &str,
) -> Result<Option<(String, BlobFacts)>, StorageError> {
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
    let found = storage.list(container, name, false).await?.into_iter().find(|it| it.name == name);
    Ok(found.map(|it| {
        let last_modified = it.last_modified.unwrap_or(OffsetDateTime::UNIX_EPOCH);
        (it.etag, BlobFacts::new(last_modified, it.size_bytes))
    }))
}

async fn asked(storage: &Storage, container: &str, name: &str) -> Result<(String, BlobFacts), StorageError> {
    let fail = |source| StorageError::new(format!("look at blob {container}/{name}"), source);
    let head = storage.blob(container, name).get_properties(None).await.map_err(fail)?;
    let etag = head.etag().map_err(fail)?.map(|it| it.to_string()).unwrap_or_default();
    let last_modified = head.last_modified().map_err(fail)?.unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let mut facts = BlobFacts::new(last_modified, head.content_length().map_err(fail)?.unwrap_or_default());
    facts.created_on = head.creation_time().map_err(fail)?.unwrap_or(last_modified);
    facts.metadata = head.metadata().map_err(fail)?.into_iter().collect();
    facts.metadata.sort();
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

/// The host's line about a message.
pub(super) fn trigger_details(message: &Received, facts: &BlobFacts) -> String {
    let inserted = message.inserted.unwrap_or(OffsetDateTime::UNIX_EPOCH);
    format!(
        "MessageId: {}, DequeueCount: {}, InsertedOn: {}, BlobCreated: {}, BlobLastModified: {}",
        message.id,
        message.dequeue_count,
        clock::timestamp(inserted),
        clock::timestamp(facts.created_on),
        clock::timestamp(facts.last_modified)
    )
}
