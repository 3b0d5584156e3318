//! What stands in the task hub's file, and every statement that touches it.

use prost::{
    Message as _,
    encoding::{WireType, encode_key, encode_varint},
};
use rusqlite::{Connection, OptionalExtension, Row, params};
use time::OffsetDateTime;
use uuid::Uuid;

use super::recorded::Progress;
use custom_handler::clock;
use durable::protocol::{
    EventType, ExecutionStarted, HistoryEvent, OrchestrationInstance, OrchestrationStatus, ParentInstance, Tags,
    Timestamp,
};

/// An instance, as the status API shows it.
#[derive(Clone, Debug)]
pub struct Instance {
    pub instance_id: String,
    /// Its present execution: a new one after each continue-as-new.
    pub execution_id: String,
    pub name: String,
    pub status: OrchestrationStatus,
    /// Whether it has ended. One that was terminated and whose orchestrator has not answered yet is shown as ended and is not.
    pub finished: bool,
    pub input: Option<String>,
    pub output: Option<String>,
    pub custom_status: Option<String>,
    /// When it was asked for.
    pub created: OffsetDateTime,
    /// When its last episode ended.
    pub updated: OffsetDateTime,
}

/// Something that happened to an instance and its orchestrator has not seen.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub id: i64,
    /// The execution it is for; `None` = whichever is present.
    pub execution_id: Option<String>,
    pub event: HistoryEvent,
}

/// An activity to run.
#[derive(Clone, Debug)]
pub(super) struct Activity {
    pub id: i64,
    pub instance_id: String,
    pub execution_id: String,
    pub task_id: i32,
    pub name: String,
    pub input: Option<String>,
}

/// An instance to be created.
#[derive(Clone, Debug)]
pub(super) struct NewInstance {
    pub instance_id: String,
    pub execution_id: String,
    pub name: String,
    pub input: Option<String>,
    pub version: Option<String>,
    pub parent: Option<ParentInstance>,
    pub tags: Tags,
}

/// What stands in the way of a new instance.
pub(super) type Existing = OrchestrationStatus;

pub(super) const INSTANCE: &str =
    "instance_id, execution_id, name, status, finished, input, output, custom_status, created, updated";

pub(super) fn instance(row: &Row<'_>) -> rusqlite::Result<Instance> {
    Ok(Instance {
        instance_id: row.get(0)?,
        execution_id: row.get(1)?,
        name: row.get(2)?,
        status: OrchestrationStatus::try_from(row.get::<_, i32>(3)?).unwrap_or(OrchestrationStatus::Running),
        finished: row.get(4)?,
        input: row.get(5)?,
        output: row.get(6)?,
        custom_status: row.get(7)?,
        created: at(row.get(8)?),
        updated: at(row.get(9)?),
    })
}

/// Nanoseconds since 1970, as times are kept.
pub(super) fn nanos(at: OffsetDateTime) -> i64 {
    i64::try_from(at.unix_timestamp_nanos()).unwrap_or(i64::MAX)
}

fn at(nanos: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(nanos)).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// Now, in the host's steps of 100 ns.
pub(super) fn now() -> OffsetDateTime {
    let now = clock::utc_now();
    now.replace_nanosecond(now.nanosecond() / 100 * 100).unwrap_or(now)
}

/// An id of 32 hex digits, as .NET writes it without hyphens.
pub(super) fn hex_id() -> String {
    Uuid::new_v4().simple().to_string()
}

/// An event that happens now. `id` is that of the action it stands for, or -1.
pub(super) fn event(id: i32, event_type: EventType) -> HistoryEvent {
    HistoryEvent::new(id, Some(Timestamp::from(now())), Some(event_type))
}

/// A damaged event would be a damaged file.
fn decode(bytes: &[u8]) -> rusqlite::Result<HistoryEvent> {
    HistoryEvent::decode(bytes)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Blob, Box::new(error)))
}

