//! Branches side by side: they wake each other, run on unawaited, lose races and share events.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    rc::Rc,
    task::Poll,
    time::Duration,
};

use durable::{Context, Error, RetryPolicy, all, any, as_completed, fan_out, protocol::*, select_all, try_all, types};
use futures_channel::oneshot;
use futures_util::{
    future::{join, join_all},
    stream::{FuturesUnordered, StreamExt},
};
use serde_json::{Value, json};

use super::turns::{after, begin, check, completed, failed, fired, raised, scheduled, turn};

#[test]
fn a_branch_that_wakes_another_one_is_no_foreign_wait() {
    // The receiver comes first, so that it waits when it is woken.
    let talking = async |ctx: Context, _: Value| {
        let (sender, receiver) = oneshot::channel::<Value>();
        let hear = async { receiver.await.map_err(Error::from_error) };
        let tell = async {
            let _ = sender.send(ctx.activity("one", &()).await?);
            Ok::<_, Error>(())
        };
        let (heard, told) = join(hear, tell).await;
        told?;
        heard
    };
    check(&turn(begin(), 2, talking), &[(0, "one(null)")]);
    check(&turn(after(&[scheduled("one"), completed(0, "7")]), 1, talking), &[(1, "completed 7")]);
}

#[test]
fn a_chain_of_branches_wakes_itself_to_its_end_in_one_episode() {
    for length in [2_usize, 40, 3_000] {
        let chain = async |ctx: Context, _: Value| {
            let (first, mut next) = oneshot::channel::<Value>();
            let mut links = Vec::new();
            for _ in 0..length {
                let (sender, receiver) = oneshot::channel();
                let before = std::mem::replace(&mut next, receiver);
                links.push(async move { sender.send(before.await.unwrap_or_default()) });
            }
            // The last link is polled first.
            links.reverse();
            let begin = async { drop(first.send(ctx.activity("one", &()).await.unwrap_or_default())) };
            let ((_, ()), last) = join(join(join_all(links), begin), next).await;
            last.map_err(Error::from_error)
        };
        check(&turn(begin(), 2, chain), &[(0, "one(null)")]);
        check(&turn(after(&[scheduled("one"), completed(0, "7")]), 1, chain), &[(1, "completed 7")]);
    }
}

#[test]
fn what_is_foreign_is_still_recognized() {
    let unsent = async |_: Context, _: Value| {
        let (_sender, receiver) = oneshot::channel::<Value>();
        receiver.await.map_err(Error::from_error)
    };
    check(&turn(begin(), 2, unsent), &[(0, "failed ForeignAwait")]);
    let restless = async |_: Context, _: Value| {
        poll_fn(|cx| {
            cx.waker().wake_by_ref();
            Poll::<()>::Pending
        })
        .await;
        Ok(Value::Null)
    };
    check(&turn(begin(), 2, restless), &[(0, "failed ForeignAwait")]);
    // Beside something that history will have it is found when that is there.
    let beside = async |ctx: Context, _: Value| {
        let (one, ()) = join(ctx.activity::<Value>("one", &()), std::future::pending::<()>()).await;
        one
    };
    check(&turn(begin(), 2, beside), &[(0, "one(null)")]);
    check(&turn(after(&[scheduled("one"), completed(0, "7")]), 1, beside), &[(1, "failed ForeignAwait")]);
}

