//! Being reached: own addresses and their witnesses, relays, what third parties find, and what a change of the network undoes.

use std::error::Error;
use std::io;
use std::time::Instant;

use klp::rule::address::Scope;
use libp2p::core::transport::ListenerId;
use libp2p::multiaddr::Protocol;
use libp2p::relay::outbound::hop::ReserveError;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::{Multiaddr, PeerId, autonat, upnp};
use tokio::sync::oneshot;

use super::{BOOTSTRAP, Driver, FIRST_BOOTSTRAP};
use crate::config::Role;
use crate::event::Event;
use crate::lookups::relay_key;
use crate::peer::{is_loopback, is_relayed, node_of, peer_of, relay_in, with_node};
use crate::reach::shown::{Probe, Upnp};
use crate::reach::{Change, Loss, Step};

/// Third parties that are asked again for a verdict.
const ASKED_AGAIN: usize = 2;
/// Third parties that are remembered.
const SERVERS: usize = 8;
/// Bootstrap peers to which the connection is kept, so that we notice when they forget us.
const KEPT: usize = 2;

/// A number that nobody knows beforehand; without entropy the waits are simply not spread.
pub(super) fn dice() -> u32 {
    getrandom::u32().unwrap_or(u32::MAX / 2)
}

impl Driver {
    /// What is due of being reached.
    pub(super) fn reach(&mut self, now: Instant) {
        if let Some(change) = self.watch.tick(now, (self.shared.wall)()) {
            self.network_changed(change, now);
        }
        let public_since = self.addresses.public_since();
        if self.probes.is_due(public_since.is_some(), now) {
            self.probe_again();
        }
        let searches = self.role == Role::Node && (!self.on_loopback || self.trusts_loopback());
        // On loopback nobody probes, and nobody is waited for.
        let hidden = searches && (self.on_loopback || self.probes.is_hidden(public_since.is_some(), now));
        if let Some(Ok(found)) = self.search.as_mut().map(oneshot::Receiver::try_recv) {
            self.search = None;
            self.relays_found(found.unwrap_or_default(), now);
        }
        for step in self.relays.tick(hidden, public_since, now, &mut dice) {
            self.relay(step, now);
        }
        if self.bootstrap_at <= now {
            self.join(now);
        }
        self.publish_addresses();
    }

    fn trusts_loopback(&self) -> bool {
        self.addresses.scope(&Multiaddr::from(std::net::Ipv4Addr::LOCALHOST)) == Scope::Public
    }

    /// Nothing of what was found out about the old network holds in the new one, and what waits for a better moment has it now.
    fn network_changed(&mut self, change: Change, now: Instant) {
        tracing::info!(?change, "the network may be another one");
        self.ladder.changed(change);
        self.sightings.forget();
        if change == Change::Moved {
            for address in self.addresses.probed() {
                self.addresses.expired(&address);
                self.swarm.remove_external_address(&address);
            }
        }
        self.probes.changed(now);
        self.relays.changed(now);
        self.punches.changed(now);
        self.check_all();
        (self.bootstrap_at, self.bootstrap_wait) = (now, FIRST_BOOTSTRAP);
        self.probe_again();
    }

    /// Asks third parties anew whether they can dial us: on new connections, for the old ones belong to the old questions.
    fn probe_again(&mut self) {
        if self.role != Role::Node || self.on_loopback {
            return;
        }
        let anew = Toggle::from(Some(autonat::v2::client::Behaviour::default()));
        self.swarm.behaviour_mut().autonat_client.renew(anew);
        for peer in self.servers.iter().copied().take(ASKED_AGAIN).collect::<Vec<_>>() {
            let direct = self.dials.addresses(&peer).into_iter().filter(|address| !is_relayed(address)).collect();
            let options = DialOpts::peer_id(peer).condition(PeerCondition::Always).addresses(direct);
            let _none_known = self.swarm.dial(options.build());
        }
    }

    /// Somebody who can tell us whether we can be dialled.
    pub(super) fn knows_server(&mut self, peer: PeerId) {
        self.servers.retain(|known| *known != peer);
        self.servers.push_front(peer);
        self.servers.truncate(SERVERS);
    }

    /// A third party has dialled us, or could not.
    pub(super) fn probed(&mut self, event: &autonat::v2::client::Event) {
        tracing::debug!(address = %event.tested_addr, result = ?event.result, "reachability");
        let address = event.tested_addr.clone();
        self.ladder.probe(event.result.is_ok());
        if event.result.is_err() && self.addresses.probed().contains(&address) {
            self.addresses.expired(&address);
            self.swarm.remove_external_address(&address);
        }
        if let Some(server) = node_of(&event.server) {
            if event.result.is_ok() && self.addresses.confirms(&address) {
                self.addresses.confirmed(address.clone(), Some(server), Instant::now());
            }
            let error = event.result.as_ref().err().map(ToString::to_string);
            self.probes.heard(Probe { address, server, at: Instant::now(), error });
        }
        self.publish_addresses();
    }

