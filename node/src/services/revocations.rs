//! Revocations: made here, told to those concerned, learnt from others, and felt by work that runs.

mod claims;
mod owed;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use klp::message::{self, Empty, Since, kind};
use klp::statement::grant::Grant;
use klp::statement::revocation::{Revocation, RevocationHead, Target, root};
use klp::{Digest, NodeId, OwnerId, Refusal, SecretKey, Signed, Verified, limits};
use mesh::Topic;
use serde_json::json;
use store::audit::Entry;
use store::revocations::{self, Known, Revoked};
use store::{Store, StoreError, Tx};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::bus::Bus;
use crate::clock::Clock;
use crate::fault::Fault;
use crate::inbound::{Access, Caller, Inbound};
use crate::me::Me;
use crate::outbound::Outbound;
use crate::people::People;

/// How long a call under a delegated grant may wait for a delegator who would not have told this node of a revocation by itself.
const HEARING: Duration = Duration::from_secs(2);

/// Revocations.
#[derive(Clone)]
pub(crate) struct Revocations {
    store: Store,
    clock: Clock,
    bus: Bus,
    me: Me,
    people: People,
    outbound: Outbound,
    live: Arc<Mutex<Live>>,
}

#[derive(Default)]
struct Live {
    /// Work that runs under a grant.
    running: BTreeMap<Digest, BTreeMap<u64, Stop>>,
    next: u64,
    claims: claims::Claims,
    owed: owed::Owed,
}

/// How work is stopped, and that it was a revocation that did.
#[derive(Clone)]
struct Stop {
    token: CancellationToken,
    revoked: Arc<AtomicBool>,
}

/// Work under some grants; dropping it says that the work has ended.
pub(super) struct Running {
    live: Arc<Mutex<Live>>,
    number: u64,
    revoked: Arc<AtomicBool>,
}

impl Running {
    /// Whether a revocation has stopped this work.
    pub(super) fn is_revoked(&self) -> bool {
        self.revoked.load(Ordering::Relaxed)
    }
}

impl Revocations {
    pub(crate) fn new(store: Store, clock: Clock, bus: Bus, me: Me, people: People, outbound: Outbound) -> Self {
        Self { store, clock, bus, me, people, outbound, live: Arc::default() }
    }

    /// Answers questions about revocations from now on.
    pub(crate) fn open(&self, inbound: &Inbound) {
        let this = self.clone();
        inbound.answer(kind::REVOCATIONS, Access::Introduced, move |_: Caller, asked: Since| {
            let this = this.clone();
            async move { this.since(asked).await }
        });
        let this = self.clone();
        inbound.answer(kind::DELIVER_REVOCATION, Access::Anybody, move |_: Caller, told: message::Revocations| {
            let this = this.clone();
            async move {
                for signed in &told.revocations {
                    this.learn(signed).await?;
                }
                Ok::<_, Refusal>(Empty)
            }
        });
    }

    /// Denies at once, signed or not, and stops what runs. Call [`Revocations::sign`] when the owner's key is there.
    ///
    /// # Errors
    /// [`StoreError`] by name
    pub(super) async fn deny(&self, target: Digest) -> Result<(), Fault> {
        let (issuer, now) = (self.me.owner(), self.clock.now());
        self.store
            .write(move |tx| {
                if revocations::deny(tx, revocations::Target::Statement(target), issuer, now)? {
                    tx.audit(Entry::new("grant", "revoked", now).by(Some(issuer.0)).on(target))?;
                }
                Ok::<_, StoreError>(())
            })
            .await?;
        self.stop(&target);
        self.bus.say("grant.revoked", json!({ "id": target.to_string() }));
        Ok(())
    }

    /// Signs every denial that waits, renews the head, and tells those concerned.
    ///
    /// # Errors
    /// [`StoreError`] by name
    pub(super) async fn sign(&self, owner: &SecretKey) -> Result<(), Fault> {
        let (me, now, key) = (self.me.owner(), self.clock.now(), owner.clone());
        let signed = self.store.write(move |tx| sign_waiting(tx, me, &key, now)).await?;
        for (revocation, grant) in &signed {
            if let Some(grant) = grant {
                self.owe(grant, revocation.signed().clone());
                self.owe_holder(grant, revocation.signed());
            }
            self.tell(revocation);
        }
        if signed.is_empty() { Ok(()) } else { self.pay().await }
    }

    /// Tells every connected contact, and by gossip everybody who may have to know.
    fn tell(&self, revocation: &Verified<Revocation>) {
        let peers: Vec<NodeId> = self.outbound.connected().into_iter().collect();
        let told = message::Revocations { revocations: vec![revocation.signed().clone()], head: None };
        for node in peers {
            let (outbound, told) = (self.outbound.clone(), told.clone());
            tokio::spawn(async move {
                // Who does not hear it now asks at the next Hello.
                let _told: Result<Empty, Fault> = outbound.ask(node, kind::DELIVER_REVOCATION, &told).await;
            });
        }
        self.outbound.publish(Topic::Revocations, Bytes::copy_from_slice(revocation.signed().as_bytes()));
    }

