//! What happens at the corners: nothing hangs, nothing leaves the engine, nothing blocks a hub.

use std::{cell::Cell, panic, time::Duration};

use durable::{
    Activity, Carry, Context, Error, RetryPolicy, TurnOutcome, envelope, protocol::*, replay, replay_encoded, select,
    types,
};
use prost::Message;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::{
    turns::{after, begin, check, completed, failed, fired, raised, reason, scheduled, turn},
    world::{event, started},
};

/// Cannot be written.
struct Unwritable;

impl Serialize for Unwritable {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("no"))
    }
}

/// Panics when it is dropped.
struct Fragile;

impl Drop for Fragile {
    fn drop(&mut self) {
        assert!(std::thread::panicking(), "fell apart");
    }
}

#[test]
fn an_outcome_that_was_given_is_not_waited_for_again() {
    let twice = async |ctx: Context, _: Value| {
        let mut task = ctx.activity::<Value>("one", &());
        (&mut task).await?;
        (&mut task).await
    };
    let found = turn(after(&[scheduled("one"), completed(0, "7")]), 1, twice);
    check(&found, &[(1, "failed AlreadyAwaited")]);
    assert!(found.failure().unwrap().contains("activity \"one\" has ended"), "{:?}", found.failure());
    for name in ["event", "child"] {
        let twice = async |ctx: Context, _: Value| {
            let mut task = match name {
                "event" => ctx.external_event::<Value>("Go"),
                _ => ctx.sub_orchestration("kid", &()),
            };
            let _ = (&mut task).await;
            (&mut task).await
        };
        let child =
            EventType::SubOrchestrationInstanceCreated(Box::new(SubOrchestration::with(|it| it.name = "kid".into())));
        let done = EventType::SubOrchestrationInstanceCompleted(TaskCompleted::new(0, None));
        let history = if name == "event" { after(&[raised("go", "1")]) } else { after(&[child, done]) };
        let found = turn(history, 1, twice);
        assert!(found.failure().unwrap().starts_with(types::ALREADY_AWAITED), "{found:?}");
    }
}

#[test]
fn a_timer_that_has_fired_is_not_waited_for_again_in_a_loop_without_end() {
    let looping = async |ctx: Context, _: Value| {
        let (mut answer, mut reminder) = (ctx.external_event::<Value>("answer"), ctx.timer(Duration::from_secs(1)));
        loop {
            if let durable::Either::First(answer) = select(&mut answer, &mut reminder).await {
                return answer;
            }
        }
    };
    let turn = turn(after(&[EventType::TimerCreated(TimerCreated::default()), fired(0)]), 1, looping);
    check(&turn, &[(1, "failed Panic")]);
    assert!(turn.failure().unwrap().contains("a timer has ended"), "{:?}", turn.failure());
}

#[test]
fn panics_in_destructors_are_answers() {
    let pending = async |ctx: Context, _: Value| {
        let _fragile = Fragile;
        ctx.activity("one", &()).await
    };
    for (history, new) in [(begin(), 2), (after(&[scheduled("one"), completed(0, "7")]), 1)] {
        let turn = turn(history, new, pending);
        assert_eq!(turn.outcome, TurnOutcome::Failed);
        assert!(turn.failure().unwrap().contains("fell apart"), "{:?}", turn.failure());
    }
    let fragile = Fragile;
    let unstarted = turn(vec![], 0, async move |_: Context, _: Value| {
        let _fragile = &fragile;
        Ok(Value::Null)
    });
    assert!(unstarted.failure().is_some());
    let policy = async |ctx: Context, _: Value| {
        let fragile = Fragile;
        let policy = RetryPolicy::new(2, Duration::ZERO).unless(move |_| size_of_val(&fragile) > 0);
        ctx.activity_with_retry("one", &(), policy)?.await
    };
    assert!(turn(begin(), 2, policy).failure().unwrap().contains("fell apart"));
    let payload = turn(begin(), 2, async |_, _| -> Result<Value, Error> { panic::panic_any(Fragile) });
    check(&payload, &[(0, "failed Panic")]);
}