    /// Asks the router in front of us to open our ports, or no longer.
    pub(super) fn set_upnp(&mut self, on: bool) {
        let on = on && !self.on_loopback;
        let behaviour = &mut self.swarm.behaviour_mut().upnp;
        if on != behaviour.is_enabled() {
            behaviour.replace(Toggle::from(on.then(upnp::tokio::Behaviour::default)));
            self.upnp = if on { Upnp::Asked } else { Upnp::Off };
            self.publish_addresses();
        }
    }

    pub(super) fn upnp_said(&mut self, event: upnp::Event) {
        let now = Instant::now();
        match event {
            upnp::Event::NewExternalAddr { external_addr, .. } => {
                self.upnp = Upnp::Mapped;
                self.addresses.opened(external_addr, true, now);
            }
            upnp::Event::ExpiredExternalAddr { external_addr, .. } => {
                self.addresses.opened(external_addr, false, now);
            }
            upnp::Event::GatewayNotFound => self.upnp = Upnp::NoGateway,
            upnp::Event::NonRoutableGateway => self.upnp = Upnp::NotPublic,
        }
        self.publish_addresses();
    }

    /// Connects to the bootstrap peers while nobody is in the routing table, or none of them is connected: soon again when it fails, and
    /// then less often. One that was restarted has forgotten what we said.
    pub(super) fn join(&mut self, now: Instant) {
        let routing = crate::lookups::size(&mut self.swarm.behaviour_mut().kad);
        self.state.send_if_modified(|state| std::mem::replace(&mut state.routing, routing) != routing);
        let bootstrap: Vec<(PeerId, Multiaddr)> = self.bootstrap.iter().filter_map(named).collect();
        let kept = bootstrap.iter().map(|(peer, _)| *peer).take(KEPT);
        if self.role == Role::Node {
            self.swarm.behaviour_mut().pulse.keep(kept.collect());
        }
        if bootstrap.iter().any(|(peer, _)| self.is_near(peer)) || (bootstrap.is_empty() && routing > 0) {
            (self.bootstrap_at, self.bootstrap_wait) = (now + BOOTSTRAP, FIRST_BOOTSTRAP);
            return;
        }
        if routing == 0 {
            self.greet_known();
        }
        self.bootstrap_at = now + self.bootstrap_wait;
        self.bootstrap_wait = (self.bootstrap_wait * 2).min(BOOTSTRAP);
        for (peer, address) in bootstrap {
            self.dials.learn(peer, address);
            self.connect(peer, PeerCondition::DisconnectedAndNotDialing);
        }
    }

    /// Whether there is a connection to a peer that is not known to be dead.
    pub(super) fn is_near(&self, peer: &PeerId) -> bool {
        self.swarm.behaviour().session.best(peer).is_some()
    }

    fn relay(&mut self, step: Step, now: Instant) {
        match step {
            Step::Dial(peer, address) => {
                self.dials.learn(peer, address);
                if self.swarm.behaviour().session.best(&peer).is_some_and(|(_, path)| !path.is_relayed()) {
                    self.reserve(peer, now);
                } else {
                    self.connect(peer, PeerCondition::DisconnectedAndNotDialing);
                }
            }
            Step::Listen(peer, address) => match self.swarm.listen_on(address) {
                Ok(listener) => self.relays.asked(peer, listener, now),
                Err(error) => self.relays.failed(peer, &error.to_string(), now, dice()),
            },
            Step::Drop(listener) => {
                self.swarm.remove_listener(listener);
            }
            Step::Search if crate::lookups::size(&mut self.swarm.behaviour_mut().kad) == 0 => self.relays.not_asked(),
            Step::Search => {
                let (reply, answer) = oneshot::channel();
                self.lookups.providers(&mut self.swarm.behaviour_mut().kad, relay_key(), reply);
                self.search = Some(answer);
            }
        }
    }

    /// Who says in the directory that it is a relay, and where everybody can dial it.
    fn relays_found(&mut self, found: Vec<(klp::NodeId, Vec<Multiaddr>)>, now: Instant) {
        for (node, addresses) in found {
            let public = addresses.into_iter().filter(|one| !is_relayed(one) && self.addresses.is_public(one));
            let public: Vec<_> = public.collect();
            for address in &public {
                self.dials.learn(peer_of(node), address.clone());
            }
            self.relays.found(public.into_iter().take(1).map(|address| with_node(address, node)), now);
        }
    }

    /// The relays that contacts offer.
    pub(super) fn relays_offered(&mut self, addresses: Vec<Multiaddr>) {
        let (me, now) = (*self.swarm.local_peer_id(), Instant::now());
        let fits = |one: &Multiaddr| self.addresses.is_public(one) && !is_relayed(one) && relay_in(one) != Some(me);
        let offered: Vec<_> = addresses.into_iter().filter(fits).collect();
        for step in self.relays.offered(offered, now) {
            self.relay(step, now);
        }
        self.publish_addresses();
    }

