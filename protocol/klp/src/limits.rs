//! Every bound of the protocol, in one place, each with its reason.
//!
//! Source: `specs/00-overview.md`, section "Limits". Sizes are bytes, counts are items.

use std::time::Duration;

/// Body of one frame. Half of a relayed circuit's smallest budget, and four Noise records.
pub const FRAME: usize = 64 * 1024;
/// A shorter body is not packed: there is little to gain.
pub const PACKED: usize = 1024;
/// One request or response message, reassembled from frames. Larger content streams.
pub const MESSAGE: usize = 1024 * 1024;
/// One COSE statement. Larger content streams, and the statement signs its digest.
pub const STATEMENT: usize = 64 * 1024;
/// One gossip message: half of gossipsub's own 64 KiB, so that its envelope always fits.
pub const GOSSIP: usize = 32 * 1024;
/// One DHT record: half of Kademlia's 16 KiB packet.
pub const RECORD: usize = 8 * 1024;
/// All grants of one call together.
pub const CHAIN: usize = 4 * 1024;
/// Grants in one chain: the first grant and at most two delegations of it.
pub const GRANT_DEPTH: usize = 3;
/// Nesting of a CBOR item. Statements need five levels.
pub const DEPTH: usize = 16;
/// How far two clocks may differ.
pub const SKEW: Duration = Duration::from_secs(5 * 60);
/// Requests of one peer that run at once; further ones wait in the caller's own queue.
pub const IN_FLIGHT: usize = 64;
/// Requests that wait in the caller's queue before it answers `busy`.
pub const CALLER_QUEUE: usize = 1024;
/// Bytes sent on one request's stream that its reader has not yet taken.
pub const UNREAD: usize = 256 * 1024;
/// From an open stream to a verified Hello.
pub const HELLO_WAIT: Duration = Duration::from_secs(10);
/// A stream that owes bytes and moves none for this long is closed.
pub const STALL: Duration = Duration::from_secs(30);
/// Life of a direct signed request.
pub const ORDER_LIFE: Duration = Duration::from_secs(10 * 60);
/// Life of a signed request that waits in a mailbox.
pub const MAIL_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);
/// Life of a ticket.
pub const TICKET_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);
/// Longest life of another device's certificate.
pub const CERTIFICATE_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);
/// Longest life of the root device's certificate and of an agent's.
pub const ROOT_CERTIFICATE_LIFE: Duration = Duration::from_secs(365 * 24 * 3600);
/// Longest life of a grant.
pub const GRANT_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// Life of a signed node record; it is put again at half of it.
pub const RECORD_LIFE: Duration = Duration::from_secs(3600);
/// An X25519 key is used for sealing this long.
pub const EXCHANGE_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);
/// A replaced X25519 key still opens this long: the longest mail life and three days.
pub const EXCHANGE_KEPT: Duration = Duration::from_secs(10 * 24 * 3600);
/// A name of an agent, a capability, an argument or a request kind.
pub const NAME: usize = 64;
/// A line of free text in a card.
pub const TEXT: usize = 512;
/// One argument of a call.
pub const ARGUMENT: usize = 16 * 1024;
/// Arguments of one call, and patterns of one grant.
pub const ARGUMENTS: usize = 16;
/// Addresses in a record or a ticket.
pub const ADDRESSES: usize = 16;
/// Relays that one node offers to its owner's contacts: two are used, and the others step in.
pub const RELAYS_OFFERED: usize = 4;
/// Life of such an offer; it is asked for again whenever a session begins, and at half of its life.
pub const RELAYS_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);
/// One multiaddr as text.
pub const ADDRESS: usize = 256;
/// Capability tags of one agent.
pub const TAGS: usize = 8;
/// Cards, grants or revocations in one answer.
pub const LIST: usize = 256;
/// Capabilities that one Hello offers or wants.
pub const OFFERS: usize = 64;
/// Calls a day that a public agent gives to each owner.
pub const PUBLIC_CALLS: u64 = 20;
/// Requests that a dialler sends before it has seen the listener's Hello, and so its limits.
pub const EARLY: usize = 8;
/// Requests over the limit that are answered `busy` before the session is closed.
pub const STRIKES: u64 = 16;
/// Bytes of finished answers that a session keeps in case they must be sent again on a better stream.
pub const KEPT: usize = 2 * MESSAGE;
/// Events that wait for their reader; they have no credit, so a peer that sends more is closed.
pub const EVENTS: usize = 64;
/// Hello nonces remembered for all peers together: 80 bytes each, until their time has left the allowed skew.
pub const NONCES: usize = 16 * 1024;
/// Hello nonces remembered for one peer: reconnecting more than once in two seconds is a fault.
pub const NONCES_PER_PEER: usize = 256;
/// One blob. Who goes on with a fetch hashes what is there already first: some seconds at this size.
pub const BLOB: u64 = 4 * 1024 * 1024 * 1024;
/// Blobs offered to one peer at a time: as many as it may have requests in flight.
pub const BLOB_OFFERS: usize = 64;
/// Blobs offered to all peers together: each may hold a file open, and a process often has 1024 of these.
pub const BLOB_OFFERS_ALL: usize = 512;
/// Longest life of an offer; what is still wanted after a day is offered again.
pub const BLOB_OFFER_LIFE: Duration = Duration::from_secs(24 * 3600);
/// Blobs that one peer fetches at once: more share the same line and end no sooner.
pub const BLOB_STREAMS: usize = 4;
/// Blobs served at once, and blobs fetched at once: each holds two pieces of 256 KiB.
pub const BLOB_STREAMS_ALL: usize = 32;
/// Life of a pairing code.
pub const PAIR_LIFE: Duration = Duration::from_secs(10 * 60);
/// Wrong tries that burn a pairing code: a guesser succeeds once in three thousand million.
pub const PAIR_TRIES: u64 = 3;
/// Pairing codes of one node that are open at once: one for each person in the room.
pub const PAIR_CODES: usize = 4;
/// Runs of the key exchange that a node has begun and not ended, of all peers together, and each for at most a minute.
pub const PAIR_RUNS: usize = 16;
/// Life of a run: three round trips over a bad line, and what two phones need to wake up.
pub const PAIR_RUN_LIFE: Duration = Duration::from_secs(60);
/// Runs that all peers together may begin in a minute: each costs two multiplications on a curve.
pub const PAIR_RATE: usize = 32;
/// What one side says of itself in a pairing: a ticket with some addresses, and a name.
pub const PAIR_IDENTITY: usize = 2048;
/// Nodes that a joiner proves itself to before it gives up: each may try one password of its own.
pub const PAIR_ASKED: usize = 8;
/// How long an agent is still shown whose node does not answer a search: a restart is shorter, and a minute and a half too long.
pub const SILENCE: Duration = Duration::from_secs(30);
/// One forwarded request, or the end of its answer: a message, less what the way adds to it.
pub const ERRAND: usize = MESSAGE - 64 * 1024;
/// Nodes that may hand a forwarded request on when its asker says nothing else: six steps are said to join any two people.
pub const HOPS: u64 = 8;
/// Nodes that a forwarded request may meet on its way at all.
pub const HOPS_MAX: usize = 32;
/// Ways that each node tries for one forwarded request, one after the other.
pub const FORWARD_TRIES: usize = 3;
/// Forwarded requests of one peer that a node carries at once: an eighth of what a peer may have in flight.
pub const FORWARDS: usize = 8;
/// Forwarded requests of all peers together: sixteen busy peers. Each holds a few frames.
pub const FORWARDS_ALL: usize = 128;
/// Bytes of one forwarded answer that a node carries: sixteen of the longest answers that an order asks for.
pub const FORWARDED: u64 = 16 * 1024 * 1024;
