//! Asking: order, answer, outcome, acknowledgement, receipt.

use std::collections::BTreeSet;

use bytes::Bytes;
use klp::message::{Answered, Call, kind};
use klp::statement::card::Card;
use klp::statement::grant::Grant;
use klp::statement::receipt::{Acknowledgement, Order, Outcome, check_outcome, request_digest};
use klp::{AgentId, Cbor as _, Digest, NodeId, OwnerId, Refusal, Verified, limits};
use sha2::Digest as _;
use store::audit::Entry;
use store::receipts::{self, Role};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::coming::Coming;
use super::{Ask, CHUNKS, Calls, Part};
use crate::address::{Address, Who};
use crate::fault::Fault;
use crate::outbound;
use crate::services::receipts::Asking;
use crate::view;

/// Bytes of an answer that one order asks for: what its receipt can show whole.
const MAX_BYTES: u64 = receipts::ANSWER as u64;
/// Grants that are tried for one call, the newest first.
const TRIES: usize = 3;

/// Which agent is asked, and where.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) owner: OwnerId,
    pub(super) node: NodeId,
    pub(super) agent: AgentId,
}

impl Calls {
    /// Asks. Dropping the receiver cancels the call, on the other side too.
    ///
    /// # Errors
    /// `invalid`, `not_found`, `denied`, `unreachable`, `busy`; later failures come as [`Part::Failed`].
    pub async fn ask(&self, ask: Ask) -> Result<mpsc::Receiver<Part>, Fault> {
        let address = Address::parse(&ask.who)?;
        let oversized = ask.arguments.values().any(|value| value.len() > limits::ARGUMENT);
        if oversized || ask.arguments.len() > limits::ARGUMENTS {
            return Err(Fault::new(
                Refusal::TooLarge,
                format!("an argument may have {} bytes, and a call {} arguments", limits::ARGUMENT, limits::ARGUMENTS),
            ));
        }
        let deadline = Instant::now() + ask.timeout;
        if address.who == Who::Any {
            return self.ask_any(ask, address.agent, deadline).await;
        }
        let timed_out = || Fault::from(Refusal::Timeout);
        let shown = self.shown(&address).await?;
        let known = shown.is_some();
        let target = match shown {
            Some(target) => target,
            None => tokio::time::timeout_at(deadline, self.resolve(&address)).await.map_err(|_| timed_out())??,
        };
        let (parts, receiver) = mpsc::channel(CHUNKS);
        let calls = self.clone();
        tokio::spawn(async move {
            let told = parts.clone();
            let work = async {
                match calls.run(&target, &ask, deadline, &parts).await {
                    // What was shown a while ago may be elsewhere by now.
                    Err(fault) if known && may_have_moved(fault.refusal) => match calls.resolve(&address).await {
                        Ok(now) if now != target => calls.run(&now, &ask, deadline, &parts).await,
                        _ => Err(fault),
                    },
                    ended => ended,
                }
            };
            let end = tokio::select! {
                ended = tokio::time::timeout_at(deadline, work) => ended.unwrap_or_else(|_| Err(timed_out())),
                // Nobody listens any more: dropping the work cancels the request.
                () = told.closed() => return,
            };
            let last = end.map_or_else(Part::Failed, |asked| Part::Done(Box::new(asked)));
            // A listener that has gone needs no last word.
            let _gone = parts.send(last).await;
        });
        Ok(receiver)
    }

    /// Who is meant, and where their agent is.
    async fn resolve(&self, address: &Address) -> Result<Target, Fault> {
        let name = address.agent.as_deref();
        match &address.who {
            Who::Me => self.own(name.unwrap_or_default()),
            Who::Any => Err(Refusal::Invalid.into()),
            Who::Petname(petname) => {
                let contact = self.people.named(petname).ok_or_else(|| {
                    Fault::not_found("contact", petname)
                        .hint("see `kos contact list`; add somebody with `kos contact add`")
                })?;
                self.at_contact(&contact, name.unwrap_or_default()).await
            }
            Who::Did(did) => {
                if *did == self.me.owner().0 || *did == self.me.node().0 {
                    return self.own(name.unwrap_or_default());
                }
                if let Some(own) = self.agents.by_id(&AgentId(*did)) {
                    return self.own(&own.manifest.name);
                }
                let contact = self.people.owner(&OwnerId(*did)).or_else(|| self.people.node(&NodeId(*did)));
                if let (Some(contact), Some(name)) = (&contact, name) {
                    return self.at_contact(contact, name).await;
                }
                // A grant that I hold says where its agent lives, also when its card is not shown to me.
                if let Some(chain) = self.grants.for_agent(&AgentId(*did)).await?.first()
                    && let Some(last) = chain.last()
                {
                    return Ok(Target { owner: chain[0].issuer, node: last.node, agent: last.agent });
                }
                let card = self.agents_of(*did, name).await?;
                Ok(Target { owner: card.owner, node: card.node, agent: card.agent })
            }
        }
    }

