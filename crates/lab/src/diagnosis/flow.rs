//! The flow: each question, the queries that answer it, and what follows.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use serde_json::{Map, Value};

use super::{
    Diagnosis, Finding, FindingKind, Reply, Step,
    climb::{Climb, GROWTH, Part, growth_within, steepest},
};
use crate::{
    evidence::{database, phases_file::PhasesFile},
    judgement::{Asker, AskerError, Definition, Grade, Question},
};

const DIAGNOSE: Definition = Definition { name: "diagnose", criteria: "" };
const WINDOW: &str = "diagnose-window.kql";
const INDEXING: &str = "diagnose-indexing.kql";
const WORKER: &str = "diagnose-worker.kql";
const MEMORY: &str = "diagnose-memory.kql";
const FAILURES: &str = "diagnose-failures.kql";
const FUNCTIONS: &str = "diagnose-functions.kql";
const DURABLE: &str = "diagnose-durable.kql";
const RESETS: &str = "diagnose-resets.kql";
const QUERIES: [&str; 8] = [WINDOW, INDEXING, WORKER, MEMORY, FAILURES, FUNCTIONS, DURABLE, RESETS];

/// Private Bytes from this share of the limit on are critical: the OOM guide's band.
const CRITICAL: f64 = 0.71;
/// From this growth on something else counts as slower, too, if it is also half of the orchestrator's.
const SLOWER: f64 = 1.5;
/// Rows shown of a step.
const SHOWN: usize = 6;

type Row = Map<String, Value>;

/// What is diagnosed.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The app, where tables have rows of several; the one with most rows, if none.
    pub app: Option<String>,
    pub from: Option<String>,
    pub to: Option<String>,
    /// Memory limit of the worker, in MB.
    pub limit_mb: f64,
}

#[derive(Debug, thiserror::Error)]
pub enum DiagnosisError {
    #[error(transparent)]
    Asker(#[from] AskerError),
    #[error("there are no rows in requests or traces: nothing can be told; `lab import` makes tables of telemetry")]
    Nothing,
    #[error("no row is of the app {app:?}; there are rows of {known}")]
    NoApp { app: String, known: String },
}

/// Walks the flow over a folder with tables.
///
/// # Errors
/// When the tables cannot be read, or have no rows of the app.
pub fn diagnose(folder: &Path, options: &Options) -> Result<Diagnosis, DiagnosisError> {
    let whole = asker(folder, Vec::new(), "")?.rows(WINDOW)?;
    let apps: Vec<String> = whole.iter().map(|row| text(row, "cloud_RoleName")).collect();
    let app = options.app.clone().or_else(|| apps.first().cloned()).ok_or(DiagnosisError::Nothing)?;
    let Some(row) = whole.iter().find(|row| text(row, "cloud_RoleName") == app) else {
        return Err(DiagnosisError::NoApp { app, known: apps.join(", ") });
    };
    let from = options.from.clone().unwrap_or_else(|| text(row, "firstAt"));
    // A window ends before its end: the last row is in it.
    let to = options.to.clone().unwrap_or_else(|| after(&text(row, "lastAt")));
    let given = [("appName", &app), ("runStart", &from), ("runEnd", &to)];
    let given = given.map(|(name, value)| (name.to_owned(), value.clone())).to_vec();
    let mut flow = Flow { tables: asker(folder, given, &app)?, folder, steps: Vec::new(), findings: Vec::new() };
    flow.indexing()?;
    flow.memory(options.limit_mb)?;
    flow.storm()?;
    Ok(Diagnosis { app, from, to, steps: flow.steps, findings: flow.findings })
}

/// The moment after a time, in the form rows have.
fn after(time: &str) -> String {
    match time.split_once('.') {
        Some((seconds, _)) => format!("{seconds}.9999999Z"),
        None => time.to_owned(),
    }
}

/// Tables, and how they are asked.
struct Tables(Asker);

fn asker(folder: &Path, parameters: Vec<(String, String)>, app: &str) -> Result<Tables, AskerError> {
    let phases = PhasesFile { app_name: app.to_owned(), phases: Vec::new() };
    Asker::read(DIAGNOSE, folder, QUERIES.into_iter(), phases, parameters).map(Tables)
}

impl Tables {
    /// A query's rows; none where a table is missing.
    fn rows(&mut self, query: &str) -> Result<Vec<Row>, AskerError> {
        let question = Question { query, asked_by: "diagnose", is_lenient: true, ..Question::default() };
        Ok(self.0.ask(&question)?.map(|it| it.rows().collect()).unwrap_or_default())
    }
}

struct Flow<'a> {
    tables: Tables,
    folder: &'a Path,
    steps: Vec<Step>,
    findings: Vec<Finding>,
}

