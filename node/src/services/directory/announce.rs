//! Being found: what is said of this node, to whom, and for how long.
//!
//! Nothing is said before there is a contact or a listed agent, but for the mailbox of an open pairing code. The DHT hears digests of tags and DIDs; cards of listed agents
//! travel by gossip and on request.

use std::collections::BTreeSet;
use std::time::Duration;

use agent::Visibility;
use bytes::Bytes;
use klp::statement::card::{NodeRecord, did_key, node_key, tag_key};
use klp::{Cbor as _, Digest};
use mesh::Topic;

use super::Directory;
use crate::bus::Bus;
use crate::keys::Keys;
use crate::meeting::Meeting;

/// Changes that come together are said together.
const TOGETHER: Duration = Duration::from_millis(100);

/// What around this node the settings allow to ask.
#[derive(Clone, Copy)]
pub(crate) struct Around {
    /// The local network, for peers.
    pub(crate) mdns: bool,
    /// The router, for an open port.
    pub(crate) upnp: bool,
}

impl Directory {
    /// Says what is to be said, again whenever agents or contacts change, until the node stops.
    pub(crate) async fn announce(self, bus: Bus, keys: Keys, meeting: Meeting, around: Around) {
        let mut changes = bus.listen("*", None);
        let mut said = BTreeSet::new();
        loop {
            self.say(&mut said, &keys, &meeting, around).await;
            let changed = async {
                while let Some(heard) = changes.next().await {
                    let matters = match &heard {
                        crate::bus::Heard::Event(event) => matters(event.name),
                        crate::bus::Heard::Gap(_) => true,
                    };
                    if matters {
                        return true;
                    }
                }
                false
            };
            // Before its life is over it is said again.
            match tokio::time::timeout(self.agents.life.again(), changed).await {
                Ok(false) => return,
                Ok(true) => tokio::time::sleep(TOGETHER).await,
                Err(_) => {}
            }
        }
    }

    async fn say(&self, said: &mut BTreeSet<Digest>, keys: &Keys, meeting: &Meeting, around: Around) {
        let agents = self.agents.all();
        let listed: Vec<_> = agents
            .iter()
            .filter(|entry| entry.manifest.visibility != Visibility::Private && entry.state.answers())
            .collect();
        let known = !self.people.all().is_empty();
        // Before the DHT, whose answers take their time: who pairs waits for it.
        let to_be_found = known || !listed.is_empty();
        let looking = around.mdns && (to_be_found || meeting.is_on());
        if let Err(error) = self.outbound.mesh().set_mdns(looking).await {
            tracing::debug!(%error, "looking for peers on the local network does not work");
        }
        // A mesh that has stopped opens nothing.
        let _stopped = self.outbound.mesh().set_upnp(around.upnp && to_be_found).await;
        let mut wanted: BTreeSet<Digest> = meeting.keys().into_iter().collect();
        if to_be_found {
            wanted.extend([did_key(&self.me.node().0), did_key(&self.me.owner().0)]);
            self.put_record(keys).await;
        }
        for entry in &listed {
            wanted.insert(did_key(&entry.id.0));
            let Ok(card) = self.agents.card(entry) else { continue };
            if let Ok(verified) = card.card.verify() {
                wanted.extend(verified.tags.iter().map(|tag| tag_key(tag)));
                wanted.extend(verified.capabilities.iter().map(|one| tag_key(&one.name)));
            }
            self.outbound.publish(Topic::Directory, Bytes::from(card.to_bytes()));
        }
        for gone in said.difference(&wanted) {
            // What was said runs out by itself if it cannot be taken back now.
            let _gone = self.outbound.mesh().stop_providing(*gone).await;
        }
        let new: Vec<_> = wanted.iter().map(|key| self.outbound.mesh().provide(*key)).collect();
        for said in futures::future::join_all(new).await {
            if let Err(error) = said {
                tracing::debug!(%error, "the DHT was not told now");
            }
        }
        *said = wanted;
    }

    /// Addresses that everybody may hear: only confirmed ones, so that a node behind a router without a relay says nothing.
    async fn put_record(&self, keys: &Keys) {
        let addresses = self.outbound.public_addresses();
        let Some(exchange) = keys.exchange() else { return };
        if addresses.is_empty() {
            return;
        }
        let now = self.clock.now();
        let record = self.me.sign(NodeRecord {
            node: self.me.node(),
            addresses,
            exchange,
            seq: now.0,
            issued: now,
            expires: now.after(self.agents.life.now()),
        });
        let put = self.outbound.mesh().put(node_key(&self.me.node()), record.signed().as_bytes().to_vec());
        if let Err(error) = put.await {
            tracing::debug!(%error, "the node record was not put");
        }
    }
}

/// Whether an event changes what is to be said.
fn matters(name: &str) -> bool {
    matches!(
        name,
        "agent.registered"
            | "agent.state.updated"
            | "agent.removed"
            | "contact.added"
            | "contact.removed"
            | "reach.changed"
            | "pair.opened"
            | "pair.joining"
            | "pair.joined"
            | "pair.done"
            | "pair.ended"
    )
}
