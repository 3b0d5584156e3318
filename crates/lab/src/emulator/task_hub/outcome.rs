//! What an episode's actions become: events, activities, messages and children.

use rusqlite::Connection;
use serde_json::json;
use time::OffsetDateTime;

use super::{
    Instance, StartError, again,
    episode::{Answer, Given},
    rows::{self, Activity, NewInstance, Past, event},
};
use durable::protocol::{
    ActionType, CompleteOrchestration, EventRaised, EventSent, EventType, ExecutionCompleted, ExecutionStarted,
    FailureDetails, HistoryEvent, Nothing, OrchestrationInstance, OrchestrationStatus, OrchestratorAction,
    ParentInstance, ScheduleTask, SubOrchestration, TaskCompleted, TaskFailed, TaskScheduled, TimerCreated, TimerFired,
};

/// Everything an episode changes.
pub(super) struct EpisodeOutcome {
    pub instance: Instance,
    /// The execution that was loaded.
    loaded: String,
    /// Whether history has the inputs of activities and children.
    stores_inputs: bool,
    /// Events in history before those below; 0 begins a new history.
    from: usize,
    events: Vec<HistoryEvent>,
    activities: Vec<Activity>,
    /// For whom, for which execution, when.
    messages: Vec<(String, Option<String>, Option<OffsetDateTime>, HistoryEvent)>,
    children: Vec<NewInstance>,
    consumed: Vec<i64>,
}

impl EpisodeOutcome {
    pub(super) fn new(instance: Instance, from: usize, consumed: Vec<i64>, stores_inputs: bool) -> Self {
        let loaded = instance.execution_id.clone();
        let (events, activities, messages, children) = Default::default();
        Self { instance, loaded, stores_inputs, from, events, activities, messages, children, consumed }
    }

    /// Takes an answer; gives what the next call begins with where the execution continues as new.
    pub(super) fn apply(&mut self, given: Given, answer: Answer) -> Option<Given> {
        let started = given.started().cloned().unwrap_or_default();
        self.note(&given.new);
        self.events.extend(given.new);
        self.instance.custom_status = answer.custom_status;
        let completes = |it: &OrchestratorAction| matches!(it.action_type, Some(ActionType::CompleteOrchestration(_)));
        // Of several ends the last counts [recorded].
        let end = answer.actions.iter().rposition(completes);
        let mut again = None;
        for (at, OrchestratorAction { id, action_type, .. }) in answer.actions.into_iter().enumerate() {
            match action_type {
                Some(ActionType::CompleteOrchestration(_)) if end != Some(at) => {}
                Some(ActionType::CompleteOrchestration(complete)) if continues(&complete) => again = Some(complete),
                Some(ActionType::CompleteOrchestration(complete)) => self.complete(id, &started, complete),
                Some(action) => self.act(id, action, &started),
                None => {}
            }
        }
        // Last: what stands behind it in the answer belongs to the execution that ends here.
        let next = again.map(|complete| self.continue_as_new(&started, complete));
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
            ActionType::ScheduleTask(ScheduleTask { name, version, input, tags, .. }) => {
                let scheduled = TaskScheduled::with(|set| {
                    set.name = name.clone();
                    (set.version, set.tags) = (version, tags);
                    set.input = self.stored(&input);
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
                instance_id: child,
                name,
                version,
                input,
                tags,
                ..
            }) => {
                let stored = self.stored(&input);
                let parent = ParentInstance::with(|set| {
                    set.task_scheduled_id = id;
                    set.name = Some(started.name.clone());
                    set.version = started.version.clone();
                    set.orchestration_instance = Some(OrchestrationInstance::new(instance_id, Some(execution_id)));
                });
                let new = NewInstance {
                    instance_id: child.clone(),
                    execution_id: rows::hex_id(),
                    name: name.clone(),
                    input,
                    version: version.clone(),
                    parent: Some(parent),
                    tags,
                };
                self.children.push(new);
                EventType::SubOrchestrationInstanceCreated(Box::new(SubOrchestration::with(|set| {
                    set.instance_id = child;
                    set.name = name;
                    (set.version, set.input) = (version, stored);
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

    fn stored(&self, input: &Option<String>) -> Option<String> {
        input.clone().filter(|_| self.stores_inputs)
    }

    /// What is shown begins anew with the execution, a suspension included, unless the events it is handed over say otherwise
    /// (engine: `TaskOrchestrationDispatcher.cs` makes a state of its own for it).
    fn continue_as_new(&mut self, started: &ExecutionStarted, complete: CompleteOrchestration) -> Given {
        let execution_id = rows::hex_id();
        let input = complete.result;
        let mut next = started.clone();
        next.input.clone_from(&input);
        next.version = complete.new_version.or(next.version);
        let (instance_id, next_id) = (self.instance.instance_id.clone(), Some(execution_id.clone()));
        next.orchestration_instance = Some(OrchestrationInstance::new(instance_id, next_id));
        (self.instance.execution_id, self.instance.input) = (execution_id, input);
        (self.instance.status, self.instance.output) = (OrchestrationStatus::Running, None);
        (self.from, self.events) = (0, Vec::new());
        let carried = complete.carryover_events.into_iter().filter_map(|it| it.event_type);
        let mut new = vec![
            event(-1, EventType::OrchestratorStarted(Nothing::default())),
            event(-1, EventType::ExecutionStarted(Box::new(next))),
        ];
        new.extend(carried.map(|it| event(-1, it)));
        new.push(event(-1, EventType::OrchestratorCompleted(Nothing::default())));
        Given { past: Past::default(), new }
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

    /// Writes all of it, to be called in a transaction: the messages are gone exactly when what they led to is there. False, and
    /// nothing written, where the execution it was loaded for is gone: its instance was purged or started anew meanwhile.
    pub(super) fn write(self, connection: &Connection) -> rusqlite::Result<bool> {
        let Self { instance, loaded, from, events, activities, messages, children, consumed, .. } = self;
        if !rows::goes_on(connection, &instance.instance_id, &loaded)? {
            return Ok(false);
        }
        rows::append_history(connection, &instance.instance_id, from, &events)?;
        rows::update(connection, &instance)?;
        activities.iter().try_for_each(|it| rows::schedule(connection, it))?;
        for (instance_id, execution_id, due, event) in &messages {
            let to = (instance_id.as_str(), execution_id.as_deref());
            if is_answer(event) && again::has_answered(connection, &instance.instance_id, to, event)? {
                continue;
            }
            rows::post(connection, instance_id, execution_id.as_deref(), *due, event)?;
        }
        for child in children {
            let parent = child.parent.clone();
            if let Err(status) = rows::create(connection, child)? {
                refuse_child(connection, parent, status)?;
            }
        }
        rows::remove_messages(connection, &consumed)?;
        Ok(true)
    }
}

fn is_answer(event: &HistoryEvent) -> bool {
    use EventType::{SubOrchestrationInstanceCompleted as Completed, SubOrchestrationInstanceFailed as Failed};
    matches!(event.event_type, Some(Completed(_) | Failed(_)))
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

fn continues(complete: &CompleteOrchestration) -> bool {
    complete.orchestration_status == OrchestrationStatus::ContinuedAsNew as i32
}
