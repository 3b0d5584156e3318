//! Instances by pages and filters, and their removal: by SQL, so that a list costs what it shows however many there are.

use rusqlite::{Connection, ToSql, params_from_iter};
use time::OffsetDateTime;

use super::{
    Instance, TaskHub,
    rows::{self, INSTANCE},
    store::StoreError,
};
use durable::protocol::OrchestrationStatus;

/// Instances that one transaction removes: the hub's other writes wait for it.
const PURGED_AT_ONCE: usize = 200;
/// What the file has about instances.
const TABLES: [&str; 5] = ["history", "control", "activities", "generations", "instances"];
/// The statuses of what has ended.
const ENDED: [OrchestrationStatus; 4] = [
    OrchestrationStatus::Completed,
    OrchestrationStatus::Failed,
    OrchestrationStatus::Canceled,
    OrchestrationStatus::Terminated,
];

/// Which instances are meant: those that meet every condition.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub prefix: String,
    /// Created at this time or later.
    pub from: Option<OffsetDateTime>,
    /// Created at this time or earlier.
    pub to: Option<OffsetDateTime>,
    /// `None` inside is a status that no instance has; without any, all are meant.
    pub statuses: Vec<Option<OrchestrationStatus>>,
}

/// Instances in the order of their ids, which is that of their bytes.
#[derive(Clone, Debug, Default)]
pub struct Page {
    pub instances: Vec<Instance>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<String>,
}

/// A condition in SQL with its values.
struct Condition {
    sql: String,
    values: Vec<Box<dyn ToSql>>,
}

impl Condition {
    fn new(after: &str) -> Self {
        Self { sql: "instance_id > ?".to_owned(), values: vec![Box::new(after.to_owned())] }
    }

    fn and(&mut self, sql: &str, value: impl ToSql + 'static) {
        self.sql.push_str(" AND ");
        self.sql.push_str(sql);
        self.values.push(Box::new(value));
    }
}

impl Filter {
    fn condition(&self, after: &str) -> Condition {
        let mut condition = Condition::new(after);
        if !self.prefix.is_empty() {
            condition.and("instance_id >= ?", self.prefix.clone());
            if let Some(end) = after_all_with(&self.prefix) {
                condition.and("instance_id < ?", end);
            }
        }
        if let Some(from) = self.from {
            condition.and("created >= ?", nanoseconds(from));
        }
        if let Some(to) = self.to {
            condition.and("created <= ?", nanoseconds(to));
        }
        if !self.statuses.is_empty() {
            let numbers = self.statuses.iter().flatten().map(|it| (*it as i32).to_string());
            condition.sql.push_str(&format!(" AND status IN ({})", numbers.collect::<Vec<_>>().join(",")));
        }
        condition
    }
}

/// As times are kept; those that are too early or late are the first and the last.
fn nanoseconds(at: OffsetDateTime) -> i64 {
    let bounded = at.unix_timestamp_nanos().clamp(i64::MIN.into(), i64::MAX.into());
    i64::try_from(bounded).unwrap_or_default()
}

/// The first text after all those that begin with a prefix.
fn after_all_with(prefix: &str) -> Option<String> {
    let mut chars: Vec<char> = prefix.chars().collect();
    while let Some(last) = chars.pop() {
        if let Some(next) = (u32::from(last) + 1..=0x0010_FFFF).find_map(char::from_u32) {
            chars.push(next);
            return Some(chars.into_iter().collect());
        }
    }
    None
}

fn page(connection: &Connection, filter: &Filter, after: &str, top: usize) -> rusqlite::Result<Page> {
    let Condition { sql, mut values } = filter.condition(after);
    let sql = format!("SELECT {INSTANCE} FROM instances WHERE {sql} ORDER BY instance_id LIMIT ?");
    values.push(Box::new(i64::try_from(top).unwrap_or(i64::MAX).saturating_add(1)));
    let mut statement = connection.prepare_cached(&sql)?;
    let found = statement.query_map(params_from_iter(values), rows::instance)?;
    let mut instances = found.collect::<rusqlite::Result<Vec<_>>>()?;
    let next = (instances.len() > top).then(|| {
        instances.truncate(top);
        instances.last().map_or_else(|| after.to_owned(), |it| it.instance_id.clone())
    });
    Ok(Page { instances, next })
}

