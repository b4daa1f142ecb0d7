//! Hello, requests, refusals, and the end of sessions.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use klp::hello::Extras;
use klp::message::Answer;
use klp::statement::certificate::{Certificate, Introduction, Kind, Right};
use klp::{Digest, OwnerId, Refusal, Timestamp, limits};
use mesh::{Config, DialError, Event, Registry, Role, Tls};
use tokio::net::TcpSocket;

use crate::reach::socket;
use crate::support::{LONG, Node, address, eventually, id, key, node, start, within};

pub(crate) fn introduction(owner: u8, subject: u8) -> Introduction {
    let now = Timestamp(1_800_000_000_000);
    let certificate = Certificate {
        subject: id(subject).0,
        kind: Kind::Node,
        owner: OwnerId(key(owner).did()),
        node: None,
        rights: vec![Right::Serve],
        issued: now,
        expires: now.after(Duration::from_secs(3600)),
        seq: 1,
        next_key: Digest([0; 32]),
    };
    Introduction::make(certificate, &key(owner), &key(subject), now)
}

#[tokio::test]
async fn s08_k1_contacts_are_introduced_and_strangers_are_not() {
    let (friend, stranger) = (id(2), id(3));
    let mine = introduction(11, 1);
    let told = mine.clone();
    let mut alice = start(1, Role::Node, |config| {
        config.introduce = Arc::new(move |node| match *node == friend {
            true => Extras {
                introduction: Some(told.clone()),
                revocations: Some(7),
                offers: ["guide.ask".to_owned()].into(),
                ..Extras::default()
            },
            false => Extras::default(),
        });
    })
    .await;
    let mut bob = start(2, Role::Node, |config| {
        let wants = ["guide.ask".to_owned(), "guide.write".to_owned()];
        config.introduce = Arc::new(move |_| Extras { wants: wants.clone().into(), ..Extras::default() });
    })
    .await;
    let mut carol = node(3).await;
    let opened = |event| if let Event::Opened { hello, .. } = event { Some(hello) } else { None };

    bob.dial(&alice).await;
    let answer = bob.mesh.request(alice.id(), "x".into(), LONG).await;
    let heard = bob.event(opened).await;
    assert_eq!(heard.node, alice.id());
    assert_eq!((heard.introduction.clone(), heard.revocations), (Some(mine), Some(7)));
    let outcomes: Vec<_> = heard.granted.iter().map(|one| (one.name.as_str(), one.answer)).collect();
    assert_eq!(outcomes, [("guide.ask", Answer::Granted), ("guide.write", Answer::Denied)]);
    let back = alice.event(opened).await;
    assert_eq!((back.node, back.session), (bob.id(), heard.session));
    assert_eq!(back.granting, heard.granted);
    drop(answer);

    carol.dial(&alice).await;
    let _answer = carol.mesh.request(alice.id(), "x".into(), LONG).await;
    let heard = carol.event(opened).await;
    assert_eq!(heard.introduction, None, "the listener says nothing to a stranger");
    assert_eq!(heard.revocations, None);
    assert!(heard.offers.is_empty() && heard.granted.is_empty());
    // Nor does the dialler: Alice asks Carol.
    let dave = start(4, Role::Node, |_| {}).await;
    assert_ne!(dave.id(), stranger);
    let mut dave = dave;
    alice.dial(&dave).await;
    let _answer = alice.mesh.request(dave.id(), "x".into(), LONG).await;
    let heard = dave.event(opened).await;
    assert_eq!((heard.introduction.clone(), heard.offers.len()), (None, 0));
}

#[tokio::test]
async fn c10_a_question_is_answered_over_every_transport() {
    let listen = ["/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1", "/ip4/127.0.0.1/tcp/0/ws", "/memory/0"];
    for (at, (listen, shown)) in listen.iter().zip(["tcp", "quic", "ws", "memory"]).enumerate() {
        let seed = 10 + 2 * u8::try_from(at).expect("small");
        let bob = start(seed, Role::Node, |config| config.listen = vec![address(listen)]).await;
        let alice = start(seed + 1, Role::Node, |config| config.listen.clear()).await;
        alice.dial(&bob).await;
        let node = bob.id();
        let _echo = bob.echo();
        assert_eq!(alice.ask(node, "over and back").await.expect("answered"), "over and back", "{shown}");
        let path = alice.mesh.path(node).expect("connected");
        assert_eq!(path.to_string(), format!("lan over {shown}"));
        let large = Bytes::from(vec![7; limits::MESSAGE]);
        let answer = within(async { alice.mesh.request(node, large.clone(), LONG).await.finish().await }).await;
        assert!(answer.expect("answered") == large, "a mebibyte over {shown}");
        assert!(within(alice.mesh.ping(node, LONG)).await.is_ok());
    }
}

