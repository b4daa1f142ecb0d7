//! A program of ours as a process of its own, which never outlives the story.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use serde_json::Value;

use crate::{PATIENCE, eventually};

/// Lines of standard output that wait to be read; a program that prints more waits with them.
const LINES: usize = 1024;

/// Where a program of this workspace was built: beside the story's own binary.
///
/// # Panics
/// When it was not built.
pub fn path(program: &str) -> PathBuf {
    let here = std::env::current_exe().unwrap();
    let path =
        here.parent().and_then(Path::parent).unwrap().join(program).with_extension(std::env::consts::EXE_EXTENSION);
    assert!(path.exists(), "{} is not there: cargo build --release --workspace", path.display());
    path
}

/// Kilobytes that a process holds in memory.
///
/// # Panics
/// When it is not there, or the system has no /proc.
pub fn memory(pid: u64) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// A running program.
pub struct Program {
    child: Child,
    lines: Receiver<String>,
    log: PathBuf,
}

/// How a program ended.
#[derive(Debug)]
pub struct Exit {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// What was left on standard output.
    pub stdout: String,
    /// Everything on standard error.
    pub stderr: String,
}

impl Program {
    /// Starts `program` with `--home HOME` and these arguments. No `KOS_*` variable reaches it, and its standard error goes to a
    /// file beside the home.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start<A: AsRef<OsStr>>(program: &str, home: &Path, arguments: impl IntoIterator<Item = A>) -> Self {
        let mut command = Command::new(path(program));
        command.arg("--home").arg(home).args(arguments);
        let log = home.with_extension(format!("{}.log", Self::number(home)));
        Self::run(command, log)
    }

    /// Logs of earlier runs on this home stay.
    fn number(home: &Path) -> usize {
        (1..).find(|number| !home.with_extension(format!("{number}.log")).exists()).unwrap_or_default()
    }

    /// Starts a command as it is.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn run(mut command: Command, log: PathBuf) -> Self {
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("KOS_")) {
            command.env_remove(name);
        }
        let stderr = File::create(&log).unwrap();
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = sync_channel(LINES);
        // It ends with the program's standard output, or when nobody reads any more.
        thread::spawn(move || {
            stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line).map_err(drop))
        });
        Self { child, lines, log }
    }

    /// The next line of standard output.
    ///
    /// # Panics
    /// When none comes; with the log.
    #[track_caller]
    pub fn line(&mut self) -> String {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(error) => panic!("no line on standard output ({error}); its log:\n{}", self.log()),
        }
    }

    /// The next line of standard output as JSON.
    ///
    /// # Panics
    /// When none comes or it is no JSON.
    #[track_caller]
    pub fn json(&mut self) -> Value {
        let line = self.line();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to standard error so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Sends a signal: `TERM`, `KILL`, `STOP`.
    ///
    /// # Panics
    /// When it has ended already.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status().unwrap();
        assert!(sent.success(), "process {} cannot be signalled", self.pid());
    }

    /// Waits until it has ended.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn wait(mut self) -> Exit {
        let status = eventually("the end of a program", || self.child.try_wait().unwrap());
        let rest: Vec<String> = std::iter::from_fn(|| self.lines.recv_timeout(PATIENCE).ok()).collect();
        Exit { code: status.code(), stdout: rest.join("\n"), stderr: self.log() }
    }

    /// Asks it to end, and waits.
    ///
    /// # Panics
    /// When it does not end.
    #[track_caller]
    pub fn stop(self) -> Exit {
        self.signal("TERM");
        self.wait()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It has mostly ended by now.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
