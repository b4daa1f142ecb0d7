//! What the faces show: the JSON of the local API and of `--json`, field by field as in the surface contract.
//!
//! These are the only serialisable types of this crate; times are RFC 3339 in UTC, ids are DIDs or 64 hex digits.

mod ledger;
mod pairing;
mod queue;
mod reach;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use ledger::{AuditCheck, AuditEntry, ExportedEntry, Grant, Receipt, ReceiptCheck, Signer, Vault};
pub use pairing::{PairCode, PairState, Paired};
pub use queue::{Queued, Why};
pub use reach::{
    Attempt, CarriedBytes, Check, Doctor, Move, Netcheck, NetcheckAddress, NetcheckRelay, Ping, RelayUse, Route,
};

/// `kos status`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// The owner's DID.
    pub did: String,
    /// The node's DID.
    pub node: String,
    /// The libp2p peer id, made of the same key.
    pub peer_id: String,
    /// Version of this program.
    pub version: String,
    /// Seconds since the start.
    pub uptime_s: u64,
    /// `unlocked` or `locked`: the main vault.
    pub vault: String,
    /// Whether others can reach this node.
    pub reach: Reach,
    /// Peers that are connected.
    pub peers: u64,
    /// Agents on this node.
    pub agents: Vec<Agent>,
    /// Calls that run or wait, and questions that wait for others.
    pub queue: Queue,
    /// Each component's state: `ok`, or what is wrong.
    pub health: BTreeMap<String, String>,
    /// Addresses this node listens on, with its peer id.
    pub listen: Vec<String>,
    /// Address of the local API.
    pub api: String,
    /// Address of the web page, once there is one.
    pub ui: Option<String>,
    /// Where the figures are served, when `--metrics` asks for it.
    pub metrics: Option<String>,
    /// Process id.
    pub pid: u32,
    /// Kinds of request that this node answers.
    pub handlers: Vec<String>,
}

/// How this node can be reached.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Reach {
    /// `loopback`, `private`, `relayed` or `public`.
    pub state: String,
    /// The relay, when relayed.
    pub via: Option<String>,
    /// Addresses that others may use.
    pub addresses: Vec<String>,
}

/// Calls on this node.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Queue {
    /// Calls that run.
    pub running: u64,
    /// Calls that wait for their turn.
    pub waiting: u64,
    /// Questions of mine that wait until somebody's node is there.
    pub later: u64,
}

/// `kos up`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Up {
    /// The owner's DID.
    pub did: String,
    /// The node's DID.
    pub node: String,
    /// The libp2p peer id.
    pub peer_id: String,
    /// Addresses this node listens on, with its peer id.
    pub listen: Vec<String>,
    /// Address of the local API.
    pub api: String,
    /// Address of the web page, once there is one.
    pub ui: Option<String>,
    /// Process id.
    pub pid: u32,
}

/// `kos whoami`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Whoami {
    /// The owner's DID.
    pub owner: String,
    /// The node's DID.
    pub node: String,
    /// The libp2p peer id.
    pub peer_id: String,
    /// Agents on this node.
    pub agents: Vec<AgentName>,
    /// Six words that stand for the owner's key.
    pub fingerprint: Vec<String>,
    /// When this identity was made.
    pub created: String,
    /// Signature algorithm.
    pub algorithm: String,
}

/// An agent's name and DID.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct AgentName {
    /// Name on its node.
    pub name: String,
    /// Its DID.
    pub did: String,
}

/// `kos contact ticket`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Ticket {
    /// One pasteable line.
    pub ticket: String,
    /// Until when.
    pub expires: String,
}

/// A person I know.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Contact {
    /// The name that I gave them.
    pub name: String,
    /// Their owner DID.
    pub did: String,
    /// Their node.
    pub node: String,
    /// Six words that stand for their key; compare them by voice.
    pub fingerprint: Vec<String>,
    /// When I added them.
    pub added: String,
    /// Their verified agents, as far as they show them to me; filled in by `show`.
    pub agents: Vec<AgentName>,
    /// What I may use there, with the reason where I may not; filled in by `show`.
    pub capabilities: Vec<Capability>,
    /// How their node is connected now: `direct`, `relayed`, `lan`, or none.
    pub path: Option<String>,
}

