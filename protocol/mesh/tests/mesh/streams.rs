//! Chunks, credit, cancelling, and floods.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use klp::{Refusal, limits};
use mesh::{Event, Role};

use crate::support::{LONG, eventually, node, start, within};

#[tokio::test]
async fn s11_ten_thousand_chunks_wait_for_a_slow_reader_in_bounded_memory() {
    const CHUNKS: usize = 10_000;
    let mut bob = node(2).await;
    let alice = node(1).await;
    alice.dial(&bob).await;
    let sent = Arc::new(AtomicUsize::new(0));
    let mut answer = alice.mesh.request(bob.id(), "stream".into(), LONG).await;
    let request = bob.request().await;
    let counted = sent.clone();
    let writer = tokio::spawn(async move {
        for n in 0..CHUNKS {
            let chunk = Bytes::from(n.to_be_bytes().repeat(100));
            request.reply.chunk(chunk).await.expect("somebody reads");
            counted.fetch_add(1, Ordering::SeqCst);
        }
        request.reply.finish("end".into());
    });
    // Nobody reads: the writer stops at the window.
    let window = limits::UNREAD / (800 + klp::frame::HEADER);
    eventually(|| sent.load(Ordering::SeqCst) >= window).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(sent.load(Ordering::SeqCst), window, "not one chunk more than the window");
    // A slow reader gets every one, in order.
    for n in 0..CHUNKS {
        let chunk = within(answer.chunk()).await.expect("a chunk");
        assert_eq!(chunk, n.to_be_bytes().repeat(100));
        assert!(sent.load(Ordering::SeqCst) <= n + 1 + window);
        if n % 1000 == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    assert_eq!(within(answer.chunk()).await, None);
    assert_eq!(within(answer.finish()).await.expect("answered"), "end");
    writer.await.expect("wrote");
}

#[tokio::test]
async fn a_large_chunk_arrives_in_pieces() {
    let mut bob = node(2).await;
    let alice = node(1).await;
    alice.dial(&bob).await;
    let mut answer = alice.mesh.request(bob.id(), "stream".into(), LONG).await;
    let request = bob.request().await;
    let large = Bytes::from((0..1_000_000u32).map(|n| n.to_le_bytes()[0]).collect::<Vec<_>>());
    let sent = large.clone();
    tokio::spawn(async move {
        request.reply.chunk(sent).await.expect("somebody reads");
        request.reply.finish(Bytes::new());
    });
    let mut joined = Vec::new();
    while let Some(chunk) = within(answer.chunk()).await {
        assert!(chunk.len() <= limits::FRAME);
        joined.extend_from_slice(&chunk);
    }
    assert!(joined == large, "all of it, in order");
}

#[tokio::test]
async fn cancelling_reaches_the_one_who_works() {
    let mut bob = node(2).await;
    let alice = node(1).await;
    alice.dial(&bob).await;
    let answer = alice.mesh.request(bob.id(), "long work".into(), LONG).await;
    let request = bob.request().await;
    assert!(!request.reply.is_cancelled());
    drop(answer);
    within(request.reply.cancelled()).await;
    assert!(request.reply.chunk("too late".into()).await.is_err());
    // Also while it waits for a reader.
    let answer = alice.mesh.request(bob.id(), "stream".into(), LONG).await;
    let request = bob.request().await;
    let writer =
        tokio::spawn(async move { while request.reply.chunk(Bytes::from(vec![0; limits::FRAME])).await.is_ok() {} });
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop(answer);
    within(writer).await.expect("the writer stops");
}

/// House rule: nobody on the way up waits for the way down.
#[tokio::test]
async fn a_flood_with_room_for_one_event_locks_nobody() {
    const CALLS: usize = 90;
    let tight = |config: &mut mesh::Config| config.limits.events = 1;
    let (alice, mut bob, carol) =
        (start(1, Role::Node, tight).await, start(2, Role::Node, tight).await, start(3, Role::Node, tight).await);
    alice.dial(&bob).await;
    bob.dial(&carol).await;
    let (bob_id, carol_id) = (bob.id(), carol.id());
    let _carol = carol.echo();
    // Bob waits for Carol's answer inside his own loop, which is the worst that an owner can do.
    let serving = tokio::spawn(async move {
        while let Some(event) = bob.events.recv().await {
            if let Event::Request(request) = event {
                let asked = bob.mesh.request(carol_id, request.body.clone(), LONG).await.finish().await;
                request.reply.finish(asked.expect("Carol answers"));
            }
        }
    });
    let calls = (0..CALLS).map(|n| {
        let mesh = alice.mesh.clone();
        tokio::spawn(async move {
            let body = Bytes::from(n.to_be_bytes().to_vec());
            mesh.request(bob_id, body.clone(), LONG).await.finish().await.expect("answered") == body
        })
    });
    let mut answered = 0;
    for call in calls.collect::<Vec<_>>() {
        answered += usize::from(within(call).await.expect("asked"));
    }
    assert_eq!(answered, CALLS);
    serving.abort();
}

#[tokio::test]
async fn s11_the_callers_queue_is_bounded_and_then_busy() {
    let bob = node(2).await;
    let alice = node(1).await;
    alice.dial(&bob).await;
    let most = limits::IN_FLIGHT + limits::CALLER_QUEUE;
    let mut waiting = Vec::new();
    // Bob reads nothing, so nothing is answered.
    let refused = loop {
        let mut answer = Box::pin(alice.mesh.request(bob.id(), "work".into(), LONG).await.finish());
        tokio::select! {
            biased;
            ended = &mut answer => break ended.expect_err("nobody answers"),
            () = std::future::ready(()) => waiting.push(answer),
        }
        assert!(waiting.len() <= most);
        if waiting.len() % 50 == 0 {
            tokio::task::yield_now().await;
        }
    };
    assert_eq!(refused.refusal, Refusal::Busy);
    assert!(waiting.len() >= limits::CALLER_QUEUE);
}

/// Passes bytes on between whoever connects and `to`, until it is told to cut everything.
async fn wire_cutter(to: std::net::SocketAddr) -> (std::net::SocketAddr, tokio::sync::watch::Sender<u32>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let at = listener.local_addr().expect("bound");
    let (cut, cuts) = tokio::sync::watch::channel(0);
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let mut cuts = cuts.clone();
            cuts.mark_unchanged();
            tokio::spawn(async move {
                let mut far = tokio::net::TcpStream::connect(to).await.expect("connects");
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                    _ = cuts.changed() => {}
                }
            });
        }
    });
    (at, cut)
}