/// Removes the first of those that are meant and have ended; gives the last id looked at, and how many they were.
fn purge_some(connection: &Connection, filter: &Filter, after: &str) -> rusqlite::Result<Option<(String, usize)>> {
    let Condition { sql, values } = filter.condition(after);
    let limit = format!("ORDER BY instance_id LIMIT {PURGED_AT_ONCE}");
    let sql = format!("SELECT instance_id FROM instances WHERE {sql} {limit}");
    let ids = {
        let mut statement = connection.prepare_cached(&sql)?;
        let found = statement.query_map(params_from_iter(values), |row| row.get::<_, String>(0))?;
        found.collect::<rusqlite::Result<Vec<_>>>()?
    };
    let together = serde_json::Value::from(ids.clone()).to_string();
    for table in TABLES {
        let sql = format!("DELETE FROM {table} WHERE instance_id IN (SELECT value FROM json_each(?1))");
        connection.prepare_cached(&sql)?.execute([&together])?;
    }
    let count = ids.len();
    Ok(ids.into_iter().next_back().map(|last| (last, count)))
}

impl TaskHub {
    /// The first instances after an id, at most `top`.
    ///
    /// # Errors
    /// What the file refused.
    pub async fn page(&self, filter: Filter, after: String, top: usize) -> Result<Page, StoreError> {
        self.inner.store.read(move |connection| page(connection, &filter, &after, top)).await
    }

    /// Removes an instance that has ended. False where there is none.
    ///
    /// # Errors
    /// What the file refused.
    pub async fn purge(&self, instance_id: &str) -> Result<bool, StoreError> {
        let id = instance_id.to_owned();
        let purged = self.inner.store.write(move |connection| {
            let has_ended = rows::find(connection, &id)?.is_some_and(|it| it.has_ended());
            Ok(has_ended && rows::purge(connection, &id)?)
        });
        purged.await
    }

    /// Removes those of the instances that have ended; gives their number. Each transaction removes a few.
    ///
    /// # Errors
    /// What the file refused; what was removed before is gone.
    pub async fn purge_all(&self, filter: Filter) -> Result<usize, StoreError> {
        // As the extension: statuses of what runs are passed over, and if there are no others none is asked for.
        let mut filter = filter;
        filter.statuses.retain(|it| it.is_some_and(|it| ENDED.contains(&it)));
        if filter.statuses.is_empty() {
            filter.statuses = ENDED.map(Some).to_vec();
        }
        let (mut after, mut purged) = (String::new(), 0);
        loop {
            let (wanted, from) = (filter.clone(), std::mem::take(&mut after));
            let some = self.inner.store.write(move |connection| purge_some(connection, &wanted, &from));
            let Some((last, count)) = some.await? else { return Ok(purged) };
            (after, purged) = (last, purged + count);
        }
    }

    /// How often an instance was started again under its id.
    ///
    /// # Errors
    /// What the file refused.
    pub async fn generation(&self, instance_id: &str) -> Result<i64, StoreError> {
        let id = instance_id.to_owned();
        self.inner.store.read(move |connection| rows::generation(connection, &id)).await
    }

