//! Findings: what was looked at, what was seen, what it breaks and what mends it.

use serde::Serialize;

use crate::machine::{
    exit::{EXIT_OK, EXIT_WRONG},
    terminal::Paint,
};

/// Some checks gave no answer, and none found a problem.
const EXIT_UNKNOWN: u8 = 2;

/// How serious a finding is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Ok,
    /// Works, and will surprise.
    Warning,
    /// The check itself could not be made; `seen` says why.
    Unknown,
    /// A lab cannot run because of it, or not as meant.
    Problem,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// Area and name: `machine.node`, `settings.BLOB_BATCH_SIZE`, `role.table`.
    pub id: String,
    pub state: State,
    /// What was seen, in a few words.
    pub seen: String,
    /// Names of the labs that it hinders.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hinders: Vec<&'static str>,
    /// What goes wrong because of it, in the guides' words where they have some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub breaks: Option<String>,
    /// The command or the step that mends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

impl Finding {
    pub fn new(id: impl Into<String>, state: State, seen: impl Into<String>) -> Self {
        Self { id: id.into(), state, seen: seen.into(), hinders: Vec::new(), breaks: None, mend: None }
    }

    pub fn ok(id: impl Into<String>, seen: impl Into<String>) -> Self {
        Self::new(id, State::Ok, seen)
    }

    #[must_use]
    pub fn hinders(mut self, labs: &[&'static str]) -> Self {
        self.hinders = labs.to_vec();
        self
    }

    #[must_use]
    pub fn breaks(mut self, what: impl Into<String>) -> Self {
        self.breaks = Some(what.into());
        self
    }

    #[must_use]
    pub fn mend(mut self, how: impl Into<String>) -> Self {
        self.mend = Some(how.into());
        self
    }
}

/// All findings of one examination, in the order in which they were made.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Examination {
    pub findings: Vec<Finding>,
}

impl Examination {
    pub fn add(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// The findings for a person: one line each, and below a line what it breaks and what mends it.
    pub fn render(&self, paint: Paint) -> String {
        let width = self.findings.iter().map(|it| it.id.chars().count()).max().unwrap_or_default();
        self.findings.iter().map(|it| it.render(width, paint)).collect::<Vec<_>>().join("\n")
    }

    pub fn is_healthy(&self) -> bool {
        self.worst() < State::Unknown
    }

    /// 0 where nothing hinders, 1 where something does, 2 where a check gave no answer.
    pub fn exit_code(&self) -> u8 {
        match self.worst() {
            State::Ok | State::Warning => EXIT_OK,
            State::Unknown => EXIT_UNKNOWN,
            State::Problem => EXIT_WRONG,
        }
    }

    fn worst(&self) -> State {
        self.findings.iter().map(|it| it.state).max().unwrap_or(State::Ok)
    }
}

impl Finding {
    fn render(&self, width: usize, paint: Paint) -> String {
        let hinders = match &*self.hinders.join(", ") {
            "" => String::new(),
            _ if self.state == State::Ok => String::new(),
            labs => format!(" (hinders: {labs})"),
        };
        let mut text = format!("{}  {:<width$}  {}{hinders}", self.state.shown(paint), self.id, self.seen);
        let indent = " ".repeat(State::WIDTH + 2);
        for (name, value) in [("breaks", &self.breaks), ("mend", &self.mend)] {
            if let Some(value) = value {
                text += &format!("\n{indent}{name}: {value}");
            }
        }
        text
    }
}

impl State {
    const WIDTH: usize = 7;

    fn shown(self, paint: Paint) -> String {
        match self {
            Self::Ok => paint.green("ok     "),
            Self::Warning => paint.yellow("warning"),
            Self::Unknown => paint.yellow("unknown"),
            Self::Problem => paint.red("problem"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_finding_is_the_exit_code() {
        let mut seen = Examination::default();
        assert_eq!((seen.exit_code(), seen.is_healthy()), (0, true));
        for (state, code) in [(State::Warning, 0), (State::Unknown, 2), (State::Problem, 1), (State::Ok, 1)] {
            seen.add(Finding::new("a.b", state, "seen"));
            assert_eq!(seen.exit_code(), code, "{state:?}");
        }
    }

    #[test]
    fn a_problem_is_shown_with_what_it_breaks_and_what_mends_it() {
        let mut seen = Examination::default();
        seen.add(Finding::ok("machine.node", "v20").hinders(&["oom"]));
        seen.add(
            Finding::new("role.table", State::Problem, "403")
                .hinders(&["replay"])
                .breaks("no function")
                .mend("az role …"),
        );
        let want = "\
ok       machine.node  v20
problem  role.table    403 (hinders: replay)
         breaks: no function
         mend: az role …";
        assert_eq!(seen.render(Paint::plain()), want);
    }
}
