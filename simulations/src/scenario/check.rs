//! What the form of a file cannot say: that names exist, that numbers have bounds, that steps come in order.

use std::collections::BTreeMap;

use super::Scenario;
use super::mistake::What;
use super::place::{NAMES, Name, Node};
use super::step::{Ask, Do};

/// A mistake, and where it begins.
type Found = (usize, What);

/// The longest wait of a step, and the longest pause.
const LONGEST: u64 = 3600;
/// Names become parts of names of network interfaces, which have 15 letters.
const LETTERS: usize = 12;

pub(super) fn check(scenario: &Scenario) -> Result<(), Found> {
    if scenario.crowd.is_none() && scenario.steps.is_empty() {
        return Err((0, What::Nothing));
    }
    if let Some(crowd) = &scenario.crowd {
        crowd.check().map_err(|what| (0, what))?;
    }
    let internet = &scenario.internet;
    within("delay_ms", internet.delay_ms, 0, 2000).map_err(|what| (0, what))?;
    within("loss_percent", internet.loss_percent, 0, 50).map_err(|what| (0, what))?;
    let names = Names::of(scenario)?;
    for node in &scenario.nodes {
        names.home(&node.home)?;
        node.knows.iter().try_for_each(|name| names.node(name).map(drop))?;
        node.relays.iter().flatten().try_for_each(|name| names.relay(name))?;
    }
    let mut is_open = false;
    for step in &scenario.steps {
        names
            .step(step.as_ref(), &mut is_open)
            .map_err(|(offset, what)| (offset.unwrap_or(step.span().start), what))?;
    }
    Ok(())
}

pub(crate) fn within(key: &'static str, value: u64, min: u64, max: u64) -> Result<(), What> {
    if (min..=max).contains(&value) { Ok(()) } else { Err(What::Bound { key, value, min, max }) }
}

/// Who there is.
struct Names<'s> {
    scenario: &'s Scenario,
}

impl<'s> Names<'s> {
    fn of(scenario: &'s Scenario) -> Result<Self, Found> {
        let mut seen = BTreeMap::new();
        let servers = scenario.bootstraps.iter().chain(&scenario.relays).map(|server| &server.name);
        let homes = scenario.homes.iter().map(|home| &home.name);
        for name in servers.chain(homes).chain(scenario.nodes.iter().map(|node| &node.name)) {
            let text = name.as_ref();
            let fits = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
            if text.is_empty() || text.len() > LETTERS || !text.chars().all(fits) {
                return Err((name.span().start, What::Name(text.clone())));
            }
            if scenario.internet.names && text == NAMES {
                return Err((name.span().start, What::Twice(text.clone())));
            }
            if let Some(other) = seen.insert(text, name.span().start) {
                return Err((other.max(name.span().start), What::Twice(text.clone())));
            }
        }
        Ok(Self { scenario })
    }

    fn known(name: &Name, kind: &'static str, is_there: bool) -> Result<(), Found> {
        let unknown = || What::Unknown { kind, name: name.as_ref().clone() };
        if is_there { Ok(()) } else { Err((name.span().start, unknown())) }
    }

