//! Environment to typed settings: the only reader of environment variables, and the one table of all settings.

pub mod arguments;
pub mod storm;

use std::{
    collections::BTreeMap,
    fmt,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use azure_core::credentials::Secret;

use crate::blob::{BlobSettings, INPUT_CONTAINER, MIB, StorageAccount, Variant};
use custom_handler::{
    files::{
        Document, HostJson, field,
        setting::{filled_in, is_same},
    },
    wire::env,
};

/// Folder of the one function that needs storage and a worker.
pub const BLOB_FUNCTION: &str = "BlobBufferProcessor";

/// One app setting, as documentation and as a contract with the infrastructure.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Name of the environment variable.
    pub name: &'static str,
    /// What applies when it is not set; empty when there is nothing to fall back on.
    pub default: &'static str,
    /// Whether its value must never be shown.
    pub secret: bool,
    /// What it means, in one line.
    pub meaning: &'static str,
}

const fn setting(name: &'static str, default: &'static str, meaning: &'static str) -> Setting {
    Setting { name, default, secret: false, meaning }
}

const STORAGE: &str = "AzureWebJobsStorage";
const STORAGE_ACCOUNT: &str = "AzureWebJobsStorage__accountName";
const STORAGE_BLOB_URI: &str = "AzureWebJobsStorage__blobServiceUri";
const STORAGE_QUEUE_URI: &str = "AzureWebJobsStorage__queueServiceUri";
const STORAGE_TABLE_URI: &str = "AzureWebJobsStorage__tableServiceUri";
const STORAGE_CREDENTIAL: &str = "AzureWebJobsStorage__credential";
const STORAGE_CLIENT_ID: &str = "AzureWebJobsStorage__clientId";
const MAX_CONCURRENT: &str = "MAX_CONCURRENT_INVOCATIONS";
const BATCH_SIZE: &str = "BLOB_BATCH_SIZE";
/// Which way blobs are held, where the two numbers do not say.
pub const VARIANT: &str = "BLOB_VARIANT";
const BLOCK_MIB: &str = "BLOB_BLOCK_MIB";
/// The worker's memory limit.
pub const MEMORY_LIMIT_MIB: &str = "WORKER_MEMORY_LIMIT_MIB";
const FUNCTION_TIMEOUT: &str = "AzureFunctionsJobHost__functionTimeout";
const ITERATIONS: &str = "DurableLab__Iterations";
const CONTINUE_AS_NEW_EVERY: &str = "DurableLab__ContinueAsNewEvery";
/// Where telemetry goes; the platform's name.
pub const CONNECTION_STRING: &str = "APPLICATIONINSIGHTS_CONNECTION_STRING";
/// As which identity it is sent; the platform's name.
pub const AUTHENTICATION_STRING: &str = "APPLICATIONINSIGHTS_AUTHENTICATION_STRING";
const LOG_LEVEL: &str = "LOG_LEVEL";
/// The app's name: the role of its rows.
pub const SITE_NAME: &str = "WEBSITE_SITE_NAME";
const INSTANCE_ID: &str = "WEBSITE_INSTANCE_ID";
const HOSTNAME: &str = "WEBSITE_HOSTNAME";

