//! The stage: processes with homes of their own, and the commands that people type at them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// No single command of the demo may take longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// What went wrong in a step.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Trouble {
    /// The system said no.
    #[error("{0}")]
    System(#[from] io::Error),
    /// A command took too long.
    #[error("`kos {0}` did not end in 30 seconds")]
    Slow(String),
    /// A command printed something else than JSON.
    #[error("`kos {command}` printed no JSON: {text}")]
    Output {
        /// What was typed.
        command: String,
        /// What it printed.
        text: String,
    },
    /// A command ended in another way than it should.
    #[error("{0}")]
    Unexpected(String),
}

/// The answer of a command: exit code and JSON.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) command: String,
    pub(super) code: i32,
    pub(super) json: Value,
}

/// A person or service with a home and a running process.
pub(super) struct Actor {
    process: Option<Child>,
}

/// Everything the demo has set up. Dropping it kills what still runs.
pub(super) struct Stage {
    program: PathBuf,
    folder: PathBuf,
    pub(super) bootstrap: Option<String>,
    actors: Vec<(&'static str, Actor)>,
    /// Things that a later step needs: ids, tickets.
    pub(super) notes: std::collections::BTreeMap<&'static str, String>,
}

impl Stage {
    /// An empty stage in a fresh folder that only this user may read.
    pub(super) fn set(program: PathBuf) -> io::Result<Self> {
        let mut entropy = [0; 8];
        getrandom::fill(&mut entropy).map_err(io::Error::other)?;
        let name = entropy.iter().fold(String::from("kos-demo-"), |name, byte| name + &format!("{byte:02x}"));
        let folder = std::env::temp_dir().join(name);
        use std::os::unix::fs::DirBuilderExt as _;
        fs::DirBuilder::new().mode(0o700).create(&folder)?;
        Ok(Self { program, folder, bootstrap: None, actors: Vec::new(), notes: Default::default() })
    }

