//! What the host says while it starts and stops, as host 4.1037 says it; `docs/stand-in.md` has the lines that would not be true here.

use uuid::Uuid;

use super::{
    HostLog, aggregator,
    invocation::Begun,
    line::{Level, LogLine},
    version,
};
use crate::app::{AppError, FunctionJson, ScriptRoot, blob_message::HOST_ID};
use custom_handler::wire::timespan;

const STARTUP: &str = "Host.Startup";
const JOB_HOST: &str = "Microsoft.Azure.WebJobs.Hosting.JobHostService";
const OPTIONS: &str = "Microsoft.Azure.WebJobs.Hosting.OptionsLoggingService";
const ROUTES: &str = "Microsoft.Azure.WebJobs.Script.WebHost.WebScriptHostHttpRoutesManager";
/// Kinds of triggers with a listener that the host stops, and the listener's name.
const LISTENERS: [(&str, &str); 3] = [
    ("blobTrigger", "Microsoft.Azure.WebJobs.Extensions.Storage.Common.Listeners.CompositeListener"),
    ("orchestrationTrigger", "Microsoft.Azure.WebJobs.Extensions.DurableTask.DurableTaskListener"),
    ("activityTrigger", "Microsoft.Azure.WebJobs.Extensions.DurableTask.DurableTaskListener"),
];

/// The life of one host, told line by line.
#[derive(Debug)]
pub struct Lifecycle {
    log: HostLog,
    begun: Begun,
    functions: Vec<String>,
    /// Functions with the listener of each.
    listeners: Vec<(String, &'static str)>,
}

impl Lifecycle {
    /// Says what is about to start.
    ///
    /// # Errors
    /// What in host.json cannot be read.
    pub fn begin(log: &HostLog, root: &ScriptRoot) -> Result<Self, AppError> {
        let listener = |it: &FunctionJson| LISTENERS.iter().find(|(kind, _)| it.binding_of(kind).is_some());
        let listeners = root.functions().iter().filter_map(|it| Some((it.name.clone(), listener(it)?.1)));
        let mut functions: Vec<String> = root.functions().iter().map(|it| it.name.clone()).collect();
        functions.sort();
        let life = Self { log: log.clone(), begun: Begun::now(), functions, listeners: listeners.collect() };
        let operation = Uuid::new_v4().to_string();
        life.tell(
            503,
            "Initializing",
            "Initializing Host. OperationId: '{operationId}'.",
            &[("operationId", &operation)],
        );
        let format = "Host initialization: ConsecutiveErrors={attemptCount}, StartupCount={startCount}, OperationId={operationId}";
        let values = [("attemptCount", "0"), ("startCount", "1"), ("operationId", &operation)];
        life.tell(504, "Initialization", format, &values);
        life.options(root)?;
        log.write(JOB_HOST, Level::Information, "Starting JobHost");
        life.identity(root);
        life.found();
        Ok(life)
    }

    /// The host prints its options as indented JSON. Those that mean something here.
    fn options(&self, root: &ScriptRoot) -> Result<(), AppError> {
        let flush = timespan::print(aggregator::FLUSH_EVERY);
        let batch = aggregator::BATCH;
        let results = format!("\"BatchSize\": {batch},\n  \"FlushTimeout\": \"{flush}\",\n  \"IsEnabled\": true");
        let mut options = vec![("FunctionResultAggregatorOptions", results)];
        if root.functions().iter().any(|it| it.binding_of("blobTrigger").is_some()) {
            let settings = root.host_settings()?;
            let (parallelism, threshold) = (settings.parallelism, settings.poison_threshold);
            let blobs = format!("\"MaxDegreeOfParallelism\": {parallelism},\n  \"PoisonBlobThreshold\": {threshold}");
            options.push(("BlobsOptions", blobs));
        }
        for (name, values) in options {
            self.log.write(OPTIONS, Level::Information, format!("{name}\n{{\n  {values}\n}}"));
        }
        Ok(())
    }

    fn identity(&self, root: &ScriptRoot) {
        let format = "Starting Host (HostId={hostId}, InstanceId={instanceId}, Version={version}, ProcessId={processId}, \
                      AppDomainId={appDomainId}, InDebugMode={inDebugMode}, InDiagnosticMode={inDiagnosticMode}, \
                      FunctionsExtensionVersion={extensionVersion})";
        let values = [
            ("hostId", HOST_ID),
            ("instanceId", self.log.host_instance_id()),
            ("version", version::HOST),
            ("processId", &std::process::id().to_string()),
            ("appDomainId", "1"),
            ("inDebugMode", "False"),
            ("inDiagnosticMode", "False"),
            ("extensionVersion", root.setting("FUNCTIONS_EXTENSION_VERSION").unwrap_or("~4")),
        ];
        self.tell(401, "StartingHost", format, &values);
    }

    fn found(&self) {
        let count = self.functions.len();
        self.tell(314, "FunctionMetadataManagerLoadingFunctionsMetadata", "Loading functions metadata", &[]);
        let values = [("count", &*count.to_string())];
        self.tell(315, "FunctionMetadataManagerFunctionsLoaded", "{count} functions loaded", &values);
        self.log.write(STARTUP, Level::Information, format!("Generating {count} job function(s)"));
        let names: String = self.functions.iter().map(|it| format!("\nHost.Functions.{it}")).collect();
        self.log.write(STARTUP, Level::Information, format!("Found the following functions:{names}"));
    }

    /// Says which routes are served, as `Mapped function route …` each.
    pub fn initialized(&self, routes: &[String]) {
        if !routes.is_empty() {
            let text = format!("Initializing function HTTP routes\n{}", routes.join("\n"));
            self.log.write(ROUTES, Level::Information, text);
        }
        self.tell(412, "ScriptHostInitialized", "Host initialized ({ms}ms)", &[("ms", &*self.elapsed_ms())]);
    }

    /// Says that everything listens.
    pub fn started(&self) {
        self.tell(413, "ScriptHostStarted", "Host started ({ms}ms)", &[("ms", &*self.elapsed_ms())]);
        self.log.write(STARTUP, Level::Information, "Job host started");
    }

    pub fn stopping(&self) {
        self.log.write(JOB_HOST, Level::Information, "Stopping JobHost");
        self.each_listener("Stopping the listener '{listenerName}' for function '{functionName}'");
    }

    /// Says that nothing listens any more.
    pub fn stopped(&self) {
        self.each_listener("Stopped the listener '{listenerName}' for function '{functionName}'");
        self.log.write(STARTUP, Level::Information, "Job host stopped");
    }

    fn each_listener(&self, format: &str) {
        for (function, listener) in &self.listeners {
            let values = [("listenerName", *listener), ("functionName", function)];
            self.log.record(LogLine::formatted(STARTUP, Level::Information, format, &values));
        }
    }

    fn tell(&self, id: u16, name: &'static str, format: &str, values: &[(&str, &str)]) {
        self.log.record(LogLine::formatted(STARTUP, Level::Information, format, values).event(id, name));
    }

    fn elapsed_ms(&self) -> String {
        self.begun.elapsed().as_millis().to_string()
    }
}
