//! External events and those who wait for them, by name: both in the order in which they came.

use std::collections::{HashMap, VecDeque};

use super::{names, protocol::EventRaised, state::Key};

/// An event and its place in the order of arrival.
#[derive(Debug)]
pub(super) struct Raised {
    arrival: u64,
    pub event: EventRaised,
}

#[derive(Debug, Default)]
pub(super) struct EventQueues {
    /// Places in the queues, by the name in upper case.
    places: HashMap<String, u32>,
    queues: Vec<Queue>,
    arrived: u64,
}

/// One of the two is empty, those in line who have left aside.
#[derive(Debug)]
struct Queue {
    /// As it was first written.
    name: String,
    waits: VecDeque<Key>,
    events: VecDeque<Raised>,
}

impl EventQueues {
    /// The queue of a name.
    pub(super) fn of(&mut self, name: &str) -> u32 {
        let next = u32::try_from(self.queues.len()).unwrap_or(u32::MAX);
        let place = *self.places.entry(names::upper(name)).or_insert(next);
        if place == next {
            self.queues.push(Queue { name: name.to_owned(), waits: VecDeque::new(), events: VecDeque::new() });
        }
        place
    }

    pub(super) fn name(&self, queue: u32) -> &str {
        &self.queues[queue as usize].name
    }

    pub(super) fn arrive(&mut self, event: EventRaised) -> (u32, Raised) {
        let raised = Raised { arrival: self.arrived, event };
        self.arrived += 1;
        (self.of(&raised.event.name), raised)
    }

    /// The oldest event, for who came after it.
    pub(super) fn claim(&mut self, queue: u32) -> Option<Raised> {
        self.queues[queue as usize].events.pop_front()
    }

    /// Waits for the next event.
    pub(super) fn line_up(&mut self, queue: u32, key: Key) {
        self.queues[queue as usize].waits.push_back(key);
    }

    /// Who has waited longest; it may have left.
    pub(super) fn next_in_line(&mut self, queue: u32) -> Option<Key> {
        self.queues[queue as usize].waits.pop_front()
    }

    /// Keeps an event that nobody waits for in its place among the others.
    pub(super) fn keep(&mut self, queue: u32, raised: Raised) {
        let events = &mut self.queues[queue as usize].events;
        let place = events.partition_point(|it| it.arrival < raised.arrival);
        events.insert(place, raised);
    }

    /// All events that nobody took, in order of arrival.
    pub(super) fn take_all(&mut self) -> Vec<EventRaised> {
        let mut all: Vec<Raised> = self.queues.iter_mut().flat_map(|it| it.events.drain(..)).collect();
        all.sort_by_key(|it| it.arrival);
        all.into_iter().map(|it| it.event).collect()
    }
}