/// How one capability was negotiated.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Capability {
    /// `agent.capability`.
    pub name: String,
    /// `granted`, `partial` or `denied`.
    pub outcome: String,
    /// Why.
    pub reason: String,
    /// Calls left, where they are counted.
    pub calls_left: Option<u64>,
    /// Until when.
    pub expires: Option<String>,
}

/// `kos serve`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Served {
    /// Name of the agent.
    pub agent: String,
    /// Its DID.
    pub did: String,
    /// Documents that it answers from.
    pub documents: u64,
    /// Its state; `indexing` while documents are still being read.
    pub state: String,
}

/// An agent on this node.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Agent {
    /// Its name here.
    pub name: String,
    /// Its DID.
    pub did: String,
    /// Its kind, such as `librarian`.
    pub kind: String,
    /// Its role, such as `knowledge`.
    pub role: String,
    /// `starting`, `indexing`, `ready`, `paused`, `failed`.
    pub state: String,
    /// One line about it.
    pub description: String,
    /// What it can do.
    pub capabilities: Vec<String>,
    /// Words it is found by when listed.
    pub tags: Vec<String>,
    /// `private`, `listed` or `public`.
    pub visibility: String,
    /// The served folder, if it serves one.
    pub path: Option<String>,
    /// Documents that it answers from.
    pub documents: u64,
    /// Progress of indexing.
    pub progress: Option<Progress>,
    /// Files left out, each with its reason; the first 100.
    pub skipped: Vec<Skipped>,
    /// Why it failed, if it did.
    pub failure: Option<String>,
}

/// How far indexing is.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Progress {
    /// Files looked at.
    pub done: u64,
    /// Files found.
    pub total: u64,
    /// Files left out.
    pub skipped: u64,
}

/// A file that was left out.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Skipped {
    /// Its path below the folder.
    pub path: String,
    /// Why.
    pub reason: String,
}

/// One row of `kos find`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Found {
    /// The agent's name on its node.
    pub name: String,
    /// The agent's DID.
    pub did: String,
    /// Its owner's DID.
    pub owner: String,
    /// The owner's petname, when they are a contact.
    pub contact: Option<String>,
    /// Its node.
    pub node: String,
    /// One line about it.
    pub description: String,
    /// Its kind, such as `librarian`.
    pub kind: String,
    /// What it can do.
    pub capabilities: Vec<String>,
    /// `healthy` when its node answered just now, `unknown` when it did not and was heard a moment ago.
    pub health: String,
    /// Reputation; none yet.
    pub reputation: Option<u64>,
    /// How it was found: `here`, `contact`, `dht`, `lan`, `cache`.
    pub path: String,
    /// How its node is reached now: `local`, `lan`, `direct`, `relayed`, or none.
    pub via: Option<String>,
    /// Why it is in the list.
    pub reason: String,
}

/// The end of an `ask`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Asked {
    /// The whole answer.
    pub answer: String,
    /// The agent's DID: who signed.
    pub from: String,
    /// Its owner's DID.
    pub owner: String,
    /// `local`, `direct`, `lan` or `relayed`.
    pub path: String,
    /// Milliseconds from sending the request to the first byte of the answer.
    pub rtt_ms: u64,
    /// Id of the receipt.
    pub receipt: String,
    /// Whether the outcome's signature and the answer's digest hold.
    pub verified: bool,
    /// `answered`, `failed`, `cancelled`, …
    pub status: String,
}

/// Something that happened.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// Rises by one with each event of this home.
    pub id: u64,
    /// When.
    pub time: String,
    /// Dotted name, such as `agent.registered`.
    pub name: String,
    /// Details.
    #[schema(value_type = serde_json::Value)]
    pub data: Box<serde_json::value::RawValue>,
}

/// One setting.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Setting {
    /// Dotted key.
    pub key: String,
    /// Its value now.
    pub value: serde_json::Value,
    /// Where it comes from: `default`, `file`, `env`, `flag`.
    pub origin: String,
}
