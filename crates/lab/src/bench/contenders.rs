//! Who replays the storm in `lab bench replay`: the handler and its peers. All are measured alike, as whole processes that answer
//! over HTTP.

use std::path::{Path, PathBuf};

use anyhow::ensure;
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use durable::protocol::{ActionType, OrchestratorResponse};
use prost::Message;
use serde::Deserialize;
use serde_json::Value;
use tokio::process::Command;

use super::{served::Served, storm};
use crate::app::stage::HANDLER;
use custom_handler::wire::env;
use incident_labs::{functions::ORCHESTRATOR_FUNCTION, settings::CONNECTION_STRING};

const PYTHON_PEER: &str = "load/bench/replay_peer.py";
/// Names in the report.
pub(super) const OURS: &str = "handler";
pub(super) const PYTHON: &str = "azure-functions-durable";
pub(super) const DOTNET: &str = ".NET executor";

/// Where the peers are, if they are.
#[derive(Clone, Debug, Default)]
pub struct Peers {
    /// A checkout, with the Python peer's script and the Python it needs.
    pub checkout: Option<PathBuf>,
    /// An executable that is given `serve PORT` and answers as a handler does.
    pub dotnet: Option<PathBuf>,
}

impl Peers {
    /// Of each peer that cannot run, its name and why: Python's, then .NET's.
    pub(super) fn left_out(&self) -> [Option<String>; 2] {
        let python = match &self.checkout {
            None => Some("this is no checkout of the project".to_owned()),
            Some(it) if python_of(it).exists() => None,
            Some(_) => Some("there is no Python in target/python (bash tests/python/install)".to_owned()),
        };
        let dotnet = match &self.dotnet {
            None => Some("no --dotnet-peer was given".to_owned()),
            Some(it) if it.exists() => None,
            Some(it) => Some(format!("--dotnet-peer {}: there is no such file", it.display())),
        };
        [python.map(|why| format!("{PYTHON}: {why}")), dotnet.map(|why| format!("{DOTNET}: {why}"))]
    }
}

/// How much each contender replays.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Plans {
    handler: Plan,
    python: Plan,
    dotnet: Plan,
}

/// How much one of them replays.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Plan {
    /// Episodes before the first round, of all lengths in turn.
    warm_up: usize,
    /// Iterations of history in a round, for each length of history.
    iterations_per_round: u64,
}

/// What a contender's process took.
#[derive(Clone, Debug)]
pub(super) struct Cost {
    pub(super) name: &'static str,
    /// CPU time of an episode in ms, of all rounds; one list for each of [`storm::ITERATIONS`].
    pub(super) cpu_ms: [Vec<f64>; storm::ITERATIONS.len()],
    pub(super) peak_rss_mb: f64,
}

/// A contender's process, warmed up.
#[derive(Debug)]
pub(super) struct Contender {
    served: Served,
    body: fn(u64) -> Vec<u8>,
    plan: Plan,
    cost: Cost,
}

impl Contender {
    /// Starts the handler, and the peers that are there, in this order.
    ///
    /// # Errors
    /// When one of them does not replay the storm.
    pub(super) async fn start_all(stage: &Path, peers: &Peers, plans: &Plans) -> anyhow::Result<Vec<Self>> {
        let mut all = vec![Self::ours(stage, plans.handler).await?];
        let [no_python, no_dotnet] = peers.left_out();
        if let (Some(checkout), None) = (&peers.checkout, no_python) {
            all.push(Self::python(checkout, plans.python).await?);
        }
        if let (Some(executable), None) = (&peers.dotnet, no_dotnet) {
            all.push(Self::dotnet(executable, plans.dotnet).await?);
        }
        Ok(all)
    }

    /// The handler of a staged app with the replay lab's functions, so a front without a worker.
    async fn ours(stage: &Path, plan: Plan) -> anyhow::Result<Self> {
        let command = |port: u16| {
            let mut command = Command::new(stage.join(HANDLER));
            command.env(env::PORT, port.to_string()).env(env::APP_ROOT, stage).env_remove(CONNECTION_STRING);
            command
        };
        Self::start(OURS, command, storm::body, next_of_response, plan).await
    }

    /// Microsoft's executor for Python: a script of the checkout, run by the Python that is installed there.
    async fn python(checkout: &Path, plan: Plan) -> anyhow::Result<Self> {
        let command = |port: u16| {
            let mut command = Command::new(python_of(checkout));
            command.arg(checkout.join(PYTHON_PEER)).arg(port.to_string());
            command
        };
        Self::start(PYTHON, command, |iterations| iterations.to_string().into_bytes(), next_of_actions, plan).await
    }

