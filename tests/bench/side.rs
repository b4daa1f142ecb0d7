//! One side of a case: this very program again, as a process of its own.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

/// A process that says lines and hears lines. It ends when it is dropped.
pub(crate) struct Side {
    child: Child,
    said: BufReader<ChildStdout>,
    heard: Option<ChildStdin>,
}

impl Side {
    /// Starts this program in a role.
    pub(crate) fn start(role: &[&str]) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(role);
        Self::run(command)
    }

    /// Starts any program.
    pub(crate) fn run(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (said, heard) = (BufReader::new(child.stdout.take().unwrap()), child.stdin.take());
        Self { child, said, heard }
    }

    /// The next line that it says.
    #[track_caller]
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        let count = self.said.read_line(&mut line).unwrap();
        assert!(count > 0, "the other process ended early: {:?}", self.child.try_wait());
        line.trim_end().to_owned()
    }

    /// Tells it something.
    pub(crate) fn tell(&mut self, line: &str) {
        writeln!(self.heard.as_mut().unwrap(), "{line}").unwrap();
    }

    /// CPU time that its threads have used so far.
    pub(crate) fn cpu(&self) -> Duration {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let used = threads.filter_map(|thread| {
            let text = std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<u64>().ok()
        });
        Duration::from_nanos(used.sum())
    }

    /// Bytes of memory that it holds.
    pub(crate) fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        1024 * line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        drop(self.heard.take());
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// In a role: says a line to whoever started this process.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout();
    writeln!(out, "{line}").and_then(|()| out.flush()).unwrap();
}

/// In a role: waits for a line, or for the end of whoever started this process.
pub(crate) async fn hear() -> Option<String> {
    let read = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).map(|count| (count > 0).then_some(line))
    });
    read.await.unwrap().unwrap()
}
