//! Asking: order, answer, outcome, acknowledgement, receipt.

use std::collections::BTreeSet;

use bytes::Bytes;
use klp::message::{Answered, Call, kind};
use klp::statement::grant::Grant;
use klp::statement::receipt::{Acknowledgement, Order, Outcome, check_outcome, request_digest};
use klp::{Cbor as _, Digest, Refusal, Verified, limits};
use sha2::Digest as _;
use store::audit::Entry;
use store::receipts::{self, Role};
use store::{StoreError, outbox};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::coming::Coming;
use super::later;
use super::whom::Target;
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

impl Calls {
    /// Asks. Dropping the receiver cancels the call, on the other side too.
    ///
    /// # Errors
    /// `invalid`, `not_found`, `denied`, `unreachable`, `busy`; later failures come as [`Part::Failed`].
    pub async fn ask(&self, ask: Ask) -> Result<mpsc::Receiver<Part>, Fault> {
        let address = Address::parse(&ask.who)?;
        Self::check(&ask)?;
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
            // A thousand may wait here at once: one place for what each holds, not one for each time that it is moved.
            let work = Box::pin(async {
                match calls.run(&target, &ask, None, deadline, &parts).await {
                    // What was shown a while ago may be elsewhere by now.
                    Err(fault) if known && may_have_moved(fault.refusal) => match calls.resolve(&address).await {
                        Ok(now) if now != target => calls.run(&now, &ask, None, deadline, &parts).await,
                        _ => Err(fault),
                    },
                    ended => ended,
                }
            });
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

    /// Whether a call may be as large as this.
    ///
    /// # Errors
    /// `too_large`
    pub(in crate::services) fn check(ask: &Ask) -> Result<(), Fault> {
        let oversized = ask.arguments.values().any(|value| value.len() > limits::ARGUMENT);
        if oversized || ask.arguments.len() > limits::ARGUMENTS {
            return Err(Fault::new(
                Refusal::TooLarge,
                format!("an argument may have {} bytes, and a call {} arguments", limits::ARGUMENT, limits::ARGUMENTS),
            ));
        }
        Ok(())
    }

    /// One call, with the grants that are held for it, the newest first; for a question that has waited, or for none.
    pub(super) async fn run(
        &self,
        target: &Target,
        ask: &Ask,
        waited: Option<Digest>,
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
                match self.attempt(target, ask, waited, chain, deadline, parts).await {
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
        waited: Option<Digest>,
        chain: &[Verified<Grant>],
        deadline: Instant,
        parts: &mpsc::Sender<Part>,
    ) -> Result<view::Asked, Fault> {
        if waited.is_some() {
            // Its order is made when it can leave, so that it is fresh and there are no others that never did.
            self.outbound.introduce(target.node).await?;
        }
        let by_session = self.outbound.path_now(target.node).is_some();
        let salt = crate::entropy::bytes::<16>()?;
        let asking = Asking { salt, arguments: ask.arguments.clone() };
        let order = self.order(target, ask, &asking, chain.last().map(Verified::id))?;
        let receipt = asking.receipt(&order, &self.me.introduction(), Role::Asked, target.owner);
        let (id, now) = (order.id(), self.clock.now());
        let _under_way = self.receipts.begin(id, Role::Asked);
        let entry = Entry::new("call", "ordered", now).by(Some(self.me.owner().0)).on(target.agent).with("order", id);
        let entry = waited.iter().fold(entry, |entry, waited| entry.with("queued", waited));
        let leaves = self.store.write(move |tx| {
            if let Some(waited) = waited
                && !outbox::dispatch(tx, &waited, id, now)?
            {
                return Ok::<_, StoreError>(false);
            }
            receipts::put(tx, &receipt)?;
            tx.audit(entry)?;
            Ok(true)
        });
        if !leaves.await? {
            return Err(Refusal::Cancelled.into());
        }
        let sent = Instant::now();
        let mut coming = Coming::new();
        let came = if target.node == self.me.node() {
            self.ask_here(&order, asking, &mut coming, sent, parts).await.map(|answered| (answered, "local".to_owned()))
        } else {
            self.ask_there(target, &order, asking, chain, deadline, &mut coming, sent, parts).await
        };
        if let (Some(waited), Err(fault)) = (waited, &came)
            && was_not_done(fault.refusal, by_session)
        {
            let now = self.clock.now();
            self.store.write(move |tx| outbox::undone(tx, &waited, now)).await?;
        }
        let (answered, path) = came?;
        self.finish(target, &order, answered, coming, path, waited).await
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

    /// Asks another node. What was on its way when a path broke may be lost, and then it is asked once more, as it is: its node runs no order twice.
    #[expect(clippy::too_many_arguments, reason = "each is a different thing that one call needs")]
    pub(super) async fn ask_there(
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
        let call = Call {
            order: order.signed().clone(),
            chain: chain.iter().map(|grant| grant.signed().clone()).collect(),
            salt: asking.salt,
            arguments: asking.arguments,
            issuers: Vec::new(),
        };
        let first = self.ask_once(target, &call, deadline, coming, sent, parts).await;
        match first {
            Err(fault)
                if fault.refusal == Refusal::UnknownOutcome
                    && coming.bytes == 0
                    && self.outbound.path_now(target.node).is_some() =>
            {
                self.outbound.introduce_anew(target.node);
                let again = self.ask_once(target, &call, deadline, coming, sent, parts).await;
                again.map_err(|again| if again.refusal == Refusal::Replay { fault } else { again })
            }
            came => came,
        }
    }

    async fn ask_once(
        &self,
        target: &Target,
        call: &Call,
        deadline: Instant,
        coming: &mut Coming,
        sent: Instant,
        parts: &mpsc::Sender<Part>,
    ) -> Result<(Answered, String), Fault> {
        self.outbound.introduce(target.node).await?;
        let left = deadline.saturating_duration_since(Instant::now());
        let mut answer = self.outbound.open(target.node, kind::CALL, call, left).await?;
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
    pub(super) async fn finish(
        &self,
        target: &Target,
        order: &Verified<Order>,
        answered: Answered,
        coming: Coming,
        path: String,
        waited: Option<Digest>,
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
        let acknowledged = acknowledgement.signed().as_bytes().to_vec();
        self.keep(order.id(), &outcome, &answered, acknowledged, &coming, waited).await?;
        if target.node != self.me.node() {
            self.receipts.acknowledge(target.node, order.id(), &acknowledgement);
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
        coming: &Coming,
        waited: Option<Digest>,
    ) -> Result<(), Fault> {
        let (signed, certificate) = (outcome.signed().as_bytes().to_vec(), answered.agent.to_bytes());
        let (answer, now, outcome_status) = (coming.kept.clone(), self.clock.now(), outcome.status);
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
                if let Some(waited) = waited {
                    later::answered(tx, &waited, outcome_status, now)?;
                }
                let entry = Entry::new("call", "answered", now).by(Some(actor)).on(id);
                tx.audit(entry.with("status", outcome_status.as_str()).with("bytes", bytes))?;
                Ok::<_, StoreError>(())
            })
            .await?;
        Ok(())
    }
}

/// Refusals after which it is worth asking where the agent is now; none of them comes after the call has run.
fn may_have_moved(refusal: Refusal) -> bool {
    matches!(refusal, Refusal::Denied | Refusal::NotFound | Refusal::Revoked | Refusal::Unreachable)
}

/// Whether an order that was sent for the first time was certainly not carried out: it did not leave, or was refused before the work.
fn was_not_done(refusal: Refusal, by_session: bool) -> bool {
    let before_work = matches!(
        refusal,
        Refusal::NotFound
            | Refusal::Busy
            | Refusal::Locked
            | Refusal::State
            | Refusal::RolledBack
            | Refusal::NoHandler
            | Refusal::NotForMe
            | Refusal::Clock
            | Refusal::Version
    );
    // Over a session this means that nothing was sent; of others who carry it, only that they say so.
    is_about_grant(refusal) || before_work || (refusal == Refusal::Unreachable && by_session)
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
