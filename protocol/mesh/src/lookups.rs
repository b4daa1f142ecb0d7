//! The DHT: who waits for which query, what may be stored here, and whom we believe to be part of it.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use klp::rule::record::{self, Put, Standing};
use klp::{Digest, NodeId, limits};
use libp2p::kad::store::RecordStore as _;
use libp2p::kad::{
    self, GetProvidersOk, GetRecordOk, InboundRequest, ProviderRecord, QueryId, QueryResult, Quorum, Record, RecordKey,
};
use libp2p::{Multiaddr, PeerId};
use tokio::sync::oneshot;

use crate::config::{RecordCheck, Wall};
use crate::doorway::{Buckets, Diversity, Doorway, Network, Rate};
use crate::peer::node_of;

mod silence;
mod table;

use silence::{Progress, Silence};
pub(crate) use table::{PROTOCOL, known, size, table};
use table::{PROVIDED, Table, addresses_of, distances, is_empty};

/// Relays that everybody may use say under this key that they are some: SHA-256 of the text.
const RELAYS: &[u8] = b"kos/relay/1";
/// Queries that may wait at once.
const QUERIES: usize = 256;
/// Providers of one key that are worth having.
const PROVIDERS: usize = 64;
/// Records and provider keys that one peer may store here in the life of a record, and that a whole network may, so that nobody fills the
/// store.
const QUOTA: u32 = 512;
const NETWORK_QUOTA: u32 = 4 * QUOTA;
/// Peers and networks whose quota is remembered.
const REMEMBERED: usize = 16_384;
/// Stores that have to confirm a record before `put` answers; the others go on.
const STORES: NonZeroUsize = NonZeroUsize::MIN.saturating_add(2);
/// How often it is looked whether a query has heard enough.
pub(crate) const GLANCE: Duration = Duration::from_millis(50);

type Reply<T> = oneshot::Sender<Result<T, LookupError>>;

/// Why a lookup came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LookupError {
    /// There is nobody to ask.
    #[error("this node is not connected to the directory")]
    NoPeers,
    /// Nobody else has stored it.
    #[error("no other node has stored the record")]
    NotStored,
    /// More than `klp::limits::RECORD` bytes.
    #[error("a record holds at most {} bytes", limits::RECORD)]
    TooLarge,
    /// Too many lookups, or too much to provide, at once.
    #[error("too many lookups at once")]
    Busy,
    /// No answer in time.
    #[error("the lookup took too long")]
    Timeout,
    /// The mesh has been stopped.
    #[error("the mesh is stopped")]
    Stopped,
}

enum Waiting {
    Put(Reply<()>),
    Get(Reply<Option<Vec<u8>>>, Digest, Option<(Standing, Vec<u8>)>),
    Provide(Reply<()>),
    Providers(Reply<Vec<(NodeId, Vec<Multiaddr>)>>, HashMap<PeerId, Vec<Multiaddr>>),
}

/// What waits on the DHT.
pub(crate) struct Lookups {
    check: RecordCheck,
    wall: Wall,
    life: Duration,
    waiting: HashMap<QueryId, (Waiting, Silence)>,
    provided: BTreeSet<Digest>,
    stored: Buckets<PeerId>,
    network_stored: Buckets<Network>,
    diversity: Diversity,
    /// Whether provider keys have to be said again because the table was empty when they were said.
    untold: bool,
}

/// The key under which relays are found.
pub(crate) fn relay_key() -> Digest {
    Digest::of(&[RELAYS])
}

fn key_of(digest: &Digest) -> RecordKey {
    RecordKey::new(&digest.0)
}

impl Lookups {
    pub(crate) fn new(check: RecordCheck, wall: Wall, life: Duration) -> Self {
        let quota = |burst| Rate { burst, every: life / burst };
        Self {
            check,
            wall,
            life,
            waiting: HashMap::new(),
            provided: BTreeSet::new(),
            stored: Buckets::new(quota(QUOTA), REMEMBERED),
            network_stored: Buckets::new(quota(NETWORK_QUOTA), REMEMBERED),
            diversity: Diversity::default(),
            untold: false,
        }
    }

    fn wait(&mut self, query: QueryId, waiting: Waiting) {
        self.waiting.insert(query, (waiting, Silence::new(Instant::now())));
    }

    fn is_full(&self) -> bool {
        self.waiting.len() >= QUERIES
    }

    pub(crate) fn put(&mut self, table: &mut Table, key: Digest, value: Vec<u8>, reply: Reply<()>) {
        let mut record = Record::new(key_of(&key), value);
        record.expires = Some(Instant::now() + self.life);
        let refused = if self.is_full() {
            LookupError::Busy
        } else if is_empty(table) {
            LookupError::NoPeers
        } else {
            match table.put_record(record, Quorum::N(STORES)) {
                Ok(query) => return self.wait(query, Waiting::Put(reply)),
                Err(_) => LookupError::Busy,
            }
        };
        let _gone = reply.send(Err(refused));
    }

