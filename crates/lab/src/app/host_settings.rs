//! What `host.json` says of all that is served or checked here, read once and typed, with the host's defaults.

use std::{ops::RangeInclusive, time::Duration};

use custom_handler::files::{HostJson, Unreadable};

use super::source::Start;

/// Whole numbers of .NET's `int` that count something.
const COUNT: RangeInclusive<u64> = 1..=i32::MAX as u64;
/// The only version of `host.json` that the host reads.
pub(super) const VERSION: &str = "2.0";
/// Shortest function timeout (host: `ScriptJobHostOptionsSetup`).
const SHORTEST_TIMEOUT: Duration = Duration::from_secs(1);
const USUAL_TIMEOUT: Duration = Duration::from_secs(30 * 60);
const USUAL_INITIALIZATION: Duration = Duration::from_secs(30);
/// Blobs at once per core (storage extension: `BlobsOptions`).
const BLOBS_PER_CORE: usize = 8;
/// Orchestrators and activities at once per core (durable extension: `AzureStorageDurabilityProviderFactory`).
const DURABLE_PER_CORE: usize = 10;

#[derive(Clone, Debug)]
pub struct HostSettings {
    pub(crate) start: Start,
    pub arguments: Vec<String>,
    /// Whether HTTP requests are to reach the handler as they are.
    pub forwards_http: bool,
    pub function_timeout: Duration,
    pub initialization_timeout: Duration,
    pub route_prefix: String,
    /// Blobs at once.
    pub parallelism: usize,
    pub poison_threshold: i64,
    /// As it is written: names of settings in it are not filled in.
    pub hub_name: String,
    pub max_orchestrations: usize,
    pub max_activities: usize,
    /// Whether histories have the inputs of activities and children.
    pub stores_inputs: bool,
    pub versions: Versions,
    /// Whether a commit of the task hub waits for the disk. Ours alone: the Azure Storage provider has nothing to choose.
    pub commits_to_disk: bool,
}

/// Which versions of instances an app runs, and what becomes of the others (durable extension: `DurableTaskOptions`).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Versions {
    /// Of the app, and of instances that are started without one.
    pub of_app: Option<String>,
    pub match_strategy: VersionMatch,
    pub failure_strategy: VersionFailure,
}

/// Which versions are run.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum VersionMatch {
    All,
    /// The app's alone.
    Strict,
    /// The app's and those below it.
    #[default]
    CurrentOrOlder,
}

/// What becomes of an instance whose version is not run.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum VersionFailure {
    /// It waits for an app that runs it.
    #[default]
    Reject,
    Fail,
}

impl Default for HostSettings {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            start: Start::default(),
            arguments: Vec::new(),
            forwards_http: false,
            function_timeout: USUAL_TIMEOUT,
            initialization_timeout: USUAL_INITIALIZATION,
            route_prefix: "api".to_owned(),
            parallelism: BLOBS_PER_CORE * cores,
            poison_threshold: 5,
            hub_name: "TestHubName".to_owned(),
            max_orchestrations: DURABLE_PER_CORE * cores,
            max_activities: DURABLE_PER_CORE * cores,
            stores_inputs: false,
            versions: Versions::default(),
            commits_to_disk: false,
        }
    }
}

impl HostSettings {
    /// Reads all of it, the executable included.
    ///
    /// # Errors
    /// The first value that cannot be read. None has a default that what is written could hide behind.
    pub fn read(host: &HostJson) -> Result<Self, Unreadable> {
        if host.text(&["version"])?.is_some_and(|it| it != VERSION) {
            return Err(host.unreadable(&["version"], format_args!("is not {VERSION}, the only one the host reads")));
        }
        Ok(Self { start: Start::of(host)?, arguments: arguments(host)?, ..Self::without_executable(host)? })
    }

