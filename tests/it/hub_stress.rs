//! The task hub under races: many clients do everything there is to do to few instances, and whatever can be seen meanwhile is right.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use durable::{
    Activity, Carry, Context, Either, Error, all, envelope,
    protocol::{
        ActionType, EventType, HistoryEvent, OrchestrationStatus, OrchestratorAction, OrchestratorRequest, ScheduleTask,
    },
    replay, select,
};
use lab::emulator::task_hub::{Instance, Restarted, Rewound, Sent as Told, Signal, TaskHub, recorded};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::{
    io::AsyncWriteExt,
    net::TcpListener,
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use crate::{
    golden_conversations::{Sent, stand_in_with_hub},
    harness::eventually,
    stand_in::placeholder,
    task_hub::{answered, completion},
};

/// What is done to them explains every end they come to: these are neither terminated nor do their activities fail.
const CALM: [&str; 3] = ["calm-a", "calm-b", "calm-c"];
const ROUGH: [&str; 3] = ["rough-a", "rough-b", "rough-c"];
const CLIENTS: u64 = 8;
/// Longest pause of a client between two calls.
const PAUSE_MS: u64 = 30;
/// Of so many activities that may fail one does.
const FAILS_ONE_OF: u32 = 12;
const FAILURE: &str = "an activity failed as it was asked to";
const SETTLED_WITHIN: Duration = Duration::from_secs(90);

const OK: &str = "200 OK";

const ACT: Activity<bool, u32> = Activity::new("act");

/// What an instance is to do.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Work {
    /// Executions after this one.
    generations: u32,
    may_fail: bool,
    /// Whom it starts as its child and sends an event.
    other: Option<String>,
}

/// Activities side by side, an event or a timer, a child that may be somebody else's instance, and all of it once more.
async fn busy(ctx: Context, work: Work) -> Result<u32, Error> {
    for round in 0..2 {
        let activities: Vec<_> = (0..3).map(|_| ctx.call(ACT, &work.may_fail)).collect();
        for outcome in all(activities).await {
            outcome.map_err(|_| Error::new("Asked", FAILURE))?;
        }
        ctx.external_event_within::<Value>("go", Duration::from_millis(40)).await?;
        if let Some(other) = work.other.as_ref().filter(|_| round == 0) {
            ctx.send_event(other, "go", &round)?;
            let input = Work { generations: 0, other: None, ..work.clone() };
            let mut child = ctx.sub_orchestration_as::<u32>(other, "orch", &input);
            let mut patience = ctx.timer(Duration::from_millis(200));
            // Its id may be taken, and whoever purges it takes its answer along.
            let (Either::First(_) | Either::Second(())) = select(&mut child, &mut patience).await;
        }
    }
    match work.generations.checked_sub(1) {
        Some(generations) => ctx.continue_as_new(&Work { generations, ..work }, Carry::Events),
        None => Ok(1),
    }
}

/// What was seen that must not be.
#[derive(Clone, Debug, Default)]
struct Violations(Arc<Mutex<BTreeSet<String>>>);

impl Violations {
    fn add(&self, what: String) {
        self.0.lock().unwrap().insert(what);
    }

    #[track_caller]
    fn none(&self) {
        let all = self.0.lock().unwrap();
        assert!(all.is_empty(), "{} violations:\n{}", all.len(), all.iter().cloned().collect::<Vec<_>>().join("\n"));
    }
}

/// Status line and body of an answer.
type Answer = (&'static str, String);

/// The handler's side: answers each call in a task of its own.
async fn serve<F: Future<Output = Answer> + Send + 'static>(
    port: u16,
    answer: impl Fn(Sent) -> F + Clone + Send + 'static,
) -> Infallible {
    let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let mut tasks = JoinSet::new();
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let answer = answer.clone();
        // Those that have ended are let go: there are millions in an hour.
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async move {
            let request = Sent::read(&mut stream).await;
            let is_probe = request.line.starts_with("GET");
            let (status, body) = if is_probe { (OK, String::new()) } else { answer(request).await };
            let length = body.len();
            let head = format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}");
            // The host may be gone when the test is over.
            let _ = stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).await;
        });
        while tasks.try_join_next().is_some() {}
    }
}

/// What the host shows an orchestrator, if the call is of one.
fn episode(request: &Sent) -> Option<OrchestratorRequest> {
    let body: Value = serde_json::from_str(&request.body).unwrap();
    Some(envelope::decode(body["Data"]["context"].as_str()?).unwrap())
}

