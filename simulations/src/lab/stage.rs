//! A scenario set up: the network, the programs in it, and people who know each other.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::command::{inside, run};
use super::names::{self, Book};
use super::net::Net;
use super::person::Person;
use super::program::{Program, Recipe};
use super::router::PORT;
use super::{Trouble, play};
use crate::scenario::{NAMES, Name, Node, Scenario, Server};

/// Where everything lies: a file system in memory that goes with the world.
const FOLDER: &str = "/run/kos-lab";
/// How long a node may take until others can reach it.
const SETTLED: Duration = Duration::from_secs(60);
/// How long the system may think of connections that are over; Linux does for a minute.
const RESTED: Duration = Duration::from_secs(90);

/// What whoever runs the lab wants.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Spoil it: it must fail then.
    pub fault: bool,
    /// Where to put the logs of all programs.
    pub logs: Option<PathBuf>,
    /// What the programs log.
    pub log_filter: Option<String>,
}

/// A scenario set up.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) net: Net,
    pub(super) people: BTreeMap<String, Person>,
    recipes: BTreeMap<String, Recipe>,
    programs: BTreeMap<String, Program>,
    book: Option<Book>,
    options: Options,
    name: String,
}

impl Stage {
    /// Sets everything up, and waits until every node can be reached.
    pub(super) fn set(scenario: &Scenario, options: &Options) -> Result<Self, Trouble> {
        let mut stage = Self {
            net: Net::new(scenario.internet)?,
            people: BTreeMap::new(),
            recipes: BTreeMap::new(),
            programs: BTreeMap::new(),
            book: None,
            options: options.clone(),
            name: scenario.name.clone(),
        };
        if scenario.internet.names {
            stage.open_book()?;
        }
        let (mut hubs, mut relays) = (Vec::new(), BTreeMap::new());
        for hub in &scenario.bootstraps {
            hubs.extend(stage.serve("kos-bootstrap", hub, &hubs.clone())?);
        }
        for relay in &scenario.relays {
            relays.insert(relay.name.as_ref().clone(), stage.serve("kos-relay", relay, &hubs)?);
        }
        for home in &scenario.homes {
            stage.net.place(home.name.as_ref(), Some(home.nat), home.carrier)?;
            if home.upnp {
                stage.net.open_ports(home.name.as_ref())?;
            }
        }
        for node in &scenario.nodes {
            let told = |name: &String| match &node.relays {
                None => true,
                Some(names) => names.iter().any(|told| told.as_ref() == name),
            };
            let relays: Vec<_> = relays.iter().filter(|(name, _)| told(name)).flat_map(|(_, at)| at.clone()).collect();
            stage.node(node, &hubs, &relays)?;
        }
        // Together: starting is mostly work.
        for node in &scenario.nodes {
            stage.start(node.name.as_ref())?;
        }
        stage.settle()?;
        for node in &scenario.nodes {
            stage.introduce(node)?;
        }
        stage.forget(scenario)?;
        Ok(stage)
    }

    fn folder(&self, name: &str, settings: &toml::Table) -> Result<PathBuf, Trouble> {
        let folder = Path::new(FOLDER).join(name);
        let unusable = |source| Trouble::File { file: folder.display().to_string(), source };
        std::fs::create_dir_all(&folder).map_err(unusable)?;
        std::fs::write(folder.join("kos.toml"), settings.to_string()).map_err(unusable)?;
        Ok(folder)
    }

    /// A server on a network of its own, and where it is.
    fn serve(&mut self, program: &'static str, server: &Server, hubs: &[String]) -> Result<Vec<String>, Trouble> {
        let name = server.name.as_ref();
        let outside = self.net.place(name, None, None)?;
        let folder = self.folder(name, &server.settings)?;
        let mut words = listening();
        words.extend(["--config".to_owned(), folder.join("kos.toml").display().to_string()]);
        self.write_book()?;
        let host = if self.book.is_some() { format!("/dns4/{}", names::full(name)) } else { format!("/ip4/{outside}") };
        let at = [format!("{host}/udp/{PORT}/quic-v1"), format!("{host}/tcp/{PORT}")];
        words.extend(at.iter().flat_map(|address| ["--external".to_owned(), address.clone()]));
        words.extend(hubs.iter().flat_map(|hub| ["--bootstrap".to_owned(), hub.clone()]));
        self.recipe(name, Recipe { program, namespace: name.clone(), folder, words, log_filter: None });
        self.start(name)?;
        let peer = self.programs.get(name).and_then(|program| program.said["peer_id"].as_str()).unwrap_or_default();
        Ok(at.iter().map(|address| format!("{address}/p2p/{peer}")).collect())
    }

