//! What happens to an orchestration: its actions become events, in an order that chance decides.

use std::{collections::HashMap, time::Duration};

use durable::{Turn, TurnOutcome, protocol::*, replay};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};

use super::{interpreter::interpret, maker::Maker, program::Program};

/// One call of the orchestrator.
#[derive(Clone, Debug)]
pub(super) struct Episode {
    pub(super) request: OrchestratorRequest,
    pub(super) turn: Turn,
    /// If the execution ended with outcomes outstanding or held back: the calls that would follow if it had not, and tell them.
    pub(super) leftovers: Vec<OrchestratorRequest>,
}

/// A whole life, as chance has it.
pub(super) fn life(seed: u64) -> (Program, Vec<Episode>) {
    let mut maker = Maker::new(ChaCha8Rng::seed_from_u64(seed));
    let program = maker.program();
    let episodes = World::new(&program, maker.has_versions, maker.rng).play(&program);
    (program, episodes)
}

pub(super) fn event(event_id: i32, seconds: i64, event_type: EventType) -> HistoryEvent {
    HistoryEvent::new(event_id, Some(Timestamp::new(seconds, 0)), Some(event_type))
}

pub(super) fn started(input: &str, execution: u32) -> EventType {
    EventType::ExecutionStarted(Box::new(ExecutionStarted::with(|set| {
        set.name = "interpret".to_owned();
        set.input = Some(input.to_owned());
        set.orchestration_instance =
            Some(OrchestrationInstance::new("life".to_owned(), Some(format!("execution-{execution}"))));
    })))
}

struct World {
    rng: ChaCha8Rng,
    seconds: i64,
    execution: u32,
    /// Of the instance, and the app's.
    version: Option<String>,
    default_version: Option<String>,
    past: Vec<HistoryEvent>,
    /// What has happened and was not told yet.
    waiting: Vec<EventType>,
    events: Vec<String>,
    attempts: HashMap<String, u64>,
    /// Whether clients suspend the instance now and then.
    is_restless: bool,
    is_suspended: bool,
}

impl World {
    fn new(program: &Program, has_versions: bool, mut rng: ChaCha8Rng) -> Self {
        let is_restless = rng.next_u32().is_multiple_of(3);
        let mut version = |text: &str| (has_versions && rng.next_u32().is_multiple_of(2)).then(|| text.to_owned());
        let (version, default_version) = (version("2.5"), version("3.0"));
        Self {
            rng,
            seconds: 1_700_000_000,
            execution: 0,
            version,
            default_version,
            past: Vec::new(),
            waiting: Vec::new(),
            events: program.events(),
            attempts: HashMap::new(),
            is_restless,
            is_suspended: false,
        }
    }

    fn play(mut self, program: &Program) -> Vec<Episode> {
        let mut episodes = Vec::new();
        let mut told = vec![self.started(&serde_json::to_string(program).unwrap())];
        self.interrupt(&mut told);
        loop {
            assert!(episodes.len() < 500, "{program:?} does not end");
            let request = self.request(told);
            let turn = replay(request.clone(), interpret, || Duration::ZERO);
            let outcome = turn.outcome;
            let actions = turn.response.actions.clone();
            self.past.extend(request.new_events.clone());
            episodes.push(Episode { request, turn, leftovers: Vec::new() });
            let complete = completion(&actions);
            if outcome == TurnOutcome::Waiting {
                actions.into_iter().for_each(|it| self.take(it));
            } else {
                episodes.last_mut().unwrap().leftovers = self.leftovers(actions);
            }
            told = match (outcome, complete) {
                (TurnOutcome::Waiting, _) => {
                    assert!(self.has_news(), "{program:?} waits for nothing");
                    self.tell()
                }
                (TurnOutcome::ContinuedAsNew, Some(complete)) => self.begin_again(complete),
                _ => return episodes,
            };
        }
    }

    fn started(&self, input: &str) -> EventType {
        let mut event = started(input, self.execution);
        if let EventType::ExecutionStarted(it) = &mut event {
            it.version.clone_from(&self.version);
        }
        event
    }

    fn request(&mut self, told: Vec<EventType>) -> OrchestratorRequest {
        self.seconds += 1;
        if !self.past.is_empty() {
            self.past.push(event(-1, self.seconds - 1, EventType::OrchestratorCompleted(Nothing::default())));
        }
        let told = std::iter::once(EventType::OrchestratorStarted(Nothing::default())).chain(told);
        OrchestratorRequest::with(|set| {
            set.instance_id = "life".to_owned();
            set.past_events = self.past.clone();
            set.new_events = told.map(|it| event(-1, self.seconds, it)).collect();
            if let Some(version) = &self.default_version {
                let name = OrchestratorRequest::DEFAULT_VERSION.to_owned();
                set.properties.insert(name, version.clone().into());
            }
        })
    }

