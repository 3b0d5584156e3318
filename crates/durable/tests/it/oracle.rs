//! Microsoft's own executor, from PyPI, fed with the same histories.

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use durable::protocol::{ActionType, EventType, HistoryEvent, OrchestratorAction, OrchestratorResponse};
use prost::Message;
use serde_json::{Value, json};

use super::{
    program::Program,
    world::{Episode, life},
};

const LIVES: u64 = 400;

/// What is compared. Texts for people differ, and so do the ids of completions: Microsoft's SDK uses an id of its own for them.
/// An event whose wait lost a race is gone in Microsoft's SDK; in ours it waits for the next who asks, so it may be carried over.
fn comparable(mut actions: Vec<OrchestratorAction>, raced: &[String]) -> Vec<OrchestratorAction> {
    for action in &mut actions {
        match &mut action.action_type {
            Some(ActionType::CompleteOrchestration(complete)) => {
                action.id = 0;
                complete.failure_details = complete.failure_details.take().map(|_| Box::default());
                complete.carryover_events.iter_mut().for_each(|it| it.timestamp = None);
                complete.carryover_events.retain(|it| !is_named(it, raced));
                // JSON is compared as JSON: blanks are no difference.
                complete.result = complete.result.take().map(|it| canonical(&it)).filter(|it| it != "null");
            }
            Some(ActionType::ScheduleTask(it)) => it.input = it.input.take().map(|it| canonical(&it)),
            Some(ActionType::CreateSubOrchestration(it)) => it.input = it.input.take().map(|it| canonical(&it)),
            _ => {}
        }
    }
    actions
}

fn is_named(event: &HistoryEvent, names: &[String]) -> bool {
    match &event.event_type {
        Some(EventType::EventRaised(it)) => names.iter().any(|name| name.eq_ignore_ascii_case(&it.name)),
        _ => false,
    }
}

fn canonical(json: &str) -> String {
    serde_json::from_str::<Value>(json).unwrap().to_string()
}

#[test]
#[ignore = "needs Python with durabletask 1.12.0: bash tests/python/install, then cargo test -- --ignored"]
fn microsofts_executor_gives_the_same_actions() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let mut child = Command::new(root.join("target/python/bin/python"))
        .arg(root.join("tests/python/oracle.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Python is installed by tests/python/install");
    let lives: Vec<(Program, Vec<Episode>)> = (0..LIVES).map(life).collect();
    let mut questions = String::new();
    for (_, episodes) in &lives {
        let episodes: Vec<Value> = episodes
            .iter()
            .map(|it| json!({"request": base64(&it.request), "response": base64(&it.turn.response)}))
            .collect();
        questions += &format!("{}\n", json!(episodes));
    }
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(questions.as_bytes()).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success());
    let answers = String::from_utf8(output.stdout).unwrap();
    let mut compared = 0;
    for (((program, episodes), answers), seed) in lives.iter().zip(answers.lines()).zip(0..) {
        let raced = program.raced_events();
        let answers: Vec<String> = serde_json::from_str(answers).unwrap();
        for (episode, answer) in episodes.iter().zip(answers) {
            let theirs = OrchestratorResponse::decode(STANDARD.decode(answer).unwrap().as_slice()).unwrap();
            let ours = &episode.turn.response;
            let request = &episode.request;
            assert_eq!(
                comparable(ours.actions.clone(), &raced),
                comparable(theirs.actions, &raced),
                "life {seed}, {} past, {:#?}",
                request.past_events.len(),
                request.new_events
            );
            let status = |it: &Option<String>| it.as_deref().map(canonical);
            assert_eq!(status(&ours.custom_status), status(&theirs.custom_status), "life {seed}");
            compared += 1;
        }
    }
    println!("{compared} episodes of {LIVES} orchestrations compared");
    assert!(compared > LIVES);
}

fn base64(message: &impl Message) -> String {
    STANDARD.encode(message.encode_to_vec())
}