    /// Learns a revocation. One of an owner that we have nothing to do with is checked and not kept.
    ///
    /// # Errors
    /// `signature` or `malformed`
    pub(crate) async fn learn(&self, signed: &Signed<Revocation>) -> Result<(), Refusal> {
        let revocation = signed.verify().map_err(|error| Refusal::from(&error))?;
        if revocation.signer() != revocation.issuer.0 {
            return Err(Refusal::Signature);
        }
        if !self.concerns(&revocation).await {
            return Ok(());
        }
        let now = self.clock.now();
        let (target, issuer) = (revocation.target, revocation.issuer);
        let row = Revoked {
            target: revocations::Target::Statement(target),
            issuer,
            at: now,
            seq: Some(revocation.seq),
            signed: Some(signed.as_bytes().to_vec()),
        };
        let new = self.store.write(move |tx| {
            let new = revocations::learn(tx, &row)?;
            if new {
                tx.audit(Entry::new("grant", "revocation_learnt", now).by(Some(issuer.0)).on(target))?;
            }
            Ok::<_, StoreError>(new)
        });
        if new.await.map_err(|error| Fault::from(error).refusal)? {
            self.stop(&target);
            self.bus.say("grant.revoked", json!({ "id": target.to_string(), "by": issuer.to_string() }));
        }
        Ok(())
    }

    /// Whether a revocation is about a grant that is kept here, or comes from somebody whom this node knows.
    async fn concerns(&self, revocation: &Revocation) -> bool {
        let (target, issuer) = (revocation.target, revocation.issuer);
        let kept = self.store.read(move |view| store::grants::get(view, &target)).await;
        issuer == self.me.owner()
            || self.people.owner(&issuer).is_some()
            || self.lock().claims.last(&issuer).is_some()
            || kept.is_ok_and(|kept| kept.is_some())
    }

    /// A node has said how many revocations its owner has made.
    pub(crate) fn claim(&self, owner: OwnerId, node: NodeId, seq: u64) {
        self.lock().claims.said(owner, node, seq);
    }

    /// A session with a node is over: what it said of its owner's revocations is no longer the last word.
    pub(crate) fn gone(&self, node: NodeId) {
        self.lock().claims.gone(node);
    }

    /// Fetches what this owner has revoked and we do not know yet, before a call under one of their grants is served.
    ///
    /// # Errors
    /// `busy` when there is a gap and it cannot be fetched now: to serve without it would serve what is revoked.
    pub(crate) async fn catch_up(&self, owner: &OwnerId) -> Result<(), Refusal> {
        if *owner == self.me.owner() {
            return Ok(());
        }
        let current = self.lock().claims.current(owner);
        let claim = match current {
            Some(claim) => Some(claim),
            // Since the start of this node, or since the last session with them, they could not have told: what they took back meanwhile
            // would be missed.
            None => self.hear(*owner).await.or_else(|| self.lock().claims.last(owner)),
        };
        let Some((claimed, node)) = claim else { return Ok(()) };
        let (owner, mut tries) = (*owner, 0);
        loop {
            let known = self.store.read(move |view| revocations::head(view, &owner)).await;
            let known = known.map_err(|error| Fault::from(error).refusal)?.map_or(0, |head| head.seq);
            if known >= claimed {
                return Ok(());
            }
            tries += 1;
            if tries > 1 + claimed / limits::LIST as u64 + 1 {
                return Err(Refusal::Busy);
            }
            self.fetch(owner, node, known).await.map_err(|_| Refusal::Busy)?;
        }
    }

    /// Asks a contact's node how many revocations its owner has made. None when there is no node to ask, or no answer in time: then
    /// what is known decides, and they tell us when they can.
    async fn hear(&self, owner: OwnerId) -> Option<(u64, NodeId)> {
        let node = self.people.owner(&owner)?.nodes.first()?.node;
        if self.lock().claims.is_silent(&owner, Instant::now()) {
            return None;
        }
        let known = self.store.read(move |view| revocations::head(view, &owner)).await.ok()?.map_or(0, |head| head.seq);
        match tokio::time::timeout(HEARING, self.fetch(owner, node, known)).await {
            Ok(Ok(seq)) => {
                self.claim(owner, node, seq);
                Some((seq, node))
            }
            _ => {
                self.lock().claims.silent(owner, Instant::now());
                None
            }
        }
    }

