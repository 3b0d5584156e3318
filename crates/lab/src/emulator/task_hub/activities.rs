//! One activity: from its row to a call, and from its answer to the file.

use rusqlite::Connection;
use serde_json::{Map, Value};

use super::{
    TaskHub,
    rows::{self, Activity, event},
    store::StoreError,
    working::Ended,
};
use crate::emulator::host::{Call, Exception, binding_data, texts};
use durable::protocol::{EventType, FailureDetails, TaskCompleted, TaskFailed};

impl TaskHub {
    /// Runs an activity. One that is gone from the file was purged.
    pub(super) async fn run_activity(&self, id: i64) -> Result<Ended, StoreError> {
        let inner = &self.inner;
        let activity = inner.store.read(move |connection| rows::activity(connection, id)).await?;
        let Some(activity) = activity else { return Ok(Ended::Well) };
        let Some(outcome) = self.outcome_of(&activity).await else { return Ok(Ended::GivenUp) };
        let write = move |connection: &Connection| rows::complete_activity(connection, &activity, &event(-1, outcome));
        inner.store.write(write).await?;
        Ok(Ended::Well)
    }

    /// Runs it. `None` when the lab is stopping: it will be run again.
    async fn outcome_of(&self, activity: &Activity) -> Option<EventType> {
        let inner = &self.inner;
        let task_scheduled_id = activity.task_id;
        let Some((name, binding)) = inner.functions.activity(&activity.name) else {
            // The extension leaves the details out [recorded].
            tracing::warn!(
                "there is no activity {:?}. Additional info: {}",
                activity.name,
                inner.functions.known_activities()
            );
            return Some(EventType::TaskFailed(TaskFailed::new(task_scheduled_id, None)));
        };
        let outcome = inner.host.invoke(call(name, binding, activity)).await;
        match (outcome.reply, outcome.exception) {
            (Some(reply), _) => {
                let result = texts::result(&reply.return_value);
                Some(EventType::TaskCompleted(TaskCompleted::new(task_scheduled_id, result)))
            }
            _ if inner.stopping.is_cancelled() => None,
            (None, exception) => {
                let failure_details = exception.as_ref().map(|it| Box::new(details(it)));
                Some(EventType::TaskFailed(TaskFailed::new(task_scheduled_id, failure_details)))
            }
        }
    }
}

/// What the extension puts into the envelope: the input's text as a .NET string, in three places.
fn call(name: &str, binding: &str, activity: &Activity) -> Call {
    let text = activity.input.as_deref().unwrap_or("null");
    let input: Value = serde_json::from_str(text).unwrap_or_default();
    let encoded = binding_data::encoded(text);
    let mut metadata = Map::new();
    metadata.insert("instanceId".to_owned(), binding_data::encoded(&activity.instance_id));
    metadata.insert(binding.to_owned(), encoded.clone());
    metadata.insert("data".to_owned(), if input.is_object() { input.clone() } else { Value::from(text) });
    Call {
        function: name.to_owned(),
        data: Map::from_iter([(binding.to_owned(), encoded)]),
        metadata,
        properties: texts::properties(&input),
        ..Call::default()
    }
}

fn details(exception: &Exception) -> FailureDetails {
    FailureDetails::with(|set| {
        set.error_type = exception.kind.clone();
        set.error_message = exception.message.clone();
        set.inner_failure = exception.inner.as_deref().map(|it| Box::new(details(it)));
    })
}
