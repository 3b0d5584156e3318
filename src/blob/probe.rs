//! Tries the data planes of an account with the credential the app has, and changes nothing.
//!
//! Each try asks for the deletion of something with a random name, in a container, queue, table or share with a random name. The right it
//! takes is one that only the writing roles have ("Authorize with Microsoft Entra ID" of the storage reference, permissions for the
//! operations on [blobs], [queues], [tables] and [files]). Who has it gets a 404, as there is nothing of that name; who has not gets a 403.
//!
//! [blobs]: https://learn.microsoft.com/rest/api/storageservices/authorize-with-azure-active-directory#permissions-for-blob-service-operations
//! [queues]: https://learn.microsoft.com/rest/api/storageservices/authorize-with-azure-active-directory#permissions-for-queue-service-operations
//! [tables]: https://learn.microsoft.com/rest/api/storageservices/authorize-with-azure-active-directory#permissions-for-table-service-operations
//! [files]: https://learn.microsoft.com/rest/api/storageservices/authorize-with-azure-active-directory#permissions-for-file-service-operations

use std::time::Duration;

use azure_core::http::{Context, Method, Pipeline, Request, Url, headers::HeaderName};
use futures::{TryStreamExt, future::join_all};
use tokio::time::timeout;
use uuid::Uuid;

use super::{
    StorageAccount,
    access::{AccountAccess, Outcome, Plane, PlaneAccess},
    failure::{Call, Failure, LONGEST_CODE},
};

/// Time for one plane, sign-in included.
const TIME: Duration = Duration::from_secs(5);
/// Of an error's body; the services' own have some hundred bytes.
const LONGEST_BODY: usize = 16 << 10;
const LONGEST_CAUSE: usize = 120;
/// A version that all four services take tokens with ("Versioning for Azure Storage").
const VERSION: &str = "2022-11-02";
const ERROR_CODE: HeaderName = HeaderName::from_static("x-ms-error-code");

/// An account, ready to be tried. Clones are cheap.
#[derive(Clone, Debug)]
pub struct AccessProbe {
    account: StorageAccount,
    pipeline: Pipeline,
    table_pipeline: Pipeline,
}

impl AccessProbe {
    /// # Errors
    /// When the environment offers no identity.
    pub fn new(account: StorageAccount) -> azure_core::Result<Self> {
        let (pipeline, table_pipeline) = (account.pipeline(Plane::Blob)?, account.pipeline(Plane::Table)?);
        Ok(Self { account, pipeline, table_pipeline })
    }

    /// Tries all planes side by side, in a few seconds whatever the services do.
    pub async fn try_all(&self) -> AccountAccess {
        let planes = join_all(Plane::ALL.map(|it| self.try_plane(it))).await;
        AccountAccess { account: Some(self.account.name.clone()), planes, problem: None }
    }

    async fn try_plane(&self, plane: Plane) -> PlaneAccess {
        let Some(endpoint) = self.account.endpoint(plane) else { return PlaneAccess::no_service(plane) };
        let name = || format!("a{}", Uuid::new_v4().simple());
        match timeout(TIME, self.ask(plane, request(plane, endpoint, &name(), &name()))).await {
            Ok(Ok((status, code))) => PlaneAccess::new(plane, meaning(plane, status, &code), Some(status), code),
            Ok(Err(error)) => PlaneAccess::new(plane, Outcome::Unreachable, None, cause(&error)),
            Err(_) => PlaneAccess::new(plane, Outcome::Unreachable, None, format!("no answer in {} s", TIME.as_secs())),
        }
    }

    /// Status and error code of the answer.
    async fn ask(&self, plane: Plane, mut request: Request) -> azure_core::Result<(u16, String)> {
        let pipeline = if plane == Plane::Table { &self.table_pipeline } else { &self.pipeline };
        let unchecked = azure_core::http::PipelineStreamOptions { skip_checks: true, ..Default::default() };
        let (status, headers, mut body) =
            pipeline.stream(&Context::new(), &mut request, Some(unchecked)).await?.deconstruct();
        if let Some(code) = headers.get_optional_str(&ERROR_CODE) {
            return Ok((status.into(), plain(code)));
        }
        let mut text = Vec::new();
        while text.len() < LONGEST_BODY
            && let Some(piece) = body.try_next().await?
        {
            text.extend_from_slice(&piece);
        }
        Ok((status.into(), code_in(&String::from_utf8_lossy(&text))))
    }
}

