//! Microsoft's own executors, fed with the histories of generated orchestrations.

mod answer;
mod dotnet;
mod python;
mod recording;

use std::{
    fmt::Write as _,
    io::Write as _,
    process::{Command, Stdio},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use prost::Message;
use serde_json::json;

use super::{
    program::Program,
    world::{Episode, life},
};

/// So many orchestrations are compared.
const LIVES: u64 = 1600;

struct Life {
    seed: u64,
    program: Program,
    episodes: Vec<Episode>,
}

fn lives() -> Vec<Life> {
    (0..LIVES)
        .map(|seed| {
            let (program, episodes) = life(seed);
            Life { seed, program, episodes }
        })
        .collect()
}

/// The first call of a life to which the answers differ.
struct Disagreement<'a> {
    life: &'a Life,
    episode: usize,
    ours: Vec<String>,
    /// `None` if they were not asked.
    theirs: Option<Vec<String>>,
}

impl Disagreement<'_> {
    fn tell(&self) -> String {
        let mut text = format!("life {}: {}\n", self.life.seed, json!(self.life.program));
        for (at, episode) in self.life.episodes.iter().take(self.episode + 1).enumerate() {
            let told = episode.request.new_events.iter().filter_map(|it| it.event_type.as_ref());
            let told: Vec<String> = told.map(answer::event).collect();
            let _ = writeln!(text, "  {at} is told {}", told.join(", "));
        }
        let theirs = self.theirs.as_ref().map_or("not asked".to_owned(), |it| it.join("; "));
        let _ = writeln!(text, "  ours:   {}\n  theirs: {theirs}", self.ours.join("; "));
        text
    }
}

/// Fails with the disagreements about the smallest programs.
#[track_caller]
fn assert_none<'a>(disagreements: impl Iterator<Item = Disagreement<'a>>) {
    let (mut found, unasked): (Vec<_>, Vec<_>) = disagreements.partition(|it| it.theirs.is_some());
    found.sort_by_key(|it| json!(it.life.program).to_string().len());
    let told: String = found.iter().take(5).map(|it| it.tell() + "\n").collect();
    assert!(found.is_empty(), "{} lives differ, such as\n\n{told}", found.len());
    assert!(
        unasked.is_empty(),
        "{} lives are not those that were recorded: record them with `{}`\n{}",
        unasked.len(),
        dotnet::RECORD,
        unasked[0].tell()
    );
}

/// Asks an executor: a line in, a line out.
fn ask(command: &mut Command, questions: String) -> Vec<Vec<Vec<u8>>> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the executor is there");
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(questions.as_bytes()).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success());
    let answers = |line: &str| {
        let answers: Vec<String> = serde_json::from_str(line).unwrap();
        answers.iter().map(|it| STANDARD.decode(it).unwrap()).collect()
    };
    String::from_utf8(output.stdout).unwrap().lines().map(answers).collect()
}

fn base64(message: &impl Message) -> String {
    STANDARD.encode(message.encode_to_vec())
}
