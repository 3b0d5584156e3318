//! `BlobBufferProcessor`: a blob of the input container becomes a result record. The host tells which blob; the worker
//! reads it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use percent_encoding::percent_decode_str;
use serde_json::Value;
use tokio::time::Instant;
use url::Url;

use super::BLOB_FUNCTION;
use crate::{
    blob::BlobName,
    settings::Variant,
    worker::{Context, Failure, Success, Worker},
};
use custom_handler::invocation::Invocation;
use custom_handler::{clock::hms, console, wire as host, wire::InvocationResult};

/// The function with what it needs.
#[derive(Debug)]
pub struct BlobBufferProcessor {
    /// Who does the work.
    pub worker: Worker,
    /// Named in the log of each success.
    pub variant: Variant,
    /// Blob endpoint of the app's account, whose path precedes the container in a blob's URI.
    pub blob_endpoint: Url,
    /// From receipt to answer.
    pub deadline: Duration,
    /// Whether payload in the request has been reported already.
    pub payload_reported: AtomicBool,
}

impl BlobBufferProcessor {
    /// Processes the blob of an invocation received at `received`; the failure is for the host and has been logged.
    ///
    /// # Errors
    /// A line for the answer's body.
    pub async fn call(self: Arc<Self>, invocation: Invocation, received: Instant) -> Result<InvocationResult, String> {
        self.report_payload(&invocation);
        let blob = blob_of(&invocation, &self.blob_endpoint).map_err(|cause| {
            let line = format!("{BLOB_FUNCTION} cannot tell which blob is meant: {cause}");
            console::err(&line);
            failed_after(received);
            line
        })?;
        let context =
            Context { blob: blob.clone(), invocation_id: invocation.id, operation_id: invocation.operation_id };
        match self.worker.invoke(context, received + self.deadline).await {
            Ok(success) => Ok(self.completed(success, &blob, received)),
            Err(failure) => {
                explain(&failure, &blob);
                failed_after(received);
                Err(failure.to_string())
            }
        }
    }

    fn completed(&self, success: Success, blob: &BlobName, received: Instant) -> InvocationResult {
        let active = match self.variant {
            Variant::Streaming => "Streaming implementation active",
            Variant::Buffering => "Buffering implementation active",
        };
        let mut logs = vec![active.to_owned()];
        if success == Success::Gone {
            logs.push(format!("Blob {blob} was deleted before it was read"));
        }
        logs.push(format!("Invocation completed in {}", hms(received.elapsed())));
        InvocationResult { logs, ..Default::default() }
    }

    /// Says once that this host sends payload: it costs the host three times the blob's size, and the lab's memory figures
    /// are then about the host.
    fn report_payload(&self, invocation: &Invocation) {
        let sent = invocation.envelope.data.values().any(Value::is_string);
        if (sent || invocation.shortened) && !self.payload_reported.swap(true, Ordering::Relaxed) {
            console::err(
                "this host sends the blob's bytes with the invocation, so supportsDeferredBinding is not honoured \
                 (extension bundle too old, or another binding with an {expression}); the bytes are skipped",
            );
        }
    }
}

/// Which blob the host means: the path of `Metadata.Uri`, below the account's endpoint, percent-decoded.
///
/// # Errors
/// What is missing from the metadata.
fn blob_of(invocation: &Invocation, endpoint: &Url) -> Result<BlobName, String> {
    let uri = invocation.envelope.metadata.get("Uri").and_then(host::text).ok_or("Metadata.Uri is missing")?;
    let uri = Url::parse(&uri).map_err(|error| format!("Metadata.Uri is not a URL: {error}"))?;
    let path = uri
        .path()
        .strip_prefix(endpoint.path().trim_end_matches('/'))
        .and_then(|path| path.strip_prefix('/'))
        .ok_or("Metadata.Uri is not in the account of AzureWebJobsStorage")?;
    let path = percent_decode_str(path).decode_utf8().map_err(|_| "Metadata.Uri is not UTF-8".to_owned())?;
    match path.split_once('/') {
        Some((container, name)) if !container.is_empty() && !name.is_empty() => {
            Ok(BlobName { container: container.to_owned(), name: name.to_owned() })
        }
        _ => Err("Metadata.Uri names no blob".to_owned()),
    }
}

/// The guide's line for refused memory; for everything else one that names the blob and the cause.
fn explain(failure: &Failure, blob: &BlobName) {
    match failure {
        Failure::MemoryError { detail } => {
            console::err("MemoryError: cannot allocate bytes object");
            tracing::info!(blob.name = %blob, "{blob}: {detail}");
        }
        _ => console::err(&format!("{BLOB_FUNCTION} could not process {blob}: {failure}")),
    }
}

/// The guide's line for a failed invocation.
pub fn failed_after(received: Instant) {
    console::err(&format!("Invocation failed after {}", hms(received.elapsed())));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use custom_handler::wire::Envelope;

    fn blob(endpoint: &str, metadata: Value) -> Result<String, String> {
        let envelope = Envelope { metadata: metadata.as_object().unwrap().clone(), ..Default::default() };
        let invocation = Invocation { id: String::new(), operation_id: String::new(), envelope, shortened: false };
        blob_of(&invocation, &Url::parse(endpoint).unwrap()).map(|blob| blob.to_string())
    }

    #[test]
    fn the_blob_is_taken_from_the_uri_encoded_once_or_twice() {
        let azurite = "http://127.0.0.1:10000/devstoreaccount1";
        let uri = "http://127.0.0.1:10000/devstoreaccount1/input/sub%20dir/%C3%BC%20%231.json";
        for metadata in [json!({ "Uri": uri }), json!({ "Uri": format!("\"{uri}\"") })] {
            assert_eq!(blob(azurite, metadata).unwrap(), "input/sub dir/ü #1.json");
        }
        let azure = json!({ "Uri": "https://a.blob.core.windows.net/input/a/b.tif" });
        assert_eq!(blob("https://a.blob.core.windows.net", azure).unwrap(), "input/a/b.tif");
    }

    #[test]
    fn a_uri_that_names_no_blob_is_explained() {
        let endpoint = "http://h/acct";
        for (metadata, cause) in [
            (json!({}), "missing"),
            (json!({ "Uri": "x" }), "not a URL"),
            (json!({ "Uri": "http://h/other/input/a" }), "not in the account"),
            (json!({ "Uri": "http://h/acct/input" }), "names no blob"),
            (json!({ "Uri": 5 }), "missing"),
        ] {
            assert!(blob(endpoint, metadata.clone()).unwrap_err().contains(cause), "{metadata}");
        }
    }
}
