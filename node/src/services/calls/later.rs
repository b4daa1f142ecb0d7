//! Asking what has waited: at most once, whatever happened the last time.

use std::time::Duration;

use klp::statement::grant::Grant;
use klp::statement::receipt::{Order, Status};
use klp::{Cbor as _, Digest, OwnerId, Refusal, Signed, Timestamp, Verified, limits};
use store::audit::Entry;
use store::outbox::{self, Question, State};
use store::receipts::{self, Role};
use store::{StoreError, Tx, View};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::coming::Coming;
use super::whom::Target;
use super::{Ask, CHUNKS, Calls, Part};
use crate::address::{Address, Who};
use crate::fault::Fault;
use crate::services::receipts::Asking;
use crate::view;

/// The answer of a question that has waited is here: its end, in the change that keeps the answer.
pub(super) fn answered(tx: &mut Tx, id: &Digest, status: Status, now: Timestamp) -> Result<(), StoreError> {
    let (state, why) = match status {
        Status::Answered => (State::Answered, None),
        status => {
            let message = format!("the agent began it, and it ended as {}", status.as_str());
            (State::Failed, Some((u64::from(Refusal::Failed.number()), message)))
        }
    };
    if outbox::end(tx, id, state, why, now)?.is_some() {
        tx.audit(Entry::new("queue", state.as_str(), now).on(id).with("status", status.as_str()))?;
    }
    Ok(())
}

/// What was sent the last time.
struct Sent {
    order: Verified<Order>,
    asking: Asking,
    chain: Vec<Verified<Grant>>,
    owner: OwnerId,
}

/// An order as it was sent, and all that goes with it.
fn sent(view: &View, order: &Digest) -> Result<Option<Sent>, StoreError> {
    let Some(receipt) = receipts::get(view, order)? else { return Ok(None) };
    let owner = OwnerId(receipt.other);
    let order = Signed::<Order>::from_bytes(receipt.order).verify().ok();
    let asking = Asking::from_bytes(&receipt.request, limits::MESSAGE).ok();
    let Some((order, asking)) = order.zip(asking) else { return Ok(None) };
    let links = order.grant.map(|grant| store::grants::chain(view, &grant)).transpose()?.unwrap_or_default();
    let chain = links.into_iter().filter_map(|link| Signed::<Grant>::from_bytes(link.signed).verify().ok()).collect();
    Ok(Some(Sent { order, asking, chain, owner }))
}

impl Calls {
    /// Asks what has waited. An order that may have been carried out is sent again as it is, for its node runs none twice; a new one is
    /// made only when there is no such order.
    ///
    /// # Errors
    /// Why there is no answer. Whether it may have been done nevertheless stands with the question.
    pub(in crate::services) async fn deliver(&self, question: &Question) -> Result<view::Asked, Fault> {
        let deadline = Instant::now() + Duration::from_millis(question.patience);
        let work = async {
            match question.order {
                Some(order) => self.send_again(question.id, order, deadline).await,
                None => self.send(question, deadline).await,
            }
        };
        tokio::time::timeout_at(deadline, work).await.unwrap_or_else(|_| Err(Refusal::Timeout.into()))
    }

    async fn send(&self, question: &Question, deadline: Instant) -> Result<view::Asked, Fault> {
        if self.people.owner(&question.owner).is_none() {
            let message = format!("{} is no contact any more", question.owner.0.short());
            return Err(Fault::new(Refusal::NotFound, message).hint("add them again with `kos contact add`"));
        }
        let address = Address { who: Who::Did(question.to), agent: question.agent.clone() };
        let target = self.resolve(&address).await?;
        let ask = Ask {
            who: question.who.clone(),
            capability: question.capability.clone(),
            arguments: question.arguments.clone(),
            timeout: Duration::from_millis(question.patience),
        };
        self.run(&target, &ask, Some(question.id), deadline, &nobody()).await
    }

    async fn send_again(&self, id: Digest, order: Digest, deadline: Instant) -> Result<view::Asked, Fault> {
        let found = self.store.read(move |view| sent(view, &order)).await?;
        let Sent { order, asking, chain, owner } = found.ok_or(Refusal::UnknownOutcome)?;
        if self.clock.now() >= order.expires {
            return Err(Refusal::UnknownOutcome.into());
        }
        let target = Target { owner, node: order.node, agent: order.agent };
        self.outbound.introduce(target.node).await?;
        let _under_way = self.receipts.begin(order.id(), Role::Asked);
        let (now, mut coming) = (Instant::now(), Coming::new());
        let came = self.ask_there(&target, &order, asking, &chain, deadline, &mut coming, now, &nobody()).await;
        let (answered, path) = came?;
        self.finish(&target, &order, answered, coming, path, Some(id)).await
    }

    /// Until when the order of a question may still be sent again.
    pub(in crate::services) async fn lives_until(&self, order: Digest) -> Result<Timestamp, Fault> {
        let receipt = self.store.read(move |view| receipts::get(view, &order)).await?;
        let order = receipt.and_then(|receipt| Signed::<Order>::from_bytes(receipt.order).verify().ok());
        Ok(order.map_or(Timestamp(0), |order| order.expires))
    }
}

/// Nobody looks at the answer while it comes.
fn nobody() -> mpsc::Sender<Part> {
    mpsc::channel(CHUNKS).0
}