    /// Reads everything but what starts the handler.
    ///
    /// # Errors
    /// As [`HostSettings::read`].
    pub fn without_executable(host: &HostJson) -> Result<Self, Unreadable> {
        let usual = Self::default();
        host.list(&["functions"])?;
        refuse_extended_sessions(host)?;
        let count = |path: &[&str], usual: usize| Ok(host.number(path, COUNT)?.map_or(usual, |it| it as usize));
        let flag = |name: &str| Ok(host.flag(&["customHandler", name])?.unwrap_or_default());
        let of_hub = |name: &'static str| ["extensions", "durableTask", name];
        Ok(Self {
            forwards_http: flag("enableForwardingHttpRequest")? | flag("enableProxyingHttpRequest")?,
            function_timeout: function_timeout(host)?,
            initialization_timeout: initialization_timeout(host)?,
            route_prefix: host.text(&["extensions", "http", "routePrefix"])?.unwrap_or(usual.route_prefix),
            parallelism: count(&["extensions", "blobs", "maxDegreeOfParallelism"], usual.parallelism)?,
            poison_threshold: host
                .number(&["extensions", "blobs", "poisonBlobThreshold"], COUNT)?
                .map_or(usual.poison_threshold, |it| it as i64),
            hub_name: host.text(&of_hub("hubName"))?.unwrap_or(usual.hub_name),
            max_orchestrations: count(&of_hub("maxConcurrentOrchestratorFunctions"), usual.max_orchestrations)?,
            max_activities: count(&of_hub("maxConcurrentActivityFunctions"), usual.max_activities)?,
            stores_inputs: host.flag(&of_hub("storeInputsInOrchestrationHistory"))?.unwrap_or_default(),
            versions: versions(host)?,
            commits_to_disk: commits_to_disk(host)?,
            start: usual.start,
            arguments: usual.arguments,
        })
    }
}

/// In the order of the command line.
fn arguments(host: &HostJson) -> Result<Vec<String>, Unreadable> {
    let place = |name: &'static str| ["customHandler", "description", name];
    let mut arguments = host.list(&place("arguments"))?;
    arguments.extend(host.text(&place("defaultWorkerPath"))?.filter(|it| !it.is_empty()));
    arguments.extend(host.list(&place("workerArguments"))?);
    Ok(arguments)
}

fn function_timeout(host: &HostJson) -> Result<Duration, Unreadable> {
    let place = ["functionTimeout"];
    let timeout = host.time_span(&place)?.unwrap_or(USUAL_TIMEOUT);
    if timeout < SHORTEST_TIMEOUT {
        return Err(host.unreadable(&place, "is below 00:00:01, the shortest the host takes"));
    }
    Ok(timeout)
}

fn initialization_timeout(host: &HostJson) -> Result<Duration, Unreadable> {
    let place = ["customHandler", "initializationTimeout"];
    match host.time_span(&place)?.unwrap_or(USUAL_INITIALIZATION) {
        Duration::MAX => Err(host.unreadable(&place, "is negative")),
        timeout => Ok(timeout),
    }
}

/// The host does not start a custom handler with them [recorded].
fn refuse_extended_sessions(host: &HostJson) -> Result<(), Unreadable> {
    let place = ["extensions", "durableTask", "extendedSessionsEnabled"];
    match host.flag(&place)? {
        Some(true) => Err(host.unreadable(&place, "is true, which only .NET apps may have: the host would not start")),
        _ => Ok(()),
    }
}

fn versions(host: &HostJson) -> Result<Versions, Unreadable> {
    let of_hub = |name: &'static str| ["extensions", "durableTask", name];
    let matches = [
        ("None", VersionMatch::All),
        ("Strict", VersionMatch::Strict),
        ("CurrentOrOlder", VersionMatch::CurrentOrOlder),
    ];
    let failures = [("Reject", VersionFailure::Reject), ("Fail", VersionFailure::Fail)];
    Ok(Versions {
        of_app: host.text(&of_hub("defaultVersion"))?.filter(|it| !it.is_empty()),
        match_strategy: choice(host, &of_hub("versionMatchStrategy"), &matches)?,
        failure_strategy: choice(host, &of_hub("versionFailureStrategy"), &failures)?,
    })
}

/// One of an enumeration's names in any case, or its number, as .NET's binder reads them.
fn choice<T: Copy + Default>(host: &HostJson, place: &[&str], choices: &[(&str, T)]) -> Result<T, Unreadable> {
    let Some(text) = host.text(place)? else { return Ok(T::default()) };
    let text = text.trim();
    let is_meant = |number: usize, name: &str| name.eq_ignore_ascii_case(text) || number.to_string() == text;
    let chosen = choices.iter().enumerate().find(|(number, (name, _))| is_meant(*number, name));
    chosen.map(|(_, (_, it))| *it).ok_or_else(|| {
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        host.unreadable(place, format_args!("is none of {}", names.join(", ")))
    })
}

