//! What is lost with the path that carried it: a question gets its answer where that may be had, and is not done twice.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use klp::codec::Value;
use klp::frame::{Frame, Kind};
use klp::hello::{Extras, Fresh, Greeting, Hello, ReplayWindow};
use klp::message::{Answered, Call, Cards, Empty, Grants, Request, kind};
use klp::session::{Delivery, Session};
use klp::statement::certificate::Introduction;
use klp::statement::receipt::{Outcome, Status};
use klp::{AgentId, Cbor as _, Digest, NodeId, Refusal, SecretKey, Verified, limits};
use kos_tests::puppet::now;
use kos_tests::{Person, Puppet, until};
use mesh::Multiaddr;
use mesh::raw::{Raw, RawStream};

/// What becomes of a request at its host.
enum Says {
    Body(Vec<u8>),
    Refuses(Refusal),
    /// The path breaks, and the host begins anew without what it knew.
    Breaks,
}

/// A host that keeps to the protocol, on a path that breaks when the story wants.
struct Host {
    key: SecretKey,
    asker: NodeId,
    window: ReplayWindow,
    nonce: u8,
    life: u8,
    session: Option<Session>,
}

impl Host {
    fn new(key: SecretKey, asker: NodeId) -> Self {
        Self { key, asker, window: ReplayWindow::new(), nonce: 0, life: 1, session: None }
    }

    /// Hears who is there and what it asks, one stream after the other.
    async fn serve(mut self, mut raw: Raw, mut says: impl FnMut(&Request) -> Says) {
        while let Ok(mut stream) = raw.accept().await {
            let Ok(hello) = stream.next().await else { continue };
            self.greet(&hello);
            // What rides with the Hello is read before anything is said.
            let Ok(mut frame) = stream.next().await else { continue };
            while self.hears(frame, &mut says) && self.writes(&mut stream).await {
                let Ok(next) = stream.next().await else { break };
                frame = next;
            }
            if let Some(session) = &mut self.session {
                session.detach(Duration::ZERO);
            }
        }
    }

    fn greet(&mut self, hello: &Frame) {
        assert_eq!(hello.kind, Kind::Hello);
        let me = NodeId(self.key.did());
        let theirs = Greeting::check(&hello.body, self.asker, me, None, now(), &mut self.window).unwrap();
        let (id, memory) = (theirs.session, [self.life; 8]);
        if self.session.as_ref().is_none_or(|session| session.id() != id) {
            self.session = Some(Session::new(id, memory, Duration::ZERO));
        }
        self.nonce += 1;
        let fresh = Fresh { nonce: [self.nonce; 16], now: now(), session: id, memory };
        let ours = Hello::make(&self.key, self.asker, fresh, Extras::default(), Some(&theirs));
        self.session.as_mut().unwrap().accept(ours.into(), &theirs.terms(), Duration::ZERO);
    }

    /// Whether the stream goes on.
    fn hears(&mut self, frame: Frame, says: &mut impl FnMut(&Request) -> Says) -> bool {
        let Some(session) = &mut self.session else { return false };
        session.receive(frame, Duration::ZERO);
        while let Some(delivery) = session.next_delivery() {
            let Delivery::Request { id, body } = delivery else { continue };
            match says(&Request::from_bytes(&body, limits::MESSAGE).unwrap()) {
                Says::Body(body) => session.respond(id, body.into()),
                Says::Refuses(refusal) => session.refuse(id, refusal, "as the story wants".to_owned()),
                Says::Breaks => {
                    self.session = None;
                    self.life += 1;
                    return false;
                }
            }
        }
        true
    }

    async fn writes(&mut self, stream: &mut RawStream) -> bool {
        let mut out = BytesMut::new();
        while let Some(frame) = self.session.as_mut().and_then(Session::next_frame) {
            frame.write(&mut out);
        }
        stream.write(&out).await.is_ok()
    }
}

/// An agent's answer without a word.
fn answered(call: &Call, agent: &SecretKey, certificate: Introduction) -> Says {
    let outcome = Outcome {
        order: call.order.verify().unwrap().id(),
        agent: AgentId(agent.did()),
        status: Status::Answered,
        answer: Digest::of(&[]),
        bytes: 0,
        took_ms: 0,
        finished: now(),
    };
    let outcome = Verified::sign(outcome, agent).signed().clone();
    Says::Body(Answered { outcome, agent: certificate }.to_bytes())
}

/// What Bob is asked after he has come back, in order.
type Asked = Arc<Mutex<Vec<Request>>>;

/// The orders among it.
fn orders(asked: &[Request]) -> Vec<Bytes> {
    let calls = asked.iter().filter(|request| request.kind == kind::CALL);
    calls.map(|request| Call::from_value(request.body.clone()).unwrap().order.as_bytes().to_vec().into()).collect()
}

