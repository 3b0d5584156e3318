//! The Python executor: `durabletask` of PyPI.

use std::{path::Path, process::Command};

use durable::protocol::{EventType, OrchestratorResponse};
use prost::Message;
use serde_json::json;

use super::{
    super::program::{Leaf, Step},
    Disagreement, Episode, Life,
    answer::{With, is_end, lines},
    ask, assert_none, base64, lives,
};

/// Whether Python has all of it: no branches, no versions, nothing held back while suspended. Its `when_all` ends with the first
/// failure, or never if there is nothing to wait for.
fn is_plain(life: &Life) -> bool {
    let is_plain = |step: &Step| match step {
        Step::Join { .. } | Step::Send { .. } | Step::Recv { .. } | Step::Version => false,
        Step::All { t, .. } if t.is_empty() || t.iter().any(Leaf::fails) => false,
        _ => step.leaves().iter().all(|it| !it.has_version()),
    };
    let has_default = life.episodes.iter().any(|it| !it.request.properties.is_empty());
    let is_suspension = |it: &EventType| matches!(it, EventType::ExecutionSuspended(_));
    let mut told = life.episodes.iter().flat_map(|it| &it.request.new_events).filter_map(|it| it.event_type.as_ref());
    life.program.steps.iter().all(is_plain) && !has_default && !told.any(is_suspension)
}

#[test]
#[ignore = "needs Python with durabletask 1.12.0: bash tests/python/install, then cargo test -- --ignored"]
fn microsofts_python_executor_gives_the_same_actions() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let mut python = Command::new(root.join("target/python/bin/python"));
    let lives: Vec<Life> = lives().into_iter().filter(is_plain).collect();
    assert!(lives.len() >= 400, "{} are not many", lives.len());
    let mut text = String::new();
    for life in &lives {
        // It numbers actions in its own way, and translates by our answers.
        let pair = |it: &Episode| json!({"request": base64(&it.request), "response": base64(&it.turn.response)});
        text += &format!("{}\n", json!(life.episodes.iter().map(pair).collect::<Vec<_>>()));
    }
    let answers = ask(python.arg(root.join("tests/python/oracle.py")), text);
    assert_eq!(answers.len(), lives.len());
    assert_none(lives.iter().zip(&answers).filter_map(|(life, answers)| compare(life, answers)));
}

fn compare<'a>(life: &'a Life, answers: &[Vec<u8>]) -> Option<Disagreement<'a>> {
    life.episodes.iter().zip(answers).enumerate().find_map(|(at, (episode, answer))| {
        let mut answer = OrchestratorResponse::decode(answer.as_slice()).unwrap();
        let ours = &episode.turn.response;
        if ours.actions.last().is_some_and(is_end) {
            // In the call that ends it, retries that nobody waits for still go on.
            let (ends, mut actions): (Vec<_>, Vec<_>) = answer.actions.into_iter().partition(is_end);
            actions.truncate(ours.actions.len() - 1);
            actions.extend(ends);
            answer.actions = actions;
        }
        let [ours, theirs] = [ours, &answer].map(|it| lines(With::Python, it, &life.program));
        (ours != theirs).then_some(Disagreement { life, episode: at, ours, theirs: Some(theirs) })
    })
}