#[test]
fn a_policy_that_panics_is_an_answer() {
    let policy = async |ctx: Context, _: Value| {
        let policy = RetryPolicy::new(2, Duration::ZERO).unless(|_| panic!("undecided"));
        ctx.activity_with_retry("one", &(), policy)?.await
    };
    let turn = turn(after(&[scheduled("one"), failed(0)]), 1, policy);
    assert!(turn.failure().unwrap().contains("undecided"), "{:?}", turn.failure());
}

#[test]
fn failure_details_of_any_depth_are_read_and_answered() {
    for depth in [1, 40, 99, 3_000] {
        let nest = |inner: Option<Box<FailureDetails>>, level| {
            let details = FailureDetails::with(|set| {
                (set.error_message, set.inner_failure) = (format!("level {level}"), inner);
            });
            Some(Box::new(details))
        };
        let details = (1..=depth).rev().fold(None, nest);
        let mut events = after(&[scheduled("one"), EventType::TaskFailed(TaskFailed::new(0, details))]).into_iter();
        let request = OrchestratorRequest::with(|set| {
            set.new_events = events.by_ref().take(2).map(|it| event(-1, 1, it)).collect();
            set.new_events.push(event(0, 1, events.next().unwrap()));
            set.new_events.push(event(-1, 1, events.next().unwrap()));
        });
        let one = async |ctx: Context, _: Value| ctx.activity::<Value>("one", &()).await;
        let turn = replay_encoded(&request.encode_to_vec(), one, || Duration::ZERO).unwrap();
        let why = turn.failure().unwrap();
        assert!(why.contains(&format!("level {depth}")), "{depth}: {why}");
        // .NET reads a hundred levels of a message, all of them counted.
        let answer = turn.response.encode_to_vec();
        assert_eq!(OrchestratorResponse::decode(answer.as_slice()).unwrap(), turn.response);
        let mut levels = 0;
        let Some(ActionType::CompleteOrchestration(complete)) = &turn.response.actions[0].action_type else { panic!() };
        let mut next = complete.failure_details.as_ref();
        while let Some(details) = next {
            (levels, next) = (levels + 1, details.inner_failure.as_ref());
        }
        assert!(levels <= 40, "{levels}");
    }
}

#[test]
fn pauses_and_times_of_any_length_are_asked_for() {
    let patient = async |ctx: Context, _: Value| {
        let policy = RetryPolicy::new(9, Duration::MAX).longest_pause(Duration::MAX).backoff(f64::INFINITY);
        ctx.activity_with_retry::<Value>("one", &(), policy)?.await
    };
    let six_days = 6 * 24 * 3600;
    check(&turn(after(&[scheduled("one"), failed(0)]), 1, patient), &[(1, &format!("timer {}", 1 + six_days))]);
    for (at, wanted) in [
        (time::OffsetDateTime::UNIX_EPOCH - time::Duration::days(3_000_000), 0),
        (time::macros::datetime!(9999-12-31 23:59:59 UTC), 1 + six_days),
    ] {
        let timer = async move |ctx: Context, _: Value| {
            ctx.timer_at(at).await;
            Ok(Value::Null)
        };
        check(&turn(begin(), 2, timer), &[(0, &format!("timer {wanted}"))]);
    }
    let forever = async |ctx: Context, _: Value| {
        ctx.timer(Duration::MAX).await;
        Ok(Value::Null)
    };
    check(&turn(begin(), 2, forever), &[(0, &format!("timer {}", 1 + six_days))]);
}

#[test]
fn an_input_that_cannot_be_written_still_takes_its_id() {
    const ONE: Activity<Unwritable, Value> = Activity::new("one");
    let careless = async |ctx: Context, _: Value| {
        let policy = || RetryPolicy::new(2, Duration::ZERO);
        let error = ctx.call(ONE, &Unwritable).await.unwrap_err();
        assert_eq!(error.error_type, types::ENCODE);
        assert!(ctx.activity::<Value>("one", &Unwritable).await.is_err());
        assert!(ctx.activity_with_retry::<Value>("one", &Unwritable, policy()).is_err());
        assert!(ctx.sub_orchestration::<Value>("one", &Unwritable).await.is_err());
        assert!(ctx.sub_orchestration_with_retry::<Value>("one", &Unwritable, policy()).is_err());
        assert!(ctx.send_event("i", "Go", &Unwritable).is_err());
        ctx.activity("two", &()).await
    };
    check(&turn(begin(), 2, careless), &[(6, "two(null)")]);
    let mut history: Vec<HistoryEvent> = begin().into_iter().map(|it| event(-1, 1, it)).collect();
    history.extend([event(6, 1, scheduled("two")), event(-1, 1, completed(6, "7"))]);
    let request = OrchestratorRequest::with(|set| set.new_events = history);
    check(&replay(request, careless, || Duration::ZERO), &[(7, "completed 7")]);
}

