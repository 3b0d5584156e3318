//! Replay: a history and an orchestrator in, the new actions out. A pure function, linear in the history.

use std::{
    any::Any,
    cell::{RefCell, RefMut},
    collections::VecDeque,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    rc::Rc,
    task::{Context as Cx, Poll, Waker},
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};

use super::{
    Carry, Context, Turn, TurnOutcome,
    context::encode,
    error::{Error, types},
    mismatch,
    protocol::{
        ActionType, CompleteOrchestration, EventRaised, EventType, ExecutionStarted, HistoryEvent, OrchestrationStatus,
        OrchestratorAction, OrchestratorRequest,
    },
    state::{Key, State, Stopwatch},
    stream::EncodedRequest,
};

type Running<'a> = Pin<Box<dyn Future<Output = Result<Option<String>, Error>> + 'a>>;
type Start<'a> = Box<dyn FnOnce(Context, Option<String>) -> Result<Running<'a>, Error> + 'a>;

/// How an execution ended.
enum End {
    Completed(Option<String>),
    ContinuedAsNew(String, Carry),
    Terminated(Option<String>),
    Failed(Error),
}

struct Replay<'a> {
    context: Context,
    start: Option<Start<'a>>,
    running: Option<Running<'a>>,
    end: Option<End>,
    is_suspended: bool,
    /// Outcomes and events that arrived while suspended.
    held: VecDeque<EventType>,
    /// Which event of the history is looked at, from 1.
    position: usize,
}

/// Replays one episode. Whatever goes wrong, panics included, is an answer: a completion that failed and says why.
///
/// `stopwatch` gives the time since the episode began; it serves [`Context::elapsed`] alone.
pub fn replay<'a, F, Fut, I, O>(
    request: OrchestratorRequest,
    orchestrator: F,
    stopwatch: impl Fn() -> Duration + 'static,
) -> Turn
where
    F: FnOnce(Context, I) -> Fut + 'a,
    Fut: Future<Output = Result<O, Error>> + 'a,
    I: DeserializeOwned,
    O: Serialize,
{
    let OrchestratorRequest { instance_id, past_events, new_events, .. } = request;
    let turn = Turn::new(instance_id, past_events.len(), new_events.len());
    let past = past_events.into_iter().map(|event| Ok((true, event)));
    let events = past.chain(new_events.into_iter().map(|event| Ok((false, event))));
    play(turn, events, starting(orchestrator), Rc::new(stopwatch))
}

/// The same for the bytes of a request, which are read event by event: that is faster where histories are long.
///
/// # Errors
/// When the bytes are no `OrchestratorRequest`.
pub fn replay_encoded<'a, F, Fut, I, O>(
    request: &[u8],
    orchestrator: F,
    stopwatch: impl Fn() -> Duration + 'static,
) -> Result<Turn, Error>
where
    F: FnOnce(Context, I) -> Fut + 'a,
    Fut: Future<Output = Result<O, Error>> + 'a,
    I: DeserializeOwned,
    O: Serialize,
{
    let request = EncodedRequest::read(request)?;
    let turn = Turn::new(request.instance_id.to_owned(), request.past_events, request.new_events);
    Ok(play(turn, request.events(), starting(orchestrator), Rc::new(stopwatch)))
}

/// An orchestrator without its types.
fn starting<'a, F, Fut, I, O>(orchestrator: F) -> Start<'a>
where
    F: FnOnce(Context, I) -> Fut + 'a,
    Fut: Future<Output = Result<O, Error>> + 'a,
    I: DeserializeOwned,
    O: Serialize,
{
    Box::new(move |context, input| {
        let running = orchestrator(context, decode_input(input.as_deref())?);
        Ok(Box::pin(async move { encode(&running.await?) }))
    })
}

fn play(
    mut turn: Turn,
    events: impl Iterator<Item = Result<(bool, HistoryEvent), Error>>,
    start: Start<'_>,
    stopwatch: Stopwatch,
) -> Turn {
    let state = State::new(turn.response.instance_id.clone(), stopwatch);
    let mut replay = Replay {
        context: Context { state: Rc::new(RefCell::new(state)) },
        start: Some(start),
        running: None,
        end: None,
        is_suspended: false,
        held: VecDeque::new(),
        position: 0,
    };
    for event in events {
        match event {
            Ok((is_past, event)) => {
                replay.state().is_replaying = is_past;
                replay.take(event);
            }
            Err(error) => {
                replay.end = Some(End::Failed(error));
                replay.running = None;
                break;
            }
        }
    }
    replay.finish(&mut turn);
    turn
}

