//! Answering a call: verdict, deed, outcome. The same road for a peer's call and for the owner's own.

use agent::Output;
use bytes::Bytes;
use klp::message::{Answered, Call};
use klp::statement::certificate::Introduction;
use klp::statement::receipt::{Order, Outcome, Status};
use klp::{Cbor as _, Digest, Refusal, Verified};
use sha2::{Digest as _, Sha256};
use store::audit::Entry;
use store::counters::{self, Amount};
use store::receipts::{self, Role};
use store::{StoreError, requests};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Calls;
use super::permit::{Decision, Ticked, Wanted, settle};
use crate::fault::Fault;
use crate::principal::Principal;
use crate::services::receipts::Asking;
use crate::services::revocations::Running;

/// A call whose signatures hold and which is meant for this node.
pub(super) struct Job {
    wanted: Wanted,
    asking: Asking,
    caller: Introduction,
}

/// The deed's side of an answer.
struct Done {
    status: Status,
    answer: Vec<u8>,
    digest: Digest,
    bytes: u64,
    refusal: Option<Refusal>,
}

impl Calls {
    /// Checks what a peer sent, before anything is decided.
    pub(super) async fn admit(&self, principal: &Principal, signer: klp::Did, call: Call) -> Result<Job, Refusal> {
        let now = self.clock.now();
        let order = call.order.verify().map_err(|error| Refusal::from(&error))?;
        order.check(&self.me.node(), &call.salt, &call.arguments, now)?;
        // The order is the caller's own: signed by the node that the channel authenticated, in its owner's name.
        if order.caller != principal.owner || order.signer() != signer {
            // Whoever shows a copy of a call that has run knows of it already.
            let (author, id) = (order.signer(), order.id());
            let seen = self.store.read(move |view| requests::seen(view, &author, &id)).await;
            return Err(if seen.is_ok_and(|seen| seen) { Refusal::Replay } else { Refusal::Denied });
        }
        let verified: Result<Vec<_>, _> = call.chain.iter().map(klp::Signed::verify).collect();
        let chain = verified.map_err(|error| Refusal::from(&error))?;
        let issuers = call.issuers.iter().filter_map(|issuer| issuer.verify(now).ok()).collect();
        for grant in &chain {
            self.revocations.catch_up(&grant.issuer).await?;
        }
        let wanted = Wanted {
            principal: principal.owner,
            known: principal.contact,
            owner: self.me.owner(),
            hindrance: self.agents.hindrance(&order.agent, &order.capability),
            order,
            chain,
            issuers,
            arguments: call.arguments.clone(),
        };
        let asking = Asking { salt: call.salt, arguments: call.arguments };
        Ok(Job { wanted, asking, caller: principal.introduction.clone() })
    }

    /// Decides and does it. Chunks go out through `chunks`; the end is the signed outcome.
    ///
    /// # Errors
    /// The refusal that this caller may know; then nothing was done.
    pub(super) async fn perform(
        &self,
        job: Job,
        chunks: mpsc::Sender<Bytes>,
        cancel: CancellationToken,
    ) -> Result<Answered, Fault> {
        let begun = tokio::time::Instant::now();
        if !self.store_serves(&job) {
            return Err(Refusal::RolledBack.into());
        }
        let wanted = job.wanted.clone();
        let order = job.wanted.order.clone();
        let now = self.clock.now();
        // If this node stops in the middle, its side shows the order too. A call of the owner's own is shown by the asking side.
        let own = wanted.principal == wanted.owner;
        let receipt = (!own).then(|| job.asking.receipt(&order, &job.caller, Role::Answered, wanted.principal));
        let _under_way = self.receipts.begin(order.id(), Role::Answered);
        let decided = self.store.write(move |tx| {
            let decision = settle(tx, &wanted, now)?;
            if let (Decision::Go(_), Some(receipt)) = (&decision, &receipt) {
                receipts::put(tx, receipt)?;
            }
            Ok(decision)
        });
        let ticked = match decided.await.map_err(crate::fault::of_store)? {
            Decision::Go(ticked) => ticked,
            Decision::No(refusal) => return Err(refusal.into()),
        };
        self.bus.say("call.started", super::told(&order, "given"));
        // A revocation of any grant of the chain stops the work.
        let running = self.revocations.watch(job.wanted.chain.iter().map(Verified::id), &cancel);
        self.agents.awake(&order.agent).await;
        let done = self.work(&job, &ticked, &chunks, &cancel, &running).await;
        let took = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let finished = self.clock.now();
        let outcome = Outcome {
            order: order.id(),
            agent: order.agent,
            status: done.status,
            answer: done.digest,
            bytes: done.bytes,
            took_ms: took,
            finished,
        };
        let (outcome, introduction) = self.agents.sign(&order.agent, outcome)?;
        self.close(job, ticked, done, &outcome, &introduction).await.map_err(crate::fault::of_store)?;
        self.bus.say("call.finished", super::told(&order, outcome.status.as_str()));
        Ok(Answered { outcome: outcome.signed().clone(), agent: introduction })
    }

