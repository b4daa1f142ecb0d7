//! People with nodes in this very process: each has a home of its own in a folder that goes with it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use host::Stop;
use host::config::{self, Layers, Settings as _};
use node::node::Start;
use node::services::calls::{Ask, Part};
use node::services::vaults::Secret;
use node::{Config, Fault, Node, view};
use tempfile::TempDir;

/// A person, their folder, and their running node.
pub struct Person {
    /// The node.
    pub node: Node,
    folder: TempDir,
    flags: Vec<String>,
}

impl Person {
    /// Somebody with a new home, listening on loopback only.
    pub async fn new(flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let node = start(folder.path(), &flags, None).await.unwrap();
        Self { node, folder, flags }
    }

    /// The folder that holds home and unlock file.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The home.
    pub fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// A folder beside the home with these files.
    pub fn documents(&self, name: &str, files: &[(&str, &str)]) -> PathBuf {
        let folder = self.folder.path().join(name);
        for (file, text) in files {
            let path = folder.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        folder
    }

    /// A figure of the node, by the beginning of its line. It serves them when it was started with `--metrics`.
    pub async fn figure(&self, line: &str) -> u64 {
        crate::figure(&self.node.status().await.unwrap().metrics.unwrap(), line)
    }

    /// Stops the node and starts it again over the same home.
    pub async fn restart(&mut self) {
        self.stop().await;
        self.node = start(self.folder.path(), &self.flags, None).await.unwrap();
    }

    /// Stops the node; its home stays.
    pub async fn stop(&self) {
        self.node.stop();
        tokio::time::timeout(Duration::from_secs(20), self.node.stopped()).await.unwrap();
    }

    /// Starts again over the same home, with other flags.
    pub async fn start_with(&mut self, flags: &[&str], passphrase: Option<&str>) -> Result<(), Fault> {
        let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        self.node = start(self.folder.path(), &flags, passphrase).await.map_err(|failed| failed.fault)?;
        Ok(())
    }

    /// Serves a folder and waits until it is ready.
    pub async fn serve(&self, path: &Path, name: &str, visibility: &str) -> view::Agent {
        let serve = node::services::agents::Serve {
            path: path.to_owned(),
            name: name.to_owned(),
            visibility: visibility.to_owned(),
            tags: Vec::new(),
        };
        self.node.agents.serve(serve).await.unwrap();
        self.ready(name).await
    }

    /// Waits until an agent is ready.
    pub async fn ready(&self, name: &str) -> view::Agent {
        crate::until(&format!("agent {name} is ready"), async || {
            let agent = self.node.agents.show(name).await.ok()?;
            assert_ne!(agent.state, "failed", "{:?}", agent.failure);
            (agent.state == "ready").then_some(agent)
        })
        .await
    }

    /// Asks, and collects the whole answer with its pieces.
    pub async fn ask(&self, who: &str, text: &str) -> Result<(Vec<String>, view::Asked), Fault> {
        let mut parts = self.node.calls.ask(question(who, text)).await?;
        let mut chunks = Vec::new();
        while let Some(part) = parts.recv().await {
            match part {
                Part::Chunk(chunk) => chunks.push(chunk),
                Part::Done(asked) => return Ok((chunks, *asked)),
                Part::Queued(queued) => panic!("it waits: {queued:?}"),
                Part::Failed(fault) => return Err(fault),
            }
        }
        panic!("the answer ended without an end")
    }
}

/// A question as `kos ask` makes it.
pub fn question(who: &str, text: &str) -> Ask {
    Ask {
        who: who.to_owned(),
        capability: "ask".to_owned(),
        arguments: [("text".to_owned(), text.to_owned())].into(),
        timeout: Duration::from_secs(30),
    }
}

/// Each becomes a contact of the other, under these names.
pub async fn introduce(one: (&Person, &str), other: (&Person, &str)) {
    for ((giver, name), (taker, _)) in [(one, other), (other, one)] {
        let ticket = giver.node.contacts.ticket().await.unwrap();
        taker.node.contacts.add(&ticket.ticket, name).await.unwrap();
    }
}

/// Starts a node over a folder that holds its home and its unlock file.
pub async fn start(folder: &Path, flags: &[String], passphrase: Option<&str>) -> Result<Node, node::node::StartFault> {
    let (home, unlock) = (folder.join("home"), folder.join("unlock"));
    let mut words = vec!["kos".to_owned()];
    for (flag, value) in [("--home", &home), ("--unlock-file", &unlock)] {
        words.extend([flag.to_owned(), value.display().to_string()]);
    }
    if !flags.iter().any(|flag| flag == "--listen") {
        words.extend(["--listen".to_owned(), "/ip4/127.0.0.1/tcp/0".to_owned()]);
    }
    words.extend(flags.iter().cloned());
    let keys = Config::keys();
    let matches = config::flags(clap::Command::new("kos"), &keys).get_matches_from(words);
    let layers = Layers::new("kos", &matches, &keys, []);
    let loaded = layers.load::<Config>().unwrap();
    let passphrase = passphrase.map(|text| Secret::new(text.to_owned()));
    Node::start(Start { loaded, layers, passphrase, stop: Stop::new() }).await
}