pub(super) fn find(connection: &Connection, instance_id: &str) -> rusqlite::Result<Option<Instance>> {
    let sql = format!("SELECT {INSTANCE} FROM instances WHERE instance_id = ?1");
    connection.prepare_cached(&sql)?.query_row([instance_id], instance).optional()
}

pub(super) fn all(connection: &Connection) -> rusqlite::Result<Vec<Instance>> {
    let sql = format!("SELECT {INSTANCE} FROM instances ORDER BY instance_id");
    connection.prepare_cached(&sql)?.query_map([], instance)?.collect()
}

pub(super) fn progress(connection: &Connection, prefix: &str) -> rusqlite::Result<Progress> {
    let sql = "SELECT count(*), coalesce(sum(status <> ?2), 0), coalesce(min(created), 0), coalesce(max(updated), 0)
               FROM instances WHERE finished AND instance_id >= ?1 AND substr(instance_id, 1, length(?1)) = ?1";
    connection.prepare_cached(sql)?.query_row(params![prefix, OrchestrationStatus::Completed as i32], |row| {
        Ok(Progress {
            instances: row.get::<_, i64>(0)?.cast_unsigned(),
            failed: row.get::<_, i64>(1)?.cast_unsigned(),
            first_started: row.get(2)?,
            last_ended: row.get(3)?,
        })
    })
}

/// A history as it goes into a request.
#[derive(Clone, Debug, Default)]
pub(super) struct Past {
    /// Its events, each as a field of the request, in order: stored bytes with a tag and their length, neither decoded nor encoded anew.
    pub encoded: Vec<u8>,
    /// How many there are.
    pub events: usize,
    /// The one that began the execution.
    pub started: Option<Box<ExecutionStarted>>,
}

/// Field `past_events` of a request (durable: `OrchestratorRequest`).
const PAST_EVENTS: u32 = 3;

impl Past {
    /// Adds an event as it is stored.
    fn push(&mut self, event: &[u8]) -> rusqlite::Result<()> {
        if self.started.is_none()
            && let Some(EventType::ExecutionStarted(started)) = decode(event)?.event_type
        {
            self.started = Some(started);
        }
        encode_key(PAST_EVENTS, WireType::LengthDelimited, &mut self.encoded);
        encode_varint(event.len() as u64, &mut self.encoded);
        self.encoded.extend_from_slice(event);
        self.events += 1;
        Ok(())
    }
}

/// The whole history, row by row: what it costs is part of what the lab is about.
pub(super) fn past(connection: &Connection, instance_id: &str) -> rusqlite::Result<Past> {
    let mut past = Past::default();
    each_event(connection, instance_id, |event| past.push(event))?;
    Ok(past)
}

/// The same, to be looked at.
pub(super) fn history(connection: &Connection, instance_id: &str) -> rusqlite::Result<Vec<HistoryEvent>> {
    let mut events = Vec::new();
    each_event(connection, instance_id, |event| {
        events.push(decode(event)?);
        Ok(())
    })?;
    Ok(events)
}

fn each_event(
    connection: &Connection,
    instance_id: &str,
    mut take: impl FnMut(&[u8]) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    let mut statement =
        connection.prepare_cached("SELECT event FROM history WHERE instance_id = ?1 ORDER BY sequence")?;
    let mut rows = statement.query([instance_id])?;
    while let Some(row) = rows.next()? {
        take(row.get_ref(0)?.as_blob()?)?;
    }
    Ok(())
}

/// Messages that are due, oldest first.
pub(super) fn messages(connection: &Connection, instance_id: &str, now: i64) -> rusqlite::Result<Vec<Message>> {
    let sql = "SELECT id, execution_id, event FROM control WHERE instance_id = ?1 AND due <= ?2 ORDER BY id";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map(params![instance_id, now], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, Option<String>>(1)?, row.get::<_, Vec<u8>>(2)?))
    })?;
    rows.map(|row| {
        let (id, execution_id, bytes) = row?;
        Ok(Message { id, execution_id, event: decode(&bytes)? })
    })
    .collect()
}

