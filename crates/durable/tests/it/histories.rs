//! Histories as test data: made by hand, read from the status webhook, held against code that was changed.

use std::time::Duration;

use durable::{
    ActivityError, Context, Either, Error, all,
    history::{History, HistoryBuilder, MisfitKind, replay_against},
    protocol::*,
    replay, select,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{decoded, interpreter::interpret, world::life};

/// What the extension showed of a finished instance.
const SHOWN: &str = include_str!("../../../../tests/it/golden/host/durable-status-history.json");

async fn purchase(ctx: Context, order: String) -> Result<String, Error> {
    let receipt: String = ctx.activity("Buy", &order).await?;
    ctx.activity("Ship", &receipt).await
}

fn bought() -> HistoryBuilder {
    History::of("purchase").input(&"book").activity("Buy", &"receipt")
}

fn purchased() -> History {
    bought().activity("Ship", &"parcel").completed_with(&"parcel").build()
}

#[test]
fn a_history_made_by_hand_is_the_one_that_was_recorded() {
    let recorded: Value =
        serde_json::from_str(include_str!("../../../../tests/it/golden/host/durable-sub.json")).unwrap();
    let conversation = recorded["conversation"].as_array().unwrap();
    let parent = conversation.iter().rfind(|it| it["orchestratorRequestDecoded"]["instanceId"] == "t-sub").unwrap();
    let recorded = decoded::request(&parent["orchestratorRequestDecoded"]);
    let input: Value = serde_json::from_str(started(&recorded.past_events).input.as_deref().unwrap()).unwrap();
    let child = recorded.new_events.iter().find_map(|it| match &it.event_type {
        Some(EventType::SubOrchestrationInstanceCompleted(it)) => it.result.clone(),
        _ => None,
    });
    let child: Value = serde_json::from_str(&child.unwrap()).unwrap();
    let made = History::of("orch").instance("t-sub").input(&input).child("orch").completed(0, &child).request();
    assert_eq!(comparable(made.past_events), comparable(recorded.past_events));
    assert_eq!(comparable(made.new_events), comparable(recorded.new_events));
}

fn started(events: &[HistoryEvent]) -> &ExecutionStarted {
    let started = events.iter().find_map(|it| match &it.event_type {
        Some(EventType::ExecutionStarted(it)) => Some(it),
        _ => None,
    });
    started.unwrap()
}

/// Without times and without what a client or the store makes up.
fn comparable(mut events: Vec<HistoryEvent>) -> Vec<HistoryEvent> {
    for event in &mut events {
        event.timestamp = None;
        match &mut event.event_type {
            Some(EventType::ExecutionStarted(it)) => (it.orchestration_instance, it.version) = (None, None),
            Some(EventType::SubOrchestrationInstanceCreated(it)) => it.instance_id = String::new(),
            _ => {}
        }
    }
    events
}

#[test]
fn ids_times_and_episodes_come_by_themselves_and_can_be_given() {
    let at = time::macros::datetime!(2026-05-01 12:00 UTC);
    let history = History::of("o").at(at).version("2").scheduled("A").id(7).timer(Duration::from_secs(60)).fired(7);
    let history = history.raised("Go", &1).episode().suspended().resumed().terminated("tea").build();
    let ids: Vec<i32> = history.events.iter().map(|it| it.event_id).filter(|it| *it >= 0).collect();
    assert_eq!(ids, [0, 7]);
    let times: Vec<i64> = history.events.iter().map(|it| it.timestamp.unwrap().seconds - at.unix_timestamp()).collect();
    assert_eq!((times[0], times[1], times[3], *times.last().unwrap()), (0, 0, 0, 60));
    assert!(history.events.is_sorted_by_key(|it| time::OffsetDateTime::from(it.timestamp.unwrap())));
    assert_eq!(started(&history.events).version.as_deref(), Some("2"));
    let request = history.last_request();
    // Started, the wait's end and an event, then the three of the last episode.
    assert_eq!((request.past_events.len(), request.new_events.len()), (9, 4));
}

#[test]
fn every_kind_of_outcome_reaches_the_orchestrator() {
    async fn all_kinds(ctx: Context, (): ()) -> Result<Value, Error> {
        let buy = ctx.activity::<Value>("Buy", &1).await.unwrap_err();
        let child = ctx.sub_orchestration::<Value>("Child", &1).await.unwrap_err();
        let (mut go, mut timer) = (ctx.external_event::<u32>("Go"), ctx.timer(Duration::from_secs(9)));
        let is_first = matches!(select(&mut go, &mut timer).await, Either::First(Ok(5)));
        timer.await;
        ctx.send_event("other", "Done", &1)?;
        Ok(json!([buy.error_type, buy.is_non_retriable, child.error_type, child.message, is_first]))
    }
    let history =
        History::of("all_kinds").scheduled("Buy").failed(0, &ActivityError::new("SoldOut", "no").non_retriable());
    let history = history.child("Child").failed(1, &ActivityError::new("E", "m")).timer(Duration::from_secs(9));
    let history = history.raised("Go", &5).fired(2).sent("other", "Done", &1);
    let output = json!(["SoldOut", true, "SubOrchestrationFailed", "a child failed: m", true]);
    replay_against(&history.clone().completed_with(&output).build(), all_kinds).unwrap();
    let misfit = replay_against(&history.completed_with(&json!([])).build(), all_kinds).unwrap_err();
    assert_eq!(misfit.kind, MisfitKind::Outcome);
}

#[test]
fn code_that_recorded_a_history_fits_it_under_way_and_at_its_end() {
    replay_against(&purchased(), purchase).unwrap();
    for history in
        [History::of("purchase").input(&"book").build(), bought().build(), bought().scheduled("Ship").build()]
    {
        let fit = replay_against(&history, purchase);
        // What the orchestrator has not been asked yet is no part of a history.
        let is_answered = history.events.last().unwrap().event_id >= 0;
        assert_eq!(fit.is_ok(), is_answered, "{fit:?}");
    }
    let terminated =
        bought().scheduled("Ship").terminated("tea").ended(OrchestrationStatus::Terminated, Some("\"tea\"".to_owned()));
    replay_against(&terminated.build(), purchase).unwrap();
    let failing =
        async |ctx: Context, (): ()| ctx.activity::<Value>("A", &1).await.and(Err::<(), _>(Error::new("E", "m")));
    let failed = |message| History::of("f").activity("A", &1).failed_with("E", message).build();
    replay_against(&failed("m"), failing).unwrap();
    let told = replay_against(&failed("other"), failing).unwrap_err().to_string();
    assert_eq!(
        told,
        "the code ends otherwise: event 7 recorded its failure E: other, the code attempted its failure E: m"
    );
}

#[test]
fn a_changed_orchestrator_is_found_with_both_sides_named() {
    let told = |fit: Result<(), durable::history::Misfit>| fit.unwrap_err().to_string();
    let history = purchased();
    let renamed = async |ctx: Context, order: String| {
        let receipt: String = ctx.activity("Buy", &order).await?;
        ctx.activity::<String>("Send", &receipt).await
    };
    assert_eq!(
        told(replay_against(&history, renamed)),
        r#"the code takes another step: event 7 recorded activity "Ship", the code attempted activity "Send""#
    );
    let swapped = async |ctx: Context, order: String| {
        let receipt: String = ctx.activity("Ship", &order).await?;
        ctx.activity::<String>("Buy", &receipt).await
    };
    assert_eq!(
        told(replay_against(&history, swapped)),
        r#"the code takes another step: event 3 recorded activity "Buy", the code attempted activity "Ship""#
    );
    let removed = async |ctx: Context, order: String| ctx.activity::<String>("Buy", &order).await;
    assert_eq!(
        told(replay_against(&history, removed)),
        r#"the code ends where the history goes on: event 7 recorded activity "Ship", the code attempted its output "receipt""#
    );
    let added = async |ctx: Context, order: String| {
        let parcel = purchase(ctx.clone(), order).await?;
        ctx.activity::<String>("Thank", &parcel).await
    };
    assert_eq!(
        told(replay_against(&history, added)),
        r#"the code asks for more than the history has: event 11 recorded its output "parcel", the code attempted activity "Thank""#
    );
    let other = async |ctx: Context, order: String| purchase(ctx, order).await.map(|it| it.to_uppercase());
    assert_eq!(
        told(replay_against(&history, other)),
        r#"the code ends otherwise: event 11 recorded its output "parcel", the code attempted its output "PARCEL""#
    );
    let waiting = async |ctx: Context, order: String| {
        let parcel = purchase(ctx.clone(), order).await?;
        ctx.external_event::<()>("Signed").await.map(|()| parcel)
    };
    assert_eq!(
        told(replay_against(&history, waiting)),
        r#"the code waits where the history ended: event 11 recorded its output "parcel", the code attempted nothing"#
    );
    let early = async |ctx: Context, order: String| {
        let _unwatched = ctx.external_event::<u32>("Go");
        ctx.activity::<String>("Buy", &order).await
    };
    let history = bought().episode().raised("Go", &1).completed_with(&"receipt").build();
    assert_eq!(
        told(replay_against(&history, early)),
        r#"the code ends where the history goes on: event 8 recorded another episode, the code attempted its output "receipt""#
    );
}

#[test]
fn a_step_that_is_missing_from_a_fan_out_is_found() {
    let history = ["A", "B", "C"].into_iter().fold(History::of("fan").input(&3), HistoryBuilder::scheduled);
    let history = history.completed(2, &1).completed(0, &1).completed(1, &1).completed_with(&3).build();
    let fan = async |ctx: Context, names: Vec<&str>| {
        let done = all(names.into_iter().map(|it| ctx.activity::<u32>(it, &()))).await;
        Ok::<_, Error>(done.len())
    };
    replay_against(&history, async |ctx, _: u32| fan(ctx, vec!["A", "B", "C"]).await).unwrap();
    let misfit = replay_against(&history, async |ctx, _: u32| fan(ctx, vec!["A", "B"]).await).unwrap_err();
    assert_eq!((misfit.kind, misfit.event, &*misfit.attempted), (MisfitKind::Step, Some(5), "nothing"), "{misfit}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the episode at which a history is cut, and wherever the change is.
    #[test]
    fn every_orchestration_fits_its_history_and_none_a_renamed_step(seed: u64, cut: prop::sample::Index) {
        let (_, episodes) = life(seed);
        let events = episodes[cut.index(episodes.len())].request.past_events.clone();
        let history = History::new("life", events);
        prop_assert_eq!(replay_against(&history, interpret), Ok(()));
        let is_activity = |it: &HistoryEvent| matches!(it.event_type, Some(EventType::TaskScheduled(_)));
        let activities: Vec<usize> = (0..history.events.len()).filter(|at| is_activity(&history.events[*at])).collect();
        if !activities.is_empty() {
            let at = activities[cut.index(activities.len())];
            let mut renamed = history;
            renamed.events[at].event_type = Some(EventType::TaskScheduled(TaskScheduled::new("other".to_owned(), None)));
            let misfit = replay_against(&renamed, interpret).unwrap_err();
            prop_assert_eq!((misfit.event, misfit.recorded.as_str()), (Some(at + 1), "activity \"other\""));
        }
    }
}

/// The program that was recorded, as far as it went.
async fn sequence(ctx: Context, input: Value) -> Result<Value, Error> {
    let n = input["n"].as_u64().unwrap();
    for i in 0..n {
        ctx.activity::<Value>("act", &json!({ "i": i })).await?;
    }
    Ok(json!({"total": n, "batches": 1}))
}

#[test]
fn what_the_extension_shows_is_a_history_again() {
    let history = History::from_status(SHOWN).unwrap();
    assert!(history.is_rebuilt);
    assert_eq!(history.instance_id, "h-case");
    let made = History::of("ORCH").instance("h-case").input(&json!({"n": 1})).activity("act", &json!({"i": 0}));
    let made = made.completed_with(&json!({"total": 1, "batches": 1})).build();
    let is_told = |it: &HistoryEvent| !matches!(it.event_type, Some(EventType::OrchestratorCompleted(_)));
    let mut told = comparable(made.events);
    told.retain(is_told);
    // The extension does not show the id of an end.
    told.last_mut().unwrap().event_id = -1;
    assert_eq!(comparable(history.events.clone()), told);
    replay_against(&history, sequence).unwrap();
    let renamed = async |ctx: Context, _: Value| ctx.activity::<Value>("Act2", &1).await;
    let misfit = replay_against(&history, renamed).unwrap_err();
    assert_eq!((misfit.recorded.as_str(), misfit.attempted.as_str()), ("activity \"act\"", "activity \"Act2\""));
}

/// An instance with these rows, one second apart.
fn shown(status: &str, rows: &[Value]) -> String {
    let mut rows = rows.to_vec();
    rows.insert(0, json!({"EventType": "ExecutionStarted", "FunctionName": "o", "Input": "1"}));
    for (at, row) in rows.iter_mut().enumerate() {
        row["Timestamp"] = json!(format!("2026-01-01T00:00:{:02}Z", 2 * at));
    }
    json!({"instanceId": "i", "runtimeStatus": status, "output": null, "historyEvents": rows}).to_string()
}

#[test]
fn ids_follow_the_times_at_which_steps_were_scheduled() {
    let at = |second: u32| format!("2026-01-01T00:00:{second:02}.5+00:00");
    let done = |kind: &str, name: &str, second: u32| json!({"EventType": kind, "FunctionName": name, "ScheduledTime": at(second), "Result": name});
    let fire_at = "2026-01-01T00:01:00Z";
    let rows = [
        json!({"EventType": "TimerCreated", "FireAt": fire_at}),
        json!({"EventType": "EventSent", "InstanceId": "x", "Name": "E", "Input": "1"}),
        done("TaskCompleted", "late", 1),
        done("SubOrchestrationInstanceCompleted", "early", 0),
        json!({"EventType": "EventRaised", "Name": "Go", "Input": "{\"a\":1}"}),
        json!({"EventType": "TimerFired", "FireAt": fire_at}),
        json!({"EventType": "TaskScheduled", "Name": "pending"}),
        json!({"EventType": "ExecutionSuspended", "Reason": "tea"}),
        json!({"EventType": "ExecutionResumed", "Reason": "done"}),
        json!({"EventType": "ExecutionTerminated", "Input": "bye"}),
        json!({"EventType": "ExecutionCompleted", "OrchestrationStatus": "Terminated", "Result": "bye"}),
    ];
    let history = History::from_status(&shown("Terminated", &rows)).unwrap();
    async fn code(ctx: Context, _: u32) -> Result<(), Error> {
        let early = ctx.sub_orchestration::<String>("early", &1);
        let (late, timer) = (ctx.activity::<String>("late", &1), ctx.timer(Duration::from_secs(60)));
        ctx.send_event("x", "E", &1)?;
        late.await?;
        early.await?;
        ctx.external_event::<Value>("Go").await?;
        timer.await;
        ctx.activity("pending", &1).await
    }
    replay_against(&history, code).unwrap();
}

#[test]
fn what_is_no_history_is_refused_with_its_row_and_the_reason() {
    let why = |text: &str| History::from_status(text).unwrap_err().to_string();
    assert!(why("<html>").starts_with("it is not JSON: "));
    assert_eq!(why("[]"), "it is no answer of the status webhook: instanceId or runtimeStatus is missing");
    assert!(why(r#"{"instanceId":"i","runtimeStatus":"Pending"}"#).starts_with("it has no historyEvents: ask with"));
    let row = |row: Value| why(&shown("Running", &[row]));
    let task = json!({"EventType": "TaskCompleted", "FunctionName": "a", "ScheduledTime": "2026-01-01T00:00:00Z"});
    assert_eq!(
        row(task.clone()),
        "row 2 of historyEvents (TaskCompleted): it has no Result: record with showHistoryOutput=true"
    );
    let with = |field: &str, value: Value| {
        let mut row = task.clone();
        (row["Result"], row[field]) = (json!(1), value);
        row
    };
    for (damaged, why) in [
        (with("ScheduledTime", json!("noon")), "(TaskCompleted): its ScheduledTime is no time: \"noon\""),
        (with("ScheduledTime", json!(null)), "(TaskCompleted): it has no ScheduledTime"),
        (with("FunctionName", json!(7)), "(TaskCompleted): it has no FunctionName"),
        (
            json!({"EventType": "TimerFired", "FireAt": "2026-01-01T00:00:00Z"}),
            "(TimerFired): no TimerCreated with this FireAt stands before it",
        ),
        (
            json!({"EventType": "GenericEvent", "Data": "x"}),
            "(GenericEvent): a history with such a row cannot be rebuilt",
        ),
        (json!({"EventType": 4}), "(no EventType): a history with such a row cannot be rebuilt"),
        (
            json!({"EventType": "ExecutionCompleted", "OrchestrationStatus": "Odd"}),
            "(ExecutionCompleted): an execution does not end as \"Odd\"",
        ),
    ] {
        assert_eq!(row(damaged), format!("row 2 of historyEvents {why}"));
    }
}

#[test]
fn a_made_request_is_one_the_engine_takes() {
    let turn = replay(bought().request(), purchase, || Duration::ZERO);
    assert_eq!(turn.response.actions.len(), 1);
    assert_eq!((turn.past_events, turn.new_events), (4, 2));
}

#[test]
fn an_instance_under_way_keeps_the_steps_of_its_version() {
    let changed = async |ctx: Context, order: u32| {
        if ctx.compare_version_to("2.0").is_ge() {
            ctx.activity::<()>("Inform", &order).await?;
        }
        ctx.activity::<u32>("Buy", &order).await
    };
    let begun = || History::of("purchase").input(&7);
    for old in [begun(), begun().version("1.9")] {
        replay_against(&old.activity("Buy", &7).completed_with(&7).build(), changed).unwrap();
    }
    let new = begun().version("2.0").activity("Inform", &()).activity("Buy", &7).completed_with(&7);
    replay_against(&new.build(), changed).unwrap();
}