/// Replays with the engine; of the activities that may fail some do.
fn replayed(request: &Sent, chance: u32, violations: &Violations) -> Answer {
    match episode(request) {
        Some(request) => {
            check_request(&request, violations);
            let turn = replay(request, busy, || Duration::ZERO);
            (OK, json!({ "ReturnValue": envelope::encode(&turn.response) }).to_string())
        }
        None if request.body.contains("true") && chance.is_multiple_of(FAILS_ONE_OF) => {
            ("500 Internal Server Error", "{}".to_owned())
        }
        None => (OK, json!({ "ReturnValue": 1 }).to_string()),
    }
}

fn check_request(request: &OrchestratorRequest, violations: &Violations) {
    let all: Vec<&HistoryEvent> = request.past_events.iter().chain(&request.new_events).collect();
    let id = &request.instance_id;
    if let Err(what) = check_events(&all) {
        violations.add(format!("{id} was asked with a history in which {what}: {}", kinds(&all)));
    }
    if all.iter().any(|it| matches!(it.event_type, Some(EventType::ExecutionCompleted(_)))) {
        violations.add(format!("{id} was asked after its end: {}", kinds(&all)));
    }
    let begins = |it: &HistoryEvent| matches!(it.event_type, Some(EventType::OrchestratorStarted(_)));
    if !request.new_events.first().is_some_and(begins) || request.new_events.len() < 2 {
        violations.add(format!("{id} was asked about nothing: {}", kinds(&all)));
    }
}

/// The execution a history is of.
fn check_events(events: &[&HistoryEvent]) -> Result<Option<String>, String> {
    let mut execution = None;
    let (mut scheduled, mut ended) = (BTreeSet::new(), BTreeSet::new());
    for (at, event) in events.iter().enumerate() {
        let Some(event_type) = &event.event_type else { return Err("an event has no kind".to_owned()) };
        match event_type {
            EventType::OrchestratorStarted(_) if at == 0 => {}
            _ if at == 0 => return Err("no episode begins".to_owned()),
            EventType::ExecutionStarted(it) if at == 1 => {
                execution = it.orchestration_instance.as_ref().and_then(|it| it.execution_id.clone());
            }
            EventType::ExecutionStarted(_) => return Err("an execution begins in another one".to_owned()),
            _ if at == 1 => return Err("no execution begins".to_owned()),
            EventType::TaskScheduled(_)
            | EventType::TimerCreated(_)
            | EventType::SubOrchestrationInstanceCreated(_)
            | EventType::EventSent(_) => {
                if !scheduled.insert(event.event_id) {
                    return Err(format!("{} is asked for twice", event.event_id));
                }
            }
            _ => {
                if let Some(id) = outcome_of(event_type) {
                    if !scheduled.contains(&id) {
                        return Err(format!("{id} ends and was not asked for"));
                    }
                    if !ended.insert(id) {
                        return Err(format!("{id} ends twice"));
                    }
                }
            }
        }
    }
    Ok(execution)
}

/// The action an event is the outcome of.
fn outcome_of(event_type: &EventType) -> Option<i32> {
    match event_type {
        EventType::TaskCompleted(it) | EventType::SubOrchestrationInstanceCompleted(it) => Some(it.task_scheduled_id),
        EventType::TaskFailed(it) | EventType::SubOrchestrationInstanceFailed(it) => Some(it.task_scheduled_id),
        EventType::TimerFired(it) => Some(it.timer_id),
        _ => None,
    }
}

/// A history in short.
fn kinds(events: &[&HistoryEvent]) -> String {
    let kind = |it: &&HistoryEvent| {
        let text = format!("{:?}", it.event_type);
        format!("{}#{}", text.trim_start_matches("Some(").split('(').next().unwrap_or_default(), it.event_id)
    };
    events.iter().map(kind).collect::<Vec<_>>().join(" ")
}

/// Everything in the file, as it is at one moment.
fn check_file(file: &Path, violations: &Violations) {
    for table in ["history", "activities"] {
        let sql = format!("SELECT count(*) FROM {table} WHERE instance_id NOT IN (SELECT instance_id FROM instances)");
        let strays: i64 = rusqlite::Connection::open(file).unwrap().query_row(&sql, [], |row| row.get(0)).unwrap();
        if strays > 0 {
            violations.add(format!("{strays} rows of {table} are of no instance"));
        }
    }
    for (instance, history) in recorded(file).unwrap() {
        let events: Vec<&HistoryEvent> = history.events.iter().collect();
        if let Err(what) = check_instance(&instance, &events) {
            violations.add(format!("{}: {what}: {instance:?}: {}", instance.instance_id, kinds(&events)));
        }
    }
}