/// The highest number that a row of a table ever had.
pub(super) fn last_id(connection: &Connection, table: &str) -> rusqlite::Result<i64> {
    let mut statement = connection.prepare_cached("SELECT seq FROM sqlite_sequence WHERE name = ?1")?;
    Ok(statement.query_row([table], |row| row.get(0)).optional()?.unwrap_or_default())
}

/// How far the messages have been seen.
///
/// Each that was due when it was seen has been taken, and so has each timer up to `timer`. What is left is due later, or has a higher
/// number.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Seen {
    /// The highest number.
    pub id: i64,
    /// Moment and number of the last timer that came due.
    timer: (i64, i64),
    /// When the next timer will be due, as of the last look.
    pub next: Option<i64>,
}

impl Seen {
    /// All messages up to a number, and no timer.
    pub(super) fn up_to(id: i64) -> Self {
        Self { id, next: Some(0), ..Self::default() }
    }
}

const POSTED: &str = "SELECT id, due, instance_id FROM control WHERE id > ?1 ORDER BY id LIMIT ?2";
const TIMERS: &str = "SELECT due, id, instance_id FROM control
    WHERE due > 0 AND (due, id) > (?1, ?2) AND due <= ?3 ORDER BY due, id LIMIT ?4";
const NEXT_TIMER: &str = "SELECT min(due) FROM control WHERE due > 0 AND due > ?1";
const SCHEDULED: &str = "SELECT id FROM activities WHERE id > ?1 ORDER BY id LIMIT ?2";

/// Instances with messages that are due and were not seen before, the one with the oldest first. An instance may come more than once.
/// `last` is the highest number that was committed before this read; no more than `page` are taken of messages, and of timers.
pub(super) fn arrived(
    connection: &Connection,
    seen: Seen,
    (now, last): (i64, i64),
    page: usize,
) -> rusqlite::Result<(Vec<String>, Seen)> {
    let mut due = Vec::new();
    let mut seen = Seen { next: None, ..seen };
    let limit = i64::try_from(page).unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(POSTED)?;
    let mut rows = statement.query([seen.id, limit])?;
    let mut taken = 0;
    while let Some(row) = rows.next()? {
        seen.id = row.get(0)?;
        if row.get::<_, i64>(1)? <= now {
            due.push(row.get(2)?);
        }
        taken += 1;
    }
    if taken < limit {
        // The last ones may be gone already.
        seen.id = seen.id.max(last);
    }
    let mut statement = connection.prepare_cached(TIMERS)?;
    let mut rows = statement.query([seen.timer.0, seen.timer.1, now, limit])?;
    let mut taken = 0;
    while let Some(row) = rows.next()? {
        seen.timer = (row.get(0)?, row.get(1)?);
        due.push(row.get(2)?);
        taken += 1;
    }
    if taken < limit {
        seen.timer = (now, i64::MAX);
        let mut statement = connection.prepare_cached(NEXT_TIMER)?;
        seen.next = statement.query_row([now], |row| row.get(0))?;
    } else {
        seen.next = Some(seen.timer.0);
    }
    Ok((due, seen))
}

/// Numbers of activities above `seen`, the oldest first.
pub(super) fn scheduled(connection: &Connection, seen: i64, page: usize) -> rusqlite::Result<Vec<i64>> {
    let mut statement = connection.prepare_cached(SCHEDULED)?;
    statement.query_map([seen, i64::try_from(page).unwrap_or(i64::MAX)], |row| row.get(0))?.collect()
}

/// The ids of an execution's activities that are still to end.
pub(super) fn activities_of(
    connection: &Connection,
    instance_id: &str,
    execution_id: &str,
) -> rusqlite::Result<std::collections::HashSet<i32>> {
    let sql = "SELECT task_id FROM activities WHERE instance_id = ?1 AND execution_id = ?2";
    connection.prepare_cached(sql)?.query_map([instance_id, execution_id], |row| row.get(0))?.collect()
}

