//! The network: one router that is the internet, and around it places, each with a network of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Child, Stdio};

use super::command::{inside, ip, run, system};
use super::router::rules;
use super::{Trouble, delay, gateway};
use crate::scenario::{Internet, Nat};

/// The namespace of the internet; no place can be called so.
const INTERNET: &str = "the-internet-itself";
/// The number of the first place: its addresses are 11.NUMBER.*.*.
const FIRST: u8 = 10;

/// A place around the internet.
#[derive(Clone, Copy, Debug)]
struct Place {
    number: u8,
    /// How often it has got another address.
    moved: u8,
    nat: Option<Nat>,
    /// What the provider's router does, where there is one.
    carrier: Option<Nat>,
    guests: u8,
}

/// The network.
#[derive(Debug)]
pub(super) struct Net {
    places: BTreeMap<String, Place>,
    /// The home of each machine, and its number there.
    guests: BTreeMap<String, (String, u8)>,
    /// Numbers of places between which nothing passes.
    cuts: BTreeSet<(u8, u8)>,
    shuttle: Option<Child>,
    /// Beside the router of each home that opens ports.
    gateways: BTreeMap<String, Child>,
}

impl Place {
    fn outside(self) -> Ipv4Addr {
        Ipv4Addr::new(11, self.number, self.moved, 2)
    }

    /// The router's own side of the wire to the internet.
    fn beyond(self) -> Ipv4Addr {
        Ipv4Addr::new(11, self.number, self.moved, 1)
    }

    /// An address between the provider's router and the home's; RFC 6598 has set these apart for it.
    fn between(self, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(100, 64, self.number, host)
    }

    /// An address behind the router; of an open home it is a public one.
    fn behind(self, host: u8) -> Ipv4Addr {
        match self.nat {
            Some(Nat::Open) => Ipv4Addr::new(11, self.number, 200, host),
            _ => Ipv4Addr::new(10, self.number, 0, host),
        }
    }
}

/// The namespace of the provider's router in front of a home.
fn provider(home: &str) -> String {
    format!("{home}-provider")
}

/// Runs a line of shell in a namespace: settings of the kernel are files there.
fn set(namespace: &str, line: &str) -> Result<(), Trouble> {
    run(inside(namespace, "sh").args(["-c", line])).map(drop)
}