    /// A folder below the demo's own.
    pub(super) fn folder(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        // Settings of the user who runs the demo must not reach its people.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("KOS_") {
                command.env_remove(name);
            }
        }
        command.args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        command
    }

    /// Starts a process whose first line is a JSON object, and returns that.
    pub(super) async fn start(&mut self, name: &'static str, verb: &str, more: &[&str]) -> Result<Value, Trouble> {
        let home = self.folder(name);
        let unlock = self.folder(&format!("{name}.unlock"));
        let (home_text, unlock_text) = (text(&home), text(&unlock));
        let mut arguments = vec![verb, "--home", &home_text, "--json", "--listen", "/ip4/127.0.0.1/tcp/0"];
        if verb == "up" {
            arguments.extend([
                "--listen",
                "/ip4/127.0.0.1/udp/0/quic-v1",
                "--unlock-file",
                &unlock_text,
                "--api",
                "127.0.0.1:0",
            ]);
        }
        arguments.extend(more);
        let mut process = self.command(&arguments).spawn()?;
        let stdout = process.stdout.take().ok_or_else(|| io::Error::other("no output to read"))?;
        let mut line = String::new();
        let mut reader = BufReader::new(stdout);
        timeout(PATIENCE, reader.read_line(&mut line)).await.map_err(|_| Trouble::Slow(verb.to_owned()))??;
        // What the process prints later has to go somewhere, or it would block.
        tokio::spawn(async move { tokio::io::copy(&mut reader, &mut tokio::io::sink()).await });
        let json = serde_json::from_str(&line)
            .map_err(|_| Trouble::Output { command: verb.to_owned(), text: line.trim().to_owned() })?;
        self.actors.retain(|(known, _)| *known != name);
        self.actors.push((name, Actor { process: Some(process) }));
        Ok(json)
    }

    /// Starts a person's node, greeting the bootstrap peer.
    pub(super) async fn up(&mut self, name: &'static str) -> Result<Value, Trouble> {
        let bootstrap = self.bootstrap.clone().unwrap_or_default();
        self.start(name, "up", &["--bootstrap", &bootstrap]).await
    }

    /// Types a command at somebody's node.
    pub(super) async fn type_at(&self, name: &'static str, arguments: &[&str]) -> Result<Said, Trouble> {
        let home = text(&self.folder(name));
        let mut all = arguments.to_vec();
        all.extend(["--home", &home, "--json"]);
        self.type_alone(&all).await
    }

    /// Types a command with nothing around it.
    pub(super) async fn type_alone(&self, arguments: &[&str]) -> Result<Said, Trouble> {
        let shown = arguments.iter().take_while(|word| **word != "--home").copied().collect::<Vec<_>>().join(" ");
        let output =
            timeout(PATIENCE, self.command(arguments).output()).await.map_err(|_| Trouble::Slow(shown.clone()))??;
        let printed = String::from_utf8_lossy(&output.stdout);
        let json = serde_json::from_str(&printed)
            .map_err(|_| Trouble::Output { command: shown.clone(), text: printed.trim().to_owned() })?;
        Ok(Said { command: shown, code: output.status.code().unwrap_or(-1), json })
    }

    /// Types a command that prints bytes, and keeps them in a file.
    pub(super) async fn keep(&self, name: &'static str, arguments: &[&str], file: &Path) -> Result<(), Trouble> {
        let home = text(&self.folder(name));
        let mut all = arguments.to_vec();
        all.extend(["--home", &home]);
        let shown = arguments.join(" ");
        let output =
            timeout(PATIENCE, self.command(&all).output()).await.map_err(|_| Trouble::Slow(shown.clone()))??;
        if !output.status.success() {
            return Err(Trouble::Unexpected(format!("`kos {shown}` failed")));
        }
        fs::write(file, output.stdout)?;
        Ok(())
    }

    /// Types a command that streams, and says how many lines of JSON came before the last one.
    pub(super) async fn stream(&self, name: &'static str, arguments: &[&str]) -> Result<(usize, Value), Trouble> {
        let home = text(&self.folder(name));
        let mut all = arguments.to_vec();
        all.extend(["--home", &home, "--json", "--stream"]);
        let shown = arguments.join(" ");
        let output =
            timeout(PATIENCE, self.command(&all).output()).await.map_err(|_| Trouble::Slow(shown.clone()))??;
        let printed = String::from_utf8_lossy(&output.stdout);
        let lines: Vec<&str> = printed.lines().collect();
        let last = lines.last().copied().unwrap_or_default();
        let json = serde_json::from_str(last).map_err(|_| Trouble::Output { command: shown, text: last.to_owned() })?;
        Ok((lines.len().saturating_sub(1), json))
    }

    /// Stops a process as a user does, and waits until it is gone.
    pub(super) async fn down(&mut self, name: &'static str) -> Result<(), Trouble> {
        self.type_at(name, &["down"]).await?.ok()?;
        let Some((_, actor)) = self.actors.iter_mut().find(|(known, _)| *known == name) else { return Ok(()) };
        if let Some(mut process) = actor.process.take() {
            let status = timeout(PATIENCE, process.wait()).await.map_err(|_| Trouble::Slow("down".into()))??;
            if !status.success() {
                return Err(Trouble::Unexpected(format!("{name}'s node ended with {status}")));
            }
        }
        Ok(())
    }

    /// Ends every process and removes every file.
    pub(super) async fn clear(mut self) {
        for (_, actor) in &mut self.actors {
            if let Some(process) = &mut actor.process {
                // Gone already is as good as killed.
                let _gone = process.kill().await;
            }
        }
        let _left = fs::remove_dir_all(&self.folder);
    }
}

impl Said {
    /// The answer of a command that must succeed.
    pub(super) fn ok(self) -> Result<Value, Trouble> {
        if self.code == 0 {
            Ok(self.json)
        } else {
            Err(Trouble::Unexpected(format!("`kos {}` ended with {}: {}", self.command, self.code, self.json)))
        }
    }

    /// What a command says that must be refused with this exit code and error code.
    pub(super) fn refused(self, exit: i32, code: &str) -> Result<String, Trouble> {
        if self.code == exit && self.json["error"]["code"] == code {
            Ok(format!("refused: {code}"))
        } else {
            Err(Trouble::Unexpected(format!(
                "`kos {}` should have been refused with {code}, but ended with {}: {}",
                self.command, self.code, self.json
            )))
        }
    }
}

/// A path as an argument; the demo's own paths are plain text.
fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
