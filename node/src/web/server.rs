//! The two sockets, their connections and limits.

use std::future::Future;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::serve::Listener;
use host::Stop;
use hyper::service::Service as _;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use klp::Refusal;
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::task::JoinSet;

use super::door::Door;
use super::gate::{self, Gate};
use super::guests::{Guests, Talk};
use super::routes;
use super::token::Token;
use crate::fault::Fault;
use crate::node::Node;
use crate::note;

/// Name of the socket in the home folder.
pub const SOCKET: &str = "kos.sock";
/// Name of the file in the home folder that says where the TCP port is.
const ADDRESS: &str = "api";
/// Connections at once, at each of the two ways in: a browser's six, some programs, some event listeners. When there are so many,
/// those that have shown no token make room; only behind those that have do more wait with the system.
const CONNECTIONS: usize = 128;
/// How long a client may take for the head of a request, and how long an idle connection stays.
const HEAD_WAIT: Duration = Duration::from_secs(10);
/// Bytes of a request's head.
const HEAD: usize = 32 * 1024;
/// How long running answers may go on after the stop.
const GRACE: Duration = Duration::from_secs(2);

/// Where to open.
#[derive(Clone, Debug)]
pub struct Config {
    /// The home folder: closed to other users, and held by this process.
    pub home: PathBuf,
    /// The TCP address that is wanted; when its port is taken, a free one is used instead.
    pub api: SocketAddr,
    /// Whether `api` may be an address that other machines reach.
    pub public: bool,
}

/// The open local API.
#[derive(Debug)]
pub struct Opened<F> {
    /// The TCP port's address as a link, as written to `HOME/api`.
    pub url: String,
    /// Serves until the stop is requested; nobody is answered unless it is polled.
    pub serving: F,
}

/// Opens the local API: `HOME/kos.sock` and the TCP port.
///
/// # Errors
/// `invalid` when the address is reachable from other machines without leave, cannot be bound, or the home is open to other users.
pub async fn open(
    node: Node,
    config: Config,
    stop: Stop,
) -> Result<Opened<impl Future<Output = ()> + Send + 'static>, Fault> {
    let port = bind(config.api, config.public).await?;
    let address = port.local_addr().map_err(Fault::internal)?;
    let token = Token::of_home(&config.home)?;
    let (socket, me) = bind_socket(&config.home)?;
    let url = format!("http://{address}");
    note::write(config.home.join(ADDRESS), format!("{url}\n"), &stop).await?;

    let log = node.audit.clone();
    let app = routes::app(node, url.clone(), stop.clone());
    let gated = |door| app.clone().layer(from_fn_with_state(Gate::new(door).writing_to(log.clone()), gate::pass));
    let (inside, outside) = (gated(None), gated(Some(Door::new(address, token))));
    // The socket's file stays: the next node of this home may have put its own there by the time this one ends.
    let serving = async move {
        let by_socket =
            serve(
                socket,
                inside,
                stop.clone(),
                move |peer| {
                    if is_user(peer, me) { Caller::User } else { Caller::Nobody }
                },
            );
        tokio::join!(by_socket, serve(port, outside, stop, |_| Caller::Guest));
    };
    Ok(Opened { url, serving })
}

async fn bind(wanted: SocketAddr, public: bool) -> Result<TcpListener, Fault> {
    if !wanted.ip().is_loopback() && !public {
        let message = format!("{wanted} can be reached by other machines, and whoever has the token owns this node");
        return Err(Fault::new(Refusal::Invalid, message)
            .hint("use a loopback address, or add --api-public if that is really meant"));
    }
    let listener = match TcpListener::bind(wanted).await {
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            tracing::info!(%wanted, "the local API's port is taken, using a free one");
            TcpListener::bind((wanted.ip(), 0)).await
        }
        other => other,
    };
    listener.map_err(|error| {
        Fault::new(Refusal::Invalid, format!("the local API cannot listen on {wanted}: {error}"))
            .hint("choose another address with --api ADDR")
    })
}

/// The socket, and the user it belongs to.
fn bind_socket(home: &Path) -> Result<(UnixListener, u32), Fault> {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let path = home.join(SOCKET);
    let fail = |what: &'static str| move |error: std::io::Error| Fault::internal(format_args!("{what}: {error}"));
    if std::fs::metadata(home).map_err(fail("the home folder"))?.permissions().mode() & 0o077 != 0 {
        return Err(Fault::new(Refusal::Invalid, format!("{} is open to other users", home.display()))
            .hint("run chmod 700 on it"));
    }
    // This process holds the home, so a socket in it is a dead one's.
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(fail("the old socket")(error)),
        _ => {}
    }
    let listener = UnixListener::bind(&path).map_err(|error| {
        Fault::new(Refusal::Invalid, format!("the socket {} cannot be made: {error}", path.display()))
            .hint("a socket's path has at most about 100 bytes: choose a shorter --home")
    })?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).map_err(fail("the socket"))?;
    let me = std::fs::metadata(&path).map_err(fail("the socket"))?.uid();
    Ok((listener, me))
}

fn is_user(peer: &UnixStream, user: u32) -> bool {
    let uid = peer.peer_cred().map(|peer| peer.uid());
    let known = uid.as_ref().is_ok_and(|uid| *uid == user);
    if !known {
        tracing::warn!(?uid, "another user tried the socket");
    }
    known
}

/// Who has connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// This very user.
    User,
    /// Somebody who has to show the token.
    Guest,
    /// Nobody who may say anything here.
    Nobody,
}

/// Answers connections until the stop, then lets running answers end.
pub(super) async fn serve<L: Listener>(mut listener: L, app: Router, stop: Stop, caller: impl Fn(&L::Io) -> Caller) {
    let (mut talks, mut guests) = (JoinSet::new(), Guests::default());
    loop {
        let full = talks.len() >= CONNECTIONS;
        tokio::select! {
            biased;
            () = stop.requested() => break,
            Some(_) = talks.join_next(), if !talks.is_empty() => {}
            () = guests.show_out(), if full => {}
            (stream, _) = listener.accept(), if !full => {
                guests.look();
                let talk = match caller(&stream) {
                    Caller::User => Talk::of_user(),
                    Caller::Guest => guests.welcome(),
                    Caller::Nobody => continue,
                };
                talks.spawn(converse(stream, app.clone(), stop.clone(), talk));
            }
        }
    }
    drop(listener);
    let ending = async { while talks.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, ending).await.is_err() {
        tracing::info!("connections to the local API were cut at the stop");
    }
}

async fn converse<I>(stream: I, app: Router, stop: Stop, talk: Talk)
where
    I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_WAIT).max_buf_size(HEAD);
    let (app, known) = (TowerToHyperService::new(app), talk.clone());
    let service = hyper::service::service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        // The gate tells by this that the connection has shown the token.
        request.extensions_mut().insert(known.clone());
        app.call(request)
    });
    let mut served = std::pin::pin!(http.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = talk.is_cut() => return tracing::debug!("a silent connection to the local API made room"),
        () = stop.requested() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection to the local API ended early");
    }
}

#[cfg(test)]
mod tests;
