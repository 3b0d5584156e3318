//! The trigger's queue message, and the receipt that a version of a blob has had one.

use std::borrow::Cow;

use azure_storage_blob::models::BlobType;
use base64::{Engine, engine::general_purpose::STANDARD};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use url::Url;

use incident_labs::blob::check_name;

/// Container of the receipts.
pub const HOSTS_CONTAINER: &str = "azure-webjobs-hosts";
/// The blob whose lease is the listener's lock.
pub const LISTENER_LOCK: &str = "locks/incidentlab/WebJobs.Internal.Blobs.Listener";
/// Where messages go whose blob failed too often.
pub const POISON_QUEUE: &str = "webjobs-blobtrigger-poison";
/// The host's id, in names of queue and receipts. A work folder has storage of its own, so one id serves them all.
pub(crate) const HOST_ID: &str = "incidentlab";
/// What .NET's `Uri.EscapeDataString` leaves alone.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A version of a blob that a function is to be run for.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct BlobMessage {
    #[serde(rename = "Type")]
    kind: String,
    /// `Host.Functions.<name>`.
    pub function_id: String,
    blob_type: BlobType,
    pub container_name: String,
    pub blob_name: String,
    /// Its version, quotes included.
    #[serde(rename = "ETag")]
    pub etag: String,
}

/// What the names of all hosts' trigger queues begin with; the host's id follows.
pub const TRIGGER_QUEUES: &str = "azure-webjobs-blobtrigger-";

pub fn trigger_queue() -> String {
    format!("{TRIGGER_QUEUES}{HOST_ID}")
}

/// Everything before the version in the name of a function's receipts.
pub(crate) fn receipt_prefix(function_id: &str) -> String {
    format!("blobreceipts/{HOST_ID}/{function_id}/")
}

/// Whether the host ever sees a blob of this name. The storage SDK for .NET takes slashes at either end of a name away, so the
/// real listener asks for another blob, is told that there is none, and drops what it had found.
pub fn is_seen(name: &str) -> bool {
    !name.starts_with('/') && !name.ends_with('/')
}

impl BlobMessage {
    /// A message about a block blob.
    pub fn new(function_id: &str, container: &str, blob: &str, etag: &str) -> Self {
        Self {
            kind: "BlobTrigger".to_owned(),
            function_id: function_id.to_owned(),
            blob_type: BlobType::BlockBlob,
            container_name: container.to_owned(),
            blob_name: blob.to_owned(),
            etag: etag.to_owned(),
        }
    }

    /// The same about a blob of another type.
    #[must_use]
    pub fn about(self, blob_type: BlobType) -> Self {
        Self { blob_type, ..self }
    }

    /// As it stands in the queue: base64 of indented JSON.
    pub fn encode(&self) -> String {
        STANDARD.encode(serde_json::to_vec_pretty(self).unwrap_or_default())
    }

    /// Reads a queue message; `None` when it is no blob trigger's.
    pub fn decode(text: &str) -> Option<Self> {
        serde_json::from_slice(&STANDARD.decode(text.trim()).ok()?).ok()
    }

    /// Name of the receipt blob, which is unique to function, blob and version. A name that a URL cannot carry is in there
    /// percent-encoded.
    pub fn receipt(&self) -> String {
        let blob = match check_name(&self.blob_name) {
            Ok(()) => Cow::from(&self.blob_name),
            Err(_) => utf8_percent_encode(&self.blob_name, NON_ALPHANUMERIC).into(),
        };
        format!("{}{}/{}/{blob}", receipt_prefix(&self.function_id), self.etag, self.container_name)
    }

    /// The blob's address as the storage SDK for .NET writes it.
    pub fn uri(&self, blob_endpoint: &Url) -> String {
        let escaped: Vec<String> =
            self.blob_name.split('/').map(|it| utf8_percent_encode(it, UNRESERVED).to_string()).collect();
        format!("{}/{}/{}", blob_endpoint.as_str().trim_end_matches('/'), self.container_name, escaped.join("/"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_what_the_storage_extension_writes() {
        let message = BlobMessage::new("Host.Functions.OnBlob", "in", "a/b.tif", "\"0x8DD\"");
        let text = String::from_utf8(STANDARD.decode(message.encode()).unwrap()).unwrap();
        let want = r#"{"Type":"BlobTrigger","FunctionId":"Host.Functions.OnBlob","BlobType":"BlockBlob","ContainerName":"in","BlobName":"a/b.tif","ETag":"\"0x8DD\""}"#;
        assert_eq!(text.split_whitespace().collect::<String>(), want);
        assert_eq!(BlobMessage::decode(&message.encode()).unwrap(), message);
        assert_eq!(BlobMessage::decode("???"), None);
        assert_eq!(message.receipt(), "blobreceipts/incidentlab/Host.Functions.OnBlob/\"0x8DD\"/in/a/b.tif");
    }

    #[test]
    fn a_message_names_the_type_of_its_blob() {
        for (blob_type, text) in [(BlobType::PageBlob, "PageBlob"), (BlobType::AppendBlob, "AppendBlob")] {
            let message = BlobMessage::new("f", "in", "a", "\"1\"").about(blob_type);
            let json = String::from_utf8(STANDARD.decode(message.encode()).unwrap()).unwrap();
            assert!(json.contains(&format!("\"BlobType\": \"{text}\"")), "{json}");
            assert_eq!(BlobMessage::decode(&message.encode()).unwrap(), message);
        }
    }

    #[test]
    fn a_slash_at_either_end_hides_a_blob_and_one_inside_does_not() {
        for name in ["/lead.txt", "//x", "a/", "dirslash/", "/", "//", "/a/b"] {
            assert!(!is_seen(name), "{name}");
        }
        for name in ["a//b", "a/b", "a", "%2Fa", "\\a"] {
            assert!(is_seen(name), "{name}");
        }
    }

    #[test]
    fn the_receipt_of_a_name_that_no_url_carries_can_be_written() {
        for name in ["../secret/p", "..", "a\tb", "a\\b"] {
            let receipt = BlobMessage::new("Host.Functions.OnBlob", "in", name, "\"1\"").receipt();
            assert_eq!(check_name(&receipt), Ok(()), "{receipt}");
        }
    }

    #[test]
    fn an_odd_name_is_escaped_as_recorded() {
        let message = BlobMessage::new("f", "b-default", "sub dir/ü #1.json", "\"1\"");
        let endpoint = Url::parse("http://127.0.0.1:10000/devstoreaccount1").unwrap();
        let want = "http://127.0.0.1:10000/devstoreaccount1/b-default/sub%20dir/%C3%BC%20%231.json";
        assert_eq!(message.uri(&endpoint), want);
    }
}
