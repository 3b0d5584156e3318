//! Replay: a history and an orchestrator in, the new actions out. A pure function, linear in the history.

use std::{
    any::Any,
    cell::{RefCell, RefMut},
    collections::VecDeque,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context as Cx, Poll, Waker},
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};

use super::{
    Carry, Context, Level, Turn, TurnOutcome,
    context::{encode, is_continued},
    error::{Error, types},
    events::{Episode, Event, Kind},
    mismatch::{Recorded, explain},
    protocol::{
        ActionType, CompleteOrchestration, EventRaised, EventType, ExecutionStarted, HistoryEvent, OrchestrationStatus,
        OrchestratorAction, OrchestratorRequest, TaskFailed,
    },
    state::{Continued, Instance, State, Stopwatch, TaskResult},
    wake::Woken,
};

/// So often an orchestrator may wake itself without an outcome from history. A future that does so for ever waits for something
/// that is not of here.
const MOST_ROUNDS: u32 = 1_000_000;

type Running<'a> = Pin<Box<dyn Future<Output = Result<Option<String>, Error>> + 'a>>;
type Start<'a> = Box<dyn FnOnce(Context, Option<String>) -> Result<Running<'a>, Error> + 'a>;

/// How an execution ended.
enum End {
    Completed(Option<String>),
    ContinuedAsNew(Continued),
    Terminated(Option<String>),
    Failed(Error),
}

