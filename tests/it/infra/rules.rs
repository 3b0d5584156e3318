//! What the linter would say, and what it cannot know of this app. Each rule gives the problems it finds.

use std::{collections::BTreeSet, path::Path};

use custom_handler::wire::env;
use incident_labs::settings::{SETTINGS, Settings, Source};
use lab::azure::doctor::{
    METRICS_PUBLISHER, STORAGE_ROLES,
    settings::{HANDLER_SETTINGS, PLATFORM_SETTINGS},
};
use serde_json::{Value, json};

use super::{
    Infra,
    bicep::{Bicep, Reference},
};

pub(super) const MAIN: &str = "main.bicep";
pub(super) const PARAMETERS: &str = "main.bicepparam";
pub(super) const ACCESS: &str = "modules/access.bicep";
pub(super) const APP: &str = "modules/plan-and-app.bicep";
pub(super) const STORAGE: &str = "modules/storage.bicep";
pub(super) const MONITORING: &str = "modules/monitoring.bicep";
pub(super) const IP_RESTRICTION: &str = "modules/ip-restriction.bicep";

/// The one list of API versions: what is used here stands in Azure's published types of that version. Sorted, and all of them used.
const API_VERSIONS: [&str; 16] = [
    "Microsoft.Authorization/roleAssignments@2022-04-01",
    "Microsoft.Insights/components@2020-02-02",
    "Microsoft.Insights/diagnosticSettings@2021-05-01-preview",
    "Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30",
    "Microsoft.OperationalInsights/workspaces@2025-07-01",
    "Microsoft.Storage/storageAccounts/blobServices/containers@2025-06-01",
    "Microsoft.Storage/storageAccounts/blobServices@2025-06-01",
    "Microsoft.Storage/storageAccounts/fileServices/shares@2025-06-01",
    "Microsoft.Storage/storageAccounts/fileServices@2025-06-01",
    "Microsoft.Storage/storageAccounts/queueServices/queues@2025-06-01",
    "Microsoft.Storage/storageAccounts/queueServices@2025-06-01",
    "Microsoft.Storage/storageAccounts@2025-06-01",
    "Microsoft.Web/serverfarms@2025-03-01",
    "Microsoft.Web/sites/basicPublishingCredentialsPolicies@2025-03-01",
    "Microsoft.Web/sites/config@2025-03-01",
    "Microsoft.Web/sites@2025-03-01",
];

/// What Bicep has of its own, of which anything is used here.
const FUNCTIONS: [&str; 19] = [
    "allowed",
    "concat",
    "description",
    "empty",
    "environment",
    "guid",
    "items",
    "listKeys",
    "loadJsonContent",
    "map",
    "maxLength",
    "minLength",
    "minValue",
    "readEnvironmentVariable",
    "resourceGroup",
    "split",
    "subscriptionResourceId",
    "union",
    "uniqueString",
];

/// What the grammar does not accept.
pub(super) fn syntax(infra: &Infra) -> Vec<String> {
    let faults = |(path, file): (&String, &Bicep)| {
        file.faults().into_iter().map(|it| format!("{path}, {it}")).collect::<Vec<_>>()
    };
    infra.files.iter().flat_map(faults).collect()
}

/// Names that nothing declares, and declarations that nothing uses.
pub(super) fn names(infra: &Infra) -> Vec<String> {
    let mut problems = Vec::new();
    for (path, file) in &infra.files {
        let mut used = BTreeSet::new();
        let mut calls = BTreeSet::new();
        for reference in file.references() {
            match reference {
                Reference::Name(name) => drop(used.insert(name)),
                Reference::Call(name) => drop(calls.insert(name)),
                Reference::Output { .. } => {}
            }
        }
        let declarations: Vec<_> = file.declarations().into_iter().filter(|it| it.kind != "output").collect();
        let declared: BTreeSet<&str> = declarations.iter().map(|it| it.name).collect();
        problems.extend(used.difference(&declared).map(|it| format!("{path}: {it} is not declared")));
        problems.extend(calls.iter().filter(|it| !FUNCTIONS.contains(it)).map(|it| format!("{path}: what is {it}()?")));
        let is_input = |kind: &str| matches!(kind, "param" | "var");
        let unused = declarations.iter().filter(|it| is_input(it.kind) || it.is_existing());
        let unused = unused.filter(|it| path != PARAMETERS && !used.contains(it.name));
        problems.extend(unused.map(|it| format!("{path}: {} is not used", it.name)));
        if declared.len() < declarations.len() {
            problems.push(format!("{path}: a name is declared twice"));
        }
    }
    problems
}