#[test]
fn a_branch_that_yields_goes_on() {
    let polite = async |ctx: Context, _: Value| {
        let mut yielded = false;
        poll_fn(|cx| {
            if std::mem::replace(&mut yielded, true) {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
        ctx.activity("one", &()).await
    };
    check(&turn(begin(), 2, polite), &[(0, "one(null)")]);
}

#[test]
fn retries_are_under_way_whether_or_not_they_are_awaited() {
    let in_turn = async |ctx: Context, _: Value| {
        let policy = || RetryPolicy::new(3, Duration::from_secs(5));
        let begin = |name| ctx.activity_with_retry::<Value>(name, &(), policy());
        let tasks = [begin("a")?, begin("b")?];
        let mut results = Vec::new();
        for task in tasks {
            results.push(task.await?);
        }
        Ok(json!(results))
    };
    let both = [scheduled("a"), scheduled("b")];
    let history = after(&[&both[..], &[failed(1), failed(0)]].concat());
    check(&turn(history, 2, in_turn), &[(2, "timer 6"), (3, "timer 6")]);
    let timer = || EventType::TimerCreated(TimerCreated::default());
    let history = after(&[&both[..], &[failed(1), timer(), fired(2)]].concat());
    check(&turn(history, 1, in_turn), &[(3, "b(null)")]);
    let history = after(
        &[&both[..], &[failed(1), timer(), fired(2), scheduled("b"), completed(3, "2"), completed(0, "1")]].concat(),
    );
    check(&turn(history, 2, in_turn), &[(4, "completed [1,2]")]);
    // One that lost a race and was dropped goes on, too.
    let race = async |ctx: Context, _: Value| {
        let retried = ctx.activity_with_retry::<Value>("a", &(), RetryPolicy::new(3, Duration::from_secs(5)))?;
        any([retried, ctx.activity("b", &())]).await.1?;
        ctx.activity("c", &()).await
    };
    let history = after(&[&both[..], &[completed(1, "1"), scheduled("c"), failed(0)]].concat());
    check(&turn(history, 1, race), &[(3, "timer 6")]);
}

#[test]
fn a_child_is_tried_again_under_an_id_of_its_own_or_the_given_one() {
    let child =
        || EventType::SubOrchestrationInstanceCreated(Box::new(SubOrchestration::with(|it| it.name = "kid".into())));
    let broken = |id| EventType::SubOrchestrationInstanceFailed(TaskFailed::new(id, None));
    let timer = || EventType::TimerCreated(TimerCreated::default());
    let history = after(&[child(), broken(0), timer(), fired(1)]);
    let policy = || RetryPolicy::new(2, Duration::from_secs(5));
    let own = async |ctx: Context, _: Value| ctx.sub_orchestration_with_retry::<Value>("kid", &1, policy())?.await;
    check(&turn(begin(), 2, own), &[(0, "child kid execution-0:0000")]);
    check(&turn(history.clone(), 1, own), &[(2, "child kid execution-0:0002")]);
    let given =
        async |ctx: Context, _: Value| ctx.sub_orchestration_as_with_retry::<Value>("k", "kid", &1, policy())?.await;
    check(&turn(history.clone(), 1, given), &[(2, "child kid k")]);
    let history = [history, vec![child(), broken(2)]].concat();
    check(&turn(history, 1, given), &[(3, "failed SubOrchestrationFailed")]);
}

#[test]
fn a_retry_ends_with_its_timeout() {
    let hurried = async |ctx: Context, _: Value| {
        let policy = RetryPolicy::new(9, Duration::from_secs(1)).timeout(Duration::from_secs(10));
        ctx.activity_with_retry::<Value>("a", &(), policy)?.await
    };
    for (seconds, wanted) in [(10, (1, "timer 11")), (11, (1, "failed ActivityFailed"))] {
        let history = vec![
            super::world::event(-1, 1, begin().remove(0)),
            super::world::event(-1, 1, begin().remove(1)),
            super::world::event(0, 1, scheduled("a")),
            super::world::event(-1, seconds, begin().remove(0)),
            super::world::event(-1, seconds, failed(0)),
        ];
        let request = OrchestratorRequest::with(|set| set.new_events = history);
        check(&durable::replay(request, hurried, || Duration::ZERO), &[wanted]);
    }
}

#[test]
fn an_event_of_a_dropped_wait_goes_to_the_next_in_order_of_arrival() {
    let names = |turn: &durable::Turn| {
        let Some(ActionType::CompleteOrchestration(it)) = &turn.response.actions[0].action_type else {
            panic!("{turn:?}")
        };
        let input = |it: &HistoryEvent| match &it.event_type {
            Some(EventType::EventRaised(it)) => it.input.clone().unwrap(),
            other => panic!("{other:?}"),
        };
        it.carryover_events.iter().map(input).collect::<Vec<_>>()
    };
    let three = || after(&[raised("Go", "1"), raised("go", "2"), raised("GO", "3"), raised("Stop", "0")]);
    // They were given their events, and drop them in any order.
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let dropping = async |ctx: Context, _: Value| {
            let mut waits: Vec<_> = (0..3).map(|_| Some(ctx.external_event::<Value>("Go"))).collect();
            ctx.external_event::<Value>("Stop").await?;
            order.iter().for_each(|at| drop(waits[*at].take()));
            let again = [ctx.external_event::<Value>("Go"), ctx.external_event("Go"), ctx.external_event("Go")];
            Ok(json!(try_all(again).await?))
        };
        check(&turn(three(), 4, dropping), &[(0, "completed [1,2,3]")]);
        let carrying = async |ctx: Context, _: Value| {
            let mut waits: Vec<_> = (0..3).map(|_| Some(ctx.external_event::<Value>("Go"))).collect();
            ctx.external_event::<Value>("Stop").await?;
            order.iter().for_each(|at| drop(waits[*at].take()));
            ctx.continue_as_new::<Value>(&(), durable::Carry::Events)
        };
        assert_eq!(names(&turn(three(), 4, carrying)), ["1", "2", "3"]);
    }
    // One is in line already.
    let in_line = async |ctx: Context, _: Value| {
        let (first, second) = (ctx.external_event::<Value>("Go"), ctx.external_event::<Value>("Go"));
        ctx.external_event::<Value>("Stop").await?;
        drop(first);
        second.await
    };
    check(&turn(after(&[raised("Go", "1"), raised("Stop", "0")]), 2, in_line), &[(0, "completed 1")]);
    // It waits already when the event is given on.
    let waiting = async |ctx: Context, _: Value| {
        let (mut first, second) = (Some(ctx.external_event::<Value>("Go")), ctx.external_event::<Value>("Go"));
        let give = async {
            let _ = ctx.external_event::<Value>("Stop").await;
            drop(first.take());
        };
        join(second, give).await.0
    };
    check(&turn(after(&[raised("Go", "1"), raised("Stop", "0")]), 2, waiting), &[(0, "completed 1")]);
}

#[test]
fn an_event_with_a_timeout_is_given_on_when_it_comes_too_late() {
    let impatient = async |ctx: Context, _: Value| {
        let first: Option<Value> = ctx.external_event_within("Go", Duration::from_secs(9)).await?;
        let second: Value = ctx.external_event("Go").await?;
        Ok(json!([first, second]))
    };
    check(&turn(begin(), 2, impatient), &[(0, "timer 10")]);
    let timer = EventType::TimerCreated(TimerCreated::default());
    check(
        &turn(after(&[timer.clone(), raised("Go", "1"), raised("Go", "2")]), 2, impatient),
        &[(1, "completed [1,2]")],
    );
    check(&turn(after(&[timer, fired(0), raised("Go", "1")]), 2, impatient), &[(1, "completed [null,1]")]);
}

#[test]
fn of_many_the_first_is_given_and_the_rest_given_back() {
    let begin_three = |ctx: &Context| ["a", "b", "c"].map(|name| ctx.activity::<Value>(name, &()));
    let history = |done: &[EventType]| after(&[&[scheduled("a"), scheduled("b"), scheduled("c")], done].concat());
    let done = [completed(2, "3"), completed(0, "1"), completed(1, "2")];
    let one_by_one = async |ctx: Context, _: Value| {
        let (at, first, rest) = select_all(begin_three(&ctx)).await;
        let (next, second, mut rest) = select_all(rest).await;
        let (last, third) = any(rest.iter_mut()).await;
        Ok(json!([at, first?, next, second?, last, third?]))
    };
    check(&turn(history(&done), 3, one_by_one), &[(3, "completed [2,3,0,1,0,2]")]);
    let failing = async |ctx: Context, _: Value| {
        let error = try_all(begin_three(&ctx)).await.unwrap_err();
        Ok(json!(error.message))
    };
    check(
        &turn(history(&[completed(2, "3"), failed(1)]), 2, failing),
        &[(3, "completed \"an activity failed: disk full\"")],
    );
    let trying = async |ctx: Context, _: Value| Ok(json!(try_all(begin_three(&ctx)).await?));
    check(&turn(history(&done), 3, trying), &[(3, "completed [1,2,3]")]);
}

#[test]
fn as_they_come_is_the_order_of_history_even_where_nobody_looked() {
    let late = async |ctx: Context, _: Value| {
        let mut tasks = as_completed(["a", "b", "c", "d"].map(|name| ctx.activity::<Value>(name, &())));
        let mut order = vec![tasks.next().await.unwrap().0];
        ctx.external_event::<Value>("Go").await?;
        order.push(tasks.next().await.unwrap().0);
        order.push(tasks.next().await.unwrap().0);
        let rest = tasks.into_rest();
        assert_eq!(rest.len(), 1);
        Ok(json!([order, all(rest).await.remove(0)?]))
    };
    let names = ["a", "b", "c", "d"].map(scheduled);
    let done = [completed(1, "1"), completed(3, "3"), completed(0, "0"), raised("Go", "0"), completed(2, "2")];
    check(&turn(after(&[&names[..], &done].concat()), 5, late), &[(4, "completed [[1,3,0],2]")]);
}

#[test]
fn a_fan_out_keeps_its_limit_and_the_order_of_its_items() {
    let limited = async |ctx: Context, _: Value| {
        let done = fan_out(2, 0..5, |item| ctx.activity::<Value>("copy", &item)).await;
        done.into_iter().collect::<Result<Vec<_>, _>>().map(|it| json!(it))
    };
    check(&turn(begin(), 2, limited), &[(0, "copy(0)"), (1, "copy(1)")]);
    let copy = || scheduled("copy");
    let history = after(&[copy(), copy(), completed(1, "11"), copy(), completed(2, "12"), completed(0, "10")]);
    check(&turn(history.clone(), 2, limited), &[(3, "copy(3)"), (4, "copy(4)")]);
    let more = vec![copy(), copy(), completed(4, "14"), completed(3, "13")];
    check(&turn([history, more].concat(), 2, limited), &[(5, "completed [10,11,12,13,14]")]);
}

/// Polls of all tasks together, and the events that were given: both may only grow with the number of tasks.
fn cost_of(count: usize, orchestrator: impl AsyncFn(&Context, usize, &Cell<usize>) -> Value) -> usize {
    let polls = Rc::new(Cell::new(0));
    let names = vec![scheduled("a"); count];
    let done: Vec<EventType> = (0..count).rev().map(|id| completed(i32::try_from(id).unwrap(), "1")).collect();
    let counted = Rc::clone(&polls);
    let run = async move |ctx: Context, _: Value| Ok(orchestrator(&ctx, count, &counted).await);
    let turn = turn(after(&[names, done].concat()), count, run);
    assert!(turn.failure().is_none(), "{:?}", turn.failure());
    polls.get()
}

#[test]
fn as_completed_polls_each_task_twice_at_most() {
    let by_ours = async |ctx: &Context, count: usize, polls: &Cell<usize>| {
        let mut tasks = as_completed((0..count).map(|_| Counted { task: ctx.activity("a", &()), polls }));
        let mut order = Vec::new();
        while let Some((place, _)) = tasks.next().await {
            order.push(place);
        }
        assert!(order.iter().rev().copied().eq(0..count), "history's order");
        Value::Null
    };
    assert!(cost_of(2_000, by_ours) <= 2 * 2_000 + 2);
    let unordered = async |ctx: &Context, count: usize, polls: &Cell<usize>| {
        let tasks = (0..count).map(|_| Counted { task: ctx.activity("a", &()), polls });
        json!(tasks.collect::<FuturesUnordered<_>>().count().await)
    };
    assert!(cost_of(2_000, unordered) <= 2 * 2_000 + 2);
}

/// A task that counts how often it is polled.
struct Counted<'a> {
    task: durable::Task<Value>,
    polls: &'a Cell<usize>,
}

impl Future for Counted<'_> {
    type Output = Result<Value, Error>;

    fn poll(mut self: std::pin::Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<Self::Output> {
        self.polls.set(self.polls.get() + 1);
        std::pin::Pin::new(&mut self.task).poll(cx)
    }
}

impl durable::Durable for Counted<'_> {
    fn ready_at(&self) -> Option<u64> {
        self.task.ready_at()
    }
}

