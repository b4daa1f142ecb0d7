//! What is kept and can be proven: grants, receipts, the log, vaults.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What others may do here, or I elsewhere.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Grant {
    /// The grant's id.
    pub id: String,
    /// Who gave it: DID.
    pub from: String,
    /// Who holds it: DID, or `anybody`.
    pub to: String,
    /// Petname of the other side, when they are a contact.
    pub contact: Option<String>,
    /// The node that honours it.
    pub node: String,
    /// The agent's name where it is known, else its DID.
    pub agent: String,
    /// The agent's DID.
    pub agent_did: String,
    /// The capability.
    pub capability: String,
    /// Patterns of arguments, if they are bounded.
    pub args: Option<BTreeMap<String, String>>,
    /// Calls that it began with, if they are bounded.
    pub calls: Option<u64>,
    /// Calls left: exact on the node that honours it, elsewhere as last heard.
    pub calls_left: Option<u64>,
    /// Until when.
    pub expires: String,
    /// Whether it was revoked.
    pub revoked: bool,
    /// `issued` by me, or `held` by me.
    pub direction: String,
    /// The grant that this one delegates.
    pub parent: Option<String>,
}

/// One receipt.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Receipt {
    /// Id: the order's.
    pub id: String,
    /// `ordered`, `answered` or `acknowledged`.
    pub state: String,
    /// How the call ended: `answered`, `failed`, `cancelled`, …; `open` while it runs. Where no outcome came: `unanswered` at the
    /// caller (refused, or broken off: the other side may have done it), `interrupted` where the node stopped in the middle.
    pub status: String,
    /// Who called.
    pub caller: String,
    /// Which agent.
    pub agent: String,
    /// Whose agent.
    pub owner: String,
    /// What was asked for.
    pub capability: String,
    /// Bytes of answer.
    pub bytes: u64,
    /// When it was ordered.
    pub issued: String,
    /// `made` (I called) or `given` (my agent was called).
    pub direction: String,
}

/// `kos receipt verify`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ReceiptCheck {
    /// Whether every signature and digest holds.
    pub valid: bool,
    /// `ordered`, `answered` or `acknowledged`.
    pub state: String,
    /// Who signed what.
    pub signers: Vec<Signer>,
    /// Always `not checked`: that needs a node.
    pub revocation: String,
    /// How the call ended.
    pub status: String,
    /// The question's arguments.
    pub arguments: BTreeMap<String, String>,
    /// The answer.
    pub answer: Option<String>,
    /// When it was ordered.
    pub issued: String,
}

/// One signature of a receipt.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Signer {
    /// `caller`, `agent` or `acknowledgement`.
    pub role: String,
    /// The key that signed.
    pub did: String,
    /// The owner who certified it.
    pub owner: String,
}

/// One entry of the audit log as `kos audit export` writes it: all of it, as others can check it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ExportedEntry {
    /// Number of the entry, from 0.
    pub seq: u64,
    /// When, in milliseconds since 1970.
    pub time_ms: u64,
    /// Which part of the node.
    pub component: String,
    /// What happened.
    pub kind: String,
    /// Who did it: a DID.
    pub actor: Option<String>,
    /// On what.
    pub subject: String,
    /// Details by name.
    pub detail: BTreeMap<String, String>,
    /// Whether subject and details were erased.
    pub erased: bool,
    /// The leaf's hash in the tree.
    pub leaf: String,
}

/// One entry of the audit log.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct AuditEntry {
    /// Its number, from 0.
    pub seq: u64,
    /// When.
    pub time: String,
    /// Part of the node.
    pub component: String,
    /// What happened.
    pub kind: String,
    /// Who did it: a DID.
    pub actor: Option<String>,
    /// To what.
    pub subject: String,
    /// Details.
    pub detail: String,
}

/// `kos audit verify`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct AuditCheck {
    /// Whether every entry is what was signed.
    pub valid: bool,
    /// How many entries there are.
    pub entries: u64,
    /// The Merkle root.
    pub head: String,
    /// The first entry that is not what was signed.
    pub first_bad: Option<u64>,
    /// What is wrong with it.
    pub problem: Option<String>,
}

/// One vault.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Vault {
    /// Its name.
    pub name: String,
    /// `locked` or `unlocked`.
    pub state: String,
    /// `machine` or `passphrase`.
    pub seal: String,
    /// Secrets in it; absent while locked.
    pub secrets: Option<u64>,
    /// Seconds of idleness until it locks by itself, if it does.
    pub locks_in_s: Option<u64>,
}