    fn node(&mut self, node: &Node, hubs: &[String], relays: &[String]) -> Result<(), Trouble> {
        let name = node.name.as_ref();
        self.net.guest(node.home.as_ref(), name)?;
        let folder = self.folder(name, &node.settings)?;
        let mut words = vec!["up".to_owned()];
        words.extend(listening());
        words.extend(["--config".to_owned(), folder.join("kos.toml").display().to_string()]);
        words.extend(["--unlock-file".to_owned(), folder.join("unlock").display().to_string()]);
        words.extend(["--api", "127.0.0.1:0"].map(str::to_owned));
        words.extend(hubs.iter().flat_map(|hub| ["--bootstrap".to_owned(), hub.clone()]));
        words.extend(relays.iter().flat_map(|relay| ["--relay".to_owned(), relay.clone()]));
        let recipe = Recipe { program: "kos", namespace: name.clone(), folder, words, log_filter: None };
        let person = Person { name: name.clone(), did: String::new(), home: recipe.home(), agent: node.serves.clone() };
        self.people.insert(name.clone(), person);
        self.recipe(name, recipe);
        Ok(())
    }

    fn recipe(&mut self, name: &str, recipe: Recipe) {
        let recipe = Recipe { log_filter: self.options.log_filter.clone(), ..recipe };
        self.recipes.insert(name.to_owned(), recipe);
    }

    /// Starts a program, or starts it again.
    pub(super) fn start(&mut self, name: &str) -> Result<(), Trouble> {
        let recipe = self.recipes.get(name).ok_or_else(|| Trouble::Not(format!("there is no program {name}")))?;
        let program = recipe.start()?;
        if let Some(person) = self.people.get_mut(name) {
            person.did = program.said["did"].as_str().unwrap_or_default().to_owned();
        }
        self.programs.insert(name.to_owned(), program);
        Ok(())
    }

    /// Gives a place another public address.
    pub(super) fn readdress(&mut self, place: &str) -> Result<(), Trouble> {
        self.net.readdress(place)?;
        self.write_book()
    }

    /// A server that answers for names.
    fn open_book(&mut self) -> Result<(), Trouble> {
        let folder = Path::new(FOLDER).join(NAMES);
        let book = Book::open(&folder, self.net.place(NAMES, None, None)?)?;
        let words = vec![names::NAMES.to_owned(), book.file().display().to_string()];
        let namespace = NAMES.to_owned();
        self.recipe(NAMES, Recipe { program: "kos-simulations", namespace, folder, words, log_filter: None });
        self.book = Some(book);
        self.start(NAMES)
    }

    fn write_book(&self) -> Result<(), Trouble> {
        self.book.as_ref().map_or(Ok(()), |book| book.write(self.net.outsides()))
    }

    /// Sends a program a signal.
    pub(super) fn signal(&mut self, name: &str, signal: &str) -> Result<(), Trouble> {
        let program = self.programs.get_mut(name).ok_or_else(|| Trouble::Not(format!("{name} does not run")))?;
        program.signal(signal)
    }

    /// Waits until every node says that others can reach it.
    fn settle(&self) -> Result<(), Trouble> {
        for person in self.people.values() {
            play::until(&format!("{} can be reached", person.name), SETTLED, || match person.reach() {
                Ok(state) if matches!(state.as_str(), "public" | "relayed") => Ok(()),
                Ok(state) => Err(state),
                Err(trouble) => Err(trouble.line()),
            })?;
        }
        Ok(())
    }

    /// Making contacts has made connections. Those who only ask begin anew, so that the first step finds none.
    fn forget(&mut self, scenario: &Scenario) -> Result<(), Trouble> {
        let has_contacts = |node: &Node| {
            let known = scenario.nodes.iter().flat_map(|other| &other.knows);
            !node.knows.is_empty() || known.into_iter().any(|name| name.as_ref() == node.name.as_ref())
        };
        let askers: Vec<_> = scenario.nodes.iter().filter(|node| node.serves.is_none() && has_contacts(node)).collect();
        for node in &askers {
            self.signal(node.name.as_ref(), "KILL")?;
        }
        askers.iter().try_for_each(|node| self.start(node.name.as_ref()))?;
        self.settle()
    }

