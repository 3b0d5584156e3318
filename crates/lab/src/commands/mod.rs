//! What each command of `lab` does. Errors here are for the person at the keyboard.

pub mod azurite;
pub mod bench;
pub mod load;
pub mod package;
pub mod process;
pub mod redrive;
pub mod run;
pub mod stage;
pub mod start;

use std::process::ExitCode;

use clap::builder::{PossibleValuesParser, TypedValueParser};

pub use crate::machine::exit::{EXIT_COULD_NOT_RUN, EXIT_OK, EXIT_USAGE, EXIT_WRONG, UsageError, interrupted};
use incident_labs::settings::Variant;

/// Prints a failure and says which exit code it is.
pub fn report(result: anyhow::Result<u8>) -> ExitCode {
    match result {
        Ok(code) => code.into(),
        Err(error) => {
            eprintln!("error: {error:#}");
            let is_usage = error.downcast_ref::<UsageError>().is_some();
            if is_usage { EXIT_USAGE } else { EXIT_COULD_NOT_RUN }.into()
        }
    }
}

/// Reads the name of a variant.
pub fn variant_parser() -> impl TypedValueParser<Value = Variant> {
    PossibleValuesParser::new([Variant::Buffering, Variant::Streaming].map(Variant::name))
        .try_map(|it| it.parse::<Variant>())
}

/// Reads `NAME=VALUE`.
///
/// # Errors
/// When there is no `=` or no name.
pub fn parse_setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}
