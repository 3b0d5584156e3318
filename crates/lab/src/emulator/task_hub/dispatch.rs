//! The dispatchers, and an episode: from an instance's messages to a call, and from its answer to the file.
//!
//! What waits is read from the file page by page as places become free, and each row once. So what a dispatch costs does not depend on
//! how much is due, and no more than a few pages of ids are in memory.

use std::{future::pending, sync::atomic::Ordering, time::Duration};

use rusqlite::Connection;
use serde_json::json;
use tokio::time::{Instant, sleep, sleep_until};

use super::{
    Instance, TaskHub,
    episode::Given,
    outcome::EpisodeOutcome,
    rows::{self, Message, Past, Seen, event},
    store::StoreError,
    working::Ended,
};
use crate::evidence::moment::Moment;
use crate::evidence::table_writer::Table;
use durable::protocol::{EventType, Nothing};

/// Interval between looks at the queue when no message was announced.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Rows that are read at once.
const PAGE: usize = 512;
/// As long as so many wait in memory no more are read.
const ENOUGH: usize = 256;

/// Everything an episode begins with.
struct Loaded {
    instance: Instance,
    messages: Vec<Message>,
    past: Past,
}

/// What an earlier hub left: held until the host would make a call again that was under way, then read like everything else. What has
/// been done by then is not done again.
pub(super) struct Left {
    /// The number of the last of it.
    up_to: i64,
    until: Option<Instant>,
}

impl Left {
    pub(super) fn new(up_to: i64, hold: Duration) -> Self {
        let until = (up_to > 0 && !hold.is_zero()).then(|| Instant::now() + hold);
        Self { up_to, until }
    }

    fn is_held(&self) -> bool {
        self.until.is_some()
    }

    /// Returns once, when it is no longer held.
    async fn due(&mut self) {
        match self.until {
            Some(until) => sleep_until(until).await,
            None => pending().await,
        }
        self.until = None;
    }
}

impl TaskHub {
    pub(super) async fn dispatch_orchestrations(self, mut left: Left) {
        let inner = &self.inner;
        let mut posted = inner.store.posted().messages;
        let mut seen = if left.is_held() { Seen::up_to(left.up_to) } else { Seen::default() };
        while !inner.stopping.is_cancelled() {
            let wait = match self.start_episodes(&mut seen, || *posted.borrow_and_update()).await {
                Ok(next) => next.unwrap_or(LOOK_EVERY).min(LOOK_EVERY),
                Err(error) => {
                    tracing::error!("cannot look for messages: {error}");
                    LOOK_EVERY
                }
            };
            tokio::select! {
                () = inner.stopping.cancelled() => {}
                () = inner.episode_ended.notified() => {}
                Ok(()) = posted.changed() => {}
                () = left.due() => seen = Seen::default(),
                () = sleep(wait) => if wait == LOOK_EVERY { inner.store.close_idle() }
            }
        }
    }

    /// Starts an episode of each instance that has messages, as far as the limit allows; gives the time until the next timer. Where
    /// enough wait already the next look is when one of them has ended.
    async fn start_episodes(
        &self,
        seen: &mut Seen,
        mut posted: impl FnMut() -> i64,
    ) -> Result<Option<Duration>, StoreError> {
        let inner = &self.inner;
        loop {
            while let Some(id) = inner.episodes.next(inner.options.max_orchestrations) {
                let (hub, instance_id) = (self.clone(), id.clone());
                let work = async move { hub.work(&instance_id).await };
                self.work_on(id, |inner| (&inner.episodes, &inner.episode_ended), work);
            }
            let (now, last, from) = (self.moment(), posted(), *seen);
            if inner.episodes.waiting() >= ENOUGH {
                return Ok(None);
            }
            let next = from.next.map(|it| Duration::from_nanos(u64::try_from(it - now).unwrap_or_default()));
            if last <= from.id && next != Some(Duration::ZERO) {
                return Ok(next);
            }
            let read = inner.store.read(move |connection| rows::arrived(connection, from, (now, last), PAGE));
            let (due, until) = read.await?;
            due.into_iter().for_each(|it| inner.episodes.offer(it));
            *seen = until;
        }
    }

