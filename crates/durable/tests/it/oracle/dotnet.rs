//! The .NET executor: `Microsoft.DurableTask.Worker.Grpc`, what .NET isolated functions run on.

use std::process::Command;

use durable::protocol::{EventType, OrchestratorAction, OrchestratorRequest, OrchestratorResponse};
use prost::Message;
use serde_json::json;

use super::{
    Disagreement, Episode, Life,
    answer::{With, is_end, lines},
    ask, assert_none, base64, lives, recording,
};

/// Writes the recording again.
pub(super) const RECORD: &str =
    "DOTNET_PEER=path UPDATE=1 cargo test -p durable --test it dotnet_executor_gives -- --ignored";
const MISSING: &str =
    "DOTNET_PEER is the path of a program that runs Microsoft.DurableTask.Worker.Grpc: see oracle/README.md";

/// The calls of a life, those included that tell the outcomes which an execution left behind.
fn questions(life: &Life) -> impl Iterator<Item = &OrchestratorRequest> {
    life.episodes
        .iter()
        .flat_map(|it| std::iter::once(&it.request).chain(&it.leftovers))
        .filter(|it| !is_start_held(it))
}

/// Whether the instance was suspended before its start, and was not resumed: .NET fails with an exception then.
fn is_start_held(request: &OrchestratorRequest) -> bool {
    let (mut is_suspended, mut is_held) = (false, false);
    for event in request.past_events.iter().chain(&request.new_events) {
        match event.event_type {
            Some(EventType::ExecutionSuspended(_)) => is_suspended = true,
            Some(EventType::ExecutionResumed(_)) => (is_suspended, is_held) = (false, false),
            Some(EventType::ExecutionStarted(_)) => is_held = is_suspended,
            _ => {}
        }
    }
    is_held
}

/// The first call whose answers differ. `ask` has their answer, if they were asked.
fn compare<'a>(
    life: &'a Life,
    mut ask: impl FnMut(&OrchestratorRequest) -> Option<OrchestratorResponse>,
) -> Option<Disagreement<'a>> {
    life.episodes.iter().enumerate().find_map(|(at, episode)| {
        let ours = lines(With::DotNet, &episode.turn.response, &life.program);
        let theirs = as_ours(episode, &mut ask).map(|it| lines(With::DotNet, &it, &life.program));
        (theirs.as_ref() != Some(&ours)).then_some(Disagreement { life, episode: at, ours, theirs })
    })
}

/// Their answer, without what they do otherwise on purpose.
fn as_ours(
    episode: &Episode,
    mut ask: impl FnMut(&OrchestratorRequest) -> Option<OrchestratorResponse>,
) -> Option<OrchestratorResponse> {
    if is_start_held(&episode.request) {
        return Some(OrchestratorResponse::default());
    }
    let mut answer = ask(&episode.request)?;
    if let Some(our_end) = episode.turn.response.actions.last().filter(|it| is_end(it)) {
        for request in &episode.leftovers {
            answer.actions.extend(ask(request)?.actions);
        }
        answer.actions = ended(answer.actions, our_end);
    }
    Some(answer)
}

/// Their actions as if they ended where we do, and not once every outcome is there. Until then their retries go on, though nobody
/// waits for them, and the end is not seen.
fn ended(actions: Vec<OrchestratorAction>, our_end: &OrchestratorAction) -> Vec<OrchestratorAction> {
    let (ends, mut actions): (Vec<_>, Vec<_>) = actions.into_iter().partition(is_end);
    let asked = actions.len();
    actions.retain(|it| it.id < our_end.id);
    let goes_on = actions.len() < asked;
    actions.extend(if goes_on { Some(our_end.clone()) } else { ends.into_iter().next() });
    actions
}

/// Those that can be compared: .NET makes one more timer after the last attempt, which our history does not have.
fn comparable_lives() -> Vec<Life> {
    let lives: Vec<Life> = lives().into_iter().filter(|it| !it.program.exhausts_a_retry()).collect();
    assert!(lives.len() >= 1000);
    lives
}

#[test]
fn recorded_answers_of_microsofts_dotnet_executor_are_ours() {
    let lives = comparable_lives();
    let recorded = recording::read();
    assert_eq!(recorded.len(), lives.len(), "record them with `{RECORD}`");
    assert_none(lives.iter().zip(recorded).filter_map(|(life, calls)| {
        let mut calls = calls.into_iter();
        compare(life, |request| {
            let (digest, answer) = calls.next()?;
            (digest == recording::digest(request)).then(|| decode(&answer))
        })
    }));
}

#[test]
#[ignore = "needs the .NET executor: DOTNET_PEER=path cargo test -p durable -- --ignored"]
#[expect(clippy::disallowed_methods, reason = "DOTNET_PEER and UPDATE are for the person who runs the tests")]
fn microsofts_dotnet_executor_gives_the_same_actions() {
    let peer = std::env::var_os("DOTNET_PEER").expect(MISSING);
    let lives = comparable_lives();
    let question = |life| json!(questions(life).map(|it| json!({"request": base64(it)})).collect::<Vec<_>>());
    let text = lives.iter().map(|it| format!("{}\n", question(it))).collect();
    let answers = ask(Command::new(peer).arg("oracle"), text);
    assert_eq!(answers.len(), lives.len());
    if std::env::var_os("UPDATE").is_some() {
        let calls = |(life, answers): (&Life, &Vec<Vec<u8>>)| {
            questions(life).map(recording::digest).zip(answers.iter().cloned()).collect()
        };
        recording::write(&lives.iter().zip(&answers).map(calls).collect::<Vec<_>>());
    }
    assert_none(lives.iter().zip(answers).filter_map(|(life, answers)| {
        let mut answers = answers.into_iter();
        compare(life, |_| Some(decode(&answers.next()?)))
    }));
}

fn decode(answer: &[u8]) -> OrchestratorResponse {
    OrchestratorResponse::decode(answer).unwrap()
}
