//! The requests that nodes make of each other in a session, and what they answer. Source: `specs/03-session.md`, section 6.
//!
//! A request is `{1: kind, 2: body}`. Kinds are dotted names; those of third parties begin with a reversed domain name. A kind that
//! nobody registered is refused `no_handler`.

use std::collections::{BTreeMap, BTreeSet};

use crate::codec::{Bytes, Digest, Value};
use crate::identity::{Did, OwnerId};
use crate::signed::Signed;
use crate::statement::card::{CardEntry, RelayOffer};
use crate::statement::certificate::Introduction;
use crate::statement::grant::Grant;
use crate::statement::receipt::{Acknowledgement, Order, Outcome};
use crate::statement::revocation::{Revocation, RevocationHead};
use crate::statement::ticket::Ticket;
use crate::time::Timestamp;
use crate::{cbor_enum, cbor_struct, limits};

/// The kinds of request that every node knows.
pub mod kind {
    /// Are you there? [`super::Empty`] to [`super::Pong`].
    pub const PING: &str = "ping";
    /// This is whose node I am. [`super::Introduction`] to [`super::Empty`].
    pub const INTRODUCE: &str = "link.introduce";
    /// Which agents may I see? [`super::Query`] to [`super::Cards`].
    pub const DIRECTORY: &str = "directory.query";
    /// Which of these may I use? [`super::Wants`] to [`super::Negotiated`].
    pub const CAPABILITIES: &str = "capability.request";
    /// Do this. [`super::Call`] to a stream of bytes and [`super::Answered`].
    pub const CALL: &str = "agent.call";
    /// Which grants do you hold for me? [`super::Empty`] to [`super::Grants`].
    pub const GRANTS: &str = "grant.list";
    /// Here is a grant for you. [`super::Grants`] to [`super::Empty`].
    pub const DELIVER_GRANT: &str = "grant.deliver";
    /// What has this owner revoked since? [`super::Since`] to [`super::Revocations`].
    pub const REVOCATIONS: &str = "revocation.since";
    /// This was revoked. [`super::Revocations`] to [`super::Empty`].
    pub const DELIVER_REVOCATION: &str = "revocation.deliver";
    /// I hold your answer. [`super::Acknowledge`] to [`super::Empty`].
    pub const ACKNOWLEDGE: &str = "receipt.acknowledge";
    /// Of these calls I miss your acknowledgement. [`super::Missing`] to [`super::Acknowledgements`].
    pub const MISSING: &str = "receipt.missing";
    /// Behind which relays may I wait? [`super::Empty`] to [`super::Relays`].
    pub const RELAYS: &str = "relay.list";
    /// I was told a code of yours. [`super::PairOpen`] to [`super::PairOpened`].
    pub const PAIR_OPEN: &str = "pair.open";
    /// This shows that I know it, and who I am. [`super::PairProve`] to [`super::PairProved`].
    pub const PAIR_PROVE: &str = "pair.prove";
    /// I have seen who you are. [`super::PairFinish`] to [`super::PairFinished`].
    pub const PAIR_FINISH: &str = "pair.finish";

    /// Take this to that node. [`crate::forward::Forward`] to a stream of sealed pieces and [`crate::forward::Forwarded`].
    pub const FORWARD: &str = "forward";

    /// All of them, for the table that says who may ask what.
    pub const ALL: [&str; 16] = [
        PING,
        INTRODUCE,
        DIRECTORY,
        CAPABILITIES,
        CALL,
        GRANTS,
        DELIVER_GRANT,
        REVOCATIONS,
        DELIVER_REVOCATION,
        ACKNOWLEDGE,
        MISSING,
        RELAYS,
        PAIR_OPEN,
        PAIR_PROVE,
        PAIR_FINISH,
        FORWARD,
    ];
}

cbor_struct! {
    /// A request: its kind, and a body that the kind explains.
    pub struct Request {
        /// Dotted name.
        1 kind: String, max limits::NAME;
        /// The body.
        2 body: Value;
    }
}

impl Request {
    /// A request of this kind.
    pub fn new(kind: &str, body: &impl crate::Cbor) -> Self {
        Self { kind: kind.to_owned(), body: body.to_value() }
    }
}

/// Nothing: an empty map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Empty;

impl crate::Cbor for Empty {
    fn to_value(&self) -> Value {
        crate::codec::Map::new().build()
    }

    fn from_value(value: Value) -> Result<Self, crate::CodecError> {
        crate::codec::Fields::of(value)?.end()?;
        Ok(Self)
    }
}

cbor_struct! {
    /// The answer to `ping`.
    pub struct Pong {
        /// The other side's wall clock.
        1 now: Timestamp;
    }
}

cbor_struct! {
    /// Which agents are asked for; absent means any.
    pub struct Query {
        /// Words that name, tag or description hold.
        1 text: Option<String>, max limits::TEXT;
        /// A capability that they have.
        2 capability: Option<String>, max limits::NAME;
        /// One agent by its DID.
        3 agent: Option<Did>;
    }
}

cbor_struct! {
    /// The agents that the caller may see: listed ones, and those granted to the caller.
    pub struct Cards {
        /// Their cards, at most 256.
        1 cards: Vec<CardEntry>, max limits::LIST;
    }
}

cbor_struct! {
    /// What the caller would like to use, as `agent.capability`.
    pub struct Wants {
        /// The names.
        1 wants: BTreeSet<String>, max 2 * limits::NAME;
    }
}

cbor_enum! {
    /// How one wish was answered.
    pub enum Answer {
        /// All of it.
        1 Granted "granted";
        /// Only some arguments, or only so many more calls.
        2 Partial "partial";
        /// None of it.
        3 Denied "denied";
    }
}

