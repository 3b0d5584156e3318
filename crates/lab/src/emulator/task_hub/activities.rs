//! The dispatcher of activities.

use std::time::Duration;

use rusqlite::Connection;
use serde_json::{Map, Value};
use tokio::time::sleep;

use super::{
    Ended, TaskHub,
    rows::{self, Activity, event},
    store::StoreError,
};
use crate::emulator::host::{Call, Exception, binding_data, texts};
use durable::protocol::{EventType, FailureDetails, TaskCompleted, TaskFailed};

const LOOK_EVERY: Duration = Duration::from_secs(5);

impl TaskHub {
    pub(super) async fn dispatch_activities(self) {
        let inner = &self.inner;
        while !inner.stopping.is_cancelled() {
            match self.waiting_activities().await {
                Ok(waiting) => waiting.into_iter().for_each(|it| self.start_activity(it)),
                Err(error) => tracing::error!("cannot look for activities: {error}"),
            }
            tokio::select! {
                () = inner.stopping.cancelled() => {}
                () = inner.activities_arrived.notified() => {}
                () = sleep(LOOK_EVERY) => {}
            }
        }
    }

    fn start_activity(&self, activity: Activity) {
        let (hub, id) = (self.clone(), activity.id);
        // Its place is given back only when it is gone from the file.
        let work = async move { hub.run_activity(activity).await };
        self.work_on(id, |inner| (&inner.activities, &inner.activities_arrived), work);
    }

    /// The oldest that are neither under way nor at rest, as many as the limit allows.
    async fn waiting_activities(&self) -> Result<Vec<Activity>, StoreError> {
        let free = self.inner.options.max_activities.saturating_sub(self.inner.activities.running());
        if free == 0 {
            return Ok(Vec::new());
        }
        // Taken before the file is read: of one that ended in between the row read would still be there, and it would be run again.
        let held = self.inner.activities.held();
        let limit = held.len() + free;
        let oldest = self.inner.store.read(move |connection| rows::activities(connection, limit)).await?;
        Ok(oldest.into_iter().filter(|it| !held.contains(&it.id)).take(free).collect())
    }

    async fn run_activity(&self, activity: Activity) -> Result<Ended, StoreError> {
        let inner = &self.inner;
        let Some(outcome) = self.outcome_of(&activity).await else { return Ok(Ended::GivenUp) };
        let write = move |connection: &Connection| rows::complete_activity(connection, &activity, &event(-1, outcome));
        inner.store.write(write).await?;
        inner.messages_arrived.notify_one();
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
