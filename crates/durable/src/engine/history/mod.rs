//! Recorded histories as test data: made by hand, read from the status webhook, and held against code.

mod builder;
mod fit;
mod status;

use std::ops::Range;

use crate::engine::{
    mismatch::Recorded,
    protocol::{
        EventType, ExecutionCompleted, ExecutionStarted, HistoryEvent, OrchestratorRequest, SubOrchestration,
        TaskScheduled,
    },
};

pub use builder::HistoryBuilder;
pub use fit::{Misfit, MisfitKind, replay_against};
pub use status::NotAHistory;

/// What is recorded of one execution of an instance.
///
/// Make one with [`History::of`], read one with [`History::from_status`], or take the events of a store with [`History::new`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct History {
    pub instance_id: String,
    /// Oldest first, the end of the execution included if it has ended.
    pub events: Vec<HistoryEvent>,
    /// Whether ids, the bounds of episodes and their clock are rebuilt: see [`History::from_status`].
    pub is_rebuilt: bool,
}

impl History {
    /// Takes the events as they were recorded.
    pub fn new(instance_id: impl Into<String>, events: Vec<HistoryEvent>) -> Self {
        Self { instance_id: instance_id.into(), events, is_rebuilt: false }
    }

    /// How the execution began; `None` where no episode has run yet.
    pub fn started(&self) -> Option<&ExecutionStarted> {
        self.events.iter().find_map(|it| match &it.event_type {
            Some(EventType::ExecutionStarted(it)) => Some(it.as_ref()),
            _ => None,
        })
    }

    /// The request of the last episode, as the extension sends it: earlier episodes whole, then what was new in this one.
    pub fn last_request(&self) -> OrchestratorRequest {
        self.request(self.episodes().last().unwrap_or(&(0..0)))
    }

    /// What was new in each episode, as places in the events.
    fn episodes(&self) -> Vec<Range<usize>> {
        let mut episodes: Vec<Range<usize>> = Vec::new();
        for (at, event) in self.events.iter().enumerate() {
            let is_new = event.event_type.as_ref().is_some_and(|it| !is_answer(it));
            match episodes.last_mut() {
                Some(episode) if is_new && episode.end == at => episode.end += 1,
                _ if is_new => episodes.push(at..at + 1),
                _ => {}
            }
        }
        episodes
    }

    fn request(&self, episode: &Range<usize>) -> OrchestratorRequest {
        OrchestratorRequest::with(|set| {
            set.instance_id.clone_from(&self.instance_id);
            set.past_events = self.events[..episode.start].to_vec();
            set.new_events = self.events[episode.clone()].to_vec();
        })
    }

    /// The event that an action of this id became, and its place.
    fn step(&self, id: i32) -> Option<(usize, &EventType)> {
        let mut steps = self.events.iter().enumerate().filter(|(_, it)| it.event_id == id);
        steps.find_map(|(at, it)| it.event_type.as_ref().filter(|it| is_step(it)).map(|it| (at, it)))
    }

    fn end(&self) -> Option<(usize, &ExecutionCompleted)> {
        self.events.iter().enumerate().rev().find_map(|(at, it)| match &it.event_type {
            Some(EventType::ExecutionCompleted(it)) => Some((at, it)),
            _ => None,
        })
    }
}

/// Whether an event was written for an action.
fn is_step(event: &EventType) -> bool {
    Recorded::of_event(event).is_some()
}

/// Whether an event was written after an orchestrator's answer rather than before it was called.
fn is_answer(event: &EventType) -> bool {
    is_step(event) || matches!(event, EventType::OrchestratorCompleted(_) | EventType::ExecutionCompleted(_))
}

fn scheduled(name: impl Into<String>, input: Option<String>) -> EventType {
    EventType::TaskScheduled(TaskScheduled::new(name.into(), input))
}

fn created(instance_id: String, name: impl Into<String>, input: Option<String>) -> EventType {
    EventType::SubOrchestrationInstanceCreated(Box::new(SubOrchestration::new(instance_id, name.into(), input)))
}