impl<'a> Replay<'a> {
    fn state(&self) -> RefMut<'_, State> {
        self.context.state.borrow_mut()
    }

    /// Takes one event of the history, and lets the orchestrator go on if it was waited for.
    fn take(&mut self, event: HistoryEvent) {
        self.position += 1;
        if matches!(self.end, Some(End::Failed(_) | End::Terminated(_))) {
            return;
        }
        let Some(event_type) = event.event_type else {
            self.context
                .log(super::Level::Warning, || "history has an event of a type that is not known here".to_owned());
            return;
        };
        match event_type {
            EventType::OrchestratorStarted(_) => {
                if let Some(at) = event.timestamp {
                    self.state().now = at.into();
                }
            }
            EventType::ExecutionStarted(started) => self.begin(*started),
            EventType::ExecutionTerminated(reason) => self.end = Some(End::Terminated(reason.input)),
            EventType::ExecutionSuspended(_) => self.is_suspended = true,
            EventType::ExecutionResumed(_) => self.resume(),
            EventType::TaskScheduled(_)
            | EventType::SubOrchestrationInstanceCreated(_)
            | EventType::TimerCreated(_)
            | EventType::EventSent(_) => self.confirm(event.event_id, &event_type),
            outcome if self.is_suspended => self.held.push_back(outcome),
            outcome => self.deliver(outcome),
        }
    }

    fn begin(&mut self, started: ExecutionStarted) {
        let Some(start) = self.start.take() else { return };
        {
            let mut state = self.state();
            state.execution_id = started.orchestration_instance.and_then(|it| it.execution_id);
            let parent = started.parent_instance.and_then(|it| it.orchestration_instance);
            state.parent_instance_id = parent.map(|it| it.instance_id);
        }
        let context = self.context.clone();
        match guarded(|| start(context, started.input)) {
            Ok(Ok(running)) => {
                self.running = Some(running);
                self.poll();
            }
            Ok(Err(error)) | Err(error) => self.end = Some(End::Failed(error)),
        }
    }

    fn resume(&mut self) {
        self.is_suspended = false;
        while let Some(outcome) = self.held.pop_front() {
            self.deliver(outcome);
        }
    }

    /// An action stands in history: it is not new any more, and it must be the one the orchestrator wants now.
    fn confirm(&mut self, id: i32, recorded: &EventType) {
        let attempted = self.state().confirm(id);
        let is_known = id < self.state().next_id();
        let error = match attempted {
            Some(attempted) => mismatch::explain(self.position, id, recorded, Some(&attempted)),
            // Recorded twice: the first one was confirmed.
            None if is_known => None,
            None => mismatch::explain(self.position, id, recorded, None),
        };
        if let Some(error) = error {
            self.end = Some(End::Failed(error));
            self.running = None;
        }
    }

    fn deliver(&mut self, outcome: EventType) {
        let is_awaited = match outcome {
            EventType::TaskCompleted(it) | EventType::SubOrchestrationInstanceCompleted(it) => {
                self.state().resolve(Key::Task(it.task_scheduled_id), Ok(it.result))
            }
            EventType::TaskFailed(it) => {
                let error = Error::task(types::ACTIVITY_FAILED, "an activity", it.failure_details);
                self.state().resolve(Key::Task(it.task_scheduled_id), Err(error))
            }
            EventType::SubOrchestrationInstanceFailed(it) => {
                let error = Error::task(types::SUB_ORCHESTRATION_FAILED, "a child", it.failure_details);
                self.state().resolve(Key::Task(it.task_scheduled_id), Err(error))
            }
            EventType::TimerFired(it) => self.state().resolve(Key::Task(it.timer_id), Ok(None)),
            EventType::EventRaised(event) => self.state().raise(event),
            _ => false,
        };
        if is_awaited {
            self.poll();
        }
    }

    fn poll(&mut self) {
        let Some(running) = self.running.as_mut() else { return };
        let mut cx = Cx::from_waker(Waker::noop());
        let outcome = match guarded(|| running.as_mut().poll(&mut cx)) {
            Ok(Poll::Pending) if self.context.state.borrow().is_awaited() => return,
            Ok(Poll::Pending) => Err(foreign_await()),
            Ok(Poll::Ready(outcome)) => outcome,
            Err(panic) => Err(panic),
        };
        self.running = None;
        let continued = self.state().continued_as_new.take();
        self.end = Some(match (continued, outcome) {
            (_, Err(error)) if error.error_type == types::PANIC => End::Failed(error),
            (Some((input, carry)), _) => End::ContinuedAsNew(input, carry),
            (None, Ok(output)) => End::Completed(output),
            (None, Err(error)) => End::Failed(error),
        });
    }

    fn finish(mut self, turn: &mut Turn) {
        if self.start.is_some() && self.end.is_none() {
            self.end = Some(End::Failed(Error::new(types::BAD_REQUEST, "the history has no executionStarted")));
        }
        let held: Vec<EventRaised> = self.held.drain(..).filter_map(raised).collect();
        let mut state = self.context.state.borrow_mut();
        turn.response.actions = state.take_actions();
        turn.response.custom_status = state.custom_status.take();
        turn.log = std::mem::take(&mut state.log);
        let Some(end) = self.end.take() else { return };
        for event in held {
            state.raise(event);
        }
        let (outcome, complete) = completion(end, state.unclaimed_events());
        turn.outcome = outcome;
        let (id, action_type) = (state.next_id(), Some(ActionType::CompleteOrchestration(complete)));
        turn.response.actions.push(OrchestratorAction { id, action_type });
    }
}

