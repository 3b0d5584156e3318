//! The handler's command line.

use std::ffi::OsString;

use lexopt::prelude::{Long, Short, ValueExt};

use super::SETTINGS;
use crate::blob::Variant;

/// What the process is to be.
#[derive(Debug, PartialEq, Eq)]
pub enum Role {
    /// The process the host starts.
    Front,
    /// The process the front starts.
    Worker,
    /// Neither: print this and end.
    Tell(String),
}

#[derive(Debug)]
pub struct Arguments {
    /// Role of the process.
    pub role: Role,
    /// `--variant` of the package.
    pub variant: Option<Variant>,
}

impl Arguments {
    /// Reads the arguments after the program's name.
    ///
    /// # Errors
    /// One line that names the argument.
    pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, String> {
        let mut parsed = Self { role: Role::Front, variant: None };
        let mut parser = lexopt::Parser::from_args(arguments);
        while let Some(argument) = parser.next().map_err(|error| error.to_string())? {
            match argument {
                Long("worker") => parsed.role = Role::Worker,
                Long("variant") => {
                    let value = parser.value().map_err(|error| error.to_string())?;
                    parsed.variant = Some(value.parse().map_err(|error| format!("--variant: {error}"))?);
                }
                Long("help") | Short('h') => parsed.role = Role::Tell(help()),
                Long("version") | Short('V') => parsed.role = Role::Tell(env!("CARGO_PKG_VERSION").to_owned()),
                other => return Err(format!("{} (see --help)", other.unexpected())),
            }
        }
        Ok(parsed)
    }
}

fn help() -> String {
    let settings: String = SETTINGS
        .iter()
        .map(|setting| {
            let default = if setting.default.is_empty() { String::new() } else { format!(" [{}]", setting.default) };
            format!("  {}{default}\n      {}\n", setting.name, setting.meaning)
        })
        .collect();
    format!(
        "Custom handler of an Azure Functions app: processes blobs in a worker process that may be killed.\n\
         The Functions host starts it; `lab start` or `func start` do so on a laptop.\n\n\
         Usage: handler [--variant buffering|streaming]\n\n\
         --variant NAME  what this package is when the app settings do not say\n\
         --worker        used by the handler itself\n\n\
         App settings [default]:\n{settings}\n\
         Exit codes: 200 stopped by SIGTERM or the end of its host (a host restarts it), 64 bad settings or arguments, 1 anything else\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Arguments, String> {
        Arguments::parse(arguments.iter().map(OsString::from))
    }

    #[test]
    fn roles_and_variants_are_told_by_arguments() {
        assert_eq!(parse(&[]).unwrap().role, Role::Front);
        let worker = parse(&["--worker", "--variant", "streaming"]).unwrap();
        assert_eq!((worker.role, worker.variant), (Role::Worker, Some(Variant::Streaming)));
        for wrong in [&["--variant"][..], &["--variant", "x"], &["file"], &["--nope"]] {
            assert!(!parse(wrong).unwrap_err().contains('\n'));
        }
    }

    #[test]
    fn help_names_every_setting() {
        let Role::Tell(text) = parse(&["--help"]).unwrap().role else { panic!("no help") };
        assert!(SETTINGS.iter().all(|setting| text.contains(setting.name)));
    }
}
