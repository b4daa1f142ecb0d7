//! What is ours with a whole node behind it: each request passes the door, which looks up whose it is and whether that still holds, and spends nothing.

use std::sync::Arc;

use bytes::Bytes;
use klp::message::{Empty, Request, kind};
use klp::{Cbor as _, NodeId, Refusal, codec, limits};
use kos_tests::{Person, Puppet};
use mesh::Multiaddr;
use node::inbound::Access;

use crate::load::Caller;
use crate::session::LONG;

const KIND: &str = "org.example.echo";

/// Somebody whose node answers an echo, and where it listens.
pub(crate) async fn open() -> (Person, String) {
    let person = Person::new(&[]).await;
    let echo = |_, body: codec::Bytes| async { Ok::<_, Refusal>(body) };
    person.node.inbound().answer(KIND, Access::Introduced, echo);
    let address = person.node.status().await.unwrap().listen.swap_remove(0);
    (person, address)
}

/// Asks as somebody who has said whose node it is.
#[derive(Clone)]
pub(crate) struct Asker {
    puppet: Arc<Puppet>,
    node: NodeId,
}

impl Asker {
    /// Connects, and says who it is.
    pub(crate) async fn connect(address: &str) -> Self {
        let puppet = Arc::new(Puppet::open(74).await);
        let address: Multiaddr = address.parse().unwrap();
        let node = mesh::node_in(&address).unwrap();
        puppet.mesh().dial(node, vec![address]).await.unwrap();
        let _known: Empty = puppet.ask(node, kind::INTRODUCE, &puppet.introduction).await.unwrap();
        Self { puppet, node }
    }
}

impl Caller for Asker {
    async fn call(&self, body: Bytes) -> Bytes {
        let request = Request::new(KIND, &codec::Bytes(body.to_vec())).to_bytes();
        let answer = self.puppet.mesh().request(self.node, request.into(), LONG).await.finish().await.unwrap();
        codec::Bytes::from_bytes(&answer, limits::MESSAGE).unwrap().0.into()
    }
}
