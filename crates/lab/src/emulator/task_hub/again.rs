//! Instances that are run again: failed ones rewound, ended ones restarted.

use std::collections::{HashMap, HashSet};

use rusqlite::Connection;

use super::{
    Instance, TaskHub,
    rows::{self, NewInstance, event},
    store::StoreError,
};
use durable::protocol::{
    EventType, HistoryEvent, OrchestrationInstance, OrchestrationStatus, ParentInstance, Reason, Tags,
};

/// Tag of a restart under a new id: the instance it repeats.
pub(super) const SOURCE_TAG: &str = "MS_DurableFunctions_SourceInstanceId";

/// What became of a rewind.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Rewound {
    Accepted,
    /// There is no such instance.
    Unknown,
    /// It has not failed.
    NotFailed(OrchestrationStatus),
}

/// What became of a restart.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Restarted {
    /// The instance that was started.
    As(String),
    /// There is no such instance.
    Unknown,
    /// It has not ended, and was to be started under its own id.
    Live(OrchestrationStatus),
}

impl TaskHub {
    /// Has a failed instance go on from where it failed: failed activities and failed children run again.
    ///
    /// # Errors
    /// What the file refused.
    pub async fn rewind(&self, instance_id: &str, reason: Option<String>) -> Result<Rewound, StoreError> {
        let id = instance_id.to_owned();
        let rewound = self.inner.store.write(move |connection| {
            let Some(instance) = rows::find(connection, &id)? else { return Ok(Rewound::Unknown) };
            if !has_failed(&instance) {
                return Ok(Rewound::NotFailed(instance.status));
            }
            let mut failed = vec![instance];
            while let Some(instance) = failed.pop() {
                failed.extend(rewind(connection, instance, reason.as_deref())?);
            }
            Ok(Rewound::Accepted)
        });
        rewound.await
    }

    /// Starts an instance with the name and input of another one: under a new id, or in the place of one that has ended.
    ///
    /// # Errors
    /// What the file refused.
    pub async fn restart(&self, instance_id: &str, with_new_id: bool) -> Result<Restarted, StoreError> {
        let (id, version) = (instance_id.to_owned(), self.inner.options.versions.of_app.clone());
        let restarted = self.inner.store.write(move |connection| {
            let Some(source) = rows::find(connection, &id)? else { return Ok(Restarted::Unknown) };
            let (instance_id, tags) = if with_new_id {
                (rows::hex_id(), Tags::from([(SOURCE_TAG.to_owned(), id)]))
            } else {
                (id, Tags::new())
            };
            let Instance { name, input, .. } = source;
            let (execution_id, parent, started) = (rows::hex_id(), None, instance_id.clone());
            let new = NewInstance { instance_id, execution_id, name, input, version, parent, tags };
            Ok(match rows::create(connection, new)? {
                Ok(()) => Restarted::As(started),
                Err(status) => Restarted::Live(status),
            })
        });
        restarted.await
    }
}

fn has_failed(instance: &Instance) -> bool {
    instance.finished && instance.status == OrchestrationStatus::Failed
}

/// What a rewound instance does about an action.
enum Step {
    /// Its outcome is there, or will come.
    Keep,
    /// It is asked for again.
    Again,
    /// Its child is rewound, and answers again.
    Rewind(Box<Instance>),
}

/// Rewinds one instance; gives its children that are to be rewound too.
///
/// What belongs to the failure stays in history as events without content, which replay passes over (provider:
/// `AzureTableTrackingStore.RewindHistoryAsync`). Beyond that, actions whose outcome came after the instance had failed, and was
/// dropped, are asked for again: it would wait for them for ever.
fn rewind(connection: &Connection, mut instance: Instance, reason: Option<&str>) -> rusqlite::Result<Vec<Instance>> {
    let mut events = rows::history(connection, &instance.instance_id)?;
    let (mut again, mut children) = (HashSet::new(), Vec::new());
    let outcomes = Outcomes::of(connection, &instance, &events)?;
    for event in &events {
        match outcomes.step(connection, &instance, event)? {
            Step::Keep => {}
            Step::Again => drop(again.insert(event.event_id)),
            Step::Rewind(child) => children.push(*child),
        }
    }
    for event in &mut events {
        let is_cleared = match &event.event_type {
            Some(it) if is_scheduled(it) => again.contains(&event.event_id),
            Some(
                EventType::TaskFailed(_)
                | EventType::SubOrchestrationInstanceFailed(_)
                | EventType::ExecutionCompleted(_),
            ) => true,
            _ => false,
        };
        if is_cleared {
            event.event_type = Some(EventType::GenericEvent(Reason::default()));
        }
    }
    (instance.status, instance.finished, instance.output) = (OrchestrationStatus::Running, false, None);
    rows::append_history(connection, &instance.instance_id, 0, &events)?;
    rows::update(connection, &instance)?;
    // One that only waits for its children is called when they answer.
    if children.is_empty() || !again.is_empty() {
        let rewound = event(-1, EventType::GenericEvent(Reason::new(reason.map(str::to_owned))));
        rows::post(connection, &instance.instance_id, Some(&instance.execution_id), None, &rewound)?;
    }
    Ok(children)
}

