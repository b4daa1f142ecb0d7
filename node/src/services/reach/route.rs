//! Why a peer is reached as it is, and what would make it better. Pure: paths in, words out.

use mesh::{Kind, Path, Transport};

/// Why this is the best path there is.
pub(super) fn why(best: &Path, others: &[Path], tried: usize) -> String {
    let over = best.transport.as_str();
    match best.kind {
        Kind::Lan => format!("both are on one machine or in one network: {over}, with nothing in between"),
        Kind::Direct if others.iter().any(Path::is_relayed) => {
            format!("a direct connection over {over} was made beside the circuit, which is closed once nothing uses it")
        }
        Kind::Direct => format!("a direct connection over {over}; nobody is in between"),
        Kind::Relayed if tried > 0 => {
            format!("{tried} direct addresses did not answer, and no hole was punched: a relay carries it over {over}")
        }
        Kind::Relayed => {
            format!("no direct address answers, and no hole was punched yet: a relay carries it over {over}")
        }
    }
}

/// What would make it better; nothing when nothing would. `mapping` is how the router in front of this node maps UDP, `punch` why the last
/// attempt to punch a hole failed.
pub(super) fn better(best: &Path, mapping: &str, punch: Option<&str>) -> Option<String> {
    match (best.kind, best.transport) {
        (Kind::Relayed, _) if mapping == "dependent" => Some(
            "this side is behind a symmetric NAT: forward a UDP port on its router, or turn UPnP on there; see `kos netcheck`".to_owned(),
        ),
        (Kind::Relayed, _) => {
            let why = punch.map_or_else(String::new, |why| format!(" (the last hole punch ended with: {why})"));
            Some(format!("a port that is open on either side, or UDP where it is blocked: run `kos netcheck` on both{why}"))
        }
        (Kind::Direct, Transport::Tcp | Transport::WebSocket) => {
            Some("UDP: over QUIC a lost packet holds up one answer and not all; it is blocked on one of the two sides".to_owned())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(kind: Kind, transport: Transport) -> Path {
        Path { kind, transport, address: mesh::Multiaddr::empty(), limit: None, dialled: true }
    }

    #[test]
    fn c16_each_path_says_why_it_is_the_best_and_what_would_be_better() {
        let (lan, relayed) = (path(Kind::Lan, Transport::Tcp), path(Kind::Relayed, Transport::Quic));
        let (quic, tcp) = (path(Kind::Direct, Transport::Quic), path(Kind::Direct, Transport::Tcp));
        assert!(why(&lan, &[], 0).contains("nothing in between") && better(&lan, "dependent", None).is_none());
        assert!(why(&quic, &[], 0).contains("nobody is in between") && better(&quic, "dependent", None).is_none());
        assert!(why(&quic, std::slice::from_ref(&relayed), 0).contains("beside the circuit"));
        assert!(better(&tcp, "independent", None).is_some_and(|text| text.contains("UDP")));
        assert!(why(&relayed, &[], 0).contains("a relay carries it") && why(&relayed, &[], 3).starts_with("3 direct"));
        assert!(better(&relayed, "dependent", None).is_some_and(|text| text.contains("symmetric NAT")));
        let told = better(&relayed, "independent", Some("timed out")).expect("told");
        assert!(told.contains("both (the last hole punch ended with: timed out)"), "{told}");
    }
}