    /// Starts these again when the system has forgotten what they were connected with. For a minute a port cannot be used for the same far end again,
    /// and a hole for TCP is punched from this port or not at all.
    pub(super) fn rest(&mut self, names: &[String]) -> Result<(), Trouble> {
        for name in names {
            self.signal(name, "KILL")?;
        }
        for name in names {
            play::until(&format!("{name} has its port to itself"), RESTED, || {
                let table = run(inside(name, "cat").arg("/proc/net/tcp")).map_err(|trouble| trouble.line())?;
                let left = waiting(&String::from_utf8_lossy(&table.stdout));
                if left == 0 { Ok(()) } else { Err(format!("{left} old connections")) }
            })?;
            self.start(name)?;
        }
        self.settle()
    }

    /// Serves what is to be served, and makes contacts of those who know each other.
    fn introduce(&self, node: &Node) -> Result<(), Trouble> {
        let me = self.person(&node.name)?;
        let others: Vec<&Person> = node.knows.iter().map(|name| self.person(name)).collect::<Result<_, _>>()?;
        for person in others.iter().copied().chain([me]) {
            self.serve_folder(person)?;
        }
        for other in others {
            for (taker, giver) in [(me, other), (other, me)] {
                let ticket = giver.soon(&["contact", "ticket"])?;
                let ticket = ticket["ticket"].as_str().unwrap_or_default();
                match taker.soon(&["contact", "add", ticket, "--as", &giver.name]) {
                    // They knew each other already.
                    Err(Trouble::Refused { code, .. }) if code == "exists" => {}
                    other => other.map(drop)?,
                }
            }
            for (taker, giver) in [(me, other), (other, me)] {
                if let Some(agent) = &giver.agent {
                    giver.soon(&["grant", "add", &taker.name, &format!("{agent}.ask"), "--calls", "1000"])?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn serve_folder(&self, person: &Person) -> Result<(), Trouble> {
        let Some(agent) = &person.agent else { return Ok(()) };
        let served = person.soon(&["agent", "list"])?;
        if served.as_array().is_some_and(|rows| rows.iter().any(|row| row["name"] == agent.as_str())) {
            return Ok(());
        }
        let folder = Path::new(FOLDER).join(&person.name).join(agent);
        Person::documents(&folder)?;
        person.soon(&["serve", &folder.display().to_string(), "--as", agent, "--listed"])?;
        play::until(&format!("{agent} of {}", person.name), SETTLED, || {
            let shown = person.soon(&["agent", "show", agent]).map_err(|trouble| trouble.line())?;
            let state = shown["state"].as_str().unwrap_or_default();
            if state == "ready" { Ok(()) } else { Err(state.to_owned()) }
        })
        .map(drop)
    }

    /// Somebody by name.
    pub(super) fn person(&self, name: &Name) -> Result<&Person, Trouble> {
        self.people.get(name.as_ref()).ok_or_else(|| Trouble::Not(format!("there is no {}", name.as_ref())))
    }

    /// The ends of all logs.
    pub(super) fn tails(&self) -> String {
        self.programs.iter().map(|(name, program)| format!("--- {name}\n{}\n", program.tail())).collect()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(folder) = &self.options.logs {
            for (name, program) in &self.programs {
                let _kept = std::fs::create_dir_all(folder)
                    .and_then(|()| std::fs::copy(program.log(), folder.join(format!("{}.{name}.log", self.name))));
            }
        }
        self.programs.clear();
        let _gone = std::fs::remove_dir_all(FOLDER);
    }
}

/// Connections from our port that are over, of which the system still thinks: TIME_WAIT, 6 in this table.
fn waiting(table: &str) -> usize {
    let port = format!(":{PORT:04X}");
    let rows = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row.get(1).is_some_and(|local| local.ends_with(&port)) && row.get(3) == Some(&"06")).count()
}

fn listening() -> Vec<String> {
    let at = [format!("/ip4/0.0.0.0/udp/{PORT}/quic-v1"), format!("/ip4/0.0.0.0/tcp/{PORT}")];
    at.into_iter().flat_map(|address| ["--listen".to_owned(), address]).collect()
}
