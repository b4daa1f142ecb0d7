//! Reaching others and being reached: pings, paths, the network in front of this node, the doctor.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `kos ping`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Ping {
    /// How the node was reached: `direct`, `lan`, `relayed`, or `forwarded, 2 hops via bob` when contacts carry it.
    pub path: String,
    /// Milliseconds there and back; the middle one of several.
    pub rtt_ms: u64,
    /// What was tried, in order.
    pub attempts: Vec<Attempt>,
    /// Each round trip that came back.
    pub rtts_ms: Vec<u64>,
    /// How many did not.
    pub lost: u32,
}

/// One attempt to reach a node.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Attempt {
    /// What was tried: `session`, `known`, `dht`, `forwarded`; or, of earlier attempts, `lan`, `direct`, `relayed`.
    pub step: String,
    /// Address that was tried, or the contact who forwards.
    pub address: String,
    /// `ok`, or why not.
    pub result: String,
    /// Milliseconds it took.
    pub took_ms: u64,
}

/// `kos path`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Route {
    /// The node's DID.
    pub node: String,
    /// The best path now: `local`, `lan`, `direct`, `relayed`, or `forwarded, 2 hops via bob`.
    pub path: String,
    /// What carries it: `quic`, `tcp`, `ws`, `webrtc`; empty when contacts do.
    pub over: String,
    /// The other end; empty when contacts carry it.
    pub address: String,
    /// Why this one.
    pub why: String,
    /// What would make it better, where something would.
    pub better: Option<String>,
    /// Milliseconds there and back.
    pub rtt_ms: u64,
    /// What was tried, in order.
    pub attempts: Vec<Attempt>,
    /// Other connections to the same node.
    pub others: Vec<String>,
    /// The relay in between.
    pub relay: Option<RelayUse>,
    /// Bytes to and from it since it was connected, by the way that they took.
    pub carried: Vec<CarriedBytes>,
    /// The latest moves of the open session from one connection to another.
    pub moves: Vec<Move>,
    /// How often it has moved.
    pub moved: u64,
}

/// A relay that carries a path.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RelayUse {
    /// Where.
    pub address: String,
    /// Bytes that it lets through before it cuts the circuit, where it says.
    pub limit_bytes: Option<u64>,
    /// Seconds after which it does.
    pub limit_s: Option<u64>,
}

/// Bytes of one way to a node.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct CarriedBytes {
    /// `relayed`, or `direct` with nobody in between, also in one network.
    pub way: String,
    /// To the node.
    pub sent: u64,
    /// From it.
    pub received: u64,
}

/// A session went on over another connection.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Move {
    /// When.
    pub at: String,
    /// Over what before.
    pub from: String,
    /// Over what since.
    pub to: String,
}

/// `kos netcheck`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Netcheck {
    /// How this node is reached, in one line.
    pub headline: String,
    /// What to do about it; empty when there is nothing to do.
    pub fix: String,
    /// `unknown`, `loopback`, `private`, `relayed` or `public`.
    pub reach: String,
    /// Whether UDP gets through; nothing when it could not be tried.
    pub udp: Option<bool>,
    /// How the router maps UDP: `independent` lets holes be punched, `dependent` is a symmetric NAT; or `unknown`.
    pub mapping_udp: String,
    /// The same of TCP.
    pub mapping_tcp: String,
    /// Own addresses, and who says that they reach us.
    pub addresses: Vec<NetcheckAddress>,
    /// What the router does when it is asked for a port: `off`, `asked`, `mapped`, `no_gateway`, `not_public`.
    pub upnp: String,
    /// Whether there is an IPv6 address that others may use.
    pub ipv6: bool,
    /// Whether a bootstrap peer answers; nothing when none is set.
    pub bootstrap: Option<bool>,
    /// Whether names are found; nothing when no address has one.
    pub dns: Option<bool>,
    /// The relays that are known.
    pub relays: Vec<NetcheckRelay>,
    /// What the doctor says of the network.
    pub checks: Vec<Check>,
}

/// One of our own addresses.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct NetcheckAddress {
    /// Where.
    pub address: String,
    /// Who says that it reaches us: `user`, `autonat`, `relay`, `upnp`; empty when nobody does yet.
    pub confirmed_by: String,
}

/// One relay.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct NetcheckRelay {
    /// Its DID.
    pub node: String,
    /// Where.
    pub address: String,
    /// How it came to be known: `configured`, `contact`, `directory`.
    pub source: String,
    /// `active` when it holds a place for us; else `spare`, `waiting`, `dialling`, `reserving`.
    pub state: String,
    /// Failures since the last success.
    pub failures: u32,
    /// Why it was lost or refused, the last time.
    pub lost: Option<String>,
    /// Milliseconds there and back.
    pub rtt_ms: Option<u64>,
}

/// `kos doctor`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Doctor {
    /// Whether no check has failed.
    pub well: bool,
    /// What was looked at.
    pub checks: Vec<Check>,
}

/// One thing that the doctor has looked at.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Check {
    /// What: `settings`, `lock`, `files`, `disk`, `vault`, `clock`, `node`, `ports`, `dns`, `bootstrap`, `udp`, `relay`.
    pub name: String,
    /// `ok`, `failed`, or `skipped` where nothing could be shown.
    pub state: String,
    /// Why, in one line.
    pub cause: String,
    /// What to do, in one line; empty when there is nothing to do.
    pub fix: String,
}
