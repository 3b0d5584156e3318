//! Whether code still does what a history recorded, and where not.

use std::{convert::Infallible, fmt, future::Future, ops::Range, time::Duration};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::History;
use crate::engine::{
    Context, Error,
    call::Attempt,
    mismatch::Recorded,
    protocol::{
        ActionType, CompleteOrchestration, ExecutionCompleted, FailureDetails, OrchestrationStatus,
        OrchestratorRequest, OrchestratorResponse,
    },
    replay,
};

/// Longest text of an output that is quoted, in characters.
const LONGEST_QUOTE: usize = 200;

/// Where code and a recorded history part: the first place, with both sides.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Misfit {
    pub kind: MisfitKind,
    /// The event of the history, from 1; `None` where the history ends.
    pub event: Option<usize>,
    /// What the history has there, such as `activity "Buy"`.
    pub recorded: String,
    /// What the code does instead.
    pub attempted: String,
}

/// How code and a history part.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum MisfitKind {
    /// The code attempts another step than the recorded one, or none.
    Step,
    /// It asks for more than the history has.
    More,
    /// It ends where the history goes on.
    Ended,
    /// It waits where the history ended.
    Waits,
    /// It ends with another output, failure or kind of end.
    Outcome,
}

impl MisfitKind {
    /// A word for machines: `step`, `more`, `ended`, `waits` or `outcome`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Step => "step",
            Self::More => "more",
            Self::Ended => "ended",
            Self::Waits => "waits",
            Self::Outcome => "outcome",
        }
    }
}

impl fmt::Display for MisfitKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Step => "the code takes another step",
            Self::More => "the code asks for more than the history has",
            Self::Ended => "the code ends where the history goes on",
            Self::Waits => "the code waits where the history ended",
            Self::Outcome => "the code ends otherwise",
        })
    }
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind)?;
        match self.event {
            Some(event) => write!(f, ": event {event} recorded {}", self.recorded)?,
            None => write!(f, ": the history recorded {}", self.recorded)?,
        }
        write!(f, ", the code attempted {}", self.attempted)
    }
}

impl std::error::Error for Misfit {}

/// Replays an orchestrator against a recorded history: for a `#[test]` that fails when a change would break instances under way.
///
/// ```
/// use durable::{Context, Error, history::{History, replay_against}};
///
/// async fn purchase(ctx: Context, order: String) -> Result<String, Error> {
///     let receipt: String = ctx.activity("Buy", &order).await?;
///     ctx.activity("Ship", &receipt).await
/// }
///
/// // Recorded when `Ship` was called `Send`. A file of the status webhook does as well: `History::from_status(&text)?`.
/// let history = History::of("purchase")
///     .input(&"book")
///     .activity("Buy", &"receipt 7")
///     .activity("Send", &"parcel 9")
///     .completed_with(&"parcel 9")
///     .build();
/// let misfit = replay_against(&history, purchase).unwrap_err();
/// assert_eq!(
///     misfit.to_string(),
///     r#"the code takes another step: event 7 recorded activity "Send", the code attempted activity "Ship""#
/// );
/// ```
///
/// # Errors
/// Where they part first.
pub fn replay_against<F, Fut, I, O>(history: &History, orchestrator: F) -> Result<(), Misfit>
where
    F: Fn(Context, I) -> Fut,
    Fut: Future<Output = Result<O, Error>>,
    I: DeserializeOwned,
    O: Serialize,
{
    let ask = |request| Ok::<_, Infallible>(replay(request, &orchestrator, || Duration::ZERO).response);
    let Ok(fit) = history.check(ask);
    fit
}

impl History {
    /// The same for an orchestrator that is reached in another way: `ask` gives its answer to the request of an episode.
    ///
    /// A history that fits takes two requests at most; the first misfit of another one is found by halving.
    ///
    /// # Errors
    /// What `ask` failed with. The inner result is that of [`replay_against`].
    pub fn check<E>(
        &self,
        mut ask: impl FnMut(OrchestratorRequest) -> Result<OrchestratorResponse, E>,
    ) -> Result<Result<(), Misfit>, E> {
        let episodes = self.episodes();
        let mut at = |place: usize| {
            let next = episodes.get(place + 1).map(|it| it.start);
            ask(self.request(&episodes[place])).map(|answer| self.misfit(&answer, &episodes[place], next))
        };
        // The last answer repeats an end that comes too early; the one before it does not.
        let last = episodes.len().checked_sub(1);
        let before = last.filter(|_| !self.is_rebuilt).and_then(|it| it.checked_sub(1));
        for place in [last, before].into_iter().flatten() {
            let Some(mut misfit) = at(place)? else { continue };
            let (mut fitting, mut unfit) = (0, place);
            while fitting < unfit {
                let middle = fitting.midpoint(unfit);
                match at(middle)? {
                    Some(it) => (misfit, unfit) = (it, middle),
                    None => fitting = middle + 1,
                }
            }
            return Ok(Err(misfit));
        }
        Ok(Ok(()))
    }