    /// The agent of a contact as its node has shown it within the life of a card. While that node is there it is not asked again before
    /// each call: a call that it refuses costs it no more than the question would.
    async fn shown(&self, address: &Address) -> Result<Option<Target>, Fault> {
        let Who::Petname(petname) = &address.who else { return Ok(None) };
        let (Some(contact), Some(name)) = (self.people.named(petname), &address.agent) else { return Ok(None) };
        let cards = self.directory.remembered_of(contact.owner).await?;
        let there =
            |node: &NodeId| contact.nodes.iter().any(|device| device.node == *node) && self.outbound.is_reached(*node);
        let named = cards.iter().filter(|card| card.name == *name && there(&card.node));
        Ok(named.max_by_key(|card| card.seq).map(|card| Target {
            owner: card.owner,
            node: card.node,
            agent: card.agent,
        }))
    }

    fn own(&self, name: &str) -> Result<Target, Fault> {
        let agent =
            self.agents.named(name).ok_or_else(|| Fault::not_found("agent", name).hint("see `kos agent list`"))?;
        Ok(Target { owner: self.me.owner(), node: self.me.node(), agent: agent.id })
    }

    async fn at_contact(&self, contact: &store::contacts::Contact, name: &str) -> Result<Target, Fault> {
        let wanted = |card: &&Verified<Card>| card.name == name && card.owner == contact.owner;
        let target = |card: &Verified<Card>| Target { owner: card.owner, node: card.node, agent: card.agent };
        let mut last = Fault::from(Refusal::Unreachable);
        for device in &contact.nodes {
            match self.directory.cards_at(device.node, None, None).await {
                Ok(cards) => match cards.iter().find(wanted) {
                    Some(card) => return Ok(target(card)),
                    None => {
                        last = Fault::new(
                            Refusal::Denied,
                            format!(
                                "{} shows you no agent \"{name}\": there is none, or you have no grant for it",
                                contact.name
                            ),
                        )
                        .hint("ask its owner for a grant; `kos contact show` lists what you may see");
                    }
                },
                Err(fault) => last = fault,
            }
        }
        // An agent that was shown before may still tell the holder of a grant why it is not shown any more.
        let remembered = self.directory.remembered().await?;
        remembered.iter().find(wanted).filter(|_| last.refusal == Refusal::Denied).map(target).ok_or(last)
    }

    async fn agents_of(&self, did: klp::Did, name: Option<&str>) -> Result<Verified<Card>, Fault> {
        let cards = self.directory.cards_of(did).await?;
        let wanted = |card: &&Verified<Card>| {
            card.agent.0 == did
                || name.is_some_and(|name| card.name == name && (card.owner.0 == did || card.node.0 == did))
        };
        cards.iter().find(wanted).cloned().ok_or_else(|| {
            Fault::new(Refusal::NotFound, format!("no agent of {} is to be found", did.short()))
                .hint("its node may be down, or its owner does not list it; ask them for a ticket")
        })
    }

    /// One call, with the grants that are held for it, the newest first.
    pub(super) async fn run(
        &self,
        target: &Target,
        ask: &Ask,
        deadline: Instant,
        parts: &mpsc::Sender<Part>,
    ) -> Result<view::Asked, Fault> {
        let local = target.node == self.me.node();
        let mut chains = if local { vec![Vec::new()] } else { self.chains(target, &ask.capability).await };
        // Of several refusals, that of the newest grant says most.
        let mut refused: Option<(u64, Fault)> = None;
        let (mut tried, mut fetched) = (BTreeSet::new(), chains.iter().all(Vec::is_empty));
        loop {
            for chain in &chains {
                let seq = chain.last().map_or(0, |last| last.seq);
                tried.extend(chain.last().map(Verified::id));
                match self.attempt(target, ask, chain, deadline, parts).await {
                    // Another grant may still have what this one has not.
                    Err(fault) if is_about_grant(fault.refusal) => {
                        if refused.as_ref().is_none_or(|(newest, _)| seq > *newest) {
                            refused = Some((seq, fault));
                        }
                    }
                    ended => return ended,
                }
            }
            if std::mem::replace(&mut fetched, true) {
                break;
            }
            // Perhaps another was given, and did not arrive because one of the two was away.
            let _fetched = self.grants.fetch_from(target.node).await;
            chains = self.grants.held_for(&target.agent, &ask.capability).await.unwrap_or_default();
            chains.retain(|chain| chain.last().is_some_and(|last| !tried.contains(&last.id())));
            chains.truncate(TRIES);
        }
        Err(refused.map_or_else(|| Refusal::Denied.into(), |(_, fault)| fault))
    }

