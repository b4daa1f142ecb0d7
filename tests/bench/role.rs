//! What a process of a case does: answer, or ask.

use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

use crate::case::{Case, Peer};
use crate::load::{Caller, drive};
use crate::proof::{Answering, Asking};
use crate::side::{hear, say};
use crate::stream::{Direct, Plain, Shared, echo};
use crate::{door, nats, quic, request_response, session};

/// How long a load runs before it is measured.
const WARM: Duration = Duration::from_millis(300);
/// A side that is not told to end ends by itself.
const LIFE: Duration = Duration::from_secs(300);

/// Runs a role as a task beside its others, so that nothing goes from thread to thread only because of where it began.
pub(crate) fn run(work: impl Future<Output = ()> + Send + 'static) {
    run_here(async { tokio::spawn(work).await.unwrap() });
}

/// Runs a role; it ends after a while, also when nobody tells it to.
pub(crate) fn run_here(work: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    // Out of time, whoever waits for a line hears the end of the process instead.
    let _in_time = runtime.block_on(async { tokio::time::timeout(LIFE, work).await });
    runtime.shutdown_background();
}

/// Answers, and says where.
pub(crate) async fn serve(case: Case, broker: String) {
    let answering = Answering::new(case.signed);
    let ended = async {
        // Nothing is said to a server: its input ends when it is not wanted any more.
        while hear().await.is_some() {}
    };
    let work = async {
        match case.peer {
            Peer::Tcp => {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                say(&listener.local_addr().unwrap().to_string());
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let (from, to) = stream.into_split();
                // In a task, so that it runs where the others' work runs.
                tokio::spawn(echo(from, to)).await.unwrap();
            }
            Peer::Quinn => {
                let (endpoint, address) = quic::listen();
                say(&address);
                let connection = endpoint.accept().await.unwrap().await.unwrap();
                let (to, from) = connection.accept_bi().await.unwrap();
                tokio::spawn(echo(from, to)).await.unwrap();
            }
            Peer::RequestResponse => request_response::serve(answering).await,
            Peer::Session | Peer::SessionQuic => {
                let listen =
                    if case.peer == Peer::Session { "/ip4/127.0.0.1/tcp/0" } else { "/ip4/127.0.0.1/udp/0/quic-v1" };
                let (mesh, events) = session::open(&[listen]).await;
                say(&session::address(&mesh).to_string());
                session::answer(events, answering).await;
            }
            Peer::Door => {
                let (_person, address) = door::open().await;
                say(&address);
                std::future::pending::<()>().await;
            }
            Peer::Nats => nats::echo(&broker).await,
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = ended => {}
        () = work => {}
    }
}

/// Asks: warms up, says `ready`, waits for a line, measures, says `done`, waits for another, and says what it found.
pub(crate) async fn ask(case: Case, address: String, time: Duration) {
    match case.peer {
        Peer::Tcp => {
            let stream = TcpStream::connect(&address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let (from, to) = stream.into_split();
            if case.in_flight == 1 {
                measure(case, Direct::new(from, to), time).await;
            } else {
                measure(case, Shared::new(from, to, Plain), time).await;
            }
        }
        Peer::Quinn => {
            let (_endpoint, connection) = quic::connect(&address).await;
            let (to, from) = connection.open_bi().await.unwrap();
            if case.in_flight == 1 {
                measure(case, Direct::new(from, to), time).await;
            } else {
                measure(case, Shared::new(from, to, Plain), time).await;
            }
        }
        Peer::RequestResponse => measure(case, request_response::Asker::connect(&address).await, time).await,
        Peer::Session | Peer::SessionQuic => measure(case, session::Asker::connect(&address).await, time).await,
        Peer::Door => measure(case, door::Asker::connect(&address).await, time).await,
        Peer::Nats => {
            let (from, to) = nats::connect(&address, nats::Inbox::SUBJECT).await.into_split();
            measure(case, Shared::new(from, to, nats::Inbox), time).await;
        }
    }
}

async fn measure(case: Case, caller: impl Caller, time: Duration) {
    let asking = Asking::new(case.signed);
    drive(&caller, &asking, case.in_flight, WARM).await;
    say("ready");
    hear().await;
    let times = drive(&caller, &asking, case.in_flight, time).await;
    say("done");
    // Its CPU time can be read as long as it is there.
    hear().await;
    say(&times.figures().to_json().to_string());
}