#[test]
fn a_child_that_replaces_another_one_is_told() {
    let careless = async |ctx: Context, _: Value| {
        let twins = [ctx.sub_orchestration_as::<Value>("k", "kid", &1), ctx.sub_orchestration_as("k", "kid", &2)];
        Ok(json!(try_all(twins).await?))
    };
    let turn = turn(begin(), 2, careless);
    assert_eq!(turn.log.len(), 1, "{:?}", turn.log);
    assert!(turn.log[0].message.contains("replaces another one that is under way as k"), "{:?}", turn.log);
}

#[test]
fn a_task_is_not_kept_alive_by_what_waits_for_it() {
    // A policy that holds the context: the engine must not keep itself alive by it.
    let alive = Rc::new(RefCell::new(()));
    let held = Rc::clone(&alive);
    let cyclic = async move |ctx: Context, _: Value| {
        let (inner, held) = (ctx.clone(), held.clone());
        let policy =
            RetryPolicy::new(2, Duration::ZERO).unless(move |_| inner.is_replaying() && held.try_borrow().is_err());
        ctx.activity_with_retry::<Value>("a", &(), policy)?.await
    };
    let _ = turn(begin(), 2, cyclic);
    assert_eq!(Rc::strong_count(&alive), 1);
    assert_eq!(types::PANIC, "Panic");
}