    /// Microsoft's executor for .NET: an executable that is given `serve PORT` and takes the bodies that a handler takes.
    async fn dotnet(executable: &Path, plan: Plan) -> anyhow::Result<Self> {
        let command = |port: u16| {
            let mut command = Command::new(executable);
            command.args(["serve", &port.to_string()]);
            command
        };
        Self::start(DOTNET, command, storm::body, next_of_response, plan).await
    }

    /// Starts it and warms it up. `next_of` finds the activity in an answer that is to run next; a contender that answers
    /// something else is refused.
    async fn start(
        name: &'static str,
        command: impl FnOnce(u16) -> Command,
        body: fn(u64) -> Vec<u8>,
        next_of: fn(&[u8]) -> Option<u64>,
        plan: Plan,
    ) -> anyhow::Result<Self> {
        let (served, _) = Served::start(command).await?;
        for iterations in storm::ITERATIONS.into_iter().cycle().take(plan.warm_up) {
            let answer = served.post(ORCHESTRATOR_FUNCTION, body(iterations)).await?;
            let program = served.program();
            ensure!(
                next_of(&answer) == Some(iterations),
                "{program} answers {iterations} iterations without activity {iterations}: is it another storm's?"
            );
        }
        let cost = Cost { name, cpu_ms: Default::default(), peak_rss_mb: 0.0 };
        Ok(Self { served, body, plan, cost })
    }

    /// A round of episodes with the `length`th of [`storm::ITERATIONS`].
    ///
    /// # Errors
    /// When it does not answer.
    pub(super) async fn round(&mut self, length: usize) -> anyhow::Result<()> {
        let iterations = storm::ITERATIONS[length];
        let body = Bytes::from((self.body)(iterations));
        let episodes = (self.plan.iterations_per_round / iterations).max(1);
        let before = self.served.cpu()?;
        for _ in 0..episodes {
            self.served.post(ORCHESTRATOR_FUNCTION, body.clone()).await?;
        }
        let spent = self.served.cpu()?.saturating_sub(before);
        self.cost.cpu_ms[length].push(spent.as_secs_f64() * 1000.0 / episodes as f64);
        Ok(())
    }

    /// What it took, at the end.
    ///
    /// # Errors
    /// When it has ended before.
    pub(super) fn cost(self) -> anyhow::Result<Cost> {
        let peak_rss_mb = self.served.peak_rss_bytes()? as f64 / 1e6;
        Ok(Cost { peak_rss_mb, ..self.cost })
    }
}

/// The activity that the protobuf answer of an episode schedules.
fn next_of_response(answer: &[u8]) -> Option<u64> {
    let answer: Value = serde_json::from_slice(answer).ok()?;
    let bytes = STANDARD.decode(answer["ReturnValue"].as_str()?).ok()?;
    let [action] = OrchestratorResponse::decode(bytes.as_slice()).ok()?.actions.try_into().ok()?;
    matches!(action.action_type, Some(ActionType::ScheduleTask(_))).then(|| action.id.try_into().ok())?
}

/// The same of Python's JSON, which lists all actions since the beginning.
fn next_of_actions(answer: &[u8]) -> Option<u64> {
    let answer: Value = serde_json::from_slice(answer).ok()?;
    (answer["actions"][0].as_array()?.len() as u64).checked_sub(1)
}

fn python_of(checkout: &Path) -> PathBuf {
    checkout.join("target/python/bin/python")
}

#[cfg(test)]
mod tests {
    use super::*;
    use incident_labs::functions::replay_storm_orchestrator;

    #[test]
    fn a_peer_that_is_not_there_is_left_out_and_the_reason_is_told() {
        let [python, dotnet] = Peers::default().left_out();
        assert_eq!(python.unwrap(), "azure-functions-durable: this is no checkout of the project");
        assert_eq!(dotnet.unwrap(), ".NET executor: no --dotnet-peer was given");
        let peers = Peers { checkout: Some("/no".into()), dotnet: Some("/no/such/peer".into()) };
        let [python, dotnet] = peers.left_out();
        assert!(python.unwrap().contains("bash tests/python/install"));
        assert!(dotnet.unwrap().contains("--dotnet-peer /no/such/peer: there is no such file"));
        let here = std::env::current_exe().unwrap();
        assert_eq!(Peers { dotnet: Some(here), ..Peers::default() }.left_out()[1], None);
    }

    #[test]
    fn an_answer_is_right_when_it_schedules_the_next_activity() {
        let answer = replay_storm_orchestrator::answer(&storm::body(50));
        assert_eq!(next_of_response(&answer), Some(50));
        assert_eq!(next_of_response(b"{\"ReturnValue\":\"\"}"), None);
        assert_eq!(next_of_response(b"ready"), None);
        assert_eq!(next_of_actions(b"{\"actions\":[[{},{},{}]]}"), Some(2));
        assert_eq!(next_of_actions(b"{\"actions\":[[]]}"), None);
    }
}
