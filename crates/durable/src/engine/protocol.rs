//! The messages of Durable's orchestrator protocol that pass between the extension and a worker, as prost structs written by
//! hand after `orchestrator_service.proto` of microsoft/durabletask-protobuf.
//!
//! Only what the extension sends or reads is here; prost skips fields and event types it does not know. A nullable text
//! (`google.protobuf.StringValue`) is an `Option<String>`.
//!
//! The messages grow with the extension, so code outside makes one with its `new` or `with`, and matches with `..`.

use std::collections::BTreeMap;

use prost::{Enumeration, Message, Oneof};

pub use super::failure::FailureDetails;

/// Values by name: `map<string, google.protobuf.Value>`.
pub type Properties = BTreeMap<String, Value>;

/// Texts by name: `map<string, string>`.
pub type Tags = BTreeMap<String, String>;

/// Gives a message its constructors.
macro_rules! constructors {
    ($($message:ident($($field:ident: $type:ty),*);)*) => {
        $(impl $message {
            /// Makes a message of its essential fields; the others are empty.
            #[must_use]
            pub fn new($($field: $type),*) -> Self {
                Self { $($field,)* ..Self::default() }
            }
        })*
    };
}

/// The same for messages with many optional fields.
macro_rules! setters {
    ($($message:ident),*) => {
        $(impl $message {
            /// Sets fields of an empty message.
            #[must_use]
            pub fn with(set: impl FnOnce(&mut Self)) -> Self {
                let mut message = Self::default();
                set(&mut message);
                message
            }
        })*
    };
}

constructors! {
    EntityParameters(reorder_window: Option<Timestamp>);
    EventRaised(name: String, input: Option<String>);
    EventSent(instance_id: String, name: String, input: Option<String>);
    HistoryEvent(event_id: i32, timestamp: Option<Timestamp>, event_type: Option<EventType>);
    OrchestrationInstance(instance_id: String, execution_id: Option<String>);
    OrchestratorAction(id: i32, action_type: Option<ActionType>);
    Reason(input: Option<String>);
    ScheduleTask(name: String, input: Option<String>);
    SendEvent(instance: Option<OrchestrationInstance>, name: String, data: Option<String>);
    SubOrchestration(instance_id: String, name: String, input: Option<String>);
    TaskCompleted(task_scheduled_id: i32, result: Option<String>);
    TaskFailed(task_scheduled_id: i32, failure_details: Option<Box<FailureDetails>>);
    TaskScheduled(name: String, input: Option<String>);
    TimerCreated(fire_at: Option<Timestamp>);
    TimerFired(fire_at: Option<Timestamp>, timer_id: i32);
}

setters!(
    CompleteOrchestration,
    ExecutionCompleted,
    ExecutionStarted,
    OrchestratorRequest,
    OrchestratorResponse,
    ParentInstance,
    ScheduleTask,
    SubOrchestration,
    TaskScheduled
);

