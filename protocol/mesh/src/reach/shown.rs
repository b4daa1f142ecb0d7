//! What can be seen of how others reach us: addresses and their witnesses, mappings, relays, probes, punches.

use std::time::{Duration, Instant};

use klp::NodeId;
use libp2p::Multiaddr;

/// Who says that an address of ours reaches us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Witness {
    /// The user vouches for it.
    User,
    /// A relay holds a place for us there.
    Relay,
    /// A third party has dialled it.
    Autonat,
    /// The router says that it has opened it; nobody has dialled it yet.
    Upnp,
}

/// One of our own addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnAddress {
    /// Where, without our peer id.
    pub address: Multiaddr,
    /// Who has said so; nobody of an address that we only listen on, or under which others have seen us.
    pub witness: Option<Witness>,
    /// The node that has dialled it last.
    pub by: Option<NodeId>,
    /// Since when it is known, or confirmed.
    pub since: Instant,
}

impl OwnAddress {
    /// Whether others may be told: a third party has reached us there, or the user vouches for it.
    pub fn is_confirmed(&self) -> bool {
        self.witness.is_some_and(|witness| witness != Witness::Upnp)
    }
}

/// How the router in front of us maps what leaves from our listen port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mapping {
    /// Fewer than two others, at different addresses, have said how they see us.
    #[default]
    Unknown,
    /// All see us under the same address and port: holes can be punched.
    Independent,
    /// Each sees us under another one: a symmetric router, whose holes others cannot find.
    Dependent,
}

/// How others see one of our transports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// What follows from it.
    pub mapping: Mapping,
    /// Each address, and how many others see us there.
    pub addresses: Vec<(Multiaddr, usize)>,
}

/// How others see us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mappings {
    /// Over QUIC.
    pub udp: Observed,
    /// Over TCP.
    pub tcp: Observed,
}

/// How we came to know a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RelaySource {
    /// The user has named it.
    Configured,
    /// A contact offers it.
    Contact,
    /// It says in the DHT that it is one.
    Directory,
}

/// Where we stand with a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RelayPhase {
    /// Known, and not needed.
    Spare,
    /// It has failed or refused, and is tried again later.
    Waiting,
    /// A connection is being made.
    Dialling,
    /// A place was asked for.
    Reserving,
    /// It holds a place for us.
    Active,
}

/// One relay, as people want to see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayView {
    /// Which.
    pub node: NodeId,
    /// Where, without its peer id.
    pub address: Multiaddr,
    /// How we came to know it.
    pub source: RelaySource,
    /// Where we stand.
    pub phase: RelayPhase,
    /// Since when.
    pub since: Instant,
    /// Failures since the last success.
    pub failures: u32,
    /// Why it was lost or could not be had, the last time.
    pub lost: Option<String>,
    /// The last round trip.
    pub rtt: Option<Duration>,
}

/// What a third party found when it dialled an address of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Where it dialled.
    pub address: Multiaddr,
    /// Who.
    pub server: NodeId,
    /// When it said so.
    pub at: Instant,
    /// Why it did not come through; nothing when it did.
    pub error: Option<String>,
}

/// What the router in front of us does when it is asked to open a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Upnp {
    /// It is not asked.
    #[default]
    Off,
    /// It was asked, and has not answered yet.
    Asked,
    /// It has opened a port.
    Mapped,
    /// There is no router that can be asked.
    NoGateway,
    /// There is one, and it has no public address itself.
    NotPublic,
}

/// How an attempt to punch a hole to a peer has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Punch {
    /// When.
    pub at: Instant,
    /// Why it failed; nothing when there is a direct connection now.
    pub error: Option<String>,
}

impl Witness {
    /// `user`, `relay`, `autonat` or `upnp`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Relay => "relay",
            Self::Autonat => "autonat",
            Self::Upnp => "upnp",
        }
    }
}

impl Mapping {
    /// `unknown`, `independent` or `dependent`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Independent => "independent",
            Self::Dependent => "dependent",
        }
    }
}

impl RelaySource {
    /// `configured`, `contact` or `directory`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Configured => "configured",
            Self::Contact => "contact",
            Self::Directory => "directory",
        }
    }
}

impl RelayPhase {
    /// `spare`, `waiting`, `dialling`, `reserving` or `active`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Spare => "spare",
            Self::Waiting => "waiting",
            Self::Dialling => "dialling",
            Self::Reserving => "reserving",
            Self::Active => "active",
        }
    }
}

impl Upnp {
    /// `off`, `asked`, `mapped`, `no_gateway` or `not_public`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Asked => "asked",
            Self::Mapped => "mapped",
            Self::NoGateway => "no_gateway",
            Self::NotPublic => "not_public",
        }
    }
}
