//! Replies that the extension refuses, and those it accepts and then retries for ever: here both end the instance with a reason.

use time::{Duration, OffsetDateTime};

use super::again::SOURCE_TAG;
use crate::emulator::host::Exception;
use durable::protocol::{ActionType, OrchestratorAction, Tags};

/// Longest custom status (extension: `RemoteOrchestratorContext.cs`); it counts UTF-16.
const LARGEST_STATUS_BYTES: usize = 16 * 1024;
/// Longest time a queue of Azure hides a message.
const LONGEST_TIMER: Duration = Duration::days(7);

/// Refuses a custom status that is too large.
///
/// # Errors
/// The extension's exception.
pub(super) fn check_status(custom_status: Option<&str>) -> Result<(), Exception> {
    let bytes = 2 * custom_status.unwrap_or_default().encode_utf16().count();
    if bytes <= LARGEST_STATUS_BYTES {
        return Ok(());
    }
    let actual = bytes as f64 / 1024.0;
    let message = format!("CustomStatus is too large: limit = 16 KB (UTF-16), actual = {actual:.2} KB.");
    Err(Exception::new("System.ArgumentException", message))
}

/// Refuses an action that cannot come to anything.
///
/// # Errors
/// The extension's exception, or our own for what the extension would retry for ever.
pub(super) fn check_action(action: &OrchestratorAction, now: OffsetDateTime) -> Result<(), Exception> {
    use ActionType as A;
    let unsupported = |kind: &str| {
        Exception::new("System.NotSupportedException", format!("Received unsupported action type '{kind}'."))
    };
    let hopeless = |what: &str| {
        Exception::new(
            "System.InvalidOperationException",
            format!("The action with id {} is refused: {what}", action.id),
        )
    };
    Err(match &action.action_type {
        None => unsupported("None"),
        Some(A::TerminateOrchestration(_)) => unsupported("TerminateOrchestration"),
        Some(A::RewindOrchestration(_)) => unsupported("RewindOrchestration"),
        Some(A::SendEntityMessage(_)) => hopeless("sendEntityMessage needs entities, which this hub does not have."),
        Some(A::SendEvent(it)) if it.instance.as_ref().is_some_and(|it| is_entity(&it.instance_id)) => {
            hopeless("sendEvent is for an entity, which this hub does not have.")
        }
        Some(A::CreateSubOrchestration(it)) if it.instance_id.is_empty() => {
            hopeless("createSubOrchestration has no instanceId. The extension would retry it for ever.")
        }
        Some(A::CreateTimer(it)) if it.fire_at.is_some_and(|it| OffsetDateTime::from(it) - now > LONGEST_TIMER) => {
            hopeless("createTimer is more than 7 days ahead. The extension would retry it for ever; split it.")
        }
        Some(A::ScheduleTask(it)) => return check_tags(&it.tags),
        Some(A::CreateSubOrchestration(it)) => return check_tags(&it.tags),
        Some(A::CompleteOrchestration(it)) => return check_tags(&it.tags),
        Some(_) => return Ok(()),
    })
}

/// Whether an id is an entity's: `@name@key`.
fn is_entity(instance_id: &str) -> bool {
    instance_id.strip_prefix('@').is_some_and(|it| it.contains('@'))
}

fn check_tags(tags: &Tags) -> Result<(), Exception> {
    if !tags.contains_key(SOURCE_TAG) {
        return Ok(());
    }
    let message = format!("The tag key '{SOURCE_TAG}' is reserved for internal use. (Parameter 'result')");
    Err(Exception::new("System.ArgumentException", message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use durable::protocol::{Nothing, OrchestrationInstance, SendEvent, SubOrchestration, TimerCreated, Timestamp};

    fn said(action: ActionType) -> Option<String> {
        let now = OffsetDateTime::UNIX_EPOCH;
        check_action(&OrchestratorAction::new(7, Some(action)), now).err().map(|it| it.message)
    }

    #[test]
    fn what_the_real_hub_retries_for_ever_is_refused_by_name() {
        let days = |days: i64, nanos: i32| {
            said(ActionType::CreateTimer(TimerCreated::new(Some(Timestamp::new(days * 86_400, nanos)))))
        };
        assert_eq!((days(7, 0), days(-7, 0)), (None, None));
        assert!(days(7, 1).unwrap().contains("createTimer"));
        let child = |id: &str| {
            said(ActionType::CreateSubOrchestration(SubOrchestration::new(id.to_owned(), "c".to_owned(), None)))
        };
        assert_eq!(child("a"), None);
        assert!(child("").unwrap().starts_with("The action with id 7 is refused: createSubOrchestration"));
        let event = |id: &str| {
            let to = Some(OrchestrationInstance::new(id.to_owned(), None));
            said(ActionType::SendEvent(SendEvent::new(to, "Go".to_owned(), None)))
        };
        assert_eq!((event("a"), event("@x"), event("a@b@c")), (None, None, None));
        assert!(event("@counter@k").is_some() && said(ActionType::SendEntityMessage(Nothing::default())).is_some());
    }

    #[test]
    fn a_custom_status_may_have_8192_characters_of_utf_16() {
        assert!(check_status(None).is_ok() && check_status(Some(&"ü".repeat(8192))).is_ok());
        assert!(check_status(Some(&"😀".repeat(4096))).is_ok());
        let said = check_status(Some(&"😀".repeat(4097))).unwrap_err().message;
        assert_eq!(said, "CustomStatus is too large: limit = 16 KB (UTF-16), actual = 16.00 KB.");
    }
}