/// The request that takes the right to write and finds nothing to delete.
fn request(plane: Plane, endpoint: &Url, place: &str, thing: &str) -> Request {
    let path = match plane {
        Plane::Blob | Plane::File => format!("{place}/{thing}"),
        Plane::Queue => format!("{place}/messages"),
        Plane::Table => format!("{place}(PartitionKey='{thing}',RowKey='{thing}')"),
    };
    let mut url = endpoint.clone();
    url.set_path(&format!("{}/{path}", endpoint.path().trim_end_matches('/')));
    let mut request = Request::new(url, Method::Delete);
    request.insert_header("x-ms-version", VERSION);
    match plane {
        // Without it the file service takes no token ("Delete File": required with OAuth).
        Plane::File => request.insert_header("x-ms-file-request-intent", "backup"),
        // Whatever version of the entity there is ("Delete Entity": required).
        Plane::Table => {
            request.insert_header("if-match", "*");
            request.insert_header("accept", "application/json;odata=nometadata");
        }
        Plane::Blob | Plane::Queue => {}
    }
    request
}

/// Only a code of the service itself tells that it has looked: any other server may answer 404.
fn meaning(plane: Plane, status: u16, code: &str) -> Outcome {
    let nothing_there: &[&str] = match plane {
        Plane::Blob => &["ContainerNotFound", "BlobNotFound"],
        Plane::File => &["ShareNotFound", "ParentNotFound", "ResourceNotFound"],
        Plane::Queue => &["QueueNotFound"],
        Plane::Table => &["TableNotFound", "ResourceNotFound"],
    };
    match status {
        404 if nothing_there.contains(&code) => Outcome::Allowed,
        403 => Outcome::Refused,
        _ => Outcome::Unreachable,
    }
}

/// The code in an error's body: XML, or JSON with the table service. Empty where it has none.
fn code_in(body: &str) -> String {
    let between = |start: &str, end: char| body.split_once(start).and_then(|(_, rest)| rest.split_once(end));
    let found = between("<Code>", '<').or_else(|| between(r#""code":""#, '"'));
    found.map(|(code, _)| plain(code)).unwrap_or_default()
}

/// A code as the services write them; what is none is not passed on.
fn plain(code: &str) -> String {
    let is_code = code.len() <= LONGEST_CODE && code.bytes().all(|it| it.is_ascii_alphanumeric());
    if is_code { code.to_owned() } else { String::new() }
}

/// Why there was no answer, in one short line.
fn cause(error: &azure_core::Error) -> String {
    let text = match Failure::of(Call::Head, error) {
        Failure::Unreachable(cause) => cause,
        Failure::Busy(answer) | Failure::Refused(answer) => answer.code,
        other => other.to_string(),
    };
    text.lines().next().unwrap_or_default().chars().take(LONGEST_CAUSE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_plane_is_asked_for_a_deletion_of_what_is_not_there() {
        let endpoint = Url::parse("http://h:1/a1").unwrap();
        for (plane, path) in [
            (Plane::Blob, "/a1/place/thing"),
            (Plane::File, "/a1/place/thing"),
            (Plane::Queue, "/a1/place/messages"),
            (Plane::Table, "/a1/place(PartitionKey='thing',RowKey='thing')"),
        ] {
            let request = request(plane, &endpoint, "place", "thing");
            assert_eq!((request.method(), request.url().path()), (Method::Delete, path));
        }
    }

    #[test]
    fn only_the_services_own_404_is_a_right() {
        for (plane, status, code, want) in [
            (Plane::Blob, 404, "ContainerNotFound", Outcome::Allowed),
            (Plane::Queue, 404, "ContainerNotFound", Outcome::Unreachable),
            (Plane::Table, 404, "", Outcome::Unreachable),
            (Plane::Table, 404, "TableNotFound", Outcome::Allowed),
            (Plane::File, 403, "", Outcome::Refused),
            (Plane::File, 400, "MissingRequiredHeader", Outcome::Unreachable),
            (Plane::Blob, 202, "", Outcome::Unreachable),
        ] {
            assert_eq!(meaning(plane, status, code), want, "{plane:?} {status} {code}");
        }
    }

    #[test]
    fn a_code_is_read_from_either_body_and_nothing_else_is() {
        for (body, want) in [
            ("<?xml version=\"1.0\"?><Error><Code>ShareNotFound</Code><Message>x</Message></Error>", "ShareNotFound"),
            (r#"{"odata.error":{"code":"ResourceNotFound","message":{"value":"x"}}}"#, "ResourceNotFound"),
            ("<Error><Code>sig=a b</Code></Error>", ""),
            ("<Code>", ""),
            ("", ""),
        ] {
            assert_eq!(code_in(body), want, "{body}");
        }
    }
}
