//! Faults made in one place of one file, each found by the rule that is there for it.

use super::{
    Infra, Rule,
    rules::{
        self, ACCESS, APP, HANDLER_SETTINGS, IP_RESTRICTION, MAIN, PARAMETERS, PLATFORM_SETTINGS, STORAGE,
        STORAGE_ROLES,
    },
};

struct Fault {
    rule: Rule,
    path: &'static str,
    from: &'static str,
    to: &'static str,
    says: &'static str,
}

const fn fault(rule: Rule, path: &'static str, from: &'static str, to: &'static str, says: &'static str) -> Fault {
    Fault { rule, path, from, to, says }
}

const NAME: &str = "output appName string = app.name";
const OWN_RANGES: &str = "concat(allowedAddresses, map(outboundAddresses, it => '${it}/32'))";

const FAULTS: &[Fault] = &[
    fault(rules::syntax, MAIN, "param preset string = 'buffering'", "param preset = ", "main.bicep, line"),
    fault(rules::names, APP, "serverFarmId: plan.id", "serverFarmId: plann.id", "plann is not declared"),
    fault(rules::names, STORAGE, "for queueName in queues", "for queueName in []", "queues is not used"),
    fault(rules::names, MAIN, "uniqueString(", "uniqueText(", "what is uniqueText()?"),
    fault(rules::modules, MAIN, "identityName: '${name}-identity'", "", "identityName is not given"),
    fault(rules::modules, MAIN, "    name: name\n", "    title: name\n", "title is not asked for"),
    fault(rules::modules, MAIN, "app.outputs.appUrl", "app.outputs.url", "app has no output url"),
    fault(rules::modules, MAIN, "'modules/storage.bicep'", "'storage.bicep'", "there is no storage.bicep"),
    fault(rules::modules, PARAMETERS, "param name =", "param title =", "title is not asked for"),
    fault(rules::descriptions, STORAGE, "Required. Region", "Region", "the description of location"),
    fault(rules::roles, MAIN, "access.outputs.identityId", "'/some/identity'", "the app waits for its roles"),
    fault(rules::roles, ACCESS, "guid(data.id, identity.id", "guid(identity.id", "storageAssignment"),
    fault(rules::roles, ACCESS, "'3913510d", "'3913510e", "telemetry role"),
    fault(
        rules::secrets,
        APP,
        NAME,
        "output key string = content.listKeys().keys[0].value",
        "output key holds a secret",
    ),
    fault(rules::secrets, APP, NAME, "output key string = settings[11].value", "output key holds a secret"),
    fault(rules::api_versions, APP, "serverfarms@2024-04-01", "serverfarms@2023-12-01", "serverfarms@2023-12-01"),
    fault(rules::configuration, APP, "functionAppScaleLimit: 1", "functionAppScaleLimit: 2", "one instance at most"),
    fault(rules::configuration, STORAGE, "SharedKeyAccess: false", "SharedKeyAccess: true", "keys of the data account"),
    fault(rules::configuration, APP, "'FunctionAppLogs'", "'AppServiceConsoleLogs'", "logs"),
    fault(rules::configuration, IP_RESTRICTION, OWN_RANGES, "allowedAddresses", "who may call"),
    fault(rules::settings, APP, "value: 'custom'", "value: 'dotnet-isolated'", "FUNCTIONS_WORKER_RUNTIME is"),
    fault(rules::settings, "streaming.json", "\"8\"", "\"32\"", "streaming: the handler reads"),
];

fn assert_found(rule: Rule, path: &str, from: &str, to: &str, says: &str) {
    let changed = Infra::changed(|file, text| if file == path { replaced(&text, from, to) } else { text });
    let found = rule(&changed);
    assert!(found.iter().any(|it| it.contains(says)), "{path}, {to:?} for {from:?}: {says:?} is not in {found:?}");
}

fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from:?} is not there to be changed");
    text.replacen(from, to, 1)
}

#[test]
fn every_fault_is_found() {
    for it in FAULTS {
        assert_found(it.rule, it.path, it.from, it.to, it.says);
    }
}

#[test]
fn a_role_that_is_taken_away_is_missed() {
    for (name, id) in STORAGE_ROLES {
        let entry = format!("    name: '{name}'\n    id: '{id}'");
        assert_found(rules::roles, ACCESS, &entry, "    name: 'Reader'\n    id: ''", "storage roles");
    }
}

#[test]
fn a_setting_that_is_renamed_is_missed() {
    for name in PLATFORM_SETTINGS.iter().map(|it| it.0).chain(HANDLER_SETTINGS) {
        let is_preset = name == "BLOB_BATCH_SIZE" || name == "MAX_CONCURRENT_INVOCATIONS";
        let (path, quote) = if is_preset { ("buffering.json", '"') } else { (APP, '\'') };
        let (from, to) = (format!("{quote}{name}{quote}"), format!("{quote}{name}S{quote}"));
        assert_found(rules::settings, path, &from, &to, &format!("{name}S: nobody reads it"));
        assert_found(rules::settings, path, &from, &to, &format!("{name} is not set"));
    }
}