fn check_instance(instance: &Instance, events: &[&HistoryEvent]) -> Result<(), String> {
    use OrchestrationStatus::{Completed, Failed, Pending, Running, Suspended, Terminated};
    let ends = events.iter().filter(|it| matches!(it.event_type, Some(EventType::ExecutionCompleted(_)))).count();
    if ends != usize::from(instance.finished) {
        return Err(format!("it has {ends} ends"));
    }
    if events.is_empty() {
        return if instance.status == Pending { Ok(()) } else { Err("it has no history".to_owned()) };
    }
    if check_events(events)?.as_ref() != Some(&instance.execution_id) {
        return Err("its history is another execution's".to_owned());
    }
    let is_calm = CALM.contains(&instance.instance_id.as_str());
    let says = |what: &str| instance.output.as_ref().is_some_and(|it| it.contains(what));
    // A rewind takes failures away that the orchestrator had caught, too, as the real one does: it then does otherwise than before.
    let is_rewound = || events.iter().any(|it| matches!(it.event_type, Some(EventType::GenericEvent(_))));
    match (instance.status, instance.finished) {
        (Completed, true) | (Running | Suspended, false) => Ok(()),
        (Terminated, _) if !is_calm => Ok(()),
        (Failed, true) if !is_calm && says(FAILURE) => Ok(()),
        (Failed, true) if !is_calm && says("NonDeterministicOrchestration") && is_rewound() => Ok(()),
        _ => Err("nothing explains its state".to_owned()),
    }
}

/// What clients did, and how often it had an effect.
type Counts = Arc<Mutex<BTreeMap<&'static str, u32>>>;

/// Does whatever chance wants until the time is over.
async fn client(hub: TaskHub, seed: u64, until: Instant, counts: Counts) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    while Instant::now() < until {
        let id = *CALM.iter().chain(&ROUGH).nth(rng.next_u32() as usize % (CALM.len() + ROUGH.len())).unwrap();
        let (what, is_done) = act(&hub, id, &mut rng).await;
        *counts.lock().unwrap().entry(what).or_default() += u32::from(is_done);
        sleep(Duration::from_millis(rng.next_u64() % PAUSE_MS)).await;
    }
}

/// One call, and whether it had an effect.
async fn act(hub: &TaskHub, id: &str, rng: &mut ChaCha8Rng) -> (&'static str, bool) {
    let is_rough = ROUGH.contains(&id);
    let told = async |signal| hub.signal(id, signal).await.unwrap() == Told::Accepted;
    match rng.next_u32() % 16 {
        0..=4 => {
            let ids: &[&str] = if is_rough { &ROUGH } else { &CALM };
            let other = ids.get(rng.next_u32() as usize % (ids.len() + 1)).map(|it| (*it).to_owned());
            let work = Work { generations: rng.next_u32() % 3, may_fail: is_rough, other };
            let input = serde_json::to_string(&work).unwrap();
            ("start", hub.start_instance("orch", id, Some(input)).await.is_ok())
        }
        5..=7 => ("raise", told(Signal::Raise { name: "go".to_owned(), input: Some("1".to_owned()) }).await),
        8 => ("suspend", told(Signal::Suspend(None)).await),
        9 | 10 => ("resume", told(Signal::Resume(None)).await),
        11 if is_rough => ("terminate", told(Signal::Terminate(Some("enough".to_owned()))).await),
        12 => ("purge", hub.purge(id).await.unwrap()),
        13 | 14 if is_rough => ("rewind", hub.rewind(id, None).await.unwrap() == Rewound::Accepted),
        _ => ("restart", matches!(hub.restart(id, false).await.unwrap(), Restarted::As(_))),
    }
}

/// Whether everything has ended and nothing waits, once whoever is suspended is resumed.
async fn settled(hub: &TaskHub, file: &Path) -> Option<()> {
    let instances = hub.instances().await.unwrap();
    for it in instances.iter().filter(|it| !it.has_ended()) {
        hub.signal(&it.instance_id, Signal::Resume(None)).await.unwrap();
    }
    let connection = rusqlite::Connection::open(file).unwrap();
    let count =
        |table: &str| connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, i64>(0));
    let left = count("control").unwrap() + count("activities").unwrap();
    (left == 0 && instances.iter().all(|it| it.finished)).then_some(())
}

