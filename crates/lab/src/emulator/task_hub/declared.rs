//! Which durable functions an app declares, and how `host.json` sets the hub up.

use std::time::Duration;

use super::store::Durability;
use crate::app::{FunctionJson, HostSettings, ScriptRoot, Versions, function_json::text};

/// How a hub works.
#[derive(Clone, Debug)]
pub struct HubOptions {
    pub name: String,
    pub max_orchestrations: usize,
    pub max_activities: usize,
    /// Whether histories have the inputs of activities and children.
    pub stores_inputs: bool,
    pub versions: Versions,
    /// When a commit counts.
    pub durability: Durability,
    /// When calls come back that were under way when the hub ended: an orchestrator's, and an activity's.
    pub again: (Duration, Duration),
}

impl HubOptions {
    /// What `extensions.durableTask` of an app's host.json says. The app was checked ([`ScriptRoot::host_settings`]): of one that says
    /// something unreadable these are the host's defaults.
    pub fn new(root: &ScriptRoot) -> Self {
        let settings = HostSettings::without_executable(root.host()).unwrap_or_default();
        Self {
            name: settings.hub_name,
            max_orchestrations: settings.max_orchestrations,
            max_activities: settings.max_activities,
            stores_inputs: settings.stores_inputs,
            versions: settings.versions,
            durability: if settings.commits_to_disk { Durability::Machine } else { Durability::default() },
            again: (Duration::ZERO, Duration::ZERO),
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
            let binding = |it: &FunctionJson| it.binding_of(kind).map(|it| text(it, "name").to_owned());
            root.functions().iter().filter_map(|it| Some((it.name.clone(), binding(it)?))).collect()
        };
        Self { orchestrators: triggered("orchestrationTrigger"), activities: triggered("activityTrigger") }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.orchestrators.is_empty() && self.activities.is_empty()
    }

    /// An orchestrator's declared name (clients may write it in another case), and the binding of its trigger.
    pub(super) fn orchestrator(&self, name: &str) -> Option<(&str, &str)> {
        find(&self.orchestrators, name).map(|(name, binding)| (name.as_str(), binding.as_str()))
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