/// All settings the handler reads, in the order of `docs/settings.md`.
pub const SETTINGS: &[Setting] = &[
    setting(
        MAX_CONCURRENT,
        "48 buffering, 12 streaming",
        "blob invocations the worker processes at once; the rest wait their turn",
    ),
    setting(
        BATCH_SIZE,
        "32 buffering, 8 streaming",
        "pieces of payload in memory at once: whole blobs when buffering, blocks when streaming",
    ),
    setting(
        VARIANT,
        "auto",
        "`buffering`, `streaming`, or `auto`: streaming when the two numbers are at most 8 and 12, else buffering",
    ),
    setting(BLOCK_MIB, "8", "size of a block when streaming, in MiB"),
    setting(
        MEMORY_LIMIT_MIB,
        "auto",
        "the worker's memory limit, in MiB; `auto`, and the most there is: the smallest limit of its cgroup, those above and MemTotal",
    ),
    Setting {
        secret: true,
        ..setting(STORAGE, "", "storage connection string; `UseDevelopmentStorage=true` is Azurite on its usual ports")
    },
    setting(STORAGE_ACCOUNT, "", "account name, when the app reaches storage with its identity"),
    setting(STORAGE_BLOB_URI, "", "blob endpoint, instead of the account name"),
    setting(STORAGE_QUEUE_URI, "", "queue endpoint, where the blob endpoint does not lead to it"),
    setting(STORAGE_TABLE_URI, "", "table endpoint, likewise"),
    setting(STORAGE_CREDENTIAL, "managedidentity", "the only kind of identity there is here"),
    setting(STORAGE_CLIENT_ID, "", "client id of a user-assigned identity"),
    setting(ITERATIONS, "100", "iterations of a storm whose start does not say, 1 to 100000"),
    setting(CONTINUE_AS_NEW_EVERY, "0", "iterations after which such a storm continues as new; 0 = never"),
    setting(FUNCTION_TIMEOUT, "functionTimeout of host.json", "the handler gives up 30 s before it"),
    Setting {
        secret: true,
        ..setting(
            CONNECTION_STRING,
            "",
            "Application Insights to send lines, dependencies and gauges to; when not set, lines go to stdout and stderr alone",
        )
    },
    setting(
        AUTHENTICATION_STRING,
        "",
        "`Authorization=AAD`, or `Authorization=AAD;ClientId=<id>`: telemetry is sent with the app's identity",
    ),
    setting(
        LOG_LEVEL,
        "info",
        "`info`, or `debug`: without Application Insights also one line for each episode on stdout",
    ),
    setting(SITE_NAME, "handler", "cloud_RoleName of the telemetry; set by the platform"),
    setting(INSTANCE_ID, "local", "cloud_RoleInstance of the telemetry; set by the platform"),
    setting(HOSTNAME, "", "where the app's own webhook is, if its binding does not say; set by the platform"),
    setting(env::PORT, "", "port to listen on; set by the host"),
    setting(env::APP_ROOT, "", "script root with host.json; set by the host"),
];

impl Variant {
    /// The app settings that switch to it.
    pub fn settings(self) -> Vec<(String, String)> {
        let (concurrent, batch) = self.preset();
        [(BATCH_SIZE, batch), (MAX_CONCURRENT, concurrent)]
            .map(|(name, number)| (name.to_owned(), number.to_string()))
            .into()
    }
}

/// What a storm is when its start does not say.
#[derive(Clone, Copy, Debug)]
pub struct ReplaySettings {
    pub iterations: u64,
    /// Of an execution; 0 = all.
    pub continue_as_new_every: u64,
}

/// Names of this app in telemetry, and where telemetry goes.
#[derive(Clone, Debug)]
pub struct TelemetrySettings {
    /// `APPLICATIONINSIGHTS_CONNECTION_STRING`, as it stands there.
    pub connection_string: Option<Secret>,
    /// `APPLICATIONINSIGHTS_AUTHENTICATION_STRING`, as it stands there.
    pub authentication_string: Option<String>,
    /// Whether stdout has a line for each episode where nothing is exported.
    pub is_verbose: bool,
    /// `cloud_RoleName`.
    pub role_name: String,
    /// `cloud_RoleInstance`.
    pub role_instance: String,
}

/// An account, or every problem of the settings that name it; `None` where none does.
pub type Account = Option<Result<StorageAccount, Vec<String>>>;

/// Everything the handler is told from outside.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Loopback port to listen on.
    pub port: u16,
    /// The blob function; `None` where the app does not have it. Then nothing here needs storage.
    pub blob: Option<BlobSettings>,
    /// The account of `AzureWebJobsStorage`. An app without the blob function runs in any case.
    pub storage: Account,
    pub replay: ReplaySettings,
    /// Where host.json is; `None` where nothing says so.
    pub script_root: Option<PathBuf>,
    /// `WEBSITE_HOSTNAME`.
    pub hostname: Option<String>,
    /// From receipt of an invocation to the latest moment of its answer.
    pub invocation_deadline: Duration,
    pub telemetry: TelemetrySettings,
}

/// Every problem of the settings, names and causes only: a value may be a key.
#[derive(Debug, thiserror::Error)]
#[error("invalid app settings: {}", problems.join("; "))]
pub struct SettingsError {
    /// One entry for each setting at fault.
    pub problems: Vec<String>,
}

/// The settings' environment: what the process inherited, or a map in a test.
pub type Source = BTreeMap<String, String>;