fn commits_to_disk(host: &HostJson) -> Result<bool, Unreadable> {
    let place = ["extensions", "durableTask", "storageProvider", "synchronous"];
    match host.text(&place)?.map(|it| it.to_ascii_uppercase()).as_deref() {
        None | Some("NORMAL") => Ok(false),
        Some("FULL") => Ok(true),
        Some(_) => Err(host.unreadable(&place, "is neither NORMAL nor FULL")),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn read(text: &str) -> Result<HostSettings, String> {
        let host = HostJson::of(Path::new("host.json"), text.as_bytes()).unwrap();
        HostSettings::without_executable(&host).map_err(|error| error.to_string())
    }

    #[test]
    fn numbers_and_times_are_those_of_dotnet() {
        let settings = read(
            r#"{
                "functionTimeout": "1.00:00:00",
                "Extensions": { "Blobs": { "MAXDEGREEOFPARALLELISM": "2147483647", "poisonBlobThreshold": 3 } },
                "extensions": { "durableTask": { "maxConcurrentActivityFunctions": 7, "HUBNAME": "%Hub%" } },
            }"#,
        );
        let settings = settings.unwrap();
        assert_eq!(settings.function_timeout, Duration::from_secs(86_400));
        assert_eq!((settings.parallelism, settings.poison_threshold), (2_147_483_647, 3));
        assert_eq!((settings.max_activities, settings.hub_name.as_str()), (7, "%Hub%"));
        assert_eq!(read(r#"{"functionTimeout":"-1"}"#).unwrap().function_timeout, Duration::MAX);
    }

    #[test]
    fn strategies_for_versions_are_read_in_any_case_and_others_are_named() {
        let of_hub = |options: &str| read(&format!("{{\"extensions\": {{\"durableTask\": {options}}}}}"));
        assert_eq!(of_hub("{}").unwrap().versions, Versions::default());
        let options = r#"{"defaultVersion": "2.0", "versionMatchStrategy": "0", "versionFailureStrategy": "fail"}"#;
        let (of_app, match_strategy) = (Some("2.0".to_owned()), VersionMatch::All);
        let wanted = Versions { of_app, match_strategy, failure_strategy: VersionFailure::Fail };
        assert_eq!(of_hub(options).unwrap().versions, wanted);
        let said = of_hub(r#"{"versionMatchStrategy": "Exact"}"#).unwrap_err();
        assert!(said.ends_with("versionMatchStrategy is none of None, Strict, CurrentOrOlder"), "{said}");
    }

    #[test]
    fn what_cannot_be_read_is_no_default() {
        for (place, value) in [
            ("functionTimeout", "\"00:00:00.5\""),
            ("functionTimeout", "\"-00:10:00\""),
            ("functionTimeout", "\"10675199.02:48:05.4775808\""),
            ("functionTimeout", "true"),
            ("extensions", "5"),
            ("functions", "{\"a\": 1}"),
            ("customHandler.initializationTimeout", "-1"),
            ("customHandler.enableForwardingHttpRequest", "\"yes\""),
            ("extensions.http.routePrefix", "[]"),
            ("extensions.blobs.maxDegreeOfParallelism", "18446744073709551615"),
            ("extensions.blobs.maxDegreeOfParallelism", "2147483648"),
            ("extensions.blobs.maxDegreeOfParallelism", "0"),
            ("extensions.blobs.maxDegreeOfParallelism", "1.5"),
            ("extensions.blobs.poisonBlobThreshold", "-1"),
            ("extensions.durableTask.maxConcurrentActivityFunctions", "99999999999999999999999"),
            ("extensions.durableTask.maxConcurrentOrchestratorFunctions", "\"many\""),
            ("extensions.durableTask.storageProvider.synchronous", "\"OFF\""),
            ("extensions.durableTask.extendedSessionsEnabled", "true"),
            ("extensions.durableTask.storeInputsInOrchestrationHistory", "\"maybe\""),
            ("extensions.durableTask.defaultVersion", "[]"),
            ("extensions.durableTask.versionMatchStrategy", "\"Exact\""),
            ("extensions.durableTask.versionMatchStrategy", "7"),
            ("extensions.durableTask.versionFailureStrategy", "\"\""),
        ] {
            let names: Vec<&str> = place.split('.').collect();
            let inside =
                names.iter().rev().fold(value.to_owned(), |inside, name| format!("{{\n\"{name}\": {inside} }}"));
            let said = read(&inside).unwrap_err();
            let wanted = format!("host.json: line {}: {place} ", names.len() + 1);
            assert!(said.starts_with(&wanted), "{inside}: {said}");
        }
    }
}