/// Modules that do not exist, are given too little or too much, or are asked for what they do not put out.
pub(super) fn modules(infra: &Infra) -> Vec<String> {
    let mut problems = Vec::new();
    for (path, file) in &infra.files {
        let parent = Path::new(path).parent().unwrap();
        let module = |label: &str| infra.files.get(parent.join(label).to_str().unwrap());
        for declaration in file.declarations().into_iter().filter(|it| it.kind == "module") {
            let Some(module) = module(declaration.label()) else {
                problems.push(format!("{path}: there is no {}", declaration.label()));
                continue;
            };
            let value = declaration.value().unwrap();
            let given = value["params"].as_object().unwrap().keys().map(String::as_str).collect();
            problems.extend(parameters(module, &given).iter().map(|it| format!("{path}, {}: {it}", declaration.name)));
        }
        for reference in file.references() {
            let Reference::Output { module: name, name: output } = reference else { continue };
            let module = module(file.declaration("module", name).label());
            let outputs = module.map(Bicep::declarations).unwrap_or_default();
            if !outputs.iter().any(|it| it.kind == "output" && it.name == output) {
                problems.push(format!("{path}: {name} has no output {output}"));
            }
        }
    }
    let file = &infra.files[PARAMETERS];
    assert_eq!(file.using(), Some(MAIN));
    let given = file.declarations().iter().map(|it| it.name).collect();
    problems.extend(parameters(&infra.files[MAIN], &given));
    problems
}

fn parameters(module: &Bicep, given: &BTreeSet<&str>) -> Vec<String> {
    let wanted: Vec<_> = module.declarations().into_iter().filter(|it| it.kind == "param").collect();
    let missing = wanted.iter().filter(|it| it.value().is_none() && !given.contains(it.name));
    let missing = missing.map(|it| format!("{} is not given", it.name));
    let unknown = given.iter().filter(|name| !wanted.iter().any(|it| it.name == **name));
    missing.chain(unknown.map(|it| format!("{it} is not asked for"))).collect()
}

/// Every parameter says what it is, and whether it must be given.
pub(super) fn descriptions(infra: &Infra) -> Vec<String> {
    let mut problems = Vec::new();
    for (path, file) in &infra.files {
        for it in file.declarations().into_iter().filter(|it| it.kind == "param") {
            let start = if it.value().is_some() { "Optional. " } else { "Required. " };
            if !it.description().is_some_and(|it| it.starts_with(start)) {
                problems.push(format!("{path}: the description of {} does not begin with {start:?}", it.name));
            }
        }
    }
    problems
}

/// The identity's roles and the operator's, each assigned where and how it should be, before there is an app.
pub(super) fn roles(infra: &Infra) -> Vec<String> {
    let (access, main) = (&infra.files[ACCESS], &infra.files[MAIN]);
    let mut problems = Vec::new();
    let value = |kind: &str, name: &str| access.declaration(kind, name).value().unwrap();
    let mut expect = |what: &str, is: Value, should_be: Value| {
        if is != should_be {
            problems.push(format!("{what}: {is} is not {should_be}"));
        }
    };
    let listed = |roles: &Value| roles.as_array().unwrap().iter().map(|it| json!([it["name"], it["id"]])).collect();
    expect("storage roles", listed(&value("var", "storageRoles")), json!(STORAGE_ROLES.map(|it| [it.name, it.id])));
    expect(
        "telemetry role",
        listed(&json!([value("var", "telemetryRole")])),
        json!([[METRICS_PUBLISHER.name, METRICS_PUBLISHER.id]]),
    );
    let operator = access.declaration("var", "operatorRoles");
    expect("roles of the operator", json!(operator.source().matches("id: '").count()), json!(2));

    for (name, over, scope, role, principal, kind) in [
        ("storageAssignment", "storageRoles", "data", "role", "identity", "ServicePrincipal"),
        ("telemetryAssignment", "", "component", "telemetryRole", "identity", "ServicePrincipal"),
        ("operatorAssignment", "operatorRoles", "data", "role", "operatorPrincipalId", "User"),
    ] {
        let mut assignment = value("resource", name);
        if !over.is_empty() {
            expect(name, assignment["in"].take(), json!(over));
            assignment = assignment["do"].take();
        }
        let is_identity = principal == "identity";
        let (in_name, id) =
            if is_identity { ("identity.id", "identity.properties.principalId") } else { (principal, principal) };
        let expression = |text: String| json!({ "expression": text });
        expect(name, assignment["scope"].take(), expression(scope.to_owned()));
        expect(name, assignment["name"].take(), expression(format!("guid({scope}.id, {in_name}, {role}.id)")));
        let properties = &mut assignment["properties"];
        expect(name, properties["principalId"].take(), expression(id.to_owned()));
        expect(name, properties["principalType"].take(), json!(kind));
        let definition = format!("subscriptionResourceId('Microsoft.Authorization/roleDefinitions', {role}.id)");
        expect(name, properties["roleDefinitionId"].take(), expression(definition));
        expect(name, properties["description"].take(), expression(format!("'${{{role}.name}}: ${{{role}.why}}'")));
    }
    let identity = main.declaration("module", "app").value().unwrap()["params"]["identityId"].take();
    expect("the app waits for its roles", identity, json!({ "expression": "access.outputs.identityId" }));
    problems
}

