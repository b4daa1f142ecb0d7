//! Peers whose keys were made to lie around one key of the DHT, and who name nobody but each other.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use futures::StreamExt as _;
use klp::{Digest, NodeId, SecretKey};
use libp2p::kad::store::{MemoryStore, RecordStore as _};
use libp2p::kad::{self, BucketInserts, KBucketKey, Mode, ProviderRecord, RecordKey, StoreInserts};
use libp2p::multiaddr::Protocol;
use libp2p::swarm::dial_opts::DialOpts;
use libp2p::swarm::{NetworkBehaviour, Swarm, SwarmEvent};
use libp2p::{Multiaddr, PeerId, SwarmBuilder, identify, noise, tcp, yamux};

use crate::lookups::PROTOCOL;
use crate::peer::{keypair, peer_of};

/// How often one of them comes back to whom it has lost.
const AGAIN: Duration = Duration::from_secs(1);
/// How many of its like one of them names.
const NAMED: usize = 20;

#[derive(NetworkBehaviour)]
struct Behaviour {
    identify: identify::Behaviour,
    kad: kad::Behaviour<MemoryStore>,
}

/// One of them: it says that it has what is searched at the key, names its like, and forgets what it is told to keep.
pub struct Sybil(Swarm<Behaviour>);

/// The keys that lie closest to `place`, the closest first, of as many as `tried`.
pub fn keys_around(place: &Digest, tried: u64, count: usize) -> Vec<SecretKey> {
    let place = KBucketKey::new(RecordKey::new(&place.0));
    let seeds = (0..tried).map(|number| Digest::of(&[b"sybil", &number.to_be_bytes()]).0);
    let mut keys: Vec<_> = seeds
        .map(|seed| {
            let key = SecretKey::from_seed(&seed);
            (KBucketKey::from(peer_of(NodeId(key.did()))).distance(&place), key)
        })
        .collect();
    keys.sort_by_key(|(distance, _)| *distance);
    keys.into_iter().take(count).map(|(_, key)| key).collect()
}

impl Sybil {
    /// Listens at `at`, over TCP. `like` are the others, the closest to `place` first.
    ///
    /// # Errors
    /// When it cannot listen there.
    pub fn new(key: &SecretKey, at: &Multiaddr, place: &Digest, like: &[(NodeId, Multiaddr)]) -> io::Result<Self> {
        let builder = SwarmBuilder::with_existing_identity(keypair(key).map_err(io::Error::other)?).with_tokio();
        let builder = builder.with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default);
        let builder = builder.map_err(io::Error::other)?.with_behaviour(|pair| {
            let me = pair.public().to_peer_id();
            let mut config = kad::Config::new(PROTOCOL);
            config.set_record_filtering(StoreInserts::FilterBoth).set_kbucket_inserts(BucketInserts::Manual);
            config.set_periodic_bootstrap_interval(None);
            let mut kad = kad::Behaviour::with_config(me, MemoryStore::new(me), config);
            kad.set_mode(Some(Mode::Server));
            for (other, at) in like.iter().filter(|(other, _)| peer_of(*other) != me).take(NAMED) {
                kad.add_address(&peer_of(*other), at.clone());
            }
            // A store of its own takes its own record.
            let _kept =
                kad.store_mut().add_provider(ProviderRecord::new(RecordKey::new(&place.0), me, vec![at.clone()]));
            let identify = identify::Config::new("/kos/id/1".to_owned(), pair.public());
            Behaviour { identify: identify::Behaviour::new(identify), kad }
        });
        let mut swarm = builder
            .map_err(io::Error::other)?
            .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(3600)))
            .build();
        swarm.listen_on(at.clone()).map_err(io::Error::other)?;
        Ok(Self(swarm))
    }

    /// Stays with these, each ending in `/p2p/PEER`, and answers whoever comes, until it is dropped.
    pub async fn stay_with(mut self, victims: &[Multiaddr]) {
        let named = |victim: &Multiaddr| match victim.iter().last() {
            Some(Protocol::P2p(peer)) => Some((peer, victim.clone())),
            _ => None,
        };
        let victims: BTreeMap<PeerId, Multiaddr> = victims.iter().filter_map(named).collect();
        let mut again = tokio::time::interval(AGAIN);
        loop {
            tokio::select! {
                _ = again.tick() => {
                    for (peer, victim) in &victims {
                        // One that is there already is not dialled, and one that is away is tried the next time.
                        let _dialled = self.0.dial(DialOpts::peer_id(*peer).addresses(vec![victim.clone()]).build());
                    }
                }
                event = self.0.select_next_some() => {
                    // Its table asks its like who else there is: it knows that, and needs its files for others.
                    if let SwarmEvent::ConnectionEstablished { peer_id, endpoint, .. } = event
                        && endpoint.is_dialer()
                        && !victims.contains_key(&peer_id)
                    {
                        let _gone = self.0.disconnect_peer_id(peer_id);
                    }
                }
            }
        }
    }
}
