//! `handler`: the custom handler's executable, in the role its arguments name.

use std::process::ExitCode;

use custom_handler::console;
use incident_labs::{
    blob::tls,
    front,
    settings::{
        Settings,
        arguments::{Arguments, Role},
        process_environment,
    },
    telemetry, worker,
};

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
    tls::choose_provider();
    let result = match arguments.role {
        Role::Worker => {
            telemetry::start_worker();
            match &settings.blob {
                Some(blob) => worker::process::run(blob).map(|()| 0),
                None => return fail(EXIT_USAGE, "--worker: the app has no blob function"),
            }
        }
        _ => front::run(&settings, arguments.variant),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => fail(1, &format!("{error:#}")),
    }
}

/// One line: the host keeps only the last three of stderr.
fn fail(code: u8, line: &str) -> ExitCode {
    console::err(line);
    ExitCode::from(code)
}
