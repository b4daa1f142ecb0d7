//! Whether what a node is to listen on is free.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, UdpSocket};

use super::place::{Carrier, Place};
use super::{failed, ok};
use crate::config::Config;
use crate::view::Check;

/// One port that cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    /// The setting that asks for it.
    pub(super) setting: &'static str,
    /// Where.
    pub(super) address: String,
    /// What the system says.
    pub(super) why: String,
    /// Whether somebody else has it, or it is not to be had at all.
    pub(super) in_use: bool,
}

/// Tries each fixed port and lets it go again.
pub(super) async fn look(config: &Config) -> Vec<Taken> {
    let mut taken = Vec::new();
    for text in &config.basics.listen {
        let Some(place) = Place::of(text).filter(|place| place.port != 0) else { continue };
        if let Some(at) = place.socket() {
            taken.extend(try_one("listen", text, at, place.carrier).await);
        }
    }
    if let Some(at) = config.basics.metrics.filter(|at| at.port() != 0) {
        taken.extend(try_one("metrics", &at.to_string(), at, Carrier::Tcp).await);
    }
    taken
}

async fn try_one(setting: &'static str, text: &str, at: SocketAddr, carrier: Carrier) -> Option<Taken> {
    let tried = match carrier {
        Carrier::Tcp => TcpListener::bind(at).await.map(drop),
        Carrier::Udp => UdpSocket::bind(at).await.map(drop),
    };
    let error = tried.err()?;
    let in_use = error.kind() == io::ErrorKind::AddrInUse;
    Some(Taken { setting, address: text.to_owned(), why: error.to_string(), in_use })
}

/// What it means.
pub(super) fn verdict(runs: bool, taken: &[Taken]) -> Check {
    match taken {
        _ if runs => ok("ports", "the node listens"),
        [] => ok("ports", "what the node will listen on is free"),
        [first, ..] => {
            let all: Vec<String> = taken.iter().map(|one| format!("{} ({})", one.address, one.why)).collect();
            let flag = format!("--{}", first.setting);
            let (cause, fix) = if first.in_use {
                (
                    "another program has the port",
                    format!("stop that program, or choose another port (0 for any) with {flag}"),
                )
            } else {
                ("nothing can listen there", format!("name an address of this machine with {flag}"))
            };
            failed("ports", format!("{cause}: {}", all.join(", ")), fix)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn n12_a_taken_port_is_named_by_transport_and_a_free_one_is_not() {
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").expect("port");
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").expect("port");
        let ports = [tcp.local_addr(), udp.local_addr()].map(|at| at.expect("address").port());
        let mut config = Config::default();
        config.basics.listen =
            vec![format!("/ip4/127.0.0.1/tcp/{}", ports[0]), format!("/ip4/127.0.0.1/udp/{}/quic-v1", ports[1])];
        let taken = look(&config).await;
        assert_eq!(taken.len(), 2, "{taken:?}");
        assert!(taken.iter().all(|one| one.in_use));
        let check = verdict(false, &taken);
        assert!(check.state == "failed" && check.cause.contains(&config.basics.listen[1]), "{check:?}");
        assert_eq!(verdict(true, &taken).state, "ok", "it is the node itself that has them");
        drop((tcp, udp));
        assert_eq!(look(&config).await, []);
    }
}
