//! A person with a node in the lab, who uses it through the socket of its home.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::command::{ours, system};
use super::program::quiet;
use super::{Trouble, play};
use crate::scenario::Route;

/// The words that only an answer holds.
pub(super) const ANSWER: &str = "third flower pot";
/// What is asked.
pub(super) const QUESTION: &str = "where is the key of the garden shed?";
/// Lines of an answer that wait to be read.
const LINES: usize = 1024;

/// One person.
#[derive(Clone, Debug)]
pub(super) struct Person {
    pub(super) name: String,
    /// The owner's DID.
    pub(super) did: String,
    pub(super) home: PathBuf,
    /// The agent that they serve.
    pub(super) agent: Option<String>,
}

/// An answer on its way.
#[derive(Debug)]
pub(super) struct Stream {
    child: Child,
    lines: Receiver<Value>,
}

/// How an ask went.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// From the first word of the question to the last one of the answer.
    pub(super) took: Duration,
    /// By which path.
    pub(super) path: String,
}

impl Person {
    fn command(&self, words: &[&str]) -> Result<Command, Trouble> {
        let mut command = system("env");
        command.arg(ours("kos")?).args(words).arg("--json").arg("--home").arg(&self.home);
        quiet(&mut command);
        Ok(command)
    }

    /// One JSON value of a verb.
    pub(super) fn run(&self, words: &[&str], within: Duration) -> Result<Value, Trouble> {
        let begun = Instant::now();
        let file = self.home.with_extension(format!("said.{:?}", std::thread::current().id()));
        let unusable = |source| Trouble::File { file: file.display().to_string(), source };
        let said = File::create(&file).map_err(unusable)?;
        let started = |source| Trouble::Start { program: "kos".into(), source };
        let mut child = self.command(words)?.stdout(said).stderr(Stdio::null()).spawn().map_err(started)?;
        while child.try_wait().map_err(started)?.is_none() {
            if begun.elapsed() > within {
                let _gone = child.kill();
                let _gone = child.wait();
                let what = format!("an answer to {}'s `kos {}`", self.name, words.join(" "));
                return Err(Trouble::Late { what, seconds: within.as_secs(), last: "nothing".into() });
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let text = std::fs::read_to_string(&file).map_err(unusable)?;
        let value: Value = serde_json::from_str(text.trim()).map_err(|error| {
            Trouble::Not(format!("{}: `kos {}` said {text:?}: {error}", self.name, words.join(" ")))
        })?;
        match value.get("error") {
            None => Ok(value),
            Some(error) => {
                let part = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
                Err(Trouble::Refused { who: self.name.clone(), code: part("code"), message: part("message") })
            }
        }
    }

    /// The same for what never takes long.
    pub(super) fn soon(&self, words: &[&str]) -> Result<Value, Trouble> {
        self.run(words, Duration::from_secs(30))
    }

    fn address(other: &Self) -> Result<String, Trouble> {
        let agent = other.agent.as_ref().ok_or_else(|| Trouble::Not(format!("{} serves nothing", other.name)))?;
        Ok(format!("{}/{agent}", other.name))
    }

    /// Asks somebody's agent once.
    pub(super) fn ask(&self, other: &Self, within: Duration) -> Result<Asked, Trouble> {
        let begun = Instant::now();
        let address = Self::address(other)?;
        let timeout = within.as_secs().max(1).to_string();
        let asked = self.run(&["ask", &address, QUESTION, "--timeout", &timeout], within)?;
        if !asked["answer"].as_str().is_some_and(|answer| answer.contains(ANSWER)) {
            return Err(Trouble::Not(format!("{address} answered {}", asked["answer"])));
        }
        if asked["verified"] != true {
            return Err(Trouble::Not(format!("the answer of {address} is not verified")));
        }
        Ok(Asked { took: begun.elapsed(), path: asked["path"].as_str().unwrap_or_default().to_owned() })
    }

    /// Begins to ask for everything that somebody's agent has.
    pub(super) fn stream(&self, other: &Self, within: Duration) -> Result<Stream, Trouble> {
        let address = Self::address(other)?;
        let words = ["ask", &address, "a word about the garden", "--arg", "limit=20", "--stream"];
        let mut command = self.command(&words)?;
        let started = |source| Trouble::Start { program: "kos".into(), source };
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().map_err(started)?;
        let stdout = child.stdout.take();
        let (sender, lines) = sync_channel(LINES);
        std::thread::spawn(move || {
            let lines = stdout.into_iter().flat_map(|stdout| BufReader::new(stdout).lines().map_while(Result::ok));
            let values = lines.filter_map(|line| serde_json::from_str::<Value>(&line).ok());
            values.map(|value| sender.send(value)).take_while(Result::is_ok).for_each(drop);
        });
        let stream = Stream { child, lines };
        let first = stream.next(within)?;
        if first.get("chunk").is_some() { Ok(stream) } else { Err(Trouble::Not(format!("no piece came, but {first}"))) }
    }

    /// By which path somebody is reached now.
    pub(super) fn path(&self, other: &Self) -> Result<String, Trouble> {
        let ping = self.run(&["path", &other.name], Duration::from_secs(20))?;
        Ok(ping["path"].as_str().unwrap_or_default().to_owned())
    }

    /// How this node says that it is reached.
    pub(super) fn reach(&self) -> Result<String, Trouble> {
        Ok(self.soon(&["status"])?["reach"]["state"].as_str().unwrap_or_default().to_owned())
    }

    /// What it is told of the network in front of it.
    pub(super) fn netcheck(&self) -> Result<Value, Trouble> {
        self.soon(&["netcheck"])
    }

    /// Whether a search shows somebody's agent as one that works; nothing, when it shows it as one of whose node it does not know.
    pub(super) fn finds(&self, other: &Self) -> Result<Option<bool>, Trouble> {
        let agent = other.agent.clone().unwrap_or_default();
        let rows = self.run(&["find", &agent], Duration::from_secs(30))?;
        let is_it = |row: &&Value| row["name"] == agent.as_str() && row["owner"] == other.did.as_str();
        let row = rows.as_array().and_then(|rows| rows.iter().find(is_it));
        Ok(match row {
            None => Some(false),
            Some(row) => (row["health"] == "healthy").then_some(true),
        })
    }

    /// Serves no more.
    pub(super) fn remove(&self) -> Result<(), Trouble> {
        self.soon(&["agent", "remove", self.agent.as_deref().unwrap_or_default()]).map(drop)
    }

    /// Takes back everything that it granted somebody.
    pub(super) fn revoke(&self, other: &Self) -> Result<(), Trouble> {
        let ids: Vec<String> =
            self.grants(other, "issued")?.filter_map(|row| row["id"].as_str().map(str::to_owned)).collect();
        if ids.is_empty() {
            return Err(Trouble::Not(format!("{} has granted {} nothing", self.name, other.name)));
        }
        ids.iter().try_for_each(|id| self.soon(&["grant", "revoke", id]).map(drop))
    }

    /// Hands on what a third granted.
    pub(super) fn delegate(&self, other: &Self, of: &Self) -> Result<(), Trouble> {
        let held = self.grants(of, "held")?.find_map(|row| row["id"].as_str().map(str::to_owned));
        let none = || Trouble::Not(format!("{} holds no grant of {}", self.name, of.name));
        self.soon(&["grant", "delegate", &held.ok_or_else(none)?, "--to", &other.name, "--calls", "500"]).map(drop)
    }

    /// Whether it holds a grant of somebody that, as far as it knows, is good.
    pub(super) fn holds(&self, other: &Self) -> Result<bool, Trouble> {
        Ok(self.grants(other, "held")?.next().is_some())
    }

    fn grants(&self, other: &Self, direction: &'static str) -> Result<impl Iterator<Item = Value> + use<>, Trouble> {
        let (rows, contact) = (self.soon(&["grant", "list"])?, other.name.clone());
        let rows = rows.as_array().cloned().unwrap_or_default().into_iter();
        Ok(rows.filter(move |row| {
            row["contact"] == contact.as_str() && row["direction"] == direction && row["revoked"] == false
        }))
    }

    /// Waits until the path is this one.
    pub(super) fn until_path(&self, other: &Self, route: Route, within: Duration) -> Result<Duration, Trouble> {
        let what = format!("a {} path from {} to {}", route.as_str(), self.name, other.name);
        play::until(&what, within, || {
            let path = self.path(other).unwrap_or_else(|trouble| trouble.line());
            if path == route.as_str() { Ok(()) } else { Err(path) }
        })
    }

    /// Makes the folder that an agent answers from.
    pub(super) fn documents(folder: &Path) -> Result<(), Trouble> {
        let unusable = |source| Trouble::File { file: folder.display().to_string(), source };
        std::fs::create_dir_all(folder).map_err(unusable)?;
        let rules = format!("# House rules\n\nThe key of the garden shed lies under the {ANSWER}.\n");
        std::fs::write(folder.join("rules.md"), rules).map_err(unusable)?;
        for number in 0..40 {
            let lines: Vec<_> = (0..8)
                .map(|line| format!("A word about the garden, {number}.{line}: {}", "leaf and root ".repeat(30)))
                .collect();
            let text = format!("# Garden, part {number}\n\n{}\n", lines.join("\n"));
            std::fs::write(folder.join(format!("garden-{number}.md")), text).map_err(unusable)?;
        }
        Ok(())
    }
}

impl Stream {
    /// The next piece, or the end.
    pub(super) fn next(&self, within: Duration) -> Result<Value, Trouble> {
        let late = |_| Trouble::Late { what: "a piece".into(), seconds: within.as_secs(), last: "nothing".into() };
        self.lines.recv_timeout(within).map_err(late)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}