    pub(super) async fn dispatch_activities(self, mut left: Left) {
        let inner = &self.inner;
        let mut posted = inner.store.posted().activities;
        let mut seen = if left.is_held() { left.up_to } else { 0 };
        while !inner.stopping.is_cancelled() {
            if let Err(error) = self.start_activities(&mut seen, || *posted.borrow_and_update()).await {
                tracing::error!("cannot look for activities: {error}");
            }
            tokio::select! {
                () = inner.stopping.cancelled() => {}
                () = inner.activity_ended.notified() => {}
                Ok(()) = posted.changed() => {}
                () = left.due() => seen = 0,
                () = sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// Starts the oldest activities, as many as the limit allows.
    async fn start_activities(&self, seen: &mut i64, mut posted: impl FnMut() -> i64) -> Result<(), StoreError> {
        let inner = &self.inner;
        loop {
            while let Some(id) = inner.activities.next(inner.options.max_activities) {
                // Its place is given back only when it is gone from the file.
                let hub = self.clone();
                let work = async move { hub.run_activity(id).await };
                self.work_on(id, |inner| (&inner.activities, &inner.activity_ended), work);
            }
            let (last, from) = (posted(), *seen);
            if last <= from || inner.activities.waiting() >= ENOUGH {
                return Ok(());
            }
            let ids = inner.store.read(move |connection| rows::scheduled(connection, from, PAGE)).await?;
            *seen = if ids.len() < PAGE { last.max(from) } else { from };
            for id in ids {
                *seen = id.max(*seen);
                inner.activities.offer(id);
            }
        }
    }

    /// Now, or the latest moment that was now: a message that was due stays due when the clock is set back.
    fn moment(&self) -> i64 {
        let now = rows::nanos(rows::now());
        self.inner.latest.fetch_max(now, Ordering::Relaxed).max(now)
    }

    /// One work item: an episode, and those that follow from it at once by continuing as new.
    async fn work(&self, instance_id: &str) -> Result<Ended, StoreError> {
        let began = Instant::now();
        let Loaded { instance, messages, past } = match self.load(instance_id).await? {
            Ok(loaded) => loaded,
            Err(ended) => return Ok(ended),
        };
        let read = began.elapsed();
        let consumed = messages.iter().map(|it| it.id).collect();
        let mut new = vec![event(-1, EventType::OrchestratorStarted(Nothing::default()))];
        new.extend(messages.into_iter().map(|it| it.event));
        let mut outcome = EpisodeOutcome::new(instance, past.events, consumed, self.inner.options.stores_inputs);
        let mut given = Given { past, new };
        let mut spent = Duration::ZERO;
        let mut cost = (given.past.events, given.new.len());
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
        if !self.inner.store.write(move |connection| outcome.write(connection)).await? {
            return Ok(Ended::Outdated);
        }
        self.tell(instance_id, cost, [read, spent, began.elapsed()]);
        Ok(Ended::Well)
    }

    /// Reads what an episode begins with; where there is nothing, how the work item ends.
    async fn load(&self, instance_id: &str) -> Result<Result<Loaded, Ended>, StoreError> {
        let (id, now) = (instance_id.to_owned(), self.moment());
        let read = self.inner.store.read(move |connection| {
            let messages = rows::messages(connection, &id, now)?;
            let instance = rows::find(connection, &id)?.filter(|it| !it.finished);
            // Undeliverable messages: the instance has ended, was purged, or has continued as new since.
            let is_wanted = |it: &Message| {
                let present = instance.as_ref().map(|it| &it.execution_id);
                present.is_some() && (it.execution_id.is_none() || it.execution_id.as_ref() == present)
            };
            let (messages, unwanted): (Vec<Message>, Vec<Message>) = messages.into_iter().partition(is_wanted);
            let loaded = match instance.filter(|_| !messages.is_empty()) {
                Some(instance) => Some(Loaded { past: rows::past(connection, &id)?, instance, messages }),
                None => None,
            };
            Ok((loaded, unwanted))
        });
        let (loaded, unwanted) = read.await?;
        let mut ended = Ended::Well;
        if !unwanted.is_empty() {
            let ids: Vec<i64> = unwanted.iter().map(|it| it.id).collect();
            let count = ids.len();
            let remove = move |connection: &Connection| rows::remove_undeliverable(connection, &ids);
            // One that stays can be delivered since: its instance was rewound.
            if self.inner.store.write(remove).await? < count {
                ended = Ended::Outdated;
            }
        }
        let Some(mut loaded) = loaded else { return Ok(Err(ended)) };
        loaded.messages.sort_by_key(|it| !matches!(it.event.event_type, Some(EventType::ExecutionStarted(_))));
        Ok(Ok(loaded))
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