/// `name`, `value` of the app's settings without the preset's.
fn app_settings(infra: &Infra) -> Vec<(String, Value)> {
    let mut settings = infra.files[APP].declaration("var", "settings").value().unwrap();
    let settings = settings.as_array_mut().unwrap().iter_mut();
    settings.map(|it| (it["name"].as_str().unwrap().to_owned(), it["value"].take())).collect()
}

/// Settings that nobody reads, that are needed and missing, or that say the wrong thing.
pub(super) fn settings(infra: &Infra) -> Vec<String> {
    let mut problems = Vec::new();
    let app = infra.files[APP].declaration("resource", "app").value().unwrap();
    let site_config = app["properties"]["siteConfig"]["expression"].as_str().unwrap_or_default().to_owned();
    if !site_config.contains("concat(settings, map(items(presets[preset])") {
        problems.push("the app does not get both the settings and the preset".to_owned());
    }
    for (name, preset) in &infra.presets {
        let mut set = app_settings(infra);
        set.extend(preset.as_object().unwrap().iter().map(|(name, value)| (name.clone(), value.clone())));
        let names: BTreeSet<&str> = set.iter().map(|it| it.0.as_str()).collect();
        let is_known =
            |name: &str| SETTINGS.iter().any(|it| it.name == name) || PLATFORM_SETTINGS.iter().any(|it| it.0 == name);
        problems.extend(names.iter().filter(|it| !is_known(it)).map(|it| format!("{it}: nobody reads it")));
        let needed = PLATFORM_SETTINGS.iter().map(|it| it.0).chain(HANDLER_SETTINGS);
        problems.extend(needed.filter(|it| !names.contains(it)).map(|it| format!("{it} is not set")));
        for (name, value) in PLATFORM_SETTINGS {
            let is = set.iter().find(|it| it.0 == name).map(|it| &it.1);
            if value.is_some() && is.is_some_and(|is| is.as_str() != value) {
                problems.push(format!("{name} is {is:?}"));
            }
        }
        problems.extend(read_by_the_handler(&set, name));
    }
    problems
}

/// What the handler makes of them, when what only a deployment knows is there.
fn read_by_the_handler(set: &[(String, Value)], variant: &str) -> Option<String> {
    let mut source: Source =
        set.iter().map(|(name, value)| (name.clone(), value.as_str().unwrap_or("known-later").to_owned())).collect();
    source.insert(env::PORT.to_owned(), "7000".to_owned());
    match Settings::read(&source, None) {
        Err(error) => Some(error.to_string()),
        Ok(settings) => {
            let blob = settings.blob.unwrap();
            let account = blob.storage.blob_endpoint.to_string();
            let is_right = blob.variant.name() == variant && account.starts_with("https://known-later.blob.");
            (!is_right).then(|| format!("{variant}: the handler reads {blob:?}"))
        }
    }
}

/// Outputs, which every reader of a deployment sees.
pub(super) fn secrets(infra: &Infra) -> Vec<String> {
    const SECRETS: [&str; 5] = ["listKeys", "ConnectionString", "InstrumentationKey", "listAccountSas", "@secure"];
    let is_secret = |text: &str| SECRETS.iter().any(|it| text.contains(it));
    let mut problems = Vec::new();
    for (path, file) in &infra.files {
        let declarations = file.declarations();
        let holders: Vec<&str> =
            declarations.iter().filter(|it| it.kind == "var" && is_secret(it.source())).map(|it| it.name).collect();
        for output in declarations.iter().filter(|it| it.kind == "output") {
            let value = output.source().split_once('=').unwrap().1;
            let words: Vec<&str> = value.split(|it: char| !it.is_alphanumeric()).collect();
            if is_secret(value) || holders.iter().any(|it| words.contains(it)) {
                problems.push(format!("{path}: output {} holds a secret", output.name));
            }
        }
    }
    problems
}

