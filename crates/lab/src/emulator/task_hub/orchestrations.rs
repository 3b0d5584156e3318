//! The dispatcher of episodes, and what an episode's actions become.

use std::time::Duration;

use rusqlite::Connection;
use serde_json::json;
use time::OffsetDateTime;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::{
    Ended, Instance, StartError, TaskHub,
    episode::{Answer, Given},
    rows::{self, Activity, Message, NewInstance, event},
    store::StoreError,
};
use crate::evidence::moment::Moment;
use crate::evidence::table_writer::Table;
use durable::protocol::{
    ActionType, CompleteOrchestration, EventRaised, EventSent, EventType, ExecutionCompleted, ExecutionStarted,
    FailureDetails, HistoryEvent, Nothing, OrchestrationInstance, OrchestrationStatus, OrchestratorAction,
    ParentInstance, SubOrchestration, TaskCompleted, TaskFailed, TaskScheduled, TimerCreated, TimerFired,
};

/// Interval between looks at the queue when no message was announced.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Everything an episode begins with.
struct Loaded {
    instance: Instance,
    messages: Vec<Message>,
    past: Vec<HistoryEvent>,
}

/// Everything an episode changes.
struct EpisodeOutcome {
    instance: Instance,
    /// Events in history before those below; 0 begins a new history.
    from: usize,
    events: Vec<HistoryEvent>,
    activities: Vec<Activity>,
    /// For whom, for which execution, when.
    messages: Vec<(String, Option<String>, Option<OffsetDateTime>, HistoryEvent)>,
    children: Vec<NewInstance>,
    consumed: Vec<i64>,
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
        let mut outcome = EpisodeOutcome::new(instance, past.len(), consumed);
        let mut given = Given { past, new };
        let mut spent = Duration::ZERO;
        let mut cost = (given.past.len(), given.new.len());
        loop {
            let called = Instant::now();
            let answer = self.call_orchestrator(&outcome.instance, &mut given).await;
            spent += called.elapsed();
            cost.1 = given.new.len();
            let Some(answer) = answer else { return Ok(Ended::GivenUp) };
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
        let has_activities = !outcome.activities.is_empty();
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

impl EpisodeOutcome {
    fn new(instance: Instance, from: usize, consumed: Vec<i64>) -> Self {
        let (events, activities, messages, children) = Default::default();
        Self { instance, from, events, activities, messages, children, consumed }
    }

    /// Takes an answer; gives what the next call begins with where the execution continues as new.
    fn apply(&mut self, given: Given, answer: Answer) -> Option<Given> {
        let Given { past, new } = given;
        self.note(&new);
        let started = past.iter().chain(&new).find_map(started).cloned().unwrap_or_default();
        self.events.extend(new);
        self.instance.custom_status = answer.custom_status;
        let mut next = None;
        for OrchestratorAction { id, action_type, .. } in answer.actions {
            match action_type {
                Some(ActionType::CompleteOrchestration(complete))
                    if complete.orchestration_status == OrchestrationStatus::ContinuedAsNew as i32 =>
                {
                    next = Some(self.continue_as_new(&started, complete));
                }
                Some(ActionType::CompleteOrchestration(complete)) => self.complete(id, &started, complete),
                Some(action) => self.act(id, action, &started),
                None => {}
            }
        }
        // One is enough (engine: `TaskOrchestrationDispatcher.cs`): the first episode after a continue-as-new has one already.
        let is_closed = matches!(
            self.events.last(),
            Some(HistoryEvent { event_type: Some(EventType::OrchestratorCompleted(_)), .. })
        );
        if next.is_none() && !is_closed {
            self.events.push(event(-1, EventType::OrchestratorCompleted(Nothing::default())));
        }
        next
    }

    /// What the new events say about the state that is shown.
    fn note(&mut self, new: &[HistoryEvent]) {
        use OrchestrationStatus::{Pending, Running, Suspended, Terminated};
        let text = |it: &Option<String>| it.as_ref().map(|it| json!(it).to_string());
        if self.instance.status == Pending {
            self.instance.status = Running;
        }
        for event in new {
            let (status, output) = match &event.event_type {
                Some(EventType::ExecutionSuspended(it)) => (Suspended, text(&it.input)),
                Some(EventType::ExecutionResumed(_)) => (Running, None),
                Some(EventType::ExecutionTerminated(it)) => (Terminated, text(&it.input)),
                _ => continue,
            };
            (self.instance.status, self.instance.output) = (status, output);
        }
    }

    fn act(&mut self, id: i32, action: ActionType, started: &ExecutionStarted) {
        let Instance { instance_id, execution_id, .. } = self.instance.clone();
        let event_type = match action {
            ActionType::ScheduleTask(TaskScheduled { name, version, input, .. }) => {
                let scheduled = TaskScheduled::with(|set| {
                    set.name = name.clone();
                    set.version = version;
                    set.input = None;
                });
                self.activities.push(Activity { id: 0, instance_id, execution_id, task_id: id, name, input });
                EventType::TaskScheduled(scheduled)
            }
            ActionType::CreateTimer(TimerCreated { fire_at, .. }) => {
                let due = fire_at.map(OffsetDateTime::from);
                let fired = event(-1, EventType::TimerFired(TimerFired::new(fire_at, id)));
                self.messages.push((instance_id, Some(execution_id), due, fired));
                EventType::TimerCreated(TimerCreated::new(fire_at))
            }
            ActionType::CreateSubOrchestration(SubOrchestration {
                instance_id: child, name, version, input, ..
            }) => {
                let parent = ParentInstance::with(|set| {
                    set.task_scheduled_id = id;
                    set.name = Some(started.name.clone());
                    set.version = started.version.clone();
                    set.orchestration_instance = Some(OrchestrationInstance::new(instance_id, Some(execution_id)));
                });
                let new = NewInstance {
                    instance_id: child.clone(),
                    name: name.clone(),
                    input,
                    version: version.clone(),
                    parent: Some(parent),
                };
                self.children.push(new);
                EventType::SubOrchestrationInstanceCreated(Box::new(SubOrchestration::with(|set| {
                    set.instance_id = child;
                    set.name = name;
                    set.version = version;
                    set.input = None;
                })))
            }
            ActionType::SendEvent(it) => {
                let to = it.instance.map(|it| it.instance_id).unwrap_or_default();
                let raised = EventRaised::new(it.name.clone(), it.data.clone());
                self.messages.push((to.clone(), None, None, event(-1, EventType::EventRaised(raised))));
                EventType::EventSent(EventSent::new(to, it.name, it.data))
            }
            _ => return,
        };
        self.events.push(event(id, event_type));
    }

    fn continue_as_new(&mut self, started: &ExecutionStarted, complete: CompleteOrchestration) -> Given {
        let execution_id = Uuid::new_v4().simple().to_string();
        let input = complete.result;
        let mut next = started.clone();
        next.input.clone_from(&input);
        let (instance_id, next_id) = (self.instance.instance_id.clone(), Some(execution_id.clone()));
        next.orchestration_instance = Some(OrchestrationInstance::new(instance_id, next_id));
        (self.instance.execution_id, self.instance.input) = (execution_id, input);
        (self.from, self.events) = (0, Vec::new());
        let carried = complete.carryover_events.into_iter().filter_map(|it| it.event_type);
        let mut new = vec![
            event(-1, EventType::OrchestratorStarted(Nothing::default())),
            event(-1, EventType::ExecutionStarted(Box::new(next))),
        ];
        new.extend(carried.map(|it| event(-1, it)));
        new.push(event(-1, EventType::OrchestratorCompleted(Nothing::default())));
        Given { past: Vec::new(), new }
    }

    fn complete(&mut self, id: i32, started: &ExecutionStarted, complete: CompleteOrchestration) {
        let CompleteOrchestration { orchestration_status, result, failure_details, .. } = complete;
        let status = OrchestrationStatus::try_from(orchestration_status).unwrap_or(OrchestrationStatus::Failed);
        self.instance.status = status;
        self.instance.finished = true;
        self.instance.output = match &failure_details {
            Some(details) => Some(json!(format!("{}: {}", details.error_type, details.error_message)).to_string()),
            None => result.clone(),
        };
        if let Some(parent) = &started.parent_instance {
            self.answer_parent(parent, status, result.clone(), failure_details.clone());
        }
        let completed = ExecutionCompleted::with(|set| {
            set.orchestration_status = orchestration_status;
            set.result = result;
            set.failure_details = failure_details;
        });
        self.events.push(event(id, EventType::ExecutionCompleted(completed)));
    }

    fn answer_parent(
        &mut self,
        parent: &ParentInstance,
        status: OrchestrationStatus,
        result: Option<String>,
        failure_details: Option<Box<FailureDetails>>,
    ) {
        let Some(OrchestrationInstance { instance_id, execution_id, .. }) = parent.orchestration_instance.clone()
        else {
            return;
        };
        let task_scheduled_id = parent.task_scheduled_id;
        let event_type = if status == OrchestrationStatus::Completed {
            EventType::SubOrchestrationInstanceCompleted(TaskCompleted::new(task_scheduled_id, result))
        } else {
            // A handler that answered with an error leaves no details [recorded].
            let failure_details = failure_details.filter(|it| !it.error_type.is_empty());
            EventType::SubOrchestrationInstanceFailed(TaskFailed::new(task_scheduled_id, failure_details))
        };
        self.messages.push((instance_id, execution_id, None, event(-1, event_type)));
    }

    fn write(self, connection: &Connection) -> rusqlite::Result<()> {
        let Self { instance, from, events, activities, messages, children, consumed } = self;
        rows::append_history(connection, &instance.instance_id, from, &events)?;
        rows::update(connection, &instance)?;
        activities.iter().try_for_each(|it| rows::schedule(connection, it))?;
        for (instance_id, execution_id, due, event) in &messages {
            rows::post(connection, instance_id, execution_id.as_deref(), *due, event)?;
        }
        for child in children {
            let parent = child.parent.clone();
            if let Err(status) = rows::create(connection, child)? {
                refuse_child(connection, parent, status)?;
            }
        }
        rows::remove_messages(connection, &consumed)
    }
}

/// A child whose id is taken by one that runs never starts. Its parent is told, or it would wait for ever.
fn refuse_child(
    connection: &Connection,
    parent: Option<ParentInstance>,
    status: OrchestrationStatus,
) -> rusqlite::Result<()> {
    let Some((task_scheduled_id, parent)) =
        parent.and_then(|it| Some((it.task_scheduled_id, it.orchestration_instance?)))
    else {
        return Ok(());
    };
    let details = FailureDetails::with(|set| {
        set.error_type = "DurableTask.Core.Exceptions.OrchestrationAlreadyExistsException".to_owned();
        set.error_message = StartError::Exists { status }.to_string();
    });
    let failed = TaskFailed::new(task_scheduled_id, Some(Box::new(details)));
    let failed = event(-1, EventType::SubOrchestrationInstanceFailed(failed));
    rows::post(connection, &parent.instance_id, parent.execution_id.as_deref(), None, &failed)
}

fn started(event: &HistoryEvent) -> Option<&ExecutionStarted> {
    match &event.event_type {
        Some(EventType::ExecutionStarted(it)) => Some(it),
        _ => None,
    }
}