/// `google.protobuf.Timestamp`: UTC.
#[derive(Clone, Copy, Eq, Message, PartialEq)]
#[non_exhaustive]
pub struct Timestamp {
    /// Since 1970-01-01.
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    /// Within the second.
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

impl Timestamp {
    /// `nanos` counts within the second.
    pub const fn new(seconds: i64, nanos: i32) -> Self {
        Self { seconds, nanos }
    }
}

/// `google.protobuf.Value`: what JSON can hold.
#[derive(Clone, Message, PartialEq)]
#[non_exhaustive]
pub struct Value {
    /// `None` is null, too.
    #[prost(oneof = "ValueKind", tags = "1, 2, 3, 4, 5, 6")]
    pub kind: Option<ValueKind>,
}

/// See [`Value`].
#[derive(Clone, Oneof, PartialEq)]
pub enum ValueKind {
    /// An enumeration of one value, 0.
    #[prost(int32, tag = "1")]
    Null(i32),
    #[prost(double, tag = "2")]
    Number(f64),
    #[prost(string, tag = "3")]
    String(String),
    #[prost(bool, tag = "4")]
    Bool(bool),
    #[prost(message, tag = "5")]
    Struct(Struct),
    #[prost(message, tag = "6")]
    List(ListValue),
}

/// `google.protobuf.Struct`.
#[derive(Clone, Message, PartialEq)]
pub struct Struct {
    #[prost(btree_map = "string, message", tag = "1")]
    pub fields: BTreeMap<String, Value>,
}

/// `google.protobuf.ListValue`.
#[derive(Clone, Message, PartialEq)]
pub struct ListValue {
    #[prost(message, repeated, tag = "1")]
    pub values: Vec<Value>,
}

impl From<ValueKind> for Value {
    fn from(kind: ValueKind) -> Self {
        Self { kind: Some(kind) }
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        ValueKind::String(text).into()
    }
}

/// What the extension sends for one episode.
#[derive(Clone, Message, PartialEq)]
#[non_exhaustive]
pub struct OrchestratorRequest {
    #[prost(string, tag = "1")]
    pub instance_id: String,
    /// Its execution; the extension leaves it out.
    #[prost(message, optional, tag = "2")]
    pub execution_id: Option<String>,
    /// What earlier episodes have seen.
    #[prost(message, repeated, tag = "3")]
    pub past_events: Vec<HistoryEvent>,
    /// What is new in this one.
    #[prost(message, repeated, tag = "4")]
    pub new_events: Vec<HistoryEvent>,
    /// Always sent, and of no use here.
    #[prost(message, optional, tag = "5")]
    pub entity_parameters: Option<EntityParameters>,
    /// What the extension says beside the history, such as [`OrchestratorRequest::DEFAULT_VERSION`].
    #[prost(btree_map = "string, message", tag = "7")]
    pub properties: Properties,
}

impl OrchestratorRequest {
    /// Property: the version of the app, a text; absent where the host's settings have none.
    pub const DEFAULT_VERSION: &str = "defaultVersion";
    /// Property: whether the past events are all there, a boolean.
    pub const INCLUDE_STATE: &str = "IncludeState";
    /// Property: the instance this one is a restart of, a text; absent in all others.
    pub const SOURCE_INSTANCE_ID: &str = "sourceInstanceId";
}

/// How long entity messages may be reordered.
#[derive(Clone, Message, PartialEq)]
#[non_exhaustive]
pub struct EntityParameters {
    #[prost(message, optional, tag = "1")]
    pub reorder_window: Option<Timestamp>,
}

/// What an episode came to.
#[derive(Clone, Message, PartialEq)]
#[non_exhaustive]
pub struct OrchestratorResponse {
    #[prost(string, tag = "1")]
    pub instance_id: String,
    /// The new actions alone.
    #[prost(message, repeated, tag = "2")]
    pub actions: Vec<OrchestratorAction>,
    /// JSON text. An episode without it clears it.
    #[prost(message, optional, tag = "3")]
    pub custom_status: Option<String>,
    /// Asks for the same episode again, with its whole history.
    #[prost(bool, tag = "7")]
    pub requires_history: bool,
}

/// A row of an instance's history.
#[derive(Clone, Message, PartialEq)]
#[non_exhaustive]
pub struct HistoryEvent {
    /// The id of the action that caused it, or -1.
    #[prost(int32, tag = "1")]
    pub event_id: i32,
    /// When it was written. Not in order; see [`EventType::OrchestratorStarted`].
    #[prost(message, optional, tag = "2")]
    pub timestamp: Option<Timestamp>,
    /// `None` for a type that is not known here.
    #[prost(oneof = "EventType", tags = "3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 20, 21, 22")]
    pub event_type: Option<EventType>,
}

/// What happened. The rare large ones are boxed: histories are long, and every event is as large as the largest kind.
#[derive(Clone, Oneof, PartialEq)]
#[non_exhaustive]
pub enum EventType {
    #[prost(message, boxed, tag = "3")]
    ExecutionStarted(Box<ExecutionStarted>),
    #[prost(message, tag = "4")]
    ExecutionCompleted(ExecutionCompleted),
    /// A client terminates the execution.
    #[prost(message, tag = "5")]
    ExecutionTerminated(Reason),
    /// An activity was scheduled.
    #[prost(message, tag = "6")]
    TaskScheduled(TaskScheduled),
    #[prost(message, tag = "7")]
    TaskCompleted(TaskCompleted),
    #[prost(message, tag = "8")]
    TaskFailed(TaskFailed),
    /// A child was created.
    #[prost(message, boxed, tag = "9")]
    SubOrchestrationInstanceCreated(Box<SubOrchestration>),
    #[prost(message, tag = "10")]
    SubOrchestrationInstanceCompleted(TaskCompleted),
    #[prost(message, tag = "11")]
    SubOrchestrationInstanceFailed(TaskFailed),
    /// A timer was created.
    #[prost(message, tag = "12")]
    TimerCreated(TimerCreated),
    #[prost(message, tag = "13")]
    TimerFired(TimerFired),
    /// An episode began. Its timestamp is the only clock.
    #[prost(message, tag = "14")]
    OrchestratorStarted(Nothing),
    /// An episode ended; found at the end of new events too, after a continue-as-new.
    #[prost(message, tag = "15")]
    OrchestratorCompleted(Nothing),
    /// An event was sent to another instance.
    #[prost(message, tag = "16")]
    EventSent(EventSent),
    #[prost(message, tag = "17")]
    EventRaised(EventRaised),
    #[prost(message, tag = "18")]
    GenericEvent(Reason),
    /// The execution before this one ended in it.
    #[prost(message, tag = "20")]
    ContinueAsNew(Reason),
    /// Events are to be held back.
    #[prost(message, tag = "21")]
    ExecutionSuspended(Reason),
    /// Delivery of events resumes.
    #[prost(message, tag = "22")]
    ExecutionResumed(Reason),
}

/// A message without fields that matter here.
#[derive(Clone, Copy, Eq, Message, PartialEq)]
#[non_exhaustive]
pub struct Nothing {}

/// A text that says why, or carries data.
#[derive(Clone, Eq, Message, PartialEq)]
#[non_exhaustive]
pub struct Reason {
    #[prost(message, optional, tag = "1")]
    pub input: Option<String>,
}

/// Which execution of which instance.
#[derive(Clone, Eq, Message, PartialEq)]
#[non_exhaustive]
pub struct OrchestrationInstance {
    #[prost(string, tag = "1")]
    pub instance_id: String,
    /// New for each execution, continue-as-new included.
    #[prost(message, optional, tag = "2")]
    pub execution_id: Option<String>,
}

/// Who created a child.
#[derive(Clone, Eq, Message, PartialEq)]
#[non_exhaustive]
pub struct ParentInstance {
    /// The id of the action in the parent.
    #[prost(int32, tag = "1")]
    pub task_scheduled_id: i32,
    #[prost(message, optional, tag = "2")]
    pub name: Option<String>,
    #[prost(message, optional, tag = "3")]
    pub version: Option<String>,
    #[prost(message, optional, tag = "4")]
    pub orchestration_instance: Option<OrchestrationInstance>,
}

/// See [`EventType::ExecutionStarted`].
#[derive(Clone, Message, PartialEq)]
#[non_exhaustive]
pub struct ExecutionStarted {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(message, optional, tag = "2")]
    pub version: Option<String>,
    #[prost(message, optional, tag = "3")]
    pub input: Option<String>,
    /// The instance and its execution.
    #[prost(message, optional, tag = "4")]
    pub orchestration_instance: Option<OrchestrationInstance>,
    /// Set in a child.
    #[prost(message, optional, tag = "5")]
    pub parent_instance: Option<ParentInstance>,
    /// What its starter attached to it.
    #[prost(btree_map = "string, string", tag = "9")]
    pub tags: Tags,
}

