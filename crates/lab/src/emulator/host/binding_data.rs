//! What a blob trigger with deferred binding puts into the envelope: no bytes, everything about the blob.

use azure_storage_blob::models::BlobType;
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};
use time::{OffsetDateTime, UtcOffset, format_description::FormatItem, macros::format_description};

/// `DateTimeOffset.MinValue`, for a time that never was.
const NEVER: &str = "0001-01-01T00:00:00+00:00";

/// What a HEAD request says about a blob.
#[derive(Clone, Debug)]
pub struct BlobFacts {
    /// `x-ms-blob-type`.
    pub blob_type: BlobType,
    /// `x-ms-blob-committed-block-count`, of append blobs alone.
    pub committed_blocks: i32,
    /// `x-ms-blob-sequence-number`, of page blobs alone.
    pub sequence_number: i64,
    /// `Last-Modified`.
    pub last_modified: OffsetDateTime,
    /// `x-ms-creation-time`.
    pub created_on: OffsetDateTime,
    /// `x-ms-meta-*` in the service's order, names in their case.
    pub metadata: Vec<(String, String)>,
    /// `Content-Length`.
    pub content_length: u64,
    /// `Content-Type`.
    pub content_type: String,
    /// `Content-MD5`, in base64.
    pub content_md5: Option<String>,
    /// `Content-Encoding`.
    pub content_encoding: Option<String>,
    /// `Content-Disposition`.
    pub content_disposition: Option<String>,
    /// `Content-Language`.
    pub content_language: Option<String>,
    /// `Cache-Control`.
    pub cache_control: Option<String>,
    /// `x-ms-access-tier`.
    pub access_tier: Option<String>,
    /// `x-ms-access-tier-inferred`.
    pub access_tier_inferred: bool,
    /// `x-ms-access-tier-change-time`.
    pub access_tier_changed_on: Option<OffsetDateTime>,
}

impl BlobFacts {
    /// Facts about a plain block blob.
    pub fn new(last_modified: OffsetDateTime, content_length: u64) -> Self {
        Self {
            blob_type: BlobType::BlockBlob,
            committed_blocks: 0,
            sequence_number: 0,
            last_modified,
            created_on: last_modified,
            metadata: Vec::new(),
            content_length,
            content_type: "application/octet-stream".to_owned(),
            content_md5: None,
            content_encoding: None,
            content_disposition: None,
            content_language: None,
            cache_control: None,
            access_tier: Some("Hot".to_owned()),
            access_tier_inferred: true,
            access_tier_changed_on: None,
        }
    }
}

/// `Data` and `Metadata` of a blob trigger with `supportsDeferredBinding`, keys in the host's order.
///
/// The reference itself is lost on the HTTP channel: of the JSON in `Content` only its length gets through, so a handler
/// has to take the blob from `Metadata`.
pub fn blob_trigger(
    binding: &str,
    connection: &str,
    container: &str,
    name: &str,
    uri: &str,
    path_parameters: &[(String, String)],
    facts: &BlobFacts,
) -> (Map<String, Value>, Map<String, Value>) {
    let content = json!({"Length": reference_length(connection, container, name), "IsEmpty": false, "MediaType": "application/json"});
    let data = json!({
        "Version": "1.0",
        "Source": "AzureStorageBlobs",
        "Content": content,
        "ContentType": "application/json",
    });
    let mut metadata = Map::new();
    metadata.insert("Uri".into(), encoded(uri));
    metadata.insert("Properties".into(), properties(facts));
    metadata.insert("Metadata".into(), user_metadata(facts));
    for (parameter, value) in path_parameters {
        metadata.insert(parameter.clone(), encoded(value));
    }
    (Map::from_iter([(binding.to_owned(), data)]), metadata)
}

/// Length of the reference's JSON as `System.Text.Json` writes it.
fn reference_length(connection: &str, container: &str, name: &str) -> usize {
    const FRAME: usize = r#"{"Connection":"","ContainerName":"","BlobName":""}"#.len();
    FRAME + [connection, container, name].into_iter().map(escaped_length).sum::<usize>()
}

/// Length of a string in JSON by the default encoder of `System.Text.Json`: printable ASCII stands for itself, except for what
/// means something to HTML. All else is `\uXXXX` for each UTF-16 code unit, with a short form for a backslash and five controls.
fn escaped_length(text: &str) -> usize {
    let of = |character: char| match character {
        '\\' | '\u{8}' | '\t' | '\n' | '\u{c}' | '\r' => 2,
        '"' | '\'' | '+' | '&' | '<' | '>' | '`' => 6,
        ' '..='~' => 1,
        other => 6 * other.len_utf16(),
    };
    text.chars().map(of).sum()
}

