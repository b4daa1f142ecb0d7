//! What is asked and answered: 256 bytes and their echo, or an order and its outcome, each signed and checked as in a call.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use klp::statement::receipt::{Order, Outcome, Status, request_digest};
use klp::{AgentId, Digest, NodeId, OwnerId, SecretKey, Signed, Verified, limits};
use kos_tests::puppet::now;

use crate::load::Caller;

/// Bytes of an unsigned question.
const BODY: usize = 256;
/// What all orders of the benchmark are salted with.
const SALT: [u8; 16] = [5; 16];

/// The keys of both sides: they follow from nothing, so that both processes have them.
#[derive(Clone)]
pub(crate) struct Keys(Arc<[SecretKey; 3]>);

impl Keys {
    pub(crate) fn new() -> Self {
        Self(Arc::new([71, 72, 73].map(|seed| SecretKey::from_seed(&[seed; 32]))))
    }

    fn caller(&self) -> &SecretKey {
        &self.0[0]
    }

    fn node(&self) -> NodeId {
        NodeId(self.0[1].did())
    }

    fn agent(&self) -> &SecretKey {
        &self.0[2]
    }
}

fn arguments() -> BTreeMap<String, String> {
    [("text".to_owned(), "where is the key of the shed?".to_owned())].into()
}

/// How one worker asks.
#[derive(Clone)]
pub(crate) enum Asking {
    /// The same bytes every time.
    Plain(Bytes),
    /// A fresh order every time, told apart by a number.
    Signed(Keys, u64),
}

impl Asking {
    pub(crate) fn new(signed: bool) -> Self {
        if signed { Self::Signed(Keys::new(), 0) } else { Self::Plain(vec![7; BODY].into()) }
    }

    /// The same for one worker of several.
    pub(crate) fn worker(&self, number: u64) -> Self {
        match self {
            Self::Plain(body) => Self::Plain(body.clone()),
            Self::Signed(keys, _) => Self::Signed(keys.clone(), number << 32),
        }
    }

    /// Asks once and checks the answer.
    pub(crate) async fn once(&mut self, caller: &impl Caller) {
        match self {
            Self::Plain(body) => assert_eq!(caller.call(body.clone()).await.len(), BODY),
            Self::Signed(keys, number) => {
                *number += 1;
                let order = order(keys, *number);
                let answer = caller.call(Bytes::copy_from_slice(order.signed().as_bytes())).await;
                let outcome = Signed::<Outcome>::from_bytes(answer.to_vec()).verify().unwrap();
                assert!(outcome.order == order.id() && outcome.signer() == order.agent.0);
            }
        }
    }
}

/// An order as a node makes it.
pub(crate) fn order(keys: &Keys, number: u64) -> Verified<Order> {
    let issued = now();
    let mut nonce = [0; 16];
    nonce[..8].copy_from_slice(&number.to_be_bytes());
    let order = Order {
        caller: OwnerId(keys.caller().did()),
        node: keys.node(),
        agent: AgentId(keys.agent().did()),
        capability: "ask".to_owned(),
        grant: None,
        request: request_digest(&SALT, "ask", &arguments()),
        max_bytes: 1 << 20,
        issued,
        expires: issued.after(limits::ORDER_LIFE),
        nonce,
    };
    Verified::sign(order, keys.caller())
}

/// How the other side answers.
#[derive(Clone)]
pub(crate) enum Answering {
    /// With what was asked.
    Echo,
    /// With a signed outcome.
    Signed(Keys),
}

impl Answering {
    pub(crate) fn new(signed: bool) -> Self {
        if signed { Self::Signed(Keys::new()) } else { Self::Echo }
    }

    /// Whether it is work, so that whoever reads questions should not do it meanwhile.
    pub(crate) fn is_work(&self) -> bool {
        matches!(self, Self::Signed(_))
    }

    /// The answer.
    pub(crate) fn to(&self, body: Bytes) -> Bytes {
        let Self::Signed(keys) = self else { return body };
        let order = Signed::<Order>::from_bytes(body.to_vec()).verify().unwrap();
        order.check(&keys.node(), &SALT, &arguments(), now()).unwrap();
        assert_eq!(order.signer(), keys.caller().did());
        let outcome = Outcome {
            order: order.id(),
            agent: order.agent,
            status: Status::Answered,
            answer: Digest([9; 32]),
            bytes: 1000,
            took_ms: 1,
            finished: now(),
        };
        Verified::sign(outcome, keys.agent()).signed().as_bytes().to_vec().into()
    }
}