cbor_struct! {
    /// The answer to one wish.
    pub struct Outcomes {
        /// `agent.capability`.
        1 name: String, max 2 * limits::NAME;
        /// How it was answered.
        2 answer: Answer;
        /// Why, as a sentence.
        3 reason: String, max limits::TEXT;
        /// Calls left, where they are counted.
        4 calls_left: Option<u64>;
        /// Until when.
        5 expires: Option<Timestamp>;
    }
}

cbor_struct! {
    /// The answers, in the order of the wishes.
    pub struct Negotiated {
        /// One for each wish.
        1 outcomes: Vec<Outcomes>, max limits::OFFERS;
    }
}

cbor_struct! {
    /// One call of an agent.
    pub struct Call {
        /// What is wanted, signed.
        1 order: Signed<Order>;
        /// The grants that allow it, from the agent's owner down to the caller; together at most 4 KiB.
        2 chain: Vec<Signed<Grant>>, max limits::GRANT_DEPTH;
        /// Opens the order's request digest.
        3 salt: [u8; 16];
        /// The arguments.
        4 arguments: BTreeMap<String, String>, max limits::ARGUMENTS;
        /// Introductions of nodes that signed a grant of the chain in their owner's name.
        5 issuers: Vec<Introduction>, max limits::GRANT_DEPTH;
    }
}

cbor_struct! {
    /// The end of a call: the chunks before it are the answer.
    pub struct Answered {
        /// How it ended, signed by the agent.
        1 outcome: Signed<Outcome>;
        /// The agent's certificate.
        2 agent: Introduction;
    }
}

cbor_struct! {
    /// Grants, each as the chain that ends with it.
    pub struct Grants {
        /// The chains.
        1 chains: Vec<Vec<Signed<Grant>>>, max limits::LIST;
    }
}

cbor_struct! {
    /// Asks for an owner's revocations after a number.
    pub struct Since {
        /// Whose.
        1 owner: OwnerId;
        /// The last one known.
        2 seq: u64;
    }
}

cbor_struct! {
    /// Revocations, in order, and the head that counts them.
    pub struct Revocations {
        /// At most 256; ask again from the last one.
        1 revocations: Vec<Signed<Revocation>>, max limits::LIST;
        /// How many there are.
        2 head: Option<Signed<RevocationHead>>;
    }
}

cbor_struct! {
    /// Says that an answer has arrived.
    pub struct Acknowledge {
        /// The order.
        1 order: Digest;
        /// The signed acknowledgement.
        2 acknowledgement: Signed<Acknowledgement>;
    }
}

cbor_struct! {
    /// Orders whose acknowledgement is missing.
    pub struct Missing {
        /// Their ids.
        1 orders: Vec<Digest>, max limits::LIST;
    }
}

cbor_struct! {
    /// Acknowledgements that were missing; those of answers which never arrived stay out.
    pub struct Acknowledgements {
        /// At most 256.
        1 found: Vec<Acknowledge>, max limits::LIST;
    }
}

cbor_struct! {
    /// The relays that a node offers to its owner's contacts.
    pub struct Relays {
        /// Signed, because it outlives the session.
        1 offer: Signed<RelayOffer>;
    }
}

cbor_struct! {
    /// Begins a run of a pairing.
    pub struct PairOpen {
        /// Which code: its first word and its number.
        1 mailbox: String, max limits::NAME;
        /// Names the run: 16 random bytes.
        2 run: [u8; 16];
        /// The joiner's message of the key exchange.
        3 share: [u8; 32];
    }
}

cbor_struct! {
    /// The run has begun.
    pub struct PairOpened {
        /// The issuer's message of the key exchange.
        1 share: [u8; 32];
    }
}

cbor_struct! {
    /// The one try of a run.
    pub struct PairProve {
        /// Which code.
        1 mailbox: String, max limits::NAME;
        /// Which run.
        2 run: [u8; 16];
        /// The joiner's [`PairIdentity`], sealed.
        3 sealed: Bytes, max limits::PAIR_IDENTITY + 16;
        /// Shows that the joiner knows the code.
        4 proof: [u8; 32];
    }
}

cbor_struct! {
    /// The try was right.
    pub struct PairProved {
        /// The issuer's [`PairIdentity`], sealed.
        1 sealed: Bytes, max limits::PAIR_IDENTITY + 16;
        /// Shows that the issuer knows the code, over the whole transcript.
        2 proof: [u8; 32];
    }
}

cbor_struct! {
    /// The end of a pairing.
    pub struct PairFinish {
        /// Which code.
        1 mailbox: String, max limits::NAME;
        /// Which run.
        2 run: [u8; 16];
        /// Shows that the joiner holds the same transcript.
        3 proof: [u8; 32];
    }
}

cbor_enum! {
    /// Whether the issuer gives the joiner something to begin with.
    pub enum FirstGrant {
        /// Nothing.
        1 Nothing "none";
        /// Its owner is asked.
        2 Asked "asked";
        /// It is being made, and comes as any grant.
        3 Coming "coming";
    }
}

cbor_struct! {
    /// Both are contacts now.
    pub struct PairFinished {
        /// What comes next.
        1 first: FirstGrant;
    }
}

cbor_struct! {
    /// Who somebody is; it travels sealed under the key of a run.
    pub struct PairIdentity {
        /// Where their node is, and whose it is.
        1 ticket: Signed<Ticket>;
        /// What they would like to be called.
        2 name: Option<String>, max limits::NAME;
    }
}
