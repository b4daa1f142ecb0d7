//! What the swarm says, and who is concerned.

use std::collections::BTreeMap;
use std::time::Instant;

use libp2p::metrics::Recorder as _;
use libp2p::swarm::{ConnectionError, ConnectionId, SwarmEvent};
use libp2p::{Multiaddr, PeerId, StreamProtocol, gossipsub, identify, mdns, relay};

use super::reaching::dice;
use super::{Driver, PENDING};
use crate::behaviour::BehaviourEvent;
use crate::config::Role;
use crate::dial::{Attempt, Dialled, OF_ONE, attempts};
use crate::event::{Event, Verdict};
use crate::ladder::Step;
use crate::path::RelayLimit;
use crate::peer::{ip_in, is_loopback, is_relayed, node_of, relay_in};
use crate::session::{Attached, From, Wire};
use crate::{blob, doorway, lookups, session, topics};

/// Whoever speaks it tells us whether we can be dialled.
const DIAL_REQUEST: StreamProtocol = StreamProtocol::new("/libp2p/autonat/2/dial-request");

impl Driver {
    pub(super) fn heard(&mut self, event: SwarmEvent<BehaviourEvent>) {
        self.metrics.record(&event);
        match event {
            SwarmEvent::Behaviour(event) => self.behaved(event),
            SwarmEvent::NewListenAddr { address, .. } if !is_relayed(&address) => {
                // A mesh that stays on this machine is reached there by everybody who may reach it, so its protocols may say so.
                if self.on_loopback {
                    self.swarm.add_external_address(address.clone());
                }
                self.watch.moved(Instant::now());
                self.addresses.listening(address, Instant::now());
                self.publish_addresses();
            }
            SwarmEvent::ExpiredListenAddr { address, .. } => self.deaf([address]),
            SwarmEvent::ListenerClosed { listener_id, addresses, reason } => {
                if let Err(error) = &reason {
                    tracing::info!(%error, ?addresses, "a listener has ended");
                }
                self.deaf(addresses);
                self.listener_closed(listener_id, reason);
            }
            SwarmEvent::ExternalAddrConfirmed { address } => {
                // A circuit counts only through a relay that we wait behind: others are what peers have seen of theirs. What a
                // third party has dialled counts when we hear who: that comes next (`probed`).
                let waits = |relay| self.relays.held().any(|held| held == relay);
                let stays = self.on_loopback && is_loopback(&address);
                if is_relayed(&address) && relay_in(&address).is_some_and(waits) {
                    self.addresses.confirmed(address, None, Instant::now());
                    self.publish_addresses();
                } else if !(self.addresses.confirms(&address) || stays) {
                    self.swarm.remove_external_address(&address);
                }
            }
            SwarmEvent::ExternalAddrExpired { address } => {
                self.addresses.expired(&address);
                self.publish_addresses();
            }
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, concurrent_dial_errors, endpoint, .. }
                if endpoint.is_dialer() =>
            {
                let attempts = attempts(&concurrent_dial_errors.unwrap_or_default(), &self.trusted);
                self.established(peer_id, connection_id, attempts);
            }
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, num_established, .. } => {
                if num_established.get() > 1 {
                    self.came_again(peer_id, connection_id);
                }
                self.reached(peer_id, Vec::new());
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, num_established, cause, .. } => {
                self.feeling.closed(connection_id);
                if matches!(cause, Some(ConnectionError::IO(_))) && num_established > 0 {
                    // Perhaps it has died, and only TCP says so.
                    self.ask_whether_alive(peer_id);
                }
                if num_established == 0 {
                    self.feeling.gone(&peer_id);
                    self.nearing.gone(&peer_id);
                    self.punches.gone(&peer_id);
                }
                self.may_be_gone(peer_id);
            }
            SwarmEvent::OutgoingConnectionError { peer_id: Some(peer), connection_id, error } => {
                if self.feeling.is_reversal(connection_id) {
                    self.ladder.step(Step::Reversal, false);
                }
                self.unreachable(peer, connection_id, error);
            }
            _ => {}
        }
    }

    /// We listen there no longer.
    fn deaf(&mut self, addresses: impl IntoIterator<Item = Multiaddr>) {
        for address in addresses {
            if self.addresses.deaf(&address) {
                self.watch.moved(Instant::now());
            }
        }
        self.publish_addresses();
    }

    /// We have made a connection.
    fn established(&mut self, peer: PeerId, connection: ConnectionId, attempts: Vec<Attempt>) {
        let behaviour = self.swarm.behaviour();
        if let Some(path) = behaviour.session.path_of(&peer, connection) {
            let reversal = self.feeling.is_reversal(connection);
            self.ladder.step(if reversal { Step::Reversal } else { Step::Dial(path.kind) }, true);
            if path.is_relayed() {
                self.hope(peer);
                self.neared(peer, connection);
            }
        }
        self.dials.over(&peer, connection);
        let _not_needed = self.dials.postponed(&peer);
        self.show_attempts(peer, attempts.clone());
        self.reached(peer, attempts);
    }

    /// Whoever waits for a peer has it now, whichever side has made the connection: a dial of ours may still hang where nobody answers.
    fn reached(&mut self, peer: PeerId, attempts: Vec<Attempt>) {
        let best = self.swarm.behaviour().session.best(&peer).map(|(_, path)| path.clone());
        if let Some(path) = best {
            self.dials.end(&peer, &Ok(Dialled { path, attempts }));
        }
    }

    fn behaved(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Session(event) => self.session(event),
            BehaviourEvent::Blob((peer, connection, came)) => {
                let path = self.swarm.behaviour().session.path_of(&peer, connection);
                if let (Some(node), Some(path)) = (node_of(&peer), path) {
                    let circuit = path.limit.as_ref().and_then(|limit| limit.bytes);
                    let serving = blob::serve(self.shared.shelf.clone(), node, came, circuit);
                    let stop = self.shared.stop.clone();
                    self.tasks.spawn(async move {
                        // A mesh that stops does not wait for blobs: they can be fetched further later.
                        let _stopped = stop.run_until_cancelled(serving).await;
                    });
                }
            }
            BehaviourEvent::Identify(event) => {
                self.metrics.record(&event);
                if let identify::Event::Received { connection_id, peer_id, info } = event {
                    self.identified(connection_id, peer_id, info);
                }
            }
            BehaviourEvent::Ping(event) => {
                self.metrics.record(&event);
                self.pinged(event.peer, event.connection, event.result.is_ok());
                if let (Ok(rtt), Some(node)) = (event.result, node_of(&event.peer)) {
                    self.state.send_if_modified(|state| {
                        state.peers.get_mut(&node).is_some_and(|peer| peer.rtt.replace(rtt) != Some(rtt))
                    });
                }
            }
            BehaviourEvent::Kad(event) => {
                self.metrics.record(&event);
                // A provider's addresses are believed as if it told them here, on the connection that it has.
                let addresses = &self.addresses;
                let behaviour = self.swarm.behaviour_mut();
                let now = Instant::now();
                let via = provider(&event)
                    .and_then(|peer| behaviour.session.best(&peer))
                    .map(|(_, path)| path.address.clone());
                let believes = |address: &Multiaddr| via.as_ref().is_some_and(|via| addresses.believes(address, via));
                let gone = self.lookups.on_event(&mut behaviour.kad, event, believes, &self.doorway, now);
                self.send_away(gone);
            }
            BehaviourEvent::Gossip(event) => {
                self.metrics.record(&event);
                if let gossipsub::Event::Message { propagation_source, message_id, message } = event {
                    self.gossiped(propagation_source, message_id, message);
                }
            }
            BehaviourEvent::RelayClient(event) => self.relayed(event),
            BehaviourEvent::Relay(event) => {
                self.doorway.relayed(&event);
                self.metrics.record(&event);
            }
            BehaviourEvent::Doorway(shown) => self.shown(shown),
            BehaviourEvent::Dcutr(event) => {
                self.metrics.record(&event);
                self.punch_ended(event);
            }
            BehaviourEvent::AutonatClient(event) => self.probed(&event),
            BehaviourEvent::Pulse(felt) => self.felt(felt),
            BehaviourEvent::Upnp(event) => self.upnp_said(event),
            BehaviourEvent::Mdns(mdns::Event::Discovered(found)) => self.found(found),
            BehaviourEvent::Mdns(mdns::Event::Expired(_)) | BehaviourEvent::AutonatServer(_) => {}
            BehaviourEvent::Limits(never) | BehaviourEvent::Memory(never) | BehaviourEvent::Candidates(never) => {
                match never {}
            }
        }
    }

    fn session(&mut self, event: session::Event) {
        match event {
            session::Event::Opened { peer, id, connection, path, stream } => {
                let link = node_of(&peer).and_then(|node| self.shared.table.find(node, id));
                if let Some(link) = link {
                    let attached = Box::new(Attached { wire: Wire::new(stream), connection, path, from: From::Us });
                    // Two streams wait for it already; this one is too many and ends here, before its Hello.
                    let _too_many = link.attach(attached);
                }
            }
            session::Event::Failed { peer, id } => {
                if let Some(link) = node_of(&peer).and_then(|node| self.shared.table.find(node, id)) {
                    link.fail();
                }
            }
            session::Event::Lost { peer, id } => match node_of(&peer).and_then(|node| self.shared.table.find(node, id))
            {
                Some(link) if link.begins_again() => self.open(&link, true),
                Some(link) => link.fail(),
                None => {}
            },
            session::Event::Came { peer, connection, path, stream, permit } => {
                if let Some(node) = node_of(&peer) {
                    let (shared, wire) = (self.shared.clone(), Wire::new(stream));
                    self.tasks.spawn(session::greet(shared, node, connection, path, wire, permit));
                }
            }
            session::Event::Changed { peer } => self.changed(peer),
        }
    }

    /// A peer's connections have changed: what is seen of it, and whether its session should move.
    fn changed(&mut self, peer: PeerId) {
        let Some(node) = node_of(&peer) else { return };
        let paths = self.swarm.behaviour().session.paths(&peer);
        self.state.send_modify(|state| {
            if paths.is_empty() {
                state.peers.remove(&node);
            } else {
                state.peers.entry(node).or_default().paths = paths;
            }
        });
        self.move_sessions(node);
    }

    fn identified(&mut self, connection: ConnectionId, peer: PeerId, info: identify::Info) {
        let Some(path) = self.swarm.behaviour().session.path_of(&peer, connection).cloned() else { return };
        let now = Instant::now();
        let speaks = |protocol: &libp2p::StreamProtocol| info.protocols.contains(protocol);
        if speaks(&lookups::PROTOCOL) {
            let told = info
                .listen_addrs
                .iter()
                .filter(|told| !is_relayed(told) && self.addresses.believes(told, &path.address));
            let mut addresses: Vec<Multiaddr> = told.cloned().collect();
            if path.dialled && !path.is_relayed() {
                addresses.insert(0, path.address.clone());
            }
            let ip = ip_in(&path.address).filter(|ip| !path.is_relayed() && self.doorway.counts(*ip));
            self.lookups.learn(&mut self.swarm.behaviour_mut().kad, peer, ip, addresses, &self.doorway);
            self.join(now);
        } else {
            self.swarm.behaviour_mut().kad.remove_peer(&peer);
        }
        // Where else the peer is, for the day when this connection breaks.
        let elsewhere = info.listen_addrs.iter().filter(|told| match path.is_relayed() {
            true => self.addresses.is_public(told),
            false => self.addresses.believes(told, &path.address),
        });
        for told in elsewhere.take(OF_ONE) {
            self.dials.learn(peer, told.clone());
        }
        if path.is_relayed() {
            return self.reverse(peer, &info.listen_addrs);
        }
        if path.dialled {
            if speaks(&DIAL_REQUEST) {
                self.knows_server(peer);
            }
            let observed = info.observed_addr;
            let ours = self.swarm.behaviour().session.is_from_listener(&peer, connection);
            if ours && ip_in(&observed).is_some() && !is_relayed(&observed) && !is_loopback(&observed) {
                self.sightings.seen(peer, &path.address, &observed, now);
                self.swarm.behaviour_mut().candidates.offer(observed);
                if self.role == Role::Node && (speaks(&lookups::PROTOCOL) || speaks(&relay::HOP_PROTOCOL_NAME)) {
                    self.look(peer, &path.address, &info.listen_addrs);
                }
            }
            if speaks(&relay::HOP_PROTOCOL_NAME) {
                self.present(peer, connection, speaks(&doorway::PASS));
            } else {
                self.relays.is_none(peer, now, dice());
            }
        }
    }

    fn gossiped(&mut self, from: PeerId, id: gossipsub::MessageId, message: gossipsub::Message) {
        if !self.takes_gossip(from) {
            return self.judge(&topics::name(from, id), Verdict::Ignore);
        }
        let judged = match topics::came(from, id, message) {
            Ok(gossip) if self.pending.len() < PENDING / 2 => return self.pending.push_back(Event::Gossip(gossip)),
            Ok(gossip) => (gossip.message, Verdict::Ignore),
            Err(message) => (message, Verdict::Reject),
        };
        self.judge(&judged.0, judged.1);
    }

    fn relayed(&mut self, event: relay::client::Event) {
        match event {
            relay::client::Event::ReservationReqAccepted { relay_peer_id, .. } => {
                self.relays.accepted(relay_peer_id, Instant::now());
                self.publish_addresses();
            }
            relay::client::Event::InboundCircuitEstablished { src_peer_id: peer, limit: Some(limit) }
            | relay::client::Event::OutboundCircuitEstablished { relay_peer_id: peer, limit: Some(limit) } => {
                let bytes = limit.data_in_bytes().filter(|bytes| *bytes > 0);
                self.swarm.behaviour_mut().session.limit(peer, RelayLimit { bytes, time: limit.duration() });
            }
            _ => {}
        }
    }

    fn found(&mut self, found: Vec<(PeerId, Multiaddr)>) {
        let mut nodes: BTreeMap<_, Vec<Multiaddr>> = BTreeMap::new();
        for (peer, address) in found {
            if let Some(node) = node_of(&peer).filter(|_| !is_loopback(&address)) {
                self.dials.learn(peer, address.clone());
                nodes.entry(node).or_default().push(address);
            }
        }
        for (node, addresses) in nodes {
            if self.pending.len() < PENDING / 2 {
                self.pending.push_back(Event::Found { node, addresses });
            }
        }
    }
}

/// Who says in this event that it has something.
fn provider(event: &libp2p::kad::Event) -> Option<PeerId> {
    use libp2p::kad::{Event, InboundRequest};
    match event {
        Event::InboundRequest { request: InboundRequest::AddProvider { record: Some(record) } } => {
            Some(record.provider)
        }
        _ => None,
    }
}