#[tokio::test]
async fn s10_a_request_survives_its_connection_and_runs_once() {
    let mut bob = node(2).await;
    let alice = node(1).await;
    let port = match bob.addresses()[0].to_string().split('/').nth(4).and_then(|port| port.parse::<u16>().ok()) {
        Some(port) => port,
        None => panic!("{:?}", bob.addresses()),
    };
    let (at, cut) = wire_cutter(([127, 0, 0, 1], port).into()).await;
    let through = crate::support::address(&format!("/ip4/127.0.0.1/tcp/{}", at.port()));
    within(alice.mesh.dial(bob.id(), vec![through])).await.expect("connects");

    let mut answer = alice.mesh.request(bob.id(), "stream".into(), LONG).await;
    let request = bob.request().await;
    let writer = tokio::spawn(async move {
        for n in 0..200u8 {
            request.reply.chunk(Bytes::from(vec![n; 10_000])).await.expect("somebody reads");
        }
        request.reply.finish("end".into());
    });
    for n in 0..200u8 {
        assert_eq!(within(answer.chunk()).await.expect("a chunk"), vec![n; 10_000]);
        if n % 60 == 50 {
            cut.send_modify(|cuts| *cuts += 1);
        }
    }
    assert_eq!(within(answer.chunk()).await, None);
    assert_eq!(within(answer.finish()).await.expect("answered"), "end");
    writer.await.expect("wrote all");
    assert!(alice.figure("kos_session_moves_total") >= 1, "it did move");
    while let Ok(event) = bob.events.try_recv() {
        assert!(!matches!(event, Event::Request(_)), "it ran once");
    }
}
