//! What happens to an orchestration: its actions become events, in an order that chance decides.

use std::{collections::HashMap, time::Duration};

use durable::{Turn, TurnOutcome, protocol::*, replay};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};
use serde_json::Value;

use super::program::{Maker, Program, interpret};

/// One call of the orchestrator.
#[derive(Clone, Debug)]
pub(super) struct Episode {
    pub(super) request: OrchestratorRequest,
    pub(super) turn: Turn,
}

/// A whole life, as chance has it.
pub(super) fn life(seed: u64) -> (Program, Vec<Episode>) {
    let mut maker = Maker::new(ChaCha8Rng::seed_from_u64(seed));
    let program = maker.program();
    let episodes = World::new(&program, maker.rng).play(&program);
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
    past: Vec<HistoryEvent>,
    /// What has happened and was not told yet.
    waiting: Vec<EventType>,
    events: Vec<String>,
    attempts: HashMap<String, u64>,
}

impl World {
    fn new(program: &Program, rng: ChaCha8Rng) -> Self {
        let events = program.events();
        Self {
            rng,
            seconds: 1_700_000_000,
            execution: 0,
            past: Vec::new(),
            waiting: Vec::new(),
            events,
            attempts: HashMap::new(),
        }
    }

    fn play(mut self, program: &Program) -> Vec<Episode> {
        let mut episodes = Vec::new();
        let mut told = vec![started(&serde_json::to_string(program).unwrap(), 0)];
        loop {
            assert!(episodes.len() < 500, "{program:?} does not end");
            self.seconds += 1;
            let mut new = vec![event(-1, self.seconds, EventType::OrchestratorStarted(Nothing::default()))];
            new.extend(told.into_iter().map(|it| event(-1, self.seconds, it)));
            let request = OrchestratorRequest::with(|set| {
                set.instance_id = "life".to_owned();
                set.past_events = self.past.clone();
                set.new_events = new.clone();
            });
            let turn = replay(request.clone(), interpret, || Duration::ZERO);
            let outcome = turn.outcome;
            let actions = turn.response.actions.clone();
            episodes.push(Episode { request, turn });
            self.past.extend(new);
            match outcome {
                TurnOutcome::Waiting => {
                    actions.into_iter().for_each(|it| self.take(it));
                    self.past.push(event(-1, self.seconds, EventType::OrchestratorCompleted(Nothing::default())));
                    told = self.tell();
                }
                TurnOutcome::ContinuedAsNew => told = self.begin_again(actions),
                _ => return episodes,
            }
        }
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
            other => panic!("{other:?} is no part of a program"),
        };
        self.past.push(event(id, self.seconds, recorded));
        self.waiting.push(outcome);
    }

    fn fails(&mut self, name: &str, input: Option<&str>) -> bool {
        let input = input.unwrap_or_default();
        let attempts = self.attempts.entry(input.to_owned()).or_default();
        *attempts += 1;
        let flaky = serde_json::from_str::<Value>(input).unwrap()["flaky"].as_u64().unwrap_or_default();
        name.starts_with("bad") || *attempts <= flaky
    }

    /// Some of what is waiting to be told, in any order; at least one thing.
    fn tell(&mut self) -> Vec<EventType> {
        if !self.events.is_empty() && (self.waiting.is_empty() || self.chance(3) == 0) {
            let name = self.events.remove(0);
            let input = Some(format!("\"{name}\""));
            // Events are found whatever their case.
            self.waiting.push(EventType::EventRaised(EventRaised::new(name.to_uppercase(), input)));
        }
        let count = 1 + self.chance(self.waiting.len());
        let mut told = Vec::new();
        for _ in 0..count {
            let at = self.chance(self.waiting.len());
            told.push(self.waiting.remove(at));
        }
        told
    }

    fn begin_again(&mut self, actions: Vec<OrchestratorAction>) -> Vec<EventType> {
        let Some(ActionType::CompleteOrchestration(complete)) = actions.into_iter().last().unwrap().action_type else {
            panic!("no completion");
        };
        self.execution += 1;
        self.past.clear();
        // What was on its way to the execution before is not for this one, events excepted.
        self.waiting.retain(|it| matches!(it, EventType::EventRaised(_)));
        self.attempts.clear();
        let next: Program = serde_json::from_str(complete.result.as_deref().unwrap()).unwrap();
        self.events = next.events();
        let mut told = vec![started(&complete.result.unwrap(), self.execution)];
        let carried: Vec<EventType> = complete.carryover_events.into_iter().filter_map(|it| it.event_type).collect();
        told.extend(carried);
        told
    }
}

fn broken() -> FailureDetails {
    FailureDetails::with(|set| {
        set.error_type = "Broken".to_owned();
        set.error_message = "it broke".to_owned();
    })
}