    async fn chains(&self, target: &Target, capability: &str) -> Vec<Vec<Verified<Grant>>> {
        let mut chains = self.grants.held_for(&target.agent, capability).await.unwrap_or_default();
        if chains.is_empty() {
            // Perhaps it was given while we were away.
            let _fetched = self.grants.fetch_from(target.node).await;
            chains = self.grants.held_for(&target.agent, capability).await.unwrap_or_default();
        }
        chains.truncate(TRIES);
        if chains.is_empty() {
            chains.push(Vec::new());
        }
        chains
    }

    async fn attempt(
        &self,
        target: &Target,
        ask: &Ask,
        chain: &[Verified<Grant>],
        deadline: Instant,
        parts: &mpsc::Sender<Part>,
    ) -> Result<view::Asked, Fault> {
        let salt = crate::entropy::bytes::<16>()?;
        let asking = Asking { salt, arguments: ask.arguments.clone() };
        let order = self.order(target, ask, &asking, chain.last().map(Verified::id))?;
        let receipt = asking.receipt(&order, &self.me.introduction(), Role::Asked, target.owner);
        let (id, now) = (order.id(), self.clock.now());
        let _under_way = self.receipts.begin(id, Role::Asked);
        let entry = Entry::new("call", "ordered", now).by(Some(self.me.owner().0)).on(target.agent).with("order", id);
        self.store
            .write(move |tx| {
                receipts::put(tx, &receipt)?;
                tx.audit(entry)?;
                Ok::<_, store::StoreError>(())
            })
            .await?;
        let sent = Instant::now();
        let mut coming = Coming::new();
        let (answered, path) = if target.node == self.me.node() {
            (self.ask_here(&order, asking, &mut coming, sent, parts).await?, "local".to_owned())
        } else {
            self.ask_there(target, &order, asking, chain, deadline, &mut coming, sent, parts).await?
        };
        self.finish(target, &order, answered, coming, path).await
    }

    fn order(
        &self,
        target: &Target,
        ask: &Ask,
        asking: &Asking,
        grant: Option<Digest>,
    ) -> Result<Verified<Order>, Fault> {
        let now = self.clock.now();
        Ok(self.me.sign(Order {
            caller: self.me.owner(),
            node: target.node,
            agent: target.agent,
            capability: ask.capability.clone(),
            grant,
            request: request_digest(&asking.salt, &ask.capability, &asking.arguments),
            max_bytes: MAX_BYTES,
            issued: now,
            expires: now.after(limits::ORDER_LIFE),
            nonce: crate::entropy::bytes()?,
        }))
    }

    async fn ask_here(
        &self,
        order: &Verified<Order>,
        asking: Asking,
        coming: &mut Coming,
        sent: Instant,
        parts: &mpsc::Sender<Part>,
    ) -> Result<Answered, Fault> {
        let cancel = CancellationToken::new();
        let _stop = cancel.clone().drop_guard();
        let (sender, mut chunks) = mpsc::channel::<Bytes>(CHUNKS);
        let work = self.perform(self.own_job(order.clone(), asking), sender, cancel);
        tokio::pin!(work);
        let answered = loop {
            tokio::select! {
                biased;
                Some(chunk) = chunks.recv() => coming.take(chunk, sent, parts).await,
                answered = &mut work => break answered,
            }
        };
        while let Ok(chunk) = chunks.try_recv() {
            coming.take(chunk, sent, parts).await;
        }
        answered
    }