pub(super) fn activity(connection: &Connection, id: i64) -> rusqlite::Result<Option<Activity>> {
    let sql = "SELECT id, instance_id, execution_id, task_id, name, input FROM activities WHERE id = ?1";
    let activity = connection.prepare_cached(sql)?.query_row([id], |row| {
        Ok(Activity {
            id: row.get(0)?,
            instance_id: row.get(1)?,
            execution_id: row.get(2)?,
            task_id: row.get(3)?,
            name: row.get(4)?,
            input: row.get(5)?,
        })
    });
    activity.optional()
}

/// How often an instance was started again under its id since it was purged.
pub(super) fn generation(connection: &Connection, instance_id: &str) -> rusqlite::Result<i64> {
    let sql = "SELECT generation FROM generations WHERE instance_id = ?1";
    let known = connection.prepare_cached(sql)?.query_row([instance_id], |row| row.get(0)).optional()?;
    Ok(known.unwrap_or_default())
}

/// Creates an instance and the message that begins it, unless one of that id is live.
pub(super) fn create(connection: &Connection, new: NewInstance) -> rusqlite::Result<Result<(), Existing>> {
    if let Some(existing) = find(connection, &new.instance_id)? {
        if !existing.has_ended() {
            return Ok(Err(existing.status));
        }
        let generation = generation(connection, &new.instance_id)? + 1;
        purge(connection, &new.instance_id)?;
        let sql = "INSERT INTO generations VALUES(?1, ?2)";
        connection.prepare_cached(sql)?.execute(params![new.instance_id, generation])?;
    }
    let NewInstance { instance_id, execution_id, name, input, version, parent, tags } = new;
    let now = nanos(now());
    let sql = "INSERT INTO instances VALUES(?1, ?2, ?3, ?4, 0, ?5, NULL, NULL, ?6, ?6)";
    let status = OrchestrationStatus::Pending as i32;
    connection.prepare_cached(sql)?.execute(params![instance_id, execution_id, name, status, input, now])?;
    let started = ExecutionStarted::with(|set| {
        set.name = name;
        set.version = version;
        set.input = input;
        set.orchestration_instance = Some(OrchestrationInstance::new(instance_id.clone(), Some(execution_id.clone())));
        set.parent_instance = parent;
        set.tags = tags;
    });
    post(
        connection,
        &instance_id,
        Some(&execution_id),
        None,
        &event(-1, EventType::ExecutionStarted(Box::new(started))),
    )?;
    Ok(Ok(()))
}

/// Puts a message into an instance's queue; `due` `None` = at once.
pub(super) fn post(
    connection: &Connection,
    instance_id: &str,
    execution_id: Option<&str>,
    due: Option<OffsetDateTime>,
    event: &HistoryEvent,
) -> rusqlite::Result<()> {
    let sql = "INSERT INTO control(instance_id, execution_id, due, event) VALUES(?1, ?2, ?3, ?4)";
    let due = due.map_or(0, nanos);
    connection.prepare_cached(sql)?.execute(params![instance_id, execution_id, due, event.encode_to_vec()])?;
    Ok(())
}

pub(super) fn schedule(connection: &Connection, activity: &Activity) -> rusqlite::Result<()> {
    let sql = "INSERT INTO activities(instance_id, execution_id, task_id, name, input) VALUES(?1, ?2, ?3, ?4, ?5)";
    let Activity { instance_id, execution_id, task_id, name, input, .. } = activity;
    connection.prepare_cached(sql)?.execute(params![instance_id, execution_id, task_id, name, input])?;
    Ok(())
}

pub(super) fn remove_messages(connection: &Connection, ids: &[i64]) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached("DELETE FROM control WHERE id = ?1")?;
    ids.iter().try_for_each(|id| statement.execute([id]).map(drop))
}

/// Removes those of the messages that no instance will see: it has ended, was purged, or has another execution. Gives how many.
pub(super) fn remove_undeliverable(connection: &Connection, ids: &[i64]) -> rusqlite::Result<usize> {
    let sql = "DELETE FROM control WHERE id = ?1 AND NOT EXISTS(
                   SELECT 1 FROM instances WHERE instances.instance_id = control.instance_id AND NOT finished
                       AND (control.execution_id IS NULL OR control.execution_id = instances.execution_id))";
    let mut statement = connection.prepare_cached(sql)?;
    ids.iter().map(|id| statement.execute([id])).sum()
}

