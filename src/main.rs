//! `handler`: the custom handler's executable, in the role its arguments name.

use std::{path::Path, process::ExitCode};

use custom_handler::{Listener, ServeError, console};
use incident_labs::{
    blob::{Variant, tls},
    functions,
    settings::{
        Settings,
        arguments::{Arguments, Role},
        process_environment,
    },
    telemetry,
    worker::{self, Worker},
};
use tokio::task::JoinSet;

/// sysexits' EX_USAGE, for bad settings and arguments.
const EXIT_USAGE: u8 = 64;

fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args_os().skip(1)) {
        Ok(arguments) => arguments,
        Err(error) => return fail(EXIT_USAGE, &error),
    };
    if let Role::Tell(text) = arguments.role {
        console::out(text.trim_end());
        return ExitCode::SUCCESS;
    }
    let settings = match Settings::read(&process_environment(), arguments.variant) {
        Ok(settings) => settings,
        Err(error) => return fail(EXIT_USAGE, &error.to_string()),
    };
    // Once is enough: a worker has its limit from its front.
    if let (Role::Front, Some(blob)) = (&arguments.role, &settings.blob)
        && let Err(error) = worker::ensure_room(blob, Path::new("/"))
    {
        return fail(EXIT_USAGE, &error.to_string());
    }
    tls::choose_provider();
    let result = match arguments.role {
        Role::Worker => {
            telemetry::start_worker();
            match &settings.blob {
                Some(blob) => worker::process::run(blob).map(|()| 0),
                None => return fail(EXIT_USAGE, "--worker: the app has no blob function"),
            }
        }
        _ => run_front(&settings, arguments.variant),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => fail(1, &format!("{error:#}")),
    }
}

/// Runs the front until SIGTERM, Ctrl-C or the end of its host; gives its exit code.
fn run_front(settings: &Settings, package_variant: Option<Variant>) -> anyhow::Result<u8> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let telemetry = telemetry::start_front(settings);
    let code = runtime.block_on(serve(settings, package_variant));
    // Nothing that is still running may keep the process from ending.
    runtime.shutdown_background();
    telemetry.stop();
    code
}

async fn serve(settings: &Settings, package_variant: Option<Variant>) -> anyhow::Result<u8> {
    let listener = Listener::bind(settings.port).await?.script_root(settings.script_root.as_deref());
    // Without a host nobody reads stderr.
    let listener = listener.telling(telemetry::warn);
    // Ends with the front: nothing waits for it.
    let mut aside = JoinSet::new();
    aside.spawn(functions::storage_access::tell_at_start(settings.storage.clone()));
    let worker = settings.blob.as_ref().map(|blob| Worker::start(blob, package_variant));
    let code: Result<u8, ServeError> = functions::app(settings, worker.clone()).serve_on(listener).await;
    if let Some(worker) = worker {
        worker.stop().await;
    }
    Ok(code?)
}

/// One line: the host keeps only the last three of stderr.
fn fail(code: u8, line: &str) -> ExitCode {
    console::err(line);
    ExitCode::from(code)
}