/// What is known of the actions of an execution, by their ids.
struct Outcomes {
    /// Whether they went well.
    ended: HashMap<i32, bool>,
    /// Those whose outcome is still to come.
    under_way: HashSet<i32>,
}

impl Outcomes {
    fn of(connection: &Connection, instance: &Instance, events: &[HistoryEvent]) -> rusqlite::Result<Self> {
        let ended = events.iter().filter_map(outcome).collect();
        let mut under_way = rows::activities_of(connection, &instance.instance_id, &instance.execution_id)?;
        let queued = rows::messages(connection, &instance.instance_id, i64::MAX)?;
        under_way.extend(queued.iter().filter_map(|it| Some(outcome(&it.event)?.0)));
        Ok(Self { ended, under_way })
    }

    fn step(&self, connection: &Connection, instance: &Instance, event: &HistoryEvent) -> rusqlite::Result<Step> {
        let id = event.event_id;
        let Some(scheduled) = event.event_type.as_ref().filter(|it| is_scheduled(it)) else { return Ok(Step::Keep) };
        if self.ended.get(&id) == Some(&true) || self.under_way.contains(&id) {
            return Ok(Step::Keep);
        }
        match scheduled {
            EventType::SubOrchestrationInstanceCreated(child) => {
                step_of_child(connection, instance, id, &child.instance_id)
            }
            _ => Ok(Step::Again),
        }
    }
}

fn step_of_child(connection: &Connection, parent: &Instance, id: i32, child: &str) -> rusqlite::Result<Step> {
    let Some(child) = rows::find(connection, child)? else { return Ok(Step::Again) };
    let queued = rows::messages(connection, &child.instance_id, i64::MAX)?;
    let recorded = rows::history(connection, &child.instance_id)?;
    let started =
        recorded.into_iter().chain(queued.into_iter().map(|it| it.event)).find_map(|it| match it.event_type {
            Some(EventType::ExecutionStarted(it)) => Some(it),
            _ => None,
        });
    let is_of_parent = |it: &ParentInstance| {
        let of = (parent.instance_id.as_str(), Some(parent.execution_id.as_str()));
        let named = it.orchestration_instance.as_ref();
        let named = named.map(|it: &OrchestrationInstance| (it.instance_id.as_str(), it.execution_id.as_deref()));
        it.task_scheduled_id == id && named == Some(of)
    };
    // The id may be another's: that one stood in the child's way, or has taken its place.
    let is_own = started.and_then(|it| it.parent_instance).is_some_and(|it| is_of_parent(&it));
    Ok(match (is_own, has_failed(&child), child.has_ended()) {
        (true, true, _) => Step::Rewind(Box::new(child)),
        (true, false, false) => Step::Keep,
        _ => Step::Again,
    })
}

/// Whether a child that was rewound by itself has answered its parent before: no action has two outcomes.
pub(super) fn has_answered(
    connection: &Connection,
    child: &str,
    (parent, execution): (&str, Option<&str>),
    answer: &HistoryEvent,
) -> rusqlite::Result<bool> {
    let is_cleared = |it: &HistoryEvent| matches!(it.event_type, Some(EventType::GenericEvent(_)));
    if !rows::history(connection, child)?.iter().any(is_cleared) {
        return Ok(false);
    }
    let of = |it: &HistoryEvent| outcome(it).map(|it| it.0);
    let is_same = |it: &HistoryEvent| of(it) == of(answer);
    let queued = rows::messages(connection, parent, i64::MAX)?;
    let is_queued = queued.iter().any(|it| it.execution_id.as_deref() == execution && is_same(&it.event));
    Ok(is_queued || rows::history(connection, parent)?.iter().any(is_same))
}

fn is_scheduled(event_type: &EventType) -> bool {
    matches!(
        event_type,
        EventType::TaskScheduled(_) | EventType::TimerCreated(_) | EventType::SubOrchestrationInstanceCreated(_)
    )
}

/// The action an event is the outcome of, and whether it went well.
fn outcome(event: &HistoryEvent) -> Option<(i32, bool)> {
    match event.event_type.as_ref()? {
        EventType::TaskCompleted(it) | EventType::SubOrchestrationInstanceCompleted(it) => {
            Some((it.task_scheduled_id, true))
        }
        EventType::TimerFired(it) => Some((it.timer_id, true)),
        EventType::TaskFailed(it) | EventType::SubOrchestrationInstanceFailed(it) => {
            Some((it.task_scheduled_id, false))
        }
        _ => None,
    }
}
