//! What happens, one step after the other.

use serde::Deserialize;

use super::place::Name;

/// One step. It holds, or the scenario has failed.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Do {
    /// Somebody asks the agent of somebody else.
    Ask(Ask),
    /// The same, without waiting for the end: it holds when the first piece of the answer is there.
    Stream(Ask),
    /// The open stream ends.
    Ends(Ends),
    /// The path becomes such.
    Path(Goes),
    /// The path is such, and stays so.
    Stays(Stays),
    /// How a node can be reached, as it says itself, becomes such.
    Reach(Reach),
    /// What `kos netcheck` says to somebody becomes such.
    Netcheck(Netcheck),
    /// A search shows an agent, or shows it no more.
    Find(Find),
    /// The searches of all nodes that run show an agent, or show it no more.
    Agree(Agree),
    /// Somebody serves again what was removed.
    Serve(Name),
    /// Somebody's agent is removed.
    Remove(Name),
    /// What passes through a relay while somebody asks.
    Carries(Carries),
    /// A program is killed, without a chance to say goodbye.
    Kill(Name),
    /// A killed program is started again.
    Start(Name),
    /// A program is stopped in its tracks, as a machine that sleeps.
    Freeze(Name),
    /// It goes on.
    Thaw(Name),
    /// A home or a server gets another public address.
    Readdress(Name),
    /// A machine gets another address in its home.
    Renumber(Name),
    /// Nothing passes any more between these places.
    Cut(Halves),
    /// It passes again.
    Heal(Halves),
    /// At most so many seconds have passed since something was healed.
    Healed(u64),
    /// What a home sends is slowed down.
    Slow(Slow),
    /// Everything that passes a server's network is written down from here on.
    Watch(Name),
    /// In what was written down is no word that was said, no agent and no owner.
    Unread(Name),
    /// Somebody takes back what it granted somebody else.
    Revoke(Revoke),
    /// Somebody hands on what a third granted.
    Delegate(Delegate),
    /// Whoever held a grant knows that it was revoked.
    Learns(Learns),
    /// Seconds pass.
    Wait(u64),
}

/// Somebody asks.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// Who.
    pub from: Name,
    /// Whom.
    pub to: Name,
    /// Until when the answer, or its first piece, is there.
    pub within_s: u64,
    /// Whether to ask again until it is answered.
    #[serde(default)]
    pub again: bool,
    /// That it must fail, with this code; several are parted by ` or `.
    pub refused: Option<String>,
}

/// How an open stream ends.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ends {
    /// With an answer, or, if this is true, with an answer or any error that has a name.
    #[serde(default)]
    pub or_error: bool,
    /// Until when it goes on, or ends.
    pub within_s: u64,
}

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Route {
    /// In one private network.
    Lan,
    /// Without anybody in between.
    Direct,
    /// Through a relay.
    Relayed,
}

impl Route {
    /// As it is written in a file, and by our programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lan => "lan",
            Self::Direct => "direct",
            Self::Relayed => "relayed",
        }
    }
}

/// A path that must come.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Goes {
    /// From whom.
    pub from: Name,
    /// To whom.
    pub to: Name,
    /// Which way.
    pub is: Route,
    /// Until when.
    pub within_s: u64,
}

/// A path that must stay.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stays {
    /// From whom.
    pub from: Name,
    /// To whom.
    pub to: Name,
    /// Which way.
    pub is: Route,
    /// How long.
    pub for_s: u64,
}

/// How a node can be reached.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reach {
    /// Which node.
    pub node: Name,
    /// `public`, `relayed`, `private`.
    pub is: String,
    /// Until when.
    pub within_s: u64,
}

/// One line about the network in front of a node.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Netcheck {
    /// Which node.
    pub node: Name,
    /// Words of the line.
    pub says: String,
    /// Words of what it says to do; without them there is nothing to do.
    #[serde(default)]
    pub fix: String,
    /// Until when.
    pub within_s: u64,
}

impl Netcheck {
    /// Whether this is it: the answer of `kos netcheck`; what is there instead, when it is not.
    pub(crate) fn holds(&self, told: &serde_json::Value) -> Result<(), String> {
        let [line, fix] = ["headline", "fix"].map(|part| told[part].as_str().unwrap_or_default());
        let is_it = line.contains(&self.says) && fix.contains(&self.fix) && fix.is_empty() == self.fix.is_empty();
        if is_it { Ok(()) } else { Err(format!("{line} {fix}")) }
    }
}

/// A search.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Find {
    /// Who searches.
    pub from: Name,
    /// Whose agent is looked for.
    pub of: Name,
    /// Whether it is shown.
    pub shown: bool,
    /// Until when.
    pub within_s: u64,
}

/// A search by everybody.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agree {
    /// Whose agent is looked for.
    pub of: Name,
    /// Whether it is shown.
    pub shown: bool,
    /// Until when.
    pub within_s: u64,
}

/// What passes through a relay while somebody asks a few times.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Carries {
    /// Which relay.
    pub relay: Name,
    /// Who asks.
    pub from: Name,
    /// Whom.
    pub to: Name,
    /// Bytes of its network, both directions together: at least.
    #[serde(default)]
    pub least: u64,
    /// At most.
    pub most: u64,
}

/// Places that do not hear each other: homes and servers.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Halves {
    /// On one side.
    pub from: Vec<Name>,
    /// On the other.
    pub to: Vec<Name>,
}

/// A slow line.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slow {
    /// Which home.
    pub home: Name,
    /// Kilobits in a second; 0 for as fast as it goes.
    pub kbit_s: u64,
}

/// Taking back.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revoke {
    /// Who granted it.
    pub by: Name,
    /// Who holds it.
    pub to: Name,
}

/// Handing on.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delegate {
    /// Who hands on.
    pub by: Name,
    /// To whom.
    pub to: Name,
    /// Who granted it.
    pub of: Name,
}

/// Knowing that something was taken back, by the node's own list of grants.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Learns {
    /// Who knows it.
    pub node: Name,
    /// Who revoked it.
    pub of: Name,
    /// Until when.
    pub within_s: u64,
}