/// The value of a blob trigger without deferred binding: all bytes in base64, whatever its `dataType` says.
pub fn whole_blob(content: &[u8]) -> Value {
    Value::String(STANDARD.encode(content))
}

/// A .NET string goes over the wire as a JSON string that holds JSON.
pub(crate) fn encoded(text: &str) -> Value {
    Value::String(Value::from(text).to_string())
}

fn user_metadata(facts: &BlobFacts) -> Value {
    facts.metadata.iter().map(|(name, value)| (name.clone(), json!(value))).collect::<Map<_, _>>().into()
}

/// `BlobProperties` of the storage SDK as Newtonsoft prints it. The ETag has no public property, hence `{}`.
fn properties(facts: &BlobFacts) -> Value {
    let mut all = description(facts);
    if let (Value::Object(all), Value::Object(state)) = (&mut all, state(facts)) {
        all.extend(state);
    }
    all
}

fn description(facts: &BlobFacts) -> Value {
    json!({
        "LastModified": seconds(facts.last_modified),
        "CreatedOn": seconds(facts.created_on),
        "Metadata": user_metadata(facts),
        "ObjectReplicationDestinationPolicyId": null,
        "ObjectReplicationSourceProperties": null,
        "BlobType": type_number(facts.blob_type),
        "CopyCompletedOn": NEVER,
        "CopyStatusDescription": null,
        "CopyId": null,
        "CopyProgress": null,
        "CopySource": null,
        "CopyStatus": 0,
        "BlobCopyStatus": null,
        "IsIncrementalCopy": false,
        "DestinationSnapshot": null,
        "LeaseDuration": 0,
        "LeaseState": 0,
        "LeaseStatus": 1,
        "ContentLength": facts.content_length,
        "ContentType": facts.content_type,
        "ETag": {},
        "ContentHash": facts.content_md5,
        "ContentEncoding": facts.content_encoding,
        "ContentDisposition": facts.content_disposition,
        "ContentLanguage": facts.content_language,
        "CacheControl": facts.cache_control,
    })
}

fn state(facts: &BlobFacts) -> Value {
    json!({
        "BlobSequenceNumber": facts.sequence_number,
        "AcceptRanges": "bytes",
        "BlobCommittedBlockCount": facts.committed_blocks,
        "IsServerEncrypted": true,
        "EncryptionKeySha256": null,
        "EncryptionScope": null,
        "AccessTier": facts.access_tier,
        "AccessTierInferred": facts.access_tier_inferred,
        "ArchiveStatus": null,
        "AccessTierChangedOn": facts.access_tier_changed_on.map_or_else(|| NEVER.to_owned(), seconds),
        "VersionId": null,
        "IsLatestVersion": false,
        "TagCount": 0,
        "ExpiresOn": NEVER,
        "IsSealed": false,
        "RehydratePriority": null,
        "LastAccessed": NEVER,
        "ImmutabilityPolicy": {"ExpiresOn": null, "PolicyMode": null},
        "HasLegalHold": false,
    })
}

/// `BlobType` of the storage SDK for .NET.
fn type_number(blob_type: BlobType) -> u8 {
    match blob_type {
        BlobType::BlockBlob => 0,
        BlobType::PageBlob => 1,
        BlobType::AppendBlob => 2,
    }
}

fn seconds(at: OffsetDateTime) -> String {
    const FORMAT: &[FormatItem<'_>] = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]+00:00");
    at.to_offset(UtcOffset::UTC).format(FORMAT).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_as_long_as_the_real_encoder_makes_it() {
        for (name, length) in [
            ("sub dir/ü #1.json", 96),
            ("emoji😀.txt", 95),
            ("日本.txt", 90),
            ("x+y%41.txt", 89),
            ("quo\"te'.txt", 95),
            ("fail ä.txt", 89),
            ("a#b?c.txt", 83),
            ("big.bin", 81),
            ("", 74),
        ] {
            assert_eq!(reference_length("AzureWebJobsStorage", "input", name), length, "{name}");
        }
    }

    #[test]
    fn each_character_has_the_length_of_its_escape() {
        for (text, length) in [
            ("&<>`", 24),
            ("\\\t\n\r\u{8}\u{c}", 12),
            ("\0\u{b}\u{1f}\u{7f}\u{80}", 30),
            (" /~!=;:@$*()[]{}|^-_.,%#?", 25),
            ("e\u{301}\u{2028}\u{feff}", 19),
            ("😀\u{10ffff}", 24),
        ] {
            assert_eq!(escaped_length(text), length, "{text:?}");
        }
    }
}