#[test]
fn inputs_are_not_written_again_for_what_history_has() {
    struct Counted<'a>(&'a Cell<u32>);
    impl Serialize for Counted<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            self.0.set(self.0.get() + 1);
            serializer.serialize_u32(self.0.get())
        }
    }
    let written = Cell::new(0);
    let orchestrator = async |ctx: Context, _: Value| {
        ctx.activity::<Value>("one", &Counted(&written)).await?;
        ctx.activity::<Value>("two", &Counted(&written)).await
    };
    check(&turn(after(&[scheduled("one"), completed(0, "7")]), 1, orchestrator), &[(1, "two(1)")]);
    assert_eq!(written.get(), 1);
}

#[test]
fn the_replies_that_block_a_hub_cannot_be_made() {
    let reckless = async |ctx: Context, _: Value| {
        let policy = || RetryPolicy::new(2, Duration::ZERO);
        for id in ["", "i", "parent"] {
            let error = ctx.sub_orchestration_as::<Value>(id, "kid", &()).await.unwrap_err();
            assert_eq!(error.error_type, types::SUB_ORCHESTRATION_FAILED);
            let retried = ctx.sub_orchestration_as_with_retry::<Value>(id, "kid", &(), policy())?;
            assert_eq!(retried.await.unwrap_err(), error);
        }
        assert!(ctx.send_event("", "Go", &()).is_err());
        let _long = ctx.timer(Duration::from_secs(8 * 24 * 3600));
        ctx.sub_orchestration_as::<Value>("kid-1", "kid", &()).await
    };
    let EventType::ExecutionStarted(mut start) = started("null", 0) else { panic!() };
    let parent = OrchestrationInstance::new("parent".to_owned(), None);
    start.parent_instance = Some(ParentInstance::with(|set| set.orchestration_instance = Some(parent)));
    let history = vec![EventType::OrchestratorStarted(Nothing::default()), EventType::ExecutionStarted(start)];
    let wanted = format!("timer {}", 1 + 6 * 24 * 3600);
    check(&turn(history, 2, reckless), &[(7, &wanted), (8, "child kid kid-1")]);
}

#[test]
fn a_rewound_history_is_asked_for_its_failed_action_again() {
    let generic = |text: Option<&str>| EventType::GenericEvent(Reason::new(text.map(str::to_owned)));
    let history = |last: Vec<HistoryEvent>| {
        OrchestratorRequest::with(|set| {
            set.instance_id = "i".into();
            set.past_events = begin().into_iter().map(|it| event(-1, 1, it)).collect();
            // The activity that failed, its failure, and the end of the execution.
            set.past_events.extend([
                event(0, 1, generic(None)),
                event(-1, 2, generic(None)),
                event(1, 2, generic(None)),
            ]);
            set.new_events = last;
        })
    };
    let orchestrator = async |ctx: Context, _: Value| ctx.activity::<Value>("one", &1).await;
    let rewound = history(vec![event(-1, 3, generic(Some("retry")))]);
    check(&replay(rewound, orchestrator, || Duration::ZERO), &[(0, "one(1)")]);
    let again = history(vec![
        event(-1, 3, generic(Some("retry"))),
        event(0, 3, scheduled("one")),
        event(-1, 4, completed(0, "7")),
    ]);
    check(&replay(again, orchestrator, || Duration::ZERO), &[(1, "completed 7")]);
}