    /// Fetches what comes after `known`, and returns how many there are.
    async fn fetch(&self, owner: OwnerId, node: NodeId, known: u64) -> Result<u64, Fault> {
        self.outbound.introduce(node).await?;
        let asked = Since { owner, seq: known };
        let answer: message::Revocations = self.outbound.ask(node, kind::REVOCATIONS, &asked).await?;
        for signed in &answer.revocations {
            self.learn(signed).await?;
        }
        // Who has never revoked anything has no head.
        let Some(head) = answer.head else { return Ok(0) };
        let verified = head.verify().map_err(|error| Refusal::from(&error))?;
        if verified.signer() != owner.0 || verified.owner != owner {
            return Err(Refusal::Signature.into());
        }
        let now = self.clock.now();
        self.store
            .write(move |tx| {
                // Only a complete list moves the head: what is missing is asked for again.
                let targets = listed(tx, &owner)?;
                let complete = targets.len() as u64 == verified.seq && root(targets.iter()) == verified.root;
                if complete {
                    revocations::set_head(tx, &known_head(&verified, now))?;
                }
                Ok::<_, StoreError>(verified.seq)
            })
            .await
            .map_err(Fault::from)
    }

    async fn since(&self, asked: Since) -> Result<message::Revocations, Refusal> {
        if asked.owner != self.me.owner() {
            return Err(Refusal::Denied);
        }
        let found = self.store.read(move |view| {
            let mut rows = revocations::list(view, Some(&asked.owner))?;
            rows.retain(|row| row.seq.is_some_and(|seq| seq > asked.seq));
            rows.sort_by_key(|row| row.seq);
            let head = revocations::head(view, &asked.owner)?;
            Ok::<_, StoreError>((rows, head))
        });
        let (rows, head) = found.await.map_err(|error| Fault::from(error).refusal)?;
        let signed = rows.into_iter().filter_map(|row| row.signed).take(limits::LIST).map(Signed::from_bytes);
        Ok(message::Revocations {
            revocations: signed.collect(),
            head: head.map(|head| Signed::from_bytes(head.signed)),
        })
    }

    /// Stops whatever runs under this grant.
    fn stop(&self, grant: &Digest) {
        for stop in self.lock().running.remove(grant).unwrap_or_default().into_values() {
            stop.revoked.store(true, Ordering::Relaxed);
            stop.token.cancel();
        }
    }

    /// Stops `cancel` when one of these grants is revoked, as long as the returned value lives.
    pub(super) fn watch(&self, grants: impl Iterator<Item = Digest>, cancel: &CancellationToken) -> Running {
        let mut live = self.lock();
        let number = live.next;
        live.next += 1;
        let stop = Stop { token: cancel.clone(), revoked: Arc::default() };
        for grant in grants {
            live.running.entry(grant).or_default().insert(number, stop.clone());
        }
        Running { live: Arc::clone(&self.live), number, revoked: stop.revoked }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        live.running.retain(|_, work| {
            work.remove(&self.number);
            !work.is_empty()
        });
    }
}

fn listed(tx: &Tx, owner: &OwnerId) -> Result<Vec<Digest>, StoreError> {
    let mut rows = revocations::list(tx, Some(owner))?;
    rows.retain(|row| row.seq.is_some());
    rows.sort_by_key(|row| row.seq);
    Ok(rows
        .into_iter()
        .filter_map(|row| match row.target {
            revocations::Target::Statement(id) => Some(id),
            revocations::Target::Key(_) => None,
        })
        .collect())
}

fn known_head(head: &Verified<RevocationHead>, now: klp::Timestamp) -> Known {
    Known { owner: head.owner, seq: head.seq, root: head.root, signed: head.signed().as_bytes().to_vec(), fetched: now }
}

/// A revocation, and the grant that it ends.
type SignedOff = (Verified<Revocation>, Option<Verified<Grant>>);

fn sign_waiting(
    tx: &mut Tx,
    owner: OwnerId,
    key: &SecretKey,
    now: klp::Timestamp,
) -> Result<Vec<SignedOff>, StoreError> {
    let waiting = revocations::unsigned(tx, &owner)?;
    let mut seq = revocations::head(tx, &owner)?.map_or(0, |head| head.seq);
    let mut signed = Vec::new();
    for row in waiting {
        let revocations::Target::Statement(target) = row.target else { continue };
        seq += 1;
        let statement = Revocation { issuer: owner, kind: Target::Grant, target, seq, issued: now };
        let revocation = Verified::sign(statement, key);
        let bytes = revocation.signed().as_bytes().to_vec();
        revocations::learn(tx, &Revoked { seq: Some(seq), signed: Some(bytes), ..row })?;
        tx.audit(Entry::new("grant", "revocation_signed", now).by(Some(owner.0)).on(target).with("seq", seq))?;
        let grant = store::grants::get(tx, &target)?.map(|held| Signed::<Grant>::from_bytes(held.signed));
        signed.push((revocation, grant.and_then(|grant| grant.verify().ok())));
    }
    if !signed.is_empty() {
        let root = root(listed(tx, &owner)?.iter());
        let head = Verified::sign(RevocationHead { owner, seq, root, issued: now }, key);
        revocations::set_head(tx, &known_head(&head, now))?;
    }
    Ok(signed)
}
