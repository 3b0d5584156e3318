//! Orchestrations as data: what an interpreter here and one in Python both understand.

use std::{
    future::Future,
    pin::Pin,
    task::{Context as Cx, Poll},
    time::Duration,
};

use durable::{Carry, Context, Durable, Error, Retried, RetryPolicy, Task, Timer, all, any};
use rand_chacha::{ChaCha8Rng, rand_core::Rng};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// An orchestration. It is its own input.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Program {
    pub(super) steps: Vec<Step>,
    pub(super) end: End,
    /// Executions before this one.
    pub(super) round: u32,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "k", rename_all = "lowercase")]
pub(super) enum Step {
    Await { t: Leaf },
    All { t: Vec<Leaf> },
    Any { t: Vec<Leaf> },
    Status { v: Value },
    Uuid,
}

/// Something that is waited for. Names that begin with `bad` fail; an input `{"flaky": n}` fails n times.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "k", rename_all = "lowercase")]
pub(super) enum Leaf {
    Activity { n: String, i: Value },
    Retry { n: String, i: Value, max: u32, first: u64, coef: f64 },
    Timer { s: u64 },
    Event { n: String },
    Sub { n: String, i: Value },
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(tag = "k", rename_all = "lowercase")]
pub(super) enum End {
    Return,
    Fail,
    Again { save: bool },
}

pub(super) async fn interpret(ctx: Context, program: Program) -> Result<Value, Error> {
    let mut results = Vec::new();
    for step in &program.steps {
        match step {
            Step::Await { t } => results.push(Awaited::begin(&ctx, t).await),
            Step::All { t } => {
                let tasks: Vec<Awaited> = t.iter().map(|it| Awaited::begin(&ctx, it)).collect();
                results.push(json!(all(tasks).await));
            }
            Step::Any { t } => {
                let tasks: Vec<Awaited> = t.iter().map(|it| Awaited::begin(&ctx, it)).collect();
                let (at, result) = any(tasks).await;
                results.push(json!([at, result]));
            }
            Step::Status { v } => ctx.set_custom_status(v)?,
            Step::Uuid => results.push(json!(ctx.new_uuid())),
        }
    }
    match program.end {
        End::Fail => Err(Error::new("Wanted", "to fail")),
        End::Again { save } if program.round == 0 => {
            let carry = if save { Carry::Events } else { Carry::Nothing };
            ctx.continue_as_new(&Program { round: 1, ..program }, carry)
        }
        End::Return | End::Again { .. } => Ok(json!(results)),
    }
}

enum Awaited {
    Task(Task<Value>),
    Retried(Retried<Value>),
    Timer(Timer),
}

impl Awaited {
    fn begin(ctx: &Context, leaf: &Leaf) -> Self {
        match leaf {
            Leaf::Activity { n, i } => Self::Task(ctx.activity(n, i)),
            Leaf::Retry { n, i, max, first, coef } => {
                let policy = RetryPolicy::new(*max, Duration::from_secs(*first)).backoff(*coef);
                Self::Retried(ctx.activity_with_retry(n, i, policy).unwrap())
            }
            Leaf::Timer { s } => Self::Timer(ctx.timer(Duration::from_secs(*s))),
            Leaf::Event { n } => Self::Task(ctx.external_event(n)),
            Leaf::Sub { n, i } => {
                let id = format!("{}-{n}-{i}", ctx.instance_id());
                Self::Task(ctx.sub_orchestration_as(&id, n, i))
            }
        }
    }
}

impl Future for Awaited {
    type Output = Value;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Cx<'_>) -> Poll<Value> {
        let failed = |it: Result<Value, Error>| it.unwrap_or_else(|_| json!("failed"));
        match &mut *self {
            Self::Task(it) => Pin::new(it).poll(cx).map(failed),
            Self::Retried(it) => Pin::new(it).poll(cx).map(failed),
            Self::Timer(it) => Pin::new(it).poll(cx).map(|()| Value::Null),
        }
    }
}

impl Durable for Awaited {
    fn ready_at(&self) -> Option<u64> {
        match self {
            Self::Task(it) => it.ready_at(),
            Self::Retried(it) => it.ready_at(),
            Self::Timer(it) => it.ready_at(),
        }
    }
}

pub(super) struct Maker {
    pub(super) rng: ChaCha8Rng,
    /// Names of events are not used twice: an abandoned wait keeps its event in Microsoft's SDK and gives it back in ours.
    events: u32,
}

impl Maker {
    pub(super) fn new(rng: ChaCha8Rng) -> Self {
        Self { rng, events: 0 }
    }

    pub(super) fn below(&mut self, bound: u32) -> u32 {
        self.rng.next_u32() % bound
    }

    pub(super) fn program(&mut self) -> Program {
        let count = 1 + self.below(6);
        let steps = (0..count).map(|_| self.step()).collect();
        let end = match self.below(6) {
            0 => End::Fail,
            1 => End::Again { save: true },
            2 => End::Again { save: false },
            _ => End::Return,
        };
        Program { steps, end, round: 0 }
    }

    fn step(&mut self) -> Step {
        match self.below(10) {
            0 => Step::Status { v: json!({ "step": self.below(100) }) },
            1 => Step::Uuid,
            2..=4 => Step::Await { t: self.leaf(true) },
            5 | 6 => Step::All { t: self.leaves() },
            7 | 8 => Step::Any { t: self.leaves() },
            _ => Step::Await { t: self.retry() },
        }
    }

    fn leaves(&mut self) -> Vec<Leaf> {
        (0..1 + self.below(4)).map(|_| self.leaf(false)).collect()
    }

    /// Failing leaves are awaited alone: what `all` does at the first failure is a matter of taste.
    fn leaf(&mut self, may_fail: bool) -> Leaf {
        let kind = if may_fail && self.below(4) == 0 { "bad" } else { "good" };
        let i = json!({ "x": self.below(1000) });
        match self.below(5) {
            0 | 1 => Leaf::Activity { n: format!("{kind}-activity"), i },
            2 => Leaf::Timer { s: u64::from(1 + self.below(100)) },
            3 => {
                self.events += 1;
                Leaf::Event { n: format!("Event{}", self.events) }
            }
            _ => Leaf::Sub { n: format!("{kind}-child"), i },
        }
    }

    fn retry(&mut self) -> Leaf {
        let i = json!({ "flaky": self.below(4), "x": self.below(1000) });
        let coef = f64::from(1 + self.below(3));
        Leaf::Retry {
            n: "flaky-activity".to_owned(),
            i,
            max: 1 + self.below(4),
            first: u64::from(1 + self.below(9)),
            coef,
        }
    }
}

impl Program {
    /// The events that are waited for.
    pub(super) fn events(&self) -> Vec<String> {
        self.steps.iter().flat_map(Step::events).collect()
    }

    /// Those whose wait may be given up.
    pub(super) fn raced_events(&self) -> Vec<String> {
        self.steps.iter().filter(|it| matches!(it, Step::Any { .. })).flat_map(Step::events).collect()
    }
}

impl Step {
    fn events(&self) -> Vec<String> {
        let leaves = match self {
            Self::Await { t } => std::slice::from_ref(t),
            Self::All { t } | Self::Any { t } => t.as_slice(),
            Self::Status { .. } | Self::Uuid => &[],
        };
        leaves.iter().filter_map(|it| if let Leaf::Event { n } = it { Some(n.clone()) } else { None }).collect()
    }
}
