//! One history, one orchestrator, one turn: the cases everybody asks about.

use std::time::Duration;

use durable::{
    Carry, Context, Either, Error, Level, RetryPolicy, Turn, TurnOutcome, all, any, envelope, protocol::*, replay,
    select, types,
};
use serde_json::{Value, json};

use super::{
    turns::{after, begin, check, completed, failed, fired, raised, reason, scheduled, turn},
    world::{event, started},
};

const DAY: Duration = Duration::from_secs(24 * 3600);

async fn two_steps(ctx: Context, _: Value) -> Result<Value, Error> {
    let one: Value = ctx.activity("one", &1).await?;
    let two: Value = ctx.activity("two", &one).await?;
    Ok(json!([one, two]))
}

#[test]
fn a_fresh_history_yields_the_first_action() {
    let turn = turn(begin(), 2, two_steps);
    check(&turn, &[(0, "one(1)")]);
    assert_eq!((turn.outcome, turn.past_events, turn.new_events), (TurnOutcome::Waiting, 0, 2));
}

#[test]
fn a_partial_history_yields_only_what_is_new() {
    check(&turn(after(&[scheduled("one"), completed(0, "7")]), 1, two_steps), &[(1, "two(7)")]);
    check(&turn(after(&[scheduled("one")]), 0, two_steps), &[]);
}

#[test]
fn a_complete_history_yields_the_output() {
    let history = after(&[scheduled("one"), completed(0, "7"), scheduled("two"), completed(1, "8")]);
    check(&turn(history, 1, two_steps), &[(2, "completed [7,8]")]);
}

#[test]
fn a_step_of_another_kind_is_a_mismatch_that_explains_itself() {
    let history = after(&[EventType::TimerCreated(TimerCreated::default()), fired(0)]);
    let turn = turn(history, 1, two_steps);
    check(&turn, &[(1, "failed NonDeterministicOrchestration")]);
    let why = turn.failure().unwrap();
    assert!(why.contains("recorded a timer as step 0") && why.contains("attempted activity \"one\""), "{why}");
}

#[test]
fn a_step_of_another_name_is_a_mismatch() {
    let turn = turn(after(&[scheduled("uno"), completed(0, "7")]), 1, two_steps);
    let why = turn.failure().unwrap();
    assert!(why.contains("recorded activity \"uno\"") && why.contains("attempted activity \"one\""), "{why}");
}

#[test]
fn an_input_of_another_shape_fails_before_the_first_step() {
    let request = OrchestratorRequest::with(|set| {
        set.new_events = vec![event(-1, 1, started("{\"a\":1}", 0))];
    });
    let orchestrator = async |_: Context, input: u32| Ok::<_, Error>(input);
    let turn = replay(request, orchestrator, || Duration::ZERO);
    check(&turn, &[(0, "failed DecodeError")]);
}

