//! A run's bundle: judged from its files alone, by the run itself and by anyone who has the folder.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    Answer, Asker, AskerError, Criterion, CriterionResult, Definition, Journal, Kind, Manifest, Question, Rules,
    RulesError, Step, Verdict, VerdictFile, judge,
    manifest::{self, ManifestError},
    over_runs,
    rules::{Count, Sheet},
    session::Session,
    sums,
};
use crate::evidence::{
    database::JOURNAL,
    doubts,
    jsonl::WriteError,
    phases_file::{PhasesError, PhasesFile},
    render::{columns, csv},
    workspace,
};

pub const VERDICT: &str = "verdict.json";
pub const ENVIRONMENT: &str = "environment.json";
pub const SESSION: &str = "kql-session.json";
/// The run as one page.
pub const PAGE: &str = "report.html";
const TIMELINE: &str = "timeline.csv";
const CHECKLIST: &str = "checklist.md";

/// Files that a judgement adds to a folder of tables.
pub const ADDED: [&str; 9] =
    [VERDICT, ENVIRONMENT, SESSION, TIMELINE, CHECKLIST, JOURNAL, Manifest::FILE, sums::FILE, PAGE];

/// A bundle that cannot be made or judged.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    #[error(transparent)]
    Rules(#[from] RulesError),
    #[error(transparent)]
    Asker(#[from] AskerError),
    #[error(transparent)]
    Phases(#[from] PhasesError),
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error(transparent)]
    Journal(#[from] WriteError),
    #[error("read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("understand {}", path.display())]
    Invalid { path: PathBuf, source: serde_json::Error },
    #[error("write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

/// A folder with a manifest.
#[derive(Debug)]
pub struct Bundle {
    definition: Definition,
    folder: PathBuf,
    pub manifest: Manifest,
}

/// What a bundle's files come to: the same files give the same bytes.
#[derive(Clone, Debug)]
pub struct Judged {
    pub verdict: VerdictFile,
    /// Names and contents of the files that follow from the others.
    pub(super) files: Vec<(&'static str, Vec<u8>)>,
    /// Printed above the criteria: figures of a single run.
    pub sheets: String,
    /// Printed below them.
    pub summary: String,
    /// Every query that was put, with its answer.
    pub session: Session,
}

impl Bundle {
    /// The bundle in a folder.
    ///
    /// # Errors
    /// When it has no manifest, or that of another lab.
    pub fn open(definition: Definition, folder: &Path) -> Result<Self, BundleError> {
        Ok(Self { definition, folder: folder.to_owned(), manifest: Manifest::read(folder)? })
    }

    /// A folder as a manifest has it, which nothing is written into.
    pub fn of(definition: Definition, folder: &Path, manifest: Manifest) -> Self {
        Self { definition, folder: folder.to_owned(), manifest }
    }

    /// Makes a bundle of a folder, as its manifest says: what is in it now is what it had.
    ///
    /// # Errors
    /// When the folder cannot be read or written.
    pub fn make(definition: Definition, folder: &Path, mut manifest: Manifest) -> Result<Self, BundleError> {
        manifest.rows =
            manifest::rows(folder).map_err(|source| BundleError::Read { path: folder.to_owned(), source })?;
        let bundle = Self { definition, folder: folder.to_owned(), manifest };
        bundle.write(Manifest::FILE, &pretty(&bundle.manifest))?;
        Ok(bundle)
    }

    /// Judges the files, and writes nothing.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn judge(&self) -> Result<Judged, BundleError> {
        if self.manifest.parts > 0 { self.judge_parts() } else { self.judge_run() }
    }

    /// Writes what follows from the files, and what was seen into the journal.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn keep(&self, judged: &Judged) -> Result<(), BundleError> {
        for (name, bytes) in &judged.files {
            self.write(name, bytes)?;
        }
        let journal = Journal::of(&self.folder);
        for it in &judged.verdict.criteria {
            let text = format!("{}: {} ({})", it.claim, it.observed, it.result);
            journal.add(Step::Observation, &text, json!({"criterion": it.id, "query": it.query, "grade": it.grade}))?;
        }
        let verdict = format!("the hypothesis is {}", judged.verdict.verdict);
        Ok(journal.add(Step::Observation, &verdict.to_lowercase(), json!({}))?)
    }

    /// Closes the bundle: its sums cover every file. Gives the last of them, which covers all.
    ///
    /// # Errors
    /// When a file cannot be read, or the sums cannot be written.
    pub fn seal(&self) -> Result<String, BundleError> {
        sums::write(&self.folder).map_err(|source| BundleError::Write { path: self.folder.join(sums::FILE), source })
    }

    fn judge_run(&self) -> Result<Judged, BundleError> {
        let rules = self.definition.rules()?;
        let phases = PhasesFile::beside(&self.folder.join("tables"))?.unwrap_or_default();
        let parameters = self.manifest.parameters.clone().into_iter().collect();
        let asker = Asker::read(self.definition, &self.folder, rules.queries(), phases, parameters)?;
        let mut asker = asker.excusing(self.manifest.origin.excused());
        let criteria = judge(&rules, &mut asker)?;
        let mut figures = Figures { asker: &mut asker };
        let counts = figures.counts(&rules.counts)?;
        let sheets = figures.sheets(&rules.sheets)?;
        let timeline = figures.csv(&rules.timeline)?;
        let has_own_records = self.manifest.origin.is_run();
        let summary = if has_own_records { filled(&rules.summary, &counts) } else { String::new() };
        let read = |source| BundleError::Read { path: self.folder.clone(), source };
        let mut in_doubt = self.manifest.doubts(&self.folder).map_err(read)?;
        // What a workspace did not give is missing whoever fetched it.
        let found = if has_own_records { doubts(&self.folder) } else { workspace::doubts(&self.folder) };
        in_doubt.extend(found.map_err(read)?);
        let verdict = self.verdict(&rules, criteria, in_doubt, counts)?;
        let session = asker.into_session();
        let mut files = vec![(SESSION, pretty(&session)), (TIMELINE, timeline.into_bytes())];
        files.extend(of_verdict(&verdict));
        Ok(Judged { verdict, files, sheets, summary, session })
    }

    /// Medians and spread of all runs; the counts of each.
    fn judge_parts(&self) -> Result<Judged, BundleError> {
        let rules = self.definition.rules()?;
        let (mut runs, mut in_doubt, mut counts) = (Vec::new(), Vec::new(), Map::new());
        for number in 1..=self.manifest.parts {
            let part: Part = read_json(&self.folder.join(part_name(number)).join(VERDICT))?;
            in_doubt.extend(part.doubts.iter().map(|it| format!("run {number}: {it}")));
            counts.insert(part_name(number), Value::Object(part.counts));
            runs.push(part.criteria);
        }
        let verdict = self.verdict(&rules, over_runs(&rules, &runs), in_doubt, counts)?;
        let files = of_verdict(&verdict);
        Ok(Judged { verdict, files, sheets: String::new(), summary: String::new(), session: Session::default() })
    }

    fn verdict(
        &self,
        rules: &Rules,
        criteria: Vec<Criterion>,
        doubts: Vec<String>,
        counts: Map<String, Value>,
    ) -> Result<VerdictFile, BundleError> {
        let Manifest { lab, run, origin, scale, control, parts, parameters, .. } = self.manifest.clone();
        let limit = parameters.get("limitMB").and_then(|it| it.parse().ok());
        let environment = self.folder.join(ENVIRONMENT);
        let number = |text: String| text.parse::<f64>().map_or_else(|_| json!(text), |it| json!(it));
        Ok(VerdictFile {
            lab,
            run,
            origin,
            verdict: Verdict::of(&criteria, origin).doubted(&doubts),
            doubts,
            scale,
            runs: parts.max(1),
            control,
            parameters: parameters.into_iter().map(|(name, value)| (name, number(value))).collect(),
            bands: limit.map(|it| rules.bands.edges_of(it)).unwrap_or_default(),
            criteria,
            counts,
            environment: if environment.exists() { read_json(&environment)? } else { json!({}) },
        })
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), BundleError> {
        let path = self.folder.join(name);
        fs::write(&path, bytes).map_err(|source| BundleError::Write { path, source })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }
}

/// What is read of the verdict of one of several runs.
#[derive(Deserialize)]
struct Part {
    doubts: Vec<String>,
    criteria: Vec<Criterion>,
    counts: Map<String, Value>,
}

/// Folder of one of several runs.
pub(super) fn part_name(number: usize) -> String {
    format!("run-{number}")
}

fn read_json<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T, BundleError> {
    let text = fs::read(path).map_err(|source| BundleError::Read { path: path.to_owned(), source })?;
    serde_json::from_slice(&text).map_err(|source| BundleError::Invalid { path: path.to_owned(), source })
}

fn pretty(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec_pretty(value).unwrap_or_default()
}

fn of_verdict(verdict: &VerdictFile) -> Vec<(&'static str, Vec<u8>)> {
    vec![(CHECKLIST, checklist(verdict).into_bytes()), (VERDICT, pretty(verdict))]
}

/// The guide's list for its operator, ticked off by the criteria that hold.
fn checklist(verdict: &VerdictFile) -> String {
    let items = verdict.criteria.iter().filter(|it| it.kind == Kind::Checklist).map(|it| {
        let tick = if it.result == CriterionResult::Pass { "x" } else { " " };
        format!("- [{tick}] {}: {} ({}, {})\n", it.claim, it.observed, it.result, it.query)
    });
    format!("# What the operator confirms\n\n{}", items.collect::<String>())
}

/// Figures beside the criteria.
struct Figures<'a> {
    asker: &'a mut Asker,
}

impl Figures<'_> {
    fn ask(&mut self, query: &str) -> Result<Option<Answer>, AskerError> {
        let question = Question { query, asked_by: "figures", is_lenient: true, ..Question::default() };
        Ok(self.asker.ask(&question)?.ok())
    }

    fn counts(&mut self, counts: &[Count]) -> Result<Map<String, Value>, AskerError> {
        let mut all = Map::new();
        for count in counts {
            let Some(answer) = self.ask(&count.query)? else { continue };
            let mut found = Map::new();
            let key = answer.table.columns().first().map(|it| it.name.clone()).unwrap_or_default();
            for mut row in answer.rows() {
                let name = row.remove(&key).and_then(|it| it.as_str().map(str::to_owned)).unwrap_or_default();
                let is_number = row.len() == 1 && row.contains_key("n");
                found.insert(name, if is_number { row.remove("n").unwrap_or_default() } else { Value::Object(row) });
            }
            if count.under.is_empty() {
                all.extend(found);
            } else {
                all.insert(count.under.clone(), Value::Object(found));
            }
        }
        Ok(all)
    }

    fn sheets(&mut self, sheets: &[Sheet]) -> Result<String, AskerError> {
        let mut text = String::new();
        for sheet in sheets {
            let Some(answer) = self.ask(&sheet.query)?.filter(|it| !it.table.is_empty()) else { continue };
            let headings: Vec<String> = answer.table.columns().iter().map(|it| it.name.clone()).collect();
            let rows: Vec<Vec<String>> =
                answer.table.rows().map(|row| row.iter().map(ToString::to_string).collect()).collect();
            let grid = columns(&headings, &rows);
            let indented: String = grid.lines().map(|it| format!("  {it}\n")).collect();
            text += &format!("\n{}\n\n{indented}", sheet.title);
        }
        Ok(text)
    }

    fn csv(&mut self, query: &str) -> Result<String, AskerError> {
        let Some(answer) = self.ask(query)? else { return Ok(String::new()) };
        Ok(csv(&answer.table).unwrap_or_default())
    }
}

/// A text in which `{name}` stands for a count.
fn filled(template: &str, counts: &Map<String, Value>) -> String {
    let named = counts.iter().filter(|it| !it.1.is_object());
    named.fold(template.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), &value.to_string()))
}
