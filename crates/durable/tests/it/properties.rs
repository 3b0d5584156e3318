//! What holds for every orchestration and every history.

use std::{collections::HashSet, time::Duration};

use durable::{TurnOutcome, envelope, protocol::*, replay, replay_encoded};
use proptest::prelude::*;
use prost::Message;

use super::{interpreter::interpret, world::life};

/// More cases, if you have the time: `PROPTEST_CASES=100000 cargo test durable::properties`.
fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::default() }
}

/// Ids of the actions that stand in a history.
fn recorded(events: &[HistoryEvent]) -> HashSet<i32> {
    let is_action = |it: &&HistoryEvent| {
        matches!(
            it.event_type,
            Some(
                EventType::TaskScheduled(_)
                    | EventType::TimerCreated(_)
                    | EventType::SubOrchestrationInstanceCreated(_)
                    | EventType::EventSent(_)
            )
        )
    };
    events.iter().filter(is_action).map(|it| it.event_id).collect()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn no_prefix_of_a_history_yields_an_action_it_has(seed: u64, cut: prop::sample::Index) {
        let (_, episodes) = life(seed);
        let request = &episodes[cut.index(episodes.len())].request;
        let events: Vec<HistoryEvent> = request.past_events.iter().chain(&request.new_events).cloned().collect();
        for end in [cut.index(events.len()) + 1, events.len()] {
            let (past, new) = events[..end].split_at(end - 1);
            let mut request = request.clone();
            (request.past_events, request.new_events) = (past.to_vec(), new.to_vec());
            let turn = replay(request, interpret, || Duration::ZERO);
            let had = recorded(&events[..end]);
            let ids: Vec<i32> = turn.response.actions.iter().map(|it| it.id).collect();
            let again: Vec<&i32> = ids.iter().filter(|it| had.contains(it)).collect();
            prop_assert!(again.is_empty(), "{:?} stand in history already", again);
            let unique: HashSet<&i32> = ids.iter().collect();
            prop_assert_eq!(unique.len(), ids.len(), "ids are unique");
        }
    }

    #[test]
    fn replaying_twice_gives_equal_turns(seed: u64) {
        for episode in life(seed).1 {
            let again = replay(episode.request.clone(), interpret, || Duration::ZERO);
            prop_assert_eq!(again, episode.turn);
        }
    }

    #[test]
    fn every_life_ends_as_its_program_says(seed: u64) {
        let (program, episodes) = life(seed);
        let last = episodes.last().unwrap();
        let wanted = if program.fails() { TurnOutcome::Failed } else { TurnOutcome::Completed };
        prop_assert_eq!(last.turn.outcome, wanted, "{:?}", last.turn.response);
    }

    #[test]
    fn random_bytes_are_answered(bytes: Vec<u8>) {
        let request = OrchestratorRequest::decode(bytes.as_slice());
        if let Ok(request) = request {
            let turn = replay(request, interpret, || Duration::ZERO);
            prop_assert!(!envelope::encode(&turn.response).is_empty());
        }
    }

    #[test]
    fn random_texts_are_answered(text: String) {
        let turn = match envelope::decode(&text) {
            Ok(request) => replay(request, interpret, || Duration::ZERO),
            Err(error) => envelope::refuse(error),
        };
        prop_assert!(!envelope::encode(&turn.response).is_empty());
    }

    #[test]
    fn damaged_messages_are_answered(seed: u64, cut: prop::sample::Index, at: prop::sample::Index, byte: u8) {
        let (_, episodes) = life(seed);
        let mut bytes = episodes[cut.index(episodes.len())].request.encode_to_vec();
        let position = at.index(bytes.len());
        bytes[position] = byte;
        for bytes in [&bytes[..], &bytes[..cut.index(bytes.len())]] {
            if let Ok(request) = OrchestratorRequest::decode(bytes) {
                let turn = replay(request, interpret, || Duration::ZERO);
                prop_assert!(!envelope::encode(&turn.response).is_empty());
                // What can be decoded at once can be read event by event, to the same end.
                prop_assert_eq!(replay_encoded(bytes, interpret, || Duration::ZERO).unwrap(), turn);
            } else {
                let turn = replay_encoded(bytes, interpret, || Duration::ZERO).unwrap_or_else(envelope::refuse);
                prop_assert!(!envelope::encode(&turn.response).is_empty());
            }
        }
    }
}
