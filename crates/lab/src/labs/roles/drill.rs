//! Carries the drill out: phase by phase a role is withheld, looked for, granted, and recovered from.

use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{
    RolesLab,
    examiner::{Examination, Examiner},
    work::Work,
};
use crate::{
    app::running::{AppStart, Platform, RunningApp},
    doctor::planes::id,
    evidence::{RunFolder, Tail, jsonl::JsonLines, moment::Moment},
    judgement::{Journal, Step},
    labs::run::with_app,
    machine::{storage_proxy::Withheld, terminal::StatusLine},
};
use incident_labs::blob::{Plane, tls};

/// Between two looks at the app.
const TICK: Duration = Duration::from_millis(250);
/// Time for an answer of the app: more than its handler gives a storage service.
const ANSWER: Duration = Duration::from_secs(10);
/// The phase with all roles.
const CONTROL: &str = "control";
/// Planes whose role is taken away while the app runs.
const WHILE_IT_RUNS: [Plane; 3] = [Plane::Queue, Plane::Blob, Plane::File];
/// The plane whose role is needed at start alone, and so is missing at a start of its own.
const AT_START: Plane = Plane::Table;
/// The app's variant: the lab is about roles, not about memory.
const SETTINGS: [(&str, &str); 1] = [("BLOB_VARIANT", "streaming")];

pub(super) struct Drill<'a> {
    lab: &'a RolesLab,
    platform: &'a dyn Platform,
    withheld: &'a Withheld,
    evidence: &'a RunFolder,
    http: reqwest::Client,
    status: StatusLine,
    /// How long the work took with all roles.
    took: Duration,
}

/// A phase that has begun.
struct Phase {
    plane: Option<Plane>,
    start: Moment,
    traces: Tail,
}

impl Phase {
    fn name(&self) -> &'static str {
        self.plane.map_or(CONTROL, Plane::name)
    }
}

impl<'a> Drill<'a> {
    /// # Errors
    /// When the platform cannot withhold roles.
    pub(super) fn new(lab: &'a RolesLab, platform: &'a dyn Platform, evidence: &'a RunFolder) -> anyhow::Result<Self> {
        let withheld = platform.withheld().context("roles cannot be withheld there")?;
        let (http, status) = (tls::http_client().no_proxy().timeout(ANSWER).build()?, StatusLine::start());
        Ok(Self { lab, platform, withheld, evidence, http, status, took: Duration::ZERO })
    }

    /// # Errors
    /// When the app cannot be started or ends, or storage is away. A finding or a recovery that does not come is no error.
    pub(super) async fn run(&mut self) -> anyhow::Result<()> {
        let platform = self.platform;
        self.say("starting the app");
        with_app(platform, self.start(), &[], async |app| {
            app.ready().await?;
            for plane in [None].into_iter().chain(WHILE_IT_RUNS.map(Some)) {
                let phase = self.begin(plane)?;
                self.carry_out(phase, app).await?;
            }
            Ok(())
        })
        .await?;
        let phase = self.begin(Some(AT_START))?;
        self.say("starting the app without a role");
        with_app(platform, self.start(), &[], async |app| {
            tokio::try_join!(app.ready(), self.carry_out(phase, app)).map(drop)
        })
        .await?;
        self.status.clear();
        Ok(())
    }

    fn say(&mut self, line: &str) {
        self.status.hurry();
        self.status.show(line, line);
    }

    fn start(&self) -> AppStart {
        let settings = SETTINGS.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        AppStart { settings, tables: self.evidence.tables() }
    }

    /// Takes a role away, where there is one to take.
    fn begin(&mut self, plane: Option<Plane>) -> anyhow::Result<Phase> {
        let traces = Examiner::lines_of(&self.evidence.tables());
        let phase = Phase { plane, start: Moment::now(), traces };
        if let Some(plane) = plane.filter(|_| !self.lab.all_roles) {
            self.withheld.withhold(plane);
            self.act("a role is withheld", plane)?;
        }
        Ok(phase)
    }

