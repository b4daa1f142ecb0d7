//! Reaching other nodes: by which path, and why.

mod carried;
mod journey;
mod netcheck;
mod route;
mod seen;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use klp::hello::SessionId;
use klp::{NodeId, OwnerId, Refusal};
use mesh::{PeerHello, State};
use serde_json::json;

use crate::address::Who;
use crate::bus::Bus;
use crate::clock::Clock;
use crate::fault::Fault;
use crate::me::Me;
use crate::outbound::Outbound;
use crate::people::People;
use crate::{show, view};
use journey::Journeys;

/// How long one round trip may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Round trips of one ping.
const COUNT: u32 = 100;
/// Between two of them.
const PAUSE: Duration = Duration::from_millis(200);

/// Reaching other nodes.
#[derive(Clone)]
pub struct Reach {
    me: Me,
    people: People,
    outbound: Outbound,
    clock: Clock,
    bus: Bus,
    journeys: Arc<Mutex<Journeys>>,
}

impl Reach {
    pub(crate) fn new(me: Me, people: People, outbound: Outbound, clock: Clock, bus: Bus) -> Self {
        Self { me, people, outbound, clock, bus, journeys: Arc::default() }
    }

    fn journeys(&self) -> MutexGuard<'_, Journeys> {
        self.journeys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Is this contact's node (petname, owner DID or node DID) there, and by which path? Asked so many times, once by default.
    ///
    /// # Errors
    /// `invalid`, `not_found`, `unreachable` listing what was tried, `timeout` when no answer came at all.
    pub async fn ping(&self, who: &str, count: u32) -> Result<view::Ping, Fault> {
        if !(1..=COUNT).contains(&count) {
            return Err(Fault::new(Refusal::Invalid, format!("a ping asks from 1 to {COUNT} times")));
        }
        let Some(node) = self.node(who)? else {
            let rtts_ms = vec![0; count as usize];
            return Ok(view::Ping { path: "local".to_owned(), rtt_ms: 0, attempts: Vec::new(), rtts_ms, lost: 0 });
        };
        let (reached, mut attempts) = self.outbound.climb(node).await;
        if !reached {
            attempts = self.found_by_others(node, attempts).await?;
        }
        let (mut rtts_ms, mut lost, mut last) = (Vec::new(), 0, None);
        for number in 0..count {
            if number > 0 {
                tokio::time::sleep(PAUSE).await;
            }
            match self.round_trip(node, reached).await {
                Ok(rtt) => rtts_ms.push(millis(rtt)),
                Err(fault) => {
                    lost += 1;
                    last = Some(fault);
                }
            }
        }
        let mut sorted = rtts_ms.clone();
        sorted.sort_unstable();
        match (sorted.get(sorted.len() / 2), last) {
            (Some(rtt_ms), _) => {
                Ok(view::Ping { path: self.outbound.path(node), rtt_ms: *rtt_ms, attempts, rtts_ms, lost })
            }
            (None, Some(fault)) => Err(fault),
            (None, None) => Err(Refusal::Timeout.into()),
        }
    }

    /// By which path a contact's node is reached now, why, and what would make it better.
    ///
    /// # Errors
    /// As [`Reach::ping`].
    pub async fn path(&self, who: &str) -> Result<view::Route, Fault> {
        let Some(node) = self.node(who)? else {
            return Ok(view::Route {
                node: self.me.node().to_string(),
                path: "local".to_owned(),
                why: "it is this node itself".to_owned(),
                ..view::Route::default()
            });
        };
        let (reached, tried) = self.outbound.climb(node).await;
        if !reached {
            return self.carried_route(node, tried).await;
        }
        let rtt = self.round_trip(node, reached).await?;
        let state = self.outbound.mesh().state();
        let state = state.borrow().clone();
        let Some((best, others)) = state.peers.get(&node).and_then(|peer| peer.paths.split_first()) else {
            return Err(Refusal::Unreachable.into());
        };
        // What failed before the connection was made is told too, however long ago that was.
        let mut attempts = seen::attempts(&state, node);
        attempts.extend(tried);
        let journey = self.journeys().of(&node);
        let moves = journey.iter().flat_map(|journey| &journey.moves).map(|moved| view::Move {
            at: show::time(moved.at),
            from: moved.from.to_string(),
            to: moved.to.to_string(),
        });
        let in_vain = attempts.iter().filter(|attempt| attempt.result != "ok").count();
        Ok(view::Route {
            node: node.to_string(),
            path: best.kind.as_str().to_owned(),
            over: best.transport.as_str().to_owned(),
            address: best.address.to_string(),
            why: route::why(best, others, in_vain),
            better: route::better(best, seen::mapping(&state), seen::punch(&state, node).as_deref()),
            rtt_ms: millis(rtt),
            attempts,
            others: others.iter().map(ToString::to_string).collect(),
            relay: seen::relay(best),
            carried: seen::carried(self.outbound.mesh().traffic(node)),
            moves: moves.collect(),
            moved: journey.map_or(0, |journey| journey.count),
        })
    }

