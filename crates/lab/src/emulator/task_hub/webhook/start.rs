//! Starts and restarts, and the wait for what was started.

use std::time::Duration;

use axum::http::StatusCode;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::{
    answer::{Answer, Refused, ask_again, json},
    asked::{Asked, not_found},
    json::{check, plain_number, shown},
    status,
};
use crate::emulator::task_hub::{Client, Instance, Restarted, Start, StartError, StoreError};
use durable::protocol::OrchestrationStatus;

/// Between two looks at an instance that somebody waits for.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
/// Longest .NET `TimeSpan`, in seconds.
const LONGEST_SPAN: f64 = 922_337_203_685.477_5;
const ARGUMENT: &str = "System.ArgumentException";

pub(super) async fn start(asked: &Asked<'_>, function: String, id: Option<String>) -> Answer {
    if !asked.is_own_hub() {
        return Err(not_found());
    }
    let input = if asked.body.is_empty() { None } else { Some(asked.text()) };
    if let Some(Err(error)) = input.as_deref().map(check) {
        let refused = if error.is_of_reader() {
            Refused::invalid_json(error)
        } else {
            Refused::unexpected(error.kind, error.message)
        };
        return Err(refused);
    }
    let instance_id = id.unwrap_or_else(|| Uuid::new_v4().simple().to_string());
    let version = asked.query.text("version");
    let start = Start { name: function, instance_id: instance_id.clone(), input, version, client: Client::Webhook };
    asked.hub.create_instance(start).await?;
    started(asked, &instance_id).await.map_err(|it| match it {
        NotWaited::Argument(what) => Refused::Message(StatusCode::BAD_REQUEST, what),
        NotWaited::Other(refused) => refused,
    })
}

pub(super) async fn restart(asked: &Asked<'_>, id: &str) -> Answer {
    const UNKNOWN: &str = "InstanceId does not match a valid orchestration instance.";
    let with_new_id = asked.query.flag("restartWithNewInstanceId").unwrap_or(true);
    let bad_request = |what| Refused::exception(StatusCode::BAD_REQUEST, UNKNOWN, ARGUMENT, what);
    let restarted = if asked.is_own_hub() { asked.hub.restart(id, with_new_id).await? } else { Restarted::Unknown };
    match restarted {
        Restarted::As(started_id) => started(asked, &started_id).await.map_err(|it| match it {
            NotWaited::Argument(what) => bad_request(what),
            NotWaited::Other(refused) => refused,
        }),
        Restarted::Unknown => {
            Err(bad_request(format!("No instance with ID '{id}' was found. (Parameter 'instanceId')")))
        }
        Restarted::Live(status) => Err(Refused::exception(
            StatusCode::CONFLICT,
            "A non-terminal instance with this instance ID already exists.",
            "DurableTask.Core.Exceptions.OrchestrationAlreadyExistsException",
            StartError::Exists { status }.to_string(),
        )),
    }
}

/// Why nobody waited for an instance, which runs all the same.
enum NotWaited {
    Argument(String),
    Other(Refused),
}

impl From<StoreError> for NotWaited {
    fn from(error: StoreError) -> Self {
        Self::Other(error.into())
    }
}

/// The answer to a start: at once, or after the wait that it asks for.
async fn started(asked: &Asked<'_>, id: &str) -> Result<axum::response::Response, NotWaited> {
    let span = |name: &str| asked.query.seconds(name).map(ticks).transpose();
    if let (Some(timeout), Some(pause)) = (span("timeout")?, span("pollingInterval")?) {
        if pause > timeout {
            let [timeout, pause] = [timeout, pause].map(|it| plain_number(it.as_seconds_f64()));
            let what = format!("Total timeout {timeout} should be bigger than retry timeout {pause}");
            return Err(NotWaited::Argument(what));
        }
        if let Some(ended) = wait_for(asked, id, timeout, pause).await? {
            return if ended.status == OrchestrationStatus::Completed {
                let output = shown(ended.output.as_deref()).map_err(|it| NotWaited::Other(status::not_shown(it)))?;
                Ok(json(StatusCode::OK, &output))
            } else {
                status::shown_alone(asked, &ended, false).await.map_err(NotWaited::Other)
            };
        }
    }
    let links = asked.links(id);
    Ok(ask_again(json(StatusCode::ACCEPTED, &links), &links.status_query_get_uri, 10))
}

/// As .NET's `TimeSpan.FromSeconds`, which has 100 ns and may be negative.
fn ticks(seconds: f64) -> Result<time::Duration, NotWaited> {
    if seconds.is_nan() {
        let what = "TimeSpan does not accept floating point Not-a-Number values.";
        return Err(NotWaited::Argument(what.to_owned()));
    }
    if seconds.abs() > LONGEST_SPAN {
        let what = "TimeSpan overflowed because the duration is too long.";
        return Err(NotWaited::Other(Refused::unexpected("System.OverflowException", what.to_owned())));
    }
    Ok(time::Duration::seconds_f64((seconds * 1e7).round() / 1e7))
}

async fn wait_for(
    asked: &Asked<'_>,
    id: &str,
    longest: time::Duration,
    pause: time::Duration,
) -> Result<Option<Instance>, NotWaited> {
    let began = Instant::now();
    loop {
        if let Some(instance) = asked.hub.instance(id).await?.filter(Instance::has_ended) {
            return Ok(Some(instance));
        }
        let left = longest - time::Duration::try_from(began.elapsed()).unwrap_or(time::Duration::MAX);
        if !left.is_positive() {
            return Ok(None);
        }
        let Ok(pause) = Duration::try_from(pause.min(left)) else {
            let what = "The value needs to translate in milliseconds to -1 (signifying an infinite timeout), 0, or a positive \
                        integer less than or equal to the maximum allowed timer duration. (Parameter 'delay')";
            return Err(NotWaited::Argument(what.to_owned()));
        };
        sleep(pause.max(SHORTEST_PAUSE)).await;
    }
}
