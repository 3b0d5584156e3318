//! The dispatcher of episodes: from an instance's messages to a call, and from its answer to the file.

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{
    Ended, Instance, TaskHub,
    episode::Given,
    outcome::EpisodeOutcome,
    rows::{self, Message, event},
    store::StoreError,
};
use crate::evidence::moment::Moment;
use crate::evidence::table_writer::Table;
use durable::protocol::{EventType, HistoryEvent, Nothing};

/// Interval between looks at the queue when no message was announced.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Everything an episode begins with.
struct Loaded {
    instance: Instance,
    messages: Vec<Message>,
    past: Vec<HistoryEvent>,
}

impl TaskHub {
    pub(super) async fn dispatch_orchestrations(self) {
        let inner = &self.inner;
        while !inner.stopping.is_cancelled() {
            let wait = match self.start_episodes().await {
                Ok(next) => next.unwrap_or(LOOK_EVERY).min(LOOK_EVERY),
                Err(error) => {
                    tracing::error!("cannot look for messages: {error}");
                    LOOK_EVERY
                }
            };
            tokio::select! {
                () = inner.stopping.cancelled() => {}
                () = inner.messages_arrived.notified() => {}
                () = sleep(wait) => {}
            }
        }
    }

    /// Starts an episode of each instance that has messages, as far as the limit allows; gives the time until the next timer.
    async fn start_episodes(&self) -> Result<Option<Duration>, StoreError> {
        // Only here are there more of them. Whichever ends first asks again.
        let free = self.inner.options.max_orchestrations.saturating_sub(self.inner.episodes.running());
        if free == 0 {
            return Ok(None);
        }
        let now = rows::nanos(rows::now());
        let (due, next) = self.inner.store.read(move |connection| rows::due(connection, now)).await?;
        let held = self.inner.episodes.held();
        for instance_id in due.into_iter().filter(|it| !held.contains(it)).take(free) {
            let (hub, id) = (self.clone(), instance_id.clone());
            let work = async move { hub.work(&id).await };
            self.work_on(instance_id, |inner| (&inner.episodes, &inner.messages_arrived), work);
        }
        Ok(next.map(|next| Duration::from_nanos(u64::try_from(next - now).unwrap_or_default())))
    }

    /// One work item: an episode, and those that follow from it at once by continuing as new.
    async fn work(&self, instance_id: &str) -> Result<Ended, StoreError> {
        let began = Instant::now();
        let Some(loaded) = self.load(instance_id).await? else { return Ok(Ended::Well) };
        let read = began.elapsed();
        let Loaded { instance, messages, past } = loaded;
        let consumed = messages.iter().map(|it| it.id).collect();
        let mut new = vec![event(-1, EventType::OrchestratorStarted(Nothing::default()))];
        new.extend(messages.into_iter().map(|it| it.event));
        let mut outcome = EpisodeOutcome::new(instance, past.len(), consumed, self.inner.options.stores_inputs);
        let mut given = Given { past, new };
        let mut spent = Duration::ZERO;
        let mut cost = (given.past.len(), given.new.len());
        loop {
            let called = Instant::now();
            let answer = self.call_orchestrator(&outcome.instance, &mut given).await;
            spent += called.elapsed();
            cost.1 = given.new.len();
            let answer = match answer {
                Ok(answer) => answer,
                Err(ended) => return Ok(ended),
            };
            match outcome.apply(given, answer) {
                Some(next) => given = next,
                None => break,
            }
            cost.0 = 0;
        }
        let began = Instant::now();
        self.record(outcome).await?;
        self.tell(instance_id, cost, [read, spent, began.elapsed()]);
        Ok(Ended::Well)
    }

    /// Reads what an episode begins with; `None` where there is nothing to do.
    async fn load(&self, instance_id: &str) -> Result<Option<Loaded>, StoreError> {
        let (id, now) = (instance_id.to_owned(), rows::nanos(rows::now()));
        let read = self.inner.store.read(move |connection| {
            let messages = rows::messages(connection, &id, now)?;
            let instance = rows::find(connection, &id)?.filter(|it| !it.finished);
            let past = if instance.is_some() { rows::history(connection, &id)? } else { Vec::new() };
            Ok((instance, messages, past))
        });
        let (instance, messages, past) = read.await?;
        let execution = instance.as_ref().map(|it| it.execution_id.clone());
        // Undeliverable messages: the instance has ended, was purged, or has continued as new since.
        let is_wanted =
            |it: &Message| execution.is_some() && (it.execution_id.is_none() || it.execution_id == execution);
        let (mut messages, unwanted): (Vec<Message>, Vec<Message>) = messages.into_iter().partition(is_wanted);
        if !unwanted.is_empty() {
            let ids: Vec<i64> = unwanted.iter().map(|it| it.id).collect();
            self.inner.store.write(move |connection| rows::remove_messages(connection, &ids)).await?;
        }
        messages.sort_by_key(|it| !matches!(it.event.event_type, Some(EventType::ExecutionStarted(_))));
        Ok(instance.filter(|_| !messages.is_empty()).map(|instance| Loaded { instance, messages, past }))
    }

    /// One transaction: the messages are gone exactly when what they led to is there.
    async fn record(&self, outcome: EpisodeOutcome) -> Result<(), StoreError> {
        let has_activities = outcome.has_activities();
        self.inner.store.write(move |connection| outcome.write(connection)).await?;
        if has_activities {
            self.inner.activities_arrived.notify_one();
        }
        Ok(())
    }

    fn tell(&self, instance_id: &str, (past, new): (usize, usize), [read, call, write]: [Duration; 3]) {
        let ms = |it: Duration| it.as_secs_f64() * 1000.0;
        let mut row = json!({
            "instanceId": instance_id,
            "pastEvents": past,
            "newEvents": new,
            "readMs": ms(read),
            "callMs": ms(call),
            "writeMs": ms(write),
        });
        Moment::now().stamp(&mut row);
        self.inner.tables.append(Table::Episodes, &row);
    }
}