#[tokio::test]
async fn c10_over_tls_whoever_dials_believes_the_web_and_those_it_was_told() {
    let made = rcgen::generate_simple_self_signed(["localhost", "127.0.0.1"].map(str::to_owned)).expect("made");
    let (chain, secret) = (made.cert.pem(), made.key_pair.serialize_pem());
    let tls = |chain: &str, secret: &str, roots: &str| {
        Tls::from_pem(chain.as_bytes(), secret.as_bytes(), roots.as_bytes()).expect("holds")
    };
    let bob = start(2, Role::Node, |config| {
        config.listen = vec![address("/ip4/127.0.0.1/tcp/0/wss")];
        config.tls = tls(&chain, &secret, "");
    })
    .await;
    let (node, at) = (bob.id(), bob.addresses()[0].clone());
    let _echo = bob.echo();
    let alice = start(1, Role::Node, |config| {
        config.listen.clear();
        config.tls = tls("", "", &chain);
    })
    .await;
    within(alice.mesh.dial(node, vec![at.clone()])).await.expect("connects");
    assert_eq!(alice.ask(node, "over and back").await.expect("answered"), "over and back");
    assert_eq!(alice.mesh.path(node).expect("connected").to_string(), "lan over ws");
    let large = Bytes::from(vec![7; limits::MESSAGE]);
    assert!(alice.send(node, large.clone()).await.expect("answered") == large, "a mebibyte over TLS");

    let at = at.to_string();
    let port = at.split('/').nth(4).expect("a port");
    let named = address(&format!("/dns4/localhost/tcp/{port}/wss"));
    let dave = start(4, Role::Node, |config| config.tls = tls("", "", &chain)).await;
    within(dave.mesh.dial(node, vec![named.clone()])).await.expect("connects by name");
    let carol = start(3, Role::Node, |_| {}).await;
    match within(carol.mesh.dial(node, vec![named])).await {
        Err(DialError::Unreachable { attempts }) => {
            assert!(attempts[0].error.contains("UnknownIssuer"), "{attempts:?}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn c10_a_listener_over_tls_without_a_certificate_is_refused_by_name() {
    let mut config = Config::new(key(1), Role::Node);
    config.listen = vec![address("/ip4/127.0.0.1/tcp/0/wss")];
    let refused = mesh::open(config, &mut Registry::default()).err().expect("refused").to_string();
    assert_eq!(refused, "/ip4/127.0.0.1/tcp/0/wss needs a certificate: set tls_cert_file and tls_key_file");
}

#[tokio::test]
async fn c17_another_node_at_the_address_hears_nothing() {
    let mut bob = node(2).await;
    let alice = node(1).await;
    let at: Vec<_> = bob
        .addresses()
        .into_iter()
        .map(|mut address| {
            address.pop();
            address
        })
        .collect();
    match within(alice.mesh.dial(id(3), at.clone())).await {
        Err(DialError::WrongNode { found, .. }) => assert_eq!(found, Some(bob.id())),
        other => panic!("{other:?}"),
    }
    let refused = alice.ask(id(3), "secret").await.expect_err("nobody there");
    assert_eq!(refused.refusal, Refusal::Unreachable);
    // Bob still serves others, and what he hears first is what they say.
    let carol = node(4).await;
    carol.dial(&bob).await;
    let (asked, heard) = tokio::join!(carol.ask(bob.id(), "hello"), async {
        let request = bob.request().await;
        let body = request.body.clone();
        request.reply.finish(Bytes::new());
        body
    });
    assert!(asked.is_ok());
    assert_eq!(heard, "hello");
}

#[tokio::test]
async fn c16_what_was_tried_in_vain_is_told() {
    let alice = node(1).await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("binds").local_addr().expect("bound").port();
    let nowhere = address(&format!("/ip4/127.0.0.1/tcp/{free}"));
    match within(alice.mesh.dial(id(2), vec![nowhere.clone()])).await {
        Err(DialError::Unreachable { attempts }) => {
            assert_eq!(attempts.len(), 1);
            assert!(attempts[0].address.to_string().starts_with(&nowhere.to_string()), "{attempts:?}");
            assert!(attempts[0].error.to_lowercase().contains("refused"), "{attempts:?}");
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(within(alice.mesh.dial(id(3), Vec::new())).await, Err(DialError::NoAddress)));
    assert!(matches!(within(alice.mesh.dial(id(1), Vec::new())).await, Err(DialError::Denied(_))));
}

#[tokio::test]
async fn s07_a_clock_that_is_off_is_refused_by_name() {
    let mut bob = start(2, Role::Node, |config| {
        let system = config.wall.clone();
        config.wall = Arc::new(move || system().after(limits::SKEW).after(Duration::from_secs(60)));
    })
    .await;
    let alice = node(1).await;
    alice.dial(&bob).await;
    assert_eq!(alice.ask(bob.id(), "x").await.expect_err("refused").refusal, Refusal::Clock);
    bob.mesh.dial(alice.id(), alice.addresses()).await.expect("connected");
    assert_eq!(bob.ask(alice.id(), "x").await.expect_err("refused").refusal, Refusal::Clock);
    while let Ok(event) = bob.events.try_recv() {
        assert!(matches!(event, Event::Reach(_)), "{event:?}");
    }
    assert!(bob.figure("kos_session_refusals_total{code=\"clock\"}") > 0);
}

#[tokio::test]
async fn refusals_arrive_with_their_words_and_a_dropped_reply_is_one() {
    let mut bob = node(2).await;
    let alice = node(1).await;
    alice.dial(&bob).await;
    let bob_id = bob.id();
    let answering = async {
        bob.request().await.reply.refuse(Refusal::Denied, "not you");
        drop(bob.request().await.reply);
        let _kept = bob.request().await;
        std::future::pending::<()>().await;
    };
    let asking = async {
        let refused = alice.ask(bob_id, "one").await.expect_err("refused");
        assert_eq!((refused.refusal, refused.message.as_str()), (Refusal::Denied, "not you"));
        assert_eq!(alice.ask(bob_id, "two").await.expect_err("refused").refusal, Refusal::Failed);
        let slow = alice.mesh.request(bob_id, "three".into(), Duration::from_millis(300)).await;
        assert_eq!(slow.finish().await.expect_err("too slow").refusal, Refusal::Timeout);
    };
    tokio::select! {
        () = answering => {}
        () = asking => {}
    }
}

#[tokio::test]
async fn s10_both_open_at_once_and_one_session_stays() {
    let (alice, bob) = (node(1).await, node(2).await);
    let (a, b) = (alice.id(), bob.id());
    alice.dial(&bob).await;
    bob.until(|state| state.peers.contains_key(&a)).await;
    let (alice, bob) = (alice.echo(), bob.echo());
    for _ in 0..20 {
        let (to_b, to_a) = within(async {
            tokio::join!(alice.mesh.request(b, "to b".into(), LONG), bob.mesh.request(a, "to a".into(), LONG))
        })
        .await;
        let (from_b, from_a) = within(async { tokio::join!(to_b.finish(), to_a.finish()) }).await;
        assert_eq!((from_b.expect("answered"), from_a.expect("answered")), ("to b".into(), "to a".into()));
    }
    eventually(|| alice.figure("kos_session_open ") == 1 && bob.figure("kos_session_open ") == 1).await;
    // It is the same one on both sides: what both ask now rides on it, and it stays.
    let ping = within(alice.mesh.ping(b, LONG)).await;
    assert!(ping.is_ok() && alice.figure("kos_session_open ") == 1);
}

#[tokio::test]
async fn what_one_side_counts_as_sent_the_other_counts_as_read() {
    let (alice, bob) = (node(1).await, node(2).await);
    alice.dial(&bob).await;
    let (id, bob) = (bob.id(), bob.echo());
    // Some of several frames, more than one write.
    let large = "x".repeat(3 * limits::FRAME);
    let many = (0..64).map(|number| alice.ask(id, if number % 8 == 0 { &large } else { "small" }));
    futures::future::join_all(many).await.into_iter().for_each(|answer| drop(answer.expect("answered")));
    let [sent, read] = ["out", "in"].map(|way| format!("kos_session_bytes_total{{way=\"{way}\"}}"));
    // A Hello is read before there is a session that counts it.
    let agree = |sent: u64, read: u64| sent.abs_diff(read) < 1024;
    eventually(|| agree(alice.figure(&sent), bob.figure(&read)) && agree(bob.figure(&sent), alice.figure(&read))).await;
    assert!(alice.figure(&sent) > 8 * large.len() as u64);
}

#[tokio::test]
async fn a_stopped_mesh_says_goodbye_and_a_restarted_one_is_asked_again() {
    let mut bob = node(2).await;
    let mut alice = node(1).await;
    alice.dial(&bob).await;
    let (bob_id, at) = (bob.id(), bob.addresses());
    // A request that is open when the stop comes is still answered.
    let answer = alice.mesh.request(bob_id, "last".into(), LONG).await;
    let request = bob.request().await;
    bob.mesh.stop();
    tokio::time::sleep(Duration::from_millis(100)).await;
    request.reply.finish("done".into());
    assert_eq!(within(answer.finish()).await.expect("answered"), "done");
    let refusal =
        alice.event(|event| if let Event::Closed { refusal, .. } = event { Some(refusal) } else { None }).await;
    assert_eq!(refusal, None, "an orderly end");
    within(&mut bob.driver).await.expect("the driver ends");
    assert!(bob.mesh.dial(id(9), Vec::new()).await.is_err(), "a stopped mesh does nothing more");
    drop(bob);

    let again = start(2, Role::Node, |config| {
        let mut at = at[0].clone();
        at.pop();
        config.listen = vec![at];
    })
    .await;
    let _echo = again.echo();
    assert_eq!(alice.ask(bob_id, "back?").await.expect("answered"), "back?");
}

#[tokio::test]
async fn dropping_the_last_handle_ends_the_driver() {
    let alice = node(1).await;
    let second = alice.mesh.clone();
    let mesh = alice.mesh;
    let mut driver = alice.driver;
    drop(mesh);
    assert!(tokio::time::timeout(Duration::from_millis(200), &mut driver).await.is_err(), "a handle is left");
    drop(second);
    within(driver).await.expect("ends");
}

/// Who has asked once and stays connected holds no place against those who come later.
#[tokio::test]
async fn s28_visitors_that_rest_make_room_for_others() {
    let host = start(1, Role::Node, |config| config.limits.incoming = 8).await;
    let (there, addresses) = (host.id(), host.addresses());
    let _echo = host.echo();
    let visit = async |visitor: &Node| loop {
        let dialled = visitor.mesh.dial(there, addresses.clone()).await;
        if dialled.is_ok() && visitor.ask(there, "hello").await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let mut visitors = Vec::new();
    for seed in 2..14 {
        let visitor = node(seed).await;
        within(visit(&visitor)).await;
        visitors.push(visitor);
    }
    // Also the first one, whose place was given away.
    within(visit(&visitors[0])).await;
}

/// How long Alice waits for an answer of Bob, who had begun their session, was killed, and came back at the same place so much later.
async fn answered_by_one_that_came_back(seed: u8, away: Duration) -> Duration {
    let alice = node(seed).await.echo();
    let bob = node(seed + 1).await;
    let (to, place) = (bob.id(), bob.addresses());
    within(alice.mesh.dial(to, place.clone())).await.expect("connects");
    bob.until(|state| state.peers.contains_key(&alice.mesh.node())).await;
    assert_eq!(bob.ask(alice.mesh.node(), "hello").await.expect("answered"), "hello");
    bob.driver.abort();
    assert!(bob.driver.await.is_err(), "killed");
    // Nobody else shall have his port meanwhile, and nobody listens there.
    let port = TcpSocket::new_v4().expect("a socket");
    port.set_reuseaddr(true).expect("a socket");
    port.bind(socket(&place[0])).expect("free");
    let mut state = alice.mesh.state();
    within(state.wait_for(|state| !state.peers.contains_key(&to))).await.expect("runs");
    tokio::time::sleep(away).await;
    drop(port);
    let _bob = start(seed + 1, Role::Node, |config| config.listen = place).await.echo();
    let begun = Instant::now();
    let answer = alice.mesh.request(to, "again".into(), LONG).await;
    assert_eq!(within(answer.finish()).await.expect("answered"), "again");
    begun.elapsed()
}

#[tokio::test]
async fn s10_a_peer_that_was_restarted_answers_soon_however_long_it_was_away() {
    let soon = Duration::from_secs(4);
    let (at_once, later) = tokio::join!(
        answered_by_one_that_came_back(21, Duration::ZERO),
        answered_by_one_that_came_back(23, Duration::from_secs(8))
    );
    assert!(at_once < soon && later < soon, "{at_once:?}, {later:?}");
}