#[test]
fn events_of_an_unknown_kind_are_passed_over_with_a_line() {
    let one = async |ctx: Context, _: Value| ctx.activity::<Value>("one", &()).await;
    let request = OrchestratorRequest::with(|set| {
        set.past_events = begin().into_iter().map(|it| event(-1, 1, it)).collect();
        set.past_events.extend([event(0, 1, scheduled("one")), HistoryEvent::new(3, None, None)]);
        set.new_events = vec![HistoryEvent::new(4, None, None), event(-1, 1, completed(0, "7"))];
    });
    // On the wire: an execution that was rewound, field 30.
    let mut bytes = request.encode_to_vec();
    bytes.extend([0x22, 0x05, 0x08, 0x09, 0xF2, 0x01, 0x00]);
    let turn = replay_encoded(&bytes, one, || Duration::ZERO).unwrap();
    check(&turn, &[(1, "completed 7")]);
    assert_eq!(turn.log.len(), 2, "one for each that is new: {:?}", turn.log);
}

#[test]
fn a_request_without_its_history_asks_for_it() {
    let request = OrchestratorRequest::with(|set| {
        set.instance_id = "i".into();
        set.new_events = vec![event(-1, 1, completed(0, "7"))];
        let value = durable::protocol::Value::from(ValueKind::Bool(false));
        set.properties.insert(OrchestratorRequest::INCLUDE_STATE.to_owned(), value);
    });
    let one = async |ctx: Context, _: Value| ctx.activity::<Value>("one", &()).await;
    let turn = replay(request, one, || Duration::ZERO);
    assert!(turn.response.requires_history && turn.response.actions.is_empty());
    assert_eq!((turn.outcome, turn.response.instance_id.as_str()), (TurnOutcome::Waiting, "i"));
}

#[test]
fn names_of_functions_have_no_case_and_events_have_none_in_any_script() {
    let mixed = async |ctx: Context, _: Value| {
        let one: Value = ctx.activity("Größe", &()).await?;
        let go: Value = ctx.external_event("ΟΔΌΣ").await?;
        let other: Value = ctx.external_event("straße").await?;
        Ok(json!([one, go, other]))
    };
    let history = after(&[
        scheduled("GRÖßE"),
        completed(0, "1"),
        raised("STRASSE", "0"),
        raised("οδός", "2"),
        raised("STRAßE", "3"),
    ]);
    check(&turn(history, 1, mixed), &[(1, "completed [1,2,3]")]);
}

#[test]
fn a_result_that_cannot_be_read_is_final() {
    let number = async |ctx: Context, _: Value| {
        let policy = RetryPolicy::new(5, Duration::from_secs(1));
        ctx.activity_with_retry::<u8>("one", &(), policy)?.await.map(Value::from)
    };
    check(&turn(after(&[scheduled("one"), completed(0, "\"x\"")]), 1, number), &[(1, "failed DecodeError")]);
}

#[test]
fn numbers_of_any_size_keep_their_digits_in_types_that_hold_them() {
    let exact = async |ctx: Context, _: Value| {
        let big: u128 = ctx.activity("big", &u128::MAX).await?;
        let raw: Box<serde_json::value::RawValue> = ctx.activity("raw", &big).await?;
        let decimal: f64 = ctx.activity("decimal", &raw).await?;
        Ok(json!(decimal))
    };
    let history = [
        scheduled("big"),
        completed(0, "340282366920938463463374607431768211455"),
        scheduled("raw"),
        completed(1, "1.50000000000000000000000000001"),
    ];
    check(&turn(after(&history), 1, exact), &[(2, "decimal(1.50000000000000000000000000001)")]);
    let more = [scheduled("decimal"), completed(2, "0.30000000000000004")];
    let history = [&history[..], &more[..]].concat();
    check(&turn(after(&history), 1, exact), &[(3, "completed 0.30000000000000004")]);
}