    /// How this node itself is reached, and what to do about it; `checks` are the doctor's of the network.
    pub(crate) fn netcheck(&self, checks: Vec<view::Check>) -> view::Netcheck {
        let state = self.outbound.mesh().state();
        let state = state.borrow().clone();
        let relays = seen::relays(&state);
        let facts = netcheck::Facts {
            reach: state.reach.as_str(),
            mapping: seen::mapping(&state),
            upnp: seen::upnp(&state),
            relays: &relays,
            checks: &checks,
        };
        let (headline, fix) = netcheck::headline(&facts);
        let (udp, ipv6) = (passed(&checks, "udp"), seen::has_ipv6(&state));
        view::Netcheck {
            headline,
            fix,
            reach: state.reach.as_str().to_owned(),
            udp,
            mapping_udp: seen::mapping_udp(&state).to_owned(),
            mapping_tcp: seen::mapping_tcp(&state).to_owned(),
            addresses: seen::addresses(&state),
            upnp: seen::upnp(&state).to_owned(),
            ipv6,
            bootstrap: passed(&checks, "bootstrap"),
            dns: passed(&checks, "dns"),
            relays,
            checks,
        }
    }

    /// A session is open, or goes on elsewhere.
    pub(crate) fn opened(&self, hello: &PeerHello, path: &mesh::Path) {
        let moved = self.journeys().opened(hello.node, hello.session, path, self.clock.now());
        if let Some(from) = moved {
            let told = json!({ "node": hello.node.to_string(), "from": from.to_string(), "to": path.to_string() });
            self.bus.say("path.changed", told);
        }
    }

    /// A session is over.
    pub(crate) fn closed(&self, peer: &NodeId, session: SessionId) {
        self.journeys().closed(peer, session);
    }

    /// Says on the bus when a relay holds a place for this node, and when it does not any more. It ends with the mesh.
    pub(crate) async fn watch(self) {
        let mut state = self.outbound.mesh().state();
        let mut held: Vec<NodeId> = Vec::new();
        loop {
            let now = state.borrow_and_update().reservations.clone();
            for relay in now.iter().filter(|relay| !held.contains(relay)) {
                self.bus.say("relay.reserved", json!({ "relay": relay.to_string() }));
            }
            for relay in held.iter().filter(|relay| !now.contains(relay)) {
                let why = seen::lost(&state.borrow(), relay);
                self.bus.say("relay.lost", json!({ "relay": relay.to_string(), "why": why }));
            }
            held = now;
            let differs = |state: &State| state.reservations != held;
            if state.wait_for(differs).await.is_err() {
                return;
            }
        }
    }

    /// Which node is meant; none for this one.
    fn node(&self, who: &str) -> Result<Option<NodeId>, Fault> {
        let unknown = || Fault::not_found("contact", who).hint("see `kos contact list`");
        let contact = match Who::parse(who)? {
            Who::Any => return Err(Fault::new(Refusal::Invalid, "name somebody: a petname or a DID")),
            Who::Me => return Ok(None),
            Who::Petname(name) => self.people.named(&name).ok_or_else(unknown)?,
            Who::Did(did) if did == self.me.node().0 || did == self.me.owner().0 => return Ok(None),
            Who::Did(did) => match self.people.owner(&OwnerId(did)) {
                Some(contact) => contact,
                // A node's DID is an address of its own.
                None => return Ok(Some(NodeId(did))),
            },
        };
        let node = contact.nodes.first().map(|device| device.node);
        node.map(Some).ok_or_else(|| Fault::new(Refusal::NotFound, format!("no node of {} is known", contact.name)))
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// Whether a check has passed; nothing when it could not be made.
fn passed(checks: &[view::Check], name: &str) -> Option<bool> {
    checks.iter().find(|check| check.name == name && check.state != "skipped").map(|check| check.state == "ok")
}
