//! What the mesh tells, handed on. The loop never waits: whatever takes time gets a task.

use std::sync::Arc;
use std::time::Duration;

use klp::codec::Bytes as CborBytes;
use klp::message::{Empty, Pong, kind};
use klp::statement::certificate::Introduction;
use klp::{Cbor as _, NodeId, Refusal, Signed, cbor_struct, limits};
use mesh::{Event, Gossip, PeerHello, Topic, Verdict};
use serde_json::json;
use store::{StoreError, Trouble};
use tokio::sync::{Semaphore, mpsc, watch};

use super::Node;
use crate::bus::{Heard, fits};
use crate::inbound::{Access, Caller};
use crate::principal::Principals;

/// Sessions that are brought up to date at once.
const SYNCING: usize = 16;
/// How often the small clocks tick.
const TICK: Duration = Duration::from_secs(5);

cbor_struct! {
    /// An event that its owner shares with contacts.
    pub struct Shared {
        /// Its name.
        1 name: String, max limits::NAME;
        /// Its details, as JSON.
        2 data: CborBytes, max 4 * 1024;
    }
}

impl Node {
    /// Answers the small questions from now on.
    pub(super) fn answer_small_talk(&self, principals: &Principals) {
        let clock = self.clock.clone();
        self.inbound.answer(kind::PING, Access::Anybody, move |_: Caller, _: Empty| {
            let now = clock.now();
            async move { Ok::<_, Refusal>(Pong { now }) }
        });
        let principals = principals.clone();
        self.inbound.answer(kind::INTRODUCE, Access::Anybody, move |caller: Caller, introduction: Introduction| {
            let said = caller.hello.ok_or(Refusal::NoHandler);
            let said = said.and_then(|hello| principals.introduce(&hello, &introduction));
            async move { said.map(|()| Empty) }
        });
    }

    /// Hands on what the mesh tells until it ends.
    pub(super) async fn follow(self, mut events: mpsc::Receiver<Event>, principals: Principals) {
        let syncing = Arc::new(Semaphore::new(SYNCING));
        while let Some(event) = events.recv().await {
            match event {
                Event::Request(request) => self.inbound.receive(request),
                Event::Opened { hello, path } => {
                    principals.opened(&hello);
                    self.directory.heard(hello.node);
                    self.queue.met(&hello.node);
                    self.reach.opened(&hello, &path);
                    self.bus.say(
                        "peer.opened",
                        json!({ "node": hello.node.to_string(), "path": path.kind.as_str(), "over": path.transport.as_str() }),
                    );
                    let (node, principals, syncing) = (self.clone(), principals.clone(), Arc::clone(&syncing));
                    tokio::spawn(async move {
                        if let Ok(_turn) = syncing.acquire().await {
                            node.catch_up(&hello, &principals).await;
                        }
                    });
                }
                Event::Closed { peer, session, refusal } => {
                    principals.forget(peer, session);
                    self.grants.gone(peer);
                    self.reach.closed(&peer, session);
                    let why = refusal.map(Refusal::code);
                    self.bus.say("peer.closed", json!({ "node": peer.to_string(), "refusal": why }));
                }
                Event::Told { hello, body } => self.hear(&hello, &body, &principals),
                Event::Gossip(gossip) => {
                    let node = self.clone();
                    tokio::spawn(async move { node.judge(gossip).await });
                }
                Event::Found { node, addresses } => {
                    self.outbound.saw(node, addresses);
                    self.queue.met(&node);
                    self.bus.say("peer.found", json!({ "node": node.to_string() }));
                }
                Event::Reach(reach) => self.bus.say("reach.changed", json!({ "state": reach.as_str() })),
            }
        }
    }

    /// A session with somebody is open: learn what was missed while it was not.
    async fn catch_up(&self, hello: &PeerHello, principals: &Principals) {
        if let Err(fault) = self.grants.met(hello.node).await {
            tracing::warn!(%fault, "revocations wait for their delivery");
        }
        let Some(principal) = principals.of(hello) else {
            // A contact's node that does not say whose it is may have forgotten us, and with us what it offered.
            if self.outbound.is_contact(&hello.node) {
                let relays = self.relays.ask(hello.node).await.err().map(|fault| fault.to_string());
                tracing::debug!(node = %hello.node, ?relays, "not introduced");
            }
            return;
        };
        let (node, owner) = (hello.node, principal.owner);
        if let Some(seq) = hello.revocations {
            self.grants.claimed(owner, node, seq);
        }
        if !principal.contact {
            return;
        }
        self.remember_address(node).await;
        // What fails now is tried again when it is needed.
        let revocations = self.grants.catch_up(&owner).await.err().map(|refusal| refusal.to_string());
        let grants = self.grants.fetch_from(node).await.err().map(|fault| fault.to_string());
        let receipts = self.receipts.ask_missing(node, owner).await.err().map(|fault| fault.to_string());
        let relays = self.relays.ask(node).await.err().map(|fault| fault.to_string());
        tracing::debug!(%node, ?revocations, ?grants, ?receipts, ?relays, "caught up");
        self.bus.say("peer.synced", json!({ "node": node.to_string() }));
    }