/// The process environment. Values that are not UTF-8 are left out.
pub fn process_environment() -> Source {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// What the front keeps back of `functionTimeout`, so that it answers before the host kills it.
const ANSWER_MARGIN: Duration = Duration::from_secs(30);

/// Stands for "no limit", and for all that is longer: a process does not live that long, and no clock ends before it.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);
/// The host's default on Premium and on a laptop.
const USUAL_TIMEOUT: Duration = Duration::from_secs(30 * 60);

impl Settings {
    /// Reads all settings; `package_variant` is `--variant` of the package's host.json.
    ///
    /// # Errors
    /// All problems at once.
    pub fn read(source: &Source, package_variant: Option<Variant>) -> Result<Self, SettingsError> {
        let mut reader = Reader { source, problems: Vec::new() };
        let port = reader.required::<u16>(env::PORT);
        let storage = reader.account();
        let blob = if reader.has_blob_function() { reader.blob(storage.clone(), package_variant) } else { None };
        let replay = ReplaySettings {
            iterations: reader.number_or(ITERATIONS, storm::ITERATIONS, 100),
            continue_as_new_every: reader.number_or(CONTINUE_AS_NEW_EVERY, storm::CONTINUE_AS_NEW_EVERY, 0),
        };
        let script_root = reader.text(env::APP_ROOT).map(PathBuf::from);
        let hostname = reader.text(HOSTNAME).map(str::to_owned);
        let invocation_deadline = reader.invocation_deadline();
        let telemetry = TelemetrySettings {
            connection_string: reader.text(CONNECTION_STRING).map(|it| Secret::new(it.to_owned())),
            authentication_string: reader.text(AUTHENTICATION_STRING).map(str::to_owned),
            is_verbose: reader.is_verbose(),
            role_name: reader.text(SITE_NAME).unwrap_or("handler").to_owned(),
            role_instance: reader.text(INSTANCE_ID).unwrap_or("local").to_owned(),
        };
        match port {
            Some(port) if reader.problems.is_empty() => {
                Ok(Self { port, blob, storage, replay, script_root, hostname, invocation_deadline, telemetry })
            }
            _ => Err(SettingsError { problems: reader.problems }),
        }
    }
}

const BLOCK_MIB_DEFAULT: u64 = 8;
/// Payload in memory under the streaming preset, however large the blobs are.
pub const STREAMING_BYTES: u64 = Variant::Streaming.preset().1 as u64 * BLOCK_MIB_DEFAULT * MIB;

struct Reader<'a> {
    source: &'a Source,
    problems: Vec<String>,
}

