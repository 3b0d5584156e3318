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
    /// Whether a commit of the task hub waits for the disk. Ours alone: the Azure Storage provider has nothing to choose.
    pub commits_to_disk: bool,
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