    pub(crate) fn get(&mut self, table: &mut Table, key: Digest, reply: Reply<Option<Vec<u8>>>) {
        match self.refuse(table) {
            Some(refused) => drop(reply.send(Err(refused))),
            None => {
                let query = table.get_record(key_of(&key));
                self.wait(query, Waiting::Get(reply, key, None));
            }
        }
    }

    pub(crate) fn providers(&mut self, table: &mut Table, key: Digest, reply: Reply<Vec<(NodeId, Vec<Multiaddr>)>>) {
        match self.refuse(table) {
            Some(refused) => drop(reply.send(Err(refused))),
            None => {
                let query = table.get_providers(key_of(&key));
                self.wait(query, Waiting::Providers(reply, HashMap::new()));
            }
        }
    }

    fn refuse(&self, table: &mut Table) -> Option<LookupError> {
        if self.is_full() {
            return Some(LookupError::Busy);
        }
        is_empty(table).then_some(LookupError::NoPeers)
    }

    pub(crate) fn provide(&mut self, table: &mut Table, key: Digest, reply: Reply<()>) {
        if self.is_full() || self.provided.len() >= PROVIDED {
            let _gone = reply.send(Err(LookupError::Busy));
            return;
        }
        self.provided.insert(key);
        let alone = is_empty(table);
        self.untold |= alone;
        match table.start_providing(key_of(&key)) {
            Ok(query) if !alone => self.wait(query, Waiting::Provide(reply)),
            Ok(_) => drop(reply.send(Err(LookupError::NoPeers))),
            Err(_) => drop(reply.send(Err(LookupError::Busy))),
        }
    }

    pub(crate) fn stop_providing(&mut self, table: &mut Table, key: Digest) {
        self.provided.remove(&key);
        table.stop_providing(&key_of(&key));
    }

    /// A peer speaks the DHT and has been identified: it enters the table with addresses that we may believe, unless its neighbours at
    /// `ip` fill too much of it already.
    pub(crate) fn learn(
        &mut self,
        table: &mut Table,
        peer: PeerId,
        ip: Option<IpAddr>,
        addresses: impl IntoIterator<Item = Multiaddr>,
        doorway: &Doorway,
    ) {
        if let Some(ip) = ip {
            let (distance, present) = distances(table, peer);
            if !self.diversity.admits(peer, ip, distance, &present) {
                doorway.refused("routing", "network");
                return;
            }
        }
        for address in addresses.into_iter().take(limits::ADDRESSES) {
            table.add_address(&peer, address);
        }
        if std::mem::take(&mut self.untold) && !is_empty(table) {
            for key in &self.provided {
                // The key is provided already; this says it once more, and its progress concerns nobody.
                let _query = table.start_providing(key_of(key));
            }
        }
    }

    /// What came of a query, or of a request of others.
    /// Names the peer that has to go, for it did what it should not once too often.
    pub(crate) fn on_event(
        &mut self,
        table: &mut Table,
        event: kad::Event,
        believes: impl Fn(&Multiaddr) -> bool,
        doorway: &Doorway,
        now: Instant,
    ) -> Option<PeerId> {
        match event {
            kad::Event::OutboundQueryProgressed { id, result, step, .. } => {
                self.progress(table, id, result, step.last);
            }
            kad::Event::InboundRequest { request: InboundRequest::PutRecord { source, record: Some(record), .. } } => {
                let strike = self.store(table, source, record, doorway, now).err()?;
                return doorway.strike(source, "record", strike, now).then_some(source);
            }
            kad::Event::InboundRequest { request: InboundRequest::AddProvider { record: Some(mut record) } } => {
                record.addresses.retain(believes);
                record.addresses.truncate(limits::ADDRESSES);
                let source = record.provider;
                let strike = self.store_provider(table, record, doorway, now).err()?;
                return doorway.strike(source, "provider", strike, now).then_some(source);
            }
            _ => {}
        }
        None
    }

