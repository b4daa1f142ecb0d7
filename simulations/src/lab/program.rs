//! A program of ours in the lab.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use serde_json::Value;

use super::Trouble;
use super::command::{inside, ours, run, system};

/// How long a program may take to say that it is up, on a machine that has other things to do.
const START: Duration = Duration::from_secs(60);
/// Of a log, this much of its end is shown.
const TAIL: u64 = 4096;

/// How a program is started, so that it can be started again.
#[derive(Clone, Debug)]
pub(super) struct Recipe {
    pub(super) program: &'static str,
    pub(super) namespace: String,
    pub(super) folder: PathBuf,
    pub(super) words: Vec<String>,
    pub(super) log_filter: Option<String>,
}

/// A running program.
#[derive(Debug)]
pub(super) struct Program {
    child: Child,
    /// What it said when it was up.
    pub(super) said: Value,
    log: PathBuf,
}

impl Recipe {
    /// The home of the program.
    pub(super) fn home(&self) -> PathBuf {
        self.folder.join("home")
    }

    /// Starts it and waits until it says that it is up.
    pub(super) fn start(&self) -> Result<Program, Trouble> {
        let named = |source| Trouble::Start { program: format!("{} in {}", self.program, self.namespace), source };
        let log = self.folder.join("log");
        let mut command = inside(&self.namespace, ours(self.program)?);
        command.args(&self.words).arg("--home").arg(self.home()).arg("--json");
        if let Some(filter) = &self.log_filter {
            command.args(["--log-filter", filter]);
        }
        quiet(&mut command);
        let errors = File::options().create(true).append(true).open(&log).map_err(named)?;
        let mut child = command.stdout(Stdio::piped()).stderr(errors).spawn().map_err(named)?;
        let stdout = child.stdout.take();
        let (sender, line) = sync_channel(1);
        // It reads to the end, so that the program never waits for a reader.
        std::thread::spawn(move || {
            let lines = stdout.into_iter().flat_map(|stdout| BufReader::new(stdout).lines().map_while(Result::ok));
            lines.for_each(|line| drop(sender.try_send(line)));
        });
        let mut program = Program { child, said: Value::Null, log };
        let said = line.recv_timeout(START).ok().and_then(|line| serde_json::from_str::<Value>(&line).ok());
        match said.filter(|said| said.get("error").is_none()) {
            Some(said) => program.said = said,
            None => {
                let what = format!("{} in {} does not start: {}", self.program, self.namespace, program.tail());
                return Err(Trouble::Not(what));
            }
        }
        Ok(program)
    }
}

/// No setting of whoever runs the lab reaches a program in it.
pub(super) fn quiet(command: &mut Command) {
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("KOS_")) {
        command.env_remove(name);
    }
}

impl Program {
    /// Sends a signal: `KILL`, `STOP`, `CONT`.
    pub(super) fn signal(&mut self, name: &str) -> Result<(), Trouble> {
        run(system("kill").args([&format!("-{name}"), &self.child.id().to_string()]))?;
        if name == "KILL" {
            let _gone = self.child.wait();
        }
        Ok(())
    }

    /// The end of its log.
    pub(super) fn tail(&self) -> String {
        let mut text = Vec::new();
        let read = File::open(&self.log).and_then(|mut file| {
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
            file.read_to_end(&mut text)
        });
        read.map_or_else(|error| error.to_string(), |_| String::from_utf8_lossy(&text).into_owned())
    }

    /// Its whole log.
    pub(super) fn log(&self) -> &Path {
        &self.log
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}
