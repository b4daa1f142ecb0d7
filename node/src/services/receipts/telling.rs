//! Acknowledgements on their way to those who answered.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::{StreamExt, stream};
use klp::message::{Acknowledge, Empty, kind};
use klp::{NodeId, Refusal, limits};

use crate::outbound::Outbound;

/// To one node at once: a quarter of what may be in flight, so that what the owner asks next need not wait behind all of them.
const ABREAST: usize = limits::IN_FLIGHT / 4;
/// To one node, sent or not. It asks for one that it misses at its next Hello.
const WAITING: usize = 4 * limits::CALLER_QUEUE;

/// The way of acknowledgements to other nodes.
#[derive(Clone)]
pub(super) struct Telling {
    outbound: Outbound,
    waiting: Arc<Mutex<Waiting>>,
}

impl Telling {
    pub(super) fn new(outbound: Outbound) -> Self {
        Self { outbound, waiting: Arc::default() }
    }

    /// Tells a node, in the background and after what it is being told.
    pub(super) fn tell(&self, node: NodeId, told: Acknowledge) {
        if !self.lock().push(node, told) {
            return;
        }
        let telling = self.clone();
        tokio::spawn(async move {
            let next = stream::unfold((), async |()| telling.lock().next(node).map(|told| (told, ())));
            next.for_each_concurrent(ABREAST, |told| telling.say(node, told)).await;
        });
    }

    async fn say(&self, node: NodeId, told: Acknowledge) {
        let say = async || {
            self.outbound.introduce(node).await?;
            self.outbound.ask::<Empty>(node, kind::ACKNOWLEDGE, &told).await
        };
        let said = match say().await {
            // It went with a path that broke, or with the session in which they knew us. It may be said twice.
            Err(fault) if fault.refusal != Refusal::Unreachable => {
                self.outbound.introduce_anew(node);
                say().await
            }
            said => said,
        };
        if let Err(fault) = said {
            tracing::debug!(%fault, "the acknowledgement did not arrive; the other side will ask for it");
            if fault.refusal == Refusal::Unreachable {
                self.lock().forget(node);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What waits, by who is to hear it.
#[derive(Default)]
struct Waiting(BTreeMap<NodeId, VecDeque<Acknowledge>>);

impl Waiting {
    /// Whether it is the first one, and somebody has to begin.
    fn push(&mut self, node: NodeId, told: Acknowledge) -> bool {
        let first = !self.0.contains_key(&node);
        let waiting = self.0.entry(node).or_default();
        if waiting.len() < WAITING {
            waiting.push_back(told);
        }
        first
    }

    /// The one to say now. After the last one somebody has to begin anew.
    fn next(&mut self, node: NodeId) -> Option<Acknowledge> {
        let next = self.0.get_mut(&node).and_then(VecDeque::pop_front);
        if next.is_none() {
            self.0.remove(&node);
        }
        next
    }

    /// None of them would arrive.
    fn forget(&mut self, node: NodeId) {
        if let Some(waiting) = self.0.get_mut(&node) {
            waiting.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use klp::{Digest, SecretKey, Signed};

    fn node(seed: u8) -> NodeId {
        NodeId(SecretKey::from_seed(&[seed; 32]).did())
    }

    fn told(number: usize) -> Acknowledge {
        Acknowledge { order: Digest([number as u8; 32]), acknowledgement: Signed::from_bytes(Vec::new()) }
    }

    #[test]
    fn one_begins_and_those_that_come_meanwhile_are_said_in_order() {
        let (mut waiting, bob, carol) = (Waiting::default(), node(1), node(2));
        assert!(waiting.push(bob, told(1)) && !waiting.push(bob, told(2)) && waiting.push(carol, told(3)));
        for order in [1, 2] {
            assert_eq!(waiting.next(bob).map(|told| told.order), Some(Digest([order; 32])));
        }
        assert!(!waiting.push(bob, told(4)), "the one who began has not been told that it is over");
        assert!(waiting.next(bob).is_some() && waiting.next(bob).is_none());
        assert!(waiting.push(bob, told(5)), "and now somebody else begins");
        waiting.forget(bob);
        assert!(waiting.next(bob).is_none() && waiting.next(carol).is_some());
    }

    #[test]
    fn no_more_wait_than_there_is_room_for() {
        let (mut waiting, bob) = (Waiting::default(), node(1));
        for number in 0..WAITING + 7 {
            waiting.push(bob, told(number));
        }
        assert_eq!(std::iter::from_fn(|| waiting.next(bob)).count(), WAITING);
    }
}
