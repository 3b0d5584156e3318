//! The labs' app as it is deployed and healthy, behind the scripted endpoints: a fault is a change of one answer.

use std::collections::BTreeMap;

use http::Method;
use incident_labs::functions::{Lab, names_of};
use serde_json::{Value, json};

use crate::scripted_azure::{Reply, SUBSCRIPTION, ScriptedAzure, TENANT, TOKEN};

pub(crate) const APP: &str = "labs-app";
pub(crate) const GROUP: &str = "rg-labs";
pub(crate) const WORKSPACE: &str = "66666666-aaaa-4bbb-8ccc-00000000000d";
/// Values of the app's settings that no text may hold.
const SECRETS: [&str; 2] = ["c2VjcmV0LWtleS1vZi1hLXRlc3Q", "77777777-aaaa-4bbb-8ccc-00000000000c"];

/// `(name of the answer, method, part of the path, end of the path)`. Each name is a fixture's in `tests/it/azure/doctor`, except the
/// handler's own answer and storage's, which is XML.
const ROUTES: [(&str, Method, &str, &str); 15] = [
    ("site", Method::GET, "management.azure.com", "/sites/labs-app"),
    ("configuration", Method::GET, "/sites/labs-app", "/config/web"),
    ("plan", Method::GET, "", "/serverfarms/labs-plan"),
    ("settings", Method::POST, "/sites/labs-app", "/config/appsettings/list"),
    ("host-status", Method::GET, "/sites/labs-app", "/hostruntime/admin/host/status"),
    ("functions", Method::GET, "/sites/labs-app", "/functions"),
    ("storage-roles", Method::GET, "/storageAccounts/labsdata", "/roleAssignments"),
    ("components", Method::GET, "/rg-labs/", "/Microsoft.Insights/components"),
    ("telemetry-role", Method::GET, "/components/labs-telemetry", "/roleAssignments"),
    ("workspace", Method::GET, "/rg-labs/", "/workspaces/labs-logs"),
    ("diagnostic-settings", Method::GET, "/sites/labs-app", "/diagnosticSettings"),
    ("query", Method::POST, "api.loganalytics.azure.com", "/query"),
    ("storage-access", Method::GET, "labs-app.azurewebsites.net", "/api/lab/storage-access"),
    ("blob", Method::GET, "labsdata.blob.core.windows.net", "/input"),
    ("queue", Method::GET, "labsdata.queue.core.windows.net", "/webjobs-blobtrigger-poison/messages"),
];

/// Answers by their name.
#[derive(Clone)]
pub(crate) struct DeployedApp(BTreeMap<&'static str, Reply>);

impl DeployedApp {
    /// With the OOM lab's package.
    pub(crate) fn healthy() -> Self {
        let mut replies: BTreeMap<_, _> = ROUTES
            .iter()
            .map(|(name, ..)| match *name {
                "storage-access" => (*name, Reply::new(200, storage_access())),
                "blob" | "queue" => (*name, Reply::new(200, Value::Null)),
                name => (name, Reply::fixture(&format!("doctor/{name}"))),
            })
            .collect();
        let listed = &mut replies.get_mut("functions").unwrap().body["value"];
        *listed = functions_of(Lab::Oom, &listed[0]);
        Self(replies)
    }

    /// With one answer changed.
    pub(crate) fn with(mut self, name: &str, change: impl FnOnce(&mut Reply)) -> Self {
        change(self.0.get_mut(name).unwrap());
        self
    }

    pub(crate) fn on(self, endpoints: &ScriptedAzure) {
        endpoints.rule(move |asked| {
            let path = asked.url.split('?').next().unwrap();
            let is_it = |(_, method, part, end): &&(&str, Method, &str, &str)| {
                asked.method == method.as_str() && path.contains(part) && path.ends_with(end)
            };
            ROUTES.iter().find(is_it).map(|it| self.0[it.0].clone())
        });
    }
}

/// The functions of a lab's package, listed like `one`.
pub(crate) fn functions_of(lab: Lab, one: &Value) -> Value {
    let listed = names_of(lab).into_iter().map(|name| {
        let mut function = one.clone();
        function["name"] = json!(format!("{APP}/{name}"));
        function["properties"]["name"] = json!(name);
        function
    });
    listed.collect()
}

/// What the handler answers where all roles are there.
pub(crate) fn storage_access() -> Value {
    let plane =
        |(plane, role): (&str, &str)| json!({"plane": plane, "role": role, "outcome": "allowed", "status": 200});
    let planes = [
        ("blob", "Storage Blob Data Owner"),
        ("file", "Storage File Data Privileged Contributor"),
        ("queue", "Storage Queue Data Contributor"),
        ("table", "Storage Table Data Contributor"),
    ];
    json!({"account": "labsdata", "planes": planes.map(plane)})
}

/// No token, key or id of subscription and tenant is in a text.
pub(crate) fn assert_clean(text: &str) {
    for secret in SECRETS.iter().chain(&[SUBSCRIPTION, TENANT, TOKEN]) {
        assert!(!text.to_lowercase().contains(&secret.to_lowercase()), "{secret} is in {text}");
    }
}