#[test]
fn properties_of_a_failure_survive_being_passed_on() {
    let seven = durable::protocol::Value::from(ValueKind::Number(7.0));
    let details = FailureDetails::with(|set| {
        (set.error_type, set.error_message, set.is_non_retriable) = ("A".into(), "outer".into(), true);
        set.properties.insert("code".to_owned(), seven.clone());
    });
    let child =
        EventType::SubOrchestrationInstanceCreated(Box::new(SubOrchestration::with(|it| it.name = "kid".into())));
    let broken = EventType::SubOrchestrationInstanceFailed(TaskFailed::new(0, Some(Box::new(details.clone()))));
    let parent = async |ctx: Context, _: Value| {
        let error = ctx.sub_orchestration::<Value>("kid", &()).await.unwrap_err();
        assert_eq!((error.properties["code"].as_u64(), error.is_non_retriable), (Some(7), true));
        Err(error.with_property("more", "x"))
    };
    let turn = turn(after(&[child, broken]), 1, parent);
    let Some(ActionType::CompleteOrchestration(complete)) = &turn.response.actions[0].action_type else { panic!() };
    let failure = complete.failure_details.as_deref().unwrap();
    let names: Vec<&str> = failure.properties.keys().map(String::as_str).collect();
    assert_eq!((names, failure.is_non_retriable), (vec!["code", "more"], true));
    assert_eq!(failure.inner_failure.as_deref(), Some(&details));
    let bytes = failure.encode_to_vec();
    assert_eq!(FailureDetails::decode(bytes.as_slice()).unwrap(), *failure);
}

#[test]
fn a_custom_status_that_fails_the_instance_is_an_error_at_the_call() {
    let teller = async |ctx: Context, _: Value| {
        ctx.set_custom_status(&"first")?;
        // Two quotes, and two bytes for each character; the last takes four.
        ctx.set_custom_status(&"x".repeat(8_190))?;
        let error = ctx.set_custom_status(&format!("😀{}", "x".repeat(8_189))).unwrap_err();
        assert_eq!(error.error_type, types::CUSTOM_STATUS_TOO_LONG);
        assert!(ctx.set_custom_status(&Unwritable).is_err());
        ctx.activity("one", &()).await
    };
    let turn = turn(begin(), 2, teller);
    check(&turn, &[(0, "one(null)")]);
    assert_eq!(turn.response.custom_status.unwrap().len(), 8_192, "the one before stays");
}

#[test]
fn while_suspended_the_start_waits_too_and_nothing_goes_out_before_the_resumption() {
    let two = async |ctx: Context, _: Value| {
        let one: Value = ctx.activity("one", &()).await?;
        ctx.activity("two", &one).await
    };
    let suspended = || EventType::ExecutionSuspended(reason("wait"));
    let resumed = || EventType::ExecutionResumed(reason("go"));
    let [os, start] = begin().try_into().unwrap();
    let before = vec![os, suspended(), start];
    check(&turn(before.clone(), 3, two), &[]);
    check(&turn([before.clone(), vec![resumed()]].concat(), 1, two), &[(0, "one(null)")]);
    assert_eq!(turn(before, 3, two).outcome, TurnOutcome::Waiting);
    // In the batch that suspends.
    check(&turn(after(&[suspended()]), 3, two), &[]);
    check(&turn(after(&[suspended(), resumed()]), 4, two), &[(0, "one(null)")]);
    check(&turn(after(&[scheduled("one"), completed(0, "1"), suspended()]), 2, two), &[]);
    check(&turn(after(&[scheduled("one"), completed(0, "1"), suspended(), resumed()]), 1, two), &[(1, "two(1)")]);
    check(&turn(after(&[suspended(), EventType::ExecutionTerminated(reason("x"))]), 2, two), &[(1, "completed \"x\"")]);
    // An older engine had asked for it before the suspension took hold.
    check(&turn(after(&[suspended(), scheduled("one"), completed(0, "1"), resumed()]), 1, two), &[(1, "two(1)")]);
    // An execution that ends has nobody to resume it.
    let done = turn(after(&[suspended()]), 3, async |_, _| Ok(json!("done")));
    check(&done, &[(0, "completed \"done\"")]);
}