    /// Where the answer to an episode and the history part; `next` is where the next episode begins.
    fn misfit(&self, answer: &OrchestratorResponse, episode: &Range<usize>, next: Option<usize>) -> Option<Misfit> {
        let mut complete = None;
        for action in &answer.actions {
            match (&action.action_type, self.step(action.id)) {
                (Some(ActionType::CompleteOrchestration(it)), _) => complete = Some(it),
                (Some(action), step) => {
                    let Some(attempted) = Attempt::of(action) else { continue };
                    match step.and_then(|(at, recorded)| Some((at, Recorded::of_event(recorded)?))) {
                        Some((_, recorded)) if recorded.is(&attempted) => {}
                        Some((at, recorded)) => {
                            let (recorded, attempted) = (recorded.to_string(), attempted.to_string());
                            return Some(Misfit::new(MisfitKind::Step, at, recorded, attempted));
                        }
                        None => return Some(self.beyond(MisfitKind::More, attempted.to_string())),
                    }
                }
                (None, _) => {}
            }
        }
        let until = next.unwrap_or(self.events.len());
        let is_missing = |id: i32| answer.actions.iter().all(|it| it.id != id || is_complete(&it.action_type));
        let missing = (episode.end..until).find_map(|at| {
            let recorded = self.events[at].event_type.as_ref().and_then(Recorded::of_event)?;
            let id = self.events[at].event_id;
            (is_missing(id) && self.step(id)?.0 == at).then(|| (at, recorded.to_string()))
        });
        if let Some((at, recorded)) = missing {
            let kind = if complete.is_some() { MisfitKind::Ended } else { MisfitKind::Step };
            return Some(Misfit::new(kind, at, recorded, complete.map_or_else(|| "nothing".to_owned(), ended)));
        }
        match (complete, self.end(), next) {
            // In a rebuilt history an episode may be two, so that its end only seems to come too early.
            (Some(it), Some((at, end)), next) if next.is_none() || self.is_rebuilt => {
                (!is_same(it, end)).then(|| Misfit::new(MisfitKind::Outcome, at, recorded_end(end), ended(it)))
            }
            (Some(it), _, Some(next)) => {
                Some(Misfit::new(MisfitKind::Ended, next, "another episode".to_owned(), ended(it)))
            }
            (Some(it), None, None) => Some(self.beyond(MisfitKind::Ended, ended(it))),
            (None, Some(_), None) => Some(self.beyond(MisfitKind::Waits, "nothing".to_owned())),
            _ => None,
        }
    }

    /// A misfit behind the last recorded step.
    fn beyond(&self, kind: MisfitKind, attempted: String) -> Misfit {
        match self.end() {
            Some((at, end)) => Misfit::new(kind, at, recorded_end(end), attempted),
            None => Misfit { kind, event: None, recorded: "no more, and no end".to_owned(), attempted },
        }
    }
}

impl Misfit {
    fn new(kind: MisfitKind, at: usize, recorded: String, attempted: String) -> Self {
        Self { kind, event: Some(at + 1), recorded, attempted }
    }
}

fn is_complete(action: &Option<ActionType>) -> bool {
    matches!(action, Some(ActionType::CompleteOrchestration(_)))
}

/// Whether an end is the recorded one. Failure details are compared where they are known: the extension keeps none of a handler that
/// answered with an error.
fn is_same(attempted: &CompleteOrchestration, recorded: &ExecutionCompleted) -> bool {
    if attempted.orchestration_status != recorded.orchestration_status {
        return false;
    }
    if attempted.orchestration_status != OrchestrationStatus::Failed as i32 {
        return value(attempted.result.as_deref()) == value(recorded.result.as_deref());
    }
    let text = |it: &FailureDetails| (it.error_type.clone(), it.error_message.clone());
    let recorded = recorded.failure_details.as_deref();
    recorded.is_none_or(|it| attempted.failure_details.as_deref().map(text) == Some(text(it)))
}

/// The value of a JSON text; an absent one is null.
fn value(text: Option<&str>) -> Value {
    text.map_or(Value::Null, |it| serde_json::from_str(it).unwrap_or_else(|_| it.into()))
}

fn ended(complete: &CompleteOrchestration) -> String {
    describe_end(complete.orchestration_status, complete.result.as_deref(), complete.failure_details.as_deref())
}

fn recorded_end(end: &ExecutionCompleted) -> String {
    describe_end(end.orchestration_status, end.result.as_deref(), end.failure_details.as_deref())
}

fn describe_end(status: i32, result: Option<&str>, details: Option<&FailureDetails>) -> String {
    let status = OrchestrationStatus::try_from(status).unwrap_or(OrchestrationStatus::Failed);
    let what = match status {
        OrchestrationStatus::Completed => "its output",
        OrchestrationStatus::ContinuedAsNew => "to continue as new with",
        OrchestrationStatus::Terminated => "its termination with",
        _ => "its failure",
    };
    let why = details.map(|it| format!("{}: {}", it.error_type, it.error_message));
    let why = why.unwrap_or_else(|| value(result).to_string());
    let quoted: String = why.chars().take(LONGEST_QUOTE).collect();
    let cut = if quoted.len() < why.len() { "…" } else { "" };
    format!("{what} {quoted}{cut}")
}
