//! Faults made in one place of one file, each found by the rule that is there for it.

use lab::azure::doctor::{
    STORAGE_ROLES,
    settings::{HANDLER_SETTINGS, PLATFORM_SETTINGS},
};

use super::{
    Infra, Rule,
    rules::{self, ACCESS, APP, IP_RESTRICTION, MAIN, MONITORING, PARAMETERS, STORAGE},
};

/// The rule; where, what is replaced by what; what the rule then says.
type Fault = (Rule, &'static str, &'static str, &'static str, &'static str);

const NAME: &str = "output appName string = app.name";
const OWN_RANGES: &str = "concat(allowedAddresses, map(outboundAddresses, it => '${it}/32'))";

const FAULTS: &[Fault] = &[
    (rules::syntax, MAIN, "param preset string = 'buffering'", "param preset = ", "main.bicep, line"),
    (rules::names, APP, "serverFarmId: plan.id", "serverFarmId: plann.id", "plann is not declared"),
    (rules::names, STORAGE, "for queueName in queues", "for queueName in []", "queues is not used"),
    (rules::names, MAIN, "uniqueString(", "uniqueText(", "what is uniqueText()?"),
    (rules::modules, MAIN, "identityName: '${name}-identity'", "", "identityName is not given"),
    (rules::modules, MAIN, "    name: name\n", "    title: name\n", "title is not asked for"),
    (rules::modules, MAIN, "app.outputs.appUrl", "app.outputs.url", "app has no output url"),
    (rules::modules, MAIN, "'modules/storage.bicep'", "'storage.bicep'", "there is no storage.bicep"),
    (rules::modules, PARAMETERS, "param name =", "param title =", "title is not asked for"),
    (rules::descriptions, STORAGE, "Required. Region", "Region", "the description of location"),
    (rules::roles, MAIN, "access.outputs.identityId", "'/some/identity'", "the app waits for its roles"),
    (rules::roles, ACCESS, "guid(data.id, identity.id", "guid(identity.id", "storageAssignment"),
    (rules::roles, ACCESS, "'3913510d", "'3913510e", "telemetry role"),
    (rules::secrets, APP, NAME, "output key string = content.listKeys().keys[0].value", "output key holds a secret"),
    (rules::secrets, APP, NAME, "output key string = settings[11].value", "output key holds a secret"),
    (rules::api_versions, APP, "serverfarms@2025-03-01", "serverfarms@2023-12-01", "serverfarms@2023-12-01"),
    (rules::configuration, APP, "functionAppScaleLimit: 1", "functionAppScaleLimit: 2", "one instance at most"),
    (rules::configuration, STORAGE, "SharedKeyAccess: false", "SharedKeyAccess: true", "keys of the data account"),
    (rules::configuration, APP, "'FunctionAppLogs'", "'AppServiceConsoleLogs'", "logs"),
    (rules::configuration, IP_RESTRICTION, OWN_RANGES, "allowedAddresses", "who may call"),
    (rules::configuration, MAIN, "allowedAddresses string[]", "allowedAddresses string[] = []", "open to all"),
    (rules::configuration, MONITORING, "dailyQuotaGb: dailyQuotaGb", "dailyQuotaGb: -1", "daily cap"),
    (rules::settings, APP, "value: 'custom'", "value: 'dotnet-isolated'", "FUNCTIONS_WORKER_RUNTIME is"),
    (rules::settings, "streaming.json", "\"8\"", "\"32\"", "streaming: the handler reads"),
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
    for (rule, path, from, to, says) in FAULTS {
        assert_found(*rule, path, from, to, says);
    }
}

#[test]
fn a_role_that_is_taken_away_is_missed() {
    for role in STORAGE_ROLES {
        let entry = format!("    name: '{}'\n    id: '{}'", role.name, role.id);
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
