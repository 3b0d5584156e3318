//! `BlobBufferProcessor`: a blob of the input container becomes a result record. The host tells which blob; the worker
//! reads it.

use std::{sync::Arc, time::Duration};

use custom_handler::{App, BlobTrigger, Failure, wire::InvocationResult};
use url::Url;

use super::Parts;
use crate::{
    blob::{BlobName, UriError, Variant, shown},
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
    /// The trigger's container.
    container: String,
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
        container: blob.container.clone(),
        deadline: parts.settings.invocation_deadline,
    });
    app.blob(NAME, move |trigger| Arc::clone(&function).call(trigger))
}

impl BlobBufferProcessor {
    async fn call(self: Arc<Self>, trigger: BlobTrigger) -> Result<InvocationResult, Failure> {
        let blob = blob_of(trigger.uri().as_deref(), &self.blob_endpoint, &self.container)
            .map_err(|refusal| unexplained(format!("{NAME} {refusal}")))?;
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

/// Why a call is refused before storage is asked. Trying again does not help, so the blob ends in the poison queue.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("cannot tell which blob is meant: Metadata.Uri is missing")]
    NoUri,
    #[error("cannot tell which blob is meant: Metadata.Uri is not usable: {0}")]
    Uri(UriError),
    #[error("refuses a blob by its name: {0}; rename it")]
    Name(UriError),
    #[error("refuses {}: its trigger watches the container {container}, not {}", shown(&.blob.to_string()), shown(&.blob.container))]
    Container { blob: BlobName, container: String },
}

/// Reads which blob of the trigger's container the host means.
///
/// # Errors
/// When there is none, or it would be read as another one.
fn blob_of(uri: Option<&str>, endpoint: &Url, container: &str) -> Result<BlobName, Refusal> {
    let blob = BlobName::from_uri(uri.ok_or(Refusal::NoUri)?, endpoint).map_err(|error| match error {
        UriError::Name { .. } => Refusal::Name(error),
        other => Refusal::Uri(other),
    })?;
    if blob.container == container {
        Ok(blob)
    } else {
        Err(Refusal::Container { blob, container: container.to_owned() })
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

    const AZURITE: &str = "http://127.0.0.1:10000/devstoreaccount1";

    fn blob(endpoint: &str, metadata: Value) -> Result<String, String> {
        let envelope = Envelope { metadata: metadata.as_object().unwrap().clone(), ..Default::default() };
        let invocation = Invocation { id: String::new(), operation_id: String::new(), envelope, shortened: false };
        let trigger = BlobTrigger { invocation, received: Instant::now() };
        let blob = blob_of(trigger.uri().as_deref(), &Url::parse(endpoint).unwrap(), "input");
        blob.map(|blob| blob.to_string()).map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn the_blob_is_taken_from_the_uri_encoded_once_or_twice() {
        let uri = "http://127.0.0.1:10000/devstoreaccount1/input/sub%20dir/%C3%BC%20%231.json";
        for metadata in [json!({ "Uri": uri }), json!({ "Uri": format!("\"{uri}\"") })] {
            assert_eq!(blob(AZURITE, metadata).unwrap(), "input/sub dir/ü #1.json");
        }
        let azure = json!({ "Uri": "https://a.blob.core.windows.net/input/a/b.tif" });
        assert_eq!(blob("https://a.blob.core.windows.net", azure).unwrap(), "input/a/b.tif");
    }

    #[test]
    fn a_name_is_decoded_once_and_kept_to_the_letter() {
        for (path, name) in [
            ("%252e%252e/p", "%2e%2e/p"),
            ("%2Fa//b/", "/a//b/"),
            ("%20a%20", " a "),
            ("..a/...", "..a/..."),
            ("{n}|^`~[]", "{n}|^`~[]"),
            ("ü", "ü"),
        ] {
            assert_eq!(
                blob(AZURITE, json!({ "Uri": format!("{AZURITE}/input/{path}") })).unwrap(),
                format!("input/{name}")
            );
        }
    }

    #[test]
    fn a_uri_that_names_no_blob_is_explained() {
        let endpoint = "http://h/acct";
        for (metadata, cause) in [
            (json!({}), "Metadata.Uri is missing"),
            (json!({ "Uri": "x" }), "not a URL"),
            (json!({ "Uri": "http://h/other/input/a" }), "not in the account"),
            (json!({ "Uri": "http://h/acct2/input/a" }), "not in the account"),
            (json!({ "Uri": "http://h" }), "not in the account"),
            (json!({ "Uri": "http://h/acct/input" }), "names no blob"),
            (json!({ "Uri": "http://h/acct/input/" }), "names no blob"),
            (json!({ "Uri": "http://h/acct//a" }), "names no blob"),
            (json!({ "Uri": "http://h/acct/input/a%FF" }), "not UTF-8"),
            (json!({ "Uri": "http://h/acct/input/a?snapshot=1" }), "query"),
            (json!({ "Uri": "http://h/acct/input/a#1" }), "fragment"),
            (json!({ "Uri": 5 }), "Metadata.Uri is missing"),
        ] {
            assert!(blob(endpoint, metadata.clone()).unwrap_err().contains(cause), "{metadata}");
        }
    }

    #[test]
    fn a_name_that_would_be_read_as_another_is_refused() {
        for path in [
            "../secret/p",
            "%2e%2e/secret/p",
            "%2E%2e/secret/p",
            ".%2E/secret/p",
            "a/..%2Fp",
            "./p",
            "%2e/p",
            "a/.",
            "..",
            "%2E%2E",
            "a%09b",
            "a\tb",
            "a%0Ab",
            "a\nb",
            "a%0Db",
            "a\rb",
            "a%5Cb",
            "a\\b",
            "a%00b",
            "a%7Fb",
            &"n".repeat(1025),
        ] {
            let refusal = blob(AZURITE, json!({ "Uri": format!("{AZURITE}/input/{path}") })).unwrap_err();
            assert!(
                refusal.starts_with("refuses a blob by its name: input/") && !refusal.contains('\n'),
                "{path}: {refusal}"
            );
        }
    }

    #[test]
    fn a_blob_of_another_container_is_refused() {
        for path in ["secret/p", "INPUT/p", "input%2Fa/p", "results/p.json", "%69nput2/p"] {
            let refusal = blob(AZURITE, json!({ "Uri": format!("{AZURITE}/{path}") })).unwrap_err();
            assert!(refusal.contains("watches the container input"), "{path}: {refusal}");
        }
        assert_eq!(blob(AZURITE, json!({ "Uri": format!("{AZURITE}/%69nput/p") })).unwrap(), "input/p");
    }
}