/// See [`EventType::ExecutionCompleted`].
#[derive(Clone, Message, PartialEq)]
#[non_exhaustive]
pub struct ExecutionCompleted {
    #[prost(enumeration = "OrchestrationStatus", tag = "1")]
    pub orchestration_status: i32,
    #[prost(message, optional, tag = "2")]
    pub result: Option<String>,
    #[prost(message, optional, boxed, tag = "3")]
    pub failure_details: Option<Box<FailureDetails>>,
}

/// See [`EventType::TaskScheduled`].
#[derive(Clone, Eq, Message, PartialEq)]
#[non_exhaustive]
pub struct TaskScheduled {
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its version; absent when the action had none.
    #[prost(message, optional, tag = "2")]
    pub version: Option<String>,
    /// JSON text; left out of history by default.
    #[prost(message, optional, tag = "3")]
    pub input: Option<String>,
    /// Those of the action.
    #[prost(btree_map = "string, string", tag = "5")]
    pub tags: Tags,
}

/// See [`EventType::TaskCompleted`] and [`EventType::SubOrchestrationInstanceCompleted`].
#[derive(Clone, Eq, Message, PartialEq)]
#[non_exhaustive]
pub struct TaskCompleted {
    /// The id of the action.
    #[prost(int32, tag = "1")]
    pub task_scheduled_id: i32,
    /// JSON text; absent when nothing was returned.
    #[prost(message, optional, tag = "2")]
    pub result: Option<String>,
}