    fn node(&self, name: &Name) -> Result<&'s Node, Found> {
        let found = self.scenario.nodes.iter().find(|node| node.name.as_ref() == name.as_ref());
        Self::known(name, "node", found.is_some())?;
        found.ok_or((0, What::Nothing))
    }

    fn serves(&self, name: &Name) -> Result<(), Found> {
        let serves = self.node(name)?.serves.is_some();
        Self::known(name, "node with an agent", serves)
    }

    fn home(&self, name: &Name) -> Result<(), Found> {
        Self::known(name, "home", self.scenario.homes.iter().any(|home| home.name.as_ref() == name.as_ref()))
    }

    fn relay(&self, name: &Name) -> Result<(), Found> {
        Self::known(name, "relay", self.scenario.relays.iter().any(|relay| relay.name.as_ref() == name.as_ref()))
    }

    fn server(&self, name: &Name) -> Result<(), Found> {
        let is_bootstrap = self.scenario.bootstraps.iter().any(|server| server.name.as_ref() == name.as_ref());
        if is_bootstrap { Ok(()) } else { self.relay(name).map_err(|(at, _)| (at, Self::unknown("server", name))) }
    }

    fn unknown(kind: &'static str, name: &Name) -> What {
        What::Unknown { kind, name: name.as_ref().clone() }
    }

    /// A home or a server.
    fn place(&self, name: &Name) -> Result<(), Found> {
        self.home(name).or_else(|_| self.server(name)).map_err(|(at, _)| (at, Self::unknown("place", name)))
    }

    /// A node or a server.
    fn program(&self, name: &Name) -> Result<(), Found> {
        let is_names = self.scenario.internet.names && name.as_ref() == NAMES;
        if is_names {
            return Ok(());
        }
        self.node(name).map(drop).or_else(|_| self.server(name)).map_err(|(at, _)| (at, Self::unknown("program", name)))
    }

    /// Whether one may ask the other.
    fn pair(&self, from: &Name, to: &Name) -> Result<(), Found> {
        let (asker, asked) = (self.node(from)?, self.node(to)?);
        let knows = |one: &Node, other: &Node| one.knows.iter().any(|name| name.as_ref() == other.name.as_ref());
        if asked.serves.is_some() && (knows(asker, asked) || knows(asked, asker)) {
            return Ok(());
        }
        let silent = What::Silent { asker: from.as_ref().clone(), asked: to.as_ref().clone() };
        Err((to.span().start, silent))
    }

    fn ask(&self, ask: &Ask) -> Result<(), (Option<usize>, What)> {
        self.pair(&ask.from, &ask.to).map_err(somewhere)?;
        within("within_s", ask.within_s, 1, LONGEST).map_err(|what| (None, what))
    }

    fn step(&self, step: &Do, is_open: &mut bool) -> Result<(), (Option<usize>, What)> {
        let time = |key, value| within(key, value, 1, LONGEST).map_err(|what| (None, what));
        let two = |from: &Name, to: &Name| self.node(from).and_then(|_| self.node(to)).map(drop).map_err(somewhere);
        match step {
            Do::Ask(ask) => self.ask(ask),
            Do::Stream(ask) => {
                self.ask(ask)?;
                if std::mem::replace(is_open, true) {
                    return Err((None, What::Order("a stream is open already: its end must come first")));
                }
                Ok(())
            }
            Do::Ends(ends) => {
                time("within_s", ends.within_s)?;
                if !std::mem::replace(is_open, false) {
                    return Err((None, What::Order("no stream is open that could end")));
                }
                Ok(())
            }
            Do::Path(path) => two(&path.from, &path.to).and_then(|()| time("within_s", path.within_s)),
            Do::Stays(path) => two(&path.from, &path.to).and_then(|()| time("for_s", path.for_s)),
            Do::Reach(reach) => {
                self.node(&reach.node).map_err(somewhere)?;
                time("within_s", reach.within_s)
            }
            Do::Netcheck(netcheck) => {
                self.node(&netcheck.node).map_err(somewhere)?;
                time("within_s", netcheck.within_s)
            }
            Do::Agree(agree) => {
                self.serves(&agree.of).map_err(somewhere)?;
                time("within_s", agree.within_s)
            }
            Do::Serve(name) | Do::Remove(name) => self.serves(name).map_err(somewhere),
            Do::Healed(seconds) => time("healed", *seconds),
            Do::Find(find) => two(&find.from, &find.of).and_then(|()| time("within_s", find.within_s)),
            Do::Carries(carries) => {
                self.relay(&carries.relay).map_err(somewhere)?;
                self.pair(&carries.from, &carries.to).map_err(somewhere)?;
                within("most", carries.most, carries.least, 1 << 40).map_err(|what| (None, what))
            }
            Do::Kill(name) | Do::Start(name) | Do::Freeze(name) | Do::Thaw(name) => {
                self.program(name).map_err(somewhere)
            }
            Do::Readdress(name) => self.place(name).map_err(somewhere),
            Do::Renumber(name) => self.node(name).map(drop).map_err(somewhere),
            Do::Cut(halves) | Do::Heal(halves) => {
                halves.from.iter().chain(&halves.to).try_for_each(|name| self.place(name)).map_err(somewhere)
            }
            Do::Slow(slow) => {
                self.home(&slow.home).map_err(somewhere)?;
                within("kbit_s", slow.kbit_s, 0, 1 << 30).map_err(|what| (None, what))
            }
            Do::Watch(name) | Do::Unread(name) => self.server(name).map_err(somewhere),
            Do::Revoke(revoke) => self.pair(&revoke.to, &revoke.by).map_err(somewhere),
            Do::Delegate(delegate) => self
                .pair(&delegate.by, &delegate.of)
                .and_then(|()| self.pair(&delegate.to, &delegate.of))
                .map_err(somewhere),
            Do::Learns(learns) => {
                self.pair(&learns.node, &learns.of).map_err(somewhere)?;
                time("within_s", learns.within_s)
            }
            Do::Wait(seconds) => time("wait", *seconds),
        }
    }
}

fn somewhere((at, what): Found) -> (Option<usize>, What) {
    (Some(at), what)
}
