//! The steps of a scenario.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::client::{Refused, text_of};
use super::{LOOK, Observer};
use crate::scenario::{Ask, Do, Find, Goes, Halves, Learns, Name, Netcheck, Reach, Revoke, Stays};

/// What everybody asks; the folder that answers knows.
const QUESTION: &str = "how is a grant revoked?";
/// What a client needs beside the time that it was given.
const MARGIN: Duration = Duration::from_secs(5);

/// How long each try may take, where more than one may be made.
const TRY: Duration = Duration::from_secs(5);

/// What was done, and what was seen or why it does not hold.
type Ended = (String, Result<String, String>);

impl Observer<'_> {
    pub(super) fn step(&mut self, step: &Do) -> Ended {
        match step {
            Do::Ask(ask) => self.ask(ask),
            Do::Path(path) => self.path(path),
            Do::Stays(path) => self.stays(path),
            Do::Reach(reach) => self.reach(reach),
            Do::Netcheck(netcheck) => self.netcheck(netcheck),
            Do::Find(find) => self.find(find),
            Do::Kill(name) => self.order(name, "kill", "is killed"),
            Do::Start(name) => self.order(name, "start", "is started again"),
            Do::Freeze(name) => self.order(name, "freeze", "is frozen"),
            Do::Thaw(name) => self.order(name, "thaw", "goes on"),
            Do::Slow(slow) => self.order(&slow.home, &format!("slow {}", slow.kbit_s), "has another speed"),
            Do::Cut(halves) => self.part(halves, "cut", "hear each other no more"),
            Do::Heal(halves) => self.part(halves, "heal", "hear each other again"),
            Do::Revoke(revoke) => self.revoke(revoke),
            Do::Learns(learns) => self.learns(learns),
            Do::Wait(seconds) => {
                thread::sleep(Duration::from_secs(*seconds));
                (format!("{seconds} s pass"), Ok(String::new()))
            }
            Do::Stream(_)
            | Do::Ends(_)
            | Do::Carries(_)
            | Do::Readdress(_)
            | Do::Renumber(_)
            | Do::Watch(_)
            | Do::Unread(_)
            | Do::Agree(_)
            | Do::Serve(_)
            | Do::Remove(_)
            | Do::Healed(_)
            | Do::Delegate(_) => ("a step of the laboratory".into(), Err("it cannot be done from outside".into())),
        }
    }

    fn ask(&self, ask: &Ask) -> Ended {
        let (from, to) = (ask.from.as_ref(), ask.to.as_ref());
        let what = match &ask.refused {
            None => format!("{from} asks {to}"),
            Some(code) => format!("{from} asks {to}, who must answer {code}"),
        };
        let Some(agent) = self.agents.get(&**to) else { return (what, Err(format!("{to} serves nothing"))) };
        let whom = format!("{to}/{}", agent.name);
        let end = Instant::now() + Duration::from_secs(ask.within_s);
        let result = loop {
            let left = end.saturating_duration_since(Instant::now()).max(Duration::from_secs(1));
            let left = if ask.again { left.min(TRY) } else { left };
            let seconds = left.as_secs().max(1).to_string();
            let said =
                self.node(from).map(|node| node.say(&["ask", &whom, QUESTION, "--timeout", &seconds], left + MARGIN));
            let result = said.and_then(|said| answered(said, ask.refused.as_deref()));
            if result.is_ok() || !ask.again || Instant::now() > end {
                break result;
            }
            thread::sleep(LOOK);
        };
        (what, result.and_then(|seen| in_time(seen, end)))
    }

    fn path(&self, goes: &Goes) -> Ended {
        let (from, to, wanted) = (goes.from.as_ref(), goes.to.as_ref(), goes.is.as_str());
        let result = until(goes.within_s, || {
            let path = self.way(from, to)?;
            if path == wanted { Ok(String::new()) } else { Err(format!("it is {path}")) }
        });
        (format!("the path from {from} to {to} is {wanted}"), result)
    }

    fn stays(&self, stays: &Stays) -> Ended {
        let (from, to, wanted) = (stays.from.as_ref(), stays.to.as_ref(), stays.is.as_str());
        let end = Instant::now() + Duration::from_secs(stays.for_s);
        let mut result = Ok(String::new());
        while result.is_ok() && Instant::now() < end {
            result = match self.way(from, to) {
                Ok(path) if path == wanted => Ok(String::new()),
                Ok(path) => Err(format!("it became {path}")),
                Err(why) => Err(why),
            };
            thread::sleep(LOOK);
        }
        (format!("the path from {from} to {to} stays {wanted} for {} s", stays.for_s), result)
    }

    fn way(&self, from: &str, to: &str) -> Result<String, String> {
        let said = self.node(from)?.say(&["ping", to], Duration::from_secs(20));
        said.map(|ping| text_of(&ping, "path")).map_err(|refused| refused.to_string())
    }

    fn reach(&self, reach: &Reach) -> Ended {
        let (node, wanted) = (reach.node.as_ref(), &reach.is);
        let result = until(reach.within_s, || {
            let state = self.state(node)?;
            if state == *wanted { Ok(String::new()) } else { Err(format!("it is {state}")) }
        });
        (format!("{node} is {wanted}"), result)
    }

    fn netcheck(&self, netcheck: &Netcheck) -> Ended {
        let node = netcheck.node.as_ref();
        let result = until(netcheck.within_s, || {
            let told = self.node(node)?.say(&["netcheck"], Duration::from_secs(30));
            netcheck.holds(&told.map_err(|refused| refused.to_string())?).map(|()| String::new())
        });
        (format!("{node} is told: {}", netcheck.says), result)
    }

    fn find(&self, find: &Find) -> Ended {
        let (from, of) = (find.from.as_ref(), find.of.as_ref());
        let what = format!("{from} finds {}the agent of {of}", if find.shown { "" } else { "no more " });
        let Some(agent) = self.agents.get(&**of) else { return (what, Err(format!("{of} serves nothing"))) };
        let result = until(find.within_s, || {
            let found = self.node(from)?.say(&["find", &agent.name], Duration::from_secs(30));
            let found = found.map_err(|refused| refused.to_string())?;
            let row = found.as_array().into_iter().flatten().find(|row| row["did"] == agent.did.as_str());
            match row {
                Some(row) if find.shown => Ok(format!("{}, {}", text_of(row, "path"), text_of(row, "health"))),
                None if !find.shown => Ok(String::new()),
                _ => Err(format!("{} agents are shown", found.as_array().map_or(0, Vec::len))),
            }
        });
        (what, result)
    }

    fn order(&mut self, name: &Name, order: &str, done: &str) -> Ended {
        let name = name.as_ref();
        (format!("{name} {done}"), self.orders.give(name, order).map(|()| String::new()))
    }

    /// Each pair is parted at the router of the home on one side; the other side may have one too.
    fn part(&mut self, halves: &Halves, order: &str, done: &str) -> Ended {
        let names = |side: &[Name]| side.iter().map(|name| name.as_ref().clone()).collect::<Vec<_>>().join(" ");
        let (one, other) = (names(&halves.from), names(&halves.to));
        let what = format!("{} and {} {done}", one.replace(' ', ", "), other.replace(' ', ", "));
        let routers: Vec<&Name> =
            halves.from.iter().filter(|name| self.orders.note(name.as_ref(), "kind").is_some()).collect();
        if routers.len() != halves.from.len() {
            return (what, Err("only what has a router can be parted from others: name it in `from`".into()));
        }
        let mut given = routers.into_iter().map(|name| self.orders.give(name.as_ref(), &format!("{order} {other}")));
        let result = given.find(Result::is_err).unwrap_or(Ok(()));
        (what, result.map(|()| String::new()))
    }

    fn revoke(&self, revoke: &Revoke) -> Ended {
        let (by, to) = (revoke.by.as_ref(), revoke.to.as_ref());
        let result = self.local(by, &["grant", "list"]).and_then(|grants| {
            let issued = rows(&grants, to).filter(|row| row["direction"] == "issued" && row["revoked"] == false);
            let ids: Vec<String> = issued.map(|row| text_of(row, "id")).collect();
            if ids.is_empty() {
                return Err(format!("{by} has granted {to} nothing"));
            }
            ids.iter().try_for_each(|id| self.local(by, &["grant", "revoke", id]).map(drop))
        });
        (format!("{by} revokes what it granted {to}"), result.map(|()| String::new()))
    }

    fn learns(&self, learns: &Learns) -> Ended {
        let (node, of) = (learns.node.as_ref(), learns.of.as_ref());
        let result = until(learns.within_s, || {
            let grants = self.local(node, &["grant", "list"])?;
            let held: Vec<_> = rows(&grants, of).filter(|row| row["direction"] == "held").collect();
            match held.iter().all(|row| row["revoked"] == true) {
                _ if held.is_empty() => Err(format!("it holds nothing of {of}")),
                true => Ok(String::new()),
                false => Err("it does not know".into()),
            }
        });
        (format!("{node} knows that {of} has revoked"), result)
    }
}