pub(super) fn api_versions(infra: &Infra) -> Vec<String> {
    let used: BTreeSet<String> = infra
        .files
        .values()
        .flat_map(Bicep::declarations)
        .filter(|it| it.kind == "resource")
        .map(|it| it.label().to_owned())
        .collect();
    let listed: BTreeSet<String> = API_VERSIONS.map(str::to_owned).into();
    used.symmetric_difference(&listed).map(|it| format!("{it} is used or listed, not both")).collect()
}

/// What makes the experiment one, and what keeps strangers out.
pub(super) fn configuration(infra: &Infra) -> Vec<String> {
    let of = |path: &str, kind: &str, name: &str| infra.files[path].declaration(kind, name).value().unwrap();
    let expression = |text: &str| json!({ "expression": text });
    let (app, plan, site) = (of(APP, "resource", "app"), of(APP, "resource", "plan"), of(APP, "var", "siteConfig"));
    let (data, content) = (of(STORAGE, "resource", "data"), of(STORAGE, "resource", "content"));
    let component = of(MONITORING, "resource", "component");
    let logs = of(APP, "resource", "logs");
    let (ftp, scm) = (of(APP, "resource", "ftpPublishing"), of(APP, "resource", "scmPublishing"));
    let no_password =
        |name: &str| json!({ "parent": expression("app"), "name": name, "properties": { "allow": false } });
    let ranges = of(IP_RESTRICTION, "var", "ranges");
    let restriction = of(APP, "module", "restriction");
    let open = infra.files[MAIN].declaration("param", "allowedAddresses").value().unwrap_or_default();
    let facts = [
        ("plan", &plan["sku"], json!({ "name": "EP1", "tier": "ElasticPremium" })),
        ("plan is elastic", &plan["kind"], json!("elastic")),
        ("plan is Linux", &plan["properties"]["reserved"], json!(true)),
        ("app", &app["kind"], json!("functionapp,linux")),
        ("stack", &site["linuxFxVersion"], json!("")),
        ("one instance at least", &site["minimumElasticInstanceCount"], json!(1)),
        ("one instance at most", &site["functionAppScaleLimit"], json!(1)),
        ("HTTPS only", &app["properties"]["httpsOnly"], json!(true)),
        ("TLS", &site["minTlsVersion"], json!("1.2")),
        ("TLS of the deployment site", &site["scmMinTlsVersion"], json!("1.2")),
        ("FTP", &site["ftpsState"], json!("Disabled")),
        ("passwords for FTP", &ftp, no_password("ftp")),
        ("passwords for deployment", &scm, no_password("scm")),
        ("keys of the data account", &data["properties"]["allowSharedKeyAccess"], json!(false)),
        ("public blobs of the data account", &data["properties"]["allowBlobPublicAccess"], json!(false)),
        ("public blobs of the content account", &content["properties"]["allowBlobPublicAccess"], json!(false)),
        ("TLS of the data account", &data["properties"]["minimumTlsVersion"], json!("TLS1_2")),
        ("TLS of the content account", &content["properties"]["minimumTlsVersion"], json!("TLS1_2")),
        ("containers", &of(STORAGE, "var", "containers"), json!(["input", "results"])),
        ("queues", &of(STORAGE, "var", "queues"), json!(["webjobs-blobtrigger-poison"])),
        ("keys of Application Insights", &component["properties"]["DisableLocalAuth"], json!(true)),
        ("its workspace", &component["properties"]["WorkspaceResourceId"], expression("workspace.id")),
        (
            "the workspace's daily cap",
            &of(MONITORING, "resource", "workspace")["properties"]["workspaceCapping"],
            json!({ "dailyQuotaGb": expression("dailyQuotaGb") }),
        ),
        ("open to all unless said otherwise", &open, Value::Null),
        ("logs", &logs["properties"]["logs"], json!([{ "category": "FunctionAppLogs", "enabled": true }])),
        ("logs of", &logs["scope"], expression("app")),
        (
            "who may call: those allowed and the app itself",
            &ranges,
            expression("concat(allowedAddresses, map(outboundAddresses, it => '${it}/32'))"),
        ),
        (
            "the app's own addresses",
            &restriction["params"]["outboundAddresses"],
            expression("split(app.properties.possibleOutboundIpAddresses, ',')"),
        ),
    ];
    facts
        .iter()
        .filter(|(_, is, should_be)| **is != *should_be)
        .map(|it| format!("{}: {} is not {}", it.0, it.1, it.2))
        .collect()
}