    /// Shows a suspended instance as running from now on. Its orchestrator learns of it by the event that is sent after this.
    ///
    /// # Errors
    /// What the file refused.
    pub async fn show_resumed(&self, instance_id: &str) -> Result<(), StoreError> {
        let id = instance_id.to_owned();
        let (running, suspended) = (OrchestrationStatus::Running as i32, OrchestrationStatus::Suspended as i32);
        let shown = self.inner.store.write(move |connection| {
            let sql = "UPDATE instances SET status = ?2, output = NULL WHERE instance_id = ?1 AND status = ?3";
            connection.prepare_cached(sql)?.execute((id, running, suspended)).map(drop)
        });
        shown.await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emulator::task_hub::store::{Durability, Store};

    /// A file with these instances: id, status, second of creation.
    fn file(folder: &std::path::Path, instances: &[(&str, OrchestrationStatus, i64)]) -> Connection {
        let path = folder.join("hub.db");
        drop(Store::open(&path, Durability::Process).unwrap());
        let connection = Connection::open(path).unwrap();
        for (id, status, created) in instances {
            let sql = "INSERT INTO instances VALUES(?1, 'e', 'f', ?2, 1, NULL, NULL, NULL, ?3, ?3)";
            connection.execute(sql, (id, *status as i32, created * 1_000_000_000)).unwrap();
        }
        connection
    }

    fn ids(page: &Page) -> Vec<&str> {
        page.instances.iter().map(|it| it.instance_id.as_str()).collect()
    }

    #[test]
    fn pages_follow_each_other_whatever_the_ids_are() {
        let folder = tempfile::tempdir().unwrap();
        let all = ["", " ", "%", "Z", "a", "a\nb", "ä", "ä\u{0}", "日本", "\u{10FFFF}", "\u{10FFFF}\u{10FFFF}"];
        let rows: Vec<_> = all[1..].iter().map(|id| (*id, OrchestrationStatus::Completed, 1)).collect();
        let file = file(folder.path(), &rows);
        for top in 1..12 {
            let (mut seen, mut after) = (Vec::new(), Some(String::new()));
            while let Some(from) = after {
                let page = page(&file, &Filter::default(), &from, top).unwrap();
                seen.extend(ids(&page).into_iter().map(str::to_owned));
                after = page.next;
            }
            assert_eq!(seen, all[1..], "pages of {top}");
        }
        let none = page(&file, &Filter::default(), "", 0).unwrap();
        assert_eq!((none.instances.len(), none.next.as_deref()), (0, Some("")));
    }

    #[test]
    fn a_filter_has_bounds_that_belong_to_it() {
        use OrchestrationStatus::{Completed, Failed, Running};
        let folder = tempfile::tempdir().unwrap();
        let file = file(
            folder.path(),
            &[("a1", Completed, 1), ("a2", Failed, 2), ("a_", Running, 3), ("b", Failed, 4), ("\u{10FFFF}", Failed, 5)],
        );
        let shown = |filter: &Filter| {
            let page = page(&file, filter, "", 100).unwrap();
            ids(&page).into_iter().map(str::to_owned).collect::<Vec<_>>().join(" ")
        };
        let at = |second| OffsetDateTime::from_unix_timestamp(second).ok();
        assert_eq!(shown(&Filter { prefix: "a".to_owned(), ..Filter::default() }), "a1 a2 a_");
        assert_eq!(shown(&Filter { prefix: "\u{10FFFF}".to_owned(), ..Filter::default() }), "\u{10FFFF}");
        assert_eq!(shown(&Filter { from: at(2), to: at(4), ..Filter::default() }), "a2 a_ b");
        let statuses = vec![Some(Failed), None];
        assert_eq!(shown(&Filter { statuses, to: at(4), ..Filter::default() }), "a2 b");
        assert_eq!(shown(&Filter { statuses: vec![None], ..Filter::default() }), "");
    }

    #[test]
    fn a_purge_takes_a_few_at_once_and_goes_on_after_them() {
        let folder = tempfile::tempdir().unwrap();
        let names: Vec<String> = (0..PURGED_AT_ONCE + 1).map(|it| format!("{it:04}")).collect();
        let rows: Vec<_> = names.iter().map(|id| (id.as_str(), OrchestrationStatus::Failed, 1)).collect();
        let file = file(folder.path(), &rows);
        for id in &names {
            file.execute("INSERT INTO history VALUES(?1, 0, x'00')", [id]).unwrap();
        }
        let (last, count) = purge_some(&file, &Filter::default(), "").unwrap().unwrap();
        assert_eq!(count, PURGED_AT_ONCE);
        assert_eq!(purge_some(&file, &Filter::default(), &last).unwrap().unwrap().1, 1);
        assert!(purge_some(&file, &Filter::default(), "").unwrap().is_none());
        for table in TABLES {
            let count = file.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, i64>(0));
            assert_eq!(count.unwrap(), 0, "{table}");
        }
    }
}