/// Whether an execution goes on: its instance was neither purged nor started again, and has not ended.
pub(super) fn goes_on(connection: &Connection, instance_id: &str, execution_id: &str) -> rusqlite::Result<bool> {
    let sql = "SELECT 1 FROM instances WHERE instance_id = ?1 AND execution_id = ?2 AND NOT finished";
    connection.prepare_cached(sql)?.exists([instance_id, execution_id])
}

/// Replaces an activity by its outcome. False where it was gone already: its instance was purged.
pub(super) fn complete_activity(
    connection: &Connection,
    activity: &Activity,
    outcome: &HistoryEvent,
) -> rusqlite::Result<bool> {
    let removed = connection.prepare_cached("DELETE FROM activities WHERE id = ?1")?.execute([activity.id])?;
    if removed == 0 {
        return Ok(false);
    }
    post(connection, &activity.instance_id, Some(&activity.execution_id), None, outcome)?;
    Ok(true)
}

/// Adds events to a history that has `from` already; `from` 0 begins a new one.
pub(super) fn append_history(
    connection: &Connection,
    instance_id: &str,
    from: usize,
    events: &[HistoryEvent],
) -> rusqlite::Result<()> {
    if from == 0 {
        connection.prepare_cached("DELETE FROM history WHERE instance_id = ?1")?.execute([instance_id])?;
    }
    let mut statement = connection.prepare_cached("INSERT INTO history VALUES(?1, ?2, ?3)")?;
    for (event, sequence) in events.iter().zip(from..) {
        let sequence = i64::try_from(sequence).unwrap_or(i64::MAX);
        statement.execute(params![instance_id, sequence, event.encode_to_vec()])?;
    }
    Ok(())
}

pub(super) fn update(connection: &Connection, instance: &Instance) -> rusqlite::Result<()> {
    let sql = "UPDATE instances SET execution_id = ?2, status = ?3, finished = ?4, input = ?5, output = ?6, custom_status = ?7, \
               updated = ?8 WHERE instance_id = ?1";
    let Instance { instance_id, execution_id, status, finished, input, output, custom_status, .. } = instance;
    connection.prepare_cached(sql)?.execute(params![
        instance_id,
        execution_id,
        *status as i32,
        finished,
        input,
        output,
        custom_status,
        nanos(now())
    ])?;
    Ok(())
}

/// Removes everything about an instance. False where there was none.
pub(super) fn purge(connection: &Connection, instance_id: &str) -> rusqlite::Result<bool> {
    let remove = |sql: &str| connection.prepare_cached(sql)?.execute([instance_id]);
    remove("DELETE FROM history WHERE instance_id = ?1")?;
    remove("DELETE FROM control WHERE instance_id = ?1")?;
    remove("DELETE FROM activities WHERE instance_id = ?1")?;
    remove("DELETE FROM generations WHERE instance_id = ?1")?;
    Ok(remove("DELETE FROM instances WHERE instance_id = ?1")? > 0)
}

#[cfg(test)]
mod tests {
    use super::{super::store::SCHEMA, *};