    /// Whether this node may serve this call at all: not for others while its data is older than what it once signed.
    fn store_serves(&self, job: &Job) -> bool {
        job.wanted.principal == job.wanted.owner || matches!(self.store.condition(), store::audit::Condition::Sound)
    }

    /// The deed itself.
    async fn work(
        &self,
        job: &Job,
        ticked: &Ticked,
        chunks: &mpsc::Sender<Bytes>,
        cancel: &CancellationToken,
        running: &Running,
    ) -> Done {
        let order = &job.wanted.order;
        let mut hash = Sha256::new();
        let mut done =
            Done { status: Status::Interrupted, answer: Vec::new(), digest: Digest([0; 32]), bytes: 0, refusal: None };
        let input = agent::Input {
            id: self.number.fetch_add(1, std::sync::atomic::Ordering::Relaxed),
            capability: order.capability.clone(),
            args: job.wanted.arguments.clone(),
        };
        match self.agents.runtime().call(&order.agent, input, cancel) {
            Err(failure) => (done.status, done.refusal) = (Status::Failed, Some(failure.refusal)),
            Ok(mut answer) => {
                while let Some(output) = answer.next().await {
                    match output {
                        Output::Chunk(text) => {
                            let chunk = Bytes::from(text);
                            if done.bytes + chunk.len() as u64 > ticked.bytes {
                                (done.status, done.refusal) = (Status::Stopped, Some(Refusal::Budget));
                                break;
                            }
                            hash.update(&chunk);
                            done.bytes += chunk.len() as u64;
                            let room = receipts::ANSWER.saturating_sub(done.answer.len());
                            done.answer.extend_from_slice(&chunk[..chunk.len().min(room)]);
                            if chunks.send(chunk).await.is_err() {
                                done.status = Status::Cancelled;
                                break;
                            }
                        }
                        Output::Done(_) => done.status = Status::Answered,
                        Output::Failed { failure, .. } => {
                            done.status = match failure.refusal {
                                Refusal::Cancelled if running.is_revoked() => Status::Stopped,
                                Refusal::Cancelled => Status::Cancelled,
                                Refusal::Interrupted => Status::Interrupted,
                                _ => Status::Failed,
                            };
                            done.refusal = Some(failure.refusal);
                        }
                    }
                }
            }
        }
        done.digest = Digest(hash.finalize().into());
        done
    }

    /// The second transaction: outcome, settlement and receipt.
    async fn close(
        &self,
        job: Job,
        ticked: Ticked,
        done: Done,
        outcome: &Verified<Outcome>,
        introduction: &Introduction,
    ) -> Result<(), StoreError> {
        let Job { wanted, asking, caller } = job;
        let mut receipt = asking.receipt(&wanted.order, &caller, Role::Answered, wanted.principal);
        receipt.outcome = Some(outcome.signed().as_bytes().to_vec());
        receipt.certificates.push(introduction.to_bytes());
        receipt.answer = done.answer;
        let unspent = Amount { calls: 0, bytes: ticked.bytes.saturating_sub(done.bytes), tokens: 0 };
        let (status, signed, now) = (outcome.status, outcome.signed().as_bytes().to_vec(), self.clock.now());
        let actor = wanted.order.agent.0;
        // A call of the owner's own has its receipt written by the asking side.
        let own = wanted.principal == wanted.owner;
        self.store
            .write(move |tx| {
                counters::settle(tx, &ticked.counters, &unspent)?;
                requests::close(tx, &wanted.order.signer(), &wanted.order.id(), &signed)?;
                if !own {
                    receipts::put(tx, &receipt)?;
                }
                let entry = Entry::new("call", "finished", now).by(Some(actor)).on(wanted.order.id());
                tx.audit(entry.with("status", status.as_str()).with("bytes", done.bytes))?;
                Ok(())
            })
            .await
    }

    /// A call of the owner's own: no wire, the same road.
    pub(super) fn own_job(&self, order: Verified<Order>, asking: Asking) -> Job {
        let wanted = Wanted {
            principal: self.me.owner(),
            known: true,
            owner: self.me.owner(),
            hindrance: self.agents.hindrance(&order.agent, &order.capability),
            order,
            chain: Vec::new(),
            issuers: Vec::new(),
            arguments: asking.arguments.clone(),
        };
        Job { wanted, asking, caller: self.me.introduction() }
    }
}
