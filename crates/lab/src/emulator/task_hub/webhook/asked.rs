//! A request to the API: what it is about, by which hub, and what it says.

use axum::{
    body::Bytes,
    http::{HeaderMap, StatusCode, Uri, header, header::AsHeaderName},
};

use super::{answer::Refused, parameters::Parameters, route::Path};
use crate::emulator::task_hub::TaskHub;
use custom_handler::wire::WEBHOOK_PATH;

/// The connection that the app's own storage has.
const CONNECTION: &str = "Storage";

pub(super) struct Asked<'a> {
    pub hub: &'a TaskHub,
    pub query: Parameters,
    pub body: &'a Bytes,
    headers: &'a HeaderMap,
    path: &'a Path,
    uri: &'a Uri,
    task_hub: Option<String>,
    connection: Option<String>,
}

impl<'a> Asked<'a> {
    /// # Errors
    /// When it names a storage that is not there.
    pub(super) fn new(
        hub: &'a TaskHub,
        (uri, path): (&'a Uri, &'a Path),
        headers: &'a HeaderMap,
        body: &'a Bytes,
    ) -> Result<Self, Refused> {
        let query = Parameters::new(uri.query());
        let named = |name: &str| query.text(name).filter(|it| !it.trim().is_empty());
        let (task_hub, connection) = (named("taskHub"), named("connection"));
        let is_known = |it: &String| {
            it.eq_ignore_ascii_case(CONNECTION) || it.eq_ignore_ascii_case(&format!("AzureWebJobs{CONNECTION}"))
        };
        if let Some(unknown) = connection.as_ref().filter(|it| !is_known(it)) {
            let what = format!("Unable to resolve the Azure Storage connection named '{unknown}'.");
            return Err(Refused::unexpected("System.InvalidOperationException", what));
        }
        Ok(Self { hub, query, body, headers, path, uri, task_hub, connection })
    }

    /// Whether it is about the app's hub. In any other nothing was ever started.
    pub(super) fn is_own_hub(&self) -> bool {
        self.task_hub.as_ref().is_none_or(|it| it.eq_ignore_ascii_case(self.hub.name()))
    }

    pub(super) fn header(&self, name: impl AsHeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The media type without its parameters, in lower case.
    pub(super) fn is_json(&self) -> bool {
        let media_type = self.header(header::CONTENT_TYPE).and_then(|it| it.split(';').next()).unwrap_or_default();
        media_type.trim().eq_ignore_ascii_case("application/json")
    }

    /// The body as text: by its byte order mark, or UTF-8, in which what cannot be read is replaced.
    pub(super) fn text(&self) -> String {
        let utf16 = |rest: &[u8], unit: fn([u8; 2]) -> u16| {
            let units = rest.chunks_exact(2).map(|it| unit([it[0], it[1]]));
            char::decode_utf16(units).map(|it| it.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
        };
        match self.body.as_ref() {
            [0xFF, 0xFE, rest @ ..] => utf16(rest, u16::from_le_bytes),
            [0xFE, 0xFF, rest @ ..] => utf16(rest, u16::from_be_bytes),
            [0xEF, 0xBB, 0xBF, rest @ ..] | rest => String::from_utf8_lossy(rest).into_owned(),
        }
    }

    /// The address that was asked.
    pub(super) fn address(&self) -> String {
        let query = self.uri.query().map(|it| format!("?{it}")).unwrap_or_default();
        format!("http://{}{}{query}", self.host(), self.path.encoded())
    }

    fn host(&self) -> &str {
        self.header(header::HOST).unwrap_or("localhost")
    }

    /// Where an instance can be managed.
    pub(super) fn links(&self, id: &str) -> Links {
        let encoded = form_encoded(id);
        let instance = format!("http://{}{WEBHOOK_PATH}/instances/{encoded}", self.host());
        let hub = form_encoded(self.task_hub.as_deref().unwrap_or(self.hub.name()));
        let connection = form_encoded(self.connection.as_deref().unwrap_or(CONNECTION));
        Links::new(id, &instance, &format!("taskHub={hub}&connection={connection}"))
    }
}

/// As .NET's `WebUtility.UrlEncode`: a blank is a plus.
fn form_encoded(text: &str) -> String {
    const KEPT: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'_')
        .remove(b'.')
        .remove(b'!')
        .remove(b'*')
        .remove(b'(')
        .remove(b')')
        .remove(b' ');
    percent_encoding::utf8_percent_encode(text, KEPT).to_string().replace(' ', "+")
}

/// The addresses of an instance, in the extension's order.
#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Links {
    id: String,
    pub(super) status_query_get_uri: String,
    send_event_post_uri: String,
    terminate_post_uri: String,
    purge_history_delete_uri: String,
    restart_post_uri: String,
    suspend_post_uri: String,
    resume_post_uri: String,
}

impl Links {
    fn new(id: &str, instance: &str, query: &str) -> Self {
        let with_reason = |what: &str| format!("{instance}/{what}?reason={{text}}&{query}");
        let status = format!("{instance}?{query}");
        Self {
            id: id.to_owned(),
            status_query_get_uri: status.clone(),
            send_event_post_uri: format!("{instance}/raiseEvent/{{eventName}}?{query}"),
            terminate_post_uri: with_reason("terminate"),
            purge_history_delete_uri: status,
            restart_post_uri: format!("{instance}/restart?{query}"),
            suspend_post_uri: with_reason("suspend"),
            resume_post_uri: with_reason("resume"),
        }
    }
}

/// 404 without a body.
pub(super) fn not_found() -> Refused {
    Refused::Empty(StatusCode::NOT_FOUND)
}