/// Alice asks Bob's agent once, so that she knows it, and once more after he has come back over a path at whose end `says` has the first word on
/// each request; it is given the agent's key and certificate. When she has got something, it waits for `enough`.
async fn asks(
    seed: u8,
    mut says: impl FnMut(&Request, &SecretKey, &Introduction) -> Option<Says> + Send + 'static,
    enough: impl Fn(&[Request]) -> bool,
) -> (Option<Refusal>, Vec<Request>) {
    let (alice, agent) = (Person::new(&[]).await, SecretKey::from_seed(&[seed ^ 0x55; 32]));
    let card = Arc::new(Mutex::new(None));
    let shown = Arc::clone(&card);
    let honest = move |kind: &str, _: Value| match kind {
        kind::INTRODUCE => Ok(Empty.to_bytes()),
        kind::DIRECTORY => Ok(Cards { cards: shown.lock().unwrap().clone().into_iter().collect() }.to_bytes()),
        kind::GRANTS => Ok(Grants { chains: Vec::new() }.to_bytes()),
        kind::CALL => Err(Refusal::Busy),
        _ => Err(Refusal::NoHandler),
    };
    let bob = Puppet::answering(seed, honest.clone()).await;
    let certificate = bob.certify(&agent, Some(bob.node_id()));
    *card.lock().unwrap() = Some(bob.card(&agent, "house", &agent));
    alice.node.contacts.add(&bob.ticket(), "bob").await.unwrap();
    assert_eq!(alice.ask("bob/house", "is somebody there?").await.unwrap_err().refusal, Refusal::Busy);
    let key = bob.node.clone();
    bob.close();
    let status = alice.node.status().await.unwrap();
    let address: Multiaddr = status.listen[0].parse().unwrap();
    let peers = async |count| (alice.node.status().await.unwrap().peers == count).then_some(());
    until("Bob is gone", async || peers(0).await).await;

    let raw = Raw::connect(&key, address.clone()).await.unwrap();
    until("Bob is back", async || peers(1).await).await;
    let asked = Asked::default();
    let hears = Arc::clone(&asked);
    let host = Host::new(key, mesh::node_in(&address).unwrap());
    let serving = tokio::spawn(host.serve(raw, move |request| {
        hears.lock().unwrap().push(request.clone());
        let first = says(request, &agent, &certificate);
        let usual = || honest(&request.kind, request.body.clone()).map_or_else(Says::Refuses, Says::Body);
        first.unwrap_or_else(usual)
    }));
    let got = alice.ask("bob/house", "and now?").await.err().map(|fault| fault.refusal);
    until("what Bob is to hear", async || enough(&asked.lock().unwrap()).then_some(())).await;
    serving.abort();
    alice.stop().await;
    let asked = asked.lock().unwrap().clone();
    (got, asked)
}

/// The same where the path may break under the introduction, and `calls` says what becomes of each call. Returns what she got and the orders.
async fn calls(seed: u8, mut loses_introduction: bool, calls: Vec<Says>) -> (Refusal, Vec<Bytes>) {
    let mut calls = VecDeque::from(calls);
    let says = move |request: &Request, _: &SecretKey, _: &Introduction| match request.kind.as_str() {
        kind::INTRODUCE if std::mem::take(&mut loses_introduction) => Some(Says::Breaks),
        kind::CALL => Some(calls.pop_front().expect("it is not asked once more")),
        _ => None,
    };
    let (got, asked) = asks(seed, says, |_| true).await;
    (got.expect("no answer"), orders(&asked))
}

#[tokio::test(flavor = "multi_thread")]
async fn s10_what_was_lost_with_its_path_is_asked_once_more_as_it_is() {
    // Of a path that breaks before anybody has said Hello, nobody knows what it has carried. Who asks is introduced again.
    let (got, orders) = calls(151, true, vec![Says::Refuses(Refusal::State)]).await;
    assert_eq!((got, orders.len()), (Refusal::State, 1));

    // The host has forgotten what it was asked: the same order once more, which it would not carry out twice.
    let (got, orders) = calls(152, false, vec![Says::Breaks, Says::Refuses(Refusal::State)]).await;
    assert_eq!(got, Refusal::State);
    assert!(orders.len() == 2 && orders[0] == orders[1], "the very same order");

    // It did carry it out, and what came of it is lost.
    let (got, orders) = calls(153, false, vec![Says::Breaks, Says::Refuses(Refusal::Replay)]).await;
    assert_eq!((got, orders.len()), (Refusal::UnknownOutcome, 2));

    // And no more than once.
    let (got, orders) = calls(154, false, vec![Says::Breaks, Says::Breaks]).await;
    assert_eq!((got, orders.len()), (Refusal::UnknownOutcome, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn s23_an_acknowledgement_that_is_lost_with_its_session_is_said_again_where_we_are_known() {
    let (mut known, mut broken) = (false, false);
    let says = move |request: &Request, agent: &SecretKey, certificate: &Introduction| match request.kind.as_str() {
        kind::INTRODUCE => {
            known = true;
            None
        }
        kind::CALL => {
            let call = Call::from_value(request.body.clone()).unwrap();
            Some(answered(&call, agent, certificate.clone()))
        }
        kind::ACKNOWLEDGE if !std::mem::replace(&mut broken, true) => {
            known = false;
            Some(Says::Breaks)
        }
        kind::ACKNOWLEDGE if known => Some(Says::Body(Empty.to_bytes())),
        kind::ACKNOWLEDGE => Some(Says::Refuses(Refusal::Denied)),
        _ => None,
    };
    let again = |asked: &[Request]| {
        let mut kinds = asked.iter().map(|request| request.kind.as_str());
        [kind::ACKNOWLEDGE, kind::INTRODUCE, kind::ACKNOWLEDGE].iter().all(|next| kinds.any(|kind| kind == *next))
    };
    let (got, asked) = asks(155, says, again).await;
    assert_eq!((got, orders(&asked).len()), (None, 1));
}