impl<'a> Reader<'a> {
    /// A setting by its name in any case; of two the one in the documented case counts.
    fn text(&self, name: &str) -> Option<&'a str> {
        let any_case = || self.source.iter().rev().find(|it| is_same(it.0, name)).map(|it| it.1);
        self.source.get(name).or_else(any_case).map(|it| it.trim()).filter(|it| !it.is_empty())
    }

    fn problem(&mut self, name: &str, cause: impl fmt::Display) {
        self.problems.push(format!("{name} {cause}"));
    }

    fn required<T: FromStr<Err: fmt::Display>>(&mut self, name: &str) -> Option<T> {
        if self.text(name).is_none() {
            self.problem(name, "is not set");
        }
        self.optional(name)
    }

    fn optional<T: FromStr<Err: fmt::Display>>(&mut self, name: &str) -> Option<T> {
        match self.text(name)?.parse() {
            Ok(value) => Some(value),
            Err(cause) => {
                self.problem(name, format_args!("is not valid: {cause}"));
                None
            }
        }
    }

    fn number_or(&mut self, name: &str, range: RangeInclusive<u64>, default: u64) -> u64 {
        if self.text(name).is_none() {
            return default;
        }
        self.number(name, range).unwrap_or(default)
    }

    fn number(&mut self, name: &str, range: RangeInclusive<u64>) -> Option<u64> {
        let value = self.text(name)?.parse().ok().filter(|it| range.contains(it));
        if value.is_none() {
            self.problem(name, format_args!("is not a whole number from {} to {}", range.start(), range.end()));
        }
        value
    }

    fn is_verbose(&mut self) -> bool {
        let level = self.text(LOG_LEVEL).unwrap_or("info");
        if !["info", "debug"].iter().any(|it| it.eq_ignore_ascii_case(level)) {
            self.problem(LOG_LEVEL, "is neither info nor debug");
        }
        level.eq_ignore_ascii_case("debug")
    }

    /// `None` when the setting is absent or says `auto`.
    fn auto<T>(&mut self, name: &str, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        match self.text(name) {
            None | Some("auto") => None,
            Some(_) => read(self),
        }
    }

    fn account(&self) -> Account {
        let (account, uri) = (self.text(STORAGE_ACCOUNT), self.text(STORAGE_BLOB_URI));
        let (name, account) = match (self.text(STORAGE), account.or(uri)) {
            (Some(text), _) => (STORAGE, StorageAccount::from_connection_string(text)),
            (None, Some(_)) => {
                let client_id = self.text(STORAGE_CLIENT_ID).map(str::to_owned);
                let by_identity = StorageAccount::from_identity(account, uri, client_id)
                    .and_then(|it| it.with_services(self.text(STORAGE_QUEUE_URI), self.text(STORAGE_TABLE_URI)));
                (account.map_or(STORAGE_BLOB_URI, |_| STORAGE_ACCOUNT), by_identity)
            }
            (None, None) => return None,
        };
        let is_other = |it: &&str| !it.eq_ignore_ascii_case("managedidentity");
        let kind = self.text(STORAGE_CREDENTIAL).filter(is_other);
        let kind = kind.map(|_| format!("{STORAGE_CREDENTIAL} is not managedidentity, the only kind supported"));
        match (kind, account) {
            (None, Ok(account)) => Some(Ok(account)),
            (kind, account) => {
                let cause = account.err().map(|cause| format!("{name} {cause}"));
                Some(Err(kind.into_iter().chain(cause).collect()))
            }
        }
    }

    /// The account, for a function that needs it.
    fn needed(&mut self, account: Account) -> Option<StorageAccount> {
        let unset =
            || Err(vec![format!("{STORAGE} is not set (nor {STORAGE_ACCOUNT}): {BLOB_FUNCTION} needs storage")]);
        account.unwrap_or_else(unset).map_err(|problems| self.problems.extend(problems)).ok()
    }

    /// Whether the script root has the blob function. Without a script root the app is taken to be complete.
    fn has_blob_function(&self) -> bool {
        self.text(env::APP_ROOT).is_none_or(|root| Path::new(root).join(BLOB_FUNCTION).join("function.json").is_file())
    }

    /// Container of the trigger's path; the labs' own where there is no script root, or the function has no trigger: then the host
    /// does not run it.
    fn trigger_container(&mut self) -> String {
        let own = || INPUT_CONTAINER.to_owned();
        let Some(root) = self.text(env::APP_ROOT) else { return own() };
        let file = Path::new(root).join(BLOB_FUNCTION).join("function.json");
        let read = trigger_path(&file, |name| self.text(name).map(str::to_owned));
        let path = read.unwrap_or_else(|why| {
            self.problems.push(format!("{}: {why}", file.display()));
            None
        });
        path.and_then(|it| Some(it.split_once('/')?.0.to_owned())).unwrap_or_else(own)
    }

    fn blob(&mut self, account: Account, package_variant: Option<Variant>) -> Option<BlobSettings> {
        let storage = self.needed(account);
        let concurrent = self.number(MAX_CONCURRENT, 1..=1024).map(|it| it as usize);
        let batch = self.number(BATCH_SIZE, 1..=1024).map(|it| it as usize);
        let explicit = self.auto(VARIANT, |reader| reader.optional::<Variant>(VARIANT));
        let (variant, decided_by) = decide_variant(explicit, concurrent.zip(batch), package_variant);
        let preset = variant.preset();
        let worker_memory_limit_bytes =
            self.auto(MEMORY_LIMIT_MIB, |reader| reader.number(MEMORY_LIMIT_MIB, 64..=1 << 20)).map(|it| it * MIB);
        Some(BlobSettings {
            storage: storage?,
            container: self.trigger_container(),
            worker_memory_limit_bytes,
            variant,
            decided_by,
            max_concurrent_invocations: concurrent.unwrap_or(preset.0),
            batch_size: batch.unwrap_or(preset.1),
            block_bytes: (self.number_or(BLOCK_MIB, 1..=1024, BLOCK_MIB_DEFAULT) * MIB) as usize,
        })
    }

    fn invocation_deadline(&mut self) -> Duration {
        let settings = || self.source.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let host = match self.text(env::APP_ROOT) {
            Some(root) => HostJson::read(&Path::new(root).join("host.json")),
            None => Ok(HostJson::default()),
        };
        let place = ["functionTimeout"];
        let timeout = host.map(|it| it.overridden(settings())).and_then(|host| {
            let timeout = host.time_span(&place)?.unwrap_or(USUAL_TIMEOUT).min(LONGEST_TIMEOUT);
            let deadline = timeout.checked_sub(ANSWER_MARGIN).filter(|it| !it.is_zero());
            deadline.ok_or_else(|| {
                host.unreadable(
                    &place,
                    "is not above 00:00:30: the handler answers 30 s before it, and would have no time",
                )
            })
        });
        timeout.unwrap_or_else(|error| {
            self.problems.push(error.to_string());
            Duration::default()
        })
    }
}

