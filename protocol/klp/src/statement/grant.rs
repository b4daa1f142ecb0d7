//! Grants: what one owner lets another do on one node. Source: `specs/05-grants.md`.

use std::collections::BTreeMap;

use crate::codec::Digest;
use crate::identity::{AgentId, NodeId, OwnerId};
use crate::time::Timestamp;
use crate::{cbor_enum, cbor_struct, limits, statement};

cbor_enum! {
    /// What a budget counts over.
    pub enum Window {
        /// The whole life of the grant, all holders together.
        1 Total "total";
        /// Each UTC day and each calling owner apart.
        2 DayAndCaller "day";
    }
}

cbor_struct! {
    /// How much may be spent; an absent number is no bound.
    pub struct Budget {
        /// Calls.
        1 calls: Option<u64>;
        /// Bytes of answers.
        2 bytes: Option<u64>;
        /// What the numbers count over.
        3 window: Window;
    }
}

statement! {
    "kos/grant/1"
    /// Permission for one holder, one agent, one capability, on one node. No bearer token: the holder is named.
    pub struct Grant {
        /// Who gives it: the agent's owner, or the holder of the parent.
        1 issuer: OwnerId;
        /// Who may use it; absent only in the standing grant of a public agent.
        2 holder: Option<OwnerId>;
        /// The only node that honours and counts it.
        3 node: NodeId;
        /// The agent.
        4 agent: AgentId;
        /// The capability.
        5 capability: String, max limits::NAME;
        /// Patterns by argument name; absent means any arguments, present means exactly these.
        6 arguments: Option<BTreeMap<String, String>>, max limits::ARGUMENTS;
        /// How much.
        7 budget: Budget;
        /// From when.
        8 issued: Timestamp;
        /// Until when.
        9 expires: Timestamp;
        /// The grant that this one delegates.
        10 parent: Option<Digest>;
        /// The issuer's sequence number; it also keeps two equal grants apart.
        11 seq: u64;
    }
}