    fn file() -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(SCHEMA).unwrap();
        connection
    }

    /// Posts a message that is due at so many nanoseconds; 0 = at once.
    fn posted(connection: &Connection, instance_id: &str, due: i64) {
        let due = (due > 0).then(|| at(due));
        post(connection, instance_id, None, due, &event(-1, EventType::OrchestratorStarted(Default::default())))
            .unwrap();
    }

    /// Looks at all that is new, page by page.
    fn look(connection: &Connection, seen: &mut Seen, now: i64, page: usize) -> String {
        let last = last_id(connection, "control").unwrap();
        let mut all = Vec::new();
        while last > seen.id || seen.next.is_some_and(|it| it <= now) {
            let (due, until) = arrived(connection, *seen, (now, last), page).unwrap();
            assert!(due.len() <= 2 * page);
            all.extend(due);
            *seen = until;
        }
        all.join(" ")
    }

    #[test]
    fn each_message_is_seen_once_and_the_oldest_first() {
        for page in 1..9 {
            let (connection, mut seen) = (file(), Seen::default());
            "b a b c".split(' ').for_each(|it| posted(&connection, it, 0));
            assert_eq!(look(&connection, &mut seen, 1, page), "b a b c");
            assert_eq!(look(&connection, &mut seen, 2, page), "");
            posted(&connection, "a", 0);
            remove_messages(&connection, &[1, 2, 3, 4]).unwrap();
            assert_eq!(look(&connection, &mut seen, 3, page), "a");
            posted(&connection, "gone", 0);
            remove_messages(&connection, &[6]).unwrap();
            assert_eq!((look(&connection, &mut seen, 3, page).as_str(), seen.id), ("", 6));
        }
    }

    #[test]
    fn timers_are_seen_once_when_they_are_due_however_many_and_however_late_they_were_posted() {
        for page in 1..9 {
            let (connection, mut seen) = (file(), Seen::default());
            for (id, due) in [("c", 30), ("at-once", 0), ("a", 10), ("b", 20), ("b2", 20), ("b3", 20), ("b4", 20)] {
                posted(&connection, id, due);
            }
            assert_eq!((look(&connection, &mut seen, 5, page).as_str(), seen.next), ("at-once", Some(10)));
            assert_eq!((look(&connection, &mut seen, 25, page).as_str(), seen.next), ("a b b2 b3 b4", Some(30)));
            posted(&connection, "late", 7);
            posted(&connection, "now", 25);
            posted(&connection, "soon", 26);
            assert_eq!((look(&connection, &mut seen, 25, page).as_str(), seen.next), ("late now", Some(26)));
            assert_eq!((look(&connection, &mut seen, 30, page).as_str(), seen.next), ("soon c", None));
        }
    }

    #[test]
    fn no_look_for_work_reads_more_than_it_takes() {
        let connection = file();
        for sql in [POSTED, TIMERS, NEXT_TIMER, SCHEDULED] {
            let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let parameters = vec![0; statement.parameter_count()];
            let plan =
                statement.query_map(rusqlite::params_from_iter(parameters), |row| row.get::<_, String>(3)).unwrap();
            for step in plan.map(Result::unwrap) {
                assert!(step.starts_with("SEARCH") && !step.contains("TEMP"), "{sql}: {step}");
            }
        }
    }

    #[test]
    fn a_message_is_removed_as_undeliverable_only_while_it_is() {
        let connection = file();
        let new = |id: &str| {
            let (instance_id, execution_id, name) = (id.to_owned(), hex_id(), "o".to_owned());
            NewInstance { instance_id, execution_id, name, input: None, version: None, parent: None, tags: Tags::new() }
        };
        let left = || {
            let mut statement = connection.prepare("SELECT id FROM control ORDER BY id").unwrap();
            let ids = statement.query_map([], |row| row.get(0)).unwrap();
            ids.map(Result::unwrap).collect::<Vec<i64>>()
        };
        posted(&connection, "i", 0);
        create(&connection, new("i")).unwrap().unwrap();
        // Of no instance when it was loaded; of the one that has been started since.
        post(&connection, "i", Some("gone"), None, &event(-1, EventType::OrchestratorStarted(Default::default())))
            .unwrap();
        posted(&connection, "nobody", 0);
        assert_eq!((remove_undeliverable(&connection, &[1, 2, 3, 4]).unwrap(), left()), (2, vec![1, 2]));
        let mut ended = find(&connection, "i").unwrap().unwrap();
        ended.finished = true;
        update(&connection, &ended).unwrap();
        remove_undeliverable(&connection, &[1, 2]).unwrap();
        assert_eq!(left(), [] as [i64; 0]);
    }
}
