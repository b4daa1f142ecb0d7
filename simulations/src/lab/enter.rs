//! Into a world of its own: network, mounts and processes. When its first process ends, the system takes down everything in it.

use std::io::Read as _;
use std::process::{Command, ExitCode, Stdio};

use super::Trouble;
use super::command::{has, ours, run, system};

/// The first word of a command line inside.
pub const INSIDE: &str = "__inside";

/// What this machine lacks for a lab, if anything.
pub fn lacks() -> Option<Trouble> {
    if let Some(program) = ["unshare", "ip", "nft", "mount"].into_iter().find(|program| !has(program)) {
        return Some(Trouble::Lacks(format!("the program {program}")));
    }
    if let Some(trouble) = ["kos", "kos-relay", "kos-bootstrap"].into_iter().find_map(|program| ours(program).err()) {
        return Some(trouble);
    }
    run(unshare().args(["ip", "link", "set", "lo", "up"]))
        .err()
        .map(|trouble| Trouble::Lacks(format!("the right to make network namespaces: {}", trouble.line())))
}

/// Who is not root becomes it in there, where the system allows that.
fn unshare() -> Command {
    let mut command = system("unshare");
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let root = status.lines().any(|line| line.starts_with("Uid:") && line.split_whitespace().nth(2) == Some("0"));
    if !root {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]);
    command
}

/// Runs this program once more, inside, with these words, and waits for its end.
///
/// # Errors
/// The machine does not let it.
pub fn enter(words: &[String]) -> Result<ExitCode, Trouble> {
    let here = std::env::current_exe();
    let here = here.map_err(|source| Trouble::Start { program: "this program".into(), source })?;
    let mut command = unshare();
    command.arg(here).arg(INSIDE).args(words).stdin(Stdio::piped());
    let started = command.spawn();
    // Its standard input stays open as long as this process lives; that is how the one inside knows.
    let mut child = started.map_err(|source| Trouble::Start { program: "unshare".into(), source })?;
    let line = child.stdin.take();
    let status = child.wait().map_err(|source| Trouble::Start { program: "unshare".into(), source })?;
    drop(line);
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

/// The first thing to do inside: end with whoever waits outside, and keep files where they go with everything else.
///
/// # Errors
/// The machine does not let it.
pub fn arrive() -> Result<(), Trouble> {
    std::thread::spawn(|| {
        let mut end = Vec::new();
        let _gone = std::io::stdin().read_to_end(&mut end);
        std::process::exit(1);
    });
    run(system("mount").args(["-t", "tmpfs", "lab", "/run"]))?;
    run(system("ip").args(["link", "set", "lo", "up"])).map(drop)
}