    /// The calls that tell the outcomes which an execution did not wait for; its last actions may be held back until it is resumed.
    fn leftovers(&mut self, actions: Vec<OrchestratorAction>) -> Vec<OrchestratorRequest> {
        let mut calls = Vec::new();
        if std::mem::take(&mut self.is_suspended) {
            calls.push(self.request(vec![EventType::ExecutionResumed(Reason::default())]));
            self.past.extend(calls[0].new_events.clone());
        }
        actions.into_iter().for_each(|it| self.take(it));
        let is_outcome = |it: &&EventType| !matches!(it, EventType::EventRaised(_));
        let left: Vec<EventType> = self.waiting.iter().filter(is_outcome).cloned().collect();
        calls.extend((!left.is_empty()).then(|| self.request(left)));
        calls
    }

    fn chance(&mut self, bound: usize) -> usize {
        self.rng.next_u32() as usize % bound.max(1)
    }

    /// An action stands in history, and something comes of it.
    fn take(&mut self, action: OrchestratorAction) {
        let id = action.id;
        let (recorded, outcome) = match action.action_type.unwrap() {
            ActionType::ScheduleTask(it) => {
                let outcome = if self.fails(&it.name, it.input.as_deref()) {
                    EventType::TaskFailed(TaskFailed::new(id, Some(Box::new(broken()))))
                } else {
                    EventType::TaskCompleted(TaskCompleted::new(id, it.input))
                };
                (EventType::TaskScheduled(TaskScheduled::new(it.name, None)), outcome)
            }
            ActionType::CreateSubOrchestration(it) => {
                let outcome = if it.name.starts_with("bad") {
                    let failure_details = Some(Box::new(broken()));
                    EventType::SubOrchestrationInstanceFailed(TaskFailed::new(id, failure_details))
                } else {
                    let result = it.input.clone();
                    EventType::SubOrchestrationInstanceCompleted(TaskCompleted::new(id, result))
                };
                (
                    EventType::SubOrchestrationInstanceCreated(Box::new(SubOrchestration::with(|set| {
                        *set = it;
                        set.input = None;
                    }))),
                    outcome,
                )
            }
            ActionType::CreateTimer(it) => {
                let fired = TimerFired::new(it.fire_at, id);
                (EventType::TimerCreated(it), EventType::TimerFired(fired))
            }
            ActionType::CompleteOrchestration(_) => return,
            other => panic!("{other:?} is no part of a program"),
        };
        self.past.push(event(id, self.seconds, recorded));
        self.waiting.push(outcome);
    }

    fn fails(&mut self, name: &str, input: Option<&str>) -> bool {
        let input = input.unwrap_or_default();
        let attempts = self.attempts.entry(input.to_owned()).or_default();
        *attempts += 1;
        let flaky = serde_json::from_str::<serde_json::Value>(input).unwrap()["flaky"].as_u64().unwrap_or_default();
        name.starts_with("bad") || *attempts <= flaky
    }

    /// Whether anything is left to tell.
    fn has_news(&self) -> bool {
        self.is_suspended || !self.waiting.is_empty() || !self.events.is_empty()
    }

    /// Some of what is waiting to be told, in any order; at least one thing.
    fn tell(&mut self) -> Vec<EventType> {
        if !self.events.is_empty() && (self.waiting.is_empty() || self.chance(3) == 0) {
            let at = self.chance(self.events.len());
            let name = self.events.remove(at);
            let input = Some(format!("\"{name} {}\"", self.events.len()));
            // Events are found whatever their case.
            self.waiting.push(EventType::EventRaised(EventRaised::new(name.to_uppercase(), input)));
        }
        let count = (1 + self.chance(self.waiting.len())).min(self.waiting.len());
        let mut told = Vec::new();
        for _ in 0..count {
            let at = self.chance(self.waiting.len());
            told.push(self.waiting.remove(at));
        }
        self.interrupt(&mut told);
        told
    }

    /// Suspends and resumes anywhere in what is told.
    fn interrupt(&mut self, told: &mut Vec<EventType>) {
        let mut at = 0;
        while self.is_restless && (self.is_suspended && told.is_empty() || self.chance(4) == 0) {
            at += self.chance(told.len() + 1 - at);
            let reason = Reason::new(Some("a client wants it".to_owned()));
            let event = if self.is_suspended {
                EventType::ExecutionResumed(reason)
            } else {
                EventType::ExecutionSuspended(reason)
            };
            told.insert(at, event);
            at += 1;
            self.is_suspended = !self.is_suspended;
        }
    }

    fn begin_again(&mut self, complete: CompleteOrchestration) -> Vec<EventType> {
        self.execution += 1;
        self.past.clear();
        // What was on its way to the execution before is not for this one, events excepted.
        self.waiting.retain(|it| matches!(it, EventType::EventRaised(_)));
        self.attempts.clear();
        let input = complete.result.unwrap();
        let next: Program = serde_json::from_str(&input).unwrap();
        self.events = next.events();
        let carried = complete.carryover_events.into_iter().filter_map(|it| it.event_type);
        std::iter::once(self.started(&input)).chain(carried).collect()
    }
}

fn completion(actions: &[OrchestratorAction]) -> Option<CompleteOrchestration> {
    match &actions.last()?.action_type {
        Some(ActionType::CompleteOrchestration(it)) => Some(it.clone()),
        _ => None,
    }
}

fn broken() -> FailureDetails {
    FailureDetails::with(|set| {
        set.error_type = "Broken".to_owned();
        set.error_message = "it broke".to_owned();
    })
}