/// A storm's orchestrator, while it climbs.
struct Climbing {
    name: String,
    climb: Climb,
    start: String,
    end: String,
}

impl Flow<'_> {
    fn missing(&self, table: &str) -> Option<String> {
        database::missing(&self.folder.join("tables"), table)
    }

    fn step(
        &mut self,
        (question, queries): (&'static str, &[&'static str]),
        (reply, said): (Reply, String),
        rows: &[Row],
        follows: &str,
    ) {
        let rows = rows.iter().take(SHOWN).cloned().collect();
        self.steps.push(Step { question, queries: queries.to_vec(), reply, said, rows, follows: follows.to_owned() });
    }

    /// The guide: is host indexing healthy?
    fn indexing(&mut self) -> Result<(), AskerError> {
        let asked: (_, &[_]) = ("Is the host indexing its functions?", &[INDEXING]);
        if let Some(why) = self.missing("traces") {
            self.step(asked, (Reply::CannotTell, why), &[], "have the host's traces");
            return Ok(());
        }
        let rows = self.tables.rows(INDEXING)?;
        let is_lasting = |row: &&Row| number(row, "requestsAfter") == 0.0;
        let lasting: Vec<&Row> = rows.iter().filter(is_lasting).collect();
        if let Some(row) = lasting.first() {
            let said = format!("no: {}, and no request came after it", text(row, "problem"));
            self.step(asked, (Reply::No, said.clone()), &rows, "check the identity's roles on the storage account");
            self.findings.push(Finding {
                kind: FindingKind::IndexingFailure,
                grade: Grade::Observed,
                said: said.trim_start_matches("no: ").to_owned(),
                next: "give the app's identity the missing role (the guide's was Storage Table Data Contributor) and start it again"
                    .to_owned(),
            });
        } else if rows.is_empty() {
            self.step(asked, (Reply::Yes, "no line says otherwise".to_owned()), &[], "");
        } else {
            let said = "it was not, and is: requests came after the last such line. That was another incident than what follows";
            self.step(asked, (Reply::Yes, said.to_owned()), &rows, "");
        }
        Ok(())
    }

    /// The OOM guide's signature, and what it makes of failures.
    fn memory(&mut self, limit_mb: f64) -> Result<(), AskerError> {
        let asked: (_, &[_]) = ("Is a worker killed for memory and started again?", &[WORKER, MEMORY]);
        if let Some(why) = self.missing("traces") {
            self.step(asked, (Reply::CannotTell, why), &[], "have the host's traces");
            return Ok(());
        }
        let bins = self.tables.rows(WORKER)?;
        let memory = self.tables.rows(MEMORY)?;
        let sum = |column: &str| bins.iter().fold(0.0, |sum, row| sum + number(row, column));
        let (kills, errors, others) = (sum("kills"), sum("memoryErrors"), sum("otherExits"));
        let peak = memory.iter().map(|row| number(row, "maxMemoryMB")).fold(0.0, f64::max);
        let is_near = |time: &str| {
            let same = memory.iter().find(|row| text(row, "timestamp") == time);
            same.is_some_and(|row| number(row, "maxMemoryMB") >= CRITICAL * limit_mb)
        };
        let together = bins.iter().filter(|row| number(row, "kills") > 0.0);
        let is_together =
            together.into_iter().any(|row| number(row, "memoryErrors") > 0.0 || is_near(&text(row, "timestamp")));
        let private_bytes = match self.missing("performanceCounters") {
            Some(_) => "Private Bytes are not in these tables".to_owned(),
            None => format!("Private Bytes up to {peak:.0} of {limit_mb:.0} MB"),
        };
        let said = format!(
            "{kills} exits with 137, {} restarts, {errors} memory failures, {others} exits with other codes; {private_bytes}",
            sum("restarts")
        );
        if kills == 0.0 && errors == 0.0 {
            let follows = if others > 0.0 { "exits with other codes are another matter: read their lines" } else { "" };
            self.step(asked, (Reply::No, said), &bins, follows);
            return Ok(());
        }
        self.step(asked, (Reply::Yes, said.clone()), &bins, "take payloads in blocks and fewer at once");
        let grade = match (kills > 0.0, is_together) {
            (true, true) => Grade::Correlated,
            (true, false) => Grade::Observed,
            (false, _) => Grade::Inferred,
        };
        self.findings.push(Finding {
            kind: FindingKind::Oom,
            grade,
            said,
            next: "stream payloads instead of buffering them and lower concurrency, then run the same load again"
                .to_owned(),
        });
        self.effects(&bins)
    }

    /// Why the incident can be misread: failures come with the exits.
    fn effects(&mut self, bins: &[Row]) -> Result<(), AskerError> {
        let asked: (_, &[_]) = ("Do requests and dependency calls fail when the worker goes?", &[FAILURES]);
        let failures = self.tables.rows(FAILURES)?;
        if failures.is_empty() {
            let why = self.missing("requests").unwrap_or_else(|| "there are no requests".to_owned());
            self.step(asked, (Reply::CannotTell, why), &[], "");
            return Ok(());
        }
        let gone: BTreeSet<String> = bins.iter().map(|row| text(row, "timestamp")).collect();
        let failed = |row: &Row| number(row, "failedRequests") + number(row, "failedCalls");
        let all = failures.iter().map(failed).fold(0.0, |sum, it| sum + it);
        let in_bin = failures.iter().filter(|row| gone.contains(&text(row, "timestamp")));
        let with = in_bin.map(failed).fold(0.0, |sum, it| sum + it);
        let said = format!("{with} of {all} failures lie in the same five minutes");
        let is_effect = all > 0.0 && with >= all / 2.0;
        let (reply, follows) = if is_effect {
            (Reply::Yes, "they are effects of it: do not look for the cause in a dependency")
        } else {
            (Reply::No, "")
        };
        self.step(asked, (reply, said), &failures, follows);
        Ok(())
    }

    /// The rest of the replay guide's flow.
    fn storm(&mut self) -> Result<(), AskerError> {
        let asked: (_, &[_]) = ("Does an orchestrator take longer and longer?", &[FUNCTIONS, DURABLE]);
        if let Some(why) = self.missing("requests") {
            self.step(asked, (Reply::CannotTell, why), &[], "have the host's requests");
            return Ok(());
        }
        let rows = self.tables.rows(FUNCTIONS)?;
        let kinds = kinds(&self.tables.rows(DURABLE)?);
        let functions = by_function(&rows);
        let candidates = functions.iter().filter(|(name, parts)| is_orchestrator(name, parts, &kinds, &functions));
        let climbs = candidates.filter_map(|(name, parts)| Some((name, parts, steepest(parts)?)));
        let steepest = climbs.max_by(|one, other| one.2.factor.total_cmp(&other.2.factor));
        let Some((name, parts, climb)) = steepest.filter(|it| it.2.factor >= GROWTH) else {
            let said = match steepest {
                Some((name, _, climb)) => {
                    format!("{name} grew {:.1} x at most, and from {GROWTH} x on it counts", climb.factor)
                }
                None => "no orchestrator climbs, or none ran 40 times".to_owned(),
            };
            self.step(asked, (Reply::No, said), &[], "");
            return Ok(());
        };
        let climbing = Climbing {
            name: name.clone(),
            climb,
            start: parts[climb.first].start.clone(),
            end: parts[climb.last].end.clone(),
        };
        let said = format!("{name} grew {:.1} x from {} to {}", climb.factor, climbing.start, climbing.end);
        let of_climb = rows.iter().filter(|row| text(row, "operation_Name") == *name);
        let of_climb: Vec<Row> = of_climb.skip(climb.first).take(climb.last - climb.first + 1).cloned().collect();
        self.step(asked, (Reply::Yes, said), &thinned(&of_climb), "");
        if self.is_replay(&climbing, &functions, &kinds) {
            self.resets(&climbing)?;
        }
        Ok(())
    }

    /// Whether what grows is neither the activity's doing nor everything's.
    fn is_replay(
        &mut self,
        climbing: &Climbing,
        functions: &BTreeMap<String, Vec<Part>>,
        kinds: &BTreeMap<String, String>,
    ) -> bool {
        let (mut activities, mut others) = (Vec::new(), Vec::new());
        for (name, parts) in functions.iter().filter(|it| *it.0 != climbing.name) {
            let Some(growth) = growth_within(parts, &climbing.start, &climbing.end) else { continue };
            let is_activity = kind(name, kinds) == Some("Activity");
            if is_activity { &mut activities } else { &mut others }.push((name.clone(), growth));
        }
        let is_alike = |growth: f64| growth >= SLOWER && growth >= climbing.climb.factor / 2.0;
        let told = |all: &[(String, f64)]| {
            all.iter().map(|(name, growth)| format!("{name} {growth:.1} x")).collect::<Vec<_>>().join(", ")
        };
        let slow = activities.iter().any(|it| is_alike(it.1));
        let question: (_, &[_]) = ("Does its activity take longer, too?", &[FUNCTIONS]);
        if activities.is_empty() {
            self.step(question, (Reply::CannotTell, "no activity ran often enough".to_owned()), &[], "");
        } else {
            let follows = if slow { "look at the activity and what it calls: this is not replay" } else { "" };
            self.step(question, (if slow { Reply::Yes } else { Reply::No }, told(&activities)), &[], follows);
        }
        let question: (_, &[_]) = ("Does everything else take longer, too?", &[FUNCTIONS]);
        let platform = !others.is_empty() && others.iter().all(|it| is_alike(it.1));
        match (slow, others.is_empty()) {
            (true, _) => self.step(question, (Reply::NotAsked, String::new()), &[], ""),
            (_, true) => self.step(question, (Reply::CannotTell, "nothing else ran often enough".to_owned()), &[], ""),
            _ => {
                let follows = if platform { "look at the platform and at storage: this is not replay" } else { "" };
                self.step(question, (if platform { Reply::Yes } else { Reply::No }, told(&others)), &[], follows);
            }
        }
        !slow && !platform
    }

    /// The guide: is ContinueAsNew configured?
    fn resets(&mut self, climbing: &Climbing) -> Result<(), AskerError> {
        let asked: (_, &[_]) = ("Is history dropped while it grows (ContinueAsNew)?", &[RESETS]);
        let rows = self.tables.rows(RESETS)?;
        let is_within = |row: &&Row| {
            let at = text(row, "timestamp");
            climbing.start <= at && at <= climbing.end
        };
        let within = rows.iter().filter(is_within).count();
        let later = rows.iter().filter(|row| text(row, "timestamp") > climbing.end).count();
        let said = format!("{within} lines while it grew, {later} after it");
        let next = if within > 0 {
            "tune the batch size: history is dropped too rarely for what an execution replays"
        } else if later > 0 {
            "keep the ContinueAsNew that came after it, and compare both stretches"
        } else {
            "apply ContinueAsNew every few hundred iterations, run the same work again and compare"
        };
        self.step(asked, (if within > 0 { Reply::Yes } else { Reply::No }, said), &rows, next);
        self.findings.push(Finding {
            kind: FindingKind::Storm,
            grade: Grade::Observed,
            said: format!(
                "{} grew {:.1} x while its activities and everything else did not: its history dominates",
                climbing.name, climbing.climb.factor
            ),
            next: next.to_owned(),
        });
        Ok(())
    }
}

