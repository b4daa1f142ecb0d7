//! Peers that go on and on with what nobody who keeps to the protocol sends, at a real `kos`: each is refused by name each time, then sent away and
//! counted; contacts are answered meanwhile, and the node keeps its size.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use futures::future::{join_all, select};
use klp::frame::Kind;
use klp::message::{Call, Empty, Request, kind};
use klp::{AgentId, Cbor as _, Refusal, SecretKey, Signed, limits};
use kos_tests::puppet::text;
use kos_tests::{Person, Puppet, figure, memory, until};
use mesh::raw::RawGossip;

use crate::flooded::{GONE, SLOW, timed};
use crate::siege::{GROWTH, Mallory, Siege, greets, reason};

/// What is forgiven before a peer is sent away.
const FORGIVEN: u64 = 512;

impl Siege {
    /// What was held against peers of sessions so far.
    fn held_against(&self, what: &str) -> u64 {
        figure(&self.metrics, &format!("kos_door_refusals_total{{what=\"session\",reason=\"{what}\"}}"))
    }

    /// Plays an offender until it has been sent away, while `ask` is timed, and looks at what it cost.
    async fn endures(
        &self,
        what: (&str, &str),
        key: &SecretKey,
        offend: impl AsyncFn(&AtomicU64),
        ask: impl AsyncFnMut(),
    ) {
        let (what, reason) = what;
        let (held, bans) = (self.held_against(reason), figure(&self.metrics, "kos_door_bans"));
        let (over, refused) = (AtomicBool::new(false), AtomicU64::new(0));
        let gone = async {
            let banned =
                until("it is sent away", async || (figure(&self.metrics, "kos_door_bans") > bans).then_some(()));
            let offending = std::pin::pin!(offend(&refused));
            let _either = select(std::pin::pin!(banned), offending).await;
            over.store(true, Ordering::Relaxed);
        };
        let gone = async { tokio::time::timeout(GONE, gone).await.unwrap_or_else(|_| panic!("{what}: still there")) };
        let ((), mut times) = tokio::join!(gone, timed(&over, ask));
        let (middle, slow, refused) = (times.at(50), times.at(99), refused.into_inner());
        let held = self.held_against(reason) - held;
        println!("{what}: refused {refused}, held against it {held}; an ask takes {middle:?}, {slow:?} at most");
        assert!(held > FORGIVEN, "{what}: only {held} are counted");
        assert!(refused < 4 * FORGIVEN, "{what}: {refused} were heard");
        assert!(slow < SLOW, "{what}: {slow:?}");
        let again = RawGossip::connect(key, self.address.clone()).await;
        assert!(again.is_err(), "{what}: it may come back at once");
    }
}

/// Asks as often as one session may, until no answer comes any more, and counts what is refused as it must be.
async fn asks_on(refused: &AtomicU64, ask: impl AsyncFn() -> Result<Bytes, Refusal>, refusal: Refusal) {
    let one = async || {
        while ask().await == Err(refusal) {
            refused.fetch_add(1, Ordering::Relaxed);
        }
    };
    join_all((0..limits::IN_FLIGHT).map(|_| one())).await;
}

/// Opens one stream after the other with a Hello that does not hold, until there is none any more.
async fn greets_on(refused: &AtomicU64, mallory: &mut Mallory) {
    while let Ok(mut stream) = mallory.try_stream().await {
        let mut hello = mallory.hello();
        *hello.last_mut().unwrap() ^= 1;
        if stream.write(&greets(hello)).await.is_err() || reason(&mut stream, Kind::Bye).await.is_none() {
            return;
        }
        refused.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s11_whoever_goes_on_breaking_the_protocol_is_sent_away_and_contacts_are_answered_meanwhile() {
    let siege = Siege::lay().await;
    let alice = Person::new(&[]).await;
    let ticket = alice.node.contacts.ticket().await.unwrap().ticket;
    let hers = tokio::task::block_in_place(|| {
        let bob = &siege.owner;
        let house = bob.documents("house", &[("rules.md", b"# Rules\n\nThe key lies under the third pot.\n")]);
        bob.ok(&["serve", house.to_str().unwrap(), "--as", "house"]);
        bob.ok(&["contact", "add", &ticket, "--as", "alice"]);
        bob.ok(&["grant", "add", "alice", "house.ask", "--calls", "100000"]);
        bob.ticket()
    });
    alice.node.contacts.add(&hers, "bob").await.unwrap();
    let ask = async || drop(alice.ask("bob/house", "where is the key?").await.unwrap());
    until("an answer", async || alice.ask("bob/house", "where is the key?").await.ok()).await;
    let before = memory(siege.pid);

    let garbage = Puppet::open(171).await;
    garbage.mesh().dial(siege.node, vec![siege.address.clone()]).await.unwrap();
    let send = async || garbage.send(siege.node, "hello").await;
    let offend = async |refused: &AtomicU64| asks_on(refused, send, Refusal::Malformed).await;
    siege.endures(("requests that are none", "request"), &garbage.node, offend, ask).await;

    let forger = Puppet::open(172).await;
    forger.mesh().dial(siege.node, vec![siege.address.clone()]).await.unwrap();
    let _introduced: Empty = forger.ask(siege.node, kind::INTRODUCE, &forger.introduction).await.unwrap();
    let send = async || {
        let call = forger.call((siege.node, AgentId(siege.node.0)), &[], text("where is the key?"), |_| {});
        let mut order = call.order.as_bytes().to_vec();
        *order.last_mut().unwrap() ^= 1;
        let call = Call { order: Signed::from_bytes(order), ..call };
        forger.send(siege.node, Request::new(kind::CALL, &call).to_bytes()).await
    };
    let offend = async |refused: &AtomicU64| asks_on(refused, send, Refusal::Signature).await;
    siege.endures(("orders that nobody signed", "request"), &forger.node, offend, ask).await;

    let mallory = tokio::sync::Mutex::new(siege.peer(173).await);
    let key = SecretKey::from_seed(&[173; 32]);
    let offend = async |refused: &AtomicU64| greets_on(refused, &mut *mallory.lock().await).await;
    siege.endures(("Hellos that nobody signed", "stream"), &key, offend, ask).await;

    let after = memory(siege.pid);
    println!("{before} kB before and {after} kB after");
    assert!(after < before + GROWTH, "{after} kB, from {before} kB");
    garbage.close();
    forger.close();
    alice.stop().await;
    siege.down().await;
}