    async fn carry_out(&mut self, phase: Phase, app: &dyn RunningApp) -> anyhow::Result<()> {
        let (name, start, plane) = (phase.name(), phase.start, phase.plane);
        let since = Instant::now();
        let mut watch = Watch {
            work: [Work::blob(name, app.storage()?).await?, Work::orchestration()],
            examiner: Examiner::new(app.url()?, phase.traces),
            last: None,
            name,
            app,
        };
        self.status.hurry();
        if let Some(plane) = plane {
            let hold = self.lab.hold.max(2 * self.took);
            let is_over = |watch: &Watch<'_>| since.elapsed() >= hold && (watch.finds(plane) || self.lab.all_roles);
            while !is_over(&watch) && since.elapsed() < self.lab.longest {
                self.tick(&mut watch, &format!("withheld for {:.1} s", since.elapsed().as_secs_f64())).await?;
            }
            self.grant(plane, start, &watch)?;
        }
        let granted = Instant::now();
        while !watch.is_well() && granted.elapsed() < self.lab.longest {
            let state = if plane.is_some() { "granted" } else { "all roles" };
            self.tick(&mut watch, &format!("{state} for {:.1} s", granted.elapsed().as_secs_f64())).await?;
        }
        if plane.is_none() {
            self.took = since.elapsed();
        }
        self.end(start, &watch, granted.elapsed())
    }

    /// Looks once, and waits for the next time.
    async fn tick(&mut self, watch: &mut Watch<'_>, state: &str) -> anyhow::Result<()> {
        watch.look(&self.http).await?;
        if let Some(examination) = &watch.last {
            let mut row = examination.row(watch.name);
            Moment::now().stamp(&mut row);
            self.append("examinations", &row)?;
        }
        let line = format!("{:<8} {state}; {}", watch.name, watch.told());
        self.status.show(&line, &line);
        sleep(TICK).await;
        Ok(())
    }

    /// Gives the role back, and writes down for how long it was withheld. In the control it never was.
    fn grant(&self, plane: Plane, start: Moment, watch: &Watch<'_>) -> anyhow::Result<()> {
        let journal = Journal::of(self.evidence.path());
        for finding in watch.last.iter().flat_map(Examination::amiss) {
            journal.add(Step::Observation, "the doctor finds", json!(finding))?;
        }
        let is_withheld = !self.lab.all_roles;
        let mut row =
            json!({"phase": plane.name(), "plane": plane.name(), "role": plane.role(), "withheld": is_withheld});
        if is_withheld {
            self.withheld.grant(plane);
            self.act("a role is granted", plane)?;
        }
        start.stamp_until(Moment::now(), &mut row);
        self.append("roles", &row)
    }

    fn end(&self, start: Moment, watch: &Watch<'_>, recovered: Duration) -> anyhow::Result<()> {
        for work in &watch.work {
            self.append("work", &work.row(watch.name))?;
        }
        let end = Moment::now();
        let mut row = json!({"phase": watch.name, "start": start.timestamp()});
        start.stamp_until(end, &mut row);
        self.append("phases", &row)?;
        let told = if watch.is_well() { "well after" } else { "NOT well after" };
        self.status.say(&format!("{:<8} {told} {:.1} s; {}", watch.name, recovered.as_secs_f64(), watch.told()));
        Ok(())
    }

    fn act(&self, what: &str, plane: Plane) -> anyhow::Result<()> {
        Ok(Journal::of(self.evidence.path()).add(Step::Action, what, json!({"role": plane.role()}))?)
    }

    fn append(&self, table: &str, row: &Value) -> anyhow::Result<()> {
        Ok(JsonLines::append(&self.evidence.path().join(format!("{table}.jsonl")))?.write(row)?)
    }
}

/// What is watched in a phase.
struct Watch<'a> {
    name: &'static str,
    app: &'a dyn RunningApp,
    work: [Work; 2],
    examiner: Examiner,
    last: Option<Examination>,
}

impl Watch<'_> {
    async fn look(&mut self, http: &reqwest::Client) -> anyhow::Result<()> {
        self.last = self.examiner.look(http).await;
        let (url, storage) = (self.app.url()?, self.app.storage()?);
        for work in &mut self.work {
            work.follow(self.name, http, &url, storage).await?;
        }
        Ok(())
    }

    /// Whether the role of a plane was named last, and no other.
    fn finds(&self, plane: Plane) -> bool {
        self.last.as_ref().is_some_and(|it| it.unknown() == 0 && it.found() == [id(plane)])
    }

    /// Whether all work is done, and nothing was found last.
    fn is_well(&self) -> bool {
        self.work.iter().all(Work::is_done) && self.last.as_ref().is_some_and(Examination::finds_nothing)
    }

    fn told(&self) -> String {
        let found = self.last.as_ref().map(|it| it.found().join(", "));
        let found = found.map_or("cannot look".to_owned(), |it| {
            if it.is_empty() { "finds nothing".to_owned() } else { format!("finds {it}") }
        });
        let work: Vec<String> = self.work.iter().map(Work::state).collect();
        format!("the doctor {found}; {}", work.join(", "))
    }
}
