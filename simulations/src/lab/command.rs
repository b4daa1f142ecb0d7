//! Other programs that are called: those of the system, and those of ours.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::Trouble;

/// A program of the system, found also where only root looks for it.
pub(super) fn system(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env("PATH", path()).stdin(Stdio::null());
    command
}

fn path() -> OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin:/sbin");
    path
}

/// Whether the system has this program.
pub(super) fn has(program: &str) -> bool {
    std::env::split_paths(&path()).any(|folder| folder.join(program).exists())
}

/// Runs a command that must succeed.
pub(super) fn run(command: &mut Command) -> Result<Output, Trouble> {
    let words: Vec<_> = std::iter::once(command.get_program()).chain(command.get_args()).collect();
    let line = words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
    let output = command.output().map_err(|source| Trouble::Start { program: line.clone(), source })?;
    if output.status.success() {
        return Ok(output);
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Trouble::Failed { command: line, said })
}

/// `ip` with these words.
pub(super) fn ip(words: &str) -> Result<(), Trouble> {
    run(system("ip").args(words.split_whitespace())).map(drop)
}

/// A command inside a network namespace.
pub(super) fn inside(namespace: &str, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = system("ip");
    command.args(["netns", "exec", namespace]).arg(program);
    command
}

/// A program of this workspace: it lies beside this one.
pub(super) fn ours(program: &str) -> Result<PathBuf, Trouble> {
    let here = std::env::current_exe().map_err(|source| Trouble::Start { program: program.to_owned(), source })?;
    let path = here.parent().unwrap_or(Path::new(".")).join(program);
    if path.exists() {
        return Ok(path);
    }
    Err(Trouble::Lacks(format!("{}: cargo build --release --workspace", path.display())))
}