/// Replaces all rules of a namespace.
fn filter(namespace: &str, rules: &str) -> Result<(), Trouble> {
    use std::io::Write as _;
    let mut command = inside(namespace, "nft");
    command.args(["-f", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let start = |source| Trouble::Start { program: "nft".into(), source };
    let mut child = command.spawn().map_err(start)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(rules.as_bytes()).map_err(start)?;
    }
    let output = child.wait_with_output().map_err(start)?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() {
        Ok(())
    } else {
        Err(Trouble::Failed { command: format!("nft -f - <<< {rules}"), said })
    }
}

fn namespace(name: &str) -> Result<(), Trouble> {
    ip(&format!("netns add {name}"))?;
    ip(&format!("-n {name} link set lo up"))?;
    set(name, "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6; echo 0 > /proc/sys/net/ipv4/conf/all/rp_filter")
}

fn end(mut program: Child) {
    let _gone = program.kill();
    let _gone = program.wait();
}

/// Gives a machine its address, and a way out.
fn number(name: &str, place: Place, host: u8) -> Result<(), Trouble> {
    ip(&format!("-n {name} address add {}/24 dev eth0", place.behind(host)))?;
    ip(&format!("-n {name} route add default via {}", place.behind(1)))
}

impl Net {
    /// The internet, with nobody around it yet.
    pub(super) fn new(internet: Internet) -> Result<Self, Trouble> {
        namespace(INTERNET)?;
        set(INTERNET, "echo 1 > /proc/sys/net/ipv4/ip_forward")?;
        let mut net = Self {
            places: BTreeMap::new(),
            guests: BTreeMap::new(),
            cuts: BTreeSet::new(),
            shuttle: None,
            gateways: BTreeMap::new(),
        };
        if internet.delay_ms > 0 {
            net.shuttle = Some(delay::start(INTERNET, internet.delay_ms)?);
            ip(&format!("-n {INTERNET} route add default dev {} table 100", delay::DEVICE))?;
        }
        filter(INTERNET, "table ip lost {\n chain pass { type filter hook forward priority filter; }\n}\n")?;
        filter(INTERNET, "table ip cut {\n chain pass { type filter hook forward priority filter - 1; }\n}\n")?;
        if internet.loss_percent > 0 {
            // What goes into the delay comes out again; it is lost once.
            let once = if internet.delay_ms > 0 { format!("oifname != \"{}\"", delay::DEVICE) } else { String::new() };
            filter(
                INTERNET,
                &format!("add rule ip lost pass {once} numgen random mod 100 < {} drop", internet.loss_percent),
            )?;
        }
        Ok(net)
    }

    /// A place with one wire to the internet: a server, or with a router the beginning of a home.
    pub(super) fn place(&mut self, name: &str, nat: Option<Nat>, carrier: Option<Nat>) -> Result<Ipv4Addr, Trouble> {
        let number = FIRST + u8::try_from(self.places.len()).unwrap_or(u8::MAX - FIRST);
        let place = Place { number, moved: 0, nat, carrier, guests: 0 };
        namespace(name)?;
        let mut outer = name.to_owned();
        if carrier.is_some() {
            outer = provider(name);
            namespace(&outer)?;
            set(&outer, "echo 1 > /proc/sys/net/ipv4/ip_forward")?;
            ip(&format!("link add wan netns {name} type veth peer name lan netns {outer}"))?;
            ip(&format!("-n {outer} address add {}/24 dev lan", place.between(1)))?;
            ip(&format!("-n {outer} link set lan up"))?;
            ip(&format!("-n {name} address add {}/24 dev wan", place.between(2)))?;
            ip(&format!("-n {name} link set wan up"))?;
            ip(&format!("-n {name} route add default via {}", place.between(1)))?;
        }
        ip(&format!("link add wan netns {outer} type veth peer name p{number} netns {INTERNET}"))?;
        ip(&format!("-n {INTERNET} link set p{number} up"))?;
        ip(&format!("-n {outer} link set wan up"))?;
        if self.shuttle.is_some() {
            ip(&format!("-n {INTERNET} rule add dev p{number} lookup 100"))?;
        }
        if nat.is_some() {
            set(name, "echo 1 > /proc/sys/net/ipv4/ip_forward")?;
            ip(&format!("-n {name} link add lan type bridge"))?;
            // Where the kernel filters bridges, what only passes through this one would meet the rules of the router.
            set(name, "for f in /proc/sys/net/bridge/bridge-nf-call-*; do [ ! -e $f ] || echo 0 > $f; done")?;
            ip(&format!("-n {name} address add {}/24 dev lan", place.behind(1)))?;
            ip(&format!("-n {name} link set lan up"))?;
        }
        self.places.insert(name.to_owned(), place);
        self.wire(name)?;
        Ok(place.outside())
    }

    /// The addresses at both ends of a place's wire, and what its router does.
    fn wire(&self, name: &str) -> Result<(), Trouble> {
        let place = self.known(name)?;
        let (number, outside, beyond) = (place.number, place.outside(), place.beyond());
        let outer = if place.carrier.is_some() { provider(name) } else { name.to_owned() };
        ip(&format!("-n {INTERNET} address flush dev p{number}"))?;
        ip(&format!("-n {outer} address flush dev wan"))?;
        ip(&format!("-n {INTERNET} address add {beyond}/24 dev p{number}"))?;
        ip(&format!("-n {outer} address add {outside}/24 dev wan"))?;
        ip(&format!("-n {outer} route add default via {beyond}"))?;
        let Some(nat) = place.nat else { return Ok(()) };
        if let Some(carrier) = place.carrier {
            filter(&outer, &format!("flush ruleset\n{}", rules(carrier, outside, place.between(2))))?;
            let own = place.between(2);
            return filter(name, &format!("flush ruleset\n{}", rules(nat, own, place.behind(FIRST))));
        }
        if nat == Nat::Open {
            ip(&format!("-n {INTERNET} route replace 11.{number}.200.0/24 via {outside}"))?;
        }
        filter(name, &format!("flush ruleset\n{}", rules(nat, outside, place.behind(FIRST))))
    }

    fn known(&self, name: &str) -> Result<Place, Trouble> {
        self.places.get(name).copied().ok_or_else(|| Trouble::Not(format!("there is no place {name}")))
    }

    /// A machine in a home.
    pub(super) fn guest(&mut self, home: &str, name: &str) -> Result<(), Trouble> {
        let place = self.known(home)?;
        if let Some(place) = self.places.get_mut(home) {
            place.guests += 1;
        }
        namespace(name)?;
        ip(&format!("link add eth0 netns {name} type veth peer name g{} netns {home}", place.guests))?;
        ip(&format!("-n {home} link set g{} master lan up", place.guests))?;
        ip(&format!("-n {name} link set eth0 up"))?;
        let host = FIRST + place.guests;
        self.guests.insert(name.to_owned(), (home.to_owned(), host));
        number(name, place, host)
    }

    /// Gives a machine another address in its home, as when it leaves the cable for the air.
    pub(super) fn renumber(&mut self, name: &str) -> Result<(), Trouble> {
        let nobody = || Trouble::Not(format!("there is no machine {name}"));
        let (home, host) = self.guests.get_mut(name).ok_or_else(nobody)?;
        *host ^= 1 << 7;
        let (home, host) = (home.clone(), *host);
        ip(&format!("-n {name} address flush dev eth0"))?;
        number(name, self.known(&home)?, host)
    }

    /// Gives a home another public address, as a provider does at night.
    pub(super) fn readdress(&mut self, home: &str) -> Result<(), Trouble> {
        if let Some(place) = self.places.get_mut(home) {
            place.moved += 1;
        }
        self.wire(home)?;
        // Its router begins anew, and has forgotten what it has opened.
        if self.gateways.contains_key(home) { self.open_ports(home) } else { Ok(()) }
    }

    /// From now on the router of a home opens ports for who asks inside.
    pub(super) fn open_ports(&mut self, home: &str) -> Result<(), Trouble> {
        self.gateways.remove(home).into_iter().for_each(end);
        filter(home, gateway::RULES)?;
        self.gateways.insert(home.to_owned(), gateway::start(home)?);
        Ok(())
    }

    /// Whether packets pass between these places.
    pub(super) fn pass(&mut self, from: &[&str], to: &[&str], passes: bool) -> Result<(), Trouble> {
        for (one, other) in from.iter().flat_map(|one| to.iter().map(move |other| (one, other))) {
            let (one, other) = (self.known(one)?.number, self.known(other)?.number);
            let pair = (one.min(other), one.max(other));
            let _known = if passes { self.cuts.remove(&pair) } else { self.cuts.insert(pair) };
        }
        let rule = |one: u8, other: u8| {
            format!("add rule ip cut pass ip saddr 11.{one}.0.0/16 ip daddr 11.{other}.0.0/16 drop\n")
        };
        let rules: String = self.cuts.iter().map(|(one, other)| rule(*one, *other) + &rule(*other, *one)).collect();
        filter(INTERNET, &format!("flush chain ip cut pass\n{rules}"))
    }

    /// Bounds what a place sends; 0 for as fast as it goes.
    pub(super) fn slow(&self, place: &str, kbit_s: u64) -> Result<(), Trouble> {
        let mut words = vec!["qdisc", "del", "dev", "wan", "root"];
        let rate = format!("{kbit_s}kbit");
        if kbit_s > 0 {
            words = vec!["qdisc", "add", "dev", "wan", "root", "tbf", "rate", &rate, "burst", "4kb", "latency", "2s"];
        }
        run(inside(place, "tc").args(words)).map(drop)
    }

    /// Bytes that have passed a place's wire, both ways together.
    pub(super) fn carried(&self, place: &str) -> Result<u64, Trouble> {
        let files = ["rx", "tx"].map(|way| format!("/sys/class/net/wan/statistics/{way}_bytes"));
        let output = run(inside(place, "cat").args(files))?;
        Ok(String::from_utf8_lossy(&output.stdout).split_whitespace().filter_map(|line| line.parse::<u64>().ok()).sum())
    }

    /// The public address of each place.
    pub(super) fn outsides(&self) -> impl Iterator<Item = (&str, Ipv4Addr)> {
        self.places.iter().map(|(name, place)| (name.as_str(), place.outside()))
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        self.shuttle.take().into_iter().chain(std::mem::take(&mut self.gateways).into_values()).for_each(end);
        // Several scenarios may follow each other in one world.
        for name in std::fs::read_dir(Path::new("/run/netns")).into_iter().flatten().filter_map(Result::ok) {
            let _gone = run(system("ip").args(["netns", "delete"]).arg(name.file_name()));
        }
    }
}
