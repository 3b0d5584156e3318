//! A request's query as the extension reads it: names in any case, and nonsense as if it were not there.

use time::OffsetDateTime;

use super::dates;
use durable::protocol::OrchestrationStatus;

/// The parameters of a query, names in lower case.
#[derive(Clone, Debug, Default)]
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    pub(super) fn new(query: Option<&str>) -> Self {
        let pairs = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        Self(pairs.map(|(name, value)| (name.to_lowercase(), value.into_owned())).collect())
    }

    fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        let name = name.to_ascii_lowercase();
        self.0.iter().filter(move |(it, _)| *it == name).map(|(_, value)| value.as_str())
    }

    /// A parameter; one that comes again is joined by commas (.NET: `NameValueCollection`).
    pub(super) fn text(&self, name: &str) -> Option<String> {
        let all: Vec<&str> = self.all(name).collect();
        (!all.is_empty()).then(|| all.join(","))
    }

    pub(super) fn flag(&self, name: &str) -> Option<bool> {
        match self.text(name)?.trim().to_ascii_lowercase().as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    pub(super) fn integer(&self, name: &str) -> Option<i32> {
        self.text(name)?.trim().parse().ok()
    }

    /// A number of seconds; .NET passes over commas between digits.
    pub(super) fn seconds(&self, name: &str) -> Option<f64> {
        self.text(name)?.trim().replace(',', "").parse().ok()
    }

    pub(super) fn time(&self, name: &str) -> Option<OffsetDateTime> {
        dates::parse(&self.text(name)?)
    }

    /// Statuses by name, in their own case alone, or by number; `None` inside for a number no status has.
    pub(super) fn statuses(&self, name: &str) -> Vec<Option<OrchestrationStatus>> {
        let values: Vec<&str> = self.all(name).flat_map(|it| it.split(',')).map(str::trim).collect();
        values.into_iter().filter_map(status).collect()
    }
}

fn status(text: &str) -> Option<Option<OrchestrationStatus>> {
    use OrchestrationStatus as S;
    if let Ok(number) = text.parse::<i32>() {
        return Some(S::try_from(number).ok());
    }
    const ALL: [S; 8] =
        [S::Running, S::Completed, S::ContinuedAsNew, S::Failed, S::Canceled, S::Terminated, S::Pending, S::Suspended];
    ALL.into_iter().find(|it| format!("{it:?}") == text).map(Some).or((text == "Unknown").then_some(None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_any_case_and_what_is_nonsense_is_not_there() {
        let query = Parameters::new(Some(
            "TOP=%205&ShowInput=FALSE&a=1&A=2&timeout=1.5&x=abc&runtimeStatus=Failed,nonsense,7&runtimestatus=99,failed&c",
        ));
        assert_eq!((query.integer("top"), query.flag("showInput")), (Some(5), Some(false)));
        assert_eq!((query.text("a").as_deref(), query.seconds("timeout")), (Some("1,2"), Some(1.5)));
        assert_eq!(
            (query.integer("x"), query.flag("a"), query.seconds("x"), query.text("none")),
            (None, None, None, None)
        );
        use OrchestrationStatus::{Failed, Suspended};
        assert_eq!(query.statuses("runtimeStatus"), [Some(Failed), Some(Suspended), None]);
    }
}