/// Functions' parts, in order.
fn by_function(rows: &[Row]) -> BTreeMap<String, Vec<Part>> {
    let mut functions: BTreeMap<String, Vec<Part>> = BTreeMap::new();
    for row in rows {
        let part = Part {
            start: text(row, "startAt"),
            end: text(row, "endAt"),
            median: number(row, "medianMs"),
            executions: number(row, "executions"),
        };
        functions.entry(text(row, "operation_Name")).or_default().push(part);
    }
    functions
}

/// Kinds of functions by name, as the extension or the handler tells them.
fn kinds(rows: &[Row]) -> BTreeMap<String, String> {
    rows.iter().map(|row| (text(row, "name"), text(row, "kind"))).collect()
}

/// The kind that lines tell, or else the name.
fn kind<'a>(name: &str, kinds: &'a BTreeMap<String, String>) -> Option<&'a str> {
    let told = kinds.iter().find(|it| it.0.eq_ignore_ascii_case(name)).map(|it| it.1.as_str());
    let name = name.to_ascii_lowercase();
    let named = [("orchestrat", "Orchestrator"), ("activity", "Activity"), ("entity", "Entity")];
    told.or_else(|| named.into_iter().find(|it| name.contains(it.0)).map(|it| it.1))
}

/// A function that no line tells of counts as an orchestrator where another one runs about as often at the same time, as its activity does.
fn is_orchestrator(
    name: &str,
    parts: &[Part],
    kinds: &BTreeMap<String, String>,
    functions: &BTreeMap<String, Vec<Part>>,
) -> bool {
    if let Some(kind) = kind(name, kinds) {
        return kind == "Orchestrator";
    }
    let is_told = functions.keys().any(|it| kind(it, kinds) == Some("Orchestrator"));
    let runs = |parts: &[Part]| parts.iter().map(|it| it.executions).sum::<f64>();
    let (own, (Some(first), Some(last))) = (runs(parts), (parts.first(), parts.last())) else { return false };
    let keeps_step = functions.iter().filter(|it| it.0 != name).any(|(_, other)| {
        let others = runs(other);
        let overlaps = other.first().is_some_and(|it| it.start <= last.end)
            && other.last().is_some_and(|it| it.end >= first.start);
        overlaps && (0.8..=1.25).contains(&(others / own))
    });
    !is_told && keeps_step
}

/// First, last, and some between.
fn thinned(rows: &[Row]) -> Vec<Row> {
    let step = rows.len().div_ceil(SHOWN - 1).max(1);
    let mut some: Vec<Row> = rows.iter().step_by(step).cloned().collect();
    some.extend(rows.last().filter(|it| some.last() != Some(it)).cloned());
    some
}

fn text(row: &Row, column: &str) -> String {
    row.get(column).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn number(row: &Row, column: &str) -> f64 {
    row.get(column).and_then(Value::as_f64).unwrap_or_default()
}
