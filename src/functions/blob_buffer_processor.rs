//! `BlobBufferProcessor`: a blob of the input container becomes a result record. The host tells which blob; the worker
//! reads it.

use std::{sync::Arc, time::Duration};

use custom_handler::{App, BlobTrigger, Failure, wire::InvocationResult};
use percent_encoding::percent_decode_str;
use url::Url;

use super::Parts;
use crate::{
    blob::{BlobName, Variant},
    worker::{self, Success, Worker},
};

pub use crate::settings::BLOB_FUNCTION as NAME;

/// The function with what it needs.
#[derive(Debug)]
struct BlobBufferProcessor {
    worker: Worker,
    /// Named in the log of each success.
    variant: Variant,
    /// Blob endpoint of the app's account, whose path precedes the container in a blob's URI.
    blob_endpoint: Url,
    /// From receipt to answer.
    deadline: Duration,
}

pub(super) fn register(app: App, parts: &Parts<'_>) -> App {
    let Some((blob, worker)) = parts.settings.blob.as_ref().zip(parts.worker.clone()) else {
        return app.without(NAME);
    };
    let function = Arc::new(BlobBufferProcessor {
        worker,
        variant: blob.variant,
        blob_endpoint: blob.storage.blob_endpoint.clone(),
        deadline: parts.settings.invocation_deadline,
    });
    app.blob(NAME, move |trigger| Arc::clone(&function).call(trigger))
}

impl BlobBufferProcessor {
    async fn call(self: Arc<Self>, trigger: BlobTrigger) -> Result<InvocationResult, Failure> {
        let blob = blob_of(trigger.uri().as_deref(), &self.blob_endpoint)
            .map_err(|cause| unexplained(format!("{NAME} cannot tell which blob is meant: {cause}")))?;
        let context = worker::Context {
            blob: blob.clone(),
            invocation_id: trigger.invocation.id,
            operation_id: trigger.invocation.operation_id,
        };
        let success = self.worker.invoke(context, trigger.received + self.deadline).await;
        success.map(|it| self.completed(it, &blob)).map_err(|failure| explained(&failure, &blob))
    }

    fn completed(&self, success: Success, blob: &BlobName) -> InvocationResult {
        let result = InvocationResult::default().line(match self.variant {
            Variant::Streaming => "Streaming implementation active",
            Variant::Buffering => "Buffering implementation active",
        });
        match success {
            Success::Recorded => result,
            Success::Gone => result.line(format!("Blob {blob} was deleted before it was read")),
        }
    }
}

/// Reads which blob the host means: the path of `Metadata.Uri`, below the account's endpoint, percent-decoded.
///
/// # Errors
/// What is missing from the metadata.
fn blob_of(uri: Option<&str>, endpoint: &Url) -> Result<BlobName, String> {
    let uri = Url::parse(uri.ok_or("Metadata.Uri is missing")?)
        .map_err(|error| format!("Metadata.Uri is not a URL: {error}"))?;
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

fn unexplained(line: String) -> Failure {
    Failure::new(line.clone()).with_line(line)
}

/// The guide's line for refused memory; for everything else one that names the blob and the cause.
fn explained(failure: &worker::Failure, blob: &BlobName) -> Failure {
    let line = match failure {
        worker::Failure::MemoryError { detail } => {
            tracing::info!(blob.name = %blob, "{blob}: {detail}");
            "MemoryError: cannot allocate bytes object".to_owned()
        }
        _ => format!("{NAME} could not process {blob}: {failure}"),
    };
    Failure::new(failure.to_string()).with_line(line)
}

#[cfg(test)]
mod tests {
    use custom_handler::{Invocation, wire::Envelope};
    use serde_json::{Value, json};
    use tokio::time::Instant;

    use super::*;

    fn blob(endpoint: &str, metadata: Value) -> Result<String, String> {
        let envelope = Envelope { metadata: metadata.as_object().unwrap().clone(), ..Default::default() };
        let invocation = Invocation { id: String::new(), operation_id: String::new(), envelope, shortened: false };
        let trigger = BlobTrigger { invocation, received: Instant::now() };
        blob_of(trigger.uri().as_deref(), &Url::parse(endpoint).unwrap()).map(|blob| blob.to_string())
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
