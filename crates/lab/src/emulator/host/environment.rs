//! What the handler finds in its environment.

use super::options::HostOptions;
use custom_handler::wire::env;

/// The variables the host adds for one start of the handler, which overrule inherited ones. The rest of the environment
/// is the lab's own, as it is the host's on Azure.
pub(super) fn of_handler(options: &HostOptions, port: u16, worker_id: &str) -> Vec<(String, String)> {
    let mut variables = vec![("FUNCTIONS_WORKER_RUNTIME".to_owned(), "custom".to_owned())];
    variables.extend(options.app_settings.iter().cloned());
    let root = options.script_root.display().to_string();
    let by_host = [
        (env::PORT, port.to_string()),
        (env::PORT_LEGACY, port.to_string()),
        (env::WORKER_ID, worker_id.to_owned()),
        (env::WORKER_ID_LEGACY, worker_id.to_owned()),
        (env::APP_ROOT, root),
    ];
    variables.extend(by_host.map(|(name, value)| (name.to_owned(), value)));
    variables
}
