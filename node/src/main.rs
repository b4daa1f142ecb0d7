//! The `kos` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    // A child of ours that reads one risky file: it must do nothing else, not even read flags.
    if std::env::args_os().nth(1).is_some_and(|verb| verb == "__extract") {
        return agent::extract::child_main();
    }
    kos_node::cli::run(std::env::args_os())
}
