//! The command line, as its executable answers it.

use std::process::Command;

#[test]
fn every_command_has_a_help_with_exit_codes() {
    let help = |arguments: &[&str]| {
        let run = Command::new(env!("CARGO_BIN_EXE_lab")).args(arguments).arg("--help").output().unwrap();
        assert!(run.status.success(), "{arguments:?}");
        String::from_utf8(run.stdout).unwrap()
    };
    let commands: [&[&str]; 11] = [
        &["process"],
        &["run", "oom"],
        &["run", "replay"],
        &["load", "oom"],
        &["load", "replay"],
        &["start"],
        &["stage"],
        &["package"],
        &["azurite"],
        &["bench"],
        &["redrive"],
    ];
    for command in commands {
        assert!(help(command).contains("Exit codes:"), "{command:?}");
    }
}