    /// A relay is connected and identified.
    pub(super) fn reserve(&mut self, peer: PeerId, now: Instant) {
        let best = self.swarm.behaviour().session.best(&peer);
        let Some((_, path)) = best.filter(|(_, path)| self.role == Role::Node && !path.is_relayed()) else { return };
        let address = path.dialled.then(|| path.address.clone());
        if let Some(step) = self.relays.identified(peer, address.as_ref()) {
            self.relay(step, now);
        }
    }

    pub(super) fn listener_closed(&mut self, listener: ListenerId, reason: Result<(), io::Error>) {
        let loss = match &reason {
            Ok(()) => Loss::Broken("the connection to it is gone".to_owned()),
            Err(error) if refuses(error) => Loss::Refused(error.to_string()),
            Err(error) => Loss::Broken(error.to_string()),
        };
        let refused = matches!(loss, Loss::Refused(_));
        if self.relays.closed(listener, &loss, Instant::now(), dice()) || refused {
            self.ladder.relay_lost(refused);
        }
        self.publish_addresses();
    }

    /// A connection to a peer is gone, or is dead. If it was the last one, nobody reaches us there any more, and what we told it may be
    /// forgotten.
    pub(super) fn may_be_gone(&mut self, peer: PeerId) {
        if self.is_near(&peer) {
            return;
        }
        if self.bootstrap.iter().filter_map(named).any(|(known, _)| known == peer) {
            self.lookups.forgotten();
            self.bootstrap_at = self.bootstrap_at.min(Instant::now() + FIRST_BOOTSTRAP);
        }
        if let Some(listener) = self.relays.disconnected(peer, Instant::now(), dice()) {
            self.swarm.remove_listener(listener);
            self.ladder.relay_lost(false);
            self.publish_addresses();
        }
    }

    /// Tells everybody who watches where we are.
    pub(super) fn publish_addresses(&mut self) {
        let me = self.shared.me;
        let named = |address: &Multiaddr| with_node(address.clone(), me);
        let reach = self.addresses.reach();
        let reservations: Vec<_> = self.relays.active().filter_map(|peer| node_of(&peer)).collect();
        let listen: Vec<_> = self.addresses.listened().map(named).collect();
        let external: Vec<_> = self.addresses.external().map(named).collect();
        let (own, mappings) = (self.addresses.own(), self.sightings.shown());
        let (relays, probes, upnp) = (self.relays.shown(), self.probes.shown(), self.upnp);
        self.ladder.reservations.set(i64::try_from(reservations.len()).unwrap_or(i64::MAX));
        self.ladder.confirmed.set(i64::try_from(external.len()).unwrap_or(i64::MAX));
        let mut changed = false;
        self.state.send_if_modified(|state| {
            changed = state.reach != reach;
            let same = !changed
                && (&state.listen, &state.external, &state.reservations) == (&listen, &external, &reservations)
                && (&state.own, &state.mappings, &state.relays) == (&own, &mappings, &relays)
                && (&state.probes, state.upnp) == (&probes, upnp);
            (state.reach, state.listen, state.external, state.reservations) = (reach, listen, external, reservations);
            (state.own, state.mappings, state.relays) = (own, mappings, relays);
            (state.probes, state.upnp) = (probes, upnp);
            !same
        });
        if changed {
            self.pending.push_back(Event::Reach(reach));
        }
        self.say_relay();
    }

    /// A relay that everybody can reach says in the directory that it is one.
    fn say_relay(&mut self) {
        let trusted = self.on_loopback && self.trusts_loopback();
        let public = self.addresses.external().any(|one| self.addresses.is_public(one) && !is_loopback(one));
        let is_relay = self.role == Role::Relay && (public || trusted);
        if is_relay == self.says_relay {
            return;
        }
        self.says_relay = is_relay;
        let kad = &mut self.swarm.behaviour_mut().kad;
        if is_relay {
            // It is said again by itself, and as soon as there is somebody to tell.
            let (reply, _nobody_waits) = oneshot::channel();
            self.lookups.provide(kad, relay_key(), reply);
        } else {
            self.lookups.stop_providing(kad, relay_key());
        }
    }
}

fn named(address: &Multiaddr) -> Option<(PeerId, Multiaddr)> {
    match address.iter().last() {
        Some(Protocol::P2p(peer)) => Some((peer, address.clone())),
        _ => None,
    }
}

/// Whether a relay has refused, which it does when it is full.
fn refuses(error: &io::Error) -> bool {
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = next {
        match error.downcast_ref::<ReserveError>() {
            Some(ReserveError::Refused | ReserveError::ResourceLimitExceeded) => return true,
            Some(_) => return false,
            None => {}
        }
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = inner.map(|inner| inner as &(dyn Error + 'static)).or_else(|| error.source());
    }
    false
}
