//! Runs a program in the engine under test.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    task::{Context as Cx, Poll},
    time::Duration,
};

use durable::{Carry, Context, Durable, Error, RetryPolicy, Task, Timer, all, any};
use futures_channel::oneshot::{self, Receiver, Sender};
use futures_util::{
    future::{LocalBoxFuture, join_all},
    stream::{FuturesOrdered, TryStreamExt},
};
use serde_json::{Value, json};

use super::program::{End, Leaf, Program, Step};

pub(super) async fn interpret(ctx: Context, program: Program) -> Result<Value, Error> {
    let interpreter = Interpreter { ctx: ctx.clone(), begun: RefCell::default(), channels: RefCell::default() };
    let results = interpreter.run(&program.steps).await?;
    match program.end {
        End::Fail => Err(Error::new("Wanted", "to fail")),
        End::Again { save } if program.round == 0 => {
            let carry = if save { Carry::Events } else { Carry::Nothing };
            ctx.continue_as_new(&Program { round: 1, ..program }, carry)
        }
        End::Return | End::Again { .. } => Ok(json!(results)),
    }
}

struct Interpreter {
    ctx: Context,
    begun: RefCell<BTreeMap<String, Awaited>>,
    channels: RefCell<BTreeMap<String, Ends>>,
}

/// Of a channel, until branches take them.
type Ends = (Option<Sender<Value>>, Option<Receiver<Value>>);

impl Interpreter {
    fn run<'a>(&'a self, steps: &'a [Step]) -> LocalBoxFuture<'a, Result<Vec<Value>, Error>> {
        Box::pin(async move {
            let mut results = Vec::new();
            for step in steps {
                results.extend(self.step(step).await?);
            }
            Ok(results)
        })
    }

    /// Takes a step; some have a result.
    async fn step(&self, step: &Step) -> Result<Option<Value>, Error> {
        let begin = |it| Awaited::begin(&self.ctx, it);
        let result = match step {
            Step::Await { t } => or_failed(begin(t).await),
            Step::All { t, catch } => {
                let tasks: Vec<Awaited> = t.iter().map(begin).collect();
                let outcomes: Result<Vec<Value>, Error> = all(tasks).await.into_iter().collect();
                if *catch { or_failed(outcomes.map(Value::from)) } else { outcomes?.into() }
            }
            Step::Any { t } => {
                let (at, outcome) = any(t.iter().map(begin)).await;
                json!([at, or_failed(outcome)])
            }
            Step::Begin { name, t } => {
                self.begun.borrow_mut().insert(name.clone(), begin(t));
                return Ok(None);
            }
            Step::Take { name } => {
                let task = self.begun.borrow_mut().remove(name).unwrap();
                or_failed(task.await)
            }
            Step::Join { b } => self.join(b).await?,
            Step::Send { c, v } => {
                self.end(c, |it| &mut it.0).send(v.clone()).unwrap();
                return Ok(None);
            }
            Step::Recv { c } => self.end(c, |it| &mut it.1).await.unwrap(),
            Step::Status { v } => {
                self.ctx.set_custom_status(v)?;
                return Ok(None);
            }
            Step::Uuid => json!(self.ctx.new_uuid()),
            Step::Version => json!(self.ctx.version()),
        };
        Ok(Some(result))
    }

    /// One way polls every branch whenever one was woken, the other only those that were: orchestrators use both.
    async fn join(&self, branches: &[Vec<Step>]) -> Result<Value, Error> {
        let running = branches.iter().map(|it| self.run(it));
        let results: Vec<Vec<Value>> = if branches.len().is_multiple_of(2) {
            join_all(running).await.into_iter().collect::<Result<_, _>>()?
        } else {
            running.collect::<FuturesOrdered<_>>().try_collect().await?
        };
        Ok(json!(results))
    }

    fn end<T>(&self, channel: &str, end: impl FnOnce(&mut Ends) -> &mut Option<T>) -> T {
        let mut channels = self.channels.borrow_mut();
        let ends = channels.entry(channel.to_owned()).or_insert_with(|| {
            let (speaker, listener) = oneshot::channel();
            (Some(speaker), Some(listener))
        });
        end(ends).take().unwrap()
    }
}

fn or_failed(outcome: Result<Value, Error>) -> Value {
    outcome.unwrap_or_else(|_| json!("failed"))
}

enum Awaited {
    Task(Task<Value>),
    Timer(Timer),
}

impl Awaited {
    fn begin(ctx: &Context, leaf: &Leaf) -> Self {
        let at = |version: &Option<String>| version.as_ref().map_or_else(|| ctx.clone(), |it| ctx.at_version(it));
        Self::Task(match leaf {
            Leaf::Activity { n, i, v } => at(v).activity(n, i),
            Leaf::Retry { n, i, max, first, coef } => {
                let policy = RetryPolicy::new(*max, Duration::from_secs(*first)).backoff(*coef);
                ctx.activity_with_retry(n, i, policy).unwrap()
            }
            Leaf::Timer { s } => return Self::Timer(ctx.timer(Duration::from_secs(*s))),
            Leaf::Event { n } => ctx.external_event(n),
            Leaf::Sub { n, i, v } => {
                let id = format!("{}-{n}-{i}", ctx.instance_id());
                at(v).sub_orchestration_as(&id, n, i)
            }
        })
    }
}

impl Future for Awaited {
    type Output = Result<Value, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Cx<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Self::Task(it) => Pin::new(it).poll(cx),
            Self::Timer(it) => Pin::new(it).poll(cx).map(|()| Ok(Value::Null)),
        }
    }
}

impl Durable for Awaited {
    fn ready_at(&self) -> Option<u64> {
        match self {
            Self::Task(it) => it.ready_at(),
            Self::Timer(it) => it.ready_at(),
        }
    }
}