    #[expect(clippy::too_many_arguments, reason = "each is a different thing that one call needs")]
    async fn ask_there(
        &self,
        target: &Target,
        order: &Verified<Order>,
        asking: Asking,
        chain: &[Verified<Grant>],
        deadline: Instant,
        coming: &mut Coming,
        sent: Instant,
        parts: &mpsc::Sender<Part>,
    ) -> Result<(Answered, String), Fault> {
        self.outbound.introduce(target.node).await?;
        let call = Call {
            order: order.signed().clone(),
            chain: chain.iter().map(|grant| grant.signed().clone()).collect(),
            salt: asking.salt,
            arguments: asking.arguments,
            issuers: Vec::new(),
        };
        let left = deadline.saturating_duration_since(Instant::now());
        let mut answer = self.outbound.open(target.node, kind::CALL, &call, left).await?;
        let path = self.outbound.path(target.node);
        while let Some(chunk) = answer.chunk().await {
            coming.take(chunk, sent, parts).await;
            if coming.bytes > MAX_BYTES {
                return Err(Fault::new(Refusal::TooLarge, "the answer is longer than was asked for"));
            }
        }
        let carried = answer.is_carried();
        let end = answer.finish().await.map_err(outbound::fault)?;
        let path = if carried { self.outbound.carried_path(target.node).unwrap_or(path) } else { path };
        let answered = Answered::from_bytes(&end, limits::MESSAGE)
            .map_err(|error| Fault::new(Refusal::Malformed, format!("the end of the answer is not valid: {error}")))?;
        Ok((answered, path))
    }

    /// Checks what came, keeps it, and acknowledges it.
    async fn finish(
        &self,
        target: &Target,
        order: &Verified<Order>,
        answered: Answered,
        mut coming: Coming,
        path: String,
    ) -> Result<view::Asked, Fault> {
        let unproven = |what: &str| Fault::new(Refusal::Signature, format!("the answer is not proven: {what}"));
        let outcome = answered.outcome.verify().map_err(|error| unproven(&error.to_string()))?;
        let agent = answered.agent.verify(self.clock.now()).map_err(|refusal| unproven(refusal.message()))?;
        check_outcome(&outcome, order, &agent).map_err(|_| unproven("another agent signed it"))?;
        if agent.owner() != target.owner {
            return Err(unproven("the agent belongs to somebody else"));
        }
        if !store::revocations::stands(&self.store.view()?, &agent) {
            return Err(unproven("the agent's certificate was revoked"));
        }
        if Digest(coming.hash.clone().finalize().into()) != outcome.answer || outcome.bytes != coming.bytes {
            return Err(unproven("its bytes are not those that the agent signed"));
        }
        let acknowledgement =
            self.me.sign(Acknowledgement { outcome: outcome.id(), bytes: coming.bytes, at: self.clock.now() });
        self.keep(order.id(), &outcome, &answered, acknowledgement.signed().as_bytes().to_vec(), &mut coming).await?;
        if target.node != self.me.node() {
            self.receipts.acknowledge(target.node, order.id(), acknowledgement);
        }
        self.bus.say("call.answered", super::told(order, outcome.status.as_str()));
        Ok(view::Asked {
            answer: String::from_utf8_lossy(&coming.kept).into_owned(),
            from: outcome.agent.to_string(),
            owner: agent.owner().to_string(),
            path,
            rtt_ms: coming.first.map_or(0, |first| u64::try_from(first.as_millis()).unwrap_or(u64::MAX)),
            receipt: order.id().to_string(),
            verified: true,
            status: outcome.status.as_str().to_owned(),
        })
    }

    async fn keep(
        &self,
        id: Digest,
        outcome: &Verified<Outcome>,
        answered: &Answered,
        acknowledgement: Vec<u8>,
        coming: &mut Coming,
    ) -> Result<(), Fault> {
        let (signed, certificate) = (outcome.signed().as_bytes().to_vec(), answered.agent.to_bytes());
        let (answer, now, status) = (coming.kept.clone(), self.clock.now(), outcome.status.as_str());
        let (actor, bytes) = (outcome.agent.0, outcome.bytes);
        self.store
            .write(move |tx| {
                if let Some(mut receipt) = receipts::get(tx, &id)? {
                    receipt.outcome = Some(signed);
                    receipt.acknowledgement = Some(acknowledgement);
                    receipt.certificates.push(certificate);
                    receipt.answer = answer;
                    receipts::put(tx, &receipt)?;
                }
                let entry = Entry::new("call", "answered", now).by(Some(actor)).on(id);
                tx.audit(entry.with("status", status).with("bytes", bytes))?;
                Ok::<_, store::StoreError>(())
            })
            .await?;
        Ok(())
    }
}

/// Refusals after which it is worth asking where the agent is now; none of them comes after the call has run.
fn may_have_moved(refusal: Refusal) -> bool {
    matches!(refusal, Refusal::Denied | Refusal::NotFound | Refusal::Revoked | Refusal::Unreachable)
}

pub(super) fn is_about_grant(refusal: Refusal) -> bool {
    matches!(
        refusal,
        Refusal::Budget
            | Refusal::Revoked
            | Refusal::Expired
            | Refusal::Arguments
            | Refusal::Capability
            | Refusal::Denied
    )
}