struct Replay<'a, 'e> {
    context: Context,
    start: Option<Start<'a>>,
    running: Option<Running<'a>>,
    woken: Arc<Woken>,
    waker: Waker,
    end: Option<End>,
    is_suspended: bool,
    /// What arrived while suspended, and where it stands in history.
    held: VecDeque<(usize, Event<'e>)>,
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
    play(Episode::of(&request), starting(orchestrator), Rc::new(stopwatch))
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
    Ok(play(Episode::read(request)?, starting(orchestrator), Rc::new(stopwatch)))
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

fn play(episode: Episode<'_>, start: Start<'_>, stopwatch: Stopwatch) -> Turn {
    let new_events = episode.events.len() - episode.past;
    let mut turn = Turn::new(episode.instance_id.to_owned(), episode.past, new_events);
    if episode.lacks_history() {
        turn.response.requires_history = true;
        return turn;
    }
    let mut replay = Replay::new(&episode, start, stopwatch);
    // What a panic in the orchestrator's code can reach at all is caught closer by.
    let walked = guarded(|| replay.walk(episode));
    if let Err(panic) = walked.and_then(|()| replay.drop_code()) {
        replay.fail(panic);
    }
    replay.finish(&mut turn);
    turn
}

impl<'a, 'e> Replay<'a, 'e> {
    fn new(episode: &Episode<'e>, start: Start<'a>, stopwatch: Stopwatch) -> Self {
        let is_action = |event: &&Event<'_>| Recorded::of(&event.kind).is_some();
        let mut recorded: VecDeque<i32> = episode.events.iter().filter(is_action).map(|it| it.id).collect();
        recorded.make_contiguous().sort_unstable();
        let instance = Instance {
            id: episode.instance_id.to_owned(),
            default_version: episode.text(OrchestratorRequest::DEFAULT_VERSION).map(Into::into),
            ..Instance::default()
        };
        let state = State::new(instance, recorded, stopwatch);
        let (woken, waker) = Woken::new();
        Self {
            context: Context { state: Rc::new(RefCell::new(state)), version: None },
            start: Some(start),
            running: None,
            woken,
            waker,
            end: None,
            is_suspended: false,
            held: VecDeque::new(),
        }
    }

    fn state(&self) -> RefMut<'_, State> {
        self.context.state.borrow_mut()
    }

    fn walk(&mut self, episode: Episode<'e>) {
        let past = episode.past;
        for (at, event) in episode.events.into_iter().enumerate() {
            self.state().is_replaying = at < past;
            self.take(at + 1, event);
        }
        // A start that waits for its resumption is no lack of one.
        if self.start.is_some() && self.end.is_none() && !self.is_suspended {
            self.end = Some(End::Failed(Error::new(types::BAD_REQUEST, "the history has no executionStarted")));
        }
    }

    /// Takes one event of the history, at its position from 1, and lets the orchestrator go on if it was waited for.
    fn take(&mut self, position: usize, event: Event<'e>) {
        if matches!(self.end, Some(End::Failed(_) | End::Terminated(_))) {
            return;
        }
        match event.kind {
            Kind::OrchestratorStarted(at) => {
                if let Some(at) = at {
                    self.state().now = at;
                }
            }
            Kind::Rare(rare) if is_control(&rare) => self.control(*rare),
            _ if self.is_suspended => self.held.push_back((position, event)),
            Kind::OrchestratorCompleted => {}
            Kind::TaskCompleted { id, result } => self.settle(id, Ok(result.map(str::to_owned))),
            Kind::Unknown => {
                let text = || "history has an event of a type that is not known here: it is passed over".to_owned();
                self.context.log(Level::Warning, text);
            }
            kind => match Recorded::of(&kind) {
                Some(recorded) => self.confirm(position, event.id, recorded),
                None => {
                    if let Kind::Rare(rare) = kind {
                        self.deliver(*rare);
                    }
                }
            },
        }
    }

    /// What a client wants of the execution as such.
    fn control(&mut self, event_type: EventType) {
        match event_type {
            EventType::ExecutionSuspended(_) => self.is_suspended = true,
            EventType::ExecutionResumed(_) => {
                self.is_suspended = false;
                while let Some((position, event)) = self.held.pop_front() {
                    self.take(position, event);
                }
            }
            EventType::ExecutionTerminated(reason) => self.end = Some(End::Terminated(reason.input)),
            _ => {}
        }
    }

    fn begin(&mut self, started: ExecutionStarted) {
        let Some(start) = self.start.take() else { return };
        {
            let instance = &mut self.state().instance;
            instance.execution_id = started.orchestration_instance.and_then(|it| it.execution_id);
            let parent = started.parent_instance.and_then(|it| it.orchestration_instance);
            instance.parent_id = parent.map(|it| it.instance_id);
            instance.version = started.version.filter(|it| !it.is_empty());
        }
        let context = self.context.clone();
        match guarded(|| start(context, started.input)) {
            Ok(Ok(running)) => {
                self.running = Some(running);
                self.poll();
            }
            Ok(Err(error)) | Err(error) => self.fail(error),
        }
    }

    /// An action stands in history: it must be the one the orchestrator wants now.
    fn confirm(&mut self, position: usize, id: i32, recorded: Recorded<'_>) {
        let error = {
            let state = self.context.state.borrow();
            // An id that no action has can have been given to none.
            if id < 0 { None } else { explain(position, id, recorded, state.attempt(id)) }
        };
        if let Some(error) = error {
            self.fail(error);
        }
    }

    fn deliver(&mut self, event_type: EventType) {
        let failed = |kind, what, it: TaskFailed| {
            (it.task_scheduled_id, Err(Box::new(Error::task(kind, what, it.failure_details))))
        };
        let (id, result) = match event_type {
            EventType::ExecutionStarted(started) => return self.begin(*started),
            EventType::EventRaised(event) => {
                self.state().raise(event);
                return self.go_on();
            }
            EventType::TaskCompleted(it) | EventType::SubOrchestrationInstanceCompleted(it) => {
                (it.task_scheduled_id, Ok(it.result))
            }
            EventType::TaskFailed(it) => failed(types::ACTIVITY_FAILED, "an activity", it),
            EventType::SubOrchestrationInstanceFailed(it) => failed(types::SUB_ORCHESTRATION_FAILED, "a child", it),
            EventType::TimerFired(it) => (it.timer_id, Ok(None)),
            _ => return,
        };
        self.settle(id, result);
    }

    /// Hands over an outcome. Whether a failure is tried again the policy says, which is code of the orchestrator's.
    fn settle(&mut self, id: i32, result: TaskResult) {
        if self.end.is_some() {
            return;
        }
        let failed = self.state().settle(id, result);
        if let Some((mut retry, error)) = failed {
            retry.failures += 1;
            let now = self.context.now();
            let elapsed = Duration::try_from(now - retry.began).unwrap_or_default();
            match guarded(|| retry.policy.pause_after(retry.failures, elapsed, &error)) {
                Ok(pause) => self.state().retry(retry, error, pause),
                Err(panic) => return self.fail(panic),
            }
        }
        self.go_on();
    }

    fn go_on(&mut self) {
        if self.woken.take() {
            self.poll();
        }
    }

    /// Polls until nothing in the orchestrator wakes anything else there.
    fn poll(&mut self) {
        let Some(running) = self.running.as_mut() else { return };
        let mut cx = Cx::from_waker(&self.waker);
        let mut rounds = 0;
        let outcome = loop {
            match guarded(|| running.as_mut().poll(&mut cx)) {
                Ok(Poll::Ready(outcome)) => break outcome,
                Err(panic) => break Err(panic),
                Ok(Poll::Pending) if self.context.state.borrow().continued.is_some() => break Ok(None),
                Ok(Poll::Pending) if self.woken.take() && rounds < MOST_ROUNDS => rounds += 1,
                Ok(Poll::Pending) if rounds < MOST_ROUNDS && self.context.state.borrow().is_awaited() => return,
                Ok(Poll::Pending) => break Err(foreign_await()),
            }
        };
        let dropped = self.drop_running();
        let continued = self.state().end_continued();
        let end = match (continued, outcome.and_then(|output| dropped.map(|()| output))) {
            (Some(continued), Ok(_)) => End::ContinuedAsNew(continued),
            (Some(continued), Err(error)) if is_continued(&error) => End::ContinuedAsNew(continued),
            (None, Ok(output)) => End::Completed(output),
            (_, Err(error)) => End::Failed(error),
        };
        self.end = Some(end);
    }

    fn fail(&mut self, error: Error) {
        self.end = Some(End::Failed(error));
        // It has failed; a second failure says no more.
        let _ = self.drop_running();
    }

    /// Drops the orchestrator: its destructors are code of its own.
    fn drop_running(&mut self) -> Result<(), Error> {
        let running = self.running.take();
        guarded(|| drop(running))
    }

    /// Drops all code of the orchestrator's that is left.
    fn drop_code(&mut self) -> Result<(), Error> {
        let (start, policies) = (self.start.take(), self.state().take_policies());
        self.drop_running().and(guarded(|| drop(start))).and(guarded(|| drop(policies)))
    }

    fn finish(self, turn: &mut Turn) {
        let mut state = self.context.state.borrow_mut();
        turn.response.actions = state.take_actions();
        turn.response.custom_status = state.custom_status.take();
        turn.log = std::mem::take(&mut state.log);
        if self.is_suspended && matches!(self.end, None | Some(End::Terminated(_))) {
            // As with the real engine: what was asked for in the batch that suspends waits for the resumption, too.
            turn.response.actions.clear();
        }
        let Some(end) = self.end else { return };
        self.held.into_iter().filter_map(|(_, event)| raised(event)).for_each(|it| state.raise(it));
        let carried = state.unclaimed_events();
        let (outcome, complete) = completion(end, carried);
        turn.outcome = outcome;
        let (id, action_type) = (state.next_id(), Some(ActionType::CompleteOrchestration(complete)));
        turn.response.actions.push(OrchestratorAction { id, action_type });
    }
}

/// The last action of an execution.
fn completion(end: End, unclaimed: Vec<EventRaised>) -> (TurnOutcome, CompleteOrchestration) {
    let complete = |status: OrchestrationStatus, result| CompleteOrchestration {
        orchestration_status: status as i32,
        result,
        ..CompleteOrchestration::default()
    };
    match end {
        End::Failed(error) => (TurnOutcome::Failed, failure(error)),
        End::Completed(output) => (TurnOutcome::Completed, complete(OrchestrationStatus::Completed, output)),
        End::Terminated(reason) => {
            let reason = reason.map(|it| serde_json::Value::from(it).to_string());
            (TurnOutcome::Terminated, complete(OrchestrationStatus::Terminated, reason))
        }
        End::ContinuedAsNew(Continued { input, carry, new_version, .. }) => {
            let unclaimed = if carry == Carry::Events { unclaimed } else { Vec::new() };
            let event =
                |it| HistoryEvent { event_id: -1, timestamp: None, event_type: Some(EventType::EventRaised(it)) };
            let complete = CompleteOrchestration {
                new_version,
                carryover_events: unclaimed.into_iter().map(event).collect(),
                ..complete(OrchestrationStatus::ContinuedAsNew, Some(input))
            };
            (TurnOutcome::ContinuedAsNew, complete)
        }
    }
}

/// The completion of an execution that failed.
pub(super) fn failure(error: Error) -> CompleteOrchestration {
    CompleteOrchestration {
        orchestration_status: OrchestrationStatus::Failed as i32,
        failure_details: Some(Box::new(error.into_details())),
        ..CompleteOrchestration::default()
    }
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
    let text = "the orchestrator waits for something that is not in its history, such as a sleep, a request, or a channel that \
                nobody sends to: it would wait for ever. Do such things in an activity, and use the context's timers";
    Error::new(types::FOREIGN_AWAIT, text)
}

/// Runs code of the orchestrator; a panic is an error like any other.
fn guarded<T>(run: impl FnOnce() -> T) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| {
        let error = Error::new(types::PANIC, panic_text(panic.as_ref()));
        // What it panicked with may panic when it is dropped, and so may that: the second is kept for ever.
        if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
            std::mem::forget(second);
        }
        error
    })
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text =
        panic.downcast_ref::<&str>().map(|it| (*it).to_owned()).or_else(|| panic.downcast_ref::<String>().cloned());
    format!("the orchestrator panicked: {}", text.as_deref().unwrap_or("without a message"))
}

/// Whether an event is for the execution as such, suspended or not.
const fn is_control(event_type: &EventType) -> bool {
    matches!(
        event_type,
        EventType::ExecutionSuspended(_) | EventType::ExecutionResumed(_) | EventType::ExecutionTerminated(_)
    )
}

fn raised(event: Event<'_>) -> Option<EventRaised> {
    match event.kind {
        Kind::Rare(rare) => match *rare {
            EventType::EventRaised(event) => Some(event),
            _ => None,
        },
        _ => None,
    }
}
