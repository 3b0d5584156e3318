//! Work for the app, as its users have: a blob to process, an orchestration to run. It is asked for once, and followed to its end.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use url::Url;

use super::answered;
use crate::{
    evidence::moment::Moment,
    labs::replay::{START_PATH, STATUS_PATH},
    machine::storage::{Storage, StorageError},
};
use incident_labs::blob::{INPUT_CONTAINER, RESULTS_CONTAINER, ResultRecord, record_name};

/// Iterations of the orchestration: it has an activity, and an end.
const ITERATIONS: u64 = 2;

/// One piece of work.
#[derive(Debug)]
pub(super) struct Work {
    piece: Piece,
    asked: Moment,
    /// Answers that did not take it.
    refused: u64,
    done: Option<Moment>,
    is_right: bool,
}

#[derive(Debug)]
enum Piece {
    Blob { name: String },
    Orchestration { id: Option<String> },
}

impl Piece {
    fn word(&self) -> &'static str {
        match self {
            Self::Blob { .. } => "blob",
            Self::Orchestration { .. } => "orchestration",
        }
    }
}

impl Work {
    /// A blob that the app is to process, uploaded by its owner, whatever roles the app has.
    ///
    /// # Errors
    /// When storage is away.
    pub(super) async fn blob(phase: &str, storage: &Storage) -> Result<Self, StorageError> {
        let work = Self::new(Piece::Blob { name: format!("{phase}.txt") });
        storage.put(INPUT_CONTAINER, &format!("{phase}.txt"), phase.as_bytes().to_vec(), None).await?;
        Ok(work)
    }

    /// An orchestration, started once the app takes it.
    pub(super) fn orchestration() -> Self {
        Self::new(Piece::Orchestration { id: None })
    }

    fn new(piece: Piece) -> Self {
        Self { piece, asked: Moment::now(), refused: 0, done: None, is_right: false }
    }

    pub(super) fn is_done(&self) -> bool {
        self.done.is_some()
    }

    /// Looks whether it is done.
    ///
    /// # Errors
    /// When storage is away.
    pub(super) async fn follow(
        &mut self,
        phase: &str,
        http: &reqwest::Client,
        app: &Url,
        storage: &Storage,
    ) -> anyhow::Result<()> {
        if self.is_done() {
            return Ok(());
        }
        let ended = match &mut self.piece {
            Piece::Blob { name } => {
                let record = storage.read(RESULTS_CONTAINER, &record_name(name)).await?;
                record.map(|it| serde_json::from_slice(&it).is_ok_and(|it| is_of(&it, phase)))
            }
            Piece::Orchestration { id: Some(id) } => {
                let status: Option<Value> = answered(http.get(at(app, &format!("{STATUS_PATH}/{id}")))).await;
                let state = status.as_ref().and_then(|it| it["runtimeStatus"].as_str());
                state.filter(|it| !matches!(*it, "Pending" | "Running")).map(|it| it == "Completed")
            }
            Piece::Orchestration { id } => {
                let body = json!({"iterations": ITERATIONS, "continueAsNewEvery": 0, "instances": 1});
                let answer: Option<Value> = answered(http.post(at(app, START_PATH)).body(body.to_string())).await;
                *id = answer.and_then(|it| Some(it["instanceIds"][0].as_str()?.to_owned()));
                self.refused += u64::from(id.is_none());
                None
            }
        };
        if let Some(is_right) = ended {
            (self.done, self.is_right) = (Some(Moment::now()), is_right);
        }
        Ok(())
    }

    /// A row of `lab_work`.
    pub(super) fn row(&self, phase: &str) -> Value {
        let name = match &self.piece {
            Piece::Blob { name } => Some(name),
            Piece::Orchestration { id } => id.as_ref(),
        };
        let mut row = json!({"phase": phase, "piece": self.piece.word(), "name": name, "refused": self.refused, "isRight": self.is_right});
        match self.done {
            Some(done) => self.asked.stamp_until(done, &mut row),
            None => self.asked.stamp(&mut row),
        }
        row
    }

    /// For a person who waits.
    pub(super) fn state(&self) -> String {
        format!("{} {}", self.piece.word(), if self.is_done() { "done" } else { "waits" })
    }
}

/// Whether a record has the content that was uploaded.
fn is_of(record: &ResultRecord, content: &str) -> bool {
    record.sha256 == format!("{:x}", Sha256::digest(content))
}

fn at(app: &Url, path: &str) -> Url {
    let mut url = app.clone();
    url.set_path(path);
    url
}
