//! Starting a node behind: this program once more, in a process group of its own, which says on a pipe how its start went.

use std::ffi::OsString;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use klp::Refusal;
use zeroize::Zeroizing;

use super::super::passphrase;
use super::super::terminal::{Answer, Failure, Terminal};
use super::welcome;
use crate::fault::Fault;
use crate::services::vaults::Secret;
use crate::view;
use crate::web::ErrorBody;

/// Name of the file in the home folder that holds the log of the node behind.
const LOG: &str = "kos.log";
/// Name of the log of the one before it; older ones go.
const OLD_LOG: &str = "kos.log.1";
/// Bytes of the line in which the node behind says how its start went.
const LINE: u64 = 1 << 20;

/// The passphrase that the process in front hands over: one line, or nothing.
pub(super) fn handed_over() -> Result<Option<Secret>, Fault> {
    if std::io::stdin().lock().fill_buf().map_err(Fault::internal)?.is_empty() {
        return Ok(None);
    }
    passphrase::descriptor(0).map(Some)
}

/// Starts it and waits until it answers, or says why it does not.
pub(super) async fn start(terminal: &Terminal, args: &[OsString], secret: Option<Secret>) -> Result<Answer, Failure> {
    let log = terminal.home.join(LOG);
    let errors = open_log(&terminal.home, &log).map_err(|error| {
        Fault::new(Refusal::Invalid, format!("cannot write {}: {error}", log.display())).hint("choose another --home")
    })?;
    let args: Vec<OsString> =
        args.iter().skip(1).filter(|arg| *arg != "--detach" && *arg != "--json").cloned().collect();
    let said = tokio::task::spawn_blocking(move || spawn(&args, secret, errors));
    let (line, exit) = said.await.map_err(Fault::internal)?.map_err(Fault::internal)?;
    if let Ok(up) = serde_json::from_str::<view::Up>(&line) {
        welcome(terminal, &up);
        terminal.note(&format!("  runs behind as process {}; its log is {}", up.pid, log.display()));
        return terminal.answer(&up, |_| String::new());
    }
    let fault = serde_json::from_str::<ErrorBody>(&line).map_or_else(
        |_| Fault::new(Refusal::Failed, "the node ended before it answered").hint(format!("see {}", log.display())),
        Fault::from,
    );
    let failure = Failure::from(fault);
    let exit = exit.and_then(|code| u8::try_from(code).ok()).filter(|code| *code != 0).unwrap_or(failure.exit);
    Err(failure.exit(exit))
}

/// Starts the process, hands it the passphrase, and reads its first line; with its exit code when it has ended without one.
fn spawn(args: &[OsString], secret: Option<Secret>, errors: File) -> std::io::Result<(String, Option<i32>)> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(args).args(["--detached", "--json"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors);
    // A group of its own: what is typed at the terminal does not reach it.
    let mut child = command.process_group(0).spawn()?;
    if let (Some(mut stdin), Some(secret)) = (child.stdin.take(), secret) {
        stdin.write_all(&Zeroizing::new([secret.as_bytes(), b"\n"].concat()))?;
    }
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        BufReader::new(stdout.take(LINE)).read_line(&mut line)?;
    }
    let is_up = serde_json::from_str::<view::Up>(&line).is_ok();
    let exit = if is_up { None } else { child.wait()?.code() };
    Ok((line, exit))
}

/// The log lies in the home, which may not be there yet; the node itself checks the folder.
fn open_log(home: &Path, log: &Path) -> std::io::Result<File> {
    DirBuilder::new().recursive(true).mode(0o700).create(home)?;
    match std::fs::rename(log, home.join(OLD_LOG)) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(log)
}