/// Path of the blob trigger that a `function.json` declares, `%NAME%` filled in.
///
/// # Errors
/// Why the file or the path cannot be read.
fn trigger_path(file: &Path, known: impl Fn(&str) -> Option<String>) -> Result<Option<String>, String> {
    let text = std::fs::read(file).map_err(|error| error.to_string())?;
    let document = Document::read(&text).map_err(|error| error.to_string())?;
    let bindings = field(&document.value, "bindings").as_array();
    let is_trigger =
        |it: &&serde_json::Value| field(it, "type").as_str().is_some_and(|it| it.eq_ignore_ascii_case("blobTrigger"));
    let Some(trigger) = bindings.and_then(|it| it.iter().find(is_trigger)) else { return Ok(None) };
    let Some(path) = field(trigger, "path").as_str() else { return Ok(None) };
    filled_in(path, known).map(Some).map_err(|error| format!("the trigger's path: {error}"))
}

/// Which variant applies, and what decided it: an explicit setting, else the two numbers, else the package.
fn decide_variant(
    explicit: Option<Variant>,
    numbers: Option<(usize, usize)>,
    package: Option<Variant>,
) -> (Variant, &'static str) {
    let (few, small) = Variant::Streaming.preset();
    match (explicit, numbers, package) {
        (Some(variant), _, _) => (variant, VARIANT),
        (None, Some((concurrent, batch)), _) if batch <= small && concurrent <= few => {
            (Variant::Streaming, "BLOB_BATCH_SIZE and MAX_CONCURRENT_INVOCATIONS")
        }
        (None, Some(_), _) => (Variant::Buffering, "BLOB_BATCH_SIZE and MAX_CONCURRENT_INVOCATIONS"),
        (None, None, Some(variant)) => (variant, "the package's --variant"),
        (None, None, None) => (Variant::Buffering, "default"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        let mut source: Source = [(env::PORT, "7000"), (STORAGE, "UseDevelopmentStorage=true")]
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        source.extend(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        Settings::read(&source, None)
    }

    #[test]
    fn swapping_the_two_numbers_swaps_the_variant() {
        use Variant::{Buffering, Streaming};
        let cases = [
            (None, None, None, Buffering, 48, 32),
            (None, Some(("12", "8")), None, Streaming, 12, 8),
            (None, Some(("48", "32")), Some(Streaming), Buffering, 48, 32),
            (None, Some(("13", "8")), None, Buffering, 13, 8),
            (None, None, Some(Streaming), Streaming, 12, 8),
            (Some("streaming"), Some(("48", "32")), None, Streaming, 48, 32),
            (Some("auto"), None, None, Buffering, 48, 32),
        ];
        for (explicit, numbers, package, variant, concurrent, batch) in cases {
            let mut source: Source = BTreeMap::from([
                (env::PORT.to_owned(), "7000".to_owned()),
                (STORAGE.to_owned(), "UseDevelopmentStorage=true".to_owned()),
            ]);
            source.extend(explicit.map(|it| (VARIANT.to_owned(), it.to_owned())));
            if let Some((concurrent, batch)) = numbers {
                source.insert(MAX_CONCURRENT.to_owned(), concurrent.to_owned());
                source.insert(BATCH_SIZE.to_owned(), batch.to_owned());
            }
            let blob = Settings::read(&source, package).unwrap().blob.unwrap();
            assert_eq!((blob.variant, blob.max_concurrent_invocations, blob.batch_size), (variant, concurrent, batch));
        }
    }

    #[test]
    fn all_problems_come_in_one_line_without_values() {
        let error = read(&[
            (env::PORT, "hunter2"),
            (STORAGE, "AccountName=a;AccountKey=hunter2;;"),
            (BATCH_SIZE, "hunter2"),
            (VARIANT, "hunter2"),
            (MEMORY_LIMIT_MIB, "1"),
            (FUNCTION_TIMEOUT, "00:00:30"),
            (STORAGE_CREDENTIAL, "hunter2"),
        ])
        .unwrap_err();
        let line = error.to_string();
        assert_eq!(error.problems.len(), 7, "{line}");
        assert!(!line.contains("hunter2") && !line.contains('\n'), "{line}");
    }

    #[test]
    fn the_deadline_stays_30_seconds_below_the_function_timeout() {
        assert_eq!(read(&[(FUNCTION_TIMEOUT, "00:10:00")]).unwrap().invocation_deadline, Duration::from_secs(570));
        assert_eq!(read(&[]).unwrap().invocation_deadline, Duration::from_secs(1770));
        assert_eq!(read(&[(FUNCTION_TIMEOUT, "1:2")]).unwrap().invocation_deadline, Duration::from_secs(62 * 60 - 30));
        assert_eq!(read(&[(FUNCTION_TIMEOUT, "2.00:00:00")]).unwrap().invocation_deadline.as_secs(), 172_770);
        for unlimited in ["-1", "10675199.02:48:05.4775807"] {
            let deadline = read(&[(FUNCTION_TIMEOUT, unlimited)]).unwrap().invocation_deadline;
            assert!(deadline > Duration::from_secs(1 << 31), "{deadline:?}");
        }
        for text in ["00:00:30", "ten", "24:00", "-00:10:00", "00:00:18446744073709549568", "", "10675200"] {
            let error = read(&[(FUNCTION_TIMEOUT, text)]).unwrap_err().to_string();
            assert!(error.contains(FUNCTION_TIMEOUT), "{error}");
        }
    }

    #[test]
    fn settings_are_found_in_any_case() {
        let settings = read(&[
            ("azurefunctionsjobhost__FunctionTimeout", "00:10:00"),
            ("blob_variant", "streaming"),
            ("Blob_Block_MiB", "4"),
        ]);
        let settings = settings.unwrap();
        let blob = settings.blob.unwrap();
        assert_eq!(settings.invocation_deadline, Duration::from_secs(570));
        assert_eq!((blob.variant, blob.block_bytes), (Variant::Streaming, 4 << 20));
        let line = read(&[("blob_BLOCK_mib", "hunter2")]).unwrap_err().to_string();
        assert!(line.contains(BLOCK_MIB) && !line.contains("hunter2"), "{line}");
    }

    #[test]
    fn host_json_is_read_as_dotnet_does_or_refused_with_file_and_line() {
        let root = std::env::temp_dir().join(format!("host-json-{}", std::process::id()));
        std::fs::create_dir_all(&root).unwrap();
        let file = root.join("host.json");
        let read = |text: &str| {
            std::fs::write(&file, text).unwrap();
            read(&[(env::APP_ROOT, root.to_str().unwrap())]).map(|it| it.invocation_deadline.as_secs())
        };
        for (text, seconds) in [
            ("\u{feff}{ // as the documentation writes it\n \"FunctionTimeout\": \"1.00:00:00\", }", 86_370),
            ("{\"functionTimeout\": \"00:05:00\", \"functionTimeout\": \"00:10:00\"}", 570),
            ("{}", 1_770),
        ] {
            assert_eq!(read(text).unwrap(), seconds, "{text}");
        }
        for (text, line) in [("{\n \"functionTimeout\": \"soon\"}", 2), ("{\n\n \"functionTimeout\" }", 3), ("", 1)] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(&format!("{}: line {line}: ", file.display())), "{error}");
        }
        std::fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn an_app_without_the_blob_function_needs_no_storage() {
        let root = std::env::temp_dir().join(format!("no-blob-{}", std::process::id()));
        std::fs::create_dir_all(&root).unwrap();
        let pairs = [
            (env::PORT, "7000"),
            (env::APP_ROOT, root.to_str().unwrap()),
            (ITERATIONS, "5"),
            (HOSTNAME, "localhost:7071"),
        ];
        let source: Source = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into_iter().collect();
        let settings = Settings::read(&source, None).unwrap();
        assert!(settings.blob.is_none());
        assert_eq!((settings.replay.iterations, settings.replay.continue_as_new_every), (5, 0));
        let error = Settings::read(&Source::from([(ITERATIONS.to_owned(), "0".to_owned())]), None).unwrap_err();
        assert!(error.to_string().contains(ITERATIONS), "{error}");
        std::fs::remove_dir(root).unwrap();
    }

    #[test]
    fn every_setting_that_is_read_stands_in_the_table() {
        let names: Vec<_> = SETTINGS.iter().map(|it| it.name).collect();
        for name in [STORAGE, STORAGE_CLIENT_ID, VARIANT, BLOCK_MIB, CONNECTION_STRING, INSTANCE_ID, env::APP_ROOT] {
            assert!(names.contains(&name), "{name}");
        }
    }
}