    /// Where it was dialled. Where it came from, when it dialled us, is no address of it.
    async fn remember_address(&self, node: NodeId) {
        let path = self.outbound.mesh().path(node).filter(|path| path.dialled && !path.is_relayed());
        let Some(path) = path else { return };
        let (address, now) = (path.address.to_string(), self.clock.now());
        let kept = self.store.write(move |tx| store::addresses::worked(tx, &node, &address, now));
        if let Err(error) = kept.await {
            tracing::debug!(%error, "an address was not remembered");
        }
    }

    async fn judge(&self, gossip: Gossip) {
        let learnt = match gossip.topic {
            Topic::Directory => self.directory.learn(&gossip.body).await.map(|node| self.queue.met(&node)),
            Topic::Revocations => self.grants.learn_revocation(&Signed::from_bytes(gossip.body.to_vec())).await,
        };
        if let Err(refusal) = &learnt {
            self.outbound.figures().refused("gossip", *refusal);
        }
        let verdict = match learnt {
            Ok(()) => Verdict::Accept,
            Err(Refusal::Signature | Refusal::Malformed | Refusal::TooLarge) => Verdict::Reject,
            Err(_) => Verdict::Ignore,
        };
        // A mesh that has stopped needs no verdict.
        let _said = self.outbound.mesh().judge(&gossip, verdict).await;
    }

    /// A contact shares an event of theirs.
    fn hear(&self, hello: &PeerHello, body: &[u8], principals: &Principals) {
        let Some(principal) = principals.of(hello).filter(|principal| principal.contact) else { return };
        let Ok(shared) = Shared::from_bytes(body, limits::FRAME) else { return };
        let Ok(data) = serde_json::from_slice::<serde_json::Value>(&shared.data.0) else { return };
        let name = agent::plain::line(&shared.name);
        self.bus.say("contact.event", json!({ "from": principal.owner.to_string(), "name": name, "data": data }));
    }

    /// Tells connected contacts the events whose names the owner has allowed, until the node stops.
    pub(super) async fn share(self, allowed: Vec<String>) {
        if allowed.is_empty() {
            return;
        }
        let mut events = self.bus.listen("*", None);
        while let Some(heard) = events.next().await {
            let Heard::Event(event) = heard else { continue };
            // What a contact has shared goes no further.
            if event.name == "contact.event" || !allowed.iter().any(|filter| fits(filter, event.name)) {
                continue;
            }
            let shared = Shared { name: event.name.to_owned(), data: CborBytes(event.data.get().as_bytes().to_vec()) };
            let body = bytes::Bytes::from(shared.to_bytes());
            for node in self.outbound.connected() {
                if self.outbound.is_contact(&node) {
                    // Who is too slow or has gone misses it: events are news, no records.
                    let _told = self.outbound.mesh().tell(node, body.clone());
                }
            }
        }
    }

    /// The small clocks: idle vaults lock, checkpoints are made, old keys are replaced, health is looked at.
    pub(super) async fn tick(
        self,
        components: super::start::Components,
        mut put_off: super::start::PutOff,
        has_bootstrap: bool,
    ) {
        let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + TICK, TICK);
        let mut unlocked = self.bus.listen("vault.unlocked", None);
        let mut trouble = self.store.trouble();
        let store_is = |wrote: Result<(), StoreError>, trouble: &watch::Receiver<Option<Trouble>>| {
            let wrote = trouble.borrow().as_ref().map_or(wrote, |trouble| Err(trouble.error.clone()));
            components.store_is(wrote, &self.store.condition());
        };
        let mut count: u64 = 0;
        loop {
            let sign = tokio::select! {
                () = self.stop.requested() => return,
                Ok(()) = trouble.changed() => {
                    store_is(Ok(()), &trouble);
                    continue;
                }
                _ = unlocked.next() => true,
                _ = ticks.tick() => count.is_multiple_of(6),
            };
            if sign && let Err(fault) = self.grants.sign_pending().await {
                tracing::warn!(%fault, "revocations wait for their signature");
            }
            if trouble.borrow().is_some() {
                // Whether there is room again is known only by trying.
                let _not_yet = self.store.try_again(self.clock.now()).await;
            }
            if let Err(error) = put_off.try_again(&self.store, self.clock.now()).await {
                tracing::debug!(%error, "what the start put off waits on");
            }
            self.vaults.tick().await;
            self.pairing.tick();
            if let Err(fault) = self.grants.pay().await {
                tracing::warn!(%fault, "revocations wait for their delivery");
            }
            if count.is_multiple_of(6) {
                let ticked = self.store.tick(self.clock.now()).await;
                store_is(ticked, &trouble);
            }
            if count.is_multiple_of(720)
                && let Err(fault) = self.agents.rotate_exchange()
            {
                tracing::warn!(%fault, "the exchange key was not replaced");
            }
            components.look(&self, has_bootstrap);
            count += 1;
        }
    }
}