/// `HUB_STRESS_S` is how long; a minute, if it is not set.
#[expect(clippy::disallowed_methods, reason = "for the person who runs the tests")]
fn wanted() -> Duration {
    let seconds = std::env::var("HUB_STRESS_S").ok().map_or(60, |it| it.parse().expect("HUB_STRESS_S is in seconds"));
    Duration::from_secs(seconds)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_clients_do_at_once_to_few_instances_histories_stay_whole_and_everything_ends() {
    let (stand_in, hub) = stand_in_with_hub(placeholder()).await;
    let (file, violations, counts) = (stand_in.folder.path().join("hub.db"), Violations::default(), Counts::default());
    let until = Instant::now() + wanted();
    let seed = u64::from(std::process::id()) * 1000;
    let clients = async {
        let mut clients = JoinSet::new();
        for n in 0..CLIENTS {
            clients.spawn(client(hub.clone(), seed + n, until, Arc::clone(&counts)));
        }
        let check = async {
            while Instant::now() < until {
                check_file(&file, &violations);
                violations.none();
                sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::join!(clients.join_all(), check);
        let last = timeout(SETTLED_WITHIN, eventually(SETTLED_WITHIN, async || settled(&hub, &file).await)).await;
        check_file(&file, &violations);
        let left = recorded(&file).unwrap().into_iter().filter(|(it, _)| !it.finished).map(|(it, _)| it);
        assert!(last.is_ok(), "stuck, seed {seed}: {:?}", left.collect::<Vec<_>>());
    };
    let (seen, calls) = (violations.clone(), Arc::new(AtomicU32::default()));
    let handler = serve(stand_in.host.port(), move |request| {
        let answer = replayed(&request, calls.fetch_add(1, Ordering::Relaxed), &seen);
        async { answer }
    });
    tokio::select! {
        never = handler => match never {},
        () = clients => {}
    }
    stand_in.host.shutdown().await;
    hub.stop().await;
    violations.none();
    let counts = counts.lock().unwrap();
    println!("seed {seed}: {counts:?}");
    assert!(counts.len() == 8 && counts.values().all(|it| *it > 0), "something never had an effect: {counts:?}");
}

/// An orchestrator that ignores being terminated: an episode of it runs while its instance is purged and another one takes its id.
#[tokio::test]
async fn an_episode_of_an_instance_that_was_replaced_meanwhile_leaves_nothing() {
    let (stand_in, hub) = stand_in_with_hub(placeholder()).await;
    let (activity, late) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let asked = Arc::new(AtomicU32::default());
    let (of_handler, its_turn) = ((Arc::clone(&activity), Arc::clone(&late)), Arc::clone(&asked));
    let handler = serve(stand_in.host.port(), move |request| {
        let ((activity, late), asked) = (of_handler.clone(), Arc::clone(&its_turn));
        async move {
            let Some(episode) = episode(&request) else {
                activity.acquire().await.unwrap().forget();
                return (OK, json!({ "ReturnValue": 1 }).to_string());
            };
            let input = episode.past_events.iter().chain(&episode.new_events).find_map(|it| match &it.event_type {
                Some(EventType::ExecutionStarted(it)) => it.input.clone(),
                _ => None,
            });
            let is_late =
                episode.new_events.iter().any(|it| matches!(it.event_type, Some(EventType::TaskCompleted(_))));
            let actions = match input.as_deref() {
                Some("\"new\"") => vec![completion(0, "\"new\"")],
                _ if is_late => {
                    asked.fetch_add(1, Ordering::Relaxed);
                    late.acquire().await.unwrap().forget();
                    vec![completion(1, "\"old\"")]
                }
                _ if episode.past_events.is_empty() => {
                    let act = ActionType::ScheduleTask(ScheduleTask::new("act".to_owned(), None));
                    vec![OrchestratorAction::new(0, Some(act))]
                }
                _ => Vec::new(),
            };
            (OK, answered(actions).unwrap().2)
        }
    });
    let soon = Duration::from_secs(30);
    let client = async {
        let shown = async |status| {
            eventually(soon, async || hub.instance("i").await.unwrap().filter(|it| it.status == status)).await
        };
        hub.start_instance("orch", "i", Some("\"old\"".to_owned())).await.unwrap();
        shown(OrchestrationStatus::Running).await;
        hub.signal("i", Signal::Terminate(None)).await.unwrap();
        shown(OrchestrationStatus::Terminated).await;
        activity.add_permits(1);
        eventually(soon, async || (asked.load(Ordering::Relaxed) == 1).then_some(())).await;
        assert!(hub.purge("i").await.unwrap());
        assert!(hub.history("i").await.unwrap().is_empty());
        hub.start_instance("orch", "i", Some("\"new\"".to_owned())).await.unwrap();
        late.add_permits(1);
        let ended = eventually(soon, async || hub.instance("i").await.unwrap().filter(|it| it.finished)).await;
        assert_eq!((ended.status, ended.output.as_deref()), (OrchestrationStatus::Completed, Some("\"new\"")));
        let history = hub.history("i").await.unwrap();
        let wanted = "OrchestratorStarted#-1 ExecutionStarted#-1 ExecutionCompleted#0 OrchestratorCompleted#-1";
        assert_eq!(kinds(&history.iter().collect::<Vec<_>>()), wanted);
    };
    tokio::select! {
        never = handler => match never {},
        () = client => {}
    }
    stand_in.host.shutdown().await;
    hub.stop().await;
}