/// See [`EventType::TaskFailed`] and [`EventType::SubOrchestrationInstanceFailed`].
#[derive(Clone, Message, PartialEq)]
#[non_exhaustive]
pub struct TaskFailed {
    /// The id of the action.
    #[prost(int32, tag = "1")]
    pub task_scheduled_id: i32,
    /// Absent for an unknown activity, and for a child whose function answered 500.
    #[prost(message, optional, boxed, tag = "2")]
    pub failure_details: Option<Box<FailureDetails>>,
}

/// A child: [`EventType::SubOrchestrationInstanceCreated`] and [`ActionType::CreateSubOrchestration`].
#[derive(Clone, Eq, Message, PartialEq)]
#[non_exhaustive]
pub struct SubOrchestration {
    /// Of the child; one that is empty never starts.
    #[prost(string, tag = "1")]
    pub instance_id: String,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(message, optional, tag = "3")]
    pub version: Option<String>,
    #[prost(message, optional, tag = "4")]
    pub input: Option<String>,
    /// Of the child; the event has none.
    #[prost(btree_map = "string, string", tag = "6")]
    pub tags: Tags,
}

/// A timer: [`EventType::TimerCreated`] and [`ActionType::CreateTimer`].
#[derive(Clone, Copy, Eq, Message, PartialEq)]
#[non_exhaustive]
pub struct TimerCreated {
    #[prost(message, optional, tag = "1")]
    pub fire_at: Option<Timestamp>,
}

/// See [`EventType::TimerFired`].
#[derive(Clone, Copy, Eq, Message, PartialEq)]
#[non_exhaustive]
pub struct TimerFired {
    /// When it was to.
    #[prost(message, optional, tag = "1")]
    pub fire_at: Option<Timestamp>,
    /// The id of the action.
    #[prost(int32, tag = "2")]
    pub timer_id: i32,
}

/// See [`EventType::EventSent`].
#[derive(Clone, Eq, Message, PartialEq)]
#[non_exhaustive]
pub struct EventSent {
    #[prost(string, tag = "1")]
    pub instance_id: String,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(message, optional, tag = "3")]
    pub input: Option<String>,
}

