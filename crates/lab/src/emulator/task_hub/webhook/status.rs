//! An instance as the API shows it, alone and in a list.

use axum::{
    http::{HeaderName, StatusCode},
    response::Response,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Serialize;
use serde_json::value::RawValue;
use time::{OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339};

use super::{
    answer::{Answer, Refused, ask_again, json, set},
    asked::{Asked, not_found},
    history::{self, Shown},
    json::{quoted, raw, shown},
};
use crate::emulator::task_hub::{Filter, Instance, Page};
use durable::protocol::OrchestrationStatus;

/// Instances of one page of a list.
const PAGE: usize = 100;
const CONTINUATION: HeaderName = HeaderName::from_static("x-ms-continuation-token");

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status<'a> {
    name: &'a str,
    instance_id: &'a str,
    runtime_status: String,
    input: Box<RawValue>,
    custom_status: Box<RawValue>,
    output: Box<RawValue>,
    created_time: String,
    last_updated_time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    history_events: Option<Vec<history::Event>>,
}

impl<'a> Status<'a> {
    /// # Errors
    /// The comment that one of its texts begins with.
    fn new(instance: &'a Instance, show_input: bool) -> Result<Self, String> {
        let input = instance.input.as_deref().filter(|_| show_input);
        Ok(Self {
            name: &instance.name,
            instance_id: &instance.instance_id,
            runtime_status: format!("{:?}", instance.status),
            input: shown(input)?,
            custom_status: shown(instance.custom_status.as_deref())?,
            output: shown(instance.output.as_deref())?,
            created_time: seconds(instance.created),
            last_updated_time: seconds(instance.updated),
            history_events: None,
        })
    }

    /// In a list a comment spoils its own row alone: it is shown as a text.
    fn listed(instance: &'a Instance, show_input: bool) -> Self {
        let input = instance.input.as_deref().filter(|_| show_input);
        let lenient = |text: Option<&str>| shown(text).unwrap_or_else(|_| raw(quoted(text.unwrap_or_default())));
        Self {
            name: &instance.name,
            instance_id: &instance.instance_id,
            runtime_status: format!("{:?}", instance.status),
            input: lenient(input),
            custom_status: lenient(instance.custom_status.as_deref()),
            output: lenient(instance.output.as_deref()),
            created_time: seconds(instance.created),
            last_updated_time: seconds(instance.updated),
            history_events: None,
        }
    }
}

fn seconds(at: OffsetDateTime) -> String {
    let at = at.to_offset(UtcOffset::UTC);
    at.replace_nanosecond(0).unwrap_or(at).format(&Rfc3339).unwrap_or_default()
}

/// What the extension comes to that has a comment to show where a value is to be.
pub(super) fn not_shown(_comment: String) -> Refused {
    let what = "Token PropertyName in state Property would result in an invalid JSON object. Path ''.";
    Refused::unexpected("Newtonsoft.Json.JsonWriterException", what.to_owned())
}

pub(super) async fn show(asked: &Asked<'_>, id: &str) -> Answer {
    let instance = if asked.is_own_hub() { asked.hub.instance(id).await? } else { None };
    let failure_is_500 = asked.query.flag("returnInternalServerErrorOnFailure").unwrap_or(false);
    shown_alone(asked, &instance.ok_or_else(not_found)?, failure_is_500).await
}

/// The answer about one instance, with what the query asks for.
pub(super) async fn shown_alone(asked: &Asked<'_>, instance: &Instance, failure_is_500: bool) -> Answer {
    let flag = |name: &str, default| asked.query.flag(name).unwrap_or(default);
    let show_input = flag("showInput", true);
    let mut status = Status::new(instance, show_input).map_err(not_shown)?;
    if flag("showHistory", false) && instance.status != OrchestrationStatus::Pending {
        let id = &instance.instance_id;
        let shown = Shown {
            input: show_input,
            output: flag("showHistoryOutput", false),
            generation: asked.hub.generation(id).await?,
        };
        status.history_events = Some(history::events(&asked.hub.history(id).await?, shown));
    }
    if !instance.has_ended() {
        return Ok(ask_again(json(StatusCode::ACCEPTED, &status), &asked.address(), 5));
    }
    let is_500 = failure_is_500 && instance.status == OrchestrationStatus::Failed;
    Ok(json(if is_500 { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK }, &status))
}

/// Which instances a query is about.
pub(super) fn filter(asked: &Asked<'_>) -> Filter {
    Filter {
        prefix: asked.query.text("instanceIdPrefix").unwrap_or_default(),
        from: asked.query.time("createdTimeFrom"),
        to: asked.query.time("createdTimeTo"),
        statuses: asked.query.statuses("runtimeStatus"),
    }
}

pub(super) async fn list(asked: &Asked<'_>) -> Answer {
    let top = match asked.query.integer("top") {
        None => PAGE,
        Some(top) => usize::try_from(top).map_err(|_| negative_page())?,
    };
    let page = match asked.header(CONTINUATION).filter(|it| !it.is_empty()).map(position) {
        // As recorded: after a token that is none there is nothing.
        Some(None) => Page::default(),
        _ if !asked.is_own_hub() => Page::default(),
        after => asked.hub.page(filter(asked), after.flatten().unwrap_or_default(), top).await?,
    };
    let show_input = asked.query.flag("showInput").unwrap_or(true);
    let body: Vec<Status<'_>> = page.instances.iter().map(|it| Status::listed(it, show_input)).collect();
    let mut response: Response = json(StatusCode::OK, &body);
    if let Some(next) = &page.next {
        set(&mut response, CONTINUATION, &token(next));
    }
    Ok(response)
}

/// Storage refuses such a page.
fn negative_page() -> Refused {
    let what = "The page size is negative.".to_owned();
    Refused::unexpected("DurableTask.AzureStorage.Storage.DurableTaskStorageException", what)
}

/// A token for the page after an id: ids may be of characters that no header takes.
fn token(after: &str) -> String {
    URL_SAFE_NO_PAD.encode(format!("after:{after}"))
}

fn position(token: &str) -> Option<String> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
    text.strip_prefix("after:").map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_ascii_and_leads_back_to_any_id() {
        for id in ["", "p1", "ä", "日本\n", "a\"b"] {
            let token = token(id);
            assert!(token.is_ascii() && !token.is_empty(), "{token}");
            assert_eq!(position(&token).as_deref(), Some(id));
        }
        assert_eq!((position("nonsense"), position("ä"), position("null")), (None, None, None));
    }
}
