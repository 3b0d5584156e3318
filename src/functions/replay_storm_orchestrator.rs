//! `replay_storm_orchestrator`: one activity after the other, so that history grows with every iteration; with
//! `continueAsNewEvery` it starts over with an empty history now and then.

use custom_handler::{App, Carry, Context, Error, Level, orchestrator};
use serde::{Deserialize, Serialize};

use super::{
    Parts,
    replay_lab_activity::{ACTIVITY, ActivityInput},
};

pub const NAME: &str = "replay_storm_orchestrator";

/// Iterations between two progress lines.
const PROGRESS_EVERY: u64 = 50;

/// What an execution is to do.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StormInput {
    /// Of the whole instance.
    pub iterations: u64,
    /// Iterations of one execution; 0 = all of them.
    #[serde(default)]
    pub continue_as_new_every: u64,
    /// Executions before this one.
    #[serde(default)]
    pub batch_index: u64,
    /// Which of the instances that were started together.
    #[serde(default)]
    pub instance_index: u64,
}

/// The output of an instance.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StormResult {
    /// Iterations of all executions.
    pub total_iterations: u64,
    pub batches: u64,
    /// Iterations of the last one.
    pub final_batch_results: u64,
}

pub(super) fn register(app: App, _: &Parts<'_>) -> App {
    app.orchestrator(NAME, replay_storm_orchestrator)
}

/// An episode: the body of the host's invocation in, the body of the answer out. Not inlined, so that its instructions can be counted.
#[inline(never)]
pub fn answer(body: &[u8]) -> Vec<u8> {
    serde_json::to_vec(&orchestrator::answer(body, replay_storm_orchestrator).answer).unwrap_or_default()
}

/// The orchestrator. The guide's queries parse its lines: not a character more or less.
///
/// # Errors
/// When an activity failed.
pub async fn replay_storm_orchestrator(ctx: Context, input: StormInput) -> Result<StormResult, Error> {
    let StormInput { iterations, continue_as_new_every: every, batch_index: batch, instance_index: instance } = input;
    let completed = batch.saturating_mul(every).min(iterations);
    let left = iterations - completed;
    let n = if every == 0 { left } else { left.min(every) };
    for i in 0..n {
        let index = completed + i;
        let input = ActivityInput { index, instance_index: instance };
        ctx.call(ACTIVITY, &input).await?;
        if (i + 1) % PROGRESS_EVERY == 0 {
            let elapsed = ctx.elapsed().as_secs_f64() * 1000.0;
            ctx.log(Level::Information, || {
                let iteration = index + 1;
                format!(
                    "ReplayIteration instance={instance} batch={batch} iteration={iteration}/{iterations} elapsed={elapsed:.0}ms"
                )
            });
        }
    }
    let done = completed + n;
    if done < iterations {
        ctx.log(Level::Information, || {
            format!("ContinueAsNew at iteration {done}/{iterations}, batch={batch}, resetting history")
        });
        return ctx.continue_as_new(&StormInput { batch_index: batch + 1, ..input }, Carry::Events);
    }
    let batches = batch + 1;
    ctx.log(Level::Information, || {
        format!("Orchestration complete: instance={instance} total={iterations} batches={batches}")
    });
    Ok(StormResult { total_iterations: iterations, batches, final_batch_results: n })
}
