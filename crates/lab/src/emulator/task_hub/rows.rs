//! What stands in the task hub's file, and every statement that touches it.

use prost::Message as _;
use rusqlite::{Connection, OptionalExtension, Row, params};
use time::OffsetDateTime;
use uuid::Uuid;

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

/// The whole history, row by row: what it costs is part of what the lab is about.
pub(super) fn history(connection: &Connection, instance_id: &str) -> rusqlite::Result<Vec<HistoryEvent>> {
    let mut statement =
        connection.prepare_cached("SELECT event FROM history WHERE instance_id = ?1 ORDER BY sequence")?;
    let mut rows = statement.query([instance_id])?;
    let mut events = Vec::new();
    while let Some(row) = rows.next()? {
        let bytes = row.get_ref(0)?.as_blob()?;
        events.push(decode(bytes)?);
    }
    Ok(events)
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

/// Instances with messages that are due, the one with the oldest first; and when the next message of anybody will be.
pub(super) fn due(connection: &Connection, now: i64) -> rusqlite::Result<(Vec<String>, Option<i64>)> {
    let mut statement = connection
        .prepare_cached("SELECT instance_id FROM control WHERE due <= ?1 GROUP BY instance_id ORDER BY min(id)")?;
    let ids = statement.query_map([now], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    let next =
        connection.prepare_cached("SELECT min(due) FROM control WHERE due > ?1")?.query_row([now], |row| row.get(0))?;
    Ok((ids, next))
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

pub(super) fn activities(connection: &Connection, limit: usize) -> rusqlite::Result<Vec<Activity>> {
    let sql = "SELECT id, instance_id, execution_id, task_id, name, input FROM activities ORDER BY id LIMIT ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map([i64::try_from(limit).unwrap_or(i64::MAX)], |row| {
        Ok(Activity {
            id: row.get(0)?,
            instance_id: row.get(1)?,
            execution_id: row.get(2)?,
            task_id: row.get(3)?,
            name: row.get(4)?,
            input: row.get(5)?,
        })
    })?;
    rows.collect()
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
    for table in ["history", "control", "activities", "generations"] {
        connection.execute(&format!("DELETE FROM {table} WHERE instance_id = ?1"), [instance_id])?;
    }
    Ok(connection.execute("DELETE FROM instances WHERE instance_id = ?1", [instance_id])? > 0)
}