/// See [`EventType::EventRaised`].
#[derive(Clone, Eq, Message, PartialEq)]
#[non_exhaustive]
pub struct EventRaised {
    /// The event; compared without regard to case.
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(message, optional, tag = "2")]
    pub input: Option<String>,
}

/// Something the orchestrator wants done.
#[derive(Clone, Message, PartialEq)]
#[non_exhaustive]
pub struct OrchestratorAction {
    /// Unique in the execution; becomes the event id of what is written for it.
    #[prost(int32, tag = "1")]
    pub id: i32,
    #[prost(oneof = "ActionType", tags = "2, 3, 4, 5, 6, 7, 8, 9")]
    pub action_type: Option<ActionType>,
}

#[derive(Clone, Oneof, PartialEq)]
#[non_exhaustive]
pub enum ActionType {
    #[prost(message, tag = "2")]
    ScheduleTask(ScheduleTask),
    #[prost(message, tag = "3")]
    CreateSubOrchestration(SubOrchestration),
    #[prost(message, tag = "4")]
    CreateTimer(TimerCreated),
    /// An event for another instance.
    #[prost(message, tag = "5")]
    SendEvent(SendEvent),
    /// The end of this execution.
    #[prost(message, tag = "6")]
    CompleteOrchestration(CompleteOrchestration),
    /// Refused by the extension.
    #[prost(message, tag = "7")]
    TerminateOrchestration(Nothing),
    /// A message for an entity; what it says is of no use here.
    #[prost(message, tag = "8")]
    SendEntityMessage(Nothing),
    /// Refused by the extension.
    #[prost(message, tag = "9")]
    RewindOrchestration(Nothing),
}

/// See [`ActionType::ScheduleTask`]. [`TaskScheduled`] has its tags in another field.
#[derive(Clone, Eq, Message, PartialEq)]
#[non_exhaustive]
pub struct ScheduleTask {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(message, optional, tag = "2")]
    pub version: Option<String>,
    /// JSON text.
    #[prost(message, optional, tag = "3")]
    pub input: Option<String>,
    #[prost(btree_map = "string, string", tag = "4")]
    pub tags: Tags,
}

/// See [`ActionType::SendEvent`].
#[derive(Clone, Eq, Message, PartialEq)]
#[non_exhaustive]
pub struct SendEvent {
    #[prost(message, optional, tag = "1")]
    pub instance: Option<OrchestrationInstance>,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(message, optional, tag = "3")]
    pub data: Option<String>,
}

/// See [`ActionType::CompleteOrchestration`].
#[derive(Clone, Message, PartialEq)]
#[non_exhaustive]
pub struct CompleteOrchestration {
    #[prost(enumeration = "OrchestrationStatus", tag = "1")]
    pub orchestration_status: i32,
    /// JSON text: the output or, when continuing as new, the next input.
    #[prost(message, optional, tag = "2")]
    pub result: Option<String>,
    #[prost(message, optional, tag = "3")]
    pub details: Option<String>,
    /// Version of the next execution.
    #[prost(message, optional, tag = "4")]
    pub new_version: Option<String>,
    /// Events the next execution should find.
    #[prost(message, repeated, tag = "5")]
    pub carryover_events: Vec<HistoryEvent>,
    #[prost(message, optional, boxed, tag = "6")]
    pub failure_details: Option<Box<FailureDetails>>,
    /// Read by the extension only to refuse reserved ones.
    #[prost(btree_map = "string, string", tag = "7")]
    pub tags: Tags,
}

/// State of an instance.
#[derive(Clone, Copy, Debug, Enumeration, Eq, Ord, PartialEq, PartialOrd)]
#[repr(i32)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the protocol's own words")]
pub enum OrchestrationStatus {
    Running = 0,
    Completed = 1,
    ContinuedAsNew = 2,
    Failed = 3,
    Canceled = 4,
    Terminated = 5,
    Pending = 6,
    Suspended = 7,
}