#[test]
fn an_input_that_was_encoded_twice_is_understood() {
    let request = OrchestratorRequest::with(|set| {
        set.new_events = vec![event(-1, 1, started(r#""{\"n\":5}""#, 0))];
    });
    #[derive(serde::Deserialize)]
    struct Input {
        n: u32,
    }
    let turn = replay(request, async |_: Context, input: Input| Ok::<_, Error>(input.n), || Duration::ZERO);
    check(&turn, &[(0, "completed 5")]);
}

#[test]
fn a_step_that_is_missing_from_the_code_is_a_mismatch() {
    let turn = turn(after(&[scheduled("one"), completed(0, "7")]), 1, async |_, _| Ok(json!("nothing to do")));
    assert_eq!(turn.outcome, TurnOutcome::Failed, "{turn:?}");
    assert!(turn.failure().unwrap().contains("attempted nothing"), "{:?}", turn.failure());
}

#[test]
fn a_step_that_is_extra_in_the_code_is_new() {
    let more = async |ctx: Context, input: Value| {
        let before = two_steps(ctx.clone(), input).await?;
        ctx.activity::<Value>("three", &before).await
    };
    let history = after(&[scheduled("one"), completed(0, "7"), scheduled("two"), completed(1, "8")]);
    check(&turn(history, 1, more), &[(2, "three([7,8])")]);
}

#[test]
fn completions_may_come_in_any_order() {
    let both = async |ctx: Context, _: Value| {
        let tasks = ["a", "b"].map(|name| ctx.activity::<Value>(name, &()));
        Ok(json!(all(tasks).await.into_iter().collect::<Result<Vec<_>, _>>()?))
    };
    let history = after(&[scheduled("a"), scheduled("b"), completed(1, "\"b\""), completed(0, "\"a\"")]);
    check(&turn(history, 2, both), &[(2, "completed [\"a\",\"b\"]")]);
}

#[test]
fn the_first_in_history_wins_whatever_the_order_in_the_code() {
    let race = async |ctx: Context, _: Value| {
        let (at, result) = any(["a", "b"].map(|name| ctx.activity::<Value>(name, &()))).await;
        Ok(json!([at, result?]))
    };
    let history = after(&[scheduled("a"), scheduled("b"), completed(1, "1"), completed(0, "0")]);
    check(&turn(history, 2, race), &[(2, "completed [1,1]")]);
}

#[test]
fn a_second_completion_changes_nothing() {
    let history = after(&[scheduled("one"), completed(0, "7"), completed(0, "9"), scheduled("two"), completed(1, "8")]);
    check(&turn(history, 1, two_steps), &[(2, "completed [7,8]")]);
}

#[test]
fn a_task_nobody_waits_for_is_scheduled_all_the_same() {
    let careless = async |ctx: Context, _: Value| {
        drop(ctx.activity::<Value>("forgotten", &()));
        ctx.activity::<Value>("kept", &()).await
    };
    check(&turn(begin(), 2, careless), &[(0, "forgotten(null)"), (1, "kept(null)")]);
    let history = after(&[scheduled("forgotten"), scheduled("kept"), completed(0, "0"), completed(1, "1")]);
    check(&turn(history, 2, careless), &[(2, "completed 1")]);
}

#[test]
fn a_panic_is_an_answer() {
    let turn = turn(begin(), 2, async |_, _| -> Result<Value, Error> { panic!("no such luck") });
    check(&turn, &[(0, "failed Panic")]);
    assert!(turn.failure().unwrap().contains("no such luck"), "{:?}", turn.failure());
}

#[test]
fn a_corrupt_history_is_an_answer() {
    let lone = turn(vec![completed(0, "7")], 1, two_steps);
    assert_eq!(lone.failure().unwrap(), format!("{}: the history has no executionStarted", types::BAD_REQUEST));
    let unreadable = turn(after(&[scheduled("one"), completed(0, "{")]), 1, two_steps);
    check(&unreadable, &[(1, "failed DecodeError")]);
    assert!(envelope::decode("\"%%%\"").unwrap_err().message.contains("not base64"));
    assert!(envelope::decode("/////w==").unwrap_err().message.contains("OrchestratorRequest"));
}

#[test]
fn the_history_of_another_language_names_the_setting() {
    let error = envelope::decode(r#"{"history":[],"input":null,"instanceId":"i"}"#).unwrap_err();
    assert!(error.message.contains("FUNCTIONS_WORKER_RUNTIME"), "{error}");
    let turn = envelope::refuse(error);
    check(&turn, &[(0, "failed BadOrchestratorRequest")]);
}

#[test]
fn what_the_engine_does_not_know_is_not_waited_for() {
    let foreign = async |_: Context, _: Value| {
        std::future::pending::<()>().await;
        Ok(Value::Null)
    };
    check(&turn(begin(), 2, foreign), &[(0, "failed ForeignAwait")]);
}

#[test]
fn a_wish_to_end_is_always_answered() {
    let history = after(&[scheduled("one"), EventType::ExecutionTerminated(reason("enough")), completed(0, "7")]);
    let turn = turn(history, 2, two_steps);
    check(&turn, &[(1, "completed \"enough\"")]);
    assert_eq!(turn.outcome, TurnOutcome::Terminated);
}

#[test]
fn while_suspended_events_are_held_back_and_then_handed_over() {
    let suspended = EventType::ExecutionSuspended(reason("wait"));
    let mut history = after(&[scheduled("one"), suspended, completed(0, "7")]);
    check(&turn(history.clone(), 1, two_steps), &[]);
    history.push(EventType::ExecutionResumed(reason("go")));
    check(&turn(history, 1, two_steps), &[(1, "two(7)")]);
}

#[test]
fn events_are_handed_out_in_order_by_name_without_regard_to_case() {
    let listener = async |ctx: Context, _: Value| {
        let pause = ctx.external_event::<Value>("other").await?;
        let first = ctx.external_event::<Value>("Go").await?;
        let second = ctx.external_event::<Value>("gO").await?;
        Ok(json!([first, second, pause]))
    };
    let history = after(&[raised("GO", "1"), raised("go", "2"), raised("Other", "3")]);
    check(&turn(history, 3, listener), &[(0, "completed [1,2,3]")]);
}

#[test]
fn events_nobody_took_are_carried_over_or_not() {
    for (carry, carried) in [(Carry::Events, 1), (Carry::Nothing, 0)] {
        let again = async move |ctx: Context, _: Value| {
            ctx.external_event::<Value>("first").await?;
            ctx.continue_as_new(&json!("next"), carry)
        };
        let turn = turn(after(&[raised("second", "2"), raised("first", "1")]), 2, again);
        assert_eq!(turn.outcome, TurnOutcome::ContinuedAsNew);
        let Some(ActionType::CompleteOrchestration(complete)) = turn.response.actions[0].action_type.clone() else {
            panic!("{turn:?}");
        };
        assert_eq!((complete.result.as_deref(), complete.carryover_events.len()), (Some("\"next\""), carried));
    }
}

#[test]
fn a_long_timer_is_made_of_parts_of_six_days() {
    let long = async |ctx: Context, _: Value| {
        ctx.timer(DAY * 14).await;
        Ok(json!("fired"))
    };
    let day = 24 * 3600;
    check(&turn(begin(), 2, long), &[(0, &format!("timer {}", 1 + 6 * day))]);
    let created = || EventType::TimerCreated(TimerCreated::default());
    let at = |seconds: i64, event_type| event(-1, seconds, event_type);
    let mut past: Vec<HistoryEvent> =
        begin().into_iter().zip(1..).map(|(it, seconds)| event(-1, seconds, it)).collect();
    past.extend([event(0, 3, created()), at(1 + 6 * day, EventType::OrchestratorStarted(Nothing::default()))]);
    let request = |past: &[HistoryEvent], new| {
        OrchestratorRequest::with(|set| {
            set.past_events = past.to_vec();
            set.new_events = new;
        })
    };
    let second = replay(request(&past, vec![at(3, fired(0))]), long, || Duration::ZERO);
    check(&second, &[(1, &format!("timer {}", 1 + 12 * day))]);
    past.extend([
        at(3, fired(0)),
        event(1, 3, created()),
        at(1 + 12 * day, EventType::OrchestratorStarted(Nothing::default())),
    ]);
    let third = replay(request(&past, vec![at(3, fired(1))]), long, || Duration::ZERO);
    check(&third, &[(2, &format!("timer {}", 1 + 14 * day))]);
}

#[test]
fn a_failed_activity_is_tried_again_as_its_policy_says() {
    let stubborn = async |ctx: Context, _: Value| {
        let policy = RetryPolicy::new(2, Duration::from_secs(5));
        ctx.activity_with_retry::<Value>("copy", &(), policy)?.await
    };
    check(&turn(after(&[scheduled("copy"), failed(0)]), 1, stubborn), &[(1, "timer 6")]);
    let timer = EventType::TimerCreated(TimerCreated::default());
    let history = after(&[scheduled("copy"), failed(0), timer, fired(1)]);
    check(&turn(history.clone(), 1, stubborn), &[(2, "copy(null)")]);
    let history = history.into_iter().chain([scheduled("copy"), failed(2)]).collect();
    let turn = turn(history, 1, stubborn);
    check(&turn, &[(3, "failed ActivityFailed")]);
    assert!(turn.failure().unwrap().contains("disk full"), "{:?}", turn.failure());
}

#[test]
fn a_lost_race_can_be_waited_for_again() {
    let patient = async |ctx: Context, _: Value| {
        let mut answer = ctx.external_event::<Value>("answer");
        let mut reminder = ctx.timer(Duration::from_secs(60));
        if let Either::Second(()) = select(&mut answer, &mut reminder).await {
            ctx.send_event("boss", "reminder", &())?;
        }
        answer.await
    };
    check(&turn(begin(), 2, patient), &[(0, "timer 61")]);
    let timer = EventType::TimerCreated(TimerCreated::default());
    check(&turn(after(&[timer.clone(), fired(0)]), 1, patient), &[(1, "event reminder")]);
    let sent = EventType::EventSent(EventSent::new(String::new(), "reminder".to_owned(), None));
    check(&turn(after(&[timer, fired(0), sent, raised("answer", "42")]), 1, patient), &[(2, "completed 42")]);
}

#[test]
fn children_have_ids_of_their_own() {
    let parent = async |ctx: Context, _: Value| {
        let children = [ctx.sub_orchestration::<Value>("child", &1), ctx.sub_orchestration_as("me", "child", &2)];
        all(children).await.into_iter().collect::<Result<Vec<_>, _>>().map(|it| json!(it))
    };
    check(&turn(begin(), 2, parent), &[(0, "child child execution-0:0000"), (1, "child child me")]);
}

#[test]
fn time_chance_status_and_log_do_not_depend_on_the_replay() {
    let teller = async |ctx: Context, _: Value| {
        let (id, began) = (ctx.new_uuid(), ctx.now());
        ctx.log(Level::Information, || "before".to_owned());
        ctx.set_custom_status(&"first")?;
        ctx.activity::<Value>("one", &()).await?;
        ctx.log(Level::Warning, || "after".to_owned());
        Ok(json!([id, began.unix_timestamp(), ctx.new_uuid(), ctx.is_replaying()]))
    };
    let first = turn(begin(), 2, teller);
    let lines = |turn: &Turn| turn.log.iter().map(|it| it.message.clone()).collect::<Vec<_>>();
    assert_eq!(
        (lines(&first), first.response.custom_status.as_deref()),
        (vec!["before".to_owned()], Some("\"first\""))
    );
    let history = after(&[scheduled("one"), completed(0, "7")]);
    let (second, third) = (turn(history.clone(), 1, teller), turn(history, 1, teller));
    assert_eq!(lines(&second), ["after"]);
    assert_eq!(second.response.custom_status.as_deref(), Some("\"first\""), "the status is sent in every episode");
    assert_eq!(second.response, third.response);
}