/// The grants that have to do with this contact.
fn rows<'v>(grants: &'v Value, contact: &str) -> impl Iterator<Item = &'v Value> {
    grants.as_array().into_iter().flatten().filter(move |row| row["contact"] == contact)
}

/// Whether this is the answer that must come: a verified quotation, or the refusal of this code.
fn answered(said: Result<Value, Refused>, refusal: Option<&str>) -> Result<String, String> {
    match (said, refusal) {
        (Err(refused), Some(codes)) if codes.split(" or ").any(|code| refused.code == code) => Ok(refused.code),
        (Err(refused), _) => Err(refused.to_string()),
        (Ok(_), Some(code)) => Err(format!("an answer, and not {code}")),
        (Ok(answer), None) => {
            let (status, text) = (text_of(&answer, "status"), text_of(&answer, "answer"));
            if status != "answered" || answer["verified"] != true {
                return Err(format!("{status}, verified: {}", answer["verified"]));
            }
            if !text.contains(".md:") {
                return Err("the answer quotes no page".into());
            }
            Ok(format!("verified, {}, {} ms", text_of(&answer, "path"), answer["rtt_ms"]))
        }
    }
}

fn in_time(seen: String, end: Instant) -> Result<String, String> {
    if Instant::now() <= end { Ok(seen) } else { Err("it came too late".into()) }
}

/// Looks until it holds, or the time is over.
fn until(seconds: u64, mut look: impl FnMut() -> Result<String, String>) -> Result<String, String> {
    let end = Instant::now() + Duration::from_secs(seconds);
    loop {
        let seen = look();
        if seen.is_ok() || Instant::now() > end {
            return seen.map_err(|why| format!("{why} after {seconds} s"));
        }
        thread::sleep(LOOK);
    }
}