    /// Keeps a record, or says what is wrong with it or with whoever brought it. One that is older than what is here is no fault.
    fn store(
        &mut self,
        table: &mut Table,
        source: PeerId,
        record: Record,
        doorway: &Doorway,
        now: Instant,
    ) -> Result<(), &'static str> {
        // Before the signature is checked, which is the dearest of all.
        self.admits(source, doorway, now)?;
        let publisher = record.publisher.as_ref().and_then(node_of);
        let standing = (self.check)(record.key.as_ref(), &record.value, publisher).ok_or("invalid")?;
        let known = table.store_mut().get(&record.key);
        let known = known.and_then(|known| (self.check)(known.key.as_ref(), &known.value, None));
        let wall = (self.wall)();
        if record::put(known.as_ref(), &standing, wall) == Put::Kept {
            let expires = now + standing.expires.since(wall).min(self.life);
            let record = Record { expires: Some(record.expires.map_or(expires, |at| at.min(expires))), ..record };
            if table.store_mut().put(record).is_err() {
                doorway.refused("record", "full");
            }
        }
        Ok(())
    }

    fn store_provider(
        &mut self,
        table: &mut Table,
        record: ProviderRecord,
        doorway: &Doorway,
        now: Instant,
    ) -> Result<(), &'static str> {
        if record.key.as_ref().len() != 32 {
            return Err("invalid");
        }
        self.admits(record.provider, doorway, now)?;
        if table.store_mut().add_provider(record).is_err() {
            doorway.refused("provider", "full");
        }
        Ok(())
    }

    /// Somebody to whom it was told may have forgotten it: it is said again to the next one who comes.
    pub(crate) fn forgotten(&mut self) {
        self.untold = true;
    }

    fn admits(&mut self, peer: PeerId, doorway: &Doorway, now: Instant) -> Result<(), &'static str> {
        let network = doorway.origin(&peer).filter(|ip| doorway.counts(*ip)).map(Network::of);
        let admitted =
            self.stored.take(peer, now) && network.is_none_or(|network| self.network_stored.take(network, now));
        if admitted { Ok(()) } else { Err("quota") }
    }

    fn progress(&mut self, table: &mut Table, id: QueryId, result: QueryResult, last: bool) {
        let failed = match &result {
            QueryResult::PutRecord(Err(error)) => match error {
                // So few are there.
                kad::PutRecordError::QuorumFailed { success, .. } | kad::PutRecordError::Timeout { success, .. }
                    if !success.is_empty() =>
                {
                    None
                }
                kad::PutRecordError::QuorumFailed { .. } => Some(LookupError::NotStored),
                kad::PutRecordError::Timeout { .. } => Some(LookupError::Timeout),
            },
            QueryResult::StartProviding(Err(_)) => Some(LookupError::Timeout),
            _ => None,
        };
        match (self.waiting.get_mut(&id).map(|(waiting, _)| waiting), result) {
            (Some(Waiting::Get(_, key, found)), QueryResult::GetRecord(Ok(GetRecordOk::FoundRecord(one)))) => {
                let Record { value, publisher, .. } = one.record;
                let standing = (self.check)(&key.0, &value, publisher.as_ref().and_then(node_of));
                let known = found.as_ref().map(|(standing, _)| standing);
                if let Some(standing) = standing
                    && record::put(known, &standing, (self.wall)()) == Put::Kept
                {
                    *found = Some((standing, value));
                }
            }
            (
                Some(Waiting::Providers(_, found)),
                QueryResult::GetProviders(Ok(GetProvidersOk::FoundProviders { providers, .. })),
            ) => {
                for peer in providers {
                    let known = addresses_of(table, peer);
                    if found.len() < PROVIDERS || found.contains_key(&peer) {
                        let addresses = found.entry(peer).or_default();
                        addresses.extend(known);
                        addresses.sort();
                        addresses.dedup();
                        addresses.truncate(limits::ADDRESSES);
                    }
                }
            }
            _ => {}
        }
        if last && let Some((waiting, _)) = self.waiting.remove(&id) {
            waiting.end(failed);
        }
    }

    /// Whether anybody waits for a query.
    pub(crate) fn is_asked(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Ends what has heard enough: a search answers, and what is to be stored goes to those that have answered.
    pub(crate) fn glance(&mut self, table: &mut Table, now: Instant) {
        for (id, (waiting, silence)) in &mut self.waiting {
            let Some(mut query) = table.query_mut(id) else { continue };
            let stats = query.stats();
            let (asked, answered, failed) = (stats.num_requests(), stats.num_successes(), stats.num_failures());
            let enough = waiting.has_enough(answered);
            if silence.is_enough(Progress { asked, answered, failed }, enough, now) {
                query.finish();
            }
        }
    }

    /// The mesh stops.
    pub(crate) fn end(&mut self) {
        for (_, (waiting, _)) in self.waiting.drain() {
            waiting.end(Some(LookupError::Stopped));
        }
    }
}

impl Waiting {
    fn has_enough(&self, answered: u32) -> bool {
        match self {
            Self::Put(_) | Self::Provide(_) => answered as usize >= STORES.get(),
            Self::Get(_, _, found) => found.is_some(),
            Self::Providers(_, found) => !found.is_empty(),
        }
    }

    fn end(self, failed: Option<LookupError>) {
        let failed = failed.map_or(Ok(()), Err);
        // Whoever asked may have gone.
        let _gone = match self {
            Self::Put(reply) | Self::Provide(reply) => reply.send(failed).is_err(),
            Self::Get(reply, _, found) => reply.send(failed.map(|()| found.map(|(_, value)| value))).is_err(),
            Self::Providers(reply, found) => {
                let found = found.into_iter().filter_map(|(peer, addresses)| Some((node_of(&peer)?, addresses)));
                reply.send(failed.map(|()| found.collect())).is_err()
            }
        };
    }
}