/// The last action of an execution.
fn completion(end: End, unclaimed: Vec<HistoryEvent>) -> (TurnOutcome, CompleteOrchestration) {
    let (outcome, status, result) = match end {
        End::Failed(error) => {
            let complete = CompleteOrchestration {
                orchestration_status: OrchestrationStatus::Failed as i32,
                failure_details: Some(Box::new(error.into_details())),
                ..CompleteOrchestration::default()
            };
            return (TurnOutcome::Failed, complete);
        }
        End::Completed(output) => (TurnOutcome::Completed, OrchestrationStatus::Completed, output),
        End::Terminated(reason) => {
            let reason = reason.map(|it| serde_json::Value::from(it).to_string());
            (TurnOutcome::Terminated, OrchestrationStatus::Terminated, reason)
        }
        End::ContinuedAsNew(input, carry) => {
            let carryover_events = if carry == Carry::Events { unclaimed } else { Vec::new() };
            let complete = CompleteOrchestration {
                orchestration_status: OrchestrationStatus::ContinuedAsNew as i32,
                result: Some(input),
                carryover_events,
                ..CompleteOrchestration::default()
            };
            return (TurnOutcome::ContinuedAsNew, complete);
        }
    };
    (outcome, CompleteOrchestration { orchestration_status: status as i32, result, ..CompleteOrchestration::default() })
}

/// A start's input. Some clients encode it twice: a text that holds the JSON that is expected is taken as that JSON.
fn decode_input<I: DeserializeOwned>(text: Option<&str>) -> Result<I, Error> {
    let text = text.filter(|it| !it.is_empty()).unwrap_or("null");
    serde_json::from_str(text).or_else(|error| {
        let inner = serde_json::from_str::<String>(text).ok().and_then(|inner| serde_json::from_str(&inner).ok());
        inner.ok_or_else(|| {
            Error::new(types::DECODE, format!("the input is not what the orchestrator expects: {error}"))
        })
    })
}

fn foreign_await() -> Error {
    let text = "the orchestrator waits for something that is not in its history, such as a sleep or a request: it would wait for \
                ever. Do such things in an activity, and use the context's timers";
    Error::new(types::FOREIGN_AWAIT, text)
}

/// Runs code of the orchestrator; a panic is an error like any other.
fn guarded<T>(run: impl FnOnce() -> T) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| Error::new(types::PANIC, panic_text(panic.as_ref())))
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text =
        panic.downcast_ref::<&str>().map(|it| (*it).to_owned()).or_else(|| panic.downcast_ref::<String>().cloned());
    format!("the orchestrator panicked: {}", text.as_deref().unwrap_or("without a message"))
}

fn raised(event: EventType) -> Option<EventRaised> {
    match event {
        EventType::EventRaised(event) => Some(event),
        _ => None,
    }
}
