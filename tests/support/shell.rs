//! A person at a shell: the program `kos` as a user types it, with a home of its own in a folder that goes with it.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// One person at a shell. What still runs on the home when it is dropped is stopped.
pub struct Shell {
    folder: TempDir,
    before: Vec<String>,
}

impl Shell {
    /// With an empty home.
    pub fn new() -> Self {
        Self::after(&[])
    }

    /// The same, with these words before each command: `ip netns exec NAME`, or another user.
    pub fn after(before: &[&str]) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), before: before.iter().map(|word| (*word).to_owned()).collect() }
    }

    /// The folder around the home.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The home.
    pub fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// The file that unlocks it.
    pub fn unlock_file(&self) -> PathBuf {
        self.folder.path().join("unlock")
    }

    /// A folder beside the home with these files.
    pub fn documents(&self, name: &str, files: &[(&str, &[u8])]) -> PathBuf {
        let folder = self.folder.path().join(name);
        for (file, bytes) in files {
            let path = folder.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        folder
    }

    /// A command that nobody has started yet. No setting of whoever runs the story reaches it.
    pub fn command(&self, line: &[&str]) -> Command {
        let kos = crate::path("kos");
        let mut command = match &self.before[..] {
            [] => Command::new(kos),
            [program, words @ ..] => {
                let mut command = Command::new(program);
                command.args(words).arg(kos);
                command
            }
        };
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("KOS_")) {
            command.env_remove(name);
        }
        command.env("KOS_HOME", self.home()).env("KOS_UNLOCK_FILE", self.unlock_file());
        command.args(line).stdin(Stdio::null());
        command
    }

    /// Runs a command.
    pub fn run(&self, line: &[&str]) -> Output {
        self.command(line).output().unwrap()
    }

    /// One JSON value, and the exit code.
    #[track_caller]
    pub fn json(&self, line: &[&str]) -> (Value, i32) {
        let output = self.run(&[line, &["--json"]].concat());
        let text = String::from_utf8(output.stdout).unwrap();
        let value = serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{line:?}: {error}: {text} {}", String::from_utf8_lossy(&output.stderr)));
        (value, output.status.code().unwrap())
    }

    /// The JSON of a command that must succeed.
    #[track_caller]
    pub fn ok(&self, line: &[&str]) -> Value {
        let (value, exit) = self.json(line);
        assert_eq!(exit, 0, "{line:?}: {value}");
        value
    }

    /// Starts the node behind, on loopback and at free ports.
    #[track_caller]
    pub fn up(&self, more: &[&str]) -> Value {
        let line = ["up", "--detach", "--listen", "/ip4/127.0.0.1/tcp/0", "--api", "127.0.0.1:0", "--no-mdns"];
        self.ok(&[&line[..], more].concat())
    }

    /// Runs with something on standard input.
    pub fn typed(&self, line: &[&str], text: &str) -> Output {
        let mut child =
            self.command(line).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    /// The person's ticket.
    #[track_caller]
    pub fn ticket(&self) -> String {
        self.ok(&["contact", "ticket"])["ticket"].as_str().unwrap().to_owned()
    }
}

impl Default for Shell {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // A story that failed may leave it running.
        let _ = self.run(&["down"]);
    }
}

/// Holds when an answer is this error, with this exit code, a message and a hint.
#[track_caller]
pub fn is_error(answer: &(Value, i32), code: &str, exit: i32) {
    let error = &answer.0["error"];
    assert_eq!((error["code"].as_str(), answer.1), (Some(code), exit), "{answer:?}");
    for part in ["message", "hint"] {
        assert!(error[part].as_str().is_some_and(|text| !text.is_empty()), "no {part}: {answer:?}");
    }
}
