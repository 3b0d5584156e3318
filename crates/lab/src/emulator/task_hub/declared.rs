//! Which durable functions an app declares, and how `host.json` sets the hub up.

use serde_json::Value;

use super::store::Durability;
use crate::app::ScriptRoot;

/// How a hub works.
#[derive(Clone, Debug)]
pub struct HubOptions {
    pub name: String,
    pub max_orchestrations: usize,
    pub max_activities: usize,
    /// When a commit counts.
    pub durability: Durability,
}

/// Concurrency per core where host.json says nothing (extension: `AzureStorageDurabilityProviderFactory.cs`).
const PER_CORE: usize = 10;

impl HubOptions {
    /// What `extensions.durableTask` of an app's host.json says.
    pub fn new(root: &ScriptRoot) -> Self {
        let durable = &root.host()["extensions"]["durableTask"];
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let number = |name: &str| {
            durable[name]
                .as_u64()
                .and_then(|it| usize::try_from(it).ok())
                .filter(|it| *it > 0)
                .unwrap_or(PER_CORE * cores)
        };
        Self {
            name: durable["hubName"].as_str().unwrap_or("TestHubName").to_owned(),
            max_orchestrations: number("maxConcurrentOrchestratorFunctions"),
            max_activities: number("maxConcurrentActivityFunctions"),
            // Ours alone: the Azure Storage provider has nothing to choose.
            durability: match durable["storageProvider"]["synchronous"].as_str() {
                Some("FULL") => Durability::Machine,
                _ => Durability::default(),
            },
        }
    }
}

/// Names of functions and of their trigger's binding.
#[derive(Clone, Debug, Default)]
pub struct DurableFunctions {
    orchestrators: Vec<(String, String)>,
    activities: Vec<(String, String)>,
}

impl DurableFunctions {
    pub fn new(root: &ScriptRoot) -> Self {
        let triggered = |kind: &str| {
            let found =
                root.functions().iter().filter_map(|it| Some((it.name.clone(), it.binding_of(kind)?["name"].clone())));
            found
                .map(|(name, binding): (String, Value)| (name, binding.as_str().unwrap_or_default().to_owned()))
                .collect()
        };
        Self { orchestrators: triggered("orchestrationTrigger"), activities: triggered("activityTrigger") }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.orchestrators.is_empty() && self.activities.is_empty()
    }

    /// An orchestrator's name as it is declared: clients may write it in another case.
    pub(super) fn orchestrator(&self, name: &str) -> Option<&str> {
        Some(find(&self.orchestrators, name)?.0.as_str())
    }

    /// The binding of an orchestrator's trigger.
    pub(super) fn orchestrator_binding(&self, name: &str) -> Option<&str> {
        Some(find(&self.orchestrators, name)?.1.as_str())
    }

    /// An activity's declared name, and the binding of its trigger.
    pub(super) fn activity(&self, name: &str) -> Option<(&str, &str)> {
        find(&self.activities, name).map(|(name, binding)| (name.as_str(), binding.as_str()))
    }

    /// The extension's sentence about the orchestrators there are.
    pub(super) fn known(&self) -> String {
        if self.orchestrators.is_empty() {
            return "No orchestrator functions are currently registered!".to_owned();
        }
        format!("The following are the known orchestrator functions: {}.", quoted(&self.orchestrators))
    }

    /// The same about activities.
    pub(super) fn known_activities(&self) -> String {
        if self.activities.is_empty() {
            return "No activity functions are currently registered!".to_owned();
        }
        format!("The following are the known activity functions: {}.", quoted(&self.activities))
    }
}

fn find<'a>(functions: &'a [(String, String)], name: &str) -> Option<&'a (String, String)> {
    functions.iter().find(|(it, _)| it.eq_ignore_ascii_case(name))
}

fn quoted(functions: &[(String, String)]) -> String {
    functions.iter().map(|(name, _)| format!("'{name}'")).collect::<Vec<_>>().join(", ")
}
