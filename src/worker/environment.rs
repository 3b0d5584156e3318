//! What the worker gets of the front's environment. It handles other people's bytes, so it knows no more than its work takes: what else
//! a machine or an app keeps in variables, keys above all, stays with the front.

use crate::settings::{AUTHENTICATION_STRING, CONNECTION_STRING, SETTINGS, Source};
use custom_handler::wire::env;

/// Settings that are the front's alone. What stands in the script root may name variables that the worker does not get; telemetry is
/// sent by the front.
const OF_THE_FRONT: [&str; 3] = [env::APP_ROOT, AUTHENTICATION_STRING, CONNECTION_STRING];

/// Beside the settings; compared without regard to case, as proxies are written in both.
const NEEDED: [&str; 24] = [
    // Programs, files and names.
    "HOME",
    "LANG",
    "LC_ALL",
    "LD_LIBRARY_PATH",
    "PATH",
    "TMPDIR",
    "TZ",
    // The way to storage.
    "ALL_PROXY",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NO_PROXY",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    // The identity it signs in with.
    "AZURE_AUTHORITY_HOST",
    "AZURE_CLIENT_ID",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_TENANT_ID",
    "IDENTITY_ENDPOINT",
    "IDENTITY_HEADER",
    "MSI_ENDPOINT",
    "MSI_SECRET",
    // `systemd-run --user`.
    "DBUS_SESSION_BUS_ADDRESS",
    "XDG_RUNTIME_DIR",
    // By this the lab finds what a killed lab left behind.
    "INCIDENT_LAB_FOLDER",
];

pub(super) fn of_worker(front: &Source) -> impl Iterator<Item = (&String, &String)> {
    let needed = |name: &str| {
        let mut names = SETTINGS.iter().map(|it| it.name).filter(|it| !OF_THE_FRONT.contains(it)).chain(NEEDED);
        names.any(|it| it.eq_ignore_ascii_case(name))
    };
    front.iter().filter(move |(name, _)| needed(name))
}