#[test]
fn continue_as_new_is_no_failure_to_be_compensated() {
    async fn again(ctx: Context) -> Result<Value, Error> {
        ctx.activity::<Value>("before", &()).await?;
        ctx.continue_as_new(&json!("next"), Carry::Events)
    }
    let compensated = async |ctx: Context, _: Value| match again(ctx.clone()).await {
        Err(error) => {
            drop(ctx.activity::<Value>("undo", &()));
            ctx.send_event("boss", "Failed", &())?;
            ctx.external_event::<Value>("Go").await?;
            Err(error)
        }
        done => done,
    };
    let history = after(&[raised("Go", "1"), scheduled("before"), completed(0, "7")]);
    let found = turn(history.clone(), 1, compensated);
    assert_eq!((found.outcome, found.response.actions.len()), (TurnOutcome::ContinuedAsNew, 1), "{found:?}");
    let Some(ActionType::CompleteOrchestration(complete)) = &found.response.actions[0].action_type else { panic!() };
    assert_eq!(complete.carryover_events.len(), 1, "an event that was handed out and not taken is carried over");
    let swallowed = async |ctx: Context, _: Value| Ok(again(ctx).await.unwrap_or_default());
    let wrapped = async |ctx: Context, _: Value| again(ctx).await.map_err(|it| Error::new("Wrapped", it.to_string()));
    assert_eq!(turn(history.clone(), 1, swallowed).outcome, TurnOutcome::ContinuedAsNew);
    assert_eq!(turn(history.clone(), 1, wrapped).outcome, TurnOutcome::ContinuedAsNew);
    let failing = async |ctx: Context, _: Value| {
        let _ = again(ctx).await;
        Err(Error::new("Real", "disk full"))
    };
    let found = turn(history, 1, failing);
    check(&found, &[(1, "failed Real")]);
}

#[test]
fn versions_are_told_and_given_on() {
    let versioned = async |ctx: Context, _: Value| {
        assert_eq!(ctx.version().as_deref(), Some("2.0"));
        assert!(ctx.compare_version_to("1.9").is_gt() && ctx.compare_version_to("10.0").is_lt());
        let old = ctx.at_version("1.0");
        let policy = RetryPolicy::new(2, Duration::ZERO);
        let _tasks = (
            ctx.activity::<Value>("a", &()),
            ctx.sub_orchestration::<Value>("b", &()),
            old.activity::<Value>("c", &()),
            old.sub_orchestration_as::<Value>("d-1", "d", &()),
            ctx.sub_orchestration_with_retry::<Value>("e", &(), policy)?,
        );
        ctx.at_version("4.0").continue_as_new::<()>(&(), Carry::Nothing)
    };
    let EventType::ExecutionStarted(mut start) = started("null", 0) else { panic!() };
    start.version = Some("2.0".to_owned());
    let request = OrchestratorRequest::with(|set| {
        set.new_events = vec![event(-1, 1, EventType::ExecutionStarted(start))];
        let three = durable::protocol::Value::from(ValueKind::String("3.0".to_owned()));
        set.properties.insert(OrchestratorRequest::DEFAULT_VERSION.to_owned(), three);
    });
    let found = replay_encoded(&request.encode_to_vec(), versioned, || Duration::ZERO).unwrap();
    let versions: Vec<Option<&str>> = found.response.actions.iter().map(version).collect();
    assert_eq!(versions, [None, Some("3.0"), Some("1.0"), Some("1.0"), Some("3.0"), Some("4.0")]);
    let bare = async |ctx: Context, _: Value| {
        assert_eq!(ctx.version(), None);
        ctx.sub_orchestration("b", &()).await
    };
    assert_eq!(version(&turn(begin(), 2, bare).response.actions[0]), None);
}

fn version(action: &OrchestratorAction) -> Option<&str> {
    match action.action_type.as_ref().unwrap() {
        ActionType::ScheduleTask(it) => it.version.as_deref(),
        ActionType::CreateSubOrchestration(it) => it.version.as_deref(),
        ActionType::CompleteOrchestration(it) => it.new_version.as_deref(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_text_that_is_no_request_is_refused() {
    for text in ["", "\"\"", "AAAA", "{}", "[1]", "ÿ"] {
        let turn = envelope::decode(text).map_or_else(envelope::refuse, |it| {
            replay(it, async |_: Context, _: Value| Ok::<_, Error>(()), || Duration::ZERO)
        });
        assert!(turn.failure().is_some(), "{text}");
    }
}
